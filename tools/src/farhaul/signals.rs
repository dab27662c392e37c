//! The wish to stop: SIGINT and SIGTERM. The first is granted in good order, the second at once.

use crate::sys;
use tokio::signal::unix::{SignalKind, signal};

/// Listens for SIGINT and SIGTERM from this call on; the future ends with the first of them. From
/// then on a further one ends the process as if nobody had ever listened, so that whatever hangs
/// on the way out can be cut short.
pub(super) fn stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without listeners both signals end the process by themselves.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sys::default_stop_signals();
    }
}
