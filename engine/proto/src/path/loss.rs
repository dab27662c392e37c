//! How much of what is sent is lost, as far as repair has to know: a mean over about two thousand
//! packets, and how far the truth may lie above it.
//!
//! The controller's loss is made for control: it follows the last round trip. A bet on repair
//! symbols needs the long run, and has to know how little it knows at the start.

use crate::fec::LossEstimate;
use crate::units::Ratio;

/// Packets remembered, softly.
const MEMORY: f64 = 2000.0;
/// Without any loss in so many packets none is feared.
const CLEAN_AFTER: u64 = 1000;
/// Mean runs longer than this are outages or overload, not the path's loss.
const RUN_MAX: f64 = 64.0;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct LossMeter {
    resolved: f64,
    lost: f64,
    resolved_ever: u64,
    lost_ever: u64,
}

impl LossMeter {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets whose fate became known; `spurious` had been counted as lost before.
    pub fn on_settled(&mut self, acked: usize, lost: usize, spurious: usize) {
        let (acked, lost, spurious) = (acked as u64, lost as u64, spurious as u64);
        self.resolved_ever += acked + lost;
        self.lost_ever = (self.lost_ever + lost).saturating_sub(spurious);
        let fresh = count(acked + lost);
        let kept = (1.0 - fresh / MEMORY).max(0.0);
        self.resolved = self.resolved * kept + fresh;
        self.lost = (self.lost * kept + count(lost) - count(spurious)).clamp(0.0, self.resolved);
    }

    /// The estimate, for losses that come in runs of mean length `run`.
    pub fn estimate(&self, run: f64) -> LossEstimate {
        let run = run.clamp(1.0, RUN_MAX);
        if self.resolved_ever == 0 || (self.lost_ever == 0 && self.resolved_ever >= CLEAN_AFTER) {
            return LossEstimate { mean: Ratio::ZERO, upper80: Ratio::ZERO, run: 1.0 };
        }
        let mean = self.lost / self.resolved;
        // The normal bound of a proportion, and what no loss at all in n packets leaves open
        // (1 - 0.2^(1/n), about 1.6/n).
        let spread = 0.84 * (mean * (1.0 - mean) * run / self.resolved).sqrt();
        let unseen = 1.6 / self.resolved;
        LossEstimate { mean: Ratio::new(mean), upper80: Ratio::new(mean + spread + unseen), run }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of packets in one report")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loss_in_the_first_report_is_no_total_loss() {
        let mut meter = LossMeter::new();
        meter.on_settled(31, 1, 0);
        let loss = meter.estimate(1.0);
        assert!((loss.mean.get() - 1.0 / 32.0).abs() < 1e-9);
        assert!(loss.upper80.get() < 0.12, "{loss:?}");
    }

    #[test]
    fn little_is_known_at_first_and_a_clean_path_is_believed_later() {
        let mut meter = LossMeter::new();
        meter.on_settled(40, 0, 0);
        assert!(meter.estimate(1.0).upper80.get() > 0.03);
        meter.on_settled(1000, 0, 0);
        assert_eq!(meter.estimate(1.0).upper80, Ratio::ZERO);
    }

    #[test]
    fn spurious_losses_are_taken_back() {
        let mut meter = LossMeter::new();
        meter.on_settled(90, 10, 0);
        meter.on_settled(0, 0, 10);
        assert_eq!(meter.estimate(1.0).mean, Ratio::ZERO);
    }

    #[test]
    fn the_mean_follows_a_path_that_changes() {
        let mut meter = LossMeter::new();
        (0..100).for_each(|_| meter.on_settled(90, 10, 0));
        (0..200).for_each(|_| meter.on_settled(99, 1, 0));
        let mean = meter.estimate(1.0).mean.get();
        assert!((mean - 0.01).abs() < 0.001, "{mean}");
    }
}
