//! What a folder sees to besides scans and transfers: edits that were displaced get versions, paths
//! where something was in the way are looked at again, and what a power cut left is told from what
//! somebody wrote.

use super::again::{LooseJob, LooseLook, PathsJob, SeenLoose, nanos_at};
use super::folder::{Folder, FolderError, seal, wall_millis};
use super::halt::{Halt, HaltKind};
use crate::boot::Boot;
use crate::index::{Durability, Loose};
use crate::store::{Committed, Origin};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Found;
use farhaul_sync::limits::ZERO_BLOCK;
use farhaul_sync::version::Content;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Paths that are looked at again at most; of the others a scan tells.
const AGAIN_MAX: usize = 4096;
/// How long after a second look at a path the third one is; four times as long before each further
/// one, up to the longest pause.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// How soon after a change what it displaced is looked at again.
const LOOSE_EVERY: Duration = Duration::from_secs(30);
/// And how much longer than a round of looks the pause to the next one is.
const LOOSE_REST: u32 = 50;

/// What is under way.
#[derive(Default)]
pub(super) struct Upkeep {
    halt: Option<Halt>,
    /// Paths where something was in the way.
    again: BTreeMap<RelPath, Again>,
    again_runs: Option<Stop>,
    loose_runs: Option<(Stop, Instant)>,
    loose_at: Option<Instant>,
    /// Until the first scan after a power cut: which start of the machine came after it.
    cut: Option<Boot>,
    /// That scan came to its end, and what it found is to be taken in.
    cut_scanned: bool,
}

/// A path where something was in the way.
struct Again {
    /// Nothing is done there until it was looked at.
    held: bool,
    /// When it is looked at next, or was let go.
    at: Instant,
    /// How long after the next look the one after it is.
    pause: Duration,
}

impl Upkeep {
    /// The folder was opened; `was_cut` says that its index was not closed before the machine
    /// stopped.
    pub(super) fn begin(&mut self, was_cut: bool) {
        self.loose_at = Some(Instant::now());
        self.cut = was_cut.then(Boot::this);
    }

    pub(super) fn stop(&self) {
        let jobs = self.again_runs.iter().chain(self.loose_runs.as_ref().map(|(stop, _)| stop));
        jobs.for_each(Stop::set);
    }

    #[cfg(test)]
    pub(super) const fn is_busy(&self) -> bool {
        self.again_runs.is_some() || self.loose_runs.is_some()
    }

    /// What was displaced is looked at with the next event.
    #[cfg(test)]
    pub(super) fn look_at_loose_now(&mut self) {
        self.loose_at = Some(Instant::now());
    }

    /// A scan came to its end: what the power cut left is known.
    pub(super) fn scanned(&mut self) {
        self.cut_scanned = true;
    }

    pub(super) const fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    pub(super) fn take_halt(&mut self) -> Option<Halt> {
        self.halt.take()
    }

    /// Halts if that is all that can be done after `error`.
    pub(super) fn halt_for(&mut self, error: &FolderError) {
        if let (None, Some(kind)) = (&self.halt, HaltKind::of(error)) {
            self.halt = Some(Halt::new(kind, error));
        }
    }

    /// Something is in the way at a path: somebody has to say what, before anything is tried again.
    pub(super) fn look_again(&mut self, path: &RelPath) {
        let now = Instant::now();
        if let Some(again) = self.again.get_mut(path) {
            if !again.held {
                again.at = now + again.pause;
                (again.held, again.pause) = (true, (again.pause * 4).min(AGAIN_LAST));
            }
        } else if self.again.len() < AGAIN_MAX {
            self.again.insert(path.clone(), Again { held: true, at: now, pause: AGAIN_FIRST });
        }
    }

    /// Whether a path is left alone until it was looked at.
    pub(super) fn is_held(&self, path: &RelPath) -> bool {
        self.again.get(path).is_some_and(|again| again.held)
    }

    /// It is known what stands at a path.
    fn let_go(&mut self, path: &RelPath) {
        if let Some(again) = self.again.get_mut(path) {
            (again.held, again.at) = (false, Instant::now());
        }
    }

