//! What was displaced and is kept, and bringing it back.

use super::fail::{Answer, Failed};
use super::items::Which;
use super::look::{path_if, path_of};
use super::{Api, Shared};
use crate::control::Revision;
use crate::moment;
use crate::restore::{self, Step, Wish};
use crate::told;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{Problem, Restore, RestoreAction, RestoreItem, RestorePage, Versions};
use farhaul_sync::version::{Content, Meta};
use tokio::task::spawn_blocking;

/// What is and was at a path, as far as it was displaced at this site.
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
        let kept = reading.kept_of(&path)?;
        Ok((placed.map(|placed| told::version(&placed.version)), kept))
    });
    let (mut now, kept) = looked.await?;
    let mut kept: Vec<_> = kept.iter().map(told::kept).collect();
    let names = api.names();
    let versions = kept.iter_mut().filter_map(|kept| kept.version.as_mut());
    versions.chain(now.as_mut()).for_each(|version| names.version(version));
    Ok(Json(Versions { path: which.path, now, kept }))
}

/// Brings back what stood at a time, some paths at each call: as edits that every site follows, and
/// that keep what they displace.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/restore", operation_id = "restore",
    params(("folder" = String, Path, description = "Its id")), request_body = Restore, responses(
    (status = 200, body = RestorePage), (status = "default", body = Problem)
))]
pub(super) async fn restore(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Restore>,
) -> Answer<RestorePage> {
    let Some(at_secs) = moment::secs_of(&order.at) else {
        let detail = format!("`{}` is none since 1970", order.at);
        return Err(Failed::wrong("no moment", detail, "write it as 2026-11-22T14:30:00Z"));
    };
    let wish = Wish { within: path_if(order.path.as_ref())?, at_secs, exact: order.exact };
    let after = path_if(order.cursor.as_ref())?;
    let looked =
        api.look(&name, None, move |reading| restore::steps(reading, &wish, after.as_ref()));
    let (mut steps, next) = looked.await?;
    api.check_kept(&name, &mut steps).await?;
    if !order.dry_run {
        let revisions: Vec<Revision> = steps.iter().filter_map(revision).collect();
        if !revisions.is_empty() {
            api.sources.control.revise(&name, revisions).await?;
        }
    }
    let is_told = |step: &Step| order.all || step.action != RestoreAction::Same;
    let names = api.names();
    let items = steps.into_iter().filter(is_told).map(|step| {
        let mut item = item(&step);
        item.version.iter_mut().for_each(|version| names.version(version));
        item
    });
    Ok(Json(RestorePage { items: items.collect(), next: next.as_ref().map(told::text_of) }))
}

impl Shared {
    /// What is not there any more cannot be brought back.
    async fn check_kept(&self, name: &str, steps: &mut Vec<Step>) -> Result<(), Failed> {
        let store = self.sources.control.store(name).await?;
        let mut checked = std::mem::take(steps);
        let checked = spawn_blocking(move || {
            for step in &mut checked {
                let is_file = |content: &Content| matches!(content, Content::File { .. });
                let is_file =
                    step.version.as_ref().is_some_and(|version| is_file(&version.content));
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

/// What is to stand there then.
fn revision(step: &Step) -> Option<Revision> {
    let path = step.path.clone();
    match (step.action, &step.version) {
        (RestoreAction::Restore, Some(version)) => {
            let (content, meta) = (version.content.clone(), version.meta.clone());
            Some(Revision { path, content, meta })
        }
        (RestoreAction::Remove, _) => {
            Some(Revision { path, content: Content::Gone, meta: Meta::default() })
        }
        _ => None,
    }
}

fn item(step: &Step) -> RestoreItem {
    let why = match (step.action, &step.version, &step.kept) {
        (RestoreAction::Unavailable, Some(_), None) => Some("what was kept of it is gone"),
        (RestoreAction::Unavailable, None, None) => {
            Some("what stood there was overwritten at another site; restore it there")
        }
        (RestoreAction::Unavailable, None, _) => {
            Some("no version says what it is; it can be restored to another place")
        }
        (RestoreAction::Unavailable, Some(_), _) => {
            Some("a directory stands there now; it can be restored to another place")
        }
        _ => None,
    };
    RestoreItem {
        path: told::text_of(&step.path),
        action: step.action,
        version: step.version.as_ref().map(told::version),
        kept: step.kept.as_ref().map(|kept| kept.name.clone()),
        why: why.map(str::to_owned),
    }
}
