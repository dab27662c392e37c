//! The division: from what is in force, which jobs there are and what there is to send, to the settings of
//! the engine. Pure.
//!
//! Each link is a tree of its classes, the jobs in each and the peers of each job (spec: S-185); what it
//! gives each leaf becomes weights, of sessions beside each other and of flows within one. Only caps become
//! caps of flows: what a cap has is divided among the flows below it, so that together they never have
//! more, and what it leaves nobody is held back from.

use super::{ClassCap, Hold, JobTable, LinkCap, Lot, Rules, link_of};
use farhaul_proto::ids::SiteId;
use farhaul_proto::shares::{self as flows, FlowPlan};
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::Limit as Allowed;
use farhaul_sync::shares::{Class, ClassFloor, Demand, Level, Limit, Part, Shared, Tree, Weight};
use std::collections::BTreeMap;

/// The weight of a session that has all of its link, and of a flow that has a weight of one for itself.
const SESSION_WEIGHT: u64 = 60_000;
const FLOW_WEIGHT: u64 = 60;
/// What those below a cap get of it who have nothing to send just now, until it is divided anew: in
/// thousandths, all of them together.
const IDLE: u64 = 10;
/// A flow that its caps leave something has this at least.
const LEAST: BitRate = BitRate::kbps(8);

/// What there is to send of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Whether there is.
    pub(super) is_busy: bool,
    /// What it could use.
    pub(super) demand: Demand,
}

/// What there is to send to each peer.
pub(super) type Loads = BTreeMap<SiteId, BTreeMap<Lot, Load>>;

/// What a flow gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowPart {
    pub(super) plan: FlowPlan,
    /// Its part of the link; `None` where nothing says what that carries.
    pub(super) share: Option<BitRate>,
    /// What holds it; `None`: it has nothing to send.
    pub(super) hold: Option<Hold>,
}

/// What a session gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionPart {
    /// Over which link, by its place in the list.
    pub(super) link: Option<usize>,
    /// Beside the others over it.
    pub(super) weight: flows::Weight,
    pub(super) flows: BTreeMap<Lot, FlowPart>,
}

/// What each session gets.
pub(super) type Division = BTreeMap<SiteId, SessionPart>;

/// What a job or the like is to get on one link.
#[derive(Clone, Copy, Debug)]
struct Terms {
    class: Class,
    weight: u32,
    cap: Option<BitRate>,
    /// A calendar has set the cap.
    by_calendar: bool,
    paused: Option<Hold>,
}

/// A part of the tree of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Link,
    Class(Class),
    Lot(Lot),
    Peer(Lot, SiteId),
}

/// Who shares a link.
struct Over<'a> {
    link: Option<&'a LinkCap>,
    loads: BTreeMap<SiteId, &'a BTreeMap<Lot, Load>>,
    terms: BTreeMap<Lot, Terms>,
}

/// What everybody gets.
pub(super) fn divide(rules: &Rules, jobs: &JobTable, loads: &Loads) -> Division {
    let mut overs: BTreeMap<Option<usize>, Over<'_>> = BTreeMap::new();
    for (peer, flows) in loads {
        let at = link_of(&rules.links, *peer);
        let link = at.and_then(|at| rules.links.get(at));
        let new = || Over { link, loads: BTreeMap::new(), terms: BTreeMap::new() };
        let over = overs.entry(at).or_insert_with(new);
        over.loads.insert(*peer, flows);
        for lot in flows.keys() {
            over.terms.entry(*lot).or_insert_with(|| terms(*lot, rules, jobs, link));
        }
    }
    split_caps(&mut overs);
    let mut division = Division::new();
    for (at, over) in &overs {
        let rates = over.rates();
        for peer in over.loads.keys() {
            division.insert(*peer, over.session(*peer, *at, &rates));
        }
    }
    division
}

