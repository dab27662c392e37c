//! What leaves now: reports first, then trains, then symbols as the pacer allows.
//!
//! It makes plans (number, kind, content by reference); the body seals and sends them in order.

use super::Session;
use super::silence::Permission;
use crate::ids::PacketNumber;
use crate::limits::{DATA_HEADER_LEN, FEEDBACK_LEN_MAX, PLAIN_HEADER_LEN, SYMBOL_SIZE};
use crate::limits::{SYMBOL_SIZE_SMALL, TAG_LEN, UDP_IP_OVERHEAD};
use crate::path::ledger::Carried;
use crate::path::mtu::packet_bytes;
use crate::send::READ_AHEAD;
use crate::trace::TraceEvent;
use crate::units::{BitRate, Bytes, Timestamp};
use crate::wire::header::{DataId, Kind};
use core::net::SocketAddr;
use core::time::Duration;

/// Plans made per call at most: of the usual size, two messages of the kernel's, both full.
const PLANS_MAX: usize = 90;
/// What a data header has and a plain one has not.
const HEADER_DIFFERENCE: u16 = 7;
const _: () = assert!(DATA_HEADER_LEN - PLAIN_HEADER_LEN == HEADER_DIFFERENCE as usize);
/// Largest report: one that passes where only small packets do. A side that only receives never
/// learns more about its path.
const REPORT_LEN_MAX: usize = SYMBOL_SIZE_SMALL as usize + HEADER_DIFFERENCE as usize;
const _: () = assert!(REPORT_LEN_MAX <= FEEDBACK_LEN_MAX);
/// Padding of a packet that only wants an answer.
const QUESTION_LEN: u16 = 16;
/// Packets of a train at least, however large they are.
const TRAIN_MIN: u32 = 8;
/// A receiver greets a silent sender at most so often.
const GREETING_EVERY: Duration = Duration::from_secs(1);
/// Data kept loaded ahead at least.
const READ_AHEAD_MIN: Bytes = Bytes::new(4 * crate::limits::BLOCK_DATA.get());
/// Data kept loaded ahead at most: what lies longer has left the processor's caches when it is
/// sent.
const READ_AHEAD_MAX: Bytes = Bytes::mib(16);

/// One packet to seal and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketPlan {
    /// Its number.
    pub number: PacketNumber,
    /// Its kind.
    pub kind: Kind,
    /// What it carries.
    pub body: PlanBody,
    /// Where it goes.
    pub route: Route,
}

/// Where a planned packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the peer, where [`Session::peer`] says it is.
    Peer,
    /// To this address and no other.
    Only(SocketAddr),
    /// To the peer, and the very same bytes to this address.
    Also(SocketAddr),
}

/// What a planned packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanBody {
    /// A symbol; its bytes lie in the block's buffer or in its repair set.
    Symbol {
        /// Which.
        data: DataId,
        /// Payload length.
        len: u16,
    },
    /// So many zero bytes.
    Padding(u16),
    /// An encoded report.
    Report(Vec<u8>),
    /// The bits of a challenge or of its answer; see [`crate::wire::path`].
    Path(u64),
}

impl Session {
    /// Plans the packets that may leave now, a hundred or so at most; call until nothing is added.
    pub fn poll_transmit(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        let sent_before = self.counters.wire_sent;
        self.sender.turn(now);
        self.plan_addresses(now, plans);
        if core::mem::take(&mut self.report_now) {
            self.reports.hurry(now);
        }
        self.plan_report(now, plans);
        self.plan_question(now, plans);
        if self.controller.next_timer().is_some_and(|at| at <= now) {
            self.controller.on_timer(now);
        }
        self.choose_symbol_size(now);
        let rate = self.pacing_rate(now);
        let ahead = rate.bytes_in(READ_AHEAD).clamp(READ_AHEAD_MIN, READ_AHEAD_MAX);
        self.sender.read_ahead(ahead);
        let nominal = rate;
        let permission = self.silence.permission(nominal, self.patience(), now);
        let halvings = self.silence.halvings(self.patience(), now);
        self.observer.on_permission(permission, halvings, now);
        match permission {
            Permission::Rate(rate) => {
                self.plan_probes(now, plans);
                let share = rate.as_f64() / nominal.as_f64();
                self.plan_measurement(share.clamp(0.001, 1.0), now, plans);
                if self.may_train(rate, nominal) {
                    self.plan_train(now, plans);
                }
                self.plan_paced(rate, now, plans);
            }
            Permission::Probe => self.plan_probe(now, plans),
            Permission::WaitUntil(_) => {}
        }
        self.note_limit(nominal, now);
        let sent = self.counters.wire_sent - sent_before;
        if sent > Bytes::ZERO {
            self.train_sizes.record(sent);
        }
        self.observe(now);
    }

