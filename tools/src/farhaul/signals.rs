//! The wish to stop: SIGINT and SIGTERM. The first is granted in good order, the second at once.

use crate::sys;
use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM. From then on a further one ends the process as if nobody had ever
/// listened, so that whatever hangs on the way out can be cut short.
pub(super) async fn stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without listeners both signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sys::default_stop_signals();
}
