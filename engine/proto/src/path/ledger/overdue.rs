//! What counts as lost.
//!
//! Loss is declared by time, never by packet count (RACK, RFC 8985): reorder depths of 28 to 110
//! packets at 500 Mbit/s turn any count into false loss.

use super::{Fate, Ledger, Settled, outcome};
use crate::ids::PacketNumber;
use crate::path::rtt::RttEstimator;
use crate::units::Timestamp;
use crate::wire::feedback::Feedback;
use core::time::Duration;

/// Longest time for which packets wait in a socket for a receiver that does not run.
const STALL_MAX: Duration = Duration::from_millis(100);

impl Ledger {
    /// All packets written down so far have left by `now`. Between its plan and that moment a packet
    /// may wait for as long as its host likes: for room in a socket, or for a processor. Delays are
    /// measured from the plan, for it may have left at once; it is overdue only when it would be had
    /// it left at the last moment. Before that it is not lost, whatever a report says.
    pub fn on_handed(&mut self, now: Timestamp) {
        let first = self.handed_below.max(self.base);
        self.handed_below = self.next_number().get();
        let first = usize::try_from(first - self.base).unwrap_or(usize::MAX);
        for record in self.records.range_mut(first.min(self.records.len())..) {
            record.held = now.since(record.sent_at).into();
        }
    }

    /// Declares lost whatever is out: it went where the peer is no more. What arrives after all is
    /// spurious.
    pub fn write_off(&mut self, settled: &mut Settled) {
        settled.clear();
        self.lose_until(None, settled);
    }

    /// Declares lost what left too long before something that arrived (reordering allowed for),
    /// and what must have been seen by this feedback had it arrived at all. spec: W-051
    pub(super) fn declare_lost(
        &mut self,
        feedback: &Feedback,
        rtt: &RttEstimator,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        let window = rtt.reorder_window();
        let by_order = self.newest_acked_sent.map_or(Timestamp::ZERO, |sent| sent - window);
        let by_age = self.unseen_age(feedback).map(|age| now - (rtt.pessimistic() + window + age));
        let by_age = by_age.filter(|_| !self.ordered).unwrap_or(Timestamp::ZERO);
        self.newest_named = self.newest_named.max(Some(feedback.largest));
        self.lose_until(Some(by_order.max(by_age)), settled);
    }

    /// How much older than a round trip a packet has to be that this feedback would have named.
    ///
    /// Packets are taken in as they arrive. A receiver that did not run for a while, and whose
    /// report names its newest packet so long after that arrived, has those behind it still in its
    /// socket. Once a report names none that is newer, nothing was there. An overtaken one tells
    /// nothing about what left last.
    fn unseen_age(&self, feedback: &Feedback) -> Option<Duration> {
        match self.newest_named {
            Some(named) if feedback.largest < named => None,
            Some(named) if feedback.largest == named => Some(Duration::ZERO),
            Some(_) | None => Some(STALL_MAX.min(feedback.largest_age.into())),
        }
    }

    /// Declares lost what is out and had left before `deadline`, or all of it.
    fn lose_until(&mut self, deadline: Option<Timestamp>, settled: &mut Settled) {
        let mut number = self.settled_below.max(self.base);
        let handed_below = self.handed_below;
        while let Some(index) = self.index_of(number) {
            let record = &mut self.records[index];
            if record.fate == Fate::Flying {
                if deadline
                    .is_some_and(|deadline| number >= handed_below || record.left_by() >= deadline)
                {
                    break;
                }
                record.fate = Fate::Lost;
                if record.carried.is_watched() {
                    let outcome = outcome(PacketNumber::new(number), record);
                    self.in_flight -= outcome.bytes;
                    settled.lost.push(outcome);
                    settled.lost_carried.push(record.carried);
                }
            }
            number += 1;
        }
        self.settled_below = number;
    }
}
