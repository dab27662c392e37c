//! What a job would do, asked of all its sites before anything is done; and doing exactly that.

use super::fail::{Answer, Failed};
use super::jobs::{EXAMPLE, new_id, refused, spec_of, written};
use super::{Api, Sources};
use crate::config::Config;
use crate::control::{PLAN_KEPT, Planned};
use crate::moment::{millis_of, text_of_millis};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use farhaul_api::{Done, JobPlan, JobPlanSite, JobSpec, Problem};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{Leg, LegFound, Spec, Times, deeds, differs};
use jiff::{SignedDuration, Timestamp};
use std::time::SystemTime;

/// How far ahead it is looked when something would be done.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Says what a job would do. Nothing is made, changed or sent at any site but answers.
#[utoipa::path(post, path = "/api/v1/plans", operation_id = "planJob", request_body = JobSpec, responses(
    (status = 200, body = JobPlan), (status = "default", body = Problem)
))]
pub(super) async fn plan(State(api): State<Api>, Json(job): Json<JobSpec>) -> Answer<JobPlan> {
    let spec = spec_of(&job, &api.sources, new_id()?)?;
    check_calendar(&spec, &api.sources.config())?;
    let planned = asked(&api.sources, spec).await?;
    let id = new_id()?.to_string();
    let sites = sites(&planned, &api.sources, Timestamp::now());
    let plan = JobPlan {
        id: id.clone(),
        expires: text_of_millis(millis_of(SystemTime::now() + PLAN_KEPT)),
        job: written(&planned.spec),
        is_rerun: planned.revision.is_some(),
        is_possible: sites.iter().all(|site| site.refused.is_none()),
        sites,
    };
    api.sources.control.keep_plan(id, planned).await?;
    Ok(Json(plan))
}

/// Does what was planned, if every site still says the same.
#[utoipa::path(post, path = "/api/v1/plans/{plan}/apply", operation_id = "applyPlan",
    params(("plan" = String, Path, description = "Its id")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn apply(State(api): State<Api>, Path(id): Path<String>) -> Answer<Done> {
    let Some(plan) = api.sources.control.kept_plan(&id).await? else {
        let next = "plans are kept for an hour, and not over a restart: `farhaul job plan` makes another one";
        return Err(Failed::missing("no such plan", format!("there is no plan `{id}`"), next));
    };
    let refuses =
        |site: &JobPlanSite| site.refused.as_ref().map(|why| format!("{}: {why}", site.site));
    let now = asked(&api.sources, plan.spec.clone()).await?;
    let label = |site: SiteId| plan.spec.label_of(site).unwrap_or("a site").to_owned();
    let other = differs(&plan.found, &now.found);
    if let Some(site) = other.filter(|site| now.found.contains_key(site)) {
        let is_source = plan.spec.sources.iter().any(|source| source.site == site);
        let what = if is_source { "what stands there" } else { "what it has, or lets be done," };
        let detail = format!("{}: {what} is otherwise than when this was planned", label(site));
        return Err(outdated(detail));
    }
    let sites = sites(&now, &api.sources, Timestamp::now());
    if let Some(why) = sites.iter().find_map(refuses) {
        return Err(outdated(why));
    }
    if plan.revision != now.revision {
        return Err(outdated("the job itself was changed, created or stopped since".to_owned()));
    }
    let name = plan.spec.name.clone();
    refused(api.sources.control.apply_plan(&id, plan).await?)?;
    Ok(Json(Done { done: format!("the job {name} begins as planned") }))
}

fn outdated(detail: String) -> Failed {
    let next = "`farhaul job plan FILE` says what would be done now";
    Failed::new(StatusCode::CONFLICT, "the plan cannot be applied", detail, next)
}

async fn asked(sources: &Sources, spec: Spec) -> Result<Planned, Failed> {
    match sources.control.plan_job(spec).await? {
        Ok(planned) => Ok(planned),
        Err(error) => Err(refused(Err(error)).err().unwrap_or_else(|| Failed::broken("no reason"))),
    }
}

fn check_calendar(spec: &Spec, config: &Config) -> Result<(), Failed> {
    match spec.calendar.as_ref().filter(|name| !config.calendars.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let what = format!("this site has no calendar `{name}`");
            Err(Failed::wrong("it is no job", what, EXAMPLE))
        }
    }
}

/// What each site would do.
fn sites(planned: &Planned, sources: &Sources, now: Timestamp) -> Vec<JobPlanSite> {
    let config = sources.config();
    let legs = planned.spec.legs().unwrap_or_default();
    let each = legs.iter().flat_map(|leg| {
        let mut targets: Vec<JobPlanSite> =
            leg.targets.iter().map(|to| target(planned, (leg, to.site))).collect();
        let begun = targets.iter().filter(|site| site.bytes_to_come > 0).count();
        for site in &mut targets {
            let to = leg.targets.iter().find(|to| to.label == site.site).map(|to| to.site);
            predict(
                site,
                (planned, &config),
                (leg, to.unwrap_or(leg.source.site), begun),
                (sources.me, now),
            );
        }
        let mut source = part(planned, (leg, leg.source.site), "source");
        if let Some(tree) = found(planned, (leg, leg.source.site)).and_then(|found| found.tree) {
            (source.files_new, source.bytes_new) = (tree.files, tree.bytes.get());
        }
        source.bytes_to_come =
            targets.iter().map(|site| site.bytes_to_come).fold(0, u64::saturating_add);
        std::iter::once(source).chain(targets).collect::<Vec<_>>()
    });
    each.collect()
}