/// What something is to get on a link.
fn terms(lot: Lot, rules: &Rules, jobs: &JobTable, link: Option<&LinkCap>) -> Terms {
    let (class, weight) = (Class::Normal, 1);
    let mut terms = Terms { class, weight, cap: None, by_calendar: false, paused: None };
    let Lot::Job(id) = lot else { return terms.below(lot, link) };
    let Some(job) = jobs.jobs.get(&id) else {
        // It is over: what is under way of it comes to its end.
        return Terms { class: Class::Background, ..terms };
    };
    terms = Terms { class: job.class, weight: job.weight, cap: job.cap, ..terms };
    if let Some(name) = &job.calendar {
        match rules.calendars.get(name) {
            Some(Allowed::Full) => {}
            Some(Allowed::Pause) | None => terms.paused = Some(Hold::Calendar),
            Some(holds) => {
                let allowed = holds.on(link.and_then(|link| link.up));
                if allowed.is_some_and(|allowed| terms.cap.is_none_or(|cap| allowed < cap)) {
                    (terms.cap, terms.by_calendar) = (allowed, true);
                }
            }
        }
    }
    if job.is_paused {
        terms.paused = Some(Hold::Paused);
    }
    terms.below(lot, link)
}

impl Terms {
    /// With what its class may have there.
    fn below(mut self, lot: Lot, link: Option<&LinkCap>) -> Self {
        let class = link.and_then(|link| link.classes.get(&self.class));
        if lot != Lot::Words
            && self.paused.is_none()
            && let Some(ClassCap { cap: Some(BitRate::ZERO), by_calendar, .. }) = class
        {
            self.paused = Some(if *by_calendar { Hold::Calendar } else { Hold::Class });
        }
        self
    }
}

/// The cap of a job that goes over several links holds over all of them: it is divided by what the job
/// would have on each.
fn split_caps(overs: &mut BTreeMap<Option<usize>, Over<'_>>) {
    let mut wanted: BTreeMap<Lot, Vec<(Option<usize>, u64)>> = BTreeMap::new();
    let is_one = overs.len() < 2;
    for (at, over) in overs.iter().filter(|_| !is_one) {
        let rates = over.rates();
        for lot in over.terms.iter().filter(|(_, terms)| terms.cap.is_some()).map(|(lot, _)| lot) {
            let rate = rates.get(&Node::Lot(*lot)).map_or(0, |shared| shared.rate.get());
            wanted.entry(*lot).or_default().push((*at, rate));
        }
    }
    for (lot, on) in wanted.into_iter().filter(|(_, on)| on.len() > 1) {
        let all: u128 = on.iter().map(|(_, rate)| u128::from(*rate)).sum();
        for (at, rate) in &on {
            let terms = overs.get_mut(at).and_then(|over| over.terms.get_mut(&lot));
            if let Some(terms) = terms {
                let part = |cap: BitRate| match all {
                    0 => BitRate::bps(cap.get() / on.len() as u64),
                    all => BitRate::bps(scaled(cap.get(), u128::from(*rate), all)),
                };
                terms.cap = terms.cap.map(part);
            }
        }
    }
}

/// A part of a number, rounded down.
fn scaled(n: u64, part: u128, of: u128) -> u64 {
    u64::try_from(u128::from(n) * part / of.max(1)).unwrap_or(u64::MAX)
}

type Rates = BTreeMap<Node, Shared<Node>>;

