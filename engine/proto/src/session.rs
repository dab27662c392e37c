//! One peer, both directions: where the sub-machines meet.
//!
//! It routes and numbers; arithmetic lives in `path`, `congestion`, `send` and `recv`.
//!
//! Contract. The body calls the `on_*` verbs with what happened, copies the payload of a packet
//! where [`Session::on_data`] says *before* anything else, then drains [`Session::poll_effect`]
//! and [`Session::poll_event`], then asks [`Session::poll_transmit`] until it yields nothing,
//! saying [`Session::on_handed`] each time the kernel has what was planned, and
//! sleeps until [`Session::poll_timeout`] or the next input. [`Session::poll_trace`] tells what
//! happened to whoever wants to know; nobody has to ask.

mod address;
mod allowance;
mod decoding;
mod figures;
mod flows;
mod lateness;
mod limiting;
mod observe;
mod prober;
mod reach;
mod report;
mod settle;
mod silence;
mod sizes;
mod skip;
mod small;
mod timer;
mod transmit;

use crate::congestion::carrier::CarrierLaw;
use crate::congestion::pacer::Pacer;
use crate::congestion::{Bounds, Controller, Outcome, Policy, TrainSample, View, controller};
use crate::fec::{BlockShape, FecPolicy};
use crate::ids::{BlockIndex, ObjectId, PacketNumber};
use crate::objects::{BlockRun, ObjectError, Reopened};
use crate::path::back::WayBack;
use crate::path::carrier::Carrier;
use crate::path::ledger::{Ledger, LedgerError, Settled};
use crate::path::loss::LossMeter;
use crate::path::mtu::{PathMtu, packet_bytes};
use crate::path::proof::Proof;
use crate::path::rtt::RttEstimator;
use crate::recv::acks::AckRecorder;
pub use crate::recv::acks::Arrival;
use crate::recv::{Placement, Receiver, RecvEffect, RecvEvent, Refusal, Verified};
use crate::send::{RepairContext, SendConfig, SendEffect, SendError, SendEvent, Sender};
use crate::trace::{Counters, DelayHistogram, LimitClock, SizeHistogram, TraceEvent};
use crate::units::{BitRate, Bytes, Timestamp};
use crate::wire::header::DataId;
use address::Place;
use allowance::Allowance;
use core::net::SocketAddr;
use core::time::Duration;
use decoding::Decoding;
use lateness::Lateness;
use limiting::Waits;
use observe::Observer;
pub use prober::ProbePlan;
use prober::Prober;
use reach::Reach;
pub use reach::Unreached;
use report::ReportClock;
use silence::Silence;
use sizes::Sizes;
use skip::SkipPlan;
use small::Job;
pub use timer::Timer;
pub use transmit::{PacketPlan, PlanBody, Route};

/// Trains sent before anything is declared: a peer that never answers an offer must not be asked
/// for its link for ever.
const IDLE_TRAINS_MAX: u32 = 8;

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What carries the packets.
    pub carrier: Carrier,
    /// How the path is shared.
    pub policy: Policy,
    /// How slow and how fast at IP level.
    pub bounds: Bounds,
    /// A rate to start from: remembered, or asked for.
    pub start_hint: Option<BitRate>,
    /// When to use repair symbols.
    pub fec: FecPolicy,
    /// Round trip measured by the handshake.
    pub initial_rtt: Duration,
    /// Blocks that the sending side may hold in memory.
    pub send_blocks: u32,
    /// Blocks that the peer may hold open on us.
    pub recv_blocks: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Where the handshake found the peer.
    pub peer: SocketAddr,
}

/// What the body should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// For the sending side.
    Send(SendEffect),
    /// For the receiving side.
    Recv(RecvEffect),
}

/// What the user of the session should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// From the sending side.
    Send(SendEvent),
    /// From the receiving side.
    Recv(RecvEvent),
}

