//! The one way from what the kernel says of a file to what the index keeps of it.

use farhaul_engine::files::dir::Meta;
use farhaul_proto::units::FileTime;
use farhaul_sync::folder::FileIdentity;

/// The state in which something was found. Whoever places a file takes its identity from here too,
/// or the next scan takes it for changed.
///
/// The kernel tells the generation of an inode only to who opens it, so it is 0: an inode that was
/// given out again has another change time, which nobody can set.
pub fn identity_of(meta: &Meta) -> FileIdentity {
    let found = meta.identity;
    FileIdentity {
        device: found.dev,
        inode: found.ino,
        generation: 0,
        size: found.size,
        mtime: nanos_of(found.mtime),
        ctime: nanos_of(found.ctime),
    }
}

/// Nanoseconds since 1970.
fn nanos_of(time: FileTime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}
