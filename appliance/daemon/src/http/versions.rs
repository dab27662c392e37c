//! What was displaced and is kept, what others have of what was here, and bringing it back.

mod near;

use super::fail::{Answer, Failed};
use super::items::Which;
use super::look::{path_if, path_of};
use super::names::Names;
use super::{Api, Shared};
use crate::control::{Holders, Revision};
use crate::index::Elsewhere;
use crate::moment::{self, text_of_secs};
use crate::restore::{self, Step, Wish};
use crate::told;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{
    GoneVersion, Problem, Restore, RestoreAction, RestoreItem, RestorePage, SiteRef, Versions,
};
use farhaul_files::people::NameMap;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::record::Record;
use farhaul_sync::version::{Content, Context, ManifestId, Meta, Version};
use std::collections::BTreeMap;
use tokio::task::spawn_blocking;

/// What is and was at a path, as far as it was displaced at this site, or gone by a user of it.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/versions", operation_id = "versions",
    params(("folder" = String, Path, description = "Its id"), Which), responses(
    (status = 200, body = Versions), (status = "default", body = Problem)
))]
pub(super) async fn list(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Answer<Versions> {
    let path = path_of(&which.path)?;
    let looked = api.look(&name, None, move |reading| {
        let placed = reading.item(&path)?.placed;
        let (kept, gone) = (reading.kept_of(&path)?, reading.elsewhere_of(&path)?);
        Ok((placed.map(|placed| told::version(&placed.version)), kept, gone))
    });
    let (mut now, kept, mut gone) = looked.await?;
    let is_kept = |gone: &Elsewhere| {
        let kept = kept.iter().filter_map(|kept| kept.version.as_ref());
        kept.into_iter().any(|kept| kept.dot == gone.version.dot)
    };
    gone.retain(|gone| !is_kept(gone));
    let holders = api.holders(&name, gone.iter().map(|gone| &gone.version)).await?;
    let mut kept: Vec<_> = kept.iter().map(told::kept).collect();
    let names = api.names();
    let versions = kept.iter_mut().filter_map(|kept| kept.version.as_mut());
    versions.chain(now.as_mut()).for_each(|version| names.version(version));
    let gone = gone.iter().map(|gone| gone_version(gone, &holders, &names));
    Ok(Json(Versions { path: which.path, now, kept, elsewhere: gone.collect() }))
}

fn gone_version(gone: &Elsewhere, holders: &Holders, names: &Names) -> GoneVersion {
    let Elsewhere { version, at_secs, .. } = gone;
    let mut told = told::version(version);
    names.version(&mut told);
    let file = file_of(version).map(|(manifest, _)| manifest);
    let here = file.is_none_or(|manifest| holders.is_here(manifest));
    let sites = file.into_iter().flat_map(|manifest| holders.sites(manifest));
    let unasked = holders.silent().iter().copied().filter(|_| !here);
    let (sites, unasked) = (named(sites, names), named(unasked, names));
    let name = told::dot(version.dot);
    GoneVersion { name, version: told, gone: text_of_secs(*at_secs), here, sites, unasked }
}

pub(super) fn named(sites: impl Iterator<Item = SiteId>, names: &Names) -> Vec<SiteRef> {
    let named = sites.map(|site| {
        let mut site = told::site(site);
        names.site(&mut site);
        site
    });
    named.collect()
}

const fn file_of(version: &Version) -> Option<(ManifestId, Bytes)> {
    match version.content {
        Content::File { manifest, size } => Some((manifest, size)),
        _ => None,
    }
}

/// Brings back what stood at a time, some paths at each call: as edits that every site follows, and
/// that keep what they displace. What this site has not comes from a peer that has it.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/restore", operation_id = "restore",
    params(("folder" = String, Path, description = "Its id")), request_body = Restore, responses(
    (status = 200, body = RestorePage), (status = "default", body = Problem)
))]
pub(super) async fn restore(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Restore>,
) -> Answer<RestorePage> {
    let (mut steps, next) = api.steps(&name, &order).await?;
    api.check_kept(&name, &mut steps).await?;
    let gone = steps.iter().filter(|step| step.is_elsewhere);
    let holders = api.holders(&name, gone.filter_map(|step| step.version.as_ref())).await?;
    steps.iter_mut().for_each(|step| check_held(step, &holders));
    if !order.dry_run {
        let revisions: Vec<Revision> =
            steps.iter().filter_map(|step| revision(step, &holders)).collect();
        if !revisions.is_empty() {
            api.sources.control.revise(&name, revisions).await?;
        }
    }
    let is_told = |step: &Step| order.all || step.action != RestoreAction::Same;
    let names = api.names();
    let items = steps.into_iter().filter(is_told).map(|step| {
        let record = order.records.then(|| record(&step)).flatten();
        RestoreItem { record, ..item(&step, &holders, &names) }
    });
    let items = items.collect();
    let [map_users, map_groups] = if order.records { api.maps(&name) } else { Default::default() };
    Ok(Json(RestorePage { items, map_users, map_groups, next: next.as_ref().map(told::text_of) }))
}

