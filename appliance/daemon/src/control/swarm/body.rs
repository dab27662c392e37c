//! What does for one file what the brain decides: words go out and come in, questions are asked,
//! answers are put where they belong and verified, what others ask for is given.

use super::roster::{Roster, SOURCE};
use super::serving::{Gone, Serving};
use super::{Asked, Leaves, Letter, Place, say};
use crate::control::Event;
use crate::control::fetch::Shared;
use crate::control::patience::Miss;
use crate::control::question::{Len, MemoryIntake, Parts};
use crate::site::{Opens, Outbox, Outgoing, Question, Wish};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Timestamp;
use farhaul_sync::message::{ByteRange, Wanted};
use farhaul_sync::swarm::planner::{Effect as Directs, Input as Planned};
use farhaul_sync::swarm::taker::{Effect, Input, Why};
use farhaul_sync::swarm::words::{Given, NAMED_MAX, Named, Word};
use farhaul_sync::swarm::{
    ChunkSet, Dice, Fault, NEIGHBOURS_MAX, Part, Peer, Pieces, Plan, Planner, RUNS_MAX, Run, Taker,
    Terms, TermsError,
};
use farhaul_sync::version::ManifestId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// How often the brain is told that time has passed.
const TICK: Duration = Duration::from_millis(500);
/// How often the planner plans anew.
const PLAN: Duration = Duration::from_secs(1);
/// Letters that are taken in before what follows from them is done.
const BATCH: usize = 256;
/// Bytes that are asked for and not here yet, at most: they are in memory until they are verified.
const ROOM: u64 = 64 << 20;

/// Where pieces go.
pub(in crate::control) trait Disk {
    /// Why a piece cannot be written.
    type Error;
    /// Which bytes of a part of a piece are not here.
    fn lacks(&self, part: Part) -> Vec<ByteRange>;
    /// Bytes of a piece came, not verified.
    fn came(&mut self, piece: u32, ranges: &[ByteRange], bytes: &[u8]);
    /// Whether all of a piece is what it should be; then it is written.
    fn verify(&mut self, piece: u32) -> Result<bool, Self::Error>;
}

struct Open {
    peer: Peer,
    part: Part,
    ranges: Vec<ByteRange>,
    wish: Wish,
}

/// See the module.
pub(in crate::control) struct Body<'a> {
    shared: &'a Shared,
    manifest: ManifestId,
    roster: Roster,
    pieces: Arc<Pieces>,
    terms: Arc<Terms>,
    taker: Taker,
    planner: Option<Planner>,
    serving: Serving,
    live: BTreeMap<SiteId, Outbox>,
    /// What had come in each session when that was last looked at.
    seen: BTreeMap<SiteId, u64>,
    joined: BTreeSet<Peer>,
    open: BTreeMap<u64, Open>,
    next: u64,
    inputs: VecDeque<Input>,
    letters: Sender<Letter>,
    mailbox: Receiver<Letter>,
    began: Instant,
    ticked: Instant,
    planned: Instant,
    /// When somebody spoke of it last, and when something new was verified here.
    spoken: Instant,
    moved: Instant,
    is_over: bool,
    others: usize,
    _leaves: Leaves,
}

