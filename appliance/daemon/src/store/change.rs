//! One change of the tree, step by step, each step a type made from the one before.
//!
//! [`Prepared`]: everything staged is durable, and the path was looked at. Its [`Intent`] goes into
//! the index, durably; with that, [`Prepared::swap`] looks again and renames. [`Store::settle`] makes
//! the names durable, and only then there is a [`Committed`] for the index, after whose commit the
//! world may be told (spec: S-043).

use super::displaced::{Displaced, Origin, displaced};
use super::error::{StoreError, at, on};
use super::intent::{Action, Intent, IntentId, Recorded};
use super::linked::is_in_state;
use super::shortfall::Shortfall;
use super::staged::Ready;
use super::{Store, identity_of, key_of, random_name, state_of, step};
use crate::exact;
use farhaul_engine::files::confine::ShownPath;
use farhaul_engine::files::dir::{Dir, FileKind, Meta as DiskMeta};
use farhaul_files::{Subject, Undescribed, describe};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::FileTime;
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::version::{Content, Meta, Version};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;

/// Changed directories that are synced one by one; more are synced with their file system.
const DIRS_MAX: usize = 64;
/// The mode of directories that nobody describes.
const DIR_MODE: u32 = 0o755;

/// A change whose intent is to be recorded. Dropping it changes nothing.
#[derive(Debug)]
pub struct Prepared {
    store: Store,
    pub(super) intent: Intent,
    parent: Dir,
    /// What is put there.
    pub(super) ready: Option<Ready>,
    /// The parent of [`Action::Move::to`].
    target: Option<Dir>,
    /// The state in which what stands there is by now ([`Prepared::follow`]).
    pub(super) state: Option<FileIdentity>,
}

/// A change that is done but not durable.
#[derive(Debug)]
pub struct Swapped {
    dirs: Vec<Dir>,
    committed: Committed,
}

/// A change that is done and durable: for the index, which says so to others.
#[derive(Debug)]
#[must_use = "the index has to be told of it"]
pub struct Committed {
    /// Its intent, which is over.
    pub intent: IntentId,
    /// What the index is to say of which paths.
    pub placed: Vec<(RelPath, Option<Placed>)>,
    /// What was displaced.
    pub displaced: Option<Displaced>,
    /// Where the disk did not take all of a version's metadata.
    pub shortfalls: Vec<(RelPath, Shortfall)>,
}

impl Store {
    /// Prepares to put `ready` at `path` as `new`, in place of `old` (what the index says stands
    /// there). Directories above have to be there.
    ///
    /// # Errors
    /// [`StoreError`]; the caller tries again with `ready`, or drops it.
    pub fn prepare_put(
        &self,
        path: &RelPath,
        ready: &Ready,
        new: &Version,
        old: Option<&Placed>,
    ) -> Result<Prepared, StoreError> {
        if ready.content != new.content {
            return Err(StoreError::Mismatch { path: path.into(), what: "the version" });
        }
        let action = Action::Put { staged: ready.name.clone(), inode: ready.identity.ino };
        let prepared = self.prepare(path, action, Some(new), old)?;
        Ok(Prepared { ready: Some(ready.clone()), ..prepared })
    }

