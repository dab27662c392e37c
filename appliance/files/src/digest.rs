//! Reading a file: its chunks, the pages of its manifest, its holes.
//!
//! The file is read once, in order, holes not at all. What comes of it counts only if the file is in
//! the same state before and after; if not, it is said so, and what went to the sink is to be
//! forgotten.

use super::holes::{NextHoles, holes_of};
use super::identity::identity_of;
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{
    Chunk, ContentKeys, Cut, Cutter, Entry, Hole, Holes, ManifestBuilder, PageId,
};
use farhaul_sync::limits::{FILE_MAX, ZERO_BLOCK};
use farhaul_sync::version::ManifestId;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes beyond what the cutter needs to see that are read at a time: at least this.
const SLACK: usize = 1 << 20;

/// Why a sink does not take what it is given.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Where chunks and pages go: the index, for most.
pub trait ContentSink {
    /// A file begins, or begins again because it changed while it was read: what came of it until
    /// now is void.
    ///
    /// # Errors
    /// The sink's own; they end the reading.
    fn begin(&mut self) -> Result<(), SinkError>;

    /// A chunk of the file.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn chunk(&mut self, offset: Bytes, chunk: &Chunk) -> Result<(), SinkError>;

    /// A page of its manifest. The same page may come for several files.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn page(&mut self, id: PageId, bytes: &[u8]) -> Result<(), SinkError>;

    /// The file is not read: it is in the state in which that at `path` was.
    fn known_at(&mut self, _path: &RelPath) {}
}

/// Forgets all it is given: for who wants only the name of a content.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl ContentSink for Nowhere {
    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn chunk(&mut self, _offset: Bytes, _chunk: &Chunk) -> Result<(), SinkError> {
        Ok(())
    }

    fn page(&mut self, _id: PageId, _bytes: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The name of its content.
    pub manifest: ManifestId,
    /// Its length.
    pub size: Bytes,
    /// Where the disk holds nothing of it.
    pub holes: Holes,
    /// The state in which it was read, from before to after.
    pub meta: Meta,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// It was written to, or shortened, or replaced.
    #[error("changes while being read")]
    Changed,
    /// The disk does not give a part of it.
    #[error("cannot be read at byte {offset}: {errno}")]
    Read {
        /// From where on.
        offset: u64,
        /// What the kernel says.
        errno: Errno,
    },
    /// It is larger than [`FILE_MAX`].
    #[error("has {size} bytes, more than any site carries")]
    TooLarge {
        /// How many.
        size: u64,
    },
    /// The sink refuses.
    #[error("what was read cannot be noted: {0}")]
    Sink(#[source] SinkError),
    /// Somebody stopped it.
    #[error("stopped")]
    Stopped,
}

/// Reads files, one after the other, through one buffer: at most 30 MiB for the largest files, some
/// 1.5 MiB for those below 512 MiB.
#[derive(Debug)]
pub struct Digester<'a> {
    keys: &'a ContentKeys,
    stop: Stop,
    window: Window,
}

impl<'a> Digester<'a> {
    /// With a folder's keys; ends early once `stop` is set.
    pub fn new(keys: &'a ContentKeys, stop: Stop) -> Self {
        Self { keys, stop, window: Window::default() }
    }

    /// Reads `file`, of which `before` was told when it was opened.
    ///
    /// # Errors
    /// [`DigestError`].
    pub fn digest(
        &mut self,
        file: &File,
        before: &Meta,
        sink: &mut dyn ContentSink,
    ) -> Result<Digested, DigestError> {
        let size = Bytes::new(before.size());
        if size > FILE_MAX {
            return Err(DigestError::TooLarge { size: size.get() });
        }
        sink.begin().map_err(DigestError::Sink)?;
        let manifest = self.read(file, before, sink)?;
        let after = Meta::of(file).map_err(|errno| DigestError::Read { offset: 0, errno })?;
        if identity_of(&after) != identity_of(before) {
            return Err(DigestError::Changed);
        }
        Ok(Digested { manifest, size, holes: holes_of(file, before), meta: after })
    }

    fn read(
        &mut self,
        file: &File,
        before: &Meta,
        sink: &mut dyn ContentSink,
    ) -> Result<ManifestId, DigestError> {
        let size = Bytes::new(before.size());
        let mut cutter = Cutter::new(self.keys, size);
        let mut pages = Pages::new(self.keys, &cutter, sink);
        let mut holes = NextHoles::of(file, before);
        self.window.clear();
        while cutter.lookahead() > 0 {
            if self.stop.is_set() {
                return Err(DigestError::Stopped);
            }
            let at = cutter.offset();
            let end = at + Bytes::of_len(cutter.lookahead());
            let mut near = holes.between(at, end).peekable();
            let within = near.peek().filter(|hole| hole.offset <= at);
            let len = within.map(|hole| hole.offset + hole.len - at);
            if let Some(cut) = len.and_then(|len| cutter.hole(len)) {
                pages.push(at, cut, &[])?;
                continue;
            }
            // Nothing is read of a hole that ends the chunks before it.
            if let Some((begin, len)) = near.find_map(|hole| run_in(hole, &cutter)) {
                let ahead = self.window.show(file, at.get(), (begin - at).as_len(), begin)?;
                if let Some(cut) = cutter.cut_before_hole(ahead, len) {
                    pages.push(at, cut, ahead)?;
                    continue;
                }
            }
            let ahead = self.window.show(file, at.get(), cutter.lookahead(), size)?;
            let cut = cutter.cut(ahead).ok_or(DigestError::Changed)?;
            pages.push(at, cut, ahead)?;
        }
        pages.finish()
    }
}

