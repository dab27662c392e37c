//! How much a receiver's ages may take off a round trip.
//!
//! ```text
//! s     = clamp(elapsed/8, 5 ms, 25 ms)                           the spacing of reports (W-048)
//! seen  = least of (elapsed - age) over 30 to 60 s of reports in time, with age <= s;
//!         less if elapsed - s of any report is less                elapsed: our clock alone
//! round trip of a packet = max(elapsed - age, seen - 0.1 ms)      the noise of clocks
//! ```
//! Nobody can report a packet sooner than it takes to get there and back, so the shortest time between
//! a packet and the first word about it bounds the path from above, and an honest receiver who reports
//! in time says so within `s`. An age that leaves less is wrong: its packet would have gone faster than
//! any report shows. A path that really became shorter shows with the first report in time. The
//! receiver is believed for `s`, since at low rates every report is late by that. Who is never in
//! time (after an outage, say) changes nothing of what was seen before. spec: W-136

use super::SLICE;
use crate::limits::{FEEDBACK_MAX, FEEDBACK_MIN};
use crate::units::Timestamp;
use core::time::Duration;

/// What one arrival may be stamped too early, seen from the others.
const NOISE: Duration = Duration::from_micros(100);

/// The least round trip that our own clock vouches for.
#[derive(Clone, Copy, Debug)]
pub struct AgeBound {
    /// Of this slice and of the one before.
    seen: Duration,
    seen_before: Duration,
    /// Unknown before the first report.
    slice_end: Option<Timestamp>,
}

impl AgeBound {
    /// Begins with the round trip that the handshake showed.
    pub const fn new(handshake: Duration) -> Self {
        Self { seen: handshake, seen_before: Duration::MAX, slice_end: None }
    }

    /// A report came of a packet that left `elapsed` ago, and gives it this `age`.
    pub fn on_named(&mut self, elapsed: Duration, age: Duration, now: Timestamp) {
        let end = *self.slice_end.get_or_insert(now + SLICE);
        if now >= end && self.seen < Duration::MAX {
            (self.seen_before, self.seen) = (self.seen, Duration::MAX);
            self.slice_end = Some(now + SLICE);
        }
        let spacing = (elapsed / 8).clamp(FEEDBACK_MIN, FEEDBACK_MAX);
        let told = elapsed.saturating_sub(age.min(spacing));
        if age <= spacing || told < self.least() {
            self.seen = self.seen.min(told);
        }
    }

    /// The round trip of such a packet, no shorter than it can be; `None` if its age is more than the
    /// time since it left.
    pub fn round_trip(&self, elapsed: Duration, age: Duration) -> Option<Duration> {
        let least = self.least().saturating_sub(NOISE).min(elapsed);
        elapsed.checked_sub(age).map(|rtt| rtt.max(least))
    }

    fn least(&self) -> Duration {
        self.seen.min(self.seen_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What becomes of a packet named `elapsed` after it left, with this age, at `at` milliseconds.
    fn told(bound: &mut AgeBound, elapsed: u64, age: u64, at: u64) -> Option<Duration> {
        bound.on_named(ms(elapsed), ms(age), Timestamp::from_millis(at));
        bound.round_trip(ms(elapsed), ms(age))
    }

    #[test]
    fn an_honest_age_is_taken_off_whole() {
        let mut bound = AgeBound::new(ms(104));
        assert_eq!(told(&mut bound, 103, 3, 1_000), Some(ms(100)));
        // A host that stood still for long, and a queue.
        assert_eq!(told(&mut bound, 700, 600, 2_000), Some(ms(100)));
        assert_eq!(told(&mut bound, 700, 560, 2_000), Some(ms(140)));
    }

    #[test]
    fn no_age_makes_a_path_shorter_than_reports_show() {
        let mut bound = AgeBound::new(ms(104));
        for at in 1..200 {
            let told = told(&mut bound, 100, 99, at * 1_000);
            assert_eq!(told, Some(Duration::from_micros(87_400)), "{at} s");
        }
    }

    #[test]
    fn who_is_never_in_time_changes_nothing() {
        let mut bound = AgeBound::new(ms(20));
        for at in [1, 62, 200, 4_000] {
            let told_late = told(&mut bound, 4_000, 3_999, at * 1_000);
            assert_eq!(told_late, Some(Duration::from_micros(19_900)));
            assert_eq!(told(&mut bound, 4_000, 3_900, at * 1_000), Some(ms(100)));
        }
    }

    #[test]
    fn a_path_that_became_longer_bounds_ages_a_minute_after() {
        let mut bound = AgeBound::new(ms(100));
        let in_time: Vec<_> = (1..65).map(|at| told(&mut bound, 203, 3, at * 1_000)).collect();
        assert!(in_time.iter().all(|&rtt| rtt == Some(ms(200))));
        assert_eq!(told(&mut bound, 203, 150, 66_000), Some(Duration::from_micros(177_900)));
    }

    #[test]
    fn a_path_that_became_shorter_is_believed_with_its_first_report_in_time() {
        let mut bound = AgeBound::new(ms(200));
        assert_eq!(told(&mut bound, 200, 0, 1_000), Some(ms(200)));
        assert_eq!(told(&mut bound, 60, 10, 1_100), Some(Duration::from_micros(52_400)));
        assert_eq!(told(&mut bound, 52, 2, 1_200), Some(ms(50)));
        assert_eq!(told(&mut bound, 60, 10, 1_300), Some(ms(50)));
    }

    #[test]
    fn an_age_beyond_the_time_since_it_left_measures_nothing() {
        let mut bound = AgeBound::new(ms(200));
        assert_eq!(told(&mut bound, 200, 201, 1_000), None);
        let old = Duration::from_micros(u64::from(u32::MAX));
        assert_eq!(bound.round_trip(ms(200), old), None);
    }
}
