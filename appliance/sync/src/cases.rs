//! How many histories property tests play.

use proptest::test_runner::Config;

/// What proptest takes where `PROPTEST_CASES` says nothing.
const USUAL: u32 = 256;

/// So many, or so many times more as `PROPTEST_CASES` is more than 256: `PROPTEST_CASES=6400` plays 25
/// times as many of each property.
pub(crate) fn cases(ordinary: u32) -> Config {
    let told = Config::default();
    let cases = u64::from(ordinary) * u64::from(told.cases) / u64::from(USUAL);
    Config { cases: u32::try_from(cases).unwrap_or(u32::MAX).max(1), ..told }
}
