//! Whether a path stopped carrying large packets, told apart from plain loss by a test.
//!
//! A suspicion (large packets lost in a row, none arrived since) begins a trial: padding packets of
//! every smaller size and of the present one, the large one, leave at short intervals beside everything else. If size does not matter,
//! all packets of the trial have the same chance to arrive, whatever the loss is. Of `S` small and
//! `L` large packets whose fate is known, `s` arrived, all of them small; the chance of that is
//!
//! ```text
//! P = C(S, s) / C(S + L, s)          (Fisher's exact test, given that s arrived)
//! ```
//! A hole is declared below 1e-9, and a large packet of the trial that arrives ends it. Never a count
//! of losses. spec: W-077

use crate::units::Timestamp;
use core::time::Duration;

/// Large packets lost in a row that make a trial worth while.
const SUSPICIOUS: u32 = 8;
/// Probability, for one trial, of taking plain loss for a hole.
pub const FALSE_POSITIVES: f64 = 1e-9;
/// Time between two pairs: 1 Mbit/s for the usual sizes.
const PAIR_EVERY: Duration = Duration::from_millis(20);
/// Pairs of a trial. Without loss 17 are enough, with 30 % loss about 26.
const PAIRS_MAX: u32 = 64;
/// A trial that came to nothing by then is over.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// Small or large, as far as the test is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Smaller than what is in use.
    Small,
    /// What is in use.
    Large,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    from: Timestamp,
    pairs: u32,
    next_pair: Timestamp,
    small_arrived: u32,
    small_lost: u32,
    large_lost: u32,
}

