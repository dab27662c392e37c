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
struct Pending<'k, F> {
    key: &'k F,
    /// Its number in the network; `None` if there is none of that name.
    at: Option<usize>,
    /// Bits times [`NANOS_PER_SEC`].
    left: u128,
    /// For how long which link held it.
    held: BTreeMap<Option<usize>, u128>,
}

impl<F> Pending<'_, F> {
    /// The link that held it for longest.
    fn held_by(&self) -> Option<usize> {
        let longest = self.held.iter().max_by_key(|&(_, nanos)| *nanos);
        longest.and_then(|(link, _)| *link)
    }
}

/// Predicts when the flows that have so many wire bytes left will be through; flows of the network
/// that are not named here go on for ever. Whatever a flow leaves when it ends is lent to the others
/// from then on (spec: S-194). A division for each flow that ends and each change.
pub fn predict<L: Ord + Clone, F: Ord + Clone>(
    network: &Network<L, F>,
    left: &BTreeMap<F, Bytes>,
    changes: &[Change<L>],
) -> Result<BTreeMap<F, Prediction<L>>, ShareError> {
    let (links, flows) = (network.link_names(), network.flow_names());
    let mut changes = numbered(changes, &links)?.into_iter().peekable();
    let (mut filling, mut room) = (network.filling(), network.room());
    let pending = |(key, bytes): (_, &Bytes)| {
        let left = u128::from(bytes.get()) * 8 * NANOS_PER_SEC;
        Pending { key, at: flows.binary_search(&key).ok(), left, held: BTreeMap::new() }
    };
    let mut pending: Vec<Pending<'_, F>> = left.iter().map(pending).collect();
    let mut predictions = BTreeMap::new();
    let name = |link: Option<usize>| link.map(|link| links[link].clone());
    let mut now = Duration::ZERO;
    loop {
        for flow in pending.extract_if(.., |flow| flow.left == 0) {
            flow.at.into_iter().for_each(|at| filling.end(at));
            let prediction = Prediction { finish: Some(now), held_by: name(flow.held_by()) };
            predictions.insert(flow.key.clone(), prediction);
        }
        while let Some((_, link, then)) = changes.next_if(|&(after, ..)| after <= now) {
            room[link] = then.get();
        }
        filling.fill(&room);
        let rate_of = |flow: &Pending<'_, F>| flow.at.map_or(0, |at| filling.rate(at).get());
        let moving = pending.iter().filter(|flow| rate_of(flow) > 0);
        let end = moving.map(|flow| flow.left.div_ceil(u128::from(rate_of(flow)))).min();
        let change = changes.peek().map(|&(after, ..)| (after - now).as_nanos());
        let span = end.into_iter().chain(change).min().filter(|_| !pending.is_empty());
        let Some(span) = span.and_then(|span| u64::try_from(span).ok()) else { break };
        let Some(then) = now.checked_add(Duration::from_nanos(span)) else { break };
        now = then;
        for flow in &mut pending {
            let passed = u128::from(rate_of(flow)) * u128::from(span);
            flow.left = flow.left.saturating_sub(passed);
            let held_by = flow.at.and_then(|at| filling.held_by(at));
            *flow.held.entry(held_by).or_default() += u128::from(span);
        }
    }
    for flow in pending {
        let held_by = name(flow.at.and_then(|at| filling.held_by(at)));
        predictions.insert(flow.key.clone(), Prediction { finish: None, held_by });
    }
    Ok(predictions)
}

/// Changes by time, with links as numbers; of two of a link at one moment the later one in the list
/// counts.
fn numbered<L: Ord>(
    changes: &[Change<L>],
    links: &[&L],
) -> Result<Vec<(Duration, usize, BitRate)>, ShareError> {
    let number = |change: &Change<L>| {
        let link = links.binary_search(&&change.link).map_err(|_| ShareError::NoLink)?;
        Ok((change.after, link, change.room))
    };
    let mut numbered = changes.iter().map(number).collect::<Result<Vec<_>, ShareError>>()?;
    numbered.sort_by_key(|&(after, ..)| after);
    Ok(numbered)
}

/// The rate at which so many bytes pass in a time; rounds up. [`BitRate::MAX`] in no time.
pub(super) fn rate_needed(bytes: Bytes, span: Duration) -> BitRate {
    let bits = u128::from(bytes.get()) * 8 * NANOS_PER_SEC;
    match span.as_nanos() {
        0 if bits > 0 => BitRate::MAX,
        nanos => BitRate::bps(clamp(bits.div_ceil(nanos.max(1)))),
    }
}
