//! The management API: requests in, questions and orders to the control loop, answers out. It decides
//! nothing and changes nothing by itself; what is read in bulk is read beside the loop, page by page.
//!
//! Over TCP it is for this machine and for whoever has the token; over a Unix socket for whoever may
//! open that. Types are those of `farhaul-api`, whose `openapi.json` is made from the routes here.

#[allow(unused_qualifications, reason = "what the macro of a route makes of its parameters")]
mod calendars;
mod conflicts;
#[allow(unused_qualifications, reason = "what the macro of a route makes of its parameters")]
mod content;
mod fail;
mod forget;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod guard;
#[allow(unused_qualifications, reason = "what the macro of a route makes of its parameters")]
mod items;
mod jobs;
mod links;
mod look;
mod metrics;
mod names;
mod orders;
mod pace;
mod plans;
mod probes;
mod serve;
mod status;
#[allow(unused_qualifications, reason = "what the macro of a route makes of its parameters")]
mod stream;
mod token;
mod versions;
#[allow(unused_qualifications, reason = "what the macro of a route makes of its parameters")]
mod waiting;

pub use serve::{Listening, ServeError};
pub use token::TOKEN_FILE;
pub(crate) use token::check as check_token;

use crate::config::Config;
use crate::control::Asker;
use crate::site::SitesView;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use fail::Failed;
use farhaul_engine::engine::Engine;
use farhaul_proto::ids::SiteId;
use look::Looks;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of a request's body.
const BODY_MAX: usize = 64 << 10;
/// How long a request may take: a loop that is at a disk for longer is not waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Those who follow events at a time.
const FOLLOWERS_MAX: usize = 16;

/// What the API asks.
#[derive(Debug)]
pub struct Sources {
    /// The control loop.
    pub control: Asker,
    /// The sessions.
    pub sites: SitesView,
    /// What carries them.
    pub engine: std::sync::Weak<Engine>,
    /// Who this site is.
    pub me: SiteId,
    /// Where peers reach it.
    pub listen: SocketAddr,
    /// When it started, in milliseconds since 1970.
    pub since_millis: u64,
    /// What it was told, as of the last time it was read.
    pub config: RwLock<Arc<Config>>,
    /// Says when that has changed.
    pub reconfigured: Notify,
}

impl Sources {
    /// What the site was told.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What handlers share.
#[derive(Debug)]
struct Shared {
    sources: Arc<Sources>,
    looks: Looks,
    followers: Arc<Semaphore>,
}

type Api = Arc<Shared>;

/// The API while it answers. Dropping it, or [`Answering::stop`], ends it and all that is under way.
#[derive(Debug)]
pub struct Answering {
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Answering {
    /// Answers from now on; within a tokio runtime.
    pub fn start(listening: Listening, sources: Arc<Sources>) -> Self {
        let (over, is_over) = watch::channel(false);
        let router = router(listening.guard(), sources);
        Self { over, task: tokio::spawn(listening.answer(router, is_over)) }
    }

    /// Ends it.
    pub async fn stop(self) {
        self.over.send_replace(true);
        let _ = self.task.await;
    }
}

/// The document that describes the API (OpenAPI 3.1), as JSON.
///
/// # Panics
/// Never: it is made of text and numbers.
pub fn openapi() -> String {
    let (_, document) = routes().split_for_parts();
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn routes() -> OpenApiRouter<Api> {
    let info = utoipa::openapi::InfoBuilder::new()
        .title("Farhaul site")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .build();
    let document = OpenApi::new(info, utoipa::openapi::Paths::new());
    OpenApiRouter::with_openapi(document)
        .routes(routes!(status::site))
        .routes(routes!(status::folders))
        .routes(routes!(status::folder))
        .routes(routes!(status::peers))
        .routes(routes!(calendars::list))
        .routes(routes!(calendars::show))
        .routes(routes!(links::list))
        .routes(routes!(orders::scan_all))
        .routes(routes!(orders::scan))
        .routes(routes!(orders::scrub))
        .routes(routes!(orders::pause))
        .routes(routes!(orders::resume))
        .routes(routes!(waiting::confirm))
        .routes(routes!(waiting::refuse))
        .routes(routes!(waiting::list))
        .routes(routes!(waiting::revert))
        .routes(routes!(forget::forget))
        .routes(routes!(waiting::asides))
        .routes(routes!(waiting::accept_aside))
        .routes(routes!(waiting::refuse_aside))
        .routes(routes!(items::why))
        .routes(routes!(items::missing))
        .routes(routes!(conflicts::list))
        .routes(routes!(conflicts::resolve))
        .routes(routes!(versions::list))
        .routes(routes!(versions::restore))
        .routes(routes!(content::read))
        .routes(routes!(jobs::list, jobs::create))
        .routes(routes!(jobs::show))
        .routes(routes!(plans::plan))
        .routes(routes!(plans::apply))
        .routes(routes!(jobs::edit))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(jobs::stop))
        .routes(routes!(jobs::run))
        .routes(routes!(jobs::back))
        .routes(routes!(jobs::forth))
        .routes(routes!(stream::events))
        .routes(routes!(metrics::scrape))
        .routes(routes!(probes::alive))
        .routes(routes!(probes::ready))
}

const ABOUT: &str = "The management API of one site. Over TCP it answers on loopback addresses only, \
to requests with `Authorization: Bearer TOKEN` (the token is in `api-token` of the state directory); \
over a Unix socket to whoever may open that. What fails is told as `application/problem+json`.";

fn router(guard: &guard::Guard, sources: Arc<Sources>) -> Router {
    let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
    let shared = Shared { sources, looks: Looks::default(), followers };
    let (router, _) = routes().split_for_parts();
    router
        .with_state(Arc::new(shared))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(pace::Pace::default(), pace::hold))
        .layer(middleware::from_fn_with_state(guard.clone(), guard::check))
        .layer(middleware::map_response(fail::shape))
}

/// Gives up a request that takes too long. What it ordered may still be done.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failed::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no answer in time",
            format!("the site had other things to do for {} s", ANSWER_WAIT.as_secs()),
            "try again; `/healthz` says whether it goes on at all",
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests;
