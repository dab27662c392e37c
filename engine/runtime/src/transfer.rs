//! A transfer: two sides that talk over a session until files are in place.
//!
//! ```text
//! sender                                   receiver
//!   Offer(manifest) -------------------->    plan against what is there, declare objects
//!   declare the same objects  <----------  Accept(wanted entries, blocks already here)
//!   blocks on the lane ================>     verify, write, journal
//!   Sealed(object): source unchanged --->    fsync, re-check, rename
//!                             <----------  Done(files, failures)
//!   Sent(figures), if requested -------->
//! ```
//! Both sides derive the same objects from manifest and wanted entries, so nothing else has to
//! be agreed, and no block can arrive before its object is declared.

mod bundle;
mod checkpoints;
mod claims;
pub(crate) mod conversation;
mod destination;
mod failures;
mod figures;
mod file;
mod jobs;
mod least;
mod left_out;
mod planning;
mod receiving;
mod sending;
pub mod serving;
pub mod supersede;
mod witness;

use crate::control::ControlError;
use crate::engine::SessionFault;
use crate::files::confine::ConfineError;
use crate::files::receive::ReceiveError;
use crate::files::scan::ScanError;
use crate::files::staging::StagingError;
use farhaul_proto::manifest::ManifestError;
use farhaul_proto::session::Unreached;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{FailCode, RefuseCode};
use rustix::io::Errno;
use std::time::Duration;
use tokio::sync::watch;

pub use failures::Side;
pub use figures::Figures;
pub use planning::{Pull, pull};
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
    /// The way of the data, as its sender knows it; what was heard last, if that is the peer.
    pub figures: Option<Figures>,
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
    /// Things that were left out on purpose (sockets, devices), printable; not all are named.
    pub left_out: Vec<String>,
    /// How many were left out in all.
    pub left_out_total: u64,
    /// The way of the data at its end, as its sender knows it.
    pub figures: Option<Figures>,
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
    /// The network carries what is said, but not the data.
    #[error(transparent)]
    Unreached(#[from] Unreached),
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
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => refused(*code),
            Self::Cancelled { code, .. } => cancelled(*code),
            Self::Control(_) | Self::Session(_) => AGAIN,
            Self::Unreached(_) => {
                "run the same command again: it asks anew which sizes of packets pass, and \
                 continues where it stopped; if that does not help, see to it that every firewall \
                 on the way lets all UDP packets of this connection through"
            }
            Self::Violation(_) => {
                "check that both sides run the same version of Farhaul and run the same command \
                 again; if it happens again with one version, please report it"
            }
            Self::Local { code, .. } => local(*code),
            Self::Disk { code, .. } => disk(*code),
            Self::Internal(_) => {
                "run the same command again to continue where it stopped, and report it with what \
                 FARHAUL_LOG=debug shows"
            }
        }
    }

    /// True when nobody answered any more: another carrier may fare better.
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Control(ControlError::Timeout { .. }) | Self::Unreached(_))
    }

    fn local(what: impl std::fmt::Display, code: RefuseCode) -> Self {
        Self::Local { what: what.to_string(), code }
    }
}

const BUSY: &str = "another transfer is at the same files, or too many files are open (ulimit -n); \
                    wait for the other transfer, then run the same command again";
const WRITE_THERE: &str = "have the peer's operator give the user of `farhaul serve` access to that \
                           path, on a file system that is not read-only";
const AGAIN: &str = "run the same command again to continue where it stopped";

/// What to do when the peer said no.
const fn refused(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::NotAllowed => "ask the peer's operator to permit it",
        RefuseCode::BadPath => {
            "give a path below the directory that the peer serves, without `..` and links; what \
             lies on another mount is refused by design: have that mount served by itself"
        }
        RefuseCode::NotFound => {
            "check the path; it is relative to the directory that the peer serves"
        }
        RefuseCode::Exists => {
            "something else is in the way there: name a directory, or a name that is not taken"
        }
        RefuseCode::NoSpace => {
            "make room at the peer; what interrupted transfers left is in `.farhaul/staging` of \
             the directory that it serves, and may be deleted"
        }
        RefuseCode::NoPermission => WRITE_THERE,
        RefuseCode::Busy => BUSY,
        RefuseCode::Unsupported => "use the same version of Farhaul on both sides",
        RefuseCode::Internal => {
            "the fault is at the peer: `farhaul serve` logs it there; mend it and try again"
        }
    }
}

/// What to do when the peer gave up.
const fn cancelled(code: FailCode) -> &'static str {
    match code {
        FailCode::SourceChanged | FailCode::SourceUnreadable | FailCode::DestinationChanged => {
            "see to it that nobody changes the files meanwhile, then run the same command again"
        }
        FailCode::NoSpace => "make room at the peer, then run the same command again",
        FailCode::NoPermission => WRITE_THERE,
        FailCode::Busy => BUSY,
        FailCode::Io => "have the peer's disk looked at, then run the same command again",
        FailCode::Protocol => {
            "check that both sides run the same version of Farhaul, then run the same command again"
        }
        FailCode::Cancelled | FailCode::Internal => AGAIN,
    }
}

