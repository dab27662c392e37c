//! What a job would do, found out before anything is done (spec: S-238): the leader asks all sites, each
//! looks at what it has beside its loop, and nothing is made, written or read but names and sizes.

use super::count;
use super::orders::JobRefused;
use super::root::{export_path, source_at};
use super::{JobsSetup, Leading};
use crate::control::ask::{AskError, Asker, Command};
use crate::control::look::Pages;
use crate::control::{Event, Loop};
use crate::index::IndexReader;
use crate::scan::{Known, KnownError, KnownItem, Rules, Scan, Seen, WalkOptions};
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{Root, space};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{
    ChangedSince, Finding, Findings, Frozen, JobMessage, Leg, LegFound, Question, Refusal, Spec,
    TreeFound, Wish, authorise, check_apart,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Plans that are kept at a time: beyond it the oldest one goes.
const PLANS_MAX: usize = 64;
/// How long one is kept.
pub(crate) const PLAN_KEPT: Duration = Duration::from_hours(1);
/// Questions of this site that wait for answers.
const ASKED_MAX: usize = 16;
/// How long a site may look at its trees before it is planned without it.
const PATIENCE: Duration = Duration::from_secs(45);

/// Plans, and what is asked for further ones.
#[derive(Default)]
pub(super) struct Plans {
    kept: BTreeMap<String, Kept>,
    asked: BTreeMap<u64, Asked>,
    last: u64,
    /// Sites for which this one looks just now.
    looking: BTreeSet<SiteId>,
}

struct Kept {
    made: Instant,
    plan: Planned,
}

/// A question of this site.
struct Asked {
    waits: BTreeSet<SiteId>,
    found: Findings,
    told: Option<oneshot::Sender<()>>,
}

/// What was found out for a job.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the job would be; of one that there is, its id.
    pub spec: Spec,
    /// The revision of the job that there is.
    pub revision: Option<u64>,
    /// What each site said.
    pub found: Findings,
    /// How fast parts of the job went lately, by source and site.
    pub rates: BTreeMap<(SiteId, SiteId), BitRate>,
    /// Who is not connected.
    pub away: BTreeSet<SiteId>,
}

impl Asker {
    /// Asks all sites of a job what they would do. Who does not answer within 45 s is left out.
    ///
    /// # Errors
    /// [`AskError::Over`]; inside, why there cannot be such a job.
    pub async fn plan_job(&self, spec: Spec) -> Result<Result<Planned, JobRefused>, AskError> {
        let begun = self.ask(move |body| body.begin_to_plan(spec)).await?;
        let (ticket, planned, told) = match begun {
            Ok(begun) => begun,
            Err(refused) => return Ok(Err(refused)),
        };
        // Whether all answered is seen from what was found.
        let _ = tokio::time::timeout(PATIENCE, told).await;
        let found = self.ask(move |body| body.end_planning(ticket)).await?;
        Ok(Ok(Planned { found, ..planned }))
    }

    /// Keeps a plan under a name, for an hour.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn keep_plan(&self, name: String, plan: Planned) -> Result<(), AskError> {
        self.ask(move |body| body.jobs.plans.keep(name, plan)).await
    }

    /// A plan that was kept.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn kept_plan(&self, name: &str) -> Result<Option<Planned>, AskError> {
        let name = name.to_owned();
        self.ask(move |body| body.jobs.plans.kept(&name)).await
    }

    /// Does what was planned: begins the job, or the next run of one that there is. The plan is gone.
    ///
    /// # Errors
    /// [`AskError::Over`]; inside, why it is refused.
    pub async fn apply_plan(
        &self,
        name: &str,
        plan: Planned,
    ) -> Result<Result<(), JobRefused>, AskError> {
        let name = name.to_owned();
        self.ask(move |body| {
            body.jobs.plans.kept.remove(&name);
            body.apply_plan(plan)
        })
        .await
    }
}

impl Plans {
    fn keep(&mut self, name: String, plan: Planned) {
        self.drop_old();
        while self.kept.len() >= PLANS_MAX
            && let Some((oldest, _)) = self.kept.iter().min_by_key(|(_, kept)| kept.made)
        {
            let oldest = oldest.clone();
            self.kept.remove(&oldest);
        }
        self.kept.insert(name, Kept { made: Instant::now(), plan });
    }

    fn kept(&mut self, name: &str) -> Option<Planned> {
        self.drop_old();
        self.kept.get(name).map(|kept| kept.plan.clone())
    }

