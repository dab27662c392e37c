//! From datagram to symbol: find the lane, check the window, open, place. One copy.
//!
//! Nothing is ever answered here, and nothing about a packet is believed before it opened.

use super::command::{SessionEvent, Violation};
use super::session::SessionBody;
use super::shares::Division;
use super::{Driver, blocks::RecvBlock};
use crate::buffers::{BufferPool, Lease};
use farhaul_proto::ids::LaneTag;
use farhaul_proto::limits::{TAG_LEN, UDP_IP_OVERHEAD};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::path::replay::Verdict;
use farhaul_proto::recv::Placement;
use farhaul_proto::session::Arrival;
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::feedback::Feedback;
use farhaul_proto::wire::header::{DataId, Header, Kind};
use farhaul_proto::wire::path;
use std::net::SocketAddr;

/// Lane packets that led to nothing, by reason; for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDrops {
    /// Not a lane packet of this version.
    pub malformed: u64,
    /// No session has this lane, and none had it soon after.
    pub unknown_lane: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
    /// Did not open.
    pub forged: u64,
    /// Of a session whose peer broke the rules.
    pub dead_session: u64,
    /// No buffer for a new block.
    pub no_buffer: u64,
    /// Receive calls that failed, rather than find nothing.
    pub receive_errors: u64,
}

/// Where a packet came from, and when, in both clocks' terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    /// An address of a network, or the link's.
    pub(super) from: SocketAddr,
    pub(super) arrived: Timestamp,
    pub(super) now: Timestamp,
}

impl Driver {
    /// Takes one lane packet in.
    pub(super) fn on_lane_packet(&mut self, datagram: &mut [u8], coming: Coming) {
        let Ok((header, header_len)) = Header::decode(datagram) else {
            self.drops.malformed += 1;
            return;
        };
        let session = self.lanes.get(&header.lane).and_then(|key| self.sessions.get_mut(key));
        let Some(session) = session else {
            let early = self.openings.any();
            if !early || !self.early.keep(header.lane, datagram, coming) {
                self.drops.unknown_lane += 1;
            }
            return;
        };
        if session.is_elsewhere(coming.from) {
            self.drops.unknown_lane += 1;
            return;
        }
        if session.is_dead() {
            self.drops.dead_session += 1;
            return;
        }
        let number = header.number.expand(session.largest);
        if session.replay.check(number) != Verdict::Fresh {
            self.drops.replayed += 1;
            return;
        }
        let epoch = session.open.epoch();
        let proof = Proof::of_datagram(datagram).unwrap_or_default();
        let (head, body) = datagram.split_at_mut(header_len);
        let forgeries = session.open.forgeries();
        let Ok(payload) = session.open.open_in_place(number, header.epoch, head, body) else {
            self.drops.forged += 1;
            if session.open.forgeries() != forgeries {
                session.on_forgery(coming.now);
            }
            return;
        };
        session.replay.commit(number);
        session.keep_epochs(epoch, coming.now);
        session.heard_at = coming.now;
        session.largest = session.largest.max(Some(number));
        let train = header.kind.is_train();
        let arrival = Arrival { number, proof, train, at: coming.arrived };
        let packet = Opened { arrival, header, payload };
        session.core.on_arrival(coming.from, number, header.kind, packet.bytes(), coming.now);
        let mut buffers = Buffers { pool: &self.pool, incoming: &mut self.shares.incoming };
        match session.take(&packet, &mut buffers, coming) {
            Ok(Taken::Yes) => {}
            Ok(Taken::NoBuffer) => {
                self.drops.no_buffer += 1;
                session.no_buffer += 1;
            }
            Err(violation) => session.die(SessionEvent::Violation(violation), coming.now),
        }
    }
}

/// An authentic packet.
pub(super) struct Opened<'a> {
    arrival: Arrival,
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

