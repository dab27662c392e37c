//! A transfer: two sides that talk over a session until files are in place.
//!
//! ```text
//! sender                                   receiver
//!   Offer(manifest) -------------------->    plan against what is there, declare objects
//!   declare the same objects  <----------  Accept(wanted entries, blocks already here)
//!   blocks on the lane ================>     verify, write, journal
//!   Sealed(object): source unchanged --->    fsync, re-check, rename
//!                             <----------  Done(files, failures)
//! ```
//! Both sides derive the same objects from manifest and wanted entries, so nothing else has to
//! be agreed, and no block can arrive before its object is declared.

mod bundle;
mod conversation;
mod failures;
mod file;
mod jobs;
mod left_out;
mod memory;
mod planning;
mod receiving;
mod sending;
pub mod serving;
pub mod supersede;

use crate::control::ControlError;
use crate::driver::command::SessionStats;
use crate::engine::SessionFault;
use crate::files::confine::ConfineError;
use crate::files::receive::ReceiveError;
use crate::files::scan::ScanError;
use farhaul_proto::manifest::ManifestError;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{FailCode, RefuseCode};
use std::time::Duration;
use tokio::sync::watch;

pub use failures::Side;
pub use planning::pull;
pub use sending::push;

/// How often progress is published.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Where a transfer stands.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Data bytes to carry, once known.
    pub bytes_total: Bytes,
    /// Data bytes at their destination, those of earlier attempts included.
    pub bytes_done: Bytes,
    /// Data bytes that were there already.
    pub bytes_resumed: Bytes,
    /// Figures of the session.
    pub stats: Option<SessionStats>,
}

/// Where progress is published.
pub type ProgressSender = watch::Sender<Progress>;

/// One entry that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEntry {
    /// Its path, printable.
    pub path: String,
    /// Why, in words.
    pub reason: String,
    /// Why, for programs.
    pub code: FailCode,
    /// Whose disk or program failed.
    pub at: Side,
}

/// How a transfer ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Data bytes of the files in the transfer that are in place now.
    pub bytes: Bytes,
    /// Files put in place.
    pub files: u64,
    /// Files that were in place before.
    pub files_skipped: u64,
    /// Data bytes that an earlier attempt had carried.
    pub resumed: Bytes,
    /// Entries that failed; at most a thousand are named.
    pub failed: Vec<FailedEntry>,
    /// How many failed in all.
    pub failed_total: u64,
    /// Things that were left out on purpose (sockets, devices), printable.
    pub left_out: Vec<String>,
    /// Figures of the session at its end.
    pub stats: Option<SessionStats>,
}

/// Why a transfer failed as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The peer said no.
    #[error("the peer refused: {reason}")]
    Refused {
        /// The kind of refusal.
        code: RefuseCode,
        /// In the peer's words, escaped.
        reason: String,
    },
    /// The peer gave up.
    #[error("the peer gave up: {reason}")]
    Cancelled {
        /// The kind of failure.
        code: FailCode,
        /// In the peer's words, escaped.
        reason: String,
    },
    /// The connection failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionFault),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(String),
    /// The local file system.
    #[error("{what}")]
    Local {
        /// What failed and why.
        what: String,
        /// How the peer is told.
        code: RefuseCode,
    },
    /// The local disk fails in the middle of a transfer.
    #[error("{what}")]
    Disk {
        /// What failed and why.
        what: String,
        /// How the peer is told.
        code: FailCode,
    },
    /// A part of this program failed.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl TransferError {
    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Refused { code: RefuseCode::NoSpace, .. } => {
                "make room at the peer; what interrupted transfers left is in `.farhaul/staging` \
                 of the directory that it serves, and may be deleted"
            }
            Self::Local { code: RefuseCode::NoSpace, .. } => {
                "make room; what interrupted transfers left is in `.farhaul/staging` of the \
                 destination, and may be deleted"
            }
            Self::Refused { code: RefuseCode::NotFound, .. } => {
                "check the path; it is relative to the directory that the peer serves"
            }
            Self::Refused { code: RefuseCode::BadPath, .. } => {
                "give a path below the directory that the peer serves, without `..` and links"
            }
            Self::Refused { code: RefuseCode::Busy, .. } => {
                "another transfer of the same files is under way; wait for it or try again later"
            }
            Self::Disk { .. } | Self::Cancelled { .. } | Self::Control(_) => {
                "run the same command again to continue where it stopped"
            }
            Self::Refused { .. }
            | Self::Session(_)
            | Self::Violation(_)
            | Self::Local { .. }
            | Self::Internal(_) => return None,
        };
        Some(advice.to_owned())
    }

    fn local(what: impl std::fmt::Display, code: RefuseCode) -> Self {
        Self::Local { what: what.to_string(), code }
    }
}

impl From<ScanError> for TransferError {
    fn from(error: ScanError) -> Self {
        let code = match &error {
            ScanError::Source(inner) => refuse_code(inner),
            _ => RefuseCode::Internal,
        };
        Self::local(error, code)
    }
}

impl From<ReceiveError> for TransferError {
    fn from(error: ReceiveError) -> Self {
        let code = match &error {
            ReceiveError::NoSpace(_) => RefuseCode::NoSpace,
            ReceiveError::Destination(inner) => refuse_code(inner),
            _ => RefuseCode::Internal,
        };
        Self::local(error, code)
    }
}

impl From<ManifestError> for TransferError {
    fn from(error: ManifestError) -> Self {
        Self::Violation(format!("its manifest is malformed: {error}"))
    }
}

/// How a peer is told about an error of a path.
pub(crate) fn refuse_code(error: &ConfineError) -> RefuseCode {
    match error {
        ConfineError::NotFound { .. } => RefuseCode::NotFound,
        ConfineError::Permission { .. } => RefuseCode::NoPermission,
        ConfineError::Escapes { .. } | ConfineError::SymlinkInPath { .. } => RefuseCode::BadPath,
        _ => RefuseCode::Internal,
    }
}
