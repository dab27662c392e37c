//! What the service manager is told: ready, reading the configuration again, alive, stopping. Where
//! there is none, nothing is told.

use crate::control::Beat;
use sd_notify::NotifyState;
use std::convert::Infallible;
use std::time::Duration;

/// The control loop goes round every two seconds; at this age something holds it up for good.
const STUCK: Duration = Duration::from_secs(60);

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// The site runs.
pub(super) fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration; [`is_ready`] follows.
pub(super) fn reloads() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It ends.
pub(super) fn stops() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog for as long as the control loop goes round: a site whose loop hangs is killed
/// and started anew, whatever else of it still answers.
pub(super) async fn watched(beat: &Beat) -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        if beat.age() < STUCK {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(age = ?beat.age(), "the control loop does not go round");
        }
        tokio::time::sleep(limit / 3).await;
    }
}
