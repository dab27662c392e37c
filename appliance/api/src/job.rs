//! Jobs: what is ordered, and how far it is.

use crate::{SiteRef, Time};
use serde::{Deserialize, Serialize};

/// What a job is to do, as it is written in the `[job]` section of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobSpec {
    /// What it is called at the site that leads it: 1 to 64 of a-z, 0-9, `.`, `_` and `-`.
    pub name: String,
    /// `distribute` (one tree to many sites), `consolidate` (trees of many sites to one, each beneath
    /// the name of its site) or `copy` (one tree to one site).
    pub kind: String,
    /// From where: `SITE:EXPORT/PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// From where, of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// To where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// To where, of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// `urgent`, `normal` or `background`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Its part of what its class gets, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The most that each site sends of it to all others together, such as `200 Mbit/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// The calendar that it keeps to; each of its sites has one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// `each` (a target shows it as soon as it has all of it) or `together` (all at one instant).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate: Option<String>,
    /// Nothing is done for it before: a moment such as `2026-11-25T22:00+01:00` or
    /// `2026-11-25T22:00[Europe/Berlin]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// When all targets are to have it: it goes on then, but it is said early if it will not be so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// Another specification for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobEdit {
    /// The revision that the edit was made from; if the job has another one by now, it is refused.
    pub revision: u64,
    /// What it is to be.
    pub job: JobSpec,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobStatus {
    /// Names it among all jobs of all sites.
    pub id: String,
    /// Grows with each edit.
    pub revision: u64,
    /// What it is to do.
    pub job: JobSpec,
    /// Who leads it.
    pub lead: SiteRef,
    /// `waiting`, `running`, `paused`, `done` or `failed`.
    pub state: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That it will not be done by its deadline, if it goes on as it does, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
    /// The run that goes on, or that it is done with; from 1.
    pub run: u64,
    /// When it becomes visible everywhere, where that is at one instant and known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_at: Option<Time>,
    /// Each target, and each source, as the leader knows it; another site knows only itself.
    pub sites: Vec<JobSite>,
}

/// A site's part of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobSite {
    /// What the job calls it.
    pub site: String,
    /// Who it is.
    pub id: String,
    /// `source` or `target`.
    pub role: String,
    /// What the job calls the site from which this comes.
    pub from: String,
    /// `waiting`, `running`, `paused`, `staged`, `done` or `failed`.
    pub state: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that came, were found here, or are frozen.
    pub bytes_done: u64,
    /// Of so many, once its source has frozen them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// How fast it comes, in bits a second: as wire bytes from all who say that they give it, else as bytes
    /// of files that came.
    pub rate_bps: u64,
    /// What limits it, said by the site that gives it most: `link`, `share`, `cap`, `calendar`, `class`,
    /// `paused`, `source disk`, `target` or `path`; absent where nobody has said so just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// That it was done, of the newest run in which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<JobReceipt>,
}

/// What a target signed when it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobReceipt {
    /// Of which run.
    pub run: u64,
    /// The hash of all paths, contents and metadata, in hexadecimal digits.
    pub root: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Since when it stands there, by the clock of the target.
    pub at: Time,
    /// The public key of the target, in hexadecimal digits.
    pub key: String,
    /// Its signature (SYNC.md S-233), in hexadecimal digits.
    pub signature: String,
}

/// What a job would do: nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobPlan {
    /// Names it for `farhaul job apply`.
    pub id: String,
    /// Until when it is kept; a restart of the site forgets it earlier.
    pub expires: Time,
    /// What the job would do.
    pub job: JobSpec,
    /// Whether there is a job of this name, of which it would be another run.
    pub is_rerun: bool,
    /// Whether it can be applied: all sites answered, and none refuses.
    pub is_possible: bool,
    /// Each source and each target.
    pub sites: Vec<JobPlanSite>,
}

/// What a site would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobPlanSite {
    /// What the job calls it.
    pub site: String,
    /// Who it is.
    pub id: String,
    /// `source` or `target`.
    pub role: String,
    /// What the job calls the site from which this comes.
    pub from: String,
    /// Why nothing would be done here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether what follows is so; else it is the most that may come, for what the site has is of another
    /// run than what its source remembers.
    pub is_known: bool,
    /// Files that it has not; at a source, files that it gives.
    pub files_new: u64,
    /// Their bytes.
    pub bytes_new: u64,
    /// Files that it has otherwise.
    pub files_changed: u64,
    /// The bytes that they would have; of a large file only what is new in it comes.
    pub bytes_changed: u64,
    /// Files that it would remove.
    pub files_removed: u64,
    /// Bytes that it has already.
    pub bytes_reused: u64,
    /// Bytes that come over the network, at most; at a source, that it gives if it alone gives.
    pub bytes_to_come: u64,
    /// Bytes of room that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<u64>,
    /// How fast that would go, where anything is known of it, in bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// From what that is known: `measured`, `cap` or `link NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_from: Option<String>,
    /// When all of it would be there, if it began now, or at its start, and calendars of the site that leads are kept to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Time>,
    /// That this is after the deadline of the job, and by how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
}
