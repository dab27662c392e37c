//! The life of one incoming block: symbols, decode, verify, write.
//!
//! ```text
//! Open --enough symbols--> Verifying --digest right--> Writing --on disk--> complete
//!   ^------- singular system, or digest wrong ---------|
//! ```

use crate::fec::{BlockShape, SymbolSet};
use crate::ids::SymbolId;
use crate::limits::{BLOCK_REPAIR_MAX, SYMBOL_SIZE};
use crate::objects::Placed;

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Symbols are missing.
    Open,
    /// A worker decodes and verifies it.
    Verifying,
    /// The disk writes it.
    Writing,
}

/// What to do with a symbol of this block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Store a source symbol at its place.
    Source,
    /// Keep a repair symbol.
    Repair,
    /// Already there, or not needed any more.
    Redundant,
    /// No room for another repair symbol.
    Full,
}

/// An incoming block.
#[derive(Debug)]
pub struct RecvBlock {
    /// Where it belongs.
    pub placed: Placed,
    /// Symbols and their size.
    pub shape: BlockShape,
    /// Where it is in its life.
    pub stage: Stage,
    source: SymbolSet,
    repair: Vec<SymbolId>,
    /// Symbols beyond K that the next attempt to decode needs.
    overhead: u32,
    /// Times the digest was wrong.
    pub failures: u32,
    /// Its symbols became smaller, and the body has not thrown the larger ones away yet.
    pub clearing: bool,
}

impl RecvBlock {
    /// A block without symbols.
    pub fn new(placed: Placed, shape: BlockShape) -> Self {
        Self {
            placed,
            shape,
            stage: Stage::Open,
            source: SymbolSet::new(shape.symbols()),
            repair: Vec::new(),
            overhead: 1,
            failures: 0,
            clearing: false,
        }
    }

    /// Source symbols present.
    pub const fn source(&self) -> &SymbolSet {
        &self.source
    }

    /// Repair symbols kept.
    pub fn repair_count(&self) -> u32 {
        u32::try_from(self.repair.len()).unwrap_or(u32::MAX)
    }

    /// What the repair symbols kept take of what a session may keep, in symbols of the usual size.
    pub fn repair_held(&self) -> u32 {
        self.repair_count() * self.repair_weight()
    }

    /// What one repair symbol takes.
    pub fn repair_weight(&self) -> u32 {
        u32::from(self.shape.symbol_size().div_ceil(SYMBOL_SIZE))
    }

    /// Begins anew with smaller symbols. Returns the repair symbols freed.
    pub fn reshape(&mut self, shape: BlockShape) -> u32 {
        let freed = self.drop_repair();
        let failures = self.failures;
        *self = Self { failures, clearing: true, ..Self::new(self.placed, shape) };
        freed
    }

    /// Decides about a symbol and counts it.
    pub fn take(&mut self, symbol: SymbolId, repair_room: bool) -> Take {
        if self.stage != Stage::Open {
            return Take::Redundant;
        }
        if symbol.get() < self.shape.symbols() {
            return if self.source.insert(symbol) { Take::Source } else { Take::Redundant };
        }
        // One that waits for the decoder can only become whole any more.
        if self.missing() == 0 || self.repair.contains(&symbol) {
            return Take::Redundant;
        }
        if !repair_room || self.repair_count() >= BLOCK_REPAIR_MAX {
            return Take::Full;
        }
        self.repair.push(symbol);
        Take::Repair
    }

    /// True when all source symbols are there, so that nothing has to be decoded.
    pub const fn is_whole(&self) -> bool {
        self.source.is_full()
    }

    /// True while a worker has it that must solve for missing symbols.
    pub fn is_solved_for(&self) -> bool {
        self.stage == Stage::Verifying && !self.is_whole()
    }

    /// Symbols still missing: to be whole, or to be decodable. spec: W-055
    pub fn missing(&self) -> u32 {
        if self.stage != Stage::Open {
            return 0;
        }
        let k = self.shape.symbols();
        let whole = k - self.source.len();
        if self.repair.is_empty() {
            return whole;
        }
        whole.min((k + self.overhead).saturating_sub(self.source.len() + self.repair_count()))
    }

    /// The solver found too few independent symbols: wait for more (K + 0 fails in 1 of 256
    /// cases, each further symbol divides that by 256).
    pub const fn on_not_yet(&mut self) {
        self.stage = Stage::Open;
        self.overhead += 1;
        // Symbols that came meanwhile were refused, so the count is still that of the attempt.
    }

    /// Forgets the repair symbols; returns what they took.
    pub fn drop_repair(&mut self) -> u32 {
        let dropped = self.repair_held();
        self.repair.clear();
        dropped
    }

    /// The digest was wrong: everything received is worthless. Returns the repair symbols freed.
    pub fn restart(&mut self) -> u32 {
        let freed = self.drop_repair();
        self.stage = Stage::Open;
        self.source.clear();
        self.overhead = 1;
        self.failures += 1;
        freed
    }
}
