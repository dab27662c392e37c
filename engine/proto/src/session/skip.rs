//! Packet numbers that are skipped on purpose: a receiver that acknowledges one is lying.
//!
//! spec: W-049

/// One number in this many is skipped, on average.
const PERIOD: u64 = 1024;

/// Decides which numbers to skip; seeded, so that the simulator repeats it.
#[derive(Clone, Debug)]
pub(super) struct SkipPlan {
    state: u64,
    countdown: u64,
}

impl SkipPlan {
    /// A plan drawn from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        let mut plan = Self { state: seed, countdown: 0 };
        plan.countdown = plan.draw();
        plan
    }

    /// True when the next number should be skipped.
    pub(super) fn take(&mut self) -> bool {
        if self.countdown > 0 {
            self.countdown -= 1;
            return false;
        }
        self.countdown = self.draw();
        true
    }

    /// Uniform in half to three halves of the period (splitmix64).
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        PERIOD / 2 + (z ^ (z >> 31)) % PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_number_in_a_period_is_skipped() {
        let mut plan = SkipPlan::new(7);
        let skipped = (0..PERIOD * 100).filter(|_| plan.take()).count();
        assert!((80..125).contains(&skipped), "{skipped}");
    }
}
