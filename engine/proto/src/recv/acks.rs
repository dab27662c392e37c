//! What arrived, packet by packet: the raw material of feedback.
//!
//! It knows numbers and times, not blocks. A packet whose content could not be taken is not
//! recorded: to the sender it never arrived.

use crate::ids::PacketNumber;
use crate::limits::{PROOF_STEP, TRAIN_PACKETS_MAX};
use crate::path::proof::{self, Proof, ReceivedProofs};
use crate::ranges::RangeSet;
use crate::units::{Bytes, Micros, Timestamp};
use crate::wire::feedback::{DelayMark, Feedback, PacketRange, TrainReport};
use core::time::Duration;
use std::collections::VecDeque;

/// Ranges remembered; about a second of 20 % loss at 100 Mbit/s, or 2 s of 2 % at 500 Mbit/s.
const RANGES_MAX: usize = 2048;
/// Delay marks in one report.
const MARKS_MAX: usize = 15;
/// Trains in one report.
const TRAINS_MAX: usize = 8;
/// Reports that repeat a train.
const TRAIN_REPEATS: u32 = 3;
/// A sender that is silent for so long although it was told of everything has heard that: who has not
/// asks after a second, and every two at most (W-058).
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// A train is silent for at least this long when it has ended.
const TRAIN_END: Duration = Duration::from_millis(5);

/// A packet as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its number.
    pub number: PacketNumber,
    /// What only its receiver knows.
    pub proof: Proof,
    /// The sender marked it as part of a train.
    pub train: bool,
    /// When it arrived.
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Train {
    first: PacketNumber,
    last: PacketNumber,
    last_at: Timestamp,
    /// Signed: under clock noise a gap may come out negative, and clipping it would bias the sum.
    gap_sum_ns: i64,
    gaps: u32,
    reported: u32,
}

impl Train {
    /// Whether its next packet is overdue at `at`: by four of its gaps, on a link so slow that
    /// this is longer than the usual time. How slow a link is, a train without gaps does not know.
    fn is_silent(&self, at: Timestamp) -> bool {
        let sum = u64::try_from(self.gap_sum_ns).unwrap_or(0);
        let mean = sum.checked_div(u64::from(self.gaps)).map(Duration::from_nanos);
        mean.is_some_and(|mean| at.since(self.last_at) >= TRAIN_END.max(mean * 4))
    }
}

/// Receive-side record of one lane.
#[derive(Debug, Default)]
pub struct AckRecorder {
    received: RangeSet,
    proofs: ReceivedProofs,
    covered_from: u64,
    largest: Option<(PacketNumber, Timestamp)>,
    packets: u64,
    bytes: Bytes,
    duplicates: u64,
    /// The largest number that the last report named.
    reported_to: u64,
    /// The largest number that was named while nothing was missing.
    settled_to: Option<u64>,
    /// When the newest packet came that wants an answer.
    newest_at: Option<Timestamp>,
    marks: Vec<(PacketNumber, Timestamp)>,
    mark_stride: u32,
    since_mark: u32,
    train: Option<Train>,
    trains: VecDeque<Train>,
    unreported: u32,
}