impl Trial {
    /// The chance of what was seen if size does not matter.
    fn chance(&self) -> f64 {
        let (small, all) = (self.small_arrived + self.small_lost, self.large_lost);
        let all = small + all;
        (0..self.small_arrived).map(|i| f64::from(small - i) / f64::from(all - i)).product()
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct HoleTest {
    /// When the newest large packet left that arrived.
    arrived: Timestamp,
    /// Large packets that left later and are lost.
    lost: u32,
    trial: Option<Trial>,
}

impl HoleTest {
    /// A packet that left at `sent_at` arrived.
    pub fn on_arrived(&mut self, size: Size, sent_at: Timestamp) {
        let in_trial = |trial: &&mut Trial| sent_at >= trial.from;
        match size {
            Size::Large => {
                if sent_at >= self.arrived {
                    self.arrived = sent_at;
                    self.lost = 0;
                }
                self.trial.take_if(|trial| sent_at >= trial.from);
            }
            Size::Small => {
                if let Some(trial) = self.trial.as_mut().filter(in_trial) {
                    trial.small_arrived += 1;
                }
            }
        }
    }

    /// A packet that left at `sent_at` is lost.
    pub fn on_lost(&mut self, size: Size, sent_at: Timestamp) {
        let trial = self.trial.as_mut().filter(|trial| sent_at >= trial.from);
        match (size, trial) {
            (Size::Small, Some(trial)) => trial.small_lost += 1,
            (Size::Large, Some(trial)) => trial.large_lost += 1,
            (Size::Large, None) if sent_at > self.arrived => self.lost += 1,
            _ => {}
        }
    }

    /// Begins or ends a trial as the losses so far demand it, once a report was taken in; true if one
    /// begins.
    pub fn review(&mut self, now: Timestamp) -> bool {
        if self.trial.take_if(|trial| now.since(trial.from) > TRIAL_MAX).is_some() {
            self.lost = 0;
        }
        let begins = self.trial.is_none() && self.lost >= SUSPICIOUS;
        if begins {
            let (pairs, next_pair) = (0, now);
            let (small_arrived, small_lost, large_lost) = (0, 0, 0);
            let fresh =
                Trial { from: now, pairs, next_pair, small_arrived, small_lost, large_lost };
            self.trial = Some(fresh);
        }
        begins
    }

    /// True for packets of the trial at hand.
    pub fn tries(&self, sent_at: Timestamp) -> bool {
        self.trial.is_some_and(|trial| sent_at >= trial.from)
    }

    /// True once large packets are known not to pass any more.
    pub fn is_hole(&self) -> bool {
        self.trial.is_some_and(|trial| trial.chance() < FALSE_POSITIVES)
    }

    /// True for the loss of a large packet that may have been too large.
    pub fn doubts(&self, sent_at: Timestamp) -> bool {
        self.trial.is_some() && sent_at > self.arrived
    }

    /// When the newest large packet left that is known to have arrived.
    pub const fn arrived(&self) -> Timestamp {
        self.arrived
    }

    /// True if a pair of probes is to leave now.
    pub fn take_pair(&mut self, now: Timestamp) -> bool {
        let due = |trial: &&mut Trial| trial.pairs < PAIRS_MAX && trial.next_pair <= now;
        let Some(trial) = self.trial.as_mut().filter(due) else { return false };
        trial.pairs += 1;
        trial.next_pair = now + PAIR_EVERY;
        true
    }

    /// When the next pair is due.
    pub fn next_pair(&self) -> Option<Timestamp> {
        self.trial.filter(|trial| trial.pairs < PAIRS_MAX).map(|trial| trial.next_pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of both sizes over a path that loses `small` and `large` of them, in bursts of `run`;
    /// every packet's fate is known 100 ms later. Large ones leave every millisecond. Answers after
    /// how many large packets a hole was declared.
    struct Path {
        small: f64,
        large: f64,
        run: f64,
        state: u64,
        bad: bool,
    }

    impl Path {
        fn new(small: f64, large: f64, run: f64, seed: u64) -> Self {
            Self { small, large, run, state: seed.wrapping_mul(2).wrapping_add(1), bad: false }
        }

        /// Uniform in 0 .. 1 (splitmix64).
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        fn draw(&mut self) -> f64 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn loses(&mut self, size: Size) -> bool {
            let loss = if size == Size::Small { self.small } else { self.large };
            if loss >= 1.0 {
                return true;
            }
            // Gilbert: runs of mean length `run`, so much lost in the long run.
            let turn = if self.bad { 1.0 / self.run } else { loss / (1.0 - loss) / self.run };
            if self.draw() < turn {
                self.bad = !self.bad;
            }
            self.bad
        }

        fn declares_hole(&mut self, packets: u64) -> Option<u64> {
            let mut test = HoleTest::default();
            let mut flying = std::collections::VecDeque::new();
            for n in 0..packets {
                let now = Timestamp::from_millis(1_000 + n);
                flying.push_back((now, Size::Large));
                if test.take_pair(now) {
                    flying.extend([(now, Size::Small), (now, Size::Large)]);
                }
                let known = |&mut (at, _): &mut (Timestamp, Size)| {
                    now.since(at) >= Duration::from_millis(100)
                };
                while let Some((at, size)) = flying.pop_front_if(known) {
                    if self.loses(size) {
                        test.on_lost(size, at);
                    } else {
                        test.on_arrived(size, at);
                    }
                }
                test.review(now);
                if test.is_hole() {
                    return Some(n);
                }
            }
            None
        }
    }

    /// spec: W-077
    #[test]
    fn plain_loss_is_never_taken_for_a_hole() {
        for (seed, (loss, run)) in (0..).zip([
            (0.0, 1.0),
            (0.02, 1.0),
            (0.1, 1.0),
            (0.2, 1.0),
            (0.3, 1.0),
            (0.3, 1.5),
            (0.05, 10.0),
            (0.2, 10.0),
            (0.3, 20.0),
            (0.3, 50.0),
        ]) {
            let found = Path::new(loss, loss, run, seed).declares_hole(1_000_000);
            assert_eq!(found, None, "{loss} in runs of {run}");
        }
    }

    /// spec: W-077
    #[test]
    fn a_hole_is_found_soon_whatever_is_lost_besides() {
        for (loss, most) in [(0.0, 600), (0.1, 700), (0.3, 1_000), (0.5, 2_000)] {
            let found = Path::new(loss, 1.0, 1.0, 5).declares_hole(5_000);
            assert!(found.is_some_and(|n| n < most), "{loss}: {found:?} ms");
        }
    }

    #[test]
    fn a_path_that_is_down_for_all_sizes_is_no_hole() {
        assert_eq!(Path::new(1.0, 1.0, 1.0, 5).declares_hole(100_000), None);
    }

    #[test]
    fn the_chance_is_that_of_the_exact_test() {
        let trial = |small_arrived, small_lost, large_lost| {
            let at = Timestamp::ZERO;
            let pairs = 0;
            Trial { from: at, pairs, next_pair: at, small_arrived, small_lost, large_lost }.chance()
        };
        // C(3, 2) / C(6, 2) = 3 / 15.
        assert!((trial(2, 1, 3) - 0.2).abs() < 1e-12);
        assert!((trial(0, 9, 9) - 1.0).abs() < 1e-12);
        assert!(trial(16, 0, 16) > FALSE_POSITIVES && trial(17, 0, 17) < FALSE_POSITIVES);
    }
}
