//! Who is reached, and when: one session with each peer, whoever called.

use super::known::{CallFailed, SessionFacts, SitesView};
use super::lease::Room;
use super::session::{self, Ended};
use super::share::{Share, Shares};
use super::twins::{Twice, Twins};
use super::{FromPeer, PeerEvent};
use farhaul_engine::control::ControlError;
use farhaul_engine::engine::{Engine, Incoming, Peer, SessionOptions};
use farhaul_proto::ids::SiteId;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// The first wait after a call that failed; each one is half as long again, with a tenth of chance.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Sessions that begin within this time of each other are two calls that crossed.
const CROSSED: Duration = Duration::from_secs(10);

/// A peer, and where it can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// What it is called in the configuration.
    pub name: String,
    /// Who it is.
    pub id: SiteId,
    /// `HOST:PORT`; `None`: it calls us.
    pub address: Option<String>,
}

/// The sessions with all peers. Dropping it ends them; [`Sites::stop`] also waits for that.
pub struct Sites {
    answering: JoinHandle<()>,
    dividing: JoinHandle<()>,
    /// Who is called, where, and by whom.
    calls: BTreeMap<SiteId, (PeerPlace, JoinHandle<()>)>,
    /// Nothing once it has stopped.
    shared: Option<Arc<Shared>>,
    /// Closed when the last session is over.
    over: mpsc::Receiver<()>,
}

pub(super) struct Shared {
    engine: Arc<Engine>,
    me: SiteId,
    /// For sessions that begin from now on.
    options: Mutex<SessionOptions>,
    events: mpsc::Sender<PeerEvent>,
    /// For records, and for messages.
    rooms: (Room, Room),
    live: Mutex<BTreeMap<SiteId, Live>>,
    /// The last call to each peer, if it failed.
    pub(super) failed: Mutex<BTreeMap<SiteId, CallFailed>>,
    /// What sessions get of the links.
    pub(super) shares: Arc<Shares>,
    /// Signs that somebody is there twice.
    twins: Mutex<Twins>,
    /// Never sent: it goes with the last who holds this.
    _alive: mpsc::Sender<()>,
}

/// A session that runs.
struct Live {
    number: u64,
    since: Instant,
    caller: SiteId,
    facts: SessionFacts,
    /// A word on it says that the peer called anew; dropping it ends the session as well.
    stop: oneshot::Sender<()>,
}

impl Sites {
    /// Calls and answers from now on.
    pub fn start(
        engine: Arc<Engine>,
        me: SiteId,
        options: SessionOptions,
        peers: Vec<PeerPlace>,
        events: mpsc::Sender<PeerEvent>,
    ) -> Self {
        let (live, failed, options) = (Mutex::default(), Mutex::default(), Mutex::new(options));
        let (rooms, (alive, over)) = ((Room::records(), Room::messages()), mpsc::channel(1));
        let shares = Shares::new(&engine);
        let shared = Arc::new(Shared {
            engine,
            me,
            options,
            events,
            rooms,
            live,
            failed,
            shares: Arc::clone(&shares),
            twins: Mutex::default(),
            _alive: alive,
        });
        let answering = tokio::spawn(answer(Arc::clone(&shared)));
        let calls = BTreeMap::new();
        let dividing = shares.go_on();
        let mut sites = Self { answering, dividing, calls, shared: Some(shared), over };
        sites.call_all(peers);
        sites
    }

    /// Takes up other peers and places: whoever is none any more is left, whoever is called somewhere
    /// else is called there. `options` are those of sessions that begin from now on.
    pub fn configure(&mut self, options: SessionOptions, peers: Vec<PeerPlace>) {
        let Some(shared) = self.shared.as_ref().map(Arc::clone) else { return };
        *lock(&shared.options) = options;
        let is_peer = |id: &SiteId| peers.iter().any(|peer| peer.id == *id);
        lock(&shared.live).retain(|id, _| is_peer(id));
        lock(&shared.failed).retain(|id, _| is_peer(id));
        self.calls.retain(|_, (place, calling)| {
            let stays = peers.contains(place);
            if !stays {
                calling.abort();
            }
            stays
        });
        self.call_all(peers);
    }

    fn call_all(&mut self, peers: Vec<PeerPlace>) {
        let Some(shared) = &self.shared else { return };
        for peer in peers {
            if peer.address.is_some() && !self.calls.contains_key(&peer.id) {
                let span = tracing::error_span!("peer", name = %peer.name);
                let calling = call(Arc::clone(shared), peer.clone()).instrument(span);
                self.calls.insert(peer.id, (peer, tokio::spawn(calling)));
            }
        }
    }

