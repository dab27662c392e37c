//! Folders that the configuration does not have, while what this site knows of them stays: nobody
//! looks after such a directory, so what is gone from it when the folder is kept again was deleted by
//! nobody (spec: S-175).

use super::folder::{Folder, FolderError};
use crate::events::Said;
use crate::index::{Durability, IndexError};
use farhaul_api::EventKind;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

/// The file in a folder's state that says that a site ran that did not keep the folder.
const UNKEPT: &str = "unkept";
/// Paths that are gone through in one transaction.
const PAGE: usize = 1024;

/// Notes, durably, that the folders in `states` that are not among `kept` are out of service from now
/// on at the latest: a site runs without them.
///
/// # Errors
/// What the system says; of some it may be noted then.
pub(crate) fn note_unkept(states: &Path, kept: &BTreeSet<&OsStr>) -> io::Result<()> {
    let entries = match std::fs::read_dir(states) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let place = entry.path().join(UNKEPT);
        if kept.contains(&*entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        if !place.try_exists()? {
            File::create(&place)?.sync_all()?;
            File::open(entry.path())?.sync_all()?;
            let folder = entry.file_name();
            let folder = folder.display();
            tracing::info!("{folder} is not kept any more; what is known of it stays");
        }
    }
    Ok(())
}

/// Whether a site ran without the folder since it was last open. Where nobody can tell, one did.
pub(super) fn was_unkept(state: &Path) -> bool {
    state.join(UNKEPT).try_exists().unwrap_or(true)
}

fn forget_unkept(state: &Path) -> Result<(), FolderError> {
    let place = state.join(UNKEPT);
    let at = |source| IndexError::File { path: place.clone(), source };
    match std::fs::remove_file(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error).into()),
        _ => {}
    }
    Ok(File::open(state).and_then(|dir| dir.sync_all()).map_err(at)?)
}

impl Folder {
    /// A folder that was out of service is kept again. What is gone from its directory is as if it had
    /// never stood there, so it comes again from whoever has it, unless neighbours say that it is
    /// deleted; what was put or written there meanwhile is found like any other edit. A stop in between
    /// leaves all of it to be done again. Without peers there is nobody to have anything from, nor to
    /// be told: the folder is as one whose site was stopped.
    pub(super) fn return_to_service(&mut self) -> Result<(), FolderError> {
        if !was_unkept(&self.setup.state) {
            return Ok(());
        }
        if self.setup.peers.is_empty() {
            return forget_unkept(&self.setup.state);
        }
        // Another life of the index, as of one that was lost (spec: S-001).
        self.rename()?;
        let gone = self.forget_absent()?;
        // What was forgotten is durable before it is forgotten why.
        self.index.begin(Durability::Now)?.commit()?;
        forget_unkept(&self.setup.state)?;
        let text = if gone == 0 {
            "it was not kept for a while; nothing of it is gone".to_owned()
        } else {
            format!(
                "it was not kept for a while; {gone} paths that are gone since count as deleted by \
                 nobody and come again: who wants them gone deletes them now"
            )
        };
        tracing::warn!(folder = %self.setup.name, gone, "{text}");
        self.health.say(Said::that(EventKind::Resumed).text(text));
        Ok(())
    }

    /// Forgets what stood at paths at which nothing stands any more, and has what versions say put
    /// there. How many there are.
    fn forget_absent(&mut self) -> Result<u64, FolderError> {
        let (mut after, mut gone): (Option<RelPath>, u64) = (None, 0);
        loop {
            let page = self.index.read().standing(None, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(gone) };
            after = Some(last.path.clone());
            let root = self.store.root().clone();
            let absent: Vec<RelPath> = page
                .into_iter()
                .map(|standing| standing.path)
                .filter(|path| is_absent(&root, path))
                .collect();
            // A disk that went meanwhile has nothing either.
            self.store.check_there()?;
            gone += self.change(Durability::Later, |state| {
                let mut gone = 0;
                for path in absent {
                    // That it was deleted was found while the folder was kept: that waits, and counts.
                    let look = state.index().read().look(&path)?;
                    if look.is_some_and(|look| look.found.is_none()) {
                        continue;
                    }
                    state.leave_out(&path)?;
                    state.reconsider(&path)?;
                    gone += 1;
                }
                Ok(gone)
            })?;
        }
    }
}

/// Whether nothing stands at a path, for certain.
fn is_absent(root: &Root, path: &RelPath) -> bool {
    matches!(
        root.stat(path),
        Err(ConfineError::NotFound { .. }
            | ConfineError::NotDirectory { .. }
            | ConfineError::SymlinkInPath { .. })
    )
}
