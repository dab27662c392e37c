//! `farhaul job`: orders that a site leads and others carry out.

mod plan;

use super::client::{Client, encoded};
use super::{SiteArgs, lines, print, say, with};
use crate::farhaul::failure::{Failure, Kind, disk};
use crate::farhaul::{Ended, text};
use clap::{Args, Subcommand};
use farhaul_api::{Done, JobEdit, JobReceipt, JobSite, JobSpec, JobStatus};
use farhaul_proto::units::BitRate;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a file with a job.
const FILE_MAX: u64 = 1 << 20;
/// How often it is asked how far a job is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `farhaul job`.
#[derive(Debug, Subcommand)]
pub enum JobVerb {
    /// Begin the job that a file describes; the site that is asked leads it.
    Create(JobFile),
    /// Say what the job that a file describes would do, at which site, and how long it would take; nothing
    /// is done.
    Plan(JobFile),
    /// Do exactly what was planned, if nothing changed since.
    Apply(OnePlan),
    /// All jobs that a site leads or takes part in.
    List(super::Plain),
    /// One job, with each of its sites.
    Show(OneJob),
    /// Follow a job until it is done or cannot go on.
    Wait(OneJob),
    /// What its targets signed when they were done.
    Receipts(OneJob),
    /// Have it wait at all of its sites.
    Pause(OneJob),
    /// Have it go on.
    Resume(OneJob),
    /// End it for good; what is visible at its targets stays.
    Stop(OneJob),
    /// Begin another run: its sources freeze what stands there now.
    Run(OneJob),
    /// Have what stood at its targets before the last run stand there again.
    Back(OneJob),
    /// Undo that.
    Forth(OneJob),
    /// Have it do what a file describes from now on; sites that are new in it are served.
    Edit(EditFile),
}

