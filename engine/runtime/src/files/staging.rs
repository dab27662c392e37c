//! Files on their way in: `<root>/.farhaul/staging`, on the same file system as the destination.
//!
//! A large file is staged as `<key>.part` with its journal `<key>.journal` beside it; the key
//! follows from the sending peer and the destination (its first half) and from the file's version
//! (its second), so the same transfer finds its staged data again, and a later version of the
//! same file what it supersedes. Whoever works on a staged file holds the lock on its journal.
//! Small files, links and empty files are staged as `<nonce>-<entry>.tmp` for the moment of their
//! commit. What changes places with a file of the user's is called `<name>.kept` meanwhile, and
//! nothing of that name is ever swept. Placing staged files is `commit`'s business.

use super::confine::{ConfineError, Root, ShownPath};
use super::dir::{Dir, FileKind, Meta, try_lock};
use super::journal::{Binding, Digest, Journal, Resumed};
use farhaul_proto::layout::DataMap;
use farhaul_proto::manifest::{Entry, EntryKind, Extent, Extents, FileTime};
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const STAGING_NAME: &[u8] = b"staging";
const KEY_CONTEXT: &str = "farhaul 2026 staging v2";
const PART: &str = "part";
const JOURNAL: &str = "journal";
const TMP: &str = "tmp";
const KEPT: &str = "kept";
/// Age at which staged files that nobody works on are removed.
pub const STALE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Stale files removed by one sweep.
const SWEEP_MAX: usize = 10_000;
/// For how long in all a transfer waits for staged files that others work on. A transfer that was
/// cut lets go of its own once its last writes are done, which a slow disk puts off; a process
/// that is being started holds what its parent held for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Attempts at something that others may undo between two steps.
const ATTEMPTS: usize = 8;

/// Why the staging area cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// Another transfer works on the same file.
    #[error("another transfer is receiving the same file")]
    Busy,
    /// The staging directory belongs to somebody else, or others may write to it.
    #[error("the staging directory is not private to this user")]
    NotPrivate,
    /// Others keep removing what was just made.
    #[error("the staging directory keeps changing")]
    Unstable,
    /// The disk or the kernel refuses.
    #[error(transparent)]
    Disk(#[from] ConfineError),
}

fn at(name: &str) -> impl Fn(Errno) -> StagingError + '_ {
    move |errno| {
        let path = [RESERVED_NAME, b"/", STAGING_NAME, b"/", name.as_bytes()].concat();
        ConfineError::at(ShownPath::new(&path), errno).into()
    }
}

/// What names a staged file: a hash of everything that must be equal for its data to be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Who sends it and where it goes.
    place: [u8; 16],
    /// Which version of the file it is.
    version: [u8; 16],
}

impl Key {
    /// The key of `entry`, sent by `peer`, below the destination directory `base`.
    pub(crate) fn of(peer: &[u8; 32], base: Option<&RelPath>, entry: &Entry) -> Self {
        let base = base.map_or(&b""[..], RelPath::as_bytes);
        let mut place = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        place.update(peer);
        place.update(&(base.len() as u64).to_le_bytes()).update(base);
        place.update(entry.path.as_bytes());
        let mut version = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        let mut number = |n: u64| {
            version.update(&n.to_le_bytes());
        };
        number(entry.mtime.secs.cast_unsigned());
        number(entry.mtime.nanos.into());
        if let EntryKind::File { size, extents } = &entry.kind {
            number(*size);
            if let Extents::List(list) = extents {
                number(list.len() as u64);
                list.iter().for_each(|extent| {
                    number(extent.offset);
                    number(extent.len);
                });
            }
        }
        Self { place: first_half(&place), version: first_half(&version) }
    }

    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.place);
        bytes[16..].copy_from_slice(&self.version);
        bytes
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", data_encoding::HEXLOWER.encode(&self.bytes()))
    }
}

fn first_half(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut half = [0; 16];
    hasher.finalize_xof().fill(&mut half);
    half
}

/// Whether data staged earlier is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    Keep,
    Discard,
}

/// A large file on its way in. Dropping it keeps the staged data for a later transfer.
#[derive(Debug)]
pub struct StagedFile {
    /// The staged file, open for reading and writing.
    pub fd: Arc<File>,
    /// Its entry in the manifest.
    pub entry: u32,
    pub(super) map: DataMap,
    pub(super) key: Key,
    /// Which blocks are on disk; holds the lock.
    pub journal: Journal,
}

