//! What the service manager is told: ready, reading the configuration again, alive, stopping. Where
//! there is none, nothing is told.

use crate::control::Beat;
use sd_notify::NotifyState;
use std::io;
use std::sync::mpsc;

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

/// Has the control loop feed the watchdog, if the service manager wants it fed: a site whose loop hangs
/// is killed and started anew, whatever else of it still answers. What the loop says is passed on by a
/// thread that does nothing else, so a service manager that does not listen holds up no loop.
///
/// # Errors
/// There is no thread.
pub(super) fn feed_watchdog(beat: &Beat) -> io::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let (says, said) = mpsc::sync_channel(1);
    let passing_on = move || said.iter().for_each(|()| tell(&[NotifyState::Watchdog]));
    std::thread::Builder::new().name("farhaul-beat".to_owned()).spawn(passing_on)?;
    beat.feed(limit / 3, move || _ = says.try_send(()));
    Ok(())
}
