//! Listing ahead of the walk: a few threads read the directories that it will come to next.
//!
//! Work comes in blocks of some names of one directory with their metadata, so that a directory with
//! a million names is shared too. What is needed first is done first; what is ready and not yet
//! needed is bounded, and a walk that finds its block not begun does it itself, so it never waits for
//! work that nobody does.

use super::names::Names;
use super::rules::Rules;
use farhaul_engine::files::dir::{Dir, FileKind, Meta};
use farhaul_proto::limits::{DEPTH_MAX, PATH_MAX};
use farhaul_proto::path_name::RESERVED_NAME;
use rustix::io::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Names of a block.
pub(super) const BLOCK: usize = 1024;
/// Blocks that are ready before they are needed: 9 MiB of metadata, and as many open directories.
const READY_MAX: usize = 64;

/// A place in the walk: a path with its separators as zeros, which makes byte order path order. The
/// root is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Vec<u8>);

impl Place {
    /// That of a path.
    pub(super) fn of(path: &[u8]) -> Self {
        Self(path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect())
    }

    fn path(&self) -> Vec<u8> {
        self.0.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
    }

    fn join(&self, name: &[u8]) -> Self {
        let between: &[u8] = if self.0.is_empty() { b"" } else { b"\0" };
        Self([&self.0, between, name].concat())
    }

    /// The component of this path that stands in the directory `dir`, if it lies beneath it.
    fn within(&self, dir: &Self) -> Option<&[u8]> {
        let beneath = match self.0.strip_prefix(&dir.0[..])? {
            rest if dir.0.is_empty() => rest,
            rest => rest.strip_prefix(b"\0")?,
        };
        beneath.split(|&byte| byte == 0).next()
    }
}

/// What a walk goes by.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    /// The device of the root.
    pub(super) device: u64,
    /// What is listed already.
    pub(super) after: Option<Place>,
}

impl Plan {
    /// Whether a walk descends into what stands at `path`, as far as can be told from outside.
    pub(super) fn descends(&self, path: &[u8], meta: &Meta) -> bool {
        let is_reserved = || {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            name.eq_ignore_ascii_case(RESERVED_NAME)
        };
        meta.kind == FileKind::Dir
            && meta.identity.dev == self.device
            && path.len() < PATH_MAX
            && path.iter().filter(|&&byte| byte == b'/').count() + 1 < DEPTH_MAX
            && !is_reserved()
            && !self.rules.is_ignored(path, true)
    }
}

/// A block to be listed.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// The first of the directory `name` in `parent`; of `parent` itself where there is no name.
    Open { parent: Dir, name: Option<Vec<u8>> },
    /// A further one.
    More { dir: Dir, names: Arc<Names>, first: usize },
}

/// Some names of a directory.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) dir: Dir,
    /// All of the directory.
    pub(super) names: Arc<Names>,
    /// The number of the first one of the block.
    pub(super) first: usize,
    /// Of each in the block.
    pub(super) metas: Vec<Result<Option<Meta>>>,
}

type Found = Vec<(Place, Task)>;

impl Plan {
    /// Lists a block of the directory at `dir`, and says what comes of it.
    fn list(&self, at: &Place, task: Task) -> (Result<Block>, Found) {
        match self.block(at, task) {
            Ok(block) => {
                let dir = if block.first == 0 { at.clone() } else { parent_of(at) };
                let found = self.follow_up(&dir, &block);
                (Ok(block), found)
            }
            Err(errno) => (Err(errno), Found::new()),
        }
    }

    fn block(&self, at: &Place, task: Task) -> Result<Block> {
        let (dir, names, first) = match task {
            Task::More { dir, names, first } => (dir, names, first),
            Task::Open { parent, name } => {
                let dir = match name {
                    Some(name) => parent.open_dir(&name)?,
                    None => parent,
                };
                let from = self.after.as_ref().and_then(|after| after.within(at));
                let names = Names::read(&dir, from.unwrap_or_default())?;
                (dir, Arc::new(names), 0)
            }
        };
        let end = names.len().min(first + BLOCK);
        let metas = (first..end).map(|at| dir.stat(names.get(at))).collect();
        Ok(Block { dir, names, first, metas })
    }

