//! What can go wrong with a disk operation, and whose fault it is.

use rustix::io::Errno;
use thiserror::Error;

/// A failed operation or engine. After any failed write or sync the contents of the file are
/// unknown: what was written since the last good sync has to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Caller: the segment reaches outside the buffer or beyond the largest file offset.
    #[error("segment {segment} lies outside its buffer or beyond the largest file offset")]
    SegmentOutOfBounds {
        /// Position in the request's list.
        segment: usize,
    },
    /// Caller: the descriptor is not open for this.
    #[error("the descriptor is not open for this operation")]
    BadDescriptor,
    /// File: it ends before the segment does; it was cut off or is not the file it was.
    #[error("the file ends at or before offset {file_offset}")]
    UnexpectedEof {
        /// The first byte that was asked for and is not there.
        file_offset: u64,
    },
    /// Disk: full.
    #[error("no space left on the file system")]
    NoSpace,
    /// Disk: the owner's quota is used up.
    #[error("disk quota exceeded")]
    QuotaExceeded,
    /// Disk: the file system or a limit of the process does not take files of this size.
    #[error("the file may not grow to offset {file_offset}")]
    FileTooLarge {
        /// Where the refused write began.
        file_offset: u64,
    },
    /// Disk: mounted read-only, or turned so by the kernel after an error.
    #[error("the file system is read-only")]
    ReadOnly,
    /// Disk: the device or the file system below it failed.
    #[error("the device failed")]
    DeviceFailed,
    /// System: refused for another reason.
    #[error("the system refused: {}", words(*.errno))]
    Refused {
        /// The system's number for it.
        errno: i32,
    },
    /// Engine: it broke down; all further requests fail. Open another one.
    #[error("the disk engine failed: {}", words(*.errno))]
    EngineFailed {
        /// The system's number for it; 0 if there is none.
        errno: i32,
    },
    /// System: the engine cannot be opened here.
    #[error("the {engine} disk engine is unavailable: {}", words(*.errno))]
    EngineUnavailable {
        /// Its name.
        engine: &'static str,
        /// The system's number for it; 0 if there is none.
        errno: i32,
    },
}

impl DiskError {
    /// What `errno` means for an operation at `file_offset`.
    pub(super) fn from_errno(errno: Errno, file_offset: u64) -> Self {
        match errno {
            Errno::BADF => Self::BadDescriptor,
            Errno::NOSPC => Self::NoSpace,
            Errno::DQUOT => Self::QuotaExceeded,
            Errno::FBIG => Self::FileTooLarge { file_offset },
            Errno::ROFS => Self::ReadOnly,
            Errno::IO => Self::DeviceFailed,
            other => Self::Refused { errno: other.raw_os_error() },
        }
    }

    /// True when the disk takes no more data until somebody makes room.
    pub fn is_out_of_space(self) -> bool {
        matches!(self, Self::NoSpace | Self::QuotaExceeded)
    }
}

/// The system's words for its number, which they include.
fn words(errno: i32) -> String {
    match errno {
        0 => "the system says no more".to_owned(),
        _ => std::io::Error::from_raw_os_error(errno).to_string(),
    }
}
