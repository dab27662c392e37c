//! Large files of a leg of a job spread among its sites: each piece leaves the source about once, and
//! targets have it from each other from then on, while it is still coming in (spec: S-222).
//!
//! Who decides is `farhaul_sync::swarm`. Here is what does it: [`Body`] for one file, in a thread of its
//! own, with a mailbox; and [`Swarms`], by which the control loop finds the mailbox of a file. A target
//! that lacks a file has a body in the thread that brings it (`large::spread`); whoever has all of it
//! gets one with the first word about it ([`seed`]).

mod body;
mod roster;
mod seed;
mod serving;

use super::fetch::Shared;
use super::folder::Folder;
use super::give::{decline, give};
use super::patience::Miss;
use super::question::Parts;
use crate::events::Said;
use crate::site::{Outbox, Outgoing, Owing, Part};
use farhaul_api::EventKind;
use farhaul_proto::ids::SiteId;
use farhaul_sync::folder::Role;
use farhaul_sync::message::{ByteRange, Message};
use farhaul_sync::swarm::words::Word;
use farhaul_sync::version::ManifestId;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use body::{Body, Disk};
pub(super) use serving::StagedFile;

/// Files of a folder that are given away at the same time; beyond that the one of which nobody has
/// spoken for the longest time ends.
const SEEDS_MAX: usize = 64;
/// A file that came is in place after this time, or is not to be.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// After so many fetches in a row that stood still a file is asked for as a whole (spec: S-227),
const STILL_MAX: u32 = 2;
/// for this time.
const STILL_FOR: Duration = Duration::from_secs(3600);
/// What a leg's folder is called begins so; no folder of a configuration may be called that.
const JOB: &str = "job:";

/// What the body of a file is told.
pub(super) enum Letter {
    /// A site of the folder says something.
    Word(SiteId, Word),
    /// A site asks for some of a piece.
    Asked { from: SiteId, piece: u32, ranges: Vec<ByteRange>, asked: Asked },
    /// An answer came, or did not.
    Answered(u64, Result<Parts, Miss>),
    /// An answer is with whom it is for, or will never be.
    Gone(serving::Gone),
    /// A session with a site that knows swarms begins.
    Met(Outbox),
    /// It is over.
    Lost(SiteId),
    /// It is to end: others have their turn.
    End,
}

/// A question for a piece. Dropped without an answer it is declined: whoever asked may ask again.
pub(super) struct Asked(Option<(u64, Owing, Outbox)>);

impl Asked {
    pub(super) fn new(id: u64, owing: Owing, outbox: &Outbox) -> Self {
        Self(Some((id, owing, outbox.clone())))
    }

    /// It is not here.
    fn lacks(mut self) {
        if let Some((id, owing, outbox)) = self.0.take() {
            give(id, vec![None], owing, &outbox);
        }
    }

    /// These are the bytes.
    fn give(mut self, len: u64, parts: Vec<Part>) {
        if let Some((id, owing, outbox)) = self.0.take() {
            give(id, vec![Some((len, parts))], owing, &outbox);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some((id, _, outbox)) = self.0.take() {
            decline(id, &outbox);
        }
    }
}

/// A body's mailbox, in the list.
struct Entry {
    number: u64,
    letters: Sender<Letter>,
    /// Whether all of the file is here.
    is_seed: bool,
    heard: Instant,
}

#[derive(Default)]
struct Known {
    me: Option<SiteId>,
    source: Option<SiteId>,
    /// Sites of the leg, but for this one.
    others: usize,
    live: BTreeMap<SiteId, Outbox>,
    bodies: BTreeMap<ManifestId, Entry>,
    /// What came, and may not be in place yet.
    came: BTreeMap<ManifestId, Instant>,
    /// How often in a row a fetch stood still, and when last.
    still: BTreeMap<ManifestId, (u32, Instant)>,
    next: u64,
}

/// The files of a folder that spread, shared by all who have to do with them.
#[derive(Clone, Default)]
pub(super) struct Swarms(Arc<Mutex<Known>>);

impl Swarms {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session with a site that shares the folder.
    pub(super) fn meet(&self, outbox: Outbox) {
        if !outbox.knows_swarms() {
            return;
        }
        let mut known = self.lock();
        for entry in known.bodies.values() {
            let _ = entry.letters.send(Letter::Met(outbox.clone()));
        }
        known.live.insert(outbox.peer(), outbox);
    }

