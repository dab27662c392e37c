//! The body of the transfer engine.

pub mod net;

mod sys;
