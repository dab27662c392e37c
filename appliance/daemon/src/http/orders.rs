//! Orders about folders: look through them, pause them, let them go on.

use super::Api;
use super::fail::Answer;
use axum::Json;
use axum::extract::{Path, State};
use farhaul_api::{Done, Problem};

fn done(what: impl Into<String>) -> Answer<Done> {
    Ok(Json(Done { done: what.into() }))
}

/// Looks through all folders that are not paused, now.
#[utoipa::path(post, path = "/api/v1/scan", operation_id = "scanAll", responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn scan_all(State(api): State<Api>) -> Answer<Done> {
    api.sources.control.scan(None).await?;
    done("all folders are looked through")
}

/// Looks through a folder, now.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/scan", operation_id = "scan",
    params(("folder" = String, Path, description = "Its id")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn scan(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    api.sources.control.scan(Some(&name)).await?;
    done(format!("{name} is looked through"))
}

/// Reads all files of a folder again, beginning now, and puts right what its disk gives wrong.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/scrub", operation_id = "scrub",
    params(("folder" = String, Path, description = "Its id")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn scrub(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    api.sources.control.scrub(&name).await?;
    done(format!("the files of {name} are read again"))
}

/// Pauses a folder, also over restarts: nothing in it is looked at, fetched or changed by this site.
/// What was published is still told and given.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/pause", operation_id = "pause",
    params(("folder" = String, Path, description = "Its id")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn pause(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    api.sources.control.pause(&name, true).await?;
    done(format!("{name} is paused"))
}

/// Lets a folder go on; it is looked through first.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/resume", operation_id = "resume",
    params(("folder" = String, Path, description = "Its id")), responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn resume(State(api): State<Api>, Path(name): Path<String>) -> Answer<Done> {
    api.sources.control.pause(&name, false).await?;
    done(format!("{name} goes on"))
}
