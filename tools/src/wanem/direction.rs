//! One direction of the emulated link: a thread that reads frames from one TUN device, asks the
//! link model for the fate of each packet in them, and writes what survives to the other device
//! when its time has come.
//!
//! ```text
//! TUN --read--> frame --split--> Link::offer, packet by packet --> schedule --due--> run --write--> TUN
//! ```
//! Neighbours of one frame that are due in the same turn leave as one frame again. Deadlines are
//! absolute; the thread sleeps in `ppoll` and never spins, because the programs under test share
//! its processors. How late packets left is measured and reported, not hidden.

use super::arrivals::{self, Arrivals};
use super::flight::{Flight, FrameId, Waiting};
use super::nat::{Crossing, Nat};
use super::schedule::Due;
use super::segment::{self, Frame, Run};
use super::status::{DirectionStatus, OwnDrops, RateMeter};
use super::too_big;
use super::tun::Tun;
use super::vnet::VnetHeader;
use crate::sys;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use farhaul_sim::link::{DelayHistogram, DropCause, Fate, Link};
use farhaul_sim::profile::LinkProfile;
use farhaul_sim::rng::Rng;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Frames read in one turn, so that a flood of input cannot delay what is due.
const FRAMES_PER_TURN: usize = 16;
/// Frames read at once after a standstill: as many as the device holds.
const CATCH_UP_MAX: usize = 4096;
/// Orders that may wait for a direction.
const ORDERS_MAX: usize = 16;
/// How long an answer is waited for; a direction answers within one turn.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a direction is made of.
#[derive(Debug)]
pub struct Parts {
    /// Short name for the thread, such as `wanem-ab`.
    pub name: String,
    /// Where packets come from.
    pub input: Arc<Tun>,
    /// Where they go.
    pub output: Arc<Tun>,
    /// What the link is like.
    pub profile: LinkProfile,
    /// All its randomness follows from this.
    pub seed: u64,
    /// The origin of its clock.
    pub origin: Instant,
    /// Shortest time between two turns that write: packets due within it leave together.
    pub quantum: Duration,
    /// Memory for packets under way.
    pub flight_max: Bytes,
    /// The translators of the site that packets come from, and of the one they go to.
    pub(crate) nats: [Arc<Nat>; 2],
}

enum Order {
    SetProfile(LinkProfile),
    Report(SyncSender<DirectionStatus>),
    Stop,
}

/// A running direction; it stops when this is dropped.
#[derive(Debug)]
pub struct DirectionHandle {
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// A direction's thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the emulator thread has ended or does not answer")]
pub struct Stopped;

impl DirectionHandle {
    /// Starts a direction.
    ///
    /// # Errors
    /// If the system gives no thread or event descriptor.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let name = parts.name.clone();
        let direction = Direction::new(parts, inbox, Arc::clone(&wake));
        let thread = thread::Builder::new().name(name).spawn(move || direction.run())?;
        Ok(Self { orders, wake, thread: Some(thread) })
    }

    /// Changes what the link is like, from the next packet on.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn set_profile(&self, profile: LinkProfile) -> Result<(), Stopped> {
        self.order(Order::SetProfile(profile))
    }

    /// What it did so far.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn status(&self) -> Result<DirectionStatus, Stopped> {
        let (answer, inbox) = sync_channel(1);
        self.order(Order::Report(answer))?;
        inbox.recv_timeout(ANSWER_TIMEOUT).map_err(|_| Stopped)
    }

    fn order(&self, order: Order) -> Result<(), Stopped> {
        self.orders.send(order).map_err(|_| Stopped)?;
        rustix::io::write(&*self.wake, &1u64.to_ne_bytes()).map_err(|_| Stopped)?;
        Ok(())
    }
}

