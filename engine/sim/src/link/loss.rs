//! Random loss: none, independent, or in runs (Gilbert-Elliott with a bad state that loses all).
//!
//! In runs: from bad to good with probability 1/burst, from good to bad with
//! mean / (burst (1 - mean)), which makes `mean` the share of lost packets and `burst` the mean
//! length of a run.

use crate::profile::Loss;
use crate::rng::Rng;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct LossProcess {
    rng: Rng,
    bad: bool,
}

impl LossProcess {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, bad: false }
    }

    /// Whether the next packet is lost.
    pub(super) fn draw(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::None => false,
            Loss::Bernoulli(share) => self.rng.chance(share.get()),
            Loss::GilbertElliott { mean, burst } => self.step(mean.get(), burst.max(1.0)),
        }
    }

    fn step(&mut self, mean: f64, burst: f64) -> bool {
        if mean >= 1.0 {
            return true;
        }
        let leave = if self.bad { 1.0 / burst } else { mean / (burst * (1.0 - mean)) };
        if self.rng.chance(leave) {
            self.bad = !self.bad;
        }
        self.bad
    }
}
