//! Watching by inotify: a watch for each directory, put on while walking.
//!
//! A directory is listed after its watch is on, so nothing that is made in it is missed: what stood
//! there before is listed, what came later is told. Where the kernel has no more watches, the rest is
//! known, and looked at often instead. What happened is told in the order in which it did, so a
//! directory that is renamed takes the paths of its watches with it. spec: S-092

use super::{By, Coverage, Notice, Wake, WatchError, Watched, Watcher};
use farhaul_engine::files::dir::{Dir, FileKind};
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{self, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of events that are read at a time.
const BUFFER: usize = 64 << 10;
/// Bytes of names that are read at a time.
const NAMES: usize = 32 << 10;
/// Directories of which it is remembered that they are not watched, each with all beneath it. Beyond
/// that, all of the folder counts as not watched.
const UNWATCHED_MAX: usize = 1024;

const MASK: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// The bytes of a path; empty for the root.
type Bytes = Arc<[u8]>;

/// An event, out of the kernel's buffer.
#[derive(Debug)]
struct Raw {
    watch: i32,
    what: ReadFlags,
    cookie: u32,
    name: Vec<u8>,
}

/// Watches on directories.
#[derive(Debug)]
pub struct Inotify {
    watched: Watched,
    fd: OwnedFd,
    paths: BTreeMap<i32, Bytes>,
    watches: BTreeMap<Bytes, i32>,
    /// Directories without a watch, and how many there are in each with itself.
    unwatched: BTreeMap<Bytes, u64>,
    /// A directory that was moved away, until it is seen whether it came in elsewhere.
    moving: Option<(u32, Bytes)>,
}

impl Inotify {
    /// Puts a watch on every directory of the tree.
    ///
    /// # Errors
    /// [`WatchError`]: there is no inotify, or not even the root can be watched.
    pub fn start(watched: Watched) -> std::result::Result<Self, WatchError> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(|errno| {
            WatchError::new(By::Inotify, format!("{errno}; see fs.inotify.max_user_instances"))
        })?;
        let (paths, watches, unwatched) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut this = Self { watched, fd, paths, watches, unwatched, moving: None };
        let dir = this.watched.root.dir().clone();
        this.add(&dir, &Bytes::default()).map_err(|errno| {
            WatchError::new(By::Inotify, format!("{errno}; see fs.inotify.max_user_watches"))
        })?;
        this.add_tree(&Bytes::default());
        Ok(this)
    }

    /// Puts a watch on one directory; one that it has already is called by the new path.
    fn add(&mut self, dir: &Dir, path: &Bytes) -> Result<()> {
        if self.paths.len() >= self.watched.limits.watches && !self.watches.contains_key(path) {
            return Err(Errno::NOSPC);
        }
        // By the held directory itself, whatever its path leads to by now.
        let held = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let watch = inotify::add_watch(&self.fd, held, MASK)?;
        self.forget_path(path);
        if let Some(before) = self.paths.insert(watch, Arc::clone(path)) {
            self.watches.remove(&before);
        }
        self.watches.insert(Arc::clone(path), watch);
        Ok(())
    }

    /// Another directory had the path before.
    fn forget_path(&mut self, path: &Bytes) {
        if let Some(old) = self.watches.remove(path) {
            self.paths.remove(&old);
        }
    }

    /// Puts watches on a directory and all beneath it. Links are not followed, other mounts not
    /// entered.
    fn add_tree(&mut self, path: &Bytes) {
        // Directories, and where a part that is not watched begins.
        let mut open: Vec<(Bytes, Option<Bytes>)> = vec![(Arc::clone(path), None)];
        while let Some((path, mut unwatched)) = open.pop() {
            let Some(dir) = self.open(&path) else { continue };
            if unwatched.is_none() {
                match self.add(&dir, &path) {
                    Ok(()) => {}
                    Err(Errno::NOSPC | Errno::NOMEM) => unwatched = Some(Arc::clone(&path)),
                    // It went away.
                    Err(_) => continue,
                }
            }
            if let Some(top) = &unwatched {
                *self.unwatched.entry(Arc::clone(top)).or_default() += 1;
            }
            for name in subdirectories(&dir).unwrap_or_default() {
                open.push((join(&path, &name), unwatched.clone()));
            }
        }
        if self.unwatched.len() > UNWATCHED_MAX {
            let all = self.unwatched.values().sum();
            self.unwatched = BTreeMap::from([(Bytes::default(), all)]);
        }
    }

    /// Holds a directory if it is part of the folder.
    fn open(&self, path: &Bytes) -> Option<Dir> {
        if path.is_empty() {
            return Some(self.watched.root.dir().clone());
        }
        // Neither the folder's own directory nor what is too deep is a path.
        let rel = RelPath::parse(path).ok()?;
        let is_left_out = self.watched.rules.is_ignored(path, true);
        if is_left_out { None } else { self.watched.root.open_dir(&rel).ok() }
    }

    /// All events that are there; nothing of the kernel's buffer is held meanwhile.
    fn read(&mut self) -> Result<Vec<Raw>> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => events.push(Raw {
                    watch: event.wd(),
                    what: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map_or(Vec::new(), |name| name.to_bytes().to_vec()),
                }),
                Err(Errno::AGAIN) => return Ok(events),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            if reader.is_buffer_empty() && events.len() >= 1024 {
                return Ok(events);
            }
        }
    }

    fn take(&mut self, event: &Raw, tell: &mut dyn FnMut(Notice)) -> bool {
        if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return false;
        }
        if let Some((cookie, from)) = self.moving.take() {
            let is_arrival = event.what.contains(ReadFlags::MOVED_TO) && event.cookie == cookie;
            match self.path_of(event).filter(|_| is_arrival) {
                Some(to) => self.rename(&from, &to),
                None => self.drop_tree(&from),
            }
        }
        if event.what.contains(ReadFlags::IGNORED) {
            if let Some(path) = self.paths.remove(&event.watch) {
                self.watches.remove(&path);
            }
            return true;
        }
        let Some(path) = self.path_of(event) else { return true };
        if event.what.contains(ReadFlags::ISDIR) {
            self.take_dir(event, path, tell);
        } else if let Ok(path) = RelPath::parse(&path) {
            tell(if event.what.contains(ReadFlags::MODIFY) {
                Notice::Written(path)
            } else if event.what.contains(ReadFlags::CLOSE_WRITE) {
                Notice::Closed(path)
            } else {
                Notice::Entry(path)
            });
        }
        true
    }

    fn take_dir(&mut self, event: &Raw, path: Bytes, tell: &mut dyn FnMut(Notice)) {
        let Ok(rel) = RelPath::parse(&path) else { return };
        if event.what.contains(ReadFlags::ATTRIB) {
            return tell(Notice::Entry(rel));
        }
        if event.what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            self.add_tree(&path);
        } else if event.what.contains(ReadFlags::MOVED_FROM) {
            self.moving = Some((event.cookie, path));
        } else if event.what.contains(ReadFlags::DELETE) {
            self.unwatched.remove(&path);
        } else {
            return;
        }
        tell(Notice::Tree(rel));
    }

    /// Where something happened; `None` where that is not known any more, and for the root itself.
    fn path_of(&self, event: &Raw) -> Option<Bytes> {
        let dir = self.paths.get(&event.watch)?;
        let is_own = dir.is_empty() && event.name.eq_ignore_ascii_case(RESERVED_NAME);
        (!event.name.is_empty() && !is_own).then(|| join(dir, &event.name))
    }

    /// A directory has another path, with all beneath it.
    fn rename(&mut self, from: &Bytes, to: &Bytes) {
        for (path, watch) in self.within(from) {
            let moved: Bytes = [to, &path[from.len()..]].concat().into();
            self.watches.remove(&path);
            self.forget_path(&moved);
            self.paths.insert(watch, Arc::clone(&moved));
            self.watches.insert(moved, watch);
        }
        // Found again while walking it.
        self.unwatched.retain(|path, _| !is_within(path, from));
    }

    /// A directory is not in the folder any more.
    fn drop_tree(&mut self, path: &Bytes) {
        for (path, watch) in self.within(path) {
            self.watches.remove(&path);
            self.paths.remove(&watch);
            let _ = inotify::remove_watch(&self.fd, watch);
        }
        self.unwatched.retain(|other, _| !is_within(other, path));
    }

    fn within(&self, path: &Bytes) -> Vec<(Bytes, i32)> {
        let itself = self.watches.get(path).map(|watch| (Arc::clone(path), *watch));
        let (first, end) = ([path, &b"/"[..]].concat(), [path, &b"0"[..]].concat());
        let range = self.watches.range::<[u8], _>((
            std::ops::Bound::Included(&first[..]),
            std::ops::Bound::Excluded(&end[..]),
        ));
        itself.into_iter().chain(range.map(|(path, watch)| (Arc::clone(path), *watch))).collect()
    }

    /// Events were lost: where each watch stands now, and where there is none, is found out anew.
    fn walk_again(&mut self) {
        let before: BTreeSet<i32> = std::mem::take(&mut self.paths).into_keys().collect();
        self.watches.clear();
        self.unwatched.clear();
        self.moving = None;
        self.add_tree(&Bytes::default());
        for watch in before.into_iter().filter(|watch| !self.paths.contains_key(watch)) {
            let _ = inotify::remove_watch(&self.fd, watch);
        }
    }
}

