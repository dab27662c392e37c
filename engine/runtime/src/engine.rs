//! The engine's face: start, connect, accept, stop. One port, one driver thread, one disk engine.
//!
//! It knows nothing of files; transfers are conversations over a [`Peer`].

mod carriers;
mod counts;
mod flows;
mod options;
mod seats;
mod session;

pub use carriers::TcpPort;
pub use counts::EngineCounts;
pub use flows::{FlowControl, FlowFault};
pub use options::SessionOptions;
pub use session::{NoAnswer, Peer, SessionFault, SessionHandle, SessionProbe};

use crate::buffers::BufferPool;
use crate::carrier::Carriers;
use crate::control::{
    CLOSE_BUSY, CLOSE_FAILED, CLOSE_SHUTDOWN, ControlConnection, ControlEndpoint, ControlError,
    ControlReceiver, ControlSender, HANDSHAKE_DEADLINE, Opening,
};
use crate::disk::{DiskConfig, DiskError, DiskKind};
pub use crate::driver::command::LinkNumber;
use crate::driver::command::{Command, LaneKeys, NewSession, SessionKey};
use crate::driver::{Driver, Parts};
use crate::identity::{Identity, SiteId};
use crate::net::{Port, PortConfig, Traffics, UdpPort};
use crate::remember::{PathStore, Remembered};
use crate::tls::Allow;
use crate::wake::WakeSource;
use carriers::Ports;
use farhaul_proto::congestion::Policy;
use farhaul_proto::fec::BlockShape;
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::session::SessionConfig;
use farhaul_proto::units::{BitRate, Bytes};
use ring::rand::{SecureRandom, SystemRandom};
use seats::{NoSeat, Seat, Seats};
use session::Mailbox;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Commands waiting for the driver at most.
const COMMANDS_MAX: usize = 4096;
/// Events of a session waiting for its listener at most.
const EVENTS_MAX: usize = 4096;
/// Requests at the disk at once.
const DISK_DEPTH: usize = 32;
/// Threads of the disk engine that works everywhere.
const DISK_THREADS: usize = 4;
/// How long closing may take: until the last words and their copies have left (50 ms after them, see
/// `control::repeat`). QUIC would stay for three of its time-outs to repeat itself, half a second at 100 ms.
const CLOSE_MAX: Duration = Duration::from_millis(100);
/// How often the counters are logged.
const COUNTS_EVERY: Duration = Duration::from_secs(60);
/// Receive memory below which a fast path overruns the socket while the driver is not scheduled.
const RECV_BUFFER_MIN: Bytes = Bytes::mib(16);

