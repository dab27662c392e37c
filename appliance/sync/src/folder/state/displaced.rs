//! An edit that a change displaced in the very moment in which it was made (F-08): it stands nowhere
//! in the tree, and yet somebody wrote it (spec: S-046).

use super::{FolderState, StateError};
use crate::folder::aside::Why;
use crate::folder::index::Index;
use crate::folder::item::{Found, Placed};
use crate::version::{Version, successor_context};
use farhaul_proto::path_name::RelPath;

impl<I: Index> FolderState<I> {
    /// Takes in what was displaced from `path`; `over` is what its writer saw there. What stands at
    /// the path now was put there without a look at it: the two are concurrent, and one becomes the
    /// other's conflict copy. The version that says what was found: a new one, or one that is known
    /// with that content. What cannot be published, or is not to be yet, stays where it is kept, and
    /// the caller tries it again later: the inner error says why.
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn displaced(
        &mut self,
        path: &RelPath,
        found: Found,
        over: Option<&Version>,
        wall_millis: u64,
    ) -> Result<Result<Version, Why>, StateError<I::Error>> {
        let mut item = self.index.item(path).map_err(StateError::Index)?;
        let Found { content, meta, identity: _ } = found.without_noise();
        let is_that = |version: &&Version| version.content == content;
        if let Some(known) = over.filter(is_that).or_else(|| item.versions.iter().find(is_that)) {
            return Ok(Ok(known.clone()));
        }
        if let Some(why) = self.why_unpublished() {
            return Ok(Err(why));
        }
        let was_live = item.versions.is_live();
        let shown: Vec<&Version> = over.into_iter().collect();
        let context = successor_context(&item.versions, &shown, self.author());
        let said = (content, meta);
        let published = self.publisher.publish_over(&mut item, context, said, &shown, wall_millis);
        let (version, covered) = match published {
            Ok(published) => published,
            Err(unpublished) => return Ok(Err(unpublished.into())),
        };
        self.keep_own(path, version.clone(), &covered)?;
        self.changed(path, was_live)?;
        Ok(Ok(version))
    }

    /// Takes what was found at a path for what a power cut left of the version that was put there:
    /// nobody's edit, and to be fetched again (F-02). If somebody edits it before that, the edit is
    /// one of the version that stood there. Nothing happens where nothing was known to stand.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn damaged(&mut self, path: &RelPath, found: Found) -> Result<(), StateError<I::Error>> {
        let item = self.index.item(path).map_err(StateError::Index)?;
        let Some(placed) = item.placed else { return Ok(()) };
        let Found { content, meta, identity } = found;
        let version = Version { content, meta: meta.clone(), ..placed.version };
        let damaged = Placed { version, meta, identity };
        self.index.set_placed(path, Some(&damaged)).map_err(StateError::Index)?;
        self.settle(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{FileIdentity, MemoryIndex, Publisher, Task};
    use crate::seal::FolderKey;
    use crate::version::{Author, Content, Incarnation, ManifestId, Meta, Serial};
    use farhaul_proto::ids::SiteId;
    use farhaul_proto::units::Bytes;

    fn file(n: u8) -> Content {
        Content::File { manifest: ManifestId([n; 32]), size: Bytes::new(3) }
    }

    fn found(n: u8) -> Found {
        let identity = FileIdentity { inode: n.into(), ..FileIdentity::default() };
        Found { content: file(n), meta: Meta::default(), identity }
    }

    fn state() -> FolderState<MemoryIndex> {
        let author = Author { site: SiteId([1; 32]), incarnation: Incarnation::new(1) };
        let publisher = Publisher::new(author, Serial::FIRST);
        FolderState::new(MemoryIndex::default(), FolderKey([9; 32]), publisher)
    }

    #[test]
    fn an_edit_that_was_displaced_stands_beside_what_displaced_it() {
        let mut state = state();
        let path = RelPath::parse(b"a").expect("a path");
        state.observe(&path, Some(found(1)), 1000).expect("published");
        let old = state.index().item(&path).expect("there").versions.iter().next().cloned();
        let old = old.expect("one version");
        // What a change puts there, as if a neighbour had said it.
        state.observe(&path, Some(found(2)), 2000).expect("published");
        let edit =
            state.displaced(&path, found(3), Some(&old), 3000).expect("kept").expect("published");
        let item = state.index().item(&path).expect("there");
        assert_eq!(item.versions.iter().count(), 2);
        assert_eq!(item.versions.get(edit.dot).map(|edit| &edit.content), Some(&file(3)));
        assert_eq!(item.placed.map(|placed| placed.version.content), Some(file(2)));
        assert_eq!(state.index().copies_of(&path).expect("there").len(), 1);
        // It is the newer of the two: it goes back to the path, and what displaced it beside it.
        assert_eq!(state.task(&path).expect("a task"), Task::Place(edit.clone()));
        // Said once, however often it is looked at.
        let again = state.displaced(&path, found(3), Some(&old), 4000).expect("kept");
        assert_eq!(again, Ok(edit));
    }

    #[test]
    fn damage_is_no_edit_and_what_stood_there_is_put_back() {
        let mut state = state();
        let path = RelPath::parse(b"a").expect("a path");
        state.observe(&path, Some(found(1)), 1000).expect("published");
        state.damaged(&path, found(2)).expect("taken in");
        let item = state.index().item(&path).expect("there");
        let old = item.versions.iter().next().cloned().expect("one version");
        assert_eq!((item.versions.iter().count(), &old.content), (1, &file(1)));
        assert_eq!(state.task(&path).expect("a task"), Task::Place(old.clone()));
        assert!(!state.observe(&path, Some(found(2)), 2000).expect("looked"), "and stays none");
        // A user's edit of what is left is an edit of what was there.
        assert!(state.observe(&path, Some(found(3)), 3000).expect("published"));
        let item = state.index().item(&path).expect("there");
        let held: Vec<_> = item.versions.iter().collect();
        assert!(held.len() == 1 && held[0].covers(&old) && held[0].content == file(3));
    }

    #[test]
    fn what_was_displaced_and_holds_what_it_held_is_no_edit() {
        let mut state = state();
        let path = RelPath::parse(b"a").expect("a path");
        state.observe(&path, Some(found(1)), 1000).expect("published");
        let item = state.index().item(&path).expect("there");
        let old = item.versions.iter().next().cloned().expect("one version");
        state.observe(&path, None, 2000).expect("published");
        let known = state.displaced(&path, found(1), Some(&old), 3000).expect("kept");
        assert_eq!(known, Ok(old.clone()));
        // And what was edited outlives a deletion that nobody made with a look at it.
        let said = state.displaced(&path, found(2), Some(&old), 4000).expect("kept");
        said.expect("published");
        let item = state.index().item(&path).expect("there");
        assert!(item.versions.is_live());
    }
}