    fn drop_old(&mut self) {
        self.kept.retain(|_, kept| kept.made.elapsed() < PLAN_KEPT);
    }
}

type Begun = (u64, Planned, oneshot::Receiver<()>);

impl Loop {
    fn begin_to_plan(&mut self, mut spec: Spec) -> Result<Begun, JobRefused> {
        if self.jobs.setup.is_none() {
            return Err(JobRefused::Starting);
        }
        spec.check()?;
        if self.jobs.plans.asked.len() >= ASKED_MAX {
            return Err(JobRefused::TooManyPlans);
        }
        let led = self.job_named(&spec.name).and_then(|id| self.jobs.leads.get(&id));
        let led = led.filter(|leading| leading.lead.order().wish != Wish::Stop);
        let revision = led.map(|leading| leading.lead.order().spec.revision);
        let rates = led.map(Leading::rates).unwrap_or_default();
        if let Some(leading) = led {
            spec.id = leading.lead.order().spec.id;
        }
        self.jobs.plans.last += 1;
        let (ticket, me) = (self.jobs.plans.last, self.identity.id());
        let (tell, told) = oneshot::channel();
        let away = self.away();
        let (away, waits): (BTreeSet<_>, BTreeSet<_>) =
            spec.sites().into_iter().partition(|site| away(*site));
        let asked = Asked { waits: waits.clone(), found: Findings::new(), told: Some(tell) };
        self.jobs.plans.asked.insert(ticket, asked);
        let question = Question { ticket, spec: spec.clone() };
        for site in waits {
            if site == me {
                self.job_asked(me, question.clone());
            } else {
                self.say_job(site, &JobMessage::Question(Box::new(question.clone())));
            }
        }
        let found = Findings::new();
        Ok((ticket, Planned { spec, revision, found, rates, away }, told))
    }

    fn end_planning(&mut self, ticket: u64) -> Findings {
        self.jobs.plans.asked.remove(&ticket).map_or_else(Findings::new, |asked| asked.found)
    }

    fn apply_plan(&mut self, plan: Planned) -> Result<(), JobRefused> {
        let Planned { spec, revision, .. } = plan;
        let Some(revision) = revision else { return self.create_job(spec) };
        let name = spec.name.clone();
        self.change_job(name, move |lead| {
            let now = &lead.order().spec;
            // What only a site that keeps it knows is that of the job.
            let is_same = Spec { revision: now.revision, ..spec.clone() } == *now;
            if !is_same || now.revision != revision {
                lead.edit(revision, spec)?;
            }
            lead.rerun();
            Ok(())
        })
    }

    /// A leader wants to know what would be done here.
    pub(super) fn job_asked(&mut self, peer: SiteId, question: Question) {
        let Question { ticket, spec } = question;
        let (job, me) = (spec.id, self.identity.id());
        let legs = spec.legs().unwrap_or_default();
        let legs: Vec<Leg> = legs.into_iter().filter(|leg| leg.place_of(me).is_some()).collect();
        let refusal = match self.may_plan(&spec, peer) {
            Ok(()) if self.jobs.plans.looking.contains(&peer) => {
                Some("it looks at its trees for another plan: plan once more later".to_owned())
            }
            Ok(()) => None,
            Err(refusal) => Some(refusal.to_string()),
        };
        let setup = self.jobs.setup.clone();
        let (Some(setup), None) = (setup, &refusal) else {
            let why = refusal.unwrap_or_else(|| JobRefused::Starting.to_string());
            let legs = legs.iter().map(|leg| LegFound::refused(leg.source.site, why.clone()));
            return self.found(peer, Finding { ticket, job, legs: legs.collect() });
        };
        let legs = legs.into_iter().map(|leg| {
            let working = self.jobs.duties.get(&job).and_then(|it| it.legs.get(&leg.key));
            let frozen = working.and_then(super::LegWork::last_frozen);
            let folder = self.folders.get(&leg.key);
            let known = folder.map(|folder| folder.index.reader()).transpose();
            let is_file = working.is_some_and(super::LegWork::is_file);
            Look { leg, me, frozen, is_file, known: known.map_err(|error| error.to_string()) }
        });
        let looks: Vec<Look> = legs.collect();
        self.jobs.plans.looking.insert(peer);
        let events = self.events.clone();
        let look = move || {
            let legs = looks.into_iter().map(|look| look.found(&setup)).collect();
            let finding = Finding { ticket, job, legs };
            // If nobody hears it, this site stops.
            let _ = events.blocking_send(Event::Command(Command::of(move |body| {
                body.jobs.plans.looking.remove(&peer);
                body.found(peer, finding);
            })));
        };
        let thread = std::thread::Builder::new().name("farhaul-plan".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::error!(%error, "nothing can be planned");
            self.jobs.plans.looking.remove(&peer);
        }
    }

