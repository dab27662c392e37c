//! Files with several names: a further name of one that stands is made where files come in, and put
//! in its place in the commit order like anything else. And kept objects that have further names:
//! they get bytes of their own.

use super::change::is_same_content;
use super::error::{StoreError, at, on};
use super::staged::Ready;
use super::{Prepared, Store, identity_of, random_name, state_of, step};
use farhaul_engine::files::dir::{Dir, FileKind, Meta as DiskMeta, times};
use farhaul_engine::files::space;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::version::Content;
use rustix::fs::{Gid, Mode, SeekFrom, Uid, fchmod, fchown, fsync, futimens, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek};

/// Whether both are states of one file on one disk.
pub fn is_another_name_of(a: &FileIdentity, b: &FileIdentity) -> bool {
    (a.device, a.inode) == (b.device, b.inode)
}

impl Store {
    /// Gives the file at `path`, which was last seen in the state `known`, a further name that has no
    /// place in the tree yet: it is verified, described and durable as that one is. Also the state in
    /// which the file is by then.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Changed`] where the file is in another state.
    pub fn ready_name_of(
        &self,
        path: &RelPath,
        known: &FileIdentity,
        content: &Content,
    ) -> Result<(Ready, FileIdentity), StoreError> {
        let parent = self.root.parent_dir(path)?;
        let found = parent.stat(path.file_name()).map_err(on(path))?;
        let known = FileIdentity { generation: 0, ..*known };
        if found.is_none_or(|found| found.kind != FileKind::File || identity_of(&found) != known) {
            return Err(StoreError::Changed { path: path.into() });
        }
        let name = random_name()?;
        step();
        self.link(&parent, path.file_name(), &name).map_err(on(path))?;
        step();
        let found = self.incoming.stat(name.as_bytes()).map_err(at("incoming"))?;
        let found = found.ok_or_else(|| at("incoming")(Errno::NOENT))?;
        let (kind, identity, content) = (found.kind, found.identity, content.clone());
        let ready = Ready { name, kind, identity, content, is_another_name: true };
        let now = state_of(&identity);
        if kind == FileKind::File && is_same_content(&now, &known) {
            return Ok((ready, now));
        }
        self.drop_ready(&ready);
        Err(StoreError::Changed { path: path.into() })
    }

    fn link(&self, parent: &Dir, leaf: &[u8], name: &str) -> rustix::io::Result<()> {
        #[cfg(test)]
        if self.linkless.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::MLINK);
        }
        parent.link(leaf, &self.incoming, name.as_bytes())
    }

    /// Gives a kept file bytes of its own, where somebody may write to it by another name: `is_whole`
    /// says whether a copy is what was displaced. Returns whether it is; where it is not, nothing is
    /// changed.
    ///
    /// # Errors
    /// [`StoreError`]; it is tried again later.
    pub fn part_kept(
        &self,
        name: &str,
        is_whole: &mut dyn FnMut(&File) -> std::io::Result<bool>,
    ) -> Result<bool, StoreError> {
        let own = random_name()?;
        let parted = self.copy_kept(name, &own, is_whole).and_then(|is_whole| {
            if is_whole {
                self.take_place(&own, name).map_err(at("versions"))?;
            }
            Ok(is_whole)
        });
        // The copy, or the name that it has taken the place of. What stays behind is swept later.
        let _ = self.incoming.remove_file(own.as_bytes());
        parted
    }

    /// Puts a copy in the place of the kept object that it is one of, durably.
    fn take_place(&self, own: &str, name: &str) -> rustix::io::Result<()> {
        let (own, name) = (own.as_bytes(), name.as_bytes());
        step();
        match self.incoming.exchange(own, &self.versions, name) {
            // Where the file system cannot exchange, nothing is kept for a moment.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.versions.remove_file(name)?;
                self.incoming.rename_new(own, &self.versions, name)?;
            }
            exchanged => exchanged?,
        }
        step();
        self.versions.sync()
    }

    /// Whether the copy is whole, and durable by then.
    fn copy_kept(
        &self,
        name: &str,
        own: &str,
        is_whole: &mut dyn FnMut(&File) -> std::io::Result<bool>,
    ) -> Result<bool, StoreError> {
        let failed = |error: std::io::Error| at("incoming")(super::marker::errno_of(&error));
        let (from, meta) = self.versions.open_file(name.as_bytes()).map_err(at("versions"))?;
        let to = self.incoming.create_file(own.as_bytes()).map_err(at("incoming"))?;
        // Shared where the file system can do that.
        if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
            space::check(&self.incoming, meta.allocated).map_err(at("incoming"))??;
            copy_data(&from, &to, meta.size()).map_err(failed)?;
        }
        if !is_whole(&to).map_err(failed)? {
            return Ok(false);
        }
        // Whose it was says later whether it was root's (spec: S-173).
        let (owner, group) = (Uid::from_raw(meta.owner), Gid::from_raw(meta.group));
        let _ = fchown(&to, Some(owner), Some(group));
        let mode = Mode::from_raw_mode(meta.mode & 0o777);
        let described = fchmod(&to, mode).and_then(|()| futimens(&to, &times(meta.mtime())));
        described.and_then(|()| fsync(&to)).map_err(at("incoming"))?;
        Ok(true)
    }
}

/// Copies what is no hole.
fn copy_data(mut from: &File, mut to: &File, size: u64) -> std::io::Result<()> {
    let mut at = 0;
    // At the end of the file there is no more data.
    while let Ok(start) = seek(from, SeekFrom::Data(at)) {
        let end = seek(from, SeekFrom::Hole(start))?;
        from.seek(std::io::SeekFrom::Start(start))?;
        to.seek(std::io::SeekFrom::Start(start))?;
        std::io::copy(&mut from.take(end - start), &mut to)?;
        at = end;
    }
    to.set_len(size)
}

impl Prepared {
    /// The further name of a file that is to be put in place, if that is what it is.
    pub fn another_name(&self) -> Option<Ready> {
        self.ready.clone().filter(|ready| ready.is_another_name)
    }

    /// Tells in which state a file is by now of which this change displaces a name: others of its
    /// names were displaced together with this one, and nothing else happened to it.
    pub fn follow(&mut self, state: &FileIdentity) {
        let old = self.intent.old.as_ref().map(|old| old.identity);
        if old.is_some_and(|old| is_same_content(state, &old)) {
            self.state = Some(*state);
        }
    }
}

/// Whether what was found is in this state.
pub(super) fn is_in_state(found: &DiskMeta, state: Option<&FileIdentity>) -> bool {
    found.kind == FileKind::File && state.is_some_and(|state| identity_of(found) == *state)
}
