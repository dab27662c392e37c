//! What a report says the peer has, held against what was sent. spec: W-049

use super::{SendError, Sender};
use crate::ids::BlockIndex;
use crate::wire::feedback::Feedback;

impl Sender {
    /// Blocks in memory that the peer says it has.
    pub(super) fn claimed(&self, feedback: &Feedback) -> Vec<BlockIndex> {
        let below = self.blocks.range(..feedback.complete_below);
        let above = feedback.complete.iter();
        let above = above.flat_map(|range| self.blocks.range(range.first..=range.last));
        below.chain(above).map(|(&index, _)| index).collect()
    }

    /// A peer cannot have what was never started, unless it was abandoned. Flows start in any order, so
    /// every block named is either done or in memory; what is not is found at the first gap.
    pub(super) fn check_claims(&self, feedback: &Feedback) -> Result<(), SendError> {
        let below = feedback.complete_below;
        if below > BlockIndex::new(0) && !self.are_started(0, u64::from(below.get()) - 1) {
            return Err(SendError::NeverSent(below));
        }
        for range in &feedback.complete {
            let (first, last) = (u64::from(range.first.get()), u64::from(range.last.get()));
            if !self.are_started(first, last) {
                return Err(SendError::NeverSent(range.last));
            }
        }
        Ok(())
    }

    /// Whether each of the blocks `first ..= last` was started, or given up.
    fn are_started(&self, first: u64, last: u64) -> bool {
        let mut next = self.done.absent_from(first);
        while next <= last {
            if !self.blocks.contains_key(&BlockIndex::clamped(next)) {
                return false;
            }
            next = self.done.absent_from(next + 1);
        }
        true
    }
}
