//! Distributions, kept in HDR histograms: fixed memory, two significant digits.

use crate::units::Bytes;
use core::time::Duration;
use hdrhistogram::Histogram;

/// Delay histogram in microseconds, up to a minute, two significant digits.
#[derive(Clone, Debug)]
pub struct DelayHistogram(Histogram<u64>);

const DELAY_MAX_US: u64 = 60_000_000;

impl Default for DelayHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl DelayHistogram {
    /// An empty histogram.
    #[expect(clippy::missing_panics_doc, reason = "the bounds are constants that the crate takes")]
    pub fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, DELAY_MAX_US, 2).expect("1 .. 60 s at 2 digits is valid"),
        )
    }

    /// Takes a value in.
    pub fn record(&mut self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, DELAY_MAX_US));
    }

    /// The value that `quantile` (0 ..= 1) of all values do not exceed; zero when empty.
    pub fn quantile(&self, quantile: f64) -> Duration {
        if self.0.is_empty() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }
}

/// Histogram of sizes in bytes, up to 16 MiB, two significant digits.
#[derive(Clone, Debug)]
pub struct SizeHistogram(Histogram<u64>);

const SIZE_MAX: u64 = 16 << 20;

impl Default for SizeHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl SizeHistogram {
    /// An empty histogram.
    #[expect(clippy::missing_panics_doc, reason = "the bounds are constants that the crate takes")]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, SIZE_MAX, 2).expect("1 .. 2^24 at 2 digits is valid"))
    }

    /// Takes a value in.
    pub fn record(&mut self, size: Bytes) {
        self.0.saturating_record(size.get().clamp(1, SIZE_MAX));
    }

    /// The value that `quantile` (0 ..= 1) of all values do not exceed; zero when empty.
    pub fn quantile(&self, quantile: f64) -> Bytes {
        if self.0.is_empty() {
            return Bytes::ZERO;
        }
        Bytes::new(self.0.value_at_quantile(quantile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_kept_within_two_digits() {
        let mut delays = DelayHistogram::new();
        for ms in 1..=100 {
            delays.record(Duration::from_millis(ms));
        }
        let p95 = delays.quantile(0.95);
        assert!((94..=96).contains(&p95.as_millis()), "{p95:?}");
    }

    #[test]
    fn sizes_are_kept_within_two_digits_and_never_out_of_bounds() {
        let mut sizes = SizeHistogram::new();
        assert_eq!(sizes.quantile(0.5), Bytes::ZERO);
        (0..90).for_each(|_| sizes.record(Bytes::new(1_473)));
        (0..10).for_each(|_| sizes.record(Bytes::new(94_000)));
        assert!((1_460..=1_487).contains(&sizes.quantile(0.5).get()));
        assert!((93_000..=95_000).contains(&sizes.quantile(0.99).get()));
        sizes.record(Bytes::MAX);
        sizes.record(Bytes::ZERO);
        assert!(sizes.quantile(1.0) >= Bytes::new(SIZE_MAX));
    }
}
