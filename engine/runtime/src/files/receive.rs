//! The receiving side of a transfer: what is there already, what is wanted, where it goes.
//!
//! [`Receiver::open`] compares the manifest with the destination, takes up staged data of an
//! earlier attempt (every block read again and compared with its digest), makes sure that the
//! rest fits on the disk and creates the directories. Data then goes to staged files and is put
//! in place by `commit` and `bundle`. Which blocks travel, and when, is the caller's business.

use super::commit::CommitError;
use super::confine::{ConfineError, Root};
use super::dir::{Dir, FileKind, Meta};
use super::space::{self, NoSpace};
use super::staging::{Earlier, Key, Part, StagedFile, Staging, StagingError};
use super::stop::Stop;
use farhaul_proto::layout::{DataMap, EntryRange};
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::manifest::{Entry, EntryKind, FileTime, Manifest};
use farhaul_proto::path_name::{PathError, RelPath};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Staged files of earlier attempts that one transfer takes up; more start anew. Each holds two
/// descriptors.
pub const RESUMED_MAX: usize = 256;

/// Why a transfer cannot be received at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The destination directory cannot be opened or created.
    #[error("destination {0}")]
    Destination(#[from] ConfineError),
    /// The staging area cannot be used.
    #[error("staging: {0}")]
    Staging(#[from] StagingError),
    /// The disk is too small for it.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// Nobody waits for it any more.
    #[error("stopped")]
    Stopped,
}

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveOptions {
    /// Whether data that an earlier attempt left is taken up, and a file that looks like the one
    /// to come is taken for it.
    pub resume: bool,
    /// The identity of the sending site, so that nobody takes up what another peer staged.
    pub peer: [u8; 32],
}

/// A run of blocks that need not travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaveBlocks {
    /// The file's entry.
    pub entry: u32,
    /// The first block.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// BLAKE3 over the digests of the blocks, one after the other.
    pub digest: [u8; 32],
}

/// What a transfer still needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivePlan {
    /// The entries whose data must travel; entries without data may be among them.
    pub want: Vec<EntryRange>,
    /// What is staged already of files in `want`.
    pub have: Vec<HaveBlocks>,
    /// The bytes in `have`.
    pub resumed_bytes: u64,
    /// Files that are in place already.
    pub skipped_files: u64,
}

/// What stood at the destination of an entry when the transfer began.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// What the manifest says; nothing to do.
    Same,
    /// What the manifest says but for its mode, which can be set.
    OtherMode(Box<Meta>),
    /// Nothing.
    Absent,
    /// A file or link that will be replaced, or a directory.
    Present(Box<Meta>),
    /// Something that keeps the entry out.
    Refused,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) committed: u64,
    pub(super) failures: BTreeMap<u32, CommitError>,
    /// Directories with new names in them, until there are too many to list.
    pub(super) changed_dirs: Option<BTreeSet<RelPath>>,
    pub(super) base_changed: bool,
    /// Entries put in place; one flag each.
    pub(super) placed: Vec<bool>,
    /// Modes of directories that were not accessible to their owner.
    pub(super) widened: BTreeMap<u32, u32>,
    /// An error that leaves open what else is on disk.
    pub(super) not_durable: Option<ConfineError>,
    pub(super) staged: BTreeMap<u32, Arc<StagedFile>>,
}

/// A transfer being received. Methods may be called from several threads, for one entry from one
/// at a time.
#[derive(Debug)]
pub struct Receiver {
    pub(super) root: Root,
    pub(super) base: Option<RelPath>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) staging: Staging,
    pub(super) targets: Vec<Target>,
    pub(super) skipped_files: u64,
    progress: Mutex<Progress>,
    pub(super) options: ReceiveOptions,
}

impl Receiver {
    /// Plans the reception of `manifest` into the directory `base` beneath `root` (`None`: into
    /// the root itself) and prepares it: takes up staged data, creates directories.
    ///
    /// Reads everything that was staged; the time it takes is that of the disk.
    ///
    /// # Errors
    /// [`ReceiveError`]. What concerns single entries is in [`failures`](Self::failures) instead,
    /// and the rest goes on.
    pub fn open(
        root: &Root,
        base: Option<RelPath>,
        manifest: Arc<Manifest>,
        options: ReceiveOptions,
    ) -> Result<(Self, ReceivePlan), ReceiveError> {
        Self::open_until(root, base, manifest, options, &Stop::default())
    }

