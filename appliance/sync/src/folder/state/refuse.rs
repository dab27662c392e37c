//! A person says that a record which was set aside is of no use: its version goes everywhere, and what
//! stands here stays.

use super::{FolderState, StateError};
use crate::folder::aside::Aside;
use crate::folder::index::Index;
use crate::folder::item::Item;
use crate::folder::publish::Unpublished;
use crate::record::Record;
use crate::seal::RUN_MAX;
use crate::version::{Content, Context, Meta, Version, refusal_context, view};
use farhaul_proto::path_name::RelPath;

impl<I: Index> FolderState<I> {
    /// Refuses a record that was set aside. What its author had seen stands no more wherever its
    /// version is; so what of that stands here is published again over it, and where nothing does its
    /// version is deleted. Nothing else changes. Whether it was done; it cannot be where its path is
    /// crowded (spec: S-066).
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn refuse_aside(
        &mut self,
        aside: &Aside,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        self.check_may_publish()?;
        let records = aside.run.open().map_err(|_| StateError::Unproven)?;
        for Record { path, version } in records {
            if !self.refuse_version(&path, &version, wall_millis)? {
                return Ok(false);
            }
        }
        self.index.set_aside(aside.dot, None).map_err(StateError::Index)?;
        Ok(true)
    }

    fn refuse_version(
        &mut self,
        path: &RelPath,
        refused: &Version,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        let mut item = self.index.item(path).map_err(StateError::Index)?;
        if item.versions.iter().any(|held| held.covers(refused)) {
            return Ok(true);
        }
        let was_live = item.versions.is_live();
        let context = refusal_context(&item.versions, refused, self.author());
        let again = standing_again(&item, &context);
        if again.len() > RUN_MAX {
            return Ok(false);
        }
        // Each is newer than the one before, so what is shown stays what is shown.
        let mut seen: Vec<Version> = again.iter().cloned().chain([refused.clone()]).collect();
        let mut said: Vec<(Content, Meta)> =
            again.into_iter().map(|version| (version.content, version.meta)).collect();
        if said.is_empty() {
            said.push((Content::Gone, Meta::default()));
        }
        for said in said {
            let shown: Vec<&Version> = seen.iter().collect();
            let context = context.clone();
            let published =
                self.publisher.publish_over(&mut item, context, said, &shown, wall_millis);
            let (version, covered) = match published {
                // The first one: each of the others takes the place of one that it covered.
                Err(Unpublished::Crowded(_)) => return Ok(false),
                published => published.map_err(StateError::Unpublished)?,
            };
            self.keep_own(path, version.clone(), &covered)?;
            seen.push(version);
        }
        self.changed(path, was_live)?;
        Ok(true)
    }
}

/// What users see of a path and `context` covers, what is shown last.
fn standing_again(item: &Item, context: &Context) -> Vec<Version> {
    let seen = view(&item.versions, item.has_children);
    let mut seen: Vec<&Version> =
        seen.copies.into_iter().rev().chain(seen.shown.version()).collect();
    seen.retain(|version| context.contains(version.dot));
    seen.into_iter().cloned().collect()
}
