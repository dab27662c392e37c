//! The sending side: which symbol leaves next, which block is read next, what a loss means.
//!
//! Order of sending: blocks that the peer asks for, then repairs of the oldest block, then the first
//! pass in index order. It does not pace, number or seal packets (`session`), and it never
//! sees payload.

pub mod block;
mod claims;
mod repair;
mod reshape;

use crate::fec::{BlockShape, FecPolicy};
use crate::ids::{BlockIndex, Generation, ObjectId, SymbolId};
use crate::objects::{BlockRun, ObjectError, ObjectTable, Placed, Reopened};
use crate::path::ledger::Carried;
use crate::ranges::RangeSet;
use crate::trace::{Ring, TraceEvent, Way};
use crate::units::Bytes;
use crate::wire::feedback::Feedback;
use block::{SendBlock, Stage};
pub use repair::RepairContext;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Trace events kept until the session takes them.
const TRACE_MAX: usize = 256;

/// Bounds of the sending side.
#[derive(Clone, Copy, Debug)]
pub struct SendConfig {
    /// Blocks that may be in memory at once (buffers of the body).
    pub blocks_max: u32,
    /// When to use repair symbols.
    pub fec: FecPolicy,
}

/// What the body should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendEffect {
    /// Read a block's data into a buffer and append digest and padding.
    Read {
        /// The block.
        block: BlockIndex,
        /// Where its data lies.
        placed: Placed,
        /// Its symbols.
        shape: BlockShape,
    },
    /// Compute repair symbols of a block in memory.
    Encode {
        /// The block.
        block: BlockIndex,
        /// Its symbols.
        shape: BlockShape,
        /// First repair symbol.
        first: SymbolId,
        /// How many.
        count: u32,
    },
    /// A block in memory has other symbols from now on; its repair symbols are worthless.
    Reshape {
        /// The block.
        block: BlockIndex,
        /// Its symbols.
        shape: BlockShape,
    },
    /// The block's buffer is not needed any more.
    Release {
        /// The block.
        block: BlockIndex,
    },
}

/// What the user of the session should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendEvent {
    /// Every placed block of the object was read from its source: the moment to ask whether the
    /// source changed meanwhile.
    ObjectRead {
        /// Which object.
        object: ObjectId,
        /// The reopenings that were known when it was read: with one more, it is not.
        generation: Generation,
    },
    /// Every placed block of the object is at the peer.
    ObjectComplete {
        /// Which object.
        object: ObjectId,
        /// The reopenings that were known when it was complete: with one more, it is not.
        generation: Generation,
    },
}

/// Feedback about blocks that no honest receiver can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer claims to have a block that was never sent.
    #[error("peer reports block {0} complete, which was never sent")]
    NeverSent(BlockIndex),
}

/// One symbol to put into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The block.
    pub block: BlockIndex,
    /// The symbol.
    pub symbol: SymbolId,
    /// The shape of its block.
    pub shape: BlockShape,
    /// Why it is sent.
    pub reason: Reason,
}

/// Why a symbol is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// For the first time.
    Source,
    /// Again, because it was lost.
    Resend,
    /// As a repair symbol.
    Repair,
}

/// Symbols sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Source symbols of the first pass.
    pub source: u64,
    /// Repair symbols.
    pub repair: u64,
    /// Exact resends.
    pub resent: u64,
    /// Data bytes of blocks that the peer has.
    pub complete: Bytes,
    /// Data bytes of blocks that were packed.
    pub packed: Bytes,
    /// What those blocks were packed into.
    pub packed_to: Bytes,
}

#[derive(Debug)]
struct SendObject {
    /// Blocks that the peer does not have.
    remaining: u32,
    /// Blocks that were not read yet.
    unread: u32,
}

/// The sending side of a session.
#[derive(Debug)]
pub struct Sender {
    config: SendConfig,
    table: ObjectTable,
    objects: BTreeMap<ObjectId, SendObject>,
    blocks: BTreeMap<BlockIndex, SendBlock>,
    /// Blocks with a repair ready to leave.
    repairs: BTreeSet<BlockIndex>,
    /// What the newest report asks for, as far as it was not looked at since.
    asked_for: BTreeSet<BlockIndex>,
    /// Active blocks whose first pass is not done.
    first_pass: BTreeSet<BlockIndex>,
    /// Next index to start.
    next_start: BlockIndex,
    /// Data bytes placed and not yet sent once.
    unsent: Bytes,
    /// Blocks that the peer has, or that nobody wants any more.
    done: RangeSet,
    peer_blocks_max: u32,
    /// Blocks in memory of which a symbol left.
    begun: u32,
    symbol_size: Option<u16>,
    counters: SendCounters,
    effects: VecDeque<SendEffect>,
    events: VecDeque<SendEvent>,
    trace: Ring<TraceEvent>,
}

