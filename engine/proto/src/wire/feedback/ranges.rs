//! The last section of a report: which packets arrived, as ranges or as a bitmap.
//!
//! Ranges are short when losses are few or clustered, the bitmap when they are many. Both run
//! from the largest number downwards, so cutting the end forgets the oldest packets first.
//!
//! Sits below `encode` and `decode`; does not know the rest of the report.

use super::{FeedbackError, Field, PacketRange, ensure};
use crate::ids::PacketNumber;
use crate::limits::PROOF_STEP;
use crate::wire::varint;

/// How the section is written; the first byte of a report (`spec: W-042`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing was received yet; the section is absent.
    Empty,
    /// Lengths of runs and gaps.
    Ranges,
    /// One bit a packet.
    Bitmap,
}

impl Form {
    pub(super) const fn value(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Ranges => 1,
            Self::Bitmap => 2,
        }
    }

    pub(super) const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Empty),
            1 => Some(Self::Ranges),
            2 => Some(Self::Bitmap),
            _ => None,
        }
    }
}

/// What of the ranges is written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) form: Form,
    /// Bytes the section takes.
    pub(super) len: usize,
    /// The report is silent about packets below this.
    covered_from: PacketNumber,
}

impl Plan {
    pub(super) const fn covered_from(&self) -> PacketNumber {
        self.covered_from
    }
}

/// The most bytes that the newest range alone can take: span, count and length. A bitmap of as many
/// reaches below the last multiple of [`PROOF_STEP`].
pub(super) const LEN_MIN: usize = 8 + 2 + 8;
const _: () = assert!((LEN_MIN as u64 - 8) * 8 > PROOF_STEP);

/// Checks what ranges promise: newest first, disjoint, not adjacent, from `largest` down to no
/// less than `covered_from`.
pub(super) fn validate(
    largest: PacketNumber,
    covered_from: PacketNumber,
    ranges: &[PacketRange],
) -> Result<(), FeedbackError> {
    let Some((newest, older)) = ranges.split_first() else {
        return ensure(covered_from == PacketNumber::new(0), Field::CoveredFrom);
    };
    ensure(newest.last == largest && newest.first <= newest.last, Field::Ranges)?;
    let mut above = newest.first;
    for range in older {
        ensure(range.first <= range.last, Field::Ranges)?;
        ensure(range.last.get().saturating_add(1) < above.get(), Field::Ranges)?;
        above = range.first;
    }
    ensure(covered_from <= above, Field::CoveredFrom)
}

/// Decides what of `ranges` fits into `budget` bytes: the shorter form when everything fits,
/// otherwise the form that reaches further back.
pub(super) fn plan(covered_from: PacketNumber, ranges: &[PacketRange], budget: usize) -> Plan {
    let Some(newest) = ranges.first() else {
        return Plan { form: Form::Empty, len: 0, covered_from };
    };
    let by_ranges = plan_ranges(newest, covered_from, ranges, budget);
    let by_bitmap = plan_bitmap(newest.last, covered_from, budget);
    let bitmap_wins =
        (by_bitmap.covered_from, by_bitmap.len) < (by_ranges.covered_from, by_ranges.len);
    if bitmap_wins { by_bitmap } else { by_ranges }
}

fn plan_ranges(
    newest: &PacketRange,
    covered_from: PacketNumber,
    ranges: &[PacketRange],
    budget: usize,
) -> Plan {
    let span = newest.last.get() - covered_from.get();
    let mut kept: usize = 1;
    let mut pairs = varint::len(newest.last.get() - newest.first.get());
    for pair in ranges.windows(2) {
        let (gap, run) = steps(&pair[0], &pair[1]);
        let more = varint::len(gap) + varint::len(run);
        if varint::len(span) + varint::len(kept as u64) + pairs + more > budget {
            break;
        }
        pairs += more;
        kept += 1;
    }
    // A gap whose far side is forgotten is still known to be a gap.
    let cut = ranges.get(kept).map(|dropped| aligned(dropped.last.next()));
    let covered_from = cut.unwrap_or(covered_from);
    let len = ranges_len(newest.last, covered_from, ranges);
    Plan { form: Form::Ranges, len, covered_from }
}

