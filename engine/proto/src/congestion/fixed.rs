//! Policy `fixed`: the target rate is held whatever happens.
//!
//! No brake, no search; only the bytes in flight are bounded, so that a dead path does not fill
//! memory. It still measures the base RTT and loss, for telemetry and for the FEC policy.

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

/// See the module.
#[derive(Debug)]
pub struct FixedRate {
    rate: BitRate,
    rtt_min: Duration,
    rtt: Duration,
    loss: f64,
}

impl FixedRate {
    /// Holds the cap of `bounds`, without one `hint`, or else 10 Mbit/s; the floor if that is more.
    pub fn new(bounds: Bounds, hint: Option<BitRate>, initial_rtt: Duration) -> Self {
        let target = bounds.cap().or(hint).unwrap_or(RATE_DEFAULT);
        let rate = bounds.hold(target).max(RATE_MIN);
        Self { rate, rtt_min: initial_rtt, rtt: Duration::ZERO, loss: 0.0 }
    }
}

impl Controller for FixedRate {
    fn on_sent(&mut self, _: PacketNumber, _: Bytes, _: Timestamp) -> RateEpoch {
        RateEpoch::new(0)
    }

    fn on_feedback(&mut self, sample: &Sample<'_>, _: Timestamp) {
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
    }

    fn on_timer(&mut self, _: Timestamp) {}

    fn next_timer(&self) -> Option<Timestamp> {
        None
    }

    fn pacing_rate(&self, _: Timestamp) -> BitRate {
        self.rate
    }

    fn in_flight_limit(&self) -> Bytes {
        let span = self.rtt.max(self.rtt_min) * 2 + Duration::from_millis(100);
        self.rate.bytes_in(span) + IN_FLIGHT_FLOOR
    }

    fn take_train(&mut self, _: Timestamp) -> Option<u32> {
        None
    }

    fn on_outage_end(&mut self, _: Duration, _: Timestamp) {}

    fn set_policy(&mut self, _: Policy, bounds: Bounds, _: Timestamp) {
        let target = bounds.cap().unwrap_or(self.rate);
        self.rate = bounds.hold(target).max(RATE_MIN);
    }

    fn view(&self) -> View {
        View {
            rate: self.rate,
            capacity: None,
            ceiling: None,
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
