//! What is out there: one record per packet sent, until its fate is known.
//!
//! Loss is declared by time, never by packet count (RACK, RFC 8985): reorder depths of 28 to 110
//! packets at 500 Mbit/s turn any count into false loss. The ledger decides nothing about rates
//! or repairs; it turns feedback into outcomes.

use crate::congestion::{Outcome, RttSample};
use crate::ids::{BlockIndex, PacketNumber, RateEpoch, SymbolId};
use crate::path::proof::{self, Proof, SentProofs};
use crate::path::rtt::RttEstimator;
use crate::units::{Bytes, Timestamp};
use crate::wire::feedback::Feedback;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Lost packets remembered beyond the usual time, for their late arrival.
const LATE_MAX: usize = 65_536;
/// How long they are remembered: no round trip takes longer.
const LATE_SPAN: Duration = Duration::from_secs(10);
/// Longest time for which packets wait in a socket for a receiver that does not run.
const STALL_MAX: Duration = Duration::from_millis(100);
/// Reports remembered beyond [`LATE_SPAN`]: nobody answers them, so nothing else ends them.
const UNWATCHED_MAX: usize = 4096;

/// What a packet carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// One symbol of a block.
    Symbol {
        /// The block.
        block: BlockIndex,
        /// The symbol.
        symbol: SymbolId,
        /// Its size: a block may begin anew with another one.
        size: u16,
    },
    /// Nothing of use.
    Padding,
    /// Feedback: never repaired, never counted as loss or as load.
    Report,
    /// Nothing but the wish for an answer; it counts as little as a report.
    Question,
    /// A question to an address, or the answer to one; not even its loss matters.
    PathProbe,
    /// Nothing at all: the number was skipped on purpose, and nobody can have seen it.
    Skipped,
}

impl Carried {
    /// True for packets whose loss means something.
    pub const fn is_watched(self) -> bool {
        matches!(self, Self::Symbol { .. } | Self::Padding)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Flying,
    Acked,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    sent_at: Timestamp,
    bytes: u16,
    epoch: RateEpoch,
    fate: Fate,
    carried: Carried,
}

/// Feedback that no honest receiver can send (`spec: W-049`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The peer acknowledged a packet that was never sent.
    #[error("peer acknowledged packet {0}, which was never sent")]
    NeverSent(PacketNumber),
    /// The peer acknowledged a number that was skipped to catch liars.
    #[error("peer acknowledged packet {0}, which was skipped on purpose")]
    Skipped(PacketNumber),
    /// The peer named packets as arrived and could not prove that it has all of them.
    #[error("peer acknowledged packets up to {0} that it did not receive")]
    Unproven(PacketNumber),
}

/// What one feedback packet settled. Reused from call to call: cleared, not reallocated.
#[derive(Debug, Default)]
pub struct Settled {
    /// Newly acknowledged, in send order within each range.
    pub acked: Vec<Outcome>,
    /// What the acknowledged packets carried, in step with `acked`.
    pub acked_carried: Vec<Carried>,
    /// Newly declared lost, in send order.
    pub lost: Vec<Outcome>,
    /// What the lost packets carried, in step with `lost`.
    pub lost_carried: Vec<Carried>,
    /// Declared lost earlier, arrived after all.
    pub spurious: Vec<Outcome>,
    /// What those carried, in step with `spurious`.
    pub spurious_carried: Vec<Carried>,
    /// Delay measurements.
    pub rtts: Vec<RttSample>,
}

impl Settled {
    fn clear(&mut self) {
        self.acked.clear();
        self.acked_carried.clear();
        self.lost.clear();
        self.lost_carried.clear();
        self.spurious.clear();
        self.spurious_carried.clear();
        self.rtts.clear();
    }
}

/// Records of one lane, by packet number.
#[derive(Debug)]
pub struct Ledger {
    /// Number of the first record.
    base: u64,
    records: VecDeque<Record>,
    proofs: SentProofs,
    /// Everything below is settled: acknowledged or declared lost.
    settled_below: u64,
    /// Lost packets that left the records: when the round trip grows suddenly (a deep queue
    /// behind a short path), their late arrival is the only way to learn of it.
    late: BTreeMap<u64, Record>,
    /// Late packets that the newest feedback acknowledged, with the time at which they left.
    late_acked: Vec<(u64, Timestamp)>,
    in_flight: Bytes,
    newest_acked_sent: Option<Timestamp>,
    /// The largest number that a report named.
    newest_named: Option<PacketNumber>,
    /// The path keeps order: only a packet that arrived tells of the loss of one before it.
    ordered: bool,
}

