//! The end of a transfer: directories get their modes and times, and every new name becomes
//! durable.
//!
//! Each directory is synced through the handle that its mode is set by: with its final mode, its
//! owner may not be able to open it again.

use super::commit::{CHANGED_DIRS_MAX, CommitError};
use super::confine::ConfineError;
use super::dir::{Dir, times};
use super::receive::{Receiver, Target};
use super::step;
use farhaul_proto::manifest::{Entry, MODE_MASK};
use farhaul_proto::path_name::RelPath;
use rustix::fs::{Mode, fchmod, futimens};
use std::collections::BTreeSet;

/// How a transfer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files and links put in place.
    pub committed: u64,
    /// Files that were in place before.
    pub skipped_files: u64,
    /// Entries that failed, by index.
    pub failures: Vec<(u32, CommitError)>,
    /// A directory that could not be synced: what was committed is in place, but not sure to
    /// survive a power cut.
    pub not_durable: Option<ConfineError>,
}

impl Receiver {
    /// Ends the transfer: gives directories their modes and times, deepest first, and makes
    /// every rename durable. What is still to come then has failed. Staging directories go if
    /// nothing is left in them.
    pub fn finish(&self) -> Report {
        self.fail_what_is_missing();
        step();
        let not_durable = self.finish_dirs().err();
        step();
        self.staging.remove_if_empty();
        let mut progress = self.lock();
        let committed = progress.committed;
        let not_durable = progress.not_durable.take().or(not_durable);
        drop(progress);
        let failures = self.failures();
        let lacks_mode = |entry| matches!(self.target(entry), Some(Target::OtherMode(_)));
        let lacking = failures.iter().filter(|(entry, _)| lacks_mode(*entry)).count();
        let skipped_files = self.skipped_files.saturating_sub(lacking as u64);
        Report { committed, skipped_files, failures, not_durable }
    }

    fn fail_what_is_missing(&self) {
        for (index, entry) in (0u32..).zip(&self.manifest.entries) {
            if !entry.is_dir() && self.expected(index).is_ok() && !self.is_placed(index) {
                self.fail(index, CommitError::NotPlaced { path: (&entry.path).into() });
            }
        }
    }

    fn finish_dirs(&self) -> Result<(), ConfineError> {
        let (changed, base_changed) = {
            let progress = self.lock();
            (progress.changed_dirs.clone(), progress.base_changed)
        };
        let mut syncing = Syncing::new(changed);
        // Backwards in tree order is deepest first: a time set here is not changed by what
        // comes after it.
        for index in (0..self.manifest.len()).rev() {
            let Some(entry) = self.manifest.entry(index) else { continue };
            if entry.is_dir()
                && self.expected(index).is_ok()
                && let Err(error) = self.finish_dir(index, entry, &mut syncing)
            {
                self.fail(index, error);
            }
        }
        if syncing.together {
            // Opened before anything was written, so it hears of every error since.
            let synced = self.staging.dir().sync_file_system();
            syncing.result.and(synced.map_err(|errno| ConfineError::at(&b""[..], errno)))
        } else if base_changed {
            syncing.result.and(self.sync_base())
        } else {
            syncing.result
        }
    }

    fn finish_dir(
        &self,
        index: u32,
        entry: &Entry,
        syncing: &mut Syncing,
    ) -> Result<(), CommitError> {
        let path = self.place_of(entry).map_err(|fault| CommitError::path(entry, fault))?;
        let at = |errno| CommitError::Place(ConfineError::at(&path, errno));
        let dir = self.root.open_dir(&path)?;
        let meta = dir.meta().map_err(at)?;
        // A set-group-id bit that the destination hands down to its directories stays.
        let mode = (entry.mode & MODE_MASK) | (meta.mode & 0o2000);
        let mut touched = false;
        if meta.mode != mode {
            fchmod(&dir, Mode::from_raw_mode(mode)).map_err(at)?;
            touched = true;
        }
        self.lock().widened.remove(&index);
        if meta.mtime() != entry.mtime {
            futimens(&dir, &times(entry.mtime)).map_err(at)?;
            touched = true;
        }
        syncing.sync(&dir, &path, touched || syncing.is_changed(&entry.path));
        Ok(())
    }

    /// The destination directory and those above it, which may be new as well.
    fn sync_base(&self) -> Result<(), ConfineError> {
        let mut above = self.base.clone();
        while let Some(path) = above {
            let dir = self.root.open_dir(&path)?;
            dir.sync().map_err(|errno| ConfineError::at(&path, errno))?;
            above = path.parent();
        }
        self.root.dir().sync().map_err(|errno| ConfineError::at(&b""[..], errno))
    }

    /// Gives directories back the modes that they had before the transfer made them accessible.
    fn restore_modes(&self) {
        let widened = std::mem::take(&mut self.lock().widened);
        for (index, mode) in widened {
            let path = self.manifest.entry(index).and_then(|entry| self.place_of(entry).ok());
            // A directory that is gone needs no mode.
            if let Some(dir) = path.and_then(|path| self.root.open_dir(&path).ok()) {
                let _ = fchmod(&dir, Mode::from_raw_mode(mode));
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.restore_modes();
    }
}

/// Directories on their way to disk: a few one by one, many with their file system.
struct Syncing {
    changed: Option<BTreeSet<RelPath>>,
    left: usize,
    together: bool,
    /// One that fails does not keep the others from it.
    result: Result<(), ConfineError>,
}

impl Syncing {
    fn new(changed: Option<BTreeSet<RelPath>>) -> Self {
        let together = changed.is_none();
        Self { changed, left: CHANGED_DIRS_MAX, together, result: Ok(()) }
    }

    fn is_changed(&self, path: &RelPath) -> bool {
        self.changed.as_ref().is_none_or(|changed| changed.contains(path))
    }

    fn sync(&mut self, dir: &Dir, path: &RelPath, needed: bool) {
        if !needed || self.together {
            return;
        }
        if self.left == 0 {
            self.together = true;
            return;
        }
        self.left -= 1;
        let synced = dir.sync().map_err(|errno| ConfineError::at(path, errno));
        if self.result.is_ok() {
            self.result = synced;
        }
    }
}
