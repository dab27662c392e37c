//! The receiving side: where a symbol goes, when a block is whole, what has been made durable.
//!
//! It bounds everything a peer can make it hold: open blocks, repair symbols, objects. It does
//! not open packets, touch payload or write files; it says where and when.

pub mod acks;
pub mod block;
mod grants;
mod solve;
mod told;

use crate::fec::BlockShape;
use crate::ids::{BlockIndex, Generation, ObjectId, SymbolId};
use crate::limits::{SESSION_REPAIR_MAX, SYMBOL_SIZES};
use crate::objects::{BlockRun, ObjectError, ObjectTable, Placed, Reopened};
use crate::ranges::RangeSet;
use crate::trace::{Ring, TraceEvent, Way};
use crate::units::{Bytes, Timestamp};
use crate::wire::feedback::{BlockDeficit, Feedback};
use crate::wire::header::DataId;
use block::{RecvBlock, Stage, Take};
use core::time::Duration;
use grants::Grants;
use solve::Solvers;
use std::collections::{BTreeMap, VecDeque};
use told::Told;

/// Trace events kept until the session takes them.
const TRACE_MAX: usize = 256;
/// Deficits in one report.
const DEFICITS_MAX: usize = 64;

/// Where the payload of a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into the buffer of `block`, at `offset`.
    Source {
        /// The block.
        block: BlockIndex,
        /// Byte offset within the block's buffer.
        offset: u32,
        /// True for the first symbol of a block: a buffer has to be leased.
        first: bool,
    },
    /// Kept beside the block as a repair symbol.
    Repair {
        /// The block.
        block: BlockIndex,
        /// The symbol.
        symbol: SymbolId,
        /// True for the first symbol of a block: a buffer has to be leased.
        first: bool,
    },
    /// Not needed; counts as received.
    Redundant,
    /// Cannot be taken; counts as not received.
    Refused(Refusal),
}

/// Why a symbol was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its block is not declared (yet).
    Undeclared,
    /// Its size or id does not fit its block.
    Malformed,
    /// The peer holds more blocks open than it was granted.
    OverCredit,
    /// No room for more repair symbols.
    RepairFull,
    /// The block begins anew with smaller symbols: this one was too early.
    Restarting,
}

/// What the body should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvEffect {
    /// Decode (if not whole) and check the digest.
    Verify {
        /// The block.
        block: BlockIndex,
        /// Where it lies in its object.
        placed: Placed,
        /// Its symbols.
        shape: BlockShape,
        /// False: symbols are missing and have to be solved for.
        whole: bool,
    },
    /// Write the verified data.
    Write {
        /// The block.
        block: BlockIndex,
        /// Where it belongs.
        placed: Placed,
    },
    /// The block's buffer and repair symbols are not needed any more.
    Release {
        /// The block.
        block: BlockIndex,
    },
    /// Drop all symbols held for the block, keep its buffer.
    Clear {
        /// The block.
        block: BlockIndex,
    },
    /// Ask the peer to send the block again from the start.
    AskAgain {
        /// The block.
        block: BlockIndex,
    },
}

/// What the user of the session should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvEvent {
    /// Every placed block of the object is verified and written.
    ObjectComplete {
        /// Which object.
        object: ObjectId,
        /// The reopenings that were known when it was complete: with one more, it is not.
        generation: Generation,
    },
    /// The object cannot be completed: its blocks fail their digests again and again.
    ObjectCorrupt(ObjectId),
}

/// How a worker's attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// The digest is right.
    Good,
    /// The symbols do not determine the block yet.
    NotYet,
    /// The digest is wrong.
    Bad,
}

/// Counters of the receiving side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvCounters {
    /// Symbols that were not needed.
    pub redundant: u64,
    /// Symbols refused.
    pub refused: u64,
    /// Blocks solved by the decoder.
    pub decoded: u64,
    /// Blocks whose digest was wrong.
    pub corrupt: u64,
    /// Data bytes written.
    pub written: Bytes,
}

