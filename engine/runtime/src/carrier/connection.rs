//! One connection: TCP, then TLS, then frames both ways, and an end with a reason.
//!
//! It does what can be done at the moment and never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farhaul_proto::wire::carrier::FrameBuffer;
use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{FAREWELL, LINK_IDLE, UNUSED_MAX, failed, options};
use crate::control::admission::Admission;
use crate::control::{ControlError, ControlSocket, HANDSHAKE_DEADLINE};
use crate::identity::SiteId;
use crate::net::PacketKind;
use crate::net::link::{Inbound, Link, LinkEnd, LinkUse, Links};
use crate::tls::{self, FoundSite};
use crate::wake::Waker;

/// Bytes read from a socket at once.
const READ_LEN: usize = 64 << 10;
/// Frames put into TLS at once: two records.
const WRITE_LEN: usize = 32 << 10;
/// Plain bytes of a stream that are looked at together.
const FRAMES_LEN: usize = 32 << 10;
/// Reads or writes of one connection before others get their turn.
const ROUNDS: usize = 4;
/// Stands where TLS wants a server name; it is not sent and not checked.
const SERVER_NAME: &str = "farhaul";

/// What connections share: where datagrams go, and memory for one read and one write.
pub(super) struct Room {
    pub(super) links: Links,
    pub(super) control: Arc<ControlSocket>,
    pub(super) admission: Arc<Admission>,
    pub(super) driver: Waker,
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Room {
    pub(super) fn new(
        links: Links,
        control: Arc<ControlSocket>,
        admission: Arc<Admission>,
        driver: Waker,
    ) -> Self {
        let input = vec![0; READ_LEN].into_boxed_slice();
        Self { links, control, admission, driver, input, output: Vec::new() }
    }
}

/// Who waits for a link that is being made.
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Result<LinkUse, ControlError>>,
    pub(super) expect: SiteId,
    pub(super) found: FoundSite,
    pub(super) begun: Instant,
}

/// Whose handshake it is.
enum Origin {
    Ours(Caller),
    /// Somebody's; the permit counts as half-open.
    Theirs {
        _permit: OwnedSemaphorePermit,
    },
}

enum Stage {
    Connecting(Caller),
    Shaking(Origin),
    Open {
        link: Arc<Link>,
        /// The site that connected to us.
        site: Option<SiteId>,
    },
    /// Nothing is sent any more; what comes is dropped, so that our last words are not.
    Leaving,
}

/// A connection at some stage.
pub(super) struct Connection {
    socket: TcpStream,
    tls: rustls::Connection,
    remote: SocketAddr,
    stage: Stage,
    since: Instant,
    heard: Instant,
    frames: FrameBuffer,
    /// Lane packets that the driver did not take yet: nothing more is read meanwhile.
    held: Option<Inbound>,
    /// The socket took no more.
    full: bool,
}

impl Connection {
    /// A connection of ours, under way.
    pub(super) fn dial(
        socket: TcpStream,
        remote: SocketAddr,
        config: ClientConfig,
        caller: Caller,
    ) -> Result<Self, ControlError> {
        let name = ServerName::try_from(SERVER_NAME).expect("a valid name");
        let tls = ClientConnection::new(Arc::new(config), name)?;
        Ok(Self::new(socket, remote, tls.into(), Stage::Connecting(caller)))
    }

