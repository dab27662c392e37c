//! Links over TCP: where UDP does not pass, the same datagrams travel as frames in one TLS 1.3
//! connection, which shows a stranger nothing but a handshake. spec: W-110
//!
//! ```text
//! driver, QUIC -> Port -> Link's queues -> [carrier thread] -> TLS -> TCP
//! TCP -> TLS -> frames -> [carrier thread] -> QUIC: ControlSocket; lanes: Links -> driver
//! ```
//! One thread owns every connection. It knows frames, not packets: what is in them has its own
//! keys. It neither paces nor repeats; TCP does both, and a full queue is told to who sends.

mod connection;
mod options;
mod thread;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use rustls::ServerConfig;
use tokio::sync::oneshot;

use crate::control::admission::Admission;
use crate::control::{ControlError, ControlSocket, HANDSHAKE_DEADLINE, IDLE_LIMIT};
use crate::identity::{Identity, SiteId};
use crate::net::link::{LinkEnd, LinkUse, Links};
use crate::tls::{self, Allow, FoundSite};
use crate::wake::{WakeSource, Waker};
use connection::{Caller, Connection};
pub(crate) use options::listen;
use thread::{Order, Worker};

/// Links at once.
const LINKS_MAX: usize = 256;
/// Links that one site may have towards us: more than it may have sessions.
const LINKS_PER_SITE: usize = 24;
/// A link on which nothing was heard for so long is dead. QUIC keeps its connection alive, and
/// gives up first.
const LINK_IDLE: Duration = IDLE_LIMIT.saturating_add(Duration::from_secs(5));
/// A link on which no session begins is closed.
const UNUSED_MAX: Duration = HANDSHAKE_DEADLINE.saturating_mul(2);
/// How long an ended connection may take to say its last words.
const FAREWELL: Duration = Duration::from_millis(500);
/// What happened when the thread has panicked.
const BROKEN: &str = "the carrier broke down; this is a bug";
/// Attempts to connect waiting for the thread at most.
const ORDERS_MAX: usize = 64;

/// What the thread works with.
pub(crate) struct CarrierParts {
    pub(crate) identity: Identity,
    /// Where others connect, and who may.
    pub(crate) listener: Option<(TcpListener, Allow)>,
    pub(crate) links: Links,
    pub(crate) wake: WakeSource,
    pub(crate) control: Arc<ControlSocket>,
    pub(crate) admission: Arc<Admission>,
    /// Wakes the driver: lane packets came, or a link has room.
    pub(crate) driver: Waker,
}

/// The way to the carrier thread; ends it when dropped.
pub(crate) struct Carriers {
    orders: Sender<Order>,
    bell: Waker,
    identity: Identity,
    thread: Option<JoinHandle<()>>,
}

impl Carriers {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread for us, or the TLS library refuses our key.
    pub(crate) fn start(parts: CarrierParts) -> Result<Self, ControlError> {
        let (orders, receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        let (bell, identity) = (parts.wake.waker(), parts.identity.clone());
        let links = parts.links.clone();
        let mut worker = Worker::new(parts, receiver)?;
        let thread = std::thread::Builder::new().name("farhaul-carrier".to_owned());
        let thread = thread.spawn(move || {
            run_to_the_end(&links, || worker.run());
            // Those who wait for a link learn that they get none.
            drop(worker);
        })?;
        Ok(Self { orders, bell, identity, thread: Some(thread) })
    }

    /// Opens a link to the site `expect` at `addr`, and takes it into use.
    ///
    /// # Errors
    /// Those of an attempt to connect, as [`ControlError`] names them.
    pub(crate) async fn open(
        &self,
        addr: SocketAddr,
        expect: SiteId,
    ) -> Result<LinkUse, ControlError> {
        let found = FoundSite::default();
        let config = tls::carrier_client_config(&self.identity, expect, Arc::clone(&found))?;
        let begun = Instant::now();
        let socket = options::connect(addr).map_err(|error| failed(addr, &error))?;
        let (reply, answer) = oneshot::channel();
        let caller = Caller { reply, expect, found, begun };
        let connection = Connection::dial(socket, addr, config, caller)?;
        let order = Order::Take(Box::new(connection));
        self.orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(_) => io::Error::other("too many attempts at once").into(),
            TrySendError::Disconnected(_) => gone(addr),
        })?;
        self.bell.wake();
        // The thread is not told to stop while somebody asks it: it did not answer because it died.
        answer.await.map_err(|_| gone(addr))?
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        self.bell.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs the thread's work. If it panics, nothing moves on any link any more: they end at once, and
/// who uses them need not find out by silence.
fn run_to_the_end(links: &Links, work: impl FnOnce()) {
    // What the work held is not looked at again, only dropped.
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("the carrier panicked: nothing is carried over TCP any more");
        links.remove_all(&LinkEnd::Lost(BROKEN.to_owned()));
    }
}

fn gone(addr: SocketAddr) -> ControlError {
    ControlError::Carrier { addr, why: BROKEN.to_owned() }
}

fn failed(addr: SocketAddr, error: &io::Error) -> ControlError {
    ControlError::Carrier { addr, why: error.to_string() }
}

fn server_config(identity: &Identity, allow: Allow) -> Result<Arc<ServerConfig>, ControlError> {
    Ok(Arc::new(tls::carrier_server_config(identity, allow)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They hung until QUIC had heard nothing for three minutes.
    #[tokio::test]
    async fn links_end_at_once_when_the_thread_that_owns_them_panics() {
        let links = Links::new(None);
        let link = links.add(SocketAddr::from(([192, 0, 2, 1], 7411)));
        let used = links.seize(link.id).expect("nobody else has it");
        let over = used.over();
        run_to_the_end(&links, || panic!("on purpose"));
        let end = over.await.expect("the link ended, not its use");
        assert_eq!(end, LinkEnd::Lost(BROKEN.to_owned()));
        let sent = links.send(link.id, 4, &[0x10; 4]);
        assert_eq!(sent.expect_err("no link").kind(), io::ErrorKind::NotConnected);
    }
}
