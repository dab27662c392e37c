//! What a folder sees to besides scans and transfers: edits that were displaced get versions, paths
//! where something was in the way are looked at again, and a full disk is waited for.

use super::again::{LooseJob, LooseLook, PathsJob, SeenLoose};
use super::folder::{Folder, FolderError, seal, wall_millis};
use super::halt::{Halt, HaltKind};
use crate::boot::Boot;
use crate::index::{Durability, Kept, Loose};
use crate::store::{Committed, Origin, attrs_print};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Why;
use farhaul_sync::version::{Content, Version};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Paths that are looked at again at most; of the others a scan tells.
const AGAIN_MAX: usize = 4096;
/// How long after a second look at a path the third one is; four times as long before each further
/// one, up to the longest pause.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// Paths that are shown as not placed.
const UNPLACED_MAX: usize = 1000;
/// Of how much of its disk one part in so many has to be free before a folder that was full goes on.
const FREE_PART: u64 = 50;
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
    pub(super) cut: Option<Boot>,
    /// That scan came to its end, and what it found is to be taken in.
    pub(super) cut_scanned: bool,
    troubles: Troubles,
}

/// What is shown of a folder that runs.
#[derive(Default)]
struct Troubles {
    is_full: bool,
    unplaced: BTreeMap<RelPath, String>,
    /// Whether it was not shown yet.
    is_new: bool,
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

    /// Something runs, or is to run in a moment.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        let soon = Instant::now() + Duration::from_secs(1);
        let is_due = self.again.values().any(|again| again.held && again.at <= soon);
        is_due || self.again_runs.is_some() || self.loose_runs.is_some()
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

    /// What this site did itself changed the state of what stands at a path: it is looked at as soon
    /// as can be.
    pub(super) fn look_at_once(&mut self, path: &RelPath) {
        self.look_again(path);
        if let Some(again) = self.again.get_mut(path).filter(|again| again.held) {
            // Also if it is being looked at: that may have seen the state before.
            again.at = again.at.min(Instant::now() + AGAIN_FIRST);
            again.pause = AGAIN_FIRST;
        }
    }

    /// Whether a path is left alone until it was looked at.
    pub(super) fn is_held(&self, path: &RelPath) -> bool {
        self.again.get(path).is_some_and(|again| again.held)
    }

    /// Whether a path was looked at again and nothing could be said of it.
    pub(super) fn is_in_vain(&self, path: &RelPath) -> bool {
        let is_over = self.again_runs.is_none();
        let soon = Instant::now() + AGAIN_FIRST;
        let was_looked = |again: &Again| again.held && again.at > soon;
        is_over && self.again.get(path).is_some_and(was_looked)
    }

    /// It is known what stands at a path.
    pub(super) fn let_go(&mut self, path: &RelPath) {
        if let Some(again) = self.again.get_mut(path) {
            (again.held, again.at) = (false, Instant::now());
        }
    }

    /// The disk is full, or has room again.
    fn set_full(&mut self, is_full: bool) {
        self.troubles.is_new |= self.troubles.is_full != is_full;
        self.troubles.is_full = is_full;
    }

    /// Whether nothing that takes room is to be begun.
    pub(super) const fn is_full(&self) -> bool {
        self.troubles.is_full
    }

    /// Something cannot stand at a path (F-22), or can again.
    pub(super) fn set_unplaced(&mut self, path: &RelPath, why: Option<String>) {
        let Troubles { unplaced, is_new, .. } = &mut self.troubles;
        match why {
            Some(why) if unplaced.len() < UNPLACED_MAX && !unplaced.contains_key(path) => {
                tracing::warn!(why, "neither of the two is touched");
                unplaced.insert(path.clone(), why);
                *is_new = true;
            }
            Some(_) => {}
            None => *is_new |= unplaced.remove(path).is_some(),
        }
    }

