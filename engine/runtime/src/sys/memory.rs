//! One anonymous mapping cut into equal, page-aligned slots, each with exactly one owner.
//!
//! It does not know who may have a slot or when it comes back: that is `crate::buffers`.

use core::ptr::NonNull;
use core::slice;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::io;
use std::sync::Arc;

/// Slots start and end on this boundary: the largest page and block size that direct I/O asks for
/// on the machines we serve.
pub(crate) const PAGE: usize = 4096;

/// The mapping; unmapped when the last slot and the last clone of the `Arc` are gone.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    slot_len: usize,
}

// SAFETY: `Mapping` is an address range without interior state. Its bytes are reached only
// through `Slot`, which follows the borrow rules for its own, disjoint part of the range.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives no access to any byte.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `slots` times `slot_len` bytes (a multiple of [`PAGE`]) and hands out every slot once.
    /// Pages become resident when first touched.
    pub(crate) fn split(slots: u32, slot_len: usize) -> io::Result<(Arc<Self>, Vec<Slot>)> {
        let mapping = Arc::new(Self::new(slots, slot_len)?);
        let slots = (0..slots).map(|index| Slot { mapping: Arc::clone(&mapping), index }).collect();
        Ok((mapping, slots))
    }

    fn new(slots: u32, slot_len: usize) -> io::Result<Self> {
        let count = usize::try_from(slots).map_err(|_| io::ErrorKind::InvalidInput)?;
        let len = slot_len
            .checked_mul(count)
            .filter(|&len| len > 0 && slot_len.is_multiple_of(PAGE))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Payload has no place in a core dump. A kernel that refuses does no harm.
        // SAFETY: the range is the mapping just made; this advice never changes its contents.
        let _ = unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };
        // Symbols are picked out of megabytes: with small pages, looking up where they lie costs
        // about as much as copying them.
        // SAFETY: as above.
        let _ = unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Ok(Self { base, len, slot_len })
    }

    /// Bytes of one slot.
    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped in `new`; every slot and every operation in the kernel
        // holds an `Arc` of it, so nobody uses it any more.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "unmapping our own range cannot fail");
    }
}

/// The sole owner of one slot's bytes. Not `Clone`: made once per index in [`Mapping::split`].
#[derive(Debug)]
pub(crate) struct Slot {
    mapping: Arc<Mapping>,
    index: u32,
}

impl Slot {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The mapping this slot is part of.
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the range lies inside the mapping, which the `Arc` keeps alive; anonymous
        // memory is initialised (zero or earlier contents); writers need `&mut Slot`.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.mapping.slot_len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` of the slot's only owner excludes every other
        // reference to these bytes.
        unsafe { slice::from_raw_parts_mut(self.as_ptr(), self.mapping.slot_len) }
    }

    /// Where the slot begins, for the kernel. Using it needs the same care as a raw pointer.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        let offset = self.mapping.slot_len * self.index as usize;
        // SAFETY: `index` is below the number of slots, so the offset is inside the mapping,
        // whose length was checked not to overflow.
        unsafe { self.mapping.base.as_ptr().add(offset) }
    }
}