    /// [`open`](Self::open) that ends early once `stop` is set.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn open_until(
        root: &Root,
        base: Option<RelPath>,
        manifest: Arc<Manifest>,
        options: ReceiveOptions,
        stop: &Stop,
    ) -> Result<(Self, ReceivePlan), ReceiveError> {
        let staging = Staging::open(root)?;
        staging.sweep(wall_clock())?;
        let placed = vec![false; manifest.entries.len()];
        let changed_dirs = Some(BTreeSet::new());
        let progress = Progress { changed_dirs, placed, ..Progress::default() };
        let (root, progress) = (root.clone(), Mutex::new(progress));
        let (targets, skipped_files) = (Vec::new(), 0);
        let mut receiver =
            Self { root, base, manifest, staging, targets, skipped_files, progress, options };
        let mut plan = ReceivePlan::default();
        receiver.look_at_targets(stop)?;
        receiver.drop_superseded()?;
        receiver.take_up_staged(&mut plan, stop)?;
        space::check(receiver.root.dir(), receiver.space_needed())
            .map_err(|errno| ReceiveError::Destination(ConfineError::at(&b""[..], errno)))??;
        receiver.reserve_taken_up();
        receiver.make_dirs()?;
        receiver.limit_claims(&mut plan);
        plan.want = receiver.want();
        plan.skipped_files = receiver.skipped_files;
        Ok((receiver, plan))
    }

    /// What is received.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Opens the staged file of the large file `entry`, reserving its space; the one that the
    /// plan took up if there is one.
    ///
    /// # Errors
    /// [`CommitError`]; it also counts as the entry's failure.
    pub fn stage(&self, entry: u32) -> Result<Arc<StagedFile>, CommitError> {
        if let Some(staged) = self.lock().staged.get(&entry) {
            return Ok(Arc::clone(staged));
        }
        // Of several that want it at once each is told why, not that it is expected no more.
        if let Some(failure) = self.lock().failures.get(&entry) {
            return Err(failure.clone());
        }
        let staged = self.noted(entry, self.stage_new(entry))?;
        self.lock().staged.insert(entry, Arc::clone(&staged));
        Ok(staged)
    }

    /// Gives up `entry`: the sender cannot deliver it now. What is staged stays.
    pub fn abandon(&self, entry: u32) {
        self.give_up(entry);
    }

    /// Gives up `entry`, of which the sender has another version now: what is staged goes, for
    /// no later transfer would take it up.
    pub fn abandon_version(&self, entry: u32) {
        if let Some(staged) = self.give_up(entry) {
            self.staging.discard(&staged, Part::Remove);
        }
    }

    fn give_up(&self, entry: u32) -> Option<Arc<StagedFile>> {
        let path = (&self.manifest.entry(entry)?.path).into();
        self.fail(entry, CommitError::SourceFailed { path });
        self.lock().staged.remove(&entry)
    }

    /// Takes back that `count` blocks of `entry` from `first` on are here: the sender has others.
    pub fn reopen(&self, entry: u32, first: u32, count: u32) {
        if let Some(staged) = self.lock().staged.get(&entry) {
            let end = first.saturating_add(count).min(staged.blocks());
            (first..end).for_each(|block| staged.journal.reopen(block));
        }
    }

    /// The data bytes of `count` blocks of `entry` from `first` on.
    pub fn bytes_of(&self, entry: u32, first: u32, count: u32) -> u64 {
        let map = self.manifest.entry(entry).map(DataMap::of);
        map.map_or(0, |map| bytes_of(&map, first, count))
    }

    /// The entries that failed so far.
    pub fn failures(&self) -> Vec<(u32, CommitError)> {
        let progress = self.lock();
        progress.failures.iter().map(|(entry, error)| (*entry, error.clone())).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        // Every update is one step, so the counts are valid after any interruption.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self, entry: u32, error: CommitError) {
        self.lock().failures.entry(entry).or_insert(error);
    }

    pub(super) fn note_placed(&self, entry: u32) {
        let mut progress = self.lock();
        progress.committed += 1;
        if let Some(placed) = progress.placed.get_mut(entry as usize) {
            *placed = true;
        }
    }

    pub(super) fn is_placed(&self, entry: u32) -> bool {
        self.lock().placed.get(entry as usize).is_some_and(|placed| *placed)
    }

    /// Notes the failure of `entry`, if it is one.
    pub(super) fn noted<T>(
        &self,
        entry: u32,
        result: Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        if let Err(error) = &result {
            self.fail(entry, error.clone());
        }
        result
    }

    /// Where `entry` goes beneath the root.
    pub(super) fn place_of(&self, entry: &Entry) -> Result<RelPath, PathError> {
        match &self.base {
            Some(base) => base.join(&entry.path),
            None => Ok(entry.path.clone()),
        }
    }

    pub(super) fn target(&self, entry: u32) -> Option<&Target> {
        self.targets.get(usize::try_from(entry).ok()?)
    }

    fn stage_new(&self, entry: u32) -> Result<Arc<StagedFile>, CommitError> {
        let item = self.expected(entry)?;
        let map = DataMap::of(item);
        if map.is_empty() {
            return Err(CommitError::NotExpected { entry });
        }
        let staging = |fault| CommitError::Staging { path: (&item.path).into(), fault };
        let key = self.key(item);
        let (staged, _) = self.staging.stage(key, entry, map, Earlier::Discard).map_err(staging)?;
        space::preallocate(&staged.fd, &staged.map).map_err(|errno| {
            self.staging.discard(&staged, Part::Remove);
            CommitError::Place(ConfineError::at(&item.path, errno))
        })?;
        Ok(Arc::new(staged))
    }

    /// The entry, if it is one that is to be received.
    pub(super) fn expected(&self, entry: u32) -> Result<&Entry, CommitError> {
        let item = self.manifest.entry(entry).ok_or(CommitError::NotExpected { entry })?;
        match self.target(entry) {
            Some(Target::Absent | Target::Present(_)) => {}
            Some(Target::Same | Target::OtherMode(_) | Target::Refused) | None => {
                return Err(CommitError::NotExpected { entry });
            }
        }
        if self.lock().failures.contains_key(&entry) {
            return Err(CommitError::NotExpected { entry });
        }
        Ok(item)
    }

    pub(super) fn key(&self, entry: &Entry) -> Key {
        Key::of(&self.options.peer, self.base.as_ref(), entry)
    }

    fn look_at_targets(&mut self, stop: &Stop) -> Result<(), ReceiveError> {
        let manifest = Arc::clone(&self.manifest);
        let mut parents = Parents::new(&self.root);
        self.targets = Vec::with_capacity(manifest.entries.len());
        for (index, entry) in (0u32..).zip(&manifest.entries) {
            if stop.is_set() {
                return Err(ReceiveError::Stopped);
            }
            let target = match self.look_at(&mut parents, entry) {
                Ok(target) => target,
                Err(error) => {
                    self.fail(index, error);
                    Target::Refused
                }
            };
            if matches!(target, Target::Same | Target::OtherMode(_)) {
                self.skipped_files += u64::from(matches!(entry.kind, EntryKind::File { .. }));
                // An earlier attempt may have been killed before it made the name durable.
                self.note_changed(entry);
            }
            self.targets.push(target);
        }
        Ok(())
    }

    fn look_at(&self, parents: &mut Parents<'_>, entry: &Entry) -> Result<Target, CommitError> {
        let path = self.place_of(entry).map_err(|fault| CommitError::path(entry, fault))?;
        let Some(parent) = parents.of(&path)? else { return Ok(Target::Absent) };
        let at = |errno| CommitError::Place(ConfineError::at(&path, errno));
        let Some(meta) = parent.stat(path.file_name()).map_err(at)? else {
            return Ok(Target::Absent);
        };
        let fits = match entry.kind {
            EntryKind::Dir => meta.kind == FileKind::Dir,
            EntryKind::File { .. } | EntryKind::Symlink { .. } => {
                matches!(meta.kind, FileKind::File | FileKind::Symlink)
            }
        };
        if !fits {
            return Err(CommitError::InTheWay { path: (&path).into(), found: meta.kind });
        }
        let same = self.is_there(&parent, path.file_name(), &meta, entry).map_err(at)?;
        Ok(match same {
            true if entry.mode == meta.mode || meta.kind == FileKind::Symlink => Target::Same,
            // Other names of the file keep their mode: this one gets a file of its own.
            true if meta.links == 1 && may_set_mode(&meta) => Target::OtherMode(Box::new(meta)),
            _ => Target::Present(Box::new(meta)),
        })
    }

    /// Whether what is called `name` in `parent` needs no data to be what the manifest says. Its
    /// content is not looked at, so nothing is when all of it shall be sent.
    pub(super) fn is_there(
        &self,
        parent: &Dir,
        name: &[u8],
        meta: &Meta,
        entry: &Entry,
    ) -> rustix::io::Result<bool> {
        Ok(match &entry.kind {
            EntryKind::Dir => false,
            EntryKind::File { size, .. } => {
                let found = (meta.kind, meta.size(), meta.mtime());
                self.options.resume && found == (FileKind::File, *size, entry.mtime)
            }
            EntryKind::Symlink { target } => {
                let is_link = meta.kind == FileKind::Symlink && meta.mtime() == entry.mtime;
                is_link && parent.read_link(name)? == *target
            }
        })
    }

    fn space_needed(&self) -> u64 {
        let progress = self.lock();
        let needs = (0u32..).zip(&self.manifest.entries).zip(&self.targets);
        let needs = needs.map(|((index, entry), target)| match target {
            Target::Same | Target::OtherMode(_) | Target::Refused => 0,
            Target::Present(_) if entry.is_dir() => 0,
            Target::Absent | Target::Present(_) => {
                let staged = progress.staged.get(&index).and_then(|s| Meta::of(&s.fd).ok());
                let there = staged.map_or(0, |meta| meta.allocated);
                space::occupied(entry.data_len()).saturating_sub(there)
            }
        });
        needs.fold(0, u64::saturating_add)
    }

    /// Creates the directories, so that files find their places. Their modes and times come at
    /// the very end; until then the owner can work in them.
    fn make_dirs(&self) -> Result<(), ReceiveError> {
        if let Some(base) = &self.base {
            self.root.make_dirs(base, 0o777)?;
        }
        let mut parents = Parents::new(&self.root);
        // The last directory that cannot be: in tree order, what belongs beneath it follows it.
        let mut missing: Option<(&RelPath, CommitError)> = None;
        for (index, entry) in (0u32..).zip(&self.manifest.entries) {
            match &missing {
                Some((dir, error)) if entry.path.strip_prefix(dir).is_some() => {
                    self.fail(index, error.clone());
                    continue;
                }
                Some(_) | None => missing = None,
            }
            if entry.is_dir()
                && self.expected(index).is_ok()
                && let Err(error) = self.make_dir(&mut parents, index, entry)
            {
                self.fail(index, error.clone());
                missing = Some((&entry.path, error));
            }
        }
        Ok(())
    }

    fn make_dir(
        &self,
        parents: &mut Parents<'_>,
        index: u32,
        entry: &Entry,
    ) -> Result<(), CommitError> {
        let path = self.place_of(entry).map_err(|fault| CommitError::path(entry, fault))?;
        let at = |errno| CommitError::Place(ConfineError::at(&path, errno));
        let parent = parents.of(&path)?.ok_or_else(|| at(Errno::NOENT))?;
        if let Some(Target::Absent) = self.target(index) {
            match parent.make_dir(path.file_name(), 0o700) {
                Ok(()) => self.note_changed(entry),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(at(errno)),
            }
        }
        let dir = parent.open_dir(path.file_name()).map_err(at)?;
        let mode = dir.meta().map_err(at)?.mode;
        if mode & 0o700 != 0o700 {
            fchmod(&dir, Mode::from_raw_mode(mode | 0o700)).map_err(at)?;
            self.lock().widened.insert(index, mode);
        }
        Ok(())
    }

    fn want(&self) -> Vec<EntryRange> {
        let mut want: Vec<EntryRange> = Vec::new();
        // An entry without data costs nothing, so it may close the gap between two wanted ones.
        let mut open = false;
        for (index, entry) in (0u32..).zip(&self.manifest.entries) {
            if entry.data_len() == 0 {
                continue;
            }
            if self.expected(index).is_err() {
                open = false;
                continue;
            }
            match want.last_mut() {
                Some(last) if open => last.count = index - last.first + 1,
                Some(_) | None => want.push(EntryRange { first: index, count: 1 }),
            }
            open = true;
        }
        want
    }
}

