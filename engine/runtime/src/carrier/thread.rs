//! The thread that owns every link: waits for sockets and for those who send, and gives each
//! connection its turn.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::ops::Bound;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ServerConfig;

use super::connection::{Connection, Room};
use super::{CarrierParts, FAREWELL, LINKS_MAX, LINKS_PER_SITE, server_config};
use crate::control::ControlError;
use crate::control::admission::Verdict;
use crate::net::link::LinkEnd;
use crate::wake::WakeSource;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Connections accepted before the others get their turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Connections at once, those included that are being told to go.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after an accept that failed: the socket stays readable and would be asked at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(250);

/// What the thread is told.
pub(super) enum Order {
    /// Take care of this connection.
    Take(Box<Connection>),
    /// Say goodbye everywhere, and end.
    Stop,
}

/// The state of the thread.
pub(super) struct Worker {
    orders: Receiver<Order>,
    wake: WakeSource,
    room: Room,
    listener: Option<(TcpListener, Arc<ServerConfig>)>,
    /// Not before this is the listener asked again.
    accept_at: Option<Instant>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Who has the next turn first.
    first: u64,
    /// By then everybody was told.
    stopping: Option<Instant>,
}

impl Worker {
    pub(super) fn new(parts: CarrierParts, orders: Receiver<Order>) -> Result<Self, ControlError> {
        let CarrierParts { identity, listener, links, wake, control, admission, driver } = parts;
        let listener = match listener {
            Some((listener, allow)) => Some((listener, server_config(&identity, allow)?)),
            None => None,
        };
        let room = Room::new(links, control, admission, driver);
        let (accept_at, connections, stopping) = (None, BTreeMap::new(), None);
        let (next, first) = (0, 0);
        Ok(Self { orders, wake, room, listener, accept_at, connections, next, first, stopping })
    }

    /// Works until told to stop.
    pub(super) fn run(&mut self) {
        loop {
            let ready = self.wait();
            self.take_orders();
            self.accept();
            self.serve(&ready);
            if let Some(until) = self.stopping
                && (self.connections.is_empty() || Instant::now() >= until)
            {
                return;
            }
        }
    }

    /// Sleeps until something can be done; which connections are ready for what.
    fn wait(&mut self) -> BTreeMap<u64, PollFlags> {
        self.accept_at = self.accept_at.filter(|&at| at > Instant::now());
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if let Some((listener, _)) = self.listener.as_ref().filter(|_| self.accept_at.is_none()) {
            fds.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
        }
        let first = fds.len();
        for connection in self.connections.values() {
            fds.push(PollFd::from_borrowed_fd(connection.fd(), connection.interest()));
        }
        let more = self.connections.values().any(Connection::has_more);
        let idle = self.connections.is_empty() && self.accept_at.is_none();
        let timeout = match (more, idle) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => None,
            (false, false) => Some(TICK),
        };
        let timeout = timeout.and_then(|span| Timespec::try_from(span).ok());
        if let Err(errno) = poll(&mut fds, timeout.as_ref())
            && errno != rustix::io::Errno::INTR
        {
            tracing::error!(%errno, "poll failed");
        }
        let rung = fds[0].revents().contains(PollFlags::IN);
        let flags = fds[first..].iter().map(PollFd::revents);
        let ready = self.connections.keys().copied().zip(flags).collect();
        drop(fds);
        if rung {
            self.wake.drain();
        }
        ready
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Take(connection) => self.add(*connection),
                Order::Stop => {
                    self.listener = None;
                    self.stopping = Some(Instant::now() + FAREWELL);
                    let end = || LinkEnd::Lost("this site is being stopped".to_owned());
                    let connections = std::mem::take(&mut self.connections);
                    for (name, mut connection) in connections {
                        // What waits is the end of a conversation.
                        let _ = connection.turn(PollFlags::OUT, &mut self.room);
                        if connection.end(end(), &self.room) {
                            self.connections.insert(name, connection);
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, connection: Connection) {
        self.connections.insert(self.next, connection);
        self.next += 1;
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.accept_at.is_some() {
                return;
            }
            let Some((listener, config)) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, remote)) => {
                    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                    // The address is proven: it completed TCP's own handshake.
                    let Verdict::Admit(permit) = self.room.admission.judge(remote, true) else {
                        continue;
                    };
                    if self.connections.len() >= CONNECTIONS_MAX {
                        continue;
                    }
                    let config = Arc::clone(config);
                    let accepted = socket
                        .set_nonblocking(true)
                        .is_ok()
                        .then(|| Connection::accepted(socket, remote, config, permit));
                    if let Some(Ok(connection)) = accepted {
                        self.add(connection);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a TCP connection could not be accepted");
                    self.accept_at = Some(Instant::now() + ACCEPT_RETRY);
                }
            }
        }
    }

    /// The connections in the order of their turns, another one first each time: whoever comes first
    /// may take all the room that the driver has.
    fn turns(&mut self) -> Vec<u64> {
        let names = |range| self.connections.range(range).map(|(&name, _)| name);
        let later = (Bound::Included(self.first), Bound::Unbounded);
        let turns: Vec<u64> =
            names(later).chain(names((Bound::Unbounded, Bound::Excluded(self.first)))).collect();
        self.first = turns.first().map_or(0, |first| first + 1);
        turns
    }

    fn serve(&mut self, ready: &BTreeMap<u64, PollFlags>) {
        for name in self.turns() {
            let Some(mut connection) = self.connections.remove(&name) else { continue };
            let flags = ready.get(&name).copied().unwrap_or(PollFlags::empty());
            let shaking = !connection.is_open();
            let turned = connection.turn(flags, &mut self.room);
            let turned = turned.and_then(|()| self.check_room(&connection, shaking));
            let stays = match turned {
                Ok(()) => true,
                Err(end) => connection.end(end, &self.room),
            };
            if stays {
                self.connections.insert(name, connection);
            }
        }
    }

    /// A link that has just been made may be one too many.
    fn check_room(&self, connection: &Connection, was_shaking: bool) -> Result<(), LinkEnd> {
        if !was_shaking || !connection.is_open() {
            return Ok(());
        }
        let others = self.connections.values();
        let of_site = |site| others.clone().filter(|other| other.site() == Some(site)).count();
        let crowded = connection.site().is_some_and(|site| of_site(site) >= LINKS_PER_SITE);
        let open = others.clone().filter(|other| other.is_open()).count();
        if crowded || open >= LINKS_MAX {
            return Err(LinkEnd::Lost("there are too many links".to_owned()));
        }
        Ok(())
    }
}
