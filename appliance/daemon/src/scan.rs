//! What stands in a folder's tree on disk: walking it, comparing it with what is known, and reading
//! what is new.
//!
//! A [`Walk`] lists a tree in path order, a [`Scan`] merges that with what the index knows in the
//! same order ([`Known`]) and says what changed, and a [`Looker`] reads one path and gives what the
//! brain publishes. What cannot be read, or stands there in a form that no site can have, counts as
//! unknown, never as deleted. Everything goes through held directories; nothing is changed on disk.

mod ahead;
mod compare;
mod look;
mod names;
mod owners;
mod rules;
mod scrub;
mod walk;

pub use compare::{Change, Counts, Known, KnownError, KnownItem, Scan, ScanError, Seen};
pub use farhaul_files::people::OwnersError;
pub use farhaul_files::{
    ContentSink, DigestError, Digested, Digester, Nowhere, SinkError, identity_of,
};
pub use look::{KnownContent, Look, LookError, Looker, Patience, Standing};
pub use owners::Owners;
pub use rules::{RuleError, Rules};
pub(crate) use scrub::Pace;
pub use scrub::ScrubPlan;
pub use walk::{LeftOut, Step, Walk, WalkOptions};

#[cfg(test)]
mod tests;
