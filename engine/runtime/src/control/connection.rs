//! One authenticated connection between two sites.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farhaul_proto::path::carrier::Carrier;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;

use super::socket::Vouched;
use super::stream::{ControlReceiver, ControlSender};
use super::{CLOSE_FAILED, CLOSE_REPLACED, ControlError, PeerFault};
use crate::identity::SiteId;
use crate::net::link::LinkEnd;
use crate::seal::{LaneIds, LaneSecrets, Side};
use crate::tls;

/// A live connection to a site that proved its key. Clones share it; when the last one and its
/// streams are dropped, it is closed.
#[derive(Clone, Debug)]
pub struct ControlConnection {
    /// The site at the other end.
    pub peer: SiteId,
    /// Its address when the connection was made.
    pub addr: SocketAddr,
    /// What carries the connection.
    pub carrier: Carrier,
    /// Where its packets go: its address, or that of the link.
    path: SocketAddr,
    /// Which end we are.
    pub side: Side,
    local: SiteId,
    connection: Connection,
    vouched: Arc<Vouched>,
}

impl ControlConnection {
    /// Takes over a connection whose handshake is complete.
    pub(super) fn new(
        connection: Connection,
        local: SiteId,
        side: Side,
        vouched: Arc<Vouched>,
    ) -> Result<Self, ControlError> {
        let presented = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
        let peer = presented.and_then(|chain| tls::site_of(&chain));
        let peer = peer.ok_or(PeerFault::NoIdentity)?;
        let path = super::endpoint::canonical(connection.remote_address());
        let (addr, carrier) = match vouched.link() {
            Some(used) => {
                tokio::spawn(end_with_link(connection.clone(), used.over()));
                (used.link.remote, Carrier::Tcp)
            }
            None => (path, Carrier::Udp),
        };
        Ok(Self { peer, addr, carrier, path, side, local, connection, vouched })
    }

    /// Where the packets of its session go.
    pub(crate) const fn path(&self) -> SocketAddr {
        self.path
    }

    fn error_of(&self, error: ConnectionError) -> ControlError {
        self.vouched.explain(ControlError::of_connection(error, self.addr))
    }

    /// Our own identity on this connection.
    pub const fn local(&self) -> SiteId {
        self.local
    }

    /// The secrets of one lane. Ask once per lane: the same lane gives the same keys, and sealing
    /// with two copies of one key repeats nonces.
    ///
    /// Errors: the connection is closed.
    pub fn lane_secrets(&self, lane: u8) -> Result<LaneSecrets, ControlError> {
        let ids = match self.side {
            Side::Client => LaneIds { client: self.local, server: self.peer },
            Side::Server => LaneIds { client: self.peer, server: self.local },
        };
        let export = |out: &mut [u8], label: &[u8], context: &[u8]| {
            let exported = self.connection.export_keying_material(out, label, context);
            exported.map_err(|_| ControlError::ClosedHere)
        };
        LaneSecrets::derive(export, self.side, lane, &ids)
    }

    /// The smoothed round-trip time of the control packets.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Opens a stream of messages in both directions. The peer sees it with the first message.
    /// Waits while 16 streams of ours are open.
    pub async fn open_stream(&self) -> Result<(ControlSender, ControlReceiver), ControlError> {
        let opened = self.connection.open_bi().await;
        let (send, recv) = opened.map_err(|error| self.error_of(error))?;
        Ok(self.messages(send, recv))
    }

    /// Waits for a stream that the peer opened.
    pub async fn accept_stream(&self) -> Result<(ControlSender, ControlReceiver), ControlError> {
        let accepted = self.connection.accept_bi().await;
        let (send, recv) = accepted.map_err(|error| self.error_of(error))?;
        Ok(self.messages(send, recv))
    }

    fn messages(&self, send: SendStream, recv: RecvStream) -> (ControlSender, ControlReceiver) {
        let vouched = || Arc::clone(&self.vouched);
        let sender = ControlSender::new(send, self.addr, vouched());
        (sender, ControlReceiver::new(recv, self.addr, vouched()))
    }

    /// Whether it is over because the peer has a newer one with this site, which this site called.
    pub fn was_replaced(&self) -> bool {
        let code = u64::from(CLOSE_REPLACED);
        matches!(
            self.connection.close_reason(),
            Some(ConnectionError::ApplicationClosed(close)) if close.error_code.into_inner() == code
        )
    }

    /// Ends the connection; the peer learns `code` and `reason`. What was not delivered is lost.
    pub fn close(&self, code: u32, reason: &str) {
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits for the end of the connection and says why it came.
    pub async fn closed(&self) -> ControlError {
        self.error_of(self.connection.closed().await)
    }
}

/// Nothing comes over a link that has ended, so what it carried need not wait for its timers.
/// Keeps the connection open no longer than its last user does.
async fn end_with_link(connection: Connection, over: impl Future<Output = Option<LinkEnd>>) {
    if over.await.is_some() {
        connection.close(VarInt::from_u32(CLOSE_FAILED), b"the carrier ended");
    }
}
