//! The driver: one thread that selects an input, applies it to a core, and drains the effects.
//!
//! It owns the port, the sessions and the buffers in flight. Packets are opened and sealed here;
//! everything that may block (disk, files) or takes milliseconds (FEC, hashing) runs elsewhere
//! and comes back as a completion.

mod blocks;
pub mod command;
mod commands;
mod completions;
mod early;
mod effects;
mod link;
pub mod receive;
mod recording;
mod session;
mod shares;
#[cfg(test)]
mod tests;
mod trace;
mod transmit;

use crate::buffers::BufferPool;
use crate::clock::{Clock, arrival};
use crate::control::{ControlSocket, Openings};
use crate::disk::{Completion, Disk, DiskError, Request};
use crate::net::{PacketKind, Port, RecvBatch};
use crate::wake::WakeSource;
use crate::work::WorkPool;
use blocks::{Done, Io};
use command::{Command, SessionKey};
use crossbeam_channel::Receiver;
use early::EarlyPackets;
use farhaul_proto::session::PacketPlan;
use farhaul_proto::units::Timestamp;
use receive::{Coming, LaneDrops, LaneTable};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use session::SessionBody;
use shares::Shares;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Receive calls before the sessions get their turn.
const RECEIVES_PER_TURN: usize = 8;
/// Longest sleep: events that found no room are offered again after it.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Pause after a receive call that failed: the socket stays readable and would be asked at once.
const RECEIVE_RETRY: Duration = Duration::from_millis(20);
/// Threads for calls into sources and sinks.
const FILE_THREADS: usize = 4;

/// The parts that a driver is made of.
pub(crate) struct Parts {
    pub(crate) port: Port,
    pub(crate) control: Arc<ControlSocket>,
    pub(crate) openings: Openings,
    pub(crate) commands: Receiver<Command>,
    pub(crate) wake: WakeSource,
    pub(crate) pool: BufferPool,
    pub(crate) disk: Box<dyn Disk>,
    /// Opens another disk engine if that one breaks.
    pub(crate) spare_disk: Option<SpareDisk>,
    /// Where the name of that one is put once it is in use.
    pub(crate) fallback_disk: Arc<OnceLock<&'static str>>,
    pub(crate) workers: usize,
}

/// Opens a disk engine.
pub(crate) type SpareDisk = Box<dyn FnOnce() -> Result<Box<dyn Disk>, DiskError> + Send>;

/// The state of the driver thread.
pub(crate) struct Driver {
    clock: Clock,
    port: Port,
    control: Arc<ControlSocket>,
    /// Handshakes and greetings under way: sessions to come.
    openings: Openings,
    commands: Receiver<Command>,
    wake: WakeSource,
    pool: BufferPool,
    sessions: BTreeMap<SessionKey, SessionBody>,
    lanes: LaneTable<SessionKey>,
    disk: Box<dyn Disk>,
    spare_disk: Option<SpareDisk>,
    fallback_disk: Arc<OnceLock<&'static str>>,
    /// The engine that broke, until it has given its requests back.
    broken_disk: Option<Box<dyn Disk>>,
    ios: HashMap<u64, Io>,
    next_token: u64,
    waiting_io: VecDeque<Request>,
    /// Hashing, encoding, decoding.
    work: WorkPool<Done>,
    /// Calls into sources and sinks, which may block on a file system.
    files: WorkPool<Done>,
    shares: Shares,
    /// What all sessions may send together.
    links: link::Links,
    /// Verified blocks whose sinks have no room at the moment.
    waiting_stores: VecDeque<effects::WaitingStore>,
    /// Not before this are those sinks asked again.
    stores_at: Timestamp,
    /// Lent out while its datagrams are worked on; making one anew would touch half a mebibyte.
    batch: Option<RecvBatch>,
    plans: Vec<PacketPlan>,
    train: transmit::Train,
    drops: LaneDrops,
    early: EarlyPackets,
    /// Not before this is the socket read again.
    receive_at: Option<Timestamp>,
    stopping: bool,
}

