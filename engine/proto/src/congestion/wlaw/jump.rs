//! The jump test: loss so sudden that no comparison of pulses is needed.
//!
//! ```text
//! epoch loss > p0 + 15 % + 4 sigma in at least 3 runs  ->  hit at once, L = R (1 - l) / (1 - p0)
//! three cuts to at most 0.8 R1 leave the loss as it was (within 8 %) -> it was random: R = R1
//! ```
//! A link whose rate fell behind its queue loses half of what is sent within one round trip; a
//! radio link that became worse loses as much at any rate. Only cutting tells them apart.

use super::epochs::{Class, Epoch};

const EXCESS: f64 = 0.15;
const SIGMAS: f64 = 4.0;
const RUNS_MIN: u32 = 3;
const CUTS: u32 = 3;
const CUT_TO: f64 = 0.8;
const UNCHANGED: f64 = 0.08;
/// Cuts farther apart than this many round trips are not one story.
const FORGET_RTTS: f64 = 20.0;

/// What an epoch's loss means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing unusual.
    Ordinary,
    /// The link carries this much, in bytes per second.
    Limit(f64),
    /// The loss is random after all: go back to this rate.
    Random {
        /// The loss.
        loss: f64,
        /// The rate before the cuts.
        rate: f64,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Jump {
    rate_before: f64,
    loss: f64,
    cuts: u32,
    cut_at: f64,
}

impl Jump {
    pub(super) fn new() -> Self {
        Self { rate_before: 0.0, loss: 0.0, cuts: 0, cut_at: f64::NEG_INFINITY }
    }

    /// Judges a resolved epoch; `p0` and `run` describe the random loss.
    pub(super) fn on_epoch(
        &mut self,
        epoch: &Epoch,
        p0: f64,
        run: f64,
        r: f64,
        now: f64,
    ) -> Verdict {
        if epoch.class == Class::Ignored || epoch.runs < RUNS_MIN || epoch.started() <= self.cut_at
        {
            return Verdict::Ordinary;
        }
        let p = p0.max(0.01);
        let sigma = (p * (1.0 - p) * (2.0 * run - 1.0) / epoch.packets().max(1.0)).sqrt();
        if epoch.loss() <= p0 + EXCESS + SIGMAS * sigma {
            return Verdict::Ordinary;
        }
        self.cut(epoch, p0, r, now)
    }

    fn cut(&mut self, epoch: &Epoch, p0: f64, r: f64, now: f64) -> Verdict {
        let loss = epoch.loss();
        let recent = now - self.cut_at < FORGET_RTTS * r;
        if recent && (loss - self.loss).abs() < UNCHANGED {
            self.cuts += 1;
        } else {
            (self.cuts, self.loss) = (1, loss);
            if !recent {
                self.rate_before = epoch.rate;
            }
        }
        self.cut_at = now;
        if self.cuts > CUTS && epoch.rate <= CUT_TO * self.rate_before {
            self.cuts = 0;
            return Verdict::Random { loss, rate: self.rate_before };
        }
        Verdict::Limit(epoch.rate * (1.0 - loss) / (1.0 - p0))
    }
}