    fn follow_up(&self, dir: &Place, block: &Block) -> Found {
        let mut found = Found::new();
        for (number, meta) in (block.first..).zip(&block.metas) {
            let Ok(Some(meta)) = meta else { continue };
            if meta.kind != FileKind::Dir {
                continue;
            }
            let name = block.names.get(number);
            let place = dir.join(name);
            if self.descends(&place.path(), meta) {
                let task = Task::Open { parent: block.dir.clone(), name: Some(name.to_vec()) };
                found.push((place, task));
            }
        }
        let first = block.first + block.metas.len();
        if first < block.names.len() {
            let place = dir.join(block.names.get(first));
            let (dir, names) = (block.dir.clone(), Arc::clone(&block.names));
            found.push((place.more(), Task::More { dir, names, first }));
        }
        found
    }
}

impl Place {
    /// The place of the block that begins with this name: before what stands beneath it. No name
    /// ends with a zero, so it is nobody else's.
    pub(super) fn more(mut self) -> Self {
        self.0.push(0);
        self
    }
}

/// The directory of a block that begins at `place`.
fn parent_of(place: &Place) -> Place {
    let name = place.0.strip_suffix(b"\0").unwrap_or(&place.0);
    let end = name.iter().rposition(|&byte| byte == 0).unwrap_or(0);
    Place(name[..end].to_vec())
}

#[derive(Debug, Default)]
struct State {
    todo: BTreeMap<Place, Task>,
    busy: BTreeSet<Place>,
    ready: BTreeMap<Place, Result<Block>>,
    is_closed: bool,
}

#[derive(Debug)]
struct Shared {
    plan: Arc<Plan>,
    state: Mutex<State>,
    /// There is something to do, or room for what is done.
    work: Condvar,
    /// Something is done.
    done: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn help(&self) {
        let mut state = self.state();
        while !state.is_closed {
            let has_room = state.ready.len() < READY_MAX;
            match if has_room { state.todo.pop_first() } else { None } {
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some((place, task)) => {
                    state.busy.insert(place.clone());
                    drop(state);
                    let _busy = Busy { shared: self, place: &place };
                    let (block, found) = self.plan.list(&place, task);
                    state = self.state();
                    state.todo.extend(found);
                    state.ready.insert(place.clone(), block);
                    state.busy.remove(&place);
                    self.done.notify_all();
                    self.work.notify_all();
                }
            }
        }
    }
}

/// Takes a place out of what is being done, also when its thread ends early.
struct Busy<'a> {
    shared: &'a Shared,
    place: &'a Place,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.state().busy.remove(self.place);
            self.shared.done.notify_all();
        }
    }
}

/// The threads that list ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Ahead {
    /// Begins with `helpers` threads; as many as the machine gives. None is a walk on its own.
    pub(super) fn start(plan: Arc<Plan>, helpers: usize) -> Self {
        let state = Mutex::new(State::default());
        let (work, done) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { plan, state, work, done });
        let start = |_| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name("scan".to_owned());
            builder.spawn(move || shared.help()).ok()
        };
        let helpers = (0..helpers).filter_map(start).collect();
        Self { shared, helpers }
    }

    /// The block at `place`: ready already, or done now. The walk comes to places in their order.
    pub(super) fn take(&self, place: &Place, task: Task) -> Result<Block> {
        if self.helpers.is_empty() {
            return self.shared.plan.block(place, task);
        }
        let mut state = self.shared.state();
        loop {
            // What lies behind, nobody asks for any more.
            while state.todo.first_key_value().is_some_and(|(first, _)| first <= place) {
                state.todo.pop_first();
            }
            while state.ready.first_key_value().is_some_and(|(first, _)| first < place) {
                state.ready.pop_first();
            }
            if let Some(block) = state.ready.remove(place) {
                self.shared.work.notify_all();
                return block;
            }
            if !state.busy.contains(place) {
                break;
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let (block, found) = self.shared.plan.list(place, task);
        self.shared.state().todo.extend(found);
        self.shared.work.notify_all();
        block
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.work.notify_all();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}
