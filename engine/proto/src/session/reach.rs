//! Whether what is sent reaches the peer at all.
//!
//! The QUIC connection may live where lane packets die: something on the path eats them. A session
//! would then send in vain for ever. Where QUIC is silent as well, the link is down: that is waited
//! for as long as QUIC waits. Time counts only while packets leave: a session that has nothing to
//! send, or no permission, does not fail by waiting. spec: W-059

use crate::units::{Bytes, Timestamp};
use core::time::Duration;

/// Sending in vain for so long is in vain for good.
const SENDING: Duration = Duration::from_secs(30);
/// The last packets get so much time for their answer.
const IN_ALL: Duration = Duration::from_secs(45);
/// A longer pause is none of a sender that wants to know: counting begins anew.
const PAUSE: Duration = Duration::from_secs(10);
/// QUIC says something every 5 s; after a longer pause it was silent.
const CONTROL_PAUSE: Duration = Duration::from_secs(15);

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
    /// Drops of the peer's host explained some of it; they do so once.
    excused: bool,
    /// Since when, and when last, control packets come from the peer without a long pause.
    control: Option<(Timestamp, Timestamp)>,
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
        self.excused = false;
    }

    /// The peer says that its host had no room for some: they came through as well. Nothing proves
    /// it, so it is believed once for each time that something is known to have arrived.
    pub(super) const fn on_dropped(&mut self) {
        if !self.excused {
            self.vain = None;
            self.excused = true;
        }
    }

    /// A control packet came from where the peer is.
    pub(super) fn on_control(&mut self, now: Timestamp) {
        let since = match self.control {
            Some((since, last)) if now.since(last) <= CONTROL_PAUSE => since,
            _ => now,
        };
        self.control = Some((since, now));
    }

    /// The verdict, if there is one.
    pub(super) fn unreached(&self, now: Timestamp) -> Option<Unreached> {
        let (vain, (since, last)) = (self.vain?, self.control?);
        let over = vain.last.since(vain.first) >= SENDING && now.since(vain.first) >= IN_ALL;
        // A path that was down for QUIC too, and is back, gets its time anew.
        let lives = last.since(since.max(vain.first)) >= SENDING;
        (over && lives).then_some(Unreached { smallest: vain.smallest })
    }
}
