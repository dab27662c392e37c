//! How a request fails: what, why and what to do next, as `application/problem+json`.

use crate::control::{AskError, FolderError};
use crate::index::IndexError;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farhaul_api::Problem;
use farhaul_sync::folder::StateError;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Bytes of what a library says of a request that it refuses.
const SAID_MAX: usize = 4096;

/// A request that failed.
#[derive(Clone, Debug)]
pub(super) struct Failed(Problem);

/// What a handler gives.
pub(super) type Answer<T> = Result<axum::Json<T>, Failed>;

impl Failed {
    pub(super) fn new(
        status: StatusCode,
        title: &str,
        detail: impl Into<String>,
        next: &str,
    ) -> Self {
        let (title, next, status) = (title.to_owned(), next.to_owned(), status.as_u16());
        Self(Problem { status, title, detail: detail.into(), next })
    }

    /// What was asked makes no sense.
    pub(super) fn wrong(title: &str, detail: impl Into<String>, next: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, detail, next)
    }

    /// There is no such thing.
    pub(super) fn missing(title: &str, detail: impl Into<String>, next: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, detail, next)
    }

    /// A thread that should have answered did not.
    pub(super) fn broken(detail: impl Into<String>) -> Self {
        let next = "look into the log of the site; if it says nothing, please report it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request was not done", detail, next)
    }
}

impl From<AskError> for Failed {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Over => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the site does not answer",
                detail,
                "try again when it has started",
            ),
            AskError::NoFolder { .. } => Self::missing(
                "no such folder",
                detail,
                "`farhaul folder list` names the folders of this site",
            ),
            AskError::NoConflict { .. } => Self::missing(
                "no such conflict",
                detail,
                "`farhaul conflict list FOLDER` names the copies that there are",
            ),
            AskError::Halted { reason } => Self::new(
                StatusCode::CONFLICT,
                "the folder halts",
                reason,
                "`farhaul status` says what to mend; it goes on by itself then",
            ),
            AskError::Opening { stage } => Self::new(
                StatusCode::CONFLICT,
                "the folder is being opened",
                stage,
                "try again in a moment; `farhaul status` says how far it is",
            ),
            AskError::Paused => Self::new(
                StatusCode::CONFLICT,
                "the folder is paused",
                "a paused folder is neither looked at nor changed",
                "`farhaul folder resume FOLDER` lets it go on",
            ),
            AskError::NotKept { .. } => Self::new(
                StatusCode::CONFLICT,
                "it is not kept any more",
                detail,
                "`farhaul version list FOLDER PATH` names what is kept; restore to one of those",
            ),
            AskError::NotBraked => Self::missing(
                "nothing is held",
                detail,
                "`farhaul folder show FOLDER` names the mass changes that wait",
            ),
            AskError::NotAside => Self::missing(
                "no such record",
                detail,
                "`farhaul aside list FOLDER` names the records that are set aside",
            ),
            AskError::Crowded { .. } => Self::new(
                StatusCode::CONFLICT,
                "there is no room for it",
                detail,
                "end conflicts of that path first (`farhaul conflict list FOLDER`)",
            ),
            AskError::Folder(error) => error.into(),
            AskError::State { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "it cannot be remembered",
                detail,
                "give this user access to the state directory, and room there",
            ),
        }
    }
}

impl From<FolderError> for Failed {
    fn from(error: FolderError) -> Self {
        let refusal = match &error {
            FolderError::State(StateError::ReadOnly) => Some((
                "this site may not publish",
                "do it at a site that may, or change `role` in the configuration of this one",
            )),
            FolderError::State(StateError::Listening) => Some((
                "neighbours are heard first",
                "try again when they were: `farhaul folder show FOLDER` names them",
            )),
            _ => None,
        };
        if let Some((title, next)) = refusal {
            return Self::new(StatusCode::CONFLICT, title, error.to_string(), next);
        }
        let next = "see that the folder's disk is mounted, has room and belongs to this user";
        let title = "the folder cannot do it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, error.to_string(), next)
    }
}

impl From<IndexError> for Failed {
    fn from(error: IndexError) -> Self {
        FolderError::Index(error).into()
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
        response
    }
}

/// Gives the refusals of the library, which are bare texts, the form of all others.
pub(super) async fn shape(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let has_form = kind.is_some_and(|kind| *kind == PROBLEM || *kind == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || has_form {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let said = to_bytes(response.into_body(), SAID_MAX).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let detail = if said.is_empty() { status.to_string() } else { said };
    let (title, next) = match status {
        StatusCode::NOT_FOUND => ("no such address", "openapi.json names all addresses"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("the address does not take this method", "openapi.json names the methods")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("the request is too long", "send less at a time"),
        _ => ("the request cannot be read", "openapi.json says what may be sent"),
    };
    let mut shaped = Failed::new(status, title, detail, next).into_response();
    if let Some(allow) = allow {
        shaped.headers_mut().insert(header::ALLOW, allow);
    }
    shaped.map(Body::new)
}
