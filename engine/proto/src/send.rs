//! The sending side: which symbol leaves next, which block is read next, what a loss means.
//!
//! Order of sending: the flow whose turn it is, and of it blocks that the peer asks for, then repairs of
//! the oldest block, then the first pass in index order. It does not pace, number or seal packets
//! (`session`), and it never sees payload.

mod ahead;
pub mod block;
mod claims;
mod flows;
mod next;
mod repair;
mod reshape;

use crate::fec::{BlockShape, FecPolicy};
use crate::ids::{BlockIndex, FlowId, Generation, ObjectId, SymbolId};
use crate::objects::{BlockRun, ObjectError, ObjectTable, Placed, Reopened};
use crate::path::ledger::Carried;
use crate::ranges::RangeSet;
use crate::shares::{FlowError, FlowPlan, Mask, Turns, places};
use crate::trace::{Ring, TraceEvent, Way};
use crate::units::{Bytes, Timestamp};
use crate::wire::feedback::Feedback;
pub(crate) use ahead::READ_AHEAD;
use block::{SendBlock, Stage};
use flows::Flow;
pub use repair::RepairContext;
use std::collections::{BTreeMap, VecDeque};

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
    /// The place of its flow.
    flow: usize,
}

/// The sending side of a session.
#[derive(Debug)]
pub struct Sender {
    config: SendConfig,
    table: ObjectTable,
    objects: BTreeMap<ObjectId, SendObject>,
    /// Where objects belong of which claims may be reopened, unless it is the default flow.
    homes: BTreeMap<ObjectId, FlowId>,
    blocks: BTreeMap<BlockIndex, SendBlock>,
    /// By place; never fewer than the default one.
    flows: Vec<Flow>,
    /// The places that are in use.
    taken: Mask,
    turns: Turns,
    /// What caps are held against.
    now: Timestamp,
    /// When it was looked last what limits flows.
    noted: Timestamp,
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
        let (plan, mut turns) = (FlowPlan::default(), Turns::new());
        turns.set(0, plan.class, plan.weight);
        Self {
            config,
            table: ObjectTable::new(),
            objects: BTreeMap::new(),
            homes: BTreeMap::new(),
            blocks: BTreeMap::new(),
            flows: vec![Flow::new(FlowId::default(), plan, Timestamp::ZERO)],
            taken: 1,
            turns,
            now: Timestamp::ZERO,
            noted: Timestamp::ZERO,
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

    /// Declares an object of `len` bytes of which the peer claims to hold `held` blocks, in the default
    /// flow.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn declare(&mut self, len: Bytes, held: &[BlockRun]) -> Result<ObjectId, ObjectError> {
        self.declare_at(0, len, held)
    }

    /// Declares an object of a flow that was opened.
    ///
    /// # Errors
    /// [`FlowError::Unknown`], or what [`Self::declare`] says; nothing is changed then.
    pub fn declare_in(
        &mut self,
        flow: FlowId,
        len: Bytes,
        held: &[BlockRun],
    ) -> Result<ObjectId, ObjectError> {
        let place = self.place_of(flow).ok_or(FlowError::Unknown(flow))?;
        self.declare_at(place, len, held)
    }

    fn declare_at(
        &mut self,
        flow: usize,
        len: Bytes,
        held: &[BlockRun],
    ) -> Result<ObjectId, ObjectError> {
        let before = self.table.next_block();
        let (object, remaining) = self.table.declare(len, held)?;
        self.unsent += self.table.bytes_from(before);
        self.objects.insert(object, SendObject { remaining, unread: remaining, flow });
        self.flows[flow].objects += 1;
        self.flows[flow].place(before, self.table.next_block());
        if flow > 0 && !held.is_empty() {
            self.homes.insert(object, self.flows[flow].id);
        }
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
        let home = self.homes.get(&object).and_then(|&flow| self.place_of(flow)).unwrap_or(0);
        let state = self.objects.entry(object).or_insert_with(|| {
            self.flows[home].objects += 1;
            SendObject { remaining: 0, unread: 0, flow: home }
        });
        state.remaining += count;
        state.unread += count;
        self.flows[state.flow].place(reopened.first_block, self.table.next_block());
        Ok(reopened)
    }

    /// Stops sending an object (its source failed): its blocks count as done.
    pub fn abandon(&mut self, object: ObjectId) {
        // Forgotten first: an object that is given up is not complete.
        if !self.table.give_up(object) {
            return;
        }
        let Some(SendObject { flow, .. }) = self.objects.remove(&object) else { return };
        self.flows[flow].objects -= 1;
        self.trace.push(TraceEvent::ObjectAbandoned { way: Way::Out, object });
        for (first, end) in self.table.runs_of(object) {
            let open: Vec<_> = self.blocks.range(first..end).map(|(&index, _)| index).collect();
            for block in open {
                self.retire(block, false);
            }
            let (unstarted, returned) = self.flows[flow].forget(first, end);
            if unstarted < end {
                self.unsent -= self.table.bytes_between(unstarted, end);
            }
            for placed in returned.into_iter().filter_map(|block| self.table.find(block)) {
                self.unsent -= placed.len;
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
        self.symbol_size.is_none() && self.has_unstarted()
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
        let more = self.running().any(|flow| flow.has_unstarted() || !flow.first_pass.is_empty());
        let mut begins = places(self.taken);
        more && self.blocks_open() >= self.peer_blocks_max
            && begins.all(|place| self.next_first_pass(place).is_none())
    }

    /// True when the next block cannot start because our own buffers are in use.
    pub fn blocked_by_buffers(&self) -> bool {
        self.has_unstarted() && self.blocks_open() >= self.config.blocks_max
    }

    /// True while a block is being read and nothing else could be sent.
    pub fn waits_for_source(&self) -> bool {
        self.flows.iter().all(|flow| flow.first_pass.is_empty())
            && self.blocks.values().next_back().is_some_and(|block| block.stage == Stage::Reading)
    }

    /// True when the next word is the peer's: everything that could be sent was sent, and what
    /// is open waits for its decoder or disk.
    pub fn awaits_peer(&self) -> bool {
        let waits = |block: &SendBlock| block.first_pass_done() || !self.may_send(block);
        let rests = |block: &&SendBlock| self.flows[block.flow].plan.paused;
        let mut running = self.blocks.values().filter(|block| !rests(block)).peekable();
        running.peek().is_some() && running.all(waits)
    }

    /// Blocks that may be in memory at once.
    fn blocks_limit(&self) -> u32 {
        self.config.blocks_max.min(self.peer_blocks_max)
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
            let (object, flow) = (state.placed.object, state.flow);
            self.flows[flow].first_pass.insert(block);
            self.count_read(object);
            self.reshape(block);
            if self.flows[flow].plan.paused {
                self.give_back_one(flow);
            }
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
            self.flows.iter_mut().for_each(|flow| flow.asked_for.clear());
            for deficit in &feedback.deficits {
                if let Some(state) = self.blocks.get(&deficit.block) {
                    self.flows[state.flow].asked_for.insert(deficit.block);
                }
            }
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
        match self.blocks.remove(&block) {
            Some(state) => {
                self.flows[state.flow].leave(block);
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
        let complete = self.objects.get(&object).filter(|state| state.remaining == 0);
        if let Some(flow) = complete.map(|state| state.flow) {
            self.objects.remove(&object);
            self.flows[flow].objects -= 1;
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
mod flow_tests;
#[cfg(test)]
mod tests;
