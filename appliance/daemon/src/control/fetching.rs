//! What of a folder is on its way in: small files by the question, large ones each in a thread of its
//! own, copies of what is here. Each kind has a bound of its own, so that none keeps another waiting
//! (spec: S-075).

use super::Event;
use super::contents::{Contents, WHOLE_MAX};
use super::copying::{Copying, kind_of, spawn};
use super::fetch::{self, Alive, Claim, Counts, LocalCopy, Shared, Wish};
use super::folder::FolderError;
use super::give::Source;
use super::givers::{Givers, HERE, Picked};
use super::large::LargeJob;
use super::links::file_of;
use super::patience::Miss;
use super::swarm::Swarms;
use super::turns::{Kind, Turns};
use crate::index::Reading;
use crate::index::chunks::Home;
use crate::store::{Committed, Store};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::Item;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, LinkGroup, ManifestId, Version};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, atomic::Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Small files that are asked for and not here yet, and their bytes.
const SMALL_MAX: usize = 1024;
const SMALL_BYTES_MAX: u64 = 32 << 20;
/// Those in one question.
const QUESTION_MAX: usize = 256;
const QUESTION_BYTES_MAX: u64 = 4 << 20;
/// Large files that come at the same time.
const LARGE_MAX: usize = 4;
/// How long threads may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// How a file comes.
enum Coming {
    Small { bytes: u64 },
    Large { manifest: ManifestId, bytes: u64, stop: Stop },
    Copy { bytes: u64 },
}

impl Coming {
    const fn bytes(&self) -> u64 {
        match self {
            Self::Small { bytes } | Self::Large { bytes, .. } | Self::Copy { bytes } => *bytes,
        }
    }
}

/// Small files that somebody was asked for together.
struct Asked {
    from: SiteId,
    at: Instant,
    claim: Claim,
    wishes: Vec<(RelPath, ManifestId)>,
}

/// What is on its way into one folder.
pub(super) struct Fetching {
    shared: Shared,
    coming: BTreeMap<RelPath, Coming>,
    /// Of files with several names, by which one they come: the others wait.
    leads: BTreeMap<(LinkGroup, ManifestId), RelPath>,
    asked: Vec<Asked>,
    small: (usize, u64),
    large: usize,
    copying: Copying,
    turns: Turns,
    /// When something that cannot be brought now may be.
    again: Option<Instant>,
    ended: Receiver<()>,
}

/// What was brought since a site started, in bytes of contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentCounts {
    /// Those that came over the network: of files, of chunks and of chunk lists, before packing.
    pub received: u64,
    /// Those that were taken from files that were here.
    pub reused: u64,
    /// Those that an earlier attempt had left.
    pub resumed: u64,
    /// Those that others were given.
    pub given: u64,
    /// How often a site was accused of giving something else, or of saying what cannot be.
    pub accused: u64,
}

impl core::iter::Sum for ContentCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, more| Self {
            received: sum.received + more.received,
            reused: sum.reused + more.reused,
            resumed: sum.resumed + more.resumed,
            given: sum.given + more.given,
            accused: sum.accused + more.accused,
        })
    }
}

impl Fetching {
    /// Nothing yet.
    pub(super) fn new(
        (folder, keys): (FolderKey, &Arc<ContentKeys>),
        store: &Store,
        contents: &Contents,
        events: &mpsc::Sender<Event>,
        stop: Stop,
    ) -> Self {
        let (alive, ended) = std::sync::mpsc::channel();
        let shared = Shared {
            folder,
            keys: Arc::clone(keys),
            store: store.clone(),
            contents: contents.clone(),
            givers: Givers::default(),
            swarms: Swarms::default(),
            counts: Arc::default(),
            events: events.clone(),
            stop,
            _alive: Alive { _ends: alive },
        };
        let (coming, leads, asked) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (copying, turns) = (Copying::default(), Turns::new(Instant::now()));
        let (small, large, again) = ((0, 0), 0, None);
        Self { shared, coming, leads, asked, small, large, copying, turns, again, ended }
    }

    pub(super) const fn givers(&self) -> &Givers {
        &self.shared.givers
    }

