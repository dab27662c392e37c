//! Single paths: why they are not in sync, and which are not.

use super::Api;
use super::fail::Answer;
use super::look::{path_if, path_of};
use crate::control::task_of;
use crate::told;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{Missing, MissingPage, Problem, TreePath, Why};
use serde::Deserialize;
use utoipa::IntoParams;

/// Paths on a page.
const PAGE: usize = 256;

/// Which path.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The path.
    #[param(value_type = String)]
    pub(super) path: TreePath,
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    pub(super) cursor: Option<TreePath>,
}

/// Why a path is not in sync, or that it is.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/why", operation_id = "why",
    params(("folder" = String, Path, description = "Its id"), Which), responses(
    (status = 200, body = Why), (status = "default", body = Problem)
))]
pub(super) async fn why(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Answer<Why> {
    let path = path_of(&which.path)?;
    let mut why = api.sources.control.why(&name, path).await?;
    api.names().why(&mut why);
    Ok(Json(why))
}

/// Paths at which something is to be done.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/missing", operation_id = "missing",
    params(("folder" = String, Path, description = "Its id"), Page), responses(
    (status = 200, body = MissingPage), (status = "default", body = Problem)
))]
pub(super) async fn missing(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Answer<MissingPage> {
    let after = path_if(page.cursor.as_ref())?;
    let looked = api.look(&name, None, move |reading| {
        let paths = reading.unsettled(after.as_ref(), PAGE)?;
        let next = paths.get(PAGE - 1).map(told::text_of);
        let mut items = Vec::new();
        for path in paths {
            let item = reading.item(&path)?;
            if let (Some(task), wanted) = task_of(&item) {
                let path = told::text_of(&path);
                items.push(Missing { path, task, wanted: wanted.map(told::version) });
            }
        }
        Ok(MissingPage { items, next })
    });
    let mut page = looked.await?;
    let names = api.names();
    page.items.iter_mut().filter_map(|item| item.wanted.as_mut()).for_each(|v| names.version(v));
    Ok(Json(page))
}
