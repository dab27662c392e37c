//! The parts behind the `farhaul` and `wanem` commands.
//!
//! Unsafe code lives in [`sys`] alone.

pub mod netlink;
pub mod netns;
pub mod sys;
pub mod wanem;

pub mod farhaul;
