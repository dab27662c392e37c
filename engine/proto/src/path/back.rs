//! The queue on the way back: what a round trip holds that is not queue ahead of this sender.
//!
//! ```text
//! t = arrival of a report by our clock - its sending by the receiver's          any origin
//! f = round trip - t                                                           the way there, likewise
//! b = max(0, t - (d - f_min))           d, f_min, t_min: the least of 30 to 60 s
//!   = 0 while d - f_min - t_min > 10 ms                       the clocks do not run alike
//!   = 0 for 10 s when arrivals change their pace with b          the clock lies (`pace`); again within a
//!     minute: for twice as long, up to a minute
//!   at most e - d                                             e: since the newest packet named left
//! ```
//! What is left of a round trip is d + (f - f_min), never more than the round trip itself: queue is
//! what the way there takes beyond its least, and of the report's own journey nothing enters. The
//! clocks need not agree, only run alike. One that gains 100 ppm on ours makes f grow, and hides some
//! of b; one that loses as much makes f fall, and f_min with it each time our queue is drained, so it
//! hides at most 1 ms of ours. A clock that steps or is slewed makes one of the ways shorter than it
//! was and the round trip not: then b is not believed until that is forgotten. Clock and ages are the
//! receiver's word; e is our own, and d is no less than ages may make it (`ages`): a lie moves
//! b by no more than reports that are really late. spec: W-132, W-136

mod pace;

use super::SLICE;
use crate::congestion::RttSample;
use crate::units::{Micros, Timestamp};
use core::time::Duration;
use pace::Pace;

/// A clock that is found to lie is not believed for so long. For who is honest after all, this is what
/// it costs: on a medium that is shared, up to all of the rate.
const DOUBT: Duration = Duration::from_secs(10);
/// Who lies again so soon is not believed for twice as long, up to so long.
const DOUBT_MAX: Duration = Duration::from_secs(60);
/// More than 100 ppm make in two slices, and than queues that are never empty at once leave.
const CONTRADICTION_US: i64 = 10_000;
/// After a silence that is longer the receiver's clock may have wrapped (at 71 minutes).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// Microseconds.
#[derive(Clone, Copy, Debug)]
struct Least {
    rtt: i64,
    ahead: i64,
    back: i64,
}

impl Least {
    const NONE: Self = Self { rtt: i64::MAX, ahead: i64::MAX, back: i64::MAX };

