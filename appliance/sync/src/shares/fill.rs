//! One rate divided among those that share it: weighted max-min in whole bits per second.
//!
//! What is meant is simple: everybody begins with what is guaranteed, and then each further bit per
//! second goes to whoever has least for its weight with it, `(has + 1) / weight`, the earlier one
//! among equals, until nobody can use more or nothing is left. Nothing is ever given beyond the
//! rate, more to divide is never less for anybody, and who wants more takes only from others
//! (spec: S-185). That would be a step per bit; here the level to which all rise is found first.

use super::Weight;
use core::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// One of those that share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) weight: Weight,
    /// What it begins with.
    pub(super) least: u64,
    /// What it can use; not below `least`.
    pub(super) most: u64,
}

/// A fraction, compared exactly. The lower part is never 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fraction {
    pub(super) num: u64,
    pub(super) den: u64,
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.num) * u128::from(other.den);
        left.cmp(&(u128::from(other.num) * u128::from(self.den)))
    }
}

impl Fraction {
    /// A rate for a weight.
    pub(super) fn of(rate: u64, weight: Weight) -> Self {
        Self { num: rate, den: u64::from(weight.get()) }
    }

    /// What a weight is worth at this level; rounds down.
    pub(super) fn times(self, weight: Weight) -> u64 {
        let product = u128::from(self.num) * u128::from(weight.get());
        super::clamp(product / u128::from(self.den))
    }
}

/// Divides `rate`; what each gets, in the order of `wants`. If what is guaranteed is more than
/// there is, it is divided in proportion to that.
pub(super) fn fill(rate: u64, wants: &[Want]) -> Vec<u64> {
    let least: u128 = wants.iter().map(|want| u128::from(want.least)).sum();
    let most: u128 = wants.iter().map(|want| u128::from(want.most)).sum();
    if most <= u128::from(rate) {
        return wants.iter().map(|want| want.most).collect();
    }
    if least > u128::from(rate) {
        return in_proportion(rate, wants, least);
    }
    let level = level(rate, wants, least);
    let at = |want: &Want| level.times(want.weight).clamp(want.least, want.most);
    let mut given: Vec<u64> = wants.iter().map(at).collect();
    give_rest(rate, wants, &mut given);
    given
}

/// The level to which all rise that are neither held up by their guarantee nor have all they want.
fn level(rate: u64, wants: &[Want], least: u128) -> Fraction {
    let mut turns: Vec<(Fraction, bool, usize)> = Vec::with_capacity(2 * wants.len());
    for (at, want) in wants.iter().enumerate().filter(|(_, want)| want.least < want.most) {
        turns.push((Fraction::of(want.least, want.weight), false, at));
        turns.push((Fraction::of(want.most, want.weight), true, at));
    }
    turns.sort_unstable();
    // What those have that do not rise, and the weight of those that do.
    let (mut still, mut rising) = (least, 0_u64);
    for (turn, is_end, at) in turns {
        let (num, den) = (u128::from(turn.num), u128::from(turn.den));
        if still * den + u128::from(rising) * num > u128::from(rate) * den {
            break;
        }
        let weight = u64::from(wants[at].weight.get());
        if is_end {
            still += u128::from(wants[at].most);
            rising -= weight;
        } else {
            still -= u128::from(wants[at].least);
            rising += weight;
        }
    }
    let left = u128::from(rate).saturating_sub(still);
    Fraction { num: super::clamp(left), den: rising.max(1) }
}

/// Gives what rounding left, a bit at a time: less than one for each that rises.
fn give_rest(rate: u64, wants: &[Want], given: &mut [u64]) {
    let sum: u128 = given.iter().map(|&given| u128::from(given)).sum();
    let mut rest = u128::from(rate).saturating_sub(sum);
    if rest == 0 {
        return;
    }
    let next = |at: usize, has: u64| {
        let want = wants[at];
        (has < want.most).then(|| Reverse((Fraction::of(has + 1, want.weight), at)))
    };
    let mut queue: BinaryHeap<_> =
        given.iter().enumerate().filter_map(|(at, &has)| next(at, has)).collect();
    while rest > 0 {
        let Some(Reverse((_, at))) = queue.pop() else { return };
        given[at] += 1;
        rest -= 1;
        queue.extend(next(at, given[at]));
    }
}

/// What is guaranteed, where there is not enough for it; what rounding leaves goes to the first.
fn in_proportion(rate: u64, wants: &[Want], least: u128) -> Vec<u64> {
    let part = |want: &Want| {
        // `least` is above `rate`, so the quotient is below `want.least`.
        super::clamp(u128::from(want.least) * u128::from(rate) / least)
    };
    let mut given: Vec<u64> = wants.iter().map(part).collect();
    let sum: u128 = given.iter().map(|&given| u128::from(given)).sum();
    let mut rest = u128::from(rate).saturating_sub(sum);
    for (given, want) in given.iter_mut().zip(wants) {
        if rest > 0 && *given < want.least {
            *given += 1;
            rest -= 1;
        }
    }
    given
}
