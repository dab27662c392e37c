//! From staged to in place: metadata, fsync, a last look at the destination, one rename.
//!
//! The order is fixed: data, then metadata on the descriptor, then fsync, then the comparison of
//! the destination with what the plan saw, through the held parent directory, then the rename.
//! A free name is taken without replacing; an occupied one is exchanged, and the displaced file
//! looked at before it goes. What fails is one entry; the others go on. Directories and the end of
//! a transfer are `finish`'s business.

use super::confine::{ConfineError, ShownPath, without_path};
use super::dir::{Dir, FileKind, Identity, Meta, times};
use super::receive::{Parents, Receiver, Target};
use super::staging::{Part, StagedFile, StagingError};
use super::step;
use super::stop::Stop;
use farhaul_proto::layout::BUNDLE_FILES_MAX;
use farhaul_proto::manifest::{Entry, EntryKind, MODE_MASK};
use farhaul_proto::path_name::{PathError, RelPath};
use rustix::fs::{Mode, fchmod, fsync, ftruncate, futimens};
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;

/// Changed directories that are synced one by one; more are synced with their file system.
pub(super) const CHANGED_DIRS_MAX: usize = 256;

/// Why one entry did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody changed the destination during the transfer; nothing was overwritten, and the
    /// data of a large file stays staged.
    #[error("{path}: changed at the destination during the transfer")]
    DestinationChanged {
        /// Where.
        path: ShownPath,
    },
    /// Somebody changed the destination at the very moment of the rename, and what they put there
    /// could not be put back; it is kept in the staging directory.
    #[error(
        "{path}: displaced during the transfer, kept as `.farhaul/staging/{kept}` beneath the destination"
    )]
    Displaced {
        /// Where.
        path: ShownPath,
        /// Its name in the staging directory.
        kept: ShownPath,
    },
    /// The destination holds something that is not replaced by what arrives.
    #[error("{path}: {found} is in the way")]
    InTheWay {
        /// Where.
        path: ShownPath,
        /// What is there.
        found: FileKind,
    },
    /// Blocks are missing; the caller is at fault.
    #[error("{path}: {missing} blocks are missing")]
    Incomplete {
        /// Where.
        path: ShownPath,
        /// How many.
        missing: u32,
    },
    /// The bundle has not the length that the layout says; the caller is at fault.
    #[error("a bundle of {expected} bytes came as {found}")]
    BundleLength {
        /// Bytes that the layout says.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The entry is not to be received: unknown, in place, failed, or of another kind.
    #[error("entry {entry} is not expected")]
    NotExpected {
        /// Its index.
        entry: u32,
    },
    /// The transfer ended without it; the caller is at fault.
    #[error("{path}: was not put in place")]
    NotPlaced {
        /// Where.
        path: ShownPath,
    },
    /// The sender could not deliver it.
    #[error("{path}: the sender could not deliver it")]
    SourceFailed {
        /// Where.
        path: ShownPath,
    },
    /// Destination and path together exceed what can be named.
    #[error("{path}: {fault}")]
    Path {
        /// Where, beneath the destination.
        path: ShownPath,
        /// Which limit.
        fault: PathError,
    },
    /// The staging area refuses.
    #[error("{path}: {fault}")]
    Staging {
        /// Where.
        path: ShownPath,
        /// Why.
        fault: StagingError,
    },
    /// The destination tree, the disk or the kernel refuses.
    #[error(transparent)]
    Place(#[from] ConfineError),
}

impl CommitError {
    pub(super) fn path(entry: &Entry, fault: PathError) -> Self {
        Self::Path { path: (&entry.path).into(), fault }
    }

    /// What is wrong, for a list that names the path itself.
    pub fn reason(&self) -> String {
        match self {
            Self::DestinationChanged { path }
            | Self::Displaced { path, .. }
            | Self::InTheWay { path, .. }
            | Self::Incomplete { path, .. }
            | Self::NotPlaced { path }
            | Self::SourceFailed { path }
            | Self::Path { path, .. }
            | Self::Staging { path, .. } => without_path(self, path),
            Self::Place(error) => error.reason(),
            Self::BundleLength { .. } | Self::NotExpected { .. } => self.to_string(),
        }
    }
}

impl Receiver {
    /// Puts a completely received large file in place.
    ///
    /// All writes to it must have completed. On failure its data stays staged, except after a
    /// failed fsync: then nobody knows what the disk holds, and it is discarded.
    ///
    /// # Errors
    /// [`CommitError`]; it also counts as the entry's failure.
    pub fn commit(&self, staged: &Arc<StagedFile>) -> Result<(), CommitError> {
        let result = self.noted(staged.entry, self.commit_staged(staged));
        self.lock().staged.remove(&staged.entry);
        result
    }

    /// Puts every entry without data in place that is still to come: links, files that are empty
    /// or all hole, which are synced together; and sets the modes of files that lack nothing
    /// else. Failures are noted for the report. Ends early once `stop` is set: what is in place
    /// by then stays.
    pub fn commit_all_plain(&self, stop: &Stop) {
        let mut empty = Vec::new();
        let mut parents = Parents::new(&self.root);
        for (index, entry) in (0u32..).zip(&self.manifest.entries) {
            if stop.is_set() {
                return;
            }
            if let Some(Target::OtherMode(planned)) = self.target(index) {
                let _ = self.noted(index, self.set_mode(&mut parents, entry, planned));
            }
            if entry.data_len() > 0 || self.expected(index).is_err() {
                continue;
            }
            match &entry.kind {
                EntryKind::File { .. } => empty.push((index, &[][..])),
                EntryKind::Symlink { target } => {
                    let _ = self.noted(index, self.commit_link(index, entry, target));
                }
                EntryKind::Dir => {}
            }
            if empty.len() == BUNDLE_FILES_MAX {
                self.write_small(&empty, stop);
                empty.clear();
            }
        }
        self.write_small(&empty, stop);
    }

    /// Gives a file its mode that is in place but for that, if it still is the planned one.
    fn set_mode(
        &self,
        parents: &mut Parents<'_>,
        entry: &Entry,
        planned: &Meta,
    ) -> Result<(), CommitError> {
        let path = self.place_of(entry).map_err(|fault| CommitError::path(entry, fault))?;
        let at = |errno| CommitError::Place(ConfineError::at(&path, errno));
        let changed = || CommitError::DestinationChanged { path: (&path).into() };
        let parent = parents.of(&path)?.ok_or_else(changed)?;
        let held = match parent.hold_file(path.file_name()) {
            Err(Errno::NOENT | Errno::LOOP) => return Err(changed()),
            held => held.map_err(at)?,
        };
        if held.meta.identity != planned.identity {
            let arrived = self.has_arrived(&parent, &path, entry);
            return if arrived { Ok(()) } else { Err(changed()) };
        }
        // Where the file system keeps no modes, that is tried once by each transfer.
        held.set_mode(entry.mode & MODE_MASK).map_err(at)?;
        // Syncing its directory does not make a mode durable, syncing the file system does.
        self.lock().changed_dirs = None;
        Ok(())
    }

    fn commit_staged(&self, staged: &StagedFile) -> Result<(), CommitError> {
        let item = self.expected(staged.entry)?;
        let missing = staged.journal.missing();
        if missing > 0 {
            return Err(CommitError::Incomplete { path: (&item.path).into(), missing });
        }
        let at = |errno| CommitError::Place(ConfineError::at(&item.path, errno));
        step();
        describe(&staged.fd, item).map_err(at)?;
        step();
        if let Err(errno) = fsync(&staged.fd) {
            self.staging.discard(staged, Part::Remove);
            return Err(at(errno));
        }
        step();
        let mut parents = Parents::new(&self.root);
        let name = staged.part_name();
        if let Err(error) = self.place(&mut parents, name.as_bytes(), staged.entry, item) {
            // A later transfer must be able to open it for writing.
            let _ = fchmod(&staged.fd, Mode::RUSR | Mode::WUSR);
            return Err(error);
        }
        step();
        self.staging.discard(staged, Part::Placed);
        step();
        Ok(())
    }

    fn commit_link(&self, index: u32, item: &Entry, target: &[u8]) -> Result<(), CommitError> {
        let name = self.staging.tmp_name(index);
        let at = |errno| CommitError::Place(ConfineError::at(&item.path, errno));
        let dir = self.staging.dir();
        let made = dir.symlink(target, name.as_bytes());
        let made = made.and_then(|()| dir.set_link_mtime(name.as_bytes(), item.mtime));
        let mut parents = Parents::new(&self.root);
        let placed =
            made.map_err(at).and_then(|()| self.place(&mut parents, name.as_bytes(), index, item));
        self.clean_up(name.as_bytes(), &placed);
        placed
    }

    /// Removes what a failed commit left under the temporary name, if it is ours.
    pub(super) fn clean_up(&self, name: &[u8], result: &Result<(), CommitError>) {
        match result {
            Ok(()) | Err(CommitError::Displaced { .. }) => {}
            Err(_) => drop(self.staging.dir().remove_file(name)),
        }
    }

    /// Renames `name` from the staging directory to where `entry` belongs.
    pub(super) fn place(
        &self,
        parents: &mut Parents<'_>,
        name: &[u8],
        index: u32,
        entry: &Entry,
    ) -> Result<(), CommitError> {
        let path = self.place_of(entry).map_err(|fault| CommitError::path(entry, fault))?;
        let parent = parents.of(&path)?;
        let parent = parent.ok_or_else(|| ConfineError::NotFound { path: (&path).into() })?;
        let placed = match self.target(index) {
            Some(Target::Absent) => self.place_new(name, &parent, &path),
            Some(Target::Present(planned)) => self.replace(name, &parent, &path, planned),
            Some(Target::Same | Target::OtherMode(_) | Target::Refused) | None => {
                Err(CommitError::NotExpected { entry: index })
            }
        };
        match placed {
            // Another attempt at the same transfer was first; ours is not needed.
            Err(CommitError::DestinationChanged { .. })
                if self.has_arrived(&parent, &path, entry) =>
            {
                let _ = self.staging.dir().remove_file(name);
            }
            placed => placed?,
        }
        self.note_placed(index);
        self.note_changed(entry);
        Ok(())
    }

    /// Whether `entry` is in place now, as far as a plan would ask.
    fn has_arrived(&self, parent: &Dir, path: &RelPath, entry: &Entry) -> bool {
        let name = path.file_name();
        let Ok(Some(meta)) = parent.stat(name) else { return false };
        let same_mode = meta.kind == FileKind::Symlink || meta.mode == entry.mode & MODE_MASK;
        same_mode && self.is_there(parent, name, &meta, entry) == Ok(true)
    }

    fn place_new(&self, name: &[u8], parent: &Dir, path: &RelPath) -> Result<(), CommitError> {
        match self.staging.dir().rename_new(name, parent, path.file_name()) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(CommitError::DestinationChanged { path: path.into() }),
            Err(errno) => Err(ConfineError::at(path, errno).into()),
        }
    }

    fn replace(
        &self,
        name: &[u8],
        parent: &Dir,
        path: &RelPath,
        planned: &Meta,
    ) -> Result<(), CommitError> {
        let found = parent.stat(path.file_name()).map_err(|errno| ConfineError::at(path, errno))?;
        // Replacing one of several names of a file changes `ctime` for the others.
        let shared = planned.links > 1;
        let is_planned = |found: &Identity| {
            *found == planned.identity || (shared && found.is_same_content(&planned.identity))
        };
        if !found.is_some_and(|meta| is_planned(&meta.identity)) {
            return Err(CommitError::DestinationChanged { path: path.into() });
        }
        self.exchange(name, parent, path, &planned.identity)
    }

    /// Swaps the staged file with the one in its place, then looks at what came out: there
    /// nobody can slip in another any more.
    ///
    /// It is done under a name that nothing ever sweeps or resumes: should this process be killed
    /// between swap and look, what came out may be a version that the user has just written.
    fn exchange(
        &self,
        name: &[u8],
        parent: &Dir,
        path: &RelPath,
        identity: &Identity,
    ) -> Result<(), CommitError> {
        let at = |errno| CommitError::Place(ConfineError::at(path, errno));
        let staging = self.staging.dir();
        let safe = self.staging.set_aside(name).map_err(at)?;
        step();
        match staging.exchange(&safe, parent, path.file_name()) {
            Ok(()) => {}
            // The file system cannot exchange: the look just taken has to do.
            Err(Errno::INVAL | Errno::NOSYS) => {
                let placed = staging.rename_over(&safe, parent, path.file_name());
                return placed.map_err(|errno| self.taken_back(&safe, name, at(errno)));
            }
            Err(errno) => {
                let error = match errno {
                    Errno::NOENT => CommitError::DestinationChanged { path: path.into() },
                    errno => at(errno),
                };
                return Err(self.taken_back(&safe, name, error));
            }
        }
        step();
        match staging.stat(&safe) {
            Ok(Some(displaced)) if displaced.identity.is_same_content(identity) => {
                // Should it stay behind, it only takes room.
                let _ = staging.remove_file(&safe);
                step();
                Ok(())
            }
            Ok(_) | Err(_) => Err(self.give_back(&safe, name, parent, path)),
        }
    }

    /// Gives the staged file its name back, under which a later transfer finds it.
    fn taken_back(&self, safe: &[u8], name: &[u8], error: CommitError) -> CommitError {
        let staging = self.staging.dir();
        let _ = staging.rename_new(safe, staging, name);
        error
    }

    /// Puts the displaced file `safe` back where it was; where that fails, it is kept.
    fn give_back(&self, safe: &[u8], name: &[u8], parent: &Dir, path: &RelPath) -> CommitError {
        let staging = self.staging.dir();
        let changed = CommitError::DestinationChanged { path: path.into() };
        match staging.exchange(safe, parent, path.file_name()) {
            Ok(()) => self.taken_back(safe, name, changed),
            // What we had put there is gone already.
            Err(Errno::NOENT) if staging.rename_new(safe, parent, path.file_name()).is_ok() => {
                changed
            }
            Err(_) => CommitError::Displaced { path: path.into(), kept: ShownPath::new(safe) },
        }
    }

    /// Notes that the directory of `entry` has a new name in it.
    pub(super) fn note_changed(&self, entry: &Entry) {
        let mut progress = self.lock();
        let Some(parent) = entry.path.parent() else {
            progress.base_changed = true;
            return;
        };
        if let Some(dirs) = &mut progress.changed_dirs {
            dirs.insert(parent);
            if dirs.len() > CHANGED_DIRS_MAX {
                progress.changed_dirs = None;
            }
        }
    }
}

