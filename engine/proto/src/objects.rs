//! Objects and the block indices they own: the part of the layout that both sides must agree on.
//!
//! A block that the receiver already holds (resume) gets no index. Indices are handed out in the
//! order of declaration and never reused within a session, so "everything below X is complete"
//! is a statement about data that was sent. spec: W-070

use crate::ids::{BlockIndex, Generation, ObjectId};
use crate::limits::{BLOCK_DATA, OBJECT_MAX};
use crate::ranges::RangeSet;
use crate::shares::FlowError;
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

/// A run of blocks of an object: `(first position, count)`.
pub type BlockRun = (u32, u32);

/// What reopening claimed blocks led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopened {
    /// The index of the first of them; the others follow in order.
    pub first_block: BlockIndex,
    /// What completion events of the object carry from now on.
    pub generation: Generation,
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
    /// Blocks outside the object, or runs that overlap or descend.
    #[error("object {0} has no such blocks")]
    OutOfRange(ObjectId),
    /// Blocks to be reopened were never claimed, or were reopened before.
    #[error("blocks of object {0} are reopened that nobody claims to hold")]
    NotClaimed(ObjectId),
    /// The object was given up on this side: no more of it is sent.
    #[error("object {0} was given up")]
    GivenUp(ObjectId),
    /// It was to be in a flow that there is not.
    #[error(transparent)]
    Flow(#[from] FlowError),
}

#[derive(Clone, Copy, Debug)]
struct Run {
    object: ObjectId,
    position: u32,
    count: u32,
}

#[derive(Clone, Debug)]
struct Object {
    len: Bytes,
    /// Positions that the receiver claims to hold: they have no index.
    claimed: RangeSet,
    /// First index of each of its runs, ascending.
    runs: Vec<u32>,
    generation: Generation,
    given_up: bool,
}

/// The objects of a session in one direction.
#[derive(Clone, Debug, Default)]
pub struct ObjectTable {
    objects: Vec<Object>,
    runs: BTreeMap<u32, Run>,
    next_block: u32,
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

    fn get(&self, object: ObjectId) -> Option<&Object> {
        self.objects.get(object.get() as usize)
    }

    /// How often claims of an object were reopened.
    pub fn generation(&self, object: ObjectId) -> Generation {
        self.get(object).map_or_else(Generation::default, |object| object.generation)
    }

