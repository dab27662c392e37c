//! A root directory and everything beneath it: path calls that cannot leave.
//!
//! [`Root`] resolves a [`RelPath`] to a held directory and acts on the last component there, so
//! that a link planted or swapped in at any moment is refused, not followed. Creating files for
//! transferred data is `staging`'s business.

use super::dir::{Dir, Meta, Resolver};
use farhaul_proto::path_name::{Escaped, RelPath};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path as the kernel was given it; shows with everything escaped that could steer a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownPath(Box<[u8]>);

impl ShownPath {
    /// Wraps raw bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ShownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(".") } else { Escaped(&self.0).fmt(f) }
    }
}

impl fmt::Debug for ShownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl From<&[u8]> for ShownPath {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<&RelPath> for ShownPath {
    fn from(path: &RelPath) -> Self {
        Self::new(path.as_bytes())
    }
}

impl From<&Path> for ShownPath {
    fn from(path: &Path) -> Self {
        Self::new(path.as_os_str().as_bytes())
    }
}

/// Why a call on a path failed. Escapes, links and mounts are refusals: the tree (or whoever
/// changes it under us) is at fault, and trying another way is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The kernel could not show that the path stays beneath the root.
    #[error("{path}: leads out of its root")]
    Escapes {
        /// Where.
        path: ShownPath,
    },
    /// A component, or the file itself, is a symbolic link.
    #[error("{path}: a symbolic link is in the path")]
    SymlinkInPath {
        /// Where.
        path: ShownPath,
    },
    /// The path crosses into another mount.
    #[error("{path}: lies on another file system or mount")]
    CrossesMount {
        /// Where.
        path: ShownPath,
    },
    /// There is nothing of that name.
    #[error("{path}: not found")]
    NotFound {
        /// Where.
        path: ShownPath,
    },
    /// The user of this process may not do that.
    #[error("{path}: permission denied")]
    Permission {
        /// Where.
        path: ShownPath,
    },
    /// A component, or the path itself, had to be a directory.
    #[error("{path}: not a directory")]
    NotDirectory {
        /// Where.
        path: ShownPath,
    },
    /// A file was expected, a directory found.
    #[error("{path}: is a directory")]
    IsDirectory {
        /// Where.
        path: ShownPath,
    },
    /// Something of that name is there already.
    #[error("{path}: exists already")]
    Exists {
        /// Where.
        path: ShownPath,
    },
    /// A directory that had to be empty is not.
    #[error("{path}: directory not empty")]
    NotEmpty {
        /// Where.
        path: ShownPath,
    },
    /// The disk or the quota is full.
    #[error("{path}: no space left")]
    NoSpace {
        /// Where.
        path: ShownPath,
    },
    /// The process or the machine has no more file descriptors.
    #[error("{path}: too many open files")]
    TooManyOpen {
        /// Where.
        path: ShownPath,
    },
    /// Anything else the kernel says.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: ShownPath,
        /// What it says.
        source: Errno,
    },
}

impl ConfineError {
    /// Gives an error of the kernel its place and meaning.
    pub fn at(path: impl Into<ShownPath>, errno: Errno) -> Self {
        let path = path.into();
        match errno {
            Errno::AGAIN => Self::Escapes { path },
            Errno::LOOP => Self::SymlinkInPath { path },
            Errno::XDEV => Self::CrossesMount { path },
            Errno::NOENT => Self::NotFound { path },
            Errno::ACCESS | Errno::PERM => Self::Permission { path },
            Errno::NOTDIR => Self::NotDirectory { path },
            Errno::ISDIR => Self::IsDirectory { path },
            Errno::EXIST => Self::Exists { path },
            Errno::NOTEMPTY => Self::NotEmpty { path },
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { path },
            Errno::MFILE | Errno::NFILE => Self::TooManyOpen { path },
            other => Self::Io { path, source: other },
        }
    }

    /// Where it went wrong.
    pub fn path(&self) -> &ShownPath {
        match self {
            Self::Escapes { path }
            | Self::SymlinkInPath { path }
            | Self::CrossesMount { path }
            | Self::NotFound { path }
            | Self::Permission { path }
            | Self::NotDirectory { path }
            | Self::IsDirectory { path }
            | Self::Exists { path }
            | Self::NotEmpty { path }
            | Self::NoSpace { path }
            | Self::TooManyOpen { path }
            | Self::Io { path, .. } => path,
        }
    }

