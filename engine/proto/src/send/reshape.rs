//! Blocks that begin anew: because the peer threw them away, or with smaller symbols because the path
//! carries the larger ones no more.

use super::block::{SendBlock, Stage};
use super::{SendEffect, Sender};
use crate::ids::{BlockIndex, SymbolId};
use crate::path::ledger::Carried;
use crate::trace::{TraceEvent, Way};

impl Sender {
    /// The peer threw a block away and wants it again.
    pub fn on_restart(&mut self, block: BlockIndex) {
        if let Some(state) = self.blocks.get_mut(&block)
            && state.stage == Stage::Active
        {
            self.unsent += state.bytes_sent_once();
            state.restart();
            self.trace.push(TraceEvent::BlockRestarted { way: Way::Out, block });
            self.flows[state.flow].repairs.remove(&block);
            self.flows[state.flow].first_pass.insert(block);
        }
    }

    /// The path does not carry larger symbols any more: all blocks begin anew that have them.
    /// spec: W-078
    pub fn fall_back(&mut self, symbol_size: u16) {
        self.symbol_size = Some(symbol_size);
        let open: Vec<BlockIndex> = self.blocks.keys().copied().collect();
        open.into_iter().for_each(|block| self.reshape(block));
    }

    /// Begins a block in memory anew if its symbols are too large by now.
    pub(super) fn reshape(&mut self, block: BlockIndex) {
        let (Some(size), Some(state)) = (self.symbol_size, self.blocks.get_mut(&block)) else {
            return;
        };
        if state.stage != Stage::Active || state.shape.symbol_size() <= size {
            return;
        }
        let Ok(shape) = state.shape.in_symbols_of(state.placed.len, size) else { return };
        self.unsent -= state.to_send() - state.bytes_sent_once();
        state.reshape(shape);
        self.unsent += state.to_send();
        self.flows[state.flow].repairs.remove(&block);
        self.flows[state.flow].first_pass.insert(block);
        self.effects.push_back(SendEffect::Reshape { block, shape });
        self.trace.push(TraceEvent::BlockRestarted { way: Way::Out, block });
    }

    /// The block that a packet carried a symbol of, unless it began anew with another size since.
    pub(super) fn carrier(
        &mut self,
        carried: Carried,
    ) -> Option<(BlockIndex, SymbolId, &mut SendBlock)> {
        let Carried::Symbol { block, symbol, size } = carried else { return None };
        let state = self.blocks.get_mut(&block)?;
        (state.shape.symbol_size() == size).then_some((block, symbol, state))
    }
}
