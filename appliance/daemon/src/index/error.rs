//! What can be wrong with an index, and what its owner does then.

use farhaul_proto::units::Bytes;
use farhaul_sync::record::RecordError;
use farhaul_sync::seal::SealError;
use rusqlite::ErrorCode;
use std::path::PathBuf;

/// Why the index did not do what it was asked; whatever it was, nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The file holds what nobody wrote: a flipped bit, a truncated file, a page in the wrong place.
    /// It is moved aside ([`super::quarantine`]) and a new one begun, which scans the tree anew.
    #[error("index damaged: {what}")]
    Damaged {
        /// Where it shows.
        what: String,
    },
    /// There is none.
    #[error("{}: there is no index", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{}: there is an index already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Another version of the program wrote it, a newer one as a rule.
    #[error("the index has format {found}, this program knows {known}: use the newer program")]
    Format {
        /// The format of the file.
        found: i64,
        /// The format of this program.
        known: i64,
    },
    /// It is of an older format, and there is no room to write it anew beside the old one, which is as
    /// it was.
    #[error(
        "{}: the index is of an older format and has to be written anew, which takes {needed} for \
         a while; {free} are free: make room there",
        path.display()
    )]
    NoRoom {
        /// In which directory.
        path: PathBuf,
        /// How much it takes at most.
        needed: Bytes,
        /// How much there is.
        free: Bytes,
    },
    /// It is of an older format, and the new one that is made beside it is not what was written, or
    /// cannot be read: the disk or memory is at fault. The old one is as it was, and it is tried again.
    #[error(
        "{}: the index is of an older format, is as it was, and cannot be written anew here: {why}; see \
         what the system's log says of the disk",
        path.display()
    )]
    Unmade {
        /// The new one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another version of the program wrote it, which names the same contents otherwise (spec: S-115).
    #[error(
        "the index names contents in form {found}, this program in form {known}: use the program that \
         wrote it, or move the index aside, and all is read anew"
    )]
    Form {
        /// The form of the file.
        found: u64,
        /// The form of this program.
        known: u64,
    },
    /// It is that of another folder or site.
    #[error("the index belongs to another folder or another site")]
    OtherFolder,
    /// Another process works with it; only one may.
    #[error("{}: another process uses the index", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The disk is full: [`super::Index::release_reserve`] makes room to record what was done.
    #[error("no space left for the index")]
    Full,
    /// What was to be stored is no record; the caller is at fault, who checks before.
    #[error("what was to be stored is no record")]
    Record(#[from] RecordError),
    /// What was to be stored is no run; the caller is at fault.
    #[error("what was to be stored is no run")]
    Run(#[from] SealError),
    /// What was to be stored is not what its run signed, or not where the run says; the caller is
    /// at fault.
    #[error("what was to be stored is not part of its run")]
    NotOfRun,
    /// A version of this site has a number that was not reserved; the caller is at fault.
    #[error("number {serial} was given without being reserved")]
    Unreserved {
        /// The number.
        serial: u64,
    },
    /// More or longer values than fit; the caller is at fault.
    #[error("{what} is too large for the index")]
    TooLarge {
        /// What.
        what: &'static str,
    },
    /// No random numbers to be had from the system.
    #[error("the system gives no random numbers")]
    Randomness,
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    File {
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The database failed. After a failed write nobody knows what the disk holds: nothing more is
    /// announced until the index was opened anew.
    #[error("the index failed: {0}")]
    Database(#[source] rusqlite::Error),
}

impl IndexError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// Whether the file itself is at fault and has to be moved aside.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { what: error.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => match error {
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => {
                    Self::Damaged { what: error.to_string() }
                }
                error => Self::Database(error),
            },
        }
    }
}