    /// A connection of somebody.
    pub(super) fn accepted(
        socket: TcpStream,
        remote: SocketAddr,
        config: Arc<ServerConfig>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, rustls::Error> {
        options::tune(&socket);
        let tls = ServerConnection::new(config)?;
        let stage = Stage::Shaking(Origin::Theirs { _permit: permit });
        Ok(Self::new(socket, remote, tls.into(), stage))
    }

    fn new(socket: TcpStream, remote: SocketAddr, tls: rustls::Connection, stage: Stage) -> Self {
        let (now, frames) = (Instant::now(), FrameBuffer::new(FRAMES_LEN));
        let (since, heard, held, full) = (now, now, None, false);
        Self { socket, tls, remote, stage, since, heard, frames, held, full }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.held.is_none());
        flags.set(PollFlags::OUT, self.full || matches!(self.stage, Stage::Connecting(_)));
        flags
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// True for a link.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// The site that connected to us, if this is a link.
    pub(super) const fn site(&self) -> Option<SiteId> {
        match &self.stage {
            Stage::Open { site, .. } => *site,
            _ => None,
        }
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub(super) fn turn(&mut self, ready: PollFlags, room: &mut Room) -> Result<(), LinkEnd> {
        self.check_times()?;
        if matches!(self.stage, Stage::Connecting(_)) && !self.connected(ready)? {
            return Ok(());
        }
        self.full &= !ready.contains(PollFlags::OUT);
        self.unload(room);
        if self.held.is_none() && ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
        {
            self.read(room)?;
        }
        self.flush(room)
    }

    fn check_times(&self) -> Result<(), LinkEnd> {
        let late = |since: Instant, span: Duration| since.elapsed() >= span;
        match &self.stage {
            Stage::Connecting(_) | Stage::Shaking(_) if late(self.since, HANDSHAKE_DEADLINE) => {
                Err(LinkEnd::Silent)
            }
            Stage::Open { .. } if late(self.heard, LINK_IDLE) => Err(LinkEnd::Silent),
            Stage::Open { link, .. } if !link.is_taken() && late(self.since, UNUSED_MAX) => {
                Err(LinkEnd::Lost("nobody used it".to_owned()))
            }
            // The library says goodbye a moment after the last user has gone.
            Stage::Open { link, .. } if link.released_for().is_some_and(|s| s >= FAREWELL) => {
                Err(LinkEnd::Lost("it is done with".to_owned()))
            }
            Stage::Leaving if late(self.since, FAREWELL) => Err(LinkEnd::Silent),
            _ => Ok(()),
        }
    }

    /// The kernel's answer to our wish to connect, once it has one.
    fn connected(&mut self, ready: PollFlags) -> Result<bool, LinkEnd> {
        if ready.is_empty() {
            return Ok(false);
        }
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(lost(&error)),
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Leaving) {
            Stage::Connecting(caller) => Stage::Shaking(Origin::Ours(caller)),
            other => other,
        };
        Ok(true)
    }

    fn read(&mut self, room: &mut Room) -> Result<(), LinkEnd> {
        for _ in 0..ROUNDS {
            let len = match self.socket.read(&mut room.input) {
                Ok(0) => return Err(LinkEnd::Lost("the peer closed it".to_owned())),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(lost(&error)),
            };
            if matches!(self.stage, Stage::Leaving) {
                continue;
            }
            self.heard = Instant::now();
            room.links.meter().read(len);
            let input = std::mem::take(&mut room.input);
            let taken = self.take_in(&input[..len], room);
            room.input = input;
            taken?;
            self.unload(room);
            if self.held.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens what came, and hands the datagrams in it over.
    fn take_in(&mut self, mut bytes: &[u8], room: &mut Room) -> Result<(), LinkEnd> {
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).map_err(|error| lost(&error))?;
            let state = self.tls.process_new_packets().map_err(|error| broken(&error))?;
            if matches!(self.stage, Stage::Shaking(_)) {
                if self.tls.is_handshaking() {
                    continue;
                }
                self.open(room)?;
            }
            self.take_datagrams(room)?;
            if state.peer_has_closed() {
                return Err(LinkEnd::Lost("the peer closed it".to_owned()));
            }
        }
        Ok(())
    }

    /// The handshake is complete: from here on there is a link. A client's verdict on us may still
    /// be on its way.
    fn open(&mut self, room: &Room) -> Result<(), LinkEnd> {
        if self.tls.alpn_protocol() != Some(tls::CARRIER_ALPN) {
            return Err(LinkEnd::Lost("it speaks another protocol".to_owned()));
        }
        let theirs = matches!(self.stage, Stage::Shaking(Origin::Theirs { .. }));
        let presented = self.tls.peer_certificates().filter(|_| theirs);
        let site = presented.and_then(tls::site_of);
        let link = room.links.add(self.remote);
        let open = Stage::Open { link: Arc::clone(&link), site };
        self.since = Instant::now();
        if let Stage::Shaking(Origin::Ours(caller)) = std::mem::replace(&mut self.stage, open)
            && let Some(used) = room.links.seize(link.id)
        {
            // Whoever gave up waiting drops it, and so ends it.
            let _ = caller.reply.send(Ok(used));
        }
        Ok(())
    }

    fn take_datagrams(&mut self, room: &mut Room) -> Result<(), LinkEnd> {
        let Stage::Open { link, .. } = &self.stage else { return Ok(()) };
        let (link, from) = (link.id, link.id.address());
        let held = self.held.get_or_insert_with(|| Inbound { link, frames: Vec::new() });
        loop {
            let len = match self.tls.reader().read(self.frames.space()) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(lost(&error)),
            };
            self.frames.filled(len);
            let fault = |_| LinkEnd::Lost("what came is no frame".to_owned());
            while let Some(datagram) = self.frames.pull().map_err(fault)? {
                room.links.meter().received_packets(1);
                match PacketKind::of(datagram) {
                    PacketKind::Control => {
                        room.control.deliver(from, 0, datagram);
                    }
                    PacketKind::Lane => held.push(datagram),
                }
            }
        }
        Ok(())
    }

