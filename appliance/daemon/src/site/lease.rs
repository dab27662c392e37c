//! Room for what peers send before anybody can look at it: all sessions together have so much, and who
//! finds none waits (spec: S-077).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of records that all sessions together hold, in KiB; eight messages as long as they may be.
const ROOM_KIB: usize = 64 << 10;

/// The room of all sessions.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }

    /// Waits for room for `len` bytes. `None`: there is none any more.
    pub(super) async fn lease(self, len: u64) -> Option<Lease> {
        let kib = len.div_ceil(1024).min(ROOM_KIB as u64);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let permit = self.0.acquire_many_owned(kib).await.ok()?;
        Some(Lease { _permit: permit })
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    _permit: OwnedSemaphorePermit,
}

/// Bytes that a peer sent, with the room that they take.
pub struct Leased {
    bytes: Vec<u8>,
    _lease: Option<Lease>,
}

impl Leased {
    pub(super) const fn new(bytes: Vec<u8>, lease: Option<Lease>) -> Self {
        Self { bytes, _lease: lease }
    }
}

/// Bytes that no session brought take no room of theirs.
impl From<Vec<u8>> for Leased {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes, None)
    }
}

impl Deref for Leased {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_somebody_lets_go() {
        let room = Room::new();
        let taken = room.clone().lease((ROOM_KIB as u64) << 10).await.expect("all of it");
        let waiting = room.clone().lease(1);
        tokio::pin!(waiting);
        let soon = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(soon.is_err());
        drop(taken);
        assert!(waiting.await.is_some());
    }
}
