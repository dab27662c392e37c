//! Recovery of missing source symbols.
//!
//! One call is one attempt: all symbols at hand go in together, because the library solves from
//! scratch at each attempt from K symbols on. Call it at K + 1 or more, off the network thread.

use super::{BlockShape, FecError, LIBRARY_BLOCK, SymbolSet, guarded, library_parameters};
use crate::ids::SymbolId;
use crate::limits::{BLOCK_REPAIR_MAX, SYMBOL_ID_END};
use raptorq::{EncodingPacket, PayloadId, SourceBlockDecoder};

/// Fills in the missing source symbols of a block.
///
/// The symbols in `present` already stand in `buffer` at `id * T`; `repair` lists distinct
/// repair symbols. On success only missing symbols were written, and the whole must still pass
/// [`verify_source`](super::verify_source): a forged symbol yields a wrong block, not an error.
/// On error the buffer is as it was.
///
/// # Errors
/// [`FecError::NotYet`] asks for more symbols and [`FecError::TooFew`] says how many at least;
/// the other variants name the field that is wrong.
pub fn decode(
    shape: BlockShape,
    buffer: &mut [u8],
    present: &SymbolSet,
    repair: &[(SymbolId, &[u8])],
) -> Result<(), FecError> {
    check_input(shape, buffer, present, repair)?;
    if present.is_full() {
        return Ok(());
    }
    let source = &mut buffer[..shape.source_len()];
    let solved = guarded(|| solve(shape, source, present, repair))?.ok_or(FecError::NotYet)?;
    if solved.len() != source.len() {
        return Err(FecError::Library);
    }
    for id in present.missing() {
        let range = symbol_range(shape, id);
        source[range.clone()].copy_from_slice(&solved[range]);
    }
    Ok(())
}

fn check_input(
    shape: BlockShape,
    buffer: &[u8],
    present: &SymbolSet,
    repair: &[(SymbolId, &[u8])],
) -> Result<(), FecError> {
    let (needed, symbols) = (shape.source_len(), shape.symbols());
    if buffer.len() < needed {
        return Err(FecError::BufferTooShort { needed, got: buffer.len() });
    }
    if present.capacity() != symbols {
        return Err(FecError::SetMismatch { expected: symbols, got: present.capacity() });
    }
    let repair_count = check_repair(shape, repair)?;
    let have = present.len() + repair_count;
    if have < symbols {
        return Err(FecError::TooFew { have, need: symbols });
    }
    Ok(())
}

/// Checks count, ids and lengths of repair symbols; returns how many there are.
fn check_repair(shape: BlockShape, repair: &[(SymbolId, &[u8])]) -> Result<u32, FecError> {
    let count = match u32::try_from(repair.len()) {
        Ok(count) if count <= BLOCK_REPAIR_MAX => count,
        _ => return Err(FecError::TooMany { count: repair.len(), limit: BLOCK_REPAIR_MAX }),
    };
    for &(id, bytes) in repair {
        if id.get() < shape.symbols() {
            return Err(FecError::NotRepair { id, symbols: shape.symbols() });
        }
        if id.get() >= SYMBOL_ID_END {
            return Err(FecError::IdOutOfRange { id });
        }
        if bytes.len() != usize::from(shape.symbol_size()) {
            let (expected, got) = (shape.symbol_size(), bytes.len());
            return Err(FecError::SymbolLength { id, expected, got });
        }
    }
    let mut ids: Vec<SymbolId> = repair.iter().map(|&(id, _)| id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(FecError::Duplicate { id: pair[0] }),
        None => Ok(count),
    }
}

/// One attempt of the library over everything at hand; `None` when the system is singular.
fn solve(
    shape: BlockShape,
    source: &[u8],
    present: &SymbolSet,
    repair: &[(SymbolId, &[u8])],
) -> Option<Vec<u8>> {
    let length = shape.source_len() as u64;
    let mut decoder = SourceBlockDecoder::new(LIBRARY_BLOCK, &library_parameters(shape), length);
    let at_hand = (0..shape.symbols())
        .map(SymbolId::new)
        .filter(|&id| present.contains(id))
        .map(|id| (id, &source[symbol_range(shape, id)]));
    decoder.decode(at_hand.chain(repair.iter().copied()).map(|(id, bytes)| {
        EncodingPacket::new(PayloadId::new(LIBRARY_BLOCK, id.get()), bytes.to_vec())
    }))
}

fn symbol_range(shape: BlockShape, id: SymbolId) -> std::ops::Range<usize> {
    let size = usize::from(shape.symbol_size());
    let start = id.get() as usize * size;
    start..start + size
}
