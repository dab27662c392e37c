//! What both ends have: brain, socket, keys, buffers.

use super::start;
use farhaul_engine::identity::SiteId;
use farhaul_engine::net::{PortConfig, RecvBatch, UdpPort};
use farhaul_engine::seal::{LaneIds, LaneSecrets, OpenKey, Salts, SealKey, Side};
use farhaul_proto::ids::{LaneTag, PacketNumber};
use farhaul_proto::limits::{BLOCK_DATA, TAG_LEN};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::session::{PacketPlan, PlanBody, Session, SessionConfig};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::header::{Header, Kind, PacketId, Train};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Longer than any block of usual symbols, with its digest and padding.
const BLOCK_LEN: usize = 1_500_000;
const LANE: LaneTag = LaneTag::new(7);

/// One side of a lane.
pub(super) struct End {
    pub(super) core: Session,
    pub(super) port: Arc<UdpPort>,
    pub(super) to: SocketAddr,
    pub(super) open: OpenKey,
    pub(super) largest: Option<PacketNumber>,
    pub(super) batch: RecvBatch,
    pub(super) plans: Vec<PacketPlan>,
    pub(super) train: Vec<u8>,
    seal: SealKey,
    salts: Salts,
}

impl End {
    /// Both ends of a lane on the loopback.
    pub(super) fn pair(config: fn(SocketAddr) -> SessionConfig) -> io::Result<(Self, Self)> {
        let bind = || UdpPort::bind(([127, 0, 0, 1], 0).into(), PortConfig::default());
        let (a, b) = (bind()?, bind()?);
        let (to_a, to_b) = (a.local_addr(), b.local_addr());
        let sender = Self::new(a, Side::Client, config(to_b));
        Ok((sender, Self::new(b, Side::Server, config(to_a))))
    }

    fn new(port: Arc<UdpPort>, side: Side, config: SessionConfig) -> Self {
        let ids = LaneIds { client: SiteId([1; 32]), server: SiteId([2; 32]) };
        let Ok(secrets) = LaneSecrets::derive(exporter, side, 0, &ids);
        Self {
            to: config.peer,
            core: Session::new(config, start()),
            port,
            open: secrets.recv.open_key(),
            largest: None,
            batch: RecvBatch::new(),
            plans: Vec::new(),
            train: Vec::new(),
            seal: secrets.send.seal_key(),
            salts: Salts::new(),
        }
    }

    /// The header of a planned packet.
    pub(super) fn header(&mut self, plan: &PacketPlan) -> Header {
        let (epoch, number) = (self.seal.epoch(), plan.number);
        let id = PacketId { lane: LANE, epoch, number, salt: self.salts.draw() };
        match &plan.body {
            PlanBody::Symbol { data, .. } => {
                let train = if plan.kind.is_train() { Train::Member } else { Train::No };
                Header::data(&id, *data, train)
            }
            PlanBody::Padding(_) | PlanBody::Report(_) | PlanBody::Path(_) => {
                Header::plain(plan.kind, &id)
            }
        }
    }

    /// What the brain tells for others is not heard here.
    pub(super) fn let_news_pass(&mut self) {
        while self.core.poll_event().is_some() || self.core.poll_trace().is_some() {}
    }

    /// Seals the datagram that is at `start` of the train, `len` bytes long with its tag.
    pub(super) fn seal(
        &mut self,
        (start, len): (usize, usize),
        kind: Kind,
        number: PacketNumber,
    ) -> io::Result<Proof> {
        let datagram = &mut self.train[start..start + len];
        let (head, rest) = datagram.split_at_mut(kind.header_len());
        let (body, tag_out) = rest.split_at_mut(rest.len() - TAG_LEN);
        let mut tag = [0; TAG_LEN];
        self.seal.seal_in_place(number, head, body, &mut tag).map_err(io::Error::other)?;
        tag_out.copy_from_slice(&tag);
        Ok(Proof::of_tag(&tag))
    }
}

/// A fixed secret instead of a live connection.
fn exporter(out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), Infallible> {
    for (at, byte) in out.iter_mut().enumerate() {
        let mixed = label.len() + context.len() * 3 + at * 7;
        *byte = u8::try_from(mixed % 251).unwrap_or_default();
    }
    Ok(())
}

/// Buffers of blocks, of which the one that was returned last is used first.
#[derive(Default)]
pub(super) struct Buffers(Vec<Box<[u8]>>);

impl Buffers {
    pub(super) fn take(&mut self) -> Box<[u8]> {
        self.0.pop().unwrap_or_else(|| vec![0; BLOCK_LEN].into_boxed_slice())
    }

    pub(super) fn give(&mut self, buffer: Option<Box<[u8]>>) {
        self.0.extend(buffer);
    }
}

/// Where a block lies in a file of `span` bytes that is gone through again and again.
pub(super) fn place_in(span: Bytes, offset: Bytes) -> u64 {
    let blocks = (span.get() / BLOCK_DATA.get()).max(1);
    offset.get() / BLOCK_DATA.get() % blocks * BLOCK_DATA.get()
}
