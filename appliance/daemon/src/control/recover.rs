//! What a stop in the middle of a change left behind, decided before anything else happens.

use super::fetching::note_places;
use super::folder::{Folder, FolderError, wall_millis};
use crate::index::Durability;
use crate::scan::{Digester, Nowhere};
use crate::store::{Action, Hashing, Intent, Recovered};
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::version::ManifestId;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// Before what is undecided is looked at for the first time again; twice as long before each further
/// time.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// How much longer than a try the pause after it is at least.
const REST: u32 = 30;

/// Paths of changes of which it cannot be found out what became of them, because the disk does not
/// give what stands there. Nothing is done there, and nothing that is found there counts.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    paths: BTreeSet<RelPath>,
    /// When they are looked at again, and how long after that the next time is.
    next: Option<(Instant, Duration)>,
}

impl Undecided {
    /// Whether that is such a path.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.paths.contains(path)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn is_due(&self) -> bool {
        self.next.is_some_and(|(at, _)| at <= Instant::now())
    }

    /// What is still undecided after another try that took so long: whatever else the site does waits
    /// for one, so there is time between two.
    fn are(&mut self, paths: BTreeSet<RelPath>, took: Duration) {
        let pause = self.next.map_or(AGAIN_FIRST, |(_, pause)| (pause * 2).min(AGAIN_MAX));
        let pause = pause.max(took * REST);
        self.next = (!paths.is_empty()).then(|| (Instant::now() + pause, pause));
        self.paths = paths;
    }
}

/// Names contents with the folder's keys.
struct Hasher<'a>(&'a ContentKeys);

impl Hashing for Hasher<'_> {
    fn manifest_of(&mut self, file: &File) -> io::Result<ManifestId> {
        #[cfg(test)]
        if tests::FAILS.get() {
            return Err(rustix::io::Errno::IO.into());
        }
        let before = Meta::of(file)?;
        let digested = Digester::new(self.0, Stop::default()).digest(file, &before, &mut Nowhere);
        Ok(digested.map_err(io::Error::other)?.manifest)
    }
}

impl Folder {
    /// Decides every intent, and removes what nobody goes on with.
    pub(super) fn recover(&mut self) -> Result<(), FolderError> {
        self.decide_intents()?;
        if !self.undecided.is_empty() {
            // What is staged may be all that tells whether a change was made.
            return Ok(());
        }
        let swept = self.store.sweep((wall_millis() / 1000).cast_signed())?;
        if swept > 0 {
            tracing::info!(swept, "staged files that nobody went on with were removed");
        }
        Ok(())
    }

    /// Finds out what became of each change that was begun (spec: S-044). Where the disk does not give
    /// what stands at a path, that one is left alone and tried again later; all else goes on.
    pub(super) fn decide_intents(&mut self) -> Result<(), FolderError> {
        // Where there was no power cut, the disk holds what was written, by whomever.
        let cut = self.upkeep.cut.map(|boot| i128::from(boot.at_secs) * 1_000_000_000);
        let keys = std::sync::Arc::clone(&self.keys);
        let (mut undecided, began) = (BTreeSet::new(), Instant::now());
        for (id, intent) in self.index.read().intents()? {
            let path = &intent.path;
            match self.store.recover(id, &intent, cut, &mut Hasher(&keys)) {
                Ok(recovered) => self.decided(&intent, &recovered)?,
                Err(source) if source.is_of_a_path() => {
                    tracing::warn!(%path, error = %source, "a change before the stop is undecided");
                    let why = "it cannot be found out what became of a change before the stop";
                    self.health.failed(path, format!("{why}: {source}"));
                    undecided.extend(paths_of(&intent));
                }
                Err(source) => {
                    return Err(FolderError::Undecided { path: path.clone(), source });
                }
            }
        }
        self.undecided.are(undecided, began.elapsed());
        Ok(())
    }

    /// Tries again what could not be decided.
    pub(super) fn keep_deciding(&mut self) {
        if self.undecided.is_due() {
            let decided = self.decide_intents();
            self.note("a change before the stop is undecided", decided);
        }
    }

    /// It was found out what became of a change: the index is told.
    fn decided(&mut self, intent: &Intent, recovered: &Recovered) -> Result<(), FolderError> {
        let now = wall_millis() / 1000;
        let became = match recovered {
            Recovered::Done(_) => "done",
            Recovered::Undone(_) => "not done",
            Recovered::Edited(_) => "done and edited by somebody since, and is looked at",
            Recovered::Broken(_) => "damaged by a power cut, and is fetched again",
            Recovered::Foreign(_) => "overtaken by somebody else, and is looked at",
        };
        tracing::info!(path = %intent.path, "a change before the stop was {became}");
        let committed = recovered.committed();
        note_places(&self.contents, committed);
        self.change(Durability::Now, |state| {
            state.index_mut().settle(committed, now)?;
            for (path, placed) in &committed.placed {
                state.placed(path, placed.as_ref())?;
            }
            Ok(())
        })?;
        for path in paths_of(intent) {
            // What was found there meanwhile did not count.
            if self.undecided.has(&path) {
                self.health.is_over(&path);
                self.upkeep.look_again(&path);
            }
        }
        Ok(())
    }
}

/// Where an intent changes something.
fn paths_of(intent: &Intent) -> Vec<RelPath> {
    let to = match &intent.action {
        Action::Move { to } => Some(to.clone()),
        Action::Put { .. } | Action::Describe | Action::Remove => None,
    };
    to.into_iter().chain([intent.path.clone()]).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// Whether the disk gives nothing of a file that is to be told done from undone.
        pub(in crate::control) static FAILS: Cell<bool> = const { Cell::new(false) };
    }
}
