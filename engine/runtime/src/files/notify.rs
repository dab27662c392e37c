//! Hearing of every change on a file system, by directory and name (fanotify).
//!
//! The kernel tells of a directory by a handle, which stays the same when it is renamed. Where that
//! directory stands is found out afterwards, so it may have moved or gone by then: what is heard is a
//! hint where to look. Needs `CAP_SYS_ADMIN` and `CAP_DAC_READ_SEARCH`, and Linux 5.17.

mod records;

pub use records::{BadRecord, Entry, Handle, Record, Records, What};

use super::dir::Dir;
use crate::sys::fanotify;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;

/// Bytes of records that are read at a time.
const BUFFER: usize = 256 << 10;

/// Every change on a file system, from when it was made on.
#[derive(Debug)]
pub struct FileSystemMark {
    group: OwnedFd,
    dir: Dir,
    buffer: Vec<u8>,
}

impl AsFd for FileSystemMark {
    /// Readable when something happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl FileSystemMark {
    /// On the file system on which `dir` stands.
    ///
    /// # Errors
    /// The kernel's own: `EPERM` without the capabilities, `EINVAL` where it is too old, others where
    /// the file system has no handles or ids.
    pub fn start(dir: &Dir) -> io::Result<Self> {
        let group = fanotify::group()?;
        fanotify::mark(group.as_fd(), dir.as_fd(), What::HEARD)?;
        let this = Self { group, dir: dir.clone(), buffer: vec![0; BUFFER] };
        // Whether handles can be made use of is known only by doing so.
        let (kind, bytes) = fanotify::handle_of(dir.as_fd())?;
        this.path_of(Handle { kind, bytes: &bytes })?;
        Ok(this)
    }

    /// What happened, as much as there is at once; nothing if nothing did.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn read(&mut self) -> io::Result<Records<'_>> {
        match rustix::io::read(&self.group, &mut self.buffer[..]) {
            Ok(len) => Ok(Records::new(&self.buffer[..len])),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Records::new(&[])),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Finds where directories stand, apart from reading.
    pub fn finder(&self) -> Finder {
        Finder { dir: self.dir.clone() }
    }

    fn path_of(&self, handle: Handle<'_>) -> io::Result<Option<Vec<u8>>> {
        self.finder().path_of(handle)
    }
}

/// Finds where the directories of handles stand.
#[derive(Clone, Debug)]
pub struct Finder {
    dir: Dir,
}

impl Finder {
    /// The path of a directory on this machine as it is now; `None` if it was removed.
    ///
    /// # Errors
    /// The kernel's own: `ENAMETOOLONG` for more than it tells of a path.
    pub fn path_of(&self, handle: Handle<'_>) -> io::Result<Option<Vec<u8>>> {
        match fanotify::open_handle(self.dir.as_fd(), (handle.kind, handle.bytes)) {
            Ok(held) => Ok(path_of(held.as_fd())?),
            Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a directory stands beneath the one that it was made with, found out step by step: for
    /// those whose paths are too long to be told.
    ///
    /// # Errors
    /// As [`path_of`](Self::path_of).
    pub fn is_beneath(&self, handle: Handle<'_>) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = fs::fstat(&self.dir)?;
        let mut held = fanotify::open_handle(self.dir.as_fd(), (handle.kind, handle.bytes))?;
        loop {
            let above = fs::openat(&held, c"..", flags, Mode::empty())?;
            let (one, other) = (fs::fstat(&held)?, fs::fstat(&above)?);
            if (one.st_dev, one.st_ino) == (top.st_dev, top.st_ino) {
                return Ok(true);
            } else if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
                return Ok(false);
            }
            held = above;
        }
    }

    /// The path of the directory itself that it was made with.
    ///
    /// # Errors
    /// As [`path_of`](Self::path_of).
    pub fn own_path(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(path_of(self.dir.as_fd())?)
    }
}

fn path_of(held: BorrowedFd<'_>) -> rustix::io::Result<Option<Vec<u8>>> {
    // The name of one that was removed has a mark that a directory may as well be called.
    if fs::fstat(held)?.st_nlink == 0 {
        return Ok(None);
    }
    let link = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(Some(fs::readlink(link, Vec::new())?.into_bytes()))
}

#[cfg(test)]
mod tests;
