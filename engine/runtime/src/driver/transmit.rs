//! From plan to datagram: copy a symbol beside its header, seal in place, send in trains.

use super::command::SessionKey;
use super::session::{SessionBody, Unsent};
use super::{Driver, Turn};
use crate::net::Port;
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::limits::{DATA_HEADER_LEN, TAG_LEN};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::session::{PacketPlan, PlanBody, Route};
use farhaul_proto::units::Timestamp;
use farhaul_proto::wire::header::{Header, PacketId, Train as InTrain};
use farhaul_proto::wire::number::KeyEpoch;
use farhaul_proto::wire::path;
use std::net::SocketAddr;

/// Trains sent for one session before others get their turn.
const TRAINS_PER_TURN: usize = 16;

impl Driver {
    /// Sends what a session may send now.
    pub(super) fn transmit(&mut self, key: SessionKey, now: Timestamp) -> Turn {
        let done = Turn { more: false, blocked: false };
        let Some(session) = self.sessions.get_mut(&key).filter(|s| !s.is_dead()) else {
            return done;
        };
        session.renew_key(now);
        for _ in 0..TRAINS_PER_TURN {
            if !session.flush_unsent(&self.port) {
                session.core.on_blocked();
                // A link that has room again wakes the driver.
                return Turn { blocked: !session.is_linked(), ..done };
            }
            self.plans.clear();
            // Sealing and sending sixteen trains takes milliseconds: under one time for all of them,
            // the last would seem to have been on their way for so long, or to be lost.
            session.core.poll_transmit(self.clock.now(), &mut self.plans);
            if self.plans.is_empty() {
                return done;
            }
            session.send_plans(&self.plans, &mut self.train, &self.port);
        }
        // A full socket is waited for, not asked again at once.
        let blocked = session.waits_for_room();
        if blocked {
            session.core.on_blocked();
        }
        Turn { more: !blocked, blocked: blocked && !session.is_linked() }
    }
}

/// Datagrams on their way to the socket. All are framed before the first is sealed: the processor
/// fetches symbols, which lie far from its caches, ahead of those it copies if nothing comes in
/// between.
#[derive(Debug, Default)]
pub(super) struct Train {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

impl Train {
    fn clear(&mut self) {
        self.bytes.clear();
        self.members.clear();
    }
}

/// One datagram of a train.
#[derive(Clone, Copy, Debug)]
struct Member {
    number: PacketNumber,
    head_len: usize,
}

/// Sealed datagrams of one length for one place.
#[derive(Clone, Copy)]
struct Run<'a> {
    to: SocketAddr,
    segment_len: usize,
    bytes: &'a [u8],
}

impl Run<'_> {
    /// Sends them; returns what the socket did not take.
    fn send(self, port: &Port) -> Option<Unsent> {
        match port.send_train(self.to, self.segment_len, self.bytes) {
            // Only the last datagram may be shorter, and it is among those that are left.
            Ok(sent) => sent.would_block().then(|| self.rest(sent.datagrams + sent.failed)),
            Err(error) => {
                // Refused for good (no route, too large): to the core it is a lost packet.
                tracing::debug!(%error, to = %self.to, "datagrams were refused by the kernel");
                None
            }
        }
    }

    /// What is left behind the first `taken` datagrams.
    fn rest(self, taken: usize) -> Unsent {
        let from = (taken * self.segment_len).min(self.bytes.len());
        Unsent { to: self.to, segment_len: self.segment_len, bytes: self.bytes[from..].to_vec() }
    }
}

impl SessionBody {
    /// Gives the socket what it would not take before; false when it still will not.
    fn flush_unsent(&mut self, port: &Port) -> bool {
        while let Some(first) = self.unsent.pop_front() {
            let run = Run { to: first.to, segment_len: first.segment_len, bytes: &first.bytes };
            if let Some(rest) = run.send(port) {
                self.unsent.push_front(rest);
                return false;
            }
        }
        true
    }