/// How an engine is set up.
pub struct EngineConfig {
    /// UDP address to bind; port 0 for any.
    pub listen: SocketAddr,
    /// Where to accept sites that UDP does not reach.
    pub tcp: TcpPort,
    /// Who we are.
    pub identity: Identity,
    /// Who may connect; `None`: nobody.
    pub allow: Option<Allow>,
    /// Where to remember what paths carried, and to look for it; `None`: nowhere.
    pub paths: Option<Arc<PathStore>>,
    /// Which disk engine.
    pub disk: DiskKind,
    /// Memory for blocks under way; bounds the product of rate and round trip that can be
    /// filled: a third of it may be in flight.
    pub buffers: Bytes,
    /// Threads for FEC and hashing.
    pub workers: usize,
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
    /// The TCP port cannot be used.
    #[error("cannot listen on TCP {addr}: {source}")]
    BindTcp {
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
    /// The driver panicked: nothing is received any more.
    #[error("the engine broke down; this is a bug, please report it")]
    Broken,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Randomness,
}

/// A running engine.
pub struct Engine {
    control: Arc<ControlEndpoint>,
    port: Port,
    mailbox: Mailbox,
    next_key: AtomicU64,
    session_blocks: u32,
    paths: Option<Arc<PathStore>>,
    disk_name: &'static str,
    /// The disk engine that took its place.
    fallback_disk: Arc<OnceLock<&'static str>>,
    seats: Seats,
    broken: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    carriers: Carriers,
    tcp_addr: Option<SocketAddr>,
    /// Logs the counters now and then.
    reporter: tokio::task::JoinHandle<()>,
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
        warn_of_small_buffer(&port);
        let runtime = tokio::runtime::Handle::current();
        let tcp = if config.allow.is_some() { config.tcp } else { TcpPort::Off };
        let ports = Ports::open(Arc::clone(&port), tcp)?;
        let (identity, allow) = (config.identity, config.allow);
        let control = ControlEndpoint::new(ports.port.clone(), &identity, allow.clone(), runtime)?;
        let control = Arc::new(control);
        let slots = slots_for(config.buffers);
        let pool = BufferPool::new(slots, slot_len())
            .map_err(|source| EngineError::Buffers { size: config.buffers, source })?;
        let wake = WakeSource::new().map_err(EngineError::Thread)?;
        let waker = wake.waker();
        let disk = crate::disk::open(config.disk, disk_config(&pool), wake.waker())?;
        let disk_name = disk.name();
        let (spare_pool, spare_waker) = (pool.clone(), wake.waker());
        let spare_disk =
            move || crate::disk::open(DiskKind::Threads, disk_config(&spare_pool), spare_waker);
        let fallback_disk = Arc::default();
        let (commands, receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        let driver = Driver::new(Parts {
            port: ports.port.clone(),
            control: Arc::clone(control.socket()),
            openings: control.openings().clone(),
            commands: receiver,
            wake,
            pool,
            disk,
            spare_disk: Some(Box::new(spare_disk)),
            fallback_disk: Arc::clone(&fallback_disk),
            workers: config.workers,
        });
        let driver = driver.map_err(EngineError::Thread)?;
        let shared_port = ports.port.clone();
        let broken = Arc::<AtomicBool>::default();
        let thread = spawn(driver, Arc::clone(&control), Arc::clone(&broken))?;
        let tcp_addr = ports.tcp_addr();
        let carriers = ports.start(&control, identity, allow, waker.clone())?;
        let mailbox = Mailbox { commands, waker };
        let counters = (Arc::clone(&control), Arc::clone(&port), mailbox.clone());
        Ok(Self {
            control,
            port: shared_port,
            mailbox,
            next_key: AtomicU64::new(0),
            // Half of the buffers for each direction, as long as nobody else wants them.
            session_blocks: u32::try_from(slots / 2).unwrap_or(u32::MAX),
            paths: config.paths,
            disk_name,
            fallback_disk,
            seats: Seats::default(),
            broken,
            thread: Some(thread),
            carriers,
            tcp_addr,
            reporter: tokio::spawn(report(counters.0, counters.1, counters.2)),
        })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.port.udp().local_addr()
    }

    /// Where sites connect that UDP does not reach, if anywhere.
    pub const fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp_addr
    }

