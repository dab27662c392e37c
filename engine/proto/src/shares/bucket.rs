//! A cap on wire bytes that holds in every short span: a token bucket kept as a time. spec: W-145
//!
//! ```text
//! in any span T: bytes <= cap * (T + depth) + one packet;  depth + one packet = 4 ms of the cap
//! ```
//! So that 200 ms hold no more than 2 % too much. Where a packet alone takes longer than 3 ms (below
//! 4 Mbit/s), a millisecond of depth is left for timers that fire late, and the packet is the error.

use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

/// What may leave at once after a pause, with the packet that overdraws it: a fiftieth of 200 ms.
const BURST: Duration = Duration::from_millis(4);
/// Late timers are made up for by at least this much.
const LATE: Duration = Duration::from_millis(1);

/// See the module. One that was never used has nothing saved up.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: BitRate,
    /// What was taken has been paid for at this time.
    paid: Timestamp,
}

impl Bucket {
    /// A cap of `rate` from now on.
    pub const fn new(rate: BitRate, now: Timestamp) -> Self {
        Self { rate, paid: now }
    }

    /// The cap.
    pub const fn rate(&self) -> BitRate {
        self.rate
    }

    /// Another cap from now on; what is owed is owed in bytes.
    pub fn set_rate(&mut self, rate: BitRate, now: Timestamp) {
        if rate == self.rate {
            return;
        }
        let debt = match self.rate {
            BitRate::ZERO => Bytes::ZERO,
            before => before.bytes_in(self.paid.since(now)),
        };
        self.rate = rate;
        self.paid = if rate == BitRate::ZERO { now } else { now + debt.time_at(rate) };
    }

    /// Whether a packet may leave now. It may be larger than what is left: the rest is owed.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.rate > BitRate::ZERO && self.paid <= now
    }

    /// When the next packet may leave; never at a cap of zero.
    pub fn opens_at(&self) -> Option<Timestamp> {
        (self.rate > BitRate::ZERO).then_some(self.paid)
    }

    /// What may leave now: packets, as long as it is not used up; the last one overdraws it.
    pub fn allowance(&self, packet: Bytes, now: Timestamp) -> Bytes {
        if !self.is_open(now) {
            return Bytes::ZERO;
        }
        let saved = now.since(self.paid).min(self.depth(packet));
        self.rate.bytes_in(saved) + Bytes::new(1)
    }

    /// A packet of `bytes` left.
    pub fn take(&mut self, bytes: Bytes, now: Timestamp) {
        self.take_many(bytes, bytes, now);
    }

    /// Packets of `packet` left, `bytes` together.
    pub fn take_many(&mut self, bytes: Bytes, packet: Bytes, now: Timestamp) {
        if self.rate == BitRate::ZERO {
            return;
        }
        let earliest = now - self.depth(packet);
        // That time is rounded up, so that the sum of many is never above the cap.
        self.paid = self.paid.max(earliest) + bytes.time_at(self.rate);
    }

    fn depth(&self, packet: Bytes) -> Duration {
        BURST.saturating_sub(packet.time_at(self.rate)).max(LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const WINDOW: Duration = Duration::from_millis(200);

    /// Sends whenever it may, at times that are looked at in steps of up to `late`; answers the most
    /// that left in any window, and what left in all.
    fn greedy(rate: BitRate, packet: Bytes, steps: &[u64], span: Duration) -> (Bytes, Bytes) {
        let begin = Timestamp::from_millis(1_000);
        let mut bucket = Bucket::new(rate, begin);
        let (mut recent, mut within) = (VecDeque::new(), Bytes::ZERO);
        let (mut most, mut all, mut now) = (Bytes::ZERO, Bytes::ZERO, begin);
        for step in steps.iter().cycle() {
            while bucket.is_open(now) {
                bucket.take(packet, now);
                recent.push_back(now);
                within += packet;
                all += packet;
            }
            while recent.front().is_some_and(|&at| now.since(at) > WINDOW) {
                recent.pop_front();
                within -= packet;
            }
            most = most.max(within);
            if now.since(begin) >= span {
                break;
            }
            let due = bucket.opens_at().unwrap_or(now).max(now);
            now = due + Duration::from_micros(*step);
        }
        (most, all)
    }

    proptest! {
        #[test]
        fn no_window_of_200_ms_has_two_percent_too_much(
            kbps in 100_u64..2_000_000,
            len in 1_000_u64..9_000,
            steps in prop::collection::vec(0_u64..6_000, 1..50),
        ) {
            let (rate, packet) = (BitRate::kbps(kbps), Bytes::new(len));
            let span = (packet.time_at(rate) * 3_000).min(Duration::from_secs(20));
            let (most, _) = greedy(rate, packet, &steps, span);
            let allowed = rate.bytes_in(WINDOW).get();
            let packet_is_more = packet.time_at(rate) > BURST - LATE;
            // There the granularity of a packet is more than two percent.
            let slack = if packet_is_more { len + allowed / 200 } else { allowed / 50 };
            prop_assert!(most.get() <= allowed + slack + 1, "{most} in a window of {allowed}");
        }

        #[test]
        fn late_timers_cost_nothing(
            kbps in 500_u64..500_000,
            steps in prop::collection::vec(0_u64..900, 1..50),
        ) {
            let (rate, packet, span) =
                (BitRate::kbps(kbps), Bytes::new(1_473), Duration::from_secs(5));
            let (_, all) = greedy(rate, packet, &steps, span);
            let wanted = rate.bytes_in(span).get();
            prop_assert!(all.get() * 50 >= wanted * 49 - 1_473 * 100, "{all} of {wanted}");
        }
    }

    #[test]
    fn a_cap_of_zero_lets_nothing_leave_and_ends_when_it_is_raised() {
        let at = Timestamp::from_millis;
        let mut bucket = Bucket::new(BitRate::ZERO, at(0));
        assert!(!bucket.is_open(at(1_000)) && bucket.opens_at().is_none());
        bucket.set_rate(BitRate::mbps(8), at(1_000));
        assert!(bucket.is_open(at(1_000)));
        let allowed = bucket.allowance(Bytes::new(1_000), at(1_000));
        assert_eq!(allowed, Bytes::new(1), "a packet, and nothing is saved up");
    }

    #[test]
    fn what_is_owed_is_owed_in_bytes_at_another_rate() {
        let at = Timestamp::from_millis;
        let mut bucket = Bucket::new(BitRate::mbps(8), at(0));
        bucket.take(Bytes::new(10_000), at(0));
        bucket.set_rate(BitRate::mbps(80), at(0));
        assert!(!bucket.is_open(Timestamp::from_nanos(900_000)));
        assert!(bucket.is_open(Timestamp::from_nanos(1_010_000)));
    }
}
