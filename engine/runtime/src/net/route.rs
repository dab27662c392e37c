//! The port as its users see it: UDP for addresses of a network, links for their own addresses.
//!
//! It routes and keeps nothing. What is sent to a link never reaches the UDP socket, and nothing
//! that comes from the UDP socket is taken for a link's: whoever receives asks
//! [`Port::is_forged`]. spec: W-112

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::link::{LinkId, Links};
use super::{Sent, Traffics, UdpPort};

/// The UDP port of a site and the links beside it. Clones share them.
#[derive(Clone, Debug)]
pub struct Port {
    udp: Arc<UdpPort>,
    links: Links,
}

impl Port {
    /// `udp`, and `links` beside it.
    pub(crate) fn new(udp: Arc<UdpPort>, links: Links) -> Self {
        Self { udp, links }
    }

    /// The UDP half.
    pub fn udp(&self) -> &Arc<UdpPort> {
        &self.udp
    }

    /// The other half.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// What each carrier moved so far.
    pub fn traffic(&self) -> Traffics {
        Traffics { udp: self.udp.traffic(), tcp: self.links.meter().now() }
    }

    /// Sends `train` to `to` as datagrams of `segment_len` bytes, the last perhaps shorter.
    ///
    /// Errors: those of [`UdpPort::send_train`]; `NotConnected` for a link that is no more.
    pub fn send_train(&self, to: SocketAddr, segment_len: usize, train: &[u8]) -> io::Result<Sent> {
        match LinkId::of(to) {
            Some(link) => self.links.send(link, segment_len, train),
            None => self.udp.send_train(to, segment_len, train),
        }
    }

    /// True for the source of a UDP datagram that claims to be a link's.
    pub fn is_forged(from: SocketAddr) -> bool {
        LinkId::of(from).is_some()
    }
}

impl From<Arc<UdpPort>> for Port {
    /// A port without links.
    fn from(udp: Arc<UdpPort>) -> Self {
        Self::new(udp, Links::new(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{PortConfig, RecvBatch};
    use std::time::Duration;

    fn udp() -> Arc<UdpPort> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        UdpPort::bind(addr, PortConfig::default()).expect("loopback has a free port")
    }

    /// spec: W-112
    #[test]
    fn what_is_sent_to_a_link_takes_the_link_and_never_the_socket() {
        let (port, other) = (Port::from(udp()), udp());
        let link = port.links().add(other.local_addr());
        assert_eq!(port.send_train(link.id.address(), 3, &[9; 6]).expect("alive").datagrams, 2);
        assert!(!link.is_empty());
        assert_eq!(port.send_train(other.local_addr(), 3, &[9; 6]).expect("alive").datagrams, 2);
        assert!(other.readable(Some(Duration::from_secs(10))).expect("poll"));
        let mut batch = RecvBatch::new();
        other.recv_batch(&mut batch).expect("readable");
        assert_eq!(batch.segments_mut().count(), 2);
        let (sent, came) = (port.traffic().udp, other.traffic());
        assert_eq!((sent.packets_sent, sent.bytes_sent), (2, 6));
        assert_eq!((came.packets_received, came.bytes_received, came.reads), (2, 6, 1));
        port.links().remove(&link, crate::net::link::LinkEnd::Silent);
        let gone = port.send_train(link.id.address(), 3, &[9; 6]).expect_err("no link");
        assert_eq!(gone.kind(), io::ErrorKind::NotConnected);
    }

    #[test]
    fn a_source_in_the_prefix_of_links_is_forged() {
        let port = Port::from(udp());
        let link = port.links().add(port.udp().local_addr());
        assert!(Port::is_forged(link.id.address()));
        assert!(Port::is_forged("[100::7]:7411".parse().expect("a literal")));
        assert!(!Port::is_forged(port.udp().local_addr()));
    }
}
