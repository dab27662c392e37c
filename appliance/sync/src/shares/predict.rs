//! When flows will be through: what each gets until the next one ends, then again.

use super::network::Network;
use super::{ShareError, clamp};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes};
use std::collections::BTreeMap;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Another room of a link from some time on, as a calendar has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<L> {
    /// After what time.
    pub after: Duration,
    /// Of which link.
    pub link: L,
    /// What there is then.
    pub room: BitRate,
}

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction<L> {
    /// After what time it is through; `None` if it never is, with what is known.
    pub finish: Option<Duration>,
    /// The link that holds it for the longest part of that, or in the end if it is never through;
    /// `None` where it had all it can use.
    pub held_by: Option<L>,
}

/// A flow on its way.
struct Pending<L> {
    /// Bits times [`NANOS_PER_SEC`].
    left: u128,
    held: BTreeMap<Option<L>, u128>,
}

impl<L: Ord + Clone> Pending<L> {
    fn new(bytes: Bytes) -> Self {
        Self { left: u128::from(bytes.get()) * 8 * NANOS_PER_SEC, held: BTreeMap::new() }
    }

    fn through(self, now: Duration) -> Prediction<L> {
        let longest = self.held.into_iter().max_by_key(|&(_, nanos)| nanos);
        Prediction { finish: Some(now), held_by: longest.and_then(|(link, _)| link) }
    }
}

/// Predicts when the flows that have so many wire bytes left will be through; flows of the network
/// that are not named here go on for ever. Whatever a flow leaves when it ends is lent to the others
/// from then on (spec: S-194). A step for each flow that ends and each change.
pub fn predict<L: Ord + Clone, F: Ord + Clone>(
    network: &Network<L, F>,
    left: &BTreeMap<F, Bytes>,
    changes: &[Change<L>],
) -> Result<BTreeMap<F, Prediction<L>>, ShareError> {
    if changes.iter().any(|change| !network.has_link(&change.link)) {
        return Err(ShareError::NoLink);
    }
    let mut network = network.clone();
    let mut changes: Vec<&Change<L>> = changes.iter().collect();
    // Stable: of two changes of a link at one moment the later one in the list counts.
    changes.sort_by_key(|change| change.after);
    let mut changes = changes.into_iter().peekable();
    let mut pending: BTreeMap<F, Pending<L>> =
        left.iter().map(|(key, &bytes)| (key.clone(), Pending::new(bytes))).collect();
    let mut predictions = BTreeMap::new();
    let mut now = Duration::ZERO;
    loop {
        for (key, flow) in pending.extract_if(.., |_, flow| flow.left == 0) {
            network.remove(&key);
            predictions.insert(key, flow.through(now));
        }
        while let Some(change) = changes.next_if(|change| change.after <= now) {
            network.set_link(change.link.clone(), change.room);
        }
        let rates = network.allocate();
        let rate_of = |key: &F| rates.get(key).map_or(0, |crossing| crossing.rate.get());
        let ends = pending.iter().filter(|(key, _)| rate_of(key) > 0);
        let end = ends.map(|(key, flow)| flow.left.div_ceil(u128::from(rate_of(key)))).min();
        let change = changes.peek().map(|change| (change.after - now).as_nanos());
        let span = end.into_iter().chain(change).min().filter(|_| !pending.is_empty());
        let Some(span) = span.and_then(|span| u64::try_from(span).ok()) else { break };
        let Some(then) = now.checked_add(Duration::from_nanos(span)) else { break };
        now = then;
        for (key, flow) in &mut pending {
            let Some(crossing) = rates.get(key) else { continue };
            let passed = u128::from(crossing.rate.get()) * u128::from(span);
            flow.left = flow.left.saturating_sub(passed);
            *flow.held.entry(crossing.held_by.clone()).or_default() += u128::from(span);
        }
    }
    let rates = network.allocate();
    let never = pending.into_keys().map(|key| {
        let held_by = rates.get(&key).and_then(|crossing| crossing.held_by.clone());
        (key, Prediction { finish: None, held_by })
    });
    predictions.extend(never);
    Ok(predictions)
}

/// The rate at which so many bytes pass in a time; rounds up. [`BitRate::MAX`] in no time.
pub(super) fn rate_needed(bytes: Bytes, span: Duration) -> BitRate {
    let bits = u128::from(bytes.get()) * 8 * NANOS_PER_SEC;
    match span.as_nanos() {
        0 if bits > 0 => BitRate::MAX,
        nanos => BitRate::bps(clamp(bits.div_ceil(nanos.max(1)))),
    }
}
