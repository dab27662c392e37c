//! A recorded flight as a link: the session flies again over what the recorded one met.
//!
//! ```text
//! rate   where the link limited and a queue stood: delivered / (1 - loss) of the sample;
//!        where a ceiling held, the ceiling; elsewhere the largest of the neighbours with a queue,
//!        of the capacity that was known, and of what was delivered. Over three samples, because
//!        reports do not come at the beat of samples
//! delay  half of the smallest base round trip, each way, for the whole flight; what the base
//!        grew by later goes on top in the forward direction
//! loss   lost / (acked + lost) of the sample, forward, behind the bottleneck, each packet alone;
//!        but the median, where a queue stood up to two round trips before and more was lost than
//!        twice the median and 5 %: then the queue overflowed
//! ```
//! What a record cannot tell, and a replay therefore does not have: what would have passed beyond
//! the rate that was sent; which of the losses the flight caused itself, beyond the rule above;
//! how losses lie within a tenth of a second; the depth of the queue, which is taken from
//! the largest queue delay seen; rivals, which are a smaller rate; everything about the way back.

use crate::profile::{LinkProfile, Loss, QueueLimit};
use crate::scenario::{Scenario, Side, Step};
use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::trace::Limit;
use farhaul_proto::trace::flight::{Flight, FlightSample};
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};
use thiserror::Error;

/// A link that loses more than this in a sample was down, as far as a replay is concerned.
const LOSS_MAX: f64 = 0.95;
/// Loss beyond the usual at which a queue has overflowed.
const OVERFLOW_LOSS: f64 = 0.05;
/// A queue stands; below, its delay may be noise.
const QUEUE_STANDS_US: u64 = 2_000;
/// A queue is at least this deep.
const QUEUE_MIN: Duration = Duration::from_millis(10);
/// Slower links are no links.
const RATE_MIN: BitRate = BitRate::kbps(64);
/// Samples of a replay: at ten a second, an hour.
const SAMPLES_MAX: usize = 36_000;

/// Why a record cannot be flown again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// It has no sample with a round trip and bytes delivered.
    #[error("the record never measured its path: it is of a receiver, or ended too soon")]
    NothingMeasured,
    /// It is longer than is worth flying again.
    #[error("the record has more than {SAMPLES_MAX} samples")]
    TooLong,
}

/// A transfer of as many bytes as were delivered, over the link that the record tells of.
///
/// # Errors
/// [`ReplayError`].
pub fn scenario(flight: &Flight, seed: u64) -> Result<Scenario, ReplayError> {
    let samples: Vec<&FlightSample> =
        flight.samples.iter().filter(|s| s.base_rtt_us > 0 && s.span_us > 0).collect();
    if samples.len() > SAMPLES_MAX {
        return Err(ReplayError::TooLong);
    }
    let losses = losses(&samples);
    let rates = rates(&samples, &losses);
    let base = samples.iter().map(|s| s.base_rtt_us).min().ok_or(ReplayError::NothingMeasured)?;
    let queue = samples.iter().map(|s| s.queue_us).max().unwrap_or(0);
    let delivered: u64 = samples.iter().map(|s| s.delivered).sum();
    if delivered == 0 {
        return Err(ReplayError::NothingMeasured);
    }
    let way = Duration::from_micros(base) / 2;
    let still = LinkProfile {
        delay: way,
        queue: QueueLimit::Time(Duration::from_micros(queue).max(QUEUE_MIN)),
        ..LinkProfile::default()
    };
    let profile = |at: usize| LinkProfile {
        rate: Some(rates[at]),
        delay: way + Duration::from_micros(samples[at].base_rtt_us - base),
        loss: if losses[at] > 0.0 { Loss::Bernoulli(Ratio::new(losses[at])) } else { Loss::None },
        ..still.clone()
    };
    let links: Vec<LinkProfile> = (0..samples.len()).map(profile).collect();
    let mut scenario =
        Scenario::one_way("replay", seed, links[0].clone(), &[Bytes::new(delivered)]);
    scenario.links[1] = LinkProfile { rate: links[0].rate, ..still };
    scenario.hosts[0].policy = policy(&flight.header.policy);
    let bps = |rate: Option<u64>| rate.map(BitRate::bps);
    scenario.hosts[0].bounds =
        Bounds::of_wishes(bps(flight.header.floor_bps), bps(flight.header.cap_bps));
    for (sample, profile) in samples.iter().zip(links).skip(1) {
        // What a sample tells left a round trip before it was told.
        let told = sample.at_us.saturating_sub(sample.span_us + sample.rtt_us);
        let at = Timestamp::from_nanos(told.saturating_mul(1_000));
        scenario.steps.push((at, Step::Link { from: Side::A, profile }));
    }
    Ok(scenario)
}

