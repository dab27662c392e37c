//! The buffers of a host, as far as truth is concerned: which symbols really lie in them.
//!
//! The core is believed nothing here: what it asks for is held against what arrived.

use crate::check::{Violation, none_left};
use crate::scenario::Side;
use farhaul_proto::fec::{BlockShape, SymbolSet};
use farhaul_proto::ids::{BlockIndex, ObjectId, SymbolId};
use std::collections::{BTreeMap, BTreeSet};

/// What both kinds of buffers have in common.
pub(super) trait Lease {
    /// The core let it go, and nobody works on it.
    fn is_free(&self) -> bool;
}

/// The buffers of one direction, by block.
#[derive(Debug)]
pub(super) struct Buffers<B> {
    side: Side,
    leased: BTreeMap<BlockIndex, B>,
    most: usize,
}

impl<B: Lease> Buffers<B> {
    pub(super) const fn new(side: Side) -> Self {
        Self { side, leased: BTreeMap::new(), most: 0 }
    }

    /// Leases a buffer; a block has one at most.
    pub(super) fn lease(&mut self, block: BlockIndex, buffer: B) -> Result<(), Violation> {
        if self.leased.insert(block, buffer).is_some() {
            return Err(Violation::SecondBuffer { side: self.side, block });
        }
        self.most = self.most.max(self.leased.len());
        Ok(())
    }

    /// The buffer of a block, which `what` needs.
    pub(super) fn held(
        &mut self,
        block: BlockIndex,
        what: &'static str,
    ) -> Result<&mut B, Violation> {
        let side = self.side;
        self.leased.get_mut(&block).ok_or(Violation::NoBuffer { side, block, what })
    }

    /// Gives a buffer back if it is free.
    pub(super) fn give_back(&mut self, block: BlockIndex) {
        if self.leased.get(&block).is_some_and(Lease::is_free) {
            self.leased.remove(&block);
        }
    }

    pub(super) fn get(&self, block: BlockIndex) -> Option<&B> {
        self.leased.get(&block)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &B> {
        self.leased.values()
    }

    pub(super) fn len(&self) -> usize {
        self.leased.len()
    }

    /// The most that were leased at once.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// `Ok` when every buffer was given back.
    pub(super) fn check_end(&self, what: &'static str) -> Result<(), Violation> {
        none_left(self.side, what, self.leased.len())
    }
}

/// A block that is being sent.
#[derive(Debug)]
pub(super) struct SendBuffer {
    pub(super) shape: BlockShape,
    pub(super) object: ObjectId,
    pub(super) loaded: bool,
    /// Repair symbols that were computed.
    pub(super) repair: BTreeSet<u32>,
    /// A worker or the disk holds it.
    pub(super) busy: u32,
    /// The core let it go.
    pub(super) released: bool,
}

impl SendBuffer {
    pub(super) const fn new(shape: BlockShape, object: ObjectId) -> Self {
        Self { shape, object, loaded: false, repair: BTreeSet::new(), busy: 1, released: false }
    }

    /// Whether this symbol could be sealed now.
    pub(super) fn has(&self, symbol: SymbolId) -> bool {
        let source = symbol.get() < self.shape.symbols();
        self.loaded && !self.released && (source || self.repair.contains(&symbol.get()))
    }
}

impl Lease for SendBuffer {
    fn is_free(&self) -> bool {
        self.released && self.busy == 0
    }
}

/// A block that is being received.
#[derive(Debug)]
pub(super) struct RecvBuffer {
    pub(super) source: Option<SymbolSet>,
    pub(super) repair: BTreeSet<u32>,
    pub(super) symbol_size: u16,
    /// The digest was right.
    pub(super) verified: bool,
    pub(super) busy: u32,
    pub(super) released: bool,
}

impl RecvBuffer {
    pub(super) const fn new(symbol_size: u16) -> Self {
        let repair = BTreeSet::new();
        Self { source: None, repair, symbol_size, verified: false, busy: 0, released: false }
    }

    /// Takes a source symbol at byte `offset`; true when it was not there.
    pub(super) fn put_source(&mut self, symbol: SymbolId) -> bool {
        // The shape is not told with the first symbol: room for any block.
        let room = farhaul_proto::limits::BLOCK_SYMBOLS_MAX;
        self.source.get_or_insert_with(|| SymbolSet::new(room)).insert(symbol)
    }

    /// Distinct symbols that lie here.
    pub(super) fn symbols(&self) -> u32 {
        let source = self.source.as_ref().map_or(0, SymbolSet::len);
        source + u32::try_from(self.repair.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn source_len(&self) -> u32 {
        self.source.as_ref().map_or(0, SymbolSet::len)
    }

    pub(super) fn clear(&mut self) {
        self.source = None;
        self.repair.clear();
        self.verified = false;
    }
}

impl Lease for RecvBuffer {
    fn is_free(&self) -> bool {
        self.released && self.busy == 0
    }
}
