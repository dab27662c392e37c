//! Metadata: set on descriptors, never on paths.

use crate::attrs;
use crate::owner::{Numbers, Principals};
use farhaul_engine::files::dir::times;
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_sync::limits::MODE_MASK;
use farhaul_sync::version::Meta;
use rustix::fd::AsFd;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, futimens};
use rustix::io::{Errno, Result};

/// To whom what belongs to nobody in particular is given by a site that runs as root: what kernels and
/// file servers call nobody (`overflowuid` of proc(5), root_squash of exports(5)).
const NOBODY: u32 = 65_534;
const ROOT: u32 = 0;

/// What is given metadata.
pub enum Subject {
    /// Something of this site's, on its way in; to take the place of what is this, if of anything.
    Staged(Option<DiskMeta>),
    /// What stands in the tree.
    Standing,
}

/// Gives what is open as `fd` its owner and group, where this process may and they have numbers
/// here; then its lists and attributes, as far as the file system takes them; then its mode, which a
/// change of the owner would take bits of and a list would change; then its time.
pub fn describe(
    fd: impl AsFd,
    meta: &Meta,
    subject: &Subject,
    principals: &dyn Principals,
) -> Result<()> {
    let fd = fd.as_fd();
    let found = DiskMeta::of(fd)?;
    let over = match subject {
        Subject::Staged(over) => over.as_ref(),
        Subject::Standing => Some(&found),
    };
    let heir = |said: Option<u32>, has: u32, over: Option<u32>| {
        // A member's word makes nothing root's (spec: S-145).
        let said = said.filter(|&id| id != ROOT || over == Some(ROOT) || principals.may_be_roots());
        let is_left_to_root = has == ROOT && matches!(subject, Subject::Staged(_));
        said.or((is_left_to_root && !principals.may_be_roots()).then_some(NOBODY))
    };
    let owner = meta.owner.as_deref().and_then(|name| principals.user_id(name));
    let group = meta.group.as_deref().and_then(|name| principals.group_id(name));
    let owner = heir(owner, found.owner, over.map(|over| over.owner)).map(Uid::from_raw);
    let group = heir(group, found.group, over.map(|over| over.group)).map(Gid::from_raw);
    // Each for itself: who may not give a file away may still give it to a group.
    for (owner, group) in [(owner, None), (None, group)] {
        if owner.is_some() || group.is_some() {
            match fchown(fd, owner, group) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    let is_dir = found.kind == FileKind::Dir;
    attrs::set(fd, meta.attrs.as_deref(), is_dir, &Numbers(principals))?;
    fchmod(fd, Mode::from_raw_mode(meta.mode & MODE_MASK))?;
    futimens(fd, &times(meta.mtime))
}
