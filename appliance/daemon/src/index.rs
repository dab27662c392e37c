//! The index of a folder: what is known of each path, and what stands on disk. One SQLite file.
//!
//! What it promises: numbers that were given are never given again, what was announced is durable,
//! and what is read is what was written or an error. It decides nothing about versions, and the tree
//! itself is the business of [`crate::store`].

mod aside;
mod attrs;
mod check;
pub mod chunks;
mod codec;
mod conflicts;
mod copies;
mod elsewhere;
mod error;
mod folder;
mod followed;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod guard;
mod held;
mod intent;
mod item;
mod kept;
mod key;
mod links;
mod loose;
mod marks;
mod meta;
mod migrate;
mod read;
mod run;
mod schema;
mod scrub;
mod shortfall;
mod write;

pub use elsewhere::Elsewhere;
pub use error::IndexError;
pub use item::Kind;
pub use kept::Kept;
pub use links::{GROUP_NAMES, INODE_NAMES, Name};
pub use loose::Loose;
pub use read::{Counts, Known, Reading, Standing, StoredVersion};
pub use run::{Run, RunId, Signature};
pub use scrub::ScrubRound;
pub use write::{Inserted, Transaction};

use crate::boot::Boot;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Author, Incarnation, Serial};
use meta::{Field, read_number, write_number};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// After how many steps of its machine SQLite asks whether to go on: some milliseconds.
const STEPS: i32 = if cfg!(test) { 50 } else { 100_000 };
const RESERVE: &str = "-reserve";
/// Room for the intents and rows of some hundred thousand changes (F-03).
const RESERVE_LEN: Bytes = Bytes::mib(64);
/// Of an index that a power cut may have damaged, in [`Field::Cut`].
const UNCHECKED: u64 = 1;
/// It was compared with itself since.
const CHECKED: u64 = 2;

/// The how manyth version that this index stored: ascending without gaps, never given again within
/// an incarnation. Neighbours ask for everything after the last one that they heard of. The first
/// is 1; 0 is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Wraps a number.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// When a transaction has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the commit returns: for what is announced afterwards, or what a rename relies on.
    Now,
    /// With the next transaction that is durable now: for scans. A power cut may take it back, and
    /// what follows from it was not announced.
    Later,
}

/// Numbers that this site may give to its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The first.
    pub first: Serial,
    /// The last.
    pub last: Serial,
}

/// What a transaction changes beside its rows; taken over when it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    incarnation: Incarnation,
    last_seq: Seq,
    /// The first number that was not reserved yet.
    next_serial: u64,
}

/// The index of one folder at one site. One process has it open.
#[derive(Debug)]
pub struct Index {
    db: Connection,
    path: PathBuf,
    folder: FolderKey,
    site: SiteId,
    counters: Counters,
    /// What may be announced; shared with readers.
    durable: Arc<AtomicU64>,
    was_unclean: bool,
    was_cut: bool,
    /// All of it is to be compared with itself before it is used.
    is_doubtful: bool,
    /// Held for as long as the index is open.
    _lock: File,
}

impl Index {
    /// Makes the index of a folder, with a new incarnation.
    ///
    /// # Errors
    /// [`IndexError`]; [`IndexError::Exists`] if there is one.
    pub fn create(path: &Path, folder: FolderKey, site: SiteId) -> Result<Self, IndexError> {
        let lock = lock(path)?;
        if path.exists() {
            return Err(IndexError::Exists { path: path.into() });
        }
        // What a damaged index left would be taken for pages of this one.
        for suffix in ["-wal", "-shm", "-new"] {
            remove_if_there(&beside(path, suffix))?;
        }
        migrate::clear(path)?;
        // Made beside its name, so that a kill leaves no half-made index.
        let new = beside(path, "-new");
        let mut db = connect(&new, OpenFlags::SQLITE_OPEN_CREATE, schema::CACHE_KIB)?;
        schema::make(&mut db, folder, site, random_incarnation()?)?;
        close(db)?;
        std::fs::rename(&new, path).map_err(at(path))?;
        sync_dir_of(path)?;
        let db = connect(path, OpenFlags::empty(), schema::CACHE_KIB)?;
        Self::start(path, db, (folder, site), lock)
    }

    /// Opens the index of a folder. One of an older format is read into a new file first, which takes
    /// some seconds for a million files, and room beside it.
    ///
    /// # Errors
    /// [`IndexError`]; where [`IndexError::is_damage`], [`quarantine`] and [`Index::create`] follow.
    pub fn open(path: &Path, folder: FolderKey, site: SiteId) -> Result<Self, IndexError> {
        Self::open_telling(path, (folder, site), &Stop::default(), &mut migrate::in_the_log(path))
    }

    /// As [`Index::open`]; ends early, with an error, once `stop` is set, and leaves what was there. How
    /// many rows of how many were read anew is told now and then. Until [`Index::let_go`] whatever is done
    /// with the index ends then.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open_under(
        path: &Path,
        names: (FolderKey, SiteId),
        stop: &Stop,
        told: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, IndexError> {
        let mut log = migrate::in_the_log(path);
        Self::open_telling(path, names, stop, &mut |step| {
            if let migrate::Step::Copied { rows, of } = step {
                told(rows, of);
            }
            log(step);
        })
    }

