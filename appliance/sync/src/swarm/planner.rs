//! The coordinator's soft state about a job: who shall hear of whom, which origin gives what to
//! whom, who lies. Lost without harm: the sites go on, and report again to whoever asks.
//!
//! It directs no single chunk between sites: that is decided where the answer is known first. Each
//! second it plans anew from what takers measured, never from what givers claim.

mod graph;

use super::holders::Holders;
use super::{ChunkSet, Dice, Fault, NEIGHBOURS_MAX, Peer, Plan, Run, Terms};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use graph::Graph;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Takers that origins give to at most.
pub const LEADS_MAX: usize = 48;
/// Chunks of which an origin's part is at first, and later at least.
const PART_MIN: usize = 32;
/// Chunks of which it is at most.
const PART_MAX: usize = 4096;
/// A chunk that nobody reports for this time after an origin was to give it is given by another.
const OUT_WITHIN: Duration = Duration::from_secs(20);
/// Every plan is said again after this time, be it empty: so sites know that there is a planner.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// Bytes per second that a site which nobody measured counts for.
const WEIGHT_FIRST: u64 = 125_000;

/// What the coordinator hears.
#[derive(Clone, Debug)]
pub enum Input {
    /// A site takes part.
    Joined(Peer),
    /// A site is gone.
    Left(Peer),
    /// A site has these as well, got verified bytes from these, and says that so many bytes per second
    /// of its uplink are free.
    Report {
        /// Who.
        site: Peer,
        /// What is new there.
        have: Vec<Run>,
        /// From whom, how many bytes since its last report.
        given: Vec<(Peer, u64)>,
        /// What it says is free.
        free: u64,
    },
    /// A site accuses another one.
    Blame {
        /// Who accuses.
        by: Peer,
        /// Whom.
        peer: Peer,
        /// Of what.
        fault: Fault,
    },
    /// A second has passed.
    Tick,
}

/// What a site is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This is what a site is to do.
    Direct(Peer, Plan),
    /// A site is set aside, for people to know.
    Aside(Peer),
}

#[derive(Clone, Debug, Default)]
struct Site {
    /// Bytes per second of verified data that others had from it, over some seconds.
    given: f64,
    given_since: u64,
    /// What it says is free beside that.
    free: u64,
    vouchers: BTreeSet<Peer>,
    blamers: BTreeSet<Peer>,
    /// Origins: what it is to give and nobody has yet, since when.
    open: BTreeMap<u32, Timestamp>,
    taken_since: usize,
    plan: Plan,
    is_new: bool,
}

/// The plan of one job.
#[derive(Debug)]
pub struct Planner {
    terms: Arc<Terms>,
    holders: Holders,
    /// Chunks that some taker has or an origin is to give.
    placed: ChunkSet,
    cursor: u32,
    again: VecDeque<u32>,
    sites: BTreeMap<Peer, Site>,
    aside: BTreeSet<Peer>,
    leads: BTreeSet<Peer>,
    origins: Vec<Peer>,
    graph: Graph,
    dice: Dice,
    said_at: Timestamp,
    effects: VecDeque<Effect>,
}

impl Planner {
    /// A planner that knows nothing but the job.
    pub fn new(terms: Arc<Terms>, dice: Dice) -> Self {
        let chunks = terms.chunks();
        Self {
            holders: Holders::new(chunks),
            placed: ChunkSet::new(chunks),
            cursor: 0,
            again: VecDeque::new(),
            sites: BTreeMap::new(),
            aside: BTreeSet::new(),
            leads: BTreeSet::new(),
            origins: terms.sites().filter(|(_, about)| about.is_origin).map(|(p, _)| p).collect(),
            graph: Graph::default(),
            dice,
            said_at: Timestamp::ZERO,
            effects: VecDeque::new(),
            terms,
        }
    }

