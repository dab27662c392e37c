//! The core of a star: one thread that reads frames from all sites' TUN devices, takes each packet
//! through the links on its way, and writes what survives when its time has come.
//!
//! ```text
//! TUN i --read--> uplink of i --(Core)--> way i -> j --(Down)--> downlink of j --(Out)--> TUN j
//! ```
//! A packet waits for its next link in one schedule of them all, so that a downlink meets the packets
//! of all sites in the order in which they leave the core; links are offered packets at the times of
//! the schedule, not at those when this thread came to it. The rest is as in [`super::super::direction`]:
//! absolute deadlines, no spinning, and what was late is reported.

use super::leg::Leg;
use super::profile::StarProfile;
use super::status::{AccessStatus, HubStatus, StarStatus, WayStatus};
use crate::sys;
use crate::wanem::arena::FRAME_MAX;
use crate::wanem::arrivals::{self, Arrivals};
use crate::wanem::direction::{Stopped, thread_cpu};
use crate::wanem::flight::{Flight, FrameId, OfFrame};
use crate::wanem::schedule::Due;
use crate::wanem::segment::{self, Frame, Run};
use crate::wanem::site::nth_of_packet;
use crate::wanem::status::{OwnDrops, micros};
use crate::wanem::tun::Tun;
use crate::wanem::vnet::VnetHeader;
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};
use farhaul_sim::link::{DelayHistogram, Fate};
use farhaul_sim::profile::LinkProfile;
use farhaul_sim::rng::Rng;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Frames read of a site in one turn, so that no flood of input delays what is due.
const FRAMES_PER_TURN: usize = 16;
/// Frames read of a site at once after a standstill: as many as its device holds.
const CATCH_UP_MAX: usize = 4096;
/// Orders that may wait.
const ORDERS_MAX: usize = 16;
/// How long an answer is waited for; the hub answers within one turn.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a hub is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The sites' devices, in their order.
    pub(super) tuns: Vec<Tun>,
    /// The links.
    pub(super) profile: StarProfile,
    /// All randomness follows from this.
    pub(super) seed: u64,
    /// The origin of its clock.
    pub(super) origin: Instant,
    /// Shortest time between two turns that write: packets due within it leave together.
    pub(super) quantum: Duration,
    /// Memory for packets under way.
    pub(super) flight_max: Bytes,
}

enum Order {
    SetProfile(Box<StarProfile>),
    Report(SyncSender<StarStatus>),
    Stop,
}

/// A running hub; it stops when this is dropped.
#[derive(Debug)]
pub(super) struct HubHandle {
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl HubHandle {
    pub(super) fn start(parts: Parts) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let hub = Hub::new(parts, inbox, Arc::clone(&wake));
        let thread = thread::Builder::new().name("wanem-star".to_owned()).spawn(|| hub.run())?;
        Ok(Self { orders, wake, thread: Some(thread) })
    }

    pub(super) fn set_profile(&self, profile: StarProfile) -> Result<(), Stopped> {
        self.order(Order::SetProfile(Box::new(profile)))
    }

