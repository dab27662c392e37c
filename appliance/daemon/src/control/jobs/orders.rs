//! What people order of jobs at the site that leads them, and what they are told.

use super::{Leading, Working};
use crate::control::Loop;
use crate::control::ask::{AskError, Asker};
use crate::moment::now_millis;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{
    EditError, Frozen, JobId, JobLimit, JobState, Lead, Order, Receipt, SiteState, Spec, SpecError,
    Wish,
};
use std::collections::BTreeSet;

/// Why an order about a job is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobRefused {
    /// No job of that name is led here.
    #[error("this site leads no job `{0}`")]
    None(String),
    /// There is one already.
    #[error("there is a job `{0}` already")]
    Exists(String),
    /// The site has all the jobs that it can have.
    #[error("a site has at most {} jobs", super::JOBS_MAX)]
    TooMany,
    /// It cannot be so.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It cannot be edited so.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// It was stopped.
    #[error("the job `{0}` was stopped")]
    Stopped(String),
    /// Much is planned at this moment.
    #[error("too much is planned at this moment: try again")]
    TooManyPlans,
    /// Jobs are not taken up yet.
    #[error("the site starts, and has not taken up its jobs yet")]
    Starting,
}

/// A job as it is known here.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// What is ordered.
    pub order: Order,
    /// Who leads it.
    pub lead: SiteId,
    /// How it is.
    pub state: JobState,
    /// Why.
    pub reason: Option<String>,
    /// That it will not be done by its deadline, and why.
    pub late: Option<String>,
    /// Each part of it that is known here.
    pub sites: Vec<SiteProgress>,
}

/// A site's part of a job.
#[derive(Clone, Debug)]
pub struct SiteProgress {
    /// Whose.
    pub site: SiteId,
    /// From whom it comes.
    pub source: SiteId,
    /// How it is.
    pub state: SiteState,
    /// Why.
    pub reason: Option<String>,
    /// Bytes that are there.
    pub done: Bytes,
    /// Of what.
    pub frozen: Option<Frozen>,
    /// How fast it goes.
    pub rate: BitRate,
    /// What limits that, said by whoever gives it most.
    pub limit: Option<JobLimit>,
    /// The newest receipt, and of which run it is.
    pub receipt: Option<(u64, Receipt)>,
}

impl Asker {
    /// All jobs that this site leads or takes part in, by name.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn jobs(&self) -> Result<Vec<JobFacts>, AskError> {
        self.ask(|body| body.job_facts()).await
    }

    /// Takes up exports and who may connect; the first time also the jobs that were kept.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn configure_jobs(&self, setup: super::JobsSetup) -> Result<(), AskError> {
        self.ask(move |body| body.configure_jobs(setup)).await
    }

    /// Begins a job that this site leads. One that was stopped gives its name away.
    ///
    /// # Errors
    /// [`AskError::Over`]; inside, why it is refused.
    pub async fn create_job(&self, spec: Spec) -> Result<Result<(), JobRefused>, AskError> {
        self.ask(move |body| body.create_job(spec)).await
    }

    /// Has a job of this name be another one.
    ///
    /// # Errors
    /// As there.
    pub async fn edit_job(
        &self,
        name: &str,
        revision: u64,
        spec: Spec,
    ) -> Result<Result<(), JobRefused>, AskError> {
        self.change_job(name, move |lead| Ok(_ = lead.edit(revision, spec)?)).await
    }

    /// Has a job go on, wait or end.
    ///
    /// # Errors
    /// As there.
    pub async fn wish_job(
        &self,
        name: &str,
        wish: Wish,
    ) -> Result<Result<(), JobRefused>, AskError> {
        self.change_job(name, move |lead| {
            lead.wish(wish);
            Ok(())
        })
        .await
    }

    /// Begins another run of a job.
    ///
    /// # Errors
    /// As there.
    pub async fn run_job(&self, name: &str) -> Result<Result<(), JobRefused>, AskError> {
        self.change_job(name, |lead| {
            lead.rerun();
            Ok(())
        })
        .await
    }

    /// Has what stood before the last switch of a job stand again at its targets, or what was switched
    /// to.
    ///
    /// # Errors
    /// As there.
    pub async fn back_job(
        &self,
        name: &str,
        is_back: bool,
    ) -> Result<Result<(), JobRefused>, AskError> {
        self.change_job(name, move |lead| {
            lead.back(is_back);
            Ok(())
        })
        .await
    }

    async fn change_job(
        &self,
        name: &str,
        act: impl FnOnce(&mut Lead) -> Result<(), JobRefused> + Send + 'static,
    ) -> Result<Result<(), JobRefused>, AskError> {
        let name = name.to_owned();
        self.ask(move |body| body.change_job(name, act)).await
    }
}

