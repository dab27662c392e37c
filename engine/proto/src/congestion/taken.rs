//! What a receiver takes, once it had to drop for want of room.
//!
//! It is flow control, and goes above a floor and above the target of `fixed`: the rest would only be
//! dropped. It outlives a change of policy, for the receiver is the same. spec: W-133

use crate::units::{BitRate, Timestamp};

/// See the module. At IP level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// No more than this.
    pub(super) rate: BitRate,
    /// That is believed until then.
    pub(super) until: Timestamp,
}

impl Taken {
    /// What may leave instead of `rate`.
    pub(super) fn hold(self, rate: BitRate, now: Timestamp) -> BitRate {
        if now < self.until { rate.min(self.rate) } else { rate }
    }
}
