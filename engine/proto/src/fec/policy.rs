//! How much redundancy: pure functions from a loss estimate to a number of repair symbols.
//!
//! The law of the sender's bets, not the decision to bet. Its caller spends nothing while queue
//! delay shows congestion, and paces and counts repair symbols like any data, so that a repaired
//! loss is never hidden from the rate controller.
//!
//! Before any loss is known, m symbols on top of K are sent at once, with
//!
//! ```text
//! m = ceil( K p+ / (1 - p+)  +  z sqrt(K p (1 - p) (2 B - 1))  +  h )
//! ```
//!
//! where p is the mean loss and p+ its upper 80 % bound, B the mean run of lost packets and
//! h = 1, the overhead at which RaptorQ fails less than once in 10^4 blocks. The first term is
//! the expected loss, the second its spread: run lengths multiply the variance of the number of
//! lost packets by about 2 B - 1. When a deficit is known, m = deficit / (1 - p) + 2 sqrt(deficit) + 2.

use crate::units::Ratio;
use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Spread covered for small objects: one failure in about 1000.
const Z_SMALL: f64 = 3.1;
/// Spread covered for the tail of a job: one failure in about 100.
const Z_TAIL: f64 = 2.3;
/// Symbols beyond K at which a decode is all but certain.
const OVERHEAD: f64 = 1.0;

/// Whether repair symbols are sent; the `fec` key of a job's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FecPolicy {
    /// Where they buy time: small objects, the tail of a job, blocks that failed a repair round.
    #[default]
    #[n(0)]
    Auto,
    /// Never: exact repair only.
    #[n(1)]
    Off,
    /// With every block, whatever it costs in CPU.
    #[n(2)]
    Always,
}

/// The word is none of `auto`, `off`, `always`: the user's or the configuration's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the FEC policy is one of auto, off, always")]
pub struct UnknownPolicy;

impl FromStr for FecPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "always" => Ok(Self::Always),
            _ => Err(UnknownPolicy),
        }
    }
}

impl fmt::Display for FecPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Always => "always",
        })
    }
}

/// What is known of a path's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossEstimate {
    /// Mean share of packets lost.
    pub mean: Ratio,
    /// Upper 80 % bound of that share; above the mean by what the sample leaves open.
    pub upper80: Ratio,
    /// Mean length of a run of lost packets; below 1 counts as 1.
    pub run: f64,
}

/// What the repair symbols are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A small object should arrive without a second round trip.
    Small,
    /// The last window of a job should.
    Tail,
    /// A block lacks this many symbols after a repair round; one more round should do.
    Deficit {
        /// Symbols that the receiver needs to have K.
        missing: u32,
    },
}

/// Repair symbols to send at once for a block of `k` source symbols.
///
/// At most k/2 (rounded up) beyond what is known to be missing. Zero when no loss is known and
/// none is to be feared.
pub fn proactive(k: u32, loss: LossEstimate, goal: Goal) -> u32 {
    let (wanted, known) = match goal {
        Goal::Small => (ahead(k, loss, Z_SMALL), 0),
        Goal::Tail => (ahead(k, loss, Z_TAIL), 0),
        Goal::Deficit { missing } => (for_deficit(missing, loss.mean), missing),
    };
    wanted.min(known.saturating_add(k.div_ceil(2)))
}

/// Redundancy sent before any loss is known.
fn ahead(k: u32, loss: LossEstimate, z: f64) -> u32 {
    let (k, mean, upper) = (f64::from(k), loss.mean.get(), loss.upper80.get().max(loss.mean.get()));
    if upper <= 0.0 {
        return 0;
    }
    let expected = k * upper / (1.0 - upper);
    // A run cannot be longer than the block; this also keeps infinity out of the sum.
    let run = loss.run.max(1.0).min(k.max(1.0));
    let spread = (k * mean * (1.0 - mean) * (2.0 * run - 1.0)).sqrt();
    round_up(expected + z * spread + OVERHEAD)
}

/// Symbols that cover a known deficit although they are lost in turn.
fn for_deficit(missing: u32, mean: Ratio) -> u32 {
    if missing == 0 {
        return 0;
    }
    let missing = f64::from(missing);
    round_up(missing / (1.0 - mean.get()) + 2.0 * missing.sqrt() + 2.0)
}

