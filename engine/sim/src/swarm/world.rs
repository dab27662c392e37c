//! The virtual world of a swarm: sessions, messages, transfers, and what the product's brains make
//! of them. What must always hold is checked as it happens.

mod body;
mod faults;
mod planning;

use super::cell::Cell;
use super::liar::Lie;
use super::net::{Flow, Net};
use super::outcome::Outcome;
use super::sites::{self, Ends, peer};
use super::wheel::Wheel;
use crate::rng::Rng;
use farhaul_proto::units::Timestamp;
use farhaul_sync::swarm::planner::Input as PlannerInput;
use farhaul_sync::swarm::taker::Input;
use farhaul_sync::swarm::{ChunkSet, Dice, Giver, Part, Peer, Planner, Run, Taker, Terms};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A session that says nothing for this time is over, in milliseconds.
const SILENT_MS: u64 = 1000;
/// Transfers that one appliance gives at once at most, over the WAN and behind it.
const SERVED_MAX: usize = 16;
/// The same of an origin, whose peers have others who give to them.
const ORIGIN_SERVED_MAX: usize = 48;
/// Bytes of a message besides its runs: head, session, packet.
const MESSAGE: u64 = 60;
/// Bytes of a run in a message.
const RUN: u64 = 6;

/// What happens somewhere at some time.
enum Event {
    /// A site hears something, unless it started anew meanwhile.
    Hear(usize, Input),
    /// A peer's words, which count only within the session in which they were said.
    Said(usize, usize, u32, Arc<[Run]>),
    Ask(usize, usize, Part),
    Trim(usize, usize, Part, u32),
    Cancel(usize, usize, Part),
    Meet(usize, usize),
    Plan(PlannerInput),
    Fault(faults::Fault),
    Tick(usize),
    PlannerTick,
}

struct Site {
    taker: Option<Taker>,
    held: ChunkSet,
    /// For the WAN, and behind it.
    givers: [Giver; 2],
    served: [Vec<Flow>; 2],
    sessions: BTreeSet<usize>,
    /// How often it started.
    life: u32,
    is_up: bool,
    lie: Option<Lie>,
    done_at: Option<u64>,
    has_left: bool,
    tainted: BTreeSet<u32>,
}

struct Transfer {
    from: usize,
    to: usize,
    part: Part,
    is_bad: bool,
    lane: usize,
}

#[derive(Default)]
struct Tally {
    egress: f64,
    /// When bytes left an origin last.
    egress_at: u64,
    /// By label.
    wan: BTreeMap<u16, f64>,
    came: f64,
    bad: u64,
    believed: u64,
    messages: (u64, u64),
    busy: (f64, f64),
    planner_memory: usize,
    taker_memory: usize,
    honest_aside: usize,
    liars_aside: usize,
}

/// One run under way.
pub struct World {
    cell: Cell,
    terms: Arc<Terms>,
    net: Net,
    ends: Vec<Ends>,
    /// The appliances whose WAN uplink an end is.
    behind: BTreeMap<usize, Vec<usize>>,
    sites: Vec<Site>,
    transfers: BTreeMap<Flow, Transfer>,
    planner: Option<Planner>,
    wheel: Wheel<Event>,
    rng: Rng,
    seed: u64,
    now: u64,
    tally: Tally,
    bound: f64,
    file: f64,
    /// What must hold and did not.
    pub broken: Vec<String>,
}

/// Plays a cell with a seed to its end.
///
/// # Errors
/// If the cell is no job.
pub fn run(cell: &Cell, seed: u64) -> Result<Outcome, farhaul_sync::swarm::TermsError> {
    let mut world = World::new(cell, seed)?;
    while world.step() {}
    Ok(world.outcome())
}