    /// The disk engine in use.
    pub fn disk_name(&self) -> &'static str {
        self.fallback_disk.get().copied().unwrap_or(self.disk_name)
    }

    /// Why the engine ended without being told to, once it has: [`Self::accept`] yields nothing
    /// then, and sessions are over.
    pub fn failure(&self) -> Option<EngineError> {
        self.broken.load(Ordering::Acquire).then_some(EngineError::Broken)
    }

    /// What was dropped, refused or could not be sent so far.
    pub async fn counts(&self) -> EngineCounts {
        counts(&self.control, self.port.udp(), &self.mailbox).await
    }

    /// What each carrier moved so far.
    pub fn traffic(&self) -> Traffics {
        self.port.traffic()
    }

    /// From now on no more than `up` leaves of all sessions over a link together, counted at IP level
    /// (`None`: no bound): shared by the classes of their flows and by weight ([`FlowControl::weigh`]), and what one does not use is the
    /// others'. In any 200 ms it is exceeded by no more than 2 %, reports aside, which count but do not
    /// wait. The control channel is no part of it. Which sessions are over it [`FlowControl::put_over`]
    /// says; all are over link 0 until then.
    pub fn shape_link(&self, link: LinkNumber, up: Option<BitRate>) {
        let _ = self.mailbox.post(Command::ShapeLink(link, up));
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
        self.admit(connection, sender, receiver, options, Admission::default())
    }

    /// Opens a session with the site `id` over a TCP connection to `addr`: what it can do is the
    /// same, and how fast is up to TCP.
    ///
    /// # Errors
    /// [`ControlError`] says who is at fault.
    pub async fn connect_over_tcp(
        &self,
        addr: SocketAddr,
        id: SiteId,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        let link = self.carriers.open(addr, id).await?;
        let connection = self.control.connect_over(link, id).await?;
        let (sender, receiver) = connection.open_stream().await?;
        self.admit(connection, sender, receiver, options, Admission::default())
    }

    /// Waits for the next connection of an allowed site; `None` once the engine stops, or has
    /// failed: see [`Self::failure`].
    pub async fn accept(&self) -> Option<Incoming> {
        let (connection, opening) = self.control.accept().await?;
        Some(Incoming { connection, opening })
    }

    /// Turns an incoming connection into a session: waits for its control stream, as long as for
    /// a handshake.
    ///
    /// # Errors
    /// [`ControlError`]: the peer went away, said nothing, or has too many sessions.
    pub async fn welcome(
        &self,
        incoming: Incoming,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        let Incoming { connection, opening } = incoming;
        let seat = match self.seats.take(connection.peer, Instant::now()) {
            Ok(seat) => seat,
            Err(why) => {
                let site = connection.peer;
                connection.close(CLOSE_BUSY, "no more sessions now");
                return Err(match why {
                    NoSeat::Full => ControlError::TooManySessions { site },
                    NoSeat::Barred => ControlError::Barred { site },
                });
            }
        };
        let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, connection.accept_stream()).await;
        let Ok(stream) = stream else {
            connection.close(CLOSE_FAILED, "no control stream came");
            return Err(ControlError::Timeout { addr: connection.addr });
        };
        let (sender, receiver) = stream?;
        let admission = Admission { seat: Some(seat), opening: Some(opening) };
        self.admit(connection, sender, receiver, options, admission)
    }

    fn admit(
        &self,
        connection: ControlConnection,
        sender: ControlSender,
        receiver: ControlReceiver,
        options: SessionOptions,
        admission: Admission,
    ) -> Result<Peer, ControlError> {
        let key = SessionKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        if let Some(floor) = options.bounds.floor().filter(|_| connection.carrier.is_reliable()) {
            tracing::warn!(%floor, "a minimum rate has no effect over TCP, its own control decides");
        }
        let secrets = connection.lane_secrets(0)?;
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let remembered = match (options.policy, &self.paths) {
            (Policy::Fair | Policy::High, Some(paths)) => Remembered::of(paths, &connection),
            // It is to hold a rate, or to take what is left: what the path carried is neither.
            _ => None,
        };
        let hint = remembered.as_ref().and_then(|remembered| remembered.hint);
        let fixed = options.policy == Policy::Fixed;
        let config = SessionConfig {
            carrier: connection.carrier,
            policy: options.policy,
            bounds: options.bounds,
            start_hint: if fixed { options.bounds.cap() } else { hint },
            fec: options.fec,
            initial_rtt: connection.rtt(),
            send_blocks: self.session_blocks,
            recv_blocks: self.session_blocks,
            seed: seed()?,
            peer: connection.path(),
        };
        let lane = LaneKeys::from_secrets(&secrets);
        let Admission { seat, opening } = admission;
        let pack = options.pack;
        let new = NewSession { key, lane, config, pack, events: events_in, opening };
        let session =
            SessionHandle { key, options, remembered, mailbox: self.mailbox.clone(), seat };
        session.mailbox.post(Command::Add(Box::new(new))).map_err(|_| ControlError::ClosedHere)?;
        Ok(Peer { connection, sender, receiver, session, events })
    }

    /// Closes all sessions and waits until the peers have been told. A transfer under way can be
    /// continued later, and its peer is told so.
    pub async fn close(&self) {
        self.control.close(CLOSE_SHUTDOWN, "shutting down");
        let _ = tokio::time::timeout(CLOSE_MAX, self.control.wait_idle()).await;
        let counts = self.counts().await;
        if !counts.is_clean() {
            tracing::info!(?counts, "not everything was taken");
        }
    }

    /// Closes all sessions and stops the driver.
    pub async fn stop(self) {
        self.close().await;
    }

    fn end(&mut self) {
        self.reporter.abort();
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

/// Runs the driver on a thread of its own. If it panics, nothing is received any more: then the
/// control channel is closed, so that peers and callers learn of it at once.
pub(crate) fn spawn(
    mut driver: Driver,
    control: Arc<ControlEndpoint>,
    broken: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, EngineError> {
    let run = move || {
        // What the driver held is not looked at again, only dropped.
        if catch_unwind(AssertUnwindSafe(|| driver.run())).is_err() {
            tracing::error!("the driver panicked: the engine takes nothing in any more");
            broken.store(true, Ordering::Release);
            control.close(CLOSE_FAILED, "the engine broke down");
        }
    };
    let thread = std::thread::Builder::new().name("farhaul-driver".to_owned());
    thread.spawn(run).map_err(EngineError::Thread)
}

const fn disk_config(pool: &BufferPool) -> DiskConfig<'_> {
    DiskConfig { depth: DISK_DEPTH, threads: DISK_THREADS, pool, direct: false }
}

/// What the numbers that the sender skips are drawn from: a peer that could compute them could
/// acknowledge what it did not receive.
fn seed() -> Result<u64, ControlError> {
    let mut seed = [0; 8];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(u64::from_ne_bytes(seed))
}

fn warn_of_small_buffer(port: &UdpPort) {
    // The kernel answers with twice what it grants, for its own bookkeeping.
    let granted = Bytes::new(port.recv_buffer().get() / 2);
    if granted < RECV_BUFFER_MIN {
        tracing::warn!(
            %granted,
            "the system grants a small receive buffer: above about 1 Gbit/s packets are lost in \
             this host; `sysctl -w net.core.rmem_max=33554432` mends it, and \
             systemd/60-farhaul-sysctl.conf keeps it so"
        );
    }
}

async fn counts(control: &ControlEndpoint, port: &UdpPort, mailbox: &Mailbox) -> EngineCounts {
    EngineCounts {
        // A driver that has ended dropped nothing more.
        lanes: mailbox.ask(Command::Drops).await.unwrap_or_default(),
        admission: control.counts(),
        socket_drops: port.receiver_drops(),
        truncated: port.truncated(),
        control_dropped: control.socket().dropped(),
        control_unsent: control.socket().unsent(),
    }
}

/// Logs the counters as long as they change.
async fn report(control: Arc<ControlEndpoint>, port: Arc<UdpPort>, mailbox: Mailbox) {
    let mut before = EngineCounts::default();
    loop {
        tokio::time::sleep(COUNTS_EVERY).await;
        let counts = counts(&control, &port, &mailbox).await;
        if counts != before {
            tracing::debug!(?counts, "counters");
            before = counts;
        }
    }
}

/// A connection that has proven who it is and asked for nothing yet.
pub struct Incoming {
    connection: ControlConnection,
    opening: Opening,
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

/// What a session has that a peer opened.
#[derive(Default)]
struct Admission {
    seat: Option<Seat>,
    opening: Option<Opening>,
}

/// Bytes that the source symbols of a full block take at most.
pub(crate) fn slot_len() -> usize {
    BlockShape::room(BLOCK_DATA)
}

fn slots_for(buffers: Bytes) -> usize {
    (buffers.as_len() / slot_len().max(1)).clamp(8, 4096)
}
