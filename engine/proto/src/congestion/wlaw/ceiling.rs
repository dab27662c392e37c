//! The ceiling L: memory for links that punish instead of queueing (policers, shallow buffers).
//!
//! ```text
//! hit    L = what was delivered / (1 - p0);  R <= L for H = 4 r (at least 0.2 s)
//! again  H doubles, up to 15 s, when hits repeat; L is the mean of the two if they are within 20 %
//! after  growth beyond 0.95 L <= 5 % per T for 5 r (3 % for 30 r, at least 3 s, after three hits): a
//!        trial, ended by the first loss above p0 + 1.5 % + 4 sigma
//! held   loss above p0 + 1 % + 4 sigma: L = D/(1 - p0) again; but if the last cut left the loss as
//!        it was, and at most half, the loss was random: p0 = l, and the rate before that cut returns
//! ```
//! A policer that was found stays found: 15 s at the rate and a careful trial cost below 1 % loss.

use super::epochs::{Class, Epoch};

/// Only beyond this share of the limit is a trial one.
const BELOW: f64 = 0.95;
/// Limits this close are one.
const SAME: f64 = 0.2;
const HOLD_RTTS: f64 = 4.0;
const HOLD_MIN: f64 = 0.2;
const HOLD_MAX: f64 = 15.0;
/// Hits farther apart than this many holds have nothing to do with each other.
const REPEAT_HOLDS: f64 = 8.0;

/// Half as much as that would have to fall counts as unchanged.
/// A fall of the loss of this size is waited for until it is so many standard deviations: at fewer,
/// two fifths of it are noise.
const FALL_MIN: f64 = 0.05;
const SIGMAS_TOLD: f64 = 8.0;
const UNCHANGED: f64 = 0.4;
/// No path that is worth sending over loses so much at random, however little a cut changes: a policer
/// of a thousandth of the rate does the same.
const NEVER_RANDOM: f64 = 0.5;
/// Smaller cuts prove nothing.
const CUT_MIN: f64 = 0.06;
const SIGMAS: f64 = 4.0;
const LOWER_MIN: f64 = 0.5;
const LOWER_MAX: f64 = 0.98;

/// A rate in bytes per second, and the loss it met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) rate: f64,
    pub(super) loss: f64,
}

/// What a cut has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// More packets will tell.
    Early,
    /// The cut is too small for the noise.
    Unclear,
    /// The loss fell: it was ours.
    Ours,
    /// The loss did not care.
    Random,
}

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
    was: Sent,
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
            was: Sent { rate: 0.0, loss: 0.0 },
            held_until: f64::NEG_INFINITY,
            trial_until: f64::NEG_INFINITY,
        }
    }

    /// Whether an epoch tells what is lost at random: what left before a hit, or faster than held,
    /// may have been lost to the limit. Who counted that would never see a limit that is still too high.
    pub(super) fn permits(&self, epoch: &Epoch, now: f64) -> bool {
        match self.phase(now) {
            Phase::Free => true,
            Phase::Held => epoch.class == Class::Slow && epoch.started() > self.hit_at,
            Phase::Trial => false,
        }
    }

    /// When the hold ends, and a trial begins.
    pub(super) fn held_until(&self) -> f64 {
        self.held_until
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
    pub(super) fn growth(&self, rate: f64, now: f64) -> f64 {
        match self.phase(now) {
            Phase::Trial if rate < BELOW * self.limit => f64::INFINITY,
            Phase::Trial if self.hits >= 3 => 0.03,
            Phase::Trial => 0.05,
            Phase::Free | Phase::Held => f64::INFINITY,
        }
    }

    /// Delivery stopped following sending at `limit`; `was` is the rate and loss that showed it.
    pub(super) fn hit(&mut self, limit: f64, was: Sent, r: f64, now: f64) {
        let shortest = (HOLD_RTTS * r).max(HOLD_MIN);
        let settling = now - self.hit_at < 2.0 * r && now < self.held_until;
        if !settling {
            let repeated = now - self.hit_at < REPEAT_HOLDS * self.hold.max(shortest);
            self.hits = if repeated { self.hits + 1 } else { 1 };
            let longer = (self.hold * 2.0).clamp(shortest, HOLD_MAX.max(shortest));
            self.hold = if repeated { longer } else { shortest };
            self.was = was;
            // What is hit again is the same limit, and two looks at it are better than one.
            let again = repeated && (limit / self.limit - 1.0).abs() < SAME;
            self.limit = if again { f64::midpoint(limit, self.limit) } else { limit };
        } else {
            self.limit = limit;
        }
        self.hit_at = now;
        self.held_until = now + self.hold;
        let trial = if self.hits >= 3 { (30.0 * r).max(3.0) } else { 5.0 * r };
        self.trial_until = self.held_until + trial;
    }

    /// Looks back at the cut: `loss` is what remains at `rate`, `sigma` its noise, `random` what
    /// was random before. To be asked when the measurements show the rate that is held.
    pub(super) fn review(&self, rate: f64, loss: f64, sigma: f64, random: f64) -> Review {
        // Had the link been saturated, it would still deliver what it delivered then.
        let saturated = (1.0 - self.was.rate * (1.0 - self.was.loss) / rate).max(random);
        let fall = self.was.loss - saturated;
        let cut = 1.0 - rate / self.was.rate;
        if loss - SIGMAS * sigma > NEVER_RANDOM {
            return Review::Ours;
        }
        if cut >= CUT_MIN && fall >= FALL_MIN && fall < SIGMAS_TOLD * sigma {
            return Review::Early;
        }
        if cut < CUT_MIN || fall < SIGMAS * sigma {
            return Review::Unclear;
        }
        if (loss - self.was.loss).abs() < UNCHANGED * fall { Review::Random } else { Review::Ours }
    }

    /// Lowers the limit because loss remains; `was` is what the next review compares with.
    pub(super) fn lower(&mut self, limit: f64, was: Option<Sent>) {
        self.was = was.unwrap_or(self.was);
        self.limit = limit.clamp(LOWER_MIN * self.limit, LOWER_MAX * self.limit);
    }

    /// What was sent when the ceiling was hit.
    pub(super) fn was(&self) -> Sent {
        self.was
    }

    /// Lifts the limit: it was no limit.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
