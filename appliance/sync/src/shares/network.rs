//! Flows that cross several links, divided over all of them at once: weighted max-min by
//! progressive filling, class by class.
//!
//! All flows of a class rise together, each as fast as its weight, until a link is full or a flow
//! has all it can use: the flows of that link, or that flow, stay where they are, and the others
//! rise on. So each flow that has less than it can use crosses a full link on which no flow of its
//! class has more for its weight, but for what rounding makes (spec: S-191).

use super::fill::Fraction;
use super::{Class, ClassFloor, ShareError, Weight};
use core::cmp::Reverse;
use farhaul_proto::units::BitRate;
use std::collections::{BTreeMap, BinaryHeap};

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

/// A flow with its links as numbers.
struct Route {
    links: Vec<usize>,
    class: Class,
    weight: Weight,
    most: u64,
}

/// What happens next while flows rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// A flow has all it can use.
    Flow(usize),
    /// A link is full.
    Link(usize),
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

    /// Whether there is such a link.
    pub(super) fn has_link(&self, link: &L) -> bool {
        self.links.contains_key(link)
    }

    /// What each flow gets.
    pub fn allocate(&self) -> BTreeMap<F, Crossing<L>> {
        let names: Vec<&L> = self.links.keys().collect();
        let mut filling = Filling::new(self.routes(&names), self.room());
        filling.classes(self.floor);
        let mut crossings = BTreeMap::new();
        for (at, key) in self.flows.keys().enumerate() {
            let (rate, full) = (filling.rates[at], filling.held_by(at));
            let held_by = full.map(|link| names[link].clone());
            crossings.insert(key.clone(), Crossing { rate: BitRate::bps(rate), held_by });
        }
        crossings
    }

    fn room(&self) -> Vec<u64> {
        self.links.values().map(|room| room.get()).collect()
    }

    fn routes(&self, names: &[&L]) -> Vec<Route> {
        let route = |flow: &Flow<L>| {
            let at = |link: &L| names.binary_search(&link).ok();
            let mut links: Vec<usize> = flow.links.iter().filter_map(at).collect();
            links.sort_unstable();
            links.dedup();
            Route { links, class: flow.class, weight: flow.weight, most: flow.most.get() }
        };
        self.flows.values().map(route).collect()
    }
}

/// Flows on their way up.
struct Filling {
    routes: Vec<Route>,
    /// Who crosses each link.
    crossing: Vec<Vec<usize>>,
    /// What is left of each link.
    room: Vec<u64>,
    rates: Vec<u64>,
    /// The link at which each flow stopped.
    stopped_at: Vec<Option<usize>>,
}

impl Filling {
    fn new(routes: Vec<Route>, room: Vec<u64>) -> Self {
        let mut crossing = vec![Vec::new(); room.len()];
        for (at, route) in routes.iter().enumerate() {
            for &link in &route.links {
                crossing[link].push(at);
            }
        }
        let (rates, stopped_at) = (vec![0; routes.len()], vec![None; routes.len()]);
        Self { routes, crossing, room, rates, stopped_at }
    }

    /// Fills class by class. For the lower ones is kept what they make of their floors on each link;
    /// what they then do not use of that goes to whoever comes first.
    fn classes(&mut self, floor: ClassFloor) {
        let floors: Vec<u64> = self.room.iter().map(|&room| floor.of(room)).collect();
        let reserves = Class::ALL.map(|class| {
            let mut left = floors.clone();
            self.rise(class, &mut left);
            self.rates.fill(0);
            self.stopped_at.fill(None);
            floors.iter().zip(left).map(|(floor, left)| floor - left).collect::<Vec<u64>>()
        });
        for (index, class) in Class::ALL.into_iter().enumerate() {
            let lower =
                |link: usize| -> u64 { reserves[index + 1..].iter().map(|r| r[link]).sum() };
            let kept: Vec<u64> = (0..self.room.len()).map(lower).collect();
            let mut room: Vec<u64> = self
                .room
                .iter()
                .zip(&kept)
                .map(|(room, kept)| room.saturating_sub(*kept))
                .collect();
            self.rise(class, &mut room);
            self.room = room.iter().zip(&kept).map(|(room, kept)| room + kept).collect();
        }
        for class in Class::ALL {
            let mut room = core::mem::take(&mut self.room);
            self.rise(class, &mut room);
            self.room = room;
        }
    }

    /// Lets the flows of a class rise from where they are, into `room`.
    fn rise(&mut self, class: Class, room: &mut [u64]) {
        let mut is_rising: Vec<bool> = self.routes.iter().map(|r| r.class == class).collect();
        let mut weights = vec![0_u64; room.len()];
        let mut stops = BinaryHeap::new();
        for (at, route) in self.routes.iter().enumerate().filter(|&(at, _)| is_rising[at]) {
            let more = route.most - self.rates[at];
            stops.push(Reverse((Fraction::of(more, route.weight), Stop::Flow(at))));
            for &link in &route.links {
                weights[link] += u64::from(route.weight.get());
            }
        }
        let level = |room: u64, weight: u64| Fraction { num: room, den: weight };
        for (link, &weight) in weights.iter().enumerate().filter(|&(_, &weight)| weight > 0) {
            stops.push(Reverse((level(room[link], weight), Stop::Link(link))));
        }
        while let Some(Reverse((stop, which))) = stops.pop() {
            let (halted, by) = match which {
                Stop::Flow(at) => (vec![at], None),
                Stop::Link(link) if weights[link] == 0 => continue,
                Stop::Link(link) => {
                    // Flows that stopped meanwhile left it more for each that goes on.
                    let now = level(room[link], weights[link]);
                    if now > stop {
                        stops.push(Reverse((now, which)));
                        continue;
                    }
                    (self.crossing[link].clone(), Some(link))
                }
            };
            for at in halted {
                if !core::mem::take(&mut is_rising[at]) {
                    continue;
                }
                let route = &self.routes[at];
                let more = stop.times(route.weight).min(route.most - self.rates[at]);
                self.rates[at] += more;
                if more > 0 || self.stopped_at[at].is_none() {
                    self.stopped_at[at] = by;
                }
                for &link in &route.links {
                    room[link] -= more;
                    weights[link] -= u64::from(route.weight.get());
                }
            }
        }
        self.give_rest(class, room);
    }

    /// Gives what rounding left, a bit at a time, to whoever has least for its weight with it.
    fn give_rest(&mut self, class: Class, room: &mut [u64]) {
        let next = |routes: &[Route], at: usize, has: u64| {
            let route = &routes[at];
            (has < route.most).then(|| Reverse((Fraction::of(has + 1, route.weight), at)))
        };
        let of_class = |&at: &usize| self.routes[at].class == class;
        let mut queue: BinaryHeap<_> = (0..self.routes.len())
            .filter(of_class)
            .filter_map(|at| next(&self.routes, at, self.rates[at]))
            .collect();
        while let Some(Reverse((_, at))) = queue.pop() {
            let links = &self.routes[at].links;
            if links.iter().any(|&link| room[link] == 0) {
                continue;
            }
            for &link in links {
                room[link] -= 1;
            }
            self.rates[at] += 1;
            queue.extend(next(&self.routes, at, self.rates[at]));
        }
    }

    /// The full link that holds a flow.
    fn held_by(&self, at: usize) -> Option<usize> {
        let route = &self.routes[at];
        let is_full = |&&link: &&usize| self.room[link] == 0;
        if self.rates[at] >= route.most {
            return None;
        }
        let stopped = self.stopped_at[at].filter(|link| self.room[*link] == 0);
        stopped.or_else(|| route.links.iter().find(is_full).copied())
    }
}
