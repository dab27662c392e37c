//! After a kill or a power cut: what became of each intent.
//!
//! A path with an intent holds what stood there, or what was to stand there, whole. Or it is what a
//! power cut left of that, which is never read as an edit: it is set aside and fetched again. Anything
//! else a user did meanwhile: it stays where it is, and a scan publishes it (spec: S-044).

use super::change::{is_placed, is_same_content, is_set_to, is_untouched};
use super::displaced::{Displaced, Origin, displaced};
use super::error::{StoreError, at, on};
use super::intent::{Action, Intent, IntentId};
use super::{Committed, Store, Swapped, identity_of, nanos_of};
use farhaul_engine::files::ConfineError;
use farhaul_engine::files::dir::{Dir, FileKind, Meta as DiskMeta};
use farhaul_files::{Subject, Undescribed, describe};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::limits::{MODE_MASK, ZERO_BLOCK};
use farhaul_sync::version::{Content, ManifestId, Version};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Reads a file and says whose content it is.
pub trait Hashing {
    /// The manifest id of what is in the file.
    ///
    /// # Errors
    /// What the system says; the path is looked at again later.
    fn manifest_of(&mut self, file: &File) -> std::io::Result<ManifestId>;
}

/// What became of an intent.
#[derive(Debug)]
pub enum Recovered {
    /// It was done.
    Done(Committed),
    /// It was not done, and what stood there does.
    Undone(Committed),
    /// It was done, and somebody changed since what was put there: that stays, and a scan finds it.
    Edited(Committed),
    /// A power cut damaged what was put there: that is set aside, and what stood there (if anything)
    /// does again. It has to be fetched again.
    Broken(Committed),
    /// Somebody put something else there: the index says what it said, and a scan finds it.
    Foreign(Committed),
}

impl Recovered {
    /// What the index is to be told.
    pub fn committed(&self) -> &Committed {
        match self {
            Self::Done(committed)
            | Self::Undone(committed)
            | Self::Edited(committed)
            | Self::Broken(committed)
            | Self::Foreign(committed) => committed,
        }
    }
}

/// What became of it, before it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Undone,
    Edited,
    Broken,
    Foreign,
}

impl Store {
    /// Finds out what became of an intent and leaves its path old, new or as a user made it. To be
    /// called for every intent of the index before anything is scanned or staged. What was last
    /// changed before `cut` (nanoseconds since 1970) a power cut may have damaged; `None`: there was
    /// none since the intent, and the disk holds what was written.
    ///
    /// # Errors
    /// [`StoreError`]; the intent stays, and so does what it is about.
    pub fn recover(
        &self,
        id: IntentId,
        intent: &Intent,
        cut: Option<i128>,
        hashing: &mut dyn Hashing,
    ) -> Result<Recovered, StoreError> {
        let parent = match self.root.parent_dir(&intent.path) {
            Ok(parent) => parent,
            // The directory around it is gone, or is something else by now: whatever did that, a scan
            // finds it. What was displaced before stays where it is kept.
            Err(
                ConfineError::NotFound { .. }
                | ConfineError::NotDirectory { .. }
                | ConfineError::SymlinkInPath { .. },
            ) => {
                let aside = self.versions.stat(intent.kept.as_bytes()).map_err(at("versions"))?;
                let displaced = aside.map(|aside| came_out(intent, &aside));
                return Ok(Recovered::Foreign(self.committed(id, Vec::new(), displaced)));
            }
            Err(error) => return Err(error.into()),
        };
        let mut look = Look { store: self, intent, parent: &parent, cut, hashing };
        let (outcome, placed, displaced) = match &intent.action {
            Action::Put { staged, inode } => look.put(staged, *inode)?,
            Action::Describe => look.describe()?,
            Action::Remove => look.remove()?,
            Action::Move { to } => look.moved(to)?,
        };
        let committed = match outcome {
            // The index says of the path what it said.
            Outcome::Foreign => self.committed(id, Vec::new(), displaced),
            // Whoever wrote into it, or gave it a mode, did not give it an owner or lists by that.
            Outcome::Done | Outcome::Edited => {
                self.committed_where(id, placed, displaced, is_same_object)
            }
            _ => self.committed(id, placed, displaced),
        };
        let mut dirs = vec![parent.clone(), self.versions.clone()];
        if let Action::Move { to } = &intent.action {
            dirs.extend(self.root.parent_dir(to));
        }
        let committed = self.settle(vec![Swapped::new(dirs, committed)])?.remove(0);
        Ok(match outcome {
            Outcome::Done => Recovered::Done(committed),
            Outcome::Undone => Recovered::Undone(committed),
            Outcome::Edited => Recovered::Edited(committed),
            Outcome::Broken => Recovered::Broken(committed),
            Outcome::Foreign => Recovered::Foreign(committed),
        })
    }
}

