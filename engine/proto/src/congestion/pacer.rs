//! The token pacer: when bytes may leave, in bursts that are bounded in time.
//!
//! ```text
//! quantum = what the rate sends in 500 us (250 us above 5 Gbit/s), at least one packet
//! below 20 Mbit/s: single packets
//! ```
//! Time lost beyond the quantum is made up for, up to 5 ms, but never above the cap: a queue of that
//! size kept the link busy meanwhile and is missing afterwards. How fast depends on why it was lost.
//! A host that did not run (its processors are busy with other work) may stand still again in a
//! moment, so what it missed leaves at once: at 1.25 times the rate a host that runs half of the time
//! would send little more than half, the law would take that for what the link carries, and the rate
//! would sink step by step. A closed window is made up for at 1.25 times the rate: jitter closes
//! windows, and the link runs dry meanwhile, but the host is there. A pause for want of data is not
//! lost time.
//!
//! There is no constant cap: a bucket of so many packets times a timer of so many milliseconds is
//! a hidden speed limit. Trains may overdraw the bucket; the debt is paid before anything else
//! leaves. It does not know what is sent, and it keeps no timer.

use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

const QUANTUM: Duration = Duration::from_micros(500);
/// Late timers are made up for by at most this much (one packet below 20 Mbit/s takes longer
/// than the quantum, and would otherwise be lost by every timer that fires late).
const LATE_MAX: Duration = Duration::from_millis(5);
/// Lost time that is made up for.
const ARREARS_MAX: Duration = Duration::from_millis(5);
/// While making up, the rate is higher by a quarter; at once only where the cap leaves that room.
const HURRY: u64 = 4;
const QUANTUM_FAST: Duration = Duration::from_micros(250);
const FAST: BitRate = BitRate::mbps(5_000);
/// Below this, bursts would be visible as queue: packets leave one by one.
const SINGLES_BELOW: BitRate = BitRate::mbps(20);
/// An IP packet of the usual size.
const PACKET: Bytes = Bytes::new(1_500);

/// Why nothing more was sent at the last settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The pacer allowed no more.
    Pacer,
    /// The window was full.
    Window,
    /// There was nothing to send.
    Data,
}

/// See the module. The bucket is kept as the time at which it will have no debt: exact at any
/// rate, and free of drift.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// What was sent has been paid for at this time.
    paid: Timestamp,
    rate: BitRate,
    /// What is owed beyond `paid`, below a nanosecond: keeps the long-run rate exact.
    remainder: u64,
    /// Lost time, still to be made up for.
    arrears: Duration,
    /// Of it, what the host missed: may leave at once.
    missed: Duration,
    /// Not to be exceeded while making up.
    cap: BitRate,
    /// Lost time beyond that.
    forfeited: Duration,
    /// Why sending stopped last.
    stop: Stop,
}

impl Pacer {
    /// A full bucket.
    pub fn new() -> Self {
        // The origin of time lies arbitrarily far back: nothing was lost since.
        Self {
            paid: Timestamp::ZERO,
            rate: BitRate::ZERO,
            remainder: 0,
            arrears: Duration::ZERO,
            missed: Duration::ZERO,
            cap: BitRate::MAX,
            forfeited: Duration::ZERO,
            stop: Stop::Pacer,
        }
    }

    /// From now on lost time is not made up for beyond `cap`.
    pub const fn set_cap(&mut self, cap: Option<BitRate>) {
        self.cap = match cap {
            Some(cap) => cap,
            None => BitRate::MAX,
        };
    }

    /// There is nothing to send: the time until the next call is not lost.
    pub const fn pause(&mut self) {
        self.stop = Stop::Data;
        self.missed = Duration::ZERO;
    }

    /// The window is full: the time until the next call is lost, but not for want of a host.
    pub const fn hold(&mut self) {
        self.stop = Stop::Window;
    }

    /// The time, since this was last asked, in which packets could have left and that will not be
    /// made up for.
    pub const fn take_forfeited(&mut self) -> Duration {
        core::mem::replace(&mut self.forfeited, Duration::ZERO)
    }

    /// Bytes that may leave now at `rate`: none, or at least one packet's worth.
    pub fn budget(&mut self, now: Timestamp, rate: BitRate) -> Bytes {
        self.settle(now, rate);
        if now < self.paid {
            return Bytes::ZERO;
        }
        let credit = if rate < SINGLES_BELOW { Duration::ZERO } else { now.since(self.paid) };
        rate.bytes_in(credit + self.missed) + PACKET
    }

    /// Whether at the last [`Self::budget`], which was `now`, all was there that is kept: nothing left
    /// for that long, and not because of the pacer.
    pub fn is_full(&self, now: Timestamp) -> bool {
        now.since(self.paid) >= span(self.rate)
    }