impl Drop for DirectionHandle {
    fn drop(&mut self) {
        if self.order(Order::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panicked thread has told so on standard error; there is nothing to add here.
            drop(thread.join());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    GoOn,
    Stop,
}

struct Direction {
    link: Link,
    input: Arc<Tun>,
    output: Arc<Tun>,
    flight: Flight,
    origin: Instant,
    quantum: Duration,
    released_at: Timestamp,
    inbox: Receiver<Order>,
    wake: Arc<OwnedFd>,
    damage: Rng,
    scratch: Vec<u8>,
    own_drops: OwnDrops,
    /// Packets that left after one that was offered later; second copies do not count.
    reordered: u64,
    lateness: DelayHistogram,
    rate_in: RateMeter,
    rate_out: RateMeter,
    real_time: bool,
    arrivals: Arrivals,
    caught: Vec<(FrameId, Frame)>,
    nats: [Arc<Nat>; 2],
}

/// Packets of one frame that leave together; `references` counts the entries it stands for.
#[derive(Clone, Copy)]
struct Batch {
    frame: FrameId,
    run: Run,
}

impl Direction {
    fn new(parts: Parts, inbox: Receiver<Order>, wake: Arc<OwnedFd>) -> Self {
        Self {
            link: Link::new(parts.profile, parts.seed),
            input: parts.input,
            output: parts.output,
            flight: Flight::new(parts.flight_max.as_len()),
            origin: parts.origin,
            quantum: parts.quantum,
            released_at: Timestamp::ZERO,
            inbox,
            wake,
            damage: Rng::new(parts.seed).fork("damage"),
            scratch: Vec::with_capacity(1 << 16),
            own_drops: OwnDrops::default(),
            reordered: 0,
            lateness: DelayHistogram::default(),
            rate_in: RateMeter::default(),
            rate_out: RateMeter::default(),
            real_time: false,
            arrivals: Arrivals::default(),
            caught: Vec::new(),
            nats: parts.nats,
        }
    }

    fn run(mut self) {
        // Without the right to it the thread competes like any other; the status says which.
        self.real_time = sys::schedule_real_time().is_ok();
        loop {
            if self.obey() == Turn::Stop {
                return;
            }
            self.release_due();
            if !self.take_in() {
                self.wait();
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn obey(&mut self) -> Turn {
        while let Ok(order) = self.inbox.try_recv() {
            let now = self.now();
            match order {
                Order::SetProfile(profile) => self.link.set_profile(profile, now),
                // Whoever asked may have gone away; that is no concern of the link's.
                Order::Report(answer) => drop(answer.try_send(self.report(now))),
                Order::Stop => return Turn::Stop,
            }
        }
        Turn::GoOn
    }

    /// Reads what waits, up to one turn's worth, and gives it to the link. True if more may wait.
    fn take_in(&mut self) -> bool {
        let now = self.now();
        match self.arrivals.standstill(now) {
            None => self.take_in_now(),
            Some(since) => self.catch_up(since),
        }
    }

    fn take_in_now(&mut self) -> bool {
        for _ in 0..FRAMES_PER_TURN {
            let Some(taken) = self.read_one() else { return false };
            if let Some((id, frame)) = taken {
                let at = self.now();
                self.offer(id, &frame, at);
            }
        }
        true
    }

    /// Reads everything that waits and spreads it over the time in which it may have come.
    fn catch_up(&mut self, since: Timestamp) -> bool {
        let mut caught = std::mem::take(&mut self.caught);
        while caught.len() < CATCH_UP_MAX {
            match self.read_one() {
                Some(Some(taken)) => caught.push(taken),
                Some(None) => {}
                None => break,
            }
        }
        let more = caught.len() == CATCH_UP_MAX;
        // After the last of them: none arrived later than this.
        let now = self.now();
        if !caught.is_empty() {
            self.arrivals.count(since, now);
        }
        let total = caught.iter().map(|(_, frame)| frame.bytes()).sum();
        let rate = self.link.profile().rate.unwrap_or(BitRate::MAX);
        let began = arrivals::began(since, now, total, rate);
        let mut done = Bytes::ZERO;
        for (id, frame) in caught.drain(..) {
            done += frame.bytes();
            self.offer(id, &frame, arrivals::spread(began, now, done, total));
        }
        self.caught = caught;
        self.arrivals.on_empty(now);
        more
    }

    /// Reads one frame: nothing if none waits, nothing inside if it could not be kept.
    fn read_one(&mut self) -> Option<Option<(FrameId, Frame)>> {
        let read = match self.flight.space() {
            Some(space) => self.input.read(space),
            None => return self.discard_one(),
        };
        match read {
            Ok(Some(len)) => Some(self.admit(len)),
            Ok(None) => {
                self.arrivals.on_empty(self.now());
                None
            }
            Err(_) => {
                self.own_drops.read_failed += 1;
                None
            }
        }
    }

    fn admit(&mut self, len: usize) -> Option<(FrameId, Frame)> {
        let (now, nat) = (self.now(), &self.nats[0]);
        let parsed = self.flight.space().and_then(|space| {
            let (header, packet) = space[..len].split_first_chunk_mut::<{ VnetHeader::LEN }>()?;
            let frame = Frame::parse(VnetHeader::decode(header)?, packet).ok()?;
            let crossing = match nat.is_on() {
                true => nat.outward(packet, frame.is_unfinished(), now),
                false => Crossing::Passed,
            };
            (crossing == Crossing::Passed).then_some(frame)
        });
        let Some(frame) = parsed else {
            self.own_drops.malformed += 1;
            return None;
        };
        Some((self.flight.admit(frame, len, VnetHeader::LEN), frame))
    }

    /// Reads a frame for which there is no memory, so that the device does not stall unseen.
    fn discard_one(&mut self) -> Option<Option<(FrameId, Frame)>> {
        self.scratch.resize(super::arena::FRAME_MAX, 0);
        let read = self.input.read(&mut self.scratch).ok().flatten();
        self.own_drops.memory_full += u64::from(read.is_some());
        read.map(|_| None)
    }

    fn offer(&mut self, id: FrameId, frame: &Frame, at: Timestamp) {
        let now = self.arrivals.in_order(at);
        for segment in 0..frame.segments() {
            let bytes = frame.segment_len(segment);
            self.rate_in.add(bytes, now);
            let fate = match frame.is_tcp() {
                true => self.link.offer_tcp(bytes, now),
                false => self.link.offer(bytes, now),
            };
            if fate == Fate::Dropped(DropCause::Mtu) && self.link.profile().mtu_told {
                self.tell_too_big(id, segment);
            }
            let Fate::Deliver { at, duplicate_at, corrupt } = fate else { continue };
            let packet = Waiting { frame: id, segment, corrupt, duplicate: false };
            self.flight.hold(at, packet);
            if let Some(at) = duplicate_at {
                self.flight.hold(at, Waiting { corrupt: false, duplicate: true, ..packet });
            }
        }
        self.flight.release(id, 1);
    }

    /// Tells the sender of a packet that it is too long for the link.
    fn tell_too_big(&mut self, id: FrameId, segment: u16) {
        let (frame, packet) = self.flight.frame(id);
        segment::materialise(frame, packet, segment, &mut self.scratch);
        let packet = &mut self.scratch[VnetHeader::LEN..];
        // The sender knows its packet as it was before its address was translated.
        if self.nats[0].is_on() {
            self.nats[0].restore_source(packet);
        }
        let mtu = self.link.profile().mtu.unwrap_or(u16::MAX);
        if let Some(answer) = too_big::answer(packet, mtu) {
            let header = VnetHeader::default().encode();
            // As on any network, such a message may get lost.
            drop(self.input.write(&[IoSlice::new(&header), IoSlice::new(&answer)]));
        }
    }

    /// Writes all packets that are due now, in order.
    fn release_due(&mut self) {
        let now = self.now();
        let mut batch: Option<Batch> = None;
        while let Some(Due { at, item: waiting, overtaken }) = self.flight.pop_due(now) {
            self.lateness.record(now.since(at));
            self.reordered += u64::from(overtaken && !waiting.duplicate);
            if let Some(open) = &mut batch {
                if open.takes(waiting) {
                    open.run.count += 1;
                    continue;
                }
                self.write(*open, now);
            }
            batch = None;
            if waiting.corrupt {
                self.write_damaged(waiting, now);
            } else {
                let run = Run { first: waiting.segment, count: 1 };
                batch = Some(Batch { frame: waiting.frame, run });
            }
        }
        if let Some(open) = batch {
            self.write(open, now);
        }
        self.released_at = now;
    }

    fn write(&mut self, batch: Batch, now: Timestamp) {
        let (frame, packet) = self.flight.frame(batch.frame);
        let headers = frame.headers(packet, batch.run);
        let payload = &packet[frame.payload(batch.run)];
        let segments = batch.run.first..batch.run.first + batch.run.count;
        let bytes = segments.map(|segment| frame.segment_len(segment)).sum();
        let written = if self.nats[1].is_on() {
            self.scratch.clear();
            self.scratch.extend_from_slice(headers.as_bytes());
            self.scratch.extend_from_slice(payload);
            let unfinished = frame.is_unfinished();
            self.write_translated(unfinished, now)
        } else {
            self.output.write(&[IoSlice::new(headers.as_bytes()), IoSlice::new(payload)])
        };
        self.account(&written, bytes, u64::from(batch.run.count), now);
        self.flight.release(batch.frame, u32::from(batch.run.count));
    }

    fn write_damaged(&mut self, waiting: Waiting, now: Timestamp) {
        let (frame, packet) = self.flight.frame(waiting.frame);
        segment::materialise(frame, packet, waiting.segment, &mut self.scratch);
        let bytes = frame.segment_len(waiting.segment);
        segment::damage(&mut self.scratch[VnetHeader::LEN..], self.damage.next_u64());
        let written = if self.nats[1].is_on() {
            self.write_translated(false, now)
        } else {
            self.output.write(&[IoSlice::new(&self.scratch)])
        };
        self.account(&written, bytes, 1, now);
        self.flight.release(waiting.frame, 1);
    }

    /// Writes the frame in `scratch` as the translator of the site makes it; one for which it has no
    /// mapping ends there.
    fn write_translated(&mut self, unfinished: bool, now: Timestamp) -> io::Result<()> {
        let packet = &mut self.scratch[VnetHeader::LEN..];
        match self.nats[1].inward(packet, unfinished, now) {
            Crossing::Passed => self.output.write(&[IoSlice::new(&self.scratch)]),
            Crossing::Dropped => Ok(()),
        }
    }

    fn account(&mut self, written: &io::Result<()>, bytes: Bytes, packets: u64, now: Timestamp) {
        match written {
            Ok(()) => self.rate_out.add(bytes, now),
            Err(_) => self.own_drops.write_failed += packets,
        }
    }

    /// Sleeps until input, an order or the next packet's time.
    fn wait(&mut self) {
        let now = self.now();
        let planned = self.flight.next_at().map(|at| at.max(self.released_at + self.quantum));
        let timeout = planned.map(|at| at.since(now));
        if timeout.is_some_and(|span| span.is_zero()) {
            return;
        }
        let timeout = timeout.and_then(|span| Timespec::try_from(span).ok());
        let mut fds =
            [PollFd::new(&*self.input, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
        // An interrupted or failed sleep only means an early turn.
        if poll(&mut fds, timeout.as_ref()).is_ok() && fds[1].revents().contains(PollFlags::IN) {
            let mut count = [0; 8];
            // The count does not matter: all orders are taken at the next turn.
            let _ = rustix::io::read(&*self.wake, &mut count);
        }
        self.arrivals.on_wake(planned, self.now());
    }

    fn report(&self, now: Timestamp) -> DirectionStatus {
        DirectionStatus::new(&self.link, now)
            .with_flight(self.flight.len(), self.reordered, &self.lateness)
            .with_rates(&self.rate_in, &self.rate_out, now)
            .with_own_drops(self.own_drops)
            .with_standstills(self.arrivals.standstills())
            .with_thread(thread_cpu(), self.real_time)
    }
}

impl Batch {
    fn takes(&self, next: Waiting) -> bool {
        let follows = self.run.first + self.run.count;
        next.frame == self.frame && next.segment == follows && !next.corrupt
    }
}

/// CPU time of the calling thread; what the kernel does for the receiver while a packet is written
/// is part of it.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
