//! Folders that are being opened, each on a thread of its own: an index of an older format is written
//! anew, one that a power cut may have damaged is compared with itself, and what a stop left half-done
//! is decided, all of which may take minutes, or for ever at a disk that hangs. The loop goes round
//! meanwhile, and so do the other folders (spec: S-181).

use super::folder::{Folder, FolderError, FolderSetup};
use super::halt::{Halt, HaltKind, Halted, RETRY_FIRST};
use super::health::Health;
use super::{Event, Loop};
use crate::events::Said;
use crate::index::IndexError;
use crate::store::is_marked;
use crate::watch::Shown;
use farhaul_api::EventKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::identity::Identity;
use farhaul_sync::seal::FolderKey;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long the end of the loop waits for folders that are being opened: a disk that hangs does not
/// keep the site from stopping, and what is left of an opening is what a kill leaves.
const END_PATIENCE: Duration =
    if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// How often it is looked meanwhile whether they are done.
const END_LOOK: Duration = Duration::from_millis(5);

/// What is done just now to open a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is looked whether it is where it was.
    #[default]
    Looking,
    /// Its disk is opened.
    Disk,
    /// Its index is opened.
    Index,
    /// Its index is written anew in the format of this program: so many rows of so many.
    Migrating { rows: u64, of: u64 },
    /// Its index is compared with itself, if that is due.
    Checking,
    /// The map of its chunks is opened.
    Chunks,
    /// What the last stop left half-done is decided.
    Deciding,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looking | Self::Disk => f.write_str("its disk is looked at"),
            Self::Index => f.write_str("its index is opened"),
            Self::Migrating { rows, of } => {
                write!(f, "its index is written in a new format, {rows} of {of} rows so far")
            }
            Self::Checking => f.write_str("its index is compared with itself"),
            Self::Chunks => f.write_str("the map of its chunks is checked"),
            Self::Deciding => f.write_str("what the last stop left half-done is decided"),
        }
    }
}

/// How far an opening is, and whether anybody still waits for it. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    stop: Stop,
    stage: Arc<Mutex<Stage>>,
}

impl Progress {
    pub(super) fn is_at(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(super) fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it early.
    pub(super) const fn stop(&self) -> &Stop {
        &self.stop
    }
}

/// What came of an opening.
pub(crate) enum Opened {
    Runs(Box<Folder>),
    Fails(FolderError),
    /// It still is not where it was: nothing was tried.
    Elsewhere,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs(_) => "Runs",
            Self::Fails(_) => "Fails",
            Self::Elsewhere => "Elsewhere",
        })
    }
}

impl Opened {
    /// Nobody wants it any more.
    fn end(self) {
        if let Self::Runs(folder) = self {
            folder.close();
        }
    }
}

/// How many folders were not opened yet, for whoever starts a site.
#[derive(Debug, Default)]
pub(super) struct FirstTime {
    left: Mutex<usize>,
    is_less: Condvar,
}

