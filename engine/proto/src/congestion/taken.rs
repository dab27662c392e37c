//! What a receiver takes, once it had to drop for want of room.
//!
//! A packet now and then is none of that, and is repaired. It is flow control, and goes above a floor and above the target of `fixed`: the rest would only be
//! dropped. It outlives a change of policy, for the receiver is the same. spec: W-133

use crate::units::{BitRate, Timestamp};

/// Fewer drops than this are a hiccup of a host.
const DROPS_MIN: u64 = 4;
/// So are fewer than one in so many packets.
const ONE_IN: u64 = 50;

/// Whether a receiver that dropped `dropped` of `packets` takes less than what comes.
pub(super) const fn receiver_is_short(dropped: u64, packets: u64) -> bool {
    dropped >= DROPS_MIN && dropped > packets / ONE_IN
}

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
