//! Metadata: set on descriptors, never on paths.

use super::owner::{Numbers, Principals};
use crate::attrs;
use farhaul_engine::files::dir::times;
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_sync::limits::MODE_MASK;
use farhaul_sync::version::Meta;
use rustix::fd::AsFd;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, futimens};
use rustix::io::{Errno, Result};

/// Gives what is open as `fd` its owner and group, where this process may and they have numbers
/// here; then its lists and attributes, as far as the file system takes them; then its mode, which a
/// change of the owner would take bits of and a list would change; then its time.
pub(super) fn describe(fd: impl AsFd, meta: &Meta, principals: &dyn Principals) -> Result<()> {
    let fd = fd.as_fd();
    let owner = meta.owner.as_deref().and_then(|name| principals.user_id(name)).map(Uid::from_raw);
    let group = meta.group.as_deref().and_then(|name| principals.group_id(name)).map(Gid::from_raw);
    // Each for itself: who may not give a file away may still give it to a group.
    for (owner, group) in [(owner, None), (None, group)] {
        if owner.is_some() || group.is_some() {
            match fchown(fd, owner, group) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    let is_dir = DiskMeta::of(fd)?.kind == FileKind::Dir;
    attrs::set(fd, meta.attrs.as_deref(), is_dir, &Numbers(principals))?;
    fchmod(fd, Mode::from_raw_mode(meta.mode & MODE_MASK))?;
    futimens(fd, &times(meta.mtime))
}
