//! One path of a folder at one site: the versions that it knows, and what it last put or found on
//! disk. From the two follows what is to be done.

use super::index::CopyOf;
use crate::version::{Content, Meta, Shown, Version, VersionSet, view};
use farhaul_proto::units::FileTime;

/// What tells one state of an object on disk from every other: if all of it is the same, so are its
/// bytes. The change time cannot be set by users, so it also shows a restored modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Generation of the inode; 0 where the file system does not tell.
    pub generation: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i128,
    /// Change time, nanoseconds since 1970.
    pub ctime: i128,
}

/// What somebody who looked found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What stands there; never [`Content::Gone`].
    pub content: Content,
    /// And how.
    pub meta: Meta,
    /// In which state that was.
    pub identity: FileIdentity,
}

impl Found {
    /// Without what says nothing of an edit: a directory's times change with what is in it.
    pub(super) fn without_noise(mut self) -> Self {
        if self.content == Content::Dir {
            self.meta.mtime = FileTime::default();
        }
        self
    }
}

/// What this site last put or found on disk at a path, and which version that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The version. Its content is that on disk; it may be covered by now, and gone from the set.
    pub version: Version,
    /// As it is on disk.
    pub meta: Meta,
    /// The state on disk.
    pub identity: FileIdentity,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// What is known of it.
    pub versions: VersionSet,
    /// What stands on disk, as far as this site knows.
    pub placed: Option<Placed>,
    /// Whether something live stands beneath.
    pub has_children: bool,
    /// The loser of another path's conflict whose copy stands here as long as nothing else does.
    pub copy: Option<(CopyOf, Version)>,
}

/// What is to be done about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// Nothing.
    Settled,
    /// The disk is right; only the version that it shows is another one.
    Adopt(&'a Version),
    /// The content is right, the rest is not.
    SetMeta(&'a Version),
    /// This version in place of what is [`Item::placed`], or of nothing.
    Place(&'a Version),
    /// A directory that nobody describes, in place of what is [`Item::placed`], or of nothing.
    MakeDir,
    /// Nothing in place of what is [`Item::placed`].
    Remove,
}

impl Item {
    /// What is to be done.
    pub fn want(&self) -> Want<'_> {
        let shown = match (view(&self.versions, self.has_children).shown, &self.copy) {
            (Shown::Absent, Some((_, loser))) => Shown::Version(loser),
            (shown, _) => shown,
        };
        match (shown, &self.placed) {
            (Shown::Absent, None) => Want::Settled,
            (Shown::Absent, Some(_)) => Want::Remove,
            (Shown::ImpliedDir, Some(placed)) if placed.version.content == Content::Dir => {
                Want::Settled
            }
            (Shown::ImpliedDir, _) => Want::MakeDir,
            (Shown::Version(version), Some(placed))
                if placed.version.content == version.content =>
            {
                match (placed.meta == version.meta, placed.version.dot == version.dot) {
                    (true, true) => Want::Settled,
                    (true, false) => Want::Adopt(version),
                    (false, _) => Want::SetMeta(version),
                }
            }
            (Shown::Version(version), _) => Want::Place(version),
        }
    }
}

#[cfg(test)]
mod tests;
