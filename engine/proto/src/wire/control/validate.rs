//! The rules of control messages that their types do not express: bounds, order, overflow.
//!
//! Whether a path is safe is not decided here: a bad path is answered with a refusal, while
//! what breaks a rule of this file ends the session.

use super::{
    AGENT_MAX, Accept, ControlError, Done, EntryRange, FAILURES_MAX, Field, HAVE_MAX, Have,
    ManifestCarrier, Message, Offer, Omission, REASON_MAX, Sent, WANT_MAX,
};
use crate::limits::{CONTROL_MESSAGE_MAX, INLINE_MANIFEST_MAX, OBJECT_MAX, PATH_MAX};

// The longest encodings: every head at its longest. No valid message exceeds a frame.
const RANGE_LEN: usize = 1 + 5 + 5;
const HAVE_LEN: usize = 1 + 3 * 5 + 2 + 32;
const FAILURE_LEN: usize = 1 + 5 + 1 + 3 + REASON_MAX;
const OMISSION_LEN: usize = 1 + 2 * (3 + REASON_MAX);
const _: () = {
    assert!(64 + WANT_MAX * RANGE_LEN + HAVE_MAX * HAVE_LEN <= CONTROL_MESSAGE_MAX);
    assert!(64 + FAILURES_MAX * FAILURE_LEN <= CONTROL_MESSAGE_MAX);
    assert!(256 + 2 * FAILURES_MAX * OMISSION_LEN <= CONTROL_MESSAGE_MAX);
    assert!(128 + INLINE_MANIFEST_MAX + PATH_MAX <= CONTROL_MESSAGE_MAX);
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
            Self::Request(request) => at_most(request.path.len(), PATH_MAX, Field::Path),
            Self::Accept(accept) => validate_accept(accept),
            Self::Refuse { transfer: _, code: _, reason } => validate_reason(reason),
            Self::Reopen { object: _, position, count, first_block } => {
                validate_run(*position, *count, Field::Reopen)?;
                validate_run(first_block.get(), *count, Field::Reopen).map(|_| ())
            }
            Self::ObjectFailed { object: _, code: _, reason } => validate_reason(reason),
            Self::Sealed { object: _ } | Self::Restart { block: _ } => Ok(()),
            Self::Done(done) => validate_done(done),
            Self::Cancel { transfer: _, code: _, reason } => validate_reason(reason),
            Self::Figures(_) => Ok(()),
            Self::Sent(sent) => validate_sent(sent),
        }
    }
}

fn validate_offer(offer: &Offer) -> Result<(), ControlError> {
    at_most(offer.dest.len(), PATH_MAX, Field::Dest)?;
    match &offer.manifest {
        ManifestCarrier::Inline(bytes) => {
            at_most(bytes.len(), INLINE_MANIFEST_MAX, Field::Manifest)
        }
        ManifestCarrier::Object { len, digest: _ } => validate_len(*len, Field::Manifest),
    }
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

fn validate_done(done: &Done) -> Result<(), ControlError> {
    at_most(done.failed.len(), FAILURES_MAX, Field::Failed)?;
    for failure in &done.failed {
        validate_reason(&failure.reason)?;
    }
    validate_total(done.failed.len(), done.failed_total, Field::FailedTotal)
}

fn validate_sent(sent: &Sent) -> Result<(), ControlError> {
    at_most(sent.failed.len(), FAILURES_MAX, Field::Failed)?;
    at_most(sent.left_out.len(), FAILURES_MAX, Field::LeftOut)?;
    for Omission { path, reason } in sent.failed.iter().chain(&sent.left_out) {
        at_most(path.len(), REASON_MAX, Field::Path)?;
        validate_reason(reason)?;
    }
    validate_total(sent.failed.len(), sent.failed_total, Field::FailedTotal)?;
    validate_total(sent.left_out.len(), sent.left_out_total, Field::LeftOutTotal)
}

fn validate_total(named: usize, total: u64, field: Field) -> Result<(), ControlError> {
    let named = u64::try_from(named).unwrap_or(u64::MAX);
    if total < named { Err(out_of_range(field)) } else { Ok(()) }
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
