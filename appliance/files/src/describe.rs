//! Metadata: set on descriptors, never on paths.

use crate::attrs::{self, Over};
use crate::owner::{Numbers, Principals};
use crate::rooted::guards_root;
use farhaul_engine::files::dir::times;
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_sync::limits::MODE_MASK;
use farhaul_sync::version::Meta;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, futimens};
use rustix::io::Errno;
use std::fs::File;

/// To whom what belongs to nobody in particular is given by a site that runs as root: what kernels and
/// file servers call nobody (`overflowuid` of proc(5), root_squash of exports(5)).
pub const NOBODY: u32 = 65_534;
/// The number of root, as user and as group.
pub const ROOT: u32 = 0;

/// What is given metadata.
pub enum Subject {
    /// Something of this site's, on its way in; to take the place of this, if of anything.
    Staged(Option<Before>),
    /// What stands in the tree.
    Standing,
}

/// A file that stands where another one is to stand.
pub struct Before {
    /// What it is on disk.
    pub meta: DiskMeta,
    /// `None`: it cannot be opened.
    pub file: Option<File>,
}

/// Gives what is open as `fd` its owner and group, where this process may and they have numbers
/// here; then its lists and attributes, as far as the file system takes them; then its mode, which a
/// change of the owner would take bits of and a list would change; then its time.
pub fn describe(
    fd: impl AsFd,
    meta: &Meta,
    subject: &Subject,
    principals: &dyn Principals,
) -> Result<(), Undescribed> {
    let fd = fd.as_fd();
    let found = DiskMeta::of(fd)?;
    let over = match subject {
        Subject::Staged(over) => over.as_ref().map(|over| &over.meta),
        Subject::Standing => Some(&found),
    };
    let heir = |said: Option<u32>, has: u32, over: Option<u32>| {
        // A member's word makes nothing root's (spec: S-145).
        let said = said.filter(|&id| id != ROOT || over == Some(ROOT) || principals.may_be_roots());
        let is_left_to_root = has == ROOT && matches!(subject, Subject::Staged(_));
        said.or((is_left_to_root && !principals.may_be_roots()).then_some(NOBODY))
    };
    let owner = meta.owner.as_deref().and_then(|name| principals.user_number(name));
    let group = meta.group.as_deref().and_then(|name| principals.group_number(name));
    let owner = heir(owner, found.owner, over.map(|over| over.owner));
    let group = heir(group, found.group, over.map(|over| over.group));
    // Each for itself: who may not give a file away may still give it to a group.
    for (owner, group) in [(owner, None), (None, group)] {
        if owner.is_some() || group.is_some() {
            match fchown(fd, owner.map(Uid::from_raw), group.map(Gid::from_raw)) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    let is_dir = found.kind == FileKind::Dir;
    if let Subject::Staged(_) = subject {
        check_taken(fd, [owner, group], principals)?;
    }
    let over = match subject {
        Subject::Standing => Over::Itself,
        Subject::Staged(over) => match over.as_ref().and_then(|over| over.file.as_ref()) {
            Some(file) => Over::Other(file.as_fd()),
            None => Over::Nothing,
        },
    };
    attrs::set(fd, meta.attrs.as_deref(), is_dir, &Numbers(principals), over)?;
    match fchmod(fd, Mode::from_raw_mode(meta.mode & MODE_MASK)) {
        // What the file system has instead is noted (S-100).
        Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(futimens(fd, &times(meta.mtime))?)
}

/// That what a site which runs as root has staged is not root's unless it may be: where the kernel did
/// not let it be given away it is not put in place (spec: S-173). Bits for others than root would
/// change nothing of that: who finds a file of root's trusts its bytes.
fn check_taken(
    fd: BorrowedFd<'_>,
    [owner, group]: [Option<u32>; 2],
    principals: &dyn Principals,
) -> Result<(), Undescribed> {
    if !guards_root(principals) {
        return Ok(());
    }
    let now = DiskMeta::of(fd)?;
    let is_left = |has: u32, given: Option<u32>| has == ROOT && given != Some(ROOT);
    if is_left(now.owner, owner) || is_left(now.group, group) {
        return Err(Undescribed::Roots);
    }
    Ok(())
}

/// Why something has not the metadata that it should.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Undescribed {
    /// The kernel refuses.
    #[error("{0}")]
    Errno(Errno),
    /// It would be root's.
    #[error("it would be root's here, and root may not give it away")]
    Roots,
}

impl From<Errno> for Undescribed {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Undescribed {
    /// Of what stands, which is never refused for being root's.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Errno(errno) => errno,
            Self::Roots => Errno::PERM,
        }
    }
}
