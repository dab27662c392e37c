//! A large file on its way in: the pages of its chunk list that are not here, then the chunks that are
//! nowhere on this disk, in the order of the file. One thread a file; it outlives sessions.
//!
//! What comes goes to memory, is verified chunk by chunk, and only then written to where it belongs, by
//! this thread alone: no session can write to a staged file. What is staged stays when it ends
//! early, and whoever goes on hashes what is there (spec: S-071, S-072).

mod asking;
mod behind;
mod local;
mod spread;

use super::fetch::{Shared, Wish};
use super::givers::HERE;
use super::patience::Miss;
use crate::index::chunks::Home;
use crate::store::{Ready, Staged, StoreError};
use asking::{Answer, Asking, Worth};
use behind::Behind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::writeback;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ChunkId, Entry, Leaf, ManifestReader, PageError, PageId};
use farhaul_sync::swarm::pieces::Placed;
use local::Local;
use rustix::fs::{FallocateFlags, fallocate};
use spread::Listed;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes of chunks that are looked for ahead of what is asked for.
const AHEAD: u64 = 8 << 20;
/// Places of one chunk that wait for it to come; for further ones it is asked for again.
const REPEATS_MAX: usize = 4096;
/// How often it is looked whether somebody stalls or the file is not wanted any more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where all neighbours lack it, it is given up after this, for others to have their turn.
const LACKED_MAX: Duration = Duration::from_secs(3);
/// Where somebody does not say whether it has it, after this: it may soon, and whoever goes on later
/// reads again what is staged (spec: S-163).
const UNSAID_MAX: Duration = Duration::from_secs(10);
/// Without any neighbour, after this: others could not come either.
const NOBODY_MAX: Duration = Duration::from_secs(300);

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
enum NotCome {
    #[error("it is not wanted any more, or this site stops")]
    Stopped,
    #[error("nobody who can be asked has it")]
    Nobody,
    #[error("who may have it gives nothing of it at the moment")]
    Unsaid,
    #[error("its chunk list breaks a rule, its author is at fault: {0}")]
    Manifest(PageError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot be written: {0}")]
    Write(std::io::Error),
}

impl NotCome {
    /// Whether what is staged is of no use: a disk that is full is left to its user, and where no
    /// hole can be made in what is there, the next attempt begins with an empty file.
    fn spoils_staged(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull, Unsupported};
        match self {
            Self::Write(error) => {
                matches!(error.kind(), StorageFull | QuotaExceeded | Unsupported)
            }
            Self::Store(error) => error.is_full(),
            _ => false,
        }
    }
}

/// A chunk that is to come over the network.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) chunk: Chunk,
    /// Where in the file it goes, once at least.
    pub(super) offset: u64,
}

/// A file that is to come.
pub(super) struct LargeJob {
    pub(super) shared: Shared,
    pub(super) wish: Wish,
    /// Set when it is not wanted any more.
    pub(super) stop: Stop,
}

impl LargeJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let came = self.bring();
        if let Err(NotCome::Manifest(error)) = &came {
            tracing::warn!(path = %self.wish.path, %error, "a chunk list breaks a rule");
        }
        let Self { shared, wish, .. } = self;
        match &came {
            Ok(_) => shared.givers.came(wish.manifest, HERE),
            Err(NotCome::Stopped) => {}
            // Others have their turns before it is tried again.
            Err(NotCome::Unsaid) => shared.givers.missed(wish.manifest, HERE, &Miss::Unsaid),
            Err(NotCome::Nobody) => shared.givers.missed(wish.manifest, HERE, &Miss::HasNot),
            Err(_) => shared.givers.missed(wish.manifest, HERE, &Miss::Bad),
        }
        let ready = came.map_err(|error| error.to_string());
        shared.tell(wish, ready);
    }

    fn bring(&self) -> Result<Ready, NotCome> {
        let Wish { path, manifest, size, version } = &self.wish;
        let staged = self.shared.store.stage(path, *manifest, *size, &[])?;
        let brought = self.fill(&staged);
        match brought {
            Ok(()) => Ok(staged.finish(&version.meta)?),
            Err(error) => {
                if error.spoils_staged() {
                    staged.discard();
                }
                Err(error)
            }
        }
    }

    fn fill(&self, staged: &Staged) -> Result<(), NotCome> {
        let Wish { manifest, size, .. } = &self.wish;
        let shared = &self.shared;
        let mut filling = Filling {
            job: self,
            staged,
            reader: ManifestReader::new(&shared.keys, *manifest, *size),
            local: Local::new(shared, staged),
            behind: Behind::default(),
            asking: Asking::new(shared, &self.wish),
            pages: BTreeMap::new(),
            missing: VecDeque::new(),
            missing_bytes: 0,
            repeats: BTreeMap::new(),
            filler: shared.contents.filler(),
            idle_since: None,
            is_unsaid: false,
            listed: self.is_spread().then(Listed::default),
        };
        filling.run()?;
        if let Some(listed) = filling.listed.take() {
            filling.spread(listed)?;
        }
        filling.filler.done(&Home::Staged(*manifest), (*manifest, *size));
        Ok(())
    }

    /// Whether its pieces are asked for of whoever has them; else its chunks of whoever has all of it.
    fn is_spread(&self) -> bool {
        let Shared { swarms, givers, .. } = &self.shared;
        let Wish { manifest, size, path, .. } = &self.wish;
        if !swarms.is_used(|site| givers.is_live(site)) || !spread::can_be(*size) {
            return false;
        }
        let is_stuck = swarms.is_stuck(*manifest);
        if is_stuck {
            tracing::warn!(%path, "did not come in pieces, and is asked for as a whole now");
        }
        !is_stuck
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_set() || self.shared.stop.is_set()
    }
}

