//! Between who hears and who looks: paths that wait, for two threads.

use super::pending::{Due, Pending};
use super::{Notice, Watching};
use farhaul_proto::path_name::RelPath;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Paths handed out at a time.
const BATCH: usize = 256;

#[derive(Debug)]
struct State {
    pending: Pending,
    is_closed: bool,
}

/// Paths that wait until they are left alone. Bounded: see [`Pending`].
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// For at most `limit` paths.
    pub fn new(limit: usize) -> Self {
        let state = State { pending: Pending::new(limit), is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happened. Returns whether that was too much, so that all is to be looked at;
    /// nothing waits then.
    pub fn note(&self, notice: &Notice) -> bool {
        let mut state = self.state();
        let is_kept = state.pending.note(notice, Instant::now());
        self.changed.notify_all();
        !is_kept
    }

    /// A file changed while it was read for `took`: it is looked at again, later than before.
    pub fn retry(&self, path: &RelPath, took: Duration) {
        self.state().pending.retry(path, took, Instant::now());
        self.changed.notify_all();
    }

    /// Waits for paths to be looked at; `None` once it is closed.
    pub fn take(&self) -> Option<Vec<Due>> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            let due = state.pending.take(now, BATCH);
            if !due.is_empty() {
                return Some(due);
            }
            let wait = state.pending.next().map(|next| next.saturating_duration_since(now));
            state = match wait {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }
}

/// How a folder is watched, shared between who knows and who asks.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Watching>);

impl Shown {
    /// As it is now.
    pub fn get(&self) -> Watching {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it.
    pub fn set(&self, change: impl FnOnce(&mut Watching)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
