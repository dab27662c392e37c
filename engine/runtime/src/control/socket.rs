//! What the QUIC library takes for its socket: straight out on the port, in from a bounded queue.
//!
//! It never reads the port. Datagrams that find the queue full are dropped and counted, as a
//! network would; QUIC recovers. Sparse ones are sent again a moment later, see [`super::repeat`].

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use farhaul_proto::units::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time;

use super::ControlError;
use super::endpoint::canonical;
use super::repeat::{self, Repeats};
use crate::net::Port;
use crate::net::link::{LinkEnd, LinkId, LinkUse};
use crate::sys::udp;

/// Datagrams waiting for the QUIC library at most: two windows of 256 KiB.
const QUEUE_MAX: usize = 512;
/// The largest QUIC datagram taken; the library announces 1,472 to its peers.
const DATAGRAM_MAX: usize = 1500;
/// Datagrams that wait to be sent again at most; a handshake has about ten.
const REPEATS_WAITING_MAX: usize = 64;

/// The port as the QUIC library sees it.
pub struct ControlSocket {
    port: Port,
    /// The port did not take the last datagram. Only then it is watched for room: a watched socket
    /// wakes the runtime for every packet that leaves it, those of the lanes included.
    full: AtomicBool,
    inbox: Mutex<Inbox>,
    repeats: Arc<Mutex<Repeats>>,
    repeats_waiting: Arc<Semaphore>,
    runtime: Handle,
    sent: Arc<AtomicU64>,
    received: AtomicU64,
    dropped: AtomicU64,
    unsent: AtomicU64,
    nudges: Notify,
}

/// A ring of datagrams in memory allocated once.
struct Inbox {
    memory: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Index of the oldest datagram.
    head: usize,
    len: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Slot {
    from: SocketAddr,
    ecn: u8,
    len: usize,
}

impl ControlSocket {
    /// Must be called within a runtime, which waits until it is time to repeat.
    pub(super) fn new(port: Port) -> Self {
        Self {
            port,
            full: AtomicBool::new(false),
            inbox: Mutex::new(Inbox::new()),
            repeats: Arc::new(Mutex::new(Repeats::new(Instant::now()))),
            repeats_waiting: Arc::new(Semaphore::new(REPEATS_WAITING_MAX)),
            runtime: Handle::current(),
            sent: Arc::default(),
            received: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            nudges: Notify::new(),
        }
    }

    /// The lanes learnt that the path is back, or another one: QUIC should not wait for its own timers,
    /// which may have doubled for minutes.
    pub fn nudge(&self) {
        self.nudges.notify_one();
    }

    /// Waits for a nudge.
    pub(super) async fn nudged(&self) {
        self.nudges.notified().await;
    }

