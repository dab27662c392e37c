//! Names of owners whose numbers are not known yet: a directory service may take its time, and the loop
//! waits for nobody.

use super::Event;
use super::folder::Folder;
use crate::store::Wake;
use farhaul_sync::version::Version;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After how long paths are weighed again that wait for a directory which does not answer: a little
/// longer than it is waited for.
const AGAIN: Duration = Duration::from_secs(11);

/// Who waits for names.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// Set by whoever was asked, from a thread of its own.
    came: Arc<AtomicBool>,
    /// Since when something waits, and is to be told.
    since: Option<Instant>,
}

impl Naming {
    /// Whether what waited is to be weighed again; said once.
    pub(super) fn is_due(&mut self) -> bool {
        let is_late = self.since.is_some_and(|since| since.elapsed() >= AGAIN);
        let is_due = self.came.swap(false, Ordering::SeqCst) || is_late;
        if is_due {
            self.since = None;
        }
        is_due
    }
}

impl Folder {
    /// Whether all that is to be known of whom a version names is known. If not it has been asked for,
    /// and the path is weighed again once it was answered.
    pub(super) fn is_named(&mut self, version: &Version) -> bool {
        let (naming, events) = (&self.naming, &self.events);
        let mut wake = || -> Option<Wake> {
            // Once is enough, for however many paths.
            if naming.since.is_some() {
                return None;
            }
            let (came, events) = (Arc::clone(&naming.came), events.clone());
            Some(Box::new(move || {
                came.store(true, Ordering::SeqCst);
                // A loop that has other things to do needs no reminder.
                let _ = events.try_send(Event::More);
            }))
        };
        let is_ready = self.store.principals().is_ready(&version.meta, &mut wake);
        if !is_ready {
            self.naming.since.get_or_insert_with(Instant::now);
        }
        is_ready
    }
}