impl<'a> Body<'a> {
    /// One that has `held`, and reads what it gives from `file`.
    ///
    /// # Errors
    /// There are too many pieces to be spread.
    pub(in crate::control) fn new(
        shared: &'a Shared,
        place: Place,
        pieces: &Arc<Pieces>,
        (held, file): (ChunkSet, Arc<dyn Opens>),
    ) -> Result<Self, TermsError> {
        let Place { me, source, others, manifest, letters, mailbox, live, leaves } = place;
        let roster = Roster::new(me, source);
        let terms = Arc::new(Terms::new(pieces.lengths().to_vec(), Roster::about())?);
        let chance = || Dice::new(RandomState::new().hash_one(me));
        let is_origin = roster.me() == SOURCE;
        let taker = Taker::new(roster.me(), Arc::clone(&terms), held, chance()).with_room(ROOM);
        let mut planner = is_origin.then(|| Planner::new(Arc::clone(&terms), chance()));
        let now = Instant::now();
        if let Some(planner) = &mut planner {
            planner.handle(Planned::Joined(SOURCE), Timestamp::ZERO);
        }
        let mut body = Self {
            shared,
            manifest,
            roster,
            pieces: Arc::clone(pieces),
            terms,
            taker,
            planner,
            serving: Serving::new(is_origin, file, letters.clone()),
            live: BTreeMap::new(),
            seen: BTreeMap::new(),
            joined: BTreeSet::new(),
            open: BTreeMap::new(),
            next: 0,
            inputs: VecDeque::new(),
            letters,
            mailbox,
            began: now,
            ticked: now,
            planned: now,
            spoken: now,
            moved: now,
            is_over: false,
            others,
            _leaves: leaves,
        };
        live.into_iter().for_each(|outbox| body.met(outbox));
        Ok(body)
    }

