//! The body of the transfer engine.

pub mod control;
pub mod identity;
pub mod net;
pub mod seal;
pub mod tls;

mod sys;