impl Ledger {
    /// An empty ledger whose first packet is number 0; `secret` is random, and the peer's least of all.
    pub fn new(secret: u64) -> Self {
        Self {
            base: 0,
            records: VecDeque::new(),
            proofs: SentProofs::new(secret),
            settled_below: 0,
            late: BTreeMap::new(),
            late_acked: Vec::new(),
            in_flight: Bytes::ZERO,
            newest_acked_sent: None,
            newest_named: None,
            ordered: false,
        }
    }

    /// The ledger of a path that keeps order and loses nothing by itself: it may stall for any
    /// time, so age tells nothing.
    pub fn ordered(secret: u64) -> Self {
        Self { ordered: true, ..Self::new(secret) }
    }

    /// Bytes sent and neither acknowledged nor declared lost.
    pub const fn in_flight(&self) -> Bytes {
        self.in_flight
    }

    /// The number that the next packet gets.
    pub fn next_number(&self) -> PacketNumber {
        PacketNumber::new(self.base + self.records.len() as u64)
    }

    /// Records held, for bounds checks.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when no packet is remembered.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// When packet `number` left, while it is remembered.
    pub fn sent_at(&self, number: PacketNumber) -> Option<Timestamp> {
        if let Some(index) = self.index_of(number.get()) {
            return Some(self.records[index].sent_at);
        }
        let late = self.late_acked.iter().find(|&&(late, _)| late == number.get());
        late.map(|&(_, sent_at)| sent_at)
    }

    /// Mean size of the packets behind `first` up to `last`, as far as they are remembered.
    pub fn mean_bytes(&self, first: PacketNumber, last: PacketNumber) -> Option<Bytes> {
        let from = self.index_of(first.get().max(self.base))?.checked_add(1)?;
        let to = self.index_of(last.get())?;
        let sizes = self.records.range(from..=to.max(from - 1)).map(|record| record.bytes);
        let sizes = sizes.filter(|&bytes| bytes > 0);
        let (sum, count) = sizes.fold((0, 0), |(sum, n), bytes| (sum + u64::from(bytes), n + 1));
        u64::checked_div(sum, count).map(Bytes::new)
    }

    /// Writes down a packet that leaves now; it must carry [`Ledger::next_number`].
    pub fn on_sent(&mut self, bytes: Bytes, epoch: RateEpoch, carried: Carried, now: Timestamp) {
        let watched = carried.is_watched();
        if watched {
            self.in_flight += bytes;
        }
        let bytes = if watched { u16::try_from(bytes.get()).unwrap_or(u16::MAX) } else { 0 };
        let record = Record { sent_at: now, bytes, epoch, fate: Fate::Flying, carried };
        self.records.push_back(record);
        if !watched {
            self.shed_unwatched(now);
        }
    }

    /// A packet was sealed, in the order of the numbers; `proof` is what its receiver will know.
    pub fn on_sealed(&mut self, number: PacketNumber, proof: Proof) {
        self.proofs.record(number, proof);
    }

    /// A side that only receives hears nothing about its own packets: its records end by count,
    /// once they are so old that no feedback can be about them.
    fn shed_unwatched(&mut self, now: Timestamp) {
        let horizon = now - LATE_SPAN;
        while self.records.len() > UNWATCHED_MAX
            && self.records.front().is_some_and(|record| {
                let undecided = record.carried.is_watched() && record.fate == Fate::Flying;
                !undecided && record.sent_at < horizon
            })
        {
            self.records.pop_front();
            self.base += 1;
        }
        self.settled_below = self.settled_below.max(self.base);
        self.proofs.shed();
    }

    /// When the newest packet left that is known to have arrived.
    pub const fn newest_acked_sent(&self) -> Option<Timestamp> {
        self.newest_acked_sent
    }

    /// Declares lost whatever is out: it went where the peer is no more. What arrives after all is
    /// spurious.
    pub fn write_off(&mut self, settled: &mut Settled) {
        settled.clear();
        self.lose_until(None, settled);
    }

