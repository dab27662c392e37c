//! Round-trip time of a path: smoothed value and deviation (RFC 9002 section 5), and the reorder
//! window of loss detection. The minimum that rate control steers by lives in the controller.

use super::ages::AgeBound;
use crate::units::Timestamp;
use core::time::Duration;

/// Smallest reorder window: below this a batch of packets looks reordered by its own processing.
const REORDER_MIN: Duration = Duration::from_millis(2);
/// Round trips without a spurious repair after which the reorder window shrinks again.
const REORDER_DECAY_ROUNDS: u32 = 16;

/// Smoothed round-trip estimate with the reorder window derived from it.
#[derive(Clone, Debug)]
pub struct RttEstimator {
    latest: Duration,
    smoothed: Duration,
    deviation: Duration,
    min: Duration,
    sampled: bool,
    reorder_doublings: u32,
    reorder_changed: Timestamp,
    ages: AgeBound,
}

impl RttEstimator {
    /// Starts from `initial` (measured by the handshake, or a guess) until the first sample.
    pub fn new(initial: Duration) -> Self {
        Self {
            latest: initial,
            smoothed: initial,
            deviation: initial / 4,
            min: initial,
            sampled: false,
            reorder_doublings: 0,
            reorder_changed: Timestamp::ZERO,
            ages: AgeBound::new(initial),
        }
    }

    /// What a receiver may take off a round trip for holding a packet.
    pub const fn ages(&mut self) -> &mut AgeBound {
        &mut self.ages
    }

    /// Takes one measurement in.
    pub fn on_sample(&mut self, rtt: Duration) {
        self.latest = rtt;
        if !self.sampled {
            self.sampled = true;
            self.smoothed = rtt;
            self.deviation = rtt / 8;
            self.min = rtt;
            return;
        }
        self.min = self.min.min(rtt);
        let distance = rtt.abs_diff(self.smoothed);
        self.deviation = (self.deviation * 3 + distance) / 4;
        self.smoothed = (self.smoothed * 7 + rtt) / 8;
    }

    /// The newest measurement.
    pub const fn latest(&self) -> Duration {
        self.latest
    }

    /// The smoothed round trip.
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The smallest round trip ever seen on this path.
    pub const fn min(&self) -> Duration {
        self.min
    }

    /// A round trip that a packet exceeds only when something is wrong.
    pub fn pessimistic(&self) -> Duration {
        self.latest.max(self.smoothed) + 4 * self.deviation
    }

    /// How much later than its successors a packet may arrive before it counts as lost
    /// (RACK, RFC 8985 section 6.2): an eighth of the round trip, doubled per spurious repair.
    pub fn reorder_window(&self) -> Duration {
        let base = REORDER_MIN.max(self.smoothed / 8);
        base.saturating_mul(1 << self.reorder_doublings).min(self.smoothed.max(REORDER_MIN))
    }

    /// A packet declared lost arrived after all: widen the window, at most once per round trip.
    pub fn on_spurious(&mut self, now: Timestamp) {
        if now.since(self.reorder_changed) >= self.smoothed {
            self.reorder_doublings = (self.reorder_doublings + 1).min(3);
            self.reorder_changed = now;
        }
    }

    /// Lets a widened window shrink after quiet round trips.
    pub fn decay_reorder(&mut self, now: Timestamp) {
        if self.reorder_doublings > 0
            && now.since(self.reorder_changed) > self.smoothed * REORDER_DECAY_ROUNDS
        {
            self.reorder_doublings -= 1;
            self.reorder_changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_replaces_the_guess() {
        let mut rtt = RttEstimator::new(Duration::from_secs(1));
        rtt.on_sample(Duration::from_millis(80));
        assert_eq!(rtt.smoothed(), Duration::from_millis(80));
        assert_eq!(rtt.reorder_window(), Duration::from_millis(10));
    }

    #[test]
    fn spurious_repairs_widen_the_reorder_window_and_quiet_narrows_it() {
        let mut rtt = RttEstimator::new(Duration::from_millis(80));
        rtt.on_sample(Duration::from_millis(80));
        let now = Timestamp::from_millis(1000);
        rtt.on_spurious(now);
        rtt.on_spurious(now);
        assert_eq!(rtt.reorder_window(), Duration::from_millis(20));
        rtt.decay_reorder(now + Duration::from_secs(2));
        assert_eq!(rtt.reorder_window(), Duration::from_millis(10));
    }
}
