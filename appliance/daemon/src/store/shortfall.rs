//! What of a version's metadata a disk did not take, and what it has in its place.
//!
//! A site that may not give files away, or that knows nobody of a name, goes on saying what the
//! version says: what stands on disk is no edit of anybody's for as long as it is what this site
//! left there (spec: S-100).

use super::{Committed, Displaced, IntentId, Store, is_still};
use crate::attrs::{Principal, Raw};
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_files::{Numbers, Principals};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Placed;
use farhaul_sync::limits::MODE_MASK;
use farhaul_sync::version::{Attrs, Meta};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
use rustix::thread::{CapabilitySet, capabilities};
use std::convert::Infallible;
use std::fs::File;

/// What a path has in place of what its version says. Kept beside it in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// The number of its owner, where that is not called as the version says.
    pub owner: Option<u32>,
    /// The number of its group, likewise.
    pub group: Option<u32>,
    /// What its lists and attributes are, where those are not what the version says.
    pub attrs: Option<[u8; 16]>,
    /// Its mode, likewise.
    pub mode: Option<u32>,
    /// What of that is missing. A number that was said and is called something here is not.
    pub lacks: Lacks,
}

/// What of a version's metadata a path has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacks(u8);

impl Lacks {
    /// The owner.
    pub const OWNER: Self = Self(1);
    /// The group.
    pub const GROUP: Self = Self(2);
    /// Lists or attributes.
    pub const ATTRS: Self = Self(4);
    /// Bits of the mode.
    pub const MODE: Self = Self(8);
    /// Lists or attributes that no version says: they are more than travels (S-169).
    pub const UNSAID: Self = Self(16);
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::OWNER, Self::GROUP, Self::MODE, Self::ATTRS, Self::UNSAID];

    /// As it is kept.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The same read; `None` where bits mean nothing.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 32 { Some(Self(bits)) } else { None }
    }

    /// Whether it has all of another one.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is anything in it.
    pub const fn is_any(self) -> bool {
        self.0 != 0
    }

    /// With another one, if that is so.
    #[must_use]
    pub const fn with_if(self, other: Self, is_so: bool) -> Self {
        if is_so { Self(self.0 | other.0) } else { self }
    }

    /// Without another one.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Shortfall {
    /// What is missing of `said` where the disk has `disk` and `raw`; `None`: nothing.
    pub(super) fn of(
        said: &Meta,
        disk: &DiskMeta,
        raw: Raw,
        principals: &dyn Principals,
    ) -> Option<Self> {
        let names = Numbers(principals);
        let is_owner = said.owner.as_ref() == Some(&names.name(Principal::User(disk.owner)));
        let is_group = said.group.as_ref() == Some(&names.name(Principal::Group(disk.group)));
        let user = said.owner.as_ref().map(|name| principals.user_number(name));
        let group = said.group.as_ref().map(|name| principals.group_number(name));
        let is_mode = disk.mode & MODE_MASK == said.mode;
        let print = raw.fingerprint();
        let mut name = |who| Ok::<_, Infallible>(names.name(who));
        let Ok(has) = raw.named(&mut name);
        let (is_unsaid, is_attrs) = compared(said.attrs.as_deref(), &has);
        // Links have no mode of their own.
        let has_mode = disk.kind != FileKind::Symlink;
        let is_another =
            |number: Option<Option<u32>>, has: u32| number.is_some_and(|n| n != Some(has));
        let lacks = Lacks::default()
            .with_if(Lacks::OWNER, !is_owner && is_another(user, disk.owner))
            .with_if(Lacks::GROUP, !is_group && is_another(group, disk.group))
            .with_if(Lacks::ATTRS, !is_attrs)
            .with_if(Lacks::MODE, has_mode && !is_mode)
            .with_if(Lacks::UNSAID, is_unsaid);
        let short = Self {
            owner: (!is_owner).then_some(disk.owner),
            group: (!is_group).then_some(disk.group),
            attrs: (has.boxed() != said.attrs).then_some(print),
            mode: (!is_mode).then_some(disk.mode & MODE_MASK),
            lacks,
        };
        (short != Self::default()).then_some(short)
    }

    /// What is lacking where all that differs is: as it was noted before that was told apart.
    #[must_use]
    pub fn presumed(&self) -> Lacks {
        Lacks::default()
            .with_if(Lacks::OWNER, self.owner.is_some())
            .with_if(Lacks::GROUP, self.group.is_some())
            .with_if(Lacks::ATTRS, self.attrs.is_some())
            .with_if(Lacks::MODE, self.mode.is_some())
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
        let mode = self.mode.filter(|&mode| mode == disk.mode & MODE_MASK);
        if owner.is_some() {
            found.owner.clone_from(&said.owner);
        }
        if group.is_some() {
            found.group.clone_from(&said.group);
        }
        if attrs.is_some() {
            found.attrs.clone_from(&said.attrs);
        }
        if mode.is_some() {
            found.mode = said.mode;
        }
        let over = [
            (Lacks::OWNER, owner.is_none()),
            (Lacks::GROUP, group.is_none()),
            (Lacks::ATTRS, attrs.is_none()),
            (Lacks::MODE, mode.is_none()),
        ];
        let mut lacks = self.lacks;
        for (lack, is_over) in over {
            lacks = if is_over { lacks.without(lack) } else { lacks };
        }
        Self { owner, group, attrs, mode, lacks }
    }
}