/// The receiving side of a session.
#[derive(Debug)]
pub struct Receiver {
    blocks_max: u32,
    /// What reports grant; at most `blocks_max`.
    credit: u32,
    grants: Grants,
    table: ObjectTable,
    remaining: BTreeMap<ObjectId, u32>,
    open: BTreeMap<BlockIndex, RecvBlock>,
    /// Blocks that are written, or that the peer has abandoned.
    done: RangeSet,
    /// Blocks that were given up here.
    dropped: RangeSet,
    told: Told,
    repair_held: u32,
    repair_max: u32,
    solvers: Solvers,
    writing: Bytes,
    counters: RecvCounters,
    effects: VecDeque<RecvEffect>,
    events: VecDeque<RecvEvent>,
    trace: Ring<TraceEvent>,
}

impl Receiver {
    /// A receiver that holds at most `blocks_max` blocks open.
    pub fn new(blocks_max: u32) -> Self {
        Self {
            blocks_max,
            credit: blocks_max,
            grants: Grants::new(),
            table: ObjectTable::new(),
            remaining: BTreeMap::new(),
            open: BTreeMap::new(),
            done: RangeSet::new(),
            dropped: RangeSet::new(),
            told: Told::default(),
            repair_held: 0,
            repair_max: SESSION_REPAIR_MAX,
            solvers: Solvers::new(),
            writing: Bytes::ZERO,
            counters: RecvCounters::default(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            trace: Ring::new(TRACE_MAX),
        }
    }

    /// Declares an object of `len` bytes, of which `held` blocks are already here.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn declare(&mut self, len: Bytes, held: &[BlockRun]) -> Result<ObjectId, ObjectError> {
        let (object, remaining) = self.table.declare(len, held)?;
        self.trace.push(TraceEvent::ObjectDeclared { way: Way::In, object, len });
        if remaining == 0 {
            self.on_complete(object);
        } else {
            self.remaining.insert(object, remaining);
        }
        Ok(object)
    }

