//! The body of the transfer engine.

pub mod identity;
pub mod net;
pub mod seal;
pub mod tls;

mod sys;
