//! Jobs in the control loop: orders of the jobs that this site leads go out, reports come in; what it
//! has to do for jobs of others, and of its own, is done leg by leg. Decisions are those of
//! `farhaul_sync::job`; bytes travel as those of a folder.

mod count;
mod keep;
mod late;
mod leg;
mod orders;
mod over;
mod plan;
mod root;
mod switch;
mod terms;

pub use orders::{JobFacts, JobRefused, SiteProgress};
pub(crate) use plan::PLAN_KEPT;
pub use plan::Planned;

use super::{FolderSetup, Loop};
use crate::config::Export;
use crate::events::Said;
use crate::moment::now_millis;
use crate::site::{JobShares, Outgoing};
use crate::store::Principals;
use farhaul_api::EventKind;
use farhaul_engine::identity::{PublicKey, Purpose};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{
    Duty, DutyChange, Exports, JobId, JobMessage, JobState, Lead, LeadChange, Order, Receipt,
    Refusal, Report, SiteState, Spec, Wish, authorise, check_apart,
};
use farhaul_sync::message::Message;
use farhaul_sync::seal::FolderKey;
use keep::Keep;
use leg::LegWork;
pub(crate) use leg::{Activated, Undone};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a target signs when it is done (spec: S-233).
const RECEIPT: Purpose = Purpose::new(Receipt::PURPOSE);
/// Jobs that a site leads or takes part in, in all.
const JOBS_MAX: usize = 1024;
/// And that another site has this one do.
const JOBS_OF_ONE_MAX: usize = 256;
/// Jobs of a site that are refused and still known.
const REFUSED_MAX: usize = 16;
/// How often it is looked how far jobs are.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a leader hears of bytes.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at the clock for a job that begins later.
const BEGIN_LOOK: Duration = Duration::from_secs(30);
/// After so long a site that refused is asked again: somebody may have widened its exports.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What jobs need to know of the site.
#[derive(Clone, Debug)]
pub struct JobsSetup {
    /// Where what is known of jobs is kept; made when there is one.
    pub state: PathBuf,
    /// What jobs may take and put here.
    pub exports: Vec<Export>,
    /// Where its folders are: what peers put there is not run.
    pub folders: Vec<PathBuf>,
    /// Who is called how on this machine.
    pub principals: Arc<dyn Principals>,
    /// The sites that may connect.
    pub peers: BTreeSet<SiteId>,
    /// The calendars that this site knows, by name.
    pub calendars: terms::CalendarNames,
}

impl JobsSetup {
    fn grants(&self) -> Exports {
        let grants = self.exports.iter();
        grants.map(|export| (export.name.clone(), export.grants.clone())).collect()
    }
}

/// All jobs that this site knows.
#[derive(Default)]
pub(super) struct Jobs {
    setup: Option<JobsSetup>,
    leads: BTreeMap<JobId, Leading>,
    duties: BTreeMap<JobId, Working>,
    plans: plan::Plans,
    over: BTreeMap<JobId, keep::KeptOver>,
    looked: Option<Instant>,
    shares: JobShares,
}

/// A job that this site leads.
struct Leading {
    lead: Lead,
    /// How fast each part goes, by source and site.
    speeds: BTreeMap<(SiteId, SiteId), Speed>,
    /// What was last said of it.
    said: Option<JobState>,
    /// When all were told last.
    told: Instant,
    lateness: late::Lateness,
}

impl Loop {
    /// A peer shares the folder of a job. Who took part first said so when the other knew of no such
    /// folder, and says it again.
    pub(super) fn answer_share(&mut self, peer: SiteId, key: FolderKey) {
        if self.job_folders().all(|known| known != key) {
            return;
        }
        let Some(folder) = self.folders.get(&key) else { return };
        if folder.neighbours.contains_key(&peer) {
            return;
        }
        if let (Some(share), Some(outbox)) = (folder.share_with(peer), self.outboxes.get(&peer)) {
            let _ = outbox.send(Outgoing::Say(Message::Share { folders: vec![share] }));
        }
    }

    fn leg(&mut self, key: FolderKey) -> Option<&mut LegWork> {
        self.jobs.duties.values_mut().find_map(|working| working.legs.get_mut(&key))
    }
}

/// How fast a part goes.
#[derive(Clone, Copy)]
struct Speed {
    done: Bytes,
    at: Instant,
    rate: BitRate,
}