impl World {
    /// A world in which nothing has happened yet.
    ///
    /// # Errors
    /// If the cell is no job.
    pub fn new(cell: &Cell, seed: u64) -> Result<Self, farhaul_sync::swarm::TermsError> {
        let drawn = sites::draw(cell, seed)?;
        let terms = Arc::new(drawn.terms);
        let chunks = terms.chunks();
        let mut behind: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, ends) in drawn.ends.iter().enumerate() {
            behind.entry(ends.up).or_default().push(at);
        }
        let sites = drawn.lies.iter().enumerate().map(|(at, lie)| Site {
            taker: None,
            held: if at < cell.origins { ChunkSet::full(chunks) } else { ChunkSet::new(chunks) },
            givers: [(); 2].map(|()| Giver::new(at < cell.origins)),
            served: [Vec::new(), Vec::new()],
            sessions: BTreeSet::new(),
            life: 0,
            is_up: false,
            lie: *lie,
            done_at: None,
            has_left: false,
            tainted: BTreeSet::new(),
        });
        let mut world = Self {
            cell: cell.clone(),
            sites: sites.collect(),
            planner: Some(Planner::new(Arc::clone(&terms), Dice::new(seed))),
            terms,
            net: drawn.net,
            ends: drawn.ends,
            behind,
            transfers: BTreeMap::new(),
            wheel: Wheel::new(),
            rng: Rng::new(seed).fork("world"),
            seed,
            now: 0,
            tally: Tally::default(),
            bound: drawn.bound,
            file: drawn.file,
            broken: Vec::new(),
        };
        for at in 0..world.sites.len() {
            world.start(at);
        }
        world.wheel.put(50, Event::PlannerTick);
        world.plan_faults();
        Ok(world)
    }

    /// A millisecond passes: false once everything is done, or nothing will ever be.
    pub fn step(&mut self) -> bool {
        let until = (self.wheel.now() + 1) * 1_000_000;
        while let Some((at, flow)) = self.net.next_done(until) {
            self.now = at.max(self.now);
            self.finish(flow);
            self.serve_slack();
        }
        self.now = until;
        for event in self.wheel.turn() {
            self.happen(event);
        }
        self.serve_slack();
        let is_late = self.seconds() > 20.0 * self.bound + 300.0;
        !is_late && !self.is_done()
    }

    /// True if all that are to have everything have it.
    pub fn is_done(&self) -> bool {
        self.takers().all(|at| self.sites[at].done_at.is_some())
    }

    /// Sites that are to have everything: those that do not lie.
    fn takers(&self) -> impl Iterator<Item = usize> + '_ {
        (self.cell.origins..self.sites.len()).filter(|at| self.sites[*at].lie.is_none())
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    fn seconds(&self) -> f64 {
        self.now as f64 / 1e9
    }

    fn stamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    /// Half a round trip between two sites, in milliseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds")]
    fn way(&self, a: usize, b: usize) -> u64 {
        if self.terms.cost(peer(a), peer(b)) == 0 {
            return 1;
        }
        let (a, b) = (&self.ends[a], &self.ends[b]);
        ((a.far + b.far) / 2.0).round() as u64
    }

    /// A message is on its way; it counts where it comes over a WAN link.
    fn send(&mut self, from: usize, to: usize, runs: usize, event: Event) {
        let bytes = MESSAGE + RUN * runs as u64;
        self.tally.messages.0 += 1;
        self.tally.messages.1 += bytes;
        if self.terms.cost(peer(from), peer(to)) > 0 {
            self.count_wan(to, f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
        }
        let way = self.way(from, to);
        self.wheel.put(way, event);
    }

    fn count_wan(&mut self, at: usize, bytes: f64) {
        if let Some(about) = self.terms.about(peer(at)) {
            *self.tally.wan.entry(about.label).or_default() += bytes;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hear(at, input) => self.hear(at, input),
            Event::Said(from, to, life, runs) => {
                if self.sites[from].life == life && self.sites[to].is_up {
                    self.said(from, to, runs);
                }
            }
            Event::Ask(from, to, part) => self.asked(from, to, part),
            Event::Trim(from, to, part, end) => self.trimmed(from, to, part, end),
            Event::Cancel(from, to, part) => self.cancelled(from, to, part),
            Event::Meet(a, b) => self.meet(a, b),
            Event::Plan(input) => self.planner_hears(input),
            Event::Fault(fault) => self.strike(fault),
            Event::Tick(at) => self.tick(at),
            Event::PlannerTick => self.planner_tick(),
        }
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        let takers: Vec<usize> = self.takers().collect();
        let is_judged = |at: &&usize| !self.sites[**at].has_left;
        let mut times: Vec<u64> =
            takers.iter().filter(is_judged).filter_map(|at| self.sites[*at].done_at).collect();
        times.sort_unstable();
        let done = takers.iter().filter(|at| self.sites[**at].done_at.is_some()).count();
        let seconds = |nanos: u64| Timestamp::from_nanos(nanos).as_secs_f64();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().max(1) - 1));
        let last = if done == takers.len() { at(100).copied() } else { None };
        let wan = self.sites.iter().enumerate().skip(self.cell.origins);
        let labels: BTreeSet<u16> = wan
            .filter(|(_, site)| site.lie.is_none())
            .filter_map(|(at, _)| self.terms.about(peer(at)).map(|about| about.label))
            .collect();
        let worst = labels.iter().filter_map(|label| self.tally.wan.get(label));
        let liars = self.sites.iter().filter(|site| site.lie.is_some()).count();
        let taker = |site: &Site| site.taker.as_ref().map(|taker| taker.counters);
        let counters = self.sites.iter().filter_map(taker);
        let asks = counters
            .fold((0, 0, 0), |sum, one| (sum.0 + one.split, sum.1 + one.late, sum.2 + one.refused));
        Outcome {
            done: (done, takers.len()),
            bound: self.bound,
            last: last.map_or(f64::INFINITY, seconds),
            halves: (at(50).map_or(0.0, |n| seconds(*n)), at(99).map_or(0.0, |n| seconds(*n))),
            egress: self.tally.egress / self.file,
            wan: worst.copied().fold(0.0, f64::max) / self.file,
            doubles: self.vain() / self.tally.came.max(1.0),
            bad: self.tally.bad,
            believed: self.tally.believed,
            aside: (self.tally.liars_aside, liars, self.tally.honest_aside),
            asks,
            out_at: seconds(self.tally.egress_at),
            control: self.tally.messages,
            busy: self.tally.busy.0 / self.tally.busy.1.max(1e-9),
            memory: (self.tally.planner_memory, self.tally.taker_memory),
        }
    }

    /// Bytes that came to honest sites beyond one copy of what they have.
    fn vain(&self) -> f64 {
        let held = self.takers().map(|at| {
            let runs = self.sites[at].held.runs().flat_map(|run| run.first..run.first + run.len);
            runs.map(|chunk| f64::from(self.terms.bytes(chunk))).sum::<f64>()
        });
        self.tally.came - held.sum::<f64>()
    }

    /// The seed that it is played with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn is_linked(&self, a: usize, b: usize) -> bool {
        self.sites[a].sessions.contains(&b)
    }

    fn at(peer: Peer) -> usize {
        peer.index()
    }
}
