//! Folders that the configuration does not have, while what this site knows of them stays: nobody
//! looks after such a directory, so what is gone from it when the folder is kept again was deleted by
//! nobody (spec: S-175).

use super::folder::{Folder, FolderError};
use crate::events::Said;
use crate::index::{Durability, IndexError};
use farhaul_api::EventKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::RelPath;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file in a folder's state that says that a site ran that did not keep the folder; in it a token
/// that is another one each time that is noted.
pub(super) const UNKEPT: &str = "unkept";
/// The file in a folder's state that says for which of those tokens another incarnation was drawn.
const DRAWN: &str = "drawn";
/// The bytes of a token.
const TOKEN_LEN: usize = 16;
/// Paths that are gone through in one transaction.
const PAGE: usize = 1024;

/// Held while a note is written, or compared and removed: a folder may cease to be kept while a thread
/// still opens it.
static NOTES: Mutex<()> = Mutex::new(());

/// Notes, durably, that the folders in `states` that are not among `kept` are out of service from now
/// on at the latest: a site runs without them. That is noted anew of those of which it was noted
/// before: who brings one back at this moment does not take it for done.
///
/// # Errors
/// What the system says; then it is noted of no folder of which it was not before.
pub(crate) fn note_unkept(states: &Path, kept: &BTreeSet<&OsStr>) -> io::Result<()> {
    let _notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut noted = Vec::new();
    let done = note_each(states, kept, &mut noted);
    if done.is_err() {
        // The site goes on with those that it runs.
        for state in noted {
            if let Err(error) = remove_durably(&state, UNKEPT) {
                let state = state.display();
                tracing::error!(%state, %error, "a folder is noted as not kept, and is");
            }
        }
    }
    done
}

/// Those of which it was not noted before come into `noted`.
fn note_each(states: &Path, kept: &BTreeSet<&OsStr>, noted: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match std::fs::read_dir(states) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if kept.contains(&*entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let state = entry.path();
        let is_new = !state.join(UNKEPT).try_exists()?;
        let mut token = [0; TOKEN_LEN];
        SystemRandom::new().fill(&mut token).map_err(|_| io::Error::other("no randomness"))?;
        if is_new {
            noted.push(state.clone());
        }
        write_durably(&state, UNKEPT, &token)?;
        if is_new {
            let folder = entry.file_name();
            let folder = folder.display();
            tracing::info!("{folder} is not kept any more; what is known of it stays");
        }
    }
    Ok(())
}

fn write_durably(state: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = state.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(new, state.join(name))?;
    File::open(state)?.sync_all()
}

fn remove_durably(state: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(state.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::open(state)?.sync_all()
}

/// What a file in the state of a folder says; `None`: there is none.
pub(super) fn said_in(state: &Path, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
    let path = state.join(name);
    match std::fs::read(&path) {
        Ok(said) => Ok(Some(said)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IndexError::File { path, source }.into()),
    }
}

/// Whether it is noted that a site ran without the folder since it was last open.
#[cfg(test)]
pub(super) fn was_unkept(state: &Path) -> bool {
    state.join(UNKEPT).exists()
}

/// What was noted with `token` is dealt with.
///
/// # Errors
/// [`FolderError::Unwanted`]: the folder ceased to be kept again since; that stays noted.
pub(super) fn forget_unkept(state: &Path, token: &[u8], stop: &Stop) -> Result<(), FolderError> {
    let _notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    if stop.is_set() || said_in(state, UNKEPT)?.as_deref() != Some(token) {
        return Err(FolderError::Unwanted);
    }
    let at = |name: &str| {
        let path = state.join(name);
        move |source| IndexError::File { path, source }
    };
    remove_durably(state, UNKEPT).map_err(at(UNKEPT))?;
    Ok(remove_durably(state, DRAWN).map_err(at(DRAWN))?)
}

impl Folder {
    /// A folder that was out of service is kept again. What is gone from its directory is as if it had
    /// never stood there, so it comes again from whoever has it, unless neighbours say that it is
    /// deleted; what was put or written there meanwhile is found like any other edit. A stop in between
    /// leaves all of it to be done again. Without peers there is nobody to have anything from, nor to
    /// be told: the folder is as one whose site was stopped. Nothing is published before neighbours are
    /// heard, as after any other start.
    pub(super) fn return_to_service(&mut self, stop: &Stop) -> Result<(), FolderError> {
        let state = self.setup.state.clone();
        let Some(token) = said_in(&state, UNKEPT)? else { return Ok(()) };
        if self.setup.peers.is_empty() {
            return forget_unkept(&state, &token, stop);
        }
        // Another life of the index, as of one that was lost (spec: S-001); one for all the tries.
        if said_in(&state, DRAWN)?.as_deref() != Some(&token[..]) {
            self.rename()?;
            let at = |source| IndexError::File { path: state.join(DRAWN), source };
            write_durably(&state, DRAWN, &token).map_err(at)?;
        }
        let gone = self.forget_absent(stop)?;
        // What was forgotten is durable before it is forgotten why.
        self.index.begin(Durability::Now)?.commit()?;
        forget_unkept(&state, &token, stop)?;
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
    fn forget_absent(&mut self, stop: &Stop) -> Result<u64, FolderError> {
        let (mut after, mut gone): (Option<RelPath>, u64) = (None, 0);
        loop {
            if stop.is_set() {
                return Err(FolderError::Unwanted);
            }
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
