//! Whose turn it is: strict classes with a floor, and start-time fair queueing within a class.
//!
//! ```text
//! start = max(own tag, class now);  the smallest start goes first
//! tag   = start + bytes / weight;   class now = start of what goes
//! floor: a class that is not the highest with something to send earns 2 % of every packet
//! ```
//! A flow that had nothing to send has no claim to what others used meanwhile: its tag is behind the
//! class's time, and it begins there. Places are bits of a mask, so asking costs no memory.

use super::{Class, FLOWS_MAX, Weight};
use crate::units::Bytes;

/// Places of flows, as bits.
pub(crate) type Mask = u64;
const _: () = assert!(FLOWS_MAX <= Mask::BITS as usize);

/// A byte at weight one, in the unit of tags: weights differ by up to 65,535.
const SCALE: u64 = 1 << 16;
/// One packet in so many is a lower class's.
const FLOOR_OF: i64 = 50;
/// A floor that could not be used is not saved up.
const EARNED_MAX: i64 = 0;

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    class: Class,
    weight: Weight,
    tag: u128,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Start of what went last.
    now: u128,
    /// Fiftieths of bytes that it may send although a higher class has something to send, if it is
    /// not below zero.
    earned: i64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    places: [Place; FLOWS_MAX],
    members: [Mask; Class::ALL.len()],
    lanes: [Lane; Class::ALL.len()],
}

impl Turns {
    /// Nobody has a place.
    pub(crate) fn new() -> Self {
        Self {
            places: [Place::default(); FLOWS_MAX],
            members: [0; Class::ALL.len()],
            lanes: [Lane::default(); Class::ALL.len()],
        }
    }

    /// Gives a place to whoever takes it, without a claim to the past, or changes what is there: with
    /// another weight it goes on where it stood, and in another class it begins.
    pub(crate) fn set(&mut self, place: usize, class: Class, weight: Weight) {
        let bit = 1 << place;
        if self.members[class.index()] & bit == 0 {
            self.leave(place);
            self.members[class.index()] |= bit;
            self.places[place].tag = self.lanes[class.index()].now;
        }
        let (now, known) = (self.lanes[class.index()].now, &mut self.places[place]);
        // What it sent before is paid for at the new weight, or one that is raised would wait for long.
        let owed = known.tag.saturating_sub(now).saturating_mul(known.weight.get().into());
        known.tag = known.tag.min(now.saturating_add(owed / u128::from(weight.get())));
        known.class = class;
        known.weight = weight;
    }

    /// Nobody has this place any more.
    pub(crate) fn leave(&mut self, place: usize) {
        self.members.iter_mut().for_each(|members| *members &= !(1 << place));
    }

    /// The weights of `of` within a class, added up.
    pub(crate) fn weight_of(&self, class: Class, of: Mask) -> u64 {
        let members = places(of & self.members[class.index()]);
        members.map(|place| u64::from(self.places[place].weight.get())).sum()
    }

    /// Who of those that could goes next.
    pub(crate) fn next(&self, ready: Mask) -> Option<usize> {
        if ready.is_power_of_two() {
            return Some(ready.trailing_zeros() as usize);
        }
        let of = |class: Class| ready & self.members[class.index()];
        let mut waiting = Class::ALL.into_iter().filter(|&class| of(class) != 0);
        let top = waiting.next()?;
        let floor = waiting.rev().find(|class| self.lanes[class.index()].earned >= 0);
        let class = floor.unwrap_or(top);
        let start = |&place: &usize| self.start(place);
        places(of(class)).min_by_key(start)
    }

    /// `bytes` of a place left, while all of `ready` could have sent.
    pub(crate) fn charge(&mut self, place: usize, bytes: Bytes, ready: Mask) {
        let start = self.start(place);
        let Place { class, weight, .. } = self.places[place];
        self.lanes[class.index()].now = start;
        let price = bytes.get().saturating_mul(SCALE) / u64::from(weight.get());
        self.places[place].tag = start + u128::from(price);
        let sent = i64::try_from(bytes.get()).unwrap_or(i64::MAX);
        let mut higher = false;
        for other in Class::ALL {
            let lane = &mut self.lanes[other.index()];
            if higher {
                // Its own packet costs all of it, and of every packet it earns its part.
                let cost = if other == class { sent.saturating_mul(FLOOR_OF) } else { 0 };
                lane.earned = (lane.earned - cost + sent).min(EARNED_MAX);
            }
            higher |= ready & self.members[other.index()] != 0;
        }
    }

    fn start(&self, place: usize) -> u128 {
        let Place { class, tag, .. } = self.places[place];
        tag.max(self.lanes[class.index()].now)
    }
}

