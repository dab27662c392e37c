//! A folder that is watched: the threads that hear and look, what they say of themselves, and when
//! all of it is scanned.

use super::Event;
use super::folder::{Folder, FolderError, SCAN_AGAIN};
use super::live::LiveJob;
use super::look::ScanJob;
use crate::events::Said;
use crate::watch::{self, By, Coverage, LastScan, Notice, Queue, Wake, WatchMode, Watched};
use farhaul_api::EventKind;
use farhaul_engine::files::stop::Stop;
use farhaul_sync::seal::FolderKey;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Between the end of a scan and one that is begun because changes were lost.
const SCAN_GAP: Duration = Duration::from_secs(5);
/// How much longer than a scan that failed the pause before the next one is.
const SCAN_REST: u32 = 10;
/// For how long a scan waits until a folder is watched.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// How often what is not watched is looked through: a part of the interval of scans, within these.
const UNWATCHED_PART: u32 = 12;
const UNWATCHED_MIN: Duration = Duration::from_secs(10);
const UNWATCHED_MAX: Duration = Duration::from_secs(300);

/// What the thread that hears says of itself.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Changes are heard of from now on.
    Began { by: By, coverage: Coverage, why: Option<String> },
    /// It covers more or less than before.
    Covers(Coverage),
    /// Too many changes came at once: some were not heard of.
    Overflow,
    /// All is to be looked at, because parts of it are not watched.
    Whole,
    /// Nothing is heard of any more, or never was.
    Ended(String),
}

/// The threads of a folder that is watched. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Ears {
    queue: Arc<Queue>,
    wake: Wake,
    stop: Stop,
}

#[cfg(test)]
impl Ears {
    /// As if it had been heard.
    fn note(&self, notices: &[Notice]) {
        for notice in notices {
            assert!(!self.queue.note(notice));
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.stop.set();
        self.queue.close();
        self.wake.wake();
    }
}

impl Folder {
    /// Begins: to watch, and to scan once that is so; at once where nothing watches.
    pub(super) fn wake_up(&mut self) {
        if self.is_paused {
            return;
        }
        if self.setup.watch == WatchMode::Off {
            self.shown.set(|shown| {
                (shown.by, shown.coverage) = (By::Nothing, Coverage::default());
                shown.why = Some("it is switched off".to_owned());
            });
            return self.scan();
        }
        match self.listen() {
            Ok(ears) => {
                self.ears = Some(ears);
                // It is scanned once that is so, and not once more before.
                self.next_scan = self.next_scan.max(Instant::now() + BEGIN_MAX);
            }
            Err(error) => {
                tracing::error!(folder = %self.setup.name, %error, "is not watched");
                self.shown.set(|shown| shown.why = Some(error.to_string()));
                self.scan();
            }
        }
    }

    fn listen(&self) -> Result<Ears, FolderError> {
        let limits = self.setup.watch_limits;
        let queue = Arc::new(Queue::new(limits.paths));
        let wake = Wake::new().map_err(|errno| FolderError::Thread(errno.into()))?;
        let stop = Stop::default();
        let ears = Ears { queue: Arc::clone(&queue), wake: wake.clone(), stop: stop.clone() };
        let job = self.scan_job(stop)?;
        let (root, rules) = (job.root.clone(), job.rules.clone());
        let live = LiveJob { job, queue: Arc::clone(&queue) };
        let thread = std::thread::Builder::new().name("farhaul-look".to_owned());
        thread.spawn(move || live.run()).map_err(FolderError::Thread)?;
        let cover_every =
            (self.setup.scan_every / UNWATCHED_PART).clamp(UNWATCHED_MIN, UNWATCHED_MAX);
        let listener = Listener {
            folder: self.setup.key,
            mode: self.setup.watch,
            watched: Watched { root, rules, limits },
            queue,
            wake,
            stop: ears.stop.clone(),
            events: self.events.clone(),
            cover_every,
        };
        let thread = std::thread::Builder::new().name("farhaul-watch".to_owned());
        thread.spawn(move || listener.run()).map_err(FolderError::Thread)?;
        Ok(ears)
    }

    /// What a scan, or a thread that looks, works with.
    pub(super) fn scan_job(&self, stop: Stop) -> Result<ScanJob, FolderError> {
        Ok(ScanJob {
            folder: self.setup.key,
            root: self.store.root().clone(),
            keys: Arc::clone(&self.keys),
            contents: self.contents.clone(),
            rules: self.setup.rules.clone(),
            reader: self.index.reader()?,
            principals: Arc::clone(self.store.principals()),
            stop,
            events: self.events.clone(),
        })
    }

    /// The thread that hears says something of itself.
    pub(super) fn watcher_said(&mut self, heard: Heard) {
        let name = self.setup.name.clone();
        match heard {
            Heard::Began { by, coverage, why } => {
                tracing::info!(folder = %name, %by, watches = coverage.watches, "is watched");
                warn_of_gaps(&name, coverage);
                self.shown.set(|shown| (shown.by, shown.coverage, shown.why) = (by, coverage, why));
                self.scan();
            }
            Heard::Covers(coverage) => {
                if self.shown.get().coverage.unwatched != coverage.unwatched {
                    warn_of_gaps(&name, coverage);
                }
                self.shown.set(|shown| shown.coverage = coverage);
            }
            Heard::Overflow => {
                tracing::warn!(folder = %name, "changes came too fast to be heard; it is scanned");
                self.shown.set(|shown| {
                    shown.overflows += 1;
                    shown.last_overflow = Some(SystemTime::now());
                });
                self.scan_soon();
            }
            Heard::Whole => self.scan_soon(),
            Heard::Ended(why) => {
                tracing::warn!(folder = %name, why, "is not watched; changes are found by scans");
                self.ears = None;
                self.shown.set(|shown| {
                    (shown.by, shown.coverage) = (By::Nothing, Coverage::default());
                    shown.why = Some(why);
                });
                self.scan_soon();
            }
        }
    }

