//! What somebody got of a link, and why not more.

use super::Level;
use farhaul_proto::units::BitRate;

/// What holds a part of a tree to its rate (spec: S-188).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit<K> {
    /// It has no use for more.
    Demand,
    /// Its own cap.
    OwnCap,
    /// The cap of what it stands below, all of which it has.
    Cap {
        /// Whose cap.
        of: K,
        /// Where that stands.
        level: Level,
    },
    /// Others have the rest of what it stands below.
    Share {
        /// What is shared.
        of: K,
        /// Where that stands.
        level: Level,
    },
}

/// What a part of a tree got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared<K> {
    /// So much of the link, in wire bytes.
    pub rate: BitRate,
    /// Why not more.
    pub limited_by: Limit<K>,
}
