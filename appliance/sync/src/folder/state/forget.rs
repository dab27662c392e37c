//! A person ends the wait for a version whose content nobody has any more.

use super::{FolderState, StateError};
use crate::folder::index::{CopyOf, Index};
use crate::version::Dot;
use farhaul_proto::path_name::RelPath;

impl<I: Index> FolderState<I> {
    /// Ends the wait for the version `dot` at `path`, everywhere: what stands at the path here is
    /// published over it, and where nothing of it does that version alone is deleted, as a conflict
    /// copy is. Whoever has its content after all keeps it as what was displaced. Whether the version
    /// was wanted there (spec: S-067).
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn forget(
        &mut self,
        path: &RelPath,
        dot: Dot,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        self.check_may_publish()?;
        let item = self.index.item(path).map_err(StateError::Index)?;
        if let Some((copy, _)) = item.copy.as_ref().filter(|(_, loser)| loser.dot == dot) {
            self.dismiss(copy, wall_millis)?.map_err(StateError::Unpublished)?;
            return Ok(true);
        }
        let Some(lost) = item.versions.get(dot).cloned() else { return Ok(false) };
        // The loser of another path's conflict is no version of this one.
        let stood =
            item.placed.filter(|placed| item.copy.is_none() && lost.covers(&placed.version));
        match stood {
            Some(placed) => {
                let again = (placed.version.content.clone(), placed.meta);
                let seen = [placed.version, lost];
                self.publish_revision(path, &seen, again, wall_millis)?;
            }
            None => {
                let lost = CopyOf { origin: path.clone(), dot };
                self.dismiss(&lost, wall_millis)?.map_err(StateError::Unpublished)?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
