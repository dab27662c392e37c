//! Reading a report of a peer who may be hostile: counts before allocation, checked arithmetic.
//!
//! The layout is `PROTOCOL.md` W-040. What the layout cannot rule out, `validate` checks.

use super::ranges::{self, Form, below, take};
use super::{
    BlockDeficit, BlockRange, COMPLETE_MAX, DEFICITS_MAX, DELAYS_MAX, DelayMark, Feedback,
    FeedbackError, Field, TRAINS_MAX, TrainReport,
};
use crate::ids::{BlockIndex, PacketNumber};
use crate::limits::FEEDBACK_LEN_MAX;
use crate::path::proof::Proof;
use crate::units::{Bytes, Micros};

impl Feedback {
    /// Reads the opened payload of a feedback packet.
    ///
    /// # Errors
    /// The payload is not a report that keeps every rule of the protocol (`spec: W-041`).
    pub fn decode(payload: &[u8]) -> Result<Self, FeedbackError> {
        if payload.len() > FEEDBACK_LEN_MAX {
            return Err(FeedbackError::TooLong { len: payload.len() });
        }
        let (&[form, high, low], mut input) = payload
            .split_first_chunk()
            .ok_or(FeedbackError::Contradiction { field: Field::Form })?;
        let form =
            Form::from_value(form).ok_or(FeedbackError::Contradiction { field: Field::Form })?;
        let input = &mut input;
        let mut report = head(input)?;
        report.receipt = Proof::new(u16::from_be_bytes([high, low]));
        report.delays =
            list(input, Field::Delays, DELAYS_MAX, |input| delay(input, report.largest))?;
        report.trains =
            list(input, Field::Trains, TRAINS_MAX, |input| train(input, report.largest))?;
        report.complete = complete(input, report.complete_below)?;
        report.deficits = deficits(input, report.complete_below)?;
        (report.covered_from, report.ranges) = ranges::decode(input, form, report.largest)?;
        if !input.is_empty() {
            return Err(FeedbackError::Trailing { len: input.len() });
        }
        report.validate()?;
        Ok(report)
    }
}

/// The fields that every report has, in their order.
fn head(input: &mut &[u8]) -> Result<Feedback, FeedbackError> {
    Ok(Feedback {
        largest: PacketNumber::new(take(input, Field::Largest)?),
        largest_age: micros(input, Field::LargestAge)?,
        received_packets: take(input, Field::ReceivedPackets)?,
        received_bytes: Bytes::new(take(input, Field::ReceivedBytes)?),
        duplicates: take(input, Field::Duplicates)?,
        invalid: take(input, Field::Invalid)?,
        receiver_drops: take(input, Field::ReceiverDrops)?,
        complete_below: BlockIndex::new(take_u32(input, Field::CompleteBelow)?),
        open_blocks_limit: take_u32(input, Field::OpenBlocksLimit)?,
        backlog: Bytes::new(take(input, Field::Backlog)?),
        decoding: micros(input, Field::Decoding)?,
        ..Feedback::default()
    })
}

fn delay(input: &mut &[u8], largest: PacketNumber) -> Result<DelayMark, FeedbackError> {
    let number = below(largest.get(), take(input, Field::Delays)?, Field::Delays)?;
    Ok(DelayMark { number: PacketNumber::new(number), age: micros(input, Field::Delays)? })
}

fn train(input: &mut &[u8], largest: PacketNumber) -> Result<TrainReport, FeedbackError> {
    let last = below(largest.get(), take(input, Field::Trains)?, Field::Trains)?;
    let first = below(last, take(input, Field::Trains)?, Field::Trains)?;
    Ok(TrainReport {
        first: PacketNumber::new(first),
        last: PacketNumber::new(last),
        gap_sum: micros(input, Field::Trains)?,
        gaps: take_u32(input, Field::Trains)?,
    })
}

fn complete(input: &mut &[u8], floor: BlockIndex) -> Result<Vec<BlockRange>, FeedbackError> {
    let mut floor = u64::from(floor.get()) + 1;
    list(input, Field::Complete, COMPLETE_MAX, |input| {
        let first = floor.saturating_add(take(input, Field::Complete)?);
        let last = first.saturating_add(take(input, Field::Complete)?);
        floor = last.saturating_add(2);
        let (first, last) = (block(first, Field::Complete)?, block(last, Field::Complete)?);
        Ok(BlockRange { first, last })
    })
}

fn deficits(input: &mut &[u8], floor: BlockIndex) -> Result<Vec<BlockDeficit>, FeedbackError> {
    let mut floor = u64::from(floor.get());
    list(input, Field::Deficits, DEFICITS_MAX, |input| {
        let index = floor.saturating_add(take(input, Field::Deficits)?);
        floor = index.saturating_add(1);
        let missing = take_u32(input, Field::Deficits)?;
        Ok(BlockDeficit { block: block(index, Field::Deficits)?, missing })
    })
}

/// A count, checked against its limit before anything is allocated, then as many items.
fn list<T>(
    input: &mut &[u8],
    field: Field,
    max: usize,
    mut item: impl FnMut(&mut &[u8]) -> Result<T, FeedbackError>,
) -> Result<Vec<T>, FeedbackError> {
    let count = take(input, field)?;
    let bounded = usize::try_from(count).ok().filter(|&count| count <= max);
    let bounded = bounded.ok_or(FeedbackError::TooMany { field, count })?;
    let mut items = Vec::with_capacity(bounded);
    for _ in 0..bounded {
        items.push(item(input)?);
    }
    Ok(items)
}

fn take_u32(input: &mut &[u8], field: Field) -> Result<u32, FeedbackError> {
    u32::try_from(take(input, field)?).map_err(|_| FeedbackError::Contradiction { field })
}

fn micros(input: &mut &[u8], field: Field) -> Result<Micros, FeedbackError> {
    take_u32(input, field).map(Micros::new)
}

fn block(index: u64, field: Field) -> Result<BlockIndex, FeedbackError> {
    let index = u32::try_from(index).map_err(|_| FeedbackError::Contradiction { field })?;
    Ok(BlockIndex::new(index))
}
