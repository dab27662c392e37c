//! Packets of lanes that nobody knows yet.
//!
//! A client's first packets travel beside the last flight of its handshake and may be read before
//! the session is set up. A few are kept, unread, for as long as that takes, in memory allocated
//! once: anyone can send such packets. spec: W-033

use super::Driver;
use super::receive::Coming;
use farhaul_proto::ids::LaneTag;
use farhaul_proto::units::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;

/// Early packets kept at most.
const KEPT_MAX: usize = 64;
/// Early packets of one lane at most, so that one tag does not push out all others.
const PER_LANE_MAX: usize = 32;
/// Early packets are of use at most this long.
const AGE_MAX: Duration = Duration::from_millis(250);
/// Longer ones are no packets of a lane that begins.
const DATAGRAM_MAX: usize = 1500;

#[derive(Clone, Copy)]
struct Slot {
    lane: LaneTag,
    from: SocketAddr,
    arrived: Timestamp,
    len: usize,
}

/// A ring of unread packets.
pub(super) struct EarlyPackets {
    slots: [Option<Slot>; KEPT_MAX],
    memory: Box<[u8]>,
    /// Where the next one goes.
    next: usize,
    /// Those that were kept and that nobody took.
    never_taken: u64,
}

impl EarlyPackets {
    pub(super) fn new() -> Self {
        let memory = vec![0; KEPT_MAX * DATAGRAM_MAX].into_boxed_slice();
        Self { slots: [None; KEPT_MAX], memory, next: 0, never_taken: 0 }
    }

    /// Keeps a packet, in place of the oldest one; false if it is not worth keeping.
    pub(super) fn keep(&mut self, lane: LaneTag, datagram: &[u8], coming: Coming) -> bool {
        let mine = self.slots.iter().flatten().filter(|slot| slot.lane == lane);
        if datagram.len() > DATAGRAM_MAX || mine.count() >= PER_LANE_MAX {
            return false;
        }
        let at = self.next;
        self.next = (at + 1) % KEPT_MAX;
        self.memory[at * DATAGRAM_MAX..][..datagram.len()].copy_from_slice(datagram);
        let Coming { from, arrived, .. } = coming;
        let slot = Slot { lane, from, arrived, len: datagram.len() };
        let pushed_out = self.slots[at].replace(slot);
        self.never_taken += u64::from(pushed_out.is_some());
        true
    }

    /// Packets that were kept in vain so far.
    pub(super) fn never_taken(&mut self, now: Timestamp) -> u64 {
        for slot in &mut self.slots {
            if slot.take_if(|slot| now.since(slot.arrived) >= AGE_MAX).is_some() {
                self.never_taken += 1;
            }
        }
        self.never_taken
    }

    /// Takes out the packets of a lane, oldest first, and forgets what is too old.
    fn take(&mut self, lane: LaneTag, now: Timestamp) -> Vec<(Coming, Vec<u8>)> {
        self.never_taken(now);
        let mut taken = Vec::new();
        for at in (self.next..KEPT_MAX).chain(0..self.next) {
            if let Some(slot) = self.slots[at].take_if(|slot| slot.lane == lane) {
                let datagram = &self.memory[at * DATAGRAM_MAX..][..slot.len];
                let coming = Coming { from: slot.from, arrived: slot.arrived, now };
                taken.push((coming, datagram.to_vec()));
            }
        }
        taken
    }
}

impl Driver {
    /// Reads what came for a lane before it was known.
    pub(super) fn take_early(&mut self, lane: LaneTag, now: Timestamp) {
        for (coming, mut datagram) in self.early.take(lane, now) {
            self.on_lane_packet(&mut datagram, coming);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn coming(arrived: Timestamp) -> Coming {
        let from = SocketAddr::from(([192, 0, 2, 1], 7411));
        Coming { from, arrived, now: arrived }
    }

    fn lane(n: u64) -> LaneTag {
        LaneTag::new(n)
    }

    #[test]
    fn packets_of_a_lane_come_back_once_in_order() {
        let mut early = EarlyPackets::new();
        for n in 0..3 {
            early.keep(lane(1), &[n; 10], coming(NOW));
            early.keep(lane(2), &[n + 100; 1500], coming(NOW));
        }
        let taken = early.take(lane(1), NOW);
        let firsts: Vec<u8> = taken.iter().map(|(_, datagram)| datagram[0]).collect();
        assert_eq!((firsts, taken[0].1.len()), (vec![0, 1, 2], 10));
        assert!(early.take(lane(1), NOW).is_empty());
        assert_eq!(early.take(lane(2), NOW).len(), 3);
    }

    #[test]
    fn one_lane_fills_half_and_the_oldest_make_room() {
        let mut early = EarlyPackets::new();
        early.keep(lane(7), &[7], coming(NOW));
        for n in 0..=u8::MAX {
            early.keep(lane(1), &[n], coming(NOW));
        }
        assert_eq!(early.take(lane(7), NOW).len(), 1);
        assert_eq!(early.take(lane(1), NOW).len(), PER_LANE_MAX);
        for n in 0..1000 {
            early.keep(lane(100 + n), &[0], coming(NOW));
        }
        assert_eq!(early.slots.iter().flatten().count(), KEPT_MAX);
        assert!(early.take(lane(100), NOW).is_empty());
        assert_eq!(early.take(lane(1099), NOW).len(), 1);
    }

    #[test]
    fn what_is_old_or_too_long_is_not_kept() {
        let mut early = EarlyPackets::new();
        early.keep(lane(1), &[0; DATAGRAM_MAX + 1], coming(NOW));
        early.keep(lane(1), &[0; 100], coming(NOW));
        assert!(early.take(lane(1), NOW + AGE_MAX).is_empty());
        assert!(early.take(lane(1), NOW).is_empty());
    }

    #[test]
    fn what_is_kept_in_vain_is_counted_once() {
        let mut early = EarlyPackets::new();
        assert!(early.keep(lane(1), &[0; 100], coming(NOW)));
        assert!(early.keep(lane(2), &[0; 100], coming(NOW)));
        assert_eq!(early.take(lane(1), NOW).len(), 1);
        assert_eq!(early.never_taken(NOW), 0);
        assert_eq!(early.never_taken(NOW + AGE_MAX), 1);
        for n in 0..=KEPT_MAX as u64 {
            assert!(early.keep(lane(100 + n), &[0], coming(NOW + AGE_MAX)));
        }
        assert_eq!(early.never_taken(NOW + AGE_MAX), 2);
    }
}
