//! The seeded generator behind every random choice of the virtual world.
//!
//! xoshiro256++ (Blackman and Vigna, 2019) seeded through splitmix64. It is fast and repeatable
//! on every platform; it is not fit for secrets.

/// A repeatable stream of numbers; the same seed gives the same stream everywhere.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose whole stream follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Self { state: [splitmix(&mut s), splitmix(&mut s), splitmix(&mut s), splitmix(&mut s)] }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn f64(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// A number in `0 .. n`; zero when `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        // Multiply-shift: the bias is below n / 2^64, which no simulation can see.
        let wide = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.f64() < p
    }

    /// An independent generator that follows from this one's state and `label`. The parent's
    /// stream is not advanced: adding a fork somewhere does not disturb the others.
    pub fn fork(&self, label: &str) -> Self {
        // FNV-1a over the label, mixed with the state.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self::new(self.state[0] ^ self.state[2].rotate_left(32) ^ hash)
    }
}

/// A number in `[0, 1)` that follows from `(seed, index)` alone: random access into a stream.
pub(crate) fn at(seed: u64, index: u64) -> f64 {
    let mut s = seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    splitmix(&mut s);
    unit(splitmix(&mut s))
}

#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

fn splitmix(s: &mut u64) -> u64 {
    *s = s.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *s;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_stream() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn forks_differ_by_label_and_leave_the_parent_alone() {
        let mut parent = Rng::new(1);
        let (mut a, mut b) = (parent.fork("loss"), parent.fork("jitter"));
        assert_ne!(a.next_u64(), b.next_u64());
        assert_eq!(parent.next_u64(), Rng::new(1).next_u64());
    }

    #[test]
    fn floats_are_uniform_and_below_one() {
        let mut rng = Rng::new(3);
        let mut tenths = [0u32; 10];
        for _ in 0..100_000 {
            let x = rng.f64();
            assert!((0.0..1.0).contains(&x));
            let tenth = (1..10).filter(|t| x >= f64::from(*t) / 10.0).count();
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|n| (9_600..10_400).contains(n)), "{tenths:?}");
    }

    #[test]
    fn below_covers_its_range_and_nothing_else() {
        let mut rng = Rng::new(4);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[usize::try_from(rng.below(7)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(rng.below(0), 0);
    }
}