impl Loop {
    fn job_facts(&self) -> Vec<JobFacts> {
        let away = self.away();
        let led = self
            .jobs
            .leads
            .values()
            .map(|leading| facts_of_lead(leading, (self.identity.id(), &away)));
        let others = self.jobs.duties.iter().filter(|(id, _)| !self.jobs.leads.contains_key(id));
        let served = others.map(|(_, working)| facts_of_duty(working, self.identity.id()));
        let mut all: Vec<JobFacts> = led.chain(served).collect();
        all.sort_by(|a, b| {
            (&a.order.spec.name, a.order.spec.id).cmp(&(&b.order.spec.name, b.order.spec.id))
        });
        all
    }

    pub(super) fn job_named(&self, name: &str) -> Option<JobId> {
        let mut leads = self.jobs.leads.iter();
        leads.find(|(_, leading)| leading.lead.order().spec.name == name).map(|(id, _)| *id)
    }

    pub(super) fn create_job(&mut self, spec: Spec) -> Result<(), JobRefused> {
        let Some(keep) = self.keep() else { return Err(JobRefused::Starting) };
        let lead = Lead::new(spec)?;
        if let Some(id) = self.job_named(&lead.order().spec.name) {
            let is_over =
                self.jobs.leads.get(&id).is_some_and(|it| it.lead.order().wish == Wish::Stop);
            if !is_over {
                return Err(JobRefused::Exists(lead.order().spec.name.clone()));
            }
            let before = self.jobs.leads.remove(&id);
            if let Err(error) = keep.forget(id) {
                tracing::warn!(job = %id, %error, "what was kept of it cannot be removed");
            }
            if let Some(before) = before {
                let sites = before.lead.order().spec.sites();
                self.end_for(before.lead.order().clone(), sites);
            }
        }
        if self.jobs.leads.len() >= super::JOBS_MAX {
            return Err(JobRefused::TooMany);
        }
        let id = lead.order().spec.id;
        self.jobs.leads.insert(id, Leading::new(lead));
        self.order_all(id);
        Ok(())
    }

    pub(super) fn change_job(
        &mut self,
        name: String,
        act: impl FnOnce(&mut Lead) -> Result<(), JobRefused>,
    ) -> Result<(), JobRefused> {
        let id = self.job_named(&name).ok_or_else(|| JobRefused::None(name.clone()))?;
        let Some(leading) = self.jobs.leads.get_mut(&id) else {
            return Err(JobRefused::None(name));
        };
        let (before, wish) = (leading.lead.order().clone(), leading.lead.order().wish);
        if wish == Wish::Stop {
            return Err(JobRefused::Stopped(name));
        }
        act(&mut leading.lead)?;
        // Who takes part no more is told so.
        let after = leading.lead.order();
        if *after == before {
            return Ok(());
        }
        let gone: BTreeSet<SiteId> =
            before.spec.sites().difference(&after.spec.sites()).copied().collect();
        let after = after.clone();
        self.order_all(id);
        self.takes_part_again(&after);
        if !gone.is_empty() {
            self.end_for(Order { turn: after.turn, ..before }, gone);
        }
        Ok(())
    }
}

fn facts_of_lead(leading: &Leading, (me, away): (SiteId, &impl Fn(SiteId) -> bool)) -> JobFacts {
    let lead = &leading.lead;
    let (state, reason) = lead.state(away);
    let sites = lead.sites().map(|(source, site, facts)| SiteProgress {
        site,
        source,
        state: facts.state,
        reason: match facts.reason.clone() {
            None if away(site) => Some("not connected".to_owned()),
            reason => reason,
        },
        done: facts.done,
        frozen: lead.frozen(source),
        rate: leading.rate_of((source, site), away),
        limit: lead.giving((source, site), away).map(|(_, limit)| limit),
        receipt: facts.receipt.clone(),
    });
    let (order, sites) = (lead.order().clone(), sites.collect());
    let late = leading.late(now_millis(), away);
    JobFacts { order, lead: me, state, reason, late, sites }
}

/// Of a job that another site leads only this site's part is known.
fn facts_of_duty(working: &Working, me: SiteId) -> JobFacts {
    let order = working.duty.order.clone();
    let sites: Vec<SiteProgress> = working
        .legs
        .values()
        .map(|leg| {
            let (source, state, reason, done) = leg.shown();
            let frozen = working.duty.frozen(source);
            SiteProgress {
                site: me,
                source,
                state,
                reason,
                done,
                frozen,
                rate: BitRate::bps(0),
                limit: None,
                receipt: None,
            }
        })
        .collect();
    let is = |state: SiteState| sites.iter().any(|site| site.state == state);
    let refused = working.refused.as_ref().map(ToString::to_string);
    let (state, reason) = match order.wish {
        Wish::Pause => (JobState::Paused, None),
        _ if refused.is_some() => (JobState::Failed, refused),
        _ if is(SiteState::Failed) => (JobState::Failed, None),
        _ if is(SiteState::Running) || is(SiteState::Staged) => (JobState::Running, None),
        _ if is(SiteState::Waiting) || sites.is_empty() => (JobState::Waiting, None),
        _ => (JobState::Done, None),
    };
    let reason = reason.or_else(|| sites.iter().find_map(|site| site.reason.clone()));
    JobFacts { order, lead: working.duty.lead, state, reason, late: None, sites }
}
