//! How an origin hands each chunk to one site, and to a second one only if nobody else got it.
//!
//! An origin never says what it has. It reveals a chunk to one peer and serves only what it
//! revealed, to that peer: so its uplink carries the file once, whoever asks for what. Who gets how
//! much follows from spare uplinks ([`super::planner`]); without a plan all neighbours get the same.

use super::holders::Holders;
use super::{ChunkSet, Dice, Peer, Run, Terms, elect};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// A chunk that was revealed and not asked for is revealed to somebody else after this time.
const ASKED_WITHIN: Duration = Duration::from_secs(3);
/// A chunk that was asked for and did not leave goes to somebody else after this time: whoever asks, and
/// takes nothing, must not keep it from others.
const GIVEN_WITHIN: Duration = Duration::from_secs(120);
/// A chunk that nobody offers but whom it was given to goes out again after this time.
pub const SPREAD_WITHIN: Duration = Duration::from_secs(15);
/// A chunk that only few offer is looked at again, after twice as long each time, up to this.
const SPREAD_LOOKED_AT: Duration = Duration::from_secs(240);
/// Chunks that are revealed and not yet given at most.
const OPEN_MAX: usize = 64;
/// Chunks that one peer was shown and has not been given at most.
const OPEN_PER_PEER: usize = 4;
/// Chunks that did not spread, after which a peer is given none for a while.
const LOST_MAX: u32 = 3;
/// Runs that are to be given at most; what a planner says beyond is dropped, it says it again.
const PARTS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Shown {
    peer: Peer,
    at: Timestamp,
    is_asked: bool,
    /// How many claimed it then, before anybody could have it from here.
    claimed: u16,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    peer: Peer,
    chunk: u32,
    /// When it was shown, or looked at last.
    claimed: u16,
    /// How long nobody looked, or looks next.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Credit {
    weight: u64,
    credit: i128,
    lost: u32,
}

/// What an origin knows of its own chunks.
#[derive(Debug)]
pub struct Lead {
    me: Peer,
    /// Shown or given, by this origin; what others of the swarm have is in `Holders`.
    out: ChunkSet,
    shown: BTreeMap<u32, Shown>,
    watched: VecDeque<(Timestamp, Out)>,
    part: VecDeque<Run>,
    /// Where the search for chunks of one's own is, without a plan.
    cursor: u32,
    again: VecDeque<u32>,
    leads: BTreeMap<Peer, Credit>,
}

impl Lead {
    /// An origin that has given nothing.
    pub fn new(me: Peer, terms: &Terms) -> Self {
        Self {
            me,
            out: ChunkSet::new(terms.chunks()),
            shown: BTreeMap::new(),
            watched: VecDeque::new(),
            part: VecDeque::new(),
            cursor: 0,
            again: VecDeque::new(),
            leads: BTreeMap::new(),
        }
    }

    /// Takes in what the planner wants given, and to whom.
    pub fn plan(&mut self, part: &[Run], leads: &[(Peer, u64)]) {
        self.part.extend(part.iter().copied());
        self.part.truncate(PARTS_MAX);
        if !leads.is_empty() {
            self.weigh(leads);
        }
    }

    /// These may be given to, with these weights; others no more.
    pub fn weigh(&mut self, leads: &[(Peer, u64)]) {
        let known = core::mem::take(&mut self.leads);
        for (peer, weight) in leads.iter().filter(|(_, weight)| *weight > 0) {
            let old = known.get(peer).copied().unwrap_or_default();
            self.leads.insert(*peer, Credit { weight: *weight, ..old });
        }
    }

    /// A peer is gone: what it was shown goes to others.
    pub fn left(&mut self, peer: Peer) {
        self.leads.remove(&peer);
        let lost = self.shown.iter().filter(|(_, shown)| shown.peer == peer);
        let lost: Vec<u32> = lost.map(|(chunk, _)| *chunk).collect();
        for chunk in lost {
            self.shown.remove(&chunk);
            self.again.push_back(chunk);
        }
    }

