//! Which source symbols of a block are there: a bitmap.
//!
//! Holds only ids below its capacity; anything else is refused, never an error.

use crate::ids::SymbolId;

const WORD_BITS: u32 = u64::BITS;

/// A set of the symbol ids `0 .. capacity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolSet {
    words: Vec<u64>,
    capacity: u32,
    len: u32,
}

impl SymbolSet {
    /// An empty set for ids below `capacity`, the K of a block.
    pub fn new(capacity: u32) -> Self {
        let words = vec![0; capacity.div_ceil(WORD_BITS) as usize];
        Self { words, capacity, len: 0 }
    }

    /// Adds `id`. True when it was not there before and belongs to the set's range.
    pub fn insert(&mut self, id: SymbolId) -> bool {
        let Some((word, bit)) = self.place(id) else { return false };
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += u32::from(fresh);
        fresh
    }

    /// True when `id` is in the set.
    pub fn contains(&self, id: SymbolId) -> bool {
        self.place(id).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    /// Number of ids in the set.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// True when no id is in the set.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when every id below the capacity is in the set.
    pub const fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// The bound of the ids; K for the source symbols of a block.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Number of ids below the capacity that are not in the set.
    pub const fn missing_len(&self) -> u32 {
        self.capacity - self.len
    }

    /// The ids below the capacity that are not in the set, ascending.
    pub fn missing(&self) -> Missing<'_> {
        Missing { set: self, word: 0, gaps: self.gaps(0) }
    }

    /// Forgets every id; keeps the allocation.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    fn place(&self, id: SymbolId) -> Option<(usize, u64)> {
        let id = id.get();
        (id < self.capacity).then(|| ((id / WORD_BITS) as usize, 1 << (id % WORD_BITS)))
    }

    /// The absent ids of a word as set bits, those beyond the capacity cleared.
    fn gaps(&self, word: u32) -> u64 {
        let Some(present) = self.words.get(word as usize) else { return 0 };
        let valid = (self.capacity - word * WORD_BITS).min(WORD_BITS);
        !present & (u64::MAX >> (WORD_BITS - valid))
    }
}

/// Iterator over absent ids, made by [`SymbolSet::missing`].
#[derive(Clone, Debug)]
pub struct Missing<'a> {
    set: &'a SymbolSet,
    word: u32,
    gaps: u64,
}

impl Iterator for Missing<'_> {
    type Item = SymbolId;

    fn next(&mut self) -> Option<SymbolId> {
        while self.gaps == 0 {
            self.word += 1;
            if self.word as usize >= self.set.words.len() {
                self.word -= 1; // stays at the end, however often it is asked
                return None;
            }
            self.gaps = self.set.gaps(self.word);
        }
        let bit = self.gaps.trailing_zeros();
        self.gaps &= self.gaps - 1;
        Some(SymbolId::new(self.word * WORD_BITS + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_without_room_takes_and_misses_nothing() {
        let mut set = SymbolSet::new(0);
        assert!(!set.insert(SymbolId::new(0)));
        assert!(set.is_full() && set.is_empty());
        assert_eq!(set.missing().next(), None);
    }

    #[test]
    fn the_end_of_missing_stays_the_end() {
        let mut set = SymbolSet::new(65);
        for id in 0..65 {
            set.insert(SymbolId::new(id));
        }
        let mut missing = set.missing();
        assert_eq!([missing.next(), missing.next(), missing.next()], [None; 3]);
    }

    proptest! {
        #[test]
        fn the_bitmap_behaves_like_a_set(
            capacity in 0u32..300, ids in prop::collection::vec(0u32..400, 0..400),
        ) {
            let mut set = SymbolSet::new(capacity);
            let mut model = BTreeSet::new();
            for id in ids {
                let fresh = set.insert(SymbolId::new(id));
                prop_assert_eq!(fresh, id < capacity && model.insert(id));
            }
            for id in 0..410 {
                prop_assert_eq!(set.contains(SymbolId::new(id)), model.contains(&id));
            }
            let missing: Vec<u32> = set.missing().map(SymbolId::get).collect();
            let expected: Vec<u32> = (0..capacity).filter(|id| !model.contains(id)).collect();
            prop_assert_eq!(missing.len(), set.missing_len() as usize);
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(set.len() as usize, model.len());
            prop_assert_eq!(set.is_full(), set.len() == capacity);
        }
    }
}
