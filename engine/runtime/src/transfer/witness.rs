//! What a transfer teaches about its path: the rate that it carries, if that was what limited.
//!
//! A rate that a disk, a cap, a peer or somebody else's traffic set says nothing about the path.
//! So only looks count at which the link limited for most of the last second and the rate was
//! near what trains say the link has; and they must be many.

use crate::driver::command::SessionStats;
use crate::remember::Lesson;
use farhaul_proto::trace::{Limit, Spent, longest};
use farhaul_proto::units::BitRate;
use std::net::SocketAddr;
use std::time::Duration;

use super::PROGRESS_EVERY;

/// Below this share of the measured capacity, others have the rest. The law wants as much
/// agreement of a hint with its first train.
const ALONE: f64 = 0.75;
/// Looks that count, at least; and as many as these round trips take.
const LOOKS_MIN: u32 = 5;
const ROUND_TRIPS_MIN: u32 = 4;
/// The part of a look in the mean: about the last two seconds.
const PART: f64 = 0.1;

/// What a look at a session sees.
#[derive(Clone, Copy, Debug)]
struct Look {
    peer: SocketAddr,
    rate: BitRate,
    /// What trains found.
    capacity: Option<BitRate>,
    starting: bool,
    limited_by: Option<Limit>,
    limited: Spent,
    rtt_min: Duration,
}

impl From<&SessionStats> for Look {
    fn from(stats: &SessionStats) -> Self {
        Self {
            peer: stats.peer,
            rate: stats.view.rate,
            capacity: stats.view.capacity,
            starting: stats.view.starting,
            limited_by: stats.limited_by,
            limited: stats.limited,
            rtt_min: stats.rtt_min,
        }
    }
}

/// Looks at a session while it sends.
#[derive(Debug, Default)]
pub(super) struct Witness {
    looks: u32,
    mean: Option<f64>,
    last: Option<Look>,
}

impl Witness {
    pub(super) fn see(&mut self, stats: &SessionStats) {
        self.look(stats.into());
    }

    fn look(&mut self, look: Look) {
        self.last = Some(look);
        let alone = look.capacity.is_some_and(|capacity| look.rate >= capacity.mul_f64(ALONE));
        if look.limited_by == Some(Limit::Link) && !look.starting && alone {
            self.looks = self.looks.saturating_add(1);
            let rate = look.rate.as_f64();
            self.mean = Some(self.mean.map_or(rate, |mean| mean + PART * (rate - mean)));
        }
    }

    /// Where the peer was seen last.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.last.map(|look| look.peer)
    }

    /// What to keep of it, for a session that started from `hint`.
    pub(super) fn lesson(&self, hint: Option<BitRate>) -> Option<Lesson> {
        let last = self.last?;
        let wanted = (last.rtt_min * ROUND_TRIPS_MIN).max(PROGRESS_EVERY * LOOKS_MIN);
        if PROGRESS_EVERY * self.looks >= wanted && longest(&last.limited) == Some(Limit::Link) {
            let mean = self.mean.map(BitRate::from_f64)?;
            return Some(Lesson::Carries(mean, last.rtt_min));
        }
        // Too short to know better, but a hint that was wrong should not be given again.
        let (hint, capacity) = (hint?, last.capacity?);
        let agrees = capacity >= hint.mul_f64(ALONE) && capacity.mul_f64(ALONE) <= hint;
        (!agrees).then_some(Lesson::Differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// Sent at the rate of the link.
    fn full(mbps: u64) -> Look {
        let mut limited = Spent::default();
        limited[usize::from(Limit::Link.code())] = Duration::from_secs(2);
        Look {
            peer: ([192, 0, 2, 7], 7411).into(),
            rate: BitRate::mbps(mbps),
            capacity: Some(BitRate::mbps(100)),
            starting: false,
            limited_by: Some(Limit::Link),
            limited,
            rtt_min: RTT,
        }
    }

    fn lesson(looks: u32, look: Look, hint: Option<u64>) -> Option<Lesson> {
        let mut witness = Witness::default();
        (0..looks).for_each(|_| witness.look(look));
        witness.lesson(hint.map(BitRate::mbps))
    }

    #[test]
    fn a_second_at_the_rate_of_the_link_is_a_lesson() {
        let learnt = Some(Lesson::Carries(BitRate::mbps(97), RTT));
        assert_eq!([4, 5].map(|looks| lesson(looks, full(97), None)), [None, learnt]);
        let far = Look { rtt_min: Duration::from_millis(600), ..full(97) };
        assert!(lesson(11, far, None).is_none() && lesson(12, far, None).is_some());
    }

    #[test]
    fn a_rate_that_something_else_set_is_none() {
        let mut disk = full(97);
        disk.limited[usize::from(Limit::SourceDisk.code())] = Duration::from_secs(9);
        for look in [
            disk,
            full(50),
            Look { limited_by: Some(Limit::Cap), ..full(97) },
            Look { starting: true, ..full(97) },
            Look { capacity: None, ..full(97) },
        ] {
            assert_eq!(lesson(50, look, None), None, "{look:?}");
            assert_eq!(lesson(50, look, Some(97)), None, "{look:?}");
        }
    }

    #[test]
    fn a_hint_that_the_path_does_not_bear_out_is_forgotten() {
        let forgotten = |hint| lesson(1, full(97), Some(hint)) == Some(Lesson::Differs);
        assert_eq!([70, 80, 130, 140].map(forgotten), [true, false, false, true]);
    }
}