    /// Prepares to make a directory at `path` that no version describes, in place of `old`: something
    /// beneath needs it. Whoever makes it looks at it then (spec: S-014, S-048).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prepare_make_dir(
        &self,
        path: &RelPath,
        old: Option<&Placed>,
    ) -> Result<Prepared, StoreError> {
        let meta = Meta { mode: DIR_MODE, ..Meta::default() };
        let ready = self.ready_dir(&meta)?;
        let action = Action::Put { staged: ready.name.clone(), inode: ready.identity.ino };
        match self.prepare(path, action, None, old) {
            Ok(prepared) => Ok(Prepared { ready: Some(ready), ..prepared }),
            Err(error) => {
                self.drop_ready(&ready);
                Err(error)
            }
        }
    }

    /// Prepares to give what stands at `path` the metadata of `new`, whose content it has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prepare_describe(
        &self,
        path: &RelPath,
        new: &Version,
        old: &Placed,
    ) -> Result<Prepared, StoreError> {
        if new.content != old.version.content {
            let path = ShownPath::from(path);
            return Err(StoreError::Mismatch { path, what: "the content of the version" });
        }
        self.prepare(path, Action::Describe, Some(new), Some(old))
    }

    /// Prepares to remove what stands at `path`: a file or link goes into the version store, a
    /// directory has to be empty.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::NotEmpty`] says what keeps a directory.
    pub fn prepare_remove(&self, path: &RelPath, old: &Placed) -> Result<Prepared, StoreError> {
        self.prepare(path, Action::Remove, None, Some(old))
    }

    /// Prepares to call what stands at `path` `to` from now on, where nothing stands; as the version
    /// `new` of that path.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prepare_move(
        &self,
        path: &RelPath,
        to: &RelPath,
        new: &Version,
        old: &Placed,
    ) -> Result<Prepared, StoreError> {
        let action = Action::Move { to: to.clone() };
        let prepared = self.prepare(path, action, Some(new), Some(old))?;
        let target = self.root.parent_dir(to)?;
        self.check_spelling(to)?;
        if target.stat(to.file_name()).map_err(on(to))?.is_some() {
            return Err(on(to)(Errno::EXIST));
        }
        Ok(Prepared { target: Some(target), ..prepared })
    }

    fn prepare(
        &self,
        path: &RelPath,
        action: Action,
        new: Option<&Version>,
        old: Option<&Placed>,
    ) -> Result<Prepared, StoreError> {
        let parent = self.root.parent_dir(path)?;
        self.check_spelling(path)?;
        let found = look(&parent, path, old, None)?;
        let keeps_dir = match action {
            Action::Put { .. } => new.is_none_or(|new| new.content == Content::Dir),
            Action::Describe | Action::Move { .. } => true,
            Action::Remove => false,
        };
        if found.is_some_and(|found| found.kind == FileKind::Dir) && !keeps_dir {
            check_empty(&parent, path)?;
        }
        let (path, old, new) = (path.clone(), old.cloned(), new.cloned());
        let intent = Intent { path, action, old, new, kept: random_name()? };
        let (store, state) = (self.clone(), None);
        Ok(Prepared { store, intent, parent, ready: None, target: None, state })
    }

    /// That nothing stands at a path, or above it, under another spelling.
    ///
    /// # Errors
    /// [`StoreError::Folded`], and what the kernel says.
    pub fn check_spelling(&self, path: &RelPath) -> Result<(), StoreError> {
        if !self.folds {
            return Ok(());
        }
        match exact::misspelled(self.root.dir(), path).map_err(on(path))? {
            Some(name) => {
                Err(StoreError::Folded { path: path.into(), name: ShownPath::new(&name) })
            }
            None => Ok(()),
        }
    }

    /// Makes changes durable: the directories that names came into or went from.
    ///
    /// # Errors
    /// [`StoreError::Unsettled`]; what was changed stays so, and its intents say what it was: the
    /// folder has to be opened anew and recovered.
    pub fn settle(&self, swapped: Vec<Swapped>) -> Result<Vec<Committed>, StoreError> {
        let synced = self.sync_dirs(&swapped);
        synced.map_err(|source| StoreError::Unsettled { path: self.path.clone(), source })?;
        Ok(swapped.into_iter().map(|swapped| swapped.committed).collect())
    }

    fn sync_dirs(&self, swapped: &[Swapped]) -> rustix::io::Result<()> {
        let mut dirs = BTreeMap::new();
        for dir in swapped.iter().flat_map(|swapped| &swapped.dirs) {
            dirs.insert(key_of(&dir.meta()?.identity), dir);
        }
        step();
        if dirs.len() > DIRS_MAX && self.top.syncs_wholly() {
            self.top.sync_file_system()?;
        } else {
            dirs.values().try_for_each(|dir| self.sync_dir(dir))?;
        }
        step();
        Ok(())
    }

    #[cfg(not(test))]
    fn sync_dir(&self, dir: &Dir) -> rustix::io::Result<()> {
        dir.sync()
    }

    /// Fails where a test says that the disk does.
    #[cfg(test)]
    fn sync_dir(&self, dir: &Dir) -> rustix::io::Result<()> {
        if self.failing.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::IO);
        }
        dir.sync()
    }
}

