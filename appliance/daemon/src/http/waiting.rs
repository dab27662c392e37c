//! What waits in a folder, and orders about it: mass changes, edits that are not published, records
//! that are set aside.

use super::Api;
use super::fail::{Answer, Failed};
use super::items::Page;
use super::look::path_if;
use crate::moment::text_of_millis;
use crate::told;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{
    Brake, Done, ItemKind, OneAside, Problem, Revert, SetAside, SetAsidePage, WaitReason, Waiting,
    WaitingPage,
};
use farhaul_sync::folder::{Origin, Trip, Why};
use farhaul_sync::version::{Content, Dot};
use serde::Deserialize;
use utoipa::IntoParams;

/// What waits, on a page.
const PAGE: usize = 256;

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AsidePage {
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Lets go a mass change that is held: it is meant. It is published, or done.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/brake/confirm", operation_id = "confirm",
    params(("folder" = String, Path, description = "Its id")), request_body = Brake, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn confirm(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Brake>,
) -> Answer<Done> {
    let origin = origin_of(&order)?;
    let trips = api.sources.control.confirm(&name, origin).await?;
    Ok(Json(Done { done: format!("{} go on", files(&trips)) }))
}

/// Undoes a mass change that is held. What was found on this disk gives way to what stood there; what
/// a peer published is overwritten, at every site, by what stands here.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/brake/refuse", operation_id = "refuse",
    params(("folder" = String, Path, description = "Its id")), request_body = Brake, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn refuse(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Brake>,
) -> Answer<Done> {
    let origin = origin_of(&order)?;
    let trips = api.sources.control.refuse(&name, origin).await?;
    Ok(Json(Done { done: format!("what was held of {} is undone", files(&trips)) }))
}

fn files(trips: &[Trip]) -> String {
    let sum = |count: fn(&Trip) -> u64| trips.iter().map(count).sum::<u64>();
    format!("{} deletions and {} rewrites", sum(|trip| trip.deleted), sum(|trip| trip.rewritten))
}

fn origin_of(order: &Brake) -> Result<Option<Origin>, Failed> {
    let Some(text) = order.origin.as_deref() else { return Ok(None) };
    let site = match text {
        "disk" => return Ok(Some(Origin::Disk)),
        "others" => return Ok(Some(Origin::Others)),
        site => site.parse(),
    };
    let next = "write `disk`, `others` or the id of a peer, as the status of the folder does";
    site.map(|site| Some(Origin::Site(site)))
        .map_err(|error| Failed::wrong("no origin", error.to_string(), next))
}

/// What was found on disk and is not published, and why: edits of a site that may publish none among
/// them.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/waiting", operation_id = "waiting",
    params(("folder" = String, Path, description = "Its id"), Page), responses(
    (status = 200, body = WaitingPage), (status = "default", body = Problem)
))]
pub(super) async fn list(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<WaitingPage> {
    let after = path_if(page.cursor.as_ref())?;
    let looked = api.look(&name, None, move |reading| {
        let looks = reading.looks(after.as_ref(), PAGE)?;
        let next = looks.get(PAGE - 1).map(|(path, _)| told::text_of(path));
        let waiting = looks.into_iter().map(|(path, look)| {
            let (kind, size) = match look.found.map(|found| found.content) {
                None | Some(Content::Gone) => (ItemKind::Gone, None),
                Some(Content::Dir) => (ItemKind::Dir, None),
                Some(Content::Symlink { .. }) => (ItemKind::Link, None),
                Some(Content::File { size, .. }) => (ItemKind::File, Some(size.get())),
            };
            let (path, seen) = (told::text_of(&path), text_of_millis(look.wall_millis));
            Waiting { path, why: reason_of(look.why), kind, size, seen }
        });
        Ok(WaitingPage { items: waiting.collect(), next })
    });
    Ok(Json(looked.await?))
}

/// Takes back edits that this site may not publish: what they stand in place of comes back, and they
/// are kept as versions.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/revert", operation_id = "revert",
    params(("folder" = String, Path, description = "Its id")), request_body = Revert, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn revert(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Revert>,
) -> Answer<Done> {
    let within = path_if(order.path.as_ref())?;
    let count = api.sources.control.revert(&name, within).await?;
    Ok(Json(Done { done: format!("{count} edits are taken back") }))
}

/// Versions that neighbours told and that are not taken in, and why.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/aside", operation_id = "asides",
    params(("folder" = String, Path, description = "Its id"), AsidePage), responses(
    (status = 200, body = SetAsidePage), (status = "default", body = Problem)
))]
pub(super) async fn asides(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(page): Query<AsidePage>,
) -> Answer<SetAsidePage> {
    let after = page.cursor.as_deref().map(dot_of).transpose()?;
    let looked = api.look(&name, None, move |reading| {
        let asides = reading.asides(after, PAGE)?;
        let next = asides.get(PAGE - 1).map(|last| told::dot(last.dot));
        let mut items = Vec::new();
        for aside in asides {
            // Only what was read as a record is set aside.
            let Some(version) = told::aside(&aside) else { continue };
            let (id, path) = (told::dot(aside.dot), told::text_of(&aside.path));
            items.push(SetAside { id, path, why: reason_of(aside.why), version });
        }
        Ok(SetAsidePage { items, next })
    });
    let mut page = looked.await?;
    let names = api.names();
    page.items.iter_mut().for_each(|item| names.version(&mut item.version));
    Ok(Json(page))
}

/// Takes in a version that was set aside.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/aside/accept", operation_id = "acceptAside",
    params(("folder" = String, Path, description = "Its id")), request_body = OneAside, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn accept_aside(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<OneAside>,
) -> Answer<Done> {
    let path = api.sources.control.decide_aside(&name, dot_of(&order.id)?, true).await?;
    Ok(Json(Done { done: format!("{path}: the version is taken in") }))
}

/// Deletes a version that was set aside, at every site, and nothing else.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/aside/refuse", operation_id = "refuseAside",
    params(("folder" = String, Path, description = "Its id")), request_body = OneAside, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn refuse_aside(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<OneAside>,
) -> Answer<Done> {
    let path = api.sources.control.decide_aside(&name, dot_of(&order.id)?, false).await?;
    Ok(Json(Done { done: format!("{path}: the version is deleted everywhere") }))
}

fn dot_of(text: &str) -> Result<Dot, Failed> {
    let next = "write the `id` of a version as the list has it";
    told::dot_of(text).ok_or_else(|| Failed::wrong("no version", text.to_owned(), next))
}

const fn reason_of(why: Why) -> WaitReason {
    match why {
        Why::Listening => WaitReason::Listening,
        Why::Crowded => WaitReason::Crowded,
        Why::NumbersUsedUp => WaitReason::NumbersUsedUp,
        Why::ReadOnly => WaitReason::ReadOnly,
        Why::Braked => WaitReason::Braked,
        Why::Stale => WaitReason::Stale,
    }
}
