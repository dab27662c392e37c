//! What lies where: the bytes that a source read into each block, and those on the target's disk.
//!
//! A symbol carries what the source read into its block, so a block's content is the place it was
//! read from. The target's core is held against that at every symbol and at every write.

use super::Violation;
use farhaul_proto::fec::BlockShape;
use farhaul_proto::ids::{BlockIndex, ObjectId};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::Placement;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::header::DataId;
use std::collections::BTreeMap;

/// The ledger of contents of one direction.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    read: BTreeMap<BlockIndex, Placed>,
    /// What travels of each block, packed or not; the newest last. Symbols of an older shape may be
    /// on their way when a block begins anew with smaller ones.
    loaded: BTreeMap<BlockIndex, Vec<BlockShape>>,
    /// Bytes on the target's disk, by object: ends by starts, disjoint.
    written: BTreeMap<ObjectId, BTreeMap<u64, u64>>,
}

impl Contents {
    /// The source reads a block of an object of `len` bytes.
    pub(super) fn on_read(
        &mut self,
        block: BlockIndex,
        placed: Placed,
        len: Bytes,
    ) -> Result<(), Violation> {
        if placed.len == Bytes::ZERO || end_of(&placed) > len.get() {
            return Err(Violation::OutOfBounds { block, placed, len });
        }
        match self.read.insert(block, placed) {
            Some(before) if before != placed => {
                Err(Violation::Misplaced { block, read: Some(before), placed })
            }
            _ => Ok(()),
        }
    }

    /// The source has a block in memory, packed or not.
    pub(crate) fn on_loaded(&mut self, block: BlockIndex, shape: BlockShape) {
        self.loaded.entry(block).or_default().push(shape);
    }

    /// The target's core says of which symbols a block consists: those that the source cut.
    pub(crate) fn check_shape(
        &self,
        block: BlockIndex,
        shape: BlockShape,
    ) -> Result<(), Violation> {
        let shapes = self.loaded.get(&block).map_or(&[][..], Vec::as_slice);
        if shapes.contains(&shape) {
            return Ok(());
        }
        Err(Violation::WrongShape { block, loaded: shapes.last().copied(), shape })
    }

    /// The target's core says where the payload of a symbol goes: nowhere but to its place.
    pub(super) fn check_symbol(
        &self,
        placement: Placement,
        data: DataId,
        len: u16,
    ) -> Result<(), Violation> {
        let DataId { block, symbol, packed } = data;
        let mut loaded = self.loaded.get(&block).into_iter().flatten();
        let fits = |s: &&BlockShape| s.symbol_size() == len && s.packed_symbols() == packed;
        let shape = loaded.find(fits).ok_or(Violation::Invented { block, symbol })?;
        let (to, right) = match placement {
            Placement::Source { block: to, offset, .. } => {
                let source = symbol.get() < shape.symbols();
                (to, source && offset == symbol.get() * u32::from(len))
            }
            Placement::Repair { block: to, symbol: kept, .. } => {
                (to, kept == symbol && symbol.get() >= shape.symbols())
            }
            Placement::Redundant | Placement::Refused(_) => return Ok(()),
        };
        if to == block && right {
            Ok(())
        } else {
            Err(Violation::WrongPlace { block, symbol, placement })
        }
    }

    /// The target's core says where a block belongs: where it was read, to the byte.
    pub(crate) fn check_block(&self, block: BlockIndex, placed: Placed) -> Result<(), Violation> {
        let read = self.read.get(&block).copied();
        if read == Some(placed) {
            Ok(())
        } else {
            Err(Violation::Misplaced { block, read, placed })
        }
    }

    /// The first bytes of what is `placed` are on the target's disk. No byte is written twice, not
    /// even with the same content.
    pub(crate) fn on_bytes(&mut self, placed: &Placed, len: Bytes) -> Result<(), Violation> {
        let (start, end) = (placed.offset.get(), placed.offset.get() + len.get());
        let written = self.written.entry(placed.object).or_default();
        if written.range(..end).next_back().is_some_and(|(_, &before)| before > start) {
            let (object, position) = (placed.object, placed.position);
            return Err(Violation::WrittenTwice { object, position });
        }
        // Neighbours are joined, so that an object that is whole is one range.
        let start = match written.range(..=start).next_back() {
            Some((&first, &before)) if before == start => first,
            _ => start,
        };
        let end = written.remove(&end).unwrap_or(end);
        written.insert(start, end);
        Ok(())
    }

    /// True when every byte of the block is on the target's disk.
    pub(super) fn is_written(&self, placed: &Placed) -> bool {
        let written = self.written.get(&placed.object);
        let before = written.and_then(|w| w.range(..=placed.offset.get()).next_back());
        before.is_some_and(|(_, &end)| end >= end_of(placed))
    }

    /// Where the source read a block.
    pub(super) fn place_of(&self, block: BlockIndex) -> Option<Placed> {
        self.read.get(&block).copied()
    }
}

fn end_of(placed: &Placed) -> u64 {
    placed.offset.get().saturating_add(placed.len.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(offset: u64, len: u64) -> Placed {
        let (offset, len) = (Bytes::new(offset), Bytes::new(len));
        Placed { object: ObjectId::new(0), position: 0, offset, len }
    }

    #[test]
    fn a_byte_written_twice_is_found_wherever_it_lies() {
        for (offset, len, fits) in
            [(0, 10, true), (10, 11, false), (9, 2, false), (12, 2, false), (20, 1, true)]
        {
            let mut contents = Contents::default();
            contents.on_bytes(&placed(10, 10), Bytes::new(10)).expect("the first");
            let again = contents.on_bytes(&placed(offset, len), Bytes::new(len));
            assert_eq!(again.is_ok(), fits, "{len} bytes at {offset}");
        }
    }

    #[test]
    fn a_block_written_in_parts_is_whole_after_the_last() {
        let mut contents = Contents::default();
        for (offset, len, whole) in [(0, 4, false), (8, 2, false), (4, 4, true)] {
            contents.on_bytes(&placed(offset, len), Bytes::new(len)).expect("apart");
            assert_eq!(contents.is_written(&placed(0, 10)), whole);
        }
    }
}
