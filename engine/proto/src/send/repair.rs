//! What a loss costs: exact resends where time is plenty, coded repair where it is short.
//!
//! Bulk goes by exact repair, which reaches the limit and costs no CPU. Repair symbols are for
//! the tail of a job, for small objects, and for a block that failed one repair round: then its
//! whole deficit is over-provisioned so that one more round suffices. A peer whose decoder is behind
//! gets nothing to solve: there even the tail goes by exact repair. spec: W-054, W-055, W-131

use super::block::SendBlock;
use super::{SendEffect, Sender};
use crate::fec::{FecPolicy, Goal, LossEstimate, proactive};
use crate::ids::{BlockIndex, SymbolId};
use crate::path::ledger::Carried;
use crate::path::mtu::packet_bytes;
use crate::trace::TraceEvent;
use crate::units::{Bytes, Ratio};

/// Missing symbols, or symbols of a block, up to which copies of the symbols themselves are cheaper
/// than coding: one encode and one decode of a full block cost milliseconds of CPU, a copy of a packet
/// nothing.
const COPIES_INSTEAD_OF_CODING_MAX: u32 = 3;
/// Copies of one symbol at most.
const COPIES_MAX: u32 = 4;
/// Chance that all copies of a symbol are lost should be below this.
const COPIES_LOST_TARGET: f64 = 1e-3;

/// What repair decisions depend on; refreshed with each feedback.
#[derive(Clone, Copy, Debug)]
pub struct RepairContext {
    /// Loss on the path.
    pub loss: LossEstimate,
    /// Bytes that fit into one round trip at the current rate.
    pub bdp: Bytes,
    /// True while the queue shows congestion: then repair must not add load in advance.
    pub congested: bool,
    /// True while a block that has to be solved would wait longer at the peer than another round takes:
    /// then it gets back what it lost, as it was. spec: W-131
    pub decoder_behind: bool,
}

impl RepairContext {
    /// So much is sent while a packet is lost, missed and repaired.
    const fn tail(&self) -> Bytes {
        Bytes::new(self.bdp.get().saturating_mul(3) / 2)
    }

    /// Packets with symbols of `size` in what of a round trip a repair would cost, when `unsent` is left
    /// to be sent for the first time: that hides some of it, and in the end nothing.
    fn trip(&self, size: u16, unsent: Bytes) -> f64 {
        let open = self.tail().saturating_sub(unsent);
        let packets = open.get() / 3 * 2 / packet_bytes(size).get();
        f64::from(u32::try_from(packets).unwrap_or(u32::MAX))
    }
}

/// A symbol that has to be repaired.
#[derive(Clone, Copy, Debug)]
struct Loss {
    block: BlockIndex,
    symbol: SymbolId,
    /// Not for the first time.
    again: bool,
}

