//! A version: what a path was to be, said by one site, knowing certain others.
//!
//! What is true of versions follows from sets alone, never from clocks or from the order in which
//! records arrive (`reliability` invariants I1, I2, I5, I8).

mod attrs;
mod context;
mod dot;
mod edit;
mod link;
mod name;
mod set;
mod stamp;
mod view;

pub use attrs::{Acl, Attrs, Unsaid, Who};
pub use context::Context;
pub use dot::{Author, Dot, Incarnation, Serial};
pub use edit::{bounded_context, dismissal_context, refusal_context, successor_context};
pub use link::{LinkGroup, Names};
pub use name::{ConflictName, conflict_name, copy_origin, copy_stem};
pub use set::{Inserted, TooManyVersions, VersionSet};
pub use stamp::Stamp;
pub use view::{Shown, View, view};

use farhaul_proto::units::{Bytes, FileTime};

/// The name of a file's content: the keyed hash of its chunk list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(pub [u8; 32]);

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Nothing any more: a tombstone.
    Gone,
    /// A directory.
    Dir,
    /// A symbolic link: data, never followed.
    Symlink {
        /// What it points to.
        target: Box<[u8]>,
    },
    /// A regular file.
    File {
        /// Its chunk list's name.
        manifest: ManifestId,
        /// Its length.
        size: Bytes,
    },
}

/// What a file system keeps about a path beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meta {
    /// Permission bits within [`crate::limits::MODE_MASK`].
    pub mode: u32,
    /// Last modification.
    pub mtime: FileTime,
    /// Name of the owner; `None` where the author does not say.
    pub owner: Option<Box<[u8]>>,
    /// Name of the group; `None` where the author does not say.
    pub group: Option<Box<[u8]>>,
    /// Access control lists and extended attributes; `None` where there are none.
    pub attrs: Option<Box<Attrs>>,
    /// Which names of a file belong together; `None` where the author knows of no other, and of
    /// everything that is no file.
    pub link: Option<LinkGroup>,
}

/// What one site said a path should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Its name.
    pub dot: Dot,
    /// What its author had seen of the path.
    pub context: Context,
    /// When, as far as clocks can say.
    pub stamp: Stamp,
    /// What stands there.
    pub content: Content,
    /// And how.
    pub meta: Meta,
}

impl Version {
    /// Whether its author had seen `other`, or it is `other`'s very name.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.context.contains(other.dot)
    }

    /// Whether something stands there.
    pub fn is_live(&self) -> bool {
        self.content != Content::Gone
    }
}

#[cfg(test)]
mod tests;
