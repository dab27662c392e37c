//! Tombstones go when every neighbour has them, and then only from here: each of them keeps its own
//! until those behind it have them as well (spec: S-065).

use super::{FolderState, StateError};
use crate::folder::index::Index;
use farhaul_proto::path_name::RelPath;

/// Ranges of numbers of own tombstones that went which are remembered: the newest. A neighbour that
/// still has one of before has this site draw a new incarnation, for nothing (spec: S-056).
const DROPPED_RANGES_MAX: usize = 4096;

/// A tombstone that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Where.
    pub path: RelPath,
    /// Its version.
    pub dot: crate::version::Dot,
    /// Its arrival number.
    pub seq: u64,
}

/// How far a pass came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Tombstones that went.
    pub dropped: usize,
    /// Up to which path it was gone through; `None`: to the end.
    pub next: Option<RelPath>,
}

impl<I: Index> FolderState<I> {
    /// Drops tombstones that every neighbour has: those with arrival numbers up to `acked`, of `limit`
    /// from behind `after`. What still stands on disk keeps the one that covers it, and so does a member
    /// that takes nothing of its author; nothing goes while a record is set aside: it may be what a
    /// tombstone covers.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn collect(
        &mut self,
        acked: u64,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Collected, StateError<I::Error>> {
        if self.index.aside_count().map_err(StateError::Index)? > 0 {
            return Ok(Collected::default());
        }
        let found = self.index.tombstones(after, limit).map_err(StateError::Index)?;
        let is_all = found.len() < limit;
        let next = found.last().map(|last| last.path.clone()).filter(|_| !is_all);
        let mut dropped = 0;
        let mut own = self.index.dropped().map_err(StateError::Index)?;
        let own_before = own.clone();
        for Tombstone { path, dot, seq } in found {
            let item = self.index.item(&path).map_err(StateError::Index)?;
            let stands = item.placed.as_ref().is_some_and(|placed| {
                let by = item.versions.get(dot);
                by.is_some_and(|by| by.context.contains(placed.version.dot))
            });
            let is_looked_at = self.index.look(&path).map_err(StateError::Index)?.is_some();
            // Who refused it may tell what it covers, whatever else it has taken note of.
            let is_refused = !self.policy.rights.is_taken_by_all(dot.author.site);
            if seq > acked || stands || is_looked_at || is_refused {
                continue;
            }
            self.index.drop_version(&path, dot).map_err(StateError::Index)?;
            self.index.raise_floor(seq).map_err(StateError::Index)?;
            self.settle(&path)?;
            dropped += 1;
            if dot.author == self.publisher.author() {
                own.insert(dot.serial.get());
            }
        }
        if own != own_before {
            own.keep_newest(DROPPED_RANGES_MAX);
            self.index.set_dropped(&own).map_err(StateError::Index)?;
        }
        Ok(Collected { dropped, next })
    }
}
