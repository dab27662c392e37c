//! How one segment gets from start to end in pieces: routes, short transfers, retries, errors.
//!
//! Both engines drive this; neither decides anything of it itself. It does no I/O.

use super::error::DiskError;
use super::file::{DiskFile, Route};
use super::{Direction, Segment};
use core::ops::Range;
use rustix::io::Errno;

/// Longest piece: the kernel moves at most 2 GiB less one page at once, and cuts silently.
const PIECE_MAX: usize = 1 << 30;
/// Times in a row that a piece may be put off (EINTR, EAGAIN) before it counts as refused.
const RETRIES_MAX: u8 = 64;
/// Buffered runs from this length on are written back at once, so that the final fsync finds
/// little left to do; the page cache collects shorter ones into larger writes.
const WRITE_BACK_MIN: usize = 256 << 10;

/// What to do next for a segment: one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) route: Route,
    pub(super) file_offset: u64,
    pub(super) range: Range<usize>,
}

/// Where a segment stands.
#[derive(Debug)]
pub(super) struct Progress {
    direction: Direction,
    file_offset: u64,
    buffer_offset: usize,
    remaining: usize,
    buffered: usize,
    retries: u8,
}

/// What a result meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is a next piece.
    More,
    /// The segment is through.
    Done,
    /// The segment cannot be finished.
    Failed(DiskError),
}

impl Progress {
    pub(super) fn new(direction: Direction, segment: &Segment) -> Self {
        Self {
            direction,
            file_offset: segment.file_offset,
            buffer_offset: segment.buffer_offset,
            remaining: segment.len,
            buffered: 0,
            retries: 0,
        }
    }

    /// The next piece; the segment must not be through.
    pub(super) fn piece(&self, file: &DiskFile, policy: Route) -> Piece {
        let run = (self.file_offset, self.buffer_offset, self.remaining.min(PIECE_MAX));
        let (route, len) = file.route(run, policy);
        let range = self.buffer_offset..self.buffer_offset + len;
        Piece { route, file_offset: self.file_offset, range }
    }

    /// Takes in what became of `piece`.
    pub(super) fn on_result(
        &mut self,
        file: &DiskFile,
        piece: &Piece,
        result: Result<usize, Errno>,
    ) -> Step {
        match (result, piece.route) {
            (Ok(0), _) => Step::Failed(self.stuck()),
            (Ok(moved), route) => self.advance(moved.min(piece.range.len()), route),
            (Err(Errno::INVAL), Route::Direct) => {
                file.refuse_direct();
                Step::More
            }
            (Err(Errno::INTR | Errno::AGAIN), _) if self.retries < RETRIES_MAX => {
                self.retries += 1;
                Step::More
            }
            (Err(errno), _) => Step::Failed(DiskError::from_errno(errno, self.file_offset)),
        }
    }

    /// A successful call that moved nothing.
    fn stuck(&self) -> DiskError {
        match self.direction {
            Direction::Read => DiskError::UnexpectedEof { file_offset: self.file_offset },
            Direction::Write => DiskError::DeviceFailed,
        }
    }

    fn advance(&mut self, moved: usize, route: Route) -> Step {
        self.retries = 0;
        self.file_offset += moved as u64;
        self.buffer_offset += moved;
        self.remaining -= moved;
        if route == Route::Buffered {
            self.buffered += moved;
        }
        if self.remaining == 0 { Step::Done } else { Step::More }
    }

    /// The range of the file whose write-back should start now that the segment is through.
    pub(super) fn write_back(&self, segment: &Segment) -> Option<(u64, usize)> {
        let due = self.direction == Direction::Write && self.buffered >= WRITE_BACK_MIN;
        due.then_some((segment.file_offset, segment.len))
    }
}
