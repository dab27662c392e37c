//! The bounded pool of payload buffers: one page-aligned arena, cut into equal slots.
//!
//! Back-pressure of the whole engine is a buffer that cannot be leased: the pool never grows and
//! never blocks. Slots that were used last are leased first, so memory that a quiet engine does
//! not need is never touched and costs no resident pages. It does not zero memory between leases:
//! a lease may show earlier payload of the same process, never uninitialised memory.

#![forbid(unsafe_code)]

use crate::sys::memory::{Mapping, PAGE, Slot};
use core::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A fixed set of equal buffers. Cloning gives another handle on the same set.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    mapping: Arc<Mapping>,
    /// Slots nobody has leased; the one on top was returned last and is warm in the cache.
    free: Mutex<Vec<Slot>>,
    slots: usize,
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        // Push and pop leave the list whole even if a thread died in between.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferPool {
    /// A pool of `slots` buffers of `slot_len` bytes each, rounded up to whole pages of 4096.
    ///
    /// # Errors
    /// `InvalidInput` if either is zero or the product overflows; what mmap says otherwise.
    pub fn new(slots: usize, slot_len: usize) -> io::Result<Self> {
        let slot_len = slot_len
            .checked_next_multiple_of(PAGE)
            .filter(|&len| len > 0)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let count = u32::try_from(slots).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (mapping, mut free) = Mapping::split(count, slot_len)?;
        free.reverse();
        Ok(Self { shared: Arc::new(Shared { mapping, free: Mutex::new(free), slots }) })
    }

    /// Leases a buffer, or `None` when all are out: the caller waits until one comes back.
    pub fn try_lease(&self) -> Option<Lease> {
        let slot = self.shared.free().pop()?;
        Some(Lease { slot: Some(slot), home: Arc::clone(&self.shared) })
    }

    /// Buffers that can be leased at this moment.
    pub fn free_slots(&self) -> usize {
        self.shared.free().len()
    }

    /// Buffers in all.
    pub fn slots(&self) -> usize {
        self.shared.slots
    }

    /// Bytes of each buffer; a multiple of 4096.
    pub fn slot_len(&self) -> usize {
        self.shared.mapping.slot_len()
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.shared.mapping
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("slots", &self.slots())
            .field("slot_len", &self.slot_len())
            .field("free_slots", &self.free_slots())
            .finish()
    }
}

/// A buffer with one owner; goes back to its pool when dropped.
pub struct Lease {
    /// Always present until `drop` takes it.
    slot: Option<Slot>,
    home: Arc<Shared>,
}

impl Lease {
    /// The whole buffer, `slot_len` bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.slot().as_slice()
    }

    /// The whole buffer for writing, `slot_len` bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.slot.as_mut().expect("only drop takes the slot").as_mut_slice()
    }

    /// Which slot of the pool this is; below `slots`.
    pub fn index(&self) -> u32 {
        self.slot().index()
    }

    /// Gives up writing so that several readers can share the buffer.
    pub fn freeze(self) -> SharedLease {
        SharedLease { lease: Arc::new(self) }
    }

    pub(crate) fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("only drop takes the slot")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.home.free().push(slot);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.index())
    }
}

/// A read-only buffer with any number of owners; goes back to its pool with the last of them.
#[derive(Clone)]
pub struct SharedLease {
    lease: Arc<Lease>,
}

impl SharedLease {
    /// The whole buffer, `slot_len` bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.lease.as_slice()
    }

    /// Which slot of the pool this is; below `slots`.
    pub fn index(&self) -> u32 {
        self.lease.index()
    }

    /// The writable lease back.
    ///
    /// # Errors
    /// Hands the handle back while other owners remain.
    pub fn try_thaw(self) -> Result<Lease, Self> {
        Arc::try_unwrap(self.lease).map_err(|lease| Self { lease })
    }

    pub(crate) fn slot(&self) -> &Slot {
        self.lease.slot()
    }
}

impl fmt::Debug for SharedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedLease({})", self.index())
    }
}

/// Either kind of lease, for operations that only read the memory.
#[derive(Debug)]
pub enum Buffer {
    /// Owned by whoever holds this value.
    Owned(Lease),
    /// Read by others at the same time.
    Shared(SharedLease),
}

