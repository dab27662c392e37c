//! The next symbol to send: whose turn it is, and what of it.

use super::block::SendBlock;
use super::flows::Flow;
use super::{Reason, RepairContext, Sender, Ticket};
use crate::ids::BlockIndex;
use crate::path::mtu::packet_bytes;
use crate::shares::{Class, places};
use crate::units::Bytes;

impl Sender {
    /// True when a symbol could leave now.
    pub fn has_symbol(&self) -> bool {
        self.ready() != 0
    }

    /// The highest class of which a symbol could leave now.
    pub fn top_class(&self) -> Option<Class> {
        let ready = self.ready();
        places(ready).map(|place| self.flows[place].plan.class).min()
    }

    /// The next symbol to send, of the flow whose turn it is.
    pub fn next_symbol(&mut self, context: &RepairContext) -> Option<Ticket> {
        // Where there is one flow only, to ask whether it could is to look for the symbol twice.
        let ready = self.alone().unwrap_or_else(|| self.ready());
        let mut left = ready;
        while let Some(place) = self.turns.next(left) {
            if let Some(ticket) = self.next_of(place, context) {
                let bytes = packet_bytes(ticket.shape.symbol_size());
                if !ready.is_power_of_two() {
                    self.turns.charge(place, bytes, ready);
                }
                self.flows[place].charge(bytes, self.now);
                return Some(ticket);
            }
            left &= !(1 << place);
        }
        // What is asked for and could not leave now has no precedence when it can, unless it was held up.
        let now = self.now;
        let may = |flow: &&mut Flow| !flow.plan.paused && flow.is_open_at(now);
        self.flows.iter_mut().filter(may).for_each(|flow| flow.asked_for.clear());
        None
    }

    /// The next symbol of a flow: of a block that the peer asks for, else a repair of the oldest
    /// block, else the first pass goes on. A peer that lacks buffers drops the symbols of all other
    /// blocks until one of those it asks for is complete, so that one must not wait behind them.
    fn next_of(&mut self, place: usize, context: &RepairContext) -> Option<Ticket> {
        while let Some(&asked) = self.flows[place].asked_for.first() {
            if let Some(ticket) = self.repair_of(asked).or_else(|| self.source_of(asked, context)) {
                return Some(ticket);
            }
            // The next report names it again if it is still wanted.
            self.flows[place].asked_for.pop_first();
        }
        while let Some(&block) = self.flows[place].repairs.first() {
            if let Some(ticket) = self.repair_of(block) {
                return Some(ticket);
            }
            // It may have been forgotten since.
            self.flows[place].repairs.remove(&block);
        }
        let block = self.next_first_pass(place)?;
        self.source_of(block, context)
    }

    /// True when the peer's credit allows symbols of the block: it shrinks when others want the
    /// peer's buffers, and blocks that were read for more of it wait. What is paused begins nothing.
    /// spec: W-076, W-146
    pub(super) fn may_send(&self, block: &SendBlock) -> bool {
        let rests =
            || self.flows[block.flow].plan.paused && !(self.is_held_up() && self.stays(block));
        let may_begin = || self.begun < self.peer_blocks_max && !rests();
        block.is_begun() || may_begin()
    }

    /// The block with which the first pass of a flow goes on.
    pub(super) fn next_first_pass(&self, place: usize) -> Option<BlockIndex> {
        let may = |index: &&BlockIndex| self.blocks.get(*index).is_some_and(|b| self.may_send(b));
        self.flows[place].first_pass.iter().find(may).copied()
    }

    /// The next repair of a block that has one ready; afterwards it is known whether it has more.
    fn repair_of(&mut self, block: BlockIndex) -> Option<Ticket> {
        let state = self.blocks.get_mut(&block)?;
        let repairs = &mut self.flows[state.flow].repairs;
        if !repairs.contains(&block) {
            return None;
        }
        let taken = state.take_repair();
        if taken.is_none() || !state.has_repair_ready() {
            repairs.remove(&block);
        }
        let (symbol, shape) = (taken?, state.shape);
        let resend = symbol.get() < shape.symbols();
        *(if resend { &mut self.counters.resent } else { &mut self.counters.repair }) += 1;
        let reason = if resend { Reason::Resend } else { Reason::Repair };
        Some(Ticket { block, symbol, shape, reason })
    }

    /// The next symbol of a block's first pass.
    fn source_of(&mut self, block: BlockIndex, context: &RepairContext) -> Option<Ticket> {
        if !self.blocks.get(&block).is_some_and(|state| self.may_send(state)) {
            return None;
        }
        let state = self.blocks.get_mut(&block)?;
        let begun = state.is_begun();
        let symbol = state.take_source()?;
        self.begun += u32::from(!begun);
        let (shape, flow) = (state.shape, state.flow);
        let done = state.first_pass_done();
        let size = u64::from(shape.symbol_size());
        let sent_before = Bytes::new(u64::from(symbol.get()) * size);
        self.unsent -= state.to_send().saturating_sub(sent_before).min(Bytes::new(size));
        self.counters.source += 1;
        if !begun && !done {
            self.prepare_proactive(block, context);
        }
        if done {
            self.flows[flow].first_pass.remove(&block);
            self.plan_proactive(block, context);
        }
        Some(Ticket { block, symbol, shape, reason: Reason::Source })
    }
}
