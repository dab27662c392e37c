//! What a disk did not take of a version is tried again after each scan, where it would take more by now:
//! somebody was added, this site may do more, or the file system was replaced (spec: S-174).

use super::Event;
use super::folder::{Folder, FolderError};
use crate::index::IndexReader;
use crate::store::{Lacks, Store};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::FileTime;
use farhaul_sync::folder::Task;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, Meta};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Rows read at a time.
const PAGE: usize = 1024;
/// Paths that are gone through after a scan; the next one goes on behind them.
const ROUND_MAX: usize = 64 << 10;
/// Paths that are told at a time.
const BATCH: usize = 256;
/// Kinds of metadata of which it is remembered what would be lacking.
const TRIED_MAX: usize = 1024;
/// Paths at which it was tried in vain that are remembered, and not tried again.
const IN_VAIN_MAX: usize = 16 << 10;

/// How what is lacking is tried again.
#[derive(Debug, Default)]
pub(super) struct Mending {
    runs: Option<Stop>,
    /// Up to where the last round came.
    after: Option<RelPath>,
    /// What was lacking when it was tried last.
    in_vain: BTreeMap<RelPath, Lacks>,
}

impl Mending {
    pub(super) fn stop(&self) {
        self.runs.iter().for_each(Stop::set);
    }

    #[cfg(test)]
    pub(super) const fn is_busy(&self) -> bool {
        self.runs.is_some()
    }

    /// Whether it is worth a try, and notes that there is one.
    fn tries(&mut self, path: &RelPath, lacks: Lacks) -> bool {
        if self.in_vain.get(path) == Some(&lacks) {
            return false;
        }
        if self.in_vain.len() >= IN_VAIN_MAX {
            self.in_vain.clear();
        }
        self.in_vain.insert(path.clone(), lacks);
        true
    }
}

/// Goes through what is lacking.
struct MendJob {
    folder: FolderKey,
    store: Store,
    reader: IndexReader,
    after: Option<RelPath>,
    stop: Stop,
    events: mpsc::Sender<Event>,
}

/// What would be lacking of metadata, for files and for directories.
type Tried = BTreeMap<(bool, Meta), Option<Lacks>>;

impl MendJob {
    /// Runs in a thread of its own.
    fn run(self) {
        let after = self.go_through().unwrap_or_else(|why| {
            tracing::warn!(why, "what is lacking is not tried again");
            None
        });
        let ended = Event::MendingEnded { folder: self.folder, after };
        let _ = self.events.blocking_send(ended);
    }

    /// Where the next round begins.
    fn go_through(&self) -> Result<Option<RelPath>, String> {
        let mut tried = Tried::new();
        let (mut after, mut count) = (self.after.clone(), 0);
        loop {
            let rows = self.reader.read().shortfalls_from(after.as_ref(), PAGE);
            let rows = rows.map_err(|error| error.to_string())?;
            let Some((last, _)) = rows.last() else { return Ok(None) };
            (after, count) = (Some(last.clone()), count + rows.len());
            let mut found = Vec::new();
            for (path, short) in rows {
                if self.stop.is_set() {
                    return Ok(None);
                }
                // What nobody says can be tried by nobody.
                let lacks = short.lacks.without(Lacks::UNSAID);
                if lacks.is_any() && self.would_take_more(&path, lacks, &mut tried)? {
                    found.push((path, lacks));
                }
            }
            for found in found.chunks(BATCH) {
                let event = Event::Mendable { folder: self.folder, paths: found.to_vec() };
                self.events.blocking_send(event).map_err(|_| "this site stops".to_owned())?;
            }
            if count >= ROUND_MAX {
                return Ok(after);
            }
        }
    }

    /// Whether something would not be lacking any more.
    fn would_take_more(
        &self,
        path: &RelPath,
        lacks: Lacks,
        tried: &mut Tried,
    ) -> Result<bool, String> {
        let placed = self.reader.read().item(path).map_err(|error| error.to_string())?.placed;
        let Some(placed) = placed else { return Ok(false) };
        let is_dir = match placed.version.content {
            Content::Dir => true,
            Content::File { .. } => false,
            // Nothing of them is given away (S-145).
            Content::Symlink { .. } | Content::Gone => return Ok(false),
        };
        let (mtime, link) = (FileTime::default(), None);
        let key = (is_dir, Meta { mtime, link, ..placed.version.meta });
        if tried.len() >= TRIED_MAX {
            tried.clear();
        }
        let would = tried.entry(key).or_insert_with_key(|(is_dir, meta)| {
            self.store.principals().learn(meta);
            self.store.would_lack(meta, *is_dir)
        });
        Ok(would.is_some_and(|would| !would.has(lacks)))
    }
}

impl Folder {
    /// Somebody ordered a scan: what was tried in vain is tried again after it.
    pub(super) fn scan_anew(&mut self) {
        self.mending.in_vain.clear();
        self.scan();
    }

    /// A scan came to its end: what is lacking is gone through, unless that is under way.
    pub(super) fn begin_mending(&mut self) {
        let begun = self.try_mending();
        self.note("what the disk did not take cannot be tried again", begun);
    }

    fn try_mending(&mut self) -> Result<(), FolderError> {
        let is_any =
            || Ok::<_, FolderError>(!self.index.read().shortfalls_from(None, 1)?.is_empty());
        if self.is_paused || self.mending.runs.is_some() || !is_any()? {
            return Ok(());
        }
        let stop = Stop::default();
        let job = MendJob {
            folder: self.setup.key,
            store: self.store.clone(),
            reader: self.index.reader()?,
            after: self.mending.after.take(),
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-mend".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        self.mending.runs = Some(stop);
        Ok(())
    }

    /// The round came to its end.
    pub(super) fn mending_ended(&mut self, after: Option<RelPath>) {
        self.mending.runs = None;
        self.mending.after = after;
    }

    /// What stands at these paths is described once more, where nothing else is to be done there.
    pub(super) fn mend(&mut self, paths: Vec<(RelPath, Lacks)>) {
        if self.is_paused || self.upkeep.is_halted() {
            return;
        }
        let mended = self.describe_again(paths);
        self.note("what the disk did not take cannot be tried again", mended);
    }

    fn describe_again(&mut self, paths: Vec<(RelPath, Lacks)>) -> Result<(), FolderError> {
        let mut prepared = Vec::new();
        self.begin_round();
        for (path, lacks) in paths {
            if self.upkeep.is_held(&path) || self.undecided.has(&path) || self.fetching.has(&path) {
                continue;
            }
            let Some((Task::Settled, Some(placed))) = self.task_at(&path)? else { continue };
            let is_short = self.index.read().shortfall(&path)?.is_some();
            // One name of a file is described for all of them.
            if !is_short || self.is_described(&placed) || !self.is_named(&placed.version) {
                continue;
            }
            if !self.mending.tries(&path, lacks) || !self.store.may_describe(&path) {
                continue;
            }
            match self.store.prepare_describe(&path, &placed.version, &placed) {
                Ok(begun) => {
                    self.describes(&placed);
                    prepared.push(begun);
                }
                // A look at it says what is there.
                Err(error) => tracing::debug!(%path, %error, "is not described again now"),
            }
        }
        self.commit(prepared).map(drop)
    }
}
