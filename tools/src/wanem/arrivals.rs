//! When frames reached the device, as well as that can be known afterwards.
//!
//! TUN devices do not stamp frames. As long as the emulator's thread runs on time, a frame arrived
//! when it is read. When the machine stood still for a while (a virtual processor that its host
//! took away, for tens of milliseconds), everything that was sent meanwhile waits in the device; to
//! offer it to the link in one instant would overflow queues that were never full. After such a
//! standstill the frames are spread evenly over about the time that the link takes for them, but
//! not over more than the standstill.
//!
//! The time of the link, not the standstill, because senders may have stood still too, and then
//! sent all of it just now: a packet dated back further than the link's rate explains would arrive
//! before light could have carried it, and a sender that steers by its smallest round trip would
//! believe that for the rest of the run.

use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::time::Duration;

/// Shorter gaps are the ordinary course of scheduling and stay as they are.
const STANDSTILL_MIN: Duration = Duration::from_millis(1);

/// See the head of this file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    empty_at: Timestamp,
    offered_at: Timestamp,
    standstills: u64,
    longest: Duration,
}

impl Arrivals {
    /// The device was seen empty.
    pub(crate) fn on_empty(&mut self, now: Timestamp) {
        self.empty_at = self.empty_at.max(now);
    }

    /// A sleep ended that was to last until `planned` or the first frame. Up to the earlier of the
    /// two nothing waited, or the thread would have been woken.
    pub(crate) fn on_wake(&mut self, planned: Option<Timestamp>, now: Timestamp) {
        self.on_empty(planned.map_or(now, |planned| planned.min(now)));
    }

    /// Since when frames may have waited, if that is long ago: the start of a standstill.
    pub(crate) fn standstill(&self, now: Timestamp) -> Option<Timestamp> {
        (now.since(self.empty_at) > STANDSTILL_MIN).then_some(self.empty_at)
    }

    /// Counts a standstill that ended now.
    pub(crate) fn count(&mut self, since: Timestamp, now: Timestamp) {
        self.standstills += 1;
        self.longest = self.longest.max(now.since(since));
    }

    /// The arrival to assume for a frame: never before the previous one's.
    pub(crate) fn in_order(&mut self, at: Timestamp) -> Timestamp {
        self.offered_at = self.offered_at.max(at);
        self.offered_at
    }

    /// Standstills so far, and the longest.
    pub(crate) fn standstills(&self) -> (u64, Duration) {
        (self.standstills, self.longest)
    }
}

/// What a sender may have sent in one burst just now: it stays where it was read.
const BURST: Duration = Duration::from_millis(1);

/// When what waited since a standstill's start began to arrive, if it came as fast as senders of
/// this link make up for lost time: a burst, then a quarter above `rate`.
pub(crate) fn began(since: Timestamp, now: Timestamp, total: Bytes, rate: BitRate) -> Timestamp {
    since.max(now - total.time_at(rate).saturating_sub(BURST) * 4 / 5)
}

/// Where in `since ..= now` a frame arrived, if all of `total` came evenly and it is complete after
/// `done` of them.
pub(crate) fn spread(since: Timestamp, now: Timestamp, done: Bytes, total: Bytes) -> Timestamp {
    let nanos = now.since(since).as_nanos() * u128::from(done.get());
    let nanos = nanos.checked_div(u128::from(total.get())).unwrap_or(0);
    (since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))).min(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_waited_through_a_standstill_is_spread_over_it() {
        let times =
            [25, 50, 100].map(|done| spread(at(10), at(50), Bytes::new(done), Bytes::new(100)));
        assert_eq!(times, [at(20), at(30), at(50)]);
        assert_eq!(spread(at(10), at(50), Bytes::ZERO, Bytes::ZERO), at(10));
    }

    /// A processor that stood still for 13 ms had its first burst dated back by as much: the
    /// emulated round trip was 87 ms on a link of 100 ms, and a transfer slowed down for good.
    #[test]
    fn a_burst_after_a_common_standstill_is_not_dated_back() {
        let rate = BitRate::mbps(500);
        let burst = rate.bytes_in(Duration::from_micros(900));
        assert_eq!(began(at(10), at(50), burst, rate), at(50));
        let train = rate.bytes_in(Duration::from_millis(6));
        assert_eq!(began(at(10), at(50), train, rate), at(46));
        let flood = rate.bytes_in(Duration::from_millis(500));
        assert_eq!(began(at(10), at(50), flood, rate), at(10));
        assert_eq!(began(at(10), at(50), flood, BitRate::MAX), at(50));
    }

    #[test]
    fn a_quiet_link_is_not_a_standstill() {
        let mut arrivals = Arrivals::default();
        arrivals.on_empty(at(10));
        arrivals.on_wake(None, at(5_000));
        assert_eq!(arrivals.standstill(at(5_000)), None);
        arrivals.on_wake(Some(at(9_000)), at(7_000));
        assert_eq!(arrivals.standstill(at(7_000)), None, "woken by a frame before the plan");
    }

    #[test]
    fn oversleeping_is_a_standstill_from_the_planned_moment_on() {
        let mut arrivals = Arrivals::default();
        arrivals.on_empty(at(10));
        arrivals.on_wake(Some(at(11)), at(60));
        assert_eq!(arrivals.standstill(at(60)), Some(at(11)));
        arrivals.count(at(11), at(60));
        assert_eq!(arrivals.standstills(), (1, Duration::from_millis(49)));
    }

    #[test]
    fn arrivals_never_go_back_in_time() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.in_order(at(7)), at(7));
        assert_eq!(arrivals.in_order(at(3)), at(7));
    }
}
