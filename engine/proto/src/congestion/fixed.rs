//! Policy `fixed`: the target rate is held, whatever the link makes of it.
//!
//! ```text
//! R = target, within the bounds; but for H after the receiver dropped for want of room:
//! R = 0.95 D, at least R/2, at most 0.95 R; once a round trip while it goes on dropping
//! H = 1 s, doubled up to 16 s when drops return within H after it
//! ```
//! D is what arrived lately. No brake, no search; the bytes in flight are bounded, so that a dead path
//! does not fill memory. It still measures the base RTT and loss, for telemetry and for the FEC policy.

use super::taken::Taken;
use super::{Bounds, Controller, Policy, Sample, View};
use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Ratio, Timestamp};
use core::time::Duration;

/// What `fixed` means without a target: a rate every link of today carries.
const RATE_DEFAULT: BitRate = BitRate::mbps(10);
/// The slowest target.
const RATE_MIN: BitRate = BitRate::kbps(8);
/// Bytes in flight beyond rate times round trip.
const IN_FLIGHT_FLOOR: Bytes = Bytes::kib(64);
/// Weight of the newest feedback in the smoothed loss.
const LOSS_WEIGHT: f64 = 1.0 / 16.0;
/// Shortest time over which arrivals are measured, and between two cuts.
const SPAN_MIN: Duration = Duration::from_millis(100);
/// What the receiver takes, less a little so that it catches up.
const RECEIVER_SHARE: f64 = 0.95;
/// One cut is no deeper: what arrived may be little because little was sent.
const CUT_MAX: f64 = 0.5;
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(16);

/// See the module.
#[derive(Debug)]
pub struct FixedRate {
    /// As it was asked for, before the bounds.
    target: BitRate,
    bounds: Bounds,
    taken: Option<Taken>,
    hold: Duration,
    cut_at: Timestamp,
    /// Bytes that arrived since then, and the rate of the span before.
    arrived: Bytes,
    since: Timestamp,
    delivered: BitRate,
    feedback_at: Timestamp,
    rtt_min: Duration,
    rtt: Duration,
    loss: f64,
}

impl FixedRate {
    /// Holds the cap of `bounds`, without one `hint`, or else 10 Mbit/s; the floor if that is more.
    pub fn new(
        bounds: Bounds,
        hint: Option<BitRate>,
        initial_rtt: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            target: bounds.cap().or(hint).unwrap_or(RATE_DEFAULT),
            bounds,
            taken: None,
            hold: Duration::ZERO,
            cut_at: now,
            arrived: Bytes::ZERO,
            since: now,
            delivered: BitRate::ZERO,
            feedback_at: now,
            rtt_min: initial_rtt,
            rtt: Duration::ZERO,
            loss: 0.0,
        }
    }

    /// What the receiver takes, if it had to drop lately.
    pub(super) const fn taken(&self) -> Option<Taken> {
        self.taken
    }

    /// Another law learnt what the receiver takes.
    pub(super) const fn spare(&mut self, taken: Option<Taken>) {
        self.taken = taken;
    }

    fn rate(&self, now: Timestamp) -> BitRate {
        let rate = self.bounds.hold(self.target);
        self.taken.map_or(rate, |taken| taken.hold(rate, now)).max(RATE_MIN)
    }

    fn measure(&mut self, sample: &Sample<'_>, now: Timestamp) {
        let arrived = sample.acked.iter().chain(sample.spurious);
        self.arrived += arrived.fold(Bytes::ZERO, |sum, outcome| sum + outcome.bytes);
        let span = now.since(self.since);
        if span >= SPAN_MIN.max(self.rtt) {
            self.delivered = self.arrived.rate_over(span);
            (self.arrived, self.since) = (Bytes::ZERO, now);
        }
    }

    fn on_drops(&mut self, now: Timestamp) {
        let held = self.taken.is_some_and(|taken| now < taken.until);
        let settling = self.taken.is_some() && now.since(self.cut_at) < self.rtt + SPAN_MIN;
        if held && settling {
            return;
        }
        let repeated = self.taken.is_some_and(|taken| now.since(taken.until) < self.hold);
        if !held {
            self.hold = if repeated { (self.hold * 2).min(HOLD_MAX) } else { HOLD_MIN };
        }
        let rate = self.rate(now);
        let most = rate.mul_f64(RECEIVER_SHARE);
        let takes = self.delivered.mul_f64(RECEIVER_SHARE).min(most).max(rate.mul_f64(CUT_MAX));
        self.taken = Some(Taken { rate: takes, until: now + self.hold });
        self.cut_at = now;
    }
}

impl Controller for FixedRate {
    fn on_sent(&mut self, _: PacketNumber, _: Bytes, _: Timestamp) -> RateEpoch {
        RateEpoch::new(0)
    }

    fn on_feedback(&mut self, sample: &Sample<'_>, now: Timestamp) {
        self.feedback_at = now;
        if let Some(rtt) = sample.rtts.iter().map(|s| s.rtt).min() {
            let first = self.rtt.is_zero();
            self.rtt = rtt;
            self.rtt_min = if first { rtt } else { self.rtt_min.min(rtt) };
        }
        let lost = sample.lost.len() as u64;
        let resolved = lost + sample.acked.len() as u64;
        if resolved > 0 {
            self.loss += (Ratio::of(lost, resolved).get() - self.loss) * LOSS_WEIGHT;
        }
        self.measure(sample, now);
        if sample.receiver_drops > 0 {
            self.on_drops(now);
        }
    }

    fn on_timer(&mut self, _: Timestamp) {}

    fn next_timer(&self) -> Option<Timestamp> {
        None
    }

    fn pacing_rate(&self, now: Timestamp) -> BitRate {
        self.rate(now)
    }

    fn in_flight_limit(&self) -> Bytes {
        let span = self.rtt.max(self.rtt_min) * 2 + Duration::from_millis(100);
        self.rate(self.feedback_at).bytes_in(span) + IN_FLIGHT_FLOOR
    }

    fn take_train(&mut self, _: Timestamp) -> Option<u32> {
        None
    }

    fn on_outage_end(&mut self, _: Duration, _: Timestamp) {}

    fn set_policy(&mut self, _: Policy, bounds: Bounds, _: Timestamp) {
        self.target = bounds.cap().unwrap_or(self.target);
        self.bounds = bounds;
    }

    fn view(&self) -> View {
        let now = self.feedback_at;
        View {
            rate: self.rate(now),
            capacity: None,
            ceiling: self.taken.filter(|taken| now < taken.until).map(|taken| taken.rate),
            rtt_min: self.rtt_min,
            queue_delay: self.rtt.saturating_sub(self.rtt_min),
            loss_random: Ratio::new(self.loss),
            loss: Ratio::new(self.loss),
            loss_run: 1.0,
            starting: false,
            phase: "fixed",
        }
    }
}

#[cfg(test)]
mod tests;