    /// Applies one feedback packet: fills `settled` with what is newly known.
    pub fn on_feedback(
        &mut self,
        feedback: &Feedback,
        rtt: &mut RttEstimator,
        now: Timestamp,
        settled: &mut Settled,
    ) -> Result<(), LedgerError> {
        settled.clear();
        if feedback.ranges.is_empty() {
            // Nothing has arrived there yet, so it says nothing about a packet. spec: W-040
            return Ok(());
        }
        if feedback.largest >= self.next_number() {
            return Err(LedgerError::NeverSent(feedback.largest));
        }
        let floor = proof::floor(feedback.covered_from, feedback.largest);
        let Some(proof) = self.proofs.sum(&feedback.ranges, floor) else {
            // Overtaken by a report of so many more packets that it cannot be checked any more.
            return Ok(());
        };
        self.late_acked.clear();
        for range in feedback.ranges.iter().rev() {
            let (first, last) = (range.first.get(), range.last.get());
            self.acknowledge_late(first.max(floor.get()), last, settled);
            self.acknowledge(first, last, floor, settled)?;
        }
        if proof != feedback.receipt {
            return Err(LedgerError::Unproven(feedback.largest));
        }
        self.proofs.forget_below(floor);
        self.sample_delays(feedback, rtt, now, settled);
        if !settled.spurious.is_empty() {
            rtt.on_spurious(now);
        }
        rtt.decay_reorder(now);
        self.declare_lost(feedback, rtt, now, settled);
        self.forget(rtt, now);
        Ok(())
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok().filter(|&i| i < self.records.len())
    }

    fn acknowledge(
        &mut self,
        first: u64,
        last: u64,
        floor: PacketNumber,
        settled: &mut Settled,
    ) -> Result<(), LedgerError> {
        for number in first.max(self.base)..=last {
            let Some(index) = self.index_of(number) else { break };
            let record = &mut self.records[index];
            let number = PacketNumber::new(number);
            if record.carried == Carried::Skipped {
                return Err(LedgerError::Skipped(number));
            }
            // What counts as lost is taken back on proof only.
            if record.fate == Fate::Acked || record.fate == Fate::Lost && number < floor {
                continue;
            }
            let outcome = outcome(number, record);
            if !record.carried.is_watched() {
                // A report arrived: it proves the path, and that is all.
            } else if record.fate == Fate::Lost {
                settled.spurious.push(outcome);
                settled.spurious_carried.push(record.carried);
            } else {
                self.in_flight -= outcome.bytes;
                settled.acked.push(outcome);
                settled.acked_carried.push(record.carried);
            }
            record.fate = Fate::Acked;
            self.newest_acked_sent = self.newest_acked_sent.max(Some(record.sent_at));
        }
        Ok(())
    }

    fn acknowledge_late(&mut self, first: u64, last: u64, settled: &mut Settled) {
        if first > last {
            return;
        }
        while let Some((&number, record)) = self.late.range(first..=last).next() {
            settled.spurious.push(outcome(PacketNumber::new(number), record));
            settled.spurious_carried.push(record.carried);
            self.late_acked.push((number, record.sent_at));
            self.late.remove(&number);
        }
    }

    fn sample_delays(
        &self,
        feedback: &Feedback,
        rtt: &mut RttEstimator,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        let newest = core::iter::once((feedback.largest, feedback.largest_age));
        let marks = feedback.delays.iter().map(|mark| (mark.number, mark.age));
        for (number, age) in marks.chain(newest) {
            let acked = self.index_of(number.get()).map(|index| self.records[index].fate);
            let Some(sent_at) = self.sent_at(number) else { continue };
            let elapsed = now.since(sent_at);
            let age = Duration::from(age);
            // A receiver that claims to have held a packet longer than it was gone is wrong.
            if acked.unwrap_or(Fate::Acked) == Fate::Acked && age <= elapsed {
                let rtt = elapsed - age;
                settled.rtts.push(RttSample { sent_at, rtt, back: Duration::ZERO });
            }
        }
        settled.rtts.sort_unstable_by_key(|sample| sample.sent_at);
        settled.rtts.dedup_by_key(|sample| sample.sent_at);
        for sample in &settled.rtts {
            rtt.on_sample(sample.rtt);
        }
    }