    /// What it did so far; name, seed and age are for the caller to say.
    pub(super) fn status(&self) -> Result<StarStatus, Stopped> {
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

impl Drop for HubHandle {
    fn drop(&mut self) {
        if self.order(Order::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panicked thread has told so on standard error; there is nothing to add here.
            drop(thread.join());
        }
    }
}

/// What a packet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    /// To come to the core, from its site.
    Core(usize),
    /// To come to the downlink.
    Down,
    /// To leave.
    Out,
}

/// One packet under way.
#[derive(Clone, Copy, Debug)]
struct Packet {
    frame: FrameId,
    segment: u16,
    to: usize,
    hop: Hop,
    corrupt: bool,
}

impl OfFrame for Packet {
    fn frame(&self) -> FrameId {
        self.frame
    }
}

/// A site as its core sees it.
struct Port {
    tun: Tun,
    up: Leg,
    down: Leg,
    arrivals: Arrivals,
    /// Frames may wait: cleared once none did.
    ready: bool,
}

/// Packets of one frame that leave together.
#[derive(Clone, Copy)]
struct Batch {
    frame: FrameId,
    run: Run,
    to: usize,
}

struct Hub {
    names: Vec<String>,
    ports: Vec<Port>,
    ways: BTreeMap<(usize, usize), Leg>,
    flight: Flight<Packet>,
    origin: Instant,
    quantum: Duration,
    released_at: Timestamp,
    inbox: Receiver<Order>,
    wake: Arc<OwnedFd>,
    seed: Rng,
    damage: Rng,
    scratch: Vec<u8>,
    caught: Vec<(FrameId, Frame, usize)>,
    own_drops: OwnDrops,
    unrouted: u64,
    lateness: DelayHistogram,
    real_time: bool,
}

impl Hub {
    fn new(parts: Parts, inbox: Receiver<Order>, wake: Arc<OwnedFd>) -> Self {
        let seed = Rng::new(parts.seed);
        let names = parts.profile.sites.iter().map(|site| site.name.clone()).collect();
        let ports = parts.profile.sites.into_iter().zip(parts.tuns).enumerate();
        let ports = ports.map(|(number, (site, tun))| Port {
            tun,
            up: Leg::new(site.up, seed.fork(&format!("up {number}")).next_u64()),
            down: Leg::new(site.down, seed.fork(&format!("down {number}")).next_u64()),
            arrivals: Arrivals::default(),
            ready: true,
        });
        let mut hub = Self {
            names,
            ports: ports.collect(),
            ways: BTreeMap::new(),
            flight: Flight::new(parts.flight_max.as_len()),
            origin: parts.origin,
            quantum: parts.quantum,
            released_at: Timestamp::ZERO,
            inbox,
            wake,
            damage: seed.fork("damage"),
            seed,
            scratch: Vec::with_capacity(1 << 16),
            caught: Vec::new(),
            own_drops: OwnDrops::default(),
            unrouted: 0,
            lateness: DelayHistogram::default(),
            real_time: false,
        };
        hub.set_ways(parts.profile.ways, Timestamp::ZERO);
        hub
    }

    fn set_ways(&mut self, ways: BTreeMap<(usize, usize), LinkProfile>, now: Timestamp) {
        for (ends, profile) in ways {
            match self.ways.get_mut(&ends) {
                Some(leg) => leg.set_profile(profile, now),
                None => {
                    let seed = self.seed.fork(&format!("way {} {}", ends.0, ends.1)).next_u64();
                    self.ways.insert(ends, Leg::new(profile, seed));
                }
            }
        }
    }

