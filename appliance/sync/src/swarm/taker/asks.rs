//! What a site asks for, when it asks somebody else instead, and the last chunks.

use super::{Chase, Effect, Slice, Taker, Why};
use crate::swarm::picker::{self, Offer};
use crate::swarm::{ChunkSet, Fault, Part, Peer, elect, endgame};
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// Chunks under way over the WAN at most.
pub const DEPTH: usize = 40;
/// Chunks under way from appliances behind the same link at most.
pub const LOCAL_DEPTH: usize = 16;
/// Chunks under way that origins showed, besides these.
const SHOWN_DEPTH: usize = 8;
/// Who sends nothing at all of what it owes for this time is asked no more for it.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Which neighbours a look is about: each kind has asks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Origin,
    Mate,
    Far,
}

impl Taker {
    /// Asks for as much as may be under way.
    pub(super) fn fill(&mut self, now: Timestamp) {
        if self.mine.is_full() {
            return;
        }
        for (kind, depth) in
            [(Kind::Origin, SHOWN_DEPTH), (Kind::Mate, LOCAL_DEPTH), (Kind::Far, DEPTH)]
        {
            let mut owed = self.owed(kind);
            while owed < depth && self.owed_bytes() < self.room {
                let Some((chunk, peer)) = self.look(kind, now) else { break };
                self.asked.insert(chunk);
                let whole = self.terms.whole(chunk);
                let slice = self.ask(peer, whole, now);
                self.chases.insert(chunk, Chase { slices: vec![slice], is_checked: false });
                owed += 1;
            }
        }
        let missing = self.terms.chunks() - self.mine.count();
        if self.chases.len() == missing as usize && self.chases.len() <= endgame::CHUNKS_MAX {
            self.split_one(now);
        }
    }

    fn kind(&self, peer: Peer) -> Kind {
        match self.terms.about(peer) {
            Some(about) if about.is_origin => Kind::Origin,
            _ if self.terms.cost(self.me, peer) == 0 => Kind::Mate,
            _ => Kind::Far,
        }
    }

    fn owed(&self, kind: Kind) -> usize {
        let of_kind = self.neighbours.iter().filter(|(peer, _)| self.kind(**peer) == kind);
        of_kind.map(|(_, score)| usize::from(score.owed)).sum()
    }

    fn owed_bytes(&self) -> u64 {
        self.neighbours.values().map(|score| score.owed_bytes).sum()
    }