    /// Changes displaced something: an edit is published at once, and what an editor may have open
    /// is looked at again.
    pub(super) fn displaced(&mut self, committed: &[Committed]) {
        let displaced = committed.iter().filter_map(|committed| committed.displaced.as_ref());
        for displaced in displaced {
            let is_edit = displaced.origin == Origin::Edit;
            let due = Instant::now() + if is_edit { Duration::ZERO } else { LOOSE_EVERY };
            self.loose_at = Some(self.loose_at.map_or(due, |at| at.min(due)));
        }
    }
}

impl Folder {
    /// Starts the looks that are due.
    pub(super) fn keep_up(&mut self) -> Result<(), FolderError> {
        let now = Instant::now();
        if self.upkeep.again_runs.is_none() {
            self.upkeep.again.retain(|_, again| again.held || now < again.at + AGAIN_LAST);
            let due = self.upkeep.again.iter_mut();
            let due = due.filter(|(_, again)| again.held && again.at <= now);
            let paths: Vec<RelPath> = due
                .map(|(path, again)| {
                    again.at = now + AGAIN_LAST;
                    path.clone()
                })
                .collect();
            if !paths.is_empty() {
                self.upkeep.again_runs = Some(self.look_at(paths)?);
            }
        }
        let is_due = self.upkeep.loose_at.is_some_and(|at| at <= now);
        if is_due && self.upkeep.loose_runs.is_none() {
            self.upkeep.loose_at = None;
            self.upkeep.loose_runs = Some((self.look_at_loose()?, now));
        }
        Ok(())
    }