/// The peer broke the protocol: the session must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It acknowledged what was never sent.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It reported blocks that were never sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// One session's state machine.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    controller: Box<dyn Controller>,
    pacer: Pacer,
    rtt: RttEstimator,
    way_back: WayBack,
    mtu: PathMtu,
    ledger: Ledger,
    settled: Settled,
    lost: Vec<Outcome>,
    dead: Vec<Outcome>,
    trains: Vec<TrainSample>,
    trains_seen: PacketNumber,
    /// The number behind the last train.
    train_end: Option<PacketNumber>,
    /// The newest report that the peer sent.
    newest_report: Option<PacketNumber>,
    skip: SkipPlan,
    silence: Silence,
    reach: Reach,
    /// When the last packet left.
    last_sent: Timestamp,
    outage: Option<(Timestamp, Timestamp)>,
    place: Place,
    sender: Sender,
    receiver: Receiver,
    acks: AckRecorder,
    reports: ReportClock,
    sizes: Sizes,
    loss: LossMeter,
    repair: RepairContext,
    warm: bool,
    idle_trains_left: u32,
    job: Job,
    /// Symbols came too early for their object: their sender has to be told.
    came_early: bool,
    /// Something happened that the next report has to tell at once.
    report_now: bool,
    /// The peer is asked for a sign of life.
    asks: bool,
    app_limited: bool,
    receiver_drops_seen: u64,
    /// What our host had dropped when the session began, once that is known.
    drops_before: Option<u64>,
    local_drops: u64,
    peer_backlog: Bytes,
    decoding: Decoding,
    counters: Counters,
    queue_delay: DelayHistogram,
    packet_sizes: SizeHistogram,
    train_sizes: SizeHistogram,
    limits: LimitClock,
    waits: Waits,
    /// Blocks that may be in memory on their way out, as shared last.
    send_share: u32,
    /// Only while somebody measures the path.
    prober: Option<Box<Prober>>,
    lateness: Lateness,
    allowance: Allowance,
    observer: Observer,
}

impl Session {
    /// A session that has just finished its handshake.
    pub fn new(config: SessionConfig, now: Timestamp) -> Self {
        let SessionConfig { carrier, policy, bounds, start_hint, initial_rtt, .. } = config;
        let secret = config.seed.rotate_left(32);
        let (controller, mtu, ledger): (Box<dyn Controller>, _, _) = match carrier {
            Carrier::Udp => {
                let law = controller(policy, bounds, start_hint, initial_rtt, now);
                (law, PathMtu::new(), Ledger::new(secret))
            }
            Carrier::Tcp => {
                let law = CarrierLaw::new(bounds.cap(), initial_rtt);
                (Box::new(law), PathMtu::known(), Ledger::ordered(secret))
            }
        };
        let (fec, mut pacer) = (fec_over(carrier, config.fec), Pacer::new());
        pacer.set_cap(bounds.cap());
        let mut observer = Observer::new(&controller.view(), now);
        observer.note(started(&config), now);
        Self {
            controller,
            pacer,
            rtt: RttEstimator::new(config.initial_rtt),
            way_back: WayBack::default(),
            mtu,
            ledger,
            settled: Settled::default(),
            lost: Vec::new(),
            dead: Vec::new(),
            trains: Vec::new(),
            trains_seen: PacketNumber::new(0),
            train_end: None,
            newest_report: None,
            skip: SkipPlan::new(config.seed),
            silence: Silence::new(),
            reach: Reach::default(),
            last_sent: now,
            outage: None,
            place: Place::new(config.peer, config.seed),
            sender: Sender::new(SendConfig { blocks_max: config.send_blocks, fec }),
            receiver: Receiver::new(config.recv_blocks),
            acks: AckRecorder::new(),
            reports: ReportClock::new(),
            sizes: Sizes::default(),
            loss: LossMeter::new(),
            repair: unmeasured(),
            warm: false,
            idle_trains_left: 0,
            job: Job::default(),
            came_early: false,
            report_now: false,
            asks: false,
            app_limited: false,
            receiver_drops_seen: 0,
            drops_before: None,
            local_drops: 0,
            peer_backlog: Bytes::ZERO,
            decoding: Decoding::default(),
            counters: Counters::default(),
            queue_delay: DelayHistogram::new(),
            packet_sizes: SizeHistogram::new(),
            train_sizes: SizeHistogram::new(),
            limits: LimitClock::default(),
            waits: Waits::default(),
            send_share: config.send_blocks,
            prober: None,
            lateness: Lateness::default(),
            allowance: Allowance::default(),
            observer,
            config,
        }
    }

