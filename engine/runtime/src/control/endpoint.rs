//! The QUIC endpoint on the shared port: connects to sites and admits those that are allowed.
//!
//! ```text
//! port -> receiving thread -> ControlSocket::deliver -> [endpoint] -> admission -> handshake
//!      -> identity check -> accept()
//! ```
//! It does not receive, does not retry connections and keeps no list of sites.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{
    AsyncTimer, AsyncUdpSocket, ConnectError, Connecting, ConnectionError, Endpoint, Incoming,
    VarInt,
};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::admission::{Admission, AdmissionCounts, Attempt, RecentAttempts, Verdict};
use super::connection::ControlConnection;
use super::opening::{Opening, Openings};
use super::socket::{self, ControlSocket, Vouched};
use super::{CRYPTO_ACCESS_DENIED, ControlError, HANDSHAKE_DEADLINE, PeerFault, transport};
use crate::identity::{Identity, SiteId};
use crate::net::Port;
use crate::net::link::{LinkId, LinkUse};
use crate::seal::Side;
use crate::tls::{self, Allow, FoundSite};

/// Connections that wait to be accepted; behind them, handshakes keep their places.
const READY_MAX: usize = 32;
/// Shortest time between two nudges that QUIC gets.
const NUDGE_SPACING: Duration = Duration::from_millis(250);
/// Stands where TLS wants a server name; it is not sent and not checked.
const SERVER_NAME: &str = "farhaul";

/// A connection for `accept`, which is on its way to a session.
type Ready = (ControlConnection, Opening);

/// The control channel of a site.
pub struct ControlEndpoint {
    endpoint: Endpoint,
    socket: Arc<ControlSocket>,
    identity: Identity,
    admission: Arc<Admission>,
    openings: Openings,
    ready: Mutex<mpsc::Receiver<Ready>>,
    acceptor: Option<JoinHandle<()>>,
    nudger: JoinHandle<()>,
    runtime: Handle,
}

impl ControlEndpoint {
    /// Sets up QUIC on `port`, driven by `runtime`. With `allow`, sites that it approves can
    /// connect; without, attempts are ignored.
    ///
    /// Whoever receives on the port must hand every datagram that is no lane packet to
    /// [`Self::socket`].
    pub fn new(
        port: impl Into<Port>,
        identity: &Identity,
        allow: Option<Allow>,
        runtime: Handle,
    ) -> Result<Self, ControlError> {
        let _within = runtime.enter();
        let port = port.into();
        let number = port.udp().local_addr().port();
        let socket = Arc::new(ControlSocket::new(port));
        let server = allow.map(|allow| server_config(identity, allow)).transpose()?;
        let accepts = server.is_some();
        let endpoint = Endpoint::new_with_abstract_socket(
            transport::endpoint_config(identity, accepts.then_some(number)),
            server,
            Arc::<ControlSocket>::clone(&socket),
            Arc::new(OnHandle(runtime.clone())),
        )?;
        let admission = Arc::new(Admission::new());
        let openings = Openings::default();
        let (sender, ready) = mpsc::channel(READY_MAX);
        let acceptor = Acceptor {
            endpoint: endpoint.clone(),
            socket: Arc::clone(&socket),
            recent: RecentAttempts::default(),
            admission: Arc::clone(&admission),
            openings: openings.clone(),
            local: identity.id(),
            ready: sender,
        };
        let acceptor = accepts.then(|| runtime.spawn(acceptor.run()));
        let nudger = runtime.spawn(pass_nudges(endpoint.clone(), Arc::clone(&socket)));
        let ready = Mutex::new(ready);
        let identity = identity.clone();
        Ok(Self {
            endpoint,
            socket,
            identity,
            admission,
            openings,
            ready,
            acceptor,
            nudger,
            runtime,
        })
    }

    /// Where received datagrams go.
    pub const fn socket(&self) -> &Arc<ControlSocket> {
        &self.socket
    }

    /// Connections on their way to a session of ours.
    pub const fn openings(&self) -> &Openings {
        &self.openings
    }

    /// The limits of attempts to connect to us, on whichever carrier.
    pub(crate) const fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// What became of attempts to connect to us.
    pub fn counts(&self) -> AdmissionCounts {
        self.admission.counts()
    }

