//! A link emulator between two UDP sockets of this machine: no namespaces, no privileges.
//!
//! The model is the simulator's (`farhaul_sim::link`), run against the clock: each datagram waits
//! in the link's queue, is lost or delayed as the profile says, and leaves at its time. It serves
//! one client and one server, and only on loopback.

use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_sim::link::{Fate, Link};
use farhaul_sim::profile::LinkProfile;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// UDP and IPv4 header, which count on a link.
const OVERHEAD: u64 = 28;
/// Largest datagram taken.
const DATAGRAM_MAX: usize = 2048;
/// Datagrams read from one socket before the others get their turn.
const BATCH: usize = 64;
/// Longest sleep, so that the end is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// Socket buffers: what arrives while the relay sleeps or sends.
const SOCKET_BUFFER: usize = 8 << 20;

/// A running relay; stops when dropped.
pub(super) struct Relay {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to `server` with the same link both ways.
    pub(super) fn start(server: SocketAddr, link: &LinkProfile, seed: u64) -> io::Result<Self> {
        let front = socket()?;
        let back = socket()?;
        back.connect(server)?;
        let addr = front.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            front,
            back,
            client: None,
            links: [Link::new(link.clone(), seed), Link::new(link.clone(), seed ^ 1)],
            waiting: BinaryHeap::new(),
            spare: Vec::new(),
            sequence: 0,
            origin: Instant::now(),
            stop: Arc::clone(&stop),
        };
        let thread =
            std::thread::Builder::new().name("demo-link".to_owned()).spawn(move || worker.run())?;
        Ok(Self { addr, stop, thread: Some(thread) })
    }

    /// Where the client should send to.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let tuned = socket2::SockRef::from(&socket);
    // The kernel may grant less; then more is lost than the profile says, which shows.
    let _ = tuned.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = tuned.set_send_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

/// Which way a datagram travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToServer,
    ToClient,
}

/// A datagram on its way, ordered by its time of arrival and then by age.
type Waiting = Reverse<(Timestamp, u64, Way, Vec<u8>)>;

struct Worker {
    front: UdpSocket,
    back: UdpSocket,
    client: Option<SocketAddr>,
    links: [Link; 2],
    waiting: BinaryHeap<Waiting>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    sequence: u64,
    origin: Instant,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let more = self.take(Way::ToServer) | self.take(Way::ToClient);
            self.deliver();
            if !more {
                self.sleep();
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// Reads what came in; true when there may be more.
    fn take(&mut self, way: Way) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..BATCH {
            let received = match way {
                Way::ToServer => self.front.recv_from(&mut buffer),
                Way::ToClient => self.back.recv(&mut buffer).map(|len| (len, self.front_addr())),
            };
            let Ok((len, from)) = received else { return false };
            if way == Way::ToServer {
                self.client = Some(from);
            }
            self.offer(way, &buffer[..len]);
        }
        true
    }

    fn front_addr(&self) -> SocketAddr {
        self.client.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn offer(&mut self, way: Way, datagram: &[u8]) {
        let now = self.now();
        let link = &mut self.links[way as usize];
        let bytes = Bytes::new(datagram.len() as u64 + OVERHEAD);
        let Fate::Deliver { at, duplicate_at, corrupt } = link.offer(bytes, now) else { return };
        // Damage is one copy's: the other one arrives whole.
        let copies = [Some((at, corrupt)), duplicate_at.map(|at| (at, false))];
        for (at, corrupt) in copies.into_iter().flatten() {
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(datagram);
            if corrupt && let Some(byte) = copy.last_mut() {
                *byte ^= 1;
            }
            self.sequence += 1;
            self.waiting.push(Reverse((at, self.sequence, way, copy)));
        }
    }

    fn deliver(&mut self) {
        let now = self.now();
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, way, datagram))) = self.waiting.pop() else { return };
            // A full socket buffer or a peer that is gone is a lost packet, as on any link.
            let _ = match (way, self.client) {
                (Way::ToServer, _) => self.back.send(&datagram),
                (Way::ToClient, Some(client)) => self.front.send_to(&datagram, client),
                (Way::ToClient, None) => Ok(0),
            };
            self.spare.push(datagram);
        }
    }

    fn sleep(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let due = self.waiting.peek().map(|Reverse((at, ..))| at.since(self.now()));
        let span = due.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
        let mut fds =
            [PollFd::new(&self.front, PollFlags::IN), PollFd::new(&self.back, PollFlags::IN)];
        let timeout = Timespec::try_from(span).ok();
        // Interrupted or not: the loop looks again.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::Ratio;

    fn endpoint() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    #[test]
    fn datagrams_pass_both_ways() {
        let (server, client) = (endpoint(), endpoint());
        let relay = Relay::start(server.local_addr().unwrap(), &LinkProfile::default(), 1).unwrap();
        client.send_to(b"ping", relay.addr()).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"ping");
        server.send_to(b"pong", from).unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"pong"[..], relay.addr()));
    }

    /// Both copies were damaged by one draw, as no link does it.
    #[test]
    fn the_second_copy_of_a_damaged_datagram_is_whole() {
        let (server, client) = (endpoint(), endpoint());
        let always = Ratio::new(1.0);
        let link = LinkProfile { duplicate: always, corrupt: always, ..LinkProfile::default() };
        let relay = Relay::start(server.local_addr().unwrap(), &link, 1).unwrap();
        client.send_to(b"ping", relay.addr()).unwrap();
        let mut buffer = [0; 16];
        let whole = [(); 2].map(|()| {
            let (len, _) = server.recv_from(&mut buffer).unwrap();
            &buffer[..len] == b"ping"
        });
        assert_eq!(whole, [false, true]);
    }
}
