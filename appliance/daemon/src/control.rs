//! The control loop: the one place where folders change. Whatever happens comes as an event over one
//! bounded queue; looking, hashing and carrying are done elsewhere, and come back as events.

mod again;
mod alarm;
mod ask;
mod beat;
mod borrow;
mod compare;
mod configure;
mod contents;
mod copying;
mod doubts;
mod fetch;
mod fetching;
mod folder;
mod forget;
mod give;
mod givers;
mod guards;
mod halt;
mod health;
mod hear;
mod holders;
mod jobs;
mod lacks;
mod large;
mod links;
mod listen;
mod live;
mod look;
mod mending;
mod naming;
mod opening;
mod patience;
mod question;
mod recover;
mod revise;
mod rooted;
mod rot;
mod scrub;
mod service;
mod setup;
mod sift;
mod swarm;
mod tell;
mod thin;
mod turns;
mod upkeep;
mod waiting;
mod watching;
mod why;
mod work;

pub use ask::{AskError, Asker, FolderFacts, PeerFacts, Reader};
pub use beat::Beat;
pub use borrow::{Piece, Pieces};
pub use compare::Agreement;
pub use fetching::ContentCounts;
pub use folder::{FolderError, FolderSetup};
pub use halt::{FolderCondition, Halt, HaltKind};
pub use holders::Holders;
pub(crate) use jobs::PLAN_KEPT;
pub use jobs::{JobFacts, JobRefused, JobsSetup, Planned, SiteProgress};
pub use revise::Revision;
pub(crate) use service::note_unkept;
pub(crate) use why::task_of;

use crate::events::{Events, Said};
use crate::site::{FromPeer, JobShares, PeerEvent};
use crate::store::Ready;
use crate::watch::{Shown, Watching};
use alarm::Alarm;
use farhaul_api::EventKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::identity::Identity;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Found;
use farhaul_sync::job::Frozen;
use farhaul_sync::message::{Message, Shared};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Version;
use folder::Folder;
use halt::{Conditions, Halted};
use jobs::Jobs;
use opening::{FirstTime, Opening};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use watching::Heard;

/// Events that wait at most: whoever has more to say waits.
const EVENTS_MAX: usize = 1024;
/// How often what did not work is tried again.
const TICK: Duration = Duration::from_secs(2);
/// How long who starts folders waits for them.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Events that are taken in before what follows from them is done.
const BATCH: usize = 1024;

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session says something.
    Peer(PeerEvent),
    /// A tree of a job was counted, as its index was at that number.
    JobCounted { folder: FolderKey, seq: u64, counted: Result<Frozen, String> },
    /// A tree of a job became visible.
    JobSwitched { folder: FolderKey, at: String, switched: Result<jobs::Activated, jobs::Undone> },
    /// The hook before a job reads a tree has ended.
    JobHooked { folder: FolderKey, at: String, run: u64, ended: Result<(), jobs::Undone> },
    /// Somebody looked at a path; `None`: nothing stands there.
    Looked { folder: FolderKey, path: RelPath, found: Option<Found> },
    /// Somebody looked at a path, and the disk does not give what stands there.
    Unread { folder: FolderKey, path: RelPath, why: String },
    /// Paths were looked at again.
    LookedAgain { folder: FolderKey },
    /// What was displaced was looked at.
    Loose { folder: FolderKey, seen: Vec<again::SeenLoose> },
    /// All of it was; whether some is to be looked at again.
    LooseLooked { folder: FolderKey, outcome: Result<bool, String> },
    /// A scan came to its end, or did not, and read so many files.
    Scanned { folder: FolderKey, outcome: Result<(), String>, read: u64 },
    /// Files were read again.
    Scrubbed { folder: FolderKey, seen: rot::Scrubbed },
    /// All of them were, or somebody stopped it.
    ScrubEnded { folder: FolderKey, outcome: Result<bool, String> },
    /// Versions that are kept are to go.
    Expired { folder: FolderKey, expired: Vec<(RelPath, String)>, now_secs: u64 },
    /// All that is kept was looked through, or somebody stopped it.
    Thinned { folder: FolderKey, outcome: Result<Option<thin::Left>, String> },
    /// What a disk did not take of versions may be taken by now.
    Mendable { folder: FolderKey, paths: Vec<(RelPath, crate::store::Lacks)> },
    /// All of that was gone through, or it goes on from there after the next scan.
    MendingEnded { folder: FolderKey, after: Option<RelPath> },
    /// Who watches a folder says something of itself; it counts for nothing once `ended` is set, for
    /// somebody else watches since then.
    Heard { folder: FolderKey, ended: Stop, heard: Heard },
    /// A folder was opened, or cannot be.
    Opened { folder: FolderKey, outcome: opening::Opened },
    /// A content came, or did not.
    Fetched {
        folder: FolderKey,
        path: RelPath,
        version: Box<Version>,
        ready: Result<Ready, String>,
    },
    /// A site gave bytes that are something else, or says what cannot be.
    Accused { folder: FolderKey, peer: SiteId, why: &'static str },
    /// What was to be copied to a path is elsewhere by now.
    MovedOn { folder: FolderKey, path: RelPath },
    /// There is more to do than was done at once.
    More,
    /// All folders are to be scanned now.
    Rescan,
    /// Somebody asks something, or orders it.
    Command(ask::Command),
    /// Time has passed: what did not work before may work now.
    Tick,
    /// The end.
    Stop,
}

