//! What a link did: counts by cause, and the queue delay that packets met.
//!
//! Fixed size, no allocation; the histogram is logarithmic with 16 steps per doubling, so a
//! quantile is right to about 6 %.

use super::DropCause;
use core::time::Duration;
use farhaul_proto::units::{Bytes, Ratio};

const STEPS_LOG2: u32 = 4;
const STEPS: usize = 1 << STEPS_LOG2;
const BUCKETS: usize = (32 - STEPS_LOG2 as usize + 1) * STEPS;

/// A distribution of delays, from 1 us to 71 minutes.
#[derive(Clone, Debug)]
pub struct DelayHistogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u128,
    max: Duration,
}

impl Default for DelayHistogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, sum: 0, max: Duration::ZERO }
    }
}

impl DelayHistogram {
    /// Adds one delay.
    pub fn record(&mut self, delay: Duration) {
        let micros = u32::try_from(delay.as_micros()).unwrap_or(u32::MAX);
        self.counts[bucket(micros)] += 1;
        self.count += 1;
        self.sum += delay.as_nanos();
        self.max = self.max.max(delay);
    }

    /// How many delays were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean; zero if nothing was added.
    pub fn mean(&self) -> Duration {
        let nanos = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The largest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The delay that a share `q` of all packets does not exceed (to about 6 %).
    pub fn quantile(&self, q: Ratio) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank; rounding does not matter"
        )]
        let rank = ((self.count as f64 * q.get()).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }

    /// The 95th percentile.
    pub fn p95(&self) -> Duration {
        self.quantile(Ratio::new(0.95))
    }
}

fn bucket(micros: u32) -> usize {
    let octave = (32 - micros.leading_zeros()).saturating_sub(STEPS_LOG2 + 1);
    let within = (micros >> octave) as usize;
    octave as usize * STEPS + within
}

/// The upper end of a bucket.
fn upper(index: usize) -> Duration {
    let octave = (index / STEPS).saturating_sub(1);
    let within = index - octave * STEPS;
    Duration::from_micros(((within as u64 + 1) << octave) - 1)
}

/// What a link did since it was made, or since [`super::Link::take_stats`].
#[derive(Clone, Debug, Default)]
pub struct LinkStats {
    /// Packets offered.
    pub offered: u64,
    /// Packets delivered, duplicates not counted.
    pub delivered: u64,
    /// IP-level bytes delivered, duplicates not counted.
    pub bytes: Bytes,
    /// Packets delivered a second time.
    pub duplicated: u64,
    /// Packets delivered damaged.
    pub corrupted: u64,
    /// Time the bottleneck was busy.
    pub busy: Duration,
    /// Queue delay of the packets that passed the queue, without their own serialisation.
    pub queue: DelayHistogram,
    pub(super) dropped: [u64; DropCause::ALL.len()],
}

impl LinkStats {
    /// Packets dropped for this reason.
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.dropped[cause.index()]
    }

    /// Packets dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Packets dropped because of load: full queue, early drop, policer.
    pub fn dropped_by_load(&self) -> u64 {
        [DropCause::Queue, DropCause::Red, DropCause::Policer].map(|c| self.dropped(c)).iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_values_and_is_narrow(micros in any::<u32>()) {
            let index = bucket(micros);
            prop_assert!(index < BUCKETS);
            let top = upper(index).as_micros();
            prop_assert!(top >= u128::from(micros));
            prop_assert!(top <= u128::from(micros) + u128::from(micros) / 16);
        }
    }

    #[test]
    fn quantiles_of_a_ramp_are_where_they_belong() {
        let mut histogram = DelayHistogram::default();
        (1..=1000u64).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let p95 = histogram.p95().as_millis();
        assert!((950..=1000).contains(&p95), "{p95}");
        assert_eq!(histogram.mean(), Duration::from_micros(500_500));
        assert_eq!(histogram.max(), Duration::from_secs(1));
    }
}
