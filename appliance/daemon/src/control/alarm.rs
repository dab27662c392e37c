//! When the loop is to go round although nothing happened: at regular ticks, and once in between when
//! somebody who lacked a content may be asked for it again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The loop does nothing but that for at most a twentieth of its time.
const PAUSE_FACTOR: u32 = 20;
/// And not more often than this.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// When to go through all that waits again: at `wanted`, but a while after the last time, which took
/// `took` until `now`.
pub(super) fn again_at(wanted: Instant, now: Instant, took: Duration) -> Instant {
    wanted.max(now + (took * PAUSE_FACTOR).max(PAUSE_MIN))
}

/// The next moment, if any; shared by the loop and whoever wakes it.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    at: Mutex<Option<Instant>>,
    is_set: Condvar,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings at that moment, or earlier if somebody said so.
    pub(super) fn ring_at(&self, moment: Instant) {
        let mut at = self.lock();
        if at.is_none_or(|at| moment < at) {
            *at = Some(moment);
            self.is_set.notify_all();
        }
    }

    /// Waits until it rings, at most until `latest`. Whether it did.
    pub(super) fn wait(&self, latest: Instant) -> bool {
        let mut at = self.lock();
        loop {
            let now = Instant::now();
            if at.take_if(|at| *at <= now).is_some() {
                return true;
            }
            let next = at.map_or(latest, |at| at.min(latest));
            let rest = next.saturating_duration_since(now);
            if rest.is_zero() {
                return false;
            }
            at = self.is_set.wait_timeout(at, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_once_at_the_earliest_of_what_was_said() {
        let (alarm, now) = (Alarm::default(), Instant::now());
        alarm.ring_at(now + Duration::from_secs(3600));
        alarm.ring_at(now);
        alarm.ring_at(now + Duration::from_secs(60));
        assert!(alarm.wait(now + Duration::from_secs(3600)));
        assert!(
            !alarm.wait(Instant::now() + Duration::from_millis(1)),
            "what is later was forgotten"
        );
    }

    #[test]
    fn who_waits_hears_of_an_earlier_moment() {
        let alarm = Alarm::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| alarm.wait(Instant::now() + Duration::from_secs(600)));
            alarm.ring_at(Instant::now() + Duration::from_millis(10));
            assert!(waits.join().expect("it ends"));
        });
    }

    #[test]
    fn what_takes_long_is_done_the_more_seldom() {
        let now = Instant::now();
        let [soon, late] = [now + Duration::from_millis(1), now + Duration::from_secs(9)];
        assert_eq!(again_at(soon, now, Duration::ZERO), now + PAUSE_MIN);
        assert_eq!(again_at(soon, now, Duration::from_secs(1)), now + Duration::from_secs(20));
        assert_eq!(again_at(late, now, Duration::from_millis(1)), late);
    }
}