/// Where an event may make possible what was not: all that is to be done there is gone through.
enum Furthers {
    Nothing,
    One(FolderKey),
    All,
}

impl Event {
    const fn furthers(&self) -> Furthers {
        match self {
            Self::Peer(PeerEvent { what, .. }) => match what {
                // What peers ask, have taken in or compare is about what is here.
                FromPeer::Asked { .. }
                | FromPeer::Stored { .. }
                | FromPeer::Compared { .. }
                | FromPeer::Incomparable { .. }
                | FromPeer::Freed
                | FromPeer::Job { .. }
                | FromPeer::Swarm { .. }
                | FromPeer::Twice { .. } => Furthers::Nothing,
                FromPeer::Records { folder, .. } => Furthers::One(*folder),
                FromPeer::Up { .. } | FromPeer::Down { .. } | FromPeer::Shares { .. } => {
                    Furthers::All
                }
            },
            // Files that come make room for others of their kind, which wait for that.
            Self::Fetched { .. }
            | Self::MovedOn { .. }
            | Self::Accused { .. }
            | Self::Opened { .. }
            | Self::JobCounted { .. }
            | Self::JobSwitched { .. }
            | Self::JobHooked { .. }
            | Self::Stop => Furthers::Nothing,
            Self::Looked { folder, .. }
            | Self::Unread { folder, .. }
            | Self::LookedAgain { folder }
            | Self::Loose { folder, .. }
            | Self::LooseLooked { folder, .. }
            | Self::Scanned { folder, .. }
            | Self::Scrubbed { folder, .. }
            | Self::ScrubEnded { folder, .. }
            | Self::Expired { folder, .. }
            | Self::Thinned { folder, .. }
            | Self::Mendable { folder, .. }
            | Self::MendingEnded { folder, .. }
            | Self::Heard { folder, .. } => Furthers::One(*folder),
            Self::More | Self::Rescan | Self::Command(_) | Self::Tick => Furthers::All,
        }
    }
}

/// A running control loop. Dropping it stops it.
#[derive(Debug)]
pub struct Control {
    events: mpsc::Sender<Event>,
    asker: Asker,
    thread: Option<JoinHandle<()>>,
    conditions: Conditions,
    shown: BTreeMap<FolderKey, Arc<Shown>>,
    counts: Counted,
    first_time: Arc<FirstTime>,
    job_shares: JobShares,
}

impl Control {
    /// Opens the folders and runs them. One that cannot be opened halts, and is tried again; the
    /// others run. Returns when each was opened or halts; one whose disk does not answer is waited for
    /// a minute.
    ///
    /// # Errors
    /// [`FolderError::Thread`].
    pub fn start(identity: &Identity, folders: Vec<FolderSetup>) -> Result<Self, FolderError> {
        let control = Self::start_telling(identity, folders, Events::default())?;
        control.is_open_within(START_PATIENCE);
        Ok(control)
    }