    /// Data will follow soon, about `expected` bytes of it (`None`: nobody knows): look for the
    /// path's rate and packet size with padding, while offers and answers are still on their way.
    /// Little data is its own measure of the rate.
    pub fn warm_up(&mut self, expected: Option<Bytes>) {
        self.job.announce(expected);
        self.begin();
    }

    fn begin(&mut self) {
        if !self.warm {
            self.warm = true;
            if !self.config.carrier.is_reliable() {
                self.plan_size_probes();
            }
            self.idle_trains_left = IDLE_TRAINS_MAX;
        }
    }

    /// Asks the peer for a sign of life: one small packet that wants an answer leaves at once.
    pub const fn ask_peer(&mut self) {
        self.asks = true;
    }

    /// Declares an object to send; see [`Sender::declare`].
    pub fn declare_send(&mut self, len: Bytes, held: &[BlockRun]) -> Result<ObjectId, ObjectError> {
        self.on_declaring(len);
        self.sender.declare(len, held)
    }

    fn on_declaring(&mut self, len: Bytes) {
        self.job.on_declared(len);
        self.begin();
        self.idle_trains_left = 0;
        if self.sender.is_idle() {
            self.silence.ask_again();
        }
    }

    /// Declares an object to receive; see [`Receiver::declare`].
    pub fn declare_recv(&mut self, len: Bytes, held: &[BlockRun]) -> Result<ObjectId, ObjectError> {
        // What came of it before was refused and said to nobody: the sender would wait for long.
        self.report_now |= core::mem::take(&mut self.came_early);
        self.receiver.declare(len, held)
    }

    /// Sends blocks that the peer wrongly claimed; see [`Sender::reopen`].
    pub fn reopen_send(
        &mut self,
        object: ObjectId,
        runs: &[BlockRun],
    ) -> Result<Reopened, ObjectError> {
        self.sender.reopen(object, runs)
    }

    /// Expects blocks that we wrongly claimed; see [`Receiver::reopen`].
    pub fn reopen_recv(
        &mut self,
        object: ObjectId,
        runs: &[BlockRun],
    ) -> Result<Reopened, ObjectError> {
        self.receiver.reopen(object, runs)
    }

    /// Stops sending an object whose source failed.
    pub fn abandon_send(&mut self, object: ObjectId) {
        self.sender.abandon(object);
    }

    /// Stops receiving an object; see [`Receiver::abandon`].
    pub fn abandon_recv(&mut self, object: ObjectId, now: Timestamp) {
        self.receiver.abandon(object);
        self.note_decoding(now);
        self.reports.hurry(now);
    }

    /// The peer stopped sending an abandoned object; see [`Receiver::settle`].
    pub fn settle_recv(&mut self, object: ObjectId, now: Timestamp) {
        self.receiver.settle(object);
        self.reports.hurry(now);
    }

    /// The peer asks for a block again from its start.
    pub fn restart_send(&mut self, block: BlockIndex) {
        self.sender.on_restart(block);
    }

    /// Changes when repair symbols are used.
    pub fn set_fec(&mut self, fec: FecPolicy) {
        self.config.fec = fec;
        self.sender.set_fec(fec_over(self.config.carrier, fec));
    }

