//! What tells the disk of a folder from an empty mount point, another folder and a copy: a marker
//! with a random id in the tree, and the id of the file system that it lies on.

use super::error::at;
use super::{StoreError, step};
use farhaul_engine::files::dir::Dir;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::RESERVED_NAME;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const NAME: &[u8] = b"folder";
/// Until all of it is written.
const NEW: &[u8] = b"folder.new";
const TITLE: &str = "farhaul folder 1";
/// A marker is shorter by far.
const LEN_MAX: u64 = 256;

/// Which folder stands on which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderMark {
    /// What the marker says.
    pub id: [u8; 16],
    /// What `statvfs` calls the file system.
    pub file_system: u64,
}

/// What stands before a mark that a site keeps.
const KEPT_TITLE: &str = "farhaul folder mark 1";

impl FolderMark {
    /// Reads a mark that was saved; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; a file that says something else is not replaced.
    pub fn load(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| mark_at(path, &error))?,
        };
        let mut text = String::new();
        let read = (&mut file).take(LEN_MAX).read_to_string(&mut text);
        read.map_err(|error| mark_at(path, &error))?;
        let mark = Self::parse(&text);
        mark.map(Some).ok_or_else(|| StoreError::Mark { path: path.to_path_buf() })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (title, id, system) = (lines.next()?, lines.next()?, lines.next()?);
        let id = data_encoding::HEXLOWER.decode(id.as_bytes()).ok()?;
        let mark = Self { id: id.try_into().ok()?, file_system: system.parse().ok()? };
        (title == KEPT_TITLE && lines.next().is_none()).then_some(mark)
    }

    pub(super) fn text(&self) -> String {
        let id = data_encoding::HEXLOWER.encode(&self.id);
        format!("{KEPT_TITLE}\n{id}\n{}\n", self.file_system)
    }

    /// Keeps the mark of a folder that is about to be made, durably, beside the file `kept` that is to
    /// have it. What an earlier attempt left there is replaced.
    pub(super) fn intend(&self, kept: &Path) -> Result<(), StoreError> {
        let intended = intended_at(kept);
        let saved = File::create(&intended).and_then(|mut file| {
            step();
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            step();
            sync_parent(kept)
        });
        saved.map_err(|error| mark_at(&intended, &error))
    }

    /// What was about to be made; `None` where nothing was, or nothing of it reached the tree.
    pub(super) fn intended(kept: &Path) -> Result<Option<Self>, StoreError> {
        match Self::load(&intended_at(kept)) {
            Err(StoreError::Mark { .. }) => Ok(None),
            intended => intended,
        }
    }

    /// It was made: what was intended is kept.
    pub(super) fn settle(&self, kept: &Path) -> Result<(), StoreError> {
        let settled = std::fs::rename(intended_at(kept), kept);
        settled.and_then(|()| sync_parent(kept)).map_err(|error| mark_at(kept, &error))
    }
}

fn intended_at(kept: &Path) -> PathBuf {
    kept.with_added_extension("new")
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn mark_at(path: &Path, error: &std::io::Error) -> StoreError {
    ConfineError::at(path, errno_of(error)).into()
}

pub(super) fn file_system_of(dir: &Dir) -> Result<u64, StoreError> {
    Ok(rustix::fs::fstatvfs(dir).map_err(at("folder"))?.f_fsid)
}

/// Writes the marker into the reserved directory `top`, durably: it is there as a whole or not at all.
pub(super) fn write(top: &Dir, id: [u8; 16]) -> Result<(), StoreError> {
    let at = at("folder");
    match top.remove_file(NEW) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(at(errno)),
    }
    let mut file = top.create_file(NEW).map_err(&at)?;
    step();
    let written = file.write_all(text_of(id).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| at(errno_of(&error)))?;
    step();
    match top.rename_new(NEW, top, NAME) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            top.remove_file(NEW).map_err(&at)?;
            return Err(StoreError::MarkedAlready);
        }
        Err(errno) => return Err(at(errno)),
    }
    step();
    top.sync().map_err(&at)
}

/// Holds the root of a folder at `path`.
pub(super) fn root_at(path: &Path) -> Result<Root, StoreError> {
    Root::open(path).map_err(|error| match error {
        // That is said of this process, and of nothing there.
        ConfineError::TooManyOpen { .. } => error.into(),
        error => StoreError::NoRoot { path: path.to_path_buf(), why: error.reason() },
    })
}

/// Whether the folder at `path` has a marker at all.
pub fn is_marked(path: &Path) -> bool {
    marker_of(path).symlink_metadata().is_ok()
}

/// Whether the marker of the folder at `path` is the open file `held`, and no other name of it: those
/// stand in a copy that shares its files.
pub(super) fn is_same(path: &Path, held: &File) -> bool {
    let (named, held) = (marker_of(path).symlink_metadata(), held.metadata());
    matches!((named, held), (Ok(named), Ok(held))
        if (named.dev(), named.ino(), named.nlink()) == (held.dev(), held.ino(), 1))
}

fn marker_of(path: &Path) -> PathBuf {
    [path.as_os_str(), OsStr::from_bytes(RESERVED_NAME), OsStr::from_bytes(NAME)].iter().collect()
}

/// Holds the reserved directory of `root` if the folder of `mark` stands there.
pub(super) fn find(root: &Root, mark: &FolderMark) -> Result<Dir, StoreError> {
    let path = || root_path(root);
    let top = match root.dir().open_dir(RESERVED_NAME) {
        Err(Errno::NOENT) => return Err(StoreError::NoMarker { path: path() }),
        top => top.map_err(at("."))?,
    };
    match read(&top)? {
        None => Err(StoreError::NoMarker { path: path() }),
        Some(id) if id != mark.id => Err(StoreError::NotTheFolder { path: path() }),
        Some(_) if file_system_of(&top)? != mark.file_system => {
            Err(StoreError::OtherFileSystem { path: path() })
        }
        Some(_) => Ok(top),
    }
}

/// Where the root is now, for messages.
fn root_path(root: &Root) -> PathBuf {
    use std::os::fd::{AsFd, AsRawFd};
    let held = root.dir().as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{held}")).unwrap_or_else(|_| PathBuf::from("."))
}

/// What the marker says; `None` where there is none, and for what is no marker.
fn read(top: &Dir) -> Result<Option<[u8; 16]>, StoreError> {
    let file = match top.open_file(NAME) {
        Err(Errno::NOENT) => return Ok(None),
        file => file.map_err(at("folder"))?.0,
    };
    let mut text = String::new();
    if let Err(error) = file.take(LEN_MAX).read_to_string(&mut text) {
        let is_text = error.kind() != std::io::ErrorKind::InvalidData;
        return if is_text { Err(at("folder")(errno_of(&error))) } else { Ok(None) };
    }
    Ok(id_of(&text))
}

/// What the text of a marker says; `None` for what is no marker.
pub(super) fn id_of(text: &str) -> Option<[u8; 16]> {
    let mut lines = text.lines();
    let (Some(TITLE), Some(id)) = (lines.next(), lines.next()) else { return None };
    data_encoding::HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()
}

pub(super) fn text_of(id: [u8; 16]) -> String {
    format!("{TITLE}\n{}\n", data_encoding::HEXLOWER.encode(&id))
}

/// Two processes on one folder would not know what the other does.
pub(super) fn lock(top: &Dir) -> Result<File, StoreError> {
    let (file, _) = top.open_file(NAME).map_err(at("folder"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(ConfineError::at(NAME, errno_of(&error)).into())
        }
    }
}

pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
