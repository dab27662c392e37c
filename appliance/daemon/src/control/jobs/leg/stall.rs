//! Notices that nothing comes any more. There is no time in which something has to be done: what counts
//! is whether bytes that were verified are more than a while ago.

use std::time::{Duration, Instant};

/// Nobody wonders before.
const FIRST: Duration = Duration::from_mins(2);
/// Whoever did not look for so long was busy with something else: what was before counts no more.
const UNSEEN: Duration = Duration::from_secs(30);

/// Watches one count that only grows.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Option<Watched>);

#[derive(Debug)]
struct Watched {
    mark: (u64, u64),
    since: Instant,
    looked: Instant,
}

impl Watchdog {
    /// Looks at what came in a run by now. How long nothing did, if that is long: 2 min, 4 min, 8 min and
    /// so on, so that whoever says so does not say it each time. spec: S-244
    pub(super) fn look(&mut self, mark: (u64, u64), now: Instant) -> Option<Duration> {
        let watched = self.0.as_mut().filter(|watched| {
            watched.mark == mark && now.saturating_duration_since(watched.looked) < UNSEEN
        });
        let Some(watched) = watched else {
            self.0 = Some(Watched { mark, since: now, looked: now });
            return None;
        };
        watched.looked = now;
        let still = now.saturating_duration_since(watched.since);
        let times = still.as_secs() / FIRST.as_secs();
        let power = times.checked_ilog2()?;
        Some(FIRST.saturating_mul(1 << power.min(16)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_comes_is_said_in_steps_and_not_after_a_pause() {
        let began = Instant::now();
        let mut watchdog = Watchdog::default();
        let mut said = Vec::new();
        for second in 0..1000_u64 {
            let came = if second < 100 { second } else { 100 };
            if let Some(still) = watchdog.look((1, came), began + Duration::from_secs(second)) {
                said.push((second, still.as_secs()));
            }
        }
        let steps = |secs: u64| said.iter().find(|(_, still)| *still == secs).map(|(at, _)| *at);
        assert_eq!((steps(120), steps(240), steps(480)), (Some(220), Some(340), Some(580)));
        assert_eq!(said.first().map(|(at, _)| *at), Some(220));
        // One byte, another run, or a minute in which nobody looked.
        let at = |secs: u64| began + Duration::from_secs(secs);
        assert_eq!(watchdog.look((1, 101), at(1000)), None);
        assert_eq!(watchdog.look((2, 101), at(1001)), None);
        assert_eq!(watchdog.look((2, 101), at(1200)), None);
    }
}