impl Buffer {
    /// The whole buffer, `slot_len` bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.slot().as_slice()
    }

    /// Which slot of the pool this is; below `slots`.
    pub fn index(&self) -> u32 {
        self.slot().index()
    }

    /// The writable lease, if this is one or its last other owner is gone.
    ///
    /// # Errors
    /// Hands the buffer back while it is shared.
    pub fn into_lease(self) -> Result<Lease, Self> {
        match self {
            Self::Owned(lease) => Ok(lease),
            Self::Shared(shared) => shared.try_thaw().map_err(Self::Shared),
        }
    }

    pub(crate) fn slot(&self) -> &Slot {
        match self {
            Self::Owned(lease) => lease.slot(),
            Self::Shared(shared) => shared.slot(),
        }
    }
}

impl From<Lease> for Buffer {
    fn from(lease: Lease) -> Self {
        Self::Owned(lease)
    }
}

impl From<SharedLease> for Buffer {
    fn from(shared: SharedLease) -> Self {
        Self::Shared(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(slots: usize) -> BufferPool {
        BufferPool::new(slots, 5000).expect("a small mapping")
    }

    #[test]
    fn slot_length_is_rounded_up_to_pages() {
        let pool = pool(3);
        assert_eq!(pool.slot_len(), 8192);
        let lease = pool.try_lease().expect("a fresh pool");
        assert_eq!(lease.as_slice().len(), 8192);
        assert_eq!(lease.as_slice().as_ptr().addr() % 4096, 0);
    }

    #[test]
    fn empty_and_overflowing_pools_are_refused() {
        assert!(BufferPool::new(0, 4096).is_err());
        assert!(BufferPool::new(1, 0).is_err());
        assert!(BufferPool::new(2, usize::MAX).is_err());
        assert!(BufferPool::new(usize::MAX, 4096).is_err());
        assert!(BufferPool::new(1 << 20, usize::MAX / 4096 * 4096).is_err());
    }

    #[test]
    fn an_exhausted_pool_leases_nothing_until_a_buffer_returns() {
        let pool = pool(2);
        let first = pool.try_lease();
        let second = pool.try_lease();
        assert!(pool.try_lease().is_none());
        drop(first);
        assert_eq!(pool.free_slots(), 1);
        assert!(pool.try_lease().is_some());
        drop(second);
        assert_eq!(pool.free_slots(), 2);
    }

    #[test]
    fn the_slot_returned_last_is_leased_first() {
        let pool = pool(4);
        let first = pool.try_lease().expect("free").index();
        assert_eq!(first, 0);
        assert_eq!(pool.try_lease().expect("free").index(), first);
    }

    #[test]
    fn a_frozen_buffer_thaws_only_for_its_last_owner() {
        let pool = pool(1);
        let shared = pool.try_lease().expect("free").freeze();
        let other = shared.clone();
        let shared = shared.try_thaw().expect_err("two owners");
        drop(other);
        assert_eq!(pool.free_slots(), 0);
        drop(shared.try_thaw().expect("one owner"));
        assert_eq!(pool.free_slots(), 1);
    }

    #[test]
    fn leases_outlive_their_pool() {
        let mut lease = pool(1).try_lease().expect("free");
        lease.as_mut_slice().fill(7);
        assert!(lease.as_slice().iter().all(|&byte| byte == 7));
    }

    #[test]
    fn an_unused_pool_costs_no_resident_memory() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
            let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
            pages.expect("the second field of statm")
        };
        let before = resident();
        let pool = BufferPool::new(1024, 1 << 20).expect("no memory is reserved");
        let lease = pool.try_lease();
        // A gibibyte would be 262144 pages; other tests of this process account for the slack.
        assert!(resident().saturating_sub(before) < 100_000);
        drop(lease);
    }

    proptest! {
        #[test]
        fn no_two_leases_share_memory(takes in prop::collection::vec(any::<bool>(), 1..64)) {
            let pool = pool(8);
            let mut held: Vec<(Lease, u8)> = Vec::new();
            for (step, take) in (0u8..).zip(takes) {
                match take.then(|| pool.try_lease()).flatten() {
                    Some(mut lease) => {
                        lease.as_mut_slice().fill(step);
                        held.push((lease, step));
                    }
                    None => drop((!held.is_empty()).then(|| held.remove(0))),
                }
                prop_assert_eq!(pool.free_slots() + held.len(), pool.slots());
            }
            for (lease, mark) in &held {
                prop_assert!(lease.as_slice().iter().all(|byte| byte == mark));
            }
        }
    }
}
