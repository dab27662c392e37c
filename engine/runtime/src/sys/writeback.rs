//! Write-back of dirty pages: asking the kernel to begin it, and what became of it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The flag of `sync_file_range` that starts write-back.
///
/// Never the waiting forms: they consume the write-back error that the final fsync must report.
pub(crate) const START: u32 = libc::SYNC_FILE_RANGE_WRITE;

/// Starts write-back of `len` bytes from `offset` on. A hint: data is durable only after fsync.
pub(crate) fn start(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = i64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    call(fd, offset, len, START)
}

/// What became of the write-back of all of a file since it was opened, or asked about last; waits
/// for what is under way. It begins nothing, and makes nothing durable.
pub(crate) fn outcome(fd: BorrowedFd<'_>) -> io::Result<()> {
    call(fd, 0, 0, libc::SYNC_FILE_RANGE_WAIT_BEFORE)
}

fn call(fd: BorrowedFd<'_>, offset: i64, len: i64, flags: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the time of the borrow; the call takes no memory.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
