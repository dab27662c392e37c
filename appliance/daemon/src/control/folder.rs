//! One folder in the control loop: its index, its store, its neighbours, and what is under way.

use super::Event;
use super::health::Health;
use super::look::ScanJob;
use crate::events::Said;
use crate::index::{Durability, Index, IndexError, Transaction};
use crate::scan::{Rules, identity_of};
use crate::site::{Outbox, Outgoing};
use crate::store::{FolderMark, Principals, Ready, Store, StoreError};
use farhaul_api::EventKind;
use farhaul_engine::files::ConfineError;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::identity::{Identity, IdentityError, PublicKey};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::{Feed, FolderState, Found, Publisher, StateError};
use farhaul_sync::message::{Followed, Message, Records, RecordsError, Shared};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Serial, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Parts of the index's stream that a peer is sent before it has said that one is durable.
const UNSTORED_MAX: u32 = 4;

/// A folder that is to be opened.
#[derive(Clone, Debug)]
pub struct FolderSetup {
    /// What it is called in the configuration.
    pub name: String,
    /// What it is called on the wire.
    pub key: FolderKey,
    /// Where it stands.
    pub path: PathBuf,
    /// Where this site keeps what it knows of it: a directory of its own, which exists.
    pub state: PathBuf,
    /// Sites that it is shared with.
    pub peers: BTreeSet<SiteId>,
    /// What is left out of it.
    pub rules: Rules,
    /// How long after a scan the next one begins.
    pub scan_every: Duration,
    /// Who is called how on this machine.
    pub principals: Arc<dyn Principals>,
}

/// Why a folder cannot be opened, or goes on no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Its disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index does not take what follows from an event.
    #[error(transparent)]
    State(#[from] StateError<IndexError>),
    /// The key of this site.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What a peer sent.
    #[error("a peer sent records that cannot be: {0}")]
    Records(#[from] RecordsError),
    /// A signature.
    #[error("a peer sent records that their author did not sign")]
    Forged,
    /// What is to be sent cannot be read.
    #[error("neighbours cannot be told: {0}")]
    Feed(String),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A neighbour that shares the folder.
pub(super) struct Neighbour {
    pub(super) outbox: Outbox,
    pub(super) feed: Feed,
    /// Up to where it called what it was sent durable, in this session.
    pub(super) stored: u64,
    /// Parts that it was sent and has not called durable.
    unstored: u32,
    /// It was asked to tell again from where it is followed, and has not yet.
    asked_again: bool,
}

/// A file that is asked for.
pub(super) struct Fetching {
    pub(super) size: u64,
    /// Of whom, once that is decided.
    pub(super) from: Option<SiteId>,
}

/// One folder.
pub(super) struct Folder {
    pub(super) setup: FolderSetup,
    pub(super) index: Index,
    pub(super) store: Store,
    publisher: Publisher,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) identity: Identity,
    pub(super) public: PublicKey,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) neighbours: BTreeMap<SiteId, Neighbour>,
    /// Files that are asked for, and their lengths.
    pub(super) fetching: BTreeMap<RelPath, Fetching>,
    pub(super) scan: Option<Stop>,
    /// When the next scan is due.
    pub(super) next_scan: Instant,
    /// What was found and not taken in yet.
    looks: Vec<(RelPath, Option<Found>)>,
    /// What came and is verified, and not in place yet.
    pub(super) arrived: Vec<(RelPath, Version, Ready)>,
    /// Up to where what is to be done was gone through; from there on it goes next.
    pub(super) cursor: Option<RelPath>,
    pub(super) health: Health,
    /// The how manyth folder that was opened: whoever held something of another one asks anew.
    pub(super) opened: u64,
    /// Nothing is looked at, fetched or changed.
    pub(super) is_paused: bool,
    /// The scan that runs was stopped, and another one is to begin when it has ended.
    pub(super) scans_again: bool,
}

