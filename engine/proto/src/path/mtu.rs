//! Which symbol size a path carries: asked before the first block, by the padding trains that look for
//! the rate anyway, and by single probes now and then; given up when [`super::hole`] says so.
//!
//! Only the sizes of `limits` are tried. Probes are padding, and their loss says nothing else.
//! spec: W-075

use crate::congestion::Outcome;
use crate::limits::{
    DATA_HEADER_LEN, SYMBOL_SIZE, SYMBOL_SIZE_SMALL, SYMBOL_SIZES, TAG_LEN, UDP_IP_OVERHEAD,
};
use crate::path::hole::{HoleTest, Size};
use crate::units::{Bytes, Timestamp};
use core::time::Duration;

/// Small probes sent beside the first train.
pub const SMALL_PROBES: u32 = 2;
/// Full-size probes sent where the policy sends no trains.
pub const FULL_PROBES: u32 = 3;
/// Probes of each larger size when it is looked for.
pub const SEARCH_PROBES: u32 = 2;
/// How often larger sizes are looked for: the path may have grown.
const SEARCH_EVERY: Duration = Duration::from_secs(120);
/// A host that stands still for a moment must not look like a path that drops large packets.
const FULL_SLACK: Duration = Duration::from_millis(250);
/// Time without news of any probe after which the small size is used. While no report comes at all
/// the session decides nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Size at IP level of a data packet that carries `symbol_size` bytes.
pub const fn packet_bytes(symbol_size: u16) -> Bytes {
    Bytes::new(DATA_HEADER_LEN as u64 + symbol_size as u64 + TAG_LEN as u64 + UDP_IP_OVERHEAD)
}

/// What is known about the packet sizes of a path.
#[derive(Clone, Debug, Default)]
pub struct PathMtu {
    /// The largest size beyond the smallest of which a packet arrived, as its place in the table.
    largest: Option<usize>,
    small_arrived_at: Option<Timestamp>,
    first_probe_at: Option<Timestamp>,
    /// Only answers to what left since then count, for and against larger sizes.
    asked_from: Timestamp,
    hole: HoleTest,
    /// The largest smaller size of which a packet arrived in the trial at hand, as its place.
    passed: usize,
    /// When larger sizes were last looked for.
    searched_at: Option<Timestamp>,
}

impl PathMtu {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A path of whose sizes nothing has to be asked: what a link carries has the usual one.
    pub fn known() -> Self {
        let largest = SYMBOL_SIZES.iter().position(|&size| size == SYMBOL_SIZE);
        Self { largest, ..Self::default() }
    }

    /// A probe left.
    pub fn on_probe(&mut self, now: Timestamp) {
        self.first_probe_at.get_or_insert(now);
    }

    /// The path was silent and is back: what its silence seemed to say is forgotten.
    pub fn ask_anew(&mut self, now: Timestamp) {
        self.small_arrived_at = None;
        self.first_probe_at = None;
        self.asked_from = now;
    }

    /// A packet arrived at the peer.
    pub fn on_acked(&mut self, outcome: &Outcome, now: Timestamp) {
        self.hole.on_arrived(self.size(outcome.bytes), outcome.sent_at);
        let place = SYMBOL_SIZES.iter().rposition(|&size| outcome.bytes >= packet_bytes(size));
        if self.hole.tries(outcome.sent_at) {
            self.passed = self.passed.max(place.unwrap_or(0));
        }
        if outcome.sent_at < self.asked_from {
            return;
        }
        match place {
            None => {}
            Some(0) => {
                self.small_arrived_at.get_or_insert(now);
            }
            Some(place) => self.largest = self.largest.max(Some(place)),
        }
    }

    /// A packet was lost.
    pub fn on_lost(&mut self, outcome: &Outcome) {
        self.hole.on_lost(self.size(outcome.bytes), outcome.sent_at);
    }

    /// After a report was taken in: true if large packets are known not to pass any more.
    pub fn has_hole(&mut self, now: Timestamp) -> bool {
        if self.largest.is_some() && self.hole.review(now) {
            self.passed = 0;
        }
        self.hole.is_hole()
    }

    /// Goes down to the largest size that passed meanwhile, which is returned, with the time since which
    /// nothing larger arrived.
    pub fn fall_back(&mut self, now: Timestamp) -> (u16, Timestamp) {
        let since = self.hole.arrived();
        self.hole = HoleTest::default();
        self.largest = Some(core::mem::take(&mut self.passed)).filter(|&place| place > 0);
        // Late packets of the time before do not count, and nobody asks again soon.
        self.asked_from = now;
        self.searched_at = Some(now);
        self.small_arrived_at.get_or_insert(now);
        (SYMBOL_SIZES[self.largest.unwrap_or(0)], since)
    }