    /// Scans all of it, once for everything that asks for it meanwhile.
    fn scan_soon(&mut self) {
        if self.is_scanning() {
            self.is_scan_due_again = true;
            return;
        }
        let soonest = self.last_scan.map_or_else(Instant::now, |last| last + SCAN_GAP);
        if soonest <= Instant::now() {
            self.scan();
        } else {
            self.next_scan = self.next_scan.min(soonest);
        }
    }

    /// A scan came to its end, or did not.
    pub(super) fn scanned(&mut self, outcome: Result<(), String>, read: u64) {
        let now = Instant::now();
        if read > 0 {
            tracing::info!(folder = %self.setup.name, files = read, "were read by the scan");
        }
        self.end_scan();
        self.last_scan = Some(now);
        self.next_scan = now + jittered(self.setup.scan_every);
        if std::mem::take(&mut self.is_scan_due_again) {
            self.next_scan = self.next_scan.min(now + SCAN_GAP);
        }
        if self.scans_again {
            self.next_scan = now;
        }
        let was_stopped = std::mem::take(&mut self.scans_again) || self.is_paused;
        self.health.scanned(outcome.is_ok());
        let ended = Said::that(EventKind::ScanEnded);
        self.health.say(outcome.as_ref().err().map_or(ended.clone(), |why| ended.text(why)));
        let is_whole = outcome.is_ok();
        if is_whole {
            self.upkeep.scanned();
        }
        let failed = outcome.err().filter(|_| !was_stopped);
        self.health.went("the scan did not come to its end", failed.clone());
        // What is gone with its disk was not deleted: nothing more is taken in of it.
        let there = self.store.check_there().map_err(FolderError::from);
        self.note("is not where it was", there);
        if let Some(why) = &failed {
            tracing::warn!(folder = %self.setup.name, why, "the scan did not come to its end");
            // What was in its way may be gone, and until then nobody knows what is in sync.
            let pause = SCAN_AGAIN.max(self.health.scan_took() * SCAN_REST);
            self.next_scan = self.next_scan.min(now + pause);
        }
        let last = LastScan { at: SystemTime::now(), failed };
        self.shown.set(|shown| shown.last_scan = Some(last));
        if is_whole {
            self.begin_mending();
        }
    }
}

fn warn_of_gaps(folder: &str, coverage: Coverage) {
    let Coverage { watches, unwatched } = coverage;
    if unwatched > 0 {
        let advice = "raise fs.inotify.max_user_watches";
        tracing::warn!(folder, watches, unwatched, advice, "directories are not watched");
    }
}

/// A quarter more or less, so that folders and sites do not keep step.
fn jittered(span: Duration) -> Duration {
    let mut random = [0; 2];
    // Without any, it is the middle.
    let part = match SystemRandom::new().fill(&mut random) {
        Ok(()) => u32::from(u16::from_be_bytes(random)),
        Err(_) => 1 << 15,
    };
    span.mul_f64(0.75 + f64::from(part) / f64::from(1 << 17))
}

/// The thread that hears.
struct Listener {
    folder: FolderKey,
    mode: WatchMode,
    watched: Watched,
    queue: Arc<Queue>,
    wake: Wake,
    stop: Stop,
    events: mpsc::Sender<Event>,
    cover_every: Duration,
}

impl Listener {
    fn run(self) {
        if let Err(why) = self.listen() {
            self.say(Heard::Ended(why));
        }
    }

    fn say(&self, heard: Heard) {
        // Nobody hears it once the site stops.
        let _ = self.events.blocking_send(Event::Heard {
            folder: self.folder,
            ended: self.stop.clone(),
            heard,
        });
    }

    fn listen(&self) -> Result<(), String> {
        let started = watch::start(self.mode, &self.watched).map_err(|error| error.to_string())?;
        let (mut watcher, why) = started;
        let mut coverage = watcher.coverage();
        self.say(Heard::Began { by: watcher.by(), coverage, why });
        let mut covered = Instant::now();
        while !self.stop.is_set() {
            let mut told = Vec::new();
            let patience = self.cover_every.saturating_sub(covered.elapsed());
            let waited = watcher.wait(&self.wake, patience, &mut |notice| told.push(notice));
            if covered.elapsed() >= self.cover_every {
                watcher.cover(&mut |notice| told.push(notice));
                covered = Instant::now();
            }
            let (mut is_lost, mut is_whole) = (false, false);
            for notice in told {
                let is_too_much = self.queue.note(&notice);
                is_whole |= notice == Notice::Whole;
                is_lost |= is_too_much && notice != Notice::Whole;
            }
            if is_lost {
                self.say(Heard::Overflow);
            } else if is_whole {
                self.say(Heard::Whole);
            }
            let now = watcher.coverage();
            if now.unwatched != coverage.unwatched {
                self.say(Heard::Covers(now));
            }
            coverage = now;
            waited.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