impl Prepared {
    /// What is to be recorded.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Gives it up, and what was staged with it.
    pub fn abandon(self) {
        if let Some(ready) = &self.ready {
            self.store.drop_ready(ready);
        }
    }

    /// Does it, if what stands there is still what was there when it was prepared.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was done, and the intent is to be forgotten. What was staged is where
    /// it was, to be taken up or swept. But after [`StoreError::HalfDone`] the intent stays, and is to
    /// be recovered.
    pub fn swap(self, recorded: &Recorded) -> Result<Swapped, StoreError> {
        recorded.check(&self.intent)?;
        step();
        let Self { store, intent, parent, ready, target, state } = self;
        let found = look(&parent, &intent.path, intent.old.as_ref(), state.as_ref())?;
        let work = Work { store: &store, intent: &intent, parent: &parent };
        let (placed, displaced) = match (&intent.action, ready, found) {
            (Action::Put { .. }, Some(ready), _) => work.put(&ready)?,
            (Action::Describe, _, Some(found)) => (work.describe(&found)?, None),
            (Action::Remove, _, Some(found)) => (Vec::new(), work.remove(&found)?),
            (Action::Move { to }, _, Some(found)) => {
                let target = target.ok_or_else(|| on(to)(Errno::NOENT))?;
                let moved = work.rename(&found, to, &target)?;
                let dirs = vec![parent, target];
                let committed = store.committed(recorded.id(), moved, None);
                return Ok(Swapped { dirs, committed });
            }
            _ => return Err(work.changed()),
        };
        step();
        let placed = if placed.is_empty() { vec![(intent.path.clone(), None)] } else { placed };
        let dirs = vec![parent, store.versions.clone()];
        let committed = store.committed(recorded.id(), placed, displaced);
        Ok(Swapped { dirs, committed })
    }
}

impl Swapped {
    /// What it displaced.
    pub fn displaced(&self) -> Option<&Displaced> {
        self.committed.displaced.as_ref()
    }

    pub(super) fn new(dirs: Vec<Dir>, committed: Committed) -> Self {
        Self { dirs, committed }
    }
}

type Paths = Vec<(RelPath, Option<Placed>)>;

/// A change in the doing.
struct Work<'a> {
    store: &'a Store,
    intent: &'a Intent,
    parent: &'a Dir,
}

