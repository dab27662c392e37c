//! Files with several names: which group a file that was found is of, and how a file comes to be
//! another name of one that stands (spec: S-106).

use super::folder::{Folder, FolderError};
use crate::index::{Durability, INODE_NAMES, Name, Reading};
use crate::scan::identity_of;
use crate::store::{Committed, Origin, Ready, Swapped, is_another_name_of};
use farhaul_engine::files::dir::FileKind;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{FileIdentity, Found, Placed, Want};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, LinkGroup, ManifestId, Meta, Names, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Device and inode.
type FileKey = (u64, u64);

/// What is done to files with several names in one round of changes.
#[derive(Default)]
pub(super) struct Linking {
    /// The state of files that were given a further name.
    linked: BTreeMap<FileKey, FileIdentity>,
    /// Files that somewhere come to stand.
    comes: BTreeSet<(LinkGroup, ManifestId)>,
    /// Files whose metadata is set.
    described: BTreeSet<FileKey>,
    /// The state of files of which names were displaced: before the first of them, and by now.
    moved: BTreeMap<FileKey, (FileIdentity, FileIdentity)>,
}

/// How a file can come to a path.
pub(super) enum Beside {
    /// As this further name of one that stands.
    Link(Ready),
    /// It is a name of one that stands as it should.
    Same,
    /// It is to be waited for: one of its names is being put in place, or looked at.
    Wait,
    /// By itself.
    Alone,
}

const fn key_of(identity: &FileIdentity) -> FileKey {
    (identity.device, identity.inode)
}

/// What a version says of which file it is a name of.
pub(super) fn file_of(version: &Version) -> Option<(LinkGroup, ManifestId)> {
    match version.content {
        Content::File { manifest, .. } => Some((version.meta.link?, manifest)),
        Content::Gone | Content::Dir | Content::Symlink { .. } => None,
    }
}

/// The group of a file that was found with so many `links`; what is found first of a file names it.
pub(super) fn group_found(
    index: &Reading<'_>,
    (folder, site): (FolderKey, SiteId),
    path: &RelPath,
    (found, links): (&Found, u64),
) -> Result<Option<LinkGroup>, FolderError> {
    if !matches!(found.content, Content::File { .. }) {
        return Ok(None);
    }
    let before = index.name_at(path)?;
    let own = before.as_ref().and_then(|name| name.meta.link);
    let mut others = Vec::new();
    if links > 1 {
        let names = index.names_of_inode(&found.identity)?;
        others
            .extend(names.into_iter().filter(|name| name.path != *path).map(|name| name.meta.link));
    }
    let is_own_file =
        before.as_ref().is_some_and(|name| is_another_name_of(&name.identity, &found.identity));
    let names = Names { links, is_new: before.is_none(), own, is_own_file, others: &others };
    Ok(names.group(first_group(folder, site, &found.identity)))
}

/// The group that a site begins with a file: nobody else begins the same one, and it tells nobody
/// which inode that is.
fn first_group(folder: FolderKey, site: SiteId, file: &FileIdentity) -> LinkGroup {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul link group v1");
    hasher.update(&folder.0).update(site.as_bytes());
    for part in [file.device, file.inode, file.generation] {
        hasher.update(&part.to_be_bytes());
    }
    let mut group = [0; 16];
    hasher.finalize_xof().fill(&mut group);
    LinkGroup(group)
}

impl Folder {
    /// Has the other names of files that were found looked at, where the index knows them otherwise:
    /// what is written by one name is written by all (spec: S-112).
    pub(super) fn look_at_names(&mut self, found: &[(RelPath, Found)]) -> Result<(), FolderError> {
        for (path, found) in found {
            let is_known = |name: &Name| {
                let is_it = name.path == *path;
                is_it || (name.identity == found.identity && name.meta == found.meta)
            };
            let names = self.index.read().names_of_inode(&found.identity)?;
            for name in names.into_iter().filter(|name| !is_known(name)) {
                self.upkeep.look_again(&name.path);
            }
        }
        Ok(())
    }

    /// Whether a file can come to `path`, where `old` stands, as another name of one that stands. It
    /// is compared with what the index knows of that one first, to the change time (spec: S-113).
    pub(super) fn beside(
        &mut self,
        path: &RelPath,
        version: &Version,
        old: Option<&Placed>,
    ) -> Result<Beside, FolderError> {
        let Some(file) = file_of(version) else { return Ok(Beside::Alone) };
        let (mut seen, mut stale) = (BTreeSet::new(), None);
        for (at, placed) in self.index.read().standing_of_group(file.0)? {
            let is_it = placed.version.content == version.content && placed.meta == version.meta;
            if at == *path || !is_it || seen.contains(&key_of(&placed.identity)) {
                continue;
            }
            let Ok(disk) = self.store.root().stat(&at) else { continue };
            let now = identity_of(&disk);
            if now != placed.identity && self.linking.linked.get(&key_of(&now)) != Some(&now) {
                // Its names changed, or its mode, or somebody is just writing: that is known soon.
                let is_same = FileIdentity { ctime: now.ctime, ..placed.identity } == now;
                if is_same && disk.kind == FileKind::File && !self.upkeep.is_in_vain(&at) {
                    stale = Some(at);
                }
                continue;
            }
            if old.is_some_and(|old| is_another_name_of(&old.identity, &now)) {
                return Ok(Beside::Same);
            }
            match self.store.ready_name_of(&at, &now, &version.content) {
                Ok((ready, now)) => {
                    self.linking.linked.insert(key_of(&now), now);
                    return Ok(Beside::Link(ready));
                }
                // It has as many names as it can have, or this disk knows no such thing: a copy of it
                // may have room for more, else this is the next one.
                Err(error) => {
                    tracing::debug!(%path, %at, %error, "is no further name of it");
                    seen.insert(key_of(&now));
                }
            }
        }
        if let Some(at) = &stale {
            self.upkeep.look_at_once(at);
        }
        let is_awaited = stale.is_some() || self.linking.comes.contains(&file);
        Ok(if is_awaited { Beside::Wait } else { Beside::Alone })
    }

