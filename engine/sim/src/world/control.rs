//! The reliable, ordered channel beside the lanes: delays, and stalls where packets are lost.
//!
//! It loses nothing and reorders nothing; loss turns into time, as a retransmission would.

use crate::profile::{LinkProfile, Loss};
use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::ids::{BlockIndex, ObjectId};
use farhaul_proto::units::{Bytes, Timestamp};

/// Retransmissions of one message at most; keeps a bad draw from looking like a dead link.
const RETRIES_MAX: u32 = 12;

/// What the two sides tell each other beside the lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The next object, and what of it the target holds.
    Declare { object: ObjectId, len: Bytes, held: Vec<(u32, u32)> },
    /// Source to target: blocks that were wrongly claimed come after all, from `index` on.
    Reopen { object: ObjectId, position: u32, count: u32, index: BlockIndex },
    /// Target to source: this block again from its start.
    AskAgain(BlockIndex),
    /// Target to source: I take no more of this object.
    Abandon(ObjectId),
    /// Source to target: nothing more of this object will come.
    Abandoned(ObjectId),
}

/// One direction of the channel.
#[derive(Debug)]
pub(crate) struct Control {
    rng: Rng,
    latest: Timestamp,
}

impl Control {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, latest: Timestamp::ZERO }
    }

    /// When a message sent now arrives. `up_at`: when the link works (again); `rtt`: how long a
    /// retransmission takes.
    pub(crate) fn arrival(
        &mut self,
        link: &LinkProfile,
        rtt: Duration,
        up_at: Timestamp,
        now: Timestamp,
    ) -> Timestamp {
        let loss = match link.loss {
            Loss::None => 0.0,
            Loss::Bernoulli(share) | Loss::GilbertElliott { mean: share, .. } => share.get(),
        };
        let mut left = now;
        if up_at > now {
            left = up_at + rtt.mul_f64(self.rng.f64() * 2.0);
        }
        let mut retries = 0;
        while retries < RETRIES_MAX && self.rng.chance(loss) {
            left += rtt + Duration::from_millis(25);
            retries += 1;
        }
        let late = link.jitter.map_or(Duration::ZERO, |jitter| jitter.amplitude);
        let at = left + link.delay + late.mul_f64(self.rng.f64()) + Duration::from_micros(200);
        self.latest = self.latest.max(at);
        self.latest
    }
}
