//! Mass changes: what they would do to files here is weighed before it is published or done, and held
//! where it is too much until a person confirms or refuses it (spec: S-150).

use super::harm::takes_away;
use super::{FolderState, StateError};
use crate::folder::aside::{Look, Why};
use crate::folder::brake::{Brake, Load, Origin, Trip};
use crate::folder::index::Index;
use crate::folder::item::{Found, Item, Placed};
use crate::folder::publish::{Judged, judge};
use crate::version::{Content, ManifestId, Meta, Shown, view};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use std::collections::{BTreeMap, BTreeSet};

/// Looks and paths that are gone through at a time.
const PAGE: usize = 256;

/// Some paths, and from behind which one to go on.
type Page = (Vec<RelPath>, Option<RelPath>);
/// Names of a content of which one has to stand elsewhere for it to be no loss.
const NAMES: usize = 16;

/// A file that a version of others would delete or rewrite.
#[derive(Clone, Debug)]
pub(super) struct Heavy {
    pub(super) path: RelPath,
    pub(super) origin: Origin,
    pub(super) is_deleted: bool,
    pub(super) stood: Content,
}

impl<I: Index> FolderState<I> {
    fn counted(&mut self) -> Result<&mut Brake, StateError<I::Error>> {
        match &mut self.brake {
            Some(brake) => Ok(brake),
            none => Ok(none.insert(self.index.brake().map_err(StateError::Index)?)),
        }
    }

    pub(super) fn is_on(&mut self, origin: Origin) -> Result<bool, StateError<I::Error>> {
        if self.policy.brake.is_none() {
            return Ok(false);
        }
        Ok(self.counted()?.is_on(origin))
    }

    pub(super) fn origin_of(&self, site: SiteId) -> Origin {
        if self.policy.rights.knows(site) { Origin::Site(site) } else { Origin::Others }
    }

