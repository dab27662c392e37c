//! The division of one rate beside one that gives bit by bit, and beside exact fractions.

use crate::shares::Weight;
use crate::shares::fill::{Fraction, Want, fill};
use proptest::prelude::*;

fn weight(n: u32) -> Weight {
    Weight::new(n).expect("not zero")
}

fn want(n: u32, least: u64, most: u64) -> Want {
    Want { weight: weight(n), least, most: most.max(least) }
}

/// What is meant, as it is said: a bit at a time.
fn bit_by_bit(rate: u64, wants: &[Want]) -> Vec<u64> {
    let mut given: Vec<u64> = wants.iter().map(|want| want.least).collect();
    let mut rest = rate - given.iter().sum::<u64>();
    while rest > 0 {
        let open = (0..wants.len()).filter(|&at| given[at] < wants[at].most);
        let next = open.min_by_key(|&at| Fraction::of(given[at] + 1, wants[at].weight));
        let Some(at) = next else { break };
        given[at] += 1;
        rest -= 1;
    }
    given
}

fn small() -> impl Strategy<Value = Want> {
    (1..9_u32, 0..12_u64, 0..60_u64).prop_map(|(n, least, more)| want(n, least, least + more))
}

fn any_want() -> impl Strategy<Value = Want> {
    let number = prop_oneof![any::<u64>(), 0..1000_u64, Just(u64::MAX), Just(0)];
    (prop_oneof![1..10_u32, 1..=u32::MAX], prop_oneof![Just(0), number.clone()], number)
        .prop_map(|(n, least, most)| want(n, least, most))
}

fn sum(given: &[u64]) -> u128 {
    given.iter().map(|&given| u128::from(given)).sum()
}

#[test]
fn weights_of_5_3_and_1_get_so_much() {
    let wants = [5, 3, 1].map(|n| want(n, 0, u64::MAX));
    assert_eq!(fill(900, &wants), [500, 300, 100]);
    assert_eq!(fill(901, &wants), [501, 300, 100]);
}

#[test]
fn what_one_cannot_use_goes_to_the_others() {
    let wants = [want(5, 0, 100), want(3, 0, u64::MAX), want(1, 0, u64::MAX)];
    assert_eq!(fill(900, &wants), [100, 600, 200]);
}

#[test]
fn a_guarantee_counts_towards_the_share() {
    let wants = [want(1, 300, u64::MAX), want(1, 0, u64::MAX)];
    assert_eq!(fill(1000, &wants), [500, 500]);
    assert_eq!(fill(400, &wants), [300, 100]);
}

#[test]
fn guarantees_beyond_the_rate_are_cut_alike() {
    assert_eq!(fill(300, &[want(9, 400, 400), want(1, 200, 900)]), [200, 100]);
}

proptest! {
    #![proptest_config(crate::cases::cases(512))]

    #[test]
    fn it_is_what_giving_bit_by_bit_comes_to(
        rate in 0..400_u64,
        wants in proptest::collection::vec(small(), 0..9),
    ) {
        let least: u64 = wants.iter().map(|want| want.least).sum();
        let rate = rate.max(least);
        prop_assert_eq!(fill(rate, &wants), bit_by_bit(rate, &wants));
    }

    #[test]
    fn nothing_is_given_beyond_the_rate_and_nothing_left_that_is_wanted(
        rate in prop_oneof![any::<u64>(), 0..1000_u64, Just(u64::MAX)],
        wants in proptest::collection::vec(any_want(), 0..40),
    ) {
        let given = fill(rate, &wants);
        let most: u128 = wants.iter().map(|want| u128::from(want.most)).sum();
        prop_assert_eq!(sum(&given), most.min(u128::from(rate)));
        let least: u128 = wants.iter().map(|want| u128::from(want.least)).sum();
        for (given, want) in given.iter().zip(&wants) {
            prop_assert!(*given <= want.most);
            prop_assert!(least > u128::from(rate) || *given >= want.least);
        }
    }

    /// Max-min: whoever could use more has, for its weight, no less than anybody who is above its
    /// guarantee, but for one bit.
    #[test]
    fn nobody_who_wants_more_has_less_for_its_weight(
        rate in prop_oneof![any::<u64>(), 0..100_000_u64],
        wants in proptest::collection::vec(any_want(), 1..12),
    ) {
        let cut = |want: Want| Want { least: want.least.min(rate / 16), ..want };
        let wants: Vec<Want> = wants.into_iter().map(cut).collect();
        let given = fill(rate, &wants);
        for (poor, a) in given.iter().zip(&wants).filter(|(given, want)| **given < want.most) {
            for (rich, b) in given.iter().zip(&wants).filter(|(given, want)| **given > want.least) {
                prop_assert!(Fraction::of(poor + 1, a.weight) >= Fraction::of(*rich, b.weight));
            }
        }
    }

    #[test]
    fn more_to_divide_is_less_for_nobody(
        rate in 0..u64::MAX,
        more in prop_oneof![Just(1_u64), any::<u64>()],
        wants in proptest::collection::vec(any_want().prop_map(|want| Want { least: 0, ..want }), 0..20),
    ) {
        let (before, after) = (fill(rate, &wants), fill(rate.saturating_add(more), &wants));
        for (before, after) in before.iter().zip(after) {
            prop_assert!(*before <= after);
        }
    }

    #[test]
    fn who_wants_more_takes_from_others_and_gives_nothing(
        rate in any::<u64>(),
        mut wants in proptest::collection::vec(any_want().prop_map(|want| Want { least: 0, ..want }), 1..20),
        who in any::<prop::sample::Index>(),
        more in any::<u64>(),
    ) {
        let who = who.index(wants.len());
        let before = fill(rate, &wants);
        wants[who].most = wants[who].most.saturating_add(more);
        for (at, (before, after)) in before.iter().zip(fill(rate, &wants)).enumerate() {
            let is_right = if at == who { *before <= after } else { *before >= after };
            prop_assert!(is_right);
        }
    }
}
