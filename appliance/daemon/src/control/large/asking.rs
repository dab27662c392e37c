//! Questions for one large file: how many bytes of it are asked for at a time, of whom, and what becomes
//! of questions that nobody answers.

use super::Missing;
use crate::control::fetch::{Shared, Wish};
use crate::control::patience::Miss;
use crate::control::question::{Len, MemoryIntake, Parts};
use crate::site::{Outgoing, Question};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::PageId;
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::message::{ByteRange, Wanted};
use farhaul_sync::version::ManifestId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Pages asked for at once.
pub(super) const PAGES_AT_ONCE: usize = 64;
/// Bytes of chunks in one question, and the chunk that goes beyond it.
pub(super) const QUESTION: u64 = 2 << 20;
/// Bytes of chunks that are asked for and did not come yet: at first, at least and at most.
const WINDOW_FIRST: u64 = 4 << 20;
const WINDOW_MIN: u64 = QUESTION;
const WINDOW_MAX: u64 = 64 << 20;
/// An answer within this time says that more may be asked for.
const SOON: Duration = Duration::from_millis(1000);
/// One after this says that so much keeps others waiting.
const LATE: Duration = Duration::from_millis(3000);

/// What an answer, or its absence, comes to.
pub(super) enum Answer {
    /// Pages with the names that were asked for.
    Pages(Vec<(PageId, Vec<u8>)>),
    /// Chunks that are what they should be, one after the other.
    Chunks { chunks: Vec<Missing>, bytes: Vec<u8> },
    /// Chunks that did not come; whether whoever was asked may have them all the same.
    Missed { chunks: Vec<Missing>, is_mute: bool },
}

/// Which questions for chunks are worth asking. Each answer is an object of its own, with repair symbols
/// and reports of its own: a few large ones cost less than many small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Only whole ones: more may follow at once.
    Whole,
    /// A smaller one too, while nobody is asked for anything.
    First,
    /// All: nothing follows.
    Last,
}

enum Of {
    Pages(Vec<PageId>),
    Chunks(Vec<Missing>),
}

struct Open {
    of: Of,
    from: SiteId,
    at: Instant,
    bytes: u64,
}

type Heard = (u64, Result<Parts, Miss>);

