//! The bottleneck's capacity C, from trains of packets that leave back to back.
//!
//! `C_i = bytes / sum of gaps` between packets that were sent and received consecutively (a drop
//! inside a train would look like speed). Cross traffic only lowers an estimate and clock noise
//! moves it both ways (a stalled receiver reads a whole train at once), so the second largest of the
//! last 8 is used. It is trusted when the last
//! two agree within 15 % or the quartiles of all lie within 20 %. What was delivered is a lower bound
//! in any case; it decays by 1 % per second.
//!
//! Gaps that sum up to less than the noise of the clocks are no measurement: whoever stands still
//! on the way, an emulator or a hypervisor, hands on as one what came one by one. Of such a train
//! it follows only that the next one should be longer; the longest are believed, for a link may
//! well be that fast.

use std::collections::VecDeque;

const KEPT: usize = 8;
/// Trains older than this say nothing about now.
const AGE_MAX: f64 = 20.0;
const AGREE: f64 = 0.15;
const SPREAD: f64 = 0.20;
/// Two successive trains this far from the older ones mean that the link has changed.
const CHANGED: f64 = 0.30;
/// Decay of the delivered maximum, per second.
const DECAY: f64 = 0.01;
/// Noise of the clocks at both ends of a train.
pub(super) const CLOCK_NOISE: f64 = 80e-6;
/// Trains with so many gaps are believed even if those are within the noise. More than the first
/// train has, and fewer than are left of the longest ones at 20 % loss.
const GAPS_BELIEVED: u32 = 32;
/// So many trains in a row that measured nothing mean that the clocks may be too coarse: two let a
/// mirror with a wrong C flood links whose receiver reads each 5 ms (half of all lost).
const BLURRED: u32 = 1;
/// Longest train, as time at the estimated capacity: it stands in the queue.
const TRAIN_SPAN: f64 = 0.001;
const TRAIN_PACKETS_MIN: f64 = 4.0;
const TRAIN_PACKETS_MAX: f64 = 64.0;

/// See the module. Bytes per second.
#[derive(Debug)]
pub(super) struct Capacity {
    trains: VecDeque<(f64, f64)>,
    /// The last trusted estimate: cross traffic makes trains disagree, and hides C for a while.
    accepted: f64,
    delivered: f64,
    updated_at: f64,
    /// What trains too short to measure it show at least.
    at_least: f64,
    /// Trains in a row that measured nothing.
    unmeasured: u32,
}

impl Capacity {
    pub(super) fn new(now: f64) -> Self {
        Self {
            trains: VecDeque::with_capacity(KEPT),
            accepted: 0.0,
            delivered: 0.0,
            updated_at: now,
            at_least: 0.0,
            unmeasured: 0,
        }
    }

    /// A train came through: `bytes` in `gap_sum` seconds; answers whether it measures the link.
    pub(super) fn on_train(&mut self, bytes: f64, gap_sum: f64, gaps: u32, now: f64) -> bool {
        let estimate = bytes / gap_sum.max(CLOCK_NOISE);
        if gap_sum < CLOCK_NOISE && gaps < GAPS_BELIEVED {
            self.at_least = self.at_least.max(estimate);
            self.unmeasured = self.unmeasured.saturating_add(1);
            return false;
        }
        self.at_least = 0.0;
        self.unmeasured = 0;
        if self.trains.len() == KEPT {
            self.trains.pop_front();
        }
        self.trains.push_back((now, estimate));
        self.forget_changed();
        if let Some(trusted) = self.trusted() {
            self.accepted = trusted;
        }
        true
    }

    /// `rate` was delivered (compensated for random loss).
    pub(super) fn on_delivered(&mut self, rate: f64, now: f64) {
        let decay = 1.0 - DECAY * (now - self.updated_at).clamp(0.0, 1.0);
        self.updated_at = now;
        self.accepted *= decay;
        self.delivered = (self.delivered * decay).max(rate);
        while self.trains.front().is_some_and(|(at, _)| now - at > AGE_MAX) {
            self.trains.pop_front();
        }
    }

    /// The link is known to have changed.
    pub(super) fn forget_delivered(&mut self, rate: f64) {
        self.delivered = rate;
    }

