//! Why the tree was not changed, and what stands there all the same.

use farhaul_engine::files::ConfineError;
use farhaul_engine::files::confine::ShownPath;
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::space::NoSpace;
use farhaul_files::Undescribed;
use farhaul_proto::path_name::RESERVED_NAME;
use rustix::io::Errno;
use std::path::PathBuf;

/// Why a folder's disk did not do what it was asked. Nothing is overwritten in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory has no marker: a disk that is not mounted, or was emptied.
    #[error("{}: is no folder, or its disk is not mounted: its marker is missing", path.display())]
    NoMarker {
        /// The root.
        path: PathBuf,
    },
    /// Its directory is not there, or cannot be opened: a disk that is not mounted or does not answer,
    /// or a directory that was moved.
    #[error("{}: is not there, or cannot be opened: {why}", path.display())]
    NoRoot {
        /// The root.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Another folder stands there.
    #[error("{}: is another folder than it was", path.display())]
    NotTheFolder {
        /// The root.
        path: PathBuf,
    },
    /// The same marker on another file system: a copy, or a disk that was restored. Only a user can
    /// say that it is the folder.
    #[error("{}: lies on another file system than it did", path.display())]
    OtherFileSystem {
        /// The root.
        path: PathBuf,
    },
    /// It is a folder already.
    #[error("it is a folder already: remove `.farhaul/folder` to begin another one there")]
    MarkedAlready,
    /// What this site keeps of the folder's marker cannot be read.
    #[error("{}: does not say which folder it is for; restore it", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("another process works on the folder")]
    InUse,
    /// A directory of ours that others can look into or that is theirs.
    #[error(".farhaul/{name}: is not private to this user")]
    NotPrivate {
        /// Which.
        name: String,
    },
    /// Something else stands at the path than the index says: nothing was done, and a look at the
    /// path says what.
    #[error("{path}: was changed by somebody else")]
    Changed {
        /// Where.
        path: ShownPath,
    },
    /// A directory that is to go or to be replaced is not empty. What is in it is not in the index,
    /// or is ignored: it stays, and so does the directory.
    #[error("{path}: holds {count} things that are not of the folder, one is `{example}`")]
    NotEmpty {
        /// Where.
        path: ShownPath,
        /// How many.
        count: usize,
        /// The first by name.
        example: ShownPath,
    },
    /// The file system takes the name for that of something else that stands there. Neither is
    /// touched, and the path is not there at this site until one of them has another name.
    #[error("{path}: cannot stand here, `{name}` has the same name to this file system")]
    Folded {
        /// Where.
        path: ShownPath,
        /// The part of it that stands there under another spelling.
        name: ShownPath,
    },
    /// A pipe, a socket or a device: never touched.
    #[error("{path}: {found} is in the way")]
    InTheWay {
        /// Where.
        path: ShownPath,
        /// What.
        found: FileKind,
    },
    /// The disk or the kernel failed in the middle of the change. Its intent stays in the index, and
    /// [`super::Store::recover`] finds out what became of it.
    #[error("{path}: was left half-done, to be recovered: {source}")]
    HalfDone {
        /// Where.
        path: ShownPath,
        /// What the kernel says.
        source: Errno,
    },
    /// The names of changes that were made are not durable. Their intents stay in the index: the
    /// folder has to halt, and to be opened anew and recovered (F-05).
    #[error("{}: changes could not be made durable: {source}", path.display())]
    Unsettled {
        /// The root.
        path: PathBuf,
        /// What the kernel says.
        source: Errno,
    },
    /// What was staged could not be made durable: it is gone, and has to be fetched again.
    #[error("{path}: could not be made durable and is to be fetched again: {source}")]
    Discarded {
        /// Of which path.
        path: ShownPath,
        /// What the kernel says.
        source: Errno,
    },
    /// The disk does not hold what is to come.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// What was staged is not what its version says; the caller is at fault.
    #[error("{path}: {what} does not fit what was staged")]
    Mismatch {
        /// Of which path.
        path: ShownPath,
        /// What.
        what: &'static str,
    },
    /// The intent that was recorded is that of another change; the caller is at fault.
    #[error("{path}: is not what was recorded")]
    NotRecorded {
        /// Of which path.
        path: ShownPath,
    },
    /// What a member published would become root's here: this site runs as root, and may not or cannot
    /// give it to anybody else.
    #[error(
        "it would become root's here, and cannot be given to anybody else: let the site give files \
         away (CAP_CHOWN, a file system that keeps owners), or write root-owned = \"as-said\""
    )]
    Roots,
    /// No random numbers to be had from the system.
    #[error("the system gives no random numbers")]
    Randomness,
    /// The tree, the disk or the kernel refuses.
    #[error(transparent)]
    Place(#[from] ConfineError),
}

impl StoreError {
    /// Whether the folder is not where it was: nothing may be read into what stands there.
    pub fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::NoRoot { .. }
                | Self::NoMarker { .. }
                | Self::NotTheFolder { .. }
                | Self::OtherFileSystem { .. }
        )
    }

    /// Whether one path of the tree is what cannot be read or changed, and nothing is said of others.
    pub fn is_of_a_path(&self) -> bool {
        let Self::Place(error) = self else { return false };
        let path = error.path().as_bytes();
        let top = path.split(|&byte| byte == b'/').next();
        !path.is_empty() && top != Some(b".") && top != Some(RESERVED_NAME)
    }

    /// Whether room on the disk is all that is missing.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::NoSpace(_)
                | Self::Place(ConfineError::NoSpace { .. })
                | Self::Discarded { source: Errno::NOSPC | Errno::DQUOT, .. }
        )
    }
}

/// An error of the kernel about something of ours beneath `.farhaul`.
pub(super) fn at(name: &str) -> impl Fn(Errno) -> StoreError + '_ {
    move |errno| {
        let path = [RESERVED_NAME, b"/", name.as_bytes()].concat();
        ConfineError::at(ShownPath::new(&path), errno).into()
    }
}

/// An error of the kernel about a path of the tree.
pub(super) fn on(path: &farhaul_proto::path_name::RelPath) -> impl Fn(Errno) -> StoreError + '_ {
    move |errno| ConfineError::at(path, errno).into()
}

/// Why something was not given its metadata; `at` tells what the kernel says.
pub(super) fn undescribed(why: Undescribed, at: impl FnOnce(Errno) -> StoreError) -> StoreError {
    match why {
        Undescribed::Errno(errno) => at(errno),
        Undescribed::Roots => StoreError::Roots,
    }
}
