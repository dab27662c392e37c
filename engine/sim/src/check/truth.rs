//! The ledger of one direction: what was really sent, arrived, written and ended.

use super::Violation;
use super::contents::Contents;
use crate::scenario::Side;
use core::time::Duration;
use farhaul_proto::fec::{BlockShape, SymbolSet};
use farhaul_proto::ids::{BlockIndex, ObjectId, SymbolId};
use farhaul_proto::limits::{BLOCK_REPAIR_MAX, BLOCK_SYMBOLS_MAX};
use farhaul_proto::objects::{Placed, blocks_of};
use farhaul_proto::recv::Placement;
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::header::DataId;
use std::collections::{BTreeMap, BTreeSet};

/// How an object ended on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    Abandoned,
}

/// What is true of one object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectTruth {
    len: Bytes,
    /// Blocks that had to be sent: placed at the declaration, and reopened since.
    placed_at_source: u32,
    pub(crate) placed_at_target: u32,
    declared: [bool; 2],
    /// When the source knew of it.
    pub(crate) source_at: Option<Timestamp>,
    pub(crate) written: BTreeSet<u32>,
    source_end: Option<End>,
    pub(crate) target_end: Option<End>,
    pub(crate) target_end_at: Option<Timestamp>,
}

/// How long a grant is honoured after it was taken back. spec: W-076
const GRANT_HELD: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct BlockTruth {
    sent: SymbolSet,
    symbols: u32,
    /// When its first symbol left.
    begun_at: Timestamp,
    /// Rounds of repair: bursts at least a round trip apart.
    rounds: u32,
    round_began: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Truth {
    source: Side,
    rtt: Duration,
    pub(crate) objects: BTreeMap<ObjectId, ObjectTruth>,
    pub(crate) contents: Contents,
    blocks: BTreeMap<BlockIndex, BlockTruth>,
    /// Symbols that brought something new to the target.
    pub(crate) useful: u64,
    /// Source symbols of all blocks that were sent.
    pub(crate) needed: u64,
    pub(crate) rounds_max: u32,
    pub(crate) symbol_size: u16,
    pub(crate) first_pass_end: Timestamp,
    pub(crate) last_byte: Timestamp,
    /// When something new last came to the target, and the longest time without that since the first.
    stored_at: Option<Timestamp>,
    pub(crate) stall: Duration,
}

impl Truth {
    pub(crate) fn new(source: Side, rtt: Duration) -> Self {
        Self {
            source,
            rtt,
            objects: BTreeMap::new(),
            contents: Contents::default(),
            blocks: BTreeMap::new(),
            useful: 0,
            needed: 0,
            rounds_max: 0,
            symbol_size: 0,
            first_pass_end: Timestamp::ZERO,
            last_byte: Timestamp::ZERO,
            stored_at: None,
            stall: Duration::ZERO,
        }
    }

    /// One side declared an object; both do, in any order.
    pub(crate) fn on_declared(
        &mut self,
        by: Side,
        object: ObjectId,
        len: Bytes,
        held: &[(u32, u32)],
        now: Timestamp,
    ) {
        let claimed: u32 = held.iter().map(|&(_, count)| count).sum();
        let state = self.objects.entry(object).or_insert(ObjectTruth {
            len,
            placed_at_source: 0,
            placed_at_target: 0,
            declared: [false; 2],
            source_at: None,
            written: BTreeSet::new(),
            source_end: None,
            target_end: None,
            target_end_at: None,
        });
        let placed = blocks_of(len) - claimed;
        state.declared[by.index()] = true;
        if by == self.source {
            state.source_at = Some(now);
        }
        *state.placed(by == self.source) += placed;
    }

    pub(crate) fn is_declared(&self, side: Side, object: ObjectId) -> bool {
        self.objects.get(&object).is_some_and(|state| state.declared[side.index()])
    }

    /// How many objects a side has declared.
    pub(crate) fn objects_declared(&self, side: Side) -> usize {
        self.objects.values().filter(|state| state.declared[side.index()]).count()
    }

    /// One side reopened wrongly claimed blocks.
    pub(crate) fn on_reopened(&mut self, by: Side, object: ObjectId, count: u32) {
        let Some(state) = self.objects.get_mut(&object) else { return };
        let at_source = by == self.source;
        *state.placed(at_source) += count;
        let end = if at_source { &mut state.source_end } else { &mut state.target_end };
        if *end == Some(End::Complete) {
            *end = None;
        }
    }

    pub(crate) fn end_of(&self, side: Side, object: ObjectId) -> Option<End> {
        let state = self.objects.get(&object)?;
        if side == self.source { state.source_end } else { state.target_end }
    }

    /// A symbol leaves.
    pub(crate) fn on_sent(
        &mut self,
        block: BlockIndex,
        symbol: SymbolId,
        shape: BlockShape,
        now: Timestamp,
    ) {
        let symbols = shape.symbols();
        self.symbol_size = shape.symbol_size();
        let mut fresh = false;
        let rtt = self.rtt;
        let truth = self.blocks.entry(block).or_insert_with(|| {
            fresh = true;
            let sent = SymbolSet::new(BLOCK_SYMBOLS_MAX + BLOCK_REPAIR_MAX);
            BlockTruth { sent, symbols, begun_at: now, rounds: 0, round_began: Timestamp::ZERO }
        });
        if fresh {
            self.needed += u64::from(symbols);
        }
        let first_time = truth.sent.insert(symbol);
        if first_time && symbol.get() < truth.symbols {
            self.first_pass_end = now;
        } else if truth.rounds == 0 || now.since(truth.round_began) >= rtt {
            truth.rounds += 1;
            truth.round_began = now;
            self.rounds_max = self.rounds_max.max(truth.rounds);
        }
    }

    /// A symbol was stored at the target.
    pub(crate) fn on_stored(
        &mut self,
        block: BlockIndex,
        symbol: SymbolId,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let pause = self.stored_at.replace(now).map(|before| now.since(before));
        self.stall = self.stall.max(pause.unwrap_or_default());
        let sent = self.blocks.get(&block).is_some_and(|truth| truth.sent.contains(symbol));
        self.useful += 1;
        if sent { Ok(()) } else { Err(Violation::Invented { block, symbol }) }
    }

    /// The source reads a block.
    pub(crate) fn on_read(&mut self, block: BlockIndex, placed: Placed) -> Result<(), Violation> {
        let len = self.objects.get(&placed.object).map_or(Bytes::ZERO, |object| object.len);
        self.contents.on_read(block, placed, len)
    }

    /// The target's core says where a symbol goes.
    pub(crate) fn check_symbol(
        &self,
        placement: Placement,
        data: DataId,
        len: u16,
    ) -> Result<(), Violation> {
        self.contents.check_symbol(placement, data, len)
    }

    /// A block was refused for want of credit. What the source gave up may still be open at the
    /// target; and what was begun by a grant taken back since is refused if nothing of it came
    /// while that still held. Otherwise the source knows what it was granted. spec: W-076
    pub(crate) fn on_over_credit(
        &self,
        block: BlockIndex,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let given_up = |object: &ObjectTruth| object.source_end == Some(End::Abandoned);
        let held = |block: &BlockTruth| now.since(block.begun_at) >= GRANT_HELD.max(self.rtt * 3);
        if self.blocks.get(&block).is_some_and(held) || self.objects.values().any(given_up) {
            return Ok(());
        }
        Err(Violation::OverCredit { block })
    }

    /// A block is on the target's disk.
    pub(crate) fn on_written(&mut self, block: BlockIndex) -> Result<(), Violation> {
        let placed = self.contents.place_of(block).ok_or(Violation::Unwritten { block })?;
        if !self.contents.is_written(&placed) {
            return Err(Violation::Unwritten { block });
        }
        let (object, position) = (placed.object, placed.position);
        let new = self.objects.get_mut(&object).is_some_and(|o| o.written.insert(position));
        if new { Ok(()) } else { Err(Violation::WrittenTwice { object, position }) }
    }

    /// A side says that an object is complete.
    pub(crate) fn on_complete(
        &mut self,
        side: Side,
        object: ObjectId,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let at_source = side == self.source;
        let Some(state) = self.objects.get_mut(&object) else {
            return Err(Violation::CompleteTooEarly { side, object, have: 0, need: 1 });
        };
        let need = *state.placed(at_source);
        let have = u32::try_from(state.written.len()).unwrap_or(u32::MAX);
        // Without placed blocks there is nothing to wait for, not even for the other side.
        let told = !at_source || need == 0 || state.target_end == Some(End::Complete);
        if have < need || !told {
            return Err(Violation::CompleteTooEarly { side, object, have, need });
        }
        if !at_source && need > 0 {
            self.last_byte = now;
        }
        if !at_source && let Some(state) = self.objects.get_mut(&object) {
            state.target_end_at = Some(now);
        }
        self.end(side, object, End::Complete)
    }

    /// A side gave an object up; nothing changes if it was complete there.
    pub(crate) fn on_abandoned(&mut self, side: Side, object: ObjectId) -> Result<(), Violation> {
        if self.end_of(side, object).is_some() {
            return Ok(());
        }
        self.end(side, object, End::Abandoned)
    }

    fn end(&mut self, side: Side, object: ObjectId, end: End) -> Result<(), Violation> {
        let at_source = side == self.source;
        let Some(state) = self.objects.get_mut(&object) else { return Ok(()) };
        let slot = if at_source { &mut state.source_end } else { &mut state.target_end };
        if slot.is_some() {
            let end = if end == End::Complete { "complete" } else { "abandoned" };
            return Err(Violation::EndedTwice { side, object, end });
        }
        *slot = Some(end);
        Ok(())
    }

    /// True when so many objects ended on both sides.
    pub(crate) fn is_over(&self, objects: usize) -> bool {
        let ended = |o: &ObjectTruth| o.source_end.is_some() && o.target_end.is_some();
        self.objects.len() == objects
            && self.objects.values().all(|o| o.declared == [true; 2] && ended(o))
    }

    /// Data bytes of all objects, and of those blocks that are not written yet.
    pub(crate) fn bytes(&self) -> (Bytes, Bytes) {
        let total: Bytes = self.objects.values().map(|object| object.len).sum();
        let missing = self.objects.values().filter(|o| o.target_end.is_none()).map(|object| {
            let written = u32::try_from(object.written.len()).unwrap_or(u32::MAX);
            let left = u64::from(object.placed_at_target.saturating_sub(written));
            farhaul_proto::limits::BLOCK_DATA.saturating_mul(left).min(object.len)
        });
        (total, missing.sum())
    }
}

impl ObjectTruth {
    const fn placed(&mut self, at_source: bool) -> &mut u32 {
        if at_source { &mut self.placed_at_source } else { &mut self.placed_at_target }
    }
}