    fn size(&self, bytes: Bytes) -> Size {
        let smaller = self.largest.map_or(0, |place| place - 1);
        if bytes > packet_bytes(SYMBOL_SIZES[smaller]) { Size::Large } else { Size::Small }
    }

    /// Whether a packet that was lost may just have been too long for the path.
    pub fn is_probe(&self, lost: &Outcome) -> bool {
        let known = packet_bytes(SYMBOL_SIZES[self.largest.unwrap_or(0)]);
        lost.bytes > known || self.may_be_too_large(lost)
    }

    /// Whether a packet that was lost is one of those of which nobody knows whether they pass any
    /// more.
    pub fn may_be_too_large(&self, lost: &Outcome) -> bool {
        self.size(lost.bytes) == Size::Large && self.hole.doubts(lost.sent_at)
    }

    /// All sizes up to the present one, if a packet of each is to leave now.
    pub fn take_pair(&mut self, now: Timestamp) -> Option<&'static [u16]> {
        let place = self.largest?;
        self.hole.take_pair(now).then(|| &SYMBOL_SIZES[..=place])
    }

    /// When the next pair is due.
    pub fn next_pair(&self) -> Option<Timestamp> {
        self.hole.next_pair()
    }

    /// The path is another one: larger sizes are looked for at once.
    pub fn search_soon(&mut self) {
        self.searched_at = Some(Timestamp::ZERO);
    }

    /// The sizes to look for now, larger than what is known to pass; none most of the time.
    pub fn take_search(&mut self, now: Timestamp) -> &'static [u16] {
        let since = *self.searched_at.get_or_insert(now);
        if now.since(since) < SEARCH_EVERY {
            return &[];
        }
        self.searched_at = Some(now);
        &SYMBOL_SIZES[self.largest.unwrap_or(0) + 1..]
    }

    /// The largest size that is known to pass, if that is more than the smallest.
    pub fn largest(&self) -> Option<u16> {
        self.largest.map(|place| SYMBOL_SIZES[place])
    }

    /// Nothing is known to have arrived.
    pub const fn is_unanswered(&self) -> bool {
        self.largest.is_none() && self.small_arrived_at.is_none()
    }

    /// The symbol size to use, once that is known; `reorder` is how much later than the small
    /// probes the full-size train may arrive.
    pub fn symbol_size(&self, reorder: Duration, now: Timestamp) -> Option<u16> {
        if let Some(size) = self.largest() {
            return Some(size);
        }
        let decided = self.decision_at(reorder).is_some_and(|at| now >= at);
        decided.then_some(SYMBOL_SIZE_SMALL)
    }

    /// When waiting for a full-size packet ends; nothing else may happen until then.
    pub fn decision_at(&self, reorder: Duration) -> Option<Timestamp> {
        let small_only = self.small_arrived_at.map(|at| at + FULL_SLACK.max(reorder * 2));
        let silent = self.first_probe_at.map(|at| at + PATIENCE);
        [small_only, silent].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PacketNumber, RateEpoch};
    use crate::limits::SYMBOL_SIZE;

    fn arrived(symbol_size: u16) -> Outcome {
        Outcome {
            number: PacketNumber::new(0),
            sent_at: Timestamp::ZERO,
            bytes: packet_bytes(symbol_size),
            epoch: RateEpoch::new(0),
        }
    }

    const REORDER: Duration = Duration::from_millis(25);

    #[test]
    fn full_size_is_used_as_soon_as_one_full_packet_arrived() {
        let mut mtu = PathMtu::new();
        mtu.on_acked(&arrived(SYMBOL_SIZE_SMALL), Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::ZERO), None);
        mtu.on_acked(&arrived(SYMBOL_SIZE), Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::ZERO), Some(SYMBOL_SIZE));
    }

    #[test]
    fn small_size_is_used_when_only_small_packets_arrive() {
        let mut mtu = PathMtu::new();
        mtu.on_probe(Timestamp::ZERO);
        mtu.on_acked(&arrived(SYMBOL_SIZE_SMALL), Timestamp::from_millis(200));
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::from_millis(460)), Some(SYMBOL_SIZE_SMALL));
    }

    #[test]
    fn the_small_size_is_used_when_reports_name_no_probe_for_long() {
        let mut mtu = PathMtu::new();
        mtu.on_probe(Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::from_millis(4000)), Some(SYMBOL_SIZE_SMALL));
    }
}