impl StagedFile {
    /// Where the data of block `block` belongs in the file, in order.
    pub fn block_runs(&self, block: u32) -> impl Iterator<Item = Extent> + '_ {
        self.map.block_runs(block)
    }

    /// The number of blocks.
    pub fn blocks(&self) -> u32 {
        self.map.blocks()
    }

    pub(super) fn part_name(&self) -> String {
        self.key.name(PART)
    }

    /// The names of the file and of its journal.
    pub(super) fn names(&self) -> [String; 2] {
        [self.part_name(), self.key.name(JOURNAL)]
    }
}

/// The held staging directory of one transfer.
#[derive(Debug)]
pub(crate) struct Staging {
    root: Root,
    dir: Dir,
    nonce: u64,
    /// What is left of [`PATIENCE`]: one transfer waits so long in all, not for each file.
    patience: Mutex<Duration>,
}

impl Staging {
    /// Holds the staging directory of `root`, creating it for this user alone.
    pub(crate) fn open(root: &Root) -> Result<Self, StagingError> {
        for _ in 0..ATTEMPTS {
            let dir = match make_private(root) {
                // Its last user removed it between our two steps.
                Err(Errno::NOENT) => continue,
                other => other.map_err(at("."))?,
            };
            if !is_private(&dir).map_err(at("."))? {
                return Err(StagingError::NotPrivate);
            }
            // Waits at most for the moment in which another transfer removes it.
            dir.lock_shared().map_err(at("."))?;
            if is_named(root, &dir) {
                // Tells the temporary files of transfers apart; creation is exclusive anyway.
                let nonce = RandomState::new().hash_one(std::process::id());
                return Ok(Self { root: root.clone(), dir, nonce, patience: Mutex::new(PATIENCE) });
            }
        }
        Err(StagingError::Unstable)
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The name under which entry `entry` is staged for the moment of its commit.
    pub(crate) fn tmp_name(&self, entry: u32) -> String {
        format!("{:016x}-{entry}.{TMP}", self.nonce)
    }

    /// True when there is a journal for `key`.
    pub(crate) fn has_journal(&self, key: Key) -> Result<bool, StagingError> {
        let name = key.name(JOURNAL);
        Ok(self.dir.stat(name.as_bytes()).map_err(at(&name))?.is_some())
    }

    /// Opens or creates the staged file of `key`; returns the blocks that its journal claims.
    pub(crate) fn stage(
        &self,
        key: Key,
        entry: u32,
        map: DataMap,
        earlier: Earlier,
    ) -> Result<(StagedFile, BTreeMap<u32, Digest>), StagingError> {
        let (part, journal) = (key.name(PART), key.name(JOURNAL));
        let mut lock = self.lock_journal(&journal)?;
        let binding = |inode| Binding { key: key.bytes(), inode, blocks: map.blocks() };
        self.reclaim(&part, &lock, &binding)?;
        if let (Earlier::Keep, Some((file, meta))) = (earlier, self.open_part(&part)) {
            let binding = binding(meta.identity.ino);
            match Journal::resume(lock, &binding).map_err(|e| at(&journal)(errno_of(&e)))? {
                Resumed::Foreign(file) => lock = file,
                Resumed::Journal(journal, claims) => {
                    return Ok((
                        StagedFile { fd: Arc::new(file), entry, map, key, journal },
                        claims,
                    ));
                }
            }
        }
        lock.set_len(0).map_err(|e| at(&journal)(errno_of(&e)))?;
        let file = self.create_part(&part)?;
        let inode = Meta::of(&file).map_err(at(&part))?.identity.ino;
        let started =
            Journal::create(lock, &binding(inode)).map_err(|e| at(&journal)(errno_of(&e)))?;
        let staged = StagedFile { fd: Arc::new(file), entry, map, key, journal: started };
        Ok((staged, BTreeMap::new()))
    }

    /// Removes the journal of a placed file, and with `part` its staged data.
    pub(crate) fn discard(&self, staged: &StagedFile, part: Part) {
        // A file that stays behind is swept later; the transfer is not concerned.
        if part == Part::Remove {
            let _ = self.dir.remove_file(staged.part_name().as_bytes());
        }
        let _ = self.dir.remove_file(staged.key.name(JOURNAL).as_bytes());
    }

    /// Gives the staged file `name` a name that nothing sweeps; returns it.
    pub(crate) fn set_aside(&self, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let kept = [name, b".", KEPT.as_bytes()].concat();
        match self.dir.rename_new(name, &self.dir, &kept) {
            Ok(()) => Ok(kept),
            // Something of the user's is kept there already.
            Err(Errno::EXIST) => {
                let number = RandomState::new().hash_one(&kept);
                let kept = [name, format!(".{number:016x}.{KEPT}").as_bytes()].concat();
                self.dir.rename_new(name, &self.dir, &kept).map(|()| kept)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Gives a staged file its name back that was set aside when its process was killed. The
    /// journal tells it from a file of the user's that it had changed places with.
    fn reclaim(
        &self,
        part: &str,
        journal: &File,
        binding: &impl Fn(u64) -> Binding,
    ) -> Result<(), StagingError> {
        let kept = format!("{part}.{KEPT}");
        let Some(meta) = self.dir.stat(kept.as_bytes()).map_err(at(&kept))? else { return Ok(()) };
        if Journal::belongs(journal, &binding(meta.identity.ino)) {
            match self.dir.rename_new(kept.as_bytes(), &self.dir, part.as_bytes()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(at(&kept)(errno)),
            }
        }
        Ok(())
    }

    /// Removes what is staged for the places of `keys` and nobody works on, except, with
    /// [`Earlier::Keep`], that for the keys themselves: it would take the room of what comes.
    pub(crate) fn drop_superseded(
        &self,
        keys: impl Iterator<Item = Key>,
        earlier: Earlier,
    ) -> Result<(), StagingError> {
        let mut staged: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for name in self.dir.names().map_err(at("."))? {
            if let Some(place) = name.get(..32) {
                staged.entry(place.to_vec()).or_default().push(name);
            }
        }
        if staged.is_empty() {
            return Ok(());
        }
        for key in keys {
            let place = data_encoding::HEXLOWER.encode(&key.place);
            let own = data_encoding::HEXLOWER.encode(&key.bytes());
            for name in staged.remove(place.as_bytes()).unwrap_or_default() {
                if earlier == Earlier::Discard || !name.starts_with(own.as_bytes()) {
                    self.sweep_one(&name);
                }
            }
        }
        Ok(())
    }

    /// Removes the staging directory if nothing is in it and nobody else uses it.
    pub(crate) fn remove_if_empty(&self) {
        // The exclusive lock takes the place of our shared one, so nobody is between opening
        // the directory and using it.
        if try_lock(&self.dir) == Ok(true)
            && is_named(&self.root, &self.dir)
            && let Ok(top) = self.root.dir().open_dir(RESERVED_NAME)
        {
            let _ = top.remove_dir(STAGING_NAME);
            let _ = self.root.dir().remove_dir(RESERVED_NAME);
        }
        let _ = self.dir.lock_shared();
    }

    /// Removes what nobody has touched for [`STALE_AFTER`] before `now` and nobody works on.
    /// Returns how many files went.
    pub(crate) fn sweep(&self, now: FileTime) -> Result<usize, StagingError> {
        let age = i64::try_from(STALE_AFTER.as_secs()).unwrap_or(i64::MAX);
        let before = now.secs.saturating_sub(age);
        let mut removed = 0;
        for name in self.dir.names().map_err(at("."))? {
            // Times of last change cannot be set, those of last modification are the sender's.
            let stale = |meta: Meta| meta.identity.ctime.secs < before;
            if removed < SWEEP_MAX && self.dir.stat(&name).map_err(at("."))?.is_some_and(stale) {
                removed += usize::from(self.sweep_one(&name));
            }
        }
        Ok(removed)
    }

    fn sweep_one(&self, name: &[u8]) -> bool {
        let Some(dot) = name.iter().rposition(|&b| b == b'.') else { return false };
        let (stem, suffix) = (&name[..dot], &name[dot + 1..]);
        if suffix == TMP.as_bytes() {
            return self.dir.remove_file(name).is_ok();
        }
        if suffix != PART.as_bytes() && suffix != JOURNAL.as_bytes() {
            return false;
        }
        let journal = [stem, b".", JOURNAL.as_bytes()].concat();
        let lock = match self.dir.open_writable(&journal) {
            Ok((file, _)) => Some(file),
            Err(Errno::NOENT) => None,
            Err(_) => return false,
        };
        let ours = lock.as_ref().is_none_or(|file| try_lock(file) == Ok(true));
        // A journal in use is touched with every block; its staged file may rest for long.
        ours && self.dir.remove_file(name).is_ok()
    }

    fn lock_journal(&self, name: &str) -> Result<File, StagingError> {
        for _ in 0..ATTEMPTS {
            let file = match self.dir.open_writable(name.as_bytes()) {
                Ok((file, _)) => file,
                Err(Errno::NOENT) => match self.dir.create_file(name.as_bytes()) {
                    Err(Errno::EXIST) => continue,
                    other => other.map_err(at(name))?,
                },
                Err(errno) => return Err(at(name)(errno)),
            };
            if !self.wait_for(&file).map_err(at(name))? {
                return Err(StagingError::Busy);
            }
            // Its last holder may have removed it between our opening and locking it.
            let named = self.dir.stat(name.as_bytes()).map_err(at(name))?;
            let held = Meta::of(&file).map_err(at(name))?;
            if named.is_some_and(|named| named.identity.ino == held.identity.ino) {
                return Ok(file);
            }
        }
        Err(StagingError::Unstable)
    }

    /// Locks `journal`, as soon as nobody else does; false when patience ends first.
    fn wait_for(&self, journal: &File) -> rustix::io::Result<bool> {
        while !try_lock(journal)? {
            let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
            if patience.is_zero() {
                return Ok(false);
            }
            *patience = patience.saturating_sub(LOOK_EVERY);
            drop(patience);
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(true)
    }

    /// The staged file, if it can be gone on with. One with a second name is never written to:
    /// it may be a displaced file of the user's.
    fn open_part(&self, name: &str) -> Option<(File, Meta)> {
        let name = name.as_bytes();
        let opened = match self.dir.open_writable(name) {
            // It has its final mode already: the kill came between that and the rename.
            Err(Errno::ACCESS) => {
                let held = self.dir.hold_file(name).ok().filter(|held| held.meta.links == 1)?;
                held.set_mode(held.meta.mode | 0o600).ok()?;
                self.dir.open_writable(name)
            }
            opened => opened,
        };
        opened.ok().filter(|(_, meta)| meta.links == 1)
    }

    fn create_part(&self, name: &str) -> Result<File, StagingError> {
        match self.dir.remove_file(name.as_bytes()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(name)(errno)),
        }
        self.dir.create_file(name.as_bytes()).map_err(at(name))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove_if_empty();
    }
}

/// What [`Staging::discard`] does with staged data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is in place under its own name.
    Placed,
    /// It goes.
    Remove,
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn make_private(root: &Root) -> rustix::io::Result<Dir> {
    let mut dir = root.dir().clone();
    for name in [RESERVED_NAME, STAGING_NAME] {
        match dir.make_dir(name, 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        dir = dir.open_dir(name)?;
    }
    Ok(dir)
}

/// The reserved directory of `root`, and the staging directory in it.
pub(super) fn dirs_of(root: &Root) -> rustix::io::Result<[Dir; 2]> {
    let top = root.dir().open_dir(RESERVED_NAME)?;
    let dir = top.open_dir(STAGING_NAME)?;
    Ok([top, dir])
}

/// True when `dir` is still what its name stands for.
fn is_named(root: &Root, dir: &Dir) -> bool {
    let top = root.dir().open_dir(RESERVED_NAME);
    let named = top.and_then(|top| top.stat(STAGING_NAME));
    let (Ok(Some(named)), Ok(held)) = (named, dir.meta()) else { return false };
    named.identity.ino == held.identity.ino
}

fn is_private(dir: &Dir) -> rustix::io::Result<bool> {
    let meta = dir.meta()?;
    Ok(meta.owner == geteuid().as_raw() && is_closed(&meta))
}

/// True for a directory that only its owner can use.
fn is_closed(meta: &Meta) -> bool {
    meta.kind == FileKind::Dir && meta.mode & 0o077 == 0
}

/// True when `dir`, called `name`, is what a transfer keeps its staged files in, whoever's.
pub fn is_of_a_transfer(name: &[u8], dir: &Dir) -> bool {
    let closed = |meta: rustix::io::Result<Meta>| meta.is_ok_and(|meta| is_closed(&meta));
    let within = || dir.stat(STAGING_NAME).and_then(|found| found.ok_or(Errno::NOENT));
    name == RESERVED_NAME && closed(dir.meta()) && closed(within())
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::manifest::Manifest;
    use std::fs;

    fn entry(name: &[u8], size: u64) -> Entry {
        let path = RelPath::parse(name).unwrap();
        let kind = EntryKind::File { size, extents: Extents::Full };
        Entry { path, mode: 0o644, mtime: FileTime::default(), kind }
    }

    fn stage(staging: &Staging, entry: &Entry) -> StagedFile {
        let key = Key::of(&[0; 32], None, entry);
        staging.stage(key, 0, DataMap::of(entry), Earlier::Keep).unwrap().0
    }

    #[test]
    fn every_part_of_a_version_and_its_place_makes_another_key() {
        let first = entry(b"a", 1 << 21);
        let mut others = vec![entry(b"b", 1 << 21), entry(b"a", 1 << 22), first.clone()];
        others[2].mtime.nanos = 1;
        let list = vec![Extent { offset: 0, len: 1 << 21 }];
        let kind = EntryKind::File { size: 1 << 21, extents: Extents::List(list) };
        others.push(Entry { kind, ..first.clone() });
        let key = Key::of(&[0; 32], None, &first);
        let base = RelPath::parse(b"a").unwrap();
        let mut keys: Vec<Key> = others.iter().map(|e| Key::of(&[0; 32], None, e)).collect();
        keys.extend([Key::of(&[1; 32], None, &first), Key::of(&[0; 32], Some(&base), &first)]);
        assert!(keys.iter().all(|other| *other != key));
        assert_eq!(Key::of(&[0; 32], None, &first), key);
        Manifest { entries: vec![first] }.check().unwrap();
    }

    #[test]
    fn a_sweep_takes_what_is_old_and_unused_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::open(home.path()).unwrap();
        let staging = Staging::open(&root).unwrap();
        let (used, unused) = (entry(b"used", 1 << 21), entry(b"unused", 1 << 21));
        let held = stage(&staging, &used);
        drop(stage(&staging, &unused));
        let at = |name: &str| home.path().join(".farhaul/staging").join(name);
        for name in [&staging.tmp_name(1), "orphan.part", "x.tmp.kept", "notes"] {
            fs::write(at(name), "x").unwrap();
        }
        let now = staging.dir().meta().unwrap().identity.ctime;
        assert_eq!(staging.sweep(now), Ok(0));
        let week = i64::try_from(STALE_AFTER.as_secs()).unwrap();
        let later = FileTime { secs: now.secs + week + 60, ..now };
        assert_eq!(staging.sweep(later), Ok(4));
        let mut left = staging.dir().names().unwrap();
        left.retain(|name| name != b"x.tmp.kept" && name != b"notes");
        let mut expected = [held.part_name(), held.key.name(JOURNAL)].map(String::into_bytes);
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_file_that_another_transfer_is_about_to_let_go_of_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let staging = Staging::open(&Root::open(home.path()).unwrap()).unwrap();
        let entry = entry(b"large", 1 << 21);
        let held = stage(&staging, &entry);
        let inode = Meta::of(&held.fd).unwrap().identity.ino;
        let ending = std::thread::spawn(move || {
            std::thread::sleep(5 * LOOK_EVERY);
            drop(held);
        });
        assert_eq!(Meta::of(&stage(&staging, &entry).fd).unwrap().identity.ino, inode);
        ending.join().unwrap();
    }

    #[test]
    fn one_transfer_waits_once_for_all_files_that_others_work_on() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::open(home.path()).unwrap();
        let (first, second) = (Staging::open(&root).unwrap(), Staging::open(&root).unwrap());
        let entries = [entry(b"a", 1 << 21), entry(b"b", 1 << 21)];
        let _held = entries.each_ref().map(|entry| stage(&first, entry));
        for entry in &entries {
            let key = Key::of(&[0; 32], None, entry);
            let refused = second.stage(key, 0, DataMap::of(entry), Earlier::Keep);
            assert!(matches!(refused, Err(StagingError::Busy)));
            assert_eq!(*second.patience.lock().unwrap(), Duration::ZERO);
        }
    }

    #[test]
    fn the_staging_directory_goes_with_its_last_user() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::open(home.path()).unwrap();
        let (first, second) = (Staging::open(&root).unwrap(), Staging::open(&root).unwrap());
        first.remove_if_empty();
        drop(first);
        assert!(second.dir().create_file(b"still there").is_ok());
        second.dir().remove_file(b"still there").unwrap();
        drop(second);
        assert!(!home.path().join(".farhaul").exists());
    }
}
