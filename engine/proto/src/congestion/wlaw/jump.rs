//! The jump test: loss so sudden that no comparison of pulses is needed.
//!
//! ```text
//! suspicious   epoch loss > p0 + 15 % + min(4 sigma, 25 %) in at least 3 runs
//!              (however few, once eight epochs in a row lost more than half)
//! hit          two suspicious epochs in a row: L = R (1 - l) / (1 - p0)
//! ```
//! A link whose rate fell behind its queue loses half of what is sent within one round trip; a
//! radio link that became worse loses as much at any rate. Only cutting tells them apart: the
//! ceiling looks back at the cut (see `ceiling`). Suspicious epochs are no measure of p0.

use super::epochs::{Class, Epoch};

const EXCESS: f64 = 0.15;
const SIGMAS: f64 = 4.0;
/// With short epochs and long runs four sigma would exclude everything.
const NOISE_MAX: f64 = 0.25;
const RUNS_MIN: u32 = 3;
/// Most of what is sent is lost, in so many epochs in a row: no burst is as long.
const DROWNED: f64 = 0.5;
const DROWNED_EPOCHS: u32 = 8;

/// What an epoch's loss means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing unusual.
    Ordinary,
    /// Too much to be counted, too little to act.
    Suspicious,
    /// Much, but it may be noise, or one long run: to be counted if no hit follows.
    Burst,
    /// The link carries this much.
    Limit {
        /// Bytes per second.
        rate: f64,
        /// The loss that tells.
        loss: f64,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Jump {
    suspicious: u32,
    /// Epochs in a row that lost more than they delivered.
    drowned: u32,
    hit_at: f64,
}

impl Jump {
    /// Judges a resolved epoch; `p0` and `run` describe the random loss.
    pub(super) fn on_epoch(&mut self, epoch: &Epoch, p0: f64, run: f64, now: f64) -> Verdict {
        if epoch.class == Class::Ignored {
            return Verdict::Ordinary;
        }
        let p = p0.max(0.01);
        let sigma = (p * (1.0 - p) * (2.0 * run - 1.0) / epoch.packets().max(1.0)).sqrt();
        let limit = p0 + EXCESS + (SIGMAS * sigma).min(NOISE_MAX);
        self.drowned = if epoch.loss() > DROWNED { self.drowned.saturating_add(1) } else { 0 };
        let one_run = epoch.runs < RUNS_MIN && self.drowned < DROWNED_EPOCHS;
        if epoch.loss() <= limit || one_run {
            self.suspicious = 0;
            let much = epoch.loss() > p0 + EXCESS;
            return if much { Verdict::Burst } else { Verdict::Ordinary };
        }
        if epoch.started() <= self.hit_at {
            // It left before the hit was answered.
            return Verdict::Suspicious;
        }
        self.suspicious += 1;
        if self.suspicious < 2 {
            return Verdict::Suspicious;
        }
        self.suspicious = 0;
        self.hit_at = now;
        let loss = epoch.loss();
        Verdict::Limit { rate: epoch.rate * (1.0 - loss) / (1.0 - p0), loss }
    }
}
