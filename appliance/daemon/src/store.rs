//! What a folder keeps on its own disk beneath `.farhaul` of its root, and how the tree is changed.
//!
//! Whatever is put into the tree was complete and durable before, what stood there is kept in the
//! version store, and the order of both with what the index says is the same in every case: the
//! steps of a change are types, each made from the one before (spec: S-043). It decides nothing about
//! versions, and what is read or sent is not its business.

mod change;
mod displaced;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod intent;
mod kept;
mod linked;
mod marker;
mod recover;
pub mod retention;
mod rooted;
mod shortfall;
mod staged;

pub use change::{Committed, Prepared, Swapped};
pub use displaced::{Displaced, Origin};
pub use error::StoreError;
pub use farhaul_files::{NameTable, Principals, Unnamed, Wake};
pub use intent::{Action, Intent, IntentId, Recorded};
pub use kept::{Fate, PurgeError};
pub use linked::is_another_name_of;
pub use marker::{FolderMark, is_marked};
pub use recover::{Hashing, Recovered, ends_in_zeros};
pub use rooted::Rooted;
pub use shortfall::{Lacks, Shortfall, attrs_print};
pub use staged::{Ready, Staged};

use crate::exact;
use crate::store::error::at;
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::{Dir, FileKind, Identity, Meta as DiskMeta};
use farhaul_proto::path_name::RESERVED_NAME;
use farhaul_proto::units::FileTime;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::version::Content;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where files are on their way in. Not the directory of plain transfers into the same tree: those
/// sweep theirs.
const INCOMING: &[u8] = b"incoming";
/// Where what was displaced is kept.
const VERSIONS: &[u8] = b"versions";

/// The disk of one folder. One process has it open.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    root: Root,
    top: Dir,
    incoming: Dir,
    versions: Dir,
    mark: FolderMark,
    principals: Arc<dyn Principals>,
    /// Whether the file system takes different names for one.
    folds: bool,
    /// Whether files can be given away.
    gives: Arc<rooted::Gives>,
    /// The marker, locked for as long as the store is open.
    lock: Arc<File>,
    /// Whether directories cannot be synced, for tests.
    #[cfg(test)]
    failing: Arc<std::sync::atomic::AtomicBool>,
    /// Whether files cannot have further names, for tests.
    #[cfg(test)]
    linkless: Arc<std::sync::atomic::AtomicBool>,
}

