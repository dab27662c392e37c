//! The packets that wait for their time, earliest first, in order of arrival where times are equal.
//!
//! Links mostly keep order, so nearly all of them sit in a plain queue; only those that are due
//! before an earlier one (reordering, duplicates) go through the heap.

use farhaul_proto::units::Timestamp;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    at: Timestamp,
    arrival: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Timestamp, u64) {
        (self.at, self.arrival)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// One that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    /// Its time.
    pub(crate) at: Timestamp,
    /// What waited.
    pub(crate) item: T,
    /// True if one that came later left before it.
    pub(crate) overtaken: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    in_order: VecDeque<Entry<T>>,
    overtaking: BinaryHeap<Reverse<Entry<T>>>,
    arrivals: u64,
    /// Of those that left, one more than the latest to come.
    left: u64,
}

impl<T> Schedule<T> {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        Self { in_order: VecDeque::new(), overtaking: BinaryHeap::new(), arrivals: 0, left: 0 }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.overtaking.len()
    }

    /// Lets `item` wait until `at`.
    pub(crate) fn push(&mut self, at: Timestamp, item: T) {
        let entry = Entry { at, arrival: self.arrivals, item };
        self.arrivals += 1;
        match self.in_order.back() {
            Some(last) if last.at > at => self.overtaking.push(Reverse(entry)),
            _ => self.in_order.push_back(entry),
        }
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        match (self.in_order.front(), self.overtaking.peek()) {
            (Some(a), Some(Reverse(b))) => Some(a.at.min(b.at)),
            (Some(a), None) => Some(a.at),
            (None, b) => b.map(|Reverse(b)| b.at),
        }
    }

    /// The earliest one if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Due<T>> {
        if self.next_at()? > now {
            return None;
        }
        let from_heap = match (self.in_order.front(), self.overtaking.peek()) {
            (Some(a), Some(Reverse(b))) => b < a,
            (in_order, _) => in_order.is_none(),
        };
        let entry = if from_heap {
            self.overtaking.pop().map(|Reverse(entry)| entry)
        } else {
            self.in_order.pop_front()
        };
        entry.map(|Entry { at, arrival, item }| {
            let overtaken = arrival < self.left;
            self.left = self.left.max(arrival + 1);
            Due { at, item, overtaken }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_by_time_and_then_by_arrival() {
        let mut schedule = Schedule::new();
        for (at, item) in [(5, 'a'), (9, 'b'), (5, 'c'), (3, 'd'), (9, 'e'), (4, 'f'), (5, 'g')] {
            schedule.push(Timestamp::from_nanos(at), item);
        }
        let (mut order, mut overtaken) = (String::new(), String::new());
        while let Some(due) = schedule.pop_due(Timestamp::from_nanos(100)) {
            order.push(due.item);
            overtaken.extend(due.overtaken.then_some(due.item));
        }
        assert_eq!((order.as_str(), overtaken.as_str()), ("dfacgbe", "acbe"));
    }

    #[test]
    fn nothing_leaves_before_its_time() {
        let mut schedule = Schedule::new();
        schedule.push(Timestamp::from_nanos(10), ());
        assert_eq!(schedule.pop_due(Timestamp::from_nanos(9)), None);
        assert_eq!(schedule.next_at(), Some(Timestamp::from_nanos(10)));
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn any_order_of_pushes_leaves_like_a_stable_sort() {
        // A small multiplicative generator (Lehmer, modulus 2^31 - 1) is enough to mix times.
        let mut state = 42u64;
        let mut schedule = Schedule::new();
        let mut model = Vec::new();
        for item in 0..5000u32 {
            state = state * 48_271 % 0x7fff_ffff;
            let at = Timestamp::from_nanos(state % 1000);
            schedule.push(at, item);
            model.push((at, item));
        }
        model.sort();
        let mut left = Vec::new();
        while let Some(due) = schedule.pop_due(Timestamp::from_nanos(1000)) {
            left.push((due.at, due.item));
        }
        assert_eq!(left, model);
    }
}
