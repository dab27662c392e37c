//! A receiver that lies about time: its clock and its ages agree with each other, and not with the truth.
//!
//! It knows more than any receiver can: when each packet left, and how long its own report will take.
//! What the sender then makes of the round trip is what the lie says, to the nanosecond; so what such
//! a receiver achieves bounds what any other can. What arrived it tells truly: that is proven (W-047).
//!
//! ```text
//! round trip that the ages leave = base + b        clock = true time - b
//! b: grows by `squeeze` of the time, from zero to what no age below zero can show, and falls again
//! ```

use super::receiver::Report;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// The clock of a liar is so far ahead that no lie takes it below zero.
const AHEAD: Duration = Duration::from_secs(10_000);
/// A sender judges after so many changes of b.
const WINDOW: Duration = Duration::from_millis(500);
/// What is not found out by itself: grows by so much of the time, and falls by so much.
const EVEN: (f64, f64) = (0.4, 0.5);

/// What it says of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lie {
    /// The round trip that its ages leave, without a queue either way.
    pub base: Duration,
    /// Each report leaves so much later than it is made.
    pub late: Duration,
    /// Share of the time that it takes out of the arrivals while b grows; 0 is a steady clock.
    pub squeeze: f64,
    /// How much it falls again in that time; 0 is at once.
    pub fall: f64,
    /// It lies from here on, and until then says the truth.
    pub from: Duration,
    /// It reports so often, if not as often as others.
    pub every: Option<Duration>,
    /// So many windows of changes are even between two that are squeezed.
    pub even: u32,
}

/// One that lies, in mid-swing.
#[derive(Debug)]
pub(super) struct Liar {
    lie: Lie,
    start: Timestamp,
    told_at: Timestamp,
    back: Duration,
    falls: bool,
    /// Changes of b so far.
    moved: Duration,
}

impl Liar {
    pub(super) fn new(lie: Lie, start: Timestamp) -> Self {
        Self {
            lie,
            start,
            told_at: start,
            back: Duration::ZERO,
            falls: false,
            moved: Duration::ZERO,
        }
    }

    /// How long a report that is made at `now` is held.
    pub(super) fn late(&self, now: Timestamp) -> Duration {
        if now.since(self.start) >= self.lie.from { self.lie.late } else { Duration::ZERO }
    }

    /// How often it reports, if it does not as others do.
    pub(super) fn every(&self) -> Option<Duration> {
        self.lie.every
    }

    /// Makes a lie of a report that is made at `now` and arrives at `arrives`.
    pub(super) fn tell(
        &mut self,
        report: &mut Report,
        sent_at: impl Fn(u64) -> Option<Timestamp>,
        now: Timestamp,
        arrives: Timestamp,
    ) {
        if now.since(self.start) < self.lie.from {
            report.left += AHEAD;
            report.samples.iter_mut().for_each(|sample| sample.at += AHEAD);
            return;
        }
        let elapsed = |number| sent_at(number).map(|sent| arrives.since(sent));
        let shortest = report.samples.iter().filter_map(|sample| elapsed(sample.number)).min();
        let Some(shortest) = shortest else { return };
        let back = self.swing(shortest.saturating_sub(self.lie.base), now);
        report.left = now + AHEAD - back;
        for sample in &mut report.samples {
            let shown = self.lie.base + back;
            let age = elapsed(sample.number).map_or(Duration::ZERO, |e| e.saturating_sub(shown));
            sample.at = report.left - age;
        }
    }

    /// b, which is at most `most`.
    fn swing(&mut self, most: Duration, now: Timestamp) -> Duration {
        let step = now.since(self.told_at).min(most);
        self.told_at = now;
        let before = self.back;
        let (squeeze, fall) = self.pair();
        if self.falls && fall > 0.0 {
            self.back = self.back.saturating_sub(step.mul_f64(fall));
            self.falls = self.back > Duration::ZERO;
        } else {
            self.back += step.mul_f64(squeeze);
            self.falls = self.back > most;
            if self.falls {
                self.back = if fall > 0.0 { most } else { Duration::ZERO };
            }
        }
        self.back = self.back.min(most);
        self.moved += self.back.abs_diff(before);
        self.back
    }

    /// Squeeze and fall of this window.
    fn pair(&self) -> (f64, f64) {
        let window = self.moved.as_nanos() / WINDOW.as_nanos();
        let squeezes = window.is_multiple_of(u128::from(self.lie.even) + 1);
        if squeezes { (self.lie.squeeze, self.lie.fall) } else { EVEN }
    }
}