    /// Seals the planned packets and sends runs of equal length to one place as trains.
    fn send_plans(&mut self, plans: &[PacketPlan], train: &mut Train, port: &Port) {
        train.clear();
        // Numbers and headers first, in one key; all that is framed here is sealed before the
        // next one is taken.
        let epoch = self.seal.epoch();
        let mut run_len = 0;
        let mut run_route = Route::Peer;
        for plan in plans {
            let start = train.bytes.len();
            let Some(head_len) = self.frame(plan, epoch, &mut train.bytes) else {
                train.bytes.truncate(start);
                continue;
            };
            let len = train.bytes.len() - start;
            if start > 0 && (len != run_len || plan.route != run_route) {
                self.seal_and_send(run_route, run_len, train, port);
                train.bytes.drain(..start);
                train.members.clear();
            }
            train.members.push(Member { number: plan.number, head_len });
            (run_len, run_route) = (len, plan.route);
        }
        self.seal_and_send(run_route, run_len, train, port);
    }

    /// Seals what the members of a train are and sends it.
    fn seal_and_send(&mut self, route: Route, len: usize, train: &mut Train, port: &Port) {
        let mut sealed = 0;
        for (member, datagram) in train.members.iter().zip(train.bytes.chunks_exact_mut(len.max(1)))
        {
            // Whatever keeps one from being sealed keeps those behind it.
            let Some(proof) = self.seal_datagram(*member, datagram) else { break };
            self.core.on_sealed(member.number, proof);
            sealed += len;
        }
        if sealed > 0 {
            self.send_by(route, len, &train.bytes[..sealed], port);
        }
    }

    /// Seals a datagram in place and writes its tag behind it.
    fn seal_datagram(&mut self, member: Member, datagram: &mut [u8]) -> Option<Proof> {
        let (rest, tag) = datagram.split_last_chunk_mut::<TAG_LEN>()?;
        let (head, body) = rest.split_at_mut_checked(member.head_len)?;
        self.seal.seal_in_place(member.number, head, body, tag).ok()?;
        Some(Proof::of_tag(tag))
    }

    fn send_by(&mut self, route: Route, segment_len: usize, bytes: &[u8], port: &Port) {
        let peer = self.core.peer();
        let (to, also) = match route {
            Route::Peer => (peer, None),
            Route::Only(to) => (to, None),
            Route::Also(also) => (peer, Some(also)),
        };
        for to in std::iter::once(to).chain(also) {
            self.send_or_keep(Run { to, segment_len, bytes }, port);
        }
    }

    /// Sends a run, unless one before it still waits: numbers leave in order.
    fn send_or_keep(&mut self, run: Run<'_>, port: &Port) {
        let left = if self.unsent.is_empty() { run.send(port) } else { Some(run.rest(0)) };
        self.unsent.extend(left);
    }

    /// Appends one datagram, not sealed yet, with room for its tag. Answers how long its header
    /// is, or nothing if its content is not in memory any more.
    fn frame(&mut self, plan: &PacketPlan, epoch: KeyEpoch, out: &mut Vec<u8>) -> Option<usize> {
        let (lane, number) = (self.send_tag, plan.number);
        let id = PacketId { lane, epoch, number, salt: self.salts.draw() };
        let header = match &plan.body {
            PlanBody::Symbol { data, .. } => {
                let train = if plan.kind.is_train() { InTrain::Member } else { InTrain::No };
                Header::data(&id, *data, train)
            }
            PlanBody::Padding(_) | PlanBody::Report(_) | PlanBody::Path(_) => {
                Header::plain(plan.kind, &id)
            }
        };
        let mut head = [0; DATA_HEADER_LEN];
        let head_len = header.encode(&mut head);
        out.extend_from_slice(&head[..head_len]);
        match &plan.body {
            PlanBody::Symbol { data, .. } => {
                let block = self.send_blocks.get(&data.block);
                out.extend_from_slice(block.and_then(|block| block.symbol(data.symbol))?);
            }
            PlanBody::Padding(len) => out.resize(out.len() + usize::from(*len), 0),
            PlanBody::Report(payload) => out.extend_from_slice(payload),
            PlanBody::Path(token) => path::encode_into(*token, out),
        }
        out.extend_from_slice(&[0; TAG_LEN]);
        Some(head_len)
    }
}
