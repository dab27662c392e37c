//! Which complete blocks a report names when they lie in more pieces than it has room for. spec: W-147
//!
//! A sender that carries several flows begins their blocks in any order, so what is complete may be in
//! thousands of pieces. What became complete last is what it waits for; all others come in turn, for
//! reports get lost.

use crate::ids::BlockIndex;
use crate::ranges::RangeSet;
use crate::wire::feedback::BlockRange;
use std::collections::VecDeque;

/// Ranges of complete blocks in one report.
const COMPLETE_RANGES_MAX: usize = 128;
/// Of more than those, so many that hold what became complete last: they fit beside all else.
const RECENT: usize = 32;
/// And so many of all in turn.
const IN_TURN: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What became complete last.
    recent: VecDeque<BlockIndex>,
    /// Where the turn goes on.
    from: u64,
}

impl Told {
    pub(super) fn on_complete(&mut self, block: BlockIndex) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(block);
    }

    /// What the next report names of the blocks beyond `below`, which is not complete.
    pub(super) fn choose(&self, done: &RangeSet, below: BlockIndex) -> Vec<BlockRange> {
        let named = |(first, last)| BlockRange {
            first: BlockIndex::clamped(first),
            last: BlockIndex::clamped(last),
        };
        let all = done.ranges_from(u64::from(below.get()));
        if all.len() <= COMPLETE_RANGES_MAX {
            return all.map(named).collect();
        }
        let in_turn = done.ranges_from(self.from.max(u64::from(below.get()))).take(IN_TURN);
        let recent = self.recent.iter().filter(|&&block| block > below);
        let recent = recent.filter_map(|block| done.range_of(u64::from(block.get())));
        let mut chosen: Vec<_> = in_turn.chain(recent).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen.into_iter().map(named).collect()
    }

    /// A report left with what [`Self::choose`] said.
    pub(super) fn on_reported(&mut self, done: &RangeSet) {
        let last = done.ranges_from(self.from).nth(IN_TURN - 1);
        self.from = last.map_or(0, |(_, last)| last.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every second block of `count` is complete, in the order given.
    fn complete(order: impl Iterator<Item = u32>) -> (Told, RangeSet) {
        let (mut told, mut done) = (Told::default(), RangeSet::new());
        for n in order {
            done.insert(u64::from(2 * n + 1));
            told.on_complete(BlockIndex::new(2 * n + 1));
        }
        (told, done)
    }

    fn firsts(told: &Told, done: &RangeSet) -> Vec<u32> {
        let chosen = told.choose(done, BlockIndex::new(0));
        chosen.iter().map(|range| range.first.get()).collect()
    }

    #[test]
    fn few_ranges_are_all_named_and_it_is_the_same_the_next_time() {
        let (mut told, done) = complete(0..128);
        let before = firsts(&told, &done);
        assert_eq!(before.len(), 128);
        told.on_reported(&done);
        assert_eq!(firsts(&told, &done), before);
    }

    #[test]
    fn of_many_the_last_are_named_at_once_and_all_in_turn() {
        let (mut told, done) = complete(0..1_000);
        let mut named = std::collections::BTreeSet::new();
        for _ in 0..1_000_usize.div_ceil(IN_TURN) {
            let firsts = firsts(&told, &done);
            assert!(firsts.len() <= RECENT + IN_TURN && firsts.is_sorted());
            assert!((968..1_000).all(|n| firsts.contains(&(2 * n + 1))), "the last ones");
            named.extend(firsts);
            told.on_reported(&done);
        }
        assert_eq!(named.len(), 1_000);
    }
}