    /// `bytes` left, at the time and rate of the last [`Self::budget`] or
    /// [`Self::next_release`]. May exceed the budget (a train): the rest is a debt.
    pub fn on_sent(&mut self, bytes: Bytes) {
        if self.rate == BitRate::ZERO {
            return;
        }
        let (nanos, remainder) = self.price(bytes);
        self.remainder = remainder;
        let price = Duration::from_nanos(nanos);
        let missed = price.min(self.missed);
        self.missed -= missed;
        self.arrears -= missed;
        let price = price - missed;
        let slowly = self.arrears - self.missed;
        let made_up = match slowly.is_zero() {
            true => Duration::ZERO,
            false => self.discount(price).min(slowly),
        };
        self.arrears -= made_up;
        self.paid += price - made_up;
    }

    /// What `bytes` cost in nanoseconds, with what was owed, and what is owed then. Once a packet:
    /// a division of 128 bits is for those only that 64 do not hold.
    fn price(&self, bytes: Bytes) -> (u64, u64) {
        const BITS: u64 = 8 * 1_000_000_000;
        let rate = self.rate.get();
        let bits = bytes.get().checked_mul(BITS).and_then(|bits| bits.checked_add(self.remainder));
        if let Some(bits) = bits {
            return (bits / rate, bits % rate);
        }
        let bits = u128::from(bytes.get()) * u128::from(BITS) + u128::from(self.remainder);
        let nanos = u64::try_from(bits / u128::from(rate)).unwrap_or(u64::MAX);
        (nanos, u64::try_from(bits % u128::from(rate)).unwrap_or_default())
    }

    /// What of its price a packet need not wait while lost time is made up for.
    fn discount(&self, price: Duration) -> Duration {
        let rate = self.rate.get();
        let hurried = hurried(rate).min(self.cap.get()).max(rate);
        let spared = price.as_nanos() * u128::from(hurried - rate) / u128::from(hurried.max(1));
        Duration::from_nanos(u64::try_from(spared).unwrap_or(u64::MAX)).min(price)
    }

    /// When `bytes` may leave in one burst at `rate`; `now` if at once. A burst larger than the
    /// quantum is not waited for: the answer is when the quantum is full. Below 20 Mbit/s the
    /// answer is when one packet may leave.
    pub fn next_release(&mut self, now: Timestamp, rate: BitRate, bytes: Bytes) -> Timestamp {
        self.settle(now, rate);
        let burst = if rate < SINGLES_BELOW { Bytes::ZERO } else { bytes.saturating_sub(PACKET) };
        let wanted = burst.time_at(rate).min(span(rate));
        (self.paid + wanted).max(now)
    }

    /// The largest burst at `rate`.
    pub fn quantum(rate: BitRate) -> Bytes {
        rate.bytes_in(span(rate)) + PACKET
    }

    /// Takes the new rate, and forgets credit beyond the quantum.
    fn settle(&mut self, now: Timestamp, rate: BitRate) {
        if self.rate == BitRate::ZERO {
            self.paid = now - span(rate);
        }
        if rate != self.rate {
            if now < self.paid && self.rate != BitRate::ZERO {
                // The debt is in bytes: at the new rate it takes another time.
                let debt = self.rate.bytes_in(self.paid.since(now));
                self.paid = now + debt.time_at(rate);
            }
            (self.rate, self.remainder) = (rate, 0);
        }
        let earliest = now - span(rate);
        if self.paid < earliest {
            let idle = earliest.since(self.paid);
            let lost = if self.stop == Stop::Data { Duration::ZERO } else { idle };
            let arrears = self.arrears + lost;
            self.arrears = arrears.min(ARREARS_MAX);
            self.forfeited += arrears - self.arrears;
            if self.stop == Stop::Pacer && self.cap.get() >= hurried(rate.get()) {
                self.missed = (self.missed + lost).min(self.arrears);
            }
            self.paid = earliest;
        }
        self.stop = Stop::Pacer;
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new()
    }
}

/// A rate in bits per second, as it is while lost time is made up for.
const fn hurried(rate: u64) -> u64 {
    rate.saturating_add(rate / HURRY)
}

