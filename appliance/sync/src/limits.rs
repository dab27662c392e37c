//! Every bound of the appliance's brain in one place, and how they depend on each other.

use farhaul_proto::units::Bytes;
use std::time::Duration;

/// Authors that a context names at most, and runs of versions in it.
pub const CONTEXT_RUNS_MAX: usize = 1024;
/// Versions of one path that do not cover each other. Members of a folder are at most as many as
/// a context can name; one member adds one version at a time.
pub const CONCURRENT_MAX: usize = 1024;
/// Largest file.
pub const FILE_MAX: Bytes = Bytes::new(1 << 50);
/// Bytes that a symbolic link points to.
pub const SYMLINK_TARGET_MAX: usize = 4095;
/// Permission bits that travel: set-user-id and set-group-id do not (spec: S-101).
pub const MODE_MASK: u32 = 0o1777;
/// Bytes of the name of an owner or a group.
pub const PRINCIPAL_MAX: usize = 255;
/// Entries of an access control list.
pub const ACL_ENTRIES_MAX: usize = 32;
/// Extended attributes of a path.
pub const XATTRS_MAX: usize = 256;
/// Bytes of the names and values of all of them.
pub const XATTR_BYTES_MAX: usize = 24 << 10;
/// Bytes of the name of one.
pub const XATTR_NAME_MAX: usize = 255;
/// Bytes of an encoded record. The largest that is valid: a path and a target as long as they may
/// be, a context with as many runs of as many authors as it may have, two access control lists and
/// extended attributes.
pub const RECORD_MAX: usize = 128 << 10;
/// Bytes of the aligned blocks of which runs of zeros consist: what file systems allocate by.
pub const ZERO_BLOCK: u64 = 4096;
/// Entries of a page of chunks, unless it is the last one. So many at least keep pages few, whatever
/// names somebody makes chunks have.
pub const LEAF_ENTRIES_MIN: usize = 32;
/// Entries of a page of a higher level, unless it is the last of its level. So many at least keep the
/// levels few: one above that of chunks for nearly all files below 8 GiB, whose lists have some 260
/// pages at most.
pub const NODE_ENTRIES_MIN: usize = 256;
/// Entries of a page of a manifest.
pub const PAGE_ENTRIES_MAX: usize = 1024;
/// Bytes of a page of a manifest: a head and as many entries of 40 bytes as it may have.
pub const PAGE_MAX: usize = 5 + PAGE_ENTRIES_MAX * 40;
/// Levels of a manifest above its list of chunks. The longest list, of a file of [`FILE_MAX`] cut
/// into shortest chunks and shortest runs of zeros, has less than 2^31 entries; the lowest level has at
/// most a 32nd as many pages, each further one a 256th of those of the one below.
pub const PAGE_LEVEL_MAX: u8 = 6;
/// Holes of a file that are listed; the list has at most 1 MiB.
pub const HOLES_MAX: usize = 65_536;
/// Rules of a calendar: each one is looked at for each day that somebody looks ahead.
pub const CALENDAR_RULES_MAX: usize = 256;
/// How far ahead budgets of calendars are counted: ten years. Beyond that nothing is promised.
pub const CALENDAR_LOOK_MAX: Duration = Duration::from_hours(24 * 3653);
