//! Whether the loop goes round: what a watchdog is fed with.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the loop was last seen to go round.
pub struct Beat {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
    rounds: AtomicU64,
    fed: OnceLock<Fed>,
}

/// Somebody who is told while the loop goes round.
struct Fed {
    every_millis: u64,
    /// When it was last told, in milliseconds since the beginning.
    last: AtomicU64,
    feed: Box<dyn Fn() + Send + Sync>,
}

impl Default for Beat {
    fn default() -> Self {
        let (last, rounds, fed) = (AtomicU64::new(0), AtomicU64::new(0), OnceLock::new());
        Self { began: Instant::now(), last, rounds, fed }
    }
}

impl fmt::Debug for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beat").field("age", &self.age()).field("rounds", &self.rounds()).finish()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Beat {
    /// The loop went round.
    pub(super) fn is_round(&self) {
        let now = millis(self.began.elapsed());
        self.last.store(now, Ordering::Release);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let Some(fed) = self.fed.get() else { return };
        if now.saturating_sub(fed.last.load(Ordering::Relaxed)) >= fed.every_millis {
            fed.last.store(now, Ordering::Relaxed);
            (fed.feed)();
        }
    }

    /// From now on `feed` is called by the loop itself each time it has gone round and so long has
    /// passed since the call before: a loop that hangs calls nobody. It must not block. Only the first
    /// one who says this is heard.
    pub fn feed(&self, every: Duration, feed: impl Fn() + Send + Sync + 'static) {
        let (every_millis, last) = (millis(every), AtomicU64::new(0));
        let _ = self.fed.set(Fed { every_millis, last, feed: Box::new(feed) });
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
