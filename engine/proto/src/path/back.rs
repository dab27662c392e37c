//! The way back: how much longer than it must a report was under way.
//!
//! ```text
//! t = arrival by our clock - sending by the receiver's            any origin
//! b = max(0, t - min(t over 30 to 60 s) - slack),   slack = 0.5 ms + 50 ppm of 60 s
//! ```
//! A round trip holds the queues of both ways, and rate control steers by the one ahead of it. Without
//! `b` a BBR flow in the other direction took half of ours: its queue was taken for our own. The two
//! clocks need not agree, only run alike; what 50 ppm may drift by is forgiven. Faster drift (a clock
//! that is being slewed) looks like a queue, but one that no round trip shows: see [`WayBack::share`].

use crate::units::{Micros, Timestamp};
use core::time::Duration;

/// Two of these are remembered.
const SLICE: Duration = Duration::from_secs(30);
const SLACK_US: i64 = 500 + 50 * 60;
/// After a silence that is longer the receiver's clock may have wrapped (at 71 minutes).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The newest report, by our clock and by the receiver's, unwrapped.
    at: Timestamp,
    clock: Micros,
    unwrapped: i64,
    slice_end: Timestamp,
    /// Smallest transit of this slice and of the one before.
    min: i64,
    min_before: i64,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct WayBack(Option<Known>);

impl WayBack {
    /// A report that was sent at `clock` arrives; answers `b`.
    pub fn on_report(&mut self, clock: Micros, now: Timestamp) -> Duration {
        let local = i64::try_from(now.as_nanos() / 1_000).unwrap_or(i64::MAX);
        let known = self.0.filter(|known| now.since(known.at) < FORGOTTEN_AFTER);
        let Some(mut known) = known else {
            let slice_end = now + SLICE;
            let min = local;
            self.0 = Some(Known { at: now, clock, unwrapped: 0, slice_end, min, min_before: min });
            return Duration::ZERO;
        };
        // Reports may overtake each other, so the step may go back.
        let step = clock.get().wrapping_sub(known.clock.get()).cast_signed();
        (known.at, known.clock) = (now, clock);
        known.unwrapped = known.unwrapped.saturating_add(i64::from(step));
        let transit = local.saturating_sub(known.unwrapped);
        if now >= known.slice_end {
            let stale = now >= known.slice_end + SLICE;
            known.min_before = if stale { transit } else { known.min };
            (known.min, known.slice_end) = (transit, now + SLICE);
        }
        known.min = known.min.min(transit);
        let least = known.min.min(known.min_before);
        self.0 = Some(known);
        let excess = transit.saturating_sub(least).saturating_sub(SLACK_US);
        Duration::from_micros(u64::try_from(excess).unwrap_or(0))
    }

    /// What of a round trip belongs to the way back, where the smallest is known: a clock that drifts
    /// must not make it shorter than that.
    pub fn share(back: Duration, rtt: Duration, smallest: Duration) -> Duration {
        back.min(rtt.saturating_sub(smallest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver's clock that begins near its end and runs `ppm` faster than ours.
    fn clock(sent: Duration, ppm: u64) -> Micros {
        let us = u64::try_from(sent.as_micros()).expect("short");
        let us = us + us * ppm / 1_000_000;
        Micros::new(
            u32::try_from((u64::from(u32::MAX) - 1_000_000 + us) % (1 << 32)).expect("32 bits"),
        )
    }

    fn run(seconds: u64, ppm: u64, transit: impl Fn(u64) -> u64) -> Vec<Duration> {
        let mut back = WayBack::default();
        let reports = (0..seconds * 40).map(|n| {
            let sent = Duration::from_millis(25 * n);
            let arrived = sent + Duration::from_millis(transit(25 * n));
            back.on_report(clock(sent, ppm), Timestamp::ZERO + arrived)
        });
        reports.collect()
    }

    #[test]
    fn a_queue_on_the_way_back_shows_across_the_wrap_of_the_clock() {
        let seen = run(10, 0, |ms| if (4_000..6_000).contains(&ms) { 90 } else { 40 });
        assert_eq!(seen[100], Duration::ZERO);
        assert_eq!(seen[200], Duration::from_micros(50_000 - 3_500));
        assert_eq!(seen[300], Duration::ZERO);
    }

    #[test]
    fn clocks_that_drift_by_50_ppm_show_no_queue() {
        for ppm in [0, 50] {
            assert!(run(600, ppm, |_| 40).iter().all(Duration::is_zero), "{ppm}");
        }
    }

    #[test]
    fn a_way_back_that_became_longer_is_no_queue_after_a_minute() {
        let seen = run(100, 0, |ms| if ms < 10_000 { 40 } else { 90 });
        assert!(seen[500] > Duration::from_millis(40));
        assert!(seen[71 * 40..].iter().all(Duration::is_zero));
    }

    #[test]
    fn a_long_silence_makes_a_new_beginning() {
        let mut back = WayBack::default();
        let later = Timestamp::ZERO + Duration::from_secs(4_000);
        back.on_report(Micros::new(7), Timestamp::ZERO);
        assert_eq!(back.on_report(Micros::new(9), later), Duration::ZERO);
    }

    #[test]
    fn a_round_trip_never_gets_shorter_than_the_smallest() {
        let ms = Duration::from_millis;
        assert_eq!(WayBack::share(ms(50), ms(130), ms(100)), ms(30));
        assert_eq!(WayBack::share(ms(20), ms(130), ms(100)), ms(20));
        assert_eq!(WayBack::share(ms(20), ms(90), ms(100)), ms(0));
    }
}
