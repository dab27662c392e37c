//! The parts behind the `farhaul` and `wanem` commands.
//!
//! Unsafe code lives in [`sys`] alone.
#![deny(unsafe_code)]

pub mod netlink;
pub mod netns;
mod parent;
#[expect(unsafe_code, reason = "thin faces over system calls; each block has its SAFETY note")]
pub mod sys;
pub mod wanem;

pub mod farhaul;
