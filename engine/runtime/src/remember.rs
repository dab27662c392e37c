//! Remembers between sessions what paths carried, in a file of the home directory that all
//! processes of this user share.
//!
//! ```text
//! hint   from memory, which holds the file as it was read or written last
//! note   lock `paths.lock` -> read `paths` -> change one line -> write a file beside it, fsync,
//!        rename -> that is what memory holds now
//! ```
//! It is a convenience: whatever is wrong with the file costs a warning and the hint, never the
//! transfer. What a path carried is judged in `transfer/witness.rs`; the text is that of
//! `farhaul_proto::path::memory`.

use crate::control::ControlConnection;
use crate::record::unix_us;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::path::memory::{Carried, PATHS_LEN_MAX, PathMemory, Place};
use farhaul_proto::units::BitRate;
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The file, inside the home directory.
const FILE: &str = "paths";
/// Held while the file is changed. A file of its own, because the other is replaced.
const LOCK: &str = "paths.lock";
/// What is written before it takes the name of the file; only who holds the lock does so.
const STAGED: &str = "paths.tmp";
/// How long the end of a transfer waits for a slow disk, or for others that write.
const PATIENCE: Duration = Duration::from_secs(1);

/// What paths carried, in memory and on disk.
#[derive(Debug)]
pub struct PathStore {
    home: PathBuf,
    known: Mutex<PathMemory>,
    /// One warning is enough.
    complained: AtomicBool,
}

/// What was learnt about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    /// It carries this rate, and this is its round trip without a queue.
    Carries(BitRate, Duration),
    /// What was remembered is not so, and it is not known how it is.
    Differs,
}

impl PathStore {
    /// The store of `home`, which exists. A file that is not one of ours is taken for none.
    pub fn open(home: &Path) -> Self {
        let home = home.to_owned();
        let store = Self { home, known: Mutex::default(), complained: AtomicBool::new(false) };
        let read = store.read();
        *store.known() = read;
        store
    }

    fn known(&self) -> MutexGuard<'_, PathMemory> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, place: Place, rtt: Duration) -> Option<BitRate> {
        self.known().hint(place, rtt, since_1970())
    }

    /// Keeps a lesson; may block.
    fn learn(&self, place: Place, lesson: Lesson) {
        // Whatever becomes of the file, this process knows.
        apply(&mut self.known(), place, lesson);
        if let Err(error) = self.write(place, lesson) {
            self.complain(&error);
        }
    }

    fn write(&self, place: Place, lesson: Lesson) -> io::Result<()> {
        let lock = private().write(true).create(true).truncate(false).open(self.home.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut memory = self.read();
        apply(&mut memory, place, lesson);
        let staged = self.home.join(STAGED);
        // Left behind by a crash: nobody else is here.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private().write(true).create_new(true).open(&staged)?;
        file.write_all(memory.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, self.home.join(FILE))?;
        File::open(&self.home)?.sync_all()?;
        *self.known() = memory;
        Ok(())
    }

    /// What the file holds; nothing, with a warning, if it is not one of ours.
    fn read(&self) -> PathMemory {
        match load(&self.home.join(FILE)) {
            Ok(memory) => memory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => PathMemory::default(),
            Err(error) => {
                self.complain(&error);
                PathMemory::default()
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            let home = self.home.display();
            tracing::warn!(
                "what paths carried ({home}/{FILE}) cannot be remembered: {error}; transfers start \
                 without it"
            );
        }
    }
}

fn apply(memory: &mut PathMemory, place: Place, lesson: Lesson) {
    match lesson {
        Lesson::Carries(rate, rtt) => memory.note(place, Carried { rate, rtt, at: since_1970() }),
        Lesson::Differs => memory.forget(place),
    }
}

/// Opens what only this user may read, and no link, and never waits for the other end of a pipe.
fn private() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(i32::try_from(flags).unwrap_or(0));
    options
}

