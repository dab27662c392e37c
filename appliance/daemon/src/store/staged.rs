//! Files on their way in: `.farhaul/incoming`, on the same file system as the tree.
//!
//! A staged file is named after its path and its manifest, so that whoever goes on after a kill finds
//! it again. What is in it is not trusted: whoever takes it up hashes its chunks. It becomes
//! [`Ready`] once it has its length and metadata and is durable.

use super::error::{StoreError, at, undescribed};
use super::marker::errno_of;
use super::shortfall::{Lacks, Shortfall};
use super::{Store, random_name, step};
use crate::attrs::Raw;
use farhaul_engine::files::confine::ShownPath;
use farhaul_engine::files::dir::{FileKind, Identity, Meta as DiskMeta, times};
use farhaul_engine::files::space;
use farhaul_files::{Before, Subject, Undescribed, describe};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::version::{Content, ManifestId, Meta};
use rustix::fs::{FallocateFlags, Mode, fallocate, fchmod, fsync, ftruncate};
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const PART: &str = ".part";
/// Age at which staged files that nobody goes on with are removed, in seconds.
const STALE_SECS: i64 = 7 * 24 * 3600;

/// A file on its way in. Dropping it keeps it for a later attempt.
#[derive(Debug)]
pub struct Staged {
    store: Store,
    file: File,
    name: String,
    path: RelPath,
    manifest: ManifestId,
    size: Bytes,
    resumed: bool,
}

/// Something complete and durable that has no place in the tree yet.
#[derive(Clone, Debug)]
pub struct Ready {
    pub(super) name: String,
    pub(super) kind: FileKind,
    /// Its state; a rename changes nothing of it but the time of last change.
    pub(super) identity: Identity,
    /// What it is, as a version would say.
    pub(super) content: Content,
    /// Whether it is a further name of a file that stands in the tree.
    pub(super) is_another_name: bool,
}

impl Store {
    /// Stages a file of `size` bytes for `path`, or goes on with what is staged of it. Room is taken
    /// for `data`, the parts of it that are no holes.
    ///
    /// # Errors
    /// [`StoreError`]; with [`StoreError::is_full`], nothing stays behind.
    pub fn stage(
        &self,
        path: &RelPath,
        manifest: ManifestId,
        size: Bytes,
        data: &[Range<u64>],
    ) -> Result<Staged, StoreError> {
        let name = staged_name(path, manifest);
        let at = at("incoming");
        let (file, resumed) = match self.open_staged(name.as_bytes()) {
            // One with a second name may be a file of the user's by now.
            Ok((file, meta)) if meta.links == 1 => (file, true),
            Ok(_) | Err(Errno::ACCESS) => {
                self.incoming.remove_file(name.as_bytes()).map_err(&at)?;
                (self.incoming.create_file(name.as_bytes()).map_err(&at)?, false)
            }
            Err(Errno::NOENT) => (self.incoming.create_file(name.as_bytes()).map_err(&at)?, false),
            Err(errno) => return Err(at(errno)),
        };
        let (path, store) = (path.clone(), self.clone());
        let staged = Staged { store, file, name, path, manifest, size, resumed };
        match staged.take_room(data) {
            Ok(()) => Ok(staged),
            Err(error) => {
                if !resumed {
                    staged.discard();
                }
                Err(error)
            }
        }
    }

    /// It has its final mode already if the kill came between that and the rename.
    fn open_staged(&self, name: &[u8]) -> rustix::io::Result<(File, DiskMeta)> {
        match self.incoming.open_writable(name) {
            Err(Errno::ACCESS) => {
                let held = self.incoming.hold_file(name)?;
                if held.meta.links == 1 {
                    held.set_mode(0o600)?;
                }
                self.incoming.open_writable(name)
            }
            opened => opened,
        }
    }

