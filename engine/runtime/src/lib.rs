//! The body of the transfer engine.

pub mod identity;
pub mod net;
pub mod tls;

mod sys;
