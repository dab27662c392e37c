//! How much redundancy: pure functions from a loss estimate to a number of repair symbols.
//!
//! The law of the sender's bets, not the decision to bet. Its caller spends nothing while queue
//! delay shows congestion, and paces and counts repair symbols like any data, so that a repaired
//! loss is never hidden from the rate controller.
//!
//! Losses come in runs. How many runs begin among n packets follows from those seen before (a
//! negative binomial distribution: so little evidence means a wide spread), how long they are is
//! geometric with the measured mean B. The sum, the number of losses L, has the generating function
//!
//! ```text
//! ((1 - t z) / (1 + b - (t + b) z))^a     a = runs seen + 1/2,  b = n / (packets seen + 50)
//!                                         t = 1 - 1/B
//! ```
//!
//! and m symbols go on top of K for the smallest m with, over n = K + m packets and h = 1 (the
//! overhead at which RaptorQ fails less than once in 10^4 blocks),
//!
//! ```text
//! P(L > m - h) <= 1 %    and    P(L = m - h + 1) x (packets of the time that a repair would cost) < 1
//! ```
//!
//! The first is 20 % for repairs while so much is left to be sent that another round costs the job no
//! time. The second says that one more symbol is worth its time: it takes one packet's time, and
//! saves up to a round trip with that chance. So a fast long path gets more than a thin one, and a tail of many
//! blocks more for each of them. spec: W-121

use crate::units::Ratio;
use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Chance of failure that is accepted at most, whatever a symbol costs.
const FAILURE_MAX: f64 = 0.01;
/// The same while so much is left to be sent that one more round costs the job no time.
const FAILURE_IN_TIME_MAX: f64 = 0.2;
/// Symbols beyond K at which a decode is all but certain.
const OVERHEAD: u32 = 1;
/// Fewer than these are of no use: one that is lost needs one more, and the overhead.
const SPARE_MIN: u32 = 1 + OVERHEAD;
/// What is taken for seen before anything was: half a run in so many packets.
const UNSEEN_RUNS: f64 = 0.5;
const UNSEEN_PACKETS: f64 = 50.0;
/// With less evidence than so many packets, at most an eighth of the block is bet.
const THIN_EVIDENCE: f64 = 64.0;
/// Sums beyond this are scaled down.
const SCALE_AT: f64 = 1e200;

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
    /// Packets that this stands on; infinite if no loss is to be feared.
    pub packets: f64,
    /// Mean length of a run of lost packets; below 1 counts as 1.
    pub run: f64,
}

/// What the repair symbols are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A block whose first pass ends should arrive without a second round trip.
    Ahead,
    /// A block lacks this many symbols after a repair round; one more round should do.
    Deficit {
        /// Symbols that the receiver needs to have K.
        missing: u32,
    },
}

/// Repair symbols to send at once for a block of `k` source symbols, where one more round would cost
/// the time of `trip` packets.
///
/// At most k/2 (rounded up, and at least two: one alone decodes nothing) beyond what is known to be
/// missing. Zero when nothing is missing and no loss is to be feared.
pub fn proactive(k: u32, loss: LossEstimate, trip: f64, goal: Goal) -> u32 {
    let most = k.div_ceil(2).max(SPARE_MIN);
    match goal {
        Goal::Ahead if loss.packets < THIN_EVIDENCE => {
            spare(k, loss, trip, k.div_ceil(8).max(SPARE_MIN))
        }
        Goal::Ahead => spare(k, loss, trip, most),
        Goal::Deficit { missing: 0 } => 0,
        Goal::Deficit { missing } => {
            let spare = spare(missing, loss, trip, most);
            missing.saturating_add(spare.max(SPARE_MIN))
        }
    }
}

/// The smallest m of the law for `needed` symbols, at most `most`.
fn spare(needed: u32, loss: LossEstimate, trip: f64, most: u32) -> u32 {
    let mut spare = 0;
    // The spare symbols are lost like others: two or three turns settle it.
    for _ in 0..4 {
        let lost = covered(f64::from(needed) + f64::from(spare), loss, trip, most);
        let wanted = if lost == 0 { 0 } else { lost.saturating_add(OVERHEAD).min(most) };
        if wanted == spare {
            break;
        }
        spare = wanted;
    }
    spare
}