impl Store {
    /// Makes a folder of the directory at `path`, which a user named: marks it as one. The mark is
    /// to be kept (with the configuration of the folder) and given to [`Store::open`].
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::MarkedAlready`] where it is a folder.
    pub fn create(path: &Path, principals: Arc<dyn Principals>) -> Result<Self, StoreError> {
        Self::create_with(path, principals, |_| Ok(()))
    }

    /// The same; `before` hears of the mark before the tree bears it.
    fn create_with(
        path: &Path,
        principals: Arc<dyn Principals>,
        before: impl FnOnce(&FolderMark) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let root = Root::open(path)?;
        let top = private_dir(root.dir(), RESERVED_NAME)?;
        let mark = FolderMark { id: random()?, file_system: marker::file_system_of(&top)? };
        before(&mark)?;
        step();
        marker::write(&top, mark.id)?;
        root.dir().sync().map_err(at("."))?;
        Self::open(path, &mark, principals)
    }

    /// Opens the folder at `path` whose mark is kept in the file `kept`; where none is kept, the directory
    /// is made a folder, and its mark is kept there. Whoever is stopped in the middle calls this again.
    ///
    /// # Errors
    /// Those of [`Store::open`], or those of [`Store::create`].
    pub fn open_or_create(
        path: &Path,
        kept: &Path,
        principals: Arc<dyn Principals>,
    ) -> Result<Self, StoreError> {
        if let Some(mark) = FolderMark::load(kept)? {
            return Self::open(path, &mark, principals);
        }
        // What is to be made is kept before the tree says so: of a marker that nobody kept nobody could
        // say whose it is.
        let store = match FolderMark::intended(kept)?
            .map(|it| Self::open(path, &it, Arc::clone(&principals)))
        {
            Some(Ok(store)) => store,
            None | Some(Err(StoreError::NoMarker { .. } | StoreError::NotTheFolder { .. })) => {
                Self::create_with(path, principals, |mark| mark.intend(kept))?
            }
            Some(Err(error)) => return Err(error),
        };
        store.mark().settle(kept)?;
        Ok(store)
    }

    /// Opens the folder at `path`, if that is the one of `mark`: its marker and the file system that
    /// it lies on. An unmounted disk, an emptied directory or another folder is refused.
    ///
    /// # Errors
    /// [`StoreError`]; where [`StoreError::is_elsewhere`], the folder has to halt.
    pub fn open(
        path: &Path,
        mark: &FolderMark,
        principals: Arc<dyn Principals>,
    ) -> Result<Self, StoreError> {
        let root = marker::root_at(path)?;
        let top = marker::find(&root, mark)?;
        let lock = marker::lock(&top)?;
        let incoming = private_dir(&top, INCOMING)?;
        let versions = private_dir(&top, VERSIONS)?;
        let (path, mark) = (path.to_path_buf(), *mark);
        let lock = Arc::new(lock);
        let folds = exact::folds(root.dir()).map_err(at("."))?;
        Ok(Self {
            path,
            root,
            top,
            incoming,
            versions,
            mark,
            principals,
            folds,
            gives: Arc::default(),
            lock,
            #[cfg(test)]
            failing: Arc::default(),
            #[cfg(test)]
            linkless: Arc::default(),
        })
    }

    /// Ends the folder: nothing says any more that it is one. Files stay, and so does what is kept of
    /// versions, if anything is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unmark(self) -> Result<(), StoreError> {
        let wrong = at("folder");
        self.top.remove_file(marker::NAME).map_err(&wrong)?;
        for name in [INCOMING, VERSIONS] {
            match self.top.remove_dir(name) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(wrong(errno)),
            }
        }
        match self.root.dir().remove_dir(RESERVED_NAME) {
            Ok(()) | Err(Errno::NOTEMPTY) => {}
            Err(errno) => return Err(wrong(errno)),
        }
        self.root.dir().sync().map_err(wrong)
    }

    /// That the folder is still what stands at its path: before every scan and every batch of
    /// changes (F-33).
    ///
    /// # Errors
    /// [`StoreError`]; where [`StoreError::is_elsewhere`], the folder has to halt.
    pub fn check_there(&self) -> Result<(), StoreError> {
        let named = marker::root_at(&self.path)?;
        let top = marker::find(&named, &self.mark)?;
        let ids = [&top, &self.top].map(|dir| dir.meta().map(|meta| key_of(&meta.identity)));
        match ids {
            [Ok(named), Ok(held)] if named == held => Ok(()),
            [Err(errno), _] | [_, Err(errno)] => Err(at(".farhaul")(errno)),
            _ => Err(StoreError::NotTheFolder { path: self.path.clone() }),
        }
    }

    /// The same at the price of one call where all is well: the marker that was read and locked when
    /// the folder was opened is the file that stands at its path. For every moment between scans.
    ///
    /// # Errors
    /// As [`Store::check_there`].
    pub fn check_marker(&self) -> Result<(), StoreError> {
        if marker::is_same(&self.path, &self.lock) { Ok(()) } else { self.check_there() }
    }

    /// Makes all that was written to its file system durable, by whomever. After a failure the kernel
    /// may have dropped some of it and say so only once, so nothing that was seen counts any more.
    ///
    /// # Errors
    /// [`StoreError::Unsettled`].
    pub fn sync_all(&self) -> Result<(), StoreError> {
        let synced = rustix::fs::syncfs(self.root.dir());
        #[cfg(test)]
        let synced = synced.and(match self.failing.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(Errno::IO),
            false => Ok(()),
        });
        synced.map_err(|source| StoreError::Unsettled { path: self.path.clone(), source })
    }

    /// From now on directories cannot be synced, or can.
    #[cfg(test)]
    pub(crate) fn fail_syncs(&self, fails: bool) {
        self.failing.store(fails, std::sync::atomic::Ordering::Relaxed);
    }

    /// From now on files cannot have further names, as on a file system without links, or can.
    #[cfg(test)]
    pub(crate) fn refuse_links(&self, refuses: bool) {
        self.linkless.store(refuses, std::sync::atomic::Ordering::Relaxed);
    }

    /// What tells this folder's disk from any other.
    pub fn mark(&self) -> FolderMark {
        self.mark
    }

    /// Who is called how here.
    pub const fn principals(&self) -> &Arc<dyn Principals> {
        &self.principals
    }

    /// The tree.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// The state of what `meta` describes, as the index keeps it.
pub fn identity_of(meta: &DiskMeta) -> FileIdentity {
    state_of(&meta.identity)
}

fn state_of(identity: &Identity) -> FileIdentity {
    let Identity { dev, ino, size, mtime, ctime } = *identity;
    let (mtime, ctime) = (nanos_of(mtime), nanos_of(ctime));
    FileIdentity { device: dev, inode: ino, generation: 0, size, mtime, ctime }
}

/// Whether what `meta` describes is what was in the state `seen`, with this content. Whatever is put
/// into a directory or taken out of it changes its times, and is no change of the directory.
pub fn is_still(meta: &DiskMeta, content: &Content, seen: &FileIdentity) -> bool {
    let now = identity_of(meta);
    let is_same_dir = meta.kind == FileKind::Dir
        && *content == Content::Dir
        && (now.device, now.inode) == (seen.device, seen.inode);
    is_same_dir || now == *seen
}

/// Nanoseconds since 1970.
fn nanos_of(time: FileTime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

fn key_of(identity: &Identity) -> (u64, u64) {
    (identity.dev, identity.ino)
}

/// Holds the directory `name`, made for this user alone.
fn private_dir(parent: &Dir, name: &[u8]) -> Result<Dir, StoreError> {
    let shown = String::from_utf8_lossy(name);
    match parent.make_dir(name, 0o700) {
        Ok(()) => parent.sync().map_err(at(&shown))?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(at(&shown)(errno)),
    }
    let dir = parent.open_dir(name).map_err(at(&shown))?;
    let meta = dir.meta().map_err(at(&shown))?;
    let is_ours = meta.owner == rustix::process::geteuid().as_raw();
    let is_private = meta.kind == FileKind::Dir && meta.mode & 0o077 == 0;
    if is_ours && is_private { Ok(dir) } else { Err(StoreError::NotPrivate { name: shown.into() }) }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Randomness)?;
    Ok(bytes)
}

/// A name that nobody else chooses.
fn random_name() -> Result<String, StoreError> {
    Ok(data_encoding::HEXLOWER.encode(&random::<16>()?))
}

/// A point of the commit path at which a test can kill the process.
#[cfg(not(test))]
const fn step() {}
#[cfg(test)]
use crash::step;
#[cfg(test)]
pub(crate) mod crash;
#[cfg(test)]
mod tests;
