//! An open file as the disk engines see it: one descriptor, or two of which one bypasses the
//! page cache.
//!
//! It opens nothing by name: callers bring descriptors that they confined.

use super::align::direct_len;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, fstatfs, open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An open file. Shared by reference count between the operations that use it.
///
/// The descriptor must be seekable and not in append mode: every operation names its offset.
#[derive(Debug)]
pub struct DiskFile {
    buffered: Arc<OwnedFd>,
    direct: Option<Arc<OwnedFd>>,
    /// Set when the file system answered EINVAL: from then on everything is buffered.
    direct_refused: AtomicBool,
    in_memory: bool,
    /// Held by whoever writes on the spot: the kernel lets one write to a file at a time, and has
    /// the others spin.
    writing: Mutex<()>,
}

/// File systems whose files are memory: tmpfs and ramfs (`statfs(2)`).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether what is in a file lies in memory and nowhere else, so that no device is waited for.
pub(crate) fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    let kind = fstatfs(file).ok().and_then(|stat| u64::try_from(stat.f_type).ok());
    kind.is_some_and(|kind| MEMORY_FILE_SYSTEMS.contains(&kind))
}

/// The way a piece takes to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the page cache.
    Buffered,
    /// Past it.
    Direct,
}

impl DiskFile {
    /// A file that always goes through the page cache.
    pub fn new(file: OwnedFd) -> Self {
        let in_memory = is_in_memory(file.as_fd());
        let (direct_refused, writing) = (AtomicBool::new(false), Mutex::new(()));
        Self { buffered: Arc::new(file), direct: None, direct_refused, in_memory, writing }
    }

    /// The turn to write to it.
    pub(super) fn turn_to_write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether reading and writing it waits for no device.
    pub const fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// A file whose aligned runs bypass the page cache where its file system can do that, and
    /// otherwise one like [`DiskFile::new`] makes.
    pub fn with_direct(file: OwnedFd) -> Self {
        let direct = reopen_direct(file.as_fd());
        if let Err(error) = &direct {
            tracing::debug!(%error, "direct I/O is not available for a file");
        }
        Self { direct: direct.ok().map(Arc::new), ..Self::new(file) }
    }

    /// Whether aligned runs can bypass the page cache at this moment.
    pub fn can_direct(&self) -> bool {
        self.direct.is_some() && !self.direct_refused.load(Ordering::Relaxed)
    }

    /// Direct I/O failed with EINVAL: never try it again on this file.
    pub(super) fn refuse_direct(&self) {
        if !self.direct_refused.swap(true, Ordering::Relaxed) {
            tracing::debug!("a file system refused direct I/O; going on through the page cache");
        }
    }

    pub(super) fn fd(&self, route: Route) -> &Arc<OwnedFd> {
        match (route, &self.direct) {
            (Route::Direct, Some(direct)) => direct,
            (Route::Direct, None) | (Route::Buffered, _) => &self.buffered,
        }
    }

    /// The route and length of the first piece of a run.
    pub(super) fn route(&self, run: (u64, usize, usize), policy: Route) -> (Route, usize) {
        let (file_offset, buffer_offset, len) = run;
        let direct = match policy {
            Route::Direct if self.can_direct() => direct_len(file_offset, buffer_offset, len),
            Route::Direct | Route::Buffered => 0,
        };
        if direct > 0 { (Route::Direct, direct) } else { (Route::Buffered, len) }
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.buffered.as_fd()
    }
}

impl From<OwnedFd> for DiskFile {
    fn from(file: OwnedFd) -> Self {
        Self::new(file)
    }
}

impl From<std::fs::File> for DiskFile {
    fn from(file: std::fs::File) -> Self {
        Self::new(file.into())
    }
}

/// The same file once more, with O_DIRECT: a duplicate would share its flags with the original.
fn reopen_direct(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Opening a device or a FIFO again may block or act.
    if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let access = fcntl_getfl(file)? & OFlags::RWMODE;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(open(path, access | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty())?)
}