/// The pairs of a map, whose names the configuration has as text.
fn pairs(map: &NameMap) -> BTreeMap<String, String> {
    let text = |name| String::from_utf8_lossy(name).into_owned();
    map.pairs().map(|(said, here)| (text(said), text(here))).collect()
}

/// What the version says that comes back, without what it has seen.
fn record(step: &Step) -> Option<String> {
    let version = Version { context: Context::new(), ..step.version.clone()? };
    let record = Record { path: step.path.clone(), version };
    Some(data_encoding::HEXLOWER.encode(&record.encode()))
}

impl Shared {
    /// Which users and groups of versions are which on this machine, in a folder.
    fn maps(&self, name: &str) -> [BTreeMap<String, String>; 2] {
        let config = self.sources.config();
        let folder = config.folders.iter().find(|folder| folder.id.as_str() == name);
        folder
            .map(|folder| [pairs(&folder.map_users), pairs(&folder.map_groups)])
            .unwrap_or_default()
    }

    /// What is to be done at the paths of a page, and where the next one begins.
    async fn steps(
        &self,
        name: &str,
        order: &Restore,
    ) -> Result<(Vec<Step>, Option<RelPath>), Failed> {
        let within = path_if(order.path.as_ref())?;
        let at_secs = match (&order.at, &order.version, &within) {
            (None, Some(version), Some(path)) => {
                return self.named(name, path.clone(), version.clone()).await;
            }
            (Some(at), None, _) => moment::secs_of(at).ok_or_else(|| {
                let detail = format!("`{at}` is none since 1970");
                Failed::wrong("no moment", detail, "write it as 2026-11-22T14:30:00Z")
            })?,
            _ => {
                let detail =
                    "either the time `at` or the `version` of a `path` says what comes back";
                return Err(Failed::wrong("not clear", detail, "give one of the two"));
            }
        };
        let wish = Wish { within, at_secs, exact: order.exact };
        let after = path_if(order.cursor.as_ref())?;
        let looked = self.look(name, None, move |reading| {
            let (steps, next) = restore::steps(reading, &wish, after.as_ref())?;
            let is_first = after.is_none() && next.is_none() && steps.is_empty();
            let near = match wish.within.as_ref().filter(|_| is_first) {
                Some(path) => near::unknown(reading, path)?,
                None => None,
            };
            Ok((steps, next, near))
        });
        let (steps, next, unknown) = looked.await?;
        unknown.map_or(Ok((steps, next)), Err)
    }

    /// The one step that brings back what a list of versions names.
    async fn named(
        &self,
        name: &str,
        path: RelPath,
        version: String,
    ) -> Result<(Vec<Step>, Option<RelPath>), Failed> {
        let detail = format!("nothing of {} is kept or known as `{version}`", told::text_of(&path));
        let looked = self.look(name, None, move |reading| restore::named(reading, &path, &version));
        let step = looked.await?.ok_or_else(|| {
            Failed::missing(
                "no such version",
                detail,
                "`farhaul version list FOLDER PATH` names them",
            )
        })?;
        Ok((vec![step], None))
    }

    /// Who has the files among these versions.
    async fn holders(
        &self,
        name: &str,
        versions: impl Iterator<Item = &Version>,
    ) -> Result<Holders, Failed> {
        let wanted: Vec<(ManifestId, Bytes)> = versions.filter_map(file_of).collect();
        if wanted.is_empty() {
            return Ok(Holders::default());
        }
        Ok(self.sources.control.who_has(name, &wanted).await?)
    }