    /// The socket is full: that packets leave late from now on is not the processor's doing.
    pub const fn on_blocked(&mut self) {
        self.lateness.on_stop(false);
        self.pacer.hold();
    }

    fn plan_report(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if self.reports.due().is_none_or(|due| due > now) {
            return;
        }
        let fresh = self.acks.unreported() > 0;
        let Some(mut feedback) = self.acks.report(now) else {
            self.reports.cancel();
            return;
        };
        feedback.receiver_drops = self.local_drops;
        self.receiver.report(&mut feedback);
        feedback.decoding = self.decoding.left(now).into();
        self.receiver.on_reported(self.rtt.pessimistic(), now);
        let mut payload = Vec::with_capacity(REPORT_LEN_MAX);
        let receipt = |covered_from| self.acks.receipt(covered_from);
        feedback.encode_with(&mut payload, REPORT_LEN_MAX, receipt);
        let active = !self.receiver.is_idle();
        if !active {
            self.acks.on_settled();
        }
        self.reports.on_sent(fresh, active, self.rtt.smoothed(), now);
        self.counters.reports_sent += 1;
        let number = self.ledger.next_number();
        let bytes = plain_bytes(payload.len());
        self.emit(Carried::Report, bytes, now);
        // Cheap, and the sender need not wait for it until the address is validated. spec: W-102
        let route = self.place.address.also(bytes).map_or(Route::Peer, Route::Also);
        let (kind, body) = (Kind::Feedback, PlanBody::Report(payload));
        plans.push(PacketPlan { number, kind, body, route });
        if active && self.reports.repeats_first() {
            self.greet(now, plans);
        }
    }

    /// A sender that fell silent may have lost our address: it can ask at the new one only when it got
    /// enough from there. One packet suffices. spec: W-105
    fn greet(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if self.place.greeted_at.is_none_or(|at| now.since(at) >= GREETING_EVERY) {
            self.place.greeted_at = Some(now);
            let len = SYMBOL_SIZE_SMALL + HEADER_DIFFERENCE;
            self.plan_unwatched(len, now, plans);
        }
    }

    /// One packet that wants an answer, too short to say anything about the sizes that pass.
    fn plan_question(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if !core::mem::take(&mut self.asks) {
            return;
        }
        self.plan_unwatched(QUESTION_LEN, now, plans);
    }

    /// Padding of which nobody cares whether it arrives.
    fn plan_unwatched(&mut self, len: u16, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        let number = self.ledger.next_number();
        self.emit(Carried::Question, plain_bytes(usize::from(len)), now);
        let (kind, body, route) = (Kind::Pad, PlanBody::Padding(len), Route::Peer);
        plans.push(PacketPlan { number, kind, body, route });
    }

    /// Gives the next number to a packet of `bytes` that leaves now.
    pub(super) fn emit(&mut self, carried: Carried, bytes: Bytes, now: Timestamp) {
        self.counters.wire_sent += bytes;
        self.allowance.take(bytes);
        self.counters.packets_sent += 1;
        self.packet_sizes.record(bytes);
        self.last_sent = now;
        let number = self.ledger.next_number();
        let epoch = if carried.is_watched() {
            if !self.config.carrier.is_reliable() {
                self.silence.on_sent(now);
                self.reach.on_sent(bytes, now);
            }
            self.pacer.on_sent(bytes);
            self.controller.on_sent(number, bytes, now)
        } else {
            crate::ids::RateEpoch::default()
        };
        self.ledger.on_sent(bytes, epoch, carried, now);
    }

    fn skip_sometimes(&mut self, now: Timestamp) {
        if self.skip.take() {
            self.skip_number(now);
        }
    }

    pub(super) fn skip_number(&mut self, now: Timestamp) {
        let epoch = crate::ids::RateEpoch::default();
        self.ledger.on_sent(Bytes::ZERO, epoch, Carried::Skipped, now);
    }

    fn plan_symbol(&mut self, train: bool, now: Timestamp, plans: &mut Vec<PacketPlan>) -> bool {
        if self.allowance.is_spent() {
            return false;
        }
        let Some(ticket) = self.sender.next_symbol(&self.repair) else { return false };
        if !train {
            self.skip_sometimes(now);
        }
        let number = self.ledger.next_number();
        let (block, symbol) = (ticket.block, ticket.symbol);
        let data = DataId { block, symbol, packed: ticket.shape.packed_symbols() };
        let len = ticket.shape.symbol_size();
        self.emit(Carried::Symbol { block, symbol, size: len }, packet_bytes(len), now);
        let kind = match (train, data.packed.is_some()) {
            (false, false) => Kind::Data,
            (true, false) => Kind::DataTrain,
            (false, true) => Kind::Packed,
            (true, true) => Kind::PackedTrain,
        };
        let body = PlanBody::Symbol { data, len };
        plans.push(PacketPlan { number, kind, body, route: Route::Peer });
        true
    }

