//! One folder in the control loop: its index, its store, its neighbours, and what is under way.

use super::Event;
use super::fetch::{self, Fetch, Wish};
use super::look::ScanJob;
use crate::index::{Durability, Index, IndexError, Transaction};
use crate::scan::{Rules, identity_of};
use crate::site::{Outbox, Outgoing};
use crate::store::{FolderMark, Prepared, Principals, Ready, Store, StoreError};
use farhaul_engine::files::ConfineError;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::identity::{Identity, IdentityError, PublicKey};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::{Feed, FolderState, Found, Publisher, StateError, Task};
use farhaul_sync::message::{Followed, Message, Records, RecordsError, Shared, Wanted};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, Serial, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Parts of the index's stream that a peer is sent before it has said that one is durable.
const UNSTORED_MAX: u32 = 4;
/// Paths dealt with at a time.
const TASKS: usize = 256;
/// Files that are asked for and not here yet.
const FETCHES_MAX: usize = 64;
/// Bytes of them, after which no other is asked for.
const FETCH_BYTES_MAX: u64 = 256 << 20;

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
struct Neighbour {
    outbox: Outbox,
    feed: Feed,
    /// Parts that it was sent and has not called durable.
    unstored: u32,
}

/// One folder.
pub(super) struct Folder {
    setup: FolderSetup,
    index: Index,
    store: Store,
    publisher: Publisher,
    keys: Arc<ContentKeys>,
    identity: Identity,
    public: PublicKey,
    events: mpsc::Sender<Event>,
    neighbours: BTreeMap<SiteId, Neighbour>,
    /// Files that are asked for, and their lengths.
    fetching: BTreeMap<RelPath, u64>,
    scan: Option<Stop>,
}

impl Folder {
    pub(super) fn open(
        setup: FolderSetup,
        identity: &Identity,
        events: mpsc::Sender<Event>,
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
        Ok(Self {
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
        })
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
        if self.scan.is_some() {
            return;
        }
        if let Err(error) = self.start_scan() {
            tracing::error!(folder = %self.setup.name, %error, "cannot be scanned");
        }
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
        if let Err(why) = outcome {
            tracing::warn!(folder = %self.setup.name, why, "the scan did not come to its end");
        }
        self.go_on();
    }

    /// Somebody looked at paths. Meanwhile this site may have put something there itself: what was
    /// seen counts only if it is what stands there now.
    pub(super) fn looked(&mut self, mut looks: Vec<(RelPath, Option<Found>)>) {
        let root = self.store.root();
        looks.retain(|(path, found)| match root.stat(path) {
            Ok(meta) => found.as_ref().is_some_and(|seen| seen.identity == identity_of(&meta)),
            Err(ConfineError::NotFound { .. } | ConfineError::NotDirectory { .. }) => {
                found.is_none()
            }
            Err(error) => {
                tracing::warn!(%error, "what is known of it stays");
                false
            }
        });
        let (identity, public) = (self.identity.clone(), self.public);
        let observed = self.change(Durability::Now, |state| {
            for (path, found) in looks {
                state.observe(&path, found, wall_millis())?;
                if state.is_run_full() {
                    seal(state, &identity, public)?;
                }
            }
            Ok(())
        });
        self.note("what was found cannot be taken in", observed);
        self.go_on();
    }