    /// As [`Control::start`], and waits for nothing; what happens is said to `log`.
    ///
    /// # Errors
    /// As there.
    pub fn start_telling(
        identity: &Identity,
        folders: Vec<FolderSetup>,
        log: Events,
    ) -> Result<Self, FolderError> {
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let asker = Asker::new(&events, log.clone());
        let mut body = Loop::new(identity, events.clone(), (log, Arc::clone(asker.beat())));
        body.open_first(folders);
        let (shown, job_shares) = (body.shown.clone(), body.job_shares());
        let conditions = Arc::clone(&body.conditions);
        let (counts, first_time) = (Arc::clone(&body.counts), Arc::clone(&body.first_time));
        let (ticks, alarm) = (events.clone(), Arc::clone(&body.alarm));
        let ticker = std::thread::Builder::new().name("farhaul-tick".to_owned());
        ticker.spawn(move || tick(&ticks, &alarm)).map_err(FolderError::Thread)?;
        let thread = std::thread::Builder::new().name("farhaul-control".to_owned());
        let thread = thread.spawn(move || body.run(queue)).map_err(FolderError::Thread)?;
        let thread = Some(thread);
        Ok(Self { events, asker, thread, conditions, shown, counts, first_time, job_shares })
    }

    /// Waits until each folder was opened or halts, at most so long. Whether that is so; those of which
    /// it is not go on being opened.
    pub fn is_open_within(&self, patience: Duration) -> bool {
        self.first_time.wait(patience)
    }