/// The next whole number; saturates.
fn round_up(symbols: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate; the law yields no negative numbers and no NaN"
    )]
    let whole = symbols.ceil() as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Repair symbols needed for a failure rate below 10^-3, computed from the exact binomial
    /// distribution for independent losses at 1, 2, 5 and 10 %.
    const NEEDED: [(u32, [u32; 4]); 5] = [
        (10, [3, 4, 5, 7]),
        (45, [5, 6, 10, 15]),
        (256, [10, 15, 28, 49]),
        (1024, [23, 38, 80, 151]),
        (4096, [64, 115, 265, 527]),
    ];
    const LOSSES: [f64; 4] = [0.01, 0.02, 0.05, 0.10];

    fn known(mean: f64) -> LossEstimate {
        LossEstimate { mean: Ratio::new(mean), upper80: Ratio::new(mean), run: 1.0 }
    }

    /// What an estimator knows after `packets` packets: the normal 80 % bound above the mean.
    fn sampled(mean: f64, packets: f64) -> LossEstimate {
        let upper = mean + 0.842 * (mean * (1.0 - mean) / packets).sqrt();
        LossEstimate { upper80: Ratio::new(upper), ..known(mean) }
    }

    /// Probability that fewer than `k + 1` of `k + m` packets arrive.
    fn failure(k: u32, m: u32, loss: f64) -> f64 {
        let sent = f64::from(k + m);
        let mut term = (1.0 - loss).powf(sent); // P(no packet lost)
        let mut enough = 0.0;
        for lost in 0..m {
            enough += term;
            let lost = f64::from(lost);
            term *= (sent - lost) / (lost + 1.0) * loss / (1.0 - loss);
        }
        1.0 - enough
    }

    #[test]
    fn the_table_of_needed_symbols_is_exact() {
        for (k, row) in NEEDED {
            for (needed, loss) in row.into_iter().zip(LOSSES) {
                assert!(failure(k, needed, loss) < 1.05e-3, "{needed} are too few for {k}, {loss}");
                assert!(failure(k, needed - 1, loss) > 0.9e-3, "{needed} too many for {k}, {loss}");
            }
        }
    }

    #[test]
    fn small_objects_follow_the_table_when_the_loss_is_known_exactly() {
        for (k, row) in NEEDED {
            for (needed, loss) in row.into_iter().zip(LOSSES) {
                let m = proactive(k, known(loss), Goal::Small);
                let expected = needed.min(k.div_ceil(2));
                let slack = 2.max(expected * 9 / 100);
                assert!(m.abs_diff(expected) <= slack, "{m} for {k}, {loss}: table {expected}");
            }
        }
    }

    #[test]
    fn a_sampled_loss_rate_fails_rarely_once_blocks_are_not_tiny() {
        for (k, _) in NEEDED.into_iter().filter(|&(k, _)| k > 10) {
            for loss in LOSSES {
                let small = proactive(k, sampled(loss, 1000.0), Goal::Small);
                let tail = proactive(k, sampled(loss, 1000.0), Goal::Tail);
                assert!(tail <= small);
                assert!(failure(k, small, loss) < 5e-3, "{k}, {loss}: {small}");
                assert!(failure(k, tail, loss) < 2e-2, "{k}, {loss}: {tail}");
            }
        }
    }

    #[test]
    fn bursts_raise_the_spread_as_the_table_says() {
        for (run, expected) in [(1.0, 37), (2.0, 47), (5.0, 64), (10.0, 83), (50.0, 161)] {
            let m = proactive(1024, LossEstimate { run, ..known(0.02) }, Goal::Small);
            assert!(m.abs_diff(expected) <= 1, "{m} for runs of {run}: table {expected}");
        }
    }

    #[test]
    fn a_deficit_is_over_provisioned_against_loss_in_turn() {
        assert_eq!(proactive(998, known(0.0), Goal::Deficit { missing: 0 }), 0);
        assert_eq!(proactive(998, known(0.0), Goal::Deficit { missing: 1 }), 5);
        assert_eq!(proactive(998, known(0.1), Goal::Deficit { missing: 100 }), 134);
    }

    #[test]
    fn a_clean_path_gets_no_redundancy() {
        assert_eq!(proactive(998, known(0.0), Goal::Tail), 0);
        assert_eq!(proactive(1, known(0.0), Goal::Small), 0);
    }

    #[test]
    fn one_packet_gets_one_more_where_loss_is_known() {
        assert_eq!(proactive(1, known(0.02), Goal::Small), 1);
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for policy in [FecPolicy::Auto, FecPolicy::Off, FecPolicy::Always] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("Auto".parse::<FecPolicy>(), Err(UnknownPolicy));
    }

    proptest! {
        #[test]
        fn redundancy_is_bounded_by_half_the_block_beyond_the_deficit(
            k in 0u32..5000, mean in -0.5f64..1.5, upper in -0.5f64..1.5,
            run in prop::num::f64::ANY, missing in 0u32..5000,
        ) {
            let loss = LossEstimate { mean: Ratio::new(mean), upper80: Ratio::new(upper), run };
            prop_assert!(proactive(k, loss, Goal::Small) <= k.div_ceil(2));
            prop_assert!(proactive(k, loss, Goal::Tail) <= proactive(k, loss, Goal::Small));
            let deficit = proactive(k, loss, Goal::Deficit { missing });
            prop_assert!(deficit >= missing && deficit <= missing + k.div_ceil(2));
        }

        #[test]
        fn more_loss_never_means_less_redundancy(k in 1u32..4097, a in 0.0f64..0.5, b in 0.0f64..0.5) {
            let (low, high) = (a.min(b), a.max(b));
            let (few, many) = (known(low), known(high));
            prop_assert!(proactive(k, few, Goal::Small) <= proactive(k, many, Goal::Small));
        }
    }
}
