//! A path that became longer, told from a queue.
//!
//! ```text
//! q above the trigger and flat (2 % of the round trip) for 2 T although R fell by min(0.15 C, 0.75 R)
//!     -> d = d + q, R = 0.95 of the old
//! ```
//! A queue would have reacted to the lower rate; a longer fibre does not. But a queue reacts to the sum of
//! all rates: what eight flows give up and a ninth takes leaves it flat as well. So the fall is held
//! against the link, and where our part of it is small, almost all of that must be gone.

const FLAT: f64 = 0.02;
/// Share of the link that was given up.
const FELL: f64 = 0.15;
/// Share of our rate, where that is a small part of the link.
const FELL_MOSTLY: f64 = 0.75;
const LOOPS: f64 = 2.0;
const RETURN_TO: f64 = 0.95;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PathStep {
    watch: Option<Watch>,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    since: f64,
    rtt: f64,
    rate: f64,
}

impl PathStep {
    /// Looks at a feedback; answers the rate to go back to when the path is longer.
    pub(super) fn on_feedback(
        &mut self,
        (q, trigger): (f64, f64),
        (rtt, loop_delay): (f64, f64),
        (rate, capacity): (f64, f64),
        now: f64,
    ) -> Option<f64> {
        if q <= trigger {
            self.watch = None;
            return None;
        }
        let watch = *self.watch.get_or_insert(Watch { since: now, rtt, rate });
        if (rtt - watch.rtt).abs() > FLAT * watch.rtt {
            // The highest rate of the story is kept: it is what the path carried before.
            self.watch = Some(Watch { since: now, rtt, rate: rate.max(watch.rate) });
            return None;
        }
        let fall = (FELL * capacity.max(watch.rate)).min(FELL_MOSTLY * watch.rate);
        let proven = now - watch.since > LOOPS * loop_delay && watch.rate - rate > fall;
        if !proven {
            return None;
        }
        self.watch = None;
        Some(RETURN_TO * watch.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_that_ignores_the_rate_is_the_path() {
        let mut step = PathStep::default();
        let mut rate = 1e6;
        let answer = (0..100).find_map(|i| {
            rate *= 0.98;
            step.on_feedback((0.1, 0.03), (0.15, 0.2), (rate, 1e6), f64::from(i) * 0.02)
        });
        assert!(answer.is_some_and(|r| r > 0.9e6));
    }

    #[test]
    fn what_one_flow_of_many_gives_up_another_takes() {
        let mut step = PathStep::default();
        let mut answer = |i: i32, rate: f64| {
            step.on_feedback((0.1, 0.03), (0.15, 0.2), (rate, 1e6), f64::from(i) * 0.02)
        };
        let shared = (0..60).find_map(|i| answer(i, 125e3 * 0.98_f64.powi(i)));
        assert_eq!(shared, None, "a newcomer may have taken it");
        let gone = (60..100).find_map(|i| answer(i, 125e3 * 0.98_f64.powi(i)));
        assert!(gone.is_some(), "nobody gives up almost all of it for long");
    }

    #[test]
    fn a_delay_that_follows_the_rate_is_a_queue() {
        let mut step = PathStep::default();
        let mut rate = 1e6;
        let answer = (0..100).find_map(|i| {
            rate *= 0.98;
            let q = 0.1 * rate / 1e6;
            step.on_feedback((q, 0.03), (0.05 + q, 0.2), (rate, 1e6), f64::from(i) * 0.02)
        });
        assert_eq!(answer, None);
    }
}
