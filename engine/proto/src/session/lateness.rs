//! Does this host keep up with the rate? Packets were due and nobody came to plan them.

use crate::units::Timestamp;
use core::time::Duration;

/// Time over which lateness is judged.
const WINDOW: Duration = Duration::from_millis(100);
/// With one part in so many of it lost, the host is what limits.
const SHARE: u32 = 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Lateness {
    /// When planning last stopped, it was for the pacer alone: there was data and window.
    pacer_only: bool,
    since: Timestamp,
    lost: Duration,
    late: bool,
}

impl Lateness {
    /// The body came to plan; `forfeited` is what the pacer lost since it last did.
    pub(super) fn on_turn(&mut self, forfeited: Duration, now: Timestamp) {
        if self.pacer_only {
            self.lost += forfeited;
        }
        let span = now.since(self.since);
        if span >= WINDOW {
            self.late = self.lost >= span / SHARE;
            (self.since, self.lost) = (now, Duration::ZERO);
        }
    }

    /// Planning stopped; `pacer_only` if nothing but the pacer forbids the next packet.
    pub(super) const fn on_stop(&mut self, pacer_only: bool) {
        self.pacer_only = pacer_only;
    }

    /// True while the host does not keep up.
    pub(super) const fn is_late(&self) -> bool {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns every 10 ms for half a second, each with 1 ms forfeited.
    fn after(pacer_only: bool) -> Lateness {
        let mut lateness = Lateness::default();
        for turn in 0..50 {
            lateness.on_turn(Duration::from_millis(1), Timestamp::from_millis(turn * 10));
            lateness.on_stop(pacer_only);
        }
        lateness
    }

    #[test]
    fn lost_time_counts_only_while_nothing_but_the_pacer_holds() {
        assert!(after(true).is_late());
        assert!(!after(false).is_late());
    }

    #[test]
    fn a_host_that_keeps_up_again_is_not_late() {
        let mut lateness = after(true);
        for turn in 50..80 {
            lateness.on_turn(Duration::ZERO, Timestamp::from_millis(turn * 10));
        }
        assert!(!lateness.is_late());
    }
}
