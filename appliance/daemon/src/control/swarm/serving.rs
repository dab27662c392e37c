//! What others ask a body for: in the order of the brain, as much at a time as goes (spec: S-225).

use super::{Asked, Letter};
use crate::site::{Opens, Part as Bytes};
use farhaul_sync::message::ByteRange;
use farhaul_sync::swarm::{Answer, Giver, Part, Peer, Pieces, Terms};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Bytes that are handed to sessions and not gone yet: at first, at least and at most.
const WINDOW_FIRST: u64 = 8 << 20;
const WINDOW_MIN: u64 = 2 << 20;
const WINDOW_MAX: u64 = 64 << 20;
/// So many peers have a piece under way each, however little that makes for each: a session that
/// waits for its turn loses the rate that it had found.
const FED: usize = 8;
/// What is gone within this time says that more may be handed over.
const SOON: Duration = Duration::from_millis(300);
/// After this, that so much only waits.
const LATE: Duration = Duration::from_millis(1500);

/// A file that is still coming in. What stands there may be read until it is put in place.
pub(in crate::control) struct StagedFile {
    file: File,
    is_closed: AtomicBool,
}

impl StagedFile {
    pub(in crate::control) const fn new(file: File) -> Self {
        Self { file, is_closed: AtomicBool::new(false) }
    }

    /// From here on others may write to it.
    pub(in crate::control) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}

impl Opens for StagedFile {
    fn open(&self) -> io::Result<File> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(io::Error::other("it is not being fetched any more"));
        }
        self.file.try_clone()
    }
}

/// An answer of which nothing is on its way any more.
pub(in crate::control) struct Gone {
    pub(super) peer: Peer,
    pub(super) piece: u32,
    pub(super) bytes: u64,
    /// Whether it was read, as far as is known.
    pub(super) is_whole: bool,
    took: Duration,
}

/// A file of which an answer is read; whoever drops the last part of that answer says so.
struct Served {
    file: Arc<dyn Opens>,
    was_opened: AtomicBool,
    has_failed: AtomicBool,
    at: Instant,
    of: (Peer, u32, u64),
    letters: Sender<Letter>,
}

impl Opens for Served {
    fn open(&self) -> io::Result<File> {
        self.was_opened.store(true, Ordering::Relaxed);
        self.file.open().inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let (peer, piece, bytes) = self.of;
        let failed = self.has_failed.load(Ordering::Relaxed);
        let is_whole = self.was_opened.load(Ordering::Relaxed) && !failed;
        let gone = Gone { peer, piece, bytes, is_whole, took: self.at.elapsed() };
        // A body that is over wants to know nothing.
        let _ = self.letters.send(Letter::Gone(gone));
    }
}

struct Waiting {
    peer: Peer,
    part: Part,
    ranges: Vec<ByteRange>,
    asked: Asked,
}

/// See the module.
pub(super) struct Serving {
    giver: Giver,
    waiting: Vec<Waiting>,
    file: Arc<dyn Opens>,
    letters: Sender<Letter>,
    window: u64,
    under_way: u64,
    /// Answers under way, by who gets them.
    fed: BTreeMap<Peer, u32>,
}

impl Serving {
    pub(super) fn new(is_origin: bool, file: Arc<dyn Opens>, letters: Sender<Letter>) -> Self {
        let (giver, waiting) = (Giver::new(is_origin), Vec::new());
        Self {
            giver,
            waiting,
            file,
            letters,
            window: WINDOW_FIRST,
            under_way: 0,
            fed: BTreeMap::new(),
        }
    }

    /// A peer asks; `may` says whether it may have that piece from here.
    pub(super) fn ask(
        &mut self,
        (peer, piece): (Peer, u32),
        ranges: Vec<ByteRange>,
        asked: Asked,
        (terms, may): (&Terms, impl FnOnce(u32) -> bool),
    ) {
        let (from, to) = match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) => (first.offset, last.offset.saturating_add(last.len)),
            _ => return asked.lacks(),
        };
        let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(to)) else {
            return asked.lacks();
        };
        let part = Part { chunk: piece, from, to };
        match self.giver.ask(peer, part, terms, may) {
            Answer::Queued => self.waiting.push(Waiting { peer, part, ranges, asked }),
            // It is declined.
            Answer::Busy => drop(asked),
            Answer::Lacking | Answer::Nonsense => asked.lacks(),
        }
    }

    /// Gives what is next, if there is room: to whom which piece, and how many bytes; or that it
    /// cannot be read.
    pub(super) fn next(
        &mut self,
        pieces: &Pieces,
        count: impl Fn(u32) -> u16,
    ) -> Option<(Peer, u32, Option<u64>)> {
        let (peer, part) = if self.under_way < self.window {
            self.giver.next(count)?
        } else if self.fed.len() < FED {
            self.giver.next_of(count, |peer| !self.fed.contains_key(&peer))?
        } else {
            return None;
        };
        let at = self.waiting.iter().position(|it| it.peer == peer && it.part == part)?;
        let Waiting { ranges, asked, .. } = self.waiting.swap_remove(at);
        let len: u64 = ranges.iter().map(|range| range.len).sum();
        let places = pieces.in_file(part.chunk, &ranges);
        let is_all = places.iter().map(|range| range.len).sum::<u64>() == len;
        if !is_all || self.file.open().is_err() {
            asked.lacks();
            return Some((peer, part.chunk, None));
        }
        let served: Arc<dyn Opens> = Arc::new(Served {
            file: Arc::clone(&self.file),
            was_opened: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            at: Instant::now(),
            of: (peer, part.chunk, len),
            letters: self.letters.clone(),
        });
        let run = |range: &ByteRange| Bytes::Run {
            file: Arc::clone(&served),
            offset: range.offset,
            len: range.len,
        };
        let parts = places.iter().map(run).collect();
        self.under_way += len;
        *self.fed.entry(peer).or_default() += 1;
        asked.give(len, parts);
        Some((peer, part.chunk, Some(len)))
    }

    /// What was given is gone.
    pub(super) fn gone(&mut self, gone: &Gone) {
        self.under_way = self.under_way.saturating_sub(gone.bytes);
        if let Some(answers) = self.fed.get_mut(&gone.peer) {
            *answers -= 1;
            if *answers == 0 {
                self.fed.remove(&gone.peer);
            }
        }
        if gone.took < SOON {
            self.window = (self.window + gone.bytes).min(WINDOW_MAX);
        } else if gone.took > LATE {
            self.window = (self.window - self.window / 4).max(WINDOW_MIN);
        }
    }

    /// A peer is gone, and wants nothing any more.
    pub(super) fn left(&mut self, peer: Peer) {
        self.giver.left(peer);
        self.waiting.retain(|waiting| waiting.peer != peer);
    }
}
