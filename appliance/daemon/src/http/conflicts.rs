//! Conflicts: which there are, and which side stays.

use super::Api;
use super::fail::Answer;
use super::items::Page;
use super::look::{path_if, path_of};
use crate::told;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{Conflict, ConflictPage, Done, Keep, Problem, Resolve};
use farhaul_sync::version::{Shown, view};

/// Conflicts on a page.
const PAGE: usize = 256;

/// Conflicts, by the paths of their copies.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/conflicts", operation_id = "conflicts",
    params(("folder" = String, Path, description = "Its id"), Page), responses(
    (status = 200, body = ConflictPage), (status = "default", body = Problem)
))]
pub(super) async fn list(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<ConflictPage> {
    let after = path_if(page.cursor.as_ref())?;
    let looked = api.look(&name, None, move |reading| {
        let found = reading.conflicts(after.as_ref(), PAGE)?;
        let next = found.get(PAGE - 1).map(|(copy, _)| told::text_of(copy));
        let mut items = Vec::new();
        for (copy, of) in found {
            let origin = reading.item(&of.origin)?;
            // A conflict that ended between the two reads.
            let Some(loser) = origin.versions.get(of.dot) else { continue };
            let shown = match view(&origin.versions, origin.has_children).shown {
                Shown::Version(shown) => Some(told::version(shown)),
                Shown::Absent | Shown::ImpliedDir => None,
            };
            let (path, copy) = (told::text_of(&of.origin), told::text_of(&copy));
            items.push(Conflict { path, shown, copy, version: told::version(loser) });
        }
        Ok(ConflictPage { items, next })
    });
    let mut page = looked.await?;
    let names = api.names();
    for conflict in &mut page.items {
        names.version(&mut conflict.version);
        conflict.shown.iter_mut().for_each(|shown| names.version(shown));
    }
    Ok(Json(page))
}

/// Ends a conflict: one side stays, at every site; the other is kept as a version.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/conflicts/resolve", operation_id = "resolve",
    params(("folder" = String, Path, description = "Its id")), request_body = Resolve, responses(
    (status = 200, body = Done), (status = "default", body = Problem)
))]
pub(super) async fn resolve(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Resolve>,
) -> Answer<Done> {
    let copy = path_of(&order.copy)?;
    let keeps_copy = order.keep == Keep::Copy;
    api.sources.control.resolve(&name, copy, keeps_copy).await?;
    let what =
        if keeps_copy { "the copy takes the place of what was shown" } else { "the copy goes" };
    Ok(Json(Done { done: what.to_owned() }))
}
