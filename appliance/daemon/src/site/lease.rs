//! Room for what peers send before anybody can look at it: all sessions together have so much, and who
//! finds none waits (spec: S-077, S-184).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of records that all sessions together hold, in KiB; eight messages as long as they may be.
const RECORDS_KIB: usize = 64 << 10;
/// Bytes of messages that wait for the control loop, of one session, in KiB; two as long as they may be.
const MESSAGES_KIB: usize = 4 << 10;
/// And of all sessions together.
const MESSAGES_ALL_KIB: usize = 64 << 10;

/// The room of all sessions, or of one.
#[derive(Clone, Debug)]
pub(super) struct Room {
    kib: usize,
    free: Arc<Semaphore>,
}

impl Room {
    fn of(kib: usize) -> Self {
        Self { kib, free: Arc::new(Semaphore::new(kib)) }
    }

    /// That of all sessions for records that come as objects.
    pub(super) fn records() -> Self {
        Self::of(RECORDS_KIB)
    }

    /// That of all sessions for messages that nobody took in yet.
    pub(super) fn messages() -> Self {
        Self::of(MESSAGES_ALL_KIB)
    }

    /// Waits for room for `len` bytes. `None`: there is none any more.
    pub(super) async fn lease(self, len: u64) -> Option<Lease> {
        // Also what is short takes some.
        let kib = len.div_ceil(1024).clamp(1, self.kib as u64);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let permit = self.free.acquire_many_owned(kib).await.ok()?;
        Some(Lease { _permit: permit })
    }
}

/// Room for the messages of one session until the control loop took them in: so much of its own, and of
/// that of all sessions (spec: S-184).
#[derive(Clone, Debug)]
pub(super) struct Mail {
    own: Room,
    all: Room,
}

impl Mail {
    /// For a session; `all` is the room of all of them.
    pub(super) fn new(all: Room) -> Self {
        Self { own: Room::of(MESSAGES_KIB), all }
    }

    /// Waits for room for a message of `len` bytes.
    pub(super) async fn lease(&self, len: usize) -> Option<MailLease> {
        let len = len as u64;
        let own = self.own.clone().lease(len).await?;
        Some(MailLease { _own: own, _all: self.all.clone().lease(len).await? })
    }
}

/// Room that a message takes until this is dropped.
#[derive(Debug)]
pub(crate) struct MailLease {
    _own: Lease,
    _all: Lease,
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
        let room = Room::records();
        let taken = room.clone().lease((RECORDS_KIB as u64) << 10).await.expect("all of it");
        let waiting = room.clone().lease(1);
        tokio::pin!(waiting);
        let soon = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
        assert!(soon.is_err());
        drop(taken);
        assert!(waiting.await.is_some());
    }
}
