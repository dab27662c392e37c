//! Proof of receipt: a receiver shows that it has every packet that it says it has.
//!
//! The proof of a packet is two bytes of its AEAD tag, which nobody can know who did not receive
//! the packet: its salt is random. A report carries the xor of the proofs of the packets that it
//! names (`spec: W-047`). The sender keeps prefix sums, so that a report costs it one xor a range;
//! the receiver keeps sums of 64 numbers each, so that it remembers no single packet. Neither knows
//! keys or time.

use crate::ids::PacketNumber;
use crate::limits::{PROOF_STEP, PROOF_WINDOW, TAG_LEN};
use crate::wire::feedback::PacketRange;
use core::ops::{BitXor, BitXorAssign};
use std::collections::VecDeque;

/// Sums that a receiver keeps.
const STEPS: u64 = PROOF_WINDOW / PROOF_STEP;
/// Numbers below the newest report's floor for which a sender can check overtaken reports.
const OVERTAKEN: u64 = 16_384;
/// Numbers that a sender remembers at least which is told nothing about them.
const UNTOLD: u64 = 2 * PROOF_WINDOW;

/// What only a receiver of a packet knows, or the xor over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proof(u16);

impl Proof {
    /// The proof of no packet.
    pub const NONE: Self = Self(0);

    /// Wraps the plain bits.
    pub const fn new(bits: u16) -> Self {
        Self(bits)
    }

    /// The plain bits.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The proof of the packet with this tag.
    pub const fn of_tag(tag: &[u8; TAG_LEN]) -> Self {
        Self(u16::from_be_bytes([tag[0], tag[1]]))
    }

    /// The proof of a whole sealed datagram, if it is long enough to have a tag.
    pub fn of_datagram(datagram: &[u8]) -> Option<Self> {
        datagram.last_chunk().map(Self::of_tag)
    }
}

impl BitXor for Proof {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl BitXorAssign for Proof {
    fn bitxor_assign(&mut self, other: Self) {
        self.0 ^= other.0;
    }
}

/// The lowest number that the receipt of a report speaks about.
pub fn floor(covered_from: PacketNumber, largest: PacketNumber) -> PacketNumber {
    let lowest = (largest.get() / PROOF_STEP).saturating_sub(STEPS - 1) * PROOF_STEP;
    covered_from.max(PacketNumber::new(lowest))
}

/// What arrived: one sum for each [`PROOF_STEP`] numbers.
#[derive(Clone, Debug)]
pub struct ReceivedProofs {
    /// Sum `n / PROOF_STEP` lies at this modulo the length.
    sums: Box<[Proof]>,
    /// The newest sum.
    newest: u64,
}

impl Default for ReceivedProofs {
    fn default() -> Self {
        Self { sums: vec![Proof::NONE; Self::index(STEPS - 1) + 1].into(), newest: 0 }
    }
}

impl ReceivedProofs {
    /// Takes a packet in, which must not have been taken in before.
    pub fn record(&mut self, number: PacketNumber, proof: Proof) {
        let step = number.get() / PROOF_STEP;
        if step + STEPS <= self.newest {
            return;
        }
        for fresh in (self.newest + 1..=step).rev().take(self.sums.len()) {
            self.sums[Self::index(fresh)] = Proof::NONE;
        }
        self.newest = self.newest.max(step);
        self.sums[Self::index(step)] ^= proof;
    }

    /// The proof of everything from `floor` on, a multiple of [`PROOF_STEP`] and not below
    /// [`floor`] of the largest number recorded.
    pub fn sum_from(&self, floor: PacketNumber) -> Proof {
        let steps = floor.get() / PROOF_STEP..=self.newest;
        steps.map(|step| self.sums[Self::index(step)]).fold(Proof::NONE, Proof::bitxor)
    }

    fn index(step: u64) -> usize {
        usize::try_from(step % STEPS).unwrap_or_default()
    }
}

/// What was sent, as sums over all numbers below each.
#[derive(Clone, Debug)]
pub struct SentProofs {
    /// What the proofs of numbers are made of that no packet has: nobody can show them.
    secret: u64,
    /// The number that the first sum belongs to.
    base: u64,
    /// Never empty: the last one is that of all packets so far.
    sums: VecDeque<Proof>,
}

impl SentProofs {
    /// Nothing sent yet; `secret` is random.
    pub fn new(secret: u64) -> Self {
        Self { secret, base: 0, sums: VecDeque::from([Proof::NONE]) }
    }

    /// A packet was sealed. Numbers go up; those left out were not sent.
    pub fn record(&mut self, number: PacketNumber, proof: Proof) {
        let mut all = self.sums.back().copied().unwrap_or_default();
        let next = self.base + self.sums.len() as u64 - 1;
        for unsent in next..number.get() {
            all ^= self.withheld(unsent);
            self.sums.push_back(all);
        }
        self.sums.push_back(all ^ proof);
    }

    /// The proof of a number that was not sent (splitmix64); never that of no packet.
    const fn withheld(&self, number: u64) -> Proof {
        let mut z = self.secret ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [high, low, ..] = z.to_be_bytes();
        Proof(u16::from_be_bytes([high, low]) | 1)
    }

    /// The proof of the ranges as far as they lie at `floor` or above; `None` when that is forgotten.
    pub fn sum(&self, ranges: &[PacketRange], floor: PacketNumber) -> Option<Proof> {
        if floor.get() < self.base {
            return None;
        }
        let spoken = ranges.iter().take_while(|range| range.last >= floor);
        let sums =
            spoken.map(|range| self.below(range.first.max(floor)) ^ self.below(range.last.next()));
        Some(sums.fold(Proof::NONE, Proof::bitxor))
    }

