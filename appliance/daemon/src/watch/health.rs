//! How well a folder is watched, for whoever asks.

use std::fmt;
use std::time::SystemTime;

/// By what a folder is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Scans only.
    #[default]
    Nothing,
    /// One mark for the file system.
    Fanotify,
    /// A watch for each directory.
    Inotify,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Fanotify => "fanotify",
            Self::Inotify => "inotify",
        })
    }
}

/// How much of a tree is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Watches that are held: directories, or 1 for a mark.
    pub watches: u64,
    /// Directories that are not watched because there are no more watches; they are scanned often.
    pub unwatched: u64,
}

/// The end of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastScan {
    /// When.
    pub at: SystemTime,
    /// Why it ended early, if it did.
    pub failed: Option<String>,
}

/// How a folder is watched at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// By what.
    pub by: By,
    /// How much of it.
    pub coverage: Coverage,
    /// Why it is not watched, or not by the best way.
    pub why: Option<String>,
    /// How often changes were lost because too many came at once.
    pub overflows: u64,
    /// When that was the last time.
    pub last_overflow: Option<SystemTime>,
    /// The last scan of all of it.
    pub last_scan: Option<LastScan>,
}

impl Watching {
    /// Whether every change is heard of as it happens.
    pub fn is_live(&self) -> bool {
        self.by != By::Nothing && self.coverage.unwatched == 0
    }
}
