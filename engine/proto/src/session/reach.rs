//! Whether what is sent reaches the peer at all.
//!
//! The QUIC connection may live where lane packets die: the route changed to one for smaller
//! packets, or something on it eats them. A session would then send in vain for ever, for the
//! sizes that pass are asked for only once. Time counts only while packets leave: a session that
//! has nothing to send, or no permission, does not fail by waiting. spec: W-059

use super::silence::PROBE_EVERY_MAX;
use crate::units::{Bytes, Timestamp};
use core::time::Duration;

/// Sending in vain for so long is in vain for good.
const SENDING: Duration = Duration::from_secs(30);
/// The last packets get so much time for their answer: a path that comes back after an outage
/// that QUIC survives (30 s) is asked once more within it.
const IN_ALL: Duration = Duration::from_secs(45);
/// A longer pause is none of a sender that wants to know: counting begins anew.
const PAUSE: Duration = PROBE_EVERY_MAX.saturating_add(Duration::from_secs(2));

/// Nothing that was sent reached the peer, for so long that nothing will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing that was sent in the last {} s reached the peer, although the connection lives: \
     packets of {smallest} bytes and more do not come through",
    IN_ALL.as_secs()
)]
pub struct Unreached {
    /// The smallest packet, at IP level, that was sent in vain.
    pub smallest: Bytes,
}

/// Packets that left since the last one that is known to have arrived.
#[derive(Clone, Copy, Debug)]
struct Vain {
    first: Timestamp,
    last: Timestamp,
    smallest: Bytes,
}

/// Watches for packets that arrive.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    vain: Option<Vain>,
}

impl Reach {
    /// A packet of `bytes` that wants an answer left.
    pub(super) fn on_sent(&mut self, bytes: Bytes, now: Timestamp) {
        let fresh = Vain { first: now, last: now, smallest: bytes };
        let vain = self.vain.get_or_insert(fresh);
        if now.since(vain.last) > PAUSE {
            *vain = fresh;
        }
        vain.last = now;
        vain.smallest = vain.smallest.min(bytes);
    }

    /// One of them arrived at the peer's host.
    pub(super) const fn on_arrived(&mut self) {
        self.vain = None;
    }

    /// The verdict, if there is one.
    pub(super) fn unreached(&self, now: Timestamp) -> Option<Unreached> {
        let vain = self.vain?;
        let over = vain.last.since(vain.first) >= SENDING && now.since(vain.first) >= IN_ALL;
        over.then_some(Unreached { smallest: vain.smallest })
    }
}
