//! Write-back ahead of a sync, for whoever writes much before it.

use crate::sys::writeback;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;

/// Has the kernel begin to write these bytes of a file to its disk. A hint: nothing waits, nothing is
/// durable before a sync, and that is what says whether it failed.
pub fn begin(file: &File, bytes: Range<u64>) {
    let len = usize::try_from(bytes.end.saturating_sub(bytes.start)).unwrap_or(usize::MAX);
    // Where there is no such call (a file system over the network) the sync does all of it.
    let _ = writeback::start(file.as_fd(), bytes.start, len);
}
