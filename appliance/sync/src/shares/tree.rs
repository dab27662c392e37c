//! One direction of a link, divided from the top: link, site, class, job, peer.
//!
//! What a part can use is the sum of what its parts can use, bounded by its cap; that is found from
//! the leaves up. What it gets is divided among its parts from the top down, so that what one of
//! them leaves goes to the others of the same part first (spec: S-185).

use super::fill::{Want, fill};
use super::limit::{Limit, Shared};
use super::{Class, ClassFloor, Demand, Level, ShareError, Weight, clamp};
use farhaul_proto::units::BitRate;
use std::collections::BTreeMap;

/// What a part of a tree is: where it stands, what it may have and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    level: Level,
    class: Class,
    weight: Weight,
    cap: Option<BitRate>,
    floor: BitRate,
    demand: Option<Demand>,
}

impl Part {
    /// A part of weight 1 and normal class, without cap, guarantee or demand of its own.
    pub const fn new(level: Level) -> Self {
        let (class, weight) = (Class::Normal, Weight::ONE);
        Self { level, class, weight, cap: None, floor: BitRate::ZERO, demand: None }
    }

    /// With that class beside the other parts of what it stands below.
    #[must_use]
    pub const fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    /// With that weight beside those of the same class.
    #[must_use]
    pub const fn weight(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    /// Never with more than this.
    #[must_use]
    pub const fn cap(self, cap: BitRate) -> Self {
        Self { cap: Some(cap), ..self }
    }

    /// Never with less than this as long as it can use it, whatever its class, and as far as caps
    /// and what is above it have that (spec: S-187).
    #[must_use]
    pub const fn floor(self, floor: BitRate) -> Self {
        Self { floor, ..self }
    }

    /// That wants so much, and has no parts.
    #[must_use]
    pub const fn demand(self, demand: Demand) -> Self {
        Self { demand: Some(demand), ..self }
    }
}

#[cfg(test)]
impl Part {
    pub(super) fn cap_of(&self) -> Option<BitRate> {
        self.cap
    }

    pub(super) fn demand_of(&self) -> Option<Demand> {
        self.demand
    }

    pub(super) fn level_of(&self) -> Level {
        self.level
    }

    pub(super) fn class_of(&self) -> Class {
        self.class
    }
}

#[derive(Clone, Debug)]
struct Node {
    part: Part,
    parent: Option<usize>,
}

/// One direction of a link and what shares it, named by `K`. Where bits are left by rounding, the
/// order of names decides.
#[derive(Clone, Debug)]
pub struct Tree<K> {
    /// What is above stands before what is below.
    nodes: Vec<Node>,
    at: BTreeMap<K, usize>,
    floor: ClassFloor,
}

/// What a node can use.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// What it would take without its cap.
    wanted: u128,
    /// What it takes at most.
    most: u64,
    /// What it is to get at least.
    least: u64,
}

impl<K: Ord + Clone> Tree<K> {
    /// A link with so much room in this direction.
    pub fn new(link: K, room: BitRate, floor: ClassFloor) -> Self {
        let node = Node { part: Part::new(Level::Link).cap(room), parent: None };
        Self { nodes: vec![node], at: BTreeMap::from([(link, 0)]), floor }
    }

    /// Adds a part below `parent`.
    pub fn add(&mut self, parent: &K, key: K, part: Part) -> Result<(), ShareError> {
        let parent = *self.at.get(parent).ok_or(ShareError::NoParent)?;
        let above = self.nodes[parent].part;
        if above.level >= part.level {
            return Err(ShareError::WrongLevel { parent: above.level, child: part.level });
        }
        if above.demand.is_some() {
            return Err(ShareError::BelowLeaf);
        }
        if self.at.contains_key(&key) {
            return Err(ShareError::Twice);
        }
        self.at.insert(key, self.nodes.len());
        self.nodes.push(Node { part, parent: Some(parent) });
        Ok(())
    }

    /// Changes what a leaf wants; false if there is no such leaf.
    pub fn set_demand(&mut self, key: &K, demand: Demand) -> bool {
        let leaf = self.at.get(key).map(|&at| &mut self.nodes[at].part.demand);
        match leaf {
            Some(was @ Some(_)) => {
                *was = Some(demand);
                true
            }
            _ => false,
        }
    }

    /// What each part gets, the link itself among them.
    pub fn allocate(&self) -> BTreeMap<K, Shared<K>> {
        let children = self.children();
        let needs = self.needs();
        let mut rates = vec![0; self.nodes.len()];
        rates[0] = needs[0].most;
        for (at, below) in children.iter().enumerate() {
            self.divide(rates[at], below, &needs, &mut rates);
        }
        self.explain(&needs, &rates)
    }

