//! A bounded queue that forgets its oldest entries rather than grow, and says how many it forgot.

use std::collections::VecDeque;

/// See the module. Memory grows with use, up to the bound, and is kept: no allocation per entry.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    entries: VecDeque<T>,
    capacity: usize,
    dropped: u64,
}

impl<T> Ring<T> {
    /// An empty ring for at most `capacity` entries.
    pub const fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity, dropped: 0 }
    }

    /// Takes an entry in; the oldest makes room.
    pub fn push(&mut self, entry: T) {
        while self.entries.len() >= self.capacity.max(1) {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
    }

    /// Takes the oldest entry out.
    pub fn pop(&mut self) -> Option<T> {
        self.entries.pop_front()
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries forgotten so far.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ring_keeps_the_newest_in_order_and_counts_the_rest(
            capacity in 1usize..20,
            pops in prop::collection::vec(prop::bool::weighted(0.3), 0..200),
        ) {
            let mut ring = Ring::new(capacity);
            let (mut pushed, mut taken) = (0u64, Vec::new());
            for pop in pops {
                if pop {
                    taken.extend(ring.pop());
                } else {
                    ring.push(pushed);
                    pushed += 1;
                }
                prop_assert!(ring.len() <= capacity);
            }
            let gone = ring.dropped() + taken.len() as u64 + ring.len() as u64;
            prop_assert_eq!(gone, pushed);
            taken.extend(ring.iter());
            prop_assert!(taken.is_sorted());
            prop_assert!(pushed == 0 || ring.is_empty() || taken.last() == Some(&(pushed - 1)));
        }
    }
}
