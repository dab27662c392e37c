//! What stood in the way of a change, and is in the version store now.

use super::Intent;
use super::identity_of;
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::version::Version;

/// Something that was displaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Its name in the version store.
    pub name: String,
    /// Where it stood.
    pub path: RelPath,
    /// The version that it is. `None`: no version says so yet, or ever.
    pub version: Option<Version>,
    /// What its writer saw at the path, as far as this site knows. `None` where nothing was known to
    /// stand there.
    pub over: Option<Version>,
    /// Where it comes from.
    pub origin: Origin,
    /// What kind of thing.
    pub kind: FileKind,
    /// Its length in bytes.
    pub size: u64,
    /// Its state when it had come out.
    pub identity: FileIdentity,
}

/// Where something that was displaced comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is what the index says stood there.
    Recorded,
    /// Somebody put it there in the last moment: a version of its own is to say so (F-08).
    Edit,
    /// This site's own, and broken: nobody's edit, never published.
    Broken,
}

impl Origin {
    pub(super) const fn of(is_recorded: bool) -> Self {
        if is_recorded { Self::Recorded } else { Self::Edit }
    }
}

pub(super) fn displaced(intent: &Intent, out: &DiskMeta, origin: Origin) -> Displaced {
    let over = intent.old.as_ref().map(|old| old.version.clone());
    let version = over.clone().filter(|_| origin == Origin::Recorded);
    let (name, path) = (intent.kept.clone(), intent.path.clone());
    let (size, identity) = (out.size(), identity_of(out));
    Displaced { name, path, version, over, origin, kind: out.kind, size, identity }
}