impl Work<'_> {
    fn leaf(&self) -> &[u8] {
        self.intent.path.file_name()
    }

    fn changed(&self) -> StoreError {
        StoreError::Changed { path: ShownPath::from(&self.intent.path) }
    }

    /// What fails after something was moved.
    fn half_done(&self, source: Errno) -> StoreError {
        StoreError::HalfDone { path: ShownPath::from(&self.intent.path), source }
    }

    /// What came out into the version store.
    fn out(&self) -> Result<DiskMeta, StoreError> {
        let out = self.store.versions.stat(self.intent.kept.as_bytes());
        out.and_then(|out| out.ok_or(Errno::NOENT)).map_err(|errno| self.half_done(errno))
    }

    fn on(&self, errno: Errno) -> StoreError {
        on(&self.intent.path)(errno)
    }

    fn put(&self, ready: &Ready) -> Result<(Paths, Option<Displaced>), StoreError> {
        let name = ready.name.as_bytes();
        let displaced = match &self.intent.old {
            None => match self.store.incoming.rename_new(name, self.parent, self.leaf()) {
                Ok(()) => None,
                Err(Errno::EXIST) => return Err(self.changed()),
                Err(errno) => return Err(self.on(errno)),
            },
            Some(old) => self.exchange(name, old)?,
        };
        step();
        Ok((self.placed_at(&self.intent.path, self.parent, ready), displaced))
    }

    /// What the index is to say of what was put: its state as it is now, if it is still what was
    /// put. Otherwise its state as it was, and a scan sees the difference.
    fn placed_at(&self, path: &RelPath, dir: &Dir, ready: &Ready) -> Paths {
        let found = dir.stat(path.file_name()).ok().flatten();
        let same = found.filter(|found| found.identity.is_same_content(&ready.identity));
        let identity = match same {
            Some(found) => identity_of(&found),
            None => state_of(&ready.identity),
        };
        self.paths(path, identity)
    }

    fn paths(&self, path: &RelPath, identity: FileIdentity) -> Paths {
        let version = self.intent.new.clone();
        let placed =
            version.map(|version| Placed { meta: version.meta.clone(), version, identity });
        vec![(path.clone(), placed)]
    }

    /// Changes places with what stands there, under a name of the version store: should this process
    /// be killed between swap and look, what came out is where it is to be kept.
    fn exchange(&self, name: &[u8], old: &Placed) -> Result<Option<Displaced>, StoreError> {
        let Store { incoming, versions, .. } = self.store;
        let kept = self.intent.kept.as_bytes();
        incoming.rename_new(name, versions, kept).map_err(at("versions"))?;
        step();
        match versions.exchange(kept, self.parent, self.leaf()) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) => return self.replace_in_two(name, old),
            Err(errno) => {
                let _ = versions.rename_new(kept, incoming, name);
                let is_gone = errno == Errno::NOENT;
                return Err(if is_gone { self.changed() } else { self.on(errno) });
            }
        }
        step();
        let out = self.out()?;
        if out.kind == FileKind::Dir {
            return match versions.remove_dir(kept) {
                Ok(()) => Ok(None),
                // Something was put into it in the last moment: it goes back.
                Err(errno) => {
                    let back = versions.exchange(kept, self.parent, self.leaf());
                    back.map_err(|errno| self.half_done(errno))?;
                    let _ = versions.rename_new(kept, incoming, name);
                    Err(not_empty(self.parent, &self.intent.path, errno))
                }
            };
        }
        Ok(Some(self.displaced(&out, old)))
    }

    /// Where the file system cannot exchange: for a moment nothing stands there, and the intent says
    /// what has to.
    fn replace_in_two(&self, name: &[u8], old: &Placed) -> Result<Option<Displaced>, StoreError> {
        let Store { incoming, versions, .. } = self.store;
        let kept = self.intent.kept.as_bytes();
        versions.rename_new(kept, incoming, name).map_err(at("incoming"))?;
        step();
        self.parent.rename_new(self.leaf(), versions, kept).map_err(|errno| self.on(errno))?;
        step();
        let placed = incoming.rename_new(name, self.parent, self.leaf());
        let out = self.out()?;
        match placed {
            Ok(()) if out.kind == FileKind::Dir => {
                versions.remove_dir(kept).map(|()| None).map_err(|errno| self.half_done(errno))
            }
            Ok(()) => Ok(Some(self.displaced(&out, old))),
            Err(errno) => {
                let back = versions.rename_new(kept, self.parent, self.leaf());
                back.map_err(|errno| self.half_done(errno))?;
                Err(if errno == Errno::EXIST { self.changed() } else { self.on(errno) })
            }
        }
    }

    fn displaced(&self, out: &DiskMeta, old: &Placed) -> Displaced {
        let is_recorded = is_same_content(&identity_of(out), &old.identity);
        displaced(self.intent, out, Origin::of(is_recorded))
    }

    fn describe(&self, found: &DiskMeta) -> Result<Paths, StoreError> {
        let Some(new) = &self.intent.new else { return Err(self.changed()) };
        let principals = &*self.store.principals;
        let leaf = self.leaf();
        let described = match found.kind {
            FileKind::Symlink => self.parent.set_link_mtime(leaf, new.meta.mtime),
            FileKind::Dir => self.parent.open_dir(leaf).and_then(|dir| {
                let done = describe(&dir, &new.meta, &Subject::Standing, principals);
                done.map_err(Undescribed::errno)?;
                dir.sync()
            }),
            FileKind::File | FileKind::Special => return self.describe_file(found, new),
        };
        described.map_err(|errno| self.half_done(errno))?;
        step();
        let now = self.parent.stat(leaf).map_err(|errno| self.half_done(errno))?;
        let now = now.filter(|now| key_of(&now.identity) == key_of(&found.identity));
        let identity = identity_of(&now.unwrap_or(*found));
        Ok(self.paths(&self.intent.path, identity))
    }

    /// The time of a file says whether somebody wrote into it: it is looked at before it is set, and
    /// once more afterwards. Between the first look and the new time lie two calls of the kernel.
    fn describe_file(&self, found: &DiskMeta, new: &Version) -> Result<Paths, StoreError> {
        let (leaf, principals) = (self.leaf(), &*self.store.principals);
        let (file, meta) = self.open_own(found).map_err(|errno| self.half_done(errno))?;
        if !meta.identity.is_same_content(&found.identity) {
            return Err(self.changed());
        }
        let described = describe(&file, &new.meta, &Subject::Standing, principals);
        let described = described.map_err(Undescribed::errno);
        described.and_then(|()| rustix::fs::fsync(&file)).map_err(|e| self.half_done(e))?;
        step();
        let now = self.parent.stat(leaf).map_err(|errno| self.half_done(errno))?;
        // Gone or written to meanwhile: what is known stays, and a scan reads what is not in that
        // state.
        let now = now.filter(|now| is_untouched(now, found, new.meta.mtime));
        Ok(self.paths(&self.intent.path, identity_of(&now.unwrap_or(*found))))
    }

    /// Who owns a file may change its mode without being able to open it.
    fn open_own(&self, found: &DiskMeta) -> rustix::io::Result<(File, DiskMeta)> {
        match self.parent.open_file(self.leaf()) {
            Err(Errno::ACCESS) => {
                self.parent.hold_file(self.leaf())?.set_mode(found.mode | 0o400)?;
                self.parent.open_file(self.leaf())
            }
            opened => opened,
        }
    }

    fn remove(&self, found: &DiskMeta) -> Result<Option<Displaced>, StoreError> {
        let versions = &self.store.versions;
        let kept = self.intent.kept.as_bytes();
        if found.kind == FileKind::Dir {
            let removed = self.parent.remove_dir(self.leaf());
            removed.map_err(|errno| not_empty(self.parent, &self.intent.path, errno))?;
            return Ok(None);
        }
        step();
        self.parent.rename_new(self.leaf(), versions, kept).map_err(|errno| match errno {
            Errno::NOENT => self.changed(),
            errno => self.on(errno),
        })?;
        step();
        let out = self.out()?;
        if out.identity.is_same_content(&found.identity) && out.kind == found.kind {
            return Ok(Some(displaced(self.intent, &out, Origin::Recorded)));
        }
        // Somebody has just put it there: it goes back, and a scan finds it.
        match versions.rename_new(kept, self.parent, self.leaf()) {
            Ok(()) => Err(self.changed()),
            Err(_) => Ok(Some(displaced(self.intent, &out, Origin::Edit))),
        }
    }

    fn rename(&self, found: &DiskMeta, to: &RelPath, target: &Dir) -> Result<Paths, StoreError> {
        match self.parent.rename_new(self.leaf(), target, to.file_name()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(self.changed()),
            Err(errno) => return Err(on(to)(errno)),
        }
        step();
        let out = target.stat(to.file_name()).map_err(|errno| self.half_done(errno))?;
        let is_same = |out: &DiskMeta| out.identity.is_same_content(&found.identity);
        if let Some(out) = out.filter(is_same) {
            let mut paths = self.paths(to, identity_of(&out));
            paths.push((self.intent.path.clone(), None));
            return Ok(paths);
        }
        // Not what was to be moved: back, where nothing was put meanwhile.
        let back = target.rename_new(to.file_name(), self.parent, self.leaf());
        back.map_err(|errno| self.half_done(errno))?;
        Err(self.changed())
    }
}

