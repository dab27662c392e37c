//! Whether the site lives and is ready, for whoever watches over processes.

use super::Api;
use super::fail::Failed;
use crate::told;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use farhaul_api::{FolderState, Health};
use std::time::Duration;

/// How long the control loop may not go round before it counts as stuck: longer than any disk that
/// works takes for one batch.
pub(super) const STUCK: Duration = Duration::from_secs(60);

fn answer(ok: bool, why: Vec<String>) -> Response {
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
    let why = faults(&api);
    answer(why.is_empty(), why)
}

/// Whether the site can work: it lives, and not each of its folders is halted or being opened. Needs
/// no token, and names no folder; `why` has how many are though the others go on.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", responses(
    (status = 200, body = Health), (status = 503, body = Health)
))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Response, Failed> {
    let folders = api.sources.control.folders().await?;
    let halted = folders.iter().filter(|folder| folder.state == FolderState::Halted).count();
    let opening = folders.iter().filter(|folder| folder.state == FolderState::Opening).count();
    let (is_ready, why) = readiness(faults(&api), [halted, opening], folders.len());
    Ok(answer(is_ready, why))
}

/// Whether a site with so many folders is ready of which so many are halted and so many being opened,
/// and what is to be said.
fn readiness(faults: Vec<String>, idle: [usize; 2], folders: usize) -> (bool, Vec<String>) {
    let works = folders == 0 || idle.iter().sum::<usize>() < folders;
    let is_ready = faults.is_empty() && works;
    let mut why = faults;
    for (count, state) in idle.into_iter().zip(["halted", "being opened"]) {
        if count > 0 {
            let are = if count == 1 { "is" } else { "are" };
            let of = told::count(folders as u64, "folder", "folders");
            why.push(format!("{count} of {of} {are} {state}"));
        }
    }
    (is_ready, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_ready_while_one_of_its_folders_goes_on_and_tells_of_those_that_do_not() {
        let fault = || vec!["the engine has ended".to_owned()];
        for (faults, idle, folders, is_ready, said) in [
            (vec![], [0, 0], 0, true, None),
            (vec![], [0, 0], 3, true, None),
            (vec![], [1, 0], 3, true, Some("1 of 3 folders is halted")),
            (vec![], [1, 1], 3, true, Some("1 of 3 folders is being opened")),
            (vec![], [3, 0], 3, false, Some("3 of 3 folders are halted")),
            (vec![], [1, 2], 3, false, Some("2 of 3 folders are being opened")),
            (vec![], [1, 0], 1, false, Some("1 of 1 folder is halted")),
            (fault(), [0, 0], 3, false, Some("the engine has ended")),
        ] {
            let (ready, why) = readiness(faults, idle, folders);
            let last = why.last().map(String::as_str);
            assert_eq!((ready, last), (is_ready, said), "{idle:?} of {folders}");
        }
    }
}
