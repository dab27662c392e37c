//! When the next feedback leaves: by time, not by packet count.
//!
//! Every RTT/8 within 5 .. 25 ms while packets arrive; sooner after a block completes near the
//! end; slower and slower while nothing arrives, because an absolute report repeated is what
//! tells a sender that its last packets were lost. spec: W-048

use crate::limits::{FEEDBACK_MAX, FEEDBACK_MIN};
use crate::units::Timestamp;
use core::time::Duration;

/// The first reports come at the shortest spacing: the sender is looking for its rate.
const EAGER_REPORTS: u32 = 16;
/// Longest spacing while nothing arrives.
const IDLE_MAX: Duration = Duration::from_millis(400);
/// Numbers after which a report leaves early: as a bitmap they take about a third of a report, so
/// that each packet is named by two or three.
const SPAN_MAX: u64 = 2048;
/// Shortest spacing of such reports.
const SPACING_MIN: Duration = Duration::from_millis(1);

/// Schedules reports.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportClock {
    sent: u32,
    last: Option<Timestamp>,
    due: Option<Timestamp>,
    idle_gap: Duration,
    /// Reports in a row in which nothing was new.
    repeats: u32,
}

impl ReportClock {
    /// No report due.
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn spacing(&self, rtt: Duration) -> Duration {
        if self.sent < EAGER_REPORTS {
            FEEDBACK_MIN
        } else {
            (rtt / 8).clamp(FEEDBACK_MIN, FEEDBACK_MAX)
        }
    }

    /// A packet arrived that wants an answer; `span` numbers were never reported.
    pub(super) fn on_packet(&mut self, span: u64, rtt: Duration, now: Timestamp) {
        let spacing = self.spacing(rtt);
        let wanted = match self.last {
            Some(last) if span < SPAN_MAX => (last + spacing).max(now),
            // The very first packet of a train: wait for the rest of it.
            None => now + FEEDBACK_MIN,
            Some(last) => (last + SPACING_MIN).max(now),
        };
        self.due = Some(self.due.map_or(wanted, |due| due.min(wanted)));
    }

    /// Something happened that the sender should know at once (at most every millisecond).
    pub(super) fn hurry(&mut self, now: Timestamp) {
        let soonest = self.last.map_or(now, |last| (last + SPACING_MIN).max(now));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// Nothing arrived yet, so there is nothing to say.
    pub(super) const fn cancel(&mut self) {
        self.due = None;
    }

    /// Something happened that the sender should know soon: the usual spacing is kept, the
    /// back-off of quiet times is not.
    pub(super) fn soon(&mut self, rtt: Duration, now: Timestamp) {
        let wanted = self.last.map_or(now, |last| (last + self.spacing(rtt)).max(now));
        self.due = Some(self.due.map_or(wanted, |due| due.min(wanted)));
    }

    /// When the next report is due.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// The newest report was the first in which nothing was new.
    pub(super) const fn repeats_first(&self) -> bool {
        self.repeats == 1
    }

    /// A report left; `fresh` when packets had arrived since the one before, `active` while
    /// objects are incomplete.
    pub(super) fn on_sent(&mut self, fresh: bool, active: bool, rtt: Duration, now: Timestamp) {
        self.sent = self.sent.saturating_add(1);
        self.repeats = if fresh { 0 } else { self.repeats.saturating_add(1) };
        self.last = Some(now);
        let spacing = self.spacing(rtt);
        self.idle_gap =
            if fresh { spacing } else { (self.idle_gap.max(spacing) * 2).min(IDLE_MAX) };
        // Repeat even when nothing is missing any more: the last word may have been lost.
        let repeats = active || self.idle_gap < IDLE_MAX;
        self.due = repeats.then(|| now + self.idle_gap.max(spacing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    #[test]
    fn reports_are_repeated_with_back_off_when_nothing_arrives() {
        let mut clock = ReportClock::new();
        let mut now = Timestamp::ZERO;
        clock.on_packet(1, RTT, now);
        now = clock.due().unwrap();
        clock.on_sent(true, true, RTT, now);
        let mut gaps = Vec::new();
        for _ in 0..12 {
            let due = clock.due().unwrap();
            gaps.push(due.since(now));
            now = due;
            clock.on_sent(false, true, RTT, now);
        }
        assert!(gaps.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(*gaps.last().unwrap(), IDLE_MAX);
    }

    #[test]
    fn a_report_leaves_before_it_overflows() {
        let mut clock = ReportClock::new();
        clock.on_sent(true, true, RTT, Timestamp::ZERO);
        let now = Timestamp::from_nanos(1_500_000);
        clock.on_packet(SPAN_MAX - 1, RTT, now);
        assert!(clock.due() > Some(now));
        clock.on_packet(SPAN_MAX, RTT, now);
        assert_eq!(clock.due(), Some(now));
    }

    /// A peer's report had been written down before any packet that wants an answer came; then
    /// something was worth a report, and the back-off doubled nothing, every 5 ms for ever.
    #[test]
    fn a_first_report_without_news_backs_off_too() {
        let mut clock = ReportClock::new();
        clock.hurry(Timestamp::ZERO);
        let mut sent = 0;
        while let Some(due) = clock.due() {
            clock.on_sent(false, false, RTT, due);
            sent += 1;
            assert!(sent < 20, "still reporting");
        }
    }

    #[test]
    fn an_inactive_session_falls_silent() {
        let mut clock = ReportClock::new();
        clock.on_packet(1, RTT, Timestamp::ZERO);
        let mut now = Timestamp::ZERO;
        let mut fresh = true;
        for _ in 0..20 {
            let Some(due) = clock.due() else { return };
            now = due.max(now);
            clock.on_sent(fresh, false, RTT, now);
            fresh = false;
        }
        panic!("still reporting");
    }
}
