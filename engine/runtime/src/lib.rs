//! The body of the transfer engine.

pub mod files;
