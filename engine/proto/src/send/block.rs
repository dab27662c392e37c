//! The life of one outgoing block: read, first pass, repair, complete.
//!
//! ```text
//! Reading --loaded--> Active(first pass -> waiting / repairing) --peer has it--> gone
//! ```
//! It counts symbols; it never sees them.

use crate::fec::{BlockShape, SymbolSet};
use crate::ids::SymbolId;
use crate::limits::BLOCK_REPAIR_MAX;
use crate::objects::Placed;
use crate::units::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The body is reading it from its source.
    Reading,
    /// In memory; symbols may be sent.
    Active,
}

/// An outgoing block.
#[derive(Debug)]
pub struct SendBlock {
    /// Where it lies.
    pub placed: Placed,
    /// The place of its flow.
    pub flow: usize,
    /// Symbols and their size.
    pub shape: BlockShape,
    /// Where it is in its life.
    pub stage: Stage,
    /// A symbol of it left at some time.
    begun: bool,
    /// First-pass cursor: source symbols below were sent at least once.
    next_source: u32,
    /// Source symbols waiting to be sent again.
    resend: VecDeque<u32>,
    /// Symbols acknowledged: source `0 .. K`, repair from K on.
    acked: SymbolSet,
    /// Source symbols that were lost at least once.
    lost_once: SymbolSet,
    /// Symbols of which several copies were planned.
    copied: u32,
    /// Symbols sent and undecided, copies counted once each.
    flying: u32,
    /// Those of them that are repairs: not of the first pass.
    repairs_flying: u32,
    /// Copies in flight beyond the first, by symbol.
    extra_copies: BTreeMap<u32, u32>,
    /// True once repair symbols are part of the plan: then any symbol is as good as another.
    coded: bool,
    /// Next fresh repair symbol.
    next_repair: u32,
    /// Repair symbols below this are encoded and can be sent.
    encoded_end: u32,
    /// Repair symbols that should be sent.
    repair_wanted: u32,
    /// Repair symbols that will probably be sent: to be there by then.
    prepared: u32,
    /// Repair symbols asked of the encoder and not delivered yet.
    encoding: u32,
}

impl SendBlock {
    /// A block that is about to be read.
    pub fn new(placed: Placed, flow: usize, shape: BlockShape) -> Self {
        let k = shape.symbols();
        Self {
            placed,
            flow,
            shape,
            stage: Stage::Reading,
            begun: false,
            next_source: 0,
            resend: VecDeque::new(),
            acked: SymbolSet::new(k + BLOCK_REPAIR_MAX),
            lost_once: SymbolSet::new(k),
            copied: 0,
            flying: 0,
            repairs_flying: 0,
            extra_copies: BTreeMap::new(),
            coded: false,
            next_repair: k,
            encoded_end: k,
            repair_wanted: 0,
            prepared: 0,
            encoding: 0,
        }
    }

    /// Number of source symbols.
    pub fn symbols(&self) -> u32 {
        self.shape.symbols()
    }

    /// Source symbols not sent yet.
    pub fn unsent(&self) -> u32 {
        self.symbols() - self.next_source
    }

    /// Data bytes that were sent at least once.
    pub fn bytes_sent_once(&self) -> Bytes {
        let sent = u64::from(self.next_source) * u64::from(self.shape.symbol_size());
        Bytes::new(sent).min(self.to_send())
    }

    /// Bytes of the first pass that count as unsent at first: the data, or what is packed of it.
    pub const fn to_send(&self) -> Bytes {
        Bytes::new(self.shape.data_len() as u64)
    }

    /// The body has the block in memory, perhaps packed into fewer symbols.
    pub fn load(&mut self, shape: BlockShape) {
        *self = Self { stage: Stage::Active, ..Self::new(self.placed, self.flow, shape) };
    }

    /// True when every source symbol was sent once.
    pub fn first_pass_done(&self) -> bool {
        self.unsent() == 0
    }

    /// True once a symbol left, whatever happened since.
    pub const fn is_begun(&self) -> bool {
        self.begun
    }

    /// True once repair symbols are part of the plan.
    pub const fn is_coded(&self) -> bool {
        self.coded
    }