    /// The wish to stop ends nothing more that is done with the index.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn let_go(&self) -> Result<(), IndexError> {
        Ok(self.db.progress_handler(0, None::<fn() -> bool>)?)
    }

    fn open_telling(
        path: &Path,
        (folder, site): (FolderKey, SiteId),
        stop: &Stop,
        told: &mut dyn FnMut(migrate::Step),
    ) -> Result<Self, IndexError> {
        let lock = lock(path)?;
        if !path.exists() {
            return Err(IndexError::Missing { path: path.into() });
        }
        migrate::check_not_newer(path)?;
        let open = || {
            let db = connect(path, OpenFlags::empty(), schema::CACHE_KIB)?;
            obey(&db, stop)?;
            Ok::<_, IndexError>(db)
        };
        let mut db = open()?;
        if schema::age_of(&db)? == schema::Age::Older {
            // That of another folder is refused before it is touched.
            meta::check(&db, folder, site)?;
            migrate::bring_up(path, (db, stop), folder, told)?;
            db = open()?;
            schema::age_of(&db)?;
        }
        Self::start(path, db, (folder, site), lock)
    }

    fn start(
        path: &Path,
        db: Connection,
        (folder, site): (FolderKey, SiteId),
        lock: File,
    ) -> Result<Self, IndexError> {
        schema::complete(&db)?;
        let counters = meta::check(&db, folder, site)?;
        let left_by = read_number(&db, Field::Unclean)?;
        let boot = Boot::this().id;
        let was_unclean = left_by != 0;
        let is_cut = was_unclean && Some(left_by) != boot;
        let known = meta::read_bytes(&db, Field::Cut)?;
        let was_cut = is_cut || known.is_some();
        let is_doubtful = was_cut && (is_cut || known.as_deref() != Some(&CHECKED.to_be_bytes()));
        let durable = Arc::new(AtomicU64::new(0));
        let path = path.to_path_buf();
        let mut index = Self {
            db,
            path,
            folder,
            site,
            counters,
            durable,
            was_unclean,
            was_cut,
            is_doubtful,
            _lock: lock,
        };
        // Also makes durable what a process before this one had committed for later.
        let opening = index.begin(Durability::Now)?;
        write_number(opening.db(), Field::Unclean, boot.unwrap_or(1))?;
        if was_cut {
            // Until what it left was looked at, which another stop may come before.
            write_number(opening.db(), Field::Cut, if is_doubtful { UNCHECKED } else { CHECKED })?;
        }
        opening.commit()?;
        Ok(index)
    }

    /// Ends work on the index: the next one to open it knows that nothing was left half-done.
    ///
    /// # Errors
    /// [`IndexError`]; the index is as durable as its last commit.
    pub fn close(mut self) -> Result<(), IndexError> {
        let closing = self.begin(Durability::Now)?;
        write_number(closing.db(), Field::Unclean, 0)?;
        closing.commit()?;
        close(self.db)
    }

    /// What a power cut left was looked at.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn end_cut(&mut self) -> Result<(), IndexError> {
        let ending = self.begin(Durability::Now)?;
        meta::remove(ending.db(), Field::Cut)?;
        ending.commit()?;
        self.was_cut = false;
        Ok(())
    }

    /// Compares all of it with itself where a power cut may have left it damaged, unless that was done
    /// since (spec: S-149).
    ///
    /// # Errors
    /// As [`Index::check`].
    pub fn check_after_cut(&mut self) -> Result<(), IndexError> {
        if !self.is_doubtful {
            return Ok(());
        }
        self.check()?;
        let noting = self.begin(Durability::Now)?;
        write_number(noting.db(), Field::Cut, CHECKED)?;
        noting.commit()?;
        self.is_doubtful = false;
        Ok(())
    }

    /// Whether whoever used the index last did not close it: a kill or a power cut. Files that have
    /// an intent are looked at then, and all of the index is worth a [`Index::check`].
    pub fn was_unclean(&self) -> bool {
        self.was_unclean
    }

    /// Whether it was not closed before this machine was started, or may not have been: what was
    /// written shortly before may be damaged.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// Of which folder.
    pub fn folder(&self) -> FolderKey {
        self.folder
    }

    /// Who publishes: this site in this life of its index.
    pub fn author(&self) -> Author {
        Author { site: self.site, incarnation: self.counters.incarnation }
    }

    /// The number of the newest version that is stored and durable.
    pub fn last_seq(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// Reserves the next `count` numbers for versions of this site, durably: whatever happens, they
    /// are not given again (spec: S-041).
    ///
    /// # Errors
    /// [`IndexError`]; no number was reserved. [`IndexError::TooLarge`] where there are none left.
    pub fn reserve(&mut self, count: u32) -> Result<Reserved, IndexError> {
        let mut reserving = self.begin(Durability::Now)?;
        let reserved = reserving.reserve(count)?;
        reserving.commit()?;
        Ok(reserved)
    }

    /// Begins a new incarnation: for an index that may have been rolled back. What is stored stays;
    /// numbers begin anew.
    ///
    /// # Errors
    /// [`IndexError`]; the incarnation is as it was.
    pub fn renew(&mut self) -> Result<Incarnation, IndexError> {
        let incarnation = random_incarnation()?;
        let mut renewing = self.begin(Durability::Now)?;
        renewing.renew(incarnation)?;
        renewing.commit()?;
        Ok(incarnation)
    }

    /// Begins a transaction. Dropping it undoes it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn begin(&mut self, durability: Durability) -> Result<Transaction<'_>, IndexError> {
        Transaction::begin(self, durability)
    }

    /// A look at what is committed.
    pub fn read(&self) -> Reading<'_> {
        Reading::new(&self.db, self.folder, self.last_seq())
    }

    /// A second way in, for another thread: reads what is committed while this one writes.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn reader(&self) -> Result<IndexReader, IndexError> {
        let db = connect(&self.path, OpenFlags::empty(), schema::CACHE_READING_KIB)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(IndexReader { db, folder: self.folder, durable: Arc::clone(&self.durable) })
    }

    /// Takes room on the disk beside the index, so that a full disk does not keep it from saying what
    /// was done. Where there is too little, none is taken.
    ///
    /// # Errors
    /// [`IndexError`]; [`IndexError::Full`] where there is too little.
    pub fn take_reserve(&self) -> Result<(), IndexError> {
        let name = beside(&self.path, RESERVE);
        let file = File::options().create(true).truncate(false).write(true).open(&name);
        let file = file.map_err(at(&name))?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_LEN.get()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => {
                remove_if_there(&name)?;
                let is_full = matches!(errno, Errno::NOSPC | Errno::DQUOT);
                Err(if is_full { IndexError::Full } else { at(&name)(errno.into()) })
            }
        }
    }

    /// Gives that room to the index: after [`IndexError::Full`], and until there is more again.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn release_reserve(&self) -> Result<(), IndexError> {
        remove_if_there(&beside(&self.path, RESERVE))
    }

    /// Reads all of the index and compares whatever says the same thing twice. Takes seconds for a
    /// million items.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] names the first thing that is wrong.
    pub fn check(&self) -> Result<(), IndexError> {
        schema::check_pages(&self.db)?;
        meta::check(&self.db, self.folder, self.site)?;
        self.read().check()
    }
}

