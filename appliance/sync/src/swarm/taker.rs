//! What one site does about one job: hears who has what, asks, has it verified, offers it.
//!
//! A chunk counts, and is offered, once its hash was checked and it is on disk; an ask ends with
//! bytes, a refusal or its time. An origin is a taker that lacks nothing and has a [`Lead`].

mod asks;
mod circle;

use super::holders::{HearError, Holders};
use super::lead::Lead;
use super::peers::Score;
use super::{ChunkSet, Dice, Fault, Part, Peer, Plan, RUNS_MAX, Run, Terms};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use asks::{DEPTH, LOCAL_DEPTH};

/// A planner that was not heard of for this time is gone: the site goes on by itself.
pub const PLAN_STALE: Duration = Duration::from_secs(5);
/// A chunk that waits for another appliance behind the same link waits so long at most before the
/// one whose turn is next fetches it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a site's body tells it.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session with a peer stands: each may ask the other.
    Joined(Peer),
    /// A peer is gone; what was asked of it will not come.
    Left(Peer),
    /// A peer says that it has these as well.
    Have(Peer, Arc<[Run]>),
    /// The planner says what to do.
    Plan(Plan),
    /// Bytes of a chunk are here, whole as they were asked for, not yet verified.
    Arrived(Peer, Part),
    /// Some bytes of what a peer owes came.
    Progress(Peer),
    /// The hash of a chunk was checked, and the chunk is on disk if it is right.
    Checked {
        /// Which one.
        chunk: u32,
        /// Whether its hash is that of the manifest.
        is_right: bool,
    },
    /// A peer refused, or broke off.
    Failed(Peer, Part, Why),
    /// At an origin: a chunk, or a part of one, left to a peer, or did not.
    Sent {
        /// To whom.
        peer: Peer,
        /// Which chunk.
        chunk: u32,
        /// Whether all of it left.
        is_whole: bool,
    },
    /// Time has passed; at least every half second.
    Tick,
}

/// Why a peer gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has too much to do.
    Busy,
    /// It does not have it, after all.
    Lacking,
    /// It broke off.
    Broken,
}

/// What the body does for a site, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask a peer for bytes of a chunk.
    Ask(Peer, Part),
    /// What follows this byte of what a peer was asked for comes from elsewhere.
    Trim(Peer, Part, u32),
    /// What a peer was asked for is not wanted any more.
    Cancel(Peer, Part),
    /// All bytes of a chunk are here: hash it, write it, say so.
    Verify(u32),
    /// Tell all neighbours that these are here, verified.
    Announce(Run),
    /// Tell one peer that these are here, verified.
    Tell(Peer, Arc<[Run]>),
    /// Name a peer to the planner and to people.
    Blame(Peer, Fault),
    /// Make a session with a peer.
    Link(Peer),
    /// Have no session with a peer any more.
    Unlink(Peer),
    /// Tell the planner what came since the last time, and from whom how many bytes.
    Report(Vec<Run>, Vec<(Peer, u64)>),
    /// Everything is here.
    Done,
}

/// How many bytes and chunks came, and what was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Chunks whose hash was wrong.
    pub bad: u64,
    /// Asks that nobody answered in time.
    pub late: u64,
    /// Refusals.
    pub refused: u64,
    /// Parts that were taken over from somebody slower.
    pub split: u64,
}

#[derive(Clone, Debug)]
struct Slice {
    peer: Peer,
    part: Part,
    at: Timestamp,
    due: Timestamp,
    is_here: bool,
}

/// A chunk that is under way, from one peer or several.
#[derive(Clone, Debug, Default)]
struct Chase {
    slices: Vec<Slice>,
    is_checked: bool,
}

/// A site's part in a job.
#[derive(Debug)]
pub struct Taker {
    me: Peer,
    terms: Arc<Terms>,
    mine: ChunkSet,
    asked: ChunkSet,
    chases: BTreeMap<u32, Chase>,
    holders: Holders,
    neighbours: BTreeMap<Peer, Score>,
    aside: BTreeSet<Peer>,
    gone: BTreeMap<Peer, Timestamp>,
    lead: Option<Lead>,
    planned_at: Option<Timestamp>,
    /// Chunks that came wrong from several at once: the next time one peer gives all of it.
    alone: BTreeSet<u32>,
    /// What could be had for [`PATIENCE`], and when that was noted.
    old: Option<(ChunkSet, Timestamp)>,
    older: Option<ChunkSet>,
    unreported: ChunkSet,
    /// At an origin: chunks that left since the last upkeep, and how many shall be under way.
    left_since: usize,
    open: usize,
    upkeep_at: Timestamp,
    /// Bytes that may be owed before no more is asked for.
    room: u64,
    dice: Dice,
    effects: VecDeque<Effect>,
    /// What happened so far.
    pub counters: Counters,
}

