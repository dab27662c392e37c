//! Divides at every change, and a few times a second while there is something to send.

use super::divide::{Division, FlowPart, Load, Loads, divide};
use super::flows::SessionFlows;
use super::meter::Meter;
use super::shown::{FlowShown, GivenNow, Giving, LinkShown, SessionShown, Shown, limit_of};
use super::{JobShares, JobTable, Lot, Rules};
use crate::site::dial::lock;
use farhaul_engine::engine::{Engine, LinkNumber};
use farhaul_proto::ids::SiteId;
use farhaul_proto::shares::{FlowFigures, FlowPlan, Weight};
use farhaul_proto::trace::Limit;
use farhaul_proto::units::BitRate;
use farhaul_sync::job::JobId;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::shares::{Class, Demand};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How often it is divided while something is sent.
const TURN: Duration = Duration::from_millis(100);
/// And while nothing is.
const REST: Duration = Duration::from_secs(1);
/// The least time between two divisions, whatever changes.
const SOON: Duration = Duration::from_millis(10);
/// How often a session is asked what limits it.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Where sessions are put that go over no link: nothing has a cap there.
const NO_LINK: LinkNumber = LinkNumber(u8::MAX);

/// What all sessions of a site share.
pub(in crate::site) struct Shares {
    engine: Weak<Engine>,
    rules: Mutex<Arc<Rules>>,
    jobs: Mutex<Arc<JobTable>>,
    tells: Mutex<Option<JobShares>>,
    sessions: Mutex<BTreeMap<SiteId, Arc<SessionFlows>>>,
    /// What there was to send when it was divided last, and what came of it.
    last: Mutex<(Loads, Division)>,
    shown: Mutex<Arc<Shown>>,
    wakes: Notify,
}

/// What the division remembers of a session.
struct Known {
    flows: Weak<SessionFlows>,
    meters: BTreeMap<Lot, Meter>,
    over: Option<LinkNumber>,
    weight: Option<Weight>,
    limit: Option<Limit>,
    asked: Option<Instant>,
}

/// What it remembers from one time to the next.
#[derive(Default)]
struct Memory {
    sessions: BTreeMap<SiteId, Known>,
    caps: Vec<Option<BitRate>>,
}

impl Shares {
    pub(in crate::site) fn new(engine: &Arc<Engine>) -> Arc<Self> {
        Arc::new(Self {
            engine: Arc::downgrade(engine),
            rules: Mutex::default(),
            jobs: Mutex::default(),
            tells: Mutex::default(),
            sessions: Mutex::default(),
            last: Mutex::default(),
            shown: Mutex::default(),
            wakes: Notify::new(),
        })
    }

    /// Divides from now on, until that is aborted.
    pub(in crate::site) fn go_on(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(go_on(Arc::clone(self)))
    }

    /// What is in force from now on.
    pub(in crate::site) fn allow(&self, rules: Rules) {
        *lock(&self.rules) = Arc::new(rules);
        self.wake();
    }