    /// C from trains, if they agree.
    pub(super) fn trusted(&self) -> Option<f64> {
        let n = self.trains.len();
        if n < 2 {
            return None;
        }
        let (a, b) = (self.trains[n - 1].1, self.trains[n - 2].1);
        let agree = (a - b).abs() <= AGREE * a.max(b);
        (agree || (n >= 4 && self.spread() <= SPREAD)).then(|| self.typical())
    }

    /// The best guess at C: trains that were trusted, and never below what was delivered.
    pub(super) fn estimate(&self) -> f64 {
        self.trusted().unwrap_or(self.accepted).max(self.delivered)
    }

    /// What was delivered lately at best.
    pub(super) fn delivered(&self) -> f64 {
        self.delivered
    }

    /// The last train arrived as one, or lost most of its gaps: C may be anything.
    pub(super) const fn is_blurred(&self) -> bool {
        self.unmeasured >= BLURRED
    }

    /// How many trains came through.
    pub(super) fn trains(&self) -> usize {
        self.trains.len()
    }

    /// The middle one of the trains so far, trusted or not.
    pub(super) fn median(&self) -> Option<f64> {
        let (sorted, n) = self.sorted();
        (n > 0).then(|| sorted[n / 2])
    }

    /// What most of the trains show at least; once there are enough of them.
    pub(super) fn at_least(&self) -> Option<f64> {
        let (sorted, n) = self.sorted();
        (n >= 4).then(|| sorted[n / 4])
    }

    /// How many packets the next train should have.
    pub(super) fn train_packets(&self, packet: f64) -> u32 {
        let known = self.estimate().max(self.median().unwrap_or(0.0)).max(self.at_least);
        let packets = (known * TRAIN_SPAN / packet).clamp(TRAIN_PACKETS_MIN, TRAIN_PACKETS_MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped above"
        )]
        let packets = packets as u32;
        packets
    }

    /// Distance of the quartiles, as a share of the median: one broken train does not count.
    fn spread(&self) -> f64 {
        let (sorted, n) = self.sorted();
        (sorted[n * 3 / 4] - sorted[n / 4]) / sorted[n / 2].max(1.0)
    }

    fn typical(&self) -> f64 {
        let (sorted, n) = self.sorted();
        if n > 2 { sorted[n - 2] } else { sorted[n.saturating_sub(1)] }
    }

    fn sorted(&self) -> ([f64; KEPT], usize) {
        let mut sorted = [f64::INFINITY; KEPT];
        for (slot, (_, estimate)) in sorted.iter_mut().zip(&self.trains) {
            *slot = *estimate;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        (sorted, self.trains.len())
    }

    /// Drops the older trains when the last three agree with each other and not with them.
    fn forget_changed(&mut self) {
        let n = self.trains.len();
        if n < 5 {
            return;
        }
        let recent: Vec3 = [self.trains[n - 1].1, self.trains[n - 2].1, self.trains[n - 3].1];
        let (low, high) = (
            recent.iter().copied().fold(f64::MAX, f64::min),
            recent.iter().copied().fold(0.0, f64::max),
        );
        let older = self.trains.iter().take(n - 3).map(|t| t.1).sum::<f64>()
            / f64::from(u32::try_from(n - 3).unwrap_or(1));
        if high - low <= AGREE * high
            && (older < low * (1.0 - CHANGED) || older * (1.0 - CHANGED) > high)
        {
            self.trains.drain(..n - 3);
        }
    }
}

type Vec3 = [f64; 3];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_arrive_at_once_are_no_measurement_but_ask_for_a_longer_train() {
        let mut capacity = Capacity::new(0.0);
        for _ in 0..3 {
            assert!(!capacity.on_train(2.0 * 1_473.0, 1e-9, 2, 1.0));
        }
        assert_eq!((capacity.trusted(), capacity.median()), (None, None));
        assert!(capacity.train_packets(1_473.0) > 20);
        assert!(!capacity.on_train(31.0 * 1_473.0, 1e-9, 31, 1.0));
        assert_eq!(capacity.train_packets(1_473.0), 64);
    }

    #[test]
    fn a_link_faster_than_the_clock_is_believed_by_its_longest_trains() {
        let mut capacity = Capacity::new(0.0);
        for _ in 0..2 {
            assert!(capacity.on_train(63.0 * 1_473.0, 40e-6, 63, 1.0));
        }
        assert!(capacity.trusted().is_some_and(|c| c > 1e9), "{:?}", capacity.trusted());
    }
}
