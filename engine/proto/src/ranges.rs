//! A set of numbers kept as disjoint inclusive ranges: received packets, completed blocks.
//!
//! Cheap when members arrive nearly in order. It does not bound itself: owners call
//! [`RangeSet::keep_newest`] or fill a bounded universe.

use std::collections::VecDeque;

/// Ascending, disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: VecDeque<(u64, u64)>,
}

impl RangeSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// True when there is no member.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// Whether `n` is a member.
    pub fn contains(&self, n: u64) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= n);
        after > 0 && self.ranges[after - 1].1 >= n
    }

    /// Whether every number of `first ..= last` is a member.
    pub fn contains_all(&self, first: u64, last: u64) -> bool {
        let after = self.ranges.partition_point(|&(start, _)| start <= first);
        after > 0 && self.ranges[after - 1].1 >= last
    }

    /// The smallest number that is not a member.
    pub fn first_absent(&self) -> u64 {
        match self.ranges.front() {
            Some(&(0, last)) => last.saturating_add(1),
            _ => 0,
        }
    }

    /// The largest member.
    pub fn max(&self) -> Option<u64> {
        self.ranges.back().map(|&(_, last)| last)
    }

    /// Adds `n`; true when it was new.
    pub fn insert(&mut self, n: u64) -> bool {
        // The usual case: behind all others, next to the last one.
        if let Some((_, last)) = self.ranges.back_mut()
            && last.checked_add(1) == Some(n)
        {
            *last = n;
            return true;
        }
        let after = self.ranges.partition_point(|&(first, _)| first <= n);
        if after > 0 && self.ranges[after - 1].1 >= n {
            return false;
        }
        let joins_left = after > 0 && self.ranges[after - 1].1.checked_add(1) == Some(n);
        let joins_right =
            after < self.ranges.len() && n.checked_add(1) == Some(self.ranges[after].0);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = n,
            (false, true) => self.ranges[after].0 = n,
            (false, false) => self.ranges.insert(after, (n, n)),
        }
        true
    }

    /// Adds `first ..= last`, whatever of it was there before.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Ranges that overlap or touch the new one become part of it.
        let from = self.ranges.partition_point(|&(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|&(start, _)| start <= last.saturating_add(1));
        let mut joined = (first, last);
        for &(start, end) in self.ranges.range(from..to) {
            joined = (joined.0.min(start), joined.1.max(end));
        }
        self.ranges.drain(from..to);
        self.ranges.insert(from, joined);
    }

    /// Takes `first ..= last` out, whatever of it was there.
    pub fn remove_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self.ranges.partition_point(|&(_, end)| end < first);
        let to = self.ranges.partition_point(|&(start, _)| start <= last);
        if from >= to {
            return;
        }
        let (below, above) = (self.ranges[from].0, self.ranges[to - 1].1);
        self.ranges.drain(from..to);
        if above > last {
            self.ranges.insert(from, (last + 1, above));
        }
        if below < first {
            self.ranges.insert(from, (below, first - 1));
        }
    }

    /// The ranges that begin at `n` or beyond, ascending.
    pub fn ranges_from(&self, n: u64) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        let from = self.ranges.partition_point(|&(first, _)| first < n);
        self.ranges.range(from..).copied()
    }

    /// The range that `n` lies in.
    pub fn range_of(&self, n: u64) -> Option<(u64, u64)> {
        let after = self.ranges.partition_point(|&(first, _)| first <= n);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        (range.1 >= n).then_some(range)
    }

    /// The smallest number from `n` on that is not a member.
    pub fn absent_from(&self, n: u64) -> u64 {
        let after = self.ranges.partition_point(|&(first, _)| first <= n);
        match after.checked_sub(1).map(|index| self.ranges[index]) {
            Some((_, last)) if last >= n => last.saturating_add(1),
            _ => n,
        }
    }

    /// Forgets the lowest ranges until at most `count` are left; returns the lowest number that
    /// the set still speaks about, if anything was forgotten.
    pub fn keep_newest(&mut self, count: usize) -> Option<u64> {
        let mut forgotten = None;
        while self.ranges.len() > count {
            forgotten = self.ranges.pop_front();
        }
        forgotten.map(|(_, last)| last.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn forgetting_names_the_lowest_number_still_spoken_about() {
        let mut set = RangeSet::new();
        for n in [1, 3, 5, 6] {
            set.insert(n);
        }
        assert_eq!(set.keep_newest(2), Some(2));
        assert_eq!(set.iter().collect::<Vec<_>>(), [(3, 3), (5, 6)]);
    }

    proptest! {
        #[test]
        fn ranges_go_in_like_their_numbers(
            spans in prop::collection::vec((0u64..120, 0u64..12), 0..40),
            probe in 0u64..140,
            length in 0u64..10,
        ) {
            let (mut set, mut model) = (RangeSet::new(), RangeSet::new());
            for (first, length) in spans {
                set.insert_range(first, first + length);
                (first..=first + length).for_each(|n| {
                    model.insert(n);
                });
            }
            prop_assert_eq!(&set, &model);
            prop_assert_eq!(set.absent_from(probe), (probe..).find(|&n| !model.contains(n)).unwrap());
            let all = (probe..=probe + length).all(|n| model.contains(n));
            prop_assert_eq!(set.contains_all(probe, probe + length), all);
        }

        #[test]
        fn ranges_go_out_like_their_numbers(
            present in prop::collection::btree_set(0u64..80, 0..60),
            spans in prop::collection::vec((0u64..80, 0u64..12), 0..20),
        ) {
            let (mut set, mut model) = (RangeSet::new(), present);
            for &n in &model {
                set.insert(n);
            }
            for (first, length) in spans {
                set.remove_range(first, first + length);
                model.retain(|n| !(first..=first + length).contains(n));
            }
            let spread: Vec<u64> = set.iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(spread, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn behaves_like_a_set(numbers in prop::collection::vec(0u64..120, 0..200)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for n in numbers {
                prop_assert_eq!(set.insert(n), model.insert(n));
            }
            for n in 0..125 {
                prop_assert_eq!(set.contains(n), model.contains(&n));
            }
            let spread: Vec<u64> = set.iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(spread, model.iter().copied().collect::<Vec<_>>());
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert_eq!(set.first_absent(), (0..).find(|n| !model.contains(n)).unwrap());
        }
    }
}
