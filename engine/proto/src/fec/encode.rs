//! Repair symbols of a block.
//!
//! The first one costs a solve over the whole block, further ones a few additions each. A
//! [`RepairEncoder`] holds the solved intermediate symbols, which take twice the block's memory:
//! [`repair_symbols`] does not keep it, so every call solves anew and should ask for many at once.
//! The library caches its elimination plans by K; its lock is held for look-ups only.

use super::{BlockShape, FecError, LIBRARY_BLOCK, guarded, library_parameters};
use crate::ids::SymbolId;
use crate::limits::{BLOCK_REPAIR_MAX, SYMBOL_ID_END};
use crate::units::Bytes;
use raptorq::SourceBlockEncoder;
use std::fmt;

/// Consecutive repair symbols of one block, in one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSet {
    /// Id of the first symbol.
    pub first: SymbolId,
    /// Bytes per symbol.
    pub symbol_size: u16,
    /// The symbols, one behind the other.
    pub bytes: Vec<u8>,
}

impl RepairSet {
    /// Symbol number `i` of the set, whose id is `first + i`.
    ///
    /// # Panics
    /// When `i` is not below [`RepairSet::len`].
    pub fn symbol(&self, i: u32) -> &[u8] {
        let size = usize::from(self.symbol_size);
        let start = i as usize * size;
        &self.bytes[start..start + size]
    }

    /// Number of symbols.
    pub fn len(&self) -> u32 {
        let count = self.bytes.len() / usize::from(self.symbol_size.max(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// True when no symbol was asked for.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The symbols with their ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (SymbolId, &[u8])> {
        let symbols = self.bytes.chunks_exact(usize::from(self.symbol_size.max(1)));
        (self.first.get()..).map(SymbolId::new).zip(symbols)
    }
}

/// A block solved for its intermediate symbols, ready to give any repair symbol.
///
/// Owns about twice the block's bytes ([`RepairEncoder::footprint`]) and no reference to it.
pub struct RepairEncoder {
    shape: BlockShape,
    block: SourceBlockEncoder,
}

impl fmt::Debug for RepairEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairEncoder").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl RepairEncoder {
    /// Solves the block whose source symbols (see [`finish_source`](super::finish_source))
    /// stand at the start of `source`.
    ///
    /// # Errors
    /// [`FecError::BufferTooShort`] is the caller's fault, [`FecError::Library`] the library's.
    pub fn new(shape: BlockShape, source: &[u8]) -> Result<Self, FecError> {
        let needed = shape.source_len();
        let Some(source) = source.get(..needed) else {
            return Err(FecError::BufferTooShort { needed, got: source.len() });
        };
        let parameters = library_parameters(shape);
        let block = guarded(|| SourceBlockEncoder::new(LIBRARY_BLOCK, &parameters, source))?;
        Ok(Self { shape, block })
    }

    /// The shape of the block.
    pub const fn shape(&self) -> BlockShape {
        self.shape
    }

    /// Memory held until the encoder is dropped, to the nearest few percent.
    pub const fn footprint(&self) -> Bytes {
        Bytes::of_len(2 * self.shape.source_len())
    }

    /// The repair symbols `first .. first + count`.
    ///
    /// # Errors
    /// The caller's fault: a source symbol's id, ids beyond 24 bits, or more than
    /// [`BLOCK_REPAIR_MAX`] at once.
    pub fn symbols(&self, first: SymbolId, count: u32) -> Result<RepairSet, FecError> {
        check_request(self.shape, first, count)?;
        let start = first.get() - self.shape.symbols();
        let packets = guarded(|| self.block.repair_packets(start, count))?;
        let symbol_size = self.shape.symbol_size();
        let mut bytes = Vec::with_capacity(packets.len() * usize::from(symbol_size));
        for packet in &packets {
            bytes.extend_from_slice(packet.data());
        }
        Ok(RepairSet { first, symbol_size, bytes })
    }
}

/// The repair symbols `first .. first + count` of a block that needs no more of them later.
///
/// # Errors
/// As [`RepairEncoder::new`] and [`RepairEncoder::symbols`]; nothing is solved for a bad request.
pub fn repair_symbols(
    shape: BlockShape,
    source: &[u8],
    first: SymbolId,
    count: u32,
) -> Result<RepairSet, FecError> {
    check_request(shape, first, count)?;
    RepairEncoder::new(shape, source)?.symbols(first, count)
}

fn check_request(shape: BlockShape, first: SymbolId, count: u32) -> Result<(), FecError> {
    if first.get() < shape.symbols() {
        return Err(FecError::NotRepair { id: first, symbols: shape.symbols() });
    }
    if count > BLOCK_REPAIR_MAX {
        return Err(FecError::TooMany { count: count as usize, limit: BLOCK_REPAIR_MAX });
    }
    let end = first.get().saturating_add(count);
    if end > SYMBOL_ID_END {
        return Err(FecError::IdOutOfRange { id: SymbolId::new(end - 1) });
    }
    Ok(())
}
