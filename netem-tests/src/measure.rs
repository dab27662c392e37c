//! Figures: the cells of `profiles/`, the physical limit of a link, and goodput as a share of it.

use farhaul_sim::profile::{LinkProfile, Loss};
use farhaul_tools::wanem::profile::LabProfile;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Payload per byte at IP level: symbols of 1408 bytes in packets of 1473.
pub const EFFICIENCY: f64 = 1408.0 / 1473.0;

/// The profile of a cell, 'a' to 'f'.
///
/// # Panics
/// If there is no such cell: the test that asks is wrong.
pub fn cell(name: char) -> LabProfile {
    let text = match name.to_ascii_lowercase() {
        'a' => include_str!("../profiles/a.toml"),
        'b' => include_str!("../profiles/b.toml"),
        'c' => include_str!("../profiles/c.toml"),
        'd' => include_str!("../profiles/d.toml"),
        'e' => include_str!("../profiles/e.toml"),
        'f' => include_str!("../profiles/f.toml"),
        other => panic!("there is no cell {other:?}"),
    };
    LabProfile::from_toml(text).expect("the cells' profiles are checked by a test")
}

/// What no scheme can beat on this link, in bits of payload per second: its rate (that of a policer
/// if it has a slower one), times the share that is not lost, times payload per packet. `None`
/// without a rate limit.
pub fn goodput_limit(link: &LinkProfile) -> Option<f64> {
    let policed = link.policer.map(|policer| policer.rate);
    let rate = [link.rate, policed].into_iter().flatten().min();
    rate.map(|rate| rate.as_f64() * (1.0 - lost_share(link)) * EFFICIENCY)
}

/// Bytes at IP level that must be offered to this link for `size` bytes of payload to pass it: each
/// packet that is lost is replaced once, and nothing is sent that is not needed.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn bytes_needed(link: &LinkProfile, size: u64) -> f64 {
    size as f64 / EFFICIENCY / (1.0 - lost_share(link))
}

fn lost_share(link: &LinkProfile) -> f64 {
    match link.loss {
        Loss::None => 0.0,
        Loss::Bernoulli(share) => share.get(),
        Loss::GilbertElliott { mean, .. } => mean.get(),
    }
}

/// Payload over time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goodput {
    /// Payload bytes.
    pub bytes: u64,
    /// Seconds from start to exit.
    pub seconds: f64,
    /// Bits of payload per second.
    pub bps: f64,
}

impl Goodput {
    /// `bytes` in `elapsed`.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people and medians")]
    pub fn new(bytes: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self { bytes, seconds, bps: bytes as f64 * 8.0 / seconds.max(1e-9) }
    }
}

/// Median, smallest and largest of some figures; `None` of none.
pub fn median_min_max(figures: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (sorted.first()?, sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    Some([median, *min, *max])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_cells_are_those_of_the_goals() {
        for (name, megabits) in
            [('a', 477.0), ('b', 468.0), ('c', 189.0), ('d', 172.0), ('e', 76.0)]
        {
            let limit = goodput_limit(&cell(name).forward).expect("cells have a rate");
            assert!((limit / 1e6 - megabits).abs() < 1.0, "cell {name}: {limit}");
        }
    }

    #[test]
    fn a_policer_that_is_slower_than_its_link_sets_the_limit() {
        let limit = |policed: &str| {
            let text =
                format!("rate = '100Mbit/s'\npolicer = {{ rate = '{policed}', bucket = '50ms' }}");
            let link = LabProfile::from_toml(&text).expect("well-formed").forward;
            goodput_limit(&link).expect("it has a rate")
        };
        assert!((limit("20Mbit/s") / 20e6 - EFFICIENCY).abs() < 1e-9);
        assert!((limit("200Mbit/s") / 100e6 - EFFICIENCY).abs() < 1e-9);
    }

    #[test]
    fn a_lossy_link_needs_more_bytes_than_the_file_has() {
        let needed = bytes_needed(&cell('d').forward, 1408);
        assert!((needed - 1473.0 / 0.9).abs() < 1e-6, "{needed}");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median_min_max(&[4.0, 1.0, 2.0, 3.0]), Some([2.5, 1.0, 4.0]));
        assert_eq!(median_min_max(&[5.0]), Some([5.0, 5.0, 5.0]));
        assert_eq!(median_min_max(&[]), None);
    }
}
