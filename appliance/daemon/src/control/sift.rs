//! What was found, before the brain takes it for what somebody did: the folder is where it was, what a
//! disk did not take of a version is no edit, and neither is what a power cut left.

use super::folder::{Folder, FolderError};
use super::upkeep::Upkeep;
use crate::boot::Boot;
use crate::exact;
use crate::index::Durability;
use crate::store::{Lacks, Shortfall, ends_in_zeros, is_still};
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Found;
use farhaul_sync::version::Content;

impl Folder {
    /// Prepares what was found for the brain: nothing is gone unless the folder is where it was, what
    /// a disk did not take of a version is no edit, and neither is what a power cut left. The last is
    /// returned.
    pub(super) fn sift(
        &mut self,
        looks: &mut Vec<(RelPath, Option<Found>)>,
    ) -> Result<Vec<(RelPath, Found)>, FolderError> {
        if looks.iter().any(|(_, found)| found.is_none()) {
            self.store.check_there()?;
        }
        for (path, found) in looks.iter_mut() {
            self.upkeep.let_go(path);
            match found {
                Some(found) => self.cover(path, found)?,
                None => self.lacks_nothing(path)?,
            }
        }
        let Some(boot) = self.upkeep.cut else { return Ok(Vec::new()) };
        let mut damaged = Vec::new();
        let mut left = Vec::with_capacity(looks.len());
        for (path, found) in looks.drain(..) {
            match found {
                Some(found) if self.is_damaged(&path, &found, boot)? => damaged.push((path, found)),
                found => left.push((path, found)),
            }
        }
        *looks = left;
        Ok(damaged)
    }

    /// All that a power cut left was looked at, and is durable in the index: from now on nothing is
    /// taken for its doing any more. As long as a change is undecided, not all was looked at.
    pub(super) fn end_cut(&mut self) -> Result<(), FolderError> {
        if self.upkeep.cut.is_some() && self.upkeep.cut_scanned && self.undecided.is_empty() {
            self.index.end_cut()?;
            self.upkeep.cut = None;
        }
        Ok(())
    }

    /// Whether patterns leave out what was found at a path.
    pub(super) fn is_left_out(&self, path: &RelPath, found: Option<&Found>) -> bool {
        let is_dir = found.is_some_and(|found| found.content == Content::Dir);
        self.setup.rules.is_within_ignored(path.as_bytes(), is_dir)
    }

    /// Where this site could not give a path what its version says, what it has instead counts as
    /// said (spec: S-100).
    fn cover(&mut self, path: &RelPath, found: &mut Found) -> Result<(), FolderError> {
        let is_unsaid = found.meta.attrs.as_ref().is_some_and(|attrs| !attrs.unsaid.is_none());
        let short = self.index.read().shortfall(path)?;
        if short.is_none() && !is_unsaid {
            return Ok(());
        }
        let short = short.unwrap_or_default();
        let placed = self.index.read().item(path)?.placed;
        let disk = self.store.root().stat(path).ok();
        let disk = disk.filter(|disk| is_still(disk, &found.content, &found.identity));
        let Some(disk) = disk else { return Ok(()) };
        let print = short.attrs.map(|_| self.store.attrs_print(path, disk.kind));
        let left = match placed {
            Some(placed) => short.cover(&mut found.meta, &disk, print, &placed.meta),
            None => Shortfall::default(),
        };
        // What nobody else is told of is shown here as well.
        let unsaid = found.meta.attrs.as_ref().is_some_and(|attrs| !attrs.unsaid.is_none());
        let lacks = left.lacks.without(Lacks::UNSAID).with_if(Lacks::UNSAID, is_unsaid || unsaid);
        let left = Shortfall { lacks, ..left };
        if left != short {
            let mut keeping = self.index.begin(Durability::Later)?;
            let is_any = left != Shortfall::default();
            keeping.set_shortfall(path, is_any.then_some(&left))?;
            keeping.commit()?;
        }
        Ok(())
    }

    /// Nothing stands at a path any more.
    fn lacks_nothing(&mut self, path: &RelPath) -> Result<(), FolderError> {
        if self.index.read().shortfall(path)?.is_some() {
            let mut keeping = self.index.begin(Durability::Later)?;
            keeping.set_shortfall(path, None)?;
            keeping.commit()?;
        }
        Ok(())
    }

    /// Whether a power cut may have left this of a file that was put there or published: it is
    /// shorter, or ends in zeros, and was last changed before the machine started (spec: S-103). Only
    /// where somebody else may have the file.
    fn is_damaged(&self, path: &RelPath, found: &Found, boot: Boot) -> Result<bool, FolderError> {
        let Some(placed) = self.index.read().item(path)?.placed else { return Ok(false) };
        let (Content::File { size: was, .. }, Content::File { size: is, .. }) =
            (&placed.version.content, &found.content)
        else {
            return Ok(false);
        };
        let is_old = found.identity.ctime < i128::from(boot.at_secs) * 1_000_000_000;
        if !is_old || self.setup.peers.is_empty() || found.content == placed.version.content {
            return Ok(false);
        }
        // What waits to be published was read, and was durable, before the power went.
        let waits = self.index.read().look(path)?.and_then(|look| look.found);
        if waits
            .is_some_and(|waits| waits.identity == found.identity && waits.content == found.content)
        {
            return Ok(false);
        }
        let is_damaged = is < was || self.ends_in_zeros(path, is.get());
        if is_damaged {
            tracing::warn!(%path, "may be damaged by a power cut: is fetched again and kept");
        }
        Ok(is_damaged)
    }

    /// Whether nothing but zeros stands in the last block of a file.
    fn ends_in_zeros(&self, path: &RelPath, size: u64) -> bool {
        let file = self.store.root().open_file(path);
        file.is_ok_and(|file| ends_in_zeros(&file, size).is_ok_and(|is_so| is_so))
    }
}

/// How many names what was seen at a path has; `None`: it is not what stands there now.
pub(super) fn links_so(root: &Root, path: &RelPath, found: Option<&Found>) -> Option<u64> {
    let is_so = match root.stat(path) {
        Ok(meta) => match found {
            Some(seen) if is_still(&meta, &seen.content, &seen.identity) => {
                return Some(meta.links);
            }
            Some(_) => false,
            // Unless what stands there is something else, under another spelling.
            None => exact::misspelled(root.dir(), path).is_ok_and(|other| other.is_some()),
        },
        Err(
            ConfineError::NotFound { .. }
            | ConfineError::NotDirectory { .. }
            | ConfineError::SymlinkInPath { .. },
        ) => found.is_none(),
        Err(error) => {
            tracing::warn!(%error, "what is known of it stays");
            false
        }
    };
    is_so.then_some(0)
}

/// What was seen at a path does not stand there any more. Somebody has to look again: a further name
/// of the file that went changes its state as well, and nobody tells of that.
pub(super) fn over(upkeep: &mut Upkeep, path: &RelPath, seen: Option<&Found>) -> RelPath {
    if seen.is_some() {
        upkeep.look_again(path);
    }
    path.clone()
}
