//! Files and trees: reading a source, staging and committing a destination.
//!
//! Every path goes through held directory handles and is resolved beneath a root, without
//! symbolic links and without crossing mounts; metadata is read and set on descriptors; names
//! are bytes. Nothing here knows the network, and bulk data is neither read nor written here:
//! callers get open files and the runs to transfer. Only bundles of small files, which are many
//! short operations, are read and written synchronously.

pub mod bundle;
pub mod checkpoint;
pub mod commit;
pub mod confine;
pub mod dir;
pub mod finish;
pub mod journal;
pub mod notify;
pub mod receive;
mod resume;
pub mod scan;
pub mod source;
pub mod space;
pub mod staging;
pub mod stop;
pub mod writeback;

pub use commit::CommitError;
pub use confine::{ConfineError, Root};
pub use finish::Report;
pub use receive::{HaveBlocks, ReceiveError, ReceiveOptions, ReceivePlan, Receiver};
pub use scan::{ScanError, ScannedSource, scan, scan_beneath};
pub use source::{Segment, Source, SourceError};
pub use staging::StagedFile;

/// Lets this process open as many files as it is allowed to: every file on its way in holds
/// three descriptors, and the soft limit is often no more than 1024.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, ..now };
    if let Err(errno) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%errno, soft = now.current, "the limit of open files stays as it is");
    }
}

/// A point of the commit path at which a test can kill the process.
#[cfg(not(test))]
const fn step() {}
#[cfg(test)]
use crash::step;
#[cfg(test)]
mod crash;
