//! Orders about what waits: edits that this site may not publish are taken back, records that were set
//! aside are taken in or deleted.

use super::ask::AskError;
use super::folder::{Folder, wall_millis};
use crate::index::Durability;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Aside, Index as _, StateError, Why};
use farhaul_sync::version::Dot;

/// Looks that are gone through in one transaction.
const PAGE: usize = 256;

impl Folder {
    /// Takes back edits that this site may not publish, at a path and beneath it, or anywhere. What
    /// they stand in place of comes back. How many there were.
    pub(super) fn revert(&mut self, within: Option<&RelPath>) -> Result<u64, AskError> {
        if self.is_paused {
            return Err(AskError::Paused);
        }
        let (mut after, mut count) = (None, 0);
        loop {
            let looks = self.index.read().looks(after.as_ref(), PAGE);
            let looks = looks.map_err(super::FolderError::Index)?;
            let is_last = looks.len() < PAGE;
            after = looks.last().map(|(path, _)| path.clone());
            let is_one = |path: &RelPath| within.is_none_or(|within| path.starts_with(within));
            let edits = looks.into_iter().filter(|(_, look)| look.why == Why::ReadOnly);
            let edits: Vec<RelPath> =
                edits.map(|(path, _)| path).filter(|path| is_one(path)).collect();
            if !edits.is_empty() {
                count += self.change(Durability::Now, |state| {
                    let mut count = 0;
                    for path in &edits {
                        count += u64::from(state.revert(path)?);
                    }
                    Ok(count)
                })?;
            }
            if is_last {
                return Ok(count);
            }
        }
    }

    /// Takes in a record that was set aside, or deletes that version everywhere.
    pub(super) fn decide_aside(&mut self, dot: Dot, accepts: bool) -> Result<RelPath, AskError> {
        let aside = self.aside_of(dot)?.ok_or(AskError::NotAside)?;
        let path = aside.path.clone();
        let is_done = self.change(Durability::Now, |state| {
            if accepts {
                state.accept_aside(&aside)?;
                // It is back where it was if there is still no room for it.
                let left = state.index().asides(None, usize::MAX).map_err(StateError::Index)?;
                Ok(left.iter().all(|left| left.dot != dot))
            } else {
                Ok(state.refuse_aside(&aside, wall_millis())?)
            }
        })?;
        if is_done { Ok(path) } else { Err(AskError::Crowded { path }) }
    }

    fn aside_of(&self, dot: Dot) -> Result<Option<Aside>, AskError> {
        let mut after = None;
        loop {
            let page = self.index.read().asides(after, PAGE);
            let page = page.map_err(super::FolderError::Index)?;
            let Some(last) = page.last() else { return Ok(None) };
            after = Some(last.dot);
            if let Some(found) = page.into_iter().find(|aside| aside.dot == dot) {
                return Ok(Some(found));
            }
        }
    }
}
