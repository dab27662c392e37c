//! The control channel: QUIC with mutual TLS 1.3 on the port that the lanes use too.
//!
//! Small, ordered, reliable messages between two sites that know each other's keys. It never
//! carries bulk: its window is fixed and small, so that loss does not throttle it and it does not
//! compete with the lanes. It does not read the socket; the thread that owns the port delivers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ConnectionError, ReadError, WriteError};

use crate::identity::SiteId;

pub(crate) mod admission;
mod connection;
mod endpoint;
mod opening;
mod repeat;
mod socket;
mod stream;
mod transport;

pub use crate::seal::Side;
pub use admission::AdmissionCounts;
pub use connection::ControlConnection;
pub use endpoint::ControlEndpoint;
pub use opening::{Opening, Openings};
pub use socket::ControlSocket;
pub(crate) use socket::Vouched;
pub use stream::{ControlReceiver, ControlSender, STREAM_ABANDONED};

/// Longest time from the first packet of a handshake to its end, on either side.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A connection on which nothing was heard for so long is dead; a link that is down for two minutes is
/// survived.
pub const IDLE_LIMIT: Duration = Duration::from_secs(180);
/// Close code of a session whose site is not, or no longer, allowed.
pub const CLOSE_NOT_ALLOWED: u32 = 1;
/// Close code of a session that failed.
pub const CLOSE_FAILED: u32 = 3;
/// Close code of a site that is stopped; what was under way can go on later.
pub const CLOSE_SHUTDOWN: u32 = 4;
/// Close code of a session too many.
pub const CLOSE_BUSY: u32 = 5;
/// Close code of a session whose place a newer one took that the same site called.
pub const CLOSE_REPLACED: u32 = 6;
/// Longest reason that is kept from a peer's close.
const REASON_LEN_MAX: usize = 200;