    fn look_at(&self, paths: Vec<RelPath>) -> Result<Stop, FolderError> {
        let stop = Stop::default();
        let job = PathsJob {
            folder: self.setup.key,
            root: self.store.root().clone(),
            keys: Arc::clone(&self.keys),
            rules: self.setup.rules.clone(),
            paths,
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-look".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        Ok(stop)
    }

    fn look_at_loose(&self) -> Result<Stop, FolderError> {
        let stop = Stop::default();
        let job = LooseJob {
            folder: self.setup.key,
            store: self.store.clone(),
            keys: Arc::clone(&self.keys),
            reader: self.index.reader()?,
            now_secs: wall_millis() / 1000,
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-loose".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        Ok(stop)
    }

    pub(super) fn looked_again(&mut self) {
        self.upkeep.again_runs = None;
    }

    /// All that was displaced was looked at; `Ok(true)`: some of it is looked at again.
    pub(super) fn loose_looked(&mut self, outcome: Result<bool, String>) {
        let Some((_, began)) = self.upkeep.loose_runs.take() else { return };
        let is_left = outcome.unwrap_or_else(|why| {
            tracing::warn!(folder = %self.setup.name, why, "what was displaced is looked at later");
            true
        });
        if is_left {
            let due = Instant::now() + LOOSE_EVERY.max(began.elapsed() * LOOSE_REST);
            self.upkeep.loose_at = Some(self.upkeep.loose_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Takes in what became of things that were displaced.
    pub(super) fn take_loose(&mut self, seen: Vec<SeenLoose>) {
        for SeenLoose { name, what } in seen {
            let taken = self.take_one_loose(&name, what);
            self.note("what was displaced cannot be taken in", taken);
        }
    }

    fn take_one_loose(&mut self, name: &str, what: LooseLook) -> Result<(), FolderError> {
        let Some(loose) = self.index.read().loose_one(name)? else { return Ok(()) };
        let LooseLook::Found(found) = what else {
            return self.change(Durability::Later, |state| {
                Ok(state.index_mut().forget_loose(&loose.name)?)
            });
        };
        let (mut found, disk) = *found;
        if let (Some(short), Some(over)) = (&loose.shortfall, &loose.over) {
            let _ = short.cover(&mut found.meta, &disk, &over.meta);
        }
        let (identity, size) = (found.identity, found.identity.size);
        let (keys, public) = (self.identity.clone(), self.public);
        self.change(Durability::Now, |state| {
            let is_link = matches!(found.content, Content::Symlink { .. });
            let over = loose.over.as_ref();
            let version = match state.displaced(&loose.path, found, over, wall_millis())? {
                Ok(version) => version,
                // It is kept, and looked at again.
                Err(why) => {
                    tracing::info!(path = %loose.path, ?why, "what was displaced waits");
                    return Ok(());
                }
            };
            seal(state, &keys, public)?;
            let index = state.index_mut();
            if let Some(mut kept) = index.read().kept_as(&loose.path, &loose.name)? {
                (kept.version, kept.size) = (Some(version.clone()), size);
                index.write_kept(&kept)?;
            }
            tracing::info!(path = %loose.path, "an edit that was displaced has a version");
            let next = Loose { over: Some(version), said: Some(identity), ..loose };
            // Nobody holds a link open.
            if is_link {
                index.forget_loose(&next.name)?
            } else {
                index.write_loose(&next)?
            }
            Ok(())
        })
    }

    /// Prepares what was found for the brain: nothing is gone unless the folder is where it was, what
    /// a disk did not take of a version is no edit, and neither is what a power cut left. The last is
    /// returned.
    pub(super) fn sift(
        &mut self,
        looks: &mut Vec<(RelPath, Option<Found>)>,
    ) -> Result<Vec<(RelPath, Found)>, FolderError> {
        if looks.iter().any(|(_, found)| found.is_none()) {
            self.store.check_there()?;
        }
        for (path, found) in looks.iter_mut() {
            self.upkeep.let_go(path);
            if let Some(found) = found {
                self.cover(path, found)?;
            }
        }
        let Some(boot) = self.upkeep.cut else { return Ok(Vec::new()) };
        let mut damaged = Vec::new();
        let mut left = Vec::with_capacity(looks.len());
        for (path, found) in looks.drain(..) {
            match found {
                Some(found) if self.is_damaged(&path, &found, boot)? => damaged.push((path, found)),
                found => left.push((path, found)),
            }
        }
        *looks = left;
        if self.upkeep.cut_scanned {
            self.upkeep.cut = None;
        }
        Ok(damaged)
    }

    /// Where this site could not give a path what its version says, what it has instead counts as
    /// said (spec: S-100).
    fn cover(&mut self, path: &RelPath, found: &mut Found) -> Result<(), FolderError> {
        let Some(short) = self.index.read().shortfall(path)? else { return Ok(()) };
        let placed = self.index.read().item(path)?.placed;
        let disk = self.store.root().stat(path).ok();
        let disk = disk.filter(|disk| crate::scan::identity_of(disk) == found.identity);
        let (Some(placed), Some(disk)) = (placed, disk) else { return Ok(()) };
        let left = short.cover(&mut found.meta, &disk, &placed.meta);
        if left != short {
            let mut keeping = self.index.begin(Durability::Later)?;
            let is_any = left != crate::store::Shortfall::default();
            keeping.set_shortfall(path, is_any.then_some(&left))?;
            keeping.commit()?;
        }
        Ok(())
    }

    /// Whether a power cut may have left this of a file that was put there or published (spec:
    /// S-103): it is shorter, or ends in zeros, and was last changed before the machine started. Only
    /// where somebody else may have the file.
    fn is_damaged(&self, path: &RelPath, found: &Found, boot: Boot) -> Result<bool, FolderError> {
        let Some(placed) = self.index.read().item(path)?.placed else { return Ok(false) };
        let (Content::File { size: was, .. }, Content::File { size: is, .. }) =
            (&placed.version.content, &found.content)
        else {
            return Ok(false);
        };
        let is_old = found.identity.ctime < nanos_at(boot.at_secs);
        if !is_old || self.setup.peers.is_empty() || found.content == placed.version.content {
            return Ok(false);
        }
        let is_damaged = is < was || self.ends_in_zeros(path, is.get());
        if is_damaged {
            tracing::warn!(%path, "may be damaged by a power cut: is fetched again and kept");
        }
        Ok(is_damaged)
    }

    /// Whether nothing but zeros stands in the last block of a file.
    fn ends_in_zeros(&self, path: &RelPath, size: u64) -> bool {
        let start = size.saturating_sub(1) / ZERO_BLOCK * ZERO_BLOCK;
        let mut block = vec![0; usize::try_from(size - start).unwrap_or(0)];
        let file = self.store.root().open_file(path);
        let read = file.is_ok_and(|file| file.read_exact_at(&mut block, start).is_ok());
        read && !block.is_empty() && block.iter().all(|&byte| byte == 0)
    }
}