/// A look at an index from another thread.
#[derive(Debug)]
pub struct IndexReader {
    db: Connection,
    folder: FolderKey,
    durable: Arc<AtomicU64>,
}

impl IndexReader {
    /// A look at what is committed by now.
    pub fn read(&self) -> Reading<'_> {
        Reading::new(&self.db, self.folder, Seq(self.durable.load(Ordering::Acquire)))
    }
}

/// Moves a damaged index aside, for whoever wants to look into it. Returns where it is now.
///
/// # Errors
/// [`IndexError`]; [`IndexError::InUse`] while somebody has it open.
pub fn quarantine(path: &Path) -> Result<PathBuf, IndexError> {
    let _lock = lock(path)?;
    let (aside, suffix) = (1_u32..)
        .map(|n| format!("-damaged-{n}"))
        .map(|suffix| (beside(path, &suffix), suffix))
        .find(|(aside, _)| !aside.exists())
        .ok_or(IndexError::TooLarge { what: "the number of damaged indexes" })?;
    for part in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, part), beside(path, &format!("{suffix}{part}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at(path)(error));
            }
            _ => {}
        }
    }
    std::fs::rename(path, &aside).map_err(at(path))?;
    sync_dir_of(path)?;
    Ok(aside)
}

fn connect(path: &Path, flags: OpenFlags, cache_kib: i64) -> Result<Connection, IndexError> {
    let base = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, base | flags)?;
    schema::configure(&db, cache_kib)?;
    Ok(db)
}

/// Ends whatever is done with a database once `stop` is set: a pass over all of an index takes minutes.
fn obey(db: &Connection, stop: &Stop) -> Result<(), IndexError> {
    let stop = stop.clone();
    Ok(db.progress_handler(STEPS, Some(move || stop.is_set()))?)
}

fn close(db: Connection) -> Result<(), IndexError> {
    db.close().map_err(|(_, error)| error.into())
}

fn random_incarnation() -> Result<Incarnation, IndexError> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| IndexError::Randomness)?;
    Ok(Incarnation::new(u64::from_be_bytes(bytes)))
}

/// Locks of our own: those of SQLite come and go with transactions.
fn lock(path: &Path) -> Result<File, IndexError> {
    let name = beside(path, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(at(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(IndexError::InUse { path: path.into() }),
        Err(std::fs::TryLockError::Error(error)) => Err(at(&name)(error)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> IndexError + '_ {
    |source| IndexError::File { path: path.into(), source }
}

fn remove_if_there(path: &Path) -> Result<(), IndexError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn sync_dir_of(path: &Path) -> Result<(), IndexError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

#[cfg(test)]
mod tests;