fn found<'a>(planned: &'a Planned, (leg, site): (&Leg, SiteId)) -> Option<&'a LegFound> {
    planned.found.get(&site)?.iter().find(|found| found.source == leg.source.site)
}

fn part(planned: &Planned, (leg, site): (&Leg, SiteId), role: &str) -> JobPlanSite {
    let refused = match found(planned, (leg, site)) {
        Some(found) => found.refused.clone(),
        None if planned.away.contains(&site) => Some("it is not connected".to_owned()),
        None => Some("it did not answer within 45 s, or knows no plans".to_owned()),
    };
    JobPlanSite {
        site: planned.spec.label_of(site).unwrap_or("a site").to_owned(),
        id: site.to_string(),
        role: role.to_owned(),
        from: leg.source.label.clone(),
        is_known: refused.is_none(),
        refused,
        ..JobPlanSite::default()
    }
}

fn target(planned: &Planned, (leg, site): (&Leg, SiteId)) -> JobPlanSite {
    let mut part = part(planned, (leg, site), "target");
    let here = found(planned, (leg, site));
    part.room = here.and_then(|found| found.room).map(Bytes::get);
    let source = found(planned, (leg, leg.source.site));
    let Some(deeds) = source.zip(here).and_then(|(source, here)| deeds(source, here)) else {
        part.is_known = false;
        return part;
    };
    part.is_known = deeds.is_known;
    (part.files_new, part.bytes_new) = (deeds.new.0, deeds.new.1.get());
    (part.files_changed, part.bytes_changed) = (deeds.changed.0, deeds.changed.1.get());
    (part.files_removed, part.bytes_reused) = (deeds.removed, deeds.reused.get());
    part.bytes_to_come = deeds.to_come().get();
    // As is asked before the first byte (S-237): with one part in a hundred to spare.
    let stored = source.and_then(|found| found.tree).map_or(u64::MAX, |tree| tree.stored.get());
    let needed = part.bytes_to_come.min(stored);
    let needed = needed.saturating_add(needed / 100);
    if deeds.is_known && part.room.is_some_and(|room| room < needed) {
        let room = part.room.unwrap_or(0);
        part.refused =
            Some(format!("{needed} bytes are needed and {room} are free: make room there"));
    }
    part
}

/// When a target would have all of it, as far as anything is known of how fast that goes.
fn predict(
    part: &mut JobPlanSite,
    (planned, config): (&Planned, &Config),
    (leg, site, others): (&Leg, SiteId, usize),
    (me, now): (SiteId, Timestamp),
) {
    if part.refused.is_some() {
        return;
    }
    // Of what goes between others nothing is known here.
    let peer = if leg.source.site == me { site } else { leg.source.site };
    let names =
        |link: &&crate::config::Link| link.peers.as_ref().is_some_and(|it| it.contains(&peer));
    let rest = || config.links.iter().find(|link| link.peers.is_none());
    let is_mine = me == leg.source.site || me == site;
    let link = config.links.iter().find(names).or_else(rest).filter(|_| is_mine);
    let carries = link.and_then(|link| if me == site { link.down } else { link.up });
    // Who gives alone divides what his link carries among all who take.
    let shared =
        |rate: BitRate| BitRate::bps(rate.get() / u64::try_from(others.max(1)).unwrap_or(1));
    let measured = planned.rates.get(&(leg.source.site, site)).copied();
    let named = link.map_or(String::new(), |link| format!("link {}", link.name));
    let rates = [
        (measured, "measured".to_owned()),
        (planned.spec.cap, "cap".to_owned()),
        (carries.map(shared), named),
    ];
    let known = rates.into_iter().filter_map(|(rate, from)| Some((rate?, from)));
    let Some((rate, from)) = known.min_by_key(|(rate, _)| *rate) else { return };
    (part.rate_bps, part.rate_from) = (Some(rate.get()), Some(from));
    let begins = begins(planned.spec.times, now);
    let calendars = [link.and_then(|link| link.calendar.as_ref()), planned.spec.calendar.as_ref()];
    let horizon = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let bytes = Bytes::new(part.bytes_to_come);
    let nanos = u128::from(bytes.get()) * 8_000_000_000 / u128::from(rate.get().max(1));
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    let mut done = begins.checked_add(SignedDuration::from_nanos(nanos)).ok();
    for name in calendars.into_iter().flatten() {
        let Some(calendar) = config.calendars.get(name) else { continue };
        // The later one: where both hold at once it may be later still.
        let kept = calendar.when_done(bytes, rate, begins, horizon);
        done = done.zip(kept).map(|(done, kept)| done.max(kept));
    }
    match done.filter(|done| *done <= horizon) {
        Some(done) => {
            part.late = late(planned.spec.times, done);
            part.expected = Some(done.to_string());
        }
        None => part.refused = Some("its calendars do not let it end within 400 days".to_owned()),
    }
}

/// When the job would begin.
fn begins(times: Times, now: Timestamp) -> Timestamp {
    let start = times.start_millis.and_then(|start| i64::try_from(start).ok());
    let start = start.and_then(|start| Timestamp::from_millisecond(start).ok());
    start.map_or(now, |start| start.max(now))
}

/// By how much that is after the deadline.
fn late(times: Times, done: Timestamp) -> Option<String> {
    let deadline = i64::try_from(times.deadline_millis?).ok()?;
    let behind = done.as_millisecond().checked_sub(deadline).filter(|behind| *behind > 0)?;
    let seconds = (behind + 999) / 1000;
    let deadline = text_of_millis(times.deadline_millis?);
    Some(format!(
        "{seconds} s after its deadline, {deadline}: begin it earlier, give it more of the link, or write \
         a later deadline"
    ))
}