/// Whether something is not said on either side, and whether the rest is the same.
fn compared(said: Option<&Attrs>, has: &Attrs) -> (bool, bool) {
    let none = Attrs::default();
    let said = said.unwrap_or(&none);
    let unsaid = said.unsaid.or(has.unsaid);
    let is_same = (unsaid.access || said.access == has.access)
        && (unsaid.default || said.default == has.default)
        && (unsaid.xattrs || said.xattrs == has.xattrs);
    (!unsaid.is_none(), is_same)
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
            // Also where the version says that there are none: what is too large to travel stays.
            let raw = self.raw_attrs(path, found.kind);
            let short = Shortfall::of(&placed.meta, &found, raw, &*self.principals);
            shortfalls.extend(short.map(|short| (path.clone(), short)));
        }
        Committed { intent, placed, displaced, shortfalls }
    }

    /// What stands at a path has of lists and attributes, by a name for exactly that.
    pub fn attrs_print(&self, path: &RelPath, kind: FileKind) -> [u8; 16] {
        self.raw_attrs(path, kind).fingerprint()
    }

    /// Whether a try to describe what stands at a path can come to an end: a change that the kernel
    /// refuses in the middle is one that is undecided.
    pub fn may_describe(&self, path: &RelPath) -> bool {
        let found = match self.root.stat(path) {
            Ok(found) if found.kind == FileKind::Dir => {
                self.root.open_dir(path).ok().map(|dir| (found.owner, can_change(dir)))
            }
            Ok(found) => self.root.open_file(path).ok().map(|file| (found.owner, can_change(file))),
            Err(_) => None,
        };
        let is_of_all =
            || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::FOWNER));
        found.is_some_and(|(owner, can_change)| {
            can_change && (owner == rustix::process::geteuid().as_raw() || is_of_all())
        })
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

/// Whether nobody said of an object that it does not change (chattr(1)).
fn can_change(fd: impl AsFd) -> bool {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    found.is_ok_and(|found| !found.stx_attributes.intersects(fixed))
}

/// What an open file has of lists and attributes, by a name for exactly that; `None` where that
/// cannot be read.
pub fn attrs_print(file: &File) -> Option<[u8; 16]> {
    Raw::of(file).ok().map(|raw| raw.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Unnamed;
    use farhaul_sync::version::Unsaid;
    use std::os::unix::fs::PermissionsExt;

    /// As on a file system whose modes are those of its mount.
    #[test]
    fn a_mode_that_the_disk_does_not_keep_is_no_edit_until_somebody_sets_another() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("a")).unwrap();
        let set = |mode| {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            DiskMeta::of(&file).unwrap()
        };
        let said = Meta { mode: 0o640, ..Meta::default() };
        let disk = set(0o755);
        let short = Shortfall::of(&said, &disk, Raw::default(), &Unnamed).unwrap();
        assert_eq!((short.mode, short.lacks), (Some(0o755), Lacks::MODE));
        let mut found = Meta { mode: 0o755, ..Meta::default() };
        assert_eq!(short.cover(&mut found, &disk, None, &said), short);
        assert_eq!(found.mode, said.mode);
        let disk = set(0o700);
        let mut found = Meta { mode: 0o700, ..Meta::default() };
        let left = short.cover(&mut found, &disk, None, &said);
        assert_eq!((found.mode, left.mode, left.lacks), (0o700, None, Lacks::default()));
    }

    #[test]
    fn attributes_that_nobody_says_are_told_apart_from_those_that_were_not_taken() {
        let note = |unsaid| {
            let xattrs = [((*b"user.note").into(), (*b"x").into())].into();
            Attrs { xattrs, unsaid, ..Attrs::default() }
        };
        let unsaid = Unsaid { xattrs: true, ..Unsaid::default() };
        let beyond = Attrs { unsaid, ..Attrs::default() };
        let none = Attrs::default();
        assert_eq!(compared(None, &none), (false, true));
        assert_eq!(compared(Some(&note(Unsaid::default())), &none), (false, false));
        assert_eq!(compared(Some(&beyond), &note(Unsaid::default())), (true, true));
        assert_eq!(compared(Some(&note(Unsaid::default())), &beyond), (true, true));
        let lists = Unsaid { access: true, ..Unsaid::default() };
        assert_eq!(compared(Some(&note(lists)), &none), (true, false));
    }
}
