//! What a peer is told of folders and has not taken yet: records cost memory until then. All folders of
//! a session have one room for them, and where that is full they wait in line (spec: S-162). Answers of
//! comparisons have another, and no line (spec: S-164).

use farhaul_engine::objects::{BlockSource, Failure, Load, MemorySource};
use farhaul_proto::objects::Placed;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes of records in a session that the peer has not taken, from which on no others are made up: so
/// many that seven folders can be told at full pace, of four parts of a MiB each. What is held is at most
/// this and one message more.
const ROOM: u64 = 32 << 20;
/// Bytes of answers of comparisons that were not written, from which on none are made up. Who asks as it
/// should has 32 questions open in each folder, of 64 ranges each: 10 MiB of answers at most.
const ANSWERS_ROOM: u64 = 64 << 20;
/// What a message costs beside its records.
const MESSAGE_COST: u64 = 512;

/// A room of a session.
#[derive(Clone, Debug)]
pub(super) struct Telling(Arc<Room>);

#[derive(Debug)]
struct Room {
    max: u64,
    line: Mutex<Line>,
    /// There is room again for somebody who waits.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Line {
    /// What is taken of the room.
    bytes: u64,
    /// Who waits, in the order in which they came.
    waiting: BTreeSet<u64>,
    next: u64,
}

impl Telling {
    /// The room for records.
    pub(super) fn records() -> Self {
        Self::of(ROOM)
    }

    /// The room for answers of comparisons.
    pub(super) fn answers() -> Self {
        Self::of(ANSWERS_ROOM)
    }

    /// Whether there is room, for whoever does not wait for it.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().bytes < self.0.max
    }

    /// One of so many bytes.
    pub(super) fn of(max: u64) -> Self {
        Self(Arc::new(Room { max, line: Mutex::default(), freed: Notify::new() }))
    }

    /// Whether something may be told now. If not, `place` is one in the line, and whoever has it is to
    /// ask again; who does not want to any more drops it.
    pub(super) fn may_tell(&self, place: &mut Option<InLine>) -> bool {
        let mut line = self.0.lock();
        let is_next = line.waiting.first().copied() == place.as_ref().map(|place| place.number);
        if is_next && line.bytes < self.0.max {
            drop(line);
            // Who is behind it comes to be the first.
            *place = None;
            return true;
        }
        if place.is_none() {
            let number = line.next;
            line.next += 1;
            line.waiting.insert(number);
            drop(line);
            *place = Some(InLine { room: Arc::clone(&self.0), number });
        }
        false
    }

    /// So many bytes are said: they count until this is dropped.
    pub(super) fn told(&self, bytes: usize) -> Told {
        let bytes = (bytes as u64).saturating_add(MESSAGE_COST);
        self.0.lock().bytes += bytes;
        Told { room: Arc::clone(&self.0), bytes }
    }

    /// Waits until there is room for somebody who waits.
    pub(super) async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, line: &Line) {
        if line.bytes < self.max && !line.waiting.is_empty() {
            self.freed.notify_one();
        }
    }
}

/// A place in the line, until it is dropped.
#[derive(Debug)]
pub struct InLine {
    room: Arc<Room>,
    number: u64,
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut line = self.room.lock();
        line.waiting.remove(&self.number);
        self.room.changed(&line);
    }
}

/// What is taken of a room, until it is dropped: when the peer took what was said, or nobody sends it any
/// more.
#[derive(Debug)]
pub struct Told {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        let mut line = self.room.lock();
        line.bytes = line.bytes.saturating_sub(self.bytes);
        self.room.changed(&line);
    }
}

/// Records that go as an object, with what they take of the room.
pub(super) struct ToldSource {
    records: MemorySource,
    _told: Told,
}

impl ToldSource {
    pub(super) const fn new(bytes: Vec<u8>, told: Told) -> Self {
        Self { records: MemorySource(bytes), _told: told }
    }
}

impl BlockSource for ToldSource {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        self.records.load(placed, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Whether somebody who waits is woken.
    async fn is_woken(telling: &Telling) -> bool {
        tokio::time::timeout(Duration::from_millis(1), telling.freed()).await.is_ok()
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_in_line_and_is_woken_when_there_is_some() {
        let telling = Telling::of(2000);
        let [mut first, mut second, mut third] = [None, None, None];
        assert!(telling.may_tell(&mut first));
        let all = telling.told(5000);
        assert!(!telling.may_tell(&mut second) && !telling.may_tell(&mut third));
        assert!(!telling.may_tell(&mut first) && !is_woken(&telling).await);
        drop(all);
        assert!(is_woken(&telling).await);
        assert!(!telling.may_tell(&mut third) && !telling.may_tell(&mut first), "not their turn");
        assert!(telling.may_tell(&mut second) && second.is_none());
        assert!(is_woken(&telling).await, "there is room for the next");
        let some = telling.told(100);
        assert!(!telling.may_tell(&mut first));
        assert!(telling.may_tell(&mut third), "what is left is room for one more");
        let more = telling.told(5000);
        assert!(is_woken(&telling).await && !telling.may_tell(&mut first));
        drop((some, more));
        assert!(is_woken(&telling).await && telling.may_tell(&mut first));
        assert!(!is_woken(&telling).await, "nobody waits");
    }

    #[test]
    fn who_does_not_wait_finds_room_or_not() {
        let telling = Telling::of(1000);
        let some = telling.told(100);
        assert!(telling.has_room());
        let more = telling.told(100);
        assert!(!telling.has_room());
        drop(some);
        assert!(telling.has_room());
        drop(more);
    }

    #[tokio::test]
    async fn who_waits_no_more_holds_nobody_up() {
        let telling = Telling::of(1000);
        let (mut first, mut second) = (None, None);
        let told = telling.told(1000);
        assert!(!telling.may_tell(&mut first) && !telling.may_tell(&mut second));
        drop(told);
        assert!(is_woken(&telling).await && !telling.may_tell(&mut second));
        drop(first);
        assert!(is_woken(&telling).await && telling.may_tell(&mut second));
    }
}