impl Over<'_> {
    fn terms(&self, lot: Lot) -> Terms {
        let none =
            Terms { class: Class::Normal, weight: 1, cap: None, by_calendar: false, paused: None };
        self.terms.get(&lot).copied().unwrap_or(none)
    }

    fn class(&self, class: Class) -> ClassCap {
        self.link.and_then(|link| link.classes.get(&class)).cloned().unwrap_or_default()
    }

    fn is_active(&self, peer: SiteId, lot: Lot) -> bool {
        let load = self.loads.get(&peer).and_then(|flows| flows.get(&lot));
        load.is_some_and(|load| load.is_busy) && self.terms(lot).paused.is_none()
    }

    /// What of the link each part gets.
    fn rates(&self) -> Rates {
        let room = self.link.and_then(|link| link.cap).unwrap_or(BitRate::MAX);
        let mut tree = Tree::new(Node::Link, room, ClassFloor::default());
        for class in Class::ALL {
            let ClassCap { cap, floor, .. } = self.class(class);
            let part = Part::new(Level::Class).class(class);
            let part = part.floor(floor.unwrap_or(BitRate::ZERO));
            // Nothing of one name is there twice, and levels go down.
            let _ =
                tree.add(&Node::Link, Node::Class(class), cap.map_or(part, |cap| part.cap(cap)));
        }
        for (lot, terms) in &self.terms {
            let above = if *lot == Lot::Words { Node::Link } else { Node::Class(terms.class) };
            let part = Part::new(Level::Job).weight(Weight::new(terms.weight).unwrap_or_default());
            let part = terms.cap.map_or(part, |cap| part.cap(cap));
            let _ = tree.add(&above, Node::Lot(*lot), part);
        }
        for (peer, flows) in &self.loads {
            for (lot, load) in flows.iter().filter(|(lot, _)| self.is_active(*peer, **lot)) {
                let part = Part::new(Level::Peer).demand(load.demand);
                let _ = tree.add(&Node::Lot(*lot), Node::Peer(*lot, *peer), part);
            }
        }
        tree.allocate()
    }

    fn session(&self, peer: SiteId, link: Option<usize>, rates: &Rates) -> SessionPart {
        let cap = self.link.and_then(|link| link.cap);
        let flows = self.loads.get(&peer).into_iter().flat_map(|flows| flows.keys());
        let flows: BTreeMap<_, _> = flows.map(|lot| (*lot, self.flow(peer, *lot, rates))).collect();
        let all: u64 = flows.keys().map(|lot| rate(rates, Node::Peer(*lot, peer))).sum();
        let weight = match cap {
            None => flows::Weight::DEFAULT,
            Some(cap) => {
                // Whoever begins has something until it is divided anew.
                let part = scaled(SESSION_WEIGHT, u128::from(all), u128::from(cap.get()));
                let least = SESSION_WEIGHT / 100;
                flows::Weight::new(u16::try_from(part.max(least)).unwrap_or(u16::MAX))
            }
        };
        SessionPart { link, weight, flows }
    }

    fn flow(&self, peer: SiteId, lot: Lot, rates: &Rates) -> FlowPart {
        let terms = self.terms(lot);
        let is_active = self.is_active(peer, lot);
        let (mine, whole) = (rate(rates, Node::Peer(lot, peer)), rate(rates, Node::Lot(lot)));
        // Of a job's weight its peers have as much as they have of what it gets.
        let is_divided = is_active && whole > 0 && self.link.is_some_and(|link| link.cap.is_some());
        let weight = u64::from(terms.weight) * FLOW_WEIGHT;
        let weight = if is_divided { scaled(weight, mine.into(), whole.into()) } else { weight };
        let caps = self.caps(lot, rates).into_iter();
        let cap = caps.map(|cap| self.part_of(cap, (peer, lot), rates)).min();
        let plan = FlowPlan {
            class: match terms.class {
                Class::Urgent => flows::Class::Urgent,
                Class::Normal => flows::Class::Normal,
                Class::Background => flows::Class::Background,
            },
            weight: flows::Weight::new(u16::try_from(weight).unwrap_or(u16::MAX)),
            cap,
            paused: terms.paused.is_some(),
        };
        let is_known = self.link.is_some_and(|link| link.cap.is_some()) || cap.is_some();
        let share =
            (is_known && is_active).then(|| BitRate::bps(mine).min(cap.unwrap_or(BitRate::MAX)));
        FlowPart { plan, share, hold: self.hold(peer, lot, rates) }
    }

    /// The caps that something stands below, each with what else does.
    fn caps(&self, lot: Lot, rates: &Rates) -> Vec<(BitRate, Vec<Lot>)> {
        let terms = self.terms(lot);
        let own = terms.cap.map(|cap| (cap, vec![lot]));
        if lot == Lot::Words {
            return own.into_iter().collect();
        }
        let floored = |below: &Class| {
            *below < terms.class
                && self.class(*below).floor.is_some()
                && rate(rates, Node::Class(*below)) > 0
        };
        // What is left to a lower class beyond what it has anyhow is no part of a higher one.
        let yields = self.link.is_some_and(|link| link.cap.is_some())
            && Class::ALL.iter().any(floored)
            && rate(rates, Node::Class(terms.class)) > 0;
        let yielded = yields.then(|| BitRate::bps(rate(rates, Node::Class(terms.class))));
        let class = self.class(terms.class).cap.into_iter().chain(yielded).min();
        let is_of = |(other, of): (&Lot, &Terms)| {
            (*other != Lot::Words && of.class == terms.class).then_some(*other)
        };
        let class = class.map(|cap| (cap, self.terms.iter().filter_map(is_of).collect()));
        own.into_iter().chain(class).collect()
    }

    /// What a flow has of a cap: all that have something to send have all of it together, and the others
    /// a little until they are seen.
    fn part_of(&self, cap: (BitRate, Vec<Lot>), it: (SiteId, Lot), rates: &Rates) -> BitRate {
        let ((cap, lots), (peer, lot)) = (cap, it);
        let below = self.loads.iter().flat_map(|(peer, flows)| {
            flows.keys().filter(|lot| lots.contains(lot)).map(move |lot| (*peer, *lot))
        });
        let (active, idle): (Vec<_>, Vec<_>) =
            below.partition(|(peer, lot)| self.is_active(*peer, *lot));
        let of = |&(peer, lot): &(SiteId, Lot)| u128::from(rate(rates, Node::Peer(lot, peer)));
        let all: u128 = active.iter().map(of).sum();
        let part = if !self.is_active(peer, lot) {
            let some = if active.is_empty() { cap.get() } else { cap.get() * IDLE / 1000 };
            some / idle.len().max(1) as u64
        } else if all == 0 {
            cap.get() / active.len().max(1) as u64
        } else {
            scaled(cap.get(), of(&(peer, lot)), all)
        };
        BitRate::bps(part).max(LEAST.min(cap))
    }

    /// What holds a flow, if it has something to send (spec: S-209).
    fn hold(&self, peer: SiteId, lot: Lot, rates: &Rates) -> Option<Hold> {
        self.loads.get(&peer)?.get(&lot).filter(|load| load.is_busy)?;
        let (terms, is_link) = (self.terms(lot), |node: &Node| *node == Node::Link);
        if let Some(paused) = terms.paused {
            return Some(paused);
        }
        let (of, shares) = match &rates.get(&Node::Peer(lot, peer))?.limited_by {
            Limit::Demand | Limit::OwnCap => return Some(Hold::Session),
            Limit::Cap { of, .. } => (of, false),
            Limit::Share { of, .. } => (of, true),
        };
        let by = |is_calendar: bool, hold: Hold| if is_calendar { Hold::Calendar } else { hold };
        Some(match of {
            Node::Link if self.link.is_none_or(|link| link.cap.is_none()) => Hold::Session,
            _ if shares && is_link(of) && self.is_preceded(terms.class, rates) => Hold::Class,
            _ if shares && is_link(of) && self.others(lot) => Hold::Share,
            Node::Link => by(self.link.is_some_and(|link| link.by_calendar), Hold::Link),
            Node::Class(_) if shares && self.others(lot) => Hold::Share,
            Node::Class(class) => by(self.class(*class).by_calendar, Hold::Class),
            Node::Lot(_) | Node::Peer(..) => by(terms.by_calendar, Hold::Cap),
        })
    }

    /// Whether a higher class has something of the link.
    fn is_preceded(&self, class: Class, rates: &Rates) -> bool {
        Class::ALL.iter().any(|other| *other > class && rate(rates, Node::Class(*other)) > 0)
    }

    /// Whether anything else has something to send.
    fn others(&self, lot: Lot) -> bool {
        let others = |(peer, flows): (&SiteId, &&BTreeMap<Lot, Load>)| {
            flows.keys().any(|other| *other != lot && self.is_active(*peer, *other))
        };
        self.loads.iter().any(others)
    }
}

fn rate(rates: &Rates, node: Node) -> u64 {
    rates.get(&node).map_or(0, |shared| shared.rate.get())
}

#[cfg(test)]
mod tests;