    /// Hands over one datagram that is not a lane packet. Never waits; called by the thread that
    /// receives on the port, for each segment. True if it came, or claims to have come, from where
    /// somebody is known to be.
    pub fn deliver(&self, from: SocketAddr, ecn: u8, data: &[u8]) -> bool {
        // First, so that no answer is earlier.
        let is_known = LinkId::of(from).is_some()
            || lock(&self.repeats).heard(Instant::now(), from, Bytes::of_len(data.len()));
        let from = as_ipv6(from);
        let (taken, waker) = {
            let mut inbox = self.inbox();
            (inbox.push(from, ecn, data), inbox.waker.take())
        };
        if taken {
            self.received.fetch_add(data.len() as u64, Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        is_known
    }

    /// A connection or its lanes use `addr`, which we chose or somebody there has validated: what is
    /// sent there is not limited by what came from there.
    pub(crate) fn vouch(&self, addr: SocketAddr) -> Arc<Vouched> {
        lock(&self.repeats).vouch(Instant::now(), addr);
        let path = Path::Udp(addr, Arc::clone(&self.repeats));
        Arc::new(Vouched { path })
    }

    /// A connection uses a link: its handshake has proven the address long before.
    pub(super) fn vouch_for_link(&self, link: LinkUse) -> Arc<Vouched> {
        Arc::new(Vouched { path: Path::Link(link) })
    }

    /// The use of the link that `addr` stands for; `None` if it stands for none, or for one that
    /// is no more or has a user.
    pub(super) fn seize_link(&self, addr: SocketAddr) -> Option<LinkUse> {
        self.port.links().seize(LinkId::of(addr)?)
    }

    /// True when the port sends to addresses of this family.
    pub(super) fn reaches(&self, addr: SocketAddr) -> bool {
        addr.is_ipv4() || self.port.udp().local_addr().is_ipv6()
    }

    /// UDP payload sent so far, copies included; part of what the path carries.
    pub fn sent(&self) -> Bytes {
        Bytes::new(self.sent.load(Ordering::Relaxed))
    }

    /// UDP payload handed over so far.
    pub fn received(&self) -> Bytes {
        Bytes::new(self.received.load(Ordering::Relaxed))
    }

    /// Datagrams dropped because the queue was full or they were too long.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Datagrams that the kernel refused to send; to QUIC they are lost.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    /// A link loses nothing that it took, so nothing is repeated; it has room for a window of QUIC,
    /// and what it does not take comes again by itself.
    fn send_on_link(&self, to: SocketAddr, segment: usize, data: &[u8]) {
        match self.port.send_train(to, segment, data) {
            Ok(sent) if sent.failed == 0 => {
                self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => {
                self.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sends one datagram again, in a task that does not keep the port open.
    fn send_again(&self, to: SocketAddr, data: &[u8]) {
        let Ok(permit) = Arc::clone(&self.repeats_waiting).try_acquire_owned() else { return };
        let (port, data) = (Arc::downgrade(self.port.udp()), Box::<[u8]>::from(data));
        let (repeats, sent) = (Arc::clone(&self.repeats), Arc::clone(&self.sent));
        let begun = time::Instant::now();
        self.runtime.spawn(async move {
            let _permit = permit;
            for after in repeat::AFTER {
                time::sleep_until(begun + after).await;
                let Some(port) = Weak::upgrade(&port) else { return };
                let len = Bytes::of_len(data.len());
                // What the port does not take is lost, as a copy may be.
                if lock(&repeats).admits_copy(Instant::now(), to, len)
                    && port.send_train(to, data.len(), &data).is_ok_and(|sent| sent.datagrams > 0)
                {
                    sent.fetch_add(len.get(), Ordering::Relaxed);
                }
            }
        });
    }
}

/// Every statement on what is locked here leaves it valid, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// QUIC sees one family of addresses, whatever the port is bound to: links have IPv6 addresses.
fn as_ipv6(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => addr,
    }
}

/// The word of a connection, or of its lanes, for an address; dropped with them.
#[derive(Debug)]
pub(crate) struct Vouched {
    path: Path,
}

#[derive(Debug)]
enum Path {
    Udp(SocketAddr, Arc<Mutex<Repeats>>),
    Link(LinkUse),
}

impl Vouched {
    /// The link that the connection uses, if it uses one.
    pub(super) const fn link(&self) -> Option<&LinkUse> {
        match &self.path {
            Path::Udp(..) => None,
            Path::Link(link) => Some(link),
        }
    }

    /// What an error of the connection means: one that we closed because its link ended was lost.
    pub(super) fn explain(&self, error: ControlError) -> ControlError {
        match (error, self.link()) {
            (error @ (ControlError::ClosedHere | ControlError::Timeout { .. }), Some(used)) => {
                match used.end() {
                    Some(end) => link_error(end, used.link.remote),
                    None => error,
                }
            }
            (error, _) => error,
        }
    }
}

/// What the end of a link means to whoever used it.
pub(super) fn link_error(end: LinkEnd, addr: SocketAddr) -> ControlError {
    match end {
        LinkEnd::Refused => ControlError::Refused { addr },
        LinkEnd::Silent => ControlError::Timeout { addr },
        LinkEnd::Lost(why) => ControlError::Carrier { addr, why },
    }
}

impl Drop for Vouched {
    fn drop(&mut self) {
        if let Path::Udp(addr, repeats) = &self.path {
            lock(repeats).leave(Instant::now(), *addr);
        }
    }
}

impl Inbox {
    fn new() -> Self {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            memory: vec![0; QUEUE_MAX * DATAGRAM_MAX].into_boxed_slice(),
            slots: vec![Slot { from: nowhere, ecn: 0, len: 0 }; QUEUE_MAX].into_boxed_slice(),
            head: 0,
            len: 0,
            waker: None,
        }
    }

    fn push(&mut self, from: SocketAddr, ecn: u8, data: &[u8]) -> bool {
        if self.len == QUEUE_MAX || data.len() > DATAGRAM_MAX {
            return false;
        }
        let index = (self.head + self.len) % QUEUE_MAX;
        self.memory[index * DATAGRAM_MAX..][..data.len()].copy_from_slice(data);
        self.slots[index] = Slot { from, ecn, len: data.len() };
        self.len += 1;
        true
    }

    /// Moves the oldest datagram into `buffer`; one that does not fit is cut, as a socket does.
    fn pop(&mut self, buffer: &mut [u8]) -> Option<RecvMeta> {
        if self.len == 0 {
            return None;
        }
        let slot = self.slots[self.head];
        let len = slot.len.min(buffer.len());
        buffer[..len].copy_from_slice(&self.memory[self.head * DATAGRAM_MAX..][..len]);
        self.head = (self.head + 1) % QUEUE_MAX;
        self.len -= 1;
        let ecn = EcnCodepoint::from_bits(slot.ecn);
        Some(RecvMeta { addr: slot.from, len, stride: len, ecn, dst_ip: None })
    }
}

impl AsyncUdpSocket for ControlSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let len = transmit.contents.len();
        let segment = transmit.segment_size.unwrap_or(len);
        let (to, bytes) = (canonical(transmit.destination), Bytes::of_len(len));
        if LinkId::of(to).is_some() {
            self.send_on_link(to, segment, transmit.contents);
            return Ok(());
        }
        if !lock(&self.repeats).admits(Instant::now(), to, bytes) {
            // Lost, as far as QUIC knows. It asks again when its timer fires.
            return Ok(());
        }
        let sent = self.port.send_train(to, segment, transmit.contents);
        // A part can only be left of several datagrams; QUIC sends those again by itself.
        let outcome = sent.and_then(|sent| match sent.datagrams {
            0 if len > 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        });
        match outcome {
            Ok(()) => {
                self.sent.fetch_add(bytes.get(), Ordering::Relaxed);
                let again = lock(&self.repeats).is_copied(Instant::now(), to, bytes);
                // Several at once are no sparse traffic.
                if again && segment == len {
                    self.send_again(to, transmit.contents);
                }
                Ok(())
            }
            Err(error) => {
                lock(&self.repeats).take_back(Instant::now(), to, bytes);
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.full.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                // A route that is missing at the moment or a filter must not end the connection, as
                // the library would on an error: the datagram is lost, the timers do the rest.
                self.unsent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox();
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some(received) = inbox.pop(buffer) else { break };
            *meta = received;
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        match &mut inbox.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let port = self.port.udp().local_addr().port();
        Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl fmt::Debug for ControlSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlSocket")
            .field("port", &self.port)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// One task's wait for room in the send buffer, on a second descriptor of the socket.
struct WritePoller {
    socket: Arc<ControlSocket>,
    waiting: Option<Waiting>,
}

impl UdpPoller for WritePoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_none() && !this.socket.full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let waiting = this.waiting.get_or_insert_with(|| {
            let port = this.socket.port.clone();
            Box::pin(async move {
                let room = udp::watch_writable(port.udp().as_fd().try_clone_to_owned()?)?;
                room.writable().await.map(drop)
            })
        });
        let result = waiting.as_mut().poll(cx);
        if result.is_ready() {
            this.socket.full.store(false, Ordering::Relaxed);
            this.waiting = None;
        }
        result
    }
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritePoller").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{PortConfig, UdpPort};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_full_queue_refuses_and_a_datagram_too_long_is_not_cut() {
        let mut inbox = Inbox::new();
        assert!(!inbox.push(from(1), 0, &[0; DATAGRAM_MAX + 1]));
        for _ in 0..QUEUE_MAX {
            assert!(inbox.push(from(1), 0, &[0; DATAGRAM_MAX]));
        }
        assert!(!inbox.push(from(1), 0, &[0]));
        assert!(inbox.pop(&mut [0; DATAGRAM_MAX]).is_some());
        assert!(inbox.push(from(1), 0, &[0]));
    }

    #[tokio::test]
    async fn a_full_port_is_waited_for_and_one_that_is_not_is_not_watched() {
        let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)), PortConfig::default());
        let socket = Arc::new(ControlSocket::new(port.expect("loopback has a free port").into()));
        let mut poller = WritePoller { socket: Arc::clone(&socket), waiting: None };
        for full in [false, true] {
            socket.full.store(full, Ordering::Relaxed);
            let mut polls = 0;
            let room = std::future::poll_fn(|cx| {
                polls += 1;
                Pin::new(&mut poller).poll_writable(cx)
            });
            room.await.expect("it has room");
            assert_eq!(polls > 1, full, "asked {polls} times");
            assert!(!socket.full.load(Ordering::Relaxed) && poller.waiting.is_none());
        }
    }

    proptest! {
        #[test]
        fn the_ring_is_a_queue(steps in proptest::collection::vec((any::<bool>(), any::<u8>(), 0usize..40), 0..2000)) {
            let mut inbox = Inbox::new();
            let mut model = VecDeque::new();
            // Start near the end of the ring, so that it wraps.
            inbox.head = QUEUE_MAX - 5;
            for (push, byte, len) in steps {
                let data = vec![byte; len];
                if push {
                    let taken = inbox.push(from(u16::from(byte)), byte & 3, &data);
                    prop_assert_eq!(taken, model.len() < QUEUE_MAX);
                    if taken {
                        model.push_back(data);
                    }
                } else {
                    let mut buffer = [0; DATAGRAM_MAX];
                    let popped = inbox.pop(&mut buffer);
                    let expected = model.pop_front();
                    prop_assert_eq!(popped.is_some(), expected.is_some());
                    if let (Some(meta), Some(expected)) = (popped, expected) {
                        prop_assert_eq!(&buffer[..meta.len], &expected[..]);
                        prop_assert_eq!(meta.stride, meta.len);
                    }
                }
            }
        }
    }
}
