//! The path of a byte from file to file, stage by stage, on one thread: two brains, two sockets on
//! the loopback, and what the driver does between them.
//!
//! A [`Meter`] hears of the end of each stage, and counts what it likes: time, allocations. The
//! brains live in a time of their own, so that what leaves when does not depend on the machine.

mod end;
mod inbound;
mod outbound;

use end::End;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::session::SessionConfig;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use inbound::Inbound;
use outbound::Outbound;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What a byte goes through, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the file into a block.
    Read,
    /// The digest behind the block.
    Hash,
    /// Which symbols leave now, and what is written down about them.
    Plan,
    /// Header, and the symbol copied beside it.
    Frame,
    /// Encrypted in place.
    Seal,
    /// Into the kernel, in trains; on the loopback that is also the way to the other socket.
    Send,
    /// Out of the kernel.
    Receive,
    /// The header read, decrypted in place.
    Open,
    /// What the receiver writes down about them, and where they belong.
    Take,
    /// The symbol copied into its block.
    Place,
    /// The digest of the block compared.
    Verify,
    /// From the block into the file.
    Write,
    /// Reports, both ends together.
    Report,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Hash,
        Self::Plan,
        Self::Frame,
        Self::Seal,
        Self::Send,
        Self::Receive,
        Self::Open,
        Self::Take,
        Self::Place,
        Self::Verify,
        Self::Write,
        Self::Report,
    ];

    /// True for what the sending side does.
    pub const fn is_sending(self) -> bool {
        matches!(self, Self::Read | Self::Hash | Self::Plan | Self::Frame | Self::Seal | Self::Send)
    }
}

/// Hears of stages.
pub trait Meter {
    /// What happened since the last call belongs to `stage`.
    fn done(&mut self, stage: Stage);
}

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Payload of the object.
    pub bytes: u64,
    /// Data packets that were sealed.
    pub packets: u64,
    /// Calls that hand packets to the kernel.
    pub sends: u64,
    /// Calls that take packets from it.
    pub receives: u64,
    /// Payload bytes that were copied at the source and at the destination, in user space.
    pub copied: [u64; 2],
    /// Reports that arrived.
    pub reports: u64,
    /// Blocks that were written.
    pub blocks: u64,
}

/// The rate at which packets leave, in the brains' time.
const RATE: BitRate = BitRate::mbps(5_000);
/// One round.
const TICK: Duration = Duration::from_micros(200);
/// Blocks under way at each end.
const BLOCKS: u32 = 24;
/// Rounds after which something is stuck.
const IDLE_ROUNDS_MAX: u32 = 50_000;

/// Carries `len` bytes of `from` to `to`, both of which are gone through again and again where
/// they are shorter; `span` is how long they are.
///
/// # Errors
/// What files and sockets say; `TimedOut` if nothing moves any more.
pub fn carry(
    files: (&Path, &Path),
    span: Bytes,
    len: Bytes,
    meter: &mut impl Meter,
) -> io::Result<Carried> {
    let (mut sender, mut receiver) = End::pair(config)?;
    let mut out = Outbound::open(files.0, span)?;
    let mut inward = Inbound::open(files.1, span)?;
    let failed = |_| io::Error::from(io::ErrorKind::InvalidInput);
    sender.core.declare_send(len, &[]).map_err(failed)?;
    receiver.core.declare_recv(len, &[]).map_err(failed)?;
    let (mut carried, mut now, mut idle) = (Carried::default(), start(), 0);
    let mut arrivals = Vec::new();
    while !receiver.core.receiver().is_idle() {
        let before = carried;
        now += TICK;
        out.serve(&mut sender, meter)?;
        out.send(&mut sender, now, &mut carried, meter)?;
        inward.receive(&mut receiver, &mut arrivals, now, &mut carried, meter)?;
        inward.serve(&mut receiver, now, &mut carried, meter)?;
        let both = (&mut receiver, &mut sender);
        inbound::report(both, &mut arrivals, now, &mut carried, meter)?;
        idle = if before == carried { idle + 1 } else { 0 };
        if idle > IDLE_ROUNDS_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    carried.bytes = len.get();
    Ok(carried)
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_000)
}

fn config(peer: SocketAddr) -> SessionConfig {
    SessionConfig {
        carrier: Carrier::Udp,
        policy: Policy::Fixed,
        bounds: Bounds::capped(Some(RATE)),
        start_hint: Some(RATE),
        fec: FecPolicy::Off,
        initial_rtt: TICK,
        send_blocks: BLOCKS,
        recv_blocks: BLOCKS,
        seed: 7,
        peer,
    }
}