    /// Whether a peer may have a chunk from here; if so, it counts as asked for.
    pub fn may_have(&mut self, peer: Peer, chunk: u32) -> bool {
        let shown = self.shown.get_mut(&chunk).filter(|shown| shown.peer == peer);
        shown.map(|shown| shown.is_asked = true).is_some()
    }

    /// A chunk went out whole to whom it was shown.
    pub fn given(&mut self, peer: Peer, chunk: u32, now: Timestamp) {
        if let Some(shown) = self.shown.get(&chunk).filter(|shown| shown.peer == peer) {
            let claimed = shown.claimed;
            self.shown.remove(&chunk);
            self.watched.push_back((
                now + SPREAD_WITHIN,
                Out { peer, chunk, claimed, pause: SPREAD_WITHIN },
            ));
        }
    }

    /// What was asked for was not delivered: it goes out again.
    pub fn lost(&mut self, peer: Peer, chunk: u32) {
        if self.shown.get(&chunk).is_some_and(|shown| shown.peer == peer) {
            self.shown.remove(&chunk);
            self.again.push_back(chunk);
        }
    }

    /// True if every chunk went out that this origin was to give, as far as is known.
    pub fn is_done(&self) -> bool {
        self.out.is_full() && self.shown.is_empty() && self.again.is_empty()
    }

    /// What is to be shown now, and to whom. `origins` are those alive, `is_planned` whether parts come
    /// from a planner, `open` how many chunks shall be under way.
    pub fn show(
        &mut self,
        (terms, heard): (&Terms, &Holders),
        (origins, is_planned): (&[Peer], bool),
        open: usize,
        dice: &mut Dice,
        now: Timestamp,
    ) -> Vec<(Peer, u32)> {
        self.look_back(heard, now);
        let mut shows = Vec::new();
        while self.shown.len() < open.min(OPEN_MAX) {
            let Some(chunk) = self.next_chunk((terms, heard), origins, is_planned) else { break };
            // What went out again and is everywhere by now must not hold up the rest.
            if !self.leads.is_empty() && self.leads.keys().all(|peer| heard.has(*peer, chunk)) {
                self.out.insert(chunk);
                continue;
            }
            let Some(peer) = self.next_lead((terms, heard), chunk, dice) else {
                self.again.push_front(chunk);
                break;
            };
            self.out.insert(chunk);
            let claimed = heard.count(chunk);
            self.shown.insert(chunk, Shown { peer, at: now, is_asked: false, claimed });
            shows.push((peer, chunk));
        }
        shows
    }

    /// What was shown in vain, or given to somebody who keeps it, goes out again.
    fn look_back(&mut self, heard: &Holders, now: Timestamp) {
        let within = |shown: &Shown| if shown.is_asked { GIVEN_WITHIN } else { ASKED_WITHIN };
        let stale = self.shown.iter().filter(|(_, shown)| now.since(shown.at) > within(shown));
        let stale: Vec<(u32, Peer)> = stale.map(|(chunk, shown)| (*chunk, shown.peer)).collect();
        for (chunk, peer) in stale {
            self.shown.remove(&chunk);
            self.again.push_back(chunk);
            self.blame(peer);
        }
        // Those that are looked at again stand behind others that are due earlier.
        for _ in 0..self.watched.len() {
            let Some((due, out)) = self.watched.pop_front() else { break };
            if now < due {
                self.watched.push_back((due, out));
                continue;
            }
            // Liars claim it from the start: whoever has it from others comes to that.
            let others = heard.count(out.chunk) - u16::from(heard.has(out.peer, out.chunk));
            let is_first = out.pause == SPREAD_WITHIN;
            let is_rare = usize::from(others) * 3 <= self.leads.len();
            // Of two or fewer the other one may be slow, or have gone: that says nothing of this one.
            let is_few = self.leads.len() <= 2;
            if others <= out.claimed && (is_first || is_rare) {
                self.again.push_back(out.chunk);
                // Later it may as well be the slowness of others.
                if is_first && !is_few {
                    self.blame(out.peer);
                }
            } else if is_rare && out.pause < SPREAD_LOOKED_AT {
                let (claimed, pause) = (others, out.pause * 2);
                self.watched.push_back((now + pause, Out { claimed, pause, ..out }));
            }
        }
    }