impl Folder {
    pub(super) fn open(
        setup: FolderSetup,
        identity: &Identity,
        events: mpsc::Sender<Event>,
        (health, opened): (Health, u64),
    ) -> Result<Self, FolderError> {
        let principals = Arc::clone(&setup.principals);
        let marked = setup.state.join("mark");
        let store = match FolderMark::load(&marked)? {
            Some(mark) => Store::open(&setup.path, &mark, principals)?,
            None => {
                let store = Store::create(&setup.path, principals)?;
                store.mark().save(&marked)?;
                store
            }
        };
        let place = setup.state.join("index");
        let mut index = match Index::open(&place, setup.key, identity.id()) {
            Err(IndexError::Missing { .. }) => Index::create(&place, setup.key, identity.id())?,
            // What it knew comes from the peers again, under a new incarnation.
            Err(error) if error.is_damage() => {
                let aside = crate::index::quarantine(&place)?;
                tracing::error!(%error, aside = %aside.display(), "a new index takes its place");
                Index::create(&place, setup.key, identity.id())?
            }
            opened => opened?,
        };
        let next = index.begin(Durability::Now)?.next_serial().unwrap_or(Serial::FIRST);
        let publisher = Publisher::new(index.author(), next);
        let keys = Arc::new(ContentKeys::of(&setup.key));
        let (identity, public) = (identity.clone(), identity.public_key()?);
        let (neighbours, fetching) = (BTreeMap::new(), BTreeMap::new());
        let scan = None;
        let is_paused = super::revise::is_paused(&setup.state);
        let mut folder = Self {
            setup,
            index,
            store,
            publisher,
            keys,
            identity,
            public,
            events,
            neighbours,
            fetching,
            scan,
            next_scan: Instant::now(),
            looks: Vec::new(),
            arrived: Vec::new(),
            cursor: None,
            health,
            opened,
            is_paused,
            scans_again: false,
        };
        folder.recover()?;
        Ok(folder)
    }

    pub(super) fn key(&self) -> FolderKey {
        self.setup.key
    }

    pub(super) fn close(self) {
        if let Some(scan) = &self.scan {
            scan.set();
        }
        if let Err(error) = self.index.close() {
            tracing::error!(folder = %self.setup.name, %error, "the index was not closed");
        }
    }

    /// What a peer is offered, if the folder is shared with it.
    pub(super) fn share_with(&self, peer: SiteId) -> Option<Shared> {
        let followed = self.index.read().followed(peer);
        let followed = followed.unwrap_or_else(|error| {
            // Then it tells everything again, which changes nothing.
            tracing::error!(%error, "it is not known how far a peer is followed");
            None
        });
        let (folder, epoch) = (self.setup.key, self.index.author().incarnation.get());
        let head = self.index.last_seq().get();
        self.setup.peers.contains(&peer).then_some(Shared { folder, epoch, head, followed })
    }

    /// Starts a scan unless one runs.
    pub(super) fn scan(&mut self) {
        if self.scan.is_some() || self.is_paused {
            return;
        }
        let started = self.start_scan();
        let halted = match &started {
            Err(FolderError::Store(error)) if error.is_elsewhere() => Some(error.to_string()),
            Err(_) => self.health.halted().map(str::to_owned),
            Ok(()) => None,
        };
        self.health.there(halted);
        if started.is_ok() {
            self.health.say(Said::that(EventKind::ScanStarted));
        }
        self.note("cannot be scanned", started);
    }

