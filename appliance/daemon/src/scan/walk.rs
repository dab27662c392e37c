//! Walking a tree in path order: a directory before what is in it, names by their bytes, so the list
//! can be merged with an index as both come.
//!
//! Links are listed, never followed; other mounts are not entered; at most one block of names and
//! metadata of each level is held, and what is listed ahead.

use super::ahead::{Ahead, Block, Place, Plan, Task};
use super::rules::Rules;
use farhaul_engine::files::dir::{FileKind, Meta};
use farhaul_engine::files::staging::is_of_a_transfer;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::limits::{COMPONENT_MAX, DEPTH_MAX, PATH_MAX};
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use rustix::io::Errno;
use std::sync::Arc;

/// Why something that stands in the tree is not part of the folder. Nothing at or beneath it counts
/// as deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeftOut {
    /// A socket, a pipe or a device.
    #[error("sockets, pipes and devices are not carried")]
    Special,
    /// What lies on another file system or mount.
    #[error("another file system is mounted there")]
    OtherMount,
    /// The folder's own directory, or one in which a transfer staged files.
    #[error("the name is kept for what is not shared")]
    Reserved,
    /// A rule of the folder says so.
    #[error("the folder's rules leave it out")]
    Ignored,
    /// The path or a name in it is longer or deeper than any site carries.
    #[error("the path is too long or too deep")]
    TooLong,
}

/// What a walk comes to.
#[derive(Clone, Debug)]
pub enum Step {
    /// Something stands there.
    Entry(Meta),
    /// It is not part of the folder, with all beneath it.
    LeftOut(LeftOut),
    /// The directory, or the metadata of whatever it is, cannot be read.
    Unread(Errno),
}

/// How to walk.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// What to leave out.
    pub rules: Rules,
    /// Go on behind this path, as if all up to it had been listed.
    pub after: Option<RelPath>,
    /// List only what is beneath this directory, which is part of the folder; not itself.
    pub within: Option<RelPath>,
    /// Threads that list ahead; 0 for none.
    pub helpers: usize,
    /// Ends the walk.
    pub stop: Stop,
}

impl Default for WalkOptions {
    fn default() -> Self {
        // The walk itself has little to do while helpers list, so there is one for each core.
        let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let (after, within) = (None, None);
        Self { rules: Rules::default(), after, within, helpers, stop: Stop::default() }
    }
}

/// Lists a tree, step by step.
#[derive(Debug)]
pub struct Walk {
    plan: Arc<Plan>,
    ahead: Ahead,
    stop: Stop,
    levels: Vec<Level>,
    /// The path of the last step.
    path: Vec<u8>,
    /// What is said next, of the same path.
    pending: Option<Step>,
    /// How deep the directory lies at which it began.
    base: usize,
}

#[derive(Debug)]
struct Level {
    block: Block,
    /// The number of the name that comes next.
    next: usize,
    /// The length of the directory's own path.
    len: usize,
}

impl Walk {
    /// Begins at `root`.
    ///
    /// # Errors
    /// [`ConfineError`] if the root itself, or the directory to begin at, cannot be read.
    pub fn start(root: &Root, options: WalkOptions) -> Result<Self, ConfineError> {
        let WalkOptions { rules, after, within, helpers, stop } = options;
        let path = within.as_ref().map_or(Vec::new(), |path| path.as_bytes().to_vec());
        let base = within.as_ref().map_or(0, RelPath::depth);
        let at = |errno| ConfineError::at(&path[..], errno);
        let device = root.dir().meta().map_err(at)?.identity.dev;
        let after = after.map(|path| Place::of(path.as_bytes()));
        let plan = Arc::new(Plan { rules, device, after });
        let ahead = Ahead::start(Arc::clone(&plan), helpers);
        let dir = match &within {
            Some(within) => root.open_dir(within)?,
            None => root.dir().clone(),
        };
        let task = Task::Open { parent: dir, name: None };
        let block = ahead.take(&Place::of(&path), task).map_err(at)?;
        let levels = vec![Level { block, next: 0, len: path.len() }];
        Ok(Self { plan, ahead, stop, levels, path, pending: None, base })
    }