impl FirstTime {
    fn begins(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn is_over(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.is_less.notify_all();
    }

    /// Waits until each was opened or halts, at most so long. Whether that is so.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.is_less.wait_timeout_while(left, patience, |left| *left > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

/// Is told that it was opened, or why not.
type Told = oneshot::Sender<Result<(), String>>;

/// A folder that is being opened. There is one opening of a folder at a time, whoever wants it.
pub(super) struct Opening {
    /// How it is to be once it is open; `None`: it was removed meanwhile.
    wanted: Option<FolderSetup>,
    /// Its configuration changed meanwhile; whether what is left out of it did.
    changed: Option<bool>,
    progress: Progress,
    /// How it halted before.
    before: Option<Halted>,
    /// Who wants to know what came of it.
    told: Vec<Told>,
    /// It is one that was to be there at the start.
    is_first: bool,
    thread: Option<JoinHandle<()>>,
}

impl Opening {
    /// As it is to be; `None`: it was removed.
    pub(super) const fn wanted(&self) -> Option<&FolderSetup> {
        self.wanted.as_ref()
    }

    /// As what it halts, while it is not known whether anything can be tried.
    pub(super) fn still_halts(&self) -> Option<&Halted> {
        self.before.as_ref().filter(|_| self.stage() == Stage::Looking)
    }

    pub(super) fn stage(&self) -> Stage {
        self.progress.stage()
    }

    /// Its configuration changed.
    pub(super) fn want(&mut self, setup: FolderSetup, is_looked_at: bool) {
        let was_looked_at = self.changed.unwrap_or(false);
        self.wanted = Some(setup);
        self.changed = Some(is_looked_at || was_looked_at);
    }

    /// Nobody keeps it any more.
    pub(super) fn leave(&mut self) {
        self.wanted = None;
        self.progress.stop().set();
    }

    /// How many wait for it.
    #[cfg(test)]
    pub(super) fn is_told(&self) -> usize {
        self.told.len()
    }

    /// Is told what comes of it.
    pub(super) fn tell(&mut self) -> oneshot::Receiver<Result<(), String>> {
        let (tell, told) = oneshot::channel();
        self.told.push(tell);
        told
    }
}

/// What is done on the thread.
struct Job {
    setup: FolderSetup,
    identity: Identity,
    events: mpsc::Sender<Event>,
    said: (Health, u64),
    shown: Option<Arc<Shown>>,
    progress: Progress,
    was_elsewhere: bool,
}

impl Job {
    /// Whatever happens in it, the loop hears of its end, and tries it again.
    fn run(self) -> Opened {
        caught(|| self.open())
    }

    fn open(self) -> Opened {
        let Self { setup, identity, events, said, shown, progress, was_elsewhere } = self;
        // A disk that comes back is found at the next look, however long that takes.
        if was_elsewhere && !is_marked(&setup.path) {
            return Opened::Elsewhere;
        }
        match Folder::open(setup, &identity, events, said, &progress) {
            Ok(mut folder) => {
                if let Some(shown) = shown {
                    folder.shown = shown;
                }
                Opened::Runs(Box::new(folder))
            }
            Err(error) => Opened::Fails(error),
        }
    }
}

/// What comes of an opening, also of one that panics: what it held is dropped, as after a kill.
fn caught(open: impl FnOnce() -> Opened) -> Opened {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        Opened::Fails(FolderError::Broken(text.to_owned()))
    })
}

impl Loop {
    fn job(&mut self, setup: FolderSetup, progress: Progress, was_elsewhere: bool) -> Job {
        self.opened += 1;
        Job {
            said: (Health::new(&setup.name, self.log.clone()), self.opened),
            shown: self.shown.get(&setup.key).cloned(),
            identity: self.identity.clone(),
            events: self.events.clone(),
            setup,
            progress,
            was_elsewhere,
        }
    }

    /// Opens the folders that are to be there from the start.
    pub(super) fn open_first(&mut self, folders: Vec<FolderSetup>) {
        for setup in folders {
            let key = setup.key;
            self.shown.entry(key).or_default();
            self.first_time.begins();
            self.begin_to_open(setup, None, true);
        }
    }

    /// Has a folder opened, unless that is under way: [`Event::Opened`] follows.
    pub(super) fn begin_to_open(
        &mut self,
        setup: FolderSetup,
        before: Option<Halted>,
        is_first: bool,
    ) {
        if let Some(opening) = self.opening.get_mut(&setup.key) {
            return opening.want(setup, false);
        }
        self.open_for(setup, before, is_first, Vec::new());
    }

    /// The same for those that wait for what comes of it; it is not under way.
    fn open_for(
        &mut self,
        setup: FolderSetup,
        before: Option<Halted>,
        is_first: bool,
        told: Vec<Told>,
    ) {
        let key = setup.key;
        let progress = Progress::default();
        let is_elsewhere = |halted: &Halted| halted.halt.kind == HaltKind::Elsewhere;
        let was_elsewhere = before.as_ref().is_some_and(is_elsewhere);
        let job = self.job(setup.clone(), progress.clone(), was_elsewhere);
        let (wanted, changed, thread) = (Some(setup), None, None);
        let opening = Opening { wanted, changed, progress, before, told, is_first, thread };
        self.opening.insert(key, opening);
        #[cfg(test)]
        if self.opens_here {
            let outcome = job.run();
            return self.opening_ended(key, outcome);
        }
        let events = self.events.clone();
        let thread = std::thread::Builder::new().name("farhaul-open".to_owned());
        let started = thread.spawn(move || {
            let outcome = job.run();
            if let Err(mpsc::error::SendError(Event::Opened { outcome, .. })) =
                events.blocking_send(Event::Opened { folder: key, outcome })
            {
                outcome.end();
            }
        });
        match started {
            Ok(thread) => {
                if let Some(opening) = self.opening.get_mut(&key) {
                    opening.thread = Some(thread);
                }
            }
            Err(error) => self.opening_ended(key, Opened::Fails(FolderError::Thread(error))),
        }
    }