/// What each sample says about the link's rate, given the loss that was not the queue's.
fn rates(samples: &[&FlightSample], losses: &[f64]) -> Vec<BitRate> {
    let passed: Vec<BitRate> = (0..samples.len()).map(|at| passed(samples, losses, at)).collect();
    let told = |at: usize| {
        let sample = samples[at];
        let full = sample.limit == Some(Limit::Link) && has_queue(sample);
        let ceiling = sample.ceiling_bps.map(BitRate::bps);
        ceiling.map(|ceiling| ceiling.max(passed[at])).or_else(|| full.then(|| passed[at]))
    };
    let told: Vec<Option<BitRate>> = (0..samples.len()).map(told).collect();
    let mut next = None;
    let mut after: Vec<Option<BitRate>> = Vec::new();
    for &rate in told.iter().rev() {
        next = rate.or(next);
        after.push(next);
    }
    after.reverse();
    let mut before = None;
    let mut rates = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        before = told[at].or(before);
        let known = before.max(after[at]).max(sample.capacity_bps.map(BitRate::bps));
        let guess = passed[at].max(known.unwrap_or_default());
        rates.push(told[at].unwrap_or(guess).max(RATE_MIN));
    }
    rates
}

/// What came out of the bottleneck around a sample, before the link lost its part of it.
fn passed(samples: &[&FlightSample], losses: &[f64], at: usize) -> BitRate {
    let around = &samples[at.saturating_sub(1)..(at + 2).min(samples.len())];
    let span: u64 = around.iter().map(|sample| sample.span_us).sum();
    let delivered: u64 = around.iter().map(|sample| sample.delivered).sum();
    let delivered = Bytes::new(delivered).rate_over(Duration::from_micros(span));
    delivered.mul_f64(1.0 / (1.0 - losses[at]))
}

/// The loss of each sample, but for what queues overflowed by.
fn losses(samples: &[&FlightSample]) -> Vec<f64> {
    let share = |sample: &FlightSample| {
        Ratio::of(sample.lost, sample.acked + sample.lost).get().min(LOSS_MAX)
    };
    let mut sorted: Vec<f64> = samples.iter().map(|sample| share(sample)).collect();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let mut queued_until = 0;
    let mut losses = Vec::new();
    for sample in samples {
        if has_queue(sample) {
            queued_until = sample.at_us + 2 * sample.rtt_us + sample.span_us;
        }
        let overflow = sample.at_us <= queued_until && share(sample) > 2.0 * usual + OVERFLOW_LOSS;
        losses.push(if overflow { usual } else { share(sample) });
    }
    losses
}

/// The bottleneck had something to do all the time.
fn has_queue(sample: &FlightSample) -> bool {
    sample.queue_us >= QUEUE_STANDS_US.max(sample.base_rtt_us / 40)
}

fn policy(name: &str) -> Policy {
    let policies = [Policy::Low, Policy::Fair, Policy::High, Policy::Fixed];
    policies.into_iter().find(|policy| policy.name() == name).unwrap_or_default()
}