impl AckRecorder {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self { mark_stride: 1, ..Self::default() }
    }

    /// Packets received, those that want no answer and duplicates not counted.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets since the last report.
    pub const fn unreported(&self) -> u32 {
        self.unreported
    }

    /// Bytes that arrived, at IP level.
    pub const fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// Numbers since those that the last report could name.
    pub fn unreported_span(&self) -> u64 {
        self.largest.map_or(0, |(largest, _)| largest.get().saturating_sub(self.reported_to))
    }

    /// Writes down an authentic packet that wants no answer (a report of the peer).
    pub fn on_silent_packet(&mut self, arrival: &Arrival) {
        self.insert(arrival);
    }

    /// The last report was made while every object was complete: once its sender has heard it, nothing
    /// that it named is in doubt.
    pub const fn on_settled(&mut self) {
        self.settled_to = Some(self.reported_to);
    }

    /// Reports name no more what was settled before a pause: every one of them would repeat it, however
    /// little comes now. spec: W-043
    fn forget_settled(&mut self, at: Timestamp) {
        let paused = self.newest_at.is_some_and(|newest| at.since(newest) >= SETTLED_AFTER);
        self.newest_at = Some(at);
        let Some(settled) = self.settled_to.take_if(|_| paused) else { return };
        let floor = settled - settled % PROOF_STEP;
        if floor > self.covered_from {
            self.covered_from = floor;
            self.received.remove_range(0, floor - 1);
        }
    }

    /// Writes down an authentic packet.
    pub fn on_packet(&mut self, arrival: &Arrival, bytes: Bytes) {
        self.forget_settled(arrival.at);
        if !self.insert(arrival) {
            self.duplicates += 1;
            return;
        }
        self.packets += 1;
        self.bytes += bytes;
        self.unreported += 1;
        self.mark(arrival.number, arrival.at);
        self.follow_train(arrival.number, arrival.train, arrival.at);
    }

    /// False if the packet was there before, or if reports do not speak about it any more.
    fn insert(&mut self, arrival: &Arrival) -> bool {
        let number = arrival.number.get();
        if number < self.covered_from || !self.received.insert(number) {
            return false;
        }
        self.proofs.record(arrival.number, arrival.proof);
        if let Some(floor) = self.received.keep_newest(RANGES_MAX) {
            self.covered_from = floor.next_multiple_of(PROOF_STEP);
            self.received.remove_range(0, self.covered_from - 1);
        }
        if self.largest.is_none_or(|(largest, _)| arrival.number > largest) {
            self.largest = Some((arrival.number, arrival.at));
        }
        true
    }

    /// Proves everything that a report names which speaks about numbers from `covered_from` on.
    /// spec: W-047
    pub fn receipt(&self, covered_from: PacketNumber) -> Proof {
        let largest = self.largest.map(|(largest, _)| largest);
        let floor = largest.map(|largest| proof::floor(covered_from, largest));
        floor.map_or(Proof::NONE, |floor| self.proofs.sum_from(floor))
    }

    /// Keeps an even sample of arrivals, however many there are between reports.
    fn mark(&mut self, number: PacketNumber, at: Timestamp) {
        self.since_mark += 1;
        if self.since_mark < self.mark_stride {
            return;
        }
        self.since_mark = 0;
        self.marks.push((number, at));
        if self.marks.len() > MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.mark_stride *= 2;
        }
    }

    fn follow_train(&mut self, number: PacketNumber, marked: bool, at: Timestamp) {
        if let Some(train) = &mut self.train {
            // A train without gaps begins anew behind a hole: nothing is lost by that.
            let joins = number == train.last.next() || (train.gaps > 0 && number > train.last);
            let near = joins
                && number.get() - train.first.get() < u64::from(TRAIN_PACKETS_MAX)
                && !train.is_silent(at);
            if marked && near {
                if number == train.last.next() {
                    train.gap_sum_ns += at.signed_nanos_since(train.last_at);
                    train.gaps += 1;
                }
                train.last = number;
                train.last_at = at;
                return;
            }
            self.end_train();
        }
        if marked {
            self.train = Some(Train {
                first: number,
                last: number,
                last_at: at,
                gap_sum_ns: 0,
                gaps: 0,
                reported: 0,
            });
        }
    }

    fn end_train(&mut self) {
        if let Some(train) = self.train.take()
            && train.gaps > 0
        {
            self.trains.push_back(train);
            if self.trains.len() > TRAINS_MAX {
                self.trains.pop_front();
            }
        }
    }

    /// Fills the packet part of a report; `None` while nothing has arrived.
    pub fn report(&mut self, now: Timestamp) -> Option<Feedback> {
        let (largest, largest_at) = self.largest?;
        if self.train.is_some_and(|train| train.is_silent(now)) {
            self.end_train();
        }
        let ranges = self.received.iter().rev().map(|(first, last)| PacketRange {
            first: PacketNumber::new(first),
            last: PacketNumber::new(last),
        });
        let delays = self
            .marks
            .drain(..)
            .map(|(number, at)| DelayMark { number, age: Micros::from(now.since(at)) });
        let feedback = Feedback {
            largest,
            largest_age: Micros::from(now.since(largest_at)),
            received_packets: self.packets,
            received_bytes: self.bytes,
            duplicates: self.duplicates,
            covered_from: PacketNumber::new(self.covered_from),
            ranges: ranges.collect(),
            delays: delays.collect(),
            trains: self.trains.iter().map(train_report).collect(),
            clock: now.wrapped(),
            ..Feedback::default()
        };
        self.mark_stride = 1;
        self.since_mark = 0;
        self.unreported = 0;
        self.reported_to = largest.get();
        for train in &mut self.trains {
            train.reported += 1;
        }
        self.trains.retain(|train| train.reported < TRAIN_REPEATS);
        Some(feedback)
    }
}

fn train_report(train: &Train) -> TrainReport {
    TrainReport {
        first: train.first,
        last: train.last,
        gap_sum: Micros::from(Duration::from_nanos(u64::try_from(train.gap_sum_ns).unwrap_or(0))),
        gaps: train.gaps,
    }
}

#[cfg(test)]
mod tests;