/// Gives a staged file its length, mode and time.
pub(super) fn describe(file: &File, entry: &Entry) -> rustix::io::Result<()> {
    ftruncate(file, entry.size())?;
    fchmod(file, Mode::from_raw_mode(entry.mode & MODE_MASK))?;
    futimens(file, &times(entry.mtime))
}

#[cfg(test)]
mod tests {
    use super::super::confine::Root;
    use super::super::receive::ReceiveOptions;
    use super::*;
    use farhaul_proto::manifest::{Extents, FileTime, Manifest};
    use std::fs;

    #[test]
    fn a_displaced_file_that_is_not_the_planned_one_is_put_back() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), "user's").unwrap();
        let path = RelPath::parse(b"file").unwrap();
        let kind = EntryKind::File { size: 3, extents: Extents::Full };
        let entry = Entry { path: path.clone(), mode: 0o644, mtime: FileTime::default(), kind };
        let manifest = Arc::new(Manifest { entries: vec![entry] });
        let root = Root::open(home.path()).unwrap();
        let options = ReceiveOptions { resume: false, peer: [0; 32] };
        let (receiver, _) = Receiver::open(&root, None, manifest, options).unwrap();
        let staging = receiver.staging.dir();
        staging.create_file(b"new").unwrap();
        let staged = staging.stat(b"new").unwrap();
        let planned = Identity { size: 7, ..root.stat(&path).unwrap().identity };
        let refused = receiver.exchange(b"new", root.dir(), &path, &planned);
        assert_eq!(refused, Err(CommitError::DestinationChanged { path: (&path).into() }));
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"user's");
        let ino = |meta: Option<Meta>| meta.unwrap().identity.ino;
        assert_eq!(ino(staging.stat(b"new").unwrap()), ino(staged));

        // Gone at that very moment: what was displaced is put back all the same.
        staging.exchange(b"new", root.dir(), b"file").unwrap();
        fs::remove_file(home.path().join("file")).unwrap();
        let refused = receiver.give_back(b"new", b"old name", root.dir(), &path);
        assert_eq!(refused, CommitError::DestinationChanged { path: (&path).into() });
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"user's");
    }

    #[test]
    fn a_reason_does_not_repeat_the_path() {
        let path = || ShownPath::new(b"a: b/c");
        let reason = |error: CommitError| error.reason();
        let changed = reason(CommitError::DestinationChanged { path: path() });
        assert_eq!(changed, "changed at the destination during the transfer");
        let place = ConfineError::at(path(), Errno::NOSPC);
        assert_eq!(reason(place.clone().into()), "no space left");
        // Another path than the entry's says which disk it is.
        let staging = CommitError::Staging { path: ShownPath::new(b"x"), fault: place.into() };
        assert_eq!(reason(staging), "a: b/c: no space left");
        assert_eq!(reason(CommitError::NotExpected { entry: 3 }), "entry 3 is not expected");
    }
}