    fn start_scan(&mut self) -> Result<(), FolderError> {
        self.store.check_there()?;
        let stop = Stop::default();
        let job = ScanJob {
            folder: self.setup.key,
            root: self.store.root().clone(),
            keys: Arc::clone(&self.keys),
            rules: self.setup.rules.clone(),
            reader: self.index.reader()?,
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-scan".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        self.scan = Some(stop);
        Ok(())
    }

    pub(super) fn scanned(&mut self, outcome: Result<(), String>) {
        self.scan = None;
        let wait = if self.scans_again { Duration::ZERO } else { self.setup.scan_every };
        self.next_scan = Instant::now() + wait;
        let was_stopped = std::mem::take(&mut self.scans_again) || self.is_paused;
        self.health.scanned();
        let ended = Said::that(EventKind::ScanEnded);
        self.health.say(outcome.as_ref().err().map_or(ended.clone(), |why| ended.text(why)));
        if let Err(why) = &outcome
            && !was_stopped
        {
            tracing::warn!(folder = %self.setup.name, why, "the scan did not come to its end");
        }
        let failed = outcome.err().filter(|_| !was_stopped);
        self.health.went("the scan did not come to its end", failed);
    }

    /// Somebody looked at paths. Meanwhile this site may have put something there itself: what was
    /// seen counts only if it is what stands there now.
    pub(super) fn looked(&mut self, path: RelPath, found: Option<Found>) {
        self.looks.push((path, found));
    }

    fn take_looks(&mut self) -> Result<(), FolderError> {
        let mut looks = std::mem::take(&mut self.looks);
        let root = self.store.root();
        // What is announced outlives a power cut: a user's file is on disk before its version is.
        if looks.iter().any(|(_, found)| found.is_some()) {
            let synced = rustix::fs::syncfs(root.dir());
            synced.map_err(|errno| StoreError::from(ConfineError::at(&b""[..], errno)))?;
        }
        looks.retain(|(path, found)| match root.stat(path) {
            Ok(meta) => found.as_ref().is_some_and(|seen| seen.identity == identity_of(&meta)),
            Err(
                ConfineError::NotFound { .. }
                | ConfineError::NotDirectory { .. }
                | ConfineError::SymlinkInPath { .. },
            ) => found.is_none(),
            Err(error) => {
                tracing::warn!(%error, "what is known of it stays");
                false
            }
        });
        let (identity, public) = (self.identity.clone(), self.public);
        if looks.is_empty() {
            return Ok(());
        }
        self.change(Durability::Now, |state| {
            for (path, found) in looks {
                state.observe(&path, found, wall_millis())?;
                if state.is_run_full() {
                    seal(state, &identity, public)?;
                }
            }
            Ok(())
        })
    }

    /// Does something to the state in one transaction, and signs what it publishes.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        act: impl FnOnce(&mut FolderState<Transaction<'_>>) -> Result<T, FolderError>,
    ) -> Result<T, FolderError> {
        let begun = self.index.begin(durability)?;
        let mut state = FolderState::new(begun, self.setup.key, self.publisher.clone());
        let done = act(&mut state)?;
        seal(&mut state, &self.identity, self.public)?;
        let (transaction, publisher) = state.into_parts();
        transaction.commit()?;
        self.publisher = publisher;
        Ok(done)
    }

    pub(super) fn note(&mut self, what: &str, outcome: Result<(), FolderError>) {
        self.health.went(what, outcome.as_ref().err().map(ToString::to_string));
        if let Err(error) = outcome {
            tracing::error!(folder = %self.setup.name, %error, "{what}");
        }
    }

    /// A peer shares the folder: it is told what it has not.
    pub(super) fn shared(&mut self, peer: SiteId, theirs: &Shared, outbox: Outbox) {
        if !self.setup.peers.contains(&peer) {
            tracing::warn!(folder = %self.setup.name, %peer, "offers a folder that is not for it");
            return;
        }
        let start = Followed::start(theirs.followed, self.index.author().incarnation);
        let is_ahead = start > self.index.last_seq().get();
        let feed = Feed::new(start.min(self.index.last_seq().get()));
        let (stored, unstored, asked_again) = (feed.sent(), 0, false);
        self.neighbours.insert(peer, Neighbour { outbox, feed, stored, unstored, asked_again });
        if is_ahead {
            let renewed = self.renew();
            self.note("no new incarnation", renewed);
        }
    }

    pub(super) fn lost(&mut self, peer: SiteId) {
        self.neighbours.remove(&peer);
        self.fetching.retain(|_, fetch| fetch.from != Some(peer));
    }