    /// Does something to the state in one transaction, and signs what it publishes.
    fn change<T>(
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

    fn note(&self, what: &str, outcome: Result<(), FolderError>) {
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
        let feed = Feed::new(start.min(self.index.last_seq().get()));
        self.neighbours.insert(peer, Neighbour { outbox, feed, unstored: 0 });
        self.go_on();
    }

    pub(super) fn lost(&mut self, peer: SiteId) {
        self.neighbours.remove(&peer);
    }

    /// Records of a peer: all of them are durable here before the peer hears so.
    pub(super) fn told(&mut self, peer: SiteId, (epoch, _, to): (u64, u64, u64), bytes: &[u8]) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        let learned = self.learn(bytes, peer, Followed { epoch, up_to: to });
        if let Err(FolderError::State(StateError::RolledBack)) = &learned {
            let renewed = self.renew();
            return self.note("no new incarnation", renewed);
        }
        let is_learned = learned.is_ok();
        self.note("records cannot be taken in", learned);
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| is_learned) else { return };
        let stored = Message::Stored { folder: self.setup.key, epoch, up_to: to };
        let _ = neighbour.outbox.send(Outgoing::Say(stored));
        self.go_on();
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
        self.change(Durability::Now, |state| {
            for (run, opened) in records.runs.iter().zip(&opened) {
                state.learn(run, opened)?;
            }
            state.index_mut().follow(peer, followed)?;
            Ok(())
        })
    }

    pub(super) fn stored(&mut self, peer: SiteId, epoch: u64, _up_to: u64) {
        let ours = self.index.author().incarnation.get();
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| epoch == ours) {
            neighbour.unstored = neighbour.unstored.saturating_sub(1);
        }
        self.go_on();
    }

    /// Everything that can be done now: neighbours are told, paths are dealt with.
    fn go_on(&mut self) {
        let told = self.tell_neighbours();
        self.note("neighbours cannot be told", told);
        let worked = self.work();
        self.note("what is to be done cannot be done", worked);
        let told = self.tell_neighbours();
        self.note("neighbours cannot be told", told);
    }

    fn tell_neighbours(&mut self) -> Result<(), FolderError> {
        let epoch = self.index.author().incarnation.get();
        let (folder, last) = (self.setup.key, self.index.last_seq().get());
        for neighbour in self.neighbours.values_mut() {
            while neighbour.unstored < UNSTORED_MAX && neighbour.feed.sent() < last {
                let begun = self.index.begin(Durability::Later)?;
                let fed = neighbour.feed.next(&begun);
                let fed = fed.map_err(|error| FolderError::Feed(error.to_string()))?;
                let Some(fed) = fed else { break };
                let (after, to, bytes) = (fed.after, fed.to, fed.records.encode());
                let records = Outgoing::Records { folder, epoch, after, to, bytes };
                let _ = neighbour.outbox.send(records);
                neighbour.unstored += 1;
            }
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), FolderError> {
        loop {
            let todo = self.all_unsettled()?;
            let mut prepared = Vec::new();
            let mut wishes = Vec::new();
            // What is above first; what goes, from beneath.
            for path in todo.iter().chain(todo.iter().rev()) {
                if prepared.len() >= TASKS {
                    break;
                }
                if !self.fetching.contains_key(path)
                    && !prepared.iter().any(|ready: &Prepared| ready.intent().path == *path)
                {
                    self.begin(path, &mut prepared, &mut wishes)?;
                }
            }
            self.ask(wishes);
            if prepared.is_empty() {
                return Ok(());
            }
            self.commit(prepared)?;
        }
    }

    fn all_unsettled(&self) -> Result<Vec<RelPath>, FolderError> {
        Ok(self.index.read().unsettled(None, TASKS * 16)?)
    }

    /// Begins what is to be done at a path, if it can be done now.
    fn begin(
        &mut self,
        path: &RelPath,
        prepared: &mut Vec<Prepared>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), FolderError> {
        let task = self.change(Durability::Later, |state| Ok(state.task(path)?))?;
        let placed = self.index.read().item(path)?.placed;
        let old = placed.as_ref();
        let begun = match &task {
            Task::Settled => return Ok(()),
            Task::SetMeta(version) => {
                let Some(old) = old else { return Ok(()) };
                self.store.prepare_describe(path, version, old)
            }
            Task::Remove => {
                let Some(old) = old else { return Ok(()) };
                self.store.prepare_remove(path, old)
            }
            Task::MakeDir => return self.make_dir(path),
            Task::Place(version) => match &version.content {
                Content::Dir => self.store.ready_dir(&version.meta),
                Content::Symlink { target } => self.store.ready_link(target, &version.meta),
                Content::File { manifest, size } => {
                    if let Some(wish) = self.wish(path, version, (*manifest, *size))? {
                        wishes.push(wish);
                    }
                    return Ok(());
                }
                Content::Gone => return Ok(()),
            }
            .and_then(|ready| self.store.prepare_put(path, &ready, version, old)),
        };
        match begun {
            Ok(begun) => prepared.push(begun),
            Err(error) => tracing::debug!(%path, %error, "not now"),
        }
        Ok(())
    }

    /// Makes a directory that something beneath needs; the next scan publishes it.
    fn make_dir(&self, path: &RelPath) -> Result<(), FolderError> {
        if let Err(error) = self.store.root().make_dirs(path, 0o755) {
            tracing::debug!(%path, %error, "not now");
        }
        Ok(())
    }

    fn wish(
        &mut self,
        path: &RelPath,
        version: &Version,
        (manifest, size): (farhaul_sync::version::ManifestId, Bytes),
    ) -> Result<Option<Wish>, FolderError> {
        let bytes: u64 = self.fetching.values().sum();
        let is_full = self.fetching.len() >= FETCHES_MAX || bytes > FETCH_BYTES_MAX;
        if is_full || self.neighbours.is_empty() {
            return Ok(None);
        }
        match self.store.stage(path, manifest, size, &[]) {
            Ok(staged) => {
                self.fetching.insert(path.clone(), size.get());
                let (path, version, size) = (path.clone(), version.clone(), size.get());
                Ok(Some(Wish { path, version, staged, size }))
            }
            Err(error) => {
                tracing::warn!(%path, %error, "cannot be staged");
                Ok(None)
            }
        }
    }

    /// Asks a neighbour. Which one goes by turns, so that one that lacks something is not asked for
    /// it for ever.
    fn ask(&mut self, wishes: Vec<Wish>) {
        if wishes.is_empty() {
            return;
        }
        let turn = usize::try_from(wall_millis() % 1009).unwrap_or(0);
        let count = self.neighbours.len().max(1);
        let Some(neighbour) = self.neighbours.values().nth(turn % count) else { return };
        let wanted = wishes.iter().filter_map(|wish| match wish.version.content {
            Content::File { manifest, .. } => Some(Wanted::Whole { manifest }),
            _ => None,
        });
        let wanted = wanted.collect();
        let (folder, keys, events) = (self.setup.key, Arc::clone(&self.keys), self.events.clone());
        let intake = Box::new(Fetch { folder, keys, wishes, given: Vec::new(), events });
        if let Err(Outgoing::Ask { intake, .. }) =
            neighbour.outbox.send(Outgoing::Ask { folder, wanted, intake })
        {
            intake.end(Err("the session is over".to_owned()));
        }
    }

    /// A content came, or did not.
    pub(super) fn fetched(
        &mut self,
        path: &RelPath,
        version: &Version,
        ready: Result<Ready, String>,
    ) {
        self.fetching.remove(path);
        match ready {
            Ok(ready) => {
                let committed = self.put(path, version, &ready);
                self.note("what came cannot be put in place", committed);
                self.go_on();
            }
            // It is asked for again with the next event; nothing is lost meanwhile.
            Err(why) => tracing::warn!(%path, why, "did not come"),
        }
    }

    fn put(&mut self, path: &RelPath, version: &Version, ready: &Ready) -> Result<(), FolderError> {
        let task = self.change(Durability::Later, |state| Ok(state.task(path)?))?;
        let is_wanted = matches!(&task, Task::Place(now) if now.content == version.content);
        if !is_wanted {
            self.store.drop_ready(ready);
            return Ok(());
        }
        let Task::Place(version) = task else { return Ok(()) };
        let placed = self.index.read().item(path)?.placed;
        match self.store.prepare_put(path, ready, &version, placed.as_ref()) {
            Ok(prepared) => self.commit(vec![prepared]),
            Err(error) => {
                self.store.drop_ready(ready);
                tracing::info!(%path, %error, "is looked at again before it is replaced");
                Ok(())
            }
        }
    }

    /// The commit order: intents durable, renames, names durable, index durable.
    fn commit(&mut self, prepared: Vec<Prepared>) -> Result<(), FolderError> {
        self.store.check_there()?;
        let intents: Vec<_> = prepared.iter().map(Prepared::intent).collect();
        let recorded = self.index.record(&intents)?;
        let mut swapped = Vec::new();
        for (prepared, recorded) in prepared.into_iter().zip(&recorded) {
            let path = prepared.intent().path.clone();
            match prepared.swap(recorded) {
                Ok(done) => swapped.push(done),
                Err(error) => {
                    tracing::info!(%path, %error, "is looked at again before it is changed");
                    let mut forgetting = self.index.begin(Durability::Now)?;
                    forgetting.forget_intent(recorded.id())?;
                    forgetting.commit()?;
                }
            }
        }
        let committed = self.store.settle(swapped)?;
        let now = wall_millis() / 1000;
        self.change(Durability::Now, |state| {
            for done in &committed {
                state.index_mut().settle(done, now)?;
                for (path, placed) in &done.placed {
                    state.placed(path, placed.as_ref())?;
                }
            }
            Ok(())
        })
    }

    /// A neighbour asks for contents.
    pub(super) fn asked(&mut self, peer: SiteId, id: u64, wanted: &[Wanted], outbox: &Outbox) {
        if !self.setup.peers.contains(&peer) {
            return fetch::give_nothing(id, wanted.len(), outbox);
        }
        let files = wanted.iter().map(|wanted| match wanted {
            Wanted::Whole { manifest } => self.find(*manifest),
            Wanted::Manifest { .. } | Wanted::Chunks { .. } => None,
        });
        fetch::give(id, files.collect(), outbox);
    }

    /// A file of that content that is still as the index knows it.
    fn find(&self, manifest: farhaul_sync::version::ManifestId) -> Option<(std::fs::File, u64)> {
        let mut after = None;
        while let Ok(Some(path)) = self.index.read().path_of_content(manifest, after.as_ref()) {
            let placed = self.index.read().item(&path).ok().and_then(|item| item.placed);
            if let (Some(placed), Ok(file)) = (placed, self.store.root().open_file(&path)) {
                let now = farhaul_engine::files::dir::Meta::of(&file).ok();
                if now.is_some_and(|now| identity_of(&now) == placed.identity) {
                    return Some((file, placed.identity.size));
                }
            }
            after = Some(path);
        }
        None
    }
}

/// Signs what was published since the last signature.
fn seal(
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
fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
