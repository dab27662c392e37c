//! The bytes of a file, as it stands or as it is kept: for whoever restores to another place.

use super::Api;
use super::fail::Failed;
use super::look::path_of;
use crate::scan::identity_of;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use farhaul_api::{Problem, TreePath};
use farhaul_engine::files::dir::Meta;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use utoipa::IntoParams;

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for a client that reads slowly.
const CHUNKS_MAX: usize = 4;

/// Which content.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The path.
    #[param(value_type = String)]
    path: TreePath,
    /// The name of what is kept of it; without it, what stands there.
    kept: Option<String>,
}

/// The bytes of a file.
#[utoipa::path(get, path = "/api/v1/folders/{folder}/content", operation_id = "content",
    params(("folder" = String, Path, description = "Its id"), Which), responses(
    (status = 200, content_type = "application/octet-stream", body = [u8]),
    (status = "default", body = Problem)
))]
pub(super) async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Failed> {
    let path = path_of(&which.path)?;
    let store = api.sources.control.store(&name).await?;
    let wanted = which.kept.clone();
    let at = path.clone();
    let looked = api.look(&name, None, move |reading| match wanted {
        // Only names that are kept of this very path are opened.
        Some(wanted) => {
            let kept = reading.kept_of(&at)?.into_iter().find(|kept| kept.name == wanted);
            Ok((kept, None))
        }
        None => Ok((None, reading.item(&at)?.placed)),
    });
    let (kept, placed) = looked.await?;
    let opened = spawn_blocking(move || match (kept, placed) {
        (Some(kept), _) => store.open_kept(&kept.name).map_err(|error| error.to_string()),
        (None, Some(placed)) => {
            let file = store.root().open_file(&path).map_err(|error| error.to_string())?;
            let is_same = Meta::of(&file).is_ok_and(|now| identity_of(&now) == placed.identity);
            is_same.then_some(file).ok_or_else(|| "it was changed after the last scan".to_owned())
        }
        (None, None) => Err("nothing of it is known, or kept under that name".to_owned()),
    });
    let opened = opened.await.map_err(|error| Failed::broken(error.to_string()))?;
    let file = opened.map_err(|why| {
        Failed::missing("no such content", why, "`farhaul version list` names what is kept")
    })?;
    let len = file.metadata().map_err(|error| Failed::broken(error.to_string()))?.len();
    let mut response = Response::new(stream(file.take(len)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, len.into());
    Ok(response)
}

/// Read in a thread that may block, no further ahead than some chunks.
fn stream(mut file: io::Take<File>) -> Body {
    let (chunks, mut read) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    spawn_blocking(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = match file.read(&mut buffer) {
                // What became shorter meanwhile breaks the conversation off: its length was told.
                Ok(0) => return,
                Ok(len) => Ok(Bytes::copy_from_slice(&buffer[..len])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = chunk.is_err();
            if chunks.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::poll_fn(move |context| read.poll_recv(context)))
}
