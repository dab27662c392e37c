//! From datagram to symbol: find the lane, check the window, open, place. One copy.
//!
//! Nothing is ever answered here, and nothing about a packet is believed before it opened.

use super::command::SessionEvent;
use super::session::SessionBody;
use super::{Driver, blocks::RecvBlock};
use crate::buffers::BufferPool;
use farhaul_proto::ids::{LaneTag, PacketNumber};
use farhaul_proto::limits::{FORGERY_LIMIT, TAG_LEN, UDP_IP_OVERHEAD};
use farhaul_proto::path::replay::Verdict;
use farhaul_proto::recv::Placement;
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::feedback::Feedback;
use farhaul_proto::wire::header::{DataId, Header, Kind};
use farhaul_proto::wire::number;
use std::collections::VecDeque;
use std::time::Duration;

/// Lane packets that led to nothing, by reason; for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDrops {
    /// Not a lane packet of this version.
    pub malformed: u64,
    /// No session has this lane.
    pub unknown_lane: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
    /// Did not open.
    pub forged: u64,
    /// No buffer for a new block.
    pub no_buffer: u64,
}

/// When a packet came in, in both clocks' terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) arrived: Timestamp,
    pub(super) now: Timestamp,
}

impl Driver {
    /// Takes one lane packet in.
    pub(super) fn on_lane_packet(&mut self, datagram: &mut [u8], times: Times) {
        let Ok((header, header_len)) = Header::decode(datagram) else {
            self.drops.malformed += 1;
            return;
        };
        let session = self.lanes.get(&header.lane).and_then(|key| self.sessions.get_mut(key));
        let Some(session) = session.filter(|session| !session.dead) else {
            self.drops.unknown_lane += 1;
            self.early.keep(header.lane, datagram, times.arrived);
            return;
        };
        let number = number::expand(header.number.get(), session.largest);
        let epoch_fits = number::epoch_of(number).wire_byte() == header.epoch;
        if !epoch_fits || session.replay.check(number) != Verdict::Fresh {
            self.drops.replayed += 1;
            return;
        }
        let (head, body) = datagram.split_at_mut(header_len);
        let Ok(payload) = session.open.open_in_place(number, head, body) else {
            self.drops.forged += 1;
            if session.open.forgeries() >= FORGERY_LIMIT {
                session.dead = true;
                session.tell(SessionEvent::ForgeryLimit);
            }
            return;
        };
        session.replay.commit(number);
        session.heard_at = times.now;
        session.largest = session.largest.max(Some(number));
        let packet = Opened { number, header, payload };
        self.drops.no_buffer += u64::from(!session.take(&packet, &self.pool, times));
    }
}

/// Packets of lanes that nobody knows yet.
///
/// A client's first packets travel beside the last flight of its handshake and may be read
/// before the session is set up. A few are kept, unread, for as long as that takes.
/// spec: W-033
#[derive(Debug, Default)]
pub(super) struct EarlyPackets {
    kept: VecDeque<(LaneTag, Timestamp, Vec<u8>)>,
}

/// Early packets kept at most.
const EARLY_MAX: usize = 64;
/// Early packets are of use at most this long.
const EARLY_AGE_MAX: Duration = Duration::from_millis(250);

impl EarlyPackets {
    fn keep(&mut self, lane: LaneTag, datagram: &[u8], arrived: Timestamp) {
        if self.kept.len() >= EARLY_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((lane, arrived, datagram.to_vec()));
    }

    fn take(&mut self, lane: LaneTag, now: Timestamp) -> Vec<(Timestamp, Vec<u8>)> {
        self.kept.retain(|(_, arrived, _)| now.since(*arrived) < EARLY_AGE_MAX);
        let (mine, others) = self.kept.drain(..).partition(|(tag, ..)| *tag == lane);
        self.kept = others;
        let mine: VecDeque<_> = mine;
        mine.into_iter().map(|(_, arrived, datagram)| (arrived, datagram)).collect()
    }
}

