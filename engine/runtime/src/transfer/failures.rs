//! What failed, on which side, and why.

use crate::objects::Failure;
use farhaul_proto::wire::control::FailCode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whose disk or program a failure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This one.
    Here,
    /// The other one.
    Peer,
}

/// Why an entry failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Side,
    pub(super) failure: Failure,
}

/// Entries that failed; what was noted first says most. Shared with those who read and write.
#[derive(Clone, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<u32, Fault>>>);

impl Failures {
    pub(super) fn note(&self, entry: u32, at: Side, failure: Failure) {
        self.lock().entry(entry).or_insert(Fault { at, failure });
    }

    pub(super) fn all(&self) -> BTreeMap<u32, Fault> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Fault>> {
        // Every update is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every code, by its number on the wire.
const CODES: [FailCode; 10] = [
    FailCode::SourceChanged,
    FailCode::SourceUnreadable,
    FailCode::DestinationChanged,
    FailCode::NoSpace,
    FailCode::NoPermission,
    FailCode::Io,
    FailCode::Protocol,
    FailCode::Cancelled,
    FailCode::Internal,
    FailCode::Busy,
];

/// The status byte of a file in a bundle that could not be read. spec: W-091
pub(super) fn status_of(code: FailCode) -> u8 {
    code as u8 + 1
}

/// What the status byte of a file in a bundle says; `None` when its bytes are good.
pub(super) fn failure_of_status(status: u8) -> Option<Failure> {
    let code = usize::from(status.checked_sub(1)?);
    let code = CODES.get(code).copied().unwrap_or(FailCode::Internal);
    let reason = match code {
        FailCode::SourceChanged => "it changed while it was sent",
        FailCode::SourceUnreadable => "the sender cannot read it",
        _ => "the sender cannot deliver it",
    };
    Some(Failure { code, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_byte_names_the_code_that_made_it() {
        assert_eq!(failure_of_status(0), None);
        for code in CODES {
            assert_eq!(failure_of_status(status_of(code)).unwrap().code, code);
        }
        assert_eq!(failure_of_status(255).unwrap().code, FailCode::Internal);
    }
}
