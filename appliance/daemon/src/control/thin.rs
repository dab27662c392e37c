//! Of what was displaced and is kept, more goes the older it is: once an hour a thread says which of
//! it, and the loop removes that (spec: S-045).

use super::Event;
use super::folder::{Folder, FolderError, wall_millis};
use crate::index::{Durability, IndexReader};
use crate::moment::text_of_millis;
use crate::store::retention::Retention;
use crate::store::{Fate, PurgeError, Store};
use farhaul_api::KeptStatus;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long after a round the next one begins.
const EVERY: Duration = Duration::from_hours(1);
/// How long after a folder was opened the first one does: other things come first.
const FIRST_AFTER: Duration = Duration::from_mins(1);
/// By how much the clock may have gone on from one round to the next, in seconds: one that jumps
/// ahead by years must not make everything old (F-11).
const CLOCK_STEP: u64 = 24 * 3600;
/// Rows read at a time.
const PAGE: usize = 1024;
/// Versions that are removed at a time.
const BATCH: usize = 256;
/// Versions that one round removes for want of room.
const FOR_ROOM_MAX: usize = 10_000;

/// How the versions of a folder are thinned out.
#[derive(Debug)]
pub(super) struct Thinning {
    runs: Option<Stop>,
    due: Instant,
    status: KeptStatus,
}

impl Default for Thinning {
    fn default() -> Self {
        let status = KeptStatus::default();
        Self { runs: None, due: Instant::now() + FIRST_AFTER, status }
    }
}

impl Thinning {
    pub(super) fn stop(&self) {
        self.runs.iter().for_each(Stop::set);
    }

    #[cfg(test)]
    pub(super) const fn is_busy(&self) -> bool {
        self.runs.is_some()
    }

    #[cfg(test)]
    pub(super) fn begin_now(&mut self) {
        self.due = Instant::now();
    }

    /// For those who ask.
    pub(super) fn status(&self) -> KeptStatus {
        self.status.clone()
    }
}

/// What is kept after a round, but for what the loop refuses to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    versions: u64,
    bytes: Bytes,
    /// The moment by which the round went, in seconds since 1970.
    now_secs: u64,
}

/// Goes through all that is kept.
struct ThinJob {
    folder: FolderKey,
    store: Store,
    reader: IndexReader,
    retention: Retention,
    now_secs: u64,
    stop: Stop,
    events: mpsc::Sender<Event>,
}

impl ThinJob {
    /// Runs in a thread of its own.
    fn run(self) {
        let outcome = self.look();
        let _ = self.events.blocking_send(Event::Thinned { folder: self.folder, outcome });
    }

    /// What is left; `None`: it was stopped.
    fn look(&self) -> Result<Option<Left>, String> {
        let mut left = Left { now_secs: self.now_secs, ..Left::default() };
        let mut gone = Vec::new();
        // The oldest of those that may go for room: the newest of them is on top.
        let mut oldest: BinaryHeap<(u64, RelPath, String, u64)> = BinaryHeap::new();
        let mut after: Option<RelPath> = None;
        loop {
            let page = self.reader.read().kept_from(after.as_ref(), PAGE);
            let mut paths: Vec<RelPath> =
                page.map_err(text_of)?.into_iter().map(|kept| kept.path).collect();
            paths.dedup();
            let Some(last) = paths.last() else { break };
            after = Some(last.clone());
            for path in paths {
                if self.stop.is_set() {
                    return Ok(None);
                }
                let (now, age) = (self.now_secs, self.retention.age);
                let fates = self.store.fates(self.reader.read(), &path, now, age);
                for (kept, fate) in fates.map_err(text_of)? {
                    if fate == Fate::Expired {
                        gone.push((kept.path, kept.name));
                        continue;
                    }
                    left.versions += 1;
                    left.bytes += Bytes::new(kept.size);
                    if fate == Fate::Stays && self.retention.room.is_some() {
                        oldest.push((kept.at_secs, kept.path, kept.name, kept.size));
                        if oldest.len() > FOR_ROOM_MAX {
                            oldest.pop();
                        }
                    }
                }
                self.say(&mut gone, BATCH)?;
            }
        }
        for (_, path, name, size) in oldest.into_sorted_vec() {
            if self.retention.room.is_none_or(|room| left.bytes <= room) {
                break;
            }
            left.versions -= 1;
            left.bytes = left.bytes.saturating_sub(Bytes::new(size));
            gone.push((path, name));
        }
        self.say(&mut gone, 1)?;
        Ok(Some(left))
    }