/// So many losses among `packets` the law covers, but not more than `most`.
fn covered(packets: f64, loss: LossEstimate, trip: f64, most: u32) -> u32 {
    let run = loss.run.max(1.0).min(packets.max(1.0));
    if !loss.packets.is_finite() {
        return 0;
    }
    let seen = loss.packets.max(0.0);
    let runs = loss.mean.get() * seen / run + UNSEEN_RUNS;
    let spread = packets / (seen + UNSEEN_PACKETS);
    let (stay, more) = (1.0 - 1.0 / run, (1.0 - 1.0 / run + spread) / (1.0 + spread));
    // P(L = 0) underflows for large means: the sequence is scaled, and `scale` is the logarithm.
    let mut scale = -runs * spread.ln_1p();
    let accepted = if trip > 0.0 { FAILURE_MAX } else { FAILURE_IN_TIME_MAX };
    let (mut before, mut here, mut sum) = (0.0_f64, 1.0_f64, 1.0_f64);
    for lost in 0..most {
        let n = f64::from(lost);
        let ahead = ((more + stay) * n + runs * (more - stay)) * here
            - stay * more * (n - 1.0).max(0.0) * before;
        let next = ahead.max(0.0) / (n + 1.0);
        let left = 1.0 - (scale + sum.ln()).exp();
        if left <= accepted && (scale + next.ln()).exp() * trip < 1.0 {
            return lost;
        }
        (before, here, sum) = (here, next, sum + next);
        if sum > SCALE_AT {
            (before, here, sum) = (before / SCALE_AT, here / SCALE_AT, sum / SCALE_AT);
            scale += SCALE_AT.ln();
        }
    }
    most
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

    /// Packets of a round trip: 100 Mbit/s x 200 ms, and a thin path.
    const LONG: f64 = 1700.0;
    const THIN: f64 = 17.0;

    fn known(mean: f64) -> LossEstimate {
        LossEstimate { mean: Ratio::new(mean), packets: 1e9, run: 1.0 }
    }

    fn sampled(mean: f64, packets: f64) -> LossEstimate {
        LossEstimate { packets, ..known(mean) }
    }

    fn ahead(k: u32, loss: LossEstimate, trip: f64) -> u32 {
        proactive(k, loss, trip, Goal::Ahead)
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
    fn on_a_long_path_about_one_block_in_a_thousand_fails() {
        for (k, row) in NEEDED {
            for (needed, loss) in row.into_iter().zip(LOSSES) {
                let m = ahead(k, known(loss), LONG);
                let expected = needed.min(k.div_ceil(2).max(SPARE_MIN));
                let slack = 2.max(expected * 9 / 100);
                assert!(m.abs_diff(expected) <= slack, "{m} for {k}, {loss}: table {expected}");
            }
        }
    }

    #[test]
    fn a_thin_path_gets_less_but_fails_once_in_a_hundred_at_most() {
        for (k, _) in NEEDED.into_iter().filter(|&(k, _)| k > 10) {
            for loss in LOSSES {
                let (thin, long) = (ahead(k, known(loss), THIN), ahead(k, known(loss), LONG));
                assert!(thin < long, "{k}, {loss}: {thin}, {long}");
                assert!(failure(k, thin, loss) < 0.01, "{k}, {loss}: {thin}");
            }
        }
    }

    #[test]
    fn what_is_known_from_few_packets_is_trusted_less() {
        for (k, _) in NEEDED.into_iter().filter(|&(k, _)| k > 10) {
            for loss in LOSSES {
                let m = ahead(k, sampled(loss, 1000.0), LONG);
                assert!(m >= ahead(k, known(loss), LONG), "{k}, {loss}: {m}");
            }
        }
        assert!(ahead(1000, sampled(0.02, 200.0), LONG) > 45);
    }

    /// Packets lost of `n` in a row, in runs of mean length `run`, as a chain of two states.
    fn draw(n: u32, loss: f64, run: f64, random: &mut impl FnMut() -> f64) -> u32 {
        let mut bad = random() < loss;
        let step = |_| {
            let leave = if bad { 1.0 / run } else { loss / (run * (1.0 - loss)) };
            bad ^= random() < leave;
            u32::from(bad)
        };
        (0..n).map(step).sum()
    }

    #[test]
    fn losses_in_runs_fail_as_rarely() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        for (k, loss, run) in [(47, 0.02, 2.0), (746, 0.02, 10.0), (998, 0.05, 10.0)] {
            let m = ahead(k, LossEstimate { run, ..known(loss) }, LONG);
            let failed = |_: &u32| draw(k + m, loss, run, &mut random) + OVERHEAD > m;
            let failures = (0..2_000).filter(failed).count();
            assert!(failures < 20, "{failures} of 2000 with {m} for {k}, {loss}, {run}");
            assert!(m < k / 5 || k == 47, "{m} for {k}, {loss}, {run}");
        }
    }

    #[test]
    fn nearly_nothing_known_costs_an_eighth_at_most() {
        assert_eq!(ahead(47, sampled(0.0, 4.0), LONG), 6);
        assert_eq!(ahead(47, sampled(1.0, 1.0), LONG), 6);
    }

    #[test]
    fn a_deficit_is_over_provisioned_against_loss_in_turn() {
        let deficit = |missing, mean| proactive(998, known(mean), LONG, Goal::Deficit { missing });
        assert_eq!(deficit(0, 0.0), 0);
        assert_eq!(deficit(1, 0.0), 3);
        assert!((120..135).contains(&deficit(100, 0.1)), "{}", deficit(100, 0.1));
    }

    #[test]
    fn a_clean_path_gets_no_redundancy() {
        let clean = sampled(0.0, f64::INFINITY);
        assert_eq!(ahead(998, clean, 1e9), 0);
        assert_eq!(ahead(1, clean, 1e9), 0);
    }

    #[test]
    fn one_packet_gets_two_more_where_loss_is_known() {
        assert_eq!(ahead(1, known(0.02), LONG), 2);
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
            k in 0u32..5000, mean in -0.5f64..1.5, packets in prop::num::f64::ANY,
            run in prop::num::f64::ANY, trip in prop::num::f64::ANY, missing in 0u32..5000,
        ) {
            let loss = LossEstimate { mean: Ratio::new(mean), packets, run };
            prop_assert!(ahead(k, loss, trip) <= k.div_ceil(2).max(SPARE_MIN));
            let deficit = proactive(k, loss, trip, Goal::Deficit { missing });
            prop_assert!(deficit >= missing && deficit <= missing + k.div_ceil(2).max(SPARE_MIN));
        }

        #[test]
        fn more_loss_never_means_less_redundancy(k in 1u32..4097, a in 0.0f64..0.5, b in 0.0f64..0.5) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(ahead(k, known(low), LONG) <= ahead(k, known(high), LONG));
        }
    }
}
