//! The control loop: the one place where folders change. Whatever happens comes as an event over one
//! bounded queue; looking, hashing and carrying are done elsewhere, and come back as events.

mod ask;
mod beat;
mod configure;
mod fetch;
mod folder;
mod health;
mod look;
mod recover;
mod revise;
mod why;
mod work;

pub use ask::{AskError, Asker, FolderFacts, PeerFacts, Reader};
pub use beat::Beat;
pub use folder::{FolderError, FolderSetup};
pub use revise::Revision;
pub(crate) use why::task_of;

use crate::events::{Events, Said};
use crate::site::FromPeer;
use crate::store::Ready;
use farhaul_api::EventKind;
use farhaul_engine::identity::Identity;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Found;
use farhaul_sync::message::Message;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Version;
use folder::Folder;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait at most: whoever has more to say waits.
const EVENTS_MAX: usize = 1024;
/// How often what did not work is tried again.
const TICK: Duration = Duration::from_secs(2);
/// Events that are taken in before what follows from them is done.
const BATCH: usize = 1024;

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session says something.
    Peer(FromPeer),
    /// Somebody looked at a path; `None`: nothing stands there.
    Looked { folder: FolderKey, path: RelPath, found: Option<Found> },
    /// A scan came to its end, or did not.
    Scanned { folder: FolderKey, outcome: Result<(), String> },
    /// A content came, or did not.
    Fetched {
        folder: FolderKey,
        path: RelPath,
        version: Box<Version>,
        ready: Result<Ready, String>,
    },
    /// All folders are to be scanned now.
    Rescan,
    /// Somebody asks something, or orders it.
    Command(ask::Command),
    /// Time has passed: what did not work before may work now.
    Tick,
    /// The end.
    Stop,
}

/// A running control loop. Dropping it stops it.
#[derive(Debug)]
pub struct Control {
    events: mpsc::Sender<Event>,
    asker: Asker,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the folders and runs them.
    ///
    /// # Errors
    /// [`FolderError`] of the first folder that cannot be opened, or no thread.
    pub fn start(identity: &Identity, folders: Vec<FolderSetup>) -> Result<Self, FolderError> {
        Self::start_telling(identity, folders, Events::default())
    }

    /// As [`Control::start`]; what happens is said to `log`.
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
        let beat = Arc::clone(asker.beat());
        let (identity, outboxes) = (identity.clone(), BTreeMap::new());
        let to_loop = events.downgrade();
        let folders_open = BTreeMap::new();
        let mut body = Loop {
            folders: folders_open,
            outboxes,
            identity,
            events: to_loop,
            log,
            beat,
            opened: 0,
        };
        for setup in folders {
            body.open(setup, &events)?;
        }
        let ticks = events.clone();
        let ticker = std::thread::Builder::new().name("farhaul-tick".to_owned());
        ticker.spawn(move || tick(&ticks)).map_err(FolderError::Thread)?;
        let thread = std::thread::Builder::new().name("farhaul-control".to_owned());
        let thread = thread.spawn(move || body.run(queue)).map_err(FolderError::Thread)?;
        Ok(Self { events, asker, thread: Some(thread) })
    }

    /// Where sessions say what happens; must be called within a tokio runtime.
    pub fn hears_sessions(&self) -> mpsc::Sender<FromPeer> {
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
fn tick(events: &mpsc::Sender<Event>) {
    while !events.is_closed() {
        std::thread::sleep(TICK);
        // A loop that has other things to do needs no reminder.
        let _ = events.try_send(Event::Tick);
    }
}

pub(crate) struct Loop {
    folders: BTreeMap<FolderKey, Folder>,
    outboxes: BTreeMap<SiteId, crate::site::Outbox>,
    identity: Identity,
    /// Its own queue, for folders that come later.
    events: mpsc::WeakSender<Event>,
    log: Events,
    beat: Arc<Beat>,
    /// How many folders were opened so far.
    opened: u64,
}

impl Loop {
    fn open(
        &mut self,
        setup: FolderSetup,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), FolderError> {
        self.opened += 1;
        let health = health::Health::new(&setup.name, self.log.clone());
        let folder = Folder::open(setup, &self.identity, events.clone(), (health, self.opened))?;
        self.folders.insert(folder.key(), folder);
        Ok(())
    }

    fn run(&mut self, mut queue: mpsc::Receiver<Event>) {
        self.folders.values_mut().for_each(Folder::scan);
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
            self.beat.is_round();
        }
        for (_, folder) in std::mem::take(&mut self.folders) {
            folder.close();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Peer(event) => self.heard(event),
            Event::Looked { folder, path, found } => {
                self.with(folder, |folder| folder.looked(path, found));
            }
            Event::Scanned { folder, outcome } => {
                self.with(folder, |folder| folder.scanned(outcome));
            }
            Event::Fetched { folder, path, version, ready } => {
                self.with(folder, |folder| folder.fetched(path, *version, ready));
            }
            Event::Command(command) => command.act(self),
            Event::Rescan => self.folders.values_mut().for_each(Folder::scan),
            Event::Tick => self.folders.values_mut().for_each(Folder::tick),
            Event::Stop => {}
        }
    }

    fn with(&mut self, folder: FolderKey, act: impl FnOnce(&mut Folder)) {
        // One that was removed from the configuration has no business here any more.
        if let Some(folder) = self.folders.get_mut(&folder) {
            act(folder);
        }
    }

    fn heard(&mut self, event: FromPeer) {
        match event {
            FromPeer::Up { peer, outbox } => {
                self.log.say(Said::that(EventKind::PeerUp).peer(peer));
                let shared = self.folders.values().filter_map(|folder| folder.share_with(peer));
                let share = Message::Share { folders: shared.collect() };
                let _ = outbox.send(crate::site::Outgoing::Say(share));
                self.outboxes.insert(peer, outbox);
            }
            FromPeer::Down { peer, outbox } => {
                let is_current = self.outboxes.get(&peer).is_some_and(|now| now.is_same(&outbox));
                if is_current {
                    self.outboxes.remove(&peer);
                    self.log.say(Said::that(EventKind::PeerDown).peer(peer));
                    self.folders.values_mut().for_each(|folder| folder.lost(peer));
                }
            }
            FromPeer::Shares { peer, folders } => {
                let Some(outbox) = self.outboxes.get(&peer).cloned() else { return };
                for shared in folders {
                    let outbox = outbox.clone();
                    self.with(shared.folder, |folder| folder.shared(peer, &shared, outbox));
                }
            }
            FromPeer::Records { peer, folder, epoch, after, to, bytes } => {
                self.with(folder, |folder| folder.told(peer, (epoch, after, to), &bytes));
            }
            FromPeer::Stored { peer, folder, epoch, up_to } => {
                self.with(folder, |folder| folder.stored(peer, epoch, up_to));
            }
            FromPeer::Asked { peer, id, folder, wanted } => {
                let Some(outbox) = self.outboxes.get(&peer).cloned() else { return };
                let count = wanted.len();
                match self.folders.get_mut(&folder) {
                    Some(folder) => folder.asked(peer, id, &wanted, &outbox),
                    None => fetch::give_nothing(id, count, &outbox),
                }
            }
        }
    }
}
