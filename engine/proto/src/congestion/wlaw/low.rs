//! The scavenger's brake: `low` takes what nobody else wants.
//!
//! ```text
//! q > max(9 ms, 0.06 d)  ->  R *= 0.1 per round trip, down to 4 packets per round trip,
//!                            held until q < half of that for 4 r
//! near C (R > 0.85 C) growth is at most 0.6 % per T
//! ```
//! Nine milliseconds is just below the 10 ms that `low` may add; alone, its target is 3 ms.

/// Growth per T near capacity.
pub(super) const GROWTH_NEAR_CAPACITY: f64 = 0.006;
/// What counts as near.
pub(super) const NEAR_CAPACITY: f64 = 0.85;
const TRIGGER: f64 = 0.009;
const TRIGGER_SHARE: f64 = 0.06;
const CALM_RTTS: f64 = 4.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Low {
    ceding: bool,
    calm_since: f64,
}

impl Low {
    /// The factor on the rate for this feedback, `dt` after the last one; `None` when the
    /// ordinary law applies.
    pub(super) fn on_feedback(&mut self, q: f64, d: f64, r: f64, dt: f64, now: f64) -> Option<f64> {
        let trigger = TRIGGER.max(TRIGGER_SHARE * d);
        if q > trigger {
            self.ceding = true;
            self.calm_since = now;
            return Some(0.1f64.powf(dt / r));
        }
        if q > trigger / 2.0 {
            self.calm_since = now;
        }
        if self.ceding && now - self.calm_since < CALM_RTTS * r {
            return Some(1.0);
        }
        self.ceding = false;
        None
    }
}
