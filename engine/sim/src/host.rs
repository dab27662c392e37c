//! The body of one host: performs what its session asks for, on a simulated disk and workers.
//!
//! It moves tickets, holds every request against what really lies in its buffers, and knows
//! nothing of links: packets go in and out through [`crate::world`].

mod buffers;
mod mutant;
mod receive;
mod shares;
mod workers;

use crate::check::{End, Truth, Violation, bound, none_left, same};
use crate::disk::{Access, Disk, Ending};
use crate::rng::Rng;
use crate::scenario::{HostProfile, Interruption, Mutation, Side};
use crate::world::agenda::{Agenda, Happening, Packet};
use crate::world::control::Message;
use buffers::{Buffers, RecvBuffer, SendBuffer};
use farhaul_proto::fec::BlockShape;
use farhaul_proto::ids::{BlockIndex, ObjectId, PacketNumber, SymbolId};
use farhaul_proto::limits::{
    BLOCK_REPAIR_MAX, PLAIN_HEADER_LEN, SESSION_REPAIR_MAX, TAG_LEN, UDP_IP_OVERHEAD,
};
use farhaul_proto::objects::Placed;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::path::migrate::CHALLENGE_BYTES;
use farhaul_proto::path::mtu::packet_bytes;
use farhaul_proto::path::proof::Proof;
use farhaul_proto::path::replay::{ReplayWindow, Verdict};
use farhaul_proto::recv::{RecvEvent, Verified};
use farhaul_proto::send::{SendEffect, SendEvent};
use farhaul_proto::session::{
    Arrival, Effect, Event, PacketPlan, PlanBody, Session, SessionConfig,
};
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::feedback::{Feedback, PacketRange};
use farhaul_proto::wire::header::{DataId, Kind};
use std::collections::VecDeque;
use std::num::NonZeroU16;

/// An operation of disk or workers that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// A block was read, or could not be.
    Loaded { block: BlockIndex, placed: Placed, ending: Ending },
    /// Repair symbols were computed, or could not be.
    Encoded { block: BlockIndex, shape: BlockShape, first: SymbolId, count: u32, ending: Ending },
    /// A block was decoded and checked.
    Verified { block: BlockIndex, verified: Verified },
    /// A block was written, or could not be.
    Written { block: BlockIndex, placed: Placed, ending: Ending },
}

/// What a host did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) wire: Bytes,
    pub(crate) packets: u64,
    pub(crate) data_packets: u64,
    pub(crate) reports: u64,
    pub(crate) corrupt: u64,
    pub(crate) duplicate: u64,
    pub(crate) refused: u64,
    /// Packets dropped because no buffer was free.
    pub(crate) no_buffer: u64,
    pub(crate) encodes: u64,
    pub(crate) decodes: u64,
    /// Something useful happened at this time.
    pub(crate) progress: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) side: Side,
    pub(crate) session: Session,
    profile: HostProfile,
    replay: ReplayWindow,
    disk: Disk,
    workers: workers::Workers,
    rng: Rng,
    /// What stands in for the tags of packets.
    proofs: Rng,
    shares: shares::Shares,
    sending: Buffers<SendBuffer>,
    receiving: Buffers<RecvBuffer>,
    /// Reads that wait for a buffer.
    waiting_reads: VecDeque<(BlockIndex, Placed, BlockShape)>,
    last_number: Option<PacketNumber>,
    /// Planned so far, where it is interrupted.
    trains: u32,
    /// Control messages to send.
    pub(crate) outbox: Vec<Message>,
    pub(crate) tally: Tally,
}

/// Everything around a host that it acts on.
pub(crate) struct Around<'a> {
    pub(crate) now: Timestamp,
    pub(crate) agenda: &'a mut Agenda,
    /// By the side that is the source.
    pub(crate) truths: &'a mut [Truth; 2],
}

