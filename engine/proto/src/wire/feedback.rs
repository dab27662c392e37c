//! Feedback: what a receiver says about one direction of a lane, in one packet payload.
//!
//! A report is absolute: it repeats the receiver's whole state as far as it fits, so that any
//! single one suffices and a lost one costs nothing. Types and rules are here, the two halves of
//! the codec in `encode` and `decode`. Does not collect the facts and does not judge them.

mod decode;
mod encode;
mod ranges;

use crate::ids::{BlockIndex, PacketNumber};
use crate::limits::{BLOCK_SYMBOLS_MAX, PROOF_STEP, TRAIN_PACKETS_MAX};
use crate::path::proof::Proof;
use crate::units::{Bytes, Micros};
use crate::wire::varint::{VARINT_MAX, VarintError};
use thiserror::Error;

pub use encode::ENCODED_LEN_MIN;

/// Delay marks in one report.
pub const DELAYS_MAX: usize = 16;
/// Trains in one report.
pub const TRAINS_MAX: usize = 8;
/// Ranges of complete blocks in one report.
pub const COMPLETE_MAX: usize = 128;
/// Blocks with a deficit in one report.
pub const DEFICITS_MAX: usize = 64;

/// Packets `first ..= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketRange {
    /// The lowest number.
    pub first: PacketNumber,
    /// The highest number.
    pub last: PacketNumber,
}

/// Blocks `first ..= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRange {
    /// The lowest index.
    pub first: BlockIndex,
    /// The highest index.
    pub last: BlockIndex,
}

/// How long before this report one packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DelayMark {
    /// Which packet.
    pub number: PacketNumber,
    /// Time between its arrival and the sending of the report.
    pub age: Micros,
}

/// How a measuring train came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrainReport {
    /// The lowest number of the train that arrived.
    pub first: PacketNumber,
    /// The highest number of the train that arrived.
    pub last: PacketNumber,
    /// Sum of the counted gaps: those between packets with consecutive numbers that arrived one
    /// after the other.
    pub gap_sum: Micros,
    /// How many gaps were counted.
    pub gaps: u32,
}

/// How many more symbols a block needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockDeficit {
    /// Which block.
    pub block: BlockIndex,
    /// Symbols still needed, at least one.
    pub missing: u32,
}

/// One report of a receiver (`spec: W-040`).
///
/// Every counter counts from the start of this direction of the lane. A report before the first
/// packet has no ranges and everything about packets is zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// The highest packet number received.
    pub largest: PacketNumber,
    /// Time between its arrival and the sending of this report.
    pub largest_age: Micros,
    /// Packets received, duplicates not counted.
    pub received_packets: u64,
    /// Their bytes, at IP level.
    pub received_bytes: Bytes,
    /// Packets received again.
    pub duplicates: u64,
    /// Packets that did not open or did not parse.
    pub invalid: u64,
    /// Packets that the receiver's own socket dropped: flow control, not loss.
    pub receiver_drops: u64,
    /// The xor of the proofs of the packets named, from [`crate::path::proof::floor`] on.
    pub receipt: Proof,
    /// The report does not speak about packets below this, a multiple of [`PROOF_STEP`].
    pub covered_from: PacketNumber,
    /// What was received from `covered_from` on: newest first, disjoint, not adjacent; the first
    /// range ends at `largest`.
    pub ranges: Vec<PacketRange>,
    /// Delays of single packets, in any order; at most [`DELAYS_MAX`].
    pub delays: Vec<DelayMark>,
    /// Trains that came in, in any order; at most [`TRAINS_MAX`].
    pub trains: Vec<TrainReport>,
    /// Every block below this is complete.
    pub complete_below: BlockIndex,
    /// Complete blocks above `complete_below`: ascending, disjoint, not adjacent; at most
    /// [`COMPLETE_MAX`].
    pub complete: Vec<BlockRange>,
    /// Blocks that need repair: ascending, none of them complete; at most [`DEFICITS_MAX`].
    pub deficits: Vec<BlockDeficit>,
    /// Blocks that the sender may have open at once: credit.
    pub open_blocks_limit: u32,
    /// Bytes that wait for the receiver's disk.
    pub backlog: Bytes,
    /// What the blocks that have enough symbols will keep the receiver's decoder busy for.
    pub decoding: Micros,
}

/// A field of a report, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named like the fields of `Feedback`")]
pub enum Field {
    Form,
    Receipt,
    Largest,
    LargestAge,
    ReceivedPackets,
    ReceivedBytes,
    Duplicates,
    Invalid,
    ReceiverDrops,
    CoveredFrom,
    Ranges,
    Bitmap,
    Delays,
    Trains,
    CompleteBelow,
    Complete,
    Deficits,
    OpenBlocksLimit,
    Backlog,
    Decoding,
}

