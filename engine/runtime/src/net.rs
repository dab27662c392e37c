//! The one port of a site: batched datagrams in and out, and which kind each of them is.
//!
//! They travel over UDP, or over links where UDP does not pass; an address tells which.
//!
//! It knows datagrams and segments, not packets: it does not encrypt, pace, retry or queue. One
//! thread owns receiving; any thread may send.

mod batch;
mod cmsg;
pub(crate) mod link;
mod offload;
mod port;
mod route;
mod traffic;
mod train;

use farhaul_proto::wire::header::is_lane;

pub use batch::{RecvBatch, Segment};
pub use port::{PortConfig, UdpPort};
pub use route::Port;
pub(crate) use traffic::Meter;
pub use traffic::{Traffic, Traffics};
pub use train::{Sent, Train};

/// The two protocols that share the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A packet of our own lanes.
    Lane,
    /// Everything else goes to QUIC, which discards what it does not know.
    Control,
}

impl PacketKind {
    /// Sorts one datagram by its first byte.
    ///
    /// Must be asked for each segment: the kernel merges datagrams of both kinds into one buffer
    /// when their sizes are equal.
    #[inline]
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(&first) if is_lane(first) => Self::Lane,
            _ => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_own_four_to_sixty_three_and_quic_the_rest() {
        for first in 0..=u8::MAX {
            let lane = (4..=63).contains(&first);
            let expected = if lane { PacketKind::Lane } else { PacketKind::Control };
            assert_eq!(PacketKind::of(&[first, 0]), expected, "first byte {first}");
        }
        assert_eq!(PacketKind::of(&[]), PacketKind::Control);
    }
}