    /// A look at the sessions, which holds up nobody who ends them.
    pub fn view(&self) -> SitesView {
        SitesView::new(self.shared.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// Ends all sessions and waits until nobody holds the engine for them any more.
    pub async fn stop(mut self) {
        self.end();
        let _ = self.over.recv().await;
    }

    fn end(&mut self) {
        self.answering.abort();
        self.dividing.abort();
        self.calls.values().for_each(|(_, calling)| calling.abort());
        if let Some(shared) = self.shared.take() {
            lock(&shared.live).clear();
        }
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a session, and where it hears that it is to end.
type Taken = (u64, oneshot::Receiver<()>);

impl Shared {
    /// The sessions that run.
    pub(super) fn sessions(&self) -> BTreeMap<SiteId, SessionFacts> {
        lock(&self.live).iter().map(|(id, live)| (*id, live.facts.clone())).collect()
    }

    fn options(&self) -> SessionOptions {
        *lock(&self.options)
    }

    fn is_live(&self, peer: SiteId) -> bool {
        lock(&self.live).contains_key(&peer)
    }

    /// Takes a session in, unless another call with the same peer crossed it and wins. Whether the peer
    /// seems to be there twice.
    fn take(&self, peer: &Peer, caller: SiteId) -> Option<(Taken, Option<Twice>)> {
        let facts = SessionFacts::of(&peer.connection);
        let peer = peer.connection.peer;
        let mut live = lock(&self.live);
        let now = Instant::now();
        if let Some(other) = live.get(&peer) {
            let crossed = now.duration_since(other.since) < CROSSED && other.caller != caller;
            // Both sides keep the same one: that of the smaller name.
            if crossed && other.caller < caller {
                return None;
            }
        }
        let number = live.get(&peer).map_or(0, |other| other.number + 1);
        let (stop, stopped) = oneshot::channel();
        let to = facts.addr;
        let before = live.insert(peer, Live { number, since: now, caller, facts, stop });
        let twice = before.filter(|_| caller == peer).and_then(|before| {
            let from = before.facts.addr;
            // If it is there still, it hears that it called anew: it may know nothing of that.
            let _ = before.stop.send(());
            lock(&self.twins).moved(peer, (from, to), now)
        });
        Some(((number, stopped), twice))
    }

    /// Whether it was the session with that peer until now.
    fn leave(&self, peer: SiteId, number: u64) -> bool {
        let mut live = lock(&self.live);
        let is_current = live.get(&peer).is_some_and(|session| session.number == number);
        if is_current {
            live.remove(&peer);
        }
        is_current
    }

    /// Says that somebody is there twice.
    async fn note_twice(&self, peer: SiteId, who: Option<Twice>) {
        if let Some(who) = who {
            tracing::warn!(?who, "two machines have the key of one site");
            let _ = self.events.send(FromPeer::Twice { peer, who }.into()).await;
        }
    }

    async fn run(&self, peer: Peer, caller: SiteId) -> Ended {
        let site = peer.connection.peer;
        let Some(((number, stop), twice)) = self.take(&peer, caller) else {
            peer.connection.close(0, "another session with this site is in use");
            return Ended::Closed;
        };
        self.note_twice(site, twice).await;
        let SessionFacts { addr, carrier, .. } = SessionFacts::of(&peer.connection);
        tracing::info!(from = %addr, %carrier, "connected");
        let (events, share) = (self.events.clone(), Share::new(site, Arc::clone(&self.shares)));
        let why = session::run(peer, events, self.rooms.clone(), (stop, share)).await;
        let is_current = self.leave(site, number);
        tracing::info!(%why, "disconnected");
        if is_current && matches!(why, Ended::Elsewhere) {
            let twice = lock(&self.twins).replaced(site, Instant::now());
            self.note_twice(site, twice).await;
        }
        why
    }
}

/// Answers whoever may call.
async fn answer(shared: Arc<Shared>) {
    while let Some(incoming) = shared.engine.accept().await {
        let span = tracing::error_span!("caller", site = %incoming.id());
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { answer_one(&shared, incoming).await }.instrument(span));
    }
}

async fn answer_one(shared: &Shared, incoming: Incoming) {
    let caller = incoming.id();
    match shared.engine.welcome(incoming, shared.options()).await {
        Ok(peer) => {
            shared.run(peer, caller).await;
        }
        Err(ControlError::ClosedByPeer { code: 0, .. } | ControlError::Carrier { .. }) => {}
        Err(error) => tracing::warn!(%error, "a call failed"),
    }
}

/// Calls a peer whenever there is no session with it.
async fn call(shared: Arc<Shared>, peer: PeerPlace) {
    let mut wait = WAIT_MIN;
    loop {
        if !shared.is_live(peer.id) {
            let began = Instant::now();
            match connect(&shared, &peer).await {
                Ok(session) => {
                    lock(&shared.failed).remove(&peer.id);
                    shared.run(session, shared.me).await;
                    // Who stayed for a while is called again soon.
                    if began.elapsed() > WAIT_MAX {
                        wait = WAIT_MIN;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot be reached; is called again in {} s", wait.as_secs());
                    let failed = CallFailed::new(error.to_string(), wait);
                    lock(&shared.failed).insert(peer.id, failed);
                }
            }
        }
        tokio::time::sleep(with_chance(wait)).await;
        wait = if shared.is_live(peer.id) { WAIT_MIN } else { (wait * 3 / 2).min(WAIT_MAX) };
    }
}

/// A tenth longer or shorter, so that sites that lost a peer together do not call it together.
fn with_chance(wait: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0) % 201;
    wait * u32::try_from(900 + chance).unwrap_or(1000) / 1000
}

/// Why a peer is not reached.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error("{address}: {source}; write address = \"HOST:PORT\"")]
    Name { address: String, source: std::io::Error },
    #[error("{address}: has no address")]
    NoAddress { address: String },
    #[error(transparent)]
    Control(#[from] ControlError),
}

async fn connect(shared: &Shared, peer: &PeerPlace) -> Result<Peer, Unreachable> {
    let address = peer.address.clone().unwrap_or_default();
    let found = tokio::net::lookup_host(&address).await;
    let found = found.map_err(|source| Unreachable::Name { address: address.clone(), source })?;
    let found: Vec<SocketAddr> = found.collect();
    let mut last = Unreachable::NoAddress { address };
    for addr in found {
        match shared.engine.connect(addr, peer.id, shared.options()).await {
            Ok(session) => return Ok(session),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
