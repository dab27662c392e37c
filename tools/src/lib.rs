//! x

pub mod netlink;
pub mod netns;
pub mod sys;
pub mod wanem;
