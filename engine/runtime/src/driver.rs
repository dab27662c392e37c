//! The driver: one thread that selects an input, applies it to a core, and drains the effects.
//!
//! It owns the port, the sessions and the buffers in flight. Packets are opened and sealed here;
//! everything that may block (disk, files) or takes milliseconds (FEC, hashing) runs elsewhere
//! and comes back as a completion.

mod blocks;
pub mod command;
mod effects;
pub mod receive;
mod session;
mod transmit;

use crate::buffers::BufferPool;
use crate::clock::{Clock, arrival};
use crate::control::ControlSocket;
use crate::disk::{Completion, Disk, Request};
use crate::net::{PacketKind, RecvBatch, UdpPort};
use crate::wake::WakeSource;
use crate::work::WorkPool;
use blocks::{Done, Io};
use command::{Command, SessionKey};
use crossbeam_channel::Receiver;
use farhaul_proto::session::PacketPlan;
use farhaul_proto::units::Timestamp;
use receive::{EarlyPackets, LaneDrops, LaneTable, Times};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use session::SessionBody;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Receive calls before the sessions get their turn.
const RECEIVES_PER_TURN: usize = 8;
/// Longest sleep: events that found no room are offered again after it.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// The parts that a driver is made of.
pub(crate) struct Parts {
    pub(crate) port: Arc<UdpPort>,
    pub(crate) control: Arc<ControlSocket>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) wake: WakeSource,
    pub(crate) pool: BufferPool,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) workers: usize,
}

/// The state of the driver thread.
pub(crate) struct Driver {
    clock: Clock,
    port: Arc<UdpPort>,
    control: Arc<ControlSocket>,
    commands: Receiver<Command>,
    wake: WakeSource,
    pool: BufferPool,
    sessions: BTreeMap<SessionKey, SessionBody>,
    lanes: LaneTable<SessionKey>,
    disk: Box<dyn Disk>,
    ios: HashMap<u64, Io>,
    next_token: u64,
    waiting_io: VecDeque<Request>,
    /// Hashing, encoding, decoding.
    work: WorkPool<Done>,
    /// Calls into sources and sinks, which may block on a file system.
    files: WorkPool<Done>,
    /// Blocks to read for which there was no buffer.
    waiting_reads: VecDeque<effects::WaitingRead>,
    /// Lent out while its datagrams are worked on; making one anew would touch 2 MiB.
    batch: Option<RecvBatch>,
    plans: Vec<PacketPlan>,
    train: Vec<u8>,
    drops: LaneDrops,
    early: EarlyPackets,
    more_to_send: bool,
    stopping: bool,
}

/// Jobs under way at most: more than there are buffers, so that it is never the bound.
const JOBS_MAX: usize = 8192;

impl Driver {
    pub(crate) fn new(parts: Parts) -> std::io::Result<Self> {
        let work = WorkPool::new(parts.workers, JOBS_MAX, parts.wake.waker())?;
        let files = WorkPool::new(2, JOBS_MAX, parts.wake.waker())?;
        Ok(Self {
            clock: Clock::start(),
            port: parts.port,
            control: parts.control,
            commands: parts.commands,
            wake: parts.wake,
            pool: parts.pool,
            sessions: BTreeMap::new(),
            lanes: LaneTable::new(),
            disk: parts.disk,
            ios: HashMap::new(),
            next_token: 0,
            waiting_io: VecDeque::new(),
            work,
            files,
            waiting_reads: VecDeque::new(),
            batch: Some(RecvBatch::new()),
            plans: Vec::new(),
            train: Vec::new(),
            drops: LaneDrops::default(),
            early: EarlyPackets::default(),
            more_to_send: false,
            stopping: false,
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        while !self.stopping {
            let now = self.clock.now();
            self.apply_commands(now);
            self.apply_completions(now);
            let more = self.receive();
            let now = self.clock.now();
            let blocked = self.serve_sessions(now);
            if !more && !self.more_to_send {
                self.sleep(blocked);
            }
            self.more_to_send = false;
        }
        tracing::debug!(drops = ?self.drops, "the driver ends");
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
        for completion in completions {
            self.on_disk(completion, now);
        }
        while let Some(request) = self.waiting_io.pop_front() {
            if let Err(request) = self.disk.submit(request) {
                self.waiting_io.push_front(request);
                break;
            }
        }
        self.retry_reads();
    }

    /// Takes datagrams in; true when there may be more.
    fn receive(&mut self) -> bool {
        let mut batch = self.batch.take().unwrap_or_default();
        let mut full = true;
        for _ in 0..RECEIVES_PER_TURN {
            full = self.port.recv_batch(&mut batch).is_ok_and(|count| count > 0);
            if !full {
                break;
            }
            // The wall clock first: a pause between the two readings then makes packets look
            // later than they were, which is noise, and not earlier, which no filter removes.
            let wall = self.clock.wall_nanos();
            let now = self.clock.now();
            for segment in batch.segments_mut() {
                match PacketKind::of(segment.data) {
                    PacketKind::Control => {
                        self.control.deliver(segment.from, segment.ecn, segment.data);
                    }
                    PacketKind::Lane => {
                        let arrived = arrival(now, wall, segment.arrived_ns);
                        self.on_lane_packet(segment.data, Times { arrived, now });
                    }
                }
            }
        }
        self.batch = Some(batch);
        full
    }

    /// Drains effects and sends; true when the socket took no more.
    fn serve_sessions(&mut self, now: Timestamp) -> bool {
        let drops = self.port.receiver_drops();
        let keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        let mut blocked = false;
        for key in keys {
            if let Some(session) = self.sessions.get_mut(&key) {
                session.core.on_local_drops(drops);
                session.flush_events();
            }
            self.drain(key);
            blocked |= self.transmit(key, now);
            self.drain(key);
        }
        blocked
    }

    fn sleep(&mut self, blocked: bool) {
        let now = self.clock.now();
        let mut until = now + SLEEP_MAX;
        for session in self.sessions.values_mut() {
            if let Some(at) = session.core.poll_timeout(now)
                && !blocked
            {
                until = until.min(at);
            }
        }
        let span = until.since(now);
        if span.is_zero() {
            return;
        }
        let mut interest = PollFlags::IN;
        if blocked {
            interest |= PollFlags::OUT;
        }
        let mut fds = [PollFd::new(&*self.port, interest), PollFd::new(&self.wake, PollFlags::IN)];
        let timeout = Timespec::try_from(span).ok();
        if let Err(errno) = poll(&mut fds, timeout.as_ref())
            && errno != rustix::io::Errno::INTR
        {
            tracing::error!(%errno, "poll failed");
        }
        if fds[1].revents().contains(PollFlags::IN) {
            self.wake.drain();
        }
    }
}
