//! What others ask a site for, and in which order they get it: the rarest chunk, the oldest ask, in turn.
//!
//! A new chunk doubles its holders as fast as uplinks allow if whoever has it gives it before what
//! everybody has. Only that would starve whoever is behind, who asks for what everybody has. One ask after another is served, so that the first one is whole, and offered on,
//! before the last one begins; the body takes the next as long as its uplink has room.

use super::{Part, Peer, Terms};

/// Asks that wait at most: whoever comes then asks somebody with less to do.
pub const QUEUE_MAX: usize = 8;
/// Asks that wait at an origin at most, which gives only what it showed.
pub const ORIGIN_QUEUE_MAX: usize = 128;
/// Asks of one peer that wait at most.
pub const PEER_QUEUE_MAX: usize = 8;

/// What becomes of an ask at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It waits for its turn.
    Queued,
    /// There is too much to do; the asker may ask again.
    Busy,
    /// It is not here, or not verified, or not for this peer.
    Lacking,
    /// There is no such chunk, or no such part of it.
    Nonsense,
}

#[derive(Clone, Copy, Debug)]
struct Ask {
    peer: Peer,
    part: Part,
}

/// The asks that wait.
#[derive(Clone, Debug)]
pub struct Giver {
    queue: Vec<Ask>,
    most: usize,
    is_rares_turn: bool,
}

impl Giver {
    /// Nobody asked for anything. An origin lets more wait than others.
    pub fn new(is_origin: bool) -> Self {
        let most = if is_origin { ORIGIN_QUEUE_MAX } else { QUEUE_MAX };
        Self { queue: Vec::new(), most, is_rares_turn: false }
    }

    /// Takes in what a peer asks for; `has` says whether it may have that chunk from here.
    pub fn ask(
        &mut self,
        peer: Peer,
        part: Part,
        terms: &Terms,
        has: impl FnOnce(u32) -> bool,
    ) -> Answer {
        if part.from >= part.to || part.to > terms.bytes(part.chunk) {
            return Answer::Nonsense;
        }
        let of_peer = self.queue.iter().filter(|ask| ask.peer == peer);
        let is_double = of_peer.clone().any(|ask| ask.part == part);
        if is_double || of_peer.count() >= PEER_QUEUE_MAX || self.queue.len() >= self.most {
            return Answer::Busy;
        }
        // Asked last: what an origin says to have counts as asked for from then on.
        if !has(part.chunk) {
            return Answer::Lacking;
        }
        self.queue.push(Ask { peer, part });
        Answer::Queued
    }

    /// The ask to serve next: in turn for the chunk that fewest have, and the oldest.
    pub fn next(&mut self, count: impl Fn(u32) -> u16) -> Option<(Peer, Part)> {
        self.next_of(count, |_| true)
    }

    /// The same among the asks of those of whom `may` says so.
    pub fn next_of(
        &mut self,
        count: impl Fn(u32) -> u16,
        may: impl Fn(Peer) -> bool,
    ) -> Option<(Peer, Part)> {
        let is_rares_turn = !self.is_rares_turn;
        let rarity = |ask: &Ask| if is_rares_turn { count(ask.part.chunk) } else { 0 };
        let by_rarity = self.queue.iter().enumerate().filter(|(_, ask)| may(ask.peer));
        let (at, _) = by_rarity.min_by_key(|(at, ask)| (rarity(ask), *at))?;
        self.is_rares_turn = is_rares_turn;
        let ask = self.queue.remove(at);
        Some((ask.peer, ask.part))
    }

    /// A peer does not want a part any more: true if it was still waiting.
    pub fn cancel(&mut self, peer: Peer, part: Part) -> bool {
        let before = self.queue.len();
        self.queue.retain(|ask| ask.peer != peer || ask.part != part);
        self.queue.len() < before
    }

    /// A peer has what follows byte `to` from elsewhere: true if the part was still waiting.
    pub fn trim(&mut self, peer: Peer, part: Part, to: u32) -> bool {
        let found = self.queue.iter_mut().find(|ask| ask.peer == peer && ask.part == part);
        let Some(ask) = found.filter(|_| to > part.from && to < part.to) else { return false };
        ask.part.to = to;
        true
    }

    /// A peer is gone.
    pub fn left(&mut self, peer: Peer) {
        self.queue.retain(|ask| ask.peer != peer);
    }

    /// How many asks wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}
