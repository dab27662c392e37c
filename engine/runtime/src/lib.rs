//! The body of the transfer engine.

pub mod buffers;
pub mod disk;
mod sys;
pub mod wake;
pub mod work;