/// What is left out ends where a receiver's sum of proofs begins.
const fn aligned(number: PacketNumber) -> PacketNumber {
    PacketNumber::new(number.get().next_multiple_of(PROOF_STEP))
}

/// The ranges from `covered_from` on.
fn clipped(
    ranges: &[PacketRange],
    covered_from: PacketNumber,
) -> impl Iterator<Item = PacketRange> + Clone + '_ {
    let spoken = ranges.iter().take_while(move |range| range.last >= covered_from);
    spoken.map(move |range| PacketRange { first: range.first.max(covered_from), ..*range })
}

/// Bytes of the section in the form of ranges; none can be written behind the newest packet.
fn ranges_len(largest: PacketNumber, covered_from: PacketNumber, ranges: &[PacketRange]) -> usize {
    let kept = clipped(ranges, covered_from);
    let Some(span) = largest.get().checked_sub(covered_from.get()) else { return usize::MAX };
    let head = varint::len(span) + varint::len((kept.clone().count() as u64).saturating_sub(1));
    head + range_steps(kept).map(varint::len).sum::<usize>()
}

fn plan_bitmap(largest: PacketNumber, covered_from: PacketNumber, budget: usize) -> Plan {
    let span = largest.get() - covered_from.get();
    let room = budget.saturating_sub(varint::len(span));
    let bits_max = u64::try_from(room).unwrap_or(u64::MAX).saturating_mul(8).max(1);
    let cut = PacketNumber::new(largest.get() - span.min(bits_max - 1));
    let covered_from = if cut > covered_from { aligned(cut).min(largest) } else { covered_from };
    let span = largest.get() - covered_from.get();
    let len = varint::len(span) + bitmap_len(span).unwrap_or(usize::MAX);
    Plan { form: Form::Bitmap, len, covered_from }
}

/// Bytes of a bitmap that reaches `span` packets below the largest.
fn bitmap_len(span: u64) -> Option<usize> {
    usize::try_from(span / 8 + 1).ok()
}

/// Appends the section as planned.
pub(super) fn encode(out: &mut Vec<u8>, ranges: &[PacketRange], plan: &Plan) {
    let Some(newest) = ranges.first() else { return };
    varint::put(out, newest.last.get() - plan.covered_from.get());
    match plan.form {
        Form::Empty => {}
        Form::Ranges => encode_ranges(out, clipped(ranges, plan.covered_from)),
        Form::Bitmap => encode_bitmap(out, newest.last, plan.covered_from, ranges),
    }
}

fn encode_ranges(out: &mut Vec<u8>, ranges: impl Iterator<Item = PacketRange> + Clone) {
    varint::put(out, (ranges.clone().count() as u64).saturating_sub(1));
    range_steps(ranges).for_each(|step| varint::put(out, step));
}

/// The run of the newest range, then gap and run of each older one.
fn range_steps(ranges: impl Iterator<Item = PacketRange>) -> impl Iterator<Item = u64> {
    let mut newer: Option<PacketRange> = None;
    ranges.flat_map(move |range| {
        let (gap, run) = match newer.replace(range) {
            Some(newer) => {
                let (gap, run) = steps(&newer, &range);
                (Some(gap), run)
            }
            None => (None, range.last.get() - range.first.get()),
        };
        gap.into_iter().chain([run])
    })
}

fn encode_bitmap(
    out: &mut Vec<u8>,
    largest: PacketNumber,
    covered_from: PacketNumber,
    ranges: &[PacketRange],
) {
    let start = out.len();
    let span = largest.get() - covered_from.get();
    out.resize(start + bitmap_len(span).unwrap_or(0), 0);
    for range in ranges {
        if range.last < covered_from {
            break;
        }
        let first = range.first.max(covered_from);
        set_bits(&mut out[start..], largest.get() - range.last.get(), largest.get() - first.get());
    }
}