    /// The path of the last step.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it ended because it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// What comes next; `None` at the end and once it is stopped.
    pub fn step(&mut self) -> Option<Step> {
        while !self.stop.is_set() {
            if let Some(step) = self.pending.take() {
                return Some(step);
            }
            let level = self.levels.last_mut()?;
            if level.next == level.block.names.len() {
                self.levels.pop();
                continue;
            }
            if level.next == level.block.first + level.block.metas.len()
                && let Err(errno) = self.next_block()
            {
                return Some(self.give_up_level(errno));
            }
            if let Some(step) = self.visit() {
                return Some(step);
            }
        }
        None
    }

    /// Goes down into the directory at the path.
    fn enter(&mut self) -> Result<(), Errno> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let name = level.block.names.get(level.next - 1).to_vec();
        let task = Task::Open { parent: level.block.dir.clone(), name: Some(name) };
        let block = self.ahead.take(&Place::of(&self.path), task)?;
        self.levels.push(Level { block, next: 0, len: self.path.len() });
        Ok(())
    }

    /// Fetches the metadata of the names that come next.
    fn next_block(&mut self) -> Result<(), Errno> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let (first, names) = (level.next, Arc::clone(&level.block.names));
        set_path(&mut self.path, level.len, names.get(first));
        let task = Task::More { dir: level.block.dir.clone(), names, first };
        level.block = self.ahead.take(&Place::of(&self.path).more(), task)?;
        Ok(())
    }

    fn give_up_level(&mut self, errno: Errno) -> Step {
        if let Some(level) = self.levels.pop() {
            self.path.truncate(level.len);
        }
        Step::Unread(errno)
    }

    /// Looks at the next name; `None` if there is nothing to say of it.
    fn visit(&mut self) -> Option<Step> {
        let level = self.levels.last_mut()?;
        let name = level.block.names.get(level.next);
        let meta = &level.block.metas[level.next - level.block.first];
        set_path(&mut self.path, level.len, name);
        level.next += 1;
        let meta = match meta {
            Ok(Some(meta)) => *meta,
            Ok(None) => return None, // it went away meanwhile
            Err(errno) => return Some(Step::Unread(*errno)),
        };
        if let Some(reason) = self.left_out(&meta) {
            return Some(Step::LeftOut(reason));
        }
        if meta.kind == FileKind::Dir {
            match self.enter() {
                Ok(()) => {}
                // It went away meanwhile, with all that was in it.
                Err(Errno::NOENT) => return None,
                Err(Errno::XDEV) => return Some(Step::LeftOut(LeftOut::OtherMount)),
                Err(errno) => self.pending = Some(Step::Unread(errno)),
            }
        }
        let after = self.plan.after.as_ref();
        let is_listed = after.is_some_and(|after| Place::of(&self.path) <= *after);
        if is_listed { None } else { Some(Step::Entry(meta)) }
    }

    fn left_out(&self, meta: &Meta) -> Option<LeftOut> {
        let level = self.levels.last()?;
        let name = level.block.names.get(level.next - 1);
        let is_dir = meta.kind == FileKind::Dir;
        if meta.kind == FileKind::Special {
            return Some(LeftOut::Special);
        }
        if self.plan.rules.is_ignored(&self.path, is_dir) {
            return Some(LeftOut::Ignored);
        }
        if meta.identity.dev != self.plan.device {
            return Some(LeftOut::OtherMount);
        }
        let depth = self.base + self.levels.len();
        let is_too_long = self.path.len() > PATH_MAX || name.len() > COMPONENT_MAX;
        // What is in a directory that lies as deep as can be has no path.
        if is_too_long || depth > DEPTH_MAX || is_dir && depth == DEPTH_MAX {
            return Some(LeftOut::TooLong);
        }
        if name.eq_ignore_ascii_case(RESERVED_NAME) {
            let is_reserved = depth == 1
                || level.block.dir.open_dir(name).is_ok_and(|dir| is_of_a_transfer(name, &dir));
            return is_reserved.then_some(LeftOut::Reserved);
        }
        None
    }
}

/// Makes `path` that of `name` in the directory whose path is its first `len` bytes.
fn set_path(path: &mut Vec<u8>, len: usize, name: &[u8]) {
    path.truncate(len);
    if len > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