/// How much unused time the bucket keeps beyond one packet.
fn span(rate: BitRate) -> Duration {
    if rate < SINGLES_BELOW {
        PACKET.time_at(rate).min(LATE_MAX)
    } else if rate > FAST {
        QUANTUM_FAST
    } else {
        QUANTUM
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends packets of `packet` whenever allowed, with timers late by up to `late`; answers what
    /// was sent in `span` after a full start.
    fn sent_in(rate: BitRate, packet: Bytes, late: Duration, span: Duration) -> Bytes {
        let (mut pacer, mut sent) = (Pacer::new(), Bytes::ZERO);
        let (start, mut now) = (Timestamp::from_millis(100), Timestamp::from_millis(100));
        let mut tick = 0u32;
        while now.since(start) < span {
            let mut budget = pacer.budget(now, rate);
            while budget >= packet {
                pacer.on_sent(packet);
                sent += packet;
                budget -= packet;
            }
            tick += 1;
            let delay = late.mul_f64(f64::from(tick % 7) / 6.0);
            now = pacer.next_release(now, rate, packet).max(now + Duration::from_nanos(1)) + delay;
        }
        sent
    }

    proptest! {
        #[test]
        fn the_long_run_rate_is_exact(
            mbps in 1u64..10_000,
            bytes in 200u64..=1_500,
            late_micros in 0u64..200,
        ) {
            let (rate, packet) = (BitRate::mbps(mbps), Bytes::new(bytes));
            // Long enough that the first burst is below 0.05 %.
            let span = (Pacer::quantum(rate).time_at(rate) * 4_000).min(Duration::from_secs(12));
            let late = Duration::from_micros(late_micros).min(super::span(rate) / 2);
            let sent = sent_in(rate, packet, late, span);
            let share = sent.get() as f64 / rate.bytes_in(span).get() as f64;
            prop_assert!((share - 1.0).abs() < 1e-3, "{rate} {packet} {share}");
        }

        #[test]
        fn from_a_full_start_no_more_leaves_than_rate_and_quantum(
            mbps in 1u64..20_000,
            waits in prop::collection::vec(0u64..3_000_000, 1..200),
        ) {
            let rate = BitRate::mbps(mbps);
            let (mut pacer, mut now) = (Pacer::new(), Timestamp::from_millis(1));
            let (start, mut sent) = (now, Bytes::ZERO);
            for wait in waits {
                now += Duration::from_nanos(wait);
                let budget = pacer.budget(now, rate);
                let packets = budget.get() / PACKET.get();
                (0..packets).for_each(|_| pacer.on_sent(PACKET));
                sent += PACKET.saturating_mul(packets);
                // What is made up for was missed within the interval.
                let bound = rate.bytes_in(now.since(start)) + Pacer::quantum(rate) + Bytes::new(1);
                prop_assert!(sent <= bound, "{sent} > {bound}");
            }
        }
    }

    /// What leaves in 200 ms from `now` on, in packets, if everything leaves that may.
    fn packets_in_200_ms(pacer: &mut Pacer, rate: BitRate, mut now: Timestamp) -> u64 {
        let (end, mut packets) = (now + Duration::from_millis(200), 0);
        while now < end {
            while pacer.budget(now, rate) >= PACKET {
                pacer.on_sent(PACKET);
                packets += 1;
            }
            now = pacer.next_release(now, rate, PACKET).max(now + Duration::from_nanos(1));
        }
        packets
    }

    /// A pacer that sent, and then not for 50 ms, which `pause` may explain.
    fn after_a_gap(
        rate: BitRate,
        cap: Option<BitRate>,
        pause: impl FnOnce(&mut Pacer),
    ) -> (Pacer, Timestamp) {
        let mut pacer = Pacer::new();
        pacer.set_cap(cap);
        let now = Timestamp::from_millis(500);
        while pacer.budget(now, rate) >= PACKET {
            pacer.on_sent(PACKET);
        }
        pause(&mut pacer);
        (pacer, now + Duration::from_millis(50))
    }

    #[test]
    fn a_cap_is_never_exceeded_by_two_percent() {
        let rate = BitRate::mbps(120);
        let in_200_ms = 2_000;
        let (mut pacer, now) = after_a_gap(rate, Some(rate), |_| ());
        let sent = packets_in_200_ms(&mut pacer, rate, now);
        assert!((in_200_ms..in_200_ms + 10).contains(&sent), "{sent}");
        // Below the cap there is room to make up for lost time, as far as the cap goes.
        let (mut pacer, now) = after_a_gap(rate, Some(rate.mul_f64(1.01)), |_| ());
        let sent = packets_in_200_ms(&mut pacer, rate, now);
        assert!((in_200_ms + 15..in_200_ms + 30).contains(&sent), "{sent}");
        let (mut pacer, now) = after_a_gap(rate, None, |_| ());
        let sent = packets_in_200_ms(&mut pacer, rate, now);
        assert!((in_200_ms + 50..in_200_ms + 60).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_is_not_lost_time() {
        let rate = BitRate::mbps(120);
        let (mut pacer, now) = after_a_gap(rate, None, Pacer::pause);
        let sent = packets_in_200_ms(&mut pacer, rate, now);
        assert!((2_000..2_010).contains(&sent), "{sent}");
    }

    /// It used to leave at 1.25 times the rate: a host that ran half of the time never sent it.
    #[test]
    fn what_a_host_missed_while_it_did_not_run_leaves_at_once() {
        let rate = BitRate::mbps(120);
        let (mut pacer, now) = after_a_gap(rate, None, |_| ());
        let at_once = pacer.budget(now, rate);
        let expected = rate.bytes_in(ARREARS_MAX) + Pacer::quantum(rate);
        assert_eq!(at_once, expected);
        (0..at_once.get() / PACKET.get()).for_each(|_| pacer.on_sent(PACKET));
        assert!(pacer.budget(now, rate) <= PACKET, "twice");
    }

    #[test]
    fn a_host_that_runs_a_third_of_the_time_sends_all_that_the_rate_allows() {
        let rate = BitRate::mbps(1_000);
        let (mut pacer, start) = (Pacer::new(), Timestamp::from_millis(500));
        let (mut now, mut sent) = (start, Bytes::ZERO);
        while now.since(start) < Duration::from_secs(3) {
            while pacer.budget(now, rate) >= PACKET {
                pacer.on_sent(PACKET);
                sent += PACKET;
            }
            // Awake for 2 ms, then away for 4 ms.
            let release = pacer.next_release(now, rate, PACKET).max(now + Duration::from_nanos(1));
            let away = release.since(start).as_micros() % 6_000 >= 2_000;
            let back = u64::try_from(6_000 - release.since(start).as_micros() % 6_000).unwrap();
            now = if away { release + Duration::from_micros(back) } else { release };
        }
        let share = sent.get() as f64 / rate.bytes_in(now.since(start)).get() as f64;
        assert!(share > 0.99, "{share}");
    }

    #[test]
    fn what_a_closed_window_held_back_leaves_at_a_quarter_more_than_the_rate() {
        let rate = BitRate::mbps(120);
        let (mut pacer, now) = after_a_gap(rate, None, Pacer::hold);
        assert_eq!(pacer.budget(now, rate), Pacer::quantum(rate));
        let sent = packets_in_200_ms(&mut pacer, rate, now);
        assert!((2_050..2_060).contains(&sent), "{sent}");
    }

    #[test]
    fn lost_time_beyond_the_arrears_is_forfeited_and_told_once() {
        let rate = BitRate::mbps(120);
        let (mut pacer, now) = after_a_gap(rate, None, |_| ());
        assert_eq!(pacer.take_forfeited(), Duration::ZERO);
        pacer.budget(now, rate);
        let forfeited = pacer.take_forfeited();
        assert!((44_000..45_000).contains(&forfeited.as_micros()), "{forfeited:?}");
        assert_eq!(pacer.take_forfeited(), Duration::ZERO);
        let (mut pacer, now) = after_a_gap(rate, None, Pacer::pause);
        pacer.budget(now, rate);
        assert_eq!(pacer.take_forfeited(), Duration::ZERO);
    }

    #[test]
    fn a_slow_rate_sends_single_packets() {
        let mut pacer = Pacer::new();
        let budget = pacer.budget(Timestamp::from_millis(500), BitRate::mbps(10));
        assert_eq!(budget, PACKET);
    }

    #[test]
    fn a_train_is_paid_back_before_the_next_packet() {
        let rate = BitRate::mbps(100);
        let mut pacer = Pacer::new();
        let now = Timestamp::from_millis(500);
        pacer.budget(now, rate);
        (0..64).for_each(|_| pacer.on_sent(PACKET));
        let release = pacer.next_release(now, rate, PACKET);
        let owed = PACKET.saturating_mul(64).time_at(rate) - QUANTUM;
        assert!(release.since(now).abs_diff(owed) < Duration::from_micros(2));
        assert_eq!(pacer.budget(now, rate), Bytes::ZERO);
    }

    #[test]
    fn a_debt_shrinks_in_time_when_the_rate_grows() {
        let mut pacer = Pacer::new();
        let now = Timestamp::from_millis(500);
        pacer.budget(now, BitRate::mbps(100));
        (0..64).for_each(|_| pacer.on_sent(PACKET));
        let slow = pacer.next_release(now, BitRate::mbps(100), PACKET).since(now);
        let fast = pacer.next_release(now, BitRate::mbps(1_000), PACKET).since(now);
        assert!(fast * 9 < slow && slow < fast * 11, "{slow:?} {fast:?}");
    }
}