    /// Notes that in this round a file comes to stand somewhere: its other names wait for it.
    pub(super) fn comes(&mut self, version: &Version) {
        self.linking.comes.extend(file_of(version));
    }

    /// Whether the metadata of `old`, which stands at `path`, cannot be that of `version` without
    /// being that of other paths as well: of names of the same file that are to be otherwise.
    pub(super) fn is_shared(
        &self,
        path: &RelPath,
        version: &Version,
        old: &Placed,
    ) -> Result<bool, FolderError> {
        if !matches!(version.content, Content::File { .. }) {
            return Ok(false);
        }
        let names = self.index.read().names_of_inode(&old.identity)?;
        // Of more names than that nobody says how they are to be.
        if names.len() >= INODE_NAMES {
            return Ok(true);
        }
        for name in names.iter().filter(|name| name.path != *path) {
            let item = self.index.read().item(&name.path)?;
            let is_alike = |meta: &Meta| *meta == version.meta;
            let goes_along = match item.want() {
                Want::SetMeta(wanted) | Want::Adopt(wanted) => is_alike(&wanted.meta),
                Want::Settled => item.placed.as_ref().is_some_and(|placed| is_alike(&placed.meta)),
                Want::Place(_) | Want::MakeDir | Want::Remove => false,
            };
            if !goes_along {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the metadata of the file that is `old` is being set by another name of it.
    pub(super) fn is_described(&self, old: &Placed) -> bool {
        self.linking.described.contains(&key_of(&old.identity))
    }

    /// Notes that it is.
    pub(super) fn describes(&mut self, old: &Placed) {
        self.linking.described.insert(key_of(&old.identity));
    }

    /// Another round of changes begins.
    pub(super) fn begin_round(&mut self) {
        self.linking = Linking::default();
    }

    /// The state in which a file is of which a name is to be displaced: after others of its names were.
    pub(super) fn state_of(&self, old: Option<&Placed>) -> Option<FileIdentity> {
        let known = old?.identity;
        let (before, now) = self.linking.moved.get(&key_of(&known))?;
        (*before == FileIdentity { generation: 0, ..known }).then_some(*now)
    }

    /// A change displaced what was in the state `known` just before.
    pub(super) fn displaces(&mut self, swapped: &Swapped, known: Option<FileIdentity>) {
        let Some((out, known)) = swapped.displaced().zip(known) else { return };
        if out.origin == Origin::Recorded && out.kind == FileKind::File {
            let before = FileIdentity { generation: 0, ..known };
            let moved = self.linking.moved.entry(key_of(&out.identity));
            moved.or_insert((before, out.identity)).1 = out.identity;
        }
    }

    /// Names of files were displaced, which changed nothing else of them: the other names are known
    /// in the state in which they are by now.
    pub(super) fn follow_names(&mut self) -> Result<(), FolderError> {
        let mut known = Vec::new();
        for (before, now) in self.linking.moved.values() {
            for name in self.index.read().names_of_inode(now)? {
                let disk = self.store.root().stat(&name.path);
                let is_so = disk.is_ok_and(|disk| identity_of(&disk) == *now);
                let known_as = FileIdentity { generation: 0, ..name.identity };
                if is_so && known_as == *before {
                    known.push((name.path, *now));
                }
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        self.change(Durability::Later, |state| {
            for (path, identity) in &known {
                let placed = state.index().read().item(path)?.placed;
                let placed = placed.map(|placed| Placed { identity: *identity, ..placed });
                state.index_mut().place(path, placed.as_ref())?;
            }
            Ok(())
        })
    }

    /// Names of files came or went: the others have another change time, and are looked at.
    pub(super) fn look_at_changed(&mut self, committed: &[Committed]) -> Result<(), FolderError> {
        let mut states: BTreeMap<FileKey, FileIdentity> = BTreeMap::new();
        for done in committed {
            let out = done.displaced.as_ref().filter(|out| out.kind == FileKind::File);
            let placed = done.placed.iter().filter_map(|(_, placed)| placed.as_ref());
            let linked = placed.filter(|placed| placed.meta.link.is_some());
            let states_of = linked.map(|placed| placed.identity).chain(out.map(|out| out.identity));
            states.extend(states_of.map(|state| (key_of(&state), state)));
        }
        for state in states.values() {
            for name in self.index.read().names_of_inode(state)? {
                if name.identity != *state {
                    self.upkeep.look_at_once(&name.path);
                }
            }
        }
        Ok(())
    }
}

/// Whether nothing on disk has to change for the one to become the other: what a version says of
/// other names is not on the disk.
pub(super) fn is_alike_but_for_group(a: &Meta, b: &Meta) -> bool {
    let a = Meta { link: b.link, ..a.clone() };
    a == *b
}