impl Driver {
    /// Reads what came for a lane before it was known.
    pub(super) fn take_early(&mut self, lane: LaneTag, now: Timestamp) {
        for (arrived, mut datagram) in self.early.take(lane, now) {
            self.on_lane_packet(&mut datagram, Times { arrived, now });
        }
    }
}

/// An authentic packet.
pub(super) struct Opened<'a> {
    number: PacketNumber,
    header: Header,
    payload: &'a mut [u8],
}

impl Opened<'_> {
    /// Size at IP level.
    fn bytes(&self) -> Bytes {
        let len = self.header.encoded_len() + self.payload.len() + TAG_LEN;
        Bytes::new(len as u64 + UDP_IP_OVERHEAD)
    }
}

impl SessionBody {
    /// Acts on an authentic packet; false when it had to be dropped for want of a buffer.
    fn take(&mut self, packet: &Opened<'_>, pool: &BufferPool, times: Times) -> bool {
        let train = packet.header.kind.is_train();
        match packet.header.kind {
            Kind::Data | Kind::DataTrain => {
                let Some(data) = packet.header.data else { return true };
                return self.take_symbol(packet, data, pool, times);
            }
            Kind::Pad | Kind::PadTrain => {
                let bytes = packet.bytes();
                self.core.on_padding(packet.number, train, bytes, times.arrived, times.now);
            }
            Kind::Feedback => self.take_feedback(packet, times.now),
            Kind::PathChallenge | Kind::PathResponse | Kind::Close => {}
        }
        true
    }

    fn take_symbol(
        &mut self,
        packet: &Opened<'_>,
        data: DataId,
        pool: &BufferPool,
        times: Times,
    ) -> bool {
        let new = !self.recv_blocks.contains_key(&data.block);
        if new && pool.free_slots() == 0 {
            return false;
        }
        let Ok(len) = u16::try_from(packet.payload.len()) else { return true };
        let train = packet.header.kind.is_train();
        let Times { arrived, now } = times;
        match self.core.on_data(packet.number, train, data, len, arrived, now) {
            Placement::Source { block, offset, first } => {
                if first {
                    let lease = pool.try_lease();
                    self.recv_blocks.insert(block, RecvBlock { lease, repair: Vec::new() });
                }
                self.copy_symbol(block, offset, packet.payload);
            }
            Placement::Repair { block, symbol, first } => {
                if first {
                    let lease = pool.try_lease();
                    self.recv_blocks.insert(block, RecvBlock { lease, repair: Vec::new() });
                }
                if let Some(held) = self.recv_blocks.get_mut(&block) {
                    held.repair.push((symbol, Box::from(&*packet.payload)));
                }
            }
            Placement::Redundant | Placement::Refused(_) => {}
        }
        true
    }

    fn copy_symbol(&mut self, block: farhaul_proto::ids::BlockIndex, offset: u32, symbol: &[u8]) {
        let held = self.recv_blocks.get_mut(&block);
        let Some(lease) = held.and_then(|held| held.lease.as_mut()) else { return };
        let Ok(start) = usize::try_from(offset) else { return };
        if let Some(place) = lease.as_mut_slice().get_mut(start..start + symbol.len()) {
            place.copy_from_slice(symbol);
        }
    }

    fn take_feedback(&mut self, packet: &Opened<'_>, now: Timestamp) {
        let Ok(feedback) = Feedback::decode(packet.payload) else {
            tracing::warn!("an authentic report could not be decoded; it is ignored");
            return;
        };
        if let Err(violation) = self.core.on_feedback(packet.number, &feedback, now) {
            self.dead = true;
            self.tell(SessionEvent::Violation(violation));
        }
    }
}

/// The tag that finds a lane, for the driver's table.
pub(super) type LaneTable<V> = std::collections::HashMap<LaneTag, V>;
