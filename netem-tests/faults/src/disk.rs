//! A disk in memory that remembers every write and every flush, in order.
//!
//! What is on it is kept in pages that are shared between copies, so that thousands of images that
//! differ little cost little.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a page.
pub const PAGE: usize = 4096;

type Page = Arc<[u8; PAGE]>;

/// What is on a disk. Cloning it shares what does not change.
#[derive(Clone)]
pub struct Pages(Vec<Option<Page>>);

impl Pages {
    /// Zeros; `len` is a multiple of [`PAGE`].
    pub fn new(len: u64) -> Self {
        let pages = usize::try_from(len).unwrap_or(usize::MAX) / PAGE;
        Self(vec![None; pages])
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        (self.0.len() * PAGE) as u64
    }

    /// Whether there is no room at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what is at `offset`; zeros beyond the end.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let (page, at, len) = place(offset + done as u64, into.len() - done);
            let part = &mut into[done..done + len];
            match self.0.get(page) {
                Some(Some(held)) => part.copy_from_slice(&held[at..at + len]),
                _ => part.fill(0),
            }
            done += len;
        }
    }

    /// Writes at `offset`; what lies beyond the end is dropped.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, at, len) = place(offset + done as u64, bytes.len() - done);
            if let Some(held) = self.0.get_mut(page) {
                let held = held.get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(held)[at..at + len].copy_from_slice(&bytes[done..done + len]);
            }
            done += len;
        }
    }

    /// The pages that were ever written, with their numbers.
    pub fn written(&self) -> impl Iterator<Item = (usize, &[u8; PAGE])> {
        self.0.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_deref()?)))
    }
}

/// Page, offset in it, and how much of `len` is there.
fn place(offset: u64, len: usize) -> (usize, usize, usize) {
    let at = usize::try_from(offset % PAGE as u64).unwrap_or(0);
    let page = usize::try_from(offset / PAGE as u64).unwrap_or(usize::MAX);
    (page, at, len.min(PAGE - at))
}

/// What a file system told its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Bytes at an offset, not durable before the next flush.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Everything before is durable.
    Flush,
}

struct State {
    pages: Pages,
    log: Option<Vec<Entry>>,
}

/// A disk that is in use.
pub struct Disk(Mutex<State>);

impl Disk {
    /// One with this on it; nothing is recorded.
    pub fn new(pages: Pages) -> Self {
        Self(Mutex::new(State { pages, log: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something else on it: while no file system has it open.
    pub fn put(&self, pages: Pages) {
        self.state().pages = pages;
    }

    /// What is on it now.
    pub fn pages(&self) -> Pages {
        self.state().pages.clone()
    }

    /// Records from now on.
    pub fn record(&self) {
        self.state().log = Some(Vec::new());
    }

    /// What was recorded; nothing more is.
    pub fn recorded(&self) -> Vec<Entry> {
        self.state().log.take().unwrap_or_default()
    }

    /// How much was recorded so far.
    pub fn position(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.state().pages.len()
    }

    /// Whether it has no room at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what is done is recorded.
    pub fn is_recording(&self) -> bool {
        self.state().log.is_some()
    }

    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        self.state().pages.read(offset, into);
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state();
        state.pages.write(offset, bytes);
        if let Some(log) = &mut state.log {
            log.push(Entry::Write { offset, bytes: bytes.into() });
        }
    }

    pub(crate) fn flush(&self) {
        if let Some(log) = &mut self.state().log {
            log.push(Entry::Flush);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_copies_stay_as_they_were() {
        let mut pages = Pages::new(4 * PAGE as u64);
        pages.write(PAGE as u64 - 2, b"abcd");
        let before = pages.clone();
        pages.write(PAGE as u64, b"XY");
        let read = |pages: &Pages| {
            let mut bytes = [9; 6];
            pages.read(PAGE as u64 - 3, &mut bytes);
            bytes
        };
        assert_eq!(&read(&pages), b"\0abXY\0");
        assert_eq!(&read(&before), b"\0abcd\0");
        assert_eq!(pages.written().count(), 2);
    }

    #[test]
    fn writes_and_flushes_are_recorded_in_order() {
        let disk = Disk::new(Pages::new(PAGE as u64));
        disk.write(0, b"before");
        disk.record();
        disk.write(1, b"a");
        disk.flush();
        assert_eq!(disk.position(), 2);
        let write = Entry::Write { offset: 1, bytes: b"a"[..].into() };
        assert_eq!(disk.recorded(), [write, Entry::Flush]);
        assert_eq!(disk.position(), 0);
    }
}