/// Where a block that begins finds its buffer.
struct Buffers<'a> {
    pool: &'a BufferPool,
    incoming: &'a mut Division,
}

impl Buffers<'_> {
    /// A buffer for a session that holds so many.
    fn lease(&self, held: u32) -> Option<Lease> {
        if self.incoming.room(held) > 0 { self.pool.try_lease() } else { None }
    }
}

/// What became of an authentic packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    /// It opens a block and there is no buffer: to the peer it did not arrive.
    NoBuffer,
}

impl SessionBody {
    /// Acts on an authentic packet.
    fn take(
        &mut self,
        packet: &Opened<'_>,
        buffers: &mut Buffers<'_>,
        coming: Coming,
    ) -> Result<Taken, Violation> {
        match packet.header.kind {
            Kind::Data | Kind::DataTrain | Kind::Packed | Kind::PackedTrain => {
                let Some(data) = packet.header.data else { return Ok(Taken::Yes) };
                return Ok(self.take_symbol(packet, data, buffers, coming.now));
            }
            Kind::Pad | Kind::PadTrain => {
                if packet.payload.iter().any(|&byte| byte != 0) {
                    return Err(Violation::Padding);
                }
                let bytes = packet.bytes();
                self.core.on_padding(&packet.arrival, bytes, coming.now);
            }
            Kind::Feedback => {
                let feedback = Feedback::decode(packet.payload)?;
                self.core.on_feedback(&packet.arrival, &feedback, coming.now)?;
            }
            Kind::PathChallenge => {
                if let Some(token) = path::decode(packet.payload) {
                    self.core.on_challenge(coming.from, token);
                }
            }
            Kind::PathResponse => {
                if let Some(token) = path::decode(packet.payload) {
                    self.core.on_response(coming.from, token, coming.now);
                }
            }
            Kind::Close => {}
        }
        Ok(Taken::Yes)
    }

    fn take_symbol(
        &mut self,
        packet: &Opened<'_>,
        data: DataId,
        buffers: &mut Buffers<'_>,
        now: Timestamp,
    ) -> Taken {
        let Ok(len) = u16::try_from(packet.payload.len()) else { return Taken::Yes };
        let held = self.core.receiver().blocks_open();
        // Only for a block that is wanted: a late copy of a symbol needs no buffer, and arrived.
        let opens = self.core.receiver().would_open(data.block);
        let lease = if opens { buffers.lease(held) } else { None };
        if opens && lease.is_none() {
            return Taken::NoBuffer;
        }
        let placement = self.core.on_data(&packet.arrival, data, len, now);
        if let Placement::Source { block, first: true, .. }
        | Placement::Repair { block, first: true, .. } = placement
        {
            buffers.incoming.take(held);
            self.recv_blocks.insert(block, RecvBlock { lease, repair: Vec::new() });
        }
        match placement {
            Placement::Source { block, offset, .. } => {
                self.copy_symbol(block, offset, packet.payload);
            }
            Placement::Repair { block, symbol, .. } => {
                if let Some(held) = self.recv_blocks.get_mut(&block) {
                    held.repair.push((symbol, Box::from(&*packet.payload)));
                }
            }
            Placement::Redundant | Placement::Refused(_) => {}
        }
        Taken::Yes
    }

    fn copy_symbol(&mut self, block: farhaul_proto::ids::BlockIndex, offset: u32, symbol: &[u8]) {
        let held = self.recv_blocks.get_mut(&block);
        let Some(lease) = held.and_then(|held| held.lease.as_mut()) else { return };
        let Ok(start) = usize::try_from(offset) else { return };
        if let Some(place) = lease.as_mut_slice().get_mut(start..start + symbol.len()) {
            place.copy_from_slice(symbol);
        }
    }
}

/// The tag that finds a lane, for the driver's table. Not hashed: there are few, once a packet.
pub(super) type LaneTable<V> = std::collections::BTreeMap<LaneTag, V>;
