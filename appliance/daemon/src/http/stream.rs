//! Events as a stream that can be taken up again: server-sent events with ids, gaps told.

use super::Api;
use super::fail::Failed;
use crate::events::{Events, From, Since};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event as Sent, KeepAlive};
use farhaul_api::{Event, Gap, Problem};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

/// Events that are taken out of the ring at a time.
const PAGE: usize = 256;
/// How often somebody who hears nothing is told that the stream is alive.
const ALIVE: Duration = Duration::from_secs(15);
/// The header by which a browser goes on.
const LAST: &str = "last-event-id";

/// From where on, and how far.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Behind the event with this id, or `start` for all that are remembered; without it, what
    /// happens from now on. The header `Last-Event-ID` says the same.
    since: Option<String>,
    /// Only those of this folder.
    folder: Option<String>,
    /// Whether to end when there is nothing more for now.
    #[serde(default)]
    once: bool,
}

/// What happens at this site. Each event has an id; after a break, `since` goes on behind it. An event
/// `gap` says that others are missing before the one that follows: then states are to be asked anew.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "events", params(Which), responses(
    (status = 200, content_type = "text/event-stream", body = Event,
        description = "Events as objects in `data`; that of a `gap` is a Gap"),
    (status = "default", body = Problem)
))]
pub(super) async fn events(
    State(api): State<Api>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Failed> {
    let Ok(seat) = Arc::clone(&api.followers).try_acquire_owned() else {
        return Err(Failed::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many follow events",
            format!("{} do already", super::FOLLOWERS_MAX),
            "end one of them, or ask with `once=true` now and then",
        ));
    };
    let log = api.sources.control.log().clone();
    let header = headers.get(LAST).and_then(|value| value.to_str().ok());
    let from = match header.or(which.since.as_deref()) {
        None => From::Number(log.newest()),
        Some("start") => From::Number(0),
        Some(id) => log.place_of(id).ok_or_else(|| {
            Failed::wrong(
                "no event",
                format!("`{id}` is no id of one"),
                "give the id of an event, or `start`",
            )
        })?,
    };
    let watch = log.watch();
    let following = Following {
        api: Arc::clone(&api),
        log,
        watch,
        from,
        which,
        waiting: VecDeque::new(),
        _seat: seat,
    };
    let stream = unfold(following, |mut following| async move {
        let sent = following.next().await?;
        Some((Ok(sent), following))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// Somebody who follows.
struct Following {
    api: Api,
    log: Events,
    watch: watch::Receiver<u64>,
    from: From,
    which: Which,
    waiting: VecDeque<Sent>,
    _seat: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = self.waiting.pop_front() {
                return Some(sent);
            }
            self.watch.mark_unchanged();
            let Since { missed, events, upto } = self.log.since(self.from, PAGE);
            let is_end = events.is_empty();
            if missed != Some(0) && !is_end {
                let next = events[0].id.clone();
                let data = serde_json::to_string(&Gap { missed, next }).unwrap_or_default();
                self.waiting.push_back(Sent::default().event("gap").data(data));
            }
            self.from = From::Number(upto);
            let wanted =
                |event: &&Event| self.which.folder.is_none() || event.folder == self.which.folder;
            let names = self.api.names();
            for event in events.iter().filter(wanted) {
                let mut event = event.clone();
                event.peer.iter_mut().for_each(|peer| names.site(peer));
                let data = serde_json::to_string(&event).unwrap_or_default();
                let sent = Sent::default().id(&event.id).event(event.kind.name()).data(data);
                self.waiting.push_back(sent);
            }
            if is_end && self.which.once {
                return None;
            }
            if is_end {
                self.watch.changed().await.ok()?;
            }
        }
    }
}
