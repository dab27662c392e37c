//! The bytes of a file, as it stands or as it is kept: for whoever restores to another place.

use super::fail::Failed;
use super::look::path_of;
use super::{Api, Shared};
use crate::control::{Asker, Piece};
use crate::scan::identity_of;
use crate::told;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use farhaul_api::{Problem, TreePath};
use farhaul_engine::files::dir::Meta;
use farhaul_files::sparse;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes as FileLen;
use farhaul_sync::version::{Content, ManifestId};
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

/// What a stream of pieces is called: see `farhaul_files::sparse`.
const SPARSE: HeaderValue = HeaderValue::from_static("application/vnd.farhaul.sparse");

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
    /// The name of a version that a user of this site wrote over or deleted at this path: its bytes
    /// come from wherever they are, from members too, and who takes them verifies them. As pieces.
    gone: Option<String>,
    /// Whether it comes as pieces, without holes: each its offset (8 bytes, big-endian), its length (4
    /// bytes) and its bytes; the last one has length 0, and its offset is the length of the file.
    #[serde(default)]
    sparse: bool,
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
    if let Some(gone) = which.gone {
        return api.gone(&name, path, gone).await;
    }
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
    let file = opened.map_err(no_content)?;
    let len = file.metadata().map_err(|error| Failed::broken(error.to_string()))?.len();
    if which.sparse {
        return Ok(sparse(file, len));
    }
    let mut response = Response::new(stream(file.take(len)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, len.into());
    Ok(response)
}

fn no_content(why: String) -> Failed {
    Failed::missing("no such content", why, "`farhaul version list` names what is kept")
}

/// Read in a thread that may block, no further ahead than some chunks.
fn stream(mut file: io::Take<File>) -> Body {
    let (chunks, read) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
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
    body_of(read)
}

fn body_of(mut read: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Body::from_stream(futures_util::stream::poll_fn(move |context| read.poll_recv(context)))
}

fn in_pieces(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, SPARSE);
    response
}

/// A file in pieces, without its holes. One that fails or becomes shorter has no end.
fn sparse(file: File, len: u64) -> Response {
    let (chunks, read) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    spawn_blocking(move || {
        let send = |chunk| chunks.blocking_send(chunk).map_err(io::Error::other);
        let mut each = |at, data: &[u8]| send(Ok(sparse::piece(at, data).into()));
        let ended = sparse::data_of(&file, len, &mut each);
        // If nobody hears it, whoever asked is gone.
        let _ = send(ended.map(|()| Bytes::copy_from_slice(&sparse::head(len, 0))));
    });
    in_pieces(body_of(read))
}

impl Shared {
    /// What a user of this site wrote over or deleted, from wherever it is.
    async fn gone(&self, name: &str, path: RelPath, gone: String) -> Result<Response, Failed> {
        let found = self.look(name, None, move |reading| {
            let gone_there = reading.elsewhere_of(&path)?.into_iter();
            Ok(gone_there.map(|one| one.version).find(|version| told::dot(version.dot) == gone))
        });
        let content = found.await?.map(|version| version.content);
        let Some(Content::File { manifest, size }) = content else {
            return Err(no_content("no file of that name went from there".to_owned()));
        };
        let control = &self.sources.control;
        if let Some(file) = control.open_content(name, manifest).await? {
            return Ok(sparse(file, size.get()));
        }
        let holders = control.who_has(name, &[(manifest, size)]).await?;
        let sites: Vec<SiteId> = holders.sites(manifest).collect();
        if sites.is_empty() {
            return Err(no_content("no peer that is connected has it".to_owned()));
        }
        Ok(borrowed(control.clone(), name, (manifest, size), sites))
    }
}

/// A content in pieces that members give.
fn borrowed(
    control: Asker,
    name: &str,
    (manifest, size): (ManifestId, FileLen),
    sites: Vec<SiteId>,
) -> Response {
    let (pieces, read) = mpsc::channel(CHUNKS_MAX);
    let name = name.to_owned();
    tokio::spawn(async move { control.lend(&name, (manifest, size), sites, pieces).await });
    let read = futures_util::stream::unfold((read, false), move |(mut read, failed)| async move {
        if failed {
            return None;
        }
        let next: Option<io::Result<Piece>> = read.recv().await;
        let failed = !matches!(next, Some(Ok(_)));
        let bytes = match next {
            Some(Ok((offset, bytes))) => Ok(sparse::piece(offset, &bytes).into()),
            Some(Err(error)) => Err(error),
            None => Ok(Bytes::copy_from_slice(&sparse::head(size.get(), 0))),
        };
        Some((bytes, (read, failed)))
    });
    in_pieces(Body::from_stream(read))
}