    /// What is not there any more cannot be brought back.
    async fn check_kept(&self, name: &str, steps: &mut Vec<Step>) -> Result<(), Failed> {
        let store = self.sources.control.store(name).await?;
        let mut checked = std::mem::take(steps);
        let checked = spawn_blocking(move || {
            for step in &mut checked {
                let is_file = step.version.as_ref().and_then(file_of).is_some();
                if let Some(kept) = step.kept.as_ref().filter(|_| is_file)
                    && step.action == RestoreAction::Restore
                    && store.open_kept(&kept.name).is_err()
                {
                    (step.action, step.kept) = (RestoreAction::Unavailable, None);
                }
            }
            checked
        });
        *steps = checked.await.map_err(|error| Failed::broken(error.to_string()))?;
        Ok(())
    }
}

/// What neither this site nor a peer has cannot be brought back.
fn check_held(step: &mut Step, holders: &Holders) {
    let file = step.version.as_ref().and_then(file_of).filter(|_| step.is_elsewhere);
    let Some((manifest, _)) = file else { return };
    let is_held = holders.is_here(manifest) || holders.sites(manifest).next().is_some();
    if step.action == RestoreAction::Restore && !is_held {
        step.action = RestoreAction::Unavailable;
    }
}

/// Whether what is to come back comes from peers.
fn comes(step: &Step, holders: &Holders) -> bool {
    let file = step.version.as_ref().and_then(file_of).filter(|_| step.is_elsewhere);
    file.is_some_and(|(manifest, _)| !holders.is_here(manifest))
}

/// What is to stand there then.
fn revision(step: &Step, holders: &Holders) -> Option<Revision> {
    let path = step.path.clone();
    match (step.action, &step.version) {
        (RestoreAction::Restore, Some(version)) => {
            let (content, meta) = (version.content.clone(), version.meta.clone());
            Some(Revision { path, content, meta, comes: comes(step, holders) })
        }
        (RestoreAction::Remove, _) => {
            let meta = Meta::default();
            Some(Revision { path, content: Content::Gone, meta, comes: false })
        }
        _ => None,
    }
}

fn item(step: &Step, holders: &Holders, names: &Names) -> RestoreItem {
    let file = step.version.as_ref().and_then(file_of).filter(|_| comes(step, holders));
    let sites = file.into_iter().flat_map(|(manifest, _)| holders.sites(manifest));
    let is_had = |(manifest, _): &(ManifestId, Bytes)| {
        holders.is_here(*manifest) || holders.sites(*manifest).next().is_some()
    };
    let gone = step.version.as_ref().filter(|_| step.is_elsewhere);
    let gone = gone.filter(|version| file_of(version).as_ref().is_some_and(is_had));
    let gone = gone.map(|version| told::dot(version.dot));
    let mut version = step.version.as_ref().map(told::version);
    version.iter_mut().for_each(|version| names.version(version));
    RestoreItem {
        path: told::text_of(&step.path),
        action: step.action,
        version,
        kept: step.kept.as_ref().map(|kept| kept.name.clone()),
        gone,
        record: None,
        sites: named(sites, names),
        why: why(step, holders, names),
    }
}

/// Why it cannot be brought back, and what to do.
fn why(step: &Step, holders: &Holders, names: &Names) -> Option<String> {
    if step.action != RestoreAction::Unavailable {
        return None;
    }
    Some(match (&step.version, &step.kept) {
        (Some(version), None) if step.is_elsewhere => {
            let is_held = file_of(version).is_none_or(|(manifest, _)| {
                holders.is_here(manifest) || holders.sites(manifest).next().is_some()
            });
            if is_held { STANDS.to_owned() } else { not_held(holders, names) }
        }
        (Some(_), None) => "what was kept of it is gone".to_owned(),
        (None, None) => "what stood there went before this site kept note of that: try \
            `farhaul restore` at the other sites of the folder"
            .to_owned(),
        (None, _) => "no version says what it is; it can be restored to another place".to_owned(),
        (Some(_), _) => STANDS.to_owned(),
    })
}

const STANDS: &str =
    "a directory stands there now: move it away, or restore it to another place (--to)";

fn not_held(holders: &Holders, names: &Names) -> String {
    let gone = "a user of this site wrote over it or deleted it, and";
    let unasked = named(holders.silent().iter().copied(), names);
    let unasked: Vec<&str> =
        unasked.iter().map(|site| site.name.as_deref().unwrap_or(&site.id)).collect();
    if unasked.is_empty() {
        return format!("{gone} none of its peers has it any more");
    }
    let unasked = unasked.join(", ");
    format!("{gone} no peer that is connected has it: try again once {unasked} can be asked")
}
