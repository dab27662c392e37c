//! Flows that cross several links, divided over all of them at once: weighted max-min by
//! progressive filling, class by class.
//!
//! All flows of a class rise together, each as fast as its weight, until a link is full or a flow
//! has all it can use: the flows of that link, or that flow, stay where they are, and the others
//! rise on. So each flow that has less than it can use crosses a full link on which no flow of its
//! class has more for its weight, but for what rounding makes (spec: S-191).

use super::filling::{Filling, Route};
use super::{Class, ClassFloor, ShareError, Weight};
use farhaul_proto::units::BitRate;
use std::collections::BTreeMap;

/// What crosses links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow<L> {
    /// Which, in whatever order; each counts once.
    pub links: Vec<L>,
    /// Before whom it comes.
    pub class: Class,
    /// What it gets beside others of its class.
    pub weight: Weight,
    /// What it can use at most; [`BitRate::MAX`] for as much as there is.
    pub most: BitRate,
}

/// What a flow got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing<L> {
    /// On each link that it crosses, in wire bytes.
    pub rate: BitRate,
    /// The full link at which it stopped to rise; `None` where the flow has all it can use.
    pub held_by: Option<L>,
}

/// Links, each one direction with its room, and the flows that cross them.
#[derive(Clone, Debug)]
pub struct Network<L, F> {
    links: BTreeMap<L, BitRate>,
    flows: BTreeMap<F, Flow<L>>,
    floor: ClassFloor,
}

impl<L: Ord + Clone, F: Ord + Clone> Network<L, F> {
    /// Nothing yet.
    pub const fn new(floor: ClassFloor) -> Self {
        Self { links: BTreeMap::new(), flows: BTreeMap::new(), floor }
    }

    /// Adds one direction of a link, or gives it other room.
    pub fn set_link(&mut self, link: L, room: BitRate) {
        self.links.insert(link, room);
    }

    /// Adds a flow.
    pub fn add(&mut self, key: F, flow: Flow<L>) -> Result<(), ShareError> {
        if flow.links.iter().any(|link| !self.links.contains_key(link)) {
            return Err(ShareError::NoLink);
        }
        if self.flows.contains_key(&key) {
            return Err(ShareError::Twice);
        }
        self.flows.insert(key, flow);
        Ok(())
    }

    /// Takes a flow away.
    pub fn remove(&mut self, key: &F) -> Option<Flow<L>> {
        self.flows.remove(key)
    }

    /// What is known of a flow, to be changed: links must stay known ones.
    pub(super) fn flow_mut(&mut self, key: &F) -> Option<&mut Flow<L>> {
        self.flows.get_mut(key)
    }

    /// What each flow gets.
    pub fn allocate(&self) -> BTreeMap<F, Crossing<L>> {
        let names = self.link_names();
        let mut filling = self.filling();
        filling.fill(&self.room());
        let mut crossings = BTreeMap::new();
        for (at, key) in self.flows.keys().enumerate() {
            let held_by = filling.held_by(at).map(|link| names[link].clone());
            crossings.insert(key.clone(), Crossing { rate: filling.rate(at), held_by });
        }
        crossings
    }

    /// What the room of each link is, in the order of names.
    pub(super) fn room(&self) -> Vec<u64> {
        self.links.values().map(|room| room.get()).collect()
    }

    /// Links, in the order of names.
    pub(super) fn link_names(&self) -> Vec<&L> {
        self.links.keys().collect()
    }

    /// Flows, in the order of names.
    pub(super) fn flow_names(&self) -> Vec<&F> {
        self.flows.keys().collect()
    }

    /// All flows, with nothing yet.
    pub(super) fn filling(&self) -> Filling {
        let names = self.link_names();
        let route = |flow: &Flow<L>| {
            let at = |link: &L| names.binary_search(&link).ok();
            let mut links: Vec<usize> = flow.links.iter().filter_map(at).collect();
            links.sort_unstable();
            links.dedup();
            Route { links, class: flow.class, weight: flow.weight, most: flow.most.get() }
        };
        let routes = self.flows.values().map(route).collect();
        Filling::new(routes, names.len(), self.floor)
    }
}
