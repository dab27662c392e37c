//! Whether the loop goes round: what a watchdog is fed with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the loop was last seen to go round.
#[derive(Debug)]
pub struct Beat {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
    rounds: AtomicU64,
}

impl Default for Beat {
    fn default() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0), rounds: AtomicU64::new(0) }
    }
}

impl Beat {
    /// The loop went round.
    pub(super) fn is_round(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// How long ago it last did. It does at least every two seconds while nothing holds it up.
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        self.began.elapsed().saturating_sub(last)
    }

    /// How often it did.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}