    /// Milliseconds that mean something to nobody else.
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + (Duration::from_secs(1) + self.began.elapsed())
    }

    /// Whether every piece is here.
    pub(in crate::control) fn is_full(&self) -> bool {
        self.taker.mine().is_full()
    }

    /// Whether somebody told it to end.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// How long nobody has spoken of it.
    pub(super) fn silence(&self) -> Duration {
        self.spoken.elapsed()
    }

    /// How long nothing was asked for and nothing new was verified.
    pub(in crate::control) fn standstill(&self) -> Duration {
        if self.open.is_empty() { self.moved.elapsed() } else { Duration::ZERO }
    }

    /// Whether all other sites of the leg say that they have everything.
    pub(super) fn all_have_all(&self) -> bool {
        let takers =
            if self.planner.is_some() { self.others } else { self.others.saturating_sub(1) };
        let others = u16::try_from(takers).unwrap_or(u16::MAX);
        others > 0 && (0..self.terms.chunks()).all(|piece| self.taker.count(piece) >= others)
    }

    /// Takes in what comes within `most`, and does what follows.
    pub(in crate::control) fn step<D: Disk>(
        &mut self,
        disk: &mut D,
        most: Duration,
    ) -> Result<(), D::Error> {
        let mut next = self.mailbox.recv_timeout(most.min(TICK)).ok();
        let mut taken = 0;
        while let Some(letter) = next.take() {
            self.take(letter, disk);
            self.settle(disk)?;
            taken += 1;
            next = if taken < BATCH { self.mailbox.try_recv().ok() } else { None };
        }
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.note_progress();
            self.inputs.push_back(Input::Tick);
        }
        if self.planned.elapsed() >= PLAN {
            self.planned = Instant::now();
            self.plan();
        }
        self.settle(disk)?;
        self.serve();
        self.settle(disk)
    }

    /// Has the brain take in what happened, and does what it says.
    fn settle<D: Disk>(&mut self, disk: &mut D) -> Result<(), D::Error> {
        while let Some(input) = self.inputs.pop_front() {
            let now = self.now();
            self.taker.handle(input, now);
            while let Some(effect) = self.taker.poll_effect() {
                self.act(effect, disk)?;
            }
        }
        Ok(())
    }

    fn take<D: Disk>(&mut self, letter: Letter, disk: &mut D) {
        match letter {
            Letter::Word(from, word) => self.said(from, word),
            Letter::Asked { from, piece, ranges, asked } => {
                self.asked(from, (piece, ranges), asked);
            }
            Letter::Answered(number, answer) => self.answered(number, answer, disk),
            Letter::Gone(gone) => self.gone(&gone),
            Letter::Met(outbox) => self.met(outbox),
            Letter::Lost(site) => self.lost(site),
            Letter::End => self.is_over = true,
        }
    }

    // ----- Who is there.

    fn met(&mut self, outbox: Outbox) {
        self.lost(outbox.peer());
        let runs = self.taker.mine().runs();
        // A source offers nothing of itself: it shows (spec: S-217).
        let shown = if self.roster.me() == SOURCE { 0 } else { RUNS_MAX };
        let runs: Vec<Run> = runs.take(shown).collect();
        say(&outbox, self.shared, self.manifest, Word::Hello { runs });
        self.live.insert(outbox.peer(), outbox);
    }

    fn lost(&mut self, site: SiteId) {
        if self.live.remove(&site).is_some()
            && let Some(peer) = self.roster.number(site)
        {
            self.leave(peer);
        }
    }

    fn leave(&mut self, peer: Peer) {
        self.serving.left(peer);
        self.open.retain(|_, open| open.peer != peer);
        if self.joined.remove(&peer) {
            self.inputs.push_back(Input::Left(peer));
            self.direct(Planned::Left(peer));
        }
    }

    /// The number of a site that is there, and takes part from now on if it did not.
    fn join(&mut self, site: SiteId) -> Option<Peer> {
        let peer = self.roster.number(site).filter(|_| self.live.contains_key(&site))?;
        if self.joined.insert(peer) {
            self.inputs.push_back(Input::Joined(peer));
            self.direct(Planned::Joined(peer));
        }
        Some(peer)
    }

    fn outbox(&self, peer: Peer) -> Option<&Outbox> {
        self.live.get(&self.roster.site(peer)?)
    }

    fn say_to(&self, peer: Peer, word: Word) {
        if let Some(outbox) = self.outbox(peer) {
            say(outbox, self.shared, self.manifest, word);
        }
    }

    /// Says to all that nothing is asked for or given here any more.
    pub(in crate::control) fn say_left(&self) {
        for outbox in self.live.values() {
            say(outbox, self.shared, self.manifest, Word::Left);
        }
    }

    // ----- What is said.

    fn said(&mut self, from: SiteId, word: Word) {
        self.spoken = Instant::now();
        if matches!(word, Word::Left | Word::Hello { .. })
            && let Some(peer) = self.roster.number(from)
        {
            // What it was told before it knows no more.
            self.leave(peer);
        }
        if word == Word::Left {
            return;
        }
        let Some(peer) = self.join(from) else { return };
        match word {
            Word::Hello { runs } => {
                self.reported(peer, runs.clone(), &[]);
                self.inputs.push_back(Input::Have(peer, runs.into()));
            }
            Word::Have { runs } => self.inputs.push_back(Input::Have(peer, runs.into())),
            Word::Report { runs, given } => self.reported(peer, runs, &given),
            // Nobody but the source directs (spec: S-224).
            Word::Plan { neighbours, aside } if peer == SOURCE => {
                let mut numbers = |named: Vec<Named>| -> Vec<Peer> {
                    named.iter().filter_map(|named| self.roster.number(named.0)).collect()
                };
                let (neighbours, aside) = (numbers(neighbours), numbers(aside));
                let plan = Plan { neighbours, aside, ..Plan::default() };
                self.inputs.push_back(Input::Plan(plan));
            }
            Word::Blame { site, fault } => {
                if let Some(accused) = self.roster.number(site) {
                    self.direct(Planned::Blame { by: peer, peer: accused, fault });
                }
            }
            Word::Plan { .. } | Word::Left => {}
        }
    }

    fn reported(&mut self, site: Peer, have: Vec<Run>, given: &[Given]) {
        let given = given.iter().filter_map(|it| Some((self.roster.number(it.site)?, it.bytes)));
        let given = given.collect();
        // What is free of an uplink nobody knows here: what others measured bounds what it counts for.
        self.direct(Planned::Report { site, have, given, free: u64::MAX });
    }

    fn direct(&mut self, input: Planned) {
        let now = self.now();
        if let Some(planner) = &mut self.planner {
            planner.handle(input, now);
        }
    }

    fn plan(&mut self) {
        self.direct(Planned::Tick);
        let mut named = Vec::new();
        while let Some(effect) = self.planner.as_mut().and_then(Planner::poll_effect) {
            match effect {
                Directs::Direct(SOURCE, plan) => self.inputs.push_back(Input::Plan(plan)),
                Directs::Direct(peer, plan) => named.push((peer, plan)),
                Directs::Aside(peer) => {
                    if let Some(site) = self.roster.site(peer) {
                        self.accuse(site, "several sites say that what it gives is something else");
                    }
                }
            }
        }
        for (peer, plan) in named {
            let sites = |peers: &[Peer]| -> Vec<Named> {
                let sites = peers.iter().filter_map(|peer| self.roster.site(*peer));
                sites.take(NAMED_MAX).map(Named).collect()
            };
            let (neighbours, aside) = (sites(&plan.neighbours), sites(&plan.aside));
            self.say_to(peer, Word::Plan { neighbours, aside });
        }
    }

    fn accuse(&self, peer: SiteId, why: &'static str) {
        let folder = self.shared.folder;
        // A site that stops tells nobody any more.
        let _ = self.shared.events.try_send(Event::Accused { folder, peer, why });
    }

    // ----- What the brain says.

    fn act<D: Disk>(&mut self, effect: Effect, disk: &mut D) -> Result<(), D::Error> {
        match effect {
            Effect::Ask(peer, part) => self.ask(peer, part, disk.lacks(part)),
            // Nobody is told: what comes twice is the same, or somebody lies (spec: S-224).
            Effect::Trim(..) | Effect::Link(_) | Effect::Done => {}
            Effect::Cancel(peer, part) => {
                self.give_up(|open| open.peer == peer && open.part == part);
            }
            Effect::Verify(piece) => {
                let is_right = disk.verify(piece)?;
                if is_right {
                    self.moved = Instant::now();
                }
                self.inputs.push_back(Input::Checked { chunk: piece, is_right });
            }
            Effect::Announce(run) => {
                for peer in &self.joined {
                    self.say_to(*peer, Word::Have { runs: vec![run] });
                }
            }
            Effect::Tell(peer, runs) => self.say_to(peer, Word::Have { runs: runs.to_vec() }),
            Effect::Blame(peer, fault) => self.blame(peer, fault),
            Effect::Unlink(peer) => {
                self.serving.left(peer);
                self.joined.remove(&peer);
            }
            Effect::Report(runs, given) => self.report(runs, &given),
        }
        Ok(())
    }

    fn blame(&mut self, peer: Peer, fault: Fault) {
        let Some(site) = self.roster.site(peer) else { return };
        match fault {
            Fault::BadBytes => self.accuse(site, "gave a piece that is something else"),
            Fault::Nonsense => self.accuse(site, "speaks of pieces that do not exist"),
            Fault::Silent => tracing::info!(peer = %site, "gives nothing of what it offers"),
        }
        if self.planner.is_some() {
            let by = self.roster.me();
            self.direct(Planned::Blame { by, peer, fault });
        } else {
            self.say_to(SOURCE, Word::Blame { site, fault });
        }
    }

    fn report(&mut self, runs: Vec<Run>, given: &[(Peer, u64)]) {
        if self.planner.is_some() {
            return;
        }
        let given = given.iter().take(NEIGHBOURS_MAX * 2);
        let given = given.filter_map(|(peer, bytes)| {
            Some(Given { site: self.roster.site(*peer)?, bytes: *bytes })
        });
        let given = given.collect();
        self.say_to(SOURCE, Word::Report { runs, given });
    }

    // ----- Questions of this site.

    fn ask(&mut self, peer: Peer, part: Part, ranges: Vec<ByteRange>) {
        if ranges.is_empty() {
            // All of it came meanwhile, as a copy of something else in the file.
            return self.inputs.push_back(Input::Arrived(peer, part));
        }
        let Some(outbox) = self.outbox(peer).cloned() else {
            return self.inputs.push_back(Input::Failed(peer, part, Why::Broken));
        };
        let number = self.next;
        self.next += 1;
        let letters = self.letters.clone();
        let then = Box::new(move |answer| drop(letters.send(Letter::Answered(number, answer))));
        let len = ranges.iter().map(|range| range.len).sum();
        let intake = MemoryIntake::new(vec![Len::Is(len)], Arc::clone(outbox.came()), then);
        let (folder, question) = (self.shared.folder, Question::new(Box::new(intake)));
        let wish = question.wish().clone();
        let (manifest, piece) = (self.manifest, part.chunk);
        let wanted = vec![Wanted::Piece { manifest, piece, ranges: ranges.clone() }];
        self.open.insert(number, Open { peer, part, ranges, wish });
        // If it is refused it is dropped, and its end comes like any other answer.
        let _ = outbox.send(Outgoing::Ask { folder, wanted, question });
    }

    /// What is asked for and not wanted any more: whoever gives it is to stop (spec: S-228).
    fn give_up(&mut self, is_it: impl Fn(&Open) -> bool) -> Vec<Open> {
        let given_up: Vec<Open> =
            self.open.extract_if(.., |_, open| is_it(open)).map(|(_, open)| open).collect();
        for open in &given_up {
            open.wish.end();
            if let Some(outbox) = self.outbox(open.peer) {
                // A session that is over gives nothing either.
                let _ = outbox.send(Outgoing::Enough(open.wish.clone()));
            }
        }
        given_up
    }

    fn answered<D: Disk>(&mut self, number: u64, answer: Result<Parts, Miss>, disk: &mut D) {
        let bytes = answer.map(|mut parts| parts.pop().flatten());
        if let Ok(Some(bytes)) = &bytes {
            let received = &self.shared.counts.received;
            received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        // What was given up is too late.
        let Some(Open { peer, part, ranges, .. }) = self.open.remove(&number) else { return };
        let why = match bytes {
            Ok(Some(bytes)) => {
                disk.came(part.chunk, &ranges, &bytes);
                self.inputs.push_back(Input::Arrived(peer, part));
                // What somebody else was asked for meanwhile may have come with it.
                let here = self.give_up(|open| {
                    open.part.chunk == part.chunk && disk.lacks(open.part).is_empty()
                });
                let here = here.into_iter().map(|open| Input::Arrived(open.peer, open.part));
                self.inputs.extend(here);
                return;
            }
            Ok(None) => Why::Lacking,
            Err(Miss::Halted) => Why::Busy,
            // An answer breaks off as well where its file is being put in place: it is there still.
            Err(_) => Why::Broken,
        };
        self.inputs.push_back(Input::Failed(peer, part, why));
    }

    /// Who gives bytes of what it owes is waited for.
    fn note_progress(&mut self) {
        let owing: BTreeSet<Peer> = self.open.values().map(|open| open.peer).collect();
        for peer in owing {
            let Some(outbox) = self.outbox(peer) else { continue };
            let (site, came) = (outbox.peer(), outbox.came().load(Ordering::Relaxed));
            if self.seen.insert(site, came).is_some_and(|before| before != came) {
                self.inputs.push_back(Input::Progress(peer));
            }
        }
    }

    // ----- Questions of others.

    fn asked(&mut self, from: SiteId, (piece, ranges): (u32, Vec<ByteRange>), asked: Asked) {
        self.spoken = Instant::now();
        // Somebody whose session is over hears no answer.
        let Some(peer) = self.join(from) else { return };
        let (taker, terms) = (&mut self.taker, &*self.terms);
        let may = |piece| taker.may_give(peer, piece);
        self.serving.ask((peer, piece), ranges, asked, (terms, may));
    }

    fn serve(&mut self) {
        while let Some((peer, piece, bytes)) =
            self.serving.next(&self.pieces, |piece| self.taker.count(piece))
        {
            match bytes {
                Some(bytes) => _ = self.shared.counts.given.fetch_add(bytes, Ordering::Relaxed),
                None => {
                    self.inputs.push_back(Input::Sent { peer, chunk: piece, is_whole: false });
                    // What stands there is not what it was: nothing more is given from here.
                    self.is_over = true;
                }
            }
        }
    }

    fn gone(&mut self, gone: &Gone) {
        self.serving.gone(gone);
        let Gone { peer, piece, is_whole, .. } = *gone;
        self.inputs.push_back(Input::Sent { peer, chunk: piece, is_whole });
    }
}