    /// True when a resend or an encoded repair symbol is ready to leave.
    pub fn has_repair_ready(&self) -> bool {
        self.stage == Stage::Active
            && (!self.resend.is_empty()
                || (self.repair_wanted > 0 && self.next_repair < self.encoded_end))
    }

    /// Symbols that repairs have to bring if everything of the first pass arrives that is not lost
    /// yet. A coded block needs one symbol beyond K (RFC 6330: K + 1 fails once in 65,536).
    pub fn lacking(&self) -> u32 {
        let overhead = u32::from(self.coded);
        (self.symbols() + overhead).saturating_sub(self.acked.len() + self.undecided())
    }

    /// Distinct repairs that are on their way or planned.
    pub fn repairs_underway(&self) -> u32 {
        let copies: u32 = self.extra_copies.values().sum();
        let resends = u32::try_from(self.resend.len()).unwrap_or(u32::MAX);
        (self.repairs_flying + resends + self.repair_wanted).saturating_sub(copies)
    }

    /// Symbols of the first pass that are on their way or to be sent.
    pub fn undecided(&self) -> u32 {
        self.flying.saturating_sub(self.repairs_flying) + self.unsent()
    }

    /// The peer says it misses symbols, and nothing is planned that could bring them.
    pub fn is_stuck(&self) -> bool {
        self.stage == Stage::Active
            && self.flying == 0
            && self.first_pass_done()
            && self.resend.is_empty()
            && self.repair_wanted == 0
    }

    /// Nothing is planned that could complete the block, and the peer is known to need more.
    pub fn is_starved(&self) -> bool {
        self.is_stuck() && self.acked.len() < self.symbols()
    }

    /// Takes the next source symbol of the first pass.
    pub fn take_source(&mut self) -> Option<SymbolId> {
        if self.stage != Stage::Active || self.first_pass_done() {
            return None;
        }
        let symbol = self.next_source;
        self.begun = true;
        self.next_source += 1;
        self.flying += 1;
        Some(SymbolId::new(symbol))
    }

    /// Takes the next symbol that repairs a loss: an exact resend before a fresh repair symbol.
    pub fn take_repair(&mut self) -> Option<SymbolId> {
        while let Some(symbol) = self.resend.pop_front() {
            if !self.acked.contains(SymbolId::new(symbol)) {
                self.flying += 1;
                self.repairs_flying += 1;
                self.lost_once.insert(SymbolId::new(symbol));
                return Some(SymbolId::new(symbol));
            }
            self.drop_copy(symbol);
        }
        if self.repair_wanted == 0 || self.next_repair >= self.encoded_end {
            return None;
        }
        let symbol = self.next_repair;
        self.next_repair += 1;
        self.repair_wanted -= 1;
        self.flying += 1;
        self.repairs_flying += 1;
        Some(SymbolId::new(symbol))
    }

    /// A symbol arrived.
    pub fn on_acked(&mut self, symbol: SymbolId) {
        self.land(symbol);
        self.acked.insert(symbol);
    }

    /// A symbol that was written off arrived after all.
    pub fn on_spurious(&mut self, symbol: SymbolId) {
        self.acked.insert(symbol);
    }

    /// A symbol was lost. True when somebody has to plan its repair: no other copy is on its
    /// way and the peer does not have it.
    pub fn on_lost(&mut self, symbol: SymbolId) -> bool {
        let other_copy = self.land(symbol);
        !other_copy && !self.acked.contains(symbol)
    }

    /// Takes one copy out of flight; true when another copy is still flying.
    fn land(&mut self, symbol: SymbolId) -> bool {
        self.flying = self.flying.saturating_sub(1);
        let again = symbol.get() >= self.symbols() || self.lost_once.contains(symbol);
        self.repairs_flying = self.repairs_flying.saturating_sub(u32::from(again));
        self.drop_copy(symbol.get())
    }

    fn drop_copy(&mut self, symbol: u32) -> bool {
        let Some(copies) = self.extra_copies.get_mut(&symbol) else { return false };
        *copies -= 1;
        if *copies == 0 {
            self.extra_copies.remove(&symbol);
        }
        true
    }

