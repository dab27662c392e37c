//! Small traffic tools that run inside a site: what measures the emulator, and the kernel's TCP as
//! a peer for side-by-side runs.
//!
//! Each prints one line of JSON. Receivers print `ready` first, so that a sender is never started
//! too early. They trust each other and are no part of the product.

pub mod tcp;
pub mod udp;

use serde::Serialize;
use std::io::{self, Write};

/// Tells whoever started this receiver that it listens.
///
/// # Errors
/// If standard output is closed.
pub fn announce_ready() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(b"ready\n")?;
    out.flush()
}

/// Prints a result as one line of JSON.
///
/// # Errors
/// If standard output is closed.
pub fn print_json(result: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, result)?;
    out.write_all(b"\n")?;
    out.flush()
}
