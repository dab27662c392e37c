//! When what did not work is tried again: by what stood in the way, and later each time.

use crate::moment::{now_millis, text_of_millis};
use std::time::{Duration, Instant};

/// A wait that is shorter is not worth saying.
const SAID_FROM: Duration = Duration::from_secs(30);

/// What stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This host: its disk, its rights, what stands in its exports.
    Host,
    /// There is no room; somebody has to make some.
    Room,
    /// A hook said no, or could not be run. Each further try is something that happens on this host.
    Hook,
}

impl Cause {
    /// How long it is left alone the first time, and at most.
    const fn spans(self) -> (Duration, Duration) {
        match self {
            Self::Host => (Duration::from_secs(10), Duration::from_mins(1)),
            Self::Room => (Duration::from_secs(10), Duration::from_mins(2)),
            Self::Hook => (Duration::from_secs(30), Duration::from_hours(1)),
        }
    }

    /// How long it is left alone after so many tries.
    fn span(self, tries: u32) -> Duration {
        let (first, most) = self.spans();
        first.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(most)
    }
}

/// Something was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undone {
    pub(crate) cause: Cause,
    /// For people.
    pub(crate) why: String,
}

impl Undone {
    /// On account of this host.
    pub(super) fn host(why: impl Into<String>) -> Self {
        Self { cause: Cause::Host, why: why.into() }
    }
}

/// What did not work last, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Retries(Option<Last>);

#[derive(Debug)]
struct Last {
    cause: Cause,
    /// The number of the order that was followed.
    turn: u64,
    tries: u32,
    why: String,
    until: Instant,
}

impl Retries {
    /// Notes that something did not work, while the order of that number was followed; what is to be said
    /// of it. spec: S-243
    pub(super) fn note(&mut self, undone: Undone, turn: u64, now: Instant) -> String {
        let Undone { cause, mut why } = undone;
        let same = self.0.as_ref().filter(|last| last.cause == cause && last.turn == turn);
        let tries = same.map_or(1, |last| last.tries.saturating_add(1));
        let span = cause.span(tries);
        if span >= SAID_FROM {
            let at = now_millis().saturating_add(u64::try_from(span.as_millis()).unwrap_or(0));
            why = format!("{why}; it is tried again at {}", text_of_millis(at));
        }
        self.0 = Some(Last { cause, turn, tries, why: why.clone(), until: now + span });
        why
    }

    /// Why nothing is tried now, if that is so. Somebody who ordered something since has it tried at once.
    pub(super) fn waits(&self, turn: u64, now: Instant) -> Option<String> {
        let last = self.0.as_ref().filter(|last| last.turn == turn && now < last.until);
        last.map(|last| last.why.clone())
    }

    /// It worked: what comes next is a first try.
    pub(super) fn worked(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(cause: Cause) -> Undone {
        Undone { cause, why: "why".to_owned() }
    }

    /// How long is waited after each of these tries.
    fn spans(retries: &mut Retries, cause: Cause, count: usize) -> Vec<u64> {
        let mut now = Instant::now();
        let mut spans = Vec::new();
        for _ in 0..count {
            retries.note(undone(cause), 1, now);
            let until = retries.0.as_ref().expect("noted").until;
            assert!(retries.waits(1, until - Duration::from_millis(1)).is_some());
            assert_eq!(retries.waits(1, until), None);
            spans.push((until - now).as_secs());
            now = until;
        }
        spans
    }

    #[test]
    fn each_try_of_the_same_waits_longer_up_to_what_its_cause_bears() {
        assert_eq!(spans(&mut Retries::default(), Cause::Host, 5), [10, 20, 40, 60, 60]);
        assert_eq!(spans(&mut Retries::default(), Cause::Room, 6), [10, 20, 40, 80, 120, 120]);
        let hook = spans(&mut Retries::default(), Cause::Hook, 100);
        assert_eq!(hook[..8], [30, 60, 120, 240, 480, 960, 1920, 3600]);
        assert_eq!(hook[99], 3600);
    }

    #[test]
    fn a_newer_order_another_cause_and_success_begin_anew() {
        let mut retries = Retries::default();
        assert_eq!(spans(&mut retries, Cause::Hook, 3), [30, 60, 120]);
        assert_eq!(spans(&mut retries, Cause::Host, 2), [10, 20]);
        let now = Instant::now();
        let said = retries.note(undone(Cause::Hook), 1, now);
        assert!(said.starts_with("why; it is tried again at "), "{said}");
        assert_eq!(retries.waits(1, now), Some(said));
        assert_eq!(retries.waits(2, now), None);
        retries.note(undone(Cause::Hook), 2, now);
        assert_eq!(retries.waits(2, now + Duration::from_secs(30)), None);
        retries.worked();
        assert_eq!(retries.note(undone(Cause::Host), 2, now), "why");
    }
}