/// A job that this site takes part in.
struct Working {
    duty: Duty,
    refused: Option<Refusal>,
    legs: BTreeMap<FolderKey, LegWork>,
}

impl Working {
    /// That a source stays where it was when it was first read: what was published is of that place.
    fn check_source(&self, setup: &JobsSetup, (spec, me): (&Spec, SiteId)) -> Result<(), Refusal> {
        for leg in spec.legs().unwrap_or_default() {
            let Some(known) = self.legs.get(&leg.key).filter(|_| leg.source.site == me) else {
                continue;
            };
            if known.at() != root::at_of(setup, &leg, me) {
                return Err(Refusal::Moved { place: leg.source.to_string() });
            }
        }
        Ok(())
    }
}

impl Leading {
    fn new(lead: Lead) -> Self {
        let lateness = late::Lateness::default();
        Self { lead, speeds: BTreeMap::new(), said: None, told: Instant::now(), lateness }
    }

    fn note_speed(&mut self, key: (SiteId, SiteId), done: Bytes) {
        let now = Instant::now();
        let Some(speed) = self.speeds.get_mut(&key) else {
            self.speeds.insert(key, Speed { done, at: now, rate: BitRate::bps(0) });
            return;
        };
        let (moved, took) = (done.get().saturating_sub(speed.done.get()), now - speed.at);
        if took >= Duration::from_millis(500) {
            let bits = u128::from(moved) * 8_000_000 / took.as_micros().max(1);
            let rate = BitRate::bps(u64::try_from(bits).unwrap_or(u64::MAX));
            *speed = Speed { done, at: now, rate };
        }
    }
}

impl Loop {
    /// Takes up exports and who may connect; the first time also all jobs that were kept.
    pub(super) fn configure_jobs(&mut self, setup: JobsSetup) {
        let is_first = self.jobs.setup.is_none();
        let keep = Keep::new(setup.state.clone());
        self.jobs.setup = Some(setup);
        if is_first {
            match keep.all() {
                Ok(kept) => kept.into_iter().for_each(|job| self.take_up(job)),
                Err(error) => tracing::error!(%error, "jobs that were kept cannot be read"),
            }
        }
        let ids: Vec<JobId> = self.jobs.duties.keys().copied().collect();
        ids.into_iter().for_each(|id| self.authorise_again(id));
    }

    fn take_up(&mut self, kept: keep::KeptJob) {
        self.jobs.over.extend(kept.over.map(|over| (kept.id, over)));
        if let Some(order) = kept.lead {
            let mut lead = Lead::kept(order);
            kept.receipts.into_iter().for_each(|(site, report)| lead.remember(site, report));
            self.jobs.leads.insert(kept.id, Leading::new(lead));
        }
        let is_over = |lead: SiteId| {
            let led = self.jobs.leads.get(&kept.id).filter(|_| lead == self.identity.id());
            led.is_some_and(|leading| leading.lead.order().wish == Wish::Stop)
        };
        if let Some((lead, order)) = kept.duty.filter(|(lead, _)| !is_over(*lead)) {
            let duty = Duty { lead, order };
            let working = Working { duty, refused: None, legs: BTreeMap::new() };
            self.jobs.duties.insert(kept.id, working);
        }
    }

    fn keep(&self) -> Option<Keep> {
        self.jobs.setup.as_ref().map(|setup| Keep::new(setup.state.clone()))
    }

    /// The folders of jobs, which no configuration names.
    pub(super) fn job_folders(&self) -> impl Iterator<Item = FolderKey> {
        self.jobs.duties.values().flat_map(|working| working.legs.keys().copied())
    }

    /// A session with a peer begins: each says to the other what it said last.
    pub(super) fn jobs_meet(&mut self, peer: SiteId) {
        self.say_over(peer);
        let orders: Vec<Order> = self
            .jobs
            .leads
            .values()
            .map(|leading| leading.lead.order())
            .filter(|order| order.spec.sites().contains(&peer))
            .cloned()
            .collect();
        orders
            .into_iter()
            .for_each(|order| self.say_job(peer, &JobMessage::Order(Box::new(order))));
        for working in self.jobs.duties.values_mut().filter(|working| working.duty.lead == peer) {
            working.legs.values_mut().for_each(LegWork::tell_again);
        }
        self.jobs.looked = None;
    }

    fn say_job(&self, peer: SiteId, message: &JobMessage) {
        let Some(outbox) = self.outboxes.get(&peer).filter(|outbox| outbox.knows_jobs()) else {
            return;
        };
        let bytes = message.encode();
        // A session that takes nothing ends, and the next one begins with this.
        let _ = outbox.send(Outgoing::Say(Message::Job { bytes }));
    }

