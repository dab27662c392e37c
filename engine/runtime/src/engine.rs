//! The engine's face: start, connect, accept, stop. One port, one driver thread, one disk engine.
//!
//! It knows nothing of files; transfers are conversations over a [`Peer`].

use crate::buffers::BufferPool;
use crate::control::{
    ControlConnection, ControlEndpoint, ControlError, ControlReceiver, ControlSender,
};
use crate::disk::{DiskConfig, DiskError, DiskKind};
use crate::driver::command::{
    Command, GivenUp, HeldRuns, LaneKeys, NewSession, SessionEvent, SessionKey, SessionStats,
};
use crate::driver::{Driver, Parts};
use crate::identity::{Identity, SiteId};
use crate::net::{PortConfig, UdpPort};
use crate::objects::{BlockSink, BlockSource};
use crate::tls::Allow;
use crate::wake::{WakeSource, Waker};
use crossbeam_channel::Sender;
use farhaul_proto::congestion::Policy;
use farhaul_proto::fec::{BlockShape, FecPolicy};
use farhaul_proto::ids::{BlockIndex, ObjectId};
use farhaul_proto::limits::{BLOCK_DATA, SYMBOL_SIZE, SYMBOL_SIZE_SMALL};
use farhaul_proto::objects::{BlockRun, ObjectError, Reopened};
use farhaul_proto::session::SessionConfig;
use farhaul_proto::units::{BitRate, Bytes};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands waiting for the driver at most.
const COMMANDS_MAX: usize = 4096;
/// Events of a session waiting for its listener at most.
const EVENTS_MAX: usize = 4096;
/// Requests at the disk at once.
const DISK_DEPTH: usize = 32;
/// How long the driver may take to answer.
const STATS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long closing may take.
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// Share of the buffers that one session may fill in each direction.
const SESSION_SHARE: u32 = 2;

/// How an engine is set up.
pub struct EngineConfig {
    /// UDP address to bind; port 0 for any.
    pub listen: SocketAddr,
    /// Who we are.
    pub identity: Identity,
    /// Who may connect; `None`: nobody.
    pub allow: Option<Allow>,
    /// Which disk engine.
    pub disk: DiskKind,
    /// Memory for blocks under way; bounds the product of rate and round trip that can be
    /// filled: a third of it may be in flight.
    pub buffers: Bytes,
    /// Threads for FEC and hashing.
    pub workers: usize,
}

