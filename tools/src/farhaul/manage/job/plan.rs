//! `farhaul job plan` and `apply`: what a job would do, and doing exactly that.

use super::super::client::{Client, encoded};
use super::super::{lines, print, say};
use crate::farhaul::failure::Failure;
use crate::farhaul::{Ended, text};
use farhaul_api::{JobPlan, JobPlanSite, JobSpec};
use farhaul_proto::units::BitRate;

pub(super) async fn plan(client: Client, job: Result<JobSpec, Failure>, json: bool) -> Ended {
    let plan: JobPlan = client.post("/api/v1/plans", Some(&job?)).await?;
    if json {
        return print(&plan);
    }
    let what = if plan.is_rerun { "another run of the job" } else { "the new job" };
    text::answer(format_args!("{what} {} would do this:", plan.job.name))?;
    plan.sites.iter().try_for_each(|site| text::answer(line(site)))?;
    if plan.is_possible {
        let JobPlan { id, expires, .. } = plan;
        return text::answer(format_args!("`farhaul job apply {id}` does it, until {expires}"));
    }
    text::answer("it cannot be applied: mend what is refused, and plan again")
}

fn line(site: &JobPlanSite) -> String {
    let JobPlanSite { site: name, role, refused, .. } = site;
    if let Some(why) = refused {
        return format!("  {role} {name}: refused: {why}");
    }
    let files = |count: u64| lines::count(count, "file", "files");
    if role == "source" {
        let (files, bytes) = (files(site.files_new), lines::size(site.bytes_new));
        return format!("  source {name}: {files}, {bytes}");
    }
    let mut parts = Vec::new();
    for (what, count, bytes) in [
        ("new", site.files_new, site.bytes_new),
        ("changed", site.files_changed, site.bytes_changed),
    ] {
        if count > 0 {
            parts.push(format!("{} {what} ({})", files(count), lines::size(bytes)));
        }
    }
    if site.files_removed > 0 {
        parts.push(format!("{} removed", files(site.files_removed)));
    }
    let most = if site.is_known { "" } else { "at most " };
    parts.push(format!("{most}{} to come", lines::size(site.bytes_to_come)));
    if site.bytes_reused > 0 {
        parts.push(format!("{} are there", lines::size(site.bytes_reused)));
    }
    if let Some(room) = site.room {
        parts.push(format!("{} free", lines::size(room)));
    }
    if let (Some(rate), Some(from)) = (site.rate_bps, &site.rate_from) {
        parts.push(format!("{} ({from})", BitRate::bps(rate)));
    }
    parts.extend(site.expected.iter().map(|at| format!("there by {at} if it begins as planned")));
    parts.extend(site.late.iter().map(|late| format!("too late: {late}")));
    format!("  target {name}: {}", parts.join(", "))
}

pub(super) async fn apply(client: Client, plan: &str, json: bool) -> Ended {
    let nothing: Option<&()> = None;
    say(&client.post(&format!("/api/v1/plans/{}/apply", encoded(plan)), nothing).await?, json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_what_comes_and_until_when() {
        let site = JobPlanSite {
            site: "tokyo".to_owned(),
            role: "target".to_owned(),
            is_known: true,
            files_new: 1,
            bytes_new: 1000,
            bytes_to_come: 1000,
            rate_bps: Some(8000),
            rate_from: Some("cap".to_owned()),
            expected: Some("2026-01-01T00:00:01Z".to_owned()),
            ..JobPlanSite::default()
        };
        let said = line(&site);
        assert!(said.starts_with("  target tokyo: 1 file new ("), "{said}");
        assert!(
            said.ends_with("(cap), there by 2026-01-01T00:00:01Z if it begins as planned"),
            "{said}"
        );
        let late = JobPlanSite { late: Some("5 s after".to_owned()), ..site.clone() };
        assert!(line(&late).ends_with("as planned, too late: 5 s after"), "{}", line(&late));
        let refused = JobPlanSite { refused: Some("no".to_owned()), ..site };
        assert_eq!(line(&refused), "  target tokyo: refused: no");
    }
}
