//! What is out there: one record per packet sent, until its fate is known.
//!
//! The ledger decides nothing about rates or repairs; it turns feedback into outcomes. When a packet
//! counts as lost stands in `overdue`.

mod overdue;
#[cfg(test)]
mod tests;

use crate::congestion::{Outcome, RttSample};
use crate::ids::{BlockIndex, PacketNumber, RateEpoch, SymbolId};
use crate::limits::PROOF_WINDOW;
use crate::path::proof::{self, Proof, SentProofs};
use crate::path::rtt::RttEstimator;
use crate::units::{Bytes, Micros, Timestamp};
use crate::wire::feedback::Feedback;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Lost packets remembered beyond the usual time, for their late arrival.
const LATE_MAX: usize = 65_536;
/// How long they are remembered: no round trip takes longer.
const LATE_SPAN: Duration = Duration::from_secs(10);
/// Settled packets remembered behind the largest number that a report named.
const RECORDS_BEHIND: u64 = 2 * PROOF_WINDOW;
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
    /// When it was planned: it left no sooner.
    sent_at: Timestamp,
    /// How much later it had left.
    held: Micros,
    bytes: u16,
    epoch: RateEpoch,
    fate: Fate,
    carried: Carried,
}

impl Record {
    /// It left no later.
    fn left_by(&self) -> Timestamp {
        self.sent_at + self.held.into()
    }
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
    /// Time since the largest packet that the report names left, while that is remembered: the report
    /// was not under way for longer.
    pub newest_elapsed: Option<Duration>,
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
        self.newest_elapsed = None;
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
    /// The kernel has everything below.
    handed_below: u64,
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
            handed_below: 0,
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

    /// When packet `number` was planned, while it is remembered.
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

    /// Writes down a packet that is about to leave; it must carry [`Ledger::next_number`].
    pub fn on_sent(&mut self, bytes: Bytes, epoch: RateEpoch, carried: Carried, now: Timestamp) {
        let watched = carried.is_watched();
        if watched {
            self.in_flight += bytes;
        }
        let bytes = if watched { u16::try_from(bytes.get()).unwrap_or(u16::MAX) } else { 0 };
        let (held, fate) = (Micros::default(), Fate::Flying);
        let record = Record { sent_at: now, held, bytes, epoch, fate, carried };
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
        let named = marks.chain(newest).filter_map(|(number, age)| {
            let fate = self.index_of(number.get()).map(|index| self.records[index].fate);
            let sent_at = self.sent_at(number)?;
            let arrived = fate.unwrap_or(Fate::Acked) == Fate::Acked;
            arrived.then(|| (sent_at, now.since(sent_at), Duration::from(age)))
        });
        named.clone().for_each(|(_, elapsed, age)| rtt.ages().on_named(elapsed, age, now));
        for (sent_at, elapsed, age) in named {
            // A receiver that claims to have held a packet longer than it was gone is wrong.
            if let Some(rtt) = rtt.ages().round_trip(elapsed, age) {
                settled.rtts.push(RttSample { sent_at, rtt, back: Duration::ZERO });
            }
        }
        settled.newest_elapsed = self.sent_at(feedback.largest).map(|sent_at| now.since(sent_at));
        settled.rtts.sort_unstable_by_key(|sample| sample.sent_at);
        settled.rtts.dedup_by_key(|sample| sample.sent_at);
        for sample in &settled.rtts {
            rtt.on_sample(sample.rtt);
        }
    }

    /// Drops settled records after two round trips; lost ones are kept aside for longer. How long a
    /// round trip is, the receiver says: so none is kept for longer than the longest takes, nor behind
    /// what no report can name any more (W-047).
    fn forget(&mut self, rtt: &RttEstimator, now: Timestamp) {
        let span = rtt.pessimistic() * 2 + rtt.reorder_window();
        let horizon = now - span.min(LATE_SPAN);
        let named = self.newest_named.map_or(0, PacketNumber::get);
        let reach = named.saturating_sub(RECORDS_BEHIND);
        while self.base < self.settled_below
            && let base = self.base
            && let Some(record) =
                self.records.pop_front_if(|record| base < reach || record.sent_at < horizon)
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
