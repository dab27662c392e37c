//! What of a version's metadata a disk did not take, and what it has in its place.
//!
//! A site that may not give files away, or that knows nobody of a name, goes on saying what the
//! version says: what stands on disk is no edit of anybody's for as long as it is what this site
//! left there (spec: S-100).

use super::{Committed, Displaced, IntentId, Store, is_still};
use crate::attrs::Raw;
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_files::{Numbers, Principals};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Placed;
use farhaul_sync::version::Meta;
use std::convert::Infallible;
use std::fs::File;

/// What a path has in place of what its version says. Kept beside it in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// The number of its owner, where that is not who the version says.
    pub owner: Option<u32>,
    /// The number of its group, likewise.
    pub group: Option<u32>,
    /// What its lists and attributes are, where those are not what the version says.
    pub attrs: Option<[u8; 16]>,
}

impl Shortfall {
    /// What is missing of `said` where the disk has `disk` and `raw`; `None`: nothing.
    fn of(
        said: &Meta,
        disk: &DiskMeta,
        raw: Option<Raw>,
        principals: &dyn Principals,
    ) -> Option<Self> {
        let is_owner = said.owner.is_some() && said.owner == principals.user_name(disk.owner);
        let is_group = said.group.is_some() && said.group == principals.group_name(disk.group);
        let attrs = raw.and_then(|raw| {
            let print = raw.fingerprint();
            let mut name = |who| Ok::<_, Infallible>(Numbers(principals).name(who));
            let Ok(has) = raw.named(&mut name);
            (has.boxed() != said.attrs).then_some(print)
        });
        let short = Self {
            owner: (!is_owner).then_some(disk.owner),
            group: (!is_group).then_some(disk.group),
            attrs,
        };
        (short != Self::default()).then_some(short)
    }

    /// Makes of what was found, `disk`, what it would be if the disk had taken all of `said`: what
    /// is still as this site left it counts as said. `print` says what lists and attributes it has.
    /// What is still missing; the rest somebody changed since.
    #[must_use]
    pub fn cover(
        &self,
        found: &mut Meta,
        disk: &DiskMeta,
        print: Option<[u8; 16]>,
        said: &Meta,
    ) -> Self {
        let owner = self.owner.filter(|&owner| owner == disk.owner);
        let group = self.group.filter(|&group| group == disk.group);
        let attrs = self.attrs.filter(|&attrs| Some(attrs) == print);
        if owner.is_some() {
            found.owner.clone_from(&said.owner);
        }
        if group.is_some() {
            found.group.clone_from(&said.group);
        }
        if attrs.is_some() {
            found.attrs.clone_from(&said.attrs);
        }
        Self { owner, group, attrs }
    }
}

impl Store {
    /// What the index is to be told of a change. Of what somebody changed meanwhile nothing is ours to
    /// explain.
    pub(super) fn committed(
        &self,
        intent: IntentId,
        placed: Vec<(RelPath, Option<Placed>)>,
        displaced: Option<Displaced>,
    ) -> Committed {
        self.committed_where(intent, placed, displaced, |found, placed| {
            is_still(found, &placed.version.content, &placed.identity)
        })
    }

    /// The same; `is_that` says whether what stands at a path has the metadata that the change gave it.
    pub(super) fn committed_where(
        &self,
        intent: IntentId,
        placed: Vec<(RelPath, Option<Placed>)>,
        displaced: Option<Displaced>,
        is_that: impl Fn(&DiskMeta, &Placed) -> bool,
    ) -> Committed {
        let mut shortfalls = Vec::new();
        for (path, placed) in &placed {
            let Some(placed) = placed else { continue };
            let found = self.root.stat(path).ok();
            let Some(found) = found.filter(|found| is_that(found, placed)) else { continue };
            let raw = placed.meta.attrs.as_ref().map(|_| self.raw_attrs(path, found.kind));
            let short = Shortfall::of(&placed.meta, &found, raw, &*self.principals);
            shortfalls.extend(short.map(|short| (path.clone(), short)));
        }
        Committed { intent, placed, displaced, shortfalls }
    }

    /// What stands at a path has of lists and attributes, by a name for exactly that.
    pub fn attrs_print(&self, path: &RelPath, kind: FileKind) -> [u8; 16] {
        self.raw_attrs(path, kind).fingerprint()
    }

    /// Nothing where it cannot be read: links have none.
    fn raw_attrs(&self, path: &RelPath, kind: FileKind) -> Raw {
        let raw = match kind {
            FileKind::File => self.root.open_file(path).ok().and_then(|file| Raw::of(file).ok()),
            FileKind::Dir => self.root.open_dir(path).ok().and_then(|dir| Raw::of(dir).ok()),
            FileKind::Symlink | FileKind::Special => None,
        };
        raw.unwrap_or_default()
    }
}

/// What an open file has of lists and attributes, by a name for exactly that; `None` where that
/// cannot be read.
pub fn attrs_print(file: &File) -> Option<[u8; 16]> {
    Raw::of(file).ok().map(|raw| raw.fingerprint())
}