    /// A peer says something of a job.
    pub(super) fn job_said(&mut self, peer: SiteId, bytes: &[u8]) {
        match JobMessage::decode(bytes) {
            Some(JobMessage::Order(order)) => self.ordered(peer, *order),
            Some(JobMessage::Report(report)) => self.reported(peer, *report),
            Some(JobMessage::Question(question)) => self.job_asked(peer, *question),
            Some(JobMessage::Finding(finding)) => self.job_found(peer, *finding),
            None => tracing::warn!(%peer, "says something of a job that cannot be"),
        }
    }

    /// A leader wants something of this site.
    fn ordered(&mut self, lead: SiteId, order: Order) {
        let (id, wish) = (order.spec.id, order.wish);
        if let Some(working) = self.jobs.duties.get_mut(&id) {
            match working.duty.take(lead, order) {
                Ok(DutyChange::Changed) => {}
                // Whoever says it again has not heard what was answered.
                Ok(DutyChange::Nothing) if working.refused.is_none() => {
                    return working.legs.values_mut().for_each(LegWork::tell_again);
                }
                // What was in the way may be gone.
                Ok(DutyChange::Nothing) => {}
                Err(refusal) => {
                    return tracing::warn!(job = %id, peer = %lead, %refusal, "an order is refused");
                }
            }
        } else if wish == Wish::Stop {
            return;
        } else if !self.may_order(lead) {
            return tracing::warn!(peer = %lead, "orders more jobs than it may");
        } else {
            let duty = Duty { lead, order };
            self.jobs.duties.insert(id, Working { duty, refused: None, legs: BTreeMap::new() });
        }
        if wish == Wish::Stop {
            return self.leave_job(id);
        }
        self.authorise_again(id);
        self.jobs.looked = None;
    }

    /// Whether a leader may order one more job: few that are refused, and not all there can be.
    fn may_order(&self, lead: SiteId) -> bool {
        let theirs = || self.jobs.duties.values().filter(|working| working.duty.lead == lead);
        let refused = theirs().filter(|working| working.refused.is_some()).count();
        let is_me = lead == self.identity.id();
        let room = if is_me { JOBS_MAX } else { JOBS_OF_ONE_MAX };
        self.jobs.duties.len() < JOBS_MAX && theirs().count() < room && refused < REFUSED_MAX
    }

    /// Asks again whether a job may be done here, and begins what is new in it.
    fn authorise_again(&mut self, id: JobId) {
        let (Some(setup), Some(keep)) = (self.jobs.setup.clone(), self.keep()) else { return };
        let me = self.identity.id();
        // What is not done here takes no place.
        let others = self.jobs.duties.iter();
        let others = others.filter(|(other, working)| **other != id && working.refused.is_none());
        let others: Vec<_> = others.map(|(_, other)| other.duty.order.spec.clone()).collect();
        let Some(working) = self.jobs.duties.get_mut(&id) else { return };
        let (lead, spec) = (working.duty.lead, working.duty.order.spec.clone());
        let allowed = authorise(&spec, lead, me, &setup.grants());
        let allowed = allowed.and_then(|()| check_apart(&spec, me, &others));
        let allowed = allowed.and_then(|()| working.check_source(&setup, (&spec, me)));
        let allowed = allowed.and_then(|()| Working::check_calendar(&setup, &spec));
        working.refused = allowed.err();
        if working.refused.is_some() {
            let gone: Vec<FolderKey> = std::mem::take(&mut working.legs).into_keys().collect();
            let order = working.duty.order.clone();
            gone.into_iter().for_each(|key| self.close_folder(key));
            self.say_terms();
            return self.refuse_all(lead, &order);
        }
        if let Err(error) = keep.save_duty(lead, &working.duty.order) {
            tracing::error!(job = %spec.name, %error, "cannot be remembered");
        }
        let legs = spec.legs().unwrap_or_default();
        let mine = legs.into_iter().filter(|leg| leg.place_of(me).is_some());
        let mine: BTreeMap<FolderKey, _> = mine.map(|leg| (leg.key, leg)).collect();
        let is_left = |key: &&FolderKey| !mine.contains_key(key);
        let mut gone: Vec<FolderKey> = working.legs.keys().filter(is_left).copied().collect();
        gone.iter().for_each(|key| _ = working.legs.remove(key));
        for (key, leg) in mine {
            let kept = working.legs.remove(&key);
            let before = kept.as_ref().map(|kept| kept.at().to_owned());
            let work = LegWork::new(kept, leg, (&spec, me), (&setup, &keep));
            // Another place is another folder.
            if before.is_some_and(|before| before != work.at()) {
                gone.push(key);
            }
            working.legs.insert(key, work);
        }
        gone.into_iter().for_each(|key| self.close_folder(key));
        self.say_terms();
        self.reshape_folders(id, &setup);
    }