/// The places of a mask, ascending.
pub(crate) fn places(mut mask: Mask) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (place < Mask::BITS).then_some(place as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKET: Bytes = Bytes::new(1_500);

    fn turns(places: &[(Class, u16)]) -> Turns {
        let mut turns = Turns::new();
        for (place, &(class, weight)) in places.iter().enumerate() {
            turns.set(place, class, Weight::new(weight));
        }
        turns
    }

    /// Packets by place, of `count` with all of `ready` having something to send.
    fn play(turns: &mut Turns, ready: Mask, count: u32) -> [u32; 8] {
        let mut sent = [0; 8];
        for _ in 0..count {
            let place = turns.next(ready).unwrap();
            turns.charge(place, PACKET, ready);
            sent[place] += 1;
        }
        sent
    }

    use Class::{Background, Normal, Urgent};

    #[test]
    fn weights_are_kept_over_any_few_packets() {
        let mut turns = turns(&[(Normal, 5), (Normal, 3), (Normal, 1)]);
        for _ in 0..100 {
            let sent = play(&mut turns, 0b111, 90);
            for (got, fair) in sent.into_iter().zip([50, 30, 10]) {
                assert!(u32::abs_diff(got, fair) <= 2, "{sent:?}");
            }
        }
    }

    #[test]
    fn each_lower_class_has_a_fiftieth_and_no_more() {
        let mut turns = turns(&[(Urgent, 1), (Normal, 100), (Background, 100)]);
        assert_eq!(play(&mut turns, 0b111, 5_000)[..3], [4_800, 100, 100]);
        // Nobody lower has anything to send: all of it is the highest's.
        assert_eq!(play(&mut turns, 0b001, 100)[..3], [100, 0, 0]);
        // Nor is a floor saved up meanwhile.
        assert!(play(&mut turns, 0b011, 50)[1] <= 2);
    }

    #[test]
    fn what_was_lent_is_not_given_back() {
        let mut turns = turns(&[(Normal, 1), (Normal, 1)]);
        play(&mut turns, 0b01, 1_000);
        let sent = play(&mut turns, 0b11, 100);
        assert!(u32::abs_diff(sent[0], sent[1]) <= 2, "{sent:?}");
    }

    #[test]
    fn what_one_sent_at_a_lower_weight_does_not_keep_it_waiting_at_a_higher_one() {
        let mut turns = turns(&[(Normal, 1), (Normal, 1_000)]);
        play(&mut turns, 0b11, 1_001);
        turns.set(0, Normal, Weight::new(1_000));
        let sent = play(&mut turns, 0b11, 100);
        assert!(u32::abs_diff(sent[0], sent[1]) <= 4, "{sent:?}");
    }

    #[test]
    fn another_weight_or_class_holds_for_the_next_packet() {
        let mut turns = turns(&[(Normal, 9), (Normal, 1)]);
        play(&mut turns, 0b11, 1_000);
        turns.set(0, Normal, Weight::new(1));
        let sent = play(&mut turns, 0b11, 100);
        assert!(u32::abs_diff(sent[0], sent[1]) <= 12, "{sent:?}");
        turns.set(1, Urgent, Weight::new(1));
        assert!(play(&mut turns, 0b11, 100)[1] >= 97);
    }

    #[test]
    fn who_left_is_not_asked_and_has_no_claim_afterwards() {
        let mut turns = turns(&[(Normal, 1), (Normal, 1)]);
        play(&mut turns, 0b11, 100);
        turns.leave(1);
        assert_eq!(turns.next(0b11), Some(0));
        play(&mut turns, 0b01, 500);
        turns.set(1, Normal, Weight::new(1));
        let sent = play(&mut turns, 0b11, 100);
        assert!(u32::abs_diff(sent[0], sent[1]) <= 2, "{sent:?}");
    }

    proptest! {
        /// Whoever has something to send all the time is never further from its part than a packet of
        /// each of the others, whatever those do.
        #[test]
        fn who_always_has_something_gets_its_part_of_what_its_class_sends(
            weights in prop::collection::vec(1_u16..50, 2..6),
            masks in prop::collection::vec(0_u64..64, 400),
        ) {
            let places: Vec<_> = weights.iter().map(|&weight| (Normal, weight)).collect();
            let (mut turns, all) = (turns(&places), (1 << weights.len()) - 1);
            let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
            let (mut own, mut sent) = (0_u32, 0_u32);
            for mask in masks {
                let ready = mask & all | 1;
                let place = turns.next(ready).unwrap();
                turns.charge(place, PACKET, ready);
                own += u32::from(place == 0);
                sent += 1;
            }
            let part = sent * u32::from(weights[0]) / total;
            let others = u32::try_from(weights.len()).unwrap();
            prop_assert!(own + others >= part, "{own} of {sent}, where {part} were its part");
        }
    }
}
