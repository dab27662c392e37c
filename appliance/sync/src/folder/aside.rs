//! What is known and not taken in yet, and why: it is kept, shown and tried again, and nothing else
//! waits for it.

use super::item::Found;
use crate::message::SealedRun;
use crate::version::Dot;
use core::fmt;
use farhaul_proto::path_name::RelPath;

/// Why something is not taken in yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The neighbours are not heard yet: what was found may be what they know (spec: S-024).
    Listening,
    /// The path has as many versions as limits allow: it is taken in once there are fewer.
    Crowded,
    /// This index has given all its numbers; a new incarnation has others.
    NumbersUsedUp,
    /// This site publishes nothing in the folder: it is an edit of its own (spec: S-142).
    ReadOnly,
    /// It is part of a mass change, and a person is to say whether it is meant (spec: S-150).
    Braked,
    /// Whoever told it was away for longer than tombstones are kept: it may have been deleted
    /// since, and a person has to say so (spec: S-066).
    Stale,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listening => "neighbours are heard first",
            Self::Crowded => "the path has too many versions",
            Self::NumbersUsedUp => "the index has no numbers left",
            Self::ReadOnly => "this site publishes nothing",
            Self::Braked => "it is part of a mass change that is held",
            Self::Stale => "it may have been deleted since",
        })
    }
}

/// What was found at a path and is not published yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What stands there; `None`: nothing does.
    pub found: Option<Found>,
    /// When that was first seen, by the site's clock: milliseconds since 1970.
    pub wall_millis: u64,
    /// Why it waits.
    pub why: Why,
}

/// A record that is proven and not taken in yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Of which path.
    pub path: RelPath,
    /// The name of its version.
    pub dot: Dot,
    /// The record alone, with what proves it.
    pub run: SealedRun,
    /// Why it waits.
    pub why: Why,
}
