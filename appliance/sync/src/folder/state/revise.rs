//! What somebody wants to stand at a path without writing it into the tree: versions are published
//! first, and the body puts them in place as it does with any other.

use super::{FolderState, StateError};
use crate::folder::index::Index;
use crate::version::{Content, Meta, Shown, Version, successor_context, view};
use farhaul_proto::path_name::RelPath;

impl<I: Index> FolderState<I> {
    /// Publishes `content` at `path` as an edit over what this site last put or found there. Its
    /// bytes have to be at this site. Whether anything was published: what is shown already is not.
    ///
    /// What came from others and is not in place yet was seen by nobody: it is not covered, and both
    /// stand in the end (spec: S-004).
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn revise(
        &mut self,
        path: &RelPath,
        content: Content,
        meta: Meta,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        self.check_may_publish()?;
        let item = self.index.item(path).map_err(StateError::Index)?;
        if let Some((copy, _)) = &item.copy {
            // What is to stand there is a file of its own from now on (spec: S-013).
            self.dismiss(copy, wall_millis)?.map_err(StateError::Unpublished)?;
        }
        let item = self.index.item(path).map_err(StateError::Index)?;
        let stood = item.placed.as_ref().map(|placed| placed.version.clone());
        // The loser of another path's conflict is no version of this one.
        let stood = stood.filter(|stood| item.copy.is_none() && is_of(stood, &item));
        let is_same = match view(&item.versions, item.has_children).shown {
            Shown::Version(shown) => shown.content == content && shown.meta == meta,
            Shown::Absent => content == Content::Gone,
            Shown::ImpliedDir => content == Content::Dir,
        };
        if is_same {
            return Ok(false);
        }
        self.publish_revision(path, stood.as_slice(), (content, meta), wall_millis)?;
        Ok(true)
    }

    /// Ends the conflict whose copy stands, or is to stand, at `copy`: it goes, or what is shown
    /// does and the copy's content takes its place. `false` where there is none.
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn end_conflict(
        &mut self,
        copy: &RelPath,
        keeps_copy: bool,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        let item = self.index.item(copy).map_err(StateError::Index)?;
        let Some((copy, loser)) = item.copy else { return Ok(false) };
        self.check_may_publish()?;
        if !keeps_copy {
            self.dismiss(&copy, wall_millis)?.map_err(StateError::Unpublished)?;
            return Ok(true);
        }
        let origin = self.index.item(&copy.origin).map_err(StateError::Index)?;
        let shown = match view(&origin.versions, origin.has_children).shown {
            Shown::Version(shown) => Some(shown.clone()),
            Shown::Absent | Shown::ImpliedDir => None,
        };
        let revised = (loser.content.clone(), loser.meta.clone());
        let seen: Vec<Version> = shown.into_iter().chain([loser]).collect();
        self.publish_revision(&copy.origin, &seen, revised, wall_millis)?;
        Ok(true)
    }

    pub(super) fn publish_revision(
        &mut self,
        path: &RelPath,
        seen: &[Version],
        revised: (Content, Meta),
        wall_millis: u64,
    ) -> Result<(), StateError<I::Error>> {
        self.check_may_publish()?;
        let mut item = self.index.item(path).map_err(StateError::Index)?;
        let was_live = item.versions.is_live();
        let seen: Vec<&Version> = seen.iter().collect();
        let author = self.publisher.author();
        let context = successor_context(&item.versions, &seen, author);
        let published =
            self.publisher.publish_over(&mut item, context, revised, &seen, wall_millis);
        let (version, covered) = published.map_err(StateError::Unpublished)?;
        self.keep_own(path, version, &covered)?;
        self.changed(path, was_live)
    }
}

/// Whether what stands at a path is a version of it, or one that versions of it cover.
fn is_of(stood: &Version, item: &crate::folder::Item) -> bool {
    item.versions.iter().any(|version| version.covers(stood))
}

#[cfg(test)]
mod tests;
