//! Hearing of changes in a folder's tree as they happen.
//!
//! What is heard is a hint where to look, nothing more: it may come late, twice or not at all, so a
//! scan at intervals stays the truth. A [`Watcher`] turns what the kernel tells into paths, one body
//! for each way in which it tells; [`Queue`] holds them until they are left alone. Looking is the
//! business of the control loop's own threads.

mod fanotify;
mod health;
mod inotify;
mod pending;
mod queue;
mod wake;

pub use fanotify::Fanotify;
pub use health::{By, Coverage, LastScan, Watching};
pub use inotify::Inotify;
pub use pending::{Due, Pending};
pub use queue::{Queue, Shown};
pub use wake::Wake;

use crate::scan::Rules;
use farhaul_engine::files::Root;
use farhaul_proto::path_name::RelPath;
use std::fmt;
use std::time::Duration;

/// How a folder is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// By the best that works here.
    #[default]
    Auto,
    /// By one mark for the file system; needs `CAP_SYS_ADMIN` and `CAP_DAC_READ_SEARCH`.
    Fanotify,
    /// By a watch for each directory.
    Inotify,
    /// Not at all: changes are found by scans.
    Off,
}

impl WatchMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Fanotify, Self::Inotify, Self::Off];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fanotify => "fanotify",
            Self::Inotify => "inotify",
            Self::Off => "off",
        }
    }
}

/// What is bounded where a folder is watched; tests lower it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Directories that are watched one by one. The kernel has a limit of its own.
    pub watches: usize,
    /// Paths that wait to be looked at. Beyond that they are looked at by the directory, and beyond
    /// that all of the folder is.
    pub paths: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { watches: usize::MAX, paths: 16_384 }
    }
}

/// What is to be watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The tree.
    pub root: Root,
    /// What of it is left out.
    pub rules: Rules,
    /// What is bounded.
    pub limits: Limits,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file came, went, or was changed in another way than by writing.
    Entry(RelPath),
    /// A file is being written.
    Written(RelPath),
    /// Who wrote a file is done with it.
    Closed(RelPath),
    /// A directory came, went or was renamed: all beneath it is to be looked at.
    Tree(RelPath),
    /// Some changes were not heard of, and nobody knows which.
    Lost,
    /// All is to be looked at, because parts of it are not watched.
    Whole,
}

/// Why a folder is not watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{by} does not watch it: {why}")]
pub struct WatchError {
    /// What was tried.
    pub by: By,
    /// What the kernel says, and what would help.
    pub why: String,
}

impl WatchError {
    fn new(by: By, why: impl fmt::Display) -> Self {
        Self { by, why: why.to_string() }
    }
}

/// One way to hear of changes.
pub trait Watcher: Send {
    /// Which.
    fn by(&self) -> By;

    /// How much of the tree it covers.
    fn coverage(&self) -> Coverage;

    /// Waits until something happened, `wake` is called or `patience` ends, and tells what did.
    ///
    /// # Errors
    /// [`WatchError`]: it hears nothing any more.
    fn wait(
        &mut self,
        wake: &Wake,
        patience: Duration,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<(), WatchError>;

    /// Tries again to watch what is not watched, and tells that it is to be looked at.
    fn cover(&mut self, tell: &mut dyn FnMut(Notice));
}

/// A watcher, and why it is not the best one, if it is not.
pub type Started = (Box<dyn Watcher>, Option<String>);

/// Begins to watch: from when it returns, changes are heard of. A scan that begins after that finds
/// what was changed before.
///
/// # Errors
/// [`WatchError`] of the last way that was tried.
pub fn start(mode: WatchMode, watched: &Watched) -> Result<Started, WatchError> {
    let inotify = || -> Result<Box<dyn Watcher>, WatchError> {
        Ok(Box::new(Inotify::start(watched.clone())?))
    };
    match mode {
        WatchMode::Off => Err(WatchError::new(By::Nothing, "it is switched off")),
        WatchMode::Fanotify => Ok((Box::new(Fanotify::start(watched)?), None)),
        WatchMode::Inotify => Ok((inotify()?, None)),
        WatchMode::Auto => match Fanotify::start(watched) {
            Ok(fanotify) => Ok((Box::new(fanotify), None)),
            Err(error) => Ok((inotify()?, Some(error.to_string()))),
        },
    }
}
