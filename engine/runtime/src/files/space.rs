//! Room on the destination: asked before a transfer is accepted, taken before data arrives.

use super::dir::{Dir, Meta};
use crate::disk::is_in_memory;
use farhaul_proto::layout::DataMap;
use farhaul_proto::units::Bytes;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::os::fd::AsFd;

/// What a file or directory occupies at least, and the grain of what it occupies.
const GRAIN: u64 = 4096;

/// The disk does not hold what a transfer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the destination has {available} free, {needed} are needed")]
pub struct NoSpace {
    /// What the transfer brings, with one part in a hundred to spare.
    pub needed: Bytes,
    /// What this user may still write.
    pub available: Bytes,
}

/// What `data_len` bytes of content occupy.
pub(crate) fn occupied(data_len: u64) -> u64 {
    data_len.checked_next_multiple_of(GRAIN).unwrap_or(u64::MAX).max(GRAIN)
}

/// Bytes that this user may still write.
///
/// # Errors
/// The kernel's own.
pub fn available(dir: &Dir) -> Result<Bytes> {
    let stat = fstatvfs(dir)?;
    Ok(Bytes::new(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Checks that `needed` bytes and 1 % more fit beside what is there.
///
/// # Errors
/// The kernel's own.
pub fn check(dir: &Dir, needed: u64) -> Result<core::result::Result<(), NoSpace>> {
    let available = available(dir)?;
    let needed = Bytes::new(needed.saturating_add(needed / 100));
    let fits = needed <= available;
    Ok(if fits { Ok(()) } else { Err(NoSpace { needed, available }) })
}

/// Reserves the data extents of a file, and no holes. A file system without the call is no
/// error; `ENOSPC` is. Where files are memory it is only asked whether there is room: to reserve
/// it would be half the work of writing, all at once and before the first block.
pub(crate) fn preallocate(file: &File, map: &DataMap) -> Result<()> {
    if is_in_memory(file.as_fd()) {
        return look_for_room(file, map);
    }
    for extent in map.extents() {
        match fallocate(file, FallocateFlags::KEEP_SIZE, extent.offset, extent.len) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn look_for_room(file: &File, map: &DataMap) -> Result<()> {
    let needed = map.extents().iter().map(|extent| extent.len).fold(0, u64::saturating_add);
    let there = Meta::of(file)?.allocated;
    let stat = fstatvfs(file)?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed.saturating_sub(there) <= available { Ok(()) } else { Err(Errno::NOSPC) }
}
