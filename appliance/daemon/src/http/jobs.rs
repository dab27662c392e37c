//! Jobs: created, shown and changed at the site that leads them.

use super::fail::{Answer, Failed};
use super::names::Names;
use super::{Api, Sources};
use crate::config::{Config, rate_of};
use crate::control::{JobFacts, JobRefused, SiteProgress};
use crate::moment::{millis_of_text, now_millis, text_of_millis};
use crate::told;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use farhaul_api::{Done, JobEdit, JobReceipt, JobSite, JobSpec, JobStatus, Problem};
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{
    Activate, Class, JobId, Kind, Place, PlaceText, Receipt, Spec, Times, Wish,
};
use ring::rand::{SecureRandom, SystemRandom};

pub(super) const EXAMPLE: &str = "see `configs/job.toml` for every key of a job";

/// All jobs that this site leads or takes part in.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "jobs", responses(
    (status = 200, body = Vec<JobStatus>), (status = "default", body = Problem)
))]
pub(super) async fn list(State(api): State<Api>) -> Answer<Vec<JobStatus>> {
    let (facts, names) = (api.sources.control.jobs().await?, api.names());
    Ok(Json(facts.iter().map(|facts| status(facts, &names)).collect()))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", operation_id = "job",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = JobStatus), (status = "default", body = Problem)
))]
pub(super) async fn show(State(api): State<Api>, Path(name): Path<String>) -> Answer<JobStatus> {
    let facts = api.sources.control.jobs().await?;
    // Of two of one name the one that is led here is meant.
    let named = facts.iter().filter(|facts| facts.order.spec.name == name);
    let found = named.max_by_key(|facts| facts.lead == api.sources.me);
    let facts = found.ok_or_else(|| none(&name))?;
    Ok(Json(status(facts, &api.names())))
}

/// Begins a job, which this site leads from now on.
#[utoipa::path(post, path = "/api/v1/jobs", operation_id = "createJob", request_body = JobSpec, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn create(State(api): State<Api>, Json(job): Json<JobSpec>) -> Answer<Done> {
    let spec = spec_of(&job, &api.sources, new_id()?)?;
    let name = spec.name.clone();
    refused(api.sources.control.create_job(spec).await?)?;
    Ok(Json(Done { done: format!("the job {name} begins") }))
}

/// Has a job do something else. Sites that are new in it are served with the present run.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/edit", operation_id = "editJob",
    params(("job" = String, Path, description = "Its name")), request_body = JobEdit, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn edit(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(edit): Json<JobEdit>,
) -> Answer<Done> {
    let spec = spec_of(&JobSpec { name: name.clone(), ..edit.job }, &api.sources, new_id()?)?;
    refused(api.sources.control.edit_job(&name, edit.revision, spec).await?)?;
    Ok(Json(Done { done: format!("the job {name} is at revision {}", edit.revision + 1) }))
}

async fn wish(api: &Api, name: &str, wish: Wish, done: &str) -> Answer<Done> {
    refused(api.sources.control.wish_job(name, wish).await?)?;
    Ok(Json(Done { done: format!("the job {name} {done}") }))
}

/// Has a job wait at all of its sites.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/pause", operation_id = "pauseJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn pause(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    wish(&api, &name, Wish::Pause, "is paused").await
}

/// Has a job that waits go on.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/resume", operation_id = "resumeJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn resume(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    wish(&api, &name, Wish::Run, "goes on").await
}

/// Ends a job for good. What is visible stays.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/stop", operation_id = "stopJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn stop(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    wish(&api, &name, Wish::Stop, "is over").await
}

/// Begins another run: the sources freeze what stands there now.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/run", operation_id = "runJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn run(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    refused(api.sources.control.run_job(&name).await?)?;
    Ok(Json(Done { done: format!("another run of the job {name} begins") }))
}

/// Has what stood before the last switch stand again at all targets.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/back", operation_id = "backJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn back(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    refused(api.sources.control.back_job(&name, true).await?)?;
    Ok(Json(Done { done: format!("what stood before the job {name} stands again") }))
}

