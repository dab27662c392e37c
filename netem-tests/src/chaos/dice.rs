//! Seeded choices: the same seed makes the same ones.

use std::time::Duration;

/// A generator of choices (splitmix64); not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The choices of `seed`; those of `stream` are independent of other streams.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        // Neighbouring seeds differ in a bit only.
        dice.roll();
        dice
    }

    /// 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 to `n` - 1; 0 of nothing.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        usize::try_from(self.roll() % n).unwrap_or_default()
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so many times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `among`; `None` of nothing.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len()))
    }

    /// A span between two.
    pub fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |span: Duration| usize::try_from(span.as_millis()).unwrap_or(usize::MAX);
        Duration::from_millis(self.between(millis(least), millis(most)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_and_streams_choose_alike_and_others_do_not() {
        let rolls = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            [0; 4].map(|_| dice.roll())
        };
        assert_eq!(rolls(1, 2), rolls(1, 2));
        assert_ne!(rolls(1, 2), rolls(1, 3));
        assert_ne!(rolls(1, 2), rolls(2, 2));
    }

    #[test]
    fn choices_keep_their_bounds() {
        let mut dice = Dice::new(7, 0);
        for _ in 0..1000 {
            assert!((3..=5).contains(&dice.between(3, 5)));
        }
        assert_eq!(dice.pick::<u8>(&[]), None);
        assert!(!dice.chance(0) && dice.chance(100));
    }
}