fn load(path: &Path) -> io::Result<PathMemory> {
    let file = private().read(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than there may be shows that there are too many.
    file.take(PATHS_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    PathMemory::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn since_1970() -> Duration {
    Duration::from_micros(unix_us())
}

/// What a session has from earlier ones, and leaves to later ones.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    store: Arc<PathStore>,
    place: Place,
    /// The rate that it starts from.
    pub(crate) hint: Option<BitRate>,
}

impl Remembered {
    /// What is known of the path of `connection`. A carrier with a rate control of its own has
    /// no use for it.
    pub(crate) fn of(store: &Arc<PathStore>, connection: &ControlConnection) -> Option<Self> {
        if connection.carrier == Carrier::Tcp {
            return None;
        }
        let place = Place::new(connection.peer.0, connection.addr.ip());
        let hint = store.hint(place, connection.rtt());
        Some(Self { store: Arc::clone(store), place, hint })
    }

    /// True while the peer, which is at `addr` now, is still in the network where it began.
    pub(crate) fn is_at(&self, addr: SocketAddr) -> bool {
        self.place.at(addr.ip()) == self.place
    }

    /// Keeps a lesson, and waits for that a little.
    pub(crate) async fn learn(&self, lesson: Lesson) {
        let Self { store, place, .. } = self.clone();
        let keep = tokio::task::spawn_blocking(move || store.learn(place, lesson));
        if tokio::time::timeout(PATIENCE, keep).await.is_err() {
            tracing::debug!("the file of paths is slow");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const RTT: Duration = Duration::from_millis(200);
    const RATE: BitRate = BitRate::mbps(500);

    fn place(site: u8) -> Place {
        Place::new([site; 32], [192, 0, 2, 7].into())
    }

    fn opened(home: &Path, site: u8) -> Option<BitRate> {
        PathStore::open(home).hint(place(site), RTT)
    }

    #[test]
    fn a_path_is_known_after_a_restart_until_it_is_found_to_differ() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(opened(home.path(), 1), None);
        let store = PathStore::open(home.path());
        store.learn(place(1), Lesson::Carries(RATE, RTT));
        assert_eq!(store.hint(place(1), RTT), Some(RATE));
        assert_eq!(opened(home.path(), 1), Some(RATE));
        store.learn(place(1), Lesson::Differs);
        assert_eq!((store.hint(place(1), RTT), opened(home.path(), 1)), (None, None));
    }

    #[test]
    fn processes_that_learn_at_once_lose_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for site in 0..8 {
                let home = home.path();
                scope.spawn(move || {
                    let store = PathStore::open(home);
                    for step in 0..8 {
                        store.learn(place(site * 8 + step), Lesson::Carries(RATE, RTT));
                    }
                });
            }
        });
        let store = PathStore::open(home.path());
        assert!((0..64).all(|site| store.hint(place(site), RTT).is_some()));
        assert!(!store.complained.load(Ordering::Relaxed));
    }

    #[test]
    fn a_file_that_is_not_ours_counts_as_none_and_is_replaced() {
        let spoil: [fn(&Path); 4] = [
            |path| fs::write(path, "farhaul-paths 1\nnonsense\n").unwrap(),
            |path| fs::write(path, vec![b' '; 1 << 20]).unwrap(),
            |path| symlink("/dev/zero", path).unwrap(),
            |path| {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
            },
        ];
        for spoil in spoil {
            let home = tempfile::tempdir().unwrap();
            spoil(&home.path().join(FILE));
            let store = PathStore::open(home.path());
            assert!(store.complained.load(Ordering::Relaxed));
            store.learn(place(1), Lesson::Carries(RATE, RTT));
            assert_eq!(opened(home.path(), 1), Some(RATE));
        }
    }

    #[test]
    fn what_cannot_be_written_is_known_for_the_life_of_the_process() {
        let home = tempfile::tempdir().unwrap();
        let store = PathStore::open(&home.path().join("gone"));
        store.learn(place(1), Lesson::Carries(RATE, RTT));
        assert_eq!(store.hint(place(1), RTT), Some(RATE));
        assert!(store.complained.load(Ordering::Relaxed));
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(STAGED), "half").unwrap();
        PathStore::open(home.path()).learn(place(1), Lesson::Carries(RATE, RTT));
        assert_eq!(opened(home.path(), 1), Some(RATE));
    }
}