    fn blame(&mut self, peer: Peer) {
        if let Some(credit) = self.leads.get_mut(&peer) {
            credit.lost += 1;
        }
    }

    /// What goes out next. Nobody can have what no origin gave, whatever they claim: of chunks that were
    /// another origin's, which is gone, those count that somebody says to have.
    fn next_chunk(
        &mut self,
        (terms, heard): (&Terms, &Holders),
        origins: &[Peer],
        is_planned: bool,
    ) -> Option<u32> {
        if let Some(chunk) = self.again.pop_front() {
            return Some(chunk);
        }
        while let Some(run) = self.part.front_mut() {
            let chunk = run.first;
            (run.first, run.len) = (run.first + 1, run.len - 1);
            if run.len == 0 {
                self.part.pop_front();
            }
            if !self.out.contains(chunk) {
                return Some(chunk);
            }
        }
        let all = || terms.sites().filter(|(_, about)| about.is_origin).map(|(peer, _)| peer);
        while !is_planned && self.cursor < self.out.chunks() {
            let chunk = self.cursor;
            let is_mine = elect::winner(chunk, origins.iter().copied()) == Some(self.me);
            self.cursor += 1;
            let was_mine = || elect::winner(chunk, all()) == Some(self.me);
            let is_lacking = || heard.count(chunk) == 0 || was_mine();
            if is_mine && !self.out.contains(chunk) && is_lacking() {
                return Some(chunk);
            }
        }
        None
    }

    /// Who gets the next chunk: of those with the fewest that nobody else has from them yet, for that is
    /// what an uplink shows that has room, whoever is most behind what its weight is worth. Behind one
    /// link it is the appliance whose turn that chunk is.
    fn next_lead(
        &mut self,
        (terms, heard): (&Terms, &Holders),
        chunk: u32,
        dice: &mut Dice,
    ) -> Option<Peer> {
        let open = |peer: Peer| self.shown.values().filter(|shown| shown.peer == peer).count();
        let fits = |peer: &Peer, credit: &Credit| {
            credit.lost < LOST_MAX && open(*peer) < OPEN_PER_PEER && !heard.has(*peer, chunk)
        };
        let mut fitting: Vec<Peer> =
            self.leads.iter().filter(|(peer, c)| fits(peer, c)).map(|(peer, _)| *peer).collect();
        let kept = self.kept(heard);
        let of = |peer: &Peer| kept.get(peer).copied().unwrap_or(0) + open(*peer);
        let least = fitting.iter().map(of).min()?;
        fitting.retain(|peer| of(peer) == least);
        let total: i128 = fitting.iter().map(|peer| i128::from(self.leads[peer].weight)).sum();
        for peer in &fitting {
            let credit = self.leads.get_mut(peer)?;
            credit.credit += i128::from(credit.weight);
        }
        let best = fitting.iter().max_by_key(|peer| (self.leads[*peer].credit, dice.roll()))?;
        self.leads.get_mut(best)?.credit -= total;
        let label = terms.about(*best)?.label;
        let behind = self.leads.keys().copied();
        elect::winner(chunk, behind.filter(|p| terms.about(*p).is_some_and(|a| a.label == label)))
    }

    /// How many chunks that went out to a peer nobody else has yet, as far as is heard.
    fn kept(&self, heard: &Holders) -> BTreeMap<Peer, usize> {
        let mut kept = BTreeMap::new();
        for (_, out) in &self.watched {
            let others = heard.count(out.chunk) - u16::from(heard.has(out.peer, out.chunk));
            if others <= out.claimed {
                *kept.entry(out.peer).or_insert(0) += 1;
            }
        }
        kept
    }

    /// The next chunk is looked for from the start again: another origin is gone, or the planner.
    pub fn look_again(&mut self) {
        self.cursor = 0;
    }

    /// A while has passed: whoever lost chunks is tried again.
    pub fn forgive(&mut self) {
        self.leads.values_mut().for_each(|credit| credit.lost /= 2);
    }
}
