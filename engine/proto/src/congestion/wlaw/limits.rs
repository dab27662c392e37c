//! The bounds that the user set, as the law meets them.
//!
//! ```text
//! R within floor .. cap; so is the pacing rate, pulses and drains included
//! R at the floor: epochs are not judged; a slow epoch that the floor cuts off is none while held
//! in flight >= floor (2 r + 100 ms) + 64 KiB
//! trains leave no sooner than those before them could have left at the cap
//! the receiver drops more than 2 % for want of room: the floor is at most what it takes, for as long as that holds
//! ```
//! A rate that the law did not choose shows nothing: what is lost at the floor is neither random, nor
//! would it be less if it were obeyed. The rate goes on being looked for from the floor upwards.

use super::{Bounds, per_second};

/// Bytes in flight at the floor, beyond what two round trips hold: as for a fixed rate.
const SLACK_SECONDS: f64 = 0.1;
const SLACK_BYTES: f64 = 65_536.0;

/// See the module. Bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Zero where there is none.
    floor: f64,
    /// Infinite where there is none.
    pub(super) cap: f64,
    /// What the receiver takes, and until when that is believed.
    taken: f64,
    taken_until: f64,
    /// By then all trains could have left at the cap.
    trained_until: f64,
}

impl Limits {
    pub(super) fn of(bounds: Bounds) -> Self {
        Self {
            floor: bounds.floor().map_or(0.0, per_second),
            cap: bounds.cap().map_or(f64::INFINITY, per_second),
            taken: f64::INFINITY,
            taken_until: f64::NEG_INFINITY,
            trained_until: f64::NEG_INFINITY,
        }
    }

    /// Other bounds, which hold from the next packet on; the receiver is the same.
    pub(super) fn rebound(&mut self, bounds: Bounds) {
        let Self { taken, taken_until, .. } = *self;
        *self = Self { taken, taken_until, ..Self::of(bounds) };
    }

    /// What the receiver takes, and until when that is believed; infinite if it never said so.
    pub(super) const fn taken(self) -> (f64, f64) {
        (self.taken, self.taken_until)
    }

    /// What the rate does not fall below now.
    pub(super) fn floor(self, now: f64) -> f64 {
        if now < self.taken_until { self.floor.min(self.taken) } else { self.floor }
    }

    /// The receiver takes no more than `rate`: flow control goes above the floor.
    pub(super) fn spare(&mut self, rate: f64, until: f64) {
        (self.taken, self.taken_until) = (rate, until);
    }

    /// A train of `bytes` leaves, faster than any rate.
    pub(super) fn on_train(&mut self, bytes: f64, now: f64) {
        self.trained_until = now + bytes / self.cap;
    }

    /// No train leaves before.
    pub(super) const fn trained_until(self) -> f64 {
        self.trained_until
    }

    /// What leaves instead of `rate`.
    pub(super) fn hold(self, rate: f64, now: f64) -> f64 {
        rate.min(self.cap).max(self.floor(now))
    }

    /// The law has no say in this rate, and would rather send less.
    pub(super) fn presses(self, rate: f64, now: f64) -> bool {
        rate <= self.floor(now)
    }

    /// Bytes that the floor needs in flight where a round trip takes `r`: no window may press below it.
    pub(super) fn in_flight(self, r: f64, now: f64) -> f64 {
        let floor = self.floor(now);
        if floor > 0.0 { floor * (2.0 * r + SLACK_SECONDS) + SLACK_BYTES } else { 0.0 }
    }
}
