//! Whether the site lives and is ready, for whoever watches over processes.

use super::Api;
use super::fail::Failed;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use farhaul_api::{FolderState, Health};
use std::time::Duration;

/// How long the control loop may not go round before it counts as stuck: longer than any disk that
/// works takes for one batch.
pub(super) const STUCK: Duration = Duration::from_secs(60);

fn answer(why: Vec<String>) -> Response {
    let ok = why.is_empty();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { ok, why })).into_response()
}

fn faults(api: &Api) -> Vec<String> {
    let mut why = Vec::new();
    let age = api.sources.control.beat().age();
    if age > STUCK {
        why.push(format!("the control loop has not gone round for {} s", age.as_secs()));
    }
    if api.sources.engine.upgrade().is_none_or(|engine| engine.failure().is_some()) {
        why.push("the engine has ended".to_owned());
    }
    why
}

/// Whether the site lives: its control loop goes round. Needs no token.
#[utoipa::path(get, path = "/healthz", operation_id = "alive", responses(
    (status = 200, body = Health), (status = 503, body = Health)
))]
pub(super) async fn alive(State(api): State<Api>) -> Response {
    answer(faults(&api))
}

/// Whether the site can work: it lives, and no folder is halted or being opened. Needs no token, and names no folder.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", responses(
    (status = 200, body = Health), (status = 503, body = Health)
))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Response, Failed> {
    let mut why = faults(&api);
    let folders = api.sources.control.folders().await?;
    let halted = folders.iter().filter(|folder| folder.state == FolderState::Halted).count();
    if halted > 0 {
        why.push(format!("{halted} of {} folders are halted", folders.len()));
    }
    let opening = folders.iter().filter(|folder| folder.state == FolderState::Opening).count();
    if opening > 0 {
        why.push(format!("{opening} of {} folders are being opened", folders.len()));
    }
    Ok(answer(why))
}