    /// Connects to the site `expect` at `addr`; done when the peer has proven who it is. Whether it
    /// accepts us is known a round trip later: a refusal ends the connection as
    /// [`ControlError::Refused`] at its first use, and nobody waits for a welcome.
    ///
    /// Errors: `Unreachable` after 10 s without an answer, `WrongIdentity`, `Refused`, and
    /// whatever else [`ControlError`] names.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expect: SiteId,
    ) -> Result<ControlConnection, ControlError> {
        self.connect_within(addr, expect, HANDSHAKE_DEADLINE).await
    }

    /// [`Self::connect`] with another deadline than the usual one.
    pub async fn connect_within(
        &self,
        addr: SocketAddr,
        expect: SiteId,
        deadline: Duration,
    ) -> Result<ControlConnection, ControlError> {
        if !self.socket.reaches(addr) || LinkId::of(addr).is_some() {
            return Err(ControlError::Address { addr });
        }
        self.connect_along(addr, self.socket.vouch(addr), expect, deadline).await
    }

    /// Connects to the site `expect` over a link, as [`Self::connect`] does over UDP.
    pub(crate) async fn connect_over(
        &self,
        link: LinkUse,
        expect: SiteId,
    ) -> Result<ControlConnection, ControlError> {
        let (addr, remote) = (link.link.id.address(), link.link.remote);
        let over = link.over();
        let vouched = self.socket.vouch_for_link(link);
        tokio::select! {
            connected = self.connect_along(addr, vouched, expect, HANDSHAKE_DEADLINE) => connected,
            Some(end) = over => Err(socket::link_error(end, remote)),
        }
    }

    async fn connect_along(
        &self,
        addr: SocketAddr,
        vouched: Arc<Vouched>,
        expect: SiteId,
        deadline: Duration,
    ) -> Result<ControlConnection, ControlError> {
        let begun = Instant::now();
        let found = FoundSite::default();
        let attempt = async {
            let connecting = self.begin(addr, expect, Arc::clone(&found))?;
            let handshake = connecting.await;
            let connection = handshake.map_err(|error| ControlError::of_connection(error, addr))?;
            ControlConnection::new(connection, self.identity.id(), Side::Client, vouched)
        };
        let outcome = timeout(deadline, attempt).await;
        match (outcome, found.get()) {
            (Ok(Ok(connection)), _) => Ok(connection),
            (_, Some(&found)) if found != expect => {
                Err(ControlError::WrongIdentity { expected: expect, found })
            }
            (Err(_) | Ok(Err(ControlError::Timeout { .. })), _) => {
                Err(ControlError::Unreachable { addr, after: begun.elapsed() })
            }
            (Ok(Err(error)), _) => Err(error),
        }
    }

    fn begin(
        &self,
        addr: SocketAddr,
        expect: SiteId,
        found: FoundSite,
    ) -> Result<Connecting, ControlError> {
        let tls = tls::client_config(&self.identity, expect, found)?;
        let config = transport::client_config(tls).map_err(no_cipher)?;
        let _within = self.runtime.enter();
        self.endpoint.connect_with(config, addr, SERVER_NAME).map_err(|error| match error {
            ConnectError::InvalidRemoteAddress(_) => ControlError::Address { addr },
            other => ControlError::Local(io::Error::other(other)),
        })
    }

    /// The next site that connected; `None` when the endpoint is closed or admits nobody. It
    /// counts as opening until the second part is dropped.
    pub async fn accept(&self) -> Option<(ControlConnection, Opening)> {
        self.ready.lock().await.recv().await
    }

    /// Ends all connections and admits no more.
    pub fn close(&self, code: u32, reason: &str) {
        self.endpoint.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits until the ends of all connections were told to their peers.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Drop for ControlEndpoint {
    fn drop(&mut self) {
        self.nudger.abort();
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
    }
}

impl fmt::Debug for ControlEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEndpoint")
            .field("identity", &self.identity)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// An IPv4 address in its own form, where a dual-stack port speaks of it as IPv6.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, addr.port()),
        _ => addr,
    }
}

