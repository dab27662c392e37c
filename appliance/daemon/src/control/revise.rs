//! Orders that change a folder: pause and go on, bring something back, end a conflict. What is to
//! stand in the tree is published, and put there like any other version.

use super::ask::AskError;
use super::folder::{Folder, FolderError, seal, wall_millis};
use crate::events::Said;
use crate::index::Durability;
use farhaul_api::EventKind;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::{Content, Meta};
use std::fs::File;
use std::io;
use std::path::Path;

/// The file in a folder's state that says that it is paused.
const PAUSED: &str = "paused";

/// What is to stand at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Where.
    pub path: RelPath,
    /// What.
    pub content: Content,
    /// And how.
    pub meta: Meta,
    /// Of a file: whether its bytes are to come from a member that has them.
    pub comes: bool,
}

/// Whether a folder was paused; one that cannot be asked is.
pub(super) fn is_paused(state: &Path) -> bool {
    state.join(PAUSED).try_exists().unwrap_or(true)
}

/// Makes it so, durably.
fn remember(state: &Path, is_paused: bool) -> io::Result<()> {
    let path = state.join(PAUSED);
    if is_paused {
        File::options().create(true).truncate(false).write(true).open(path)?.sync_all()?;
    } else {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(state)?.sync_all()
}

impl Folder {
    /// Looks at, fetches and changes nothing from now on, or does so again. What is known goes on
    /// being told, and what others ask for given.
    pub(super) fn pause(&mut self, is_paused: bool) -> Result<(), AskError> {
        let state = self.setup.state.clone();
        remember(&state, is_paused).map_err(|source| AskError::State { path: state, source })?;
        if self.is_paused == is_paused {
            return Ok(());
        }
        self.is_paused = is_paused;
        if is_paused {
            self.ears = None;
            self.scrub.stop();
        }
        self.health.say(Said::that(EventKind::Paused).text(if is_paused { "yes" } else { "no" }));
        match (&self.scan, is_paused) {
            (Some(scan), true) => scan.set(),
            // What was done meanwhile is found.
            (None, false) => self.wake_up(),
            (Some(_), false) => {
                self.scans_again = true;
                self.wake_up();
            }
            (None, true) => {}
        }
        Ok(())
    }

    /// Publishes what is to stand at paths, in one transaction.
    pub(super) fn revise(&mut self, wanted: Vec<Revision>) -> Result<u64, AskError> {
        if self.is_paused {
            return Err(AskError::Paused);
        }
        // What was kept when that was asked for may have gone since (F-40).
        for Revision { path, content, .. } in wanted.iter().filter(|one| !one.comes) {
            if matches!(content, Content::File { manifest, .. } if self.find(*manifest).is_none()) {
                return Err(AskError::NotKept { path: path.clone() });
            }
        }
        let (identity, public) = (self.identity.clone(), self.public);
        let published = self.change(Durability::Now, |state| {
            let mut published = 0;
            for Revision { path, content, meta, .. } in wanted {
                published += u64::from(state.revise(&path, content, meta, wall_millis())?);
                if state.is_run_full() {
                    seal(state, &identity, public)?;
                }
            }
            Ok(published)
        });
        Ok(published?)
    }

    /// Ends the conflict whose copy stands at `copy`.
    pub(super) fn resolve(&mut self, copy: &RelPath, keeps_copy: bool) -> Result<(), AskError> {
        if self.is_paused {
            return Err(AskError::Paused);
        }
        let ended = self.change(Durability::Now, |state| {
            state.end_conflict(copy, keeps_copy, wall_millis()).map_err(FolderError::from)
        })?;
        if ended { Ok(()) } else { Err(AskError::NoConflict { path: copy.clone() }) }
    }
}
