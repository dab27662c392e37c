//! Objects and the block indices they own: the part of the layout that both sides must agree on.
//!
//! A block that the receiver already holds (resume) gets no index. Indices are handed out in the
//! order of declaration and never reused within a session, so "everything below X is complete"
//! is a statement about data that was sent. spec: W-070

use crate::ids::{BlockIndex, ObjectId};
use crate::limits::{BLOCK_DATA, OBJECT_MAX};
use crate::units::Bytes;
use std::collections::BTreeMap;

/// Where a block index points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The object.
    pub object: ObjectId,
    /// The block's position within the object, counted in blocks.
    pub position: u32,
    /// Its first byte within the object.
    pub offset: Bytes,
    /// Its data bytes.
    pub len: Bytes,
}

/// A declaration that cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The object is larger than the protocol allows.
    #[error("object {0} is larger than 1 PiB")]
    TooLarge(ObjectId),
    /// The session has handed out all its block indices.
    #[error("the session has used all 2^32 block indices: open a new session")]
    IndicesExhausted,
    /// The object was not declared.
    #[error("object {0} was never declared")]
    Unknown(ObjectId),
    /// Blocks outside the object.
    #[error("object {0} has no such blocks")]
    OutOfRange(ObjectId),
}

#[derive(Clone, Copy, Debug)]
struct Run {
    object: ObjectId,
    position: u32,
    count: u32,
}

/// The objects of a session in one direction.
#[derive(Clone, Debug, Default)]
pub struct ObjectTable {
    lens: BTreeMap<ObjectId, Bytes>,
    runs: BTreeMap<u32, Run>,
    next_block: u32,
    next_object: u32,
}

/// How many blocks an object of `len` bytes has; an empty object has none.
pub fn blocks_of(len: Bytes) -> u32 {
    u32::try_from(len.get().div_ceil(BLOCK_DATA.get())).unwrap_or(u32::MAX)
}

impl ObjectTable {
    /// A table without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// The index that the next placed block gets.
    pub const fn next_block(&self) -> BlockIndex {
        BlockIndex::new(self.next_block)
    }

    /// The length of an object.
    pub fn len_of(&self, object: ObjectId) -> Option<Bytes> {
        self.lens.get(&object).copied()
    }

    /// Declares the next object; its blocks except those of `held` (ascending, disjoint runs of
    /// `(first, count)`) get the next indices. Returns its id and how many indices it got.
    pub fn declare(
        &mut self,
        len: Bytes,
        held: &[(u32, u32)],
    ) -> Result<(ObjectId, u32), ObjectError> {
        let object = ObjectId::new(self.next_object);
        if len > OBJECT_MAX {
            return Err(ObjectError::TooLarge(object));
        }
        let blocks = blocks_of(len);
        self.lens.insert(object, len);
        self.next_object = self.next_object.saturating_add(1);
        let mut placed = 0;
        let mut position = 0;
        for &(first, count) in held.iter().chain(core::iter::once(&(blocks, 0))) {
            let end = first.checked_add(count).ok_or(ObjectError::OutOfRange(object))?;
            if first < position || end > blocks {
                return Err(ObjectError::OutOfRange(object));
            }
            placed += self.place(object, position, first - position)?;
            position = end;
        }
        Ok((object, placed))
    }

    /// Gives blocks of a declared object (held ones that turned out wrong) the next indices;
    /// returns the first.
    pub fn reopen(
        &mut self,
        object: ObjectId,
        position: u32,
        count: u32,
    ) -> Result<BlockIndex, ObjectError> {
        let len = self.len_of(object).ok_or(ObjectError::Unknown(object))?;
        let end = position.checked_add(count).ok_or(ObjectError::OutOfRange(object))?;
        if end > blocks_of(len) {
            return Err(ObjectError::OutOfRange(object));
        }
        let first = self.next_block();
        self.place(object, position, count)?;
        Ok(first)
    }

    fn place(&mut self, object: ObjectId, position: u32, count: u32) -> Result<u32, ObjectError> {
        if count > 0 {
            let first = self.next_block;
            self.next_block = first.checked_add(count).ok_or(ObjectError::IndicesExhausted)?;
            self.runs.insert(first, Run { object, position, count });
        }
        Ok(count)
    }

    /// Where `block` points, if it was ever placed.
    pub fn find(&self, block: BlockIndex) -> Option<Placed> {
        let (&first, run) = self.runs.range(..=block.get()).next_back()?;
        let within = block.get() - first;
        if within >= run.count {
            return None;
        }
        let position = run.position + within;
        let offset = Bytes::new(u64::from(position) * BLOCK_DATA.get());
        let len = self.lens.get(&run.object)?.saturating_sub(offset).min(BLOCK_DATA);
        Some(Placed { object: run.object, position, offset, len })
    }

    /// The runs that were placed from index `from` on: `(first index, count)`.
    pub fn runs_from(&self, from: BlockIndex) -> impl Iterator<Item = (BlockIndex, u32)> + '_ {
        self.runs.range(from.get()..).map(|(&first, run)| (BlockIndex::new(first), run.count))
    }

    /// Data bytes of the blocks `first .. end`, which must lie in one run.
    pub fn bytes_between(&self, first: BlockIndex, end: BlockIndex) -> Bytes {
        let last = BlockIndex::new(end.get().saturating_sub(1));
        match (self.find(first), self.find(last)) {
            (Some(first), Some(last)) if end > BlockIndex::new(0) => {
                last.offset + last.len - first.offset
            }
            _ => Bytes::ZERO,
        }
    }

    /// The blocks of `object` that have indices, ascending runs of `(first index, count)`.
    pub fn runs_of(&self, object: ObjectId) -> impl Iterator<Item = (BlockIndex, u32)> + '_ {
        self.runs
            .iter()
            .filter(move |(_, run)| run.object == object)
            .map(|(&first, run)| (BlockIndex::new(first), run.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(n: u64) -> Bytes {
        Bytes::new(n * BLOCK_DATA.get())
    }

    #[test]
    fn held_blocks_get_no_index() {
        let mut table = ObjectTable::new();
        let (object, placed) =
            table.declare(blocks(10) + Bytes::new(1), &[(0, 2), (5, 3)]).unwrap();
        assert_eq!(placed, 6);
        let positions: Vec<u32> =
            (0..6).map(|i| table.find(BlockIndex::new(i)).unwrap().position).collect();
        assert_eq!(positions, [2, 3, 4, 8, 9, 10]);
        assert_eq!(table.find(BlockIndex::new(5)).unwrap().len, Bytes::new(1));
        assert_eq!(table.find(BlockIndex::new(6)), None);
        assert_eq!(table.reopen(object, 5, 3).unwrap(), BlockIndex::new(6));
        assert_eq!(table.find(BlockIndex::new(8)).unwrap().position, 7);
    }

    #[test]
    fn held_blocks_outside_the_object_are_refused() {
        let mut table = ObjectTable::new();
        assert!(table.declare(blocks(3), &[(2, 2)]).is_err());
        assert!(table.declare(blocks(3), &[(2, 1), (0, 1)]).is_err());
        assert!(table.declare(blocks(3), &[(1, u32::MAX)]).is_err());
    }

    #[test]
    fn empty_objects_have_no_blocks() {
        let mut table = ObjectTable::new();
        assert_eq!(table.declare(Bytes::ZERO, &[]).unwrap().1, 0);
        assert_eq!(table.declare(Bytes::new(1), &[]).unwrap().1, 1);
        assert_eq!(table.find(BlockIndex::new(0)).unwrap().object, ObjectId::new(1));
    }
}