impl Sender {
    /// After a block's first pass: repair symbols in advance, where waiting for feedback would
    /// cost the job a round trip.
    pub(super) fn plan_proactive(&mut self, block: BlockIndex, context: &RepairContext) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        let symbols = state.symbols();
        if coding_waits(symbols, context) {
            return;
        }
        // What is known to have arrived needs no more.
        let doubt = state.undecided() + state.lacking();
        let spare = bet(self.config.fec, doubt, state.shape.symbol_size(), self.unsent, context);
        let count = (state.lacking() + spare).saturating_sub(state.repairs_underway());
        if spare == 0 || count == 0 {
            return;
        }
        if symbols <= COPIES_INSTEAD_OF_CODING_MAX {
            (0..symbols).for_each(|symbol| state.plan_copy(SymbolId::new(symbol)));
            self.flows[state.flow].repairs.insert(block);
        } else {
            self.plan_coded(block, count);
        }
    }

    /// At the first symbol of a block: has the repair symbols computed that will probably follow its
    /// last one, so that nobody waits for them then.
    pub(super) fn prepare_proactive(&mut self, block: BlockIndex, context: &RepairContext) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        let symbols = state.symbols();
        if coding_waits(symbols, context) {
            return;
        }
        let then = self.unsent.saturating_sub(state.to_send());
        let count = bet(self.config.fec, symbols, state.shape.symbol_size(), then, context);
        if count > 0 && symbols > COPIES_INSTEAD_OF_CODING_MAX {
            // More may be known then; a few symbols more cost nothing, a second solve all of it.
            state.prepare_repair(count + count.div_ceil(8));
            self.encode_and_send(block);
        }
    }

    /// The contents of packets that one report showed to be lost. All of them land before
    /// anything is planned: a packet that is lost as well must not count as being on its way.
    pub fn on_lost(&mut self, lost: &[Carried], context: &RepairContext) {
        let mut landed: Vec<Loss> = lost.iter().filter_map(|&carried| self.land(carried)).collect();
        landed.sort_by_key(|loss| loss.block);
        for losses in landed.chunk_by(|a, b| a.block == b.block) {
            self.plan_losses(losses[0].block, losses, context);
        }
    }

    /// Takes a lost symbol out of flight; nothing if it need not be repaired.
    fn land(&mut self, carried: Carried) -> Option<Loss> {
        let (block, symbol, state) = self.carrier(carried)?;
        state.on_lost(symbol).then(|| Loss { block, symbol, again: state.lost_again(symbol) })
    }

    fn plan_losses(&mut self, block: BlockIndex, losses: &[Loss], context: &RepairContext) {
        let tail = in_tail(self.unsent, context);
        let Some(state) = self.blocks.get_mut(&block) else { return };
        let coding = self.config.fec != FecPolicy::Off && !state.repair_exhausted();
        if coding && state.is_coded() && !context.decoder_behind {
            self.plan_shortage(block, context);
        } else {
            let k = state.symbols();
            let source = losses.iter().filter(|loss| loss.symbol.get() < k);
            let (urgent, plain): (Vec<&Loss>, Vec<&Loss>) =
                source.partition(|loss| coding && (loss.again || tail));
            plain.iter().for_each(|loss| state.plan_resend(loss.symbol, 1));
            self.flows[state.flow].repairs.insert(block);
            self.plan_urgent(block, &urgent, context);
        }
        // A receiver that never opened the block reports no deficit: the last loss must plan.
        if self.blocks.get(&block).is_some_and(SendBlock::is_starved) {
            self.resend_all_in_doubt(block);
        }
    }

    /// One more round must suffice: copies of few missing symbols, coding for many, or where many
    /// are to be expected.
    fn plan_urgent(&mut self, block: BlockIndex, urgent: &[&Loss], context: &RepairContext) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        let count = u32::try_from(urgent.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return;
        }
        let more = f64::from(state.undecided()) * context.loss.mean.get() >= 1.0;
        let few = !more && state.count_copied(count) <= COPIES_INSTEAD_OF_CODING_MAX;
        if few || context.decoder_behind {
            let copies = copies_for(context.loss.mean);
            urgent.iter().for_each(|loss| state.plan_resend(loss.symbol, copies));
        } else {
            self.plan_shortage(block, context);
        }
    }

    fn plan_shortage(&mut self, block: BlockIndex, context: &RepairContext) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        state.begin_coding();
        let lacking = state.lacking();
        let wanted = for_deficit(state, lacking, self.unsent, context);
        if lacking > 0 && wanted > state.repairs_underway() {
            let count = wanted - state.repairs_underway();
            self.plan_coded(block, count);
        }
    }

    fn plan_coded(&mut self, block: BlockIndex, count: u32) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        state.plan_repair(count);
        self.trace.push(TraceEvent::RepairPlanned { block, symbols: count });
        self.encode_and_send(block);
    }

    /// Asks for the repair symbols that a block lacks, and lets those that are there leave.
    fn encode_and_send(&mut self, block: BlockIndex) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        if let Some((first, count)) = state.to_encode() {
            let shape = state.shape;
            self.effects.push_back(SendEffect::Encode { block, shape, first, count });
        }
        if state.has_repair_ready() {
            self.flows[state.flow].repairs.insert(block);
        }
    }

    /// The body computed `count` more repair symbols.
    pub fn on_encoded(&mut self, block: BlockIndex, count: u32) {
        if let Some(state) = self.blocks.get_mut(&block) {
            state.on_encoded(count);
            self.encode_and_send(block);
        }
    }

    /// The body could not encode: everything in doubt is sent again as it is.
    pub fn on_encode_failed(&mut self, block: BlockIndex) {
        if self.blocks.get_mut(&block).is_some_and(SendBlock::on_encode_failed) {
            self.resend_all_in_doubt(block);
        }
    }

    /// The receiver counts `missing` symbols of a block of which nothing is on its way.
    pub(super) fn on_deficit(&mut self, block: BlockIndex, missing: u32, context: &RepairContext) {
        let Some(state) = self.blocks.get(&block) else { return };
        if missing == 0 || !state.is_stuck() {
            return;
        }
        self.trace.push(TraceEvent::DeficitReported { block, missing });
        if context.decoder_behind || self.config.fec == FecPolicy::Off || state.repair_exhausted() {
            self.resend_all_in_doubt(block);
        } else {
            let count = for_deficit(state, missing, self.unsent, context);
            self.plan_coded(block, count);
        }
    }

    /// The peer's decoder is behind: blocks that wait for it get what they lost as it was, and with that
    /// they need it no more. What of it is lost is sent again like any loss.
    pub(super) fn resend_what_waits(&mut self) {
        for (&block, state) in &mut self.blocks {
            if !state.is_coded() || !state.is_stuck() {
                continue;
            }
            for symbol in state.unacked_source() {
                state.plan_resend(symbol, 1);
                self.flows[state.flow].repairs.insert(block);
            }
        }
    }

    fn resend_all_in_doubt(&mut self, block: BlockIndex) {
        let Some(state) = self.blocks.get_mut(&block) else { return };
        let mut symbols = state.unacked_source();
        if symbols.is_empty() {
            // Acknowledged in full, yet the peer misses some: believe the peer.
            symbols = (0..state.symbols()).map(SymbolId::new).collect();
            state.restart_acks();
        }
        let count = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
        self.trace.push(TraceEvent::ResendPlanned { block, symbols: count });
        for symbol in symbols {
            state.plan_resend(symbol, 1);
        }
        self.flows[state.flow].repairs.insert(block);
    }
}

