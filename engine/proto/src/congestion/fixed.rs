//! Policy `fixed`: the target rate is held whatever happens.
//!
//! No brake, no search; only the bytes in flight are bounded, so that a dead path does not fill
//! memory. It still measures the base RTT and loss, for telemetry and for the FEC policy.

use super::{Controller, Policy, Sample, View};
use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Ratio, Timestamp};
use core::time::Duration;

/// What `fixed` means without a target: a rate every link of today carries.
const RATE_DEFAULT: BitRate = BitRate::mbps(10);
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
    /// Holds `target`, or 10 Mbit/s without one.
    pub fn new(target: Option<BitRate>, initial_rtt: Duration) -> Self {
        let rate = target.unwrap_or(RATE_DEFAULT).max(BitRate::kbps(8));
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

    fn set_policy(&mut self, _: Policy, cap: Option<BitRate>, _: Timestamp) {
        if let Some(cap) = cap {
            self.rate = cap.max(BitRate::kbps(8));
        }
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