/// What stands at `path`, if it is what the index says, or is in `state`.
fn look(
    parent: &Dir,
    path: &RelPath,
    old: Option<&Placed>,
    state: Option<&FileIdentity>,
) -> Result<Option<DiskMeta>, StoreError> {
    let found = parent.stat(path.file_name()).map_err(on(path))?;
    if let Some(found) = found.filter(|found| found.kind == FileKind::Special) {
        return Err(StoreError::InTheWay { path: path.into(), found: found.kind });
    }
    let is_as_known = match (&found, old) {
        (None, None) => true,
        (Some(found), Some(old)) => is_placed(found, old) || is_in_state(found, state),
        _ => false,
    };
    if is_as_known { Ok(found) } else { Err(StoreError::Changed { path: path.into() }) }
}

/// Whether what was found is what the index says stands there.
pub(super) fn is_placed(found: &DiskMeta, old: &Placed) -> bool {
    let identity = identity_of(found);
    match (found.kind, &old.version.content) {
        // Whatever is done in a directory changes its times.
        (FileKind::Dir, Content::Dir) => {
            (identity.device, identity.inode) == (old.identity.device, old.identity.inode)
        }
        (FileKind::File, Content::File { .. }) | (FileKind::Symlink, Content::Symlink { .. }) => {
            identity == FileIdentity { generation: 0, ..old.identity }
        }
        _ => false,
    }
}