    fn below(&self, number: PacketNumber) -> Proof {
        let index = usize::try_from(number.get().saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.sums[index.min(self.sums.len() - 1)]
    }

    /// A report with this floor was checked: no honest one will speak about much lower numbers.
    pub fn forget_below(&mut self, floor: PacketNumber) {
        self.drop_below(floor.get().saturating_sub(OVERTAKEN));
    }

    /// Nobody reports on what is sent: what is long past will not be asked for.
    pub fn shed(&mut self) {
        self.drop_below((self.base + self.sums.len() as u64).saturating_sub(UNTOLD));
    }

    fn drop_below(&mut self, number: u64) {
        let count = usize::try_from(number.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let count = count.min(self.sums.len() - 1);
        self.sums.drain(..count);
        self.base += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::RangeSet;
    use proptest::prelude::*;

    fn number(n: u64) -> PacketNumber {
        PacketNumber::new(n)
    }

    fn proof(n: u64) -> Proof {
        let [.., a, b] = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(24).to_be_bytes();
        Proof::new(u16::from_be_bytes([a, b]))
    }

    fn ranges(set: &RangeSet) -> Vec<PacketRange> {
        let range = |(first, last)| PacketRange { first: number(first), last: number(last) };
        set.iter().rev().map(range).collect()
    }

    /// Both ends after `count` packets of which those arrived that `arrives` names.
    fn ends(count: u64, arrives: impl Fn(u64) -> bool) -> (SentProofs, ReceivedProofs, RangeSet) {
        let mut both = (SentProofs::new(7), ReceivedProofs::default(), RangeSet::new());
        for n in 0..count {
            both.0.record(number(n), proof(n));
            if arrives(n) {
                both.1.record(number(n), proof(n));
                both.2.insert(n);
            }
        }
        both
    }

    #[test]
    fn a_receiver_that_names_one_packet_too_many_does_not_prove_it() {
        let (sent, received, mut set) = ends(1000, |n| n % 7 != 0 && n < 990);
        let zero = number(0);
        assert_eq!(sent.sum(&ranges(&set), zero), Some(received.sum_from(zero)));
        set.insert(497);
        assert_ne!(sent.sum(&ranges(&set), zero), Some(received.sum_from(zero)));
    }

    #[test]
    fn a_number_that_was_skipped_cannot_be_proven() {
        let (mut sent, mut received) = (SentProofs::new(7), ReceivedProofs::default());
        for n in [0, 1, 3, 4] {
            sent.record(number(n), proof(n));
            received.record(number(n), proof(n));
        }
        let range = |first, last| PacketRange { first: number(first), last: number(last) };
        let sum = Some(received.sum_from(number(0)));
        assert_eq!(sent.sum(&[range(3, 4), range(0, 1)], number(0)), sum);
        assert_ne!(sent.sum(&[range(0, 4)], number(0)), sum);
    }

    #[test]
    fn only_the_newest_numbers_are_proven_and_remembered() {
        let count = 3 * PROOF_WINDOW;
        let (mut sent, received, set) = ends(count, |n| n % 1000 != 3);
        let floor = floor(number(0), number(count - 1));
        assert_eq!(floor.get(), count - PROOF_WINDOW);
        let sum = received.sum_from(floor);
        assert_eq!(sent.sum(&ranges(&set), floor), Some(sum));
        sent.forget_below(floor);
        assert_eq!(sent.sum(&ranges(&set), floor), Some(sum));
        assert_eq!(sent.sum(&ranges(&set), number(floor.get() - OVERTAKEN - 1)), None);
        assert!(sent.sums.len() as u64 <= PROOF_WINDOW + OVERTAKEN + 1);
    }

    #[test]
    fn a_sender_that_is_told_nothing_keeps_what_it_may_be_asked_for() {
        let (mut sent, ..) = ends(5 * PROOF_WINDOW, |_| false);
        sent.shed();
        assert_eq!(sent.sums.len() as u64, UNTOLD);
        assert!(sent.sum(&[], number(4 * PROOF_WINDOW)).is_some());
    }

    #[test]
    fn a_jump_ahead_clears_what_lay_between() {
        let mut received = ReceivedProofs::default();
        received.record(number(5), Proof::new(1));
        received.record(number(1 << 40), Proof::new(2));
        received.record(number(6), Proof::new(4));
        let floor = floor(number(0), number(1 << 40));
        assert_eq!(received.sum_from(floor), Proof::new(2));
    }

    proptest! {
        #[test]
        fn both_ends_agree_whatever_arrives_in_whatever_order(
            steps in prop::collection::vec((1u64..300, 0u64..400, any::<bool>()), 1..200),
            cut in 0u64..4000,
        ) {
            let (mut sent, mut received) = (SentProofs::new(7), ReceivedProofs::default());
            let (mut set, mut at, mut late) = (RangeSet::new(), 0, Vec::new());
            for (ahead, back, arrives) in steps {
                at += ahead;
                sent.record(number(at), proof(at));
                late.push(at);
                let one = late.swap_remove(usize::try_from(back).unwrap() % late.len());
                if arrives && set.insert(one) {
                    received.record(number(one), proof(one));
                }
            }
            let covered = cut / PROOF_STEP * PROOF_STEP;
            if let Some(largest) = set.max().filter(|&largest| largest >= covered) {
                let floor = floor(number(covered), number(largest));
                let sum = received.sum_from(floor);
                prop_assert_eq!(sent.sum(&ranges(&set), floor), Some(sum));
            }
        }
    }
}