    /// With whom the folders of a job are shared may be others than when they were opened.
    fn reshape_folders(&mut self, id: JobId, setup: &JobsSetup) {
        let Some(working) = self.jobs.duties.get(&id) else { return };
        let setups = working.legs.iter().filter_map(|(key, leg)| {
            let folder = self.folders.get(key)?;
            let shaped = leg.shaped(setup).ok()?;
            let (is, was) = (&shaped, &folder.setup);
            let differs = is.peers != was.peers || is.policy.rights != was.policy.rights;
            differs.then_some(shaped)
        });
        let setups: Vec<FolderSetup> = setups.collect();
        let is_any = !setups.is_empty();
        for setup in setups {
            if let Some(folder) = self.folders.get_mut(&setup.key) {
                folder.configure(setup, false);
            }
        }
        if is_any {
            self.share_anew();
        }
    }

    /// Tells the leader that nothing is done here, and why.
    fn refuse_all(&mut self, lead: SiteId, order: &Order) {
        let me = self.identity.id();
        let why = self.jobs.duties.get(&order.spec.id).and_then(|working| working.refused.clone());
        for leg in order.spec.legs().unwrap_or_default() {
            if leg.place_of(me).is_none() {
                continue;
            }
            let report = Report {
                job: order.spec.id,
                revision: order.spec.revision,
                run: order.run,
                source: leg.source.site,
                state: SiteState::Failed,
                reason: why.as_ref().map(ToString::to_string),
                done: Bytes::new(0),
                frozen: None,
                receipt: None,
                gives: Vec::new(),
            };
            self.report(lead, report);
        }
    }

    /// Nobody takes part in the job any more: what is visible stays.
    fn leave_job(&mut self, id: JobId) {
        let Some(working) = self.jobs.duties.remove(&id) else { return };
        self.say_terms();
        for (key, leg) in working.legs {
            self.close_folder(key);
            if let Some(setup) = &self.jobs.setup {
                leg.clear(setup);
            }
        }
        let is_led = self.jobs.leads.contains_key(&id);
        let forget = |keep: Keep| if is_led { keep.forget_duty(id) } else { keep.forget(id) };
        if let Some(keep) = self.keep()
            && let Err(error) = forget(keep)
        {
            tracing::warn!(job = %id, %error, "what was kept of it cannot be removed");
        }
    }

    fn close_folder(&mut self, key: FolderKey) {
        if let Some(folder) = self.folders.remove(&key) {
            folder.close();
        }
        self.halted.remove(&key);
        if let Some(opening) = self.opening.get_mut(&key) {
            opening.leave();
        }
    }

    /// Says to the leader how far this site is; it may be this site itself.
    fn report(&mut self, lead: SiteId, report: Report) {
        if lead == self.identity.id() {
            return self.reported(lead, report);
        }
        self.say_job(lead, &JobMessage::Report(Box::new(report)));
    }

    /// A site says how far it is with a job that this site leads.
    fn reported(&mut self, from: SiteId, mut report: Report) {
        let id = report.job;
        let Some(leading) = self.jobs.leads.get_mut(&id) else { return };
        if let Some(receipt) = &report.receipt {
            let Receipt { frozen, at_millis, key, signature } = receipt;
            let signed = Receipt::to_sign(id, report.run, report.source, frozen, *at_millis);
            let key = PublicKey(*key);
            if key.site() != from || !key.has_signed(RECEIPT, &signed, signature) {
                tracing::warn!(job = %id, site = %from, "a receipt is not signed by whom it is of");
                report.receipt = None;
            }
        }
        let (part, done) = ((report.source, from), report.done);
        let signed = report.receipt.is_some().then(|| report.clone());
        let change = leading.lead.reported(from, report, now_millis());
        if let Some(signed) = signed.filter(|_| change != LeadChange::Nothing)
            && leading.lead.has_receipt(from, &signed)
            && let Some(setup) = &self.jobs.setup
            && let Err(error) = Keep::new(setup.state.clone()).save_receipt(from, &signed)
        {
            tracing::error!(job = %id, %error, "a receipt is not kept over a restart");
        }
        if change != LeadChange::Nothing {
            leading.note_speed(part, done);
        }
        if change == LeadChange::Order {
            self.order_all(id);
        }
        self.show_job(id);
    }

