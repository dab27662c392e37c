//! What a session may send of what several of them have together, as whoever divides it says.
//!
//! It bounds data and trains. Reports and questions leave all the same, for without them nothing goes on;
//! they count.

use super::Session;
use crate::limits::SYMBOL_SIZE;
use crate::path::mtu::packet_bytes;
use crate::units::{Bytes, Timestamp};

/// Packets of a train at least, if any.
const TRAIN_MIN: u64 = 2;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// What is left, unless nothing bounds it.
    left: Option<Bytes>,
    /// When there may be more.
    more_at: Timestamp,
}

impl Allowance {
    pub(super) fn take(&mut self, bytes: Bytes) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes);
        }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == Some(Bytes::ZERO)
    }

    /// A train of one packet measures nothing.
    pub(super) fn lets_train(&self) -> bool {
        let least = packet_bytes(SYMBOL_SIZE).saturating_mul(TRAIN_MIN);
        self.left.is_none_or(|left| left >= least)
    }

    /// When something may leave that could leave at `at`.
    pub(super) fn not_before(&self, at: Timestamp) -> Timestamp {
        if self.is_spent() { at.max(self.more_at) } else { at }
    }
}

impl Session {
    /// From now on so many bytes may leave at IP level, the last packet beyond it included, and there
    /// may be more at the time given; without, nothing but the path bounds them.
    pub fn allow(&mut self, allowance: Option<(Bytes, Timestamp)>) {
        self.allowance = match allowance {
            Some((left, more_at)) => Allowance { left: Some(left), more_at },
            None => Allowance::default(),
        };
    }

    /// True when something could leave, and a cap of this side keeps it from that: of a flow, or over
    /// several sessions.
    pub fn is_held_by_cap(&self) -> bool {
        self.sender.opens_at().is_some() || self.allowance.is_spent() && self.sender.has_symbol()
    }
}
