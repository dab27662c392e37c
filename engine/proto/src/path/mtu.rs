//! Which symbol size a path carries: asked once, before the first block, by the padding trains
//! that look for the rate anyway.
//!
//! Only the two sizes of `limits` are known here; padding probes beyond them (jumbo frames) and
//! the black-hole test belong to path discovery.

use crate::congestion::Outcome;
use crate::limits::{DATA_HEADER_LEN, SYMBOL_SIZE, SYMBOL_SIZE_SMALL, TAG_LEN, UDP_IP_OVERHEAD};
use crate::units::{Bytes, Timestamp};
use core::time::Duration;

/// Small probes sent beside the first train.
pub const SMALL_PROBES: u32 = 2;
/// Full-size probes sent where the policy sends no trains.
pub const FULL_PROBES: u32 = 3;
/// A host that stands still for a moment must not look like a path that drops large packets.
const FULL_SLACK: Duration = Duration::from_millis(250);
/// Time without news of any probe after which the small size is used. While no report comes at all
/// the session decides nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Size at IP level of a data packet that carries `symbol_size` bytes.
pub const fn packet_bytes(symbol_size: u16) -> Bytes {
    Bytes::new(DATA_HEADER_LEN as u64 + symbol_size as u64 + TAG_LEN as u64 + UDP_IP_OVERHEAD)
}

/// What is known about the packet sizes of a path.
#[derive(Clone, Debug, Default)]
pub struct PathMtu {
    full_arrived: bool,
    small_arrived_at: Option<Timestamp>,
    first_probe_at: Option<Timestamp>,
    /// Only answers to what left since then count against the full size.
    asked_from: Timestamp,
}

impl PathMtu {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The path carries every size.
    pub fn known() -> Self {
        Self { full_arrived: true, ..Self::default() }
    }

    /// A probe left.
    pub fn on_probe(&mut self, now: Timestamp) {
        self.first_probe_at.get_or_insert(now);
    }

    /// The path was silent and is back: what its silence seemed to say is forgotten.
    pub fn ask_anew(&mut self, now: Timestamp) {
        self.small_arrived_at = None;
        self.first_probe_at = None;
        self.asked_from = now;
    }

    /// A packet arrived at the peer.
    pub fn on_acked(&mut self, outcome: &Outcome, now: Timestamp) {
        if outcome.bytes >= packet_bytes(SYMBOL_SIZE) {
            self.full_arrived = true;
        } else if outcome.bytes >= packet_bytes(SYMBOL_SIZE_SMALL)
            && outcome.sent_at >= self.asked_from
        {
            self.small_arrived_at.get_or_insert(now);
        }
    }

    /// Whether a packet of `bytes` that was lost may just have been too long for the path.
    pub fn is_probe(&self, bytes: Bytes) -> bool {
        !self.full_arrived && bytes > packet_bytes(SYMBOL_SIZE_SMALL)
    }

    /// The symbol size to use, once that is known; `reorder` is how much later than the small
    /// probes the full-size train may arrive.
    pub fn symbol_size(&self, reorder: Duration, now: Timestamp) -> Option<u16> {
        if self.full_arrived {
            return Some(SYMBOL_SIZE);
        }
        let decided = self.decision_at(reorder).is_some_and(|at| now >= at);
        decided.then_some(SYMBOL_SIZE_SMALL)
    }

    /// When waiting for a full-size packet ends; nothing else may happen until then.
    pub fn decision_at(&self, reorder: Duration) -> Option<Timestamp> {
        let small_only = self.small_arrived_at.map(|at| at + FULL_SLACK.max(reorder * 2));
        let silent = self.first_probe_at.map(|at| at + PATIENCE);
        [small_only, silent].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PacketNumber, RateEpoch};

    fn arrived(symbol_size: u16) -> Outcome {
        Outcome {
            number: PacketNumber::new(0),
            sent_at: Timestamp::ZERO,
            bytes: packet_bytes(symbol_size),
            epoch: RateEpoch::new(0),
        }
    }

    const REORDER: Duration = Duration::from_millis(25);

    #[test]
    fn full_size_is_used_as_soon_as_one_full_packet_arrived() {
        let mut mtu = PathMtu::new();
        mtu.on_acked(&arrived(SYMBOL_SIZE_SMALL), Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::ZERO), None);
        mtu.on_acked(&arrived(SYMBOL_SIZE), Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::ZERO), Some(SYMBOL_SIZE));
    }

    #[test]
    fn small_size_is_used_when_only_small_packets_arrive() {
        let mut mtu = PathMtu::new();
        mtu.on_probe(Timestamp::ZERO);
        mtu.on_acked(&arrived(SYMBOL_SIZE_SMALL), Timestamp::from_millis(200));
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::from_millis(460)), Some(SYMBOL_SIZE_SMALL));
    }

    #[test]
    fn the_small_size_is_used_when_reports_name_no_probe_for_long() {
        let mut mtu = PathMtu::new();
        mtu.on_probe(Timestamp::ZERO);
        assert_eq!(mtu.symbol_size(REORDER, Timestamp::from_millis(4000)), Some(SYMBOL_SIZE_SMALL));
    }
}
