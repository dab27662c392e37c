//! From enough symbols to a verified block: whole blocks at once, others as workers come free to solve
//! for what is missing.
//!
//! A block that waits for the decoder still takes its source symbols, and needs none when all of them
//! came: a sender that hears how long the wait is sends what was lost as it was. spec: W-131

use super::block::{RecvBlock, Stage};
use super::{Receiver, RecvEffect, RecvEvent, Verified};
use crate::ids::BlockIndex;
use crate::trace::{TraceEvent, Way};
use std::collections::BTreeSet;

/// Times a block may fail its digest before its object is given up: then the peer's source or
/// memory is broken, and another round would not mend it.
pub(super) const DIGEST_FAILURES_MAX: u32 = 3;

/// Who solves, and what waits for that.
#[derive(Debug)]
pub(super) struct Solvers {
    /// Blocks that may be with the workers at once.
    most: u32,
    busy: u32,
    /// Blocks with enough symbols; all of them are open.
    waiting: BTreeSet<BlockIndex>,
}

impl Solvers {
    /// Any number.
    pub(super) const fn new() -> Self {
        Self { most: u32::MAX, busy: 0, waiting: BTreeSet::new() }
    }

    /// The block begins anew, or is over.
    pub(super) fn forget(&mut self, block: BlockIndex) {
        self.waiting.remove(&block);
    }

    /// Nobody wants the block any more.
    pub(super) fn let_go(&mut self, block: BlockIndex, state: &RecvBlock) {
        self.forget(block);
        self.busy -= u32::from(state.is_solved_for());
    }
}

impl Receiver {
    /// Bounds the blocks that are being solved at once: more than there are workers would only keep
    /// others from becoming whole while they wait.
    pub fn set_solvers(&mut self, most: u32) {
        self.solvers.most = most.max(1);
        self.solve_next();
    }

    /// Blocks with enough symbols that wait to be solved, or are being solved.
    pub fn to_solve(&self) -> u32 {
        let waiting = u32::try_from(self.solvers.waiting.len()).unwrap_or(u32::MAX);
        self.solvers.busy.saturating_add(waiting)
    }

    /// A block has enough symbols.
    pub(super) fn verify(&mut self, block: BlockIndex) {
        let Some(state) = self.open.get_mut(&block) else { return };
        let whole = state.is_whole();
        if !whole && self.solvers.busy >= self.solvers.most {
            self.solvers.waiting.insert(block);
            return;
        }
        self.solvers.forget(block);
        self.solvers.busy += u32::from(!whole);
        state.stage = Stage::Verifying;
        let (placed, shape) = (state.placed, state.shape);
        self.effects.push_back(RecvEffect::Verify { block, placed, shape, whole });
    }

    /// Lets waiting blocks go to workers that are free, the oldest first.
    pub(super) fn solve_next(&mut self) {
        while self.solvers.busy < self.solvers.most
            && let Some(block) = self.solvers.waiting.pop_first()
        {
            self.verify(block);
        }
    }

    /// A worker finished with a block.
    pub fn on_verified(&mut self, block: BlockIndex, verified: Verified) {
        let Some(state) = self.open.get_mut(&block) else { return };
        if state.stage != Stage::Verifying {
            return;
        }
        self.solvers.busy -= u32::from(state.is_solved_for());
        match verified {
            Verified::Good => {
                self.counters.decoded += u64::from(!state.is_whole());
                // What lies in the buffer is the block: the symbols beside it are gone.
                self.repair_held -= state.drop_repair();
                state.stage = Stage::Writing;
                self.writing += state.placed.len;
                self.effects.push_back(RecvEffect::Write { block, placed: state.placed });
            }
            Verified::NotYet => state.on_not_yet(),
            Verified::Bad => self.restart(block),
        }
        self.solve_next();
    }