/// One file while it comes.
struct Filling<'a> {
    job: &'a LargeJob,
    staged: &'a Staged,
    reader: ManifestReader<'a>,
    local: Local<'a>,
    behind: Behind,
    asking: Asking<'a>,
    /// Pages that came and were not taken yet.
    pages: BTreeMap<PageId, Vec<u8>>,
    /// Chunks that nobody was asked for yet, in the order of the file.
    missing: VecDeque<Missing>,
    missing_bytes: u64,
    /// Where chunks go once more that are on their way already.
    repeats: BTreeMap<ChunkId, Vec<u64>>,
    filler: super::contents::Filler,
    /// Since when nobody can be asked.
    idle_since: Option<Instant>,
    /// Whether somebody did not say whether it has it, since something came last.
    is_unsaid: bool,
    /// Where pieces are to come from whoever has them: the list, as far as it was gone through.
    /// Chunks are not asked for then before all of it was.
    listed: Option<Listed>,
}

impl Filling<'_> {
    fn run(&mut self) -> Result<(), NotCome> {
        loop {
            if self.job.is_stopped() {
                return Err(NotCome::Stopped);
            }
            self.read_on()?;
            self.ask();
            let is_read = self.reader.is_complete();
            if is_read && self.missing.is_empty() && self.asking.is_idle() {
                return Ok(());
            }
            self.wait()?;
        }
    }

    /// Reads the list as far as its pages are here and there is not enough to ask for.
    fn read_on(&mut self) -> Result<(), NotCome> {
        while self.reads_on() && !self.job.is_stopped() {
            let Some(next) = self.reader.wanted().next() else { return Ok(()) };
            let contents = &self.job.shared.contents;
            let came = self.pages.remove(&next);
            let is_new = came.is_some();
            let Some(bytes) = came.or_else(|| contents.page(next)) else { return Ok(()) };
            match self.reader.take(&bytes) {
                Ok(leaf) => {
                    if is_new {
                        contents.add_pages(&[(next, bytes)]);
                    }
                    if let Some(leaf) = leaf {
                        self.take(&leaf)?;
                    }
                }
                Err(PageError::OtherPage) => contents.forget_page(next),
                Err(error) => return Err(NotCome::Manifest(error)),
            }
        }
        Ok(())
    }

    /// Whether more of the list is wanted now.
    const fn reads_on(&self) -> bool {
        self.missing_bytes < AHEAD || self.listed.is_some()
    }

    /// Goes through a part of the list: what is here is put in place, the rest is missing (spec: S-037).
    fn take(&mut self, leaf: &Leaf) -> Result<(), NotCome> {
        let mut offset = leaf.offset;
        for entry in &leaf.entries {
            if self.job.is_stopped() {
                return Err(NotCome::Stopped);
            }
            match entry {
                Entry::Zeros { len } => self.clear(offset.get(), len.get())?,
                Entry::Chunk(chunk) => {
                    let is_here = self.place(offset, chunk)?;
                    if let Some(listed) = &mut self.listed {
                        listed.chunks.push(Placed { offset: offset.get(), chunk: *chunk });
                        listed.is_here.push(is_here);
                    }
                }
            }
            offset += entry.len();
            self.ask_behind(offset.get());
        }
        Ok(())
    }

    /// What is missing is on its way while the rest of the list is gone through, for what is here may be
    /// much: but only once so much lies behind it that what was edited with it is probably known.
    fn ask_behind(&mut self, offset: u64) {
        if self.listed.is_some() {
            return;
        }
        let is_behind = |first: &Missing| offset.saturating_sub(first.offset) >= asking::QUESTION;
        let is_behind = self.missing.front().is_some_and(is_behind);
        let worth = if is_behind { Worth::First } else { Worth::Whole };
        self.asking.ask_chunks(&mut self.missing, &mut self.missing_bytes, worth);
    }

    /// Whether a chunk is in its place.
    fn place(&mut self, offset: Bytes, chunk: &Chunk) -> Result<bool, NotCome> {
        let counts = &self.job.shared.counts;
        self.filler.note(offset, chunk);
        let len = u64::from(chunk.len);
        if self.local.is_staged(offset.get(), chunk) {
            counts.resumed.fetch_add(len, Ordering::Relaxed);
            return Ok(true);
        }
        match self.repeats.get_mut(&chunk.id) {
            Some(repeats) if repeats.len() < REPEATS_MAX => {
                repeats.push(offset.get());
                return Ok(false);
            }
            _ => {}
        }
        if let Some(bytes) = self.local.find(chunk) {
            counts.reused.fetch_add(len, Ordering::Relaxed);
            self.staged.write_at(bytes, offset.get())?;
            self.wrote(offset.get(), len);
            return Ok(true);
        }
        self.repeats.entry(chunk.id).or_default();
        if self.listed.is_some() {
            return Ok(false);
        }
        self.missing.push_back(Missing { chunk: *chunk, offset: offset.get() });
        self.missing_bytes += len;
        Ok(false)
    }

    /// Makes a hole where zeros are, if something may have been written there.
    fn clear(&self, offset: u64, len: u64) -> Result<(), NotCome> {
        if !self.staged.is_resumed() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self.staged.file(), flags, offset, len) {
            Ok(()) => Ok(()),
            Err(errno) => Err(NotCome::Write(errno.into())),
        }
    }

    fn ask(&mut self) {
        let pages: Vec<PageId> = if self.reads_on() {
            let contents = &self.job.shared.contents;
            let lacks = |id: &PageId| !self.pages.contains_key(id) && !contents.has_page(*id);
            self.reader.wanted().take(asking::PAGES_AT_ONCE).filter(lacks).collect()
        } else {
            Vec::new()
        };
        if !pages.is_empty() {
            self.asking.ask_pages(pages);
        }
        let worth = if self.reader.is_complete() { Worth::Last } else { Worth::First };
        self.asking.ask_chunks(&mut self.missing, &mut self.missing_bytes, worth);
    }

    /// Waits for an answer, or for somebody who can be asked.
    fn wait(&mut self) -> Result<(), NotCome> {
        match self.asking.wait(LOOK_EVERY) {
            Some(Answer::Pages(pages)) => {
                (self.idle_since, self.is_unsaid) = (None, false);
                self.pages.extend(pages);
            }
            Some(Answer::Chunks { chunks, bytes }) => {
                (self.idle_since, self.is_unsaid) = (None, false);
                self.write(chunks, &bytes).map(drop)?;
            }
            Some(Answer::Missed { chunks, is_mute }) => {
                self.is_unsaid |= is_mute;
                self.missing_bytes += chunks.iter().map(|c| u64::from(c.chunk.len)).sum::<u64>();
                chunks.into_iter().rev().for_each(|chunk| self.missing.push_front(chunk));
            }
            None => {}
        }
        if self.asking.is_idle() {
            let since = *self.idle_since.get_or_insert_with(Instant::now);
            let (most, why) = match (self.job.shared.givers.is_nobody(), self.is_unsaid) {
                (true, _) => (NOBODY_MAX, NotCome::Nobody),
                (false, true) => (UNSAID_MAX, NotCome::Unsaid),
                (false, false) => (LACKED_MAX, NotCome::Nobody),
            };
            if since.elapsed() > most {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Writes verified chunks to all the places where they go. Returns those that were not named.
    fn write(&mut self, chunks: Vec<Missing>, bytes: &[u8]) -> Result<Vec<u64>, NotCome> {
        let (mut rest, mut also) = (bytes, Vec::new());
        for Missing { chunk, offset } in chunks {
            let len = Bytes::new(u64::from(chunk.len));
            let Some((data, after)) = rest.split_at_checked(len.as_len()) else { break };
            let again = self.repeats.remove(&chunk.id).unwrap_or_default();
            also.extend_from_slice(&again);
            for offset in again.into_iter().chain([offset]) {
                self.staged.write_at(data, offset)?;
                self.wrote(offset, len.get());
            }
            self.local.placed(&chunk, offset);
            rest = after;
        }
        Ok(also)
    }

    fn wrote(&mut self, offset: u64, len: u64) {
        if let Some(bytes) = self.behind.wrote(offset, len) {
            writeback::begin(self.staged.file(), bytes);
        }
    }
}
