//! Folders that cannot go on: they halt with a reason, the others run, and each is opened anew after
//! a while, which decides whatever was half-done (spec: S-049).

use super::Loop;
use super::folder::{FolderError, FolderSetup};
use crate::events::Said;
use crate::index::IndexError;
use crate::site::Outgoing;
use crate::store::StoreError;
use farhaul_api::EventKind;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::StateError;
use farhaul_sync::message::Message;
use farhaul_sync::seal::FolderKey;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Before a halted folder is opened for the first time; twice as long before each further one.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why a folder halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HaltKind {
    /// Its disk is not mounted, or another one is, or the folder was moved, emptied or replaced: what
    /// is not there was not deleted (F-33).
    Elsewhere,
    /// Its disk failed, and nobody knows what is on it until it was looked at anew (F-05).
    Disk,
    /// Its index failed or is damaged.
    Index,
    /// Its index is of another version of the program.
    Form,
    /// A change before the last stop cannot be told done from undone.
    Undecided,
    /// It cannot be opened.
    Unopened,
}

impl fmt::Display for HaltKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => "not where it was",
            Self::Disk => "its disk failed",
            Self::Index => "its index failed",
            Self::Form => "its index is of another version",
            Self::Undecided => "a change is undecided",
            Self::Unopened => "cannot be opened",
        })
    }
}

impl HaltKind {
    /// What an error in a running folder means for it; `None`: it goes on.
    pub(super) fn of(error: &FolderError) -> Option<Self> {
        match error {
            FolderError::Store(StoreError::Unsettled { .. }) => Some(Self::Disk),
            FolderError::Store(error) if error.is_elsewhere() => Some(Self::Elsewhere),
            FolderError::Undecided { .. } | FolderError::Unnoted(_) => Some(Self::Undecided),
            FolderError::Index(error) | FolderError::State(StateError::Index(error)) => match error
            {
                IndexError::Damaged { .. } | IndexError::Database(_) | IndexError::File { .. } => {
                    Some(Self::Index)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What to do next.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Elsewhere => "mount its disk, or put it back where it was",
            Self::Disk => "see what the system's log says of the disk",
            Self::Index => "do what the reason says, or see what the system's log says of the disk",
            Self::Form => "move its index aside, or use the version that wrote it",
            Self::Undecided | Self::Unopened => "see that it belongs to this user and can be read",
        }
    }
}

/// That a folder halts.
#[derive(Clone, Debug)]
pub struct Halt {
    /// Why, in one word.
    pub kind: HaltKind,
    /// Why, as the error says.
    pub reason: String,
    /// Since when, by this machine's clock.
    pub since: SystemTime,
}

impl Halt {
    pub(super) fn new(kind: HaltKind, error: &FolderError) -> Self {
        Self { kind, reason: error.to_string(), since: SystemTime::now() }
    }
}

/// How a folder is.
#[derive(Clone, Debug)]
pub struct FolderCondition {
    /// What it is called in the configuration.
    pub name: String,
    /// Why it does nothing; `None`: it runs.
    pub halt: Option<Halt>,
    /// Whether its disk is full: nothing is fetched until there is room again (F-03).
    pub is_full: bool,
    /// Paths that cannot stand on its disk, and why; the first of them.
    pub unplaced: Vec<(RelPath, String)>,
}

/// How the folders are, for whoever wants to show it.
pub(super) type Conditions = Arc<Mutex<BTreeMap<FolderKey, FolderCondition>>>;

/// A folder that halts, and when it is opened again.
pub(super) struct Halted {
    pub(super) setup: FolderSetup,
    pub(super) halt: Halt,
    pub(super) next: Instant,
    pause: Duration,
}

impl Halted {
    /// Before it is opened once more, if it cannot be this time.
    pub(super) fn next_pause(&self) -> Duration {
        (self.pause * 2).min(RETRY_MAX)
    }

    /// The same with that configuration, opened again after a while.
    pub(super) fn again_in(self, setup: FolderSetup, pause: Duration) -> Self {
        Self { setup, next: Instant::now() + pause, pause, ..self }
    }
}

impl Loop {
    pub(super) fn halt(&mut self, setup: FolderSetup, halt: Halt, pause: Duration) {
        let Halt { kind, reason, .. } = &halt;
        let before = self.show(setup.key, &setup.name, Some(halt.clone()));
        // Said once for each reason, however often it is tried again.
        if before.is_none_or(|before| before.reason != *reason) {
            let advice = kind.advice();
            tracing::error!(
                folder = %setup.name, %kind, %reason, advice,
                "halts; it is tried again by itself, with pauses of up to a minute"
            );
            let said = Said::that(EventKind::Halted).folder(&setup.name);
            self.log.say(said.text(format!("{kind}: {reason}; {advice}")));
        }
        let next = Instant::now() + pause;
        self.halted.insert(setup.key, Halted { setup, halt, next, pause });
    }

    /// Puts aside the folders that say that they cannot go on.
    pub(super) fn put_halted_aside(&mut self) {
        let halting: Vec<FolderKey> = self
            .folders
            .iter()
            .filter(|(_, folder)| folder.upkeep.is_halted())
            .map(|(key, _)| *key)
            .collect();
        for key in halting {
            let Some(mut folder) = self.folders.remove(&key) else { continue };
            let Some(halt) = folder.upkeep.take_halt() else { continue };
            folder.stop_jobs();
            // Not closed: whoever opens it knows that something may be half-done.
            self.halt(folder.setup.clone(), halt, RETRY_FIRST);
        }
    }

    /// Has halted folders opened whose time has come.
    pub(super) fn retry_halted(&mut self) {
        let now = Instant::now();
        let due = self.halted.iter().filter(|(_, halted)| halted.next <= now);
        let due: Vec<FolderKey> = due.map(|(key, _)| *key).collect();
        for key in due {
            if let Some(halted) = self.halted.remove(&key) {
                self.begin_to_open(halted.setup.clone(), Some(halted), false);
            }
        }
    }

    /// A folder runs again: it is scanned, and its neighbours tell it what they have.
    pub(super) fn rejoin(&mut self, key: FolderKey) {
        let Some(folder) = self.folders.get_mut(&key) else { return };
        folder.wake_up();
        for (peer, outbox) in &self.outboxes {
            let folders: Vec<_> = folder.share_with(*peer).into_iter().collect();
            if folders.is_empty() {
                continue;
            }
            let _ = outbox.send(Outgoing::Say(Message::Share { folders }));
            if let Some(offer) = self.offers.get(&(*peer, key)) {
                folder.shared(*peer, offer, outbox.clone());
            }
        }
    }

    /// Shows nothing of folders that are not kept any more.
    pub(super) fn forget_all_but(&mut self, kept: &BTreeSet<FolderKey>) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.retain(|key, _| kept.contains(key));
    }

    /// Why it halted before, if it did.
    pub(super) fn show(&self, key: FolderKey, name: &str, halt: Option<Halt>) -> Option<Halt> {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_full, unplaced) = (false, Vec::new());
        let name = name.to_owned();
        let before = conditions.insert(key, FolderCondition { name, halt, is_full, unplaced });
        before.and_then(|before| before.halt)
    }

    /// Shows what changed of the folders that run.
    pub(super) fn show_troubles(&mut self) {
        for (key, folder) in &mut self.folders {
            let Some((is_full, unplaced)) = folder.upkeep.troubles() else { continue };
            let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(condition) = conditions.get_mut(key) {
                (condition.is_full, condition.unplaced) = (is_full, unplaced);
            }
        }
    }
}
