//! How flows rise over links: the filling beneath [`super::Network`], with flows and links as
//! numbers, in the order of their names.

use super::fill::Fraction;
use super::{Class, ClassFloor, Weight};
use core::cmp::Reverse;
use farhaul_proto::units::BitRate;
use std::collections::BinaryHeap;

/// A flow with its links as numbers.
pub(super) struct Route {
    pub(super) links: Vec<usize>,
    pub(super) class: Class,
    pub(super) weight: Weight,
    pub(super) most: u64,
}

/// What happens next while flows rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// A flow has all it can use.
    Flow(usize),
    /// A link is full.
    Link(usize),
}

/// Flows on their way up.
pub(super) struct Filling {
    routes: Vec<Route>,
    floor: ClassFloor,
    /// Who crosses each link.
    crossing: Vec<Vec<usize>>,
    /// What is left of each link.
    room: Vec<u64>,
    rates: Vec<u64>,
    /// The link at which each flow stopped.
    stopped_at: Vec<Option<usize>>,
}

impl Filling {
    /// Flows over so many links; nothing is given yet.
    pub(super) fn new(routes: Vec<Route>, links: usize, floor: ClassFloor) -> Self {
        let mut crossing = vec![Vec::new(); links];
        for (at, route) in routes.iter().enumerate() {
            for &link in &route.links {
                crossing[link].push(at);
            }
        }
        let (rates, stopped_at) = (vec![0; routes.len()], vec![None; routes.len()]);
        Self { routes, floor, crossing, room: vec![0; links], rates, stopped_at }
    }

    /// Takes a flow out: it can use nothing from now on.
    pub(super) fn end(&mut self, at: usize) {
        self.routes[at].most = 0;
    }

    /// What a flow got.
    pub(super) fn rate(&self, at: usize) -> BitRate {
        BitRate::bps(self.rates[at])
    }

    /// Divides links of that room anew, class by class. For the lower ones is kept what they make of
    /// their floors on each link; what they then do not use of that goes to whoever comes first.
    pub(super) fn fill(&mut self, room: &[u64]) {
        self.room.copy_from_slice(room);
        let reserves = self.reserves();
        for (index, class) in Class::ALL.into_iter().enumerate() {
            let lower =
                |link: usize| -> u64 { reserves[index + 1..].iter().map(|r| r[link]).sum() };
            let kept: Vec<u64> = (0..self.room.len()).map(lower).collect();
            let without = |(room, kept): (&u64, &u64)| room.saturating_sub(*kept);
            let mut room: Vec<u64> = self.room.iter().zip(&kept).map(without).collect();
            self.rise(class, &mut room);
            self.room = room.iter().zip(&kept).map(|(room, kept)| room + kept).collect();
        }
        if reserves.iter().flatten().any(|&kept| kept > 0) {
            for class in Class::ALL {
                let mut room = core::mem::take(&mut self.room);
                self.rise(class, &mut room);
                self.room = room;
            }
        }
    }

    /// What each class makes of the floors alone; nothing for the highest, below which nobody is.
    fn reserves(&mut self) -> [Vec<u64>; 3] {
        let floors: Vec<u64> = self.room.iter().map(|&room| self.floor.of(room)).collect();
        let highest = self.routes.iter().filter(|r| r.most > 0).map(|r| r.class).max();
        self.rates.fill(0);
        Class::ALL.map(|class| {
            let mut left = floors.clone();
            if highest.is_some_and(|highest| class < highest) {
                self.rise(class, &mut left);
            }
            self.rates.fill(0);
            self.stopped_at.fill(None);
            floors.iter().zip(left).map(|(floor, left)| floor - left).collect()
        })
    }

    /// Lets the flows of a class rise from where they are, into `room`.
    fn rise(&mut self, class: Class, room: &mut [u64]) {
        let rises = |(route, &has): (&Route, &u64)| route.class == class && has < route.most;
        let mut is_rising: Vec<bool> = self.routes.iter().zip(&self.rates).map(rises).collect();
        if !is_rising.contains(&true) {
            return;
        }
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
    pub(super) fn held_by(&self, at: usize) -> Option<usize> {
        let route = &self.routes[at];
        let is_full = |&&link: &&usize| self.room[link] == 0;
        if self.rates[at] >= route.most {
            return None;
        }
        let stopped = self.stopped_at[at].filter(|link| self.room[*link] == 0);
        stopped.or_else(|| route.links.iter().find(is_full).copied())
    }
}
