//! The body of the transfer engine.

pub mod buffers;
mod sys;
pub mod wake;
pub mod work;
