//! What a peer asked for, was given, and has not taken yet: each answer costs memory until then, so
//! there is a bound for a session (spec: S-161).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory of all answers of a session that are not taken, in bytes. Who asks as it should has for each
/// folder a thousand small files on their way, at most, and four times 64 pages: 15 MiB.
const OWED_MAX: u64 = 64 << 20;

/// What is owed in a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed(Arc<AtomicU64>);

impl Owed {
    /// An answer that costs nothing yet.
    pub(super) fn owing(&self) -> Owing {
        Owing { owed: Arc::clone(&self.0), bytes: 0 }
    }
}

/// What an answer costs until it is dropped.
#[derive(Debug)]
pub struct Owing {
    owed: Arc<AtomicU64>,
    bytes: u64,
}

impl Owing {
    /// Takes room for so many more bytes of memory; `false`: there is none.
    #[must_use]
    pub fn add(&mut self, bytes: u64) -> bool {
        let more = |owed: u64| owed.checked_add(bytes).filter(|&owed| owed <= OWED_MAX);
        let is_added = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if is_added { bytes } else { 0 };
        is_added
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        self.owed.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_answers_of_a_session_share_one_room_and_give_it_back() {
        let owed = Owed::default();
        let (mut first, mut second) = (owed.owing(), owed.clone().owing());
        assert!(first.add(OWED_MAX - 10) && second.add(10) && !second.add(1) && !first.add(1));
        drop(first);
        assert!(!second.add(u64::MAX) && second.add(OWED_MAX - 10) && !second.add(1));
        drop(second);
        assert!(owed.owing().add(OWED_MAX));
    }
}