impl Host {
    pub(crate) fn new(
        side: Side,
        profile: HostProfile,
        initial_rtt: core::time::Duration,
        rng: &Rng,
    ) -> Self {
        let config = SessionConfig {
            carrier: Carrier::Udp,
            policy: profile.policy,
            bounds: profile.bounds,
            start_hint: profile.start_hint,
            fec: profile.fec,
            initial_rtt,
            send_blocks: profile.send_blocks,
            recv_blocks: profile.recv_blocks,
            seed: rng.fork("session").next_u64(),
            peer: side.peer().address(),
        };
        let mut session = Session::new(config, Timestamp::ZERO);
        session.set_solvers(profile.workers);
        Self {
            side,
            session,
            replay: ReplayWindow::default(),
            disk: Disk::new(profile.disk.clone(), rng.fork("disk")),
            workers: workers::Workers::new(
                profile.workers,
                profile.job,
                profile.solve,
                rng.fork("workers"),
            ),
            rng: rng.fork("body"),
            proofs: rng.fork("proofs"),
            shares: shares::Shares::new(side, profile.send_blocks),
            profile,
            sending: Buffers::new(side),
            receiving: Buffers::new(side),
            waiting_reads: VecDeque::new(),
            last_number: None,
            trains: 0,
            outbox: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// For how long its processor is taken away before the train just planned is sent.
    pub(crate) fn interruption(&mut self) -> Option<core::time::Duration> {
        let Interruption { every, span } = self.profile.interrupted?;
        self.trains += 1;
        self.trains.is_multiple_of(every).then_some(span)
    }

    /// A packet that arrived from the link at `arrived` is taken in.
    pub(crate) fn on_packet(
        &mut self,
        packet: &Packet,
        arrived: Timestamp,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        if packet.corrupt {
            self.tally.corrupt += 1;
            return Ok(());
        }
        if self.replay.commit(packet.number) != Verdict::Fresh {
            self.tally.duplicate += 1;
            return Ok(());
        }
        let now = around.now;
        let (number, train) = (packet.number, packet.kind.is_train());
        let arrival = Arrival { number, proof: packet.proof, train, at: arrived };
        self.session.on_arrival(packet.from, number, packet.kind, packet.bytes, now);
        match &packet.body {
            PlanBody::Symbol { data, len } => {
                if !self.has_room_for(data.block) {
                    self.tally.no_buffer += 1;
                    return Ok(());
                }
                let placement = self.session.on_data(&arrival, *data, *len, now);
                self.place(placement, *data, *len, around)
            }
            PlanBody::Padding(_) => {
                self.session.on_padding(&arrival, packet.bytes, now);
                Ok(())
            }
            &PlanBody::Path(token) => {
                match packet.kind {
                    Kind::PathChallenge => self.session.on_challenge(packet.from, token),
                    _ => self.session.on_response(packet.from, token, now),
                }
                Ok(())
            }
            PlanBody::Report(payload) => {
                let side = self.side;
                let feedback =
                    Feedback::decode(payload).map_err(|error| Violation::Report { side, error })?;
                self.shares.on_report(number, &feedback);
                self.session
                    .on_feedback(&arrival, &feedback, now)
                    .map_err(|error| Violation::Closed { side, error })
            }
        }
    }

    /// Does what the session asks for, until it asks for nothing.
    pub(crate) fn perform(&mut self, around: &mut Around<'_>) -> Result<(), Violation> {
        loop {
            if let Some(effect) = self.session.poll_effect() {
                match effect {
                    Effect::Send(effect) => {
                        let effect = self.profile.mutation.on_send(effect);
                        self.on_send_effect(effect, around)?;
                    }
                    Effect::Recv(effect) => {
                        for effect in self.profile.mutation.on_recv(effect) {
                            self.on_recv_effect(effect, around)?;
                        }
                    }
                }
            } else if let Some(event) = self.session.poll_event() {
                self.on_event(event, around)?;
            } else {
                return self.begin_reads(around);
            }
        }
    }

    fn on_send_effect(
        &mut self,
        effect: SendEffect,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        match effect {
            SendEffect::Read { block, placed, shape } => {
                let side = self.side;
                around.truths[side.index()].on_read(block, placed)?;
                self.waiting_reads.push_back((block, placed, shape));
                self.begin_reads(around)?;
            }
            SendEffect::Encode { block, shape, first, count } => {
                self.encode(block, shape, first, count, around)?;
            }
            SendEffect::Reshape { block, shape } => {
                let buffer = self.sending.held(block, "another shape")?;
                buffer.shape = shape;
                buffer.repair.clear();
                around.truths[self.side.index()].contents.on_loaded(block, shape);
            }
            SendEffect::Release { block } => {
                let buffer = self.sending.held(block, "a release")?;
                buffer.released = true;
                self.sending.give_back(block);
            }
        }
        Ok(())
    }

    /// A read waits for a buffer: those of abandoned objects come back when their operations end.
    fn begin_reads(&mut self, around: &mut Around<'_>) -> Result<(), Violation> {
        while self.sending.len() < self.profile.send_blocks as usize
            && let Some((block, placed, shape)) = self.waiting_reads.pop_front()
        {
            self.sending.lease(block, SendBuffer::new(shape, placed.object))?;
            let (at, ending) = self.disk.begin(Access::Read, &placed, around.now);
            let done = Completion::Loaded { block, placed, ending };
            around.agenda.plan(at, Happening::Done(self.side, done));
        }
        Ok(())
    }

    fn encode(
        &mut self,
        block: BlockIndex,
        shape: BlockShape,
        first: SymbolId,
        count: u32,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let at = self.workers.begin(shape.symbols(), false, around.now);
        self.tally.encodes += 1;
        let every = u64::from(self.profile.failing_encodes);
        let fails = every > 0 && self.tally.encodes.is_multiple_of(every);
        let side = self.side;
        let buffer = self.sending.held(block, "an encode")?;
        if !buffer.loaded || buffer.shape != shape || first.get() < shape.symbols() {
            return Err(Violation::NoBuffer { side, block, what: "an impossible encode" });
        }
        buffer.busy += 1;
        let ending = if fails { Ending::Failed } else { Ending::Done };
        let done = Completion::Encoded { block, shape, first, count, ending };
        around.agenda.plan(at, Happening::Done(side, done));
        Ok(())
    }

    fn on_event(&mut self, event: Event, around: &mut Around<'_>) -> Result<(), Violation> {
        let (side, now) = (self.side, around.now);
        let (sent, received) = (side.index(), side.peer().index());
        match event {
            Event::Send(SendEvent::ObjectComplete { object, .. }) => {
                self.tally.progress = now;
                around.truths[sent].on_complete(side, object, now)
            }
            Event::Send(SendEvent::ObjectRead { .. }) => Ok(()),
            Event::Recv(RecvEvent::ObjectComplete { object, .. }) => {
                self.tally.progress = now;
                around.truths[received].on_complete(side, object, now)
            }
            Event::Recv(RecvEvent::ObjectCorrupt(object)) => {
                self.outbox.push(Message::Abandon(object));
                around.truths[received].on_abandoned(side, object)
            }
        }
    }

    /// Disk or a worker finished.
    pub(crate) fn on_done(
        &mut self,
        done: Completion,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        match done {
            Completion::Loaded { block, placed, ending } => {
                let buffer = self.sending.held(block, "a read")?;
                buffer.busy -= 1;
                if ending == Ending::Failed {
                    buffer.released = true;
                    self.sending.give_back(block);
                    self.abandon_send(placed.object, around)?;
                } else {
                    buffer.loaded = true;
                    buffer.shape = packed(buffer.shape, self.profile.packable, &mut self.rng);
                    let shape = buffer.shape;
                    around.truths[self.side.index()].contents.on_loaded(block, shape);
                    self.session.on_loaded(block, shape);
                }
            }
            Completion::Encoded { block, shape, first, count, ending } => {
                let buffer = self.sending.held(block, "an encode")?;
                buffer.busy -= 1;
                // Of a shape that the block has no more: nobody waits for it.
                if buffer.shape == shape {
                    if ending == Ending::Done {
                        buffer.repair.extend(first.get()..first.get() + count);
                    }
                    self.session.on_encoded(block, (ending == Ending::Done).then_some(count));
                }
                self.sending.give_back(block);
            }
            Completion::Verified { block, verified } => {
                self.on_verified(block, verified, around)?;
            }
            Completion::Written { block, placed, ending } => {
                self.on_written(block, placed, ending, around)?;
            }
        }
        Ok(())
    }

    /// Other sessions came or went: from now on this one has so many of the buffers.
    pub(crate) fn share(&mut self, send: u32, recv: u32, now: Timestamp) {
        self.shares.set_send(send);
        if self.profile.mutation != Mutation::KeepsShare {
            self.session.set_shares(send, recv, now);
        }
    }

    /// Stops sending an object and tells the target.
    pub(crate) fn abandon_send(
        &mut self,
        object: ObjectId,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        self.session.abandon_send(object);
        self.outbox.push(Message::Abandoned(object));
        around.truths[self.side.index()].on_abandoned(self.side, object)
    }

    /// Stops taking an object and tells the source.
    pub(crate) fn refuse(
        &mut self,
        object: ObjectId,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        self.session.abandon_recv(object, around.now);
        self.outbox.push(Message::Abandon(object));
        around.truths[self.side.peer().index()].on_abandoned(self.side, object)
    }

    /// Turns a plan into a packet, after asking whether that could be done.
    pub(crate) fn seal(
        &mut self,
        plan: PacketPlan,
        around: &mut Around<'_>,
    ) -> Result<Packet, Violation> {
        let (side, number) = (self.side, plan.number);
        if let Some(before) = self.last_number.filter(|&before| number <= before) {
            return Err(Violation::Number { side, number, before });
        }
        self.last_number = Some(number);
        let plain =
            |len: usize| Bytes::new((PLAIN_HEADER_LEN + len + TAG_LEN) as u64 + UDP_IP_OVERHEAD);
        let mut body = plan.body;
        let bytes = match &mut body {
            PlanBody::Symbol { data, len } => {
                self.check_symbol(*data, *len, around)?;
                self.tally.data_packets += 1;
                packet_bytes(*len)
            }
            PlanBody::Padding(len) => plain(usize::from(*len)),
            PlanBody::Path(_) => CHALLENGE_BYTES,
            PlanBody::Report(payload) => {
                self.tally.reports += 1;
                if self.profile.claims_drops {
                    self.session.on_local_drops(around.now.as_nanos() / 1_000_000_000);
                }
                let bytes = plain(payload.len());
                if self.profile.acknowledges_everything {
                    *payload = exaggerated(payload);
                }
                self.profile.mutation.on_report(payload);
                bytes
            }
        };
        debug_assert_eq!(plan.kind == Kind::Feedback, matches!(body, PlanBody::Report(_)));
        self.tally.wire += bytes;
        self.tally.packets += 1;
        let [high, low, ..] = self.proofs.next_u64().to_be_bytes();
        let proof = Proof::new(u16::from_be_bytes([high, low]));
        self.session.on_sealed(number, proof);
        let (from, to) = (side.address(), side.peer().address());
        Ok(Packet { number, proof, kind: plan.kind, bytes, body, corrupt: false, from, to })
    }

    fn check_symbol(
        &self,
        data: DataId,
        len: u16,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let DataId { block, symbol, packed } = data;
        let buffer = self.sending.get(block);
        let Some(buffer) = buffer.filter(|b| {
            b.has(symbol) && b.shape.symbol_size() == len && b.shape.packed_symbols() == packed
        }) else {
            return Err(Violation::Unavailable { side: self.side, block, symbol });
        };
        around.truths[self.side.index()].on_sent(block, symbol, buffer.shape, around.now);
        Ok(())
    }

    /// Rules that hold after every step.
    pub(crate) fn check(&mut self, truths: &[Truth; 2]) -> Result<(), Violation> {
        let side = self.side;
        self.shares.check(self.session.sender().blocks_open())?;
        let (sender, receiver) = (self.session.sender(), self.session.receiver());
        let send_blocks = u64::from(self.profile.send_blocks);
        let recv_blocks = u64::from(self.profile.recv_blocks);
        let truth = &truths[side.index()];
        // What was given up while it was read is forgotten by the core, not yet by the disk.
        let wanted = |object| truth.end_of(side, object) != Some(End::Abandoned);
        let reading = self.waiting_reads.iter().filter(|(_, placed, _)| wanted(placed.object));
        let sending = self.sending.values().filter(|b| !b.released && wanted(b.object));
        let open = (reading.count() + sending.count()) as u64;
        bound(side, "blocks to send", open, send_blocks)?;
        bound(side, "blocks to send, by the core,", u64::from(sender.blocks_open()), open)?;
        let receiving = || self.receiving.values().filter(|buffer| !buffer.released);
        let open = receiving().count() as u64;
        bound(side, "blocks to receive", open, recv_blocks)?;
        same(side, "blocks to receive", u64::from(receiver.blocks_open()), open)?;
        let repair: usize = receiving().map(|buffer| buffer.repair.len()).sum();
        bound(side, "repair symbols", repair as u64, u64::from(SESSION_REPAIR_MAX))?;
        let repair = receiving().map(|buffer| buffer.repair.len()).max().unwrap_or_default();
        bound(side, "repair symbols of a block", repair as u64, u64::from(BLOCK_REPAIR_MAX))?;
        let counters = self.session.counters();
        same(side, "wire bytes", counters.wire_sent.get(), self.tally.wire.get())?;
        same(side, "packets", counters.packets_sent, self.tally.packets)?;
        let sent = sender.counters();
        let planned = sent.source + sent.resent + sent.repair;
        same(side, "symbols", planned, self.tally.data_packets)
    }

    /// Rules that hold when everything is over.
    pub(crate) fn check_end(&self) -> Result<(), Violation> {
        let side = self.side;
        self.sending.check_end("send buffers")?;
        self.receiving.check_end("receive buffers")?;
        let session = &self.session;
        none_left(side, "blocks to send", session.sender().blocks_open() as usize)?;
        none_left(side, "blocks to receive", session.receiver().blocks_open() as usize)?;
        none_left(side, "unsent bytes", session.sender().unsent().as_len())?;
        none_left(side, "bytes before the disk", session.receiver().backlog().as_len())?;
        same(side, "idleness", u64::from(session.sender().is_idle()), 1)?;
        same(side, "idleness", u64::from(session.receiver().is_idle()), 1)
    }

    /// The most buffers that were held at once, for sending and for receiving.
    pub(crate) const fn buffers_most(&self) -> (usize, usize) {
        (self.sending.most(), self.receiving.most())
    }

    /// True when every buffer was given back.
    pub(crate) fn is_empty(&self) -> bool {
        self.sending.len() + self.receiving.len() == 0 && self.waiting_reads.is_empty()
    }
}

/// What travels of a block: of `packable` blocks in a hundred some part, of others all.
fn packed(shape: BlockShape, packable: u32, rng: &mut Rng) -> BlockShape {
    if shape.symbols() == 1 || rng.below(100) >= u64::from(packable) {
        return shape;
    }
    let symbols = u16::try_from(1 + rng.below(u64::from(shape.symbols()) - 1)).ok();
    let smaller = |symbols| BlockShape::packed(symbols, shape.symbol_size()).ok();
    symbols.and_then(NonZeroU16::new).and_then(smaller).unwrap_or(shape)
}

/// The report of a liar: everything up to the largest number arrived.
fn exaggerated(payload: &[u8]) -> Vec<u8> {
    let Ok(mut feedback) = Feedback::decode(payload) else { return payload.to_vec() };
    if !feedback.ranges.is_empty() {
        feedback.ranges = vec![PacketRange { first: PacketNumber::new(0), last: feedback.largest }];
        feedback.covered_from = PacketNumber::new(0);
    }
    let mut lie = Vec::new();
    feedback.encode_into(&mut lie, farhaul_proto::limits::FEEDBACK_LEN_MAX);
    lie
}