/// To QUIC the same socket looks like another one, on which every connection says a word at once: the
/// peer learns its new address, and the timers begin anew with the answer.
async fn pass_nudges(endpoint: Endpoint, socket: Arc<ControlSocket>) {
    loop {
        socket.nudged().await;
        if let Err(error) = endpoint.rebind_abstract(Arc::<ControlSocket>::clone(&socket)) {
            tracing::debug!(%error, "QUIC was not nudged");
        }
        tokio::time::sleep(NUDGE_SPACING).await;
    }
}

fn server_config(identity: &Identity, allow: Allow) -> Result<quinn::ServerConfig, ControlError> {
    transport::server_config(tls::server_config(identity, allow)?).map_err(no_cipher)
}

/// QUIC needs AES-128-GCM for its first packets; the provider in use has it.
fn no_cipher(error: quinn::crypto::rustls::NoInitialCipherSuite) -> ControlError {
    ControlError::Local(io::Error::other(error))
}

/// Takes in attempts to connect.
struct Acceptor {
    endpoint: Endpoint,
    socket: Arc<ControlSocket>,
    recent: RecentAttempts,
    admission: Arc<Admission>,
    openings: Openings,
    local: SiteId,
    ready: mpsc::Sender<Ready>,
}

impl Acceptor {
    async fn run(mut self) {
        while let Some(incoming) = self.endpoint.accept().await {
            let (addr, id) = (incoming.remote_address(), incoming.orig_dst_cid());
            let proven = incoming.remote_address_validated();
            if self.recent.has(Attempt { addr, id, proven }, Instant::now()) {
                incoming.ignore();
                continue;
            }
            let link = LinkId::of(addr).is_some();
            let verdict = match link {
                true => self.admission.judge_within_link(),
                false => self.admission.judge(addr, proven),
            };
            match verdict {
                Verdict::Admit(permit) => self.shake(incoming, permit),
                Verdict::Retry => {
                    if let Err(error) = incoming.retry() {
                        error.into_incoming().refuse();
                    }
                }
                Verdict::Refuse => incoming.refuse(),
            }
        }
    }

    /// Shakes hands in a task of its own; the permit bounds how many there are.
    fn shake(&self, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let (admission, ready) = (Arc::clone(&self.admission), self.ready.clone());
        let (local, opening) = (self.local, self.openings.begin());
        let socket = Arc::clone(&self.socket);
        tokio::spawn(async move {
            let _permit = permit;
            match timeout(HANDSHAKE_DEADLINE, handshake(incoming, local, &socket)).await {
                Ok(Ok(connection)) => {
                    // If nobody takes it, dropping the connection closes it.
                    let _taken =
                        timeout(HANDSHAKE_DEADLINE, ready.send((connection, opening))).await;
                }
                Ok(Err(error)) if is_unwelcome(&error) => admission.note_unwelcome(),
                Ok(Err(_)) | Err(_) => admission.note_failed(),
            }
        });
    }
}

async fn handshake(
    incoming: Incoming,
    local: SiteId,
    socket: &ControlSocket,
) -> Result<ControlConnection, ControlError> {
    let addr = canonical(incoming.remote_address());
    let link = socket.seize_link(addr);
    if link.is_none() && LinkId::of(addr).is_some() {
        // It carries another connection already, or has just ended.
        incoming.refuse();
        return Err(ControlError::Reset);
    }
    let failed = |error: ConnectionError| ControlError::of_connection(error, addr);
    let connection = incoming.accept().map_err(failed)?.await.map_err(failed)?;
    // The peer could finish only with what we sent to its address (RFC 9000 section 8.1).
    let vouched = match link {
        Some(link) => socket.vouch_for_link(link),
        None => socket.vouch(addr),
    };
    ControlConnection::new(connection, local, Side::Server, vouched)
}

/// True when the handshake ended because our own check of the peer's key failed.
fn is_unwelcome(error: &ControlError) -> bool {
    matches!(error, ControlError::Peer(PeerFault::Transport { code: CRYPTO_ACCESS_DENIED }))
}

/// Drives QUIC on a given runtime, wherever it is called from.
#[derive(Debug)]
struct OnHandle(Handle);

impl quinn::Runtime for OnHandle {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _within = self.0.enter();
        quinn::TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