    fn or(self, other: Self) -> Self {
        Self {
            rtt: self.rtt.min(other.rtt),
            ahead: self.ahead.min(other.ahead),
            back: self.back.min(other.back),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The newest report, by our clock and by the receiver's, unwrapped.
    at: Timestamp,
    clock: Micros,
    unwrapped: i64,
    slice_end: Timestamp,
    /// Of this slice and of the one before.
    least: Least,
    least_before: Least,
    pace: Pace,
    /// Its clock was found to lie, and is not believed before this.
    torn_until: Timestamp,
    /// For how long it was not, the last time.
    doubt: Duration,
    /// How often it was found.
    found: u32,
}

/// What a report says about packets, as far as that is our own knowledge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    /// How long ago the newest packet that it names left, if that is remembered.
    pub newest: Option<Duration>,
    /// So many packets are named for the first time.
    pub fresh: usize,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct WayBack(Option<Known>);

impl WayBack {
    /// How often the receiver's clock was found to lie since it was last forgotten.
    pub fn found(&self) -> u32 {
        self.0.map_or(0, |known| known.found)
    }

    /// A report that was sent at `clock` arrives and tells these round trips: sets their `back`.
    pub fn on_report(
        &mut self,
        clock: Micros,
        named: Named,
        rtts: &mut [RttSample],
        now: Timestamp,
    ) {
        let known = self.0.filter(|known| now.since(known.at) < FORGOTTEN_AFTER);
        let mut known = known.unwrap_or(Known {
            at: now,
            clock,
            unwrapped: 0,
            slice_end: now + SLICE,
            least: Least::NONE,
            least_before: Least::NONE,
            pace: Pace::default(),
            torn_until: Timestamp::ZERO,
            doubt: Duration::ZERO,
            found: 0,
        });
        let transit = known.transit(clock, named.fresh, now);
        let shortest = rtts.iter().map(|sample| sample.rtt).min();
        if let Some(rtt) = shortest {
            let rtt = i64::try_from(rtt.as_micros()).unwrap_or(i64::MAX);
            let least = Least { rtt, ahead: rtt.saturating_sub(transit), back: transit };
            // It left when that packet had arrived, so it took no longer than since that was sent.
            let elapsed = rtts.iter().map(|sample| now.since(sample.sent_at));
            let elapsed = elapsed.chain(named.newest).min().unwrap_or_default();
            let back = known.excess(least, elapsed, now);
            rtts.iter_mut().for_each(|sample| sample.back = back.min(sample.rtt));
        }
        self.0 = Some(known);
    }
}

impl Known {
    /// How long the report was under way, up to a constant.
    fn transit(&mut self, clock: Micros, fresh: usize, now: Timestamp) -> i64 {
        // Reports may overtake each other, so the step may go back.
        let step = clock.get().wrapping_sub(self.clock.get()).cast_signed();
        (self.at, self.clock) = (now, clock);
        self.pace.on_report(fresh as u64, i64::from(step));
        self.unwrapped = self.unwrapped.saturating_add(i64::from(step));
        i64::try_from(now.as_nanos() / 1_000).unwrap_or(i64::MAX).saturating_sub(self.unwrapped)
    }

    /// How long its clock is not believed, now that it was found to lie.
    fn next_doubt(&self, now: Timestamp) -> Duration {
        if now < self.torn_until + DOUBT_MAX {
            (self.doubt * 2).clamp(DOUBT, DOUBT_MAX)
        } else {
            DOUBT
        }
    }

    /// b, of a report whose least figures these are.
    fn excess(&mut self, fresh: Least, elapsed: Duration, now: Timestamp) -> Duration {
        if now >= self.slice_end {
            let stale = now >= self.slice_end + SLICE;
            self.least_before = if stale { Least::NONE } else { self.least };
            (self.least, self.slice_end) = (Least::NONE, now + SLICE);
        }
        self.least = self.least.or(fresh);
        let least = self.least.or(self.least_before);
        let usual = least.rtt.saturating_sub(least.ahead);
        if usual.saturating_sub(least.back) > CONTRADICTION_US {
            return Duration::ZERO;
        }
        if self.pace.is_torn(fresh.back.saturating_sub(usual).max(0)) {
            self.doubt = self.next_doubt(now);
            self.torn_until = now + self.doubt;
            self.found = self.found.saturating_add(1);
        }
        if now < self.torn_until {
            return Duration::ZERO;
        }
        let least_rtt = Duration::from_micros(u64::try_from(least.rtt).unwrap_or(0));
        let back = u64::try_from(fresh.back.saturating_sub(usual)).unwrap_or(0);
        Duration::from_micros(back).min(elapsed.saturating_sub(least_rtt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Duration = Duration::from_millis(30);
    const BACK: Duration = Duration::from_millis(50);

    /// What the receiver's clock says: it begins near its end.
    fn clock(sent: Duration, ppm: i32, steps: Duration) -> Micros {
        let drift = sent.mul_f64(f64::from(ppm.unsigned_abs()) * 1e-6);
        let told = if ppm < 0 { sent - drift } else { sent + drift } + steps;
        (Timestamp::from_nanos(4_293_967_296_000) + told).wrapped()
    }

    struct Run {
        ppm: i32,
        /// When the receiver's clock jumps ahead, and by how much; negative: ours did.
        step: (u64, i64),
    }

    const STEADY: Run = Run { ppm: 0, step: (0, 0) };

    impl Run {
        /// One report each 25 ms; queues of both ways in milliseconds, by time in milliseconds. Answers
        /// what is left of each round trip beyond that without queues.
        fn seen(&self, seconds: u64, queues: impl Fn(u64) -> (u64, u64)) -> Vec<Duration> {
            let mut way_back = WayBack::default();
            let reports = (0..seconds * 40).map(|n| {
                let ms = 25 * n;
                let (ahead, behind) = queues(ms);
                let rtt = THERE + BACK + Duration::from_millis(ahead + behind);
                let sent = Duration::from_millis(ms);
                let stepped = Duration::from_millis(self.step.1.unsigned_abs());
                let (ours, theirs) = match ms >= self.step.0 {
                    true if self.step.1 > 0 => (Duration::ZERO, stepped),
                    true => (stepped, Duration::ZERO),
                    false => (Duration::ZERO, Duration::ZERO),
                };
                let now = Timestamp::ZERO + sent + BACK + Duration::from_millis(behind) + ours;
                let sample = RttSample { sent_at: now - rtt, rtt, back: Duration::ZERO };
                let mut rtts = [sample];
                way_back.on_report(clock(sent, self.ppm, theirs), named(rtt), &mut rtts, now);
                rtts[0].ahead() - THERE - BACK
            });
            reports.collect()
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn named(newest: Duration) -> Named {
        Named { newest: Some(newest), fresh: 100 }
    }

    /// Ours stands at 4 ms, and is drained each ten seconds.
    fn drained(at: u64) -> u64 {
        if at % 10_000 < 200 { 0 } else { 4 }
    }

    #[test]
    fn a_queue_on_the_way_back_is_no_queue_of_ours_across_the_wrap_of_the_clock() {
        let busy = |at| (drained(at), if (4_000..6_000).contains(&at) { 60 } else { 0 });
        let seen = STEADY.seen(10, busy);
        assert!(seen[20..].iter().all(|&queue| queue == ms(4)), "{seen:?}");
    }

    #[test]
    fn one_late_report_is_no_queue_of_ours() {
        let seen = STEADY.seen(10, |at| (drained(at), at / 25 % 2 * 12));
        assert!(seen[20..].iter().all(|&queue| queue == ms(4)), "{seen:?}");
    }

    #[test]
    fn clocks_that_drift_by_100_ppm_hide_at_most_a_millisecond_of_ours() {
        for ppm in [-100, 100] {
            let seen = Run { ppm, ..STEADY }.seen(300, |at| (drained(at), 0));
            let full = |at: &usize| drained(25 * *at as u64) == 4;
            for at in (0..seen.len()).filter(full) {
                assert!((ms(3)..=ms(4)).contains(&seen[at]), "{ppm} ppm, {at}: {:?}", seen[at]);
            }
        }
    }

    #[test]
    fn clocks_that_drift_by_100_ppm_still_show_most_of_the_way_back() {
        for ppm in [-100, 100] {
            let busy = |at| (drained(at), if at >= 60_000 { 60 } else { 0 });
            let seen = Run { ppm, ..STEADY }.seen(85, busy);
            assert!(seen[60 * 40..].iter().all(|&queue| queue <= ms(4 + 6)), "{ppm} ppm");
        }
    }

    #[test]
    fn a_clock_that_steps_leaves_the_round_trip_as_it_is() {
        for by in [-5_000, -20, 20, 5_000] {
            let run = Run { step: (21_000, by), ..STEADY };
            let seen = run.seen(55, |at| (drained(at), 0));
            assert!(seen[21 * 40..28 * 40].iter().all(|&queue| queue == ms(4)), "{by} ms");
            assert!(seen[21 * 40..].iter().all(|&queue| queue <= ms(4)), "{by} ms");
        }
    }

    #[test]
    fn a_clock_that_is_slewed_quickly_hides_nothing_of_ours() {
        for ppm in [-50_000, -1_000] {
            let grows = |at: u64| (if at < 20_000 { 0 } else { 40 }, 0);
            let seen = Run { ppm, ..STEADY }.seen(40, grows);
            assert!(seen[20 * 40..].iter().all(|&queue| queue == ms(40)), "{ppm} ppm");
        }
    }

    #[test]
    fn a_way_there_that_became_longer_is_seen() {
        let seen = STEADY.seen(25, |at| (if at < 10_000 { 0 } else { 100 }, 0));
        assert!(seen[10 * 40..].iter().all(|&queue| queue == ms(100)));
    }

    #[test]
    fn a_way_back_that_became_longer_is_part_of_the_round_trip_after_a_minute() {
        let seen = STEADY.seen(100, |at| (0, if at < 10_000 { 0 } else { 50 }));
        assert_eq!(seen[15 * 40], Duration::ZERO);
        assert!(seen[71 * 40..].iter().all(|&queue| queue == ms(50)));
    }

    #[test]
    fn a_long_silence_makes_a_new_beginning() {
        let mut way_back = WayBack::default();
        let mut rtts = [RttSample { sent_at: Timestamp::ZERO, rtt: ms(80), back: ms(0) }];
        let start = Timestamp::from_millis(100);
        way_back.on_report(Micros::new(7), Named::default(), &mut rtts, start);
        way_back.on_report(
            Micros::new(9),
            Named::default(),
            &mut rtts,
            start + Duration::from_secs(4_000),
        );
        assert_eq!(rtts[0].back, Duration::ZERO);
    }

    /// Of a packet that left long ago the receiver says that it came just now, and its clock agrees:
    /// the way back would have taken all that time. A newer packet, named beside it, did not.
    #[test]
    fn no_report_was_under_way_for_longer_than_the_newest_packet_it_names() {
        let mut way_back = WayBack::default();
        let mut at = |behind: u64, elapsed: u64, told: u64| {
            let now = Timestamp::from_millis(10_000 + behind);
            let rtt = ms(told);
            let mut rtts = [RttSample { sent_at: now - rtt, rtt, back: ms(0) }];
            let sent = clock(ms(behind + 80 - told), 0, ms(0));
            way_back.on_report(sent, named(ms(elapsed)), &mut rtts, now);
            rtts[0].back
        };
        assert_eq!(at(0, 80, 80), ms(0));
        assert_eq!(at(2_000, 84, 1_080), ms(4));
        // Reports that are really late are taken for such.
        assert_eq!(at(4_000, 1_080, 1_080), ms(1_000));
    }

    /// A clock that lies for `lies` milliseconds, and is honest from then on while the way back swings by
    /// 40 ms: for how long what it tells is not believed, in milliseconds.
    fn doubted(lies: u64) -> usize {
        let (mut way_back, mut behind) = (WayBack::default(), 0);
        let reports = (0..12_000_u64).map(|n| {
            let at = 10_000 + 12 * n;
            let lying = 12 * n < lies;
            behind = if behind >= 40_000 { 0 } else { behind + 8_000 };
            let told = if lying { behind } else { n % 2 * 40_000 };
            let (rtt, late) = (ms(80) + Duration::from_micros(told), if lying { 0 } else { told });
            let now = Timestamp::from_millis(at) + Duration::from_micros(late);
            let mut rtts = [RttSample { sent_at: now - rtt, rtt, back: ms(0) }];
            let sent = Timestamp::from_millis(at - 50) - Duration::from_micros(told - late);
            way_back.on_report(sent.wrapped(), named(ms(200)), &mut rtts, now);
            !lying && told > 0 && rtts[0].back == ms(0)
        });
        reports.filter(|&doubted| doubted).count() * 24
    }

    #[test]
    fn who_seems_to_lie_for_a_moment_is_believed_again_soon_and_who_goes_on_is_not() {
        assert_eq!(doubted(0), 0);
        let (short, long) = (doubted(1_000), doubted(20_000));
        assert!((1_000..=10_500).contains(&short), "{short} ms");
        assert!((50_000..=60_500).contains(&long), "{long} ms");
    }

    #[test]
    fn a_report_without_round_trips_and_any_clock_are_taken() {
        let mut way_back = WayBack::default();
        for (n, clock) in [0, u32::MAX, 1 << 31, 0, 1, u32::MAX / 2].into_iter().enumerate() {
            let now = Timestamp::ZERO + Duration::from_nanos(u64::MAX / 8 * n as u64);
            let mut rtts = [RttSample { sent_at: now, rtt: Duration::MAX, back: ms(0) }];
            way_back.on_report(Micros::new(clock), Named::default(), &mut [], now);
            way_back.on_report(Micros::new(clock), Named::default(), &mut rtts, now);
            assert!(rtts[0].back <= rtts[0].rtt);
        }
    }
}