    /// Makes a symbolic link that has no place in the tree yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ready_link(&self, target: &[u8], meta: &Meta) -> Result<Ready, StoreError> {
        let name = random_name()?;
        let at = at("incoming");
        self.incoming.symlink(target, name.as_bytes()).map_err(&at)?;
        let dated = self.incoming.set_link_mtime(name.as_bytes(), meta.mtime);
        let content = Content::Symlink { target: target.into() };
        dated.map_err(&at).and_then(|()| self.ready(name, FileKind::Symlink, content))
    }

    /// Makes an empty directory that has no place in the tree yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ready_dir(&self, meta: &Meta) -> Result<Ready, StoreError> {
        let name = random_name()?;
        let at = at("incoming");
        self.incoming.make_dir(name.as_bytes(), 0o700).map_err(&at)?;
        let made = self.incoming.open_dir(name.as_bytes()).map_err(Undescribed::from);
        let made = made.and_then(|dir| {
            describe(&dir, meta, &Subject::Staged(None), &*self.principals)?;
            Ok(dir.sync()?)
        });
        match made {
            Ok(()) => self.ready(name, FileKind::Dir, Content::Dir),
            Err(why) => {
                let _ = self.incoming.remove_dir(name.as_bytes());
                Err(undescribed(why, at))
            }
        }
    }

    fn ready(&self, name: String, kind: FileKind, content: Content) -> Result<Ready, StoreError> {
        let found = self.incoming.stat(name.as_bytes()).and_then(|meta| meta.ok_or(Errno::NOENT));
        let identity = found.map_err(at("incoming"))?.identity;
        Ok(Ready { name, kind, identity, content, is_another_name: false })
    }

    /// Gives a file for `path` that is complete other metadata than it was finished with, durably: its
    /// version was followed by one that says otherwise while it came. Other things are made anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn describe_ready(
        &self,
        path: &RelPath,
        ready: &Ready,
        meta: &Meta,
    ) -> Result<Ready, StoreError> {
        let at = at("incoming");
        let (file, _) = self.open_staged(ready.name.as_bytes()).map_err(&at)?;
        let found = DiskMeta::of(&file).map_err(&at)?;
        // A second name would be of a file in the tree.
        if ready.kind != FileKind::File || ready.is_another_name || found.links != 1 {
            return Err(at(Errno::INVAL));
        }
        let subject = self.staged_for(path);
        let done = describe(&file, meta, &subject, &*self.principals);
        done.map_err(|why| undescribed(why, &at))?;
        let described = fsync(&file).and_then(|()| DiskMeta::of(&file)).map_err(&at)?;
        Ok(Ready { identity: described.identity, ..ready.clone() })
    }

    /// A file on its way to `path`. What stands there and is root's may be root's again, and has what a
    /// version does not say of attributes.
    fn staged_for(&self, path: &RelPath) -> Subject {
        let over = self.root.stat(path).ok().filter(|over| over.kind == FileKind::File);
        let file = || self.root.open_file(path).ok();
        Subject::Staged(over.map(|meta| Before { meta, file: file() }))
    }

    /// What of this metadata could not be given to something that nobody else knows of: what a file
    /// system or this process does not take; `None`: that cannot be tried.
    pub fn would_lack(&self, meta: &Meta, is_dir: bool) -> Option<Lacks> {
        let name = random_name().ok()?;
        let name = name.as_bytes();
        let tried = if is_dir {
            self.incoming.make_dir(name, 0o700).and_then(|()| self.incoming.open_dir(name)).map(
                |dir| {
                    let done = describe(&dir, meta, &Subject::Staged(None), &*self.principals);
                    done.is_ok().then(|| (DiskMeta::of(&dir), Raw::of(&dir)))
                },
            )
        } else {
            self.incoming.create_file(name).map(|file| {
                let done = describe(&file, meta, &Subject::Staged(None), &*self.principals);
                done.is_ok().then(|| (DiskMeta::of(&file), Raw::of(&file)))
            })
        };
        let _ =
            if is_dir { self.incoming.remove_dir(name) } else { self.incoming.remove_file(name) };
        let (Ok(disk), Ok(raw)) = tried.ok().flatten()? else { return None };
        let short = Shortfall::of(meta, &disk, raw, &*self.principals);
        Some(short.map_or(Lacks::default(), |short| short.lacks))
    }

    /// Gives up something that was to be put into the tree.
    pub fn drop_ready(&self, ready: &Ready) {
        let name = ready.name.as_bytes();
        // What stays behind is swept later.
        let _ = match ready.kind {
            FileKind::Dir => self.incoming.remove_dir(name),
            FileKind::File | FileKind::Symlink | FileKind::Special => {
                self.incoming.remove_file(name)
            }
        };
    }

    /// Removes what nobody goes on with from where files come in. To be called when no intent is
    /// open and nothing is staged: at the start, after [`Store::recover`]. Returns how many went.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep(&self, now_secs: i64) -> Result<usize, StoreError> {
        let at = at("incoming");
        let before = now_secs.saturating_sub(STALE_SECS);
        let mut removed = 0;
        for name in self.incoming.names().map_err(&at)? {
            let Some(meta) = self.incoming.stat(&name).map_err(&at)? else { continue };
            // Links and directories are made for the moment and cheap to make again.
            let is_part = name.ends_with(PART.as_bytes());
            if !is_part || meta.identity.ctime.secs < before {
                let gone = match meta.kind {
                    FileKind::Dir => self.incoming.remove_dir(&name),
                    _ => self.incoming.remove_file(&name),
                };
                removed += usize::from(gone.is_ok());
            }
        }
        Ok(removed)
    }
}

