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
const DIGEST_FAILURES_MAX: u32 = 3;

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
            && let Some(&block) = self.solvers.waiting.first()
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
