//! Lines to standard output and standard error, which may be closed or full: neither is a reason
//! to panic, nor to fail what succeeded.

use super::failure::{Failure, Kind};
use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line that the verb exists for: when it cannot be written, the verb failed.
///
/// # Errors
/// A failure of the local disk; a reader that went away is none.
pub(super) fn answer(line: impl Display) -> Result<(), Failure> {
    write(line).map_err(|error| {
        let what = format!("standard output cannot be written: {error}");
        Failure::new(Kind::Disk, what, "check where it is redirected to, then try again")
    })
}

/// Writes a line about work that is done: when it cannot be written, that is said, no more.
pub(super) fn tell(line: impl Display) {
    if let Err(error) = write(line) {
        complain(format_args!("farhaul: standard output cannot be written: {error}"));
    }
}

/// Writes a line to standard error. There is nowhere to say that it failed.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn write(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    match written {
        // Whoever closed the pipe wants to read no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