    /// What is wrong, for a list that names the path itself.
    pub fn reason(&self) -> String {
        without_path(self, self.path())
    }
}

/// What `error` says behind the path that it begins with.
pub(super) fn without_path(error: &impl fmt::Display, path: &ShownPath) -> String {
    let said = error.to_string();
    let behind = said.strip_prefix(&format!("{path}: ")).map(str::to_owned);
    behind.unwrap_or(said)
}

/// A directory that bounds every path given to it. Cloning shares the handle.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Dir,
}

impl Root {
    /// Holds the directory at `path`, a trusted path of this machine.
    ///
    /// # Errors
    /// [`ConfineError`] when it is no directory or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ConfineError> {
        Self::open_at(path, None)
    }

    /// [`open`](Self::open) with a given resolver instead of the best that works.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, resolver: Resolver) -> Result<Self, ConfineError> {
        Self::open_at(path, Some(resolver))
    }

    fn open_at(path: &Path, resolver: Option<Resolver>) -> Result<Self, ConfineError> {
        let dir = Dir::open_trusted(path, resolver);
        Ok(Self { dir: dir.map_err(|errno| ConfineError::at(path, errno))? })
    }

    /// A root at a directory that is held already.
    pub(crate) fn from_dir(dir: Dir) -> Self {
        Self { dir }
    }

    /// The root directory itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Holds the directory at `path`.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn open_dir(&self, path: &RelPath) -> Result<Dir, ConfineError> {
        self.dir.open_dir(path.as_bytes()).map_err(at(path))
    }

    /// Holds the directory that contains the last component of `path`.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn parent_dir(&self, path: &RelPath) -> Result<Dir, ConfineError> {
        match path.parent_bytes() {
            Some(parent) => self.dir.open_dir(parent).map_err(at(path)),
            None => Ok(self.dir.clone()),
        }
    }

    /// Holds the directory at `path`, creating it and its parents with `mode` where missing.
    ///
    /// # Errors
    /// [`ConfineError`]; what was created until then stays.
    pub fn make_dirs(&self, path: &RelPath, mode: u32) -> Result<Dir, ConfineError> {
        let mut dir = self.dir.clone();
        for component in path.components() {
            match dir.make_dir(component, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(ConfineError::at(path, errno)),
            }
            dir = dir.open_dir(component).map_err(at(path))?;
        }
        Ok(dir)
    }

    /// Opens the regular file at `path` for reading. Never blocks: pipes and devices are refused.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn open_file(&self, path: &RelPath) -> Result<File, ConfineError> {
        self.open_file_meta(path).map(|(file, _)| file)
    }

    /// [`open_file`](Self::open_file), with the metadata of what was opened.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn open_file_meta(&self, path: &RelPath) -> Result<(File, Meta), ConfineError> {
        self.dir.open_file(path.as_bytes()).map_err(at(path))
    }

    /// The metadata of `path` itself; a link at its end is not followed.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn stat(&self, path: &RelPath) -> Result<Meta, ConfineError> {
        let meta = self.on_leaf(path, Dir::stat)?;
        meta.ok_or_else(|| ConfineError::NotFound { path: path.into() })
    }

    /// What the symbolic link at `path` points to.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, ConfineError> {
        self.on_leaf(path, Dir::read_link)
    }

    /// Creates a symbolic link at `path`; `target` is stored, not looked at.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn symlink(&self, target: &[u8], path: &RelPath) -> Result<(), ConfineError> {
        self.on_leaf(path, |dir, name| dir.symlink(target, name))
    }

    /// Removes the file or link at `path`.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn remove_file(&self, path: &RelPath) -> Result<(), ConfineError> {
        self.on_leaf(path, Dir::remove_file)
    }

    /// Removes the empty directory at `path`.
    ///
    /// # Errors
    /// [`ConfineError`].
    pub fn remove_dir(&self, path: &RelPath) -> Result<(), ConfineError> {
        self.on_leaf(path, Dir::remove_dir)
    }

    fn on_leaf<T>(
        &self,
        path: &RelPath,
        act: impl FnOnce(&Dir, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, ConfineError> {
        let dir = self.parent_dir(path)?;
        act(&dir, path.file_name()).map_err(at(path))
    }
}

fn at(path: &RelPath) -> impl Fn(Errno) -> ConfineError + '_ {
    move |errno| ConfineError::at(path, errno)
}
