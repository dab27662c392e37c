//! Every bound of the appliance's brain in one place, and how they depend on each other.

use farhaul_proto::units::Bytes;

/// Authors that a context names at most, and runs of versions in it.
pub const CONTEXT_RUNS_MAX: usize = 1024;
/// Versions of one path that do not cover each other. Members of a folder are at most as many as
/// a context can name; one member adds one version at a time.
pub const CONCURRENT_MAX: usize = 1024;
/// Largest file.
pub const FILE_MAX: Bytes = Bytes::new(1 << 50);
/// Bytes that a symbolic link points to.
pub const SYMLINK_TARGET_MAX: usize = 4095;
/// Permission bits that travel: set-user-id and set-group-id do not.
pub const MODE_MASK: u32 = 0o1777;