    /// Declares lost what left too long before something that arrived (reordering allowed for),
    /// and what must have been seen by this feedback had it arrived at all. spec: W-051
    fn declare_lost(
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

    /// Declares lost what is out and left before `deadline`, or all of it.
    fn lose_until(&mut self, deadline: Option<Timestamp>, settled: &mut Settled) {
        let mut number = self.settled_below.max(self.base);
        while let Some(index) = self.index_of(number) {
            let record = &mut self.records[index];
            if record.fate == Fate::Flying {
                if deadline.is_some_and(|deadline| record.sent_at >= deadline) {
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

    /// Drops settled records after two round trips; lost ones are kept aside for longer.
    fn forget(&mut self, rtt: &RttEstimator, now: Timestamp) {
        let horizon = now - (rtt.pessimistic() * 2 + rtt.reorder_window());
        while self.base < self.settled_below
            && let Some(record) = self.records.pop_front_if(|record| record.sent_at < horizon)
        {
            if record.fate == Fate::Lost && record.carried.is_watched() {
                self.late.insert(self.base, record);
            }
            self.base += 1;
        }
        let horizon = now - LATE_SPAN;
        while let Some(oldest) = self.late.first_entry()
            && (oldest.get().sent_at < horizon || self.late.len() > LATE_MAX)
        {
            self.late.pop_first();
        }
    }
}

fn outcome(number: PacketNumber, record: &Record) -> Outcome {
    Outcome {
        number,
        sent_at: record.sent_at,
        bytes: Bytes::new(u64::from(record.bytes)),
        epoch: record.epoch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Micros;
    use crate::wire::feedback::PacketRange;

    const PACKET: Bytes = Bytes::new(1473);
    const RTT: Duration = Duration::from_millis(2);

    fn symbol(n: u32) -> Carried {
        Carried::Symbol { block: BlockIndex::new(0), symbol: SymbolId::new(n), size: 1408 }
    }

    fn report(first: u64, last: u64) -> Feedback {
        let (first, last) = (PacketNumber::new(first), PacketNumber::new(last));
        let ranges = vec![PacketRange { first, last }];
        Feedback { largest: last, covered_from: first, ranges, ..Feedback::default() }
    }

    #[test]
    fn a_report_that_nothing_arrived_is_no_fault() {
        let mut ledger = Ledger::new(7);
        let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
        let empty = Feedback::default();
        let now = Timestamp::from_millis(1);
        assert_eq!(ledger.on_feedback(&empty, &mut rtt, now, &mut settled), Ok(()));
        let lie = ledger.on_feedback(&report(0, 0), &mut rtt, now, &mut settled);
        assert_eq!(lie, Err(LedgerError::NeverSent(PacketNumber::new(0))));
    }

    #[test]
    fn a_packet_that_arrives_long_after_it_was_written_off_still_measures_the_round_trip() {
        let mut ledger = Ledger::new(7);
        let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
        for n in 0..40 {
            let at = Timestamp::from_millis(u64::from(n) * 10);
            ledger.on_sent(PACKET, RateEpoch::default(), symbol(n), at);
        }
        // Packet 39 proves that the others are lost; all but a few records are dropped.
        let now = Timestamp::from_millis(392);
        ledger.on_feedback(&report(39, 39), &mut rtt, now, &mut settled).unwrap();
        assert_eq!(settled.lost.len(), 39);
        let now = Timestamp::from_millis(500);
        ledger.on_feedback(&report(0, 20), &mut rtt, now, &mut settled).unwrap();
        assert_eq!(settled.spurious.len(), 21);
        assert_eq!(rtt.latest(), Duration::from_millis(300));
        ledger.on_feedback(&report(0, 20), &mut rtt, now, &mut settled).unwrap();
        assert!(settled.spurious.is_empty(), "counted twice");
    }

    #[test]
    fn a_side_that_only_reports_does_not_remember_every_report() {
        let mut ledger = Ledger::new(7);
        for n in 0..100_000 {
            let at = Timestamp::from_millis(n * 25);
            ledger.on_sent(PACKET, RateEpoch::default(), Carried::Report, at);
        }
        assert!(ledger.len() <= UNWATCHED_MAX);
        assert_eq!(ledger.next_number(), PacketNumber::new(100_000));
    }

    /// Any report that left pushed settled packets out of a ledger of more than 4096 records, so
    /// their late arrival was no news and their trains could not be placed in time.
    #[test]
    fn a_sender_that_also_reports_remembers_its_settled_packets() {
        let (mut ledger, long) = (Ledger::new(7), Duration::from_millis(500));
        let (mut rtt, mut settled) = (RttEstimator::new(long), Settled::default());
        for n in 0..10_000 {
            let at = Timestamp::from_millis(u64::from(n) / 20);
            ledger.on_sent(PACKET, RateEpoch::default(), symbol(n), at);
        }
        let now = Timestamp::from_millis(1_000);
        ledger.on_feedback(&report(9_000, 9_999), &mut rtt, now, &mut settled).unwrap();
        assert!(settled.lost.len() > 5_000, "{}", settled.lost.len());
        let lost = settled.lost.len();
        ledger.on_sent(PACKET, RateEpoch::default(), Carried::Report, now);
        assert_eq!(ledger.sent_at(PacketNumber::new(3)), Some(Timestamp::ZERO));
        ledger.on_feedback(&report(0, 9_999), &mut rtt, now, &mut settled).unwrap();
        assert_eq!(settled.spurious.len(), lost);
    }

    #[test]
    fn the_size_of_packets_in_a_train_is_that_of_those_behind_the_first() {
        let mut ledger = Ledger::new(7);
        for bytes in [1473, 1217, 1217, 1217] {
            let (bytes, epoch) = (Bytes::new(bytes), RateEpoch::default());
            ledger.on_sent(bytes, epoch, Carried::Padding, Timestamp::ZERO);
        }
        let mean =
            |first, last| ledger.mean_bytes(PacketNumber::new(first), PacketNumber::new(last));
        assert_eq!(mean(0, 3), Some(Bytes::new(1217)));
        assert_eq!(mean(3, 3), None);
        assert_eq!(mean(2, 9), None);
    }

    #[test]
    fn a_path_that_keeps_order_loses_nothing_by_standing_still() {
        let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
        for (mut ledger, lost) in [(Ledger::new(7), 2), (Ledger::ordered(7), 0)] {
            for n in 0..3 {
                ledger.on_sent(PACKET, RateEpoch::default(), symbol(n), Timestamp::ZERO);
            }
            let now = Timestamp::from_millis(9_000);
            // The first one arrived at once, and nothing since.
            let first = Feedback { largest_age: Micros::new(8_998_000), ..report(0, 0) };
            ledger.on_feedback(&first, &mut rtt, now, &mut settled).unwrap();
            assert_eq!(settled.lost.len(), lost);
            // One that left later and arrived tells of those before it.
            ledger.on_sent(PACKET, RateEpoch::default(), symbol(3), now);
            let mut both = report(3, 3);
            both.ranges.push(report(0, 0).ranges[0]);
            both.covered_from = PacketNumber::new(0);
            let later = now + RTT;
            ledger.on_feedback(&both, &mut rtt, later, &mut settled).unwrap();
            assert_eq!(settled.lost.len(), 2 - lost);
            assert_eq!(ledger.in_flight(), Bytes::ZERO);
        }
    }

    #[test]
    fn a_packet_that_waits_in_the_socket_of_its_receiver_is_not_lost() {
        let mut ledger = Ledger::new(7);
        let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
        for n in 0..20 {
            let at = Timestamp::from_millis(u64::from(n) / 10);
            ledger.on_sent(PACKET, RateEpoch::default(), symbol(n), at);
        }
        // The receiver took in the first ten when they had been there for 18 ms, and no more.
        let now = Timestamp::from_millis(20);
        let late = Feedback { largest_age: Micros::new(18_000), ..report(0, 9) };
        ledger.on_feedback(&late, &mut rtt, now, &mut settled).unwrap();
        assert_eq!((settled.acked.len(), settled.lost.len()), (10, 0));
        // It looked again, and nothing was there.
        let now = Timestamp::from_millis(25);
        let again = Feedback { largest_age: Micros::new(23_000), ..report(0, 9) };
        ledger.on_feedback(&again, &mut rtt, now, &mut settled).unwrap();
        assert_eq!(settled.lost.len(), 10);
    }

    #[test]
    fn packets_of_unknown_fate_are_never_shed() {
        let mut ledger = Ledger::new(7);
        ledger.on_sent(PACKET, RateEpoch::default(), symbol(0), Timestamp::ZERO);
        for n in 0..10_000 {
            let at = Timestamp::from_millis(n);
            ledger.on_sent(PACKET, RateEpoch::default(), Carried::Report, at);
        }
        assert_eq!(ledger.in_flight(), PACKET);
        assert_eq!(ledger.sent_at(PacketNumber::new(0)), Some(Timestamp::ZERO));
    }
}
