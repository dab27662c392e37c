//! How many blocks a host may send at once: its share of the buffers, and what its peer grants.
//!
//! Both may shrink below what is open. What is open stays then, and nothing is begun beside it.

use crate::check::{Violation, bound};
use crate::scenario::Side;
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::wire::feedback::Feedback;

/// See the module.
#[derive(Debug)]
pub(super) struct Shares {
    side: Side,
    /// Our own buffers for sending.
    send: u32,
    /// What the newest report grants, and its number.
    granted: Option<(PacketNumber, u32)>,
    /// Blocks that were open when it was looked last.
    open: u32,
}

impl Shares {
    pub(super) const fn new(side: Side, send: u32) -> Self {
        Self { side, send, granted: None, open: 0 }
    }

    pub(super) const fn set_send(&mut self, send: u32) {
        self.send = send;
    }

    /// A report of the peer; those that were overtaken grant nothing.
    pub(super) fn on_report(&mut self, number: PacketNumber, feedback: &Feedback) {
        if self.granted.is_none_or(|(newest, _)| number > newest) {
            self.granted = Some((number, feedback.open_blocks_limit));
        }
    }

    /// `Ok` when no block was begun beyond the share or the credit.
    pub(super) fn check(&mut self, open: u32) -> Result<(), Violation> {
        // The first block may leave before the first report.
        let credit = self.granted.map_or(1, |(_, credit)| credit);
        let allowed = self.send.min(credit).max(self.open);
        self.open = open;
        bound(self.side, "blocks begun", u64::from(open), u64::from(allowed))
    }
}
