//! Where conflict copies stand: which name each has, and whose name becomes free or is taken.

use super::{FolderState, StateError};
use crate::folder::index::{CopyOf, Index};
use crate::folder::item::Item;
use crate::version::{Dot, Version, conflict_name, copy_stem, view};
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeMap;

/// What happened to the names of copies: origins whose copies are to be looked at again.
type Again = Vec<RelPath>;

impl<I: Index> FolderState<I> {
    /// Gives each loser of a conflict its name, and takes the names of those that are none any more.
    /// A name that another path's copy has as well is for the one that comes first (spec: S-012).
    pub(super) fn move_copies(&mut self, origin: &RelPath) -> Result<(), StateError<I::Error>> {
        let mut todo = vec![origin.clone()];
        while let Some(origin) = todo.pop() {
            todo.extend(self.move_copies_of(&origin)?);
        }
        Ok(())
    }

    fn move_copies_of(&mut self, origin: &RelPath) -> Result<Again, StateError<I::Error>> {
        let item = self.index.item(origin).map_err(StateError::Index)?;
        let before = self.index.copies_of(origin).map_err(StateError::Index)?;
        let losers: Vec<Version> =
            view(&item.versions, item.has_children).copies.into_iter().cloned().collect();
        if before.is_empty() && losers.is_empty() {
            return Ok(Again::new());
        }
        let mut after: BTreeMap<RelPath, Dot> = BTreeMap::new();
        let mut again = Again::new();
        for loser in &losers {
            for name in conflict_name(origin, loser) {
                let copy = CopyOf { origin: origin.clone(), dot: loser.dot };
                let (is_file, there) = self.index.taken(&name).map_err(StateError::Index)?;
                let other = there.filter(|at| at.origin != *origin);
                let is_others = other.as_ref().is_some_and(|other| *other < copy);
                if is_file || is_others || after.contains_key(&name) {
                    continue;
                }
                again.extend(other.map(|other| other.origin));
                after.insert(name, loser.dot);
                break;
            }
        }
        for (at, dot) in &before {
            if after.get(at) != Some(dot) {
                self.index.set_copy(at, None).map_err(StateError::Index)?;
                self.settle(at)?;
                again.extend(self.waiting_for(at, origin)?);
            }
        }
        let before: BTreeMap<RelPath, Dot> = before.into_iter().collect();
        for (at, dot) in after {
            if before.get(&at) != Some(&dot) {
                let copy = CopyOf { origin: origin.clone(), dot };
                self.index.set_copy(&at, Some(&copy)).map_err(StateError::Index)?;
                self.settle(&at)?;
            }
        }
        Ok(again)
    }

    /// Something stands at a path now, or nothing does any more: a copy there goes elsewhere, and
    /// copies that had to take a longer name because of it take the shorter one (spec: S-012).
    pub(super) fn rename_copies(&mut self, at: &RelPath) -> Result<(), StateError<I::Error>> {
        let item = self.index.item(at).map_err(StateError::Index)?;
        if let Some((copy, _)) = item.copy {
            self.move_copies(&copy.origin)?;
        }
        for origin in self.waiting_for(at, at)? {
            self.move_copies(&origin)?;
        }
        Ok(())
    }

    /// Origins, other than `but`, of copies that might stand at a path if it is free.
    fn waiting_for(&self, at: &RelPath, but: &RelPath) -> Result<Again, StateError<I::Error>> {
        let Some(stem) = copy_stem(at) else { return Ok(Again::new()) };
        let beside = self.index.copies_beginning(&stem).map_err(StateError::Index)?;
        let mut origins: Again = beside.into_iter().map(|copy| copy.origin).collect();
        origins.retain(|origin| origin != but);
        origins.sort_unstable();
        origins.dedup();
        Ok(origins)
    }
}

/// The copy that stands on disk at the path of `item`, if one does.
pub(super) fn copy_on_disk(item: &Item) -> Option<(CopyOf, Version)> {
    let (copy, loser) = item.copy.clone()?;
    let placed = item.placed.as_ref()?;
    (placed.version.dot == loser.dot).then_some((copy, loser))
}