impl Sender {
    /// A sender without objects.
    pub fn new(config: SendConfig) -> Self {
        Self {
            config,
            table: ObjectTable::new(),
            objects: BTreeMap::new(),
            blocks: BTreeMap::new(),
            repairs: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            first_pass: BTreeSet::new(),
            next_start: BlockIndex::new(0),
            unsent: Bytes::ZERO,
            done: RangeSet::new(),
            // Known before the first block starts: the packet size has to be asked for first.
            peer_blocks_max: 1,
            begun: 0,
            symbol_size: None,
            counters: SendCounters::default(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            trace: Ring::new(TRACE_MAX),
        }
    }

    /// Declares an object of `len` bytes of which the peer claims to hold `held` blocks.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn declare(&mut self, len: Bytes, held: &[BlockRun]) -> Result<ObjectId, ObjectError> {
        let before = self.table.next_block();
        let (object, remaining) = self.table.declare(len, held)?;
        self.unsent += self.table.bytes_from(before);
        self.objects.insert(object, SendObject { remaining, unread: remaining });
        self.trace.push(TraceEvent::ObjectDeclared { way: Way::Out, object, len });
        if remaining == 0 {
            self.on_read(object);
        }
        self.finish_if_complete(object);
        Ok(object)
    }

    /// Sends blocks that the peer claimed to hold, and does not; all runs count as one
    /// reopening. The peer must be told of it.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then. [`ObjectError::GivenUp`] says that nothing of
    /// the object is sent any more, so there is nothing to tell either.
    pub fn reopen(&mut self, object: ObjectId, runs: &[BlockRun]) -> Result<Reopened, ObjectError> {
        if self.table.is_given_up(object) {
            return Err(ObjectError::GivenUp(object));
        }
        let (reopened, count) = self.table.reopen(object, runs)?;
        self.unsent += self.table.bytes_from(reopened.first_block);
        let state = self.objects.entry(object).or_insert(SendObject { remaining: 0, unread: 0 });
        state.remaining += count;
        state.unread += count;
        Ok(reopened)
    }

    /// Stops sending an object (its source failed): its blocks count as done.
    pub fn abandon(&mut self, object: ObjectId) {
        // Forgotten first: an object that is given up is not complete.
        if !self.table.give_up(object) || self.objects.remove(&object).is_none() {
            return;
        }
        self.trace.push(TraceEvent::ObjectAbandoned { way: Way::Out, object });
        for (first, end) in self.table.runs_of(object) {
            let open: Vec<_> = self.blocks.range(first..end).map(|(&index, _)| index).collect();
            for block in open {
                self.retire(block, false);
            }
            let unstarted = first.max(self.next_start);
            if unstarted < end {
                self.unsent -= self.table.bytes_between(unstarted, end);
            }
            self.done.insert_range(u64::from(first.get()), u64::from(end.get()) - 1);
        }
    }