    /// How each folder is, by name; but for those that are being opened for the first time.
    pub fn conditions(&self) -> Vec<FolderCondition> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<FolderCondition> = conditions.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Where sessions say what happens; must be called within a tokio runtime.
    pub fn hears_sessions(&self) -> mpsc::Sender<PeerEvent> {
        let (said, mut hear) = mpsc::channel(EVENTS_MAX);
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(event) = hear.recv().await {
                if events.send(Event::Peer(event)).await.is_err() {
                    return;
                }
            }
        });
        said
    }

    /// Where those who divide links hear what jobs are to get.
    pub fn job_shares(&self) -> JobShares {
        self.job_shares.clone()
    }

    /// How a folder is watched at this moment; `None` for one that is not kept here.
    pub fn watching(&self, folder: FolderKey) -> Option<Watching> {
        self.shown.get(&folder).map(|shown| shown.get())
    }

    /// What was brought since the start, of all folders together.
    pub fn content_counts(&self) -> ContentCounts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|counts| counts.now()).sum()
    }

    /// Where questions are asked and orders given; it outlives the loop, and is told then that it
    /// is over.
    pub const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Scans all folders now.
    ///
    /// # Errors
    /// The loop is over.
    pub async fn rescan(&self) -> io::Result<()> {
        self.events.send(Event::Rescan).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let events = self.events.clone();
        // Not from within a runtime's own thread: the loop may be a while at a disk.
        let stop = std::thread::spawn(move || events.blocking_send(Event::Stop).is_ok());
        let _ = stop.join();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says that time has passed, until nobody hears it.
fn tick(events: &mpsc::Sender<Event>, alarm: &Alarm) {
    let mut next = Instant::now() + TICK;
    while !events.is_closed() {
        let event = if alarm.wait(next) {
            Event::More
        } else {
            next = Instant::now() + TICK;
            Event::Tick
        };
        // A loop that has other things to do needs no reminder.
        let _ = events.try_send(event);
    }
}

/// What was brought into the folders.
type Counted = Arc<Mutex<Vec<Arc<fetch::Counts>>>>;

pub(crate) struct Loop {
    identity: Identity,
    events: mpsc::Sender<Event>,
    folders: BTreeMap<FolderKey, Folder>,
    halted: BTreeMap<FolderKey, Halted>,
    opening: BTreeMap<FolderKey, Opening>,
    first_time: Arc<FirstTime>,
    outboxes: BTreeMap<SiteId, crate::site::Outbox>,
    /// What connected peers said last of folders of ours.
    offers: BTreeMap<(SiteId, FolderKey), Shared>,
    conditions: Conditions,
    /// How each is watched.
    shown: BTreeMap<FolderKey, Arc<Shown>>,
    /// What was brought, each time a folder was opened.
    counts: Counted,
    log: Events,
    beat: Arc<Beat>,
    alarm: Arc<Alarm>,
    jobs: Jobs,
    /// How many folders were opened so far.
    opened: u64,
    /// Folders are opened on this very thread.
    #[cfg(test)]
    opens_here: bool,
}

impl Loop {
    fn new(
        identity: &Identity,
        events: mpsc::Sender<Event>,
        (log, beat): (Events, Arc<Beat>),
    ) -> Self {
        Self {
            identity: identity.clone(),
            events,
            folders: BTreeMap::new(),
            halted: BTreeMap::new(),
            opening: BTreeMap::new(),
            first_time: Arc::default(),
            outboxes: BTreeMap::new(),
            offers: BTreeMap::new(),
            conditions: Conditions::default(),
            shown: BTreeMap::new(),
            counts: Counted::default(),
            log,
            beat,
            alarm: Arc::default(),
            jobs: Jobs::default(),
            opened: 0,
            #[cfg(test)]
            opens_here: false,
        }
    }

    fn run(&mut self, mut queue: mpsc::Receiver<Event>) {
        'running: while let Some(event) = queue.blocking_recv() {
            let mut events = vec![event];
            while events.len() < BATCH
                && let Ok(event) = queue.try_recv()
            {
                events.push(event);
            }
            for event in events {
                if matches!(event, Event::Stop) {
                    break 'running;
                }
                self.take(event);
            }
            // What follows is done once for all of them.
            self.folders.values_mut().for_each(Folder::go_on);
            self.jobs_go_on();
            self.put_halted_aside();
            self.show_troubles();
            if let Some(at) = self.folders.values_mut().filter_map(Folder::take_again).min() {
                self.alarm.ring_at(at);
            }
            self.beat.is_round();
        }
        // Whoever still has something to say must not wait for us, who wait for them.
        queue.close();
        for (_, folder) in std::mem::take(&mut self.folders) {
            folder.close();
        }
        self.end_opening(&mut queue);
    }

    fn take(&mut self, event: Event) {
        match event.furthers() {
            Furthers::Nothing => {}
            Furthers::One(folder) => self.with(folder, |folder| folder.going.is_due()),
            Furthers::All => self.folders.values_mut().for_each(|folder| folder.going.is_due()),
        }
        match event {
            Event::Peer(PeerEvent { what, room: _room }) => self.heard(what),
            Event::Looked { folder, path, found } => {
                self.with(folder, |folder| folder.looked(path, found));
            }
            Event::Unread { folder, path, why } => {
                self.with(folder, |folder| folder.health.unread(&path, &why));
            }
            Event::LookedAgain { folder } => self.with(folder, Folder::looked_again),
            Event::Loose { folder, seen } => self.with(folder, |folder| folder.take_loose(seen)),
            Event::LooseLooked { folder, outcome } => {
                self.with(folder, |folder| folder.loose_looked(outcome));
            }
            Event::Scanned { folder, outcome, read } => {
                self.with(folder, |folder| folder.scanned(outcome, read));
            }
            Event::Scrubbed { folder, seen } => self.with(folder, |folder| folder.scrubbed(seen)),
            Event::ScrubEnded { folder, outcome } => {
                self.with(folder, |folder| folder.scrub_ended(outcome));
            }
            Event::Expired { folder, expired, now_secs } => {
                self.with(folder, |folder| folder.expired(expired, now_secs));
            }
            Event::Thinned { folder, outcome } => {
                self.with(folder, |folder| folder.thinned(outcome));
            }
            Event::Mendable { folder, paths } => self.with(folder, |folder| folder.mend(paths)),
            Event::MendingEnded { folder, after } => {
                self.with(folder, |folder| folder.mending_ended(after));
            }
            Event::Heard { folder, ended, heard } => {
                if !ended.is_set() {
                    self.with(folder, |folder| folder.watcher_said(heard));
                }
            }
            Event::Opened { folder, outcome } => self.opening_ended(folder, outcome),
            Event::Fetched { folder, path, version, ready } => {
                self.with(folder, |folder| folder.fetched(path, *version, ready));
            }
            Event::Accused { folder, peer, why } => {
                self.with(folder, |folder| folder.accused(peer, why));
            }
            Event::MovedOn { folder, path } => self.with(folder, |folder| folder.moved_on(&path)),
            Event::Command(command) => command.act(self),
            Event::JobCounted { folder, seq, counted } => self.job_counted(folder, seq, counted),
            Event::JobSwitched { folder, at, switched } => {
                self.job_switched(folder, (&at, switched));
            }
            Event::JobHooked { folder, at, run, ended } => {
                self.job_hooked(folder, (&at, run, ended));
            }
            Event::Rescan => self.folders.values_mut().for_each(Folder::scan_anew),
            Event::Tick => {
                self.retry_halted();
                self.folders.values_mut().for_each(Folder::tick);
            }
            Event::More | Event::Stop => {}
        }
    }

    fn with(&mut self, folder: FolderKey, act: impl FnOnce(&mut Folder)) {
        // One that was removed from the configuration has no business here any more.
        if let Some(folder) = self.folders.get_mut(&folder) {
            act(folder);
        }
    }

    /// Whether a folder is kept here, however it is just now.
    fn keeps(&self, key: FolderKey) -> bool {
        let is_opened = self.opening.get(&key).is_some_and(|it| it.wanted().is_some());
        is_opened || self.folders.contains_key(&key) || self.halted.contains_key(&key)
    }

    /// With whom a folder is shared that does not run just now.
    fn shared_later(&self, key: FolderKey) -> Option<&FolderSetup> {
        let halted = self.halted.get(&key).map(|halted| &halted.setup);
        halted.or_else(|| self.opening.get(&key).and_then(Opening::wanted))
    }

    fn heard(&mut self, event: FromPeer) {
        match event {
            FromPeer::Up { peer, outbox } => {
                self.log.say(Said::that(EventKind::PeerUp).peer(peer));
                let shared = self.folders.values().filter_map(|folder| folder.share_with(peer));
                let share = Message::Share { folders: shared.collect() };
                let _ = outbox.send(crate::site::Outgoing::Say(share));
                self.outboxes.insert(peer, outbox);
                self.jobs_meet(peer);
            }
            FromPeer::Down { peer, outbox } => {
                let is_current = self.outboxes.get(&peer).is_some_and(|now| now.is_same(&outbox));
                if is_current {
                    self.outboxes.remove(&peer);
                    self.offers.retain(|(from, _), _| *from != peer);
                    self.log.say(Said::that(EventKind::PeerDown).peer(peer));
                    self.folders.values_mut().for_each(|folder| folder.lost(peer));
                }
            }
            FromPeer::Shares { peer, folders } => {
                let Some(outbox) = self.outboxes.get(&peer).cloned() else { return };
                for shared in folders {
                    let outbox = outbox.clone();
                    let key = shared.folder;
                    if self.keeps(key) {
                        self.offers.insert((peer, key), shared.clone());
                    }
                    self.answer_share(peer, key);
                    self.with(shared.folder, |folder| folder.shared(peer, &shared, outbox));
                }
            }
            FromPeer::Records { peer, folder, epoch, after, to, bytes } => {
                self.with(folder, |folder| folder.told(peer, (epoch, after, to), &bytes));
            }
            FromPeer::Stored { peer, folder, epoch, up_to } => {
                self.with(folder, |folder| folder.stored(peer, epoch, up_to));
            }
            FromPeer::Compared { peer, folder, salt, is_answer, turn } => {
                self.with(folder, |folder| folder.compared(peer, salt, is_answer, &turn));
            }
            FromPeer::Incomparable { peer, folder, salt } => {
                self.with(folder, |folder| folder.incomparable(peer, salt));
            }
            FromPeer::Job { peer, bytes } => self.job_said(peer, &bytes),
            FromPeer::Swarm { peer, folder, manifest, word } => {
                self.with(folder, |folder| folder.swarm_said(peer, manifest, word));
            }
            // Whoever waits for that is told when the loop goes round.
            FromPeer::Freed => {}
            FromPeer::Twice { peer, who } => {
                self.folders.values_mut().for_each(|folder| folder.seen_twice(peer, who));
            }
            FromPeer::Asked { peer, id, folder, wanted } => {
                let Some(outbox) = self.outboxes.get(&peer).cloned() else { return };
                let is_member = |setup: &FolderSetup| setup.peers.contains(&peer);
                let is_later = self.shared_later(folder).is_some_and(is_member);
                match self.folders.get_mut(&folder) {
                    Some(folder) if folder.gives() => folder.asked(peer, id, &wanted, &outbox),
                    None if is_later => {
                        give::decline(id, &outbox);
                    }
                    _ => give::give_nothing(id, wanted.len(), &outbox),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