    /// Says what has become of a job as a whole.
    fn show_job(&mut self, id: JobId) {
        let away = self.away();
        let Some(leading) = self.jobs.leads.get_mut(&id) else { return };
        let (state, reason) = leading.lead.state(away);
        if leading.said != Some(state) {
            leading.said = Some(state);
            let name = &leading.lead.order().spec.name;
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            let text = format!("{name} is {}{reason}", state.name());
            self.log.say(Said::that(EventKind::Job).text(text));
        }
    }

    /// Who is not connected.
    fn away(&self) -> impl Fn(SiteId) -> bool + use<> {
        let me = self.identity.id();
        let there: BTreeSet<SiteId> = self.outboxes.keys().copied().collect();
        move |site| site != me && !there.contains(&site)
    }

    /// The order of a job changed: it is kept, and all who take part are told, this site last, so that
    /// nobody hears of its folders before.
    fn order_all(&mut self, id: JobId) {
        let (Some(keep), Some(leading)) = (self.keep(), self.jobs.leads.get_mut(&id)) else {
            return;
        };
        leading.told = Instant::now();
        let order = leading.lead.order().clone();
        if let Err(error) = keep.save_lead(&order) {
            tracing::error!(job = %order.spec.name, %error, "cannot be remembered");
        }
        let (me, sites) = (self.identity.id(), order.spec.sites());
        let message = JobMessage::Order(Box::new(order.clone()));
        sites.iter().filter(|site| **site != me).for_each(|site| self.say_job(*site, &message));
        if sites.contains(&me) {
            self.ordered(me, order);
        }
        self.show_job(id);
    }

    /// Goes on with all jobs, a few times a second.
    pub(super) fn jobs_go_on(&mut self) {
        if self.jobs.duties.is_empty() && self.jobs.leads.is_empty() {
            return;
        }
        let now = Instant::now();
        if self.jobs.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return;
        }
        self.jobs.looked = Some(now);
        let (mut is_going, mut begins) = (false, None);
        let ids: Vec<JobId> = self.jobs.duties.keys().copied().collect();
        for id in ids {
            let Some(mut working) = self.jobs.duties.remove(&id) else { continue };
            let mut reports = Vec::new();
            let gives = self.gives(id);
            is_going |= !gives.is_empty();
            begins = begins.into_iter().chain(working.duty.waits_until(now_millis())).min();
            for leg in working.legs.values_mut() {
                is_going |= self.leg_goes_on(leg, &working.duty);
                leg.gives(&gives);
                reports.extend(leg.report_due(&working.duty));
            }
            let lead = working.duty.lead;
            self.jobs.duties.insert(id, working);
            reports.into_iter().for_each(|report| self.report(lead, report));
        }
        self.ask_again();
        self.watch_deadlines();
        if let Some(begins) = begins {
            // A clock that is set meanwhile is noticed.
            let waits = Duration::from_millis(begins.saturating_sub(now_millis()));
            self.alarm.ring_at(now + waits.min(BEGIN_LOOK));
        }
        if is_going {
            self.alarm.ring_at(now + LOOK_EVERY);
        }
    }

    /// Who cannot go on is asked again once in a while: what was in the way may be gone.
    fn ask_again(&mut self) {
        let ids: Vec<JobId> = self.jobs.leads.keys().copied().collect();
        for id in ids {
            let Some(leading) = self.jobs.leads.get_mut(&id) else { continue };
            let order = leading.lead.order();
            let is_failed =
                leading.lead.sites().any(|(.., facts)| facts.state == SiteState::Failed);
            if order.wish != Wish::Run || !is_failed || leading.told.elapsed() < ASK_AGAIN {
                continue;
            }
            leading.told = Instant::now();
            let (order, me) = (order.clone(), self.identity.id());
            let message = JobMessage::Order(Box::new(order.clone()));
            order.spec.sites().iter().filter(|site| **site != me).for_each(|site| {
                self.say_job(*site, &message);
            });
            self.authorise_again(id);
        }
    }
}
