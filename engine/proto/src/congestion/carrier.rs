//! Over a carrier that has a congestion control of its own: send as fast as it takes.
//!
//! ```text
//! rate   = the cap; without one, none that would hold anything up (a floor means nothing here)
//! window = 1 MiB + 2 x (largest delivered rate of the last 5 - 10 s) x (smallest RTT + 100 ms)
//! ```
//! What the carrier does not take waits with us, so back-pressure paces. The window is there for
//! memory: twice what was delivered lets the carrier double its rate each round trip, as its
//! start-up does, and ends the growth where delivery ends. Nothing is loss here: what a receiver
//! had no room for is flow control.

use super::{Bounds, Controller, Policy, Sample, View};
use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Ratio, Timestamp};
use core::time::Duration;

/// Faster than what a carrier's thread takes; bounds what is planned and read ahead at once.
const UNPACED: BitRate = BitRate::mbps(10_000);
/// Window before anything was delivered, and beyond what delivery explains.
const WINDOW_MIN: Bytes = Bytes::mib(1);
/// Queues of the carrier, on both sides.
const SLACK: Duration = Duration::from_millis(100);
/// Shortest time over which delivery is measured.
const SPAN_MIN: Duration = Duration::from_millis(50);
/// A maximum is forgotten after one to two of these.
const KEPT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct CarrierLaw {
    cap: Option<BitRate>,
    rtt_min: Duration,
    rtt: Duration,
    /// Bytes that arrived since then.
    arrived: Bytes,
    since: Option<Timestamp>,
    /// Largest rates of the span before and of this one, which began then.
    before: BitRate,
    largest: BitRate,
    kept_from: Timestamp,
}

impl CarrierLaw {
    /// Never faster than `cap`.
    pub fn new(cap: Option<BitRate>, initial_rtt: Duration) -> Self {
        Self {
            cap,
            rtt_min: initial_rtt,
            rtt: Duration::ZERO,
            arrived: Bytes::ZERO,
            since: None,
            before: BitRate::ZERO,
            largest: BitRate::ZERO,
            kept_from: Timestamp::ZERO,
        }
    }

    /// The largest rate at which data arrived lately.
    fn delivered(&self) -> BitRate {
        self.largest.max(self.before)
    }

    fn measure(&mut self, arrived: Bytes, now: Timestamp) {
        self.arrived += arrived;
        let since = *self.since.get_or_insert(now);
        let span = now.since(since);
        if span < SPAN_MIN.max(self.rtt_min) {
            return;
        }
        self.largest = self.largest.max(self.arrived.rate_over(span));
        (self.arrived, self.since) = (Bytes::ZERO, Some(now));
        if now.since(self.kept_from) >= KEPT {
            (self.before, self.largest) = (self.largest, BitRate::ZERO);
            self.kept_from = now;
        }
    }
}

impl Controller for CarrierLaw {
    fn on_sent(&mut self, _: PacketNumber, _: Bytes, now: Timestamp) -> RateEpoch {
        self.since.get_or_insert(now);
        RateEpoch::new(0)
    }

    fn on_feedback(&mut self, sample: &Sample<'_>, now: Timestamp) {
        if let Some(rtt) = sample.rtts.iter().map(|sample| sample.rtt).min() {
            let first = self.rtt.is_zero();
            self.rtt = rtt;
            self.rtt_min = if first { rtt } else { self.rtt_min.min(rtt) };
        }
        let arrived = sample.acked.iter().fold(Bytes::ZERO, |sum, outcome| sum + outcome.bytes);
        self.measure(arrived, now);
    }

    fn on_timer(&mut self, _: Timestamp) {}

    fn next_timer(&self) -> Option<Timestamp> {
        None
    }

    fn pacing_rate(&self, _: Timestamp) -> BitRate {
        self.cap.unwrap_or(UNPACED)
    }

    fn in_flight_limit(&self) -> Bytes {
        WINDOW_MIN + self.delivered().bytes_in((self.rtt_min + SLACK) * 2)
    }

    fn take_train(&mut self, _: Timestamp) -> Option<u32> {
        None
    }

    fn on_outage_end(&mut self, _: Duration, _: Timestamp) {}

    fn set_policy(&mut self, _: Policy, bounds: Bounds, _: Timestamp) {
        self.cap = bounds.cap();
    }

    fn view(&self) -> View {
        View {
            rate: self.delivered().max(WINDOW_MIN.rate_over(self.rtt_min + SLACK)),
            capacity: None,
            ceiling: None,
            rtt_min: self.rtt_min,
            queue_delay: self.rtt.saturating_sub(self.rtt_min),
            loss_random: Ratio::ZERO,
            loss: Ratio::ZERO,
            loss_run: 1.0,
            starting: false,
            phase: "carrier",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::{Outcome, RttSample};

    const RTT: Duration = Duration::from_millis(100);
    const PACKET: Bytes = Bytes::new(1473);

    /// Feeds `seconds` of delivery at `rate`, a report every 25 ms.
    fn deliver(law: &mut CarrierLaw, rate: BitRate, from: Timestamp, seconds: u64) -> Timestamp {
        let (every, mut now) = (Duration::from_millis(25), from);
        law.on_sent(PacketNumber::new(0), PACKET, from);
        let packets = rate.bytes_in(every).get() / PACKET.get();
        let outcome = |n| Outcome {
            number: PacketNumber::new(n),
            sent_at: now,
            bytes: PACKET,
            epoch: RateEpoch::new(0),
        };
        let acked: Vec<Outcome> = (0..packets).map(outcome).collect();
        while now.since(from) < Duration::from_secs(seconds) {
            now += every;
            let rtts = [RttSample { sent_at: now - RTT, rtt: RTT, back: Duration::ZERO }];
            let sample = Sample {
                acked: &acked,
                lost: &acked,
                dead: &[],
                spurious: &[],
                rtts: &rtts,
                trains: &[],
                receiver_drops: 0,
                in_flight: Bytes::ZERO,
                app_limited: false,
            };
            law.on_feedback(&sample, now);
        }
        now
    }

    #[test]
    fn the_window_is_twice_what_was_delivered_and_loss_changes_nothing() {
        let mut law = CarrierLaw::new(None, RTT);
        assert_eq!(law.in_flight_limit(), WINDOW_MIN);
        let now = deliver(&mut law, BitRate::mbps(100), Timestamp::from_millis(1), 3);
        let twice = BitRate::mbps(100).bytes_in((RTT + SLACK) * 2);
        let share = (law.in_flight_limit() - WINDOW_MIN).get() as f64 / twice.get() as f64;
        assert!((0.9..1.1).contains(&share), "{share}");
        assert_eq!(law.pacing_rate(now), UNPACED);
        // What was delivered long ago opens no window.
        deliver(&mut law, BitRate::mbps(1), now, 12);
        assert!(law.in_flight_limit() < WINDOW_MIN + BitRate::mbps(2).bytes_in(RTT * 4));
    }

    #[test]
    fn a_cap_holds_and_can_be_changed() {
        let mut law = CarrierLaw::new(Some(BitRate::mbps(5)), RTT);
        assert_eq!(law.pacing_rate(Timestamp::ZERO), BitRate::mbps(5));
        let slower = Bounds::capped(Some(BitRate::mbps(2)));
        law.set_policy(Policy::Low, slower, Timestamp::ZERO);
        assert_eq!(law.pacing_rate(Timestamp::ZERO), BitRate::mbps(2));
    }
}
