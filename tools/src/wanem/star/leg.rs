//! One direction of a link of a star: the link model, and what it carried.

use super::status::LegStatus;
use crate::wanem::status::{DirectionStatus, RateMeter};
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_sim::link::{DropCause, Fate, Link};
use farhaul_sim::profile::LinkProfile;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Leg {
    link: Link,
    offered: Bytes,
    wire: RateMeter,
    /// The latest offer: the model does not go back in time, and what waited in a device while the
    /// machine stood still is dated back.
    offered_at: Timestamp,
}

impl Leg {
    pub(super) fn new(profile: LinkProfile, seed: u64) -> Self {
        Self {
            link: Link::new(profile, seed),
            offered: Bytes::ZERO,
            wire: RateMeter::default(),
            offered_at: Timestamp::ZERO,
        }
    }

    pub(super) fn profile(&self) -> &LinkProfile {
        self.link.profile()
    }

    pub(super) fn set_profile(&mut self, profile: LinkProfile, now: Timestamp) {
        if *self.link.profile() != profile {
            self.link.set_profile(profile, now);
        }
    }

    /// Offers a packet at `at`.
    pub(super) fn offer(&mut self, bytes: Bytes, is_tcp: bool, at: Timestamp) -> Fate {
        self.offered_at = self.offered_at.max(at);
        self.offered += bytes;
        let fate = match is_tcp {
            true => self.link.offer_tcp(bytes, self.offered_at),
            false => self.link.offer(bytes, self.offered_at),
        };
        if matches!(fate, Fate::Deliver { .. } | Fate::Dropped(DropCause::Loss)) {
            self.wire.add(bytes, self.offered_at);
        }
        fate
    }

    pub(super) fn status(&self, now: Timestamp) -> LegStatus {
        let link = DirectionStatus::new(&self.link, now);
        LegStatus {
            offered: link.offered,
            offered_bytes: self.offered.get(),
            wire_bytes: self.wire.total().get(),
            delivered: link.delivered,
            delivered_bytes: link.delivered_bytes,
            dropped: link.dropped,
            rate_bps: self.wire.rate(now).get(),
            queue_us: link.queue_us,
            queue_p95_us: link.queue_p95_us,
            profile: link.profile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::{BitRate, Ratio};
    use farhaul_sim::profile::Loss;

    #[test]
    fn what_is_lost_behind_the_bottleneck_was_on_the_wire_and_what_the_queue_refused_was_not() {
        let profile = LinkProfile {
            rate: Some(BitRate::mbps(12)),
            loss: Loss::Bernoulli(Ratio::new(0.5)),
            ..LinkProfile::default()
        };
        let mut leg = Leg::new(profile, 7);
        // 300 ms worth of packets at once, for a queue of 100 ms.
        for _ in 0..300 {
            leg.offer(Bytes::new(1500), false, Timestamp::ZERO);
        }
        let status = leg.status(Timestamp::ZERO);
        assert_eq!(status.offered_bytes, 300 * 1500);
        assert_eq!(status.wire_bytes, (300 - status.dropped.queue) * 1500);
        assert!(status.dropped.queue > 150 && status.dropped.loss > 20, "{status:?}");
        assert_eq!(status.delivered_bytes, status.wire_bytes - status.dropped.loss * 1500);
    }

    #[test]
    fn an_offer_that_is_dated_back_counts_as_the_latest_before_it() {
        let mut leg = Leg::new(LinkProfile::default(), 1);
        let at = Timestamp::from_millis(5);
        leg.offer(Bytes::new(100), false, at);
        let fate = leg.offer(Bytes::new(100), false, Timestamp::from_millis(3));
        assert_eq!(fate, Fate::Deliver { at, duplicate_at: None, corrupt: false });
    }
}