fn is_same_object(found: &DiskMeta, placed: &Placed) -> bool {
    (found.identity.dev, found.identity.ino) == (placed.identity.device, placed.identity.inode)
}

/// What came out of a path before the stop, and where it is.
enum Out {
    /// Nothing, or an empty directory, which is gone.
    Nothing,
    /// In the version store.
    Kept(Displaced),
    /// In the version store, a directory with something in it.
    FullDir(Displaced),
}

impl Out {
    /// What the catalogue is to name.
    fn kept(self) -> Option<Displaced> {
        match self {
            Self::Nothing => None,
            Self::Kept(displaced) | Self::FullDir(displaced) => Some(displaced),
        }
    }
}

/// What an intent displaced.
fn came_out(intent: &Intent, aside: &DiskMeta) -> Displaced {
    let old = intent.old.as_ref();
    let is_recorded = old.is_some_and(|old| is_same_content(&identity_of(aside), &old.identity));
    displaced(intent, aside, Origin::of(is_recorded))
}

type Findings = (Outcome, Vec<(RelPath, Option<Placed>)>, Option<Displaced>);

/// The path of an intent, looked at.
struct Look<'a> {
    store: &'a Store,
    intent: &'a Intent,
    parent: &'a Dir,
    /// What was last changed before this may be damaged.
    cut: Option<i128>,
    hashing: &'a mut dyn Hashing,
}