/// What a round of the driver left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    /// Something can go on at once.
    more: bool,
    /// The socket took no more.
    blocked: bool,
}

/// Jobs under way at most: more than there are buffers, so that it is never the bound.
const JOBS_MAX: usize = 8192;

impl Driver {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let work = WorkPool::new("work", parts.workers, JOBS_MAX, parts.wake.waker())?;
        let files = WorkPool::new("files", FILE_THREADS, JOBS_MAX, parts.wake.waker())?;
        Ok(Self {
            clock: Clock::start(),
            port: parts.port,
            control: parts.control,
            openings: parts.openings,
            commands: parts.commands,
            wake: parts.wake,
            pool: parts.pool,
            sessions: BTreeMap::new(),
            lanes: LaneTable::new(),
            disk: parts.disk,
            spare_disk: parts.spare_disk,
            fallback_disk: parts.fallback_disk,
            broken_disk: None,
            ios: HashMap::new(),
            next_token: 0,
            waiting_io: VecDeque::new(),
            work,
            files,
            shares: Shares::default(),
            links: link::Links::new(),
            waiting_stores: VecDeque::new(),
            stores_at: Timestamp::ZERO,
            batch: Some(RecvBatch::new()),
            plans: Vec::new(),
            train: transmit::Train::default(),
            drops: LaneDrops::default(),
            early: EarlyPackets::new(),
            receive_at: None,
            stopping: false,
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(&mut self) {
        while !self.stopping {
            let turn = self.turn();
            if !turn.more {
                self.sleep(turn.blocked);
            }
        }
    }

    /// Takes in what there is, and sends what may leave.
    fn turn(&mut self) -> Turn {
        let now = self.clock.now();
        self.apply_commands(now);
        self.apply_completions(now);
        let received = self.receive(now) | self.receive_from_links();
        let sent = self.serve_sessions(self.clock.now());
        Turn { more: received || sent.more, blocked: sent.blocked }
    }

    fn apply_commands(&mut self, now: Timestamp) {
        while let Ok(command) = self.commands.try_recv() {
            self.apply(command, now);
        }
    }

    fn apply_completions(&mut self, now: Timestamp) {
        let mut done = Vec::new();
        self.work.poll(&mut done);
        self.files.poll(&mut done);
        for done in done {
            self.on_done(done, now);
        }
        let mut completions: Vec<Completion> = Vec::new();
        self.disk.poll(&mut completions);
        if let Some(broken) = &mut self.broken_disk {
            broken.poll(&mut completions);
            if broken.in_flight() == 0 {
                self.broken_disk = None;
            }
        }
        for completion in completions {
            self.on_disk(completion, now);
        }
        while let Some(request) = self.waiting_io.pop_front() {
            if let Err(request) = self.disk.submit(request) {
                self.waiting_io.push_front(request);
                break;
            }
        }
        self.retry_stores(now);
    }

    /// Takes datagrams in; true when there may be more.
    fn receive(&mut self, now: Timestamp) -> bool {
        if self.receive_at.is_some_and(|at| at > now) {
            return false;
        }
        self.receive_at = None;
        let mut batch = self.batch.take().unwrap_or_default();
        let mut full = true;
        for _ in 0..RECEIVES_PER_TURN {
            full = match self.port.udp().recv_batch(&mut batch) {
                Ok(count) => count > 0,
                Err(error) => {
                    self.on_receive_error(&error, now);
                    false
                }
            };
            if !full {
                break;
            }
            // The wall clock first: a pause between the two readings then makes packets look
            // later than they were, which is noise, and not earlier, which no filter removes.
            let wall = self.clock.wall_nanos();
            let now = self.clock.now();
            for segment in batch.segments_mut() {
                if Port::is_forged(segment.from) {
                    self.drops.malformed += 1;
                    continue;
                }
                match PacketKind::of(segment.data) {
                    PacketKind::Control => {
                        if self.control.deliver(segment.from, segment.ecn, segment.data) {
                            self.on_control_packet(segment.from, now);
                        }
                    }
                    PacketKind::Lane => {
                        let arrived = arrival(now, wall, segment.arrived_ns);
                        let coming = Coming { from: segment.from, arrived, now };
                        self.on_lane_packet(segment.data, coming);
                    }
                }
            }
        }
        self.batch = Some(batch);
        full
    }

    /// Not opened, so it only bears witness that the path is not down for everybody.
    fn on_control_packet(&mut self, from: SocketAddr, now: Timestamp) {
        let theirs = self.sessions.values_mut().filter(|session| session.core.peer() == from);
        theirs.for_each(|session| session.core.on_control(now));
    }

    /// Takes in what came over links; true when there may be more.
    fn receive_from_links(&mut self) -> bool {
        for _ in 0..RECEIVES_PER_TURN {
            let Some(mut inbound) = self.port.links().recv() else { return false };
            let (from, now) = (inbound.link.address(), self.clock.now());
            // Where packets wait for each other, their gaps say nothing: no stamp is missed.
            inbound.for_each(|datagram| {
                self.on_lane_packet(datagram, Coming { from, arrived: now, now });
            });
        }
        true
    }

    /// Nothing there is the usual answer. Anything else is looked at again after a pause, for the
    /// socket is the only one there is.
    fn on_receive_error(&mut self, error: &io::Error, now: Timestamp) {
        if error.kind() == io::ErrorKind::WouldBlock {
            return;
        }
        if self.drops.receive_errors == 0 {
            tracing::error!(%error, "receiving failed; it is tried again and again");
        }
        self.drops.receive_errors += 1;
        self.receive_at = Some(now + RECEIVE_RETRY);
    }

    /// Drains effects and sends.
    fn serve_sessions(&mut self, now: Timestamp) -> Turn {
        let drops = self.port.udp().receiver_drops();
        let keys = self.turns();
        let mut turn = Turn { more: false, blocked: false };
        self.share_buffers(now);
        for key in keys {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.flush_events();
            session.report_drops(drops);
            session.end_if_unreached(now);
            if session.core.take_nudge() {
                self.control.nudge();
                session.vouch(&self.control);
            }
            self.drain(key);
            let before = self.allow(key, now);
            let sent = self.transmit(key, now);
            self.charge(key, before, now);
            turn.more |= sent.more;
            turn.blocked |= sent.blocked;
            self.drain(key);
            // Sending took time, and what is written down does not go back.
            let now = self.clock.now();
            self.with(key, |session| {
                session.take_trace();
                session.record(now);
                session.end_probe(now);
            });
        }
        // Some may have been given back.
        if self.reads_wait() {
            self.share_buffers(now);
        }
        turn
    }

    /// When there is something to do again, unless something happens before.
    fn wake_at(&mut self, blocked: bool, now: Timestamp) -> Timestamp {
        let mut until = self.receive_at.unwrap_or(now + SLEEP_MAX).min(now + SLEEP_MAX);
        if !self.waiting_stores.is_empty() {
            until = until.min(self.stores_at.max(now));
        }
        if blocked {
            return until;
        }
        for session in self.sessions.values_mut().filter(|s| !s.is_dead() && !s.waits_for_room()) {
            if let Some(at) = session.core.poll_timeout(now) {
                until = until.min(at);
            }
        }
        until
    }

    fn sleep(&mut self, blocked: bool) {
        let now = self.clock.now();
        let span = self.wake_at(blocked, now).since(now);
        if span.is_zero() {
            return;
        }
        let mut interest = PollFlags::IN;
        if blocked {
            interest |= PollFlags::OUT;
        }
        let wake = PollFd::new(&self.wake, PollFlags::IN);
        let mut fds = [wake, PollFd::new(&**self.port.udp(), interest)];
        // An error of the socket ends every poll that asks for it.
        let asked = if self.receive_at.is_some() { 1 } else { 2 };
        let timeout = Timespec::try_from(span).ok();
        if let Err(errno) = poll(&mut fds[..asked], timeout.as_ref())
            && errno != rustix::io::Errno::INTR
        {
            tracing::error!(%errno, "poll failed");
        }
        if fds[0].revents().contains(PollFlags::IN) {
            self.wake.drain();
        }
    }
}