    /// Whether `peer` may have this done here, as far as that is known before.
    fn may_plan(&self, spec: &Spec, peer: SiteId) -> Result<(), Refusal> {
        let me = self.identity.id();
        let Some(setup) = &self.jobs.setup else { return Err(Refusal::NoPart) };
        authorise(spec, peer, me, &setup.grants())?;
        let others = self.jobs.duties.values().filter(|working| working.refused.is_none());
        check_apart(spec, me, others.map(|working| &working.duty.order.spec))
    }

    fn found(&mut self, peer: SiteId, finding: Finding) {
        if peer == self.identity.id() {
            return self.job_found(peer, finding);
        }
        self.say_job(peer, &JobMessage::Finding(Box::new(finding)));
    }

    /// A site answers a question of this one.
    pub(super) fn job_found(&mut self, from: SiteId, finding: Finding) {
        let Some(asked) = self.jobs.plans.asked.get_mut(&finding.ticket) else { return };
        if asked.waits.remove(&from) {
            asked.found.insert(from, finding.legs);
        }
        if asked.waits.is_empty()
            && let Some(told) = asked.told.take()
        {
            // Whoever asked may have gone.
            let _ = told.send(());
        }
    }
}

impl Leading {
    fn rates(&self) -> BTreeMap<(SiteId, SiteId), BitRate> {
        let known = self.speeds.iter().filter(|(_, speed)| speed.rate.get() > 0);
        known.map(|(part, speed)| (*part, speed.rate)).collect()
    }
}

/// A leg that is looked at.
struct Look {
    leg: Leg,
    me: SiteId,
    /// What a source froze last.
    frozen: Option<Frozen>,
    /// Whether what came before is a single file.
    is_file: bool,
    /// What is known of it here, of earlier runs.
    known: Result<Option<IndexReader>, String>,
}

impl Look {
    fn found(&self, setup: &JobsSetup) -> LegFound {
        let source = self.leg.source.site;
        let found = if source == self.me { self.source(setup) } else { self.target(setup) };
        found.unwrap_or_else(|why| LegFound::refused(source, why))
    }

    fn source(&self, setup: &JobsSetup) -> Result<LegFound, String> {
        let place = &self.leg.source;
        let (path, rules, _) = source_at(export_path(setup, place)?, place)?;
        let root = Root::open(&path).map_err(|error| error.to_string())?;
        let tree = look_through(&root, &rules)?;
        let changed = match (&self.known, self.frozen) {
            (Ok(Some(reader)), Some(frozen)) => {
                Some(changed_since(&root, &rules, (reader, frozen.root))?)
            }
            _ => None,
        };
        let source = place.site;
        Ok(LegFound { source, refused: None, tree: Some(tree), changed, room: None })
    }

    fn target(&self, setup: &JobsSetup) -> Result<LegFound, String> {
        let place = self.leg.place_of(self.me).ok_or("this site has no part in it")?;
        let root = Root::open(&export_path(setup, place)?).map_err(|error| error.to_string())?;
        let room = space::available(root.dir()).map_err(|errno| format!("{place}: {errno}"))?;
        let tree = match &self.known {
            Ok(None) => None,
            Ok(Some(reader)) => {
                let counted = count::freeze(reader.read(), self.is_file, None, &Stop::default());
                let counted = counted.map_err(|error| error.to_string())?;
                let Frozen { root, files, bytes, stored, .. } = counted;
                Some(TreeFound { root, files, bytes, stored }).filter(|tree| tree.files > 0)
            }
            Err(why) => return Err(why.clone()),
        };
        let (source, refused) = (self.leg.source.site, None);
        Ok(LegFound { source, refused, tree, changed: None, room: Some(room) })
    }
}

/// Nothing is known.
struct Nothing;

impl Known for Nothing {
    fn seek(&mut self, _after: Option<&RelPath>) -> Result<(), KnownError> {
        Ok(())
    }

    fn current(&self) -> Option<KnownItem<'_>> {
        None
    }

    fn advance(&mut self) -> Result<(), KnownError> {
        Ok(())
    }
}