    /// What is to be shown, where it is not shown yet.
    pub(super) fn troubles(&mut self) -> Option<(bool, Vec<(RelPath, String)>)> {
        let Troubles { is_full, unplaced, is_new } = &mut self.troubles;
        let list = || unplaced.iter().map(|(path, why)| (path.clone(), why.clone())).collect();
        core::mem::take(is_new).then(|| (*is_full, list()))
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
    /// Says what failed of something that happened once, which nobody tries again.
    pub(super) fn note_once(&mut self, what: &str, outcome: Result<(), FolderError>) {
        self.note(what, outcome);
        self.health.passes(what);
    }

    /// The disk is full: what takes room waits until a fiftieth of it is free, and the index has the
    /// room that was kept for it (F-03).
    pub(super) fn pause_for_room(&mut self, why: &dyn std::fmt::Display) {
        if !self.upkeep.is_full() {
            tracing::error!(folder = %self.setup.name, %why, "nothing is fetched until there is room");
        }
        self.upkeep.set_full(true);
        let released = self.index.release_reserve();
        self.note_once(
            "the room kept for the index cannot be given to it",
            released.map_err(Into::into),
        );
    }

    /// The same after a file did not come, if there is no room for it.
    pub(super) fn pause_if_full(&mut self, version: &Version, why: &str) {
        let Content::File { size, .. } = version.content else { return };
        let Ok(disk) = rustix::fs::fstatvfs(self.store.root().dir()) else { return };
        if disk.f_bavail.saturating_mul(disk.f_frsize) < size.get() {
            self.pause_for_room(&why);
        }
    }

    /// Goes on where there is room again.
    pub(super) fn look_for_room(&mut self) {
        if !self.upkeep.is_full() {
            return;
        }
        let Ok(disk) = rustix::fs::fstatvfs(self.store.root().dir()) else { return };
        // The room that is kept for the index comes first.
        if disk.f_bavail > disk.f_blocks / FREE_PART && self.index.take_reserve().is_ok() {
            tracing::info!(folder = %self.setup.name, "there is room again: it goes on");
            self.upkeep.set_full(false);
            // What they told meanwhile found no room.
            let peers: Vec<SiteId> = self.neighbours.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.ask_again(peer));
        }
    }

    /// Whether it still stands where it was; it halts otherwise, before anything is read into what is
    /// there now (F-33).
    pub(super) fn is_where_it_was(&mut self) -> bool {
        let there = self.store.check_marker().map_err(FolderError::from);
        self.note("is not where it was", there);
        !self.upkeep.is_halted()
    }

    /// Keeps room for the index. A disk that has none for it is full.
    pub(super) fn keep_room(&mut self) {
        if let Err(error) = self.index.take_reserve() {
            self.pause_for_room(&error);
        }
    }

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
        let job = PathsJob { job: self.scan_job(stop.clone())?, paths };
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

    /// What was displaced is not kept any more: it is another name of a file that somebody wrote to
    /// since, by a name that still stands.
    fn drop_rewritten(&mut self, loose: &Loose) -> Result<(), FolderError> {
        let meta = self.store.kept_meta(&loose.name)?;
        if meta.is_some_and(|meta| meta.links > 1) {
            tracing::warn!(path = %loose.path, "what was displaced was written to by another name");
            self.store.remove_kept(&loose.name)?;
            self.change(Durability::Later, |state| {
                state.index_mut().forget_kept(&loose.path, &loose.name)?;
                Ok(state.index_mut().forget_loose(&loose.name)?)
            })?;
        }
        Ok(())
    }

    fn take_one_loose(&mut self, name: &str, what: LooseLook) -> Result<(), FolderError> {
        let Some(loose) = self.index.read().loose_one(name)? else { return Ok(()) };
        if matches!(what, LooseLook::Rewritten) {
            return self.drop_rewritten(&loose);
        }
        let LooseLook::Found(found) = what else {
            return self.change(Durability::Later, |state| {
                Ok(state.index_mut().forget_loose(&loose.name)?)
            });
        };
        let (mut found, disk) = *found;
        found.meta.link = loose.over.as_ref().and_then(|over| over.meta.link);
        if let (Some(short), Some(over)) = (&loose.shortfall, &loose.over) {
            let print = self.store.open_kept(&loose.name).ok();
            let print = print.and_then(|file| attrs_print(&file));
            let _ = short.cover(&mut found.meta, &disk, print, &over.meta);
        }
        let (identity, size) = (found.identity, found.identity.size);
        let (keys, public) = (self.identity.clone(), self.public);
        self.change(Durability::Now, |state| {
            let is_link = matches!(found.content, Content::Symlink { .. });
            let over = loose.over.as_ref();
            let version = match state.displaced(&loose.path, found, over, wall_millis())? {
                Ok(version) => version,
                // It is kept, and looked at again.
                Err(Why::ReadOnly) => {
                    // It stays where it is kept; what is written into it is looked for as long as
                    // into anything else.
                    let index = state.index_mut();
                    if let Some(kept) = index.read().kept_as(&loose.path, &loose.name)? {
                        index.write_kept(&Kept { version: None, size, ..kept })?;
                    }
                    let next = Loose { said: Some(identity), ..loose };
                    return Ok(index.write_loose(&next)?);
                }
                Err(why) => {
                    tracing::info!(path = %loose.path, %why, "what was displaced waits");
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
                index.forget_loose(&next.name)?;
            } else {
                index.write_loose(&next)?;
            }
            Ok(())
        })
    }
}