    pub(in crate::site) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&lock(&self.rules))
    }

    /// Heeds jobs from now on, and tells how fast they go.
    pub(in crate::site) fn heed(self: &Arc<Self>, jobs: JobShares) {
        let mut table = jobs.hear();
        *lock(&self.tells) = Some(jobs);
        let shares = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(shares) = shares.upgrade() else { return };
                *lock(&shares.jobs) = Arc::clone(&table.borrow_and_update());
                shares.wake();
                drop(shares);
                if table.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// How links are used.
    pub(in crate::site) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&lock(&self.shown))
    }

    pub(super) fn join(&self, peer: SiteId, flows: Arc<SessionFlows>) {
        lock(&self.sessions).insert(peer, flows);
        self.wake();
    }

    pub(super) fn leave(&self, peer: SiteId, flows: &Arc<SessionFlows>) {
        let mut sessions = lock(&self.sessions);
        // Another one may have taken its place.
        if sessions.get(&peer).is_some_and(|now| Arc::ptr_eq(now, flows)) {
            sessions.remove(&peer);
        }
        drop(sessions);
        self.wake();
    }

    /// Something changed.
    pub(super) fn wake(&self) {
        self.wakes.notify_one();
    }

    /// Something is to be sent: where there was nothing, it is divided anew.
    pub(super) fn begins(&self, peer: SiteId, lot: Lot) {
        let last = lock(&self.last);
        let load = last.0.get(&peer).and_then(|flows| flows.get(&lot));
        if load.is_none_or(|load| !load.is_busy) {
            self.wake();
        }
    }

    /// The job of a folder, if it is one's. What is given is asked for after the control loop knows of
    /// the job; the newest that it said counts.
    pub(super) fn job_of(&self, folder: FolderKey) -> Option<JobId> {
        if let Some(jobs) = lock(&self.tells).as_ref() {
            return jobs.hear().borrow().folders.get(&folder).copied();
        }
        None
    }

    /// What a flow gets until it is divided anew.
    pub(super) fn first_plan(&self, peer: SiteId, lot: Lot) -> FlowPlan {
        let mut loads = lock(&self.last).0.clone();
        let idle = Load { is_busy: false, demand: Demand::Rate(BitRate::ZERO) };
        loads.entry(peer).or_default().insert(lot, idle);
        let jobs = match lock(&self.tells).as_ref() {
            Some(jobs) => Arc::clone(&jobs.hear().borrow()),
            None => Arc::clone(&lock(&self.jobs)),
        };
        let division = divide(&self.rules(), &jobs, &loads);
        let part = division.get(&peer).and_then(|session| session.flows.get(&lot));
        part.map_or(FlowPlan::default(), |part| part.plan)
    }

    /// Divides once. Whether anything is sent.
    async fn turn(&self, memory: &mut Memory) -> bool {
        let sessions = lock(&self.sessions).clone();
        let (rules, jobs) = (self.rules(), Arc::clone(&lock(&self.jobs)));
        memory.sessions.retain(|peer, _| sessions.contains_key(peer));
        let mut figures = BTreeMap::new();
        for (peer, flows) in &sessions {
            let known = memory.known(*peer, flows);
            if let Some(of) = flows.figures().await {
                known.look(&of, lock(&self.last).1.get(peer).map(|session| &session.flows));
                figures.insert(*peer, of);
            }
        }
        let loads: Loads = figures.keys().map(|peer| (*peer, memory.loads(*peer))).collect();
        let division = divide(&rules, &jobs, &loads);
        self.hold_links(&rules, memory);
        for (peer, part) in &division {
            let (Some(flows), Some(figures)) = (sessions.get(peer), figures.get(peer)) else {
                continue;
            };
            let known = memory.known(*peer, flows);
            let over = part.link.and_then(|at| u8::try_from(at).ok()).map_or(NO_LINK, LinkNumber);
            if known.over.replace(over) != Some(over) {
                flows.control.put_over(over);
            }
            if known.weight.replace(part.weight) != Some(part.weight) {
                flows.control.weigh(part.weight);
            }
            let differs = |(lot, part): (&Lot, &FlowPart)| {
                let before = figures.get(lot).map(|figures| figures.plan);
                (before != Some(part.plan)).then_some((*lot, part.plan))
            };
            let plans: Vec<_> = part.flows.iter().filter_map(differs).collect();
            if !plans.is_empty() {
                flows.set(plans).await;
            }
            flows.end_over(&jobs).await;
            known.ask(flows).await;
        }
        self.show(&rules, &jobs, (&division, &figures), memory);
        let is_busy = loads.values().flat_map(BTreeMap::values).any(|load| load.is_busy);
        *lock(&self.last) = (loads, division);
        is_busy
    }

    /// What goes over each link has its cap from now on.
    fn hold_links(&self, rules: &Rules, memory: &mut Memory) {
        let Some(engine) = self.engine.upgrade() else { return };
        let count = rules.links.len().max(memory.caps.len());
        memory.caps.resize(count, None);
        for (at, before) in memory.caps.iter_mut().enumerate() {
            let cap = rules.links.get(at).and_then(|link| link.cap);
            if let Some(number) = u8::try_from(at).ok().filter(|_| *before != cap) {
                engine.shape_link(LinkNumber(number), cap);
                *before = cap;
            }
        }
    }

    /// Says how links are used.
    fn show(
        &self,
        rules: &Rules,
        jobs: &JobTable,
        (division, figures): (&Division, &BTreeMap<SiteId, BTreeMap<Lot, FlowFigures>>),
        memory: &Memory,
    ) {
        let of_link = |link: &super::LinkCap| LinkShown {
            name: Some(link.name.clone()),
            cap: link.cap,
            ..LinkShown::default()
        };
        let mut shown = Shown { links: rules.links.iter().map(of_link).collect() };
        shown.links.push(LinkShown::default());
        let mut given = GivenNow::new();
        for (peer, part) in division {
            let Some(known) = memory.sessions.get(peer) else { continue };
            let flow = |(lot, part): (&Lot, &FlowPart)| {
                let figures = figures.get(peer)?.get(lot)?;
                Some(known.shown((*lot, part), jobs, figures))
            };
            let flows: Vec<FlowShown> = part.flows.iter().filter_map(flow).collect();
            for flow in &flows {
                if let (Lot::Job(id), Some(limit)) = (flow.lot, flow.limit) {
                    given.insert((id, *peer), Giving { rate: flow.rate, limit });
                }
            }
            let rate = flows.iter().fold(BitRate::ZERO, |sum, flow| sum + flow.rate);
            let last = shown.links.len() - 1;
            let link = &mut shown.links[part.link.unwrap_or(last).min(last)];
            link.rate = link.rate + rate;
            link.sessions.push(SessionShown { peer: *peer, rate, limit: known.limit, flows });
        }
        *lock(&self.shown) = Arc::new(shown);
        if let Some(tells) = lock(&self.tells).as_ref() {
            tells.tell_given(given);
        }
    }
}