fn staged_name(path: &RelPath, manifest: ManifestId) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul staged file v1");
    hasher.update(&manifest.0).update(path.as_bytes());
    let mut name = [0; 16];
    hasher.finalize_xof().fill(&mut name);
    format!("{}{PART}", data_encoding::HEXLOWER.encode(&name))
}

impl Staged {
    /// Whether it was there already. Then whatever is in it has to be hashed before it counts.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The open file, to write at offsets: for whoever writes in bulk.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes at an offset. What is never written stays a hole.
    ///
    /// # Errors
    /// [`StoreError`]; nobody knows then how much was written.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset).map_err(|error| at("incoming")(errno_of(&error)))
    }

    /// Reads what was written at an offset, to hash it. `false` where the file ends before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<bool, StoreError> {
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(at("incoming")(errno_of(&error))),
        }
    }

    /// Gives it its length and metadata and makes all of it durable. Every write must have ended,
    /// and every chunk been verified.
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::Discarded`] it has to be fetched again: a disk that
    /// failed once to write has forgotten what it did not write.
    pub fn finish(self, meta: &Meta) -> Result<Ready, StoreError> {
        let principals = &*self.store.principals;
        let subject = self.store.staged_for(&self.path);
        step();
        let described = ftruncate(&self.file, self.size.get())
            .map_err(Undescribed::from)
            .and_then(|()| describe(&self.file, meta, &subject, principals));
        if let Err(why) = described {
            // A later attempt has to be able to open it.
            let _ = fchmod(&self.file, Mode::RUSR | Mode::WUSR);
            return Err(undescribed(why, at("incoming")));
        }
        step();
        if let Err(source) = fsync(&self.file) {
            let path = ShownPath::from(&self.path);
            self.discard();
            return Err(StoreError::Discarded { path, source });
        }
        let found = DiskMeta::of(&self.file).map_err(at("incoming"))?;
        let content = Content::File { manifest: self.manifest, size: self.size };
        let (name, identity) = (self.name, found.identity);
        let kind = FileKind::File;
        Ok(Ready { name, kind, identity, content, is_another_name: false })
    }

    /// Gives it up.
    pub fn discard(self) {
        // What stays behind is swept later.
        let _ = self.store.incoming.remove_file(self.name.as_bytes());
    }

    fn take_room(&self, data: &[Range<u64>]) -> Result<(), StoreError> {
        let at = at("incoming");
        let there = DiskMeta::of(&self.file).map_err(&at)?;
        let needed = data.iter().map(|part| part.end.saturating_sub(part.start));
        let needed = needed.fold(0, u64::saturating_add).saturating_sub(there.allocated);
        space::check(&self.store.incoming, needed).map_err(&at)??;
        // Its time of last change says that somebody goes on with it.
        rustix::fs::futimens(&self.file, &times(there.mtime())).map_err(&at)?;
        if there.size() > self.size.get() {
            ftruncate(&self.file, self.size.get()).map_err(&at)?;
        }
        for part in data.iter().filter(|part| part.start < part.end) {
            let len = part.end - part.start;
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, part.start, len) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(errno) => return Err(at(errno)),
            }
        }
        Ok(())
    }
}