    pub(super) fn plan_padding(
        &mut self,
        kind: Kind,
        like: u16,
        now: Timestamp,
        plans: &mut Vec<PacketPlan>,
    ) {
        // Padding is as long on the wire as a data packet with a symbol of size `like`.
        let len = like + HEADER_DIFFERENCE;
        let number = self.ledger.next_number();
        self.mtu.on_probe(now);
        self.emit(Carried::Padding, packet_bytes(like), now);
        let (body, route) = (PlanBody::Padding(len), Route::Peer);
        plans.push(PacketPlan { number, kind, body, route });
    }

    fn plan_train(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if !self.wants_train() {
            return;
        }
        let pads = self.pads_trains();
        let Some(count) = self.controller.take_train(now) else { return };
        self.idle_trains_left = self.idle_trains_left.saturating_sub(1);
        // Two trains in a row would be one to the receiver, pause included. spec: W-016
        if self.train_end == Some(self.ledger.next_number()) {
            self.skip_number(now);
        }
        // Until the size is known, trains ask for it as well.
        let padding = self.sender.symbol_size().unwrap_or(SYMBOL_SIZE);
        // A train is so many packets of the usual size, and of others as many as take its time.
        let scale = u32::from(padding.div_ceil(SYMBOL_SIZE));
        let count = if scale > 1 { count.div_ceil(scale).max(TRAIN_MIN.min(count)) } else { count };
        for _ in 0..count {
            if self.plan_symbol(true, now, plans) {
                continue;
            }
            if !pads || self.allowance.is_spent() {
                break;
            }
            self.plan_padding(Kind::PadTrain, padding, now, plans);
        }
        self.train_end = Some(self.ledger.next_number());
    }

    /// The rate matters: there is something to send, or soon will be.
    pub(super) fn is_steering(&self) -> bool {
        let soon = self.idle_trains_left > 0 && self.controller.view().starting;
        let sends = !self.sender.is_idle() && !self.sender.is_resting();
        self.warm && (sends || soon)
    }

    fn plan_paced(&mut self, rate: BitRate, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        let mut budget = self.pacer.budget(now, rate);
        // Who is below its part of a cap has its turn before that, and is held by its own rate.
        let held_long = self.pacer.is_full(now);
        self.lateness.on_turn(self.pacer.take_forfeited(), now);
        self.lateness.on_stop(false);
        // A larger one overdraws: the pacer has its debt paid before the next.
        let packet = packet_bytes(SYMBOL_SIZE);
        // Sending does not change it.
        let limit = self.controller.in_flight_limit();
        while budget >= packet && plans.len() < PLANS_MAX && self.fits(limit) {
            let before = self.counters.wire_sent;
            if !self.plan_symbol(false, now, plans) {
                // spec: W-150
                self.app_limited |= held_long || !self.allowance.is_spent();
                return self.pacer.pause();
            }
            budget -= packet.max(self.counters.wire_sent - before).min(budget);
        }
        let open = self.window_open();
        if !open {
            self.pacer.hold();
        }
        self.lateness.on_stop(self.sender.has_symbol() && open && !self.allowance.is_spent());
    }

    /// Trains overdraw the pacer, but not the window, and they do not ask a path that has fallen
    /// silent: on a short one they would be thousands before the silence is a second old.
    pub(super) fn may_train(&self, rate: BitRate, nominal: BitRate) -> bool {
        rate >= nominal && self.window_open() && self.allowance.lets_train()
    }

    pub(super) fn window_open(&self) -> bool {
        self.fits(self.controller.in_flight_limit())
    }

    fn fits(&self, in_flight_limit: Bytes) -> bool {
        self.ledger.in_flight() + packet_bytes(SYMBOL_SIZE) <= in_flight_limit
    }

    /// The path is silent: one packet asks whether it is back. A symbol, if there is one. Who has
    /// nothing to send does not ask.
    fn plan_probe(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if !self.is_steering() {
            return;
        }
        self.silence.on_probe(now);
        self.observer.note(TraceEvent::ProbeSent, now);
        // In turn, for the path may be back for small packets only.
        let small = self.sizes.asks_small;
        self.sizes.asks_small = !small;
        if small || !self.plan_symbol(false, now, plans) {
            self.plan_padding(Kind::Pad, SYMBOL_SIZE_SMALL, now, plans);
        }
    }
}

/// Size at IP level of a packet without data header and `len` payload bytes.
fn plain_bytes(len: usize) -> Bytes {
    Bytes::new((PLAIN_HEADER_LEN + len + TAG_LEN) as u64 + UDP_IP_OVERHEAD)
}
