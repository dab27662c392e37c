//! How many requests are answered in a time: a client in a loop leaves the control loop, which answers
//! between its own work, to the folders. Who asks faster is answered later, not refused, until that
//! would take too long.

use super::fail::Failed;
use super::guard::OPEN;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two requests, over time: 100 a second.
const INTERVAL: Duration = Duration::from_millis(10);
/// So many may come at once.
const BURST: u32 = 200;
/// Longer nobody is let wait.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// When requests are answered (the virtual scheduling form of the generic cell rate algorithm, ITU-T
/// I.371, annex A).
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Mutex<Option<Instant>>>);

impl Pace {
    /// How long a request waits that came at `now`; the error is how long it would, where that is
    /// too long: then it does not count.
    fn take(&self, now: Instant) -> Result<Duration, Duration> {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now)) + INTERVAL;
        let wait = next.duration_since(now).saturating_sub(INTERVAL * BURST);
        if wait > WAIT_MAX {
            return Err(wait);
        }
        *due = Some(next);
        Ok(wait)
    }
}

/// Answers in turn. What says yes or no to whoever watches over processes, and bytes of a file, of
/// which a restore asks for one after the other, are not counted.
pub(super) async fn hold(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || is_of_a_file(path) {
        return next.run(request).await;
    }
    match pace.take(Instant::now()) {
        Ok(wait) => {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            next.run(request).await
        }
        Err(wait) => too_many(wait),
    }
}

/// Whether it is `/api/v1/folders/NAME/content`.
fn is_of_a_file(path: &str) -> bool {
    let rest = path.strip_prefix("/api/v1/folders/").and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, what)| what == "content")
}

fn too_many(wait: Duration) -> Response {
    let mut refused = Failed::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests",
        format!("{} a second are answered, over time", 1000 / INTERVAL.as_millis()),
        "ask less often, follow `/api/v1/events` instead of asking again and again",
    )
    .into_response();
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    refused.headers_mut().insert(header::RETRY_AFTER, seconds);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_answered_at_once_and_what_comes_faster_than_the_rate_later() {
        let (pace, start) = (Pace::default(), Instant::now());
        let waits: Vec<Duration> =
            (0..BURST + 50).map(|_| pace.take(start).expect("soon")).collect();
        let burst = BURST as usize;
        assert!(waits[..burst].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(waits[burst], INTERVAL);
        assert_eq!(waits[burst + 49], INTERVAL * 50);
        // Once there was time for all of them, there is room for a burst again.
        let later = start + INTERVAL * (BURST + 50);
        assert!((0..BURST).all(|_| pace.take(later) == Ok(Duration::ZERO)));
        assert_eq!(pace.take(later), Ok(INTERVAL));
    }

    #[test]
    fn only_bytes_of_files_are_not_counted() {
        assert!(is_of_a_file("/api/v1/folders/docs/content"));
        for path in ["/api/v1/folders/content", "/content", "/api/v1/folders/a/scan/content"] {
            assert!(!is_of_a_file(path), "{path}");
        }
    }

    #[test]
    fn whoever_would_wait_too_long_is_refused_and_takes_no_turn() {
        let (pace, now) = (Pace::default(), Instant::now());
        while pace.take(now).is_ok() {}
        let refused = pace.take(now);
        assert_eq!(refused, Err(WAIT_MAX + INTERVAL));
        assert_eq!(pace.take(now), refused, "however often it tries");
        assert_eq!(pace.take(now + INTERVAL), Ok(WAIT_MAX));
        let answer = too_many(WAIT_MAX);
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "11");
    }
}