    /// It is over.
    pub(super) fn lose(&self, peer: SiteId) {
        let mut known = self.lock();
        if known.live.remove(&peer).is_some() {
            known.bodies.values().for_each(|entry| drop(entry.letters.send(Letter::Lost(peer))));
        }
    }

    /// Whether files are asked for piece by piece just now: not where their source is there and does
    /// not know how (spec: S-226).
    pub(super) fn is_used(&self, is_live: impl Fn(SiteId) -> bool) -> bool {
        let known = self.lock();
        let Some(source) = known.source.filter(|source| Some(*source) != known.me) else {
            return false;
        };
        if is_live(source) { known.live.contains_key(&source) } else { !known.live.is_empty() }
    }

    /// A body for a content, unless a thread brings it for another path; `None` too where there are
    /// none in this folder.
    pub(super) fn enter(&self, manifest: ManifestId, is_seed: bool) -> Option<Place> {
        let mut known = self.lock();
        let (me, source) = (known.me?, known.source?);
        if known.bodies.get(&manifest).is_some_and(|entry| is_seed || !entry.is_seed) {
            return None;
        }
        let others = known.others;
        let (letters, mailbox) = channel();
        known.next += 1;
        let number = known.next;
        let entry = Entry { number, letters: letters.clone(), is_seed, heard: Instant::now() };
        known.bodies.insert(manifest, entry);
        let live = known.live.values().cloned().collect();
        drop(known);
        let leaves = Leaves { swarms: self.clone(), manifest, number };
        Some(Place { me, source, others, manifest, letters, mailbox, live, leaves })
    }

    /// Hands a letter to the body of a content, or gives it back.
    fn send(&self, manifest: ManifestId, letter: Letter) -> Option<Letter> {
        let mut known = self.lock();
        match known.bodies.get_mut(&manifest) {
            Some(entry) => {
                entry.heard = Instant::now();
                entry.letters.send(letter).err().map(|back| back.0)
            }
            None => Some(letter),
        }
    }

    /// A content came, and is about to be put in place.
    pub(super) fn came(&self, manifest: ManifestId) {
        let (mut known, now) = (self.lock(), Instant::now());
        known.came.retain(|_, at| now.duration_since(*at) < SETTLED_WITHIN);
        known.came.insert(manifest, now);
        known.still.remove(&manifest);
    }

    /// A fetch of a content stood still, though somebody was there.
    pub(super) fn stood_still(&self, manifest: ManifestId) {
        let (mut known, now) = (self.lock(), Instant::now());
        known.still.retain(|_, (_, at)| now.duration_since(*at) < STILL_FOR);
        let (times, at) = known.still.entry(manifest).or_insert((0, now));
        (*times, *at) = (*times + 1, now);
    }

    /// Whether a content is asked for as a whole, because it did not come in pieces (spec: S-227).
    pub(super) fn is_stuck(&self, manifest: ManifestId) -> bool {
        let known = self.lock();
        let still = known.still.get(&manifest);
        still.is_some_and(|(times, at)| *times >= STILL_MAX && at.elapsed() < STILL_FOR)
    }

    fn is_settling(&self, manifest: ManifestId) -> bool {
        self.lock().came.get(&manifest).is_some_and(|at| at.elapsed() < SETTLED_WITHIN)
    }

