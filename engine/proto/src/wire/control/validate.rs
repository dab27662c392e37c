//! The rules of control messages that their types do not express: bounds, order, overflow.
//!
//! Whether a path is safe is not decided here: a bad path is answered with a refusal, while
//! what breaks a rule of this file ends the session.

use super::{
    AGENT_MAX, Accept, BlockSpan, ControlError, Done, EntryRange, FAILURES_MAX, Field, HAVE_MAX,
    Have, LEFT_OUT_MAX, LeftOut, ManifestCarrier, Message, Offer, REASON_MAX, Request, WANT_MAX,
};
use crate::limits::{CONTROL_MESSAGE_MAX, INLINE_MANIFEST_MAX, OBJECT_MAX, PATH_MAX};

// The longest encodings: every head at its longest. No valid message exceeds a frame.
const RANGE_LEN: usize = 1 + 5 + 5;
const HAVE_LEN: usize = 1 + 3 * 5 + 2 + 32;
const FAILURE_LEN: usize = 1 + 5 + 1 + 3 + REASON_MAX;
const _: () = {
    assert!(64 + WANT_MAX * RANGE_LEN + HAVE_MAX * HAVE_LEN <= CONTROL_MESSAGE_MAX);
    assert!(64 + FAILURES_MAX * FAILURE_LEN <= CONTROL_MESSAGE_MAX);
    let left_out = 2 * LEFT_OUT_MAX * (1 + 3 + PATH_MAX + 3 + REASON_MAX);
    assert!(256 + INLINE_MANIFEST_MAX + PATH_MAX + left_out <= CONTROL_MESSAGE_MAX);
    // `check_shape` bounds every list by the longest of them.
    assert!(HAVE_MAX <= WANT_MAX && FAILURES_MAX <= WANT_MAX);
};

impl Message {
    /// Checks every rule that the types do not express.
    ///
    /// # Errors
    /// The first rule that is broken, and where.
    pub fn validate(&self) -> Result<(), ControlError> {
        match self {
            Self::Hello { features: _, agent } => at_most(agent.len(), AGENT_MAX, Field::Agent),
            Self::Offer(offer) => validate_offer(offer),
            Self::Request(request) => validate_request(request),
            Self::Accept(accept) => validate_accept(accept),
            Self::Refuse { transfer: _, code: _, reason } => validate_reason(reason),
            Self::Reopen { object: _, runs, first_block } => {
                validate_reopen(runs, first_block.get())
            }
            Self::ObjectFailed { object: _, code: _, reason } => validate_reason(reason),
            Self::Sealed { object: _ } | Self::Restart { block: _ } => Ok(()),
            Self::Done(done) => validate_done(done),
            Self::Cancel { transfer: _, code: _, reason } => validate_reason(reason),
            Self::Probe(probe) if probe.rate_max == Some(0) => {
                Err(ControlError::Empty { field: Field::Rate })
            }
            Self::Probe(_) | Self::Probed { transfer: _, figures: _, clock_us: _ } => Ok(()),
            Self::Figures(_) | Self::Sent { transfer: _, figures: _ } => Ok(()),
        }
    }
}

fn validate_offer(offer: &Offer) -> Result<(), ControlError> {
    at_most(offer.dest.len(), PATH_MAX, Field::Dest)?;
    offer.left_out.as_ref().map_or(Ok(()), validate_left_out)?;
    match &offer.manifest {
        ManifestCarrier::Inline(bytes) => {
            at_most(bytes.len(), INLINE_MANIFEST_MAX, Field::Manifest)
        }
        ManifestCarrier::Object { len, digest: _ } => validate_len(*len, Field::Manifest),
    }
}

fn validate_request(request: &Request) -> Result<(), ControlError> {
    at_most(request.path.len(), PATH_MAX, Field::Path)?;
    let wishes = request.wishes.unwrap_or_default();
    if wishes.rate_max == Some(0) || wishes.rate_min == Some(0) {
        return Err(ControlError::Empty { field: Field::Rate });
    }
    Ok(())
}

