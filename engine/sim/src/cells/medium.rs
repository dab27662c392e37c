//! A medium that is served in bursts, and what becomes of reports on their way.
//!
//! ```text
//! time is cut into turns; a turn is that of the way there, of the way back, of both, or of others
//! what comes in another's turn waits for its own, and then passes all at once (frames are aggregated)
//! ```
//! Radio is like this: stations take turns, and what waits for one leaves together. Boxes that spare the
//! way back hold reports and pass them together, or only the newest. Everybody is honest here.

use crate::rng;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// More turns nobody waits.
const TURNS_MAX: u64 = 10_000;

/// Whose turn it is, drawn for each turn alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Medium {
    /// Length of a turn.
    pub turn: Duration,
    /// Share of turns of the way there.
    pub there: f64,
    /// Share of turns of the way back.
    pub back: f64,
    /// Share of turns in which both ways are served.
    pub both: f64,
}

impl Medium {
    /// True if turns have a length, and both ways some of them.
    pub fn is_served(&self) -> bool {
        let sane = [self.there, self.back, self.both].iter().all(|share| *share >= 0.0);
        sane && !self.turn.is_zero() && self.there.min(self.back) + self.both > 0.001
    }
}

/// Reports that pass at certain times only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bunch {
    /// Distance between these times.
    pub every: Duration,
    /// Only the newest of those that wait passes.
    pub newest: bool,
}

/// Both of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Air {
    medium: Option<Medium>,
    bunch: Option<Bunch>,
    seed: u64,
}

impl Air {
    pub(super) fn new(medium: Option<Medium>, bunch: Option<Bunch>, seed: u64) -> Self {
        Self { medium, bunch, seed }
    }

    /// When a packet arrives that would have arrived at `at`.
    pub(super) fn arrival(&self, at: Timestamp) -> Timestamp {
        self.served(at, |m, drawn| drawn < m.there || drawn >= 1.0 - m.both)
    }

    /// How long a report waits that is made at `now`, and again after `interval`; `None` if it does
    /// not pass at all.
    pub(super) fn report(&self, now: Timestamp, interval: Duration) -> Option<Duration> {
        let passes = match self.bunch {
            Some(bunch) => up_to(now, bunch.every),
            None => now,
        };
        if self.bunch.is_some_and(|bunch| bunch.newest) && now + interval <= passes {
            return None;
        }
        let back = |m: &Medium, drawn: f64| {
            (m.there..m.there + m.back).contains(&drawn) || drawn >= 1.0 - m.both
        };
        Some(self.served(passes, back).since(now))
    }

    /// The first time from `at` on that lies in a turn of its own.
    fn served(&self, at: Timestamp, is_own: impl Fn(&Medium, f64) -> bool) -> Timestamp {
        let Some(medium) = self.medium else { return at };
        let turn = nanos(medium.turn);
        let first = at.as_nanos() / turn;
        let own = (first..first + TURNS_MAX).find(|&n| is_own(&medium, rng::at(self.seed, n)));
        at.max(Timestamp::from_nanos(own.unwrap_or(first) * turn))
    }
}

/// The next multiple of `every`.
fn up_to(at: Timestamp, every: Duration) -> Timestamp {
    let every = nanos(every);
    Timestamp::from_nanos(at.as_nanos().div_ceil(every) * every)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: Medium =
        Medium { turn: Duration::from_millis(4), there: 0.5, back: 0.2, both: 0.0 };

    #[test]
    fn each_way_is_served_in_its_own_turns_and_in_order() {
        let air = Air::new(Some(MEDIUM), None, 7);
        let (mut last, mut waited) = (Timestamp::ZERO, 0);
        for ms in 0..2_000 {
            let at = Timestamp::from_millis(ms);
            let there = air.arrival(at);
            let back = at + air.report(at, Duration::from_millis(5)).expect("none is left out");
            assert!(there >= at && there >= last);
            assert_ne!(there.as_nanos() / 4_000_000, back.as_nanos() / 4_000_000, "{ms}");
            waited += u32::from(there > at);
            last = there;
        }
        assert!((900..1_100).contains(&waited), "{waited}");
    }

    #[test]
    fn of_reports_that_wait_together_only_the_newest_passes() {
        let every = Duration::from_millis(40);
        let passed = |newest| {
            let air = Air::new(None, Some(Bunch { every, newest }), 1);
            let reports = (0..400).map(|n| Timestamp::from_millis(10 * n + 3));
            let waits = reports.filter_map(|at| air.report(at, Duration::from_millis(10)));
            waits.inspect(|wait| assert!(*wait < every)).count()
        };
        assert_eq!((passed(false), passed(true)), (400, 100));
    }
}