    /// Makes room for one more that gives a file away.
    fn make_room(&self) {
        let known = self.lock();
        let seeds = known.bodies.values().filter(|entry| entry.is_seed);
        if seeds.clone().count() >= SEEDS_MAX
            && let Some(oldest) = seeds.min_by_key(|entry| entry.heard)
        {
            let _ = oldest.letters.send(Letter::End);
        }
    }
}

/// What a body begins with.
pub(super) struct Place {
    me: SiteId,
    source: SiteId,
    others: usize,
    manifest: ManifestId,
    letters: Sender<Letter>,
    mailbox: Receiver<Letter>,
    live: Vec<Outbox>,
    leaves: Leaves,
}

/// Takes a body out of the list when it ends.
struct Leaves {
    swarms: Swarms,
    manifest: ManifestId,
    number: u64,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let mut known = self.swarms.lock();
        if known.bodies.get(&self.manifest).is_some_and(|entry| entry.number == self.number) {
            known.bodies.remove(&self.manifest);
        }
    }
}

impl Folder {
    /// Whether the folder is a leg of a job, and where that comes from.
    pub(super) fn take_part_in_swarms(&mut self) {
        let (me, rights) = (self.identity.id(), &self.setup.policy.rights);
        let own = (rights.own() == Role::SourceOnly).then_some(me);
        let others = self.setup.peers.iter().copied();
        let source =
            own.or_else(|| others.into_iter().find(|site| rights.of(*site) == Role::SourceOnly));
        if self.setup.name.starts_with(JOB) {
            let mut known = self.fetching.shared().swarms.lock();
            (known.me, known.source, known.others) = (Some(me), source, self.setup.peers.len());
        }
    }

    /// A neighbour says something of a content that spreads.
    pub(super) fn swarm_said(&mut self, peer: SiteId, manifest: ManifestId, word: Word) {
        if !self.neighbours.contains_key(&peer) || !self.setup.peers.contains(&peer) {
            return;
        }
        let swarms = self.fetching.shared().swarms.clone();
        let is_last = word == Word::Left;
        if let Some(letter) = swarms.send(manifest, Letter::Word(peer, word))
            && !is_last
            && self.begin_to_seed(manifest)
        {
            let _ = swarms.send(manifest, letter);
        }
    }

    /// A neighbour asks for some of a piece.
    pub(super) fn asked_piece(
        &mut self,
        from: SiteId,
        (manifest, piece, ranges): (ManifestId, u32, Vec<ByteRange>),
        asked: Asked,
    ) {
        let swarms = self.fetching.shared().swarms.clone();
        let letter = Letter::Asked { from, piece, ranges, asked };
        let Some(letter) = swarms.send(manifest, letter) else { return };
        if self.begin_to_seed(manifest) {
            // If it ended at once, the question is declined.
            let _ = swarms.send(manifest, letter);
        } else if !swarms.is_settling(manifest)
            && let Letter::Asked { asked, .. } = letter
        {
            asked.lacks();
        }
    }

    /// Begins to give a file away, if all of it is here.
    fn begin_to_seed(&mut self, manifest: ManifestId) -> bool {
        let Some(source) =
            self.find(manifest).filter(|it| it.size > super::contents::WHOLE_MAX.get())
        else {
            return false;
        };
        let shared: Shared = self.fetching.shared().clone();
        shared.swarms.make_room();
        let Some(place) = shared.swarms.enter(manifest, true) else { return false };
        super::copying::spawn("farhaul-seed", move || seed::run(&shared, place, source)).is_ok()
    }

    /// A neighbour gave something else than it should, or says what cannot be.
    pub(super) fn accused(&mut self, peer: SiteId, why: &'static str) {
        tracing::warn!(folder = %self.setup.name, %peer, "{why}");
        self.fetching.counts().accused.fetch_add(1, Ordering::Relaxed);
        self.health.say(Said::that(EventKind::Failed).peer(peer).text(why));
    }
}

fn say(outbox: &Outbox, shared: &Shared, manifest: ManifestId, word: Word) {
    let said = Message::Swarm { folder: shared.folder, manifest, word: Box::new(word) };
    // A session that takes nothing ends, and the next one begins anew.
    let _ = outbox.send(Outgoing::Say(said));
}
