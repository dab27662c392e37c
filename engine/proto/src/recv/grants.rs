//! What reports granted: the last word, and what the peer may still go by.

use crate::units::Timestamp;
use core::time::Duration;

/// Before the first report a sender has one block open.
const FIRST: u32 = 1;
/// A grant is taken back no sooner than this after a report that made it.
const KEPT_MIN: Duration = Duration::from_secs(1);

/// The most open blocks that recent reports granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grants {
    largest: u32,
    since: Timestamp,
    /// The largest of the span before `since`.
    before: u32,
}

impl Grants {
    /// No report left yet.
    pub(super) const fn new() -> Self {
        Self { largest: FIRST, since: Timestamp::ZERO, before: 0 }
    }

    /// How many blocks the peer may have open, for all it can know.
    pub(super) fn allowed(&self) -> u32 {
        self.largest.max(self.before)
    }

    /// A report leaves that grants `blocks`. That holds until the next one leaves, and for three
    /// times `rtt` longer: this report may be lost, and what it overtakes be on its way.
    pub(super) fn on_report(&mut self, blocks: u32, rtt: Duration, now: Timestamp) {
        if now.since(self.since) >= KEPT_MIN.max(rtt * 3) {
            self.before = core::mem::replace(&mut self.largest, blocks);
            self.since = now;
        } else {
            self.largest = self.largest.max(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(500);

    #[test]
    fn a_grant_holds_for_a_while_after_it_was_taken_back() {
        let mut grants = Grants::new();
        assert_eq!(grants.allowed(), FIRST);
        let mut now = Timestamp::from_millis(100);
        grants.on_report(59, RTT, now);
        assert_eq!(grants.allowed(), 59);
        // However long ago, it was the last that the peer heard.
        now = Timestamp::from_millis(60_000);
        let mut held = Duration::ZERO;
        while grants.allowed() == 59 {
            grants.on_report(2, RTT, now + held);
            held += Duration::from_millis(25);
            assert!(held < RTT * 7, "it holds for ever");
        }
        assert!(held >= RTT * 3, "{held:?}");
        assert_eq!(grants.allowed(), 2);
        grants.on_report(8, RTT, now + held);
        assert_eq!(grants.allowed(), 8);
    }
}