/// Whether nobody wrote into a file since it was as `found` and its time was set to `mtime`. File
/// systems that keep times in steps of 100 ns or more round it.
pub(super) fn is_untouched(now: &DiskMeta, found: &DiskMeta, mtime: FileTime) -> bool {
    let is_same = key_of(&now.identity) == key_of(&found.identity) && now.size() == found.size();
    is_same && is_set_to(now.mtime(), mtime)
}

/// Whether a disk that was given the time `mtime` may have `got` of it.
pub(super) fn is_set_to(got: FileTime, mtime: FileTime) -> bool {
    let is_rounded = got.nanos.is_multiple_of(100) && got.secs.abs_diff(mtime.secs) < 2;
    got == mtime || is_rounded
}

/// Whether both are the same content of the same file, whatever its names.
pub(super) fn is_same_content(a: &FileIdentity, b: &FileIdentity) -> bool {
    FileIdentity { ctime: b.ctime, generation: b.generation, ..*a } == *b
}

fn check_empty(parent: &Dir, path: &RelPath) -> Result<(), StoreError> {
    let names = parent.open_dir(path.file_name()).and_then(|dir| dir.names()).map_err(on(path))?;
    match names.first() {
        None => Ok(()),
        Some(first) => Err(StoreError::NotEmpty {
            path: path.into(),
            count: names.len(),
            example: ShownPath::new(first),
        }),
    }
}

/// Why a directory did not go.
fn not_empty(parent: &Dir, path: &RelPath, errno: Errno) -> StoreError {
    match errno {
        Errno::NOTEMPTY | Errno::EXIST => {
            check_empty(parent, path).err().unwrap_or_else(|| on(path)(errno))
        }
        Errno::NOENT | Errno::NOTDIR => StoreError::Changed { path: path.into() },
        errno => on(path)(errno),
    }
}