    /// Declares the next object; its blocks except those of `held` (ascending, disjoint runs)
    /// get the next indices. Returns its id and how many indices it got.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn declare(
        &mut self,
        len: Bytes,
        held: &[BlockRun],
    ) -> Result<(ObjectId, u32), ObjectError> {
        let id = u32::try_from(self.objects.len()).map_err(|_| ObjectError::IndicesExhausted)?;
        let object = ObjectId::new(id);
        if len > OBJECT_MAX {
            return Err(ObjectError::TooLarge(object));
        }
        let blocks = blocks_of(len);
        let claimed = checked_runs(object, blocks, held)?;
        let placed = blocks - claimed;
        self.next_block.checked_add(placed).ok_or(ObjectError::IndicesExhausted)?;
        self.objects.push(Object {
            len,
            claimed: RangeSet::new(),
            runs: Vec::new(),
            generation: Generation::default(),
            given_up: false,
        });
        let mut position = 0;
        for &(first, count) in held {
            self.place(object, position, first - position);
            position = first + count;
            let (first, last) = numbers((first, count));
            self.objects[id as usize].claimed.insert_range(first, last);
        }
        self.place(object, position, blocks - position);
        Ok((object, placed))
    }

    /// Gives claimed blocks that are not held after all the next indices; all of `runs`
    /// (ascending, disjoint) or none. spec: W-080
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn reopen(
        &mut self,
        object: ObjectId,
        runs: &[BlockRun],
    ) -> Result<(Reopened, u32), ObjectError> {
        let state = self.get(object).ok_or(ObjectError::Unknown(object))?;
        let count = checked_runs(object, blocks_of(state.len), runs)?;
        let mut spans = runs.iter().copied().map(numbers);
        if count == 0 || !spans.all(|(first, last)| state.claimed.contains_all(first, last)) {
            return Err(ObjectError::NotClaimed(object));
        }
        self.next_block.checked_add(count).ok_or(ObjectError::IndicesExhausted)?;
        let first_block = self.next_block();
        let state = &mut self.objects[object.get() as usize];
        state.generation = state.generation.next();
        let generation = state.generation;
        for (first, last) in runs.iter().copied().map(numbers) {
            state.claimed.remove_range(first, last);
        }
        for &(position, count) in runs {
            self.place(object, position, count);
        }
        Ok((Reopened { first_block, generation }, count))
    }

    /// Gives a run of a declared object the next indices, which were checked to suffice.
    fn place(&mut self, object: ObjectId, position: u32, count: u32) {
        if count > 0 {
            let first = self.next_block;
            self.next_block += count;
            self.runs.insert(first, Run { object, position, count });
            self.objects[object.get() as usize].runs.push(first);
        }
    }

    /// Notes that an object is given up; false when it was before, or was never declared.
    pub fn give_up(&mut self, object: ObjectId) -> bool {
        let state = self.objects.get_mut(object.get() as usize);
        state.is_some_and(|state| !core::mem::replace(&mut state.given_up, true))
    }

    /// Whether an object was given up.
    pub fn is_given_up(&self, object: ObjectId) -> bool {
        self.get(object).is_some_and(|object| object.given_up)
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
        let len = self.get(run.object)?.len.saturating_sub(offset).min(BLOCK_DATA);
        Some(Placed { object: run.object, position, offset, len })
    }

    /// Data bytes of the blocks that were placed from index `from` on.
    pub fn bytes_from(&self, from: BlockIndex) -> Bytes {
        let runs = self.runs.range(from.get()..);
        let ends = runs.map(|(&first, run)| (first, first + run.count));
        ends.map(|(a, b)| self.bytes_between(BlockIndex::new(a), BlockIndex::new(b))).sum()
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

    /// The blocks of `object` that have indices, ascending runs of `first .. end`.
    pub fn runs_of(&self, object: ObjectId) -> Vec<(BlockIndex, BlockIndex)> {
        let firsts = self.get(object).map_or(&[][..], |object| &object.runs);
        let runs = firsts.iter().filter_map(|first| Some((*first, self.runs.get(first)?.count)));
        runs.map(|(first, n)| (BlockIndex::new(first), BlockIndex::new(first + n))).collect()
    }
}

/// Checks that runs ascend, do not overlap and lie within an object of `blocks` blocks; returns
/// how many blocks they name.
fn checked_runs(object: ObjectId, blocks: u32, runs: &[BlockRun]) -> Result<u32, ObjectError> {
    let (mut end, mut named) = (0u32, 0u32);
    for &(first, count) in runs {
        let after = first.checked_add(count).ok_or(ObjectError::OutOfRange(object))?;
        if count == 0 || first < end || after > blocks {
            return Err(ObjectError::OutOfRange(object));
        }
        end = after;
        named += count;
    }
    Ok(named)
}