fn validate_left_out(left_out: &LeftOut) -> Result<(), ControlError> {
    let LeftOut { failed, failed_total, skipped, skipped_total } = left_out;
    for (notes, total) in [(failed, *failed_total), (skipped, *skipped_total)] {
        at_most(notes.len(), LEFT_OUT_MAX, Field::LeftOut)?;
        for note in notes {
            at_most(note.path.len(), PATH_MAX, Field::Path)?;
            validate_reason(&note.reason)?;
        }
        let named = u64::try_from(notes.len()).unwrap_or(u64::MAX);
        if total < named {
            return Err(out_of_range(Field::LeftOut));
        }
    }
    Ok(())
}

fn validate_accept(accept: &Accept) -> Result<(), ControlError> {
    at_most(accept.want.len(), WANT_MAX, Field::Want)?;
    at_most(accept.have.len(), HAVE_MAX, Field::Have)?;
    let mut floor = 0;
    for &EntryRange { first, count } in &accept.want {
        let end = validate_run(first, count, Field::Want)?;
        in_order(u64::from(first) >= floor, Field::Want)?;
        floor = end;
    }
    let mut floor = (0, 0);
    for &Have { entry, first, count, digest: _ } in &accept.have {
        let end = validate_run(first, count, Field::Have)?;
        in_order((entry, u64::from(first)) >= floor, Field::Have)?;
        floor = (entry, end);
    }
    Ok(())
}

fn validate_reopen(runs: &[BlockSpan], first_block: u32) -> Result<(), ControlError> {
    at_most(runs.len(), HAVE_MAX, Field::Reopen)?;
    let (mut floor, mut named) = (0, 0u32);
    for &BlockSpan { first, count } in runs {
        let end = validate_run(first, count, Field::Reopen)?;
        in_order(u64::from(first) >= floor, Field::Reopen)?;
        floor = end;
        // The runs are disjoint: together they name no more than there are numbers.
        named = named.saturating_add(count);
    }
    validate_run(first_block, named, Field::Reopen).map(|_| ())
}

fn validate_done(done: &Done) -> Result<(), ControlError> {
    at_most(done.failed.len(), FAILURES_MAX, Field::Failed)?;
    for failure in &done.failed {
        validate_reason(&failure.reason)?;
    }
    let named = u64::try_from(done.failed.len()).unwrap_or(u64::MAX);
    if done.failed_total < named { Err(out_of_range(Field::FailedTotal)) } else { Ok(()) }
}

fn validate_reason(reason: &str) -> Result<(), ControlError> {
    at_most(reason.len(), REASON_MAX, Field::Reason)
}

/// An object's length: neither zero nor beyond the largest object.
fn validate_len(len: u64, field: Field) -> Result<(), ControlError> {
    match len {
        0 => Err(ControlError::Empty { field }),
        len if len > OBJECT_MAX.get() => Err(out_of_range(field)),
        _ => Ok(()),
    }
}

/// Checks `first .. first + count` and returns its end, which every id stays below.
fn validate_run(first: u32, count: u32, field: Field) -> Result<u64, ControlError> {
    if count == 0 {
        return Err(ControlError::Empty { field });
    }
    let end = first.checked_add(count).ok_or_else(|| out_of_range(field))?;
    Ok(u64::from(end))
}

fn at_most(len: usize, max: usize, field: Field) -> Result<(), ControlError> {
    if len <= max { Ok(()) } else { Err(ControlError::TooLong { field, len, max }) }
}

fn in_order(holds: bool, field: Field) -> Result<(), ControlError> {
    if holds { Ok(()) } else { Err(ControlError::OutOfOrder { field }) }
}

const fn out_of_range(field: Field) -> ControlError {
    ControlError::OutOfRange { field }
}
