//! From plan to datagram: copy a symbol beside its header, seal in place, send in trains.

use super::Driver;
use super::command::SessionKey;
use super::session::{SessionBody, Unsent};
use crate::net::UdpPort;
use farhaul_proto::limits::{DATA_HEADER_LEN, TAG_LEN};
use farhaul_proto::session::{PacketPlan, PlanBody};
use farhaul_proto::units::Timestamp;
use farhaul_proto::wire::header::{Header, Kind, Train};

/// Trains sent for one session before others get their turn.
const TRAINS_PER_TURN: usize = 16;

impl Driver {
    /// Sends what a session may send now; true when the socket is full.
    pub(super) fn transmit(&mut self, key: SessionKey, now: Timestamp) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        if session.dead {
            return false;
        }
        for _ in 0..TRAINS_PER_TURN {
            if !session.flush_unsent(&self.port) {
                return true;
            }
            self.plans.clear();
            session.core.poll_transmit(now, &mut self.plans);
            if self.plans.is_empty() {
                return false;
            }
            session.send_plans(&self.plans, &mut self.train, &self.port);
        }
        self.more_to_send = true;
        !session.unsent.is_empty()
    }
}

impl SessionBody {
    /// Gives the socket what it would not take before; false when it still will not.
    fn flush_unsent(&mut self, port: &UdpPort) -> bool {
        while let Some(first) = self.unsent.pop_front() {
            self.send_run(first.segment_len, &first.bytes, port);
            if !self.unsent.is_empty() {
                // What was left stands at the back: bring it to the front again.
                self.unsent.rotate_right(1);
                return false;
            }
        }
        true
    }

    /// Seals the planned packets and sends runs of equal length as trains.
    fn send_plans(&mut self, plans: &[PacketPlan], train: &mut Vec<u8>, port: &UdpPort) {
        train.clear();
        let mut run_len = 0;
        for plan in plans {
            let start = train.len();
            if !self.seal_plan(plan, train) {
                train.truncate(start);
                continue;
            }
            let len = train.len() - start;
            if start > 0 && len != run_len {
                self.send_run(run_len, &train[..start], port);
                train.drain(..start);
            }
            run_len = len;
        }
        if !train.is_empty() {
            self.send_run(run_len, train, port);
        }
    }

    fn send_run(&mut self, segment_len: usize, bytes: &[u8], port: &UdpPort) {
        match port.send_train(self.peer, segment_len, bytes) {
            Ok(sent) if sent.would_block() => {
                let done = bytes.len().saturating_sub(sent.left * segment_len);
                // The last datagram may be shorter, so count from the front instead.
                let taken = (sent.datagrams + sent.failed) * segment_len;
                let rest = bytes[done.max(taken).min(bytes.len())..].to_vec();
                self.unsent.push_back(Unsent { segment_len, bytes: rest });
            }
            Ok(_) => {}
            // Refused for good (no route, too large): to the core it is a lost packet.
            Err(error) => tracing::debug!(%error, "datagrams were refused by the kernel"),
        }
    }

    /// Appends one sealed datagram; false if its content is not in memory any more.
    fn seal_plan(&mut self, plan: &PacketPlan, out: &mut Vec<u8>) -> bool {
        let header = match &plan.body {
            PlanBody::Symbol { data, .. } => {
                let train = if plan.kind == Kind::DataTrain { Train::Member } else { Train::No };
                Header::data(self.send_tag, plan.number, *data, train)
            }
            PlanBody::Padding(_) | PlanBody::Report(_) => {
                Header::plain(plan.kind, self.send_tag, plan.number)
            }
        };
        let start = out.len();
        let mut head = [0; DATA_HEADER_LEN];
        let head_len = header.encode(&mut head);
        out.extend_from_slice(&head[..head_len]);
        match &plan.body {
            PlanBody::Symbol { data, .. } => {
                let block = self.send_blocks.get(&data.block);
                let Some(symbol) = block.and_then(|block| block.symbol(data.symbol)) else {
                    return false;
                };
                out.extend_from_slice(symbol);
            }
            PlanBody::Padding(len) => out.resize(out.len() + usize::from(*len), 0),
            PlanBody::Report(payload) => out.extend_from_slice(payload),
        }
        let (sealed_head, body) = out[start..].split_at_mut(head_len);
        let mut tag = [0; TAG_LEN];
        if self.seal.seal_in_place(plan.number, sealed_head, body, &mut tag).is_err() {
            return false;
        }
        out.extend_from_slice(&tag);
        true
    }
}
