//! Delay that varies: drawn per packet, or a random piecewise-linear curve.
//!
//! The curve is a function of time alone (its corners are hashed from the seed and their index),
//! so it is the same however many packets look at it.

use crate::profile::Jitter;
use crate::rng::{self, Rng};
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// Distance between the corners of the curve, in nanoseconds.
const CORNER_NANOS: u64 = 40_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct JitterProcess {
    rng: Rng,
    seed: u64,
}

impl JitterProcess {
    pub(super) fn new(mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        Self { rng, seed }
    }

    /// The extra delay of a packet that leaves the bottleneck at `at`.
    pub(super) fn draw(&mut self, jitter: Jitter, at: Timestamp) -> Duration {
        let share = if jitter.reorder { self.rng.f64() } else { self.curve(at) };
        jitter.amplitude.mul_f64(2.0 * share)
    }

    fn curve(&self, at: Timestamp) -> f64 {
        let (corner, rest) = (at.as_nanos() / CORNER_NANOS, at.as_nanos() % CORNER_NANOS);
        #[expect(clippy::cast_precision_loss, reason = "below 2^26")]
        let share = rest as f64 / CORNER_NANOS as f64;
        rng::at(self.seed, corner) * (1.0 - share) + rng::at(self.seed, corner + 1) * share
    }
}