/// Undoes that.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/forth", operation_id = "forthJob",
    params(("job" = String, Path, description = "Its name")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn forth(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    refused(api.sources.control.back_job(&name, false).await?)?;
    Ok(Json(Done { done: format!("what the job {name} brought stands again") }))
}

fn none(name: &str) -> Failed {
    let detail = format!("there is no job `{name}` here");
    Failed::missing("no such job", detail, "`farhaul job list` names the jobs of this site")
}

pub(super) fn refused(done: Result<(), JobRefused>) -> Result<(), Failed> {
    let conflict = |title, error: &JobRefused, next| {
        Failed::new(StatusCode::CONFLICT, title, error.to_string(), next)
    };
    match done {
        Ok(()) => Ok(()),
        Err(JobRefused::None(name)) => Err(none(&name)),
        Err(error @ JobRefused::Exists(_)) => {
            let next = "choose another name, or `farhaul job edit` or `farhaul job run` that one";
            Err(conflict("the name is taken", &error, next))
        }
        Err(error @ JobRefused::Edit(_)) => {
            let next = "`farhaul job show NAME` says how it is now";
            Err(conflict("the job was not changed", &error, next))
        }
        Err(error @ JobRefused::Spec(_)) => {
            Err(Failed::wrong("it is no job that can be done", error.to_string(), EXAMPLE))
        }
        Err(error) => {
            let next = "`farhaul job list` says how the jobs of this site are";
            Err(conflict("the job does not take that", &error, next))
        }
    }
}

pub(super) fn new_id() -> Result<JobId, Failed> {
    let mut id = [0; 16];
    match SystemRandom::new().fill(&mut id) {
        Ok(()) => Ok(JobId(id)),
        Err(_) => Err(Failed::broken("the system gives no random numbers")),
    }
}

fn wrong(what: impl Into<String>) -> Failed {
    Failed::wrong("it is no job", what, EXAMPLE)
}

/// What is written, with the sites that this one knows.
pub(super) fn spec_of(job: &JobSpec, sources: &Sources, id: JobId) -> Result<Spec, Failed> {
    let config = sources.config();
    let places = |one: &Option<String>, more: &[String], key: &str| match (one, more) {
        (Some(_), [_, ..]) => {
            Err(wrong(format!("both `{key}` and `{key}s` are written: write one")))
        }
        _ => one.iter().chain(more).map(|text| place(text, &config, sources.me)).collect(),
    };
    let choice = |key: &str, text: &Option<String>, all: Vec<&'static str>| match text {
        None => Ok(None),
        Some(text) => match all.iter().position(|name| *name == text.as_str()) {
            Some(at) => Ok(Some(at)),
            None => Err(wrong(format!("`{key}` = \"{text}\": write one of {}", all.join(", ")))),
        },
    };
    let kind = choice("kind", &Some(job.kind.clone()), Kind::ALL.map(Kind::name).to_vec())?;
    let class = choice("class", &job.class, Class::ALL.map(Class::name).to_vec())?;
    let activate = choice("activate", &job.activate, Activate::ALL.map(Activate::name).to_vec())?;
    let cap = job
        .cap
        .as_ref()
        .map(|text| rate_of(text).map_err(|error| wrong(format!("`cap` = \"{text}\" {error}"))));
    let spec = Spec {
        id,
        revision: 1,
        name: job.name.clone(),
        kind: Kind::ALL[kind.unwrap_or(0)],
        sources: places(&job.source, &job.sources, "source")?,
        targets: places(&job.target, &job.targets, "target")?,
        class: class.map_or_else(Class::default, |at| Class::ALL[at]),
        weight: job.weight.unwrap_or(1),
        cap: cap.transpose()?,
        calendar: job.calendar.clone(),
        activate: activate.map_or_else(Activate::default, |at| Activate::ALL[at]),
        times: times(job)?,
    };
    spec.check().map_err(|error| wrong(error.to_string()))?;
    if let Some(name) = spec.calendar.as_ref().filter(|name| !config.calendars.contains_key(*name))
    {
        let detail = format!("`calendar` = \"{name}\": this site has no calendar of that name");
        let next = "`farhaul calendar list` names those that there are; each site of the job needs one \
                    of that name";
        return Err(Failed::wrong("it is no job", detail, next));
    }
    Ok(spec)
}

