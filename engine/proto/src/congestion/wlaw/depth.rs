//! How deep the queue is, once it was seen to overflow: a target beyond that is never met.
//!
//! ```text
//! q > max(3 Q0, 8 ms) and l > p0 + 5 % + 4 sigma   ->  Q <= max(q/2, Q0 + nu)
//! forgotten by 2 % per T
//! ```
//! The target grows with C/R. If C is far too high (trains that a stalled host compressed) the
//! target lies above what the queue holds, the link never counts as busy, and the rate grows until
//! most of it is lost. An overflow proves such a target wrong, whatever C is.

/// Queues above so many base targets can be told from jitter.
const STANDING: f64 = 3.0;
const STANDING_MIN: f64 = 0.008;
/// Loss beyond the random one that proves an overflow.
const EXCESS: f64 = 0.05;
/// The target's part of the depth.
const SHARE: f64 = 0.5;
const FORGOTTEN: f64 = 0.02;

/// A queue, and what is lost behind it. Seconds and shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// q.
    pub(super) delay: f64,
    /// Q0 + nu.
    pub(super) base: f64,
    /// l - p0, less four standard deviations.
    pub(super) excess: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Depth {
    limit: f64,
}

impl Depth {
    pub(super) const fn new() -> Self {
        Self { limit: f64::INFINITY }
    }

    /// The largest target that makes sense, in seconds.
    pub(super) const fn limit(&self) -> f64 {
        self.limit
    }

    /// Looks at a feedback; `weight` is the time since the last, in units of the loop delay.
    pub(super) fn on_feedback(&mut self, sight: Sight, weight: f64) {
        self.limit *= 1.0 + FORGOTTEN * weight;
        let standing = sight.delay > (STANDING * sight.base).max(STANDING_MIN);
        if standing && sight.excess > EXCESS {
            self.limit = self.limit.min((SHARE * sight.delay).max(sight.base));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_bounds_the_target_by_half_of_what_stood() {
        let mut depth = Depth::new();
        depth.on_feedback(Sight { delay: 0.05, base: 0.012, excess: 0.01 }, 1.0);
        assert!(depth.limit().is_infinite(), "no loss, no overflow");
        depth.on_feedback(Sight { delay: 0.02, base: 0.012, excess: 0.3 }, 1.0);
        assert!(depth.limit().is_infinite(), "no queue, no overflow");
        depth.on_feedback(Sight { delay: 0.05, base: 0.012, excess: 0.3 }, 1.0);
        assert!((depth.limit() - 0.025).abs() < 1e-9);
    }

    #[test]
    fn what_was_seen_is_forgotten_slowly() {
        let mut depth = Depth::new();
        depth.on_feedback(Sight { delay: 0.05, base: 0.012, excess: 0.3 }, 1.0);
        for _ in 0..100 {
            depth.on_feedback(Sight { delay: 0.0, base: 0.012, excess: 0.0 }, 1.0);
        }
        assert!(depth.limit() > 0.15 && depth.limit() < 0.25, "{}", depth.limit());
    }
}
