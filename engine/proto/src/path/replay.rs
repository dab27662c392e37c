//! The replay window of one direction of a lane: which packet numbers have been opened.
//!
//! A bitmap over the newest numbers, in the manner of RFC 6479: a ring of words with one spare,
//! so that moving the window clears whole words and shifts nothing. Moves only when told that a
//! packet was authenticated; never looks at keys or payload.

use crate::ids::PacketNumber;
use crate::limits::REPLAY_WINDOW;

const WORD_BITS: u64 = u64::BITS as u64;

/// What the window knows about a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen, and new enough to tell.
    Fresh,
    /// Opened before.
    Duplicate,
    /// So far behind the largest that the window cannot tell; treated as seen.
    TooOld,
}

/// Remembers which of the newest packet numbers were opened (`spec: W-031`).
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// Bit `n % 64` of word `n / 64 % words.len()` is set when number `n` was opened.
    words: Box<[u64]>,
    size: u64,
    /// One past the largest opened number; zero before the first.
    end: u64,
}

impl Default for ReplayWindow {
    /// A window of [`REPLAY_WINDOW`] numbers (16 KiB).
    fn default() -> Self {
        Self::new(REPLAY_WINDOW)
    }
}

impl ReplayWindow {
    /// A window that tells the newest `size` numbers apart; at least one, at most
    /// [`REPLAY_WINDOW`].
    pub fn new(size: u64) -> Self {
        let size = size.clamp(1, REPLAY_WINDOW);
        // One spare word: the oldest and the newest number never share one.
        let words = usize::try_from(size.div_ceil(WORD_BITS) + 1).unwrap_or(usize::MAX);
        Self { words: vec![0; words].into_boxed_slice(), size, end: 0 }
    }

    /// The largest number committed.
    pub const fn largest(&self) -> Option<PacketNumber> {
        match self.end {
            0 => None,
            end => Some(PacketNumber::new(end - 1)),
        }
    }

    /// Judges a number without moving anything; meant for before the AEAD.
    pub fn check(&self, number: PacketNumber) -> Verdict {
        let n = number.get();
        if n >= self.end {
            return Verdict::Fresh;
        }
        if self.end - n > self.size {
            return Verdict::TooOld;
        }
        let (word, bit) = self.slot(n);
        if self.words[word] & bit == 0 { Verdict::Fresh } else { Verdict::Duplicate }
    }

    /// Marks a number whose packet the AEAD has opened, and says what it was until now.
    /// Changes nothing unless that is [`Verdict::Fresh`].
    pub fn commit(&mut self, number: PacketNumber) -> Verdict {
        let verdict = self.check(number);
        let n = number.get();
        // The last representable number has no successor; it is beyond what a lane may use.
        if verdict != Verdict::Fresh || n == u64::MAX {
            return verdict;
        }
        if n >= self.end {
            self.advance(n);
        }
        let (word, bit) = self.slot(n);
        self.words[word] |= bit;
        verdict
    }

    /// Clears the words between the old largest number and `n`: each word once per lap, so
    /// constant time per number over a run.
    fn advance(&mut self, n: u64) {
        let ring = self.ring();
        let newest = self.end.saturating_sub(1) / WORD_BITS;
        let steps = (n / WORD_BITS - newest).min(ring);
        let target = n / WORD_BITS;
        for back in 0..steps {
            let index = self.index(target - back);
            self.words[index] = 0;
        }
        self.end = n + 1;
    }

    fn slot(&self, n: u64) -> (usize, u64) {
        (self.index(n / WORD_BITS), 1 << (n % WORD_BITS))
    }

    fn index(&self, word: u64) -> usize {
        usize::try_from(word % self.ring()).unwrap_or(usize::MAX)
    }

    const fn ring(&self) -> u64 {
        self.words.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn number(n: u64) -> PacketNumber {
        PacketNumber::new(n)
    }

    /// The same promise kept the slow way.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn check(&self, n: u64, size: u64) -> Verdict {
            match self.seen.last() {
                Some(&largest) if n <= largest && largest - n >= size => Verdict::TooOld,
                _ if self.seen.contains(&n) => Verdict::Duplicate,
                _ => Verdict::Fresh,
            }
        }
    }

    #[test]
    fn a_number_is_fresh_once() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.largest(), None);
        assert_eq!(window.commit(number(0)), Verdict::Fresh);
        assert_eq!(window.commit(number(0)), Verdict::Duplicate);
        assert_eq!(window.largest(), Some(number(0)));
    }

    #[test]
    fn checking_moves_nothing() {
        let mut window = ReplayWindow::new(64);
        window.commit(number(10));
        assert_eq!(window.check(number(1 << 40)), Verdict::Fresh);
        assert_eq!(window.check(number(9)), Verdict::Fresh);
        assert_eq!(window.largest(), Some(number(10)));
    }

    #[test]
    fn the_window_is_exactly_as_wide_as_asked_for() {
        let mut window = ReplayWindow::new(100);
        window.commit(number(1000));
        assert_eq!(window.check(number(901)), Verdict::Fresh);
        assert_eq!(window.check(number(900)), Verdict::TooOld);
    }

    #[test]
    fn a_jump_far_ahead_forgets_the_old_window() {
        let mut window = ReplayWindow::new(128);
        (0..128).for_each(|n| {
            window.commit(number(n));
        });
        window.commit(number(1 << 50));
        let tail = (1 << 50) - 127..1 << 50;
        assert!(tail.clone().all(|n| window.check(number(n)) == Verdict::Fresh));
    }

    #[test]
    fn the_last_number_of_all_is_never_committed() {
        let mut window = ReplayWindow::new(64);
        window.commit(number(u64::MAX));
        assert_eq!(window.largest(), None);
        assert_eq!(window.commit(number(u64::MAX - 1)), Verdict::Fresh);
        assert_eq!(window.commit(number(u64::MAX - 1)), Verdict::Duplicate);
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(
            size in 1u64..400,
            steps in proptest::collection::vec((-500i64..500, any::<bool>()), 1..600),
        ) {
            let mut window = ReplayWindow::new(size);
            let mut model = Model::default();
            let mut at = 0u64;
            for (step, authentic) in steps {
                at = at.saturating_add_signed(step);
                let expected = model.check(at, size);
                prop_assert_eq!(window.check(number(at)), expected);
                if authentic {
                    prop_assert_eq!(window.commit(number(at)), expected);
                    if expected == Verdict::Fresh {
                        model.seen.insert(at);
                    }
                }
                prop_assert_eq!(window.largest().map(PacketNumber::get), model.seen.last().copied());
            }
        }
    }
}
