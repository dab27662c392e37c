//! What a session tells about itself: events, counters, distributions, and what limits it.
//!
//! This is the schema; formatting, logging and export belong to the body.

mod event;
pub mod flight;
mod histogram;
mod limit;
mod ring;

use crate::units::{Bytes, Ratio};
pub use event::{Closed, TraceEvent, TraceRecord, Way};
pub use histogram::{DelayHistogram, SizeHistogram};
pub use limit::{Limit, LimitClock, LimitWindow, Spent, longest};
pub use ring::Ring;

/// Counters of a session since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Bytes sent on lanes, at IP level.
    pub wire_sent: Bytes,
    /// Lane packets sent, skipped numbers not counted.
    pub packets_sent: u64,
    /// Data and padding packets that arrived at the peer.
    pub packets_acked: u64,
    /// Data and padding packets declared lost and not seen since.
    pub packets_lost: u64,
    /// Lost packets that arrived after all.
    pub packets_spurious: u64,
    /// Bytes that the peer has seen of what was sent, at IP level, as its reports have it.
    pub wire_delivered: Bytes,
    /// Feedback packets sent.
    pub reports_sent: u64,
    /// Feedback packets received.
    pub reports_received: u64,
    /// Packets that the peer's host dropped before Farhaul saw them.
    pub receiver_drops: u64,
}

impl Counters {
    /// Lost packets as a share of all packets whose fate is known.
    pub const fn loss(&self) -> Ratio {
        Ratio::of(self.packets_lost, self.packets_acked + self.packets_lost)
    }
}
