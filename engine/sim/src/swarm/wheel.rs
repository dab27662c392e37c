//! Events by milliseconds: what is due in the same one happens in the order in which it was put in.

/// So many milliseconds ahead events may lie.
const SLOTS: u64 = 8192;

/// Events that are due within some seconds.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    now: u64,
}

impl<T> Wheel<T> {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now: 0 }
    }

    /// An event so many milliseconds from now, at least one.
    pub(super) fn put(&mut self, delay: u64, event: T) {
        let at = self.now + delay.clamp(1, SLOTS - 1);
        self.slots[usize::try_from(at % SLOTS).unwrap_or(0)].push(event);
    }

    /// The millisecond that it is.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// The next millisecond, and what is due in it.
    pub(super) fn turn(&mut self) -> Vec<T> {
        self.now += 1;
        core::mem::take(&mut self.slots[usize::try_from(self.now % SLOTS).unwrap_or(0)])
    }
}
