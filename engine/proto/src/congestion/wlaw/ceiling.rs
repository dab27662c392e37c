//! The ceiling L: memory for links that punish instead of queueing (policers, shallow buffers).
//!
//! ```text
//! hit    L = what was delivered / (1 - p0);  R <= L for H = 4 r (at least 0.2 s)
//! again  H doubles, up to 15 s, when hits repeat
//! after  growth <= 5 % per T for 5 r (3 % for 30 r, at least 3 s, after three hits): a trial,
//!        ended by the first loss above p0 + 1.5 % + 4 sigma
//! ```
//! A policer that was found stays found: 15 s at the rate and a careful trial cost below 1 % loss.

const HOLD_RTTS: f64 = 4.0;
const HOLD_MIN: f64 = 0.2;
const HOLD_MAX: f64 = 15.0;
/// Hits farther apart than this many holds have nothing to do with each other.
const REPEAT_HOLDS: f64 = 8.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// No limit.
    Free,
    /// R <= L.
    Held,
    /// L has expired, the rate above it is being tried.
    Trial,
}

/// See the module. Bytes per second, seconds.
#[derive(Debug)]
pub(super) struct Ceiling {
    limit: f64,
    hold: f64,
    hits: u32,
    hit_at: f64,
    held_until: f64,
    trial_until: f64,
}

impl Ceiling {
    pub(super) fn new() -> Self {
        Self {
            limit: f64::INFINITY,
            hold: 0.0,
            hits: 0,
            hit_at: f64::NEG_INFINITY,
            held_until: f64::NEG_INFINITY,
            trial_until: f64::NEG_INFINITY,
        }
    }

    pub(super) fn phase(&self, now: f64) -> Phase {
        if now < self.held_until {
            Phase::Held
        } else if now < self.trial_until {
            Phase::Trial
        } else {
            Phase::Free
        }
    }

    /// L while held.
    pub(super) fn limit(&self, now: f64) -> f64 {
        if now < self.held_until { self.limit } else { f64::INFINITY }
    }

    /// Largest growth per T while on trial.
    pub(super) fn growth(&self, now: f64) -> f64 {
        match self.phase(now) {
            Phase::Trial if self.hits >= 3 => 0.03,
            Phase::Trial => 0.05,
            Phase::Free | Phase::Held => f64::INFINITY,
        }
    }

    /// Delivery stopped following sending at `limit`.
    pub(super) fn hit(&mut self, limit: f64, r: f64, now: f64) {
        let shortest = (HOLD_RTTS * r).max(HOLD_MIN);
        let settling = now - self.hit_at < 2.0 * r && now < self.held_until;
        if !settling {
            let repeated = now - self.hit_at < REPEAT_HOLDS * self.hold.max(shortest);
            self.hits = if repeated { self.hits + 1 } else { 1 };
            self.hold = if repeated {
                (self.hold * 2.0).clamp(shortest, HOLD_MAX.max(shortest))
            } else {
                shortest
            };
        }
        self.limit = limit;
        self.hit_at = now;
        self.held_until = now + self.hold;
        let trial = if self.hits >= 3 { (30.0 * r).max(3.0) } else { 5.0 * r };
        self.trial_until = self.held_until + trial;
    }

    /// Loss remains although the rate is held: the limit was measured too high.
    pub(super) fn lower(&mut self, factor: f64) {
        self.limit *= factor;
    }

    /// Lifts the limit: it was no limit.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