/// Too little is left to send for the first time to hide the round trip and a quarter that a repair
/// takes, and a repair of that: what is lost now should be lost but once.
fn in_tail(unsent: Bytes, context: &RepairContext) -> bool {
    unsent <= context.tail()
}

/// Repair symbols in advance would only make blocks of so many symbols wait for the peer's decoder.
const fn coding_waits(symbols: u32, context: &RepairContext) -> bool {
    context.decoder_behind && symbols > COPIES_INSTEAD_OF_CODING_MAX
}

/// Repair symbols to send right behind a block's last source symbol, when `unsent` is left to be sent
/// for the first time.
fn bet(fec: FecPolicy, symbols: u32, size: u16, unsent: Bytes, context: &RepairContext) -> u32 {
    match fec {
        FecPolicy::Off => 0,
        FecPolicy::Auto if !in_tail(unsent, context) || context.congested => 0,
        FecPolicy::Auto => {
            proactive(symbols, context.loss, context.trip(size, unsent), Goal::Ahead)
        }
        // Whoever asks for it wants no block to wait for a second round.
        FecPolicy::Always => {
            proactive(symbols, context.loss, context.trip(size, Bytes::ZERO), Goal::Ahead)
        }
    }
}

/// Repair symbols for a block that misses `missing`, when `unsent` is left to be sent first.
fn for_deficit(block: &SendBlock, missing: u32, unsent: Bytes, context: &RepairContext) -> u32 {
    let trip = context.trip(block.shape.symbol_size(), unsent);
    proactive(block.symbols(), context.loss, trip, Goal::Deficit { missing }).max(missing)
}

/// Copies of a symbol so that losing all of them is unlikely.
fn copies_for(loss: Ratio) -> u32 {
    let mut copies = 1;
    let mut all_lost = loss.get();
    while all_lost > COPIES_LOST_TARGET && copies < COPIES_MAX {
        all_lost *= loss.get();
        copies += 1;
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_grow_with_loss_and_stay_bounded() {
        assert_eq!(copies_for(Ratio::ZERO), 1);
        assert_eq!(copies_for(Ratio::new(0.02)), 2);
        assert_eq!(copies_for(Ratio::new(0.5)), COPIES_MAX);
    }
}