/// A run of at least one block as the positions that it spans, both included.
const fn numbers((first, count): BlockRun) -> (u64, u64) {
    (first as u64, first as u64 + count as u64 - 1)
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
        let (reopened, count) = table.reopen(object, &[(0, 1), (5, 3)]).unwrap();
        assert_eq!((reopened.first_block, count), (BlockIndex::new(6), 4));
        assert_eq!(table.find(BlockIndex::new(6)).unwrap().position, 0);
        assert_eq!(table.find(BlockIndex::new(9)).unwrap().position, 7);
    }

    #[test]
    fn held_blocks_outside_the_object_are_refused() {
        let mut table = ObjectTable::new();
        assert!(table.declare(blocks(3), &[(2, 2)]).is_err());
        assert!(table.declare(blocks(3), &[(2, 1), (0, 1)]).is_err());
        assert!(table.declare(blocks(3), &[(1, u32::MAX)]).is_err());
    }

    #[test]
    fn a_declaration_that_is_refused_takes_neither_id_nor_index() {
        let mut table = ObjectTable::new();
        assert!(table.declare(blocks(9), &[(2, 1), (8, 2)]).is_err());
        assert_eq!(table.declare(blocks(3), &[]), Ok((ObjectId::new(0), 3)));
        assert_eq!(table.find(BlockIndex::new(0)).unwrap().object, ObjectId::new(0));
        assert_eq!(table.next_block(), BlockIndex::new(3));
    }

    #[test]
    fn only_claims_are_reopened_and_only_once() {
        let mut table = ObjectTable::new();
        let (object, _) = table.declare(blocks(10), &[(2, 4), (8, 1)]).unwrap();
        let before = table.next_block();
        for refused in [&[(0, 1)][..], &[(1, 2)], &[(2, 1), (6, 1)], &[(7, 1), (8, 1)]] {
            let error = table.reopen(object, refused).unwrap_err();
            assert_eq!(error, ObjectError::NotClaimed(object), "{refused:?}");
        }
        assert_eq!(table.reopen(object, &[]), Err(ObjectError::NotClaimed(object)));
        let outside = [&[(8, 3)][..], &[(8, 1), (2, 1)], &[(2, 0)], &[(2, 2), (3, 1)]];
        for refused in outside {
            assert_eq!(table.reopen(object, refused), Err(ObjectError::OutOfRange(object)));
        }
        assert_eq!(table.next_block(), before, "what is refused takes no index");
        let (first, _) = table.reopen(object, &[(3, 2), (8, 1)]).unwrap();
        assert_eq!(first.generation, Generation::new(1));
        for twice in [&[(3, 1)][..], &[(4, 2)], &[(8, 1)]] {
            assert_eq!(table.reopen(object, twice), Err(ObjectError::NotClaimed(object)));
        }
        let (second, _) = table.reopen(object, &[(2, 1)]).unwrap();
        assert_eq!(second.generation, Generation::new(2));
        assert_eq!(second.first_block.get(), before.get() + 3);
    }

    #[test]
    fn the_runs_of_an_object_are_its_own() {
        let mut table = ObjectTable::new();
        let (first, _) = table.declare(blocks(4), &[(1, 1)]).unwrap();
        let (second, _) = table.declare(blocks(2), &[]).unwrap();
        table.reopen(first, &[(1, 1)]).unwrap();
        let run = |a, b| (BlockIndex::new(a), BlockIndex::new(b));
        assert_eq!(table.runs_of(first), [run(0, 1), run(1, 3), run(5, 6)]);
        assert_eq!(table.runs_of(second), [run(3, 5)]);
        assert_eq!(table.bytes_from(BlockIndex::new(3)), blocks(3));
    }

    #[test]
    fn giving_up_what_was_never_declared_leaves_no_trace() {
        let mut table = ObjectTable::new();
        assert!(!table.give_up(ObjectId::new(0)));
        let (object, _) = table.declare(blocks(1), &[]).unwrap();
        assert!(!table.is_given_up(object));
        assert!(table.give_up(object) && table.is_given_up(object));
        assert!(!table.give_up(object), "once");
    }

    #[test]
    fn empty_objects_have_no_blocks() {
        let mut table = ObjectTable::new();
        assert_eq!(table.declare(Bytes::ZERO, &[]).unwrap().1, 0);
        assert_eq!(table.declare(Bytes::new(1), &[]).unwrap().1, 1);
        assert_eq!(table.find(BlockIndex::new(0)).unwrap().object, ObjectId::new(1));
    }
}