    /// Changes policy and bounds; obeyed by the next packet.
    pub fn set_policy(&mut self, policy: Policy, bounds: Bounds, now: Timestamp) {
        self.config.policy = policy;
        self.config.bounds = bounds;
        self.pacer.set_cap(bounds.cap());
        self.controller.set_policy(policy, bounds, now);
        self.observer.note(TraceEvent::PolicyUpdated { policy, bounds }, now);
    }

    /// The body's buffers are shared anew: `send` blocks may be in memory on their way out, and
    /// the peer is granted `recv` open blocks on its next report.
    pub fn set_shares(&mut self, send: u32, recv: u32, now: Timestamp) {
        self.send_share = send;
        self.sender.set_blocks_max(send);
        if self.receiver.set_credit(recv) {
            self.reports.soon(self.rtt.smoothed(), now);
        }
    }

    /// Bounds the repair symbols kept; see [`Receiver::set_repair_max`].
    pub fn set_repair_max(&mut self, symbols: u32) {
        self.receiver.set_repair_max(symbols);
    }

    /// Bounds the blocks that are solved at once; see [`Receiver::set_solvers`].
    pub fn set_solvers(&mut self, most: u32) {
        self.receiver.set_solvers(most);
    }

    /// A block to send is in memory, digest and padding appended; see [`Sender::on_loaded`].
    pub fn on_loaded(&mut self, block: BlockIndex, shape: BlockShape) {
        self.sender.on_loaded(block, shape);
    }

    /// Repair symbols were computed (`None`: the encoder failed).
    pub fn on_encoded(&mut self, block: BlockIndex, count: Option<u32>) {
        match count {
            Some(count) => self.sender.on_encoded(block, count),
            None => self.sender.on_encode_failed(block),
        }
    }

    /// A worker decoded and checked a block.
    pub fn on_verified(&mut self, block: BlockIndex, verified: Verified, now: Timestamp) {
        self.receiver.on_verified(block, verified);
        self.note_decoding(now);
        self.reports.hurry(now);
    }

    fn note_decoding(&mut self, now: Timestamp) {
        self.decoding.note(self.receiver.to_solve(), self.receiver.counters().decoded, now);
    }

    /// A block was lost on its way to the disk; see [`Receiver::on_lost`].
    pub fn on_lost(&mut self, block: BlockIndex) {
        self.receiver.on_lost(block);
    }

    /// A block is on disk.
    pub fn on_written(&mut self, block: BlockIndex, now: Timestamp) {
        self.receiver.on_written(block);
        if self.receiver.blocks_open() <= 1 {
            self.reports.hurry(now);
        } else {
            // A sender that waits for credit must not wait for the back-off of quiet times.
            self.reports.soon(self.rtt.smoothed(), now);
        }
    }

    /// Our host dropped so many lane packets before we saw them, since it began to count. The
    /// first call tells what was dropped before the session began, so it has to come at once.
    /// spec: W-040
    pub fn on_local_drops(&mut self, total: u64) {
        let before = *self.drops_before.get_or_insert(total);
        self.local_drops = self.local_drops.max(total.saturating_sub(before));
    }

    /// An authentic data packet with `len` payload bytes: says where the payload goes.
    pub fn on_data(
        &mut self,
        arrival: &Arrival,
        data: DataId,
        len: u16,
        now: Timestamp,
    ) -> Placement {
        let placement = self.receiver.on_symbol(data, len);
        self.note_decoding(now);
        match placement {
            Placement::Refused(refusal) => self.came_early |= refusal == Refusal::Undeclared,
            _ => self.record(arrival, packet_bytes(len), now),
        }
        placement
    }

    /// An authentic padding packet of `bytes` at IP level.
    pub fn on_padding(&mut self, arrival: &Arrival, bytes: Bytes, now: Timestamp) {
        self.record(arrival, bytes, now);
    }