    fn restart(&mut self, block: BlockIndex) {
        let Some(state) = self.open.get_mut(&block) else { return };
        self.counters.corrupt += 1;
        self.trace.push(TraceEvent::BlockRestarted { way: Way::In, block });
        self.repair_held -= state.restart();
        let object = state.placed.object;
        if state.failures >= DIGEST_FAILURES_MAX {
            self.events.push_back(RecvEvent::ObjectCorrupt(object));
            self.abandon(object);
        } else {
            self.effects.push_back(RecvEffect::Clear { block });
            self.effects.push_back(RecvEffect::AskAgain { block });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SymbolId;
    use crate::limits::{BLOCK_DATA, SYMBOL_SIZE};
    use crate::recv::Placement;
    use crate::units::Timestamp;
    use crate::wire::feedback::Feedback;
    use crate::wire::header::DataId;
    use core::time::Duration;

    /// Source symbols of a full block.
    const K: u32 = 998;
    const LOST: u32 = 10;

    fn block(n: u32) -> BlockIndex {
        BlockIndex::new(n)
    }

    fn take(receiver: &mut Receiver, index: u32, symbols: core::ops::Range<u32>) -> Placement {
        let take = |n| DataId::plain(block(index), SymbolId::new(n));
        let placements = symbols.map(|n| receiver.on_symbol(take(n), SYMBOL_SIZE));
        placements.last().expect("symbols")
    }

    /// The blocks that go to a worker, and whether they are whole.
    fn verified(receiver: &mut Receiver) -> Vec<(u32, bool)> {
        let effects = core::iter::from_fn(|| receiver.poll_effect());
        effects
            .filter_map(|effect| match effect {
                RecvEffect::Verify { block, whole, .. } => Some((block.get(), whole)),
                _ => None,
            })
            .collect()
    }

    /// One block is being solved, and `more` wait with enough symbols.
    fn behind(more: u32) -> Receiver {
        let mut receiver = Receiver::new(8);
        receiver.set_solvers(1);
        receiver.on_reported(Duration::ZERO, Timestamp::ZERO);
        receiver.declare(BLOCK_DATA.saturating_mul(8), &[]).expect("a good object");
        for index in 0..=more {
            take(&mut receiver, index, LOST..K + LOST + 1);
        }
        assert_eq!((verified(&mut receiver), receiver.to_solve()), (vec![(0, false)], more + 1));
        receiver
    }

    #[test]
    fn blocks_are_solved_one_after_the_other() {
        let mut receiver = behind(2);
        receiver.on_verified(block(0), Verified::Good);
        assert_eq!((verified(&mut receiver), receiver.to_solve()), (vec![(1, false)], 2));
        receiver.set_solvers(2);
        assert_eq!(verified(&mut receiver), [(2, false)]);
        receiver.on_verified(block(1), Verified::NotYet);
        receiver.on_verified(block(2), Verified::Good);
        assert_eq!((verified(&mut receiver), receiver.to_solve()), (vec![], 0));
    }

    #[test]
    fn a_block_that_waits_for_the_decoder_becomes_whole_without_it() {
        let mut receiver = behind(2);
        assert_eq!(take(&mut receiver, 1, K + 500..K + 501), Placement::Redundant);
        take(&mut receiver, 1, 0..LOST);
        assert_eq!((verified(&mut receiver), receiver.to_solve()), (vec![(1, true)], 2));
        receiver.on_verified(block(1), Verified::Good);
        assert_eq!((receiver.counters().decoded, verified(&mut receiver)), (0, vec![]));
        receiver.on_verified(block(0), Verified::Good);
        assert_eq!((receiver.counters().decoded, verified(&mut receiver)), (1, vec![(2, false)]));
    }

    #[test]
    fn a_block_that_waits_for_the_decoder_asks_for_nothing() {
        let receiver = behind(2);
        let mut report = Feedback::default();
        receiver.report(&mut report);
        assert_eq!(report.deficits, []);
        assert_eq!(report.validate(), Ok(()));
    }

    #[test]
    fn an_object_that_is_given_up_leaves_the_decoder_to_others() {
        let mut receiver = behind(2);
        let object = receiver.object_of(block(0)).expect("a declared block");
        receiver.declare(BLOCK_DATA, &[]).expect("a good object");
        take(&mut receiver, 8, LOST..K + LOST + 1);
        assert_eq!(receiver.to_solve(), 4);
        receiver.abandon(object);
        assert_eq!((verified(&mut receiver), receiver.to_solve()), (vec![(8, false)], 1));
        receiver.on_verified(block(0), Verified::Good);
        assert_eq!((receiver.to_solve(), receiver.repair_held()), (1, LOST + 1));
    }
}
