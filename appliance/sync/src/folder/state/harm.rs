//! What versions of others would take from here: from which paths, and whose versions they are. What
//! one record says of its own path may take away a file elsewhere: above it, where a directory has to
//! be now, and where the copy of a conflict stands that it ends (spec: S-150).

use super::mass::Heavy;
use super::{FolderState, StateError};
use crate::folder::brake::Origin;
use crate::folder::index::Index;
use crate::folder::item::{Item, Want};
use crate::version::{Content, Dot, Version, copy_origin};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;

/// Paths beneath one that are looked at for who made them.
const BENEATH: usize = 16;

/// Whose versions they are that take a file away.
enum By {
    /// Versions of these sites.
    Sites(Vec<SiteId>),
    /// Somebody's; what is kept does not tell.
    Somebody,
}

impl<I: Index> FolderState<I> {
    /// Whether a file or link that stands at a path would go, or get another content.
    pub(super) fn is_harmed(&self, item: &Item) -> bool {
        let Some(placed) = item.placed.as_ref().filter(|_| self.policy.brake.is_some()) else {
            return false;
        };
        let is_file = placed.version.content != Content::Dir;
        is_file && matches!(self.allowed(item), Want::Remove | Want::Place(_) | Want::MakeDir)
    }

    /// Remembers that `version` harms what stands at a path; a copy whose content it takes does not go.
    pub(super) fn note_harm(&mut self, path: &RelPath, item: &Item, version: &Version) {
        let Some(placed) = &item.placed else { return };
        let author = version.dot.author.site;
        if author == self.publisher.author().site || version.content == placed.version.content {
            return;
        }
        let (path, origin) = (path.clone(), self.origin_of(author));
        let is_deleted = takes_away(item);
        self.heavy.push(Heavy { path, origin, is_deleted, stood: placed.version.content.clone() });
    }

    /// Paths at which a file stands unharmed that a version at `path` may harm without being one of
    /// theirs: those above it where it is something new, and copies of what it covers.
    pub(super) fn at_stake(
        &self,
        path: &RelPath,
        covered: &[Version],
        is_new: bool,
    ) -> Result<Vec<RelPath>, StateError<I::Error>> {
        let mut at_stake = Vec::new();
        if self.policy.brake.is_none() {
            return Ok(at_stake);
        }
        if !covered.is_empty() {
            let copies = self.index.copies_of(path).map_err(StateError::Index)?;
            let ends = |dot: Dot| covered.iter().any(|covered| covered.dot == dot);
            at_stake.extend(copies.into_iter().filter(|(_, dot)| ends(*dot)).map(|(at, _)| at));
        }
        let mut above = path.parent().filter(|_| is_new);
        while let Some(parent) = above {
            above = parent.parent();
            let placed = self.index.placed(&parent).map_err(StateError::Index)?;
            match placed.map(|placed| placed.version.content) {
                // All above it are directories as well.
                Some(Content::Dir) => break,
                Some(_) => at_stake.push(parent),
                None => {}
            }
        }
        let mut unharmed = Vec::new();
        for at in at_stake {
            if !self.is_harmed(&self.index.item(&at).map_err(StateError::Index)?) {
                unharmed.push(at);
            }
        }
        Ok(unharmed)
    }

    /// From where what is to be done at a path comes, if it is held.
    pub(super) fn held_by(
        &mut self,
        path: &RelPath,
        item: &Item,
    ) -> Result<Option<Origin>, StateError<I::Error>> {
        if !self.is_harmed(item) {
            return Ok(None);
        }
        let sites = match self.harmed_by(path, item)? {
            By::Sites(sites) => sites,
            By::Somebody => {
                let mut trips = self.trips()?.into_iter().map(|(origin, _)| origin);
                return Ok(trips.find(|origin| *origin != Origin::Disk));
            }
        };
        // Who did the same here as well meant it.
        if sites.contains(&self.publisher.author().site) {
            return Ok(None);
        }
        for origin in sites.into_iter().map(|site| self.origin_of(site)).collect::<Vec<_>>() {
            if self.is_on(origin)? {
                return Ok(Some(origin));
            }
        }
        Ok(None)
    }

    fn harmed_by(&self, path: &RelPath, item: &Item) -> Result<By, StateError<I::Error>> {
        let Some(placed) = &item.placed else { return Ok(By::Sites(Vec::new())) };
        if let Want::Place(version) = item.want() {
            return Ok(By::Sites(vec![version.dot.author.site]));
        }
        let dot = placed.version.dot;
        let covers = |by: &&Version| !by.is_live() && by.context.contains(dot);
        let mut sites: Vec<SiteId> =
            item.versions.iter().filter(covers).map(|by| by.dot.author.site).collect();
        if item.want() == Want::MakeDir {
            let beneath = self.index.beneath(path, BENEATH).map_err(StateError::Index)?;
            for child in beneath {
                let versions = self.index.item(&child).map_err(StateError::Index)?.versions;
                let live = versions.iter().filter(|version| version.is_live());
                sites.extend(live.map(|version| version.dot.author.site));
            }
        }
        // What nobody published gives way because somebody here said so.
        if !sites.is_empty() || item.versions.is_live() || dot == Dot::NOBODY {
            return Ok(By::Sites(sites));
        }
        // The copy of a conflict: what ended that is told at the path that it is of.
        let Some(origin) = copy_origin(path, &placed.version) else { return Ok(By::Somebody) };
        let origin = self.index.item(&origin).map_err(StateError::Index)?;
        if origin.versions.get(dot).is_some() {
            // It only stands elsewhere from now on.
            return Ok(By::Sites(Vec::new()));
        }
        let ends = origin.versions.iter().filter(|by| by.context.contains(dot));
        let sites: Vec<SiteId> = ends.map(|by| by.dot.author.site).collect();
        Ok(if sites.is_empty() { By::Somebody } else { By::Sites(sites) })
    }
}

/// Whether the file at a path goes, and no other comes in its place.
pub(super) fn takes_away(item: &Item) -> bool {
    matches!(item.want(), Want::Remove | Want::MakeDir)
}