/// When it may begin and is to be done. A deadline that is over already is a mistake.
fn times(job: &JobSpec) -> Result<Times, Failed> {
    let moment = |key: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match millis_of_text(text) {
            Some(millis) => Ok(Some(millis)),
            None => Err(wrong(format!(
                "`{key}` = \"{text}\" is no moment: write one with an offset or a zone, such as \
                 \"2026-11-25T22:00+01:00\" or \"2026-11-25T22:00[Europe/Berlin]\""
            ))),
        },
    };
    let start_millis = moment("start", &job.start)?;
    let deadline_millis = moment("deadline", &job.deadline)?;
    if deadline_millis.is_some_and(|deadline| deadline <= now_millis()) {
        let text = job.deadline.as_deref().unwrap_or_default();
        return Err(wrong(format!("`deadline` = \"{text}\" is over: write a later one")));
    }
    Ok(Times { start_millis, deadline_millis })
}

fn place(text: &str, config: &Config, me: SiteId) -> Result<Place, Failed> {
    let place: PlaceText = text.parse().map_err(|error| wrong(format!("\"{text}\": {error}")))?;
    if place.site == config.site.name {
        return Ok(Place::of(place, me));
    }
    let peer = config.peers.iter().find(|peer| peer.name == place.site);
    let peer = peer.ok_or_else(|| {
        let next = "`farhaul peer list` names the sites that this one knows";
        Failed::wrong(
            "it is no job",
            format!("\"{text}\": there is no site `{}`", place.site),
            next,
        )
    })?;
    Ok(Place::of(place, peer.id))
}

fn status(facts: &JobFacts, names: &Names) -> JobStatus {
    let order = &facts.order;
    let mut lead = told::site(facts.lead);
    names.site(&mut lead);
    JobStatus {
        id: order.spec.id.to_string(),
        revision: order.spec.revision,
        job: written(&order.spec),
        lead,
        state: facts.state.name().to_owned(),
        reason: facts.reason.clone(),
        late: facts.late.clone(),
        run: order.run,
        switch_at: order.switch_at.map(text_of_millis),
        sites: facts.sites.iter().map(|site| site_status(&order.spec, site)).collect(),
    }
}

/// As it would be written.
pub(super) fn written(spec: &Spec) -> JobSpec {
    let texts = |places: &[Place]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (sources, targets) = (texts(&spec.sources), texts(&spec.targets));
    let one = |texts: Vec<String>| match <[String; 1]>::try_from(texts) {
        Ok([text]) => (Some(text), Vec::new()),
        Err(texts) => (None, texts),
    };
    let ((source, sources), (target, targets)) = (one(sources), one(targets));
    JobSpec {
        name: spec.name.clone(),
        kind: spec.kind.name().to_owned(),
        source,
        sources,
        target,
        targets,
        class: Some(spec.class.name().to_owned()),
        weight: Some(spec.weight),
        cap: spec.cap.map(|cap| format!("{} bit/s", cap.get())),
        calendar: spec.calendar.clone(),
        activate: Some(spec.activate.name().to_owned()),
        start: spec.times.start_millis.map(text_of_millis),
        deadline: spec.times.deadline_millis.map(text_of_millis),
    }
}

fn site_status(spec: &Spec, facts: &SiteProgress) -> JobSite {
    let label = |site: SiteId| spec.label_of(site).map_or_else(|| site.to_string(), str::to_owned);
    let is_source = facts.site == facts.source;
    JobSite {
        site: label(facts.site),
        id: facts.site.to_string(),
        role: if is_source { "source" } else { "target" }.to_owned(),
        from: label(facts.source),
        state: facts.state.name().to_owned(),
        reason: facts.reason.clone(),
        bytes_done: facts.done.get(),
        bytes_total: facts.frozen.map(|frozen| frozen.bytes.get()),
        rate_bps: facts.rate.get(),
        limited_by: facts.limit.map(|limit| limit.name().to_owned()),
        receipt: facts.receipt.as_ref().map(|(run, receipt)| receipt_of(*run, receipt)),
    }
}

fn receipt_of(run: u64, receipt: &Receipt) -> JobReceipt {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    JobReceipt {
        run,
        root: hex(&receipt.frozen.root),
        files: receipt.frozen.files,
        bytes: receipt.frozen.bytes.get(),
        at: text_of_millis(receipt.at_millis),
        key: hex(&receipt.key),
        signature: hex(&receipt.signature),
    }
}