/// TLS `access_denied` as QUIC carries it (RFC 9001 section 4.8).
const CRYPTO_ACCESS_DENIED: u64 = 0x100 + 49;
/// `CONNECTION_REFUSED` (RFC 9000 section 20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// Why the control channel failed, and whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The network: nobody answered.
    #[error("{addr} does not answer (waited {:.1} s)", after.as_secs_f64())]
    Unreachable {
        /// Whom we asked.
        addr: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// The peer does not allow this site, or turned it away before asking.
    #[error("{addr} refused the connection; is this site on its list?")]
    Refused {
        /// Whom we asked.
        addr: SocketAddr,
    },
    /// Somebody else answers at that address.
    #[error("expected site {expected}, but {found} answered")]
    WrongIdentity {
        /// Whom we asked for.
        expected: SiteId,
        /// Who proved to be there.
        found: SiteId,
    },
    /// The network: the peer fell silent.
    #[error("{addr} fell silent")]
    Timeout {
        /// The peer.
        addr: SocketAddr,
    },
    /// The peer ended the session in order.
    #[error("{}", closed(*code, reason))]
    ClosedByPeer {
        /// Its code.
        code: u64,
        /// Its words; at most 200 bytes.
        reason: String,
    },
    /// The TCP connection that carried the session could not be made, or ended.
    #[error("the TCP connection with {addr} failed: {why}")]
    Carrier {
        /// The peer.
        addr: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The peer is being stopped.
    #[error("{addr} is shutting down")]
    ShuttingDown {
        /// The peer.
        addr: SocketAddr,
    },
    /// The peer has as many sessions as one site may have.
    #[error("site {site} has too many sessions open")]
    TooManySessions {
        /// The peer.
        site: SiteId,
    },
    /// The peer broke the protocol less than a minute ago.
    #[error("site {site} broke the protocol a moment ago and has to wait")]
    Barred {
        /// The peer.
        site: SiteId,
    },
    /// The peer lost the session, usually by a restart.
    #[error("the peer no longer knows the session")]
    Reset,
    /// We ended the session.
    #[error("closed by this site")]
    ClosedHere,
    /// The peer gave up one stream.
    #[error("the peer gave up the stream with code {code}")]
    StreamAborted {
        /// Its code.
        code: u64,
    },
    /// The peer breaks the rules.
    #[error("the peer breaks the protocol: {0}")]
    Peer(#[from] PeerFault),
    /// We were asked to send a message of no bytes, or longer than `CONTROL_MESSAGE_MAX`.
    #[error("a message of {len} bytes does not fit into the control channel")]
    Length {
        /// Its length.
        len: usize,
    },
    /// An earlier send on this stream was dropped half-way; its rest cannot follow.
    #[error("a message was dropped half-way; the stream is unusable")]
    HalfSent,
    /// The address cannot be connected to (port 0, or a family that the port does not serve).
    #[error("cannot connect to {addr}: not an address this port serves")]
    Address {
        /// The address.
        addr: SocketAddr,
    },
    /// The TLS library refuses our own key.
    #[error("cannot use this site's key: {0}")]
    Key(#[from] rustls::Error),
    /// This machine is at fault.
    #[error("the control channel failed on this machine: {0}")]
    Local(#[from] io::Error),
}

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// It announced a message of no bytes, or of more than `CONTROL_MESSAGE_MAX`.
    #[error("a message that is empty or too long")]
    MessageLength,
    /// It ended a stream inside a message.
    #[error("a message cut off by the end of its stream")]
    MessageCut,
    /// It presented no usable certificate.
    #[error("no usable certificate")]
    NoIdentity,
    /// It shares no version or protocol with us.
    #[error("no protocol version in common")]
    NoCommonVersion,
    /// The connection failed by a rule of QUIC or TLS.
    #[error("transport error {code:#x}")]
    Transport {
        /// The QUIC error code.
        code: u64,
    },
}

impl ControlError {
    /// Reads what the QUIC library says about the connection to `addr`.
    fn of_connection(error: ConnectionError, addr: SocketAddr) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Timeout { addr },
            ConnectionError::Reset => Self::Reset,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::VersionMismatch => PeerFault::NoCommonVersion.into(),
            ConnectionError::CidsExhausted => {
                Self::Local(io::Error::other("connection ids exhausted"))
            }
            ConnectionError::TransportError(fault) => {
                PeerFault::Transport { code: fault.code.into() }.into()
            }
            ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
                CRYPTO_ACCESS_DENIED | CONNECTION_REFUSED => Self::Refused { addr },
                code => PeerFault::Transport { code }.into(),
            },
            ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
                code if code == u64::from(CLOSE_NOT_ALLOWED) => Self::Refused { addr },
                code if code == u64::from(CLOSE_SHUTDOWN) => Self::ShuttingDown { addr },
                code => Self::ClosedByPeer { code, reason: reason(&close.reason) },
            },
        }
    }

    fn of_read(error: ReadError, addr: SocketAddr) -> Self {
        match error {
            ReadError::Reset(code) => Self::StreamAborted { code: code.into_inner() },
            ReadError::ConnectionLost(error) => Self::of_connection(error, addr),
            // Neither can happen: reads are in order, and 0-RTT is off.
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::ClosedHere,
        }
    }

    fn of_write(error: WriteError, addr: SocketAddr) -> Self {
        match error {
            WriteError::Stopped(code) => Self::StreamAborted { code: code.into_inner() },
            WriteError::ConnectionLost(error) => Self::of_connection(error, addr),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::ClosedHere,
        }
    }
}

/// What a close by the peer means, with its own words if there are any.
fn closed(code: u64, reason: &str) -> String {
    let meaning = match u32::try_from(code) {
        Ok(0) => "the peer ended the session before everything was done".to_owned(),
        Ok(CLOSE_FAILED) => "the peer gave the session up".to_owned(),
        Ok(CLOSE_BUSY) => "the peer takes no more sessions".to_owned(),
        Ok(CLOSE_REPLACED) => "a newer session of this site took its place".to_owned(),
        _ => format!("the peer closed the session with code {code}"),
    };
    if reason.is_empty() { meaning } else { format!("{meaning}: {reason}") }
}

/// A peer's words, made printable and short.
fn reason(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(REASON_LEN_MAX)];
    String::from_utf8_lossy(kept).chars().filter(|letter| !letter.is_control()).collect()
}