/// A verb about one job.
#[derive(Debug, Args)]
pub struct OneJob {
    /// What it is called.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul job apply`.
#[derive(Debug, Args)]
pub struct OnePlan {
    /// The id that `farhaul job plan` printed.
    #[arg(value_name = "PLAN")]
    pub plan: String,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A verb about a job in a file.
#[derive(Debug, Args)]
pub struct JobFile {
    /// The file, with a section [job].
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul job edit`.
#[derive(Debug, Args)]
pub struct EditFile {
    /// The file, with a section [job].
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The revision that the edit was made from; it is refused if there is a newer one
    /// [default: the one that the site has now].
    #[arg(long, value_name = "NUMBER")]
    pub revision: Option<u64>,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    job: JobSpec,
}

/// `farhaul job`.
pub(super) fn run(verb: &JobVerb) -> Ended {
    match verb {
        JobVerb::Create(args) => {
            with(&args.site, |client| create(client, &args.file, args.site.json))
        }
        JobVerb::Plan(args) => {
            with(&args.site, |client| plan::plan(client, read(&args.file), args.site.json))
        }
        JobVerb::Apply(args) => {
            with(&args.site, |client| plan::apply(client, &args.plan, args.site.json))
        }
        JobVerb::List(args) => with(&args.site, |client| list(client, args.site.json)),
        JobVerb::Show(args) => with(&args.site, |client| show(client, &args.job, args.site.json)),
        JobVerb::Wait(args) => with(&args.site, |client| wait(client, &args.job, args.site.json)),
        JobVerb::Receipts(args) => {
            with(&args.site, |client| receipts(client, &args.job, args.site.json))
        }
        JobVerb::Pause(args) => order(args, "pause"),
        JobVerb::Resume(args) => order(args, "resume"),
        JobVerb::Stop(args) => order(args, "stop"),
        JobVerb::Run(args) => order(args, "run"),
        JobVerb::Back(args) => order(args, "back"),
        JobVerb::Forth(args) => order(args, "forth"),
        JobVerb::Edit(args) => with(&args.site, |client| edit(client, args)),
    }
}

fn address(job: &str, rest: &str) -> String {
    format!("/api/v1/jobs/{}{rest}", encoded(job))
}

fn order(args: &OneJob, what: &str) -> Ended {
    let address = address(&args.job, &format!("/{what}"));
    with(&args.site, |client| async move {
        let nothing: Option<&()> = None;
        say(&client.post(&address, nothing).await?, args.site.json)
    })
}

/// Reads a file with a job.
fn read(path: &Path) -> Result<JobSpec, Failure> {
    let mut written = String::new();
    let opened = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut written));
    opened.map_err(|error| disk(path.display(), &error))?;
    let written: Written = toml::from_str(&written).map_err(|error| {
        let what = format!("{}: {}", path.display(), error.to_string().trim_end());
        Failure::new(Kind::Usage, what, "write it as `configs/job.toml` shows")
    })?;
    Ok(written.job)
}

async fn create(client: Client, path: &Path, json: bool) -> Ended {
    let job = read(path)?;
    let done: Done = client.post("/api/v1/jobs", Some(&job)).await?;
    if json {
        return print(&done);
    }
    text::answer(format_args!("{}; `farhaul job show {}` says how far it is", done.done, job.name))
}

async fn edit(client: Client, args: &EditFile) -> Ended {
    let job = read(&args.file)?;
    let revision = match args.revision {
        Some(revision) => revision,
        None => client.get::<JobStatus>(&address(&job.name, "")).await?.revision,
    };
    let address = address(&job.name, "/edit");
    say(&client.post(&address, Some(&JobEdit { revision, job })).await?, args.site.json)
}

async fn list(client: Client, json: bool) -> Ended {
    let jobs: Vec<JobStatus> = client.get("/api/v1/jobs").await?;
    if json {
        return print(&jobs);
    }
    jobs.iter().try_for_each(|job| text::answer(line(job)))
}

async fn show(client: Client, job: &str, json: bool) -> Ended {
    let job: JobStatus = client.get(&address(job, "")).await?;
    if json { print(&job) } else { whole(&job) }
}

fn whole(job: &JobStatus) -> Ended {
    lines(job).iter().try_for_each(text::answer)
}

/// As lines.
pub(super) fn lines(job: &JobStatus) -> Vec<String> {
    let JobSpec { class, weight, cap, calendar, activate, start, deadline, .. } = &job.job;
    let mut how = vec![format!("run {}", job.run), format!("revision {}", job.revision)];
    how.extend(class.iter().map(|class| format!("class {class}")));
    how.extend(weight.iter().map(|weight| format!("weight {weight}")));
    how.extend(cap.iter().map(|cap| format!("cap {cap}")));
    how.extend(calendar.iter().map(|calendar| format!("calendar {calendar}")));
    how.extend(activate.iter().map(|activate| format!("shown {activate}")));
    how.extend(start.iter().map(|start| format!("not before {start}")));
    how.extend(deadline.iter().map(|deadline| format!("to be done by {deadline}")));
    let how = format!("  {}, led by {}", how.join(", "), lines::site(&job.lead));
    let late = job.late.iter().map(|late| format!("  will miss its deadline: {late}"));
    [line(job), how].into_iter().chain(late).chain(job.sites.iter().map(site_line)).collect()
}

fn line(job: &JobStatus) -> String {
    let JobStatus { job: spec, state, reason, .. } = job;
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let from = spec.source.iter().chain(&spec.sources).cloned().collect::<Vec<_>>().join(", ");
    let to = spec.target.iter().chain(&spec.targets).cloned().collect::<Vec<_>>().join(", ");
    format!("{}: {} {from} -> {to}: {state}{reason}", spec.name, spec.kind)
}

fn site_line(site: &JobSite) -> String {
    let JobSite { site: name, role, state, reason, bytes_done, bytes_total, rate_bps, .. } = site;
    let mut line = format!("  {role} {name}: {state}");
    if let Some(total) = bytes_total.filter(|_| role == "target") {
        line.push_str(&format!(", {} of {}", lines::size(*bytes_done), lines::size(total)));
        if *rate_bps > 0 {
            let left = u128::from(total.saturating_sub(*bytes_done)) * 8 / u128::from(*rate_bps);
            line.push_str(&format!(", {}, {left} s left", BitRate::bps(*rate_bps)));
        }
        if let Some(limit) = &site.limited_by {
            line.push_str(&format!(", limited by {limit}"));
        }
    }
    if let Some(reason) = reason {
        line.push_str(&format!(" ({reason})"));
    }
    if let Some(JobReceipt { run, at, .. }) = &site.receipt {
        line.push_str(&format!("; has run {run} since {at}"));
    }
    line
}

/// Follows a job; its end decides how this ends.
async fn wait(client: Client, name: &str, json: bool) -> Ended {
    let mut last = None;
    loop {
        let job: JobStatus = client.get(&address(name, "")).await?;
        let is_over = matches!(job.state.as_str(), "done" | "failed" | "paused");
        if last.as_ref() != Some(&job) {
            if json { print(&job)? } else { whole(&job)? }
        }
        match job.state.as_str() {
            "done" => return Ok(()),
            _ if is_over => {
                let why = job.reason.unwrap_or_default();
                let what = format!("the job {name} is {}: {why}", job.state);
                return Err(Failure::new(
                    Kind::Transfer,
                    what,
                    "mend that; it is tried again by itself",
                ));
            }
            _ => {}
        }
        last = Some(job);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A receipt, and whose.
#[derive(Serialize)]
struct Signed<'a> {
    site: &'a str,
    id: &'a str,
    from: &'a str,
    receipt: &'a JobReceipt,
}

async fn receipts(client: Client, name: &str, json: bool) -> Ended {
    let job: JobStatus = client.get(&address(name, "")).await?;
    for JobSite { site, id, from, receipt, .. } in &job.sites {
        let Some(receipt) = receipt else { continue };
        if json {
            print(&Signed { site, id, from, receipt })?;
            continue;
        }
        let JobReceipt { run, root, files, bytes, at, signature, .. } = receipt;
        let files = lines::count(*files, "file", "files");
        let size = lines::size(*bytes);
        text::answer(format_args!("{site}: run {run}, {files}, {size}, since {at}"))?;
        text::answer(format_args!("  root {root}\n  signed {signature}"))?;
    }
    Ok(())
}
