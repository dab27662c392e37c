//! Whether something will be through in time, and what would have to be done about it.

use super::network::Network;
use super::predict::{Change, Prediction, predict, rate_needed};
use super::{Class, ShareError};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a deadline (spec: S-195).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deadline<L, F> {
    /// It is met as things are.
    Met {
        /// When the last flow is through.
        finish: Duration,
    },
    /// It is met if the flows go before all others from now on.
    IfRaised {
        /// By how much it is missed as things are; `None` if they are never through.
        late_by: Option<Duration>,
        /// What each flow would need from now on.
        needed: BTreeMap<F, BitRate>,
    },
    /// It is missed even so.
    Missed {
        /// By how much, with the flows before all others; `None` if they are never through.
        late_by: Option<Duration>,
        /// What each flow would need.
        needed: BTreeMap<F, BitRate>,
        /// The link for which the last of them is late; `None` if it is its own bound.
        held_by: Option<L>,
    },
}

/// Whether `flows` are all through within `by`. All flows of `left` are on their way meanwhile
/// ([`predict`]); one that has nothing left is through.
pub fn deadline<L: Ord + Clone, F: Ord + Clone>(
    network: &Network<L, F>,
    left: &BTreeMap<F, Bytes>,
    changes: &[Change<L>],
    flows: &BTreeSet<F>,
    by: Duration,
) -> Result<Deadline<L, F>, ShareError> {
    let late = |finish: Option<Duration>| finish.map(|finish| finish.saturating_sub(by));
    let as_it_is = last(predict(network, left, changes)?, flows);
    if let Some(finish) = as_it_is.finish.filter(|&finish| finish <= by) {
        return Ok(Deadline::Met { finish });
    }
    let of_flow = |(key, &bytes): (&F, &Bytes)| (key.clone(), rate_needed(bytes, by));
    let needed = left.iter().filter(|(key, _)| flows.contains(key)).map(of_flow).collect();
    let mut raised = network.clone();
    for key in left.keys().chain(flows) {
        if let Some(flow) = raised.flow_mut(key) {
            flow.class =
                if flows.contains(key) { Class::Urgent } else { flow.class.min(Class::Normal) };
        }
    }
    let raised = last(predict(&raised, left, changes)?, flows);
    Ok(match raised.finish {
        Some(finish) if finish <= by => {
            Deadline::IfRaised { late_by: late(as_it_is.finish), needed }
        }
        finish => Deadline::Missed { late_by: late(finish), needed, held_by: raised.held_by },
    })
}

/// The one that is through last.
fn last<L, F: Ord>(all: BTreeMap<F, Prediction<L>>, flows: &BTreeSet<F>) -> Prediction<L> {
    let of_flows = all.into_iter().filter(|(key, _)| flows.contains(key)).map(|(_, flow)| flow);
    let through = Prediction { finish: Some(Duration::ZERO), held_by: None };
    let key = |flow: &Prediction<L>| flow.finish.unwrap_or(Duration::MAX);
    of_flows.max_by_key(key).unwrap_or(through)
}
