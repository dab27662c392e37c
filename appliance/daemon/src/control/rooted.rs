//! What was root's here stays that where it is put in place again: the protection is against what others
//! say, not against what this site had (spec: S-173).

use super::folder::{Folder, FolderError};
use crate::scan::identity_of;
use crate::store::{Ready, Rooted, StoreError};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::Version;

impl Folder {
    /// What is ready to be put at a path, given back to root if as this version it was root's here.
    pub(super) fn as_it_was(
        &self,
        path: &RelPath,
        ready: &Ready,
        version: &Version,
    ) -> Result<Result<Ready, StoreError>, FolderError> {
        let said = self.store.says_root(&version.meta);
        if !said.is_any() || !self.store.guards_root() {
            return Ok(Ok(ready.clone()));
        }
        let was = said.and(self.was_roots(path, version)?);
        if !was.is_any() {
            return Ok(Ok(ready.clone()));
        }
        Ok(self.store.give_back(ready, was))
    }

    /// What of a version was root's where it stood here: it stands at its path or as a conflict copy,
    /// or was displaced from there and is kept.
    fn was_roots(&self, path: &RelPath, version: &Version) -> Result<Rooted, FolderError> {
        let reading = self.index.read();
        let mut places = vec![path.clone()];
        if let Some((copy, _)) = reading.item(path)?.copy {
            places.push(copy.origin);
        }
        let copies = reading.copies_of(path)?.into_iter();
        places.extend(copies.filter(|(_, dot)| *dot == version.dot).map(|(at, _)| at));
        // What a person of this site brought back is what it was, under a new name.
        let is_ours = version.dot.author.site == self.index.author().site;
        let is_that = |other: &Version| {
            let is_same = other.content == version.content && other.meta == version.meta;
            other.dot == version.dot || (is_ours && is_same)
        };
        for at in places {
            if let Some(placed) =
                reading.item(&at)?.placed.filter(|placed| is_that(&placed.version))
                && let Ok(found) = self.store.root().stat(&at)
                && identity_of(&found) == placed.identity
            {
                return Ok(Rooted::of(&found));
            }
            for kept in reading.kept_of(&at)? {
                if kept.version.as_ref().is_some_and(is_that)
                    && let Some(found) = self.store.kept_meta(&kept.name)?
                {
                    return Ok(Rooted::of(&found));
                }
            }
        }
        Ok(Rooted::default())
    }
}