    /// Marks a source symbol as lost; true when that had happened before.
    pub fn lost_again(&mut self, symbol: SymbolId) -> bool {
        symbol.get() < self.symbols() && !self.lost_once.insert(symbol)
    }

    /// Counts `count` more symbols that copies could bring; answers how many that makes.
    pub const fn count_copied(&mut self, count: u32) -> u32 {
        self.copied = self.copied.saturating_add(count);
        self.copied
    }

    /// Plans `copies` exact resends of a source symbol.
    pub fn plan_resend(&mut self, symbol: SymbolId, copies: u32) {
        for _ in 0..copies {
            self.resend.push_back(symbol.get());
        }
        if copies > 1 {
            *self.extra_copies.entry(symbol.get()).or_default() += copies - 1;
        }
    }

    /// Plans one more copy of a source symbol that is on its way.
    pub fn plan_copy(&mut self, symbol: SymbolId) {
        self.resend.push_back(symbol.get());
        *self.extra_copies.entry(symbol.get()).or_default() += 1;
    }

    /// From now on repair symbols are part of the plan.
    pub const fn begin_coding(&mut self) {
        self.coded = true;
    }

    /// Plans `count` fresh repair symbols; [`Self::to_encode`] says what that takes.
    pub fn plan_repair(&mut self, count: u32) {
        self.begin_coding();
        self.prepared = 0;
        self.repair_wanted = (self.repair_wanted + count).min(self.repair_room());
    }

    /// Has `count` fresh repair symbols computed without planning them.
    pub fn prepare_repair(&mut self, count: u32) {
        self.prepared = count.min(self.repair_room());
    }

    /// Fresh repair symbols that a block may still have.
    fn repair_room(&self) -> u32 {
        self.symbols() + BLOCK_REPAIR_MAX - self.next_repair
    }

    /// First and number of the repair symbols to encode next, if any. One job at a time: two
    /// would end in any order, and their ends carry no names.
    pub fn to_encode(&mut self) -> Option<(SymbolId, u32)> {
        let covered = self.encoded_end - self.next_repair;
        let missing = self.repair_wanted.max(self.prepared).saturating_sub(covered);
        if missing == 0 || self.encoding > 0 {
            return None;
        }
        self.encoding = missing;
        Some((SymbolId::new(self.encoded_end), missing))
    }

    /// The encoder delivered `count` more repair symbols.
    pub fn on_encoded(&mut self, count: u32) {
        self.encoded_end += count.min(self.encoding);
        self.encoding = 0;
    }

    /// The encoder gave up: forget what was asked. True if exact resends have to take over, because
    /// the symbols were more than a provision.
    pub fn on_encode_failed(&mut self) -> bool {
        let planned = self.repair_wanted > 0;
        self.encoding = 0;
        self.repair_wanted = 0;
        self.prepared = 0;
        self.coded = false;
        planned
    }

    /// Source symbols whose arrival is not known, for exact repair of everything in doubt.
    pub fn unacked_source(&self) -> Vec<SymbolId> {
        self.acked.missing().take_while(|symbol| symbol.get() < self.symbols()).collect()
    }

    /// All fresh repair symbols are spent.
    pub fn repair_exhausted(&self) -> bool {
        self.next_repair >= self.symbols() + BLOCK_REPAIR_MAX
    }

    /// Forgets what was acknowledged.
    pub fn restart_acks(&mut self) {
        self.acked.clear();
    }

    /// Starts over with other symbols. What is out or being encoded is of another shape.
    pub fn reshape(&mut self, shape: BlockShape) {
        let (begun, stage) = (self.begun, self.stage);
        *self = Self { begun, stage, ..Self::new(self.placed, self.flow, shape) };
    }

    /// Starts over: the peer threw everything away.
    pub fn restart(&mut self) {
        self.next_source = 0;
        self.resend.clear();
        self.acked.clear();
        self.lost_once.clear();
        self.extra_copies.clear();
        self.copied = 0;
        self.repairs_flying = 0;
        self.repair_wanted = 0;
        self.prepared = 0;
    }
}
