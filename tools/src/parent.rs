//! Processes that end with whoever started them, however that ends.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::io;

/// Makes the kernel kill this process when the thread of `parent` that started it ends. The kernel
/// forgets that when a process changes its rights, so it comes after.
///
/// # Errors
/// `parent` has ended already, or the kernel refuses.
pub(crate) fn die_with(parent: Option<Pid>) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if parent.is_none() || getppid() != parent {
        return Err(io::Error::other("whoever started it is gone"));
    }
    Ok(())
}