/// The blocks in a hole that chunks before it end at: where they begin, and how many bytes they have.
/// `None` where they are too few, or nothing is before them.
fn run_in(hole: &Hole, cutter: &Cutter<'_>) -> Option<(Bytes, Bytes)> {
    let begin = Bytes::new(hole.offset.get().next_multiple_of(ZERO_BLOCK));
    let len = (hole.offset + hole.len).saturating_sub(begin);
    (begin > cutter.offset() && len >= cutter.run_min()).then_some((begin, len))
}

/// Names chunks and passes them on, with the pages that come of them.
struct Pages<'a, 's> {
    keys: &'a ContentKeys,
    builder: ManifestBuilder<'a>,
    sink: &'s mut dyn ContentSink,
}

impl<'a, 's> Pages<'a, 's> {
    fn new(keys: &'a ContentKeys, cutter: &Cutter<'_>, sink: &'s mut dyn ContentSink) -> Self {
        Self { keys, builder: ManifestBuilder::new(keys, cutter.class()), sink }
    }

    fn push(&mut self, offset: Bytes, cut: Cut, ahead: &[u8]) -> Result<(), DigestError> {
        let entry = match cut {
            Cut::Zeros { len } => Entry::Zeros { len },
            Cut::Chunk { len } => {
                let id = self.keys.chunk_id(&ahead[..len]);
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                let chunk = Chunk { id, len };
                self.sink.chunk(offset, &chunk).map_err(DigestError::Sink)?;
                Entry::Chunk(chunk)
            }
        };
        let mut failed = None;
        self.builder.push(entry, &mut |id, bytes| {
            failed = failed.take().or(self.sink.page(id, bytes).err());
        });
        failed.map_or(Ok(()), |error| Err(DigestError::Sink(error)))
    }

    fn finish(self) -> Result<ManifestId, DigestError> {
        let (mut failed, sink) = (None, self.sink);
        let manifest = self.builder.finish(&mut |id, bytes| {
            failed = failed.take().or(sink.page(id, bytes).err());
        });
        failed.map_or(Ok(manifest), |error| Err(DigestError::Sink(error)))
    }
}

/// A part of a file in memory.
#[derive(Debug, Default)]
struct Window {
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and how many of its bytes are valid.
    start: u64,
    len: usize,
}

impl Window {
    fn clear(&mut self) {
        (self.start, self.len) = (0, 0);
    }

    /// The `need` bytes of the file from `at` on, read where they are not here yet, and some more but
    /// for what lies behind `until`. A file that ends before that was changed.
    fn show(
        &mut self,
        file: &File,
        at: u64,
        need: usize,
        until: Bytes,
    ) -> Result<&[u8], DigestError> {
        let from = self.from(at);
        let from = if from + need <= self.buffer.len() && from <= self.len {
            from
        } else {
            self.shift(at, need, until)
        };
        while self.len < from + need {
            let offset = self.start + Bytes::of_len(self.len).get();
            let left = (until - Bytes::new(offset)).as_len();
            let end = self.buffer.len().min(self.len.saturating_add(left));
            match file.read_at(&mut self.buffer[self.len..end], offset) {
                Ok(0) => return Err(DigestError::Changed),
                Ok(more) => self.len += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    return Err(DigestError::Read { offset, errno });
                }
            }
        }
        Ok(&self.buffer[from..from + need])
    }

    /// Where in the buffer `at` is; beyond its end if it is not there.
    fn from(&self, at: u64) -> usize {
        match at.checked_sub(self.start) {
            Some(from) => Bytes::new(from).as_len(),
            None => usize::MAX - (usize::MAX >> 1),
        }
    }

    /// Makes room for `need` bytes from `at` on; what is here of them stays.
    fn shift(&mut self, at: u64, need: usize, until: Bytes) -> usize {
        let from = self.from(at);
        if from < self.len {
            self.buffer.copy_within(from..self.len, 0);
            self.len -= from;
        } else {
            self.len = 0;
        }
        self.start = at;
        let left = (until - Bytes::new(at)).as_len();
        let wanted = need.saturating_add(SLACK.max(need / 2)).min(left);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        0
    }
}
