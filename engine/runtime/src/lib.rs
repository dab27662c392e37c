//! The body of the transfer engine.
