//! What this site may not publish, or not do, by its role: edits of its own stay until something
//! newer comes or a person reverts them, and go into the version store then (spec: S-142).

use super::{FolderState, StateError};
use crate::folder::aside::{Look, Why};
use crate::folder::index::Index;
use crate::folder::item::{Item, Placed, Want};
use crate::version::{Context, Dot, Stamp, Version};
use farhaul_proto::path_name::RelPath;

impl<I: Index> FolderState<I> {
    /// Why nothing is published at all.
    pub(super) fn why_unpublished(&self) -> Option<Why> {
        if !self.policy.rights.own().publishes() {
            Some(Why::ReadOnly)
        } else if self.publisher.is_silent() {
            Some(Why::Listening)
        } else {
            None
        }
    }

    /// The same, for who orders that something is published.
    pub(super) fn check_may_publish(&self) -> Result<(), StateError<I::Error>> {
        match self.why_unpublished() {
            None => Ok(()),
            Some(Why::ReadOnly) => Err(StateError::ReadOnly),
            Some(_) => Err(StateError::Listening),
        }
    }

    /// What is to be done, as far as this site's role has it do that.
    pub(super) fn allowed<'a>(&self, item: &'a Item) -> Want<'a> {
        let us = self.publisher.author().site;
        let is_ours = |version: &Version| version.dot.author.site == us;
        let receives = self.policy.rights.own().receives();
        match item.want() {
            // An archive (spec: S-144). A copy of a conflict that is over was deleted by nobody.
            Want::Remove if self.policy.keeps_deleted && !item.versions.is_empty() => Want::Settled,
            Want::Remove if !receives && !item.versions.iter().all(is_ours) => Want::Settled,
            Want::Place(version) | Want::SetMeta(version) | Want::Adopt(version)
                if !receives && !is_ours(version) =>
            {
                Want::Settled
            }
            Want::MakeDir if !receives => Want::Settled,
            want => want,
        }
    }

    /// Whether something else is to stand at a path than what an edit there was made over.
    pub(super) fn is_overtaken(&self, item: &Item) -> bool {
        !matches!(self.allowed(item), Want::Settled | Want::Adopt(_))
    }

    /// What was found at a path and is published by nobody gives way to what is to stand there. It is
    /// in the version store then, under no author's name.
    pub(super) fn give_way(
        &mut self,
        path: &RelPath,
        look: Look,
    ) -> Result<(), StateError<I::Error>> {
        let placed = look.found.map(|found| {
            let stamp = Stamp { millis: look.wall_millis, count: 0 };
            let (meta, content) = (found.meta.clone(), found.content);
            let (dot, context) = (Dot::NOBODY, Context::new());
            let version = Version { dot, context, stamp, content, meta: found.meta };
            Placed { version, meta, identity: found.identity }
        });
        self.index.set_placed(path, placed.as_ref()).map_err(StateError::Index)?;
        self.index.set_look(path, None).map_err(StateError::Index)?;
        self.settle(path)
    }

    /// Takes back an edit that waits because this site may not publish it: what it stands in place of
    /// comes back, and it goes into the version store. Whether there was one.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn revert(&mut self, path: &RelPath) -> Result<bool, StateError<I::Error>> {
        self.take_back(path, Why::ReadOnly)
    }

    pub(super) fn take_back(
        &mut self,
        path: &RelPath,
        why: Why,
    ) -> Result<bool, StateError<I::Error>> {
        match self.index.look(path).map_err(StateError::Index)? {
            Some(look) if look.why == why => {
                self.give_way(path, look)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Forgets what stands at a path that is left out from now on. Nothing is done about it and
    /// nothing published; should it be looked at again, it is as if it were found for the first time,
    /// and what is gone by then was not deleted by anybody (spec: S-157).
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn leave_out(&mut self, path: &RelPath) -> Result<(), StateError<I::Error>> {
        self.index.set_placed(path, None).map_err(StateError::Index)?;
        self.index.set_look(path, None).map_err(StateError::Index)?;
        self.index.set_unsettled(path, false).map_err(StateError::Index)
    }

    /// Finds out anew whether something is to be done at a path: the rules of its folder changed.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn reconsider(&mut self, path: &RelPath) -> Result<(), StateError<I::Error>> {
        self.settle(path)
    }
}