impl Look<'_> {
    fn stat(&self) -> Result<Option<DiskMeta>, StoreError> {
        self.parent.stat(self.intent.path.file_name()).map_err(on(&self.intent.path))
    }

    fn kept(&self) -> Result<Option<DiskMeta>, StoreError> {
        self.store.versions.stat(self.intent.kept.as_bytes()).map_err(at("versions"))
    }

    fn put(&mut self, staged: &str, inode: u64) -> Result<Findings, StoreError> {
        let Intent { old, new, kept, .. } = self.intent;
        let mut aside = self.kept()?;
        if aside.is_some_and(|aside| aside.identity.ino == inode) {
            // Killed before anything changed places.
            let back = self.store.versions.rename_new(
                kept.as_bytes(),
                &self.store.incoming,
                staged.as_bytes(),
            );
            match back {
                Ok(()) => {}
                Err(Errno::EXIST) => self.store.remove_kept(kept)?,
                Err(errno) => return Err(at("incoming")(errno)),
            }
            aside = None;
        }
        let Some(found) = self.stat()? else {
            return self.nothing_there(staged, inode, aside.as_ref());
        };
        // Before anything else: it may have the length and time of what was to come.
        if aside.is_none() && old.as_ref().is_some_and(|old| is_placed(&found, old)) {
            return Ok((Outcome::Undone, self.old_at(&found), None));
        }
        let Some(new) = new else { return self.made_dir(&found, inode, aside.as_ref()) };
        let is_inode = found.identity.ino == inode;
        if is_inode || is_dated(&found, new) {
            if self.holds(&found, &new.content)? {
                return match self.take_out(aside.as_ref())? {
                    // Something was put into it in the last moment: it goes back.
                    Out::FullDir(_) => self.broken(&found, aside.as_ref()),
                    out => Ok((Outcome::Done, self.put_as(new, &found), out.kept())),
                };
            }
            if self.is_damaged(&found, new)? {
                return self.broken(&found, aside.as_ref());
            }
        }
        let displaced = self.take_out(aside.as_ref())?.kept();
        // Whoever wrote into it saw what was put there.
        if is_inode { Ok(self.edited(new, &found, displaced)) } else { Ok(foreign(displaced)) }
    }

    /// A directory that no version describes was to be made: a scan says what it is.
    fn made_dir(
        &self,
        found: &DiskMeta,
        inode: u64,
        aside: Option<&DiskMeta>,
    ) -> Result<Findings, StoreError> {
        let displaced = self.take_out(aside)?.kept();
        if found.kind == FileKind::Dir && found.identity.ino == inode {
            return Ok((Outcome::Done, vec![(self.intent.path.clone(), None)], displaced));
        }
        Ok(foreign(displaced))
    }

    /// Nothing stands at the path of something that was to be put there.
    fn nothing_there(
        &mut self,
        staged: &str,
        inode: u64,
        aside: Option<&DiskMeta>,
    ) -> Result<Findings, StoreError> {
        let Intent { path, old, kept, .. } = self.intent;
        match (old, aside) {
            (None, None) => Ok((Outcome::Undone, vec![(path.clone(), None)], None)),
            // Where the file system cannot exchange, this is the moment between.
            (Some(_), Some(aside)) if self.staged_inode(staged)? == Some(inode) => {
                let versions = &self.store.versions;
                let back = versions.rename_new(kept.as_bytes(), self.parent, path.file_name());
                back.map_err(on(path))?;
                let found = self.stat()?.unwrap_or(*aside);
                Ok((Outcome::Undone, self.old_at(&found), None))
            }
            // Somebody has deleted what was put there.
            (_, aside) => Ok(foreign(self.take_out(aside)?.kept())),
        }
    }

    fn staged_inode(&self, staged: &str) -> Result<Option<u64>, StoreError> {
        let found = self.store.incoming.stat(staged.as_bytes()).map_err(at("incoming"))?;
        Ok(found.map(|found| found.identity.ino))
    }

    /// What was put there, and has other bytes by now: what is known of it is what was put, in a state
    /// in which it is not any more.
    fn edited(&self, new: &Version, found: &DiskMeta, displaced: Option<Displaced>) -> Findings {
        let found = identity_of(found);
        let size = match &new.content {
            Content::File { size, .. } => size.get(),
            Content::Gone | Content::Dir | Content::Symlink { .. } => found.size,
        };
        let (mtime, ctime) = (found.mtime - 1, found.ctime - 1);
        let identity = FileIdentity { size, mtime, ctime, ..found };
        let (version, meta) = (new.clone(), new.meta.clone());
        let placed = Placed { version, meta, identity };
        (Outcome::Edited, vec![(self.intent.path.clone(), Some(placed))], displaced)
    }

    /// What the index is to say of what was put there and is whole. Where somebody gave it another
    /// mode or time since, a scan has to see the difference.
    fn put_as(&self, new: &Version, found: &DiskMeta) -> Vec<(RelPath, Option<Placed>)> {
        let is_mode = found.mode & MODE_MASK == new.meta.mode & MODE_MASK;
        let is_time = is_set_to(found.mtime(), new.meta.mtime);
        let is_so = match found.kind {
            FileKind::Dir => is_mode,
            FileKind::Symlink => is_time,
            // A further name of a file is described as that is.
            FileKind::File | FileKind::Special => is_mode && is_time || found.links > 1,
        };
        let mut placed = placed_of(new, found);
        if !is_so {
            placed.identity.ctime -= 1;
        }
        vec![(self.intent.path.clone(), Some(placed))]
    }

    /// Whether a power cut may have left this of what was put there: it was last changed before that,
    /// and is shorter, ends in zeros or has its time still.
    fn is_damaged(&mut self, found: &DiskMeta, new: &Version) -> Result<bool, StoreError> {
        let (Some(cut), Content::File { size, .. }) = (self.cut, &new.content) else {
            return Ok(false);
        };
        if found.kind != FileKind::File || identity_of(found).ctime >= cut {
            return Ok(false);
        }
        if let Some(old) = &self.intent.old
            && self.holds(found, &old.version.content)?
        {
            return Ok(false);
        }
        if found.size() < size.get() || is_set_to(found.mtime(), new.meta.mtime) {
            return Ok(true);
        }
        let path = &self.intent.path;
        let (file, _) = self.parent.open_file(path.file_name()).map_err(on(path))?;
        let ends = ends_in_zeros(&file, found.size());
        ends.map_err(|error| on(path)(super::marker::errno_of(&error)))
    }

    /// Ours and broken: aside with it, and back with what stood there.
    fn broken(
        &mut self,
        found: &DiskMeta,
        aside: Option<&DiskMeta>,
    ) -> Result<Findings, StoreError> {
        let Intent { path, kept, .. } = self.intent;
        let versions = &self.store.versions;
        let (kept, leaf) = (kept.as_bytes(), path.file_name());
        let displaced = displaced(self.intent, found, Origin::Broken);
        if aside.is_some() {
            match versions.exchange(kept, self.parent, leaf) {
                Ok(()) => {
                    let back = self.stat()?.ok_or_else(|| on(path)(Errno::NOENT))?;
                    return Ok((Outcome::Broken, self.old_at(&back), Some(displaced)));
                }
                Err(Errno::INVAL | Errno::NOSYS) => {
                    // What stood there stays kept; the broken one is not worth a second name.
                    self.parent.remove_file(leaf).map_err(on(path))?;
                    versions.rename_new(kept, self.parent, leaf).map_err(on(path))?;
                    let back = self.stat()?.ok_or_else(|| on(path)(Errno::NOENT))?;
                    return Ok((Outcome::Broken, self.old_at(&back), None));
                }
                Err(errno) => return Err(on(path)(errno)),
            }
        }
        if found.kind == FileKind::Dir {
            return Ok(foreign(None));
        }
        self.parent.rename_new(leaf, versions, kept).map_err(on(path))?;
        Ok((Outcome::Broken, vec![(path.clone(), None)], Some(displaced)))
    }

    fn describe(&mut self) -> Result<Findings, StoreError> {
        let Intent { path, old, new, .. } = self.intent;
        let (Some(old), Some(new), Some(found)) = (old, new, self.stat()?) else {
            return Ok(foreign(None));
        };
        let is_that = (found.identity.dev, found.identity.ino)
            == (old.identity.device, old.identity.inode)
            && is_half_described(&found, old, new)
            && self.holds(&found, &old.version.content)?;
        if !is_that {
            return Ok(foreign(None));
        }
        let (leaf, principals) = (path.file_name(), &*self.store.principals);
        match found.kind {
            FileKind::Symlink => self.parent.set_link_mtime(leaf, new.meta.mtime),
            FileKind::Dir => self
                .parent
                .open_dir(leaf)
                .map_err(Undescribed::from)
                .and_then(|dir| describe(&dir, &new.meta, &Subject::Standing, principals))
                .map_err(Undescribed::errno),
            FileKind::File | FileKind::Special => {
                let (file, meta) = self.parent.open_file(leaf).map_err(on(path))?;
                // Written to since it was read: a scan reads it again.
                if !meta.identity.is_same_content(&found.identity) {
                    return Ok(foreign(None));
                }
                let done = describe(&file, &new.meta, &Subject::Standing, principals);
                done.map_err(Undescribed::errno)
            }
        }
        .map_err(on(path))?;
        let now = self.stat()?.ok_or_else(|| on(path)(Errno::NOENT))?;
        if found.kind == FileKind::File && !is_untouched(&now, &found, new.meta.mtime) {
            return Ok(foreign(None));
        }
        Ok((Outcome::Done, self.paths(Some(new), &now), None))
    }

    fn remove(&mut self) -> Result<Findings, StoreError> {
        let Intent { path, old, .. } = self.intent;
        let Some(old) = old else { return Ok(foreign(None)) };
        let aside = self.kept()?.map(|aside| self.displaced(&aside));
        match (self.stat()?, aside) {
            (None, Some(aside)) if aside.version.is_none() => Ok(foreign(Some(aside))),
            (None, aside) => Ok((Outcome::Done, vec![(path.clone(), None)], aside)),
            (Some(found), None) if is_placed(&found, old) => {
                Ok((Outcome::Undone, self.old_at(&found), None))
            }
            (Some(_), aside) => Ok(foreign(aside)),
        }
    }

    fn moved(&mut self, to: &RelPath) -> Result<Findings, StoreError> {
        let Intent { path, old, new, .. } = self.intent;
        let Some(old) = old else { return Ok(foreign(None)) };
        let target = self.store.root.parent_dir(to)?;
        let there = target.stat(to.file_name()).map_err(on(to))?;
        let is_that = |found: &DiskMeta| is_same_content(&identity_of(found), &old.identity);
        match (self.stat()?, there, new) {
            (None, Some(there), Some(new)) if is_that(&there) => {
                let placed = placed_of(new, &there);
                Ok((Outcome::Done, vec![(to.clone(), Some(placed)), (path.clone(), None)], None))
            }
            (Some(found), _, _) if is_that(&found) => {
                Ok((Outcome::Undone, self.old_at(&found), None))
            }
            _ => Ok(foreign(None)),
        }
    }

    /// Whether what was found has this content: bytes are read.
    fn holds(&mut self, found: &DiskMeta, content: &Content) -> Result<bool, StoreError> {
        let path = &self.intent.path;
        let leaf = path.file_name();
        Ok(match (found.kind, content) {
            (FileKind::Dir, Content::Dir) => true,
            (FileKind::Symlink, Content::Symlink { target }) => {
                self.parent.read_link(leaf).map_err(on(path))?[..] == target[..]
            }
            (FileKind::File, Content::File { manifest, size }) if found.size() == size.get() => {
                let (file, _) = self.parent.open_file(leaf).map_err(on(path))?;
                let hashed = self.hashing.manifest_of(&file);
                let failed = |error| on(path)(super::marker::errno_of(&error));
                hashed.map_err(failed)? == *manifest
            }
            _ => false,
        })
    }

    /// What came out goes where it belongs: a file or link is kept, and of a directory, which was
    /// empty, nothing is left.
    fn take_out(&self, aside: Option<&DiskMeta>) -> Result<Out, StoreError> {
        let Some(aside) = aside else { return Ok(Out::Nothing) };
        if aside.kind != FileKind::Dir {
            return Ok(Out::Kept(self.displaced(aside)));
        }
        match self.store.versions.remove_dir(self.intent.kept.as_bytes()) {
            Ok(()) => Ok(Out::Nothing),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                Ok(Out::FullDir(displaced(self.intent, aside, Origin::Broken)))
            }
            Err(errno) => Err(at("versions")(errno)),
        }
    }

    fn displaced(&self, aside: &DiskMeta) -> Displaced {
        came_out(self.intent, aside)
    }

    fn old_at(&self, found: &DiskMeta) -> Vec<(RelPath, Option<Placed>)> {
        // The index says of a directory what it said: its times are none of an edit, and what its disk
        // did not take of its version stays known.
        if found.kind == FileKind::Dir {
            return Vec::new();
        }
        let old = self.intent.old.clone();
        let placed = old.map(|old| {
            // Anything else than a new time of last change is for a scan to find.
            let is_same = is_same_content(&identity_of(found), &old.identity);
            let identity = if is_same { identity_of(found) } else { old.identity };
            Placed { identity, ..old }
        });
        vec![(self.intent.path.clone(), placed)]
    }

    fn paths(&self, new: Option<&Version>, found: &DiskMeta) -> Vec<(RelPath, Option<Placed>)> {
        vec![(self.intent.path.clone(), new.map(|new| placed_of(new, found)))]
    }
}