/// What to do about this host's file system.
const fn local(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::NoSpace => {
            "make room on this host's disk; what interrupted transfers left is in \
             `.farhaul/staging` of the destination, and may be deleted"
        }
        RefuseCode::NoPermission => {
            "name a place that this user may read or write as needed and that is not mounted \
             read-only, then run the command again"
        }
        RefuseCode::BadPath => {
            "name the place without `..` and links in its path; what lies on another mount is named \
             by itself"
        }
        RefuseCode::NotFound => "check the path",
        RefuseCode::Exists => "something else is in the way there: name a directory",
        RefuseCode::Busy => BUSY,
        RefuseCode::NotAllowed | RefuseCode::Unsupported => {
            "use the same version of Farhaul on both sides, or carry it in parts"
        }
        RefuseCode::Internal => {
            "look at the kernel's log (dmesg) for faults of the disk, then run the same command again"
        }
    }
}

/// What to do when this host's disk failed in the middle of a transfer.
const fn disk(code: FailCode) -> &'static str {
    match code {
        FailCode::NoSpace => local(RefuseCode::NoSpace),
        FailCode::NoPermission => local(RefuseCode::NoPermission),
        _ => local(RefuseCode::Internal),
    }
}

impl From<ScanError> for TransferError {
    fn from(error: ScanError) -> Self {
        let code = match &error {
            ScanError::Source(inner) => source_code(inner),
            _ => RefuseCode::Internal,
        };
        Self::local(error, code)
    }
}

impl From<ReceiveError> for TransferError {
    fn from(error: ReceiveError) -> Self {
        let code = match &error {
            ReceiveError::NoSpace(_) => RefuseCode::NoSpace,
            ReceiveError::Destination(inner) | ReceiveError::Staging(StagingError::Disk(inner)) => {
                destination_code(inner)
            }
            ReceiveError::Staging(StagingError::Busy) => RefuseCode::Busy,
            ReceiveError::Staging(StagingError::NotPrivate) => RefuseCode::NoPermission,
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

/// How a peer is told about an error of a path that is read.
fn source_code(error: &ConfineError) -> RefuseCode {
    match error {
        // Nothing can be beneath what is no directory.
        ConfineError::NotDirectory { .. } => RefuseCode::NotFound,
        other => destination_code(other),
    }
}

/// How a peer is told about an error of a path that is written to.
fn destination_code(error: &ConfineError) -> RefuseCode {
    match error {
        ConfineError::NotFound { .. } => RefuseCode::NotFound,
        ConfineError::Permission { .. } | ConfineError::Io { source: Errno::ROFS, .. } => {
            RefuseCode::NoPermission
        }
        ConfineError::Escapes { .. }
        | ConfineError::SymlinkInPath { .. }
        | ConfineError::CrossesMount { .. } => RefuseCode::BadPath,
        ConfineError::NotDirectory { .. } | ConfineError::Exists { .. } => RefuseCode::Exists,
        ConfineError::NoSpace { .. } => RefuseCode::NoSpace,
        ConfineError::TooManyOpen { .. } => RefuseCode::Busy,
        _ => RefuseCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: impl Into<TransferError>) -> (RefuseCode, &'static str) {
        match error.into() {
            TransferError::Local { code, .. } => (code, refused(code)),
            other => panic!("{other}"),
        }
    }

    /// They all were faults inside the peer, to be looked up in its log.
    #[test]
    fn the_usual_refusals_of_a_destination_say_what_to_do() {
        let at = |errno| ConfineError::at(&b"in"[..], errno);
        let destination = |errno| told(ReceiveError::Destination(at(errno)));
        let staging = |errno| told(ReceiveError::Staging(StagingError::Disk(at(errno))));
        for (errno, code) in [
            (Errno::ACCESS, RefuseCode::NoPermission),
            (Errno::ROFS, RefuseCode::NoPermission),
            (Errno::NOSPC, RefuseCode::NoSpace),
            (Errno::MFILE, RefuseCode::Busy),
        ] {
            assert_eq!((destination(errno).0, staging(errno).0), (code, code), "{errno}");
        }
        let (code, advice) = destination(Errno::NOTDIR);
        assert_eq!(code, RefuseCode::Exists);
        assert!(advice.contains("name a directory"), "{advice}");
        let (code, advice) = destination(Errno::XDEV);
        assert_eq!(code, RefuseCode::BadPath);
        assert!(advice.contains("served by itself"), "{advice}");
        let (code, advice) = told(ReceiveError::Staging(StagingError::Busy));
        assert_eq!(code, RefuseCode::Busy);
        assert!(advice.contains("wait for the other transfer"), "{advice}");
        assert_eq!(told(ScanError::Source(at(Errno::NOTDIR))).0, RefuseCode::NotFound);
    }
}