    fn offers(&self, kind: Kind, now: Timestamp) -> Vec<Offer<'_>> {
        let mut offers = Vec::with_capacity(self.neighbours.len());
        for (peer, set) in self.holders.iter() {
            let Some(score) = self.neighbours.get(&peer) else { continue };
            if self.kind(peer) != kind || !score.has_room(now) {
                continue;
            }
            let (cost, load) = (self.terms.cost(self.me, peer), score.wait_millis(0));
            offers.push(Offer { peer, set, cost, load });
        }
        offers
    }

    fn look(&mut self, kind: Kind, now: Timestamp) -> Option<(u32, Peer)> {
        let mut dice = self.dice.clone();
        let offers = self.offers(kind, now);
        let sets = (&self.mine, &self.asked);
        let mates: Vec<Peer> = self.mates().collect();
        let may = |chunk| kind != Kind::Far || mates.is_empty() || self.is_my_turn(chunk, &mates);
        let found = if offers.is_empty() {
            None
        } else {
            picker::pick(sets, &self.holders, &offers, may, &mut dice)
        };
        self.dice = dice;
        found
    }

    /// The other appliances behind this one's link that there are sessions with.
    pub(super) fn mates(&self) -> impl Iterator<Item = Peer> + '_ {
        let is_mate = |peer: &Peer| self.kind(*peer) == Kind::Mate;
        self.neighbours.keys().copied().filter(is_mate).filter(|peer| !self.aside.contains(peer))
    }

    /// Whether this site fetches a chunk over the link that it shares.
    fn is_my_turn(&self, chunk: u32, mates: &[Peer]) -> bool {
        let all = || mates.iter().copied().chain([self.me]);
        let first = elect::winner(chunk, all());
        if first == Some(self.me) {
            return true;
        }
        let is_old = |set: &ChunkSet| set.contains(chunk);
        self.older.as_ref().is_some_and(is_old)
            && elect::winner(chunk, all().filter(|peer| Some(*peer) != first)) == Some(self.me)
    }

    fn ask(&mut self, peer: Peer, part: Part, now: Timestamp) -> Slice {
        let mut wait = ANSWER_WITHIN;
        if let Some(score) = self.neighbours.get_mut(&peer) {
            wait =
                wait.max(Duration::from_millis(score.wait_millis(part.bytes())).saturating_mul(4));
            score.asked(part.bytes(), now);
        }
        self.effects.push_back(Effect::Ask(peer, part));
        let due = now + wait.min(6 * ANSWER_WITHIN);
        Slice { peer, part, at: now, due, is_here: false }
    }

    /// All chunks are under way: the one that will take longest gets a second giver for the second
    /// half of what is left of it.
    fn split_one(&mut self, now: Timestamp) {
        let offers = self.offers(Kind::Far, now);
        let mut slowest: Option<(u64, u32, usize, Peer)> = None;
        for (chunk, chase) in &self.chases {
            if self.alone.contains(chunk) || chase.slices.len() >= endgame::SLICES_MAX {
                continue;
            }
            for (at, slice) in chase.slices.iter().enumerate().filter(|(_, s)| !s.is_here) {
                let Some(score) = self.neighbours.get(&slice.peer) else { continue };
                let aged = now.since(slice.at);
                let wait = score.wait_millis(0);
                let others: Vec<Offer<'_>> =
                    offers.iter().filter(|offer| offer.peer != slice.peer).copied().collect();
                let Some(other) = picker::whom(*chunk, &others) else { continue };
                let load = offers.iter().find(|o| o.peer == other).map_or(u64::MAX, |o| o.load);
                if endgame::is_worth(aged, wait, load, slice.part)
                    && slowest.is_none_or(|(worst, ..)| wait > worst)
                {
                    slowest = Some((wait, *chunk, at, other));
                }
            }
        }
        let Some((_, chunk, at, other)) = slowest else { return };
        let Some(slice) = self.chases.get_mut(&chunk).and_then(|c| c.slices.get_mut(at)) else {
            return;
        };
        let (whole, (kept, rest)) = (slice.part, endgame::halves(slice.part));
        let peer = slice.peer;
        (slice.part, slice.at) = (kept, now);
        self.effects.push_back(Effect::Trim(peer, whole, kept.to));
        if let Some(score) = self.neighbours.get_mut(&peer) {
            score.owed_bytes = score.owed_bytes.saturating_sub(u64::from(rest.bytes()));
        }
        let slice = self.ask(other, rest, now);
        if let Some(chase) = self.chases.get_mut(&chunk) {
            chase.slices.push(slice);
        }
        self.counters.split += 1;
    }

    pub(super) fn failed(&mut self, peer: Peer, part: Part, why: Why, now: Timestamp) {
        let Some(chase) = self.chases.get_mut(&part.chunk) else { return };
        let is_it = |slice: &Slice| slice.peer == peer && slice.part == part && !slice.is_here;
        if !chase.slices.iter().any(is_it) {
            return;
        }
        if let Some(score) = self.neighbours.get_mut(&peer) {
            score.settled(part.bytes());
            match why {
                Why::Busy => score.busy(now),
                Why::Lacking | Why::Broken => score.failed(now),
            }
        }
        self.counters.refused += 1;
        if why == Why::Lacking {
            self.holders.lacks(peer, part.chunk);
        }
        self.redo(peer, part, now);
    }

    /// What a peer owed is asked of somebody else: of nobody in particular if it was a whole chunk.
    pub(super) fn redo(&mut self, peer: Peer, part: Part, now: Timestamp) {
        let Some(chase) = self.chases.get_mut(&part.chunk) else { return };
        chase.slices.retain(|slice| slice.peer != peer || slice.part != part);
        let is_nothing = chase.slices.is_empty();
        let offers = self.offers(Kind::Far, now);
        let others: Vec<Offer<'_>> = offers.into_iter().filter(|o| o.peer != peer).collect();
        match picker::whom(part.chunk, &others).filter(|_| !is_nothing) {
            Some(other) => {
                let slice = self.ask(other, part, now);
                if let Some(chase) = self.chases.get_mut(&part.chunk) {
                    chase.slices.push(slice);
                }
            }
            None => self.give_up(part.chunk),
        }
    }

    /// A chunk is asked for from its start, once somebody can be.
    fn give_up(&mut self, chunk: u32) {
        let Some(chase) = self.chases.remove(&chunk) else { return };
        self.asked.remove(chunk);
        for slice in chase.slices.iter().filter(|slice| !slice.is_here) {
            self.effects.push_back(Effect::Cancel(slice.peer, slice.part));
            if let Some(score) = self.neighbours.get_mut(&slice.peer) {
                score.settled(slice.part.bytes());
            }
        }
    }

    /// Whoever did not answer in time is not waited for.
    pub(super) fn time_out(&mut self, now: Timestamp) {
        let slices = self.chases.values().flat_map(|chase| &chase.slices);
        let late = slices.filter(|slice| !slice.is_here && now >= slice.due);
        let late: Vec<(Peer, Part)> = late.map(|slice| (slice.peer, slice.part)).collect();
        for (peer, part) in late {
            self.counters.late += 1;
            self.effects.push_back(Effect::Cancel(peer, part));
            if let Some(score) = self.neighbours.get_mut(&peer) {
                score.settled(part.bytes());
                score.failed(now);
                if score.is_silent() {
                    self.effects.push_back(Effect::Blame(peer, Fault::Silent));
                }
            }
            self.redo(peer, part, now);
        }
    }
}