    /// A planned packet was sealed, in the order of the plans: a peer that names it as arrived has
    /// to prove it. One of which this is never said was not sent.
    pub fn on_sealed(&mut self, number: PacketNumber, proof: Proof) {
        self.ledger.on_sealed(number, proof);
    }

    /// Everything planned so far is with the kernel, or never will be: how old a packet is counts
    /// from now on. What was planned and not handed over is not lost. spec: W-051
    pub fn on_handed(&mut self, now: Timestamp) {
        self.ledger.on_handed(now);
    }

    fn record(&mut self, arrival: &Arrival, bytes: Bytes, now: Timestamp) {
        self.acks.on_packet(arrival, bytes);
        self.reports.on_packet(self.acks.unreported_span(), self.rtt.smoothed(), now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let send = self.sender.poll_effect().map(Effect::Send);
        send.or_else(|| self.receiver.poll_effect().map(Effect::Recv))
    }

    /// The next thing to tell, until there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        let send = self.sender.poll_event().map(Event::Send);
        send.or_else(|| self.receiver.poll_event().map(Event::Recv))
    }

    /// A packet of the control channel came from where the peer is.
    pub fn on_control(&mut self, now: Timestamp) {
        self.reach.on_control(now);
    }

    /// Nothing that is sent arrives, and nothing will: the session has to be ended.
    pub fn unreached(&self, now: Timestamp) -> Option<Unreached> {
        self.reach.unreached(now)
    }

    /// What the controller believes.
    pub fn view(&self) -> View {
        self.controller.view()
    }

    /// Counters so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The sending side, for reading.
    pub const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The receiving side, for reading.
    pub const fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Smoothed and smallest round trip.
    pub const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Queue delay over all measurements.
    pub const fn queue_delay(&self) -> &DelayHistogram {
        &self.queue_delay
    }

    /// Sizes at IP level of the packets sent.
    pub const fn packet_sizes(&self) -> &SizeHistogram {
        &self.packet_sizes
    }

    /// Sizes at IP level of what was planned to leave at once.
    pub const fn train_sizes(&self) -> &SizeHistogram {
        &self.train_sizes
    }

    /// What limits the transfer.
    pub const fn limits(&self) -> &LimitClock {
        &self.limits
    }

    /// Data and padding packets received, duplicates not counted.
    pub const fn received_packets(&self) -> u64 {
        self.acks.packets()
    }

    /// Bytes sent and neither acknowledged nor written off.
    pub const fn in_flight(&self) -> Bytes {
        self.ledger.in_flight()
    }

    /// Bytes that arrived from the peer and want an answer, at IP level.
    pub const fn arrived(&self) -> Bytes {
        self.acks.bytes()
    }

    /// The path was measured: a packet of ours was answered.
    pub const fn is_measured(&self) -> bool {
        self.counters.packets_acked > 0
    }

    /// Bytes that may be in flight; trains and probes may go beyond.
    pub fn in_flight_limit(&self) -> Bytes {
        self.controller.in_flight_limit()
    }
}

/// What repair decisions depend on before the first report.
fn unmeasured() -> RepairContext {
    RepairContext {
        loss: LossMeter::new().estimate(),
        bdp: Bytes::ZERO,
        congested: false,
        decoder_behind: false,
    }
}

/// Repair symbols make up for packets that are lost; over a carrier that loses none they would only
/// take its room. spec: W-113
const fn fec_over(carrier: Carrier, asked: FecPolicy) -> FecPolicy {
    if carrier.is_reliable() { FecPolicy::Off } else { asked }
}

fn started(config: &SessionConfig) -> TraceEvent {
    TraceEvent::SessionStarted {
        policy: config.policy,
        bounds: config.bounds,
        start_hint: config.start_hint,
        fec: config.fec,
        initial_rtt: config.initial_rtt,
        send_blocks: config.send_blocks,
        recv_blocks: config.recv_blocks,
    }
}

#[cfg(test)]
mod tests;
