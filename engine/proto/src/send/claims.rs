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

    /// A peer cannot have what was never started, unless it was abandoned.
    pub(super) fn check_claims(&self, feedback: &Feedback) -> Result<(), SendError> {
        let started = u64::from(self.next_start.get());
        let below = u64::from(feedback.complete_below.get());
        if below > started && !self.done.contains_all(started, below - 1) {
            return Err(SendError::NeverSent(feedback.complete_below));
        }
        for range in feedback.complete.iter().rev() {
            let (first, last) = (u64::from(range.first.get()), u64::from(range.last.get()));
            if last < started {
                break;
            }
            if !self.done.contains_all(first.max(started), last) {
                return Err(SendError::NeverSent(range.last));
            }
        }
        Ok(())
    }
}