    /// Records of a peer: all of them are durable here before the peer hears so.
    pub(super) fn told(&mut self, peer: SiteId, (epoch, after, to): (u64, u64, u64), bytes: &[u8]) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        let known = self.index.read().followed(peer).unwrap_or(None);
        let known = known.filter(|known| known.epoch == epoch).map_or(0, |known| known.up_to);
        // Without what comes before, it would look as if that had been told.
        if after > known {
            return self.ask_again(peer);
        }
        let to = to.max(known);
        let learned = self.learn(bytes, peer, Followed { epoch, up_to: to });
        if let Err(FolderError::State(StateError::RolledBack)) = &learned {
            let renewed = self.renew();
            return self.note("no new incarnation", renewed);
        }
        let is_learned = learned.is_ok();
        self.note("records cannot be taken in", learned);
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| is_learned) else { return };
        neighbour.asked_again = false;
        let stored = Message::Stored { folder: self.setup.key, epoch, up_to: to };
        let _ = neighbour.outbox.send(Outgoing::Say(stored));
    }

    /// Has a neighbour tell again from where it is followed.
    fn ask_again(&mut self, peer: SiteId) {
        let folders = self.share_with(peer).into_iter().collect();
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && !neighbour.asked_again
        {
            let share = Outgoing::Say(Message::Share { folders });
            neighbour.asked_again = neighbour.outbox.send(share).is_ok();
        }
    }

    /// This index was put back from a copy: numbers that it would give were given. It goes on under
    /// a new name, and its neighbours follow it anew (spec: S-056).
    fn renew(&mut self) -> Result<(), FolderError> {
        self.index.renew()?;
        self.publisher = Publisher::new(self.index.author(), Serial::FIRST);
        tracing::warn!(folder = %self.setup.name, "the index was restored from a copy");
        let peers: Vec<SiteId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            let folders = self.share_with(peer).into_iter().collect();
            if let Some(neighbour) = self.neighbours.get(&peer) {
                let _ = neighbour.outbox.send(Outgoing::Say(Message::Share { folders }));
            }
        }
        Ok(())
    }

    fn learn(&mut self, bytes: &[u8], peer: SiteId, followed: Followed) -> Result<(), FolderError> {
        let records = Records::decode(bytes, self.setup.key)?;
        let mut opened = Vec::with_capacity(records.runs.len());
        for run in &records.runs {
            let key = PublicKey(run.key);
            let is_signed = key.site() == run.statement.author.site
                && key.has_signed(&run.statement.to_bytes(), &run.signature);
            opened.push(if is_signed { run.open()? } else { return Err(FolderError::Forged) });
        }
        let learned = self.change(Durability::Now, |state| {
            let mut learned = Vec::new();
            for (run, opened) in records.runs.iter().zip(&opened) {
                learned.extend(state.learn(run, opened)?.changed);
            }
            state.index_mut().follow(peer, followed)?;
            Ok(learned)
        })?;
        for path in &learned {
            self.health.say(Said::that(EventKind::Learned).peer(peer).path(path));
        }
        Ok(())
    }

    pub(super) fn stored(&mut self, peer: SiteId, epoch: u64, up_to: u64) {
        let ours = self.index.author().incarnation.get();
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| epoch == ours) {
            neighbour.unstored = neighbour.unstored.saturating_sub(1);
            neighbour.stored = neighbour.stored.max(up_to.min(neighbour.feed.sent()));
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        if Instant::now() >= self.next_scan {
            self.scan();
        }
    }

    /// Everything that can be done now: neighbours are told, paths are dealt with.
    pub(super) fn go_on(&mut self) {
        let looked = self.take_looks();
        self.note("what was found cannot be taken in", looked);
        if !self.is_paused {
            let put = self.put_arrived();
            self.note("what came cannot be put in place", put);
            let worked = self.work();
            self.note("what is to be done cannot be done", worked);
        }
        let told = self.tell_neighbours();
        self.note("neighbours cannot be told", told);
        let state = self.state();
        self.health.is_at(state);
    }

    fn tell_neighbours(&mut self) -> Result<(), FolderError> {
        let epoch = self.index.author().incarnation.get();
        let (folder, last) = (self.setup.key, self.index.last_seq().get());
        for neighbour in self.neighbours.values_mut() {
            while neighbour.unstored < UNSTORED_MAX && neighbour.feed.sent() < last {
                let begun = self.index.begin(Durability::Later)?;
                let mut feed = neighbour.feed.clone();
                let fed = feed.next(&begun);
                let fed = fed.map_err(|error| FolderError::Feed(error.to_string()))?;
                let Some(fed) = fed else { break };
                let (after, to, bytes) = (fed.after, fed.to, fed.records.encode());
                let records = Outgoing::Records { folder, epoch, after, to, bytes };
                // What was not taken is not told.
                if neighbour.outbox.send(records).is_err() {
                    break;
                }
                neighbour.feed = feed;
                neighbour.unstored += 1;
            }
        }
        Ok(())
    }
}

/// Signs what was published since the last signature.
pub(super) fn seal(
    state: &mut FolderState<Transaction<'_>>,
    identity: &Identity,
    public: PublicKey,
) -> Result<(), FolderError> {
    if let Some(statement) = state.to_seal() {
        let signature = identity.sign(&statement.to_bytes())?;
        state.sealed(public.0, signature)?;
    }
    Ok(())
}

/// Milliseconds since 1970 by this machine's clock: it dates versions and decides nothing else.
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