    /// Takes in what a site says, or that a second has passed.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Joined(site) => self.joined(site),
            Input::Left(site) => self.left(site),
            Input::Report { site, have, given, free } => self.report(site, &have, &given, free),
            Input::Blame { by, peer, fault } => self.blame(by, peer, fault),
            Input::Tick => self.replan(now),
        }
    }

    /// The next thing to say.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self, now: Timestamp) -> Timestamp {
        now + Duration::from_secs(1)
    }

    /// Who is set aside.
    pub fn aside(&self) -> &BTreeSet<Peer> {
        &self.aside
    }

    /// Bytes of memory that this takes, nearly.
    pub fn memory(&self) -> usize {
        let open: usize = self.sites.values().map(|site| site.open.len()).sum();
        let plans: usize =
            self.sites.values().map(|site| site.plan.neighbours.capacity() * 2).sum();
        self.holders.memory()
            + self.placed.memory()
            + self.sites.len() * size_of::<Site>()
            + open * 16
            + plans
            + self.graph.memory()
    }

    fn is_origin(&self, peer: Peer) -> bool {
        self.terms.about(peer).is_some_and(|about| about.is_origin)
    }

    fn joined(&mut self, site: Peer) {
        if self.terms.about(site).is_some() && !self.aside.contains(&site) {
            self.sites.entry(site).or_insert_with(|| Site { is_new: true, ..Site::default() });
        }
    }

    fn left(&mut self, site: Peer) {
        let Some(known) = self.sites.remove(&site) else { return };
        for chunk in known.open.keys() {
            self.placed.remove(*chunk);
            self.again.push_back(*chunk);
        }
        self.leads.remove(&site);
        self.graph.remove(site);
        self.holders.forget(site);
    }

    fn report(&mut self, site: Peer, have: &[Run], given: &[(Peer, u64)], free: u64) {
        if !self.sites.contains_key(&site) {
            return;
        }
        if self.holders.hear(site, have).is_err() {
            self.set_aside(site);
            return;
        }
        for run in have {
            for chunk in run.first..run.first + run.len {
                self.note_held(chunk);
            }
        }
        for (giver, bytes) in given.iter().take(NEIGHBOURS_MAX * 2) {
            // Only who was told to hear of somebody can say anything about them.
            if !self.graph.has(site, *giver) {
                continue;
            }
            if let Some(known) = self.sites.get_mut(giver) {
                known.given_since = known.given_since.saturating_add(*bytes);
                known.vouchers.insert(site);
            }
        }
        if let Some(known) = self.sites.get_mut(&site) {
            known.free = free;
        }
    }

    /// A taker says that it has a chunk: an origin that was to give it has done so. What none was to give
    /// nobody can have; a planner that was started anew has it given by origins that know better.
    fn note_held(&mut self, chunk: u32) {
        for peer in &self.origins {
            if let Some(origin) = self.sites.get_mut(peer)
                && origin.open.remove(&chunk).is_some()
            {
                origin.taken_since += 1;
            }
        }
    }

    /// An accusation counts from who has sessions with the accused, once each; what makes it weigh is
    /// that more accuse than vouch.
    fn blame(&mut self, by: Peer, peer: Peer, fault: Fault) {
        if fault == Fault::Silent || self.aside.contains(&by) || !self.graph.has(by, peer) {
            return;
        }
        let Some(site) = self.sites.get_mut(&peer) else { return };
        site.blamers.insert(by);
        let vouchers = site.vouchers.difference(&site.blamers).count();
        if site.blamers.len() >= 2 && site.blamers.len() > vouchers {
            self.set_aside(peer);
        }
    }

    fn set_aside(&mut self, peer: Peer) {
        self.left(peer);
        if self.aside.insert(peer) {
            self.effects.push_back(Effect::Aside(peer));
        }
        self.said_at = Timestamp::ZERO;
    }

    fn replan(&mut self, now: Timestamp) {
        for site in self.sites.values_mut() {
            let given = site.given_since as f64;
            site.given += (given - site.given) / 4.0;
            site.given_since = 0;
        }
        self.choose_leads();
        self.draw_graph();
        self.hand_out(now);
        let is_time = now.since(self.said_at) >= SAY_EVERY || self.said_at == Timestamp::ZERO;
        if is_time {
            self.said_at = now;
        }
        let aside: Vec<Peer> = self.aside.iter().copied().collect();
        for (peer, site) in &mut self.sites {
            let is_news = site.is_new || !site.plan.part.is_empty() || self.graph.is_changed(*peer);
            if !is_time && !is_news {
                continue;
            }
            site.is_new = false;
            let mut plan = core::mem::take(&mut site.plan);
            plan.aside.clone_from(&aside);
            plan.neighbours = self.graph.of(*peer).collect();
            self.effects.push_back(Effect::Direct(*peer, plan));
        }
        self.graph.settle();
    }

    /// The spare uplink of a site, as far as it has proved to have any: twice what others measured.
    fn spare(&self, peer: Peer) -> u64 {
        let Some(site) = self.sites.get(&peer) else { return 0 };
        let proved = BytesPerSecond(site.given * 2.0).rounded();
        site.free.min(proved).max(WEIGHT_FIRST)
    }

    /// Phase 1: the takers that origins give to, as long as they are there.
    fn choose_leads(&mut self) {
        let takers: Vec<Peer> =
            self.sites.keys().copied().filter(|p| !self.is_origin(*p)).collect();
        let wanted = takers.len().min(LEADS_MAX);
        let mut others: Vec<Peer> =
            takers.into_iter().filter(|peer| !self.leads.contains(peer)).collect();
        // Each key is made once: a comparison that rolled dice again would contradict itself.
        others.sort_by_cached_key(|peer| (core::cmp::Reverse(self.spare(*peer)), self.dice.roll()));
        let missing = wanted.saturating_sub(self.leads.len());
        self.leads.extend(others.into_iter().take(missing));
        let leads: Vec<(Peer, u64)> =
            self.leads.iter().map(|peer| (*peer, self.spare(*peer))).collect();
        let origins: Vec<Peer> =
            self.sites.keys().copied().filter(|p| self.is_origin(*p)).collect();
        for origin in origins {
            for (peer, _) in &leads {
                self.graph.link(origin, *peer);
            }
            if let Some(site) = self.sites.get_mut(&origin) {
                site.plan.leads.clone_from(&leads);
            }
        }
    }

    /// Each origin is to give what nobody else gives, enough for the next seconds.
    fn hand_out(&mut self, now: Timestamp) {
        let origins: Vec<Peer> =
            self.sites.keys().copied().filter(|p| self.is_origin(*p)).collect();
        for origin in &origins {
            let Some(site) = self.sites.get_mut(origin) else { continue };
            let late = site.open.iter().filter(|(_, at)| now.since(**at) > OUT_WITHIN);
            let late: Vec<u32> = late.map(|(chunk, _)| *chunk).collect();
            for chunk in late {
                site.open.remove(&chunk);
                self.placed.remove(chunk);
                self.again.push_back(chunk);
            }
        }
        let mut wants: Vec<(usize, Peer)> = Vec::new();
        for origin in &origins {
            let Some(site) = self.sites.get_mut(origin) else { continue };
            let wanted = (site.taken_since * 5).clamp(PART_MIN, PART_MAX);
            site.taken_since = 0;
            wants.push((wanted.saturating_sub(site.open.len()), *origin));
        }
        // In turn, so that none has the tail of the file to itself.
        while wants.iter().any(|(wanted, _)| *wanted > 0) {
            for (wanted, origin) in wants.iter_mut().filter(|(wanted, _)| *wanted > 0) {
                let Some(chunk) = self.next_chunk() else { return };
                *wanted -= 1;
                self.placed.insert(chunk);
                if let Some(site) = self.sites.get_mut(origin) {
                    site.open.insert(chunk, now);
                    site.plan.part.push(Run::one(chunk));
                }
            }
        }
    }

    fn next_chunk(&mut self) -> Option<u32> {
        while let Some(chunk) = self.again.pop_front() {
            if !self.placed.contains(chunk) && !self.is_common(chunk) {
                return Some(chunk);
            }
        }
        while self.cursor < self.terms.chunks() {
            self.cursor += 1;
            let chunk = self.cursor - 1;
            if !self.placed.contains(chunk) && !self.is_common(chunk) {
                return Some(self.cursor - 1);
            }
        }
        None
    }

    /// Whether more than half of all takers say that they have it: it went out before this planner was.
    fn is_common(&self, chunk: u32) -> bool {
        let takers = self.sites.len().saturating_sub(self.origins.len());
        usize::from(self.holders.count(chunk)) * 2 > takers
    }

    /// Who hears of whom: enough neighbours for each, and those with spare uplink for those behind.
    fn draw_graph(&mut self) {
        let takers: Vec<Peer> =
            self.sites.keys().copied().filter(|p| !self.is_origin(*p)).collect();
        self.graph.fill(&takers, &self.terms, &mut self.dice);
        let held = |peer: &Peer| self.holders.of(*peer).map_or(0, ChunkSet::count);
        let mut by_held: Vec<(u32, Peer)> = takers.iter().map(|peer| (held(peer), *peer)).collect();
        by_held.sort_unstable();
        let mut by_spare: Vec<(u64, Peer)> = takers.iter().map(|p| (self.spare(*p), *p)).collect();
        by_spare.sort_unstable_by_key(|spare| core::cmp::Reverse(*spare));
        let behind = by_held.iter().take(takers.len().div_ceil(32)).map(|(_, peer)| *peer);
        let behind: Vec<Peer> = behind.filter(|peer| !self.is_complete(*peer)).collect();
        for (slow, (_, helper)) in behind.iter().zip(&by_spare) {
            self.graph.link(*slow, *helper);
        }
    }

    fn is_complete(&self, peer: Peer) -> bool {
        self.holders.of(peer).is_some_and(ChunkSet::is_full)
    }
}

struct BytesPerSecond(f64);

impl BytesPerSecond {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn rounded(&self) -> u64 {
        self.0 as u64
    }
}