    /// What waits for a person.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn trips(&mut self) -> Result<Vec<(Origin, Trip)>, StateError<I::Error>> {
        if self.policy.brake.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.counted()?.trips().map(|(origin, trip)| (origin, trip.clone())).collect())
    }

    /// Whether what was found is not published now: it takes something away, and the disk is braked.
    /// A directory goes with what was in it.
    pub(super) fn is_braked(
        &mut self,
        placed: Option<&Placed>,
        found: Option<&Found>,
    ) -> Result<bool, StateError<I::Error>> {
        let Some(placed) = placed else { return Ok(false) };
        let takes = found.is_none_or(|found| found.content != placed.version.content);
        Ok(takes && self.is_on(Origin::Disk)?)
    }

    /// Weighs what was found before it is taken in: all that comes together at once. Where it is too
    /// much, none of what it takes away is published (spec: S-151).
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn weigh_looks(
        &mut self,
        looks: &[(RelPath, Option<Found>)],
        wall_millis: u64,
    ) -> Result<(), StateError<I::Error>> {
        if self.policy.brake.is_none() || !self.policy.rights.own().publishes() {
            return Ok(());
        }
        let (mut load, mut gone) = (Load::default(), BTreeSet::new());
        let mut lost: Vec<(&RelPath, ManifestId)> = Vec::new();
        for (path, found) in looks {
            let Some(placed) = self.index.placed(path).map_err(StateError::Index)? else {
                continue;
            };
            let stood = &placed.version.content;
            if found.as_ref().is_some_and(|found| found.content == *stood) {
                continue;
            }
            if found.is_none() {
                gone.insert(path);
            }
            // What waits already was weighed when it was first seen.
            let before = self.index.look(path).map_err(StateError::Index)?;
            let is_seen =
                before.is_some_and(|look| look.found == found.clone().map(Found::without_noise));
            let item = self.index.item(path).map_err(StateError::Index)?;
            let is_new = judge(&item, found.as_ref()) == Judged::New;
            match (stood, found) {
                _ if is_seen || !is_new || *stood == Content::Dir => {}
                (Content::File { manifest, .. }, None) => lost.push((path, *manifest)),
                (_, found) => load.add(path, found.is_none()),
            }
        }
        let here = looks.iter().filter_map(|(_, found)| manifest_of(&found.as_ref()?.content));
        let here: BTreeSet<ManifestId> = here.collect();
        for (path, manifest) in lost {
            // It was renamed, or there are more of it.
            if !here.contains(&manifest) && !self.stands_but_at(manifest, &gone)? {
                load.add(path, true);
            }
        }
        let count = gone.len() as u64;
        load.is_all =
            count > 0 && self.index.standing(count + 1).map_err(StateError::Index)? == count;
        self.weigh(Origin::Disk, &load, wall_millis)
    }

    /// Whether a content stands somewhere else than where it goes.
    fn stands_but_at(
        &self,
        manifest: ManifestId,
        gone: &BTreeSet<&RelPath>,
    ) -> Result<bool, StateError<I::Error>> {
        let names = self.index.standing_with(manifest, NAMES).map_err(StateError::Index)?;
        for path in names.iter().filter(|path| !gone.contains(path)) {
            // What is held to be deleted, or is gone already, is not there.
            let look = self.index.look(path).map_err(StateError::Index)?;
            let is_there = look.is_none_or(|look| {
                look.found.is_some_and(|found| manifest_of(&found.content) == Some(manifest))
            });
            // Nor is what others' versions are to take away.
            if is_there && !self.is_harmed(&self.index.item(path).map_err(StateError::Index)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Weighs what others' versions that were just taken in would do, before any of it is done: all
    /// that one message told. What is told after that is another message.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn weigh_learned(&mut self, wall_millis: u64) -> Result<(), StateError<I::Error>> {
        self.known.clear();
        let heavy = core::mem::take(&mut self.heavy);
        let gone = heavy.iter().filter(|heavy| heavy.is_deleted).map(|heavy| &heavy.path);
        let gone: BTreeSet<&RelPath> = gone.collect();
        let mut loads: BTreeMap<Origin, Load> = BTreeMap::new();
        for Heavy { path, origin, is_deleted, stood } in &heavy {
            let is_kept = match manifest_of(stood) {
                Some(manifest) if *is_deleted => self.stands_but_at(manifest, &gone)?,
                _ => false,
            };
            if !is_kept {
                loads.entry(*origin).or_default().add(path, *is_deleted);
            }
        }
        loads.iter().try_for_each(|(origin, load)| self.weigh(*origin, load, wall_millis))
    }

    fn weigh(
        &mut self,
        origin: Origin,
        load: &Load,
        wall_millis: u64,
    ) -> Result<(), StateError<I::Error>> {
        let Some(limits) = self.policy.brake.filter(|_| load.count() > 0) else { return Ok(()) };
        let (before, gone) = self.counted()?.counted(origin, &limits, wall_millis);
        let enough = limits.enough(before.saturating_add(load.count()));
        let of = self.index.standing(enough).map_err(StateError::Index)?;
        let was_on = self.counted()?.is_on(origin);
        let is_on = self.counted()?.weigh(origin, load, of + gone, (&limits, wall_millis));
        if is_on && !was_on {
            let of = self.index.standing(u64::MAX).map_err(StateError::Index)?;
            self.counted()?.set_of(origin, of + gone);
        }
        self.keep_brake()
    }

    fn keep_brake(&mut self) -> Result<(), StateError<I::Error>> {
        match &self.brake {
            Some(brake) => self.index.set_brake(brake).map_err(StateError::Index),
            None => Ok(()),
        }
    }

    /// From where what is to be done at a path comes, if it is held.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn held(&mut self, path: &RelPath) -> Result<Option<Origin>, StateError<I::Error>> {
        let item = self.index.item(path).map_err(StateError::Index)?;
        self.held_by(path, &item)
    }

    /// Lets go what is held: it is meant. What it was, if anything was held; what was found on disk
    /// is to be looked at again by the caller.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn confirm(&mut self, origin: Origin) -> Result<Option<Trip>, StateError<I::Error>> {
        let released = self.counted()?.release(origin);
        self.keep_brake()?;
        Ok(released)
    }

    /// Undoes what is held, from behind `after`, some of it at a time: where to go on; `None`: that
    /// was all, and the brake is off. What was found on disk gives way to what stood there; what
    /// others published is overwritten, everywhere, by what stands here (spec: S-152).
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn refuse(
        &mut self,
        origin: Origin,
        after: Option<&RelPath>,
        wall_millis: u64,
    ) -> Result<Option<RelPath>, StateError<I::Error>> {
        let next = match origin {
            Origin::Disk => {
                let looks = self.index.looks(after, PAGE).map_err(StateError::Index)?;
                for (path, _) in &looks {
                    self.take_back(path, Why::Braked)?;
                }
                looks.get(PAGE - 1).map(|(path, _)| path.clone())
            }
            Origin::Site(_) | Origin::Others => {
                self.check_may_publish()?;
                // A run has as many records: all of these are signed together.
                let paths =
                    self.index.unsettled_from(after, PAGE / 2).map_err(StateError::Index)?;
                for path in &paths {
                    self.overrule(path, origin, wall_millis)?;
                }
                paths.get(PAGE / 2 - 1).cloned()
            }
        };
        if next.is_none() {
            self.confirm(origin)?;
        }
        Ok(next)
    }

    /// Publishes what stands at a path over what is held there.
    fn overrule(
        &mut self,
        path: &RelPath,
        origin: Origin,
        wall_millis: u64,
    ) -> Result<(), StateError<I::Error>> {
        let item = self.index.item(path).map_err(StateError::Index)?;
        if self.held_by(path, &item)? != Some(origin) {
            return self.overrule_beneath(path, &item, origin, wall_millis);
        }
        let Some(placed) = &item.placed else { return Ok(()) };
        let mut seen = vec![placed.version.clone()];
        if let Shown::Version(shown) = view(&item.versions, item.has_children).shown {
            seen.push(shown.clone());
        }
        let what = (placed.version.content.clone(), placed.meta.clone());
        self.publish_revision(path, &seen, what, wall_millis)
    }

    /// Takes back what was put beneath a file that is held, so that it can stay a file.
    fn overrule_beneath(
        &mut self,
        path: &RelPath,
        item: &Item,
        origin: Origin,
        wall_millis: u64,
    ) -> Result<(), StateError<I::Error>> {
        let Shown::Version(shown) = view(&item.versions, false).shown else { return Ok(()) };
        if item.placed.is_some() || self.origin_of(shown.dot.author.site) != origin {
            return Ok(());
        }
        let mut above = path.parent();
        while let Some(parent) = above {
            let item = self.index.item(&parent).map_err(StateError::Index)?;
            if item.placed.as_ref().is_some_and(|placed| placed.version.content != Content::Dir) {
                if self.held_by(&parent, &item)? == Some(origin) {
                    let shown = shown.clone();
                    let gone = (Content::Gone, Meta::default());
                    return self.publish_revision(path, &[shown], gone, wall_millis);
                }
                return Ok(());
            }
            above = parent.parent();
        }
        Ok(())
    }

    /// Lets go what is held if it turned out to be less: files that were renamed stand elsewhere by
    /// now. Whether it was (spec: S-153).
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn reweigh(&mut self, origin: Origin) -> Result<bool, StateError<I::Error>> {
        let Some(limits) = self.policy.brake else { return Ok(false) };
        let trips = self.trips()?;
        let Some((_, trip)) = trips.into_iter().find(|(of, _)| *of == origin) else {
            return Ok(false);
        };
        let (mut held, mut after) = (0, None);
        loop {
            let (paths, next) = self.held_from(origin, after.as_ref())?;
            for path in paths {
                let placed = self.index.placed(&path).map_err(StateError::Index)?;
                let stood = placed.map(|placed| placed.version.content);
                let only = BTreeSet::from([&path]);
                let is_deleted = self.is_held_deletion(origin, &path)?;
                let is_kept = match stood.as_ref().and_then(manifest_of) {
                    Some(manifest) if is_deleted => self.stands_but_at(manifest, &only)?,
                    _ => false,
                };
                held += u64::from(!is_kept);
            }
            if trip.is_mass(&limits, held) {
                return Ok(false);
            }
            match next {
                Some(_) => after = next,
                None => break,
            }
        }
        self.confirm(origin)?;
        Ok(true)
    }

    /// Files that are held, from behind `after`, and where to go on.
    fn held_from(
        &mut self,
        origin: Origin,
        after: Option<&RelPath>,
    ) -> Result<Page, StateError<I::Error>> {
        if origin == Origin::Disk {
            let looks = self.index.looks(after, PAGE).map_err(StateError::Index)?;
            let next = looks.get(PAGE - 1).map(|(path, _)| path.clone());
            let braked = looks.into_iter().filter(|(_, look)| look.why == Why::Braked);
            let mut held = Vec::new();
            for (path, _) in braked {
                let placed = self.index.placed(&path).map_err(StateError::Index)?;
                if placed.is_some_and(|placed| placed.version.content != Content::Dir) {
                    held.push(path);
                }
            }
            return Ok((held, next));
        }
        let paths = self.index.unsettled_from(after, PAGE).map_err(StateError::Index)?;
        let next = paths.get(PAGE - 1).cloned();
        let mut held = Vec::new();
        for path in paths {
            let item = self.index.item(&path).map_err(StateError::Index)?;
            if self.held_by(&path, &item)? == Some(origin) {
                held.push(path);
            }
        }
        Ok((held, next))
    }

    fn is_held_deletion(
        &self,
        origin: Origin,
        path: &RelPath,
    ) -> Result<bool, StateError<I::Error>> {
        if origin == Origin::Disk {
            let look = self.index.look(path).map_err(StateError::Index)?;
            return Ok(look.is_some_and(|Look { found, .. }| found.is_none()));
        }
        Ok(takes_away(&self.index.item(path).map_err(StateError::Index)?))
    }
}

fn manifest_of(content: &Content) -> Option<ManifestId> {
    match content {
        Content::File { manifest, .. } => Some(*manifest),
        Content::Gone | Content::Dir | Content::Symlink { .. } => None,
    }
}
