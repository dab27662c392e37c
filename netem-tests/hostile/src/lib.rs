//! A peer that lies: the protocol as `engine/PROTOCOL.md` has it, spoken with evil intent.
//!
//! Written from that text alone, with QUIC, TLS and ciphers of third parties. It shares no encoder,
//! no decoder and no key derivation with the product, so a mistake there is not repeated here; a
//! fence in `tools/tests/tidy` holds that. It checks nothing of what it sends: that is its use. The
//! attacks themselves stand in `tests/`.
#![forbid(unsafe_code)]

pub mod lane;
pub mod peer;
pub mod report;
pub mod site;
pub mod speech;

/// What a peer of ours did not get done; the victim is seldom at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// QUIC or TLS did not get as far as a session.
    #[error("no session: {0}")]
    NoSession(String),
    /// The session ended while something was waited for.
    #[error("the session ended: {0}")]
    Ended(String),
    /// Nothing came in time.
    #[error("nothing came: {0}")]
    Silent(&'static str),
}
