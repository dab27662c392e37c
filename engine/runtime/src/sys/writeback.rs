//! Asking the kernel to begin writing dirty pages, without waiting for them.

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
    // SAFETY: the descriptor is open for the time of the borrow; the call takes no memory.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, START) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