/// Why an authenticated report was refused: the peer broke the protocol (`spec: W-041`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FeedbackError {
    /// An integer is cut short or not in its shortest form.
    #[error("{field:?}: {source}")]
    Integer {
        /// Where.
        field: Field,
        /// What is wrong with it.
        source: VarintError,
    },
    /// A value contradicts its range or another field.
    #[error("{field:?} contradicts the rest of the report")]
    Contradiction {
        /// Where.
        field: Field,
    },
    /// A list is longer than the protocol allows.
    #[error("{field:?} has {count} items, more than allowed")]
    TooMany {
        /// Which list.
        field: Field,
        /// Its announced length.
        count: u64,
    },
    /// The report is longer than the protocol allows.
    #[error("report of {len} bytes is too long")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Bytes follow the report.
    #[error("{len} bytes follow the report")]
    Trailing {
        /// How many.
        len: usize,
    },
}

impl Feedback {
    /// Checks every rule that holds between the fields.
    ///
    /// # Errors
    /// The first field that breaks one.
    pub fn validate(&self) -> Result<(), FeedbackError> {
        self.validate_counters()?;
        ranges::validate(self.largest, self.covered_from, &self.ranges)?;
        self.validate_silence()?;
        self.validate_measurements()?;
        self.validate_complete()?;
        self.validate_deficits()
    }

    fn validate_counters(&self) -> Result<(), FeedbackError> {
        let counters = [
            (Field::Largest, self.largest.get()),
            (Field::ReceivedPackets, self.received_packets),
            (Field::ReceivedBytes, self.received_bytes.get()),
            (Field::Duplicates, self.duplicates),
            (Field::Invalid, self.invalid),
            (Field::ReceiverDrops, self.receiver_drops),
            (Field::Backlog, self.backlog.get()),
        ];
        for (field, value) in counters {
            ensure(value <= VARINT_MAX, field)?;
        }
        Ok(())
    }

    /// Before the first packet there is nothing to say about packets.
    fn validate_silence(&self) -> Result<(), FeedbackError> {
        if !self.ranges.is_empty() {
            return ensure(self.covered_from.get().is_multiple_of(PROOF_STEP), Field::CoveredFrom);
        }
        ensure(self.receipt == Proof::NONE, Field::Receipt)?;
        ensure(self.largest == PacketNumber::new(0), Field::Largest)?;
        ensure(self.largest_age == Micros::new(0), Field::LargestAge)?;
        ensure(self.received_packets == 0, Field::ReceivedPackets)?;
        ensure(self.delays.is_empty(), Field::Delays)?;
        ensure(self.trains.is_empty(), Field::Trains)
    }

    fn validate_measurements(&self) -> Result<(), FeedbackError> {
        bounded(self.delays.len(), DELAYS_MAX, Field::Delays)?;
        bounded(self.trains.len(), TRAINS_MAX, Field::Trains)?;
        for mark in &self.delays {
            ensure(mark.number <= self.largest, Field::Delays)?;
        }
        for train in &self.trains {
            ensure(train.first <= train.last && train.last <= self.largest, Field::Trains)?;
            let gaps = train.last.get() - train.first.get();
            ensure(gaps < u64::from(TRAIN_PACKETS_MAX), Field::Trains)?;
            ensure(u64::from(train.gaps) <= gaps, Field::Trains)?;
            ensure(train.gaps > 0 || train.gap_sum == Micros::new(0), Field::Trains)?;
        }
        Ok(())
    }

    fn validate_complete(&self) -> Result<(), FeedbackError> {
        bounded(self.complete.len(), COMPLETE_MAX, Field::Complete)?;
        let mut floor = u64::from(self.complete_below.get()) + 1;
        for range in &self.complete {
            ensure(u64::from(range.first.get()) >= floor, Field::Complete)?;
            ensure(range.first <= range.last, Field::Complete)?;
            floor = u64::from(range.last.get()) + 2;
        }
        Ok(())
    }

    fn validate_deficits(&self) -> Result<(), FeedbackError> {
        bounded(self.deficits.len(), DEFICITS_MAX, Field::Deficits)?;
        let mut floor = u64::from(self.complete_below.get());
        let mut complete = self.complete.iter().peekable();
        for deficit in &self.deficits {
            let missing = 1..=BLOCK_SYMBOLS_MAX;
            ensure(u64::from(deficit.block.get()) >= floor, Field::Deficits)?;
            ensure(missing.contains(&deficit.missing), Field::Deficits)?;
            while complete.next_if(|range| range.last < deficit.block).is_some() {}
            let is_complete = complete.peek().is_some_and(|range| range.first <= deficit.block);
            ensure(!is_complete, Field::Deficits)?;
            floor = u64::from(deficit.block.get()) + 1;
        }
        Ok(())
    }
}

/// `Ok` when the rule holds, otherwise the field that breaks it.
fn ensure(holds: bool, field: Field) -> Result<(), FeedbackError> {
    if holds { Ok(()) } else { Err(FeedbackError::Contradiction { field }) }
}

fn bounded(len: usize, max: usize, field: Field) -> Result<(), FeedbackError> {
    let count = u64::try_from(len).unwrap_or(u64::MAX);
    if len <= max { Ok(()) } else { Err(FeedbackError::TooMany { field, count }) }
}

#[cfg(test)]
mod tests;