    /// True while blocks of the object are neither at the peer nor given up.
    pub fn is_open(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// The object that a block belongs to.
    pub fn object_of(&self, block: BlockIndex) -> Option<ObjectId> {
        self.table.find(block).map(|placed| placed.object)
    }

    /// Fixes the symbol size of blocks that are started from now on.
    pub const fn set_symbol_size(&mut self, symbol_size: u16) {
        self.symbol_size = Some(symbol_size);
    }

    /// Bounds the blocks in memory from now on; those beyond stay until they are at the peer.
    pub const fn set_blocks_max(&mut self, blocks_max: u32) {
        self.config.blocks_max = blocks_max;
    }

    /// Changes when repair symbols are used.
    pub const fn set_fec(&mut self, fec: FecPolicy) {
        self.config.fec = fec;
    }

    /// The symbol size of new blocks, once it is fixed.
    pub const fn symbol_size(&self) -> Option<u16> {
        self.symbol_size
    }

    /// True when blocks wait only for the symbol size.
    pub fn wants_symbol_size(&self) -> bool {
        self.symbol_size.is_none() && self.next_start < self.table.next_block()
    }

    /// True when every declared object is complete.
    pub fn is_idle(&self) -> bool {
        self.objects.is_empty()
    }

    /// Data bytes not yet sent once.
    pub const fn unsent(&self) -> Bytes {
        self.unsent
    }

    /// Symbols sent so far.
    pub const fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Blocks in memory or being read.
    pub fn blocks_open(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// True when the next block cannot start because the peer grants no more open blocks.
    pub fn blocked_by_peer(&self) -> bool {
        let more = self.next_start < self.table.next_block() || !self.first_pass.is_empty();
        more && self.blocks_open() >= self.peer_blocks_max && self.next_first_pass().is_none()
    }

    /// True when the next block cannot start because our own buffers are in use.
    pub fn blocked_by_buffers(&self) -> bool {
        self.next_start < self.table.next_block() && self.blocks_open() >= self.config.blocks_max
    }

    /// True while a block is being read and nothing else could be sent.
    pub fn waits_for_source(&self) -> bool {
        self.first_pass.is_empty()
            && self.blocks.values().next_back().is_some_and(|block| block.stage == Stage::Reading)
    }

    /// True when the next word is the peer's: everything that could be sent was sent, and what
    /// is open waits for its decoder or disk.
    pub fn awaits_peer(&self) -> bool {
        let waits = |block: &SendBlock| block.first_pass_done() || !self.may_send(block);
        !self.blocks.is_empty() && self.blocks.values().all(waits)
    }

    /// Starts reads so that at least `ahead` data bytes are loaded or loading.
    pub fn read_ahead(&mut self, ahead: Bytes) {
        let Some(symbol_size) = self.symbol_size else { return };
        let limit = self.config.blocks_max.min(self.peer_blocks_max);
        let mut loaded = self.first_pass_bytes();
        while loaded < ahead
            && self.blocks_open() < limit
            && self.next_start < self.table.next_block()
        {
            let index =
                BlockIndex::clamped(self.done.absent_from(u64::from(self.next_start.get())));
            if index >= self.table.next_block() {
                self.next_start = self.table.next_block();
                break;
            }
            self.next_start = index.next();
            let Some(placed) = self.table.find(index) else { continue };
            let Ok(shape) = BlockShape::new(placed.len, symbol_size) else { continue };
            self.blocks.insert(index, SendBlock::new(placed, shape));
            let (way, symbols) = (Way::Out, shape.symbols());
            self.trace.push(TraceEvent::BlockOpened { way, block: index, symbols });
            self.effects.push_back(SendEffect::Read { block: index, placed, shape });
            loaded += placed.len;
        }
    }

    fn first_pass_bytes(&self) -> Bytes {
        let reading = self.blocks.values().rev().take_while(|b| b.stage == Stage::Reading);
        let active = self.first_pass.iter().filter_map(|index| self.blocks.get(index));
        reading
            .map(|block| block.placed.len)
            .chain(active.map(|block| {
                Bytes::new(u64::from(block.unsent()) * u64::from(block.shape.symbol_size()))
            }))
            .sum()
    }

    /// The body loaded a block; `shape` is the one it was asked for, or that of the block packed
    /// into fewer symbols. spec: W-117
    pub fn on_loaded(&mut self, block: BlockIndex, shape: BlockShape) {
        if let Some(state) = self.blocks.get_mut(&block) {
            self.unsent -= state.to_send();
            state.load(shape);
            self.unsent += state.to_send();
            if shape.packed_symbols().is_some() {
                self.counters.packed += state.placed.len;
                self.counters.packed_to += state.to_send();
            }
            let object = state.placed.object;
            self.first_pass.insert(block);
            self.count_read(object);
            self.reshape(block);
        } else {
            self.effects.push_back(SendEffect::Release { block });
        }
    }

    fn count_read(&mut self, object: ObjectId) {
        if let Some(state) = self.objects.get_mut(&object) {
            state.unread = state.unread.saturating_sub(1);
            if state.unread == 0 {
                self.on_read(object);
            }
        }
    }

    fn on_read(&mut self, object: ObjectId) {
        let generation = self.table.generation(object);
        self.events.push_back(SendEvent::ObjectRead { object, generation });
    }

    /// True when a symbol could leave now.
    pub fn has_symbol(&self) -> bool {
        !self.repairs.is_empty() || self.next_first_pass().is_some()
    }

    /// True when the peer's credit allows symbols of the block: it shrinks when others want the
    /// peer's buffers, and blocks that were read for more of it wait. spec: W-076
    fn may_send(&self, block: &SendBlock) -> bool {
        block.is_begun() || self.begun < self.peer_blocks_max
    }

    fn next_first_pass(&self) -> Option<BlockIndex> {
        let may = |index: &&BlockIndex| self.blocks.get(*index).is_some_and(|b| self.may_send(b));
        self.first_pass.iter().find(may).copied()
    }

    /// The next symbol to send: of a block that the peer asks for, else a repair of the oldest
    /// block, else the first pass goes on. A peer that lacks buffers drops the symbols of all other
    /// blocks until one of those it asks for is complete, so that one must not wait behind them.
    pub fn next_symbol(&mut self, context: &RepairContext) -> Option<Ticket> {
        while let Some(&asked) = self.asked_for.first() {
            if let Some(ticket) = self.repair_of(asked).or_else(|| self.source_of(asked, context)) {
                return Some(ticket);
            }
            // The next report names it again if it is still wanted.
            self.asked_for.pop_first();
        }
        while let Some(&block) = self.repairs.first() {
            if let Some(ticket) = self.repair_of(block) {
                return Some(ticket);
            }
        }
        let block = self.next_first_pass()?;
        self.source_of(block, context)
    }

    /// The next repair of a block that has one ready; afterwards it is known whether it has more.
    fn repair_of(&mut self, block: BlockIndex) -> Option<Ticket> {
        if !self.repairs.contains(&block) {
            return None;
        }
        let state = self.blocks.get_mut(&block);
        let taken = state.and_then(|state| {
            let symbol = state.take_repair()?;
            Some((symbol, state.shape, state.has_repair_ready()))
        });
        if !taken.is_some_and(|(.., more)| more) {
            self.repairs.remove(&block);
        }
        let (symbol, shape, _) = taken?;
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
        let shape = state.shape;
        let done = state.first_pass_done();
        let size = u64::from(shape.symbol_size());
        let sent_before = Bytes::new(u64::from(symbol.get()) * size);
        self.unsent -= state.to_send().saturating_sub(sent_before).min(Bytes::new(size));
        self.counters.source += 1;
        if !begun && !done {
            self.prepare_proactive(block, context);
        }
        if done {
            self.first_pass.remove(&block);
            self.plan_proactive(block, context);
        }
        Some(Ticket { block, symbol, shape, reason: Reason::Source })
    }

    /// The fate of a packet's content is known.
    pub fn on_acked(&mut self, carried: Carried) {
        if let Some((_, symbol, state)) = self.carrier(carried) {
            state.on_acked(symbol);
        }
    }

    /// A packet that was written off arrived after all.
    pub fn on_spurious(&mut self, carried: Carried) {
        if let Some((_, symbol, state)) = self.carrier(carried) {
            state.on_spurious(symbol);
        }
    }

    /// Applies what the feedback says about blocks: completion, and, if it is the `newest` that
    /// the peer sent, credit and deficits: those of an older report are overtaken. spec: W-044
    pub fn on_feedback(
        &mut self,
        feedback: &Feedback,
        newest: bool,
        context: &RepairContext,
    ) -> Result<(), SendError> {
        self.check_claims(feedback)?;
        let claimed = self.claimed(feedback);
        // spec: W-049
        let unsent = |block: &&BlockIndex| self.blocks.get(*block).is_some_and(|b| !b.is_begun());
        if let Some(&block) = claimed.iter().find(unsent) {
            return Err(SendError::NeverSent(block));
        }
        for block in claimed {
            self.retire(block, true);
        }
        if newest {
            self.peer_blocks_max = feedback.open_blocks_limit;
            self.asked_for = feedback.deficits.iter().map(|deficit| deficit.block).collect();
            for deficit in &feedback.deficits {
                self.on_deficit(deficit.block, deficit.missing, context);
            }
            if context.decoder_behind {
                self.resend_what_waits();
            }
        }
        Ok(())
    }

    fn retire(&mut self, block: BlockIndex, delivered: bool) {
        if !self.done.insert(u64::from(block.get())) {
            return;
        }
        let Some(placed) = self.table.find(block) else { return };
        self.repairs.remove(&block);
        self.first_pass.remove(&block);
        match self.blocks.remove(&block) {
            Some(state) => {
                self.begun -= u32::from(state.is_begun());
                self.unsent -= state.to_send() - state.bytes_sent_once();
                // A block still being read is released when its read completes.
                if state.stage == Stage::Active {
                    self.effects.push_back(SendEffect::Release { block });
                }
            }
            None => self.unsent -= placed.len,
        }
        if delivered {
            self.counters.complete += placed.len;
            self.trace.push(TraceEvent::BlockCompleted { way: Way::Out, block });
        }
        if let Some(object) = self.objects.get_mut(&placed.object) {
            object.remaining = object.remaining.saturating_sub(1);
        }
        self.finish_if_complete(placed.object);
    }

    fn finish_if_complete(&mut self, object: ObjectId) {
        if self.objects.get(&object).is_some_and(|state| state.remaining == 0) {
            self.objects.remove(&object);
            let generation = self.table.generation(object);
            self.events.push_back(SendEvent::ObjectComplete { object, generation });
            self.trace.push(TraceEvent::ObjectCompleted { way: Way::Out, object });
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<SendEffect> {
        self.effects.pop_front()
    }

    /// The next thing to tell, until there is none.
    pub fn poll_event(&mut self) -> Option<SendEvent> {
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

#[cfg(test)]
mod tests;
