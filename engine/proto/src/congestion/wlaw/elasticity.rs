//! The one question that loss is asked: does delivery follow sending?
//!
//! ```text
//! e     = (l_fast - l_slow) / (1 - l_slow)
//! sigma = sqrt((l(1-l)/n)_fast + (l(1-l)/n)_slow) sqrt(2B - 1) / (1 - l_slow)
//! e > max(1.2 %, 2.5 sigma)  ->  kappa *= 0.7 (to 0.15), at most once in 4 r; else *= 1.05 in 16 r
//! e > max(5 %, 2.5 sigma)    ->  saturated
//! ```
//! Random loss hits fast and slow sending alike (e = 0); behind a saturated link or a policer all
//! that is sent faster is lost (e = 33 % at pulses of 20 %). The 5 % threshold lies nearer to
//! random because a rate just above the link shows only the upper half of the pulse. B is the mean
//! run of lost packets: losses in runs carry less evidence. kappa shrinks queue target and pulses
//! where the queue is shallow.
//!
//! p0, the loss that does not come from us, is the loss of slow sending (at most 45 %). Behind an
//! overfull queue nothing is counted, but there p0 cannot be more than all that is lost:
//! ```text
//! overfull, l < p0  ->  p0 -= (p0 - l) dt/T
//! ```
//! Without that, a p0 learned too high keeps the queue full (the rate aims at D/(1 - p0)), and the
//! full queue keeps p0. For the same reason a hit takes p0 back to what it was 2 to 4 T before: what
//! was lost on the way to a limit is not random.

use super::epochs::{Class, Epoch};

/// Packets per class over which the past is forgotten.
const MEMORY: f64 = 1_500.0;
const SLOW_MIN: f64 = 200.0;
/// More epochs than are resolved in a loop delay; what is beyond is not counted.
const BURSTS_MAX: usize = 64;
const RANDOM_MAX: f64 = 0.45;
const KAPPA_MIN: f64 = 0.15;
const SIGMAS: f64 = 2.5;
const TARGET_EXCESS: f64 = 0.012;
const SATURATED_EXCESS: f64 = 0.05;
/// Above this share of the largest possible excess the slow phase was saturated too.
const DEEP: f64 = 0.65;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: f64,
    lost: f64,
}

impl Count {
    fn add(&mut self, epoch: &Epoch, memory: f64) {
        let packets = epoch.packets();
        let memory = memory.max(4.0 * packets);
        let keep = if self.packets + packets > memory {
            ((memory - packets) / self.packets.max(1.0)).clamp(0.0, 1.0)
        } else {
            1.0
        };
        self.packets = self.packets * keep + packets;
        self.lost = self.lost * keep + f64::from(epoch.lost);
    }

    fn loss(&self) -> f64 {
        if self.packets > 0.0 { self.lost / self.packets } else { 0.0 }
    }

    fn variance(&self) -> f64 {
        // One loss is assumed seen: an empty count proves little.
        let p = self.loss().max(1.0 / self.packets.max(2.0));
        p * (1.0 - p).max(0.0) / self.packets.max(1.0)
    }
}