    /// The peer found that we do not hold these claimed blocks after all; all runs count as one
    /// reopening.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn reopen(&mut self, object: ObjectId, runs: &[BlockRun]) -> Result<Reopened, ObjectError> {
        let (reopened, count) = self.table.reopen(object, runs)?;
        if self.table.is_given_up(object) {
            // The two messages crossed: the numbers are taken all the same, as the peer did.
            let first = u64::from(reopened.first_block.get());
            self.dropped.insert_range(first, first + u64::from(count) - 1);
        } else {
            *self.remaining.entry(object).or_default() += count;
        }
        Ok(reopened)
    }

    /// Gives an object up: what is held for it is let go, and its symbols are not needed any
    /// more. Reports do not call its blocks complete: the peer would take that for delivery, and
    /// the peer is not known to have sent them. [`Self::settle`] closes the gap in the reports.
    pub fn abandon(&mut self, object: ObjectId) {
        if !self.table.give_up(object) {
            return;
        }
        self.remaining.remove(&object);
        self.trace.push(TraceEvent::ObjectAbandoned { way: Way::In, object });
        for (first, end) in self.table.runs_of(object) {
            let open: Vec<_> = self.open.range(first..end).map(|(&index, _)| index).collect();
            for block in open {
                self.let_go(block);
            }
            self.dropped.insert_range(u64::from(first.get()), u64::from(end.get()) - 1);
        }
        self.solve_next();
    }

    /// The peer abandoned the object too: the blocks that were given up count as done, so that
    /// reports need not speak around them.
    pub fn settle(&mut self, object: ObjectId) {
        if self.table.is_given_up(object) {
            for (first, end) in self.table.runs_of(object) {
                self.done.insert_range(u64::from(first.get()), u64::from(end.get()) - 1);
            }
        }
    }

    /// True when every declared object is complete.
    pub fn is_idle(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Counters so far.
    pub const fn counters(&self) -> RecvCounters {
        self.counters
    }

    /// Blocks in memory.
    pub fn blocks_open(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// Grants the peer so many open blocks from the next report on, at most the bound of
    /// [`Self::new`]. True when a peer that had used up its credit may go on.
    pub fn set_credit(&mut self, blocks: u32) -> bool {
        let before = core::mem::replace(&mut self.credit, blocks.min(self.blocks_max));
        before < self.credit && self.blocks_open() >= before
    }

    /// Bounds the repair symbols that are kept from now on, at most [`SESSION_REPAIR_MAX`]; those
    /// beyond stay until their blocks are solved.
    pub fn set_repair_max(&mut self, symbols: u32) {
        self.repair_max = symbols.min(SESSION_REPAIR_MAX);
    }

    /// Repair symbols kept.
    pub const fn repair_held(&self) -> u32 {
        self.repair_held
    }

    /// A report left that spoke of the credit; `rtt` is a pessimistic round trip.
    pub fn on_reported(&mut self, rtt: Duration, now: Timestamp) {
        self.grants.on_report(self.credit, rtt, now);
        self.told.on_reported(&self.done);
    }

    /// True when a symbol of `block` would open it, so that it takes a buffer.
    pub fn would_open(&self, block: BlockIndex) -> bool {
        !self.is_unwanted(block)
            && !self.open.contains_key(&block)
            && self.blocks_open() < self.grants.allowed()
            && self.table.find(block).is_some()
    }

    /// Data bytes verified and waiting for the disk.
    pub const fn backlog(&self) -> Bytes {
        self.writing
    }

    /// Decides where a symbol goes. spec: W-076
    pub fn on_symbol(&mut self, data: DataId, len: u16) -> Placement {
        let block = data.block;
        if self.is_unwanted(block) {
            self.counters.redundant += 1;
            return Placement::Redundant;
        }
        let first = !self.open.contains_key(&block);
        if first && let Err(refusal) = self.open_block(data, len) {
            return self.refuse(refusal);
        }
        let placement = self.place(data, len, first);
        // Its body has no buffer for a block of which nothing was taken.
        if first && matches!(placement, Placement::Refused(_)) {
            self.open.remove(&block);
        }
        placement
    }

    /// Takes a symbol of an open block.
    fn place(&mut self, data: DataId, len: u16, first: bool) -> Placement {
        let DataId { block, symbol, packed } = data;
        let room = self.repair_held < self.repair_max;
        let Some(state) = self.open.get_mut(&block) else {
            return self.refuse(Refusal::Undeclared);
        };
        if state.shape.symbol_size() != len {
            return self.place_other(data, len);
        }
        if state.shape.packed_symbols() != packed {
            return self.refuse(Refusal::Malformed);
        }
        if state.clearing {
            return self.refuse(Refusal::Restarting);
        }
        let weight = state.repair_weight();
        let take = state.take(symbol, room);
        let ready = matches!(take, Take::Source | Take::Repair) && state.missing() == 0;
        match take {
            Take::Source => {
                let offset = symbol.get() * u32::from(len);
                if ready {
                    self.verify(block);
                }
                Placement::Source { block, offset, first }
            }
            Take::Repair => {
                self.repair_held += weight;
                if ready {
                    self.verify(block);
                }
                Placement::Repair { block, symbol, first }
            }
            Take::Redundant => {
                self.counters.redundant += 1;
                Placement::Redundant
            }
            Take::Full => self.refuse(Refusal::RepairFull),
        }
    }

    /// A symbol of another size than its block has. The sender's path may have shrunk: then the block
    /// begins anew. A larger one is from before that. spec: W-078
    fn place_other(&mut self, data: DataId, len: u16) -> Placement {
        let block = data.block;
        let Some(state) = self.open.get_mut(&block) else {
            return self.refuse(Refusal::Undeclared);
        };
        let shape = shape_of(state.placed, data, len);
        let Some(shape) = shape.filter(|_| SYMBOL_SIZES.contains(&len)) else {
            return self.refuse(Refusal::Malformed);
        };
        if len > state.shape.symbol_size() {
            self.counters.redundant += 1;
            return Placement::Redundant;
        }
        // What a worker or the disk has needs nothing more, or comes back.
        if state.stage == Stage::Open {
            self.repair_held -= state.reshape(shape);
            self.solvers.forget(block);
            self.effects.push_back(RecvEffect::Clear { block });
            self.trace.push(TraceEvent::BlockRestarted { way: Way::In, block });
        }
        self.refuse(Refusal::Restarting)
    }

    fn is_unwanted(&self, block: BlockIndex) -> bool {
        let index = u64::from(block.get());
        self.done.contains(index) || self.dropped.contains(index)
    }

    fn open_block(&mut self, data: DataId, len: u16) -> Result<(), Refusal> {
        let block = data.block;
        let placed = self.table.find(block).ok_or(Refusal::Undeclared)?;
        if !SYMBOL_SIZES.contains(&len) {
            return Err(Refusal::Malformed);
        }
        if self.blocks_open() >= self.grants.allowed() {
            return Err(Refusal::OverCredit);
        }
        let shape = shape_of(placed, data, len).ok_or(Refusal::Malformed)?;
        self.open.insert(block, RecvBlock::new(placed, shape));
        self.trace.push(TraceEvent::BlockOpened { way: Way::In, block, symbols: shape.symbols() });
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Placement {
        self.counters.refused += 1;
        Placement::Refused(refusal)
    }

    /// The memory of a verified block was lost before the disk took it: it has to come again.
    pub fn on_lost(&mut self, block: BlockIndex) {
        if self.open.get(&block).is_some_and(|state| state.stage == Stage::Writing) {
            self.let_go(block);
            self.effects.push_back(RecvEffect::AskAgain { block });
        }
    }

    /// The disk took a block.
    pub fn on_written(&mut self, block: BlockIndex) {
        let Some(state) = self.open.get(&block) else { return };
        if state.stage != Stage::Writing {
            return;
        }
        let placed = state.placed;
        self.counters.written += placed.len;
        self.done.insert(u64::from(block.get()));
        self.told.on_complete(block);
        self.trace.push(TraceEvent::BlockCompleted { way: Way::In, block });
        self.let_go(block);
        if let Some(remaining) = self.remaining.get_mut(&placed.object) {
            *remaining = remaining.saturating_sub(1);
            if *remaining == 0 {
                self.remaining.remove(&placed.object);
                self.on_complete(placed.object);
            }
        }
    }

    fn on_complete(&mut self, object: ObjectId) {
        let generation = self.table.generation(object);
        self.events.push_back(RecvEvent::ObjectComplete { object, generation });
        self.trace.push(TraceEvent::ObjectCompleted { way: Way::In, object });
    }

    fn let_go(&mut self, block: BlockIndex) {
        if let Some(state) = self.open.remove(&block) {
            self.repair_held -= state.repair_held();
            self.solvers.let_go(block, &state);
            if state.stage == Stage::Writing {
                self.writing -= state.placed.len;
            }
            self.effects.push_back(RecvEffect::Release { block });
        }
    }

    /// Fills the block part of a report.
    pub fn report(&self, feedback: &mut Feedback) {
        let below = u32::try_from(self.done.first_absent()).unwrap_or(u32::MAX);
        feedback.complete_below = BlockIndex::new(below);
        feedback.complete = self.told.choose(&self.done, feedback.complete_below);
        feedback.deficits = self
            .open
            .iter()
            .filter(|(_, state)| state.missing() > 0)
            .take(DEFICITS_MAX)
            .map(|(&block, state)| BlockDeficit { block, missing: state.missing() })
            .collect();
        feedback.open_blocks_limit = self.credit;
        feedback.backlog = self.writing;
    }

    /// The object that a block belongs to.
    pub fn object_of(&self, block: BlockIndex) -> Option<ObjectId> {
        self.table.find(block).map(|placed| placed.object)
    }

    /// Source symbols present in an open block, for the decoder.
    pub fn present(&self, block: BlockIndex) -> Option<&crate::fec::SymbolSet> {
        self.open.get(&block).map(RecvBlock::source)
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<RecvEffect> {
        let effect = self.effects.pop_front();
        if let Some(RecvEffect::Clear { block }) = effect
            && let Some(state) = self.open.get_mut(&block)
        {
            state.clearing = false;
        }
        effect
    }

    /// The next thing to tell, until there is none.
    pub fn poll_event(&mut self) -> Option<RecvEvent> {
        self.events.pop_front()
    }

    /// The next thing that happened, until there is none.
    pub fn poll_trace(&mut self) -> Option<TraceEvent> {
        self.trace.pop()
    }

    /// Trace events that nobody took in time.
    pub const fn trace_dropped(&self) -> u64 {
        self.trace.dropped()
    }
}

/// The shape that a packet claims for its block. A packed one has no more symbols than the data:
/// else a buffer for the data would not hold it. spec: W-117
fn shape_of(placed: Placed, data: DataId, len: u16) -> Option<BlockShape> {
    let plain = BlockShape::new(placed.len, len).ok()?;
    let Some(symbols) = data.packed else { return Some(plain) };
    let packed = BlockShape::packed(symbols, len).ok()?;
    (packed.symbols() <= plain.symbols()).then_some(packed)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod object_tests;