    /// Hands lane packets to the driver, if it takes them.
    fn unload(&mut self, room: &Room) {
        let Some(held) = self.held.take().filter(|held| !held.frames.is_empty()) else { return };
        self.held = room.links.deliver(held).err();
        room.driver.wake();
    }

    /// Sends what waits, until the socket is full or the turn is over.
    fn flush(&mut self, room: &mut Room) -> Result<(), LinkEnd> {
        for round in 0.. {
            self.write_records(room)?;
            let Stage::Open { link, .. } = &self.stage else { return Ok(()) };
            if self.full || round == ROUNDS {
                return Ok(());
            }
            room.output.clear();
            let taken = link.take(&mut room.output, WRITE_LEN);
            room.links.meter().sent_packets(taken.frames);
            if taken.room_again {
                room.driver.wake();
            }
            if room.output.is_empty() {
                return Ok(());
            }
            self.tls.writer().write_all(&room.output).map_err(|error| lost(&error))?;
        }
        Ok(())
    }

    fn write_records(&mut self, room: &Room) -> Result<(), LinkEnd> {
        while self.tls.wants_write() && !self.full {
            match self.tls.write_tls(&mut self.socket) {
                Ok(len) => room.links.meter().sent_bytes(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(())
    }

    /// True when the turn ended with something left to send that the socket has room for.
    pub(super) fn has_more(&self) -> bool {
        match &self.stage {
            Stage::Open { link, .. } => !self.full && !link.is_empty(),
            _ => false,
        }
    }

    /// Ends the connection and tells who has to know. True when it has last words to say, and has
    /// to be kept until they are said.
    pub(super) fn end(&mut self, end: LinkEnd, room: &Room) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Leaving) {
            Stage::Leaving => return false,
            Stage::Connecting(caller) | Stage::Shaking(Origin::Ours(caller)) => {
                caller.tell(end, self.remote);
                return false;
            }
            Stage::Shaking(Origin::Theirs { .. }) => match end {
                LinkEnd::Refused => room.admission.note_unwelcome(),
                LinkEnd::Silent | LinkEnd::Lost(_) => room.admission.note_failed(),
            },
            Stage::Open { link, .. } => {
                tracing::debug!(remote = %self.remote, %end, "a link ended");
                room.links.remove(&link, end);
                self.tls.send_close_notify();
            }
        }
        // An alert, or that nothing follows.
        let _ = self.write_records(room);
        let _ = self.socket.shutdown(Shutdown::Write);
        self.held = None;
        self.since = Instant::now();
        true
    }
}

impl Caller {
    fn tell(self, end: LinkEnd, addr: SocketAddr) {
        let error = match (self.found.get(), end) {
            (Some(&found), _) if found != self.expect => {
                ControlError::WrongIdentity { expected: self.expect, found }
            }
            (_, LinkEnd::Refused) => ControlError::Refused { addr },
            (_, LinkEnd::Silent) => ControlError::Unreachable { addr, after: self.begun.elapsed() },
            (_, LinkEnd::Lost(why)) => failed(addr, &io::Error::other(why)),
        };
        let _ = self.reply.send(Err(error));
    }
}

fn lost(error: &io::Error) -> LinkEnd {
    match error.kind() {
        ErrorKind::TimedOut => LinkEnd::Silent,
        _ => LinkEnd::Lost(error.to_string()),
    }
}

/// What an error of TLS says: whether somebody's key was judged, by the peer or by us.
fn broken(error: &rustls::Error) -> LinkEnd {
    use rustls::{CertificateError, Error};
    match error {
        Error::AlertReceived(AlertDescription::AccessDenied)
        | Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            LinkEnd::Refused
        }
        error => LinkEnd::Lost(error.to_string()),
    }
}