    fn run(mut self) {
        // Without the right to it the thread competes like any other; the status says which.
        self.real_time = sys::schedule_real_time().is_ok();
        loop {
            if !self.obey() {
                return;
            }
            self.release_due();
            let mut more = false;
            for from in 0..self.ports.len() {
                more |= self.ports[from].ready && self.take_in(from);
            }
            if !more {
                self.wait();
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// Does what was ordered; false once it is to stop.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.inbox.try_recv() {
            let now = self.now();
            match order {
                Order::SetProfile(star) => {
                    for (port, site) in self.ports.iter_mut().zip(star.sites) {
                        port.up.set_profile(site.up, now);
                        port.down.set_profile(site.down, now);
                    }
                    self.set_ways(star.ways, now);
                }
                // Whoever asked may have gone away; that is no concern of the links'.
                Order::Report(answer) => drop(answer.try_send(self.report(now))),
                Order::Stop => return false,
            }
        }
        true
    }

    /// Reads what waits of a site, up to one turn's worth. True if more may wait.
    fn take_in(&mut self, from: usize) -> bool {
        let now = self.now();
        if let Some(since) = self.ports[from].arrivals.standstill(now) {
            return self.catch_up(from, since);
        }
        for _ in 0..FRAMES_PER_TURN {
            let Some(taken) = self.read_one(from) else { return false };
            if let Some((id, frame, to)) = taken {
                let at = self.now();
                self.offer((id, &frame), from, to, at);
            }
        }
        true
    }

    /// Reads everything that waits and spreads it over the time in which it may have come.
    fn catch_up(&mut self, from: usize, since: Timestamp) -> bool {
        let mut caught = std::mem::take(&mut self.caught);
        while caught.len() < CATCH_UP_MAX {
            match self.read_one(from) {
                Some(taken) => caught.extend(taken),
                None => break,
            }
        }
        let more = caught.len() == CATCH_UP_MAX;
        // After the last of them: none arrived later than this.
        let now = self.now();
        if !caught.is_empty() {
            self.ports[from].arrivals.count(since, now);
        }
        let total = caught.iter().map(|(_, frame, _)| frame.bytes()).sum();
        let rate = self.ports[from].up.profile().rate.unwrap_or(BitRate::MAX);
        let began = arrivals::began(since, now, total, rate);
        let mut done = Bytes::ZERO;
        for (id, frame, to) in caught.drain(..) {
            done += frame.bytes();
            self.offer((id, &frame), from, to, arrivals::spread(began, now, done, total));
        }
        self.caught = caught;
        self.ports[from].arrivals.on_empty(now);
        more
    }

    /// Reads one frame: nothing if none waits, nothing inside if it goes no further.
    fn read_one(&mut self, from: usize) -> Option<Option<(FrameId, Frame, usize)>> {
        let port = &mut self.ports[from];
        let is_full = self.flight.space().is_none();
        let read = match self.flight.space() {
            Some(space) => port.tun.read(space),
            // Read all the same, so that the device does not stall unseen.
            None => {
                self.scratch.resize(FRAME_MAX, 0);
                port.tun.read(&mut self.scratch)
            }
        };
        match read {
            Ok(Some(_)) if is_full => {
                self.own_drops.memory_full += 1;
                Some(None)
            }
            Ok(Some(len)) => Some(self.admit(len, from)),
            Ok(None) => {
                let now = Timestamp::ZERO + self.origin.elapsed();
                port.ready = false;
                port.arrivals.on_empty(now);
                None
            }
            Err(_) => {
                self.own_drops.read_failed += 1;
                port.ready = false;
                None
            }
        }
    }

    fn admit(&mut self, len: usize, from: usize) -> Option<(FrameId, Frame, usize)> {
        let parsed = self.flight.space().and_then(|space| {
            let (header, packet) = space[..len].split_first_chunk_mut::<{ VnetHeader::LEN }>()?;
            let frame = Frame::parse(VnetHeader::decode(header)?, packet).ok()?;
            Some((frame, nth_of_packet(packet).map(usize::from)))
        });
        let Some((frame, to)) = parsed else {
            self.own_drops.malformed += 1;
            return None;
        };
        let Some(to) = to.filter(|to| *to < self.ports.len() && *to != from) else {
            self.unrouted += 1;
            return None;
        };
        Some((self.flight.admit(frame, len, VnetHeader::LEN), frame, to))
    }

    /// Offers the packets of a frame to the uplink of their site.
    fn offer(&mut self, (id, frame): (FrameId, &Frame), from: usize, to: usize, at: Timestamp) {
        let port = &mut self.ports[from];
        let at = port.arrivals.in_order(at);
        for segment in 0..frame.segments() {
            let fate = port.up.offer(frame.segment_len(segment), frame.is_tcp(), at);
            let packet = Packet { frame: id, segment, to, hop: Hop::Core(from), corrupt: false };
            hold(&mut self.flight, packet, fate);
        }
        self.flight.release(id, 1);
    }

    /// Takes all packets that are due over their next link, or out, in order.
    fn release_due(&mut self) {
        let now = self.now();
        let mut batch: Option<Batch> = None;
        while let Some(Due { at, item: packet, .. }) = self.flight.pop_due(now) {
            if packet.hop != Hop::Out {
                self.carry(packet, at);
                continue;
            }
            self.lateness.record(now.since(at));
            if let Some(open) = &mut batch {
                if open.takes(packet) {
                    open.run.count += 1;
                    continue;
                }
                let open = *open;
                self.write(open);
            }
            batch = None;
            if packet.corrupt {
                self.write_damaged(packet);
            } else {
                let run = Run { first: packet.segment, count: 1 };
                batch = Some(Batch { frame: packet.frame, run, to: packet.to });
            }
        }
        if let Some(open) = batch {
            self.write(open);
        }
        self.released_at = now;
    }

    /// Offers a packet to its next link.
    fn carry(&mut self, packet: Packet, at: Timestamp) {
        let (frame, _) = self.flight.frame(packet.frame);
        let (bytes, is_tcp) = (frame.segment_len(packet.segment), frame.is_tcp());
        let way = match packet.hop {
            Hop::Core(from) => self.ways.get_mut(&(from, packet.to)),
            Hop::Down | Hop::Out => None,
        };
        let (fate, hop) = match way {
            Some(way) => (way.offer(bytes, is_tcp, at), Hop::Down),
            None => (self.ports[packet.to].down.offer(bytes, is_tcp, at), Hop::Out),
        };
        hold(&mut self.flight, Packet { hop, ..packet }, fate);
        self.flight.release(packet.frame, 1);
    }

    fn write(&mut self, batch: Batch) {
        let (frame, packet) = self.flight.frame(batch.frame);
        let headers = frame.headers(packet, batch.run);
        let payload = &packet[frame.payload(batch.run)];
        let parts = [IoSlice::new(headers.as_bytes()), IoSlice::new(payload)];
        if self.ports[batch.to].tun.write(&parts).is_err() {
            self.own_drops.write_failed += u64::from(batch.run.count);
        }
        self.flight.release(batch.frame, u32::from(batch.run.count));
    }

    fn write_damaged(&mut self, waiting: Packet) {
        let (frame, packet) = self.flight.frame(waiting.frame);
        segment::materialise(frame, packet, waiting.segment, &mut self.scratch);
        segment::damage(&mut self.scratch[VnetHeader::LEN..], self.damage.next_u64());
        if self.ports[waiting.to].tun.write(&[IoSlice::new(&self.scratch)]).is_err() {
            self.own_drops.write_failed += 1;
        }
        self.flight.release(waiting.frame, 1);
    }

    /// Sleeps until input, an order or the next packet's time.
    fn wait(&mut self) {
        let now = self.now();
        let planned = self.flight.next_at().map(|at| at.max(self.released_at + self.quantum));
        let timeout = planned.map(|at| at.since(now));
        if timeout.is_some_and(|span| span.is_zero()) {
            // Whether more came meanwhile is not known.
            self.ports.iter_mut().for_each(|port| port.ready = true);
            return;
        }
        let timeout = timeout.and_then(|span| Timespec::try_from(span).ok());
        let mut fds: Vec<PollFd<'_>> =
            self.ports.iter().map(|port| PollFd::new(&port.tun, PollFlags::IN)).collect();
        fds.push(PollFd::new(&*self.wake, PollFlags::IN));
        // An interrupted or failed sleep only means an early turn.
        let is_told = poll(&mut fds, timeout.as_ref()).is_ok();
        let heard: Vec<bool> = fds.iter().map(|fd| !is_told || !fd.revents().is_empty()).collect();
        if heard.last() == Some(&true) {
            let mut count = [0; 8];
            // The count does not matter: all orders are taken at the next turn.
            let _ = rustix::io::read(&*self.wake, &mut count);
        }
        let now = self.now();
        for (port, heard) in self.ports.iter_mut().zip(heard) {
            port.arrivals.on_wake(planned, now);
            port.ready = heard;
            if !heard {
                port.arrivals.on_empty(now);
            }
        }
    }

    fn report(&self, now: Timestamp) -> StarStatus {
        let sites = self.names.iter().zip(&self.ports).map(|(name, port)| AccessStatus {
            name: name.clone(),
            up: port.up.status(now),
            down: port.down.status(now),
        });
        let ways = self.ways.iter().map(|((from, to), leg)| {
            let status = leg.status(now);
            WayStatus {
                from: self.names[*from].clone(),
                to: self.names[*to].clone(),
                offered: status.offered,
                delivered: status.delivered,
                profile: status.profile,
            }
        });
        let hub = HubStatus {
            own_drops: self.own_drops,
            unrouted: self.unrouted,
            in_flight: self.flight.len() as u64,
            late_p50_us: micros(self.lateness.quantile(Ratio::new(0.5))),
            late_p99_us: micros(self.lateness.quantile(Ratio::new(0.99))),
            late_max_us: micros(self.lateness.max()),
            standstills: self.ports.iter().map(|port| port.arrivals.standstills().0).sum(),
            cpu_seconds: thread_cpu().as_secs_f64(),
            real_time: self.real_time,
        };
        StarStatus { sites: sites.collect(), ways: ways.collect(), hub, ..StarStatus::default() }
    }
}

/// Lets a packet wait for what comes after the link that it was offered to, if it passed.
fn hold(flight: &mut Flight<Packet>, packet: Packet, fate: Fate) {
    let Fate::Deliver { at, duplicate_at, corrupt } = fate else { return };
    flight.hold(at, Packet { corrupt: packet.corrupt || corrupt, ..packet });
    if let Some(at) = duplicate_at {
        flight.hold(at, packet);
    }
}

impl Batch {
    fn takes(&self, next: Packet) -> bool {
        let follows = self.run.first + self.run.count;
        let is_next = next.frame == self.frame && next.segment == follows && next.to == self.to;
        is_next && !next.corrupt
    }
}