/// What the comparison says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Delivery follows sending, or it is too early to tell.
    Follows,
    /// It does not; `deep` if slow sending lost packets too.
    Saturated {
        /// The slow phase was saturated as well.
        deep: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Elasticity {
    fast: Count,
    slow: Count,
    plain: Count,
    halved: f64,
    kappa: f64,
    kappa_at: f64,
    lost: f64,
    runs: f64,
    /// Epochs that lost much, and when they were resolved.
    bursts: Vec<(Epoch, f64)>,
    /// What slow and plain sending had lost some loops ago, the older first.
    past: [(Count, Count); 2],
    past_at: f64,
}

impl Elasticity {
    pub(super) fn new(now: f64) -> Self {
        Self {
            fast: Count::default(),
            slow: Count::default(),
            plain: Count::default(),
            halved: 1.0,
            kappa: 1.0,
            kappa_at: now,
            lost: 0.0,
            runs: 0.0,
            bursts: Vec::new(),
            past: Default::default(),
            past_at: now,
        }
    }

    /// Factor on queue target and pulses, 0.15 to 1.
    pub(super) fn kappa(&self) -> f64 {
        self.kappa
    }

    /// p0.
    pub(super) fn random_loss(&self) -> f64 {
        let base = if self.slow.packets >= SLOW_MIN { self.slow.loss() } else { self.plain.loss() };
        (base * self.halved).min(RANDOM_MAX)
    }

    /// B, at least 1.
    pub(super) fn run(&self) -> f64 {
        if self.runs > 0.0 { (self.lost / self.runs).max(1.0) } else { 1.0 }
    }

    /// Height of the pulses.
    pub(super) fn pulse(&self, low: bool, held: bool) -> f64 {
        if low || held { 0.1 } else { (0.2 * self.kappa).max(0.08) }
    }

    /// Excess e and its standard deviation.
    pub(super) fn excess(&self) -> (f64, f64) {
        let follow = (1.0 - self.slow.loss()).max(0.1);
        let sigma =
            ((self.fast.variance() + self.slow.variance()) * (2.0 * self.run() - 1.0)).sqrt();
        ((self.fast.loss() - self.slow.loss()) / follow, sigma / follow)
    }

    /// Counts an epoch whose packets' fate is known.
    pub(super) fn on_epoch(&mut self, epoch: &Epoch) {
        self.count_runs(epoch);
        match epoch.class {
            Class::Fast => self.fast.add(epoch, MEMORY),
            Class::Slow => {
                self.slow.add(epoch, MEMORY);
                self.halved = (self.halved + 0.02).min(1.0);
            }
            Class::Plain => self.plain.add(epoch, 4.0 * MEMORY),
            Class::Ignored => {}
        }
    }

    /// An epoch that lost much: random, or the first that a limit took. It is counted once no hit
    /// has followed it.
    pub(super) fn on_burst(&mut self, epoch: Epoch, now: f64) {
        if self.bursts.len() < BURSTS_MAX {
            self.bursts.push((epoch, now));
        }
    }

    /// Counts the bursts that were resolved before `until`.
    pub(super) fn count_bursts(&mut self, until: f64) {
        while self.bursts.first().is_some_and(|(_, at)| *at < until) {
            let (epoch, _) = self.bursts.remove(0);
            self.on_epoch(&epoch);
        }
    }

    /// Remembers what is believed now, once in `span`.
    pub(super) fn remember(&mut self, span: f64, now: f64) {
        if now - self.past_at > span {
            self.past_at = now;
            self.past = [self.past[1], (self.slow, self.plain)];
        }
    }

    /// A limit was hit: what was lost on the way there was not random.
    pub(super) fn on_hit(&mut self, now: f64) {
        self.bursts.clear();
        (self.slow, self.plain) = self.past[0];
        self.past[1] = self.past[0];
        self.past_at = now;
        self.forget_pulses();
    }

    /// Answers the question; to be asked when an epoch was counted.
    pub(super) fn judge(&mut self, pulse: f64, r: f64, now: f64) -> Verdict {
        if self.fast.packets < SLOW_MIN || self.slow.packets < SLOW_MIN {
            return Verdict::Follows;
        }
        let (excess, sigma) = self.excess();
        self.adapt_target(excess > TARGET_EXCESS.max(SIGMAS * sigma), r, now);
        if excess <= SATURATED_EXCESS.max(SIGMAS * sigma) {
            return Verdict::Follows;
        }
        let largest = 1.0 - (1.0 - pulse) / (1.0 + pulse);
        let deep = excess > DEEP * largest;
        if deep {
            self.halved = (self.halved * 0.5).max(0.05);
        }
        self.forget_pulses();
        Verdict::Saturated { deep }
    }

    /// Nothing is lost, so nothing is asked, and there is no reason for a small target.
    pub(super) fn relax(&mut self, r: f64, now: f64) {
        self.adapt_target(false, r, now);
    }

    /// The loss turned out to be random after all.
    pub(super) fn accept(&mut self, loss: f64) {
        let count = Count { packets: SLOW_MIN, lost: SLOW_MIN * loss };
        (self.slow, self.plain, self.fast) = (count, count, Count::default());
        self.halved = 1.0;
    }

    /// Behind a queue that overflows, so much is lost of everything: what is random cannot be more.
    /// `weight` is the time since the last such news, in units of the loop delay.
    pub(super) fn bound(&mut self, loss: f64, weight: f64) {
        let random = self.random_loss();
        if loss < random {
            self.accept(random - (random - loss) * weight.min(1.0));
        }
    }

    /// The rate has changed so much that old pulses are no evidence.
    fn forget_pulses(&mut self) {
        self.fast = Count::default();
        let keep = (SLOW_MIN / self.slow.packets.max(1.0)).min(1.0);
        self.slow = Count { packets: self.slow.packets * keep, lost: self.slow.lost * keep };
    }

    fn adapt_target(&mut self, excessive: bool, r: f64, now: f64) {
        let (wait, factor) = if excessive { (4.0, 0.7) } else { (16.0, 1.05) };
        if now - self.kappa_at > wait * r {
            self.kappa_at = now;
            self.kappa = (self.kappa * factor).clamp(KAPPA_MIN, 1.0);
        }
    }

    fn count_runs(&mut self, epoch: &Epoch) {
        self.lost += f64::from(epoch.lost);
        self.runs += f64::from(epoch.runs);
        if self.runs > 400.0 {
            self.lost *= 0.5;
            self.runs *= 0.5;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_shrunk_grows_back_when_nothing_is_lost_any_more() {
        let mut elasticity = Elasticity::new(0.0);
        elasticity.kappa = KAPPA_MIN;
        for step in 0..1_000 {
            elasticity.relax(0.1, f64::from(step) * 0.1);
        }
        assert!(elasticity.kappa() > 0.99, "{}", elasticity.kappa());
    }
}