impl Taker {
    /// A site that has `held` already; an origin has everything. The generator decides ties.
    pub fn new(me: Peer, terms: Arc<Terms>, held: ChunkSet, dice: Dice) -> Self {
        let chunks = terms.chunks();
        let is_origin = terms.about(me).is_some_and(|about| about.is_origin);
        Self {
            me,
            mine: held,
            asked: ChunkSet::new(chunks),
            chases: BTreeMap::new(),
            holders: Holders::new(chunks),
            neighbours: BTreeMap::new(),
            aside: BTreeSet::new(),
            gone: BTreeMap::new(),
            lead: is_origin.then(|| Lead::new(me, &terms)),
            planned_at: None,
            alone: BTreeSet::new(),
            old: None,
            older: None,
            unreported: ChunkSet::new(chunks),
            left_since: 0,
            open: circle::OPEN_FIRST,
            upkeep_at: Timestamp::ZERO,
            room: u64::MAX,
            dice,
            effects: VecDeque::new(),
            counters: Counters::default(),
            terms,
        }
    }

    /// The same, and it asks for nothing more while so many bytes are owed to it.
    #[must_use]
    pub fn with_room(self, bytes: u64) -> Self {
        Self { room: bytes, ..self }
    }

    /// Takes in what happened; `effects` then has what follows.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        // Most of what neighbours tell is here or under way already: nothing follows from that.
        if let Input::Have(peer, runs) = &input
            && !self.have(*peer, runs, now)
        {
            return;
        }
        match input {
            Input::Joined(peer) => self.joined(peer, now),
            Input::Left(peer) => self.left(peer, now),
            Input::Have(..) => {}
            Input::Plan(plan) => self.plan(&plan, now),
            Input::Arrived(peer, part) => self.arrived(peer, part, now),
            Input::Progress(peer) => self.progress(peer, now),
            Input::Checked { chunk, is_right } => self.checked(chunk, is_right, now),
            Input::Failed(peer, part, why) => self.failed(peer, part, why, now),
            Input::Sent { peer, chunk, is_whole } => self.sent(peer, chunk, is_whole, now),
            Input::Tick => self.tick(now),
        }
        self.show(now);
        self.fill(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted at the latest.
    pub fn poll_timeout(&self, now: Timestamp) -> Timestamp {
        now + Duration::from_millis(500)
    }

    /// What is here, verified.
    pub fn mine(&self) -> &ChunkSet {
        &self.mine
    }

    /// Whether a peer may have a chunk from here: what is verified, and of an origin only what it was
    /// shown.
    pub fn may_give(&mut self, peer: Peer, chunk: u32) -> bool {
        let is_here = self.mine.contains(chunk) && !self.aside.contains(&peer);
        is_here && self.lead.as_mut().is_none_or(|lead| lead.may_have(peer, chunk))
    }

    /// How many neighbours have a chunk: what [`super::Giver::next`] goes by.
    pub fn count(&self, chunk: u32) -> u16 {
        self.holders.count(chunk)
    }

    /// The peers that there are sessions with.
    pub fn neighbours(&self) -> impl Iterator<Item = Peer> {
        self.neighbours.keys().copied()
    }

    /// Who is asked no more for what they gave or said.
    pub fn aside(&self) -> &BTreeSet<Peer> {
        &self.aside
    }

    /// Chunks under way.
    pub fn under_way(&self) -> usize {
        self.chases.len()
    }

    /// When the first ask that is under way runs out; it is noticed with the next tick.
    pub fn first_due(&self) -> Option<Timestamp> {
        let slices = self.chases.values().flat_map(|chase| &chase.slices);
        slices.filter(|slice| !slice.is_here).map(|slice| slice.due).min()
    }

    /// Bytes of memory that this takes, nearly.
    pub fn memory(&self) -> usize {
        let sets = self.mine.memory() + self.asked.memory() + self.unreported.memory();
        size_of::<Self>() + sets + self.holders.memory()
    }

    /// A peer says what it has: true if something may follow.
    fn have(&mut self, peer: Peer, runs: &[Run], now: Timestamp) -> bool {
        let is_origin = self.terms.about(peer).is_some_and(|about| about.is_origin);
        if self.aside.contains(&peer) || !(is_origin || self.neighbours.contains_key(&peer)) {
            return false;
        }
        if !self.neighbours.contains_key(&peer) {
            self.joined(peer, now);
        }
        match self.holders.hear(peer, runs) {
            Ok(_) => runs.iter().any(|run| run.len > 1 || self.is_wanted(run.first)),
            Err(HearError::Range(_) | HearError::Runs(_) | HearError::Order(_)) => {
                self.effects.push_back(Effect::Blame(peer, Fault::Nonsense));
                self.set_aside(peer, now);
                true
            }
        }
    }

    fn is_wanted(&self, chunk: u32) -> bool {
        !self.mine.contains(chunk) && !self.asked.contains(chunk)
    }

    fn arrived(&mut self, peer: Peer, part: Part, now: Timestamp) {
        let Some(chase) = self.chases.get_mut(&part.chunk) else { return };
        // What somebody else was to give meanwhile may have come as well, before the word to stop.
        let is_it = |s: &Slice| s.peer == peer && s.part.from == part.from && s.part.to <= part.to;
        let Some(slice) = chase.slices.iter_mut().find(|s| !s.is_here && is_it(s)) else { return };
        slice.is_here = true;
        let asked = slice.part.bytes();
        if let Some(score) = self.neighbours.get_mut(&peer) {
            score.settled(asked);
            score.gave(part.bytes(), now);
        }
        if chase.slices.iter().all(|slice| slice.is_here) && !chase.is_checked {
            chase.is_checked = true;
            self.effects.push_back(Effect::Verify(part.chunk));
        }
    }

    fn progress(&mut self, peer: Peer, now: Timestamp) {
        let slices = self.chases.values_mut().flat_map(|chase| &mut chase.slices);
        for slice in slices.filter(|slice| slice.peer == peer) {
            slice.due = slice.due.max(now + asks::ANSWER_WITHIN);
        }
    }

    fn checked(&mut self, chunk: u32, is_right: bool, now: Timestamp) {
        if !self.chases.get(&chunk).is_some_and(|chase| chase.is_checked) {
            return;
        }
        let Some(chase) = self.chases.remove(&chunk) else { return };
        self.asked.remove(chunk);
        if is_right {
            for slice in &chase.slices {
                if let Some(score) = self.neighbours.get_mut(&slice.peer) {
                    score.verified(slice.part.bytes());
                }
            }
            self.mine.insert(chunk);
            self.alone.remove(&chunk);
            self.unreported.insert(chunk);
            self.effects.push_back(Effect::Announce(Run::one(chunk)));
            if self.mine.is_full() {
                self.effects.push_back(Effect::Done);
            }
            return;
        }
        self.counters.bad += 1;
        let givers: BTreeSet<Peer> = chase.slices.iter().map(|slice| slice.peer).collect();
        let [giver] = *Vec::from_iter(givers) else {
            // One of them lies; who does shows when one gives all of it.
            self.alone.insert(chunk);
            return;
        };
        self.effects.push_back(Effect::Blame(giver, Fault::BadBytes));
        self.holders.lacks(giver, chunk);
        if let Some(score) = self.neighbours.get_mut(&giver) {
            score.lied(now);
            if score.is_aside() {
                self.set_aside(giver, now);
            }
        }
    }

    fn sent(&mut self, peer: Peer, chunk: u32, is_whole: bool, now: Timestamp) {
        match &mut self.lead {
            Some(lead) if is_whole => {
                self.left_since += 1;
                lead.given(peer, chunk, now);
            }
            Some(lead) => lead.lost(peer, chunk),
            None => {}
        }
    }

    fn is_planned(&self, now: Timestamp) -> bool {
        self.planned_at.is_some_and(|at| now.since(at) < PLAN_STALE)
    }

    fn tick(&mut self, now: Timestamp) {
        self.time_out(now);
        self.note_old(now);
        if now.since(self.upkeep_at) >= Duration::from_secs(1) {
            self.upkeep_at = now;
            self.upkeep(now);
            self.report();
        }
    }

    /// What could be had from elsewhere for a while and is still not here.
    fn note_old(&mut self, now: Timestamp) {
        if self.mates().next().is_none() || self.mine.is_full() {
            (self.old, self.older) = (None, None);
            return;
        }
        if self.old.as_ref().is_some_and(|(_, at)| now.since(*at) < PATIENCE) {
            return;
        }
        let mut seen = ChunkSet::new(self.terms.chunks());
        for run in self.mine.gaps() {
            for chunk in run.first..run.first + run.len {
                if self.holders.count(chunk) > 0 {
                    seen.insert(chunk);
                }
            }
        }
        self.older = self.old.take().map(|(set, _)| set);
        self.old = Some((seen, now));
    }

    fn report(&mut self) {
        let given = self.neighbours.iter_mut().map(|(peer, score)| (*peer, score.take_given()));
        let given: Vec<(Peer, u64)> = given.filter(|(_, bytes)| *bytes > 0).collect();
        let runs: Vec<Run> = self.unreported.runs().take(RUNS_MAX).collect();
        for run in &runs {
            (run.first..run.first + run.len).for_each(|chunk| {
                self.unreported.remove(chunk);
            });
        }
        self.effects.push_back(Effect::Report(runs, given));
    }
}