/// Whether what stands at a path has the mode and time that it had, that it was to get, or between.
/// Others a user gave it.
fn is_half_described(found: &DiskMeta, old: &Placed, new: &Version) -> bool {
    let mtime = found.mtime();
    let is_time = nanos_of(mtime) == old.identity.mtime || is_set_to(mtime, new.meta.mtime);
    // A list changes the mode, and so does whoever may not open the file.
    let has_lists = old.meta.attrs.is_some() || new.meta.attrs.is_some();
    let modes = [old.meta.mode, old.meta.mode | 0o400, new.meta.mode];
    let is_mode = modes.iter().any(|mode| mode & MODE_MASK == found.mode & MODE_MASK);
    match found.kind {
        FileKind::Dir => is_mode || has_lists,
        FileKind::Symlink => is_time,
        FileKind::File | FileKind::Special => is_time && (is_mode || has_lists),
    }
}

fn placed_of(version: &Version, found: &DiskMeta) -> Placed {
    let (version, meta) = (version.clone(), version.meta.clone());
    Placed { version, meta, identity: identity_of(found) }
}

/// Whether this has the length and time of what was put there: so that is known where inodes do not
/// last.
fn is_dated(found: &DiskMeta, new: &Version) -> bool {
    let is_dated = match &new.content {
        Content::File { size, .. } => {
            found.size() == size.get() && nanos_of(found.mtime()) == nanos_of(new.meta.mtime)
        }
        Content::Gone | Content::Dir | Content::Symlink { .. } => false,
    };
    found.kind == FileKind::File && is_dated
}

/// Whether nothing but zeros stands in the last block of a file of `size` bytes that has any: what a
/// power cut leaves of one whose length was durable before its bytes.
///
/// # Errors
/// What the system says.
pub fn ends_in_zeros(file: &File, size: u64) -> std::io::Result<bool> {
    let start = size.saturating_sub(1) / ZERO_BLOCK * ZERO_BLOCK;
    let mut block = vec![0; usize::try_from(size - start).unwrap_or(0)];
    file.read_exact_at(&mut block, start)?;
    Ok(!block.is_empty() && block.iter().all(|&byte| byte == 0))
}

fn foreign(displaced: Option<Displaced>) -> Findings {
    (Outcome::Foreign, Vec::new(), displaced)
}

#[cfg(test)]
mod tests;
