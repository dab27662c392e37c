//! Faults that are planted, to see that the judge finds them: a disk that lies, a site that says too
//! early that something is done, one that syncs too little, one that forgets what it meant.
//!
//! None of it is in the product: they are made of what it did, or of the syscalls that it makes.

use crate::KitError;
use crate::ledger::{Line, Stamped};
use crate::machine::FileSystem;
use crate::script::Class;
use crate::site::Home;
use rusqlite::Connection;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A flush settles nothing: what the disk said it had may be lost.
    LyingDisk,
    /// The neighbour's records count as durable when they come in.
    StoredEarly,
    /// An edit counts as announced when its user makes it.
    AnnouncedEarly,
    /// Nothing is known of intents after a stop.
    ForgottenIntents,
    /// The index's log is not synced.
    UnsyncedIndex,
    /// Files on their way in are not synced.
    UnsyncedFiles,
    /// Directories are not synced; does no harm on ext4 ([`Mutant::shows`]).
    UnsyncedDirs,
    /// Neither files nor directories are.
    UnsyncedTree,
}

impl Mutant {
    /// All of them, with what they are called.
    pub const ALL: [(&str, Self); 8] = [
        ("lying-disk", Self::LyingDisk),
        ("stored-early", Self::StoredEarly),
        ("announced-early", Self::AnnouncedEarly),
        ("forgotten-intents", Self::ForgottenIntents),
        ("unsynced-index", Self::UnsyncedIndex),
        ("unsynced-files", Self::UnsyncedFiles),
        ("unsynced-dirs", Self::UnsyncedDirs),
        ("unsynced-tree", Self::UnsyncedTree),
    ];

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant)
    }

    /// Where it shows: what has to be done, and on what. ext4 has one journal for all, so whoever syncs
    /// the log of the index behind a rename has synced the rename; btrfs has not.
    pub fn shows(self) -> (Class, FileSystem) {
        match self {
            Self::StoredEarly | Self::AnnouncedEarly => (Class::Create, FileSystem::Ext4),
            Self::UnsyncedDirs => (Class::Replace, FileSystem::Btrfs),
            Self::LyingDisk
            | Self::ForgottenIntents
            | Self::UnsyncedIndex
            | Self::UnsyncedFiles
            | Self::UnsyncedTree => (Class::Replace, FileSystem::Ext4),
        }
    }

    /// Whether the disk settles nothing.
    pub fn lies(self) -> bool {
        self == Self::LyingDisk
    }

    /// Whether the sync of what `target` names is left out; it is a directory, or not.
    pub fn leaves_out(self, target: &str, is_dir: bool) -> bool {
        let is_index = target.contains("/state/");
        match self {
            Self::UnsyncedIndex => is_index && !is_dir,
            Self::UnsyncedFiles => target.contains("/.farhaul/incoming/"),
            Self::UnsyncedDirs => is_dir && !is_index,
            Self::UnsyncedTree => !is_index && !target.contains("/desk/"),
            Self::LyingDisk | Self::StoredEarly | Self::AnnouncedEarly | Self::ForgottenIntents => {
                false
            }
        }
    }

    /// Whether a tracer is needed.
    pub fn drops_syncs(self) -> bool {
        ["/state/", "/.farhaul/incoming/", "/tree"]
            .iter()
            .any(|at| self.leaves_out(at, true) || self.leaves_out(at, false))
    }

    /// The ledger as such a site would have it.
    pub fn told(self, lines: &Stamped) -> Stamped {
        let mut told = Vec::with_capacity(lines.len());
        let mut meant = 0;
        for (stamp, line) in lines {
            match line {
                Line::Told { to, .. } if self == Self::StoredEarly => {
                    told.push((*stamp, line.clone()));
                    told.push((*stamp, Line::Stored { up_to: *to }));
                }
                Line::Announced { .. } | Line::Heard { .. } if self == Self::AnnouncedEarly => {
                    told.push((meant, line.clone()));
                }
                _ => {
                    if matches!(line, Line::Will { .. }) {
                        meant = *stamp;
                    }
                    told.push((*stamp, line.clone()));
                }
            }
        }
        told.sort_by_key(|(stamp, _)| *stamp);
        told
    }

    /// What such a site does to its disk before it recovers.
    ///
    /// # Errors
    /// [`KitError::Failed`].
    pub fn spoil(self, home: &Home) -> Result<(), KitError> {
        if self != Self::ForgottenIntents {
            return Ok(());
        }
        let forget = || -> rusqlite::Result<()> {
            let db = Connection::open(home.state().join("index"))?;
            db.execute("DELETE FROM intents", [])?;
            Ok(())
        };
        forget().map_err(|error| KitError::Failed(format!("intents: {error}")))
    }
}
