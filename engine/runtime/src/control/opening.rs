//! How many connections are on their way to a session: while there are any, packets of lanes that
//! nobody knows yet may be theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections between their first packet and their session.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    count: Arc<AtomicUsize>,
}

/// One of them; dropped when the session stands, or never will.
#[derive(Debug)]
pub struct Opening {
    count: Arc<AtomicUsize>,
}

impl Openings {
    pub(crate) fn begin(&self) -> Opening {
        self.count.fetch_add(1, Ordering::Relaxed);
        Opening { count: Arc::clone(&self.count) }
    }

    /// True while there are any.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