/// What shapes the data that we send in a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// How the path is shared.
    pub policy: Policy,
    /// Never faster than this.
    pub cap: Option<BitRate>,
    /// When to use repair symbols.
    pub fec: FecPolicy,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address cannot be used.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No memory for the buffers.
    #[error("cannot set up {size} of buffers: {source}")]
    Buffers {
        /// How much.
        size: Bytes,
        /// Why.
        source: io::Error,
    },
    /// No disk engine.
    #[error("cannot start the disk engine: {0}")]
    Disk(#[from] DiskError),
    /// The control channel cannot be set up.
    #[error("cannot set up the control channel: {0}")]
    Control(#[from] ControlError),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The driver has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// A running engine.
pub struct Engine {
    control: ControlEndpoint,
    port: Arc<UdpPort>,
    mailbox: Mailbox,
    next_key: AtomicU64,
    session_blocks: u32,
    disk_name: &'static str,
    thread: Option<JoinHandle<()>>,
}

/// The way to the driver.
#[derive(Clone)]
struct Mailbox {
    commands: Sender<Command>,
    waker: Waker,
}

impl Mailbox {
    /// The queue is bounded; a full one means that the driver is far behind, so waiting is right.
    fn post(&self, command: Command) -> Result<(), EngineError> {
        let posted = self.commands.send(command).map_err(|_| EngineError::Stopped);
        self.waker.wake();
        posted
    }

    async fn stats(&self, key: SessionKey) -> Option<SessionStats> {
        let (reply, answer) = oneshot::channel();
        self.post(Command::Stats(key, reply)).ok()?;
        tokio::time::timeout(STATS_WAIT_MAX, answer).await.ok()?.ok()
    }
}

impl Engine {
    /// Starts an engine; must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EngineError`] says what could not be set up.
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        crate::files::raise_open_files();
        let addr = config.listen;
        let port = UdpPort::bind(addr, PortConfig::default())
            .map_err(|source| EngineError::Bind { addr, source })?;
        let runtime = tokio::runtime::Handle::current();
        let control =
            ControlEndpoint::new(Arc::clone(&port), &config.identity, config.allow, runtime)?;
        let slots = slots_for(config.buffers);
        let pool = BufferPool::new(slots, slot_len())
            .map_err(|source| EngineError::Buffers { size: config.buffers, source })?;
        let wake = WakeSource::new().map_err(EngineError::Thread)?;
        let waker = wake.waker();
        let disk_config = DiskConfig { depth: DISK_DEPTH, threads: 4, pool: &pool, direct: false };
        let disk = crate::disk::open(config.disk, disk_config, wake.waker())?;
        let disk_name = disk.name();
        let (commands, receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        let parts = Parts {
            port: Arc::clone(&port),
            control: Arc::clone(control.socket()),
            commands: receiver,
            wake,
            pool,
            disk,
            workers: config.workers,
        };
        let driver = Driver::new(parts).map_err(EngineError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("farhaul-driver".to_owned())
            .spawn(move || driver.run())
            .map_err(EngineError::Thread)?;
        Ok(Self {
            control,
            port,
            mailbox: Mailbox { commands, waker },
            next_key: AtomicU64::new(0),
            session_blocks: u32::try_from(slots).unwrap_or(u32::MAX) / SESSION_SHARE,
            disk_name,
            thread: Some(thread),
        })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// The disk engine in use.
    pub const fn disk_name(&self) -> &'static str {
        self.disk_name
    }

    /// Opens a session with the site `id` at `addr`.
    ///
    /// # Errors
    /// [`ControlError`] says who is at fault.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        id: SiteId,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        let connection = self.control.connect(addr, id).await?;
        let (sender, receiver) = connection.open_stream().await?;
        self.admit(connection, sender, receiver, options)
    }

    /// Waits for the next connection of an allowed site; `None` once the engine stops.
    pub async fn accept(&self) -> Option<Incoming> {
        let connection = self.control.accept().await?;
        Some(Incoming { connection })
    }

    /// Turns an incoming connection into a session: waits for its control stream.
    ///
    /// # Errors
    /// [`ControlError`]: the peer went away, or took too long.
    pub async fn welcome(
        &self,
        incoming: Incoming,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        let (sender, receiver) = incoming.connection.accept_stream().await?;
        self.admit(incoming.connection, sender, receiver, options)
    }

    fn admit(
        &self,
        connection: ControlConnection,
        sender: ControlSender,
        receiver: ControlReceiver,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        let key = SessionKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        let secrets = connection.lane_secrets(0)?;
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let config = SessionConfig {
            policy: options.policy,
            cap: options.cap,
            start_hint: (options.policy == Policy::Fixed).then_some(options.cap).flatten(),
            fec: options.fec,
            initial_rtt: connection.rtt(),
            send_blocks: self.session_blocks,
            recv_blocks: self.session_blocks,
            // The tag is random and known to both ends; it only has to differ between sessions.
            seed: secrets.send.tag().get(),
        };
        let lane = LaneKeys::from_secrets(&secrets);
        let peer = connection.addr;
        let new = NewSession { key, lane, peer, config, events: events_in };
        let session = SessionHandle { key, mailbox: self.mailbox.clone() };
        session.mailbox.post(Command::Add(Box::new(new))).map_err(|_| ControlError::ClosedHere)?;
        Ok(Peer { connection, sender, receiver, session, events })
    }

    /// Closes all sessions and waits until the peers have been told.
    pub async fn close(&self) {
        self.control.close(0, "done");
        let _ = tokio::time::timeout(CLOSE_MAX, self.control.wait_idle()).await;
    }

    /// Closes all sessions and stops the driver.
    pub async fn stop(self) {
        self.close().await;
    }

    fn end(&mut self) {
        let _ = self.mailbox.post(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection that has proven who it is and asked for nothing yet.
pub struct Incoming {
    connection: ControlConnection,
}

impl Incoming {
    /// Who it is.
    pub fn id(&self) -> SiteId {
        self.connection.peer
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.connection.addr
    }
}

/// A session with a peer, seen from the conversation.
pub struct Peer {
    /// The connection beneath.
    pub connection: ControlConnection,
    /// Control messages to the peer.
    pub sender: ControlSender,
    /// Control messages from the peer.
    pub receiver: ControlReceiver,
    /// The lane.
    pub session: SessionHandle,
    /// What the lane tells.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// The driver's end of a session; dropping it removes the session.
pub struct SessionHandle {
    key: SessionKey,
    mailbox: Mailbox,
}

impl Peer {
    /// A way to ask for the session's figures while somebody else owns it.
    pub fn probe(&self) -> SessionProbe {
        SessionProbe { key: self.session.key, mailbox: self.session.mailbox.clone() }
    }
}

/// Asks for a session's figures; does not keep it alive.
#[derive(Clone)]
pub struct SessionProbe {
    key: SessionKey,
    mailbox: Mailbox,
}

impl SessionProbe {
    /// Figures of this moment; `None` once the session is over.
    pub async fn stats(&self) -> Option<SessionStats> {
        self.mailbox.stats(self.key).await
    }
}

/// Why a command to a session did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// The session is over.
    #[error("the session is over")]
    Gone,
    /// The object cannot be declared so.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl SessionHandle {
    /// Its name within the engine.
    pub const fn key(&self) -> SessionKey {
        self.key
    }

    /// Looks for the path's rate before there is data.
    pub fn warm_up(&self) {
        let _ = self.mailbox.post(Command::WarmUp(self.key));
    }

    /// Declares an object to send.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn declare_send(
        &self,
        len: Bytes,
        held: HeldRuns,
        source: Arc<dyn BlockSource>,
    ) -> Result<ObjectId, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::DeclareSend { session, len, held, source, reply }).await
    }

    /// Declares an object to receive.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn declare_recv(
        &self,
        len: Bytes,
        held: HeldRuns,
        sink: Arc<dyn BlockSink>,
    ) -> Result<ObjectId, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::DeclareRecv { session, len, held, sink, reply }).await
    }

    /// Sends blocks that the peer wrongly claimed: all runs or none, as one reopening.
    ///
    /// # Errors
    /// [`SessionFault`]; [`ObjectError::GivenUp`] in it says that the object failed meanwhile.
    pub async fn reopen_send(
        &self,
        object: ObjectId,
        runs: Vec<BlockRun>,
    ) -> Result<Reopened, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::ReopenSend { session, object, runs, reply }).await
    }

    /// Expects blocks that we wrongly claimed: all runs or none, as one reopening.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn reopen_recv(
        &self,
        object: ObjectId,
        runs: Vec<BlockRun>,
    ) -> Result<Reopened, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::ReopenRecv { session, object, runs, reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ObjectError>>) -> Command,
    ) -> Result<T, SessionFault> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.post(command(reply)).map_err(|_| SessionFault::Gone)?;
        Ok(answer.await.map_err(|_| SessionFault::Gone)??)
    }

    /// Lets the source of an object go. Until then it is kept, for the peer may turn out to lack
    /// blocks it claimed; a block reopened afterwards fails the object.
    pub fn forget_send(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::ForgetSend(self.key, object));
    }

    /// Lets the sink of an object go. Until then it is kept, for the peer may reopen blocks; one
    /// reopened afterwards fails the object.
    pub fn forget_recv(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::ForgetRecv(self.key, object));
    }

    /// Stops sending an object and lets its source go.
    pub fn abandon_send(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::AbandonSend(self.key, object));
    }

    /// Stops receiving an object that the peer gave up, and lets its sink go.
    pub fn abandon_recv(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::AbandonRecv(self.key, object, GivenUp::ByPeer));
    }

    /// Sends a block again from its start.
    pub fn restart_send(&self, block: BlockIndex) {
        let _ = self.mailbox.post(Command::RestartSend(self.key, block));
    }

    /// Changes policy and cap.
    pub fn set_policy(&self, policy: Policy, cap: Option<BitRate>) {
        let _ = self.mailbox.post(Command::SetPolicy(self.key, policy, cap));
    }

    /// Figures of this moment; `None` once the session is over.
    pub async fn stats(&self) -> Option<SessionStats> {
        self.mailbox.stats(self.key).await
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        let _ = self.mailbox.post(Command::Remove(self.key));
    }
}

/// Bytes that the source symbols of a full block take at most.
fn slot_len() -> usize {
    let full = [SYMBOL_SIZE, SYMBOL_SIZE_SMALL]
        .into_iter()
        .filter_map(|size| BlockShape::new(BLOCK_DATA, size).ok().map(BlockShape::source_len));
    full.max().unwrap_or_default()
}

fn slots_for(buffers: Bytes) -> usize {
    (buffers.as_len() / slot_len().max(1)).clamp(8, 4096)
}