    pub(super) const fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }

    /// Whether anything comes.
    pub(super) fn is_busy(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Has threads end as soon as they can.
    pub(super) fn stop(&self) {
        self.shared.stop.set();
    }

    /// How many files come, and their bytes.
    pub(super) fn under_way(&self) -> (u64, u64) {
        let bytes = self.coming.values().map(Coming::bytes).fold(0, u64::saturating_add);
        (self.coming.len() as u64, bytes)
    }

    /// What comes for a path: from one that was asked for all of it, and its bytes.
    pub(super) fn coming(&self, path: &RelPath) -> Option<(Option<SiteId>, u64)> {
        let bytes = self.coming.get(path)?.bytes();
        let has = |asked: &&Asked| asked.wishes.iter().any(|(wished, _)| wished == path);
        Some((self.asked.iter().find(has).map(|asked| asked.from), bytes))
    }

    /// Whether something comes for a path already.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.coming.contains_key(path)
    }

    /// Whether nothing more of any kind can be begun.
    pub(super) const fn is_full(&self) -> bool {
        self.is_small_full() && self.large >= LARGE_MAX
    }

    const fn is_small_full(&self) -> bool {
        self.small.0 >= SMALL_MAX || self.small.1 >= SMALL_BYTES_MAX
    }

    /// Whether a path waits until one more of its kind may be begun.
    pub(super) fn is_waiting(&self, path: &RelPath) -> bool {
        self.turns.has(path)
    }

    /// Whether more wait than are remembered.
    pub(super) fn is_overrun(&self) -> bool {
        self.turns.is_lossy()
    }

    /// Something became of a path, which may wait for nothing any more.
    pub(super) fn changed(&mut self, path: &RelPath) {
        self.turns.forget(path);
    }

    /// Paths whose turn has come, in order. With `false`, more may wait than are remembered.
    pub(super) fn next_turns(&mut self) -> (Vec<RelPath>, bool) {
        let (mut next, mut is_all) = (Vec::new(), true);
        for kind in Kind::ALL {
            let room = self.room(kind);
            is_all &= self.turns.take(kind, room, &mut next);
        }
        next.sort_unstable();
        (next, is_all)
    }

    /// How many more of a kind are begun: of small files that are asked for a whole question, or what
    /// there is once none is on its way.
    fn room(&self, kind: Kind) -> usize {
        let (files, bytes) = self.small;
        match kind {
            Kind::Small if files == 0 => QUESTION_MAX,
            Kind::Small if SMALL_BYTES_MAX.saturating_sub(bytes) < QUESTION_BYTES_MAX => 0,
            Kind::Small if SMALL_MAX.saturating_sub(files) < QUESTION_MAX => 0,
            Kind::Small => QUESTION_MAX,
            Kind::Large => LARGE_MAX.saturating_sub(self.large),
            Kind::SmallCopy | Kind::LargeCopy => self.copying.room(kind),
        }
    }

    /// Whether a content may be brought now. If not, it is remembered when it may be.
    pub(super) fn may_try(&mut self, content: ManifestId) -> bool {
        let may = self.shared.givers.may_try(content);
        if !may {
            self.not_now(content);
        }
        may
    }

    fn not_now(&mut self, content: ManifestId) {
        let at = self.shared.givers.again_at(content);
        self.again = self.again.into_iter().chain(at).min();
    }

    /// When the first of those may be brought that could not be since this was last asked.
    pub(super) const fn take_again(&mut self) -> Option<Instant> {
        self.again.take()
    }

    /// Whether a file comes already, by another of its names.
    pub(super) fn is_led(&self, version: &Version) -> bool {
        file_of(version).is_some_and(|file| self.leads.contains_key(&file))
    }

    fn comes(&mut self, wish: &Wish, coming: Coming) {
        self.coming.insert(wish.path.clone(), coming);
        self.leads.extend(file_of(&wish.version).map(|file| (file, wish.path.clone())));
    }

    /// Begins to bring a file if it can be begun now; `here` is where its content is already. A small
    /// one that is to be asked for is given back.
    pub(super) fn begin(
        &mut self,
        wish: Wish,
        here: Option<Source>,
    ) -> Result<Option<Wish>, FolderError> {
        let givers = &self.shared.givers;
        let may_ask = givers.may_ask(wish.manifest);
        // What was found here and was not what it should be is better asked for.
        if !(may_ask && givers.was_missed(wish.manifest, HERE))
            && let Some(source) = here
        {
            let kind = kind_of(wish.size);
            if self.copying.room(kind) == 0 {
                self.turns.wait(kind, &wish.path);
                return Ok(None);
            }
            let (copied, shared) = (wish.clone(), self.shared.clone());
            self.copying.begin(LocalCopy { shared, wish: copied, source })?;
            self.comes(&wish, Coming::Copy { bytes: wish.size.get() });
            return Ok(None);
        }
        if !may_ask {
            self.not_now(wish.manifest);
            return Ok(None);
        }
        if wish.size > WHOLE_MAX {
            if self.large < LARGE_MAX {
                let (manifest, bytes) = (wish.manifest, wish.size.get());
                let (shared, stop) = (self.shared.clone(), Stop::default());
                let job = LargeJob { shared, wish: wish.clone(), stop: stop.clone() };
                spawn("farhaul-fetch", move || job.run())?;
                self.comes(&wish, Coming::Large { manifest, bytes, stop });
                self.large += 1;
            } else {
                self.turns.wait(Kind::Large, &wish.path);
            }
            return Ok(None);
        }
        if self.is_small_full() {
            self.turns.wait(Kind::Small, &wish.path);
            return Ok(None);
        }
        let bytes = wish.size.get();
        self.small = (self.small.0 + 1, self.small.1 + bytes);
        self.comes(&wish, Coming::Small { bytes });
        Ok(Some(wish))
    }

    /// Asks for small files, each of somebody who may be asked for it.
    pub(super) fn ask(&mut self, wishes: Vec<Wish>) {
        let mut questions: BTreeMap<SiteId, (Picked, Vec<Wish>, u64)> = BTreeMap::new();
        for wish in wishes {
            let Some(picked) = self.shared.givers.pick(wish.manifest, wish.author()) else {
                self.took(&wish.path);
                continue;
            };
            let site = picked.site();
            let (_, wishes, bytes) = questions.entry(site).or_insert((picked, Vec::new(), 0));
            *bytes += wish.size.get();
            wishes.push(wish);
            if (wishes.len() >= QUESTION_MAX || *bytes >= QUESTION_BYTES_MAX)
                && let Some((picked, wishes, _)) = questions.remove(&site)
            {
                self.ask_one(&picked, wishes);
            }
        }
        for (picked, wishes, _) in questions.into_values() {
            self.ask_one(&picked, wishes);
        }
    }

    fn ask_one(&mut self, picked: &Picked, wishes: Vec<Wish>) {
        let (claim, at, from) = (Claim::default(), Instant::now(), picked.site());
        let named = wishes.iter().map(|wish| (wish.path.clone(), wish.manifest)).collect();
        self.asked.push(Asked { from, at, claim: claim.clone(), wishes: named });
        self.shared.givers.asked(from);
        fetch::ask(&self.shared, picked, wishes, claim);
    }

    /// What came for a path, or did not, was told.
    pub(super) fn took(&mut self, path: &RelPath) {
        self.leads.retain(|_, lead| lead != path);
        match self.coming.remove(path) {
            Some(Coming::Small { bytes }) => {
                self.small = (self.small.0.saturating_sub(1), self.small.1.saturating_sub(bytes));
            }
            Some(Coming::Large { .. }) => self.large = self.large.saturating_sub(1),
            Some(Coming::Copy { bytes }) => self.copying.ended(Bytes::new(bytes)),
            None => {}
        }
    }

    /// What was to be copied to a path is elsewhere by now: it has its turn again.
    pub(super) fn moved_on(&mut self, path: &RelPath) {
        if let Some(Coming::Copy { bytes }) = self.coming.get(path) {
            self.turns.wait(kind_of(Bytes::new(*bytes)), path);
        }
        self.took(path);
    }

    /// Frees what waits for somebody who gives nothing, and ends what is not wanted any more. Whether
    /// somebody may be asked at once who could not before.
    pub(super) fn look_after(&mut self, index: Reading<'_>) -> bool {
        self.turns.look_after(Instant::now());
        self.asked.retain(|asked| !asked.claim.is_taken());
        let givers = self.shared.givers.clone();
        let is_stalled = |asked: &Asked| givers.is_stalled(asked.from, asked.at);
        let stalled = self.asked.extract_if(.., |asked| is_stalled(asked) && asked.claim.take());
        let stalled: Vec<Asked> = stalled.collect();
        for Asked { from, wishes, .. } in stalled {
            tracing::warn!(peer = %from, files = wishes.len(), "gives nothing any more");
            givers.answered(from);
            for (path, manifest) in wishes {
                givers.missed(manifest, from, &Miss::Stalled);
                self.took(&path);
            }
        }
        for (path, coming) in &self.coming {
            let Coming::Large { manifest, stop, .. } = coming else { continue };
            let is_it = |version: &Version| matches!(version.content, Content::File { manifest: it, .. } if it == *manifest);
            // That of a conflict copy is a version of another path.
            let is_wanted = |item: Item| {
                let copy = item.copy.iter().map(|(_, loser)| loser);
                item.versions.iter().chain(copy).any(is_it)
            };
            if index.item(path).is_ok_and(|item| !is_wanted(item)) {
                stop.set();
            }
        }
        givers.give_again()
    }

    /// Ends everything, and waits until no thread works on the disk any more.
    pub(super) fn end(self) {
        let Self { shared, coming, asked, copying, ended, .. } = self;
        shared.stop.set();
        drop((shared, coming, asked, copying));
        if ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("a thread that brings files does not end");
        }
    }
}

impl Counts {
    pub(super) fn now(&self) -> ContentCounts {
        ContentCounts {
            received: self.received.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
            given: self.given.load(Ordering::Relaxed),
            accused: self.accused.load(Ordering::Relaxed),
        }
    }
}

/// Notes where the files of a change are now.
pub(super) fn note_places(contents: &Contents, done: &Committed) {
    if let Some(displaced) = done.displaced.as_ref().filter(|out| out.size > WHOLE_MAX.get()) {
        let kept = Home::Kept(displaced.name.clone());
        contents.moved(&Home::Tree(displaced.path.clone()), &kept);
    }
    for (path, placed) in &done.placed {
        let Some(placed) = placed else { continue };
        if let Content::File { manifest, size } = placed.version.content
            && size > WHOLE_MAX
        {
            contents.moved(&Home::Staged(manifest), &Home::Tree(path.clone()));
        }
    }
}