impl Memory {
    fn known(&mut self, peer: SiteId, flows: &Arc<SessionFlows>) -> &mut Known {
        let new = || Known {
            flows: Arc::downgrade(flows),
            meters: BTreeMap::new(),
            over: None,
            weight: None,
            limit: None,
            asked: None,
        };
        let known = self.sessions.entry(peer).or_insert_with(new);
        // Of a session that took the place of another one nothing is known.
        if !std::ptr::eq(known.flows.as_ptr(), Arc::as_ptr(flows)) {
            *known = new();
        }
        known
    }

    fn loads(&self, peer: SiteId) -> BTreeMap<Lot, Load> {
        let meters = self.sessions.get(&peer).into_iter().flat_map(|known| &known.meters);
        let load = |(lot, meter): (&Lot, &Meter)| {
            (*lot, Load { is_busy: meter.is_busy(), demand: meter.demand() })
        };
        meters.map(load).collect()
    }
}

impl Known {
    fn look(
        &mut self,
        figures: &BTreeMap<Lot, FlowFigures>,
        before: Option<&BTreeMap<Lot, FlowPart>>,
    ) {
        let now = Instant::now();
        self.meters.retain(|lot, _| figures.contains_key(lot));
        for (lot, figures) in figures {
            let share = before.and_then(|flows| flows.get(lot)).and_then(|part| part.share);
            let meter = self.meters.entry(*lot).or_insert_with(Meter::new);
            meter.look((figures.wire, figures.objects > 0), share, now);
        }
    }

    /// Asks now and then what limits a session that has something to send.
    async fn ask(&mut self, flows: &SessionFlows) {
        if !self.meters.values().any(Meter::is_busy) {
            self.limit = None;
        } else if self.asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            self.asked = Some(Instant::now());
            self.limit = flows.probe.stats().await.and_then(|stats| stats.limited_by);
        }
    }

    fn shown(
        &self,
        (lot, part): (Lot, &FlowPart),
        jobs: &JobTable,
        figures: &FlowFigures,
    ) -> FlowShown {
        let job = match lot {
            Lot::Job(id) => jobs.jobs.get(&id),
            Lot::Words | Lot::Folders => None,
        };
        FlowShown {
            lot,
            job: job.map(|job| job.name.clone()),
            class: job.map_or(Class::Normal, |job| job.class),
            weight: job.map_or(1, |job| job.weight),
            rate: self.meters.get(&lot).map_or(BitRate::ZERO, Meter::rate),
            share: part.share,
            cap: part.plan.cap,
            wire: figures.wire,
            limit: part.hold.map(|hold| limit_of(hold, self.limit)),
        }
    }
}

async fn go_on(shares: Arc<Shares>) {
    let mut memory = Memory::default();
    loop {
        let begun = Instant::now();
        let is_busy = shares.turn(&mut memory).await;
        // With very many sessions it takes a part of the time, and not all of it.
        let least = SOON.max(begun.elapsed() * 3);
        tokio::time::sleep(least).await;
        let wait = if is_busy { TURN } else { REST };
        let wakes = shares.wakes.notified();
        let _ = tokio::time::timeout(wait.saturating_sub(least), wakes).await;
    }
}