/// The open questions for one file.
pub(super) struct Asking<'a> {
    shared: &'a Shared,
    manifest: ManifestId,
    author: SiteId,
    open: BTreeMap<u64, Open>,
    next: u64,
    window: u64,
    said: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(shared: &'a Shared, wish: &Wish) -> Self {
        let (said, heard) = mpsc::channel();
        let (open, next, window) = (BTreeMap::new(), 0, WINDOW_FIRST);
        let (manifest, author) = (wish.manifest, wish.author());
        Self { shared, manifest, author, open, next, window, said, heard }
    }

    /// Whether nobody is asked for anything.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Asks for pages, unless some are asked for.
    pub(super) fn ask_pages(&mut self, pages: Vec<PageId>) {
        if self.open.values().any(|open| matches!(open.of, Of::Pages(_))) {
            return;
        }
        let wanted = pages.iter().map(|&page| Wanted::Page { page }).collect();
        let lens = pages.iter().map(|_| Len::UpTo(PAGE_MAX as u64)).collect();
        self.ask(wanted, lens, Of::Pages(pages), 0);
    }

    /// Asks for chunks from the front of `missing`, as far as that is `worth` it.
    pub(super) fn ask_chunks(
        &mut self,
        missing: &mut VecDeque<Missing>,
        missing_bytes: &mut u64,
        worth: Worth,
    ) {
        loop {
            let asked: u64 = self.open.values().map(|open| open.bytes).sum();
            let is_enough = match worth {
                Worth::Last => true,
                Worth::First if self.is_idle() => true,
                Worth::First | Worth::Whole => *missing_bytes >= QUESTION,
            };
            if missing.is_empty() || !is_enough || asked >= self.window {
                return;
            }
            let (mut chunks, mut bytes) = (Vec::new(), 0);
            while bytes < QUESTION
                && let Some(next) = missing.pop_front()
            {
                bytes += u64::from(next.chunk.len);
                chunks.push(next);
            }
            *missing_bytes -= bytes;
            // Those that were given back come before what follows them in the file, or not.
            chunks.sort_unstable_by_key(|missing| missing.offset);
            let wanted = Wanted::Ranges { manifest: self.manifest, ranges: ranges_of(&chunks) };
            let kept = chunks.clone();
            if !self.ask(vec![wanted], vec![Len::Is(bytes)], Of::Chunks(chunks), bytes) {
                kept.into_iter().rev().for_each(|chunk| missing.push_front(chunk));
                *missing_bytes += bytes;
                return;
            }
        }
    }

    /// Whether somebody could be asked.
    fn ask(&mut self, wanted: Vec<Wanted>, lens: Vec<Len>, of: Of, bytes: u64) -> bool {
        let Some(picked) = self.shared.givers.pick(self.manifest, self.author) else {
            return false;
        };
        let number = self.next;
        self.next += 1;
        let said = self.said.clone();
        let then = Box::new(move |answer| drop(said.send((number, answer))));
        let intake = MemoryIntake::new(lens, picked.came(), then);
        let (folder, question) = (self.shared.folder, Question::new(Box::new(intake)));
        let (from, at) = (picked.site(), Instant::now());
        self.shared.givers.asked(from);
        self.open.insert(number, Open { of, from, at, bytes });
        // If it is refused it is dropped, and its end comes like any other answer.
        let _ = picked.outbox.send(Outgoing::Ask { folder, wanted, question });
        true
    }

    /// Waits for an answer at most so long. Questions to somebody who gives nothing are over.
    pub(super) fn wait(&mut self, most: Duration) -> Option<Answer> {
        match self.heard.recv_timeout(most) {
            Ok((number, answer)) => {
                // What was given up may still come, and is too late.
                let open = self.open.remove(&number)?;
                Some(self.answered(open, answer))
            }
            Err(_) => {
                let givers = &self.shared.givers;
                let is_stalled = |open: &Open| givers.is_stalled(open.from, open.at);
                let number =
                    self.open.iter().find(|(_, open)| is_stalled(open)).map(|(n, _)| *n)?;
                let open = self.open.remove(&number)?;
                tracing::warn!(peer = %open.from, "gives nothing any more");
                Some(self.answered(open, Err(Miss::Stalled)))
            }
        }
    }

    fn answered(&mut self, open: Open, answer: Result<Parts, Miss>) -> Answer {
        let Open { of, from, at, .. } = open;
        let took = at.elapsed();
        self.shared.givers.answered(from);
        let answer = match (of, answer) {
            (Of::Pages(ids), Ok(parts)) => self.checked_pages(ids, parts),
            (Of::Chunks(chunks), Ok(mut parts)) => match parts.pop().flatten() {
                Some(bytes) => self.checked_chunks(chunks, bytes),
                None => Err((chunks, Miss::HasNot)),
            },
            (Of::Pages(_), Err(miss)) => Err((Vec::new(), miss)),
            (Of::Chunks(chunks), Err(miss)) => Err((chunks, miss)),
        };
        match answer {
            Ok(answer) => {
                self.shared.givers.came(self.manifest, from);
                if took < SOON {
                    self.window = (self.window + QUESTION).min(WINDOW_MAX);
                } else if took > LATE {
                    self.window = (self.window - self.window / 4).max(WINDOW_MIN);
                }
                answer
            }
            Err((chunks, miss)) => {
                if miss == Miss::Bad {
                    tracing::warn!(peer = %from, "gave something else than was asked for");
                }
                self.shared.givers.missed(self.manifest, from, &miss);
                Answer::Missed { chunks, is_mute: miss.is_mute() }
            }
        }
    }

    fn checked_pages(
        &self,
        ids: Vec<PageId>,
        parts: Parts,
    ) -> Result<Answer, (Vec<Missing>, Miss)> {
        let came = ids.into_iter().zip(parts).filter_map(|(id, part)| Some((id, part?)));
        let came: Vec<_> = came.collect();
        let len: u64 = came.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.shared.counts.received.fetch_add(len, Ordering::Relaxed);
        if came.iter().any(|(id, bytes)| self.shared.keys.page_id(bytes) != *id) {
            return Err((Vec::new(), Miss::Bad));
        }
        if came.is_empty() { Err((Vec::new(), Miss::HasNot)) } else { Ok(Answer::Pages(came)) }
    }

    fn checked_chunks(
        &self,
        chunks: Vec<Missing>,
        bytes: Vec<u8>,
    ) -> Result<Answer, (Vec<Missing>, Miss)> {
        self.shared.counts.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut rest = &bytes[..];
        for missing in &chunks {
            let len = Bytes::new(u64::from(missing.chunk.len)).as_len();
            match rest.split_at_checked(len) {
                Some((data, behind)) if self.shared.keys.chunk_id(data) == missing.chunk.id => {
                    rest = behind;
                }
                _ => return Err((chunks, Miss::Bad)),
            }
        }
        Ok(Answer::Chunks { chunks, bytes })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        for open in self.open.values() {
            self.shared.givers.answered(open.from);
        }
    }
}

/// The bytes of chunks that are sorted by offset; neighbours are one range.
fn ranges_of(chunks: &[Missing]) -> Vec<ByteRange> {
    let mut ranges: Vec<ByteRange> = Vec::new();
    for missing in chunks {
        let len = u64::from(missing.chunk.len);
        match ranges.last_mut().filter(|last| last.offset + last.len == missing.offset) {
            Some(last) => last.len += len,
            None => ranges.push(ByteRange { offset: missing.offset, len }),
        }
    }
    ranges
}