    /// A folder was opened, or cannot be.
    pub(super) fn opening_ended(&mut self, key: FolderKey, outcome: Opened) {
        let Some(opening) = self.opening.remove(&key) else { return outcome.end() };
        let Opening { wanted, changed, progress, before, told, is_first, .. } = opening;
        let Some(setup) = wanted else {
            if is_first {
                self.first_time.is_over();
            }
            return outcome.end();
        };
        // It was removed and is there again.
        if progress.stop().is_set() {
            outcome.end();
            return self.open_for(setup, None, is_first, told);
        }
        let runs = match outcome {
            Opened::Runs(folder) => {
                self.take_in(*folder);
                if let (Some(is_looked_at), Some(folder)) = (changed, self.folders.get_mut(&key)) {
                    folder.configure(setup, is_looked_at);
                }
                self.rejoin(key);
                Ok(())
            }
            Opened::Fails(error) => {
                let why = error.to_string();
                self.halt_unopened(setup, &error, before);
                Err(why)
            }
            Opened::Elsewhere => {
                let why = before.as_ref().map_or(String::new(), |it| it.halt.reason.clone());
                if let Some(halted) = before {
                    self.halted.insert(key, halted.again_in(setup, RETRY_FIRST));
                }
                Err(why)
            }
        };
        for tell in told {
            let _ = tell.send(runs.clone());
        }
        if is_first {
            self.first_time.is_over();
        }
    }

    /// A folder runs from now on.
    fn take_in(&mut self, folder: Folder) {
        let (key, name) = (folder.setup.key, folder.setup.name.clone());
        let counts = folder.fetching.counts();
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).push(counts);
        if self.show(key, &name, None).is_some() {
            tracing::info!(folder = %name, "was opened again and goes on");
            self.log.say(Said::that(EventKind::Resumed).folder(&name));
        }
        self.folders.insert(key, folder);
    }

    fn halt_unopened(&mut self, setup: FolderSetup, error: &FolderError, before: Option<Halted>) {
        let kind = HaltKind::of(error).unwrap_or(match error {
            FolderError::Index(IndexError::Form { .. }) => HaltKind::Form,
            FolderError::Index(_) => HaltKind::Index,
            _ => HaltKind::Unopened,
        });
        let pause = before.as_ref().map_or(RETRY_FIRST, Halted::next_pause);
        let mut halt = Halt::new(kind, error);
        if let Some(before) = before {
            halt.since = before.halt.since;
        }
        self.halt(setup, halt, pause);
    }

    /// Ends what is under way: the loop is over, and its queue is closed.
    pub(super) fn end_opening(&mut self, queue: &mut mpsc::Receiver<Event>) {
        let opening = std::mem::take(&mut self.opening);
        opening.values().for_each(|opening| opening.progress.stop().set());
        let mut threads: Vec<JoinHandle<()>> =
            opening.into_values().filter_map(|opening| opening.thread).collect();
        let until = Instant::now() + END_PATIENCE;
        while !threads.is_empty() && Instant::now() < until {
            let (ended, running): (Vec<_>, Vec<_>) =
                threads.into_iter().partition(JoinHandle::is_finished);
            ended.into_iter().for_each(|thread| _ = thread.join());
            threads = running;
            if !threads.is_empty() {
                std::thread::sleep(END_LOOK);
            }
        }
        if !threads.is_empty() {
            let left = threads.len();
            tracing::error!(left, "folders are still being opened: their disks do not answer");
        }
        // What was said before the queue was closed.
        while let Ok(event) = queue.try_recv() {
            if let Event::Opened { outcome, .. } = event {
                outcome.end();
            }
        }
    }

    /// As at the start, on this thread, and nothing is woken up.
    #[cfg(test)]
    pub(super) fn open(&mut self, setup: FolderSetup) -> bool {
        match self.job(setup.clone(), Progress::default(), false).run() {
            Opened::Runs(folder) => {
                self.take_in(*folder);
                true
            }
            Opened::Fails(error) => {
                self.halt_unopened(setup, &error, None);
                false
            }
            Opened::Elsewhere => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_that_panics_fails_with_a_reason() {
        for broken in [caught(|| panic!("at {}", 7)), caught(|| panic!("at 7"))] {
            let Opened::Fails(error) = broken else { panic!("it did not open: {broken:?}") };
            assert!(error.to_string().contains("at 7"), "{error}");
        }
        assert!(matches!(caught(|| Opened::Elsewhere), Opened::Elsewhere));
    }
}