/// Holds the parent directory used last: entries come in tree order, so most share it.
pub(super) struct Parents<'a> {
    root: &'a Root,
    last: Option<(Vec<u8>, Option<Dir>)>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, last: None }
    }

    /// The directory that `path` is in; `None` when there is none yet.
    pub(super) fn of(&mut self, path: &RelPath) -> Result<Option<Dir>, CommitError> {
        let parent = path.parent_bytes().unwrap_or_default();
        if let Some((last, Some(dir))) = &self.last
            && last == parent
        {
            return Ok(Some(dir.clone()));
        }
        let dir = match self.root.parent_dir(path) {
            Ok(dir) => Some(dir),
            Err(ConfineError::NotFound { .. }) => None,
            Err(error) => return Err(CommitError::Place(error)),
        };
        self.last = Some((parent.to_vec(), dir.clone()));
        Ok(dir)
    }
}

/// Whether this user may change the mode of a file; anybody else can only replace it.
fn may_set_mode(meta: &Meta) -> bool {
    let user = geteuid();
    user.is_root() || user.as_raw() == meta.owner
}

fn bytes_of(map: &DataMap, first: u32, count: u32) -> u64 {
    let start = u64::from(first) * BLOCK_DATA.get();
    let end = (u64::from(first) + u64::from(count)) * BLOCK_DATA.get();
    end.min(map.len()).saturating_sub(start)
}

fn wall_clock() -> FileTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    FileTime { secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos() }
}