    /// Tells the loop of what is to go, once there is `enough` of it.
    fn say(&self, gone: &mut Vec<(RelPath, String)>, enough: usize) -> Result<(), String> {
        while gone.len() >= enough {
            let later = gone.split_off(gone.len().min(BATCH));
            let expired = core::mem::replace(gone, later);
            let event = Event::Expired { folder: self.folder, expired, now_secs: self.now_secs };
            self.events.blocking_send(event).map_err(|_| "this site stops".to_owned())?;
        }
        Ok(())
    }
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What time it is for those who remove by age: the clock of this machine, unless it is further ahead
/// of the last round than it may be.
fn believed(wall_secs: u64, last: Option<u64>) -> u64 {
    last.map_or(wall_secs, |last| wall_secs.min(last.saturating_add(CLOCK_STEP)))
}

impl Folder {
    /// Begins a round if one is due.
    pub(super) fn keep_thinning(&mut self) {
        let waits = self.is_paused || self.upkeep.is_halted();
        if waits || self.thinning.runs.is_some() || Instant::now() < self.thinning.due {
            return;
        }
        self.thinning.due = Instant::now() + EVERY;
        let begun = self.begin_thinning();
        self.note("what is kept cannot be looked through", begun);
    }

    fn begin_thinning(&mut self) -> Result<(), FolderError> {
        let now_secs = believed(wall_millis() / 1000, self.index.read().thinned()?);
        let stop = Stop::default();
        let job = ThinJob {
            folder: self.setup.key,
            store: self.store.clone(),
            reader: self.index.reader()?,
            retention: self.setup.retention,
            now_secs,
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-thin".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        self.thinning.runs = Some(stop);
        Ok(())
    }

    /// Versions are to go, unless something needs them by now.
    pub(super) fn expired(&mut self, expired: Vec<(RelPath, String)>, now_secs: u64) {
        if self.is_paused {
            return;
        }
        let removed = self.remove_expired(expired, now_secs).map_err(|error| match error {
            PurgeError::Store(error) => FolderError::from(error),
            PurgeError::Index(error) => error.into(),
        });
        self.note("what is kept cannot be removed", removed);
    }

    fn remove_expired(
        &mut self,
        expired: Vec<(RelPath, String)>,
        now_secs: u64,
    ) -> Result<(), PurgeError> {
        let (total, mut removed) = (expired.len(), 0);
        let mut rest = expired.into_iter().peekable();
        while let Some((path, name)) = rest.next() {
            let mut names = vec![name];
            while let Some((_, name)) = rest.next_if(|(next, _)| *next == path) {
                names.push(name);
            }
            removed += self.store.purge(&mut self.index, &path, &names, now_secs)?;
        }
        tracing::debug!(folder = %self.setup.name, removed, total, "old versions are removed");
        Ok(())
    }

    /// A round is over.
    pub(super) fn thinned(&mut self, outcome: Result<Option<Left>, String>) {
        self.thinning.runs = None;
        match outcome {
            Ok(Some(left)) => {
                self.thinning.status = KeptStatus {
                    versions: left.versions,
                    bytes: left.bytes.get(),
                    counted: Some(text_of_millis(wall_millis())),
                };
                let kept = self.keep_thinned(left.now_secs);
                self.note("when versions were looked through cannot be kept", kept);
            }
            Ok(None) => {}
            Err(why) => {
                tracing::warn!(folder = %self.setup.name, why, "versions are looked through later");
            }
        }
    }

    fn keep_thinned(&mut self, secs: u64) -> Result<(), FolderError> {
        let mut keeping = self.index.begin(Durability::Later)?;
        keeping.set_thinned(secs)?;
        let age = self.setup.retention.age.map(|age| secs.saturating_sub(age.as_secs()));
        keeping.thin_elsewhere(age)?;
        keeping.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_to_go_on_by_a_day_at_most() {
        assert_eq!(believed(1000, None), 1000);
        assert_eq!(believed(1000 + CLOCK_STEP, Some(1000)), 1000 + CLOCK_STEP);
        assert_eq!(believed(u64::MAX, Some(1000)), 1000 + CLOCK_STEP);
        assert_eq!(believed(10, Some(1000)), 10);
    }
}