fn walk<K: Known>(
    root: &Root,
    rules: &Rules,
    known: K,
    mut each: impl FnMut(Seen),
) -> Result<(), String> {
    let options = WalkOptions { rules: rules.clone(), ..WalkOptions::default() };
    let mut scan = Scan::start(root, known, options).map_err(|error| error.to_string())?;
    while let Some(seen) = scan.advance().map_err(|error| error.to_string())? {
        if let Seen::Unread(error) = &seen {
            return Err(error.to_string());
        }
        each(seen);
    }
    Ok(())
}

/// What stands there, by names, sizes and times.
fn look_through(root: &Root, rules: &Rules) -> Result<TreeFound, String> {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul tree before a job v1");
    let (mut files, mut bytes, mut stored) = (0_u64, 0_u64, 0_u64);
    walk(root, rules, Nothing, |seen| {
        let Seen::Changed(change) = seen else { return };
        let (path, meta) = (change.path.as_bytes(), change.meta);
        hasher.update(&(path.len() as u64).to_be_bytes());
        hasher.update(path);
        hasher.update(&meta.mode.to_be_bytes());
        let state = &meta.identity;
        // Of a directory, whatever is put into it changes the times: that is in the list itself.
        let times = match meta.kind {
            FileKind::Dir => None,
            _ => Some((state.size, state.ino, state.mtime, state.ctime)),
        };
        hasher.update(format!("{:?} {times:?}", meta.kind).as_bytes());
        if meta.kind == FileKind::File {
            files += 1;
            bytes = bytes.saturating_add(state.size);
            stored = stored.saturating_add(meta.allocated.min(state.size));
        }
    })?;
    let (root, bytes, stored) =
        (*hasher.finalize().as_bytes(), Bytes::new(bytes), Bytes::new(stored));
    Ok(TreeFound { root, files, bytes, stored })
}

/// What became of it since it was frozen.
fn changed_since(
    root: &Root,
    rules: &Rules,
    (reader, since): (&IndexReader, [u8; 32]),
) -> Result<ChangedSince, String> {
    let (mut new, mut changed, mut removed) = ((0_u64, 0_u64), (0_u64, 0_u64), 0_u64);
    walk(root, rules, Pages::all(reader), |seen| match seen {
        Seen::Changed(change) if change.meta.kind == FileKind::File => {
            let sum = if change.was_known { &mut changed } else { &mut new };
            sum.0 += 1;
            sum.1 = sum.1.saturating_add(change.meta.identity.size);
        }
        Seen::Gone { kind: FileKind::File, .. } => removed += 1,
        _ => {}
    })?;
    let sum = |(files, bytes): (u64, u64)| (files, Bytes::new(bytes));
    Ok(ChangedSince { root: since, new: sum(new), changed: sum(changed), removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_sync::job::{Activate, Class, JobId, Kind};
    use std::fs;

    #[test]
    fn a_tree_is_another_one_when_anything_in_it_is_otherwise() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).expect("made");
        fs::write(at("sub/a"), "12345").expect("written");
        let look = || {
            let root = Root::open(dir.path()).expect("opened");
            look_through(&root, &Rules::default()).expect("looked at")
        };
        let first = look();
        assert_eq!((first.files, first.bytes), (1, Bytes::new(5)));
        assert_eq!(look(), first);
        fs::write(at("b"), "x").expect("written");
        let second = look();
        assert_ne!(second.root, first.root);
        fs::remove_file(at("b")).expect("removed");
        assert_eq!(look(), first, "directories have other times only");
        fs::rename(at("sub/a"), at("sub/c")).expect("renamed");
        assert_ne!(look().root, first.root);
        assert!(!at(".farhaul").exists(), "nothing is made");
    }

    fn planned(n: u64) -> Planned {
        let spec = Spec {
            id: JobId([1; 16]),
            revision: n,
            name: "a".to_owned(),
            kind: Kind::Copy,
            sources: Vec::new(),
            targets: Vec::new(),
            class: Class::Normal,
            weight: 1,
            cap: None,
            calendar: None,
            activate: Activate::Each,
            times: farhaul_sync::job::Times::default(),
        };
        let (found, rates, away) = (Findings::new(), BTreeMap::new(), BTreeSet::new());
        Planned { spec, revision: None, found, rates, away }
    }

    #[test]
    fn of_too_many_plans_the_oldest_goes() {
        let mut plans = Plans::default();
        for n in 0..=PLANS_MAX as u64 {
            plans.keep(format!("{n}"), planned(n));
        }
        assert_eq!(plans.kept.len(), PLANS_MAX);
        assert!(plans.kept("0").is_none() && plans.kept("1").is_some());
    }
}
