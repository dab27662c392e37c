//! How much of what is sent is lost, as far as repair has to know: a mean over about four thousand
//! packets, on how many it stands, and how long the runs of lost packets are.
//!
//! The controller's loss is made for control: it follows the last round trip. A bet on repair
//! symbols needs the long run, and has to know how little it knows at the start.

use crate::congestion::Outcome;
use crate::fec::LossEstimate;
use crate::units::Ratio;

/// Packets remembered, softly.
const MEMORY: f64 = 4000.0;
/// Without any loss in so many packets none is feared.
const CLEAN_AFTER: u64 = 1000;
/// Mean runs longer than this are outages or overload, not the path's loss.
const RUN_MAX: f64 = 64.0;
/// Runs remembered, softly: their length is the path's, and changes more slowly than their number.
const RUNS_MEMORY: f64 = 64.0;
/// What is taken for seen before any run was: one of two packets.
const RUN_UNSEEN: f64 = 2.0;
/// Numbers from one lost packet to the next of the same run: a report may lie between them, of
/// which nobody knows whether it was lost, or a number that was skipped.
const STEP_IN_RUN: u64 = 2;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct LossMeter {
    resolved: f64,
    lost: f64,
    resolved_ever: u64,
    lost_ever: u64,
    /// Lost packets and the runs they came in.
    in_runs: f64,
    runs: f64,
}

impl LossMeter {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets whose fate became known: so many arrived, `lost` in the order of their numbers did
    /// not, and `spurious` had been counted as lost before.
    pub fn on_settled(&mut self, acked: usize, lost: &[Outcome], spurious: usize) {
        self.count_runs(lost);
        let (acked, lost, spurious) = (acked as u64, lost.len() as u64, spurious as u64);
        self.resolved_ever += acked + lost;
        self.lost_ever = (self.lost_ever + lost).saturating_sub(spurious);
        let fresh = count(acked + lost);
        let kept = (1.0 - fresh / MEMORY).max(0.0);
        self.resolved = self.resolved * kept + fresh;
        self.lost = (self.lost * kept + count(lost) - count(spurious)).clamp(0.0, self.resolved);
    }

    fn count_runs(&mut self, lost: &[Outcome]) {
        let same = |a: &Outcome, b: &Outcome| b.number.get() <= a.number.get() + STEP_IN_RUN;
        for run in lost.chunk_by(same) {
            let kept = 1.0 - 1.0 / RUNS_MEMORY;
            self.runs = self.runs * kept + 1.0;
            self.in_runs = self.in_runs * kept + count(run.len() as u64);
        }
    }

    /// What to reckon with.
    pub fn estimate(&self) -> LossEstimate {
        if self.lost_ever == 0 && self.resolved_ever >= CLEAN_AFTER {
            return LossEstimate { mean: Ratio::ZERO, packets: f64::INFINITY, run: 1.0 };
        }
        let mean = if self.resolved > 0.0 { self.lost / self.resolved } else { 0.0 };
        let run = ((self.in_runs + RUN_UNSEEN) / (self.runs + 1.0)).clamp(1.0, RUN_MAX);
        LossEstimate { mean: Ratio::new(mean), packets: self.resolved, run }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of packets in one report")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PacketNumber, RateEpoch};
    use crate::units::{Bytes, Timestamp};

    fn lost(numbers: impl IntoIterator<Item = u64>) -> Vec<Outcome> {
        let outcome = |number| Outcome {
            number: PacketNumber::new(number),
            sent_at: Timestamp::ZERO,
            bytes: Bytes::new(1_473),
            epoch: RateEpoch::default(),
        };
        numbers.into_iter().map(outcome).collect()
    }

    #[test]
    fn one_loss_in_the_first_report_is_no_total_loss() {
        let mut meter = LossMeter::new();
        meter.on_settled(31, &lost([7]), 0);
        let loss = meter.estimate();
        assert!((loss.mean.get() - 1.0 / 32.0).abs() < 1e-9);
        assert!((loss.packets - 32.0).abs() < 1e-9, "{loss:?}");
    }

    #[test]
    fn little_is_known_at_first_and_a_clean_path_is_believed_later() {
        let mut meter = LossMeter::new();
        assert!(meter.estimate().packets <= 0.0);
        meter.on_settled(40, &[], 0);
        assert!(meter.estimate().packets < 41.0);
        meter.on_settled(1000, &[], 0);
        assert!(meter.estimate().packets.is_infinite());
    }

    #[test]
    fn spurious_losses_are_taken_back() {
        let mut meter = LossMeter::new();
        meter.on_settled(90, &lost(0..10), 0);
        meter.on_settled(0, &[], 10);
        assert_eq!(meter.estimate().mean, Ratio::ZERO);
    }

    #[test]
    fn the_mean_follows_a_path_that_changes() {
        let mut meter = LossMeter::new();
        (0..100).for_each(|_| meter.on_settled(90, &lost(0..10), 0));
        (0..300).for_each(|_| meter.on_settled(99, &lost([5]), 0));
        let mean = meter.estimate().mean.get();
        assert!((mean - 0.01).abs() < 0.001, "{mean}");
    }

    #[test]
    fn single_losses_and_long_runs_are_told_apart() {
        let mut single = LossMeter::new();
        (0..50).for_each(|_| single.on_settled(98, &lost([10, 60]), 0));
        assert!(single.estimate().run < 1.05, "{:?}", single.estimate());
        let mut bursty = LossMeter::new();
        // Number 14 was a report.
        let run = (10..21).filter(|&number| number != 14);
        (0..50).for_each(|_| bursty.on_settled(490, &lost(run.clone()), 0));
        assert!((9.0..11.0).contains(&bursty.estimate().run), "{:?}", bursty.estimate());
    }
}