/// Sets bits `from ..= to`, counted from the highest bit of the first byte.
fn set_bits(bitmap: &mut [u8], from: u64, to: u64) {
    for bit in from..=to {
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = bitmap.get_mut(byte) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
}

/// The gap below `newer` and the run that `older` adds, each counted from its least value.
fn steps(newer: &PacketRange, older: &PacketRange) -> (u64, u64) {
    // Ranges are neither empty nor adjacent, so both differences are at least what is taken off.
    (newer.first.get() - older.last.get() - 2, older.last.get() - older.first.get())
}

/// Reads the section, which is the rest of the report; returns `covered_from` and the ranges.
pub(super) fn decode(
    input: &mut &[u8],
    form: Form,
    largest: PacketNumber,
) -> Result<(PacketNumber, Vec<PacketRange>), FeedbackError> {
    if form == Form::Empty {
        return Ok((PacketNumber::new(0), Vec::new()));
    }
    let span = take(input, Field::CoveredFrom)?;
    let covered_from = below(largest.get(), span, Field::CoveredFrom)?;
    let ranges = match form {
        Form::Bitmap => decode_bitmap(input, largest, span)?,
        Form::Ranges | Form::Empty => decode_ranges(input, largest)?,
    };
    Ok((PacketNumber::new(covered_from), ranges))
}

fn decode_ranges(
    input: &mut &[u8],
    largest: PacketNumber,
) -> Result<Vec<PacketRange>, FeedbackError> {
    let count = take(input, Field::Ranges)?;
    // Every further range takes at least two bytes, so the input bounds the allocation.
    let older = usize::try_from(count).ok().filter(|&count| count <= input.len() / 2);
    let older = older.ok_or(FeedbackError::TooMany { field: Field::Ranges, count })?;
    let mut ranges = Vec::with_capacity(older + 1);
    let mut last = largest.get();
    for index in 0..=older {
        if index > 0 {
            let gap = take(input, Field::Ranges)?;
            last = below(below(last, gap, Field::Ranges)?, 2, Field::Ranges)?;
        }
        let first = below(last, take(input, Field::Ranges)?, Field::Ranges)?;
        ranges.push(PacketRange { first: PacketNumber::new(first), last: PacketNumber::new(last) });
        last = first;
    }
    Ok(ranges)
}

fn decode_bitmap(
    input: &mut &[u8],
    largest: PacketNumber,
    span: u64,
) -> Result<Vec<PacketRange>, FeedbackError> {
    let contradiction = FeedbackError::Contradiction { field: Field::Bitmap };
    let bitmap = core::mem::take(input);
    if bitmap_len(span) != Some(bitmap.len()) {
        return Err(contradiction);
    }
    let mut ranges = Vec::new();
    let mut run_from = None;
    for bit in 0..=span {
        match (is_set(bitmap, bit), run_from) {
            (true, None) => run_from = Some(bit),
            (false, Some(from)) => {
                ranges.push(run(largest, from, bit - 1));
                run_from = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    ranges.extend(run_from.map(|from| run(largest, from, span)));
    let bits = u64::try_from(bitmap.len()).unwrap_or(u64::MAX).saturating_mul(8);
    let padded = (span + 1..bits).any(|bit| is_set(bitmap, bit));
    if padded || !is_set(bitmap, 0) { Err(contradiction) } else { Ok(ranges) }
}

fn is_set(bitmap: &[u8], bit: u64) -> bool {
    let byte = usize::try_from(bit / 8).ok().and_then(|byte| bitmap.get(byte));
    byte.is_some_and(|byte| byte & 0x80 >> (bit % 8) != 0)
}

/// The packets at bits `from ..= to`; `to` never exceeds `largest`, which `covered_from` proved.
fn run(largest: PacketNumber, from: u64, to: u64) -> PacketRange {
    PacketRange {
        first: PacketNumber::new(largest.get() - to),
        last: PacketNumber::new(largest.get() - from),
    }
}

/// Takes one integer off the input.
pub(super) fn take(input: &mut &[u8], field: Field) -> Result<u64, FeedbackError> {
    varint::take(input).map_err(|source| FeedbackError::Integer { field, source })
}

/// `from - by`, or the field that would pass zero.
pub(super) fn below(from: u64, by: u64, field: Field) -> Result<u64, FeedbackError> {
    from.checked_sub(by).ok_or(FeedbackError::Contradiction { field })
}