impl Watcher for Inotify {
    fn by(&self) -> By {
        By::Inotify
    }

    fn coverage(&self) -> Coverage {
        let watches = self.paths.len().try_into().unwrap_or(u64::MAX);
        Coverage { watches, unwatched: self.unwatched.values().sum() }
    }

    fn wait(
        &mut self,
        wake: &Wake,
        patience: Duration,
        tell: &mut dyn FnMut(Notice),
    ) -> std::result::Result<(), WatchError> {
        let failed = |errno| WatchError::new(By::Inotify, errno);
        if !wake.wait(&self.fd, patience).map_err(failed)? {
            return Ok(());
        }
        let mut is_whole = true;
        for event in self.read().map_err(failed)? {
            is_whole &= self.take(&event, tell);
        }
        if let Some((_, gone)) = self.moving.take() {
            self.drop_tree(&gone);
        }
        if !is_whole {
            self.walk_again();
            tell(Notice::Lost);
        }
        if self.paths.is_empty() {
            return Err(WatchError::new(By::Inotify, "the folder itself was removed"));
        }
        Ok(())
    }

    fn cover(&mut self, tell: &mut dyn FnMut(Notice)) {
        for path in std::mem::take(&mut self.unwatched).into_keys() {
            self.add_tree(&path);
            tell(RelPath::parse(&path).map_or(Notice::Whole, Notice::Tree));
        }
    }
}

/// The names of what is a directory in `dir`.
fn subdirectories(dir: &Dir) -> Result<Vec<Vec<u8>>> {
    // A handle of its own: others that share the given one would read on where this one ends.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = fs::openat(dir, c".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); NAMES];
    let mut entries = RawDir::new(own, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let is_dir = match entry.file_type() {
            FileType::Directory => name != b"." && name != b"..",
            // Not all file systems say so.
            FileType::Unknown => {
                dir.stat(name).is_ok_and(|meta| meta.is_some_and(|meta| meta.kind == FileKind::Dir))
            }
            _ => false,
        };
        if is_dir {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn join(dir: &[u8], name: &[u8]) -> Bytes {
    if dir.is_empty() { name.into() } else { [dir, b"/", name].concat().into() }
}

/// Whether `path` is `dir` or lies beneath it.
fn is_within(path: &[u8], dir: &[u8]) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| dir.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
}