    /// What a leaf would get if it could use everything, the others as they are: what it is to be
    /// offered, whatever it can take elsewhere (spec: S-190). `None` if there is no such leaf.
    pub fn offer(&self, key: &K) -> Option<BitRate> {
        let mut tree = self.clone();
        if !tree.set_demand(key, Demand::All) {
            return None;
        }
        tree.allocate().get(key).map(|shared| shared.rate)
    }

    /// The parts of each node, by name.
    fn children(&self) -> Vec<Vec<usize>> {
        let mut children = vec![Vec::new(); self.nodes.len()];
        for &at in self.at.values() {
            if let Some(parent) = self.nodes[at].parent {
                children[parent].push(at);
            }
        }
        children
    }

    /// What each node can use, from the leaves up.
    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::default(); self.nodes.len()];
        let mut guaranteed = vec![0_u128; self.nodes.len()];
        for (at, Node { part, parent }) in self.nodes.iter().enumerate().rev() {
            let wanted = part.demand.map_or(needs[at].wanted, Demand::wanted);
            let most = clamp(wanted).min(part.cap.unwrap_or(BitRate::MAX).get());
            let least = clamp(guaranteed[at]).max(part.floor.get()).min(most);
            needs[at] = Need { wanted, most, least };
            if let Some(parent) = *parent {
                needs[parent].wanted += part.cap.map_or(wanted, |_| u128::from(most));
                guaranteed[parent] += u128::from(least);
            }
        }
        needs
    }

    /// Divides what a node got among its parts: class by class, and by weight within each.
    fn divide(&self, rate: u64, below: &[usize], needs: &[Need], rates: &mut [u64]) {
        let classes = Class::ALL.map(|class| -> Vec<usize> {
            below.iter().copied().filter(|&at| self.nodes[at].part.class == class).collect()
        });
        let wants = classes.each_ref().map(|class| {
            let mut group = (0_u128, 0_u128);
            for &at in class {
                group.0 += u128::from(needs[at].least);
                group.1 += u128::from(needs[at].most);
            }
            (clamp(group.0), clamp(group.1))
        });
        let mut left = rate;
        let mut reserved = self.reserve(rate, wants);
        for (index, class) in classes.iter().enumerate() {
            reserved[index] = 0;
            let lower: u64 = reserved.iter().sum();
            let given = wants[index].1.min(left.saturating_sub(lower));
            left -= given;
            let wants: Vec<Want> = class
                .iter()
                .map(|&at| Want {
                    weight: self.nodes[at].part.weight,
                    least: needs[at].least,
                    most: needs[at].most,
                })
                .collect();
            for (&at, given) in class.iter().zip(fill(given, &wants)) {
                rates[at] = given;
            }
        }
    }

    /// What is kept for each class: its floor, and what is guaranteed within it, the higher class
    /// first (spec: S-186). No more than `rate` in all.
    fn reserve(&self, rate: u64, wants: [(u64, u64); 3]) -> [u64; 3] {
        let floor = self.floor.of(rate);
        let mut reserved = wants.map(|(_, most)| most.min(floor));
        let mut left = rate.saturating_sub(reserved.iter().sum());
        for (reserved, (least, _)) in reserved.iter_mut().zip(wants) {
            let more = least.saturating_sub(*reserved).min(left);
            *reserved += more;
            left -= more;
        }
        reserved
    }

    /// Rates by name, each with what holds it.
    fn explain(&self, needs: &[Need], rates: &[u64]) -> BTreeMap<K, Shared<K>> {
        let mut names: Vec<Option<&K>> = vec![None; self.nodes.len()];
        for (key, &at) in &self.at {
            names[at] = Some(key);
        }
        // Whose cap holds it; itself, or somebody above. Nobody where its demand is met.
        let mut held_by: Vec<Option<usize>> = Vec::with_capacity(self.nodes.len());
        for (at, Node { part, parent }) in self.nodes.iter().enumerate() {
            let is_capped = part.cap.is_some_and(|cap| rates[at] >= cap.get());
            held_by.push(match parent {
                _ if u128::from(rates[at]) >= needs[at].wanted => None,
                _ if is_capped => Some(at),
                Some(parent) => held_by[*parent],
                None => None,
            });
        }
        let limit = |at: usize| {
            let Some(held_by) = held_by[at] else { return Limit::Demand };
            let Some(&of) = names[held_by].as_ref() else { return Limit::Demand };
            let (of, level) = (of.clone(), self.nodes[held_by].part.level);
            match held_by {
                itself if itself == at => Limit::OwnCap,
                above if rates[above] == rates[at] => Limit::Cap { of, level },
                _ => Limit::Share { of, level },
            }
        };
        let shared = |at: usize| Shared { rate: BitRate::bps(rates[at]), limited_by: limit(at) };
        self.at.iter().map(|(key, &at)| (key.clone(), shared(at))).collect()
    }
}
