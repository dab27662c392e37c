//! From sources to a manifest: walks trees through held handles.
//!
//! A source lands under its own name, as with `cp -r`; the contents of a directory land directly
//! when the source is written with a trailing slash. Links are listed, not followed; sockets,
//! pipes and devices are skipped; what cannot be read is listed as a failure and the rest goes
//! on. Directories are read sorted, so equal trees give equal manifests. Content is not read:
//! only where sparse files hold data is asked.

use super::confine::{ConfineError, Root, ShownPath};
use super::dir::{Dir, FileKind, Identity, Meta};
use super::staging::is_of_a_transfer;
use super::stop::Stop;
use farhaul_proto::limits::SYMLINK_TARGET_MAX;
use farhaul_proto::manifest::{
    ENTRIES_MAX, EXTENTS_MAX, Entry, EntryKind, Extent, Extents, MODE_MASK, Manifest, Scale,
};
use farhaul_proto::path_name::{PathError, RESERVED_NAME, RelPath};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

/// Skipped names and failures that are kept word for word; more are only counted.
pub const NOTES_MAX: usize = 10_000;

/// Why nothing can be sent; the order (or the user who gave it) is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// No source was named.
    #[error("no source was named")]
    NoSource,
    /// A named source cannot be opened.
    #[error(transparent)]
    Source(#[from] ConfineError),
    /// A named source is a socket, a pipe or a device.
    #[error("{path}: is {kind}")]
    Special {
        /// Which.
        path: ShownPath,
        /// What it is.
        kind: FileKind,
    },
    /// The name of a source cannot be carried.
    #[error("{path}: {fault}")]
    Name {
        /// Which.
        path: ShownPath,
        /// Why.
        fault: PathError,
    },
    /// Two sources give the same path, and not both as a directory.
    #[error("{path}: comes from two sources")]
    Collision {
        /// The path beneath the destination.
        path: RelPath,
    },
    /// More than the manifest of one transfer may hold, see [`Scale`].
    #[error(
        "too much for one transfer: the list of files would take the other side more than 128 MiB \
         of memory (about {ENTRIES_MAX} files and directories with short names, fewer with long \
         ones or many holes); split it into several transfers, for example one a subdirectory"
    )]
    TooLarge,
    /// Nobody waits for it any more.
    #[error("stopped")]
    Stopped,
}

/// Why something was left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// A socket, a pipe or a device.
    Special,
    /// The staging directory of a destination.
    Reserved,
    /// It went away during the walk.
    Vanished,
}

/// Why something could not be included.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailReason {
    /// It cannot be opened or read.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The path exceeds what can be carried.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The link's target exceeds [`SYMLINK_TARGET_MAX`].
    #[error("the target of the link is too long")]
    Target,
}

impl FailReason {
    /// What is wrong, for a list that names the path itself.
    pub fn reason(&self) -> String {
        match self {
            Self::Confine(error) => error.reason(),
            Self::Path(_) | Self::Target => self.to_string(),
        }
    }
}

/// Something that is not in the manifest, with the reason.
#[derive(Debug)]
pub struct Note<R> {
    /// Where it would have been.
    pub path: ShownPath,
    /// Why it is not.
    pub reason: R,
}

/// Notes, bounded.
#[derive(Debug)]
pub struct Notes<R> {
    /// The first [`NOTES_MAX`].
    pub first: Vec<Note<R>>,
    /// How many there were in all.
    pub count: u64,
}

impl<R> Default for Notes<R> {
    fn default() -> Self {
        Self { first: Vec::new(), count: 0 }
    }
}

impl<R> Notes<R> {
    fn push(&mut self, path: ShownPath, reason: R) {
        self.count += 1;
        if self.first.len() < NOTES_MAX {
            self.first.push(Note { path, reason });
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Where one entry came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Index among the roots.
    pub(crate) root: u32,
    /// What was found there.
    pub(crate) identity: Identity,
}

/// A directory that entries were found beneath.
#[derive(Debug)]
pub(crate) struct SourceRoot {
    pub(crate) root: Root,
    /// The part of entry paths that names the root itself.
    pub(crate) prefix: Option<RelPath>,
}

/// What a scan found, and how to open it again.
#[derive(Debug)]
pub struct ScannedSource {
    /// Everything that can be sent.
    pub manifest: Arc<Manifest>,
    /// What was left out on purpose.
    pub skipped: Notes<SkipReason>,
    /// What could not be included.
    pub failures: Notes<FailReason>,
    pub(crate) roots: Vec<SourceRoot>,
    /// One for each entry.
    pub(crate) origins: Vec<Origin>,
}

/// Lists `sources`, trusted paths of this machine.
///
/// # Errors
/// [`ScanError`]; what is wrong further down in a tree is in
/// [`failures`](ScannedSource::failures) instead.
pub fn scan(sources: &[PathBuf]) -> Result<ScannedSource, ScanError> {
    let mut walk = Walk::default();
    for source in sources {
        walk.add_source(source)?;
    }
    if sources.is_empty() { Err(ScanError::NoSource) } else { walk.finish() }
}

/// Lists `path` beneath `root` under its own name, or all that `root` contains; ends early once
/// `stop` is set.
///
/// # Errors
/// As [`scan`].
pub fn scan_beneath(
    root: &Root,
    path: Option<&RelPath>,
    stop: &Stop,
) -> Result<ScannedSource, ScanError> {
    let mut walk = Walk { stop: stop.clone(), ..Walk::default() };
    match path {
        None => walk.add_dir(root.dir().clone(), None)?,
        Some(path) => {
            let meta = root.stat(path)?;
            let parent = root.parent_dir(path)?;
            let shown = ShownPath::from(path);
            if meta.kind == FileKind::Dir {
                let name = base_name(path.file_name(), &shown)?;
                walk.add_dir(root.open_dir(path)?, Some(name))?;
            } else {
                walk.add_leaf(&parent, path.file_name(), &meta, shown)?;
            }
        }
    }
    walk.finish()
}

/// Lists what the directory at `path` beneath `root` contains, without its own name; ends early
/// once `stop` is set.
///
/// # Errors
/// As [`scan`].
pub fn scan_contents_beneath(
    root: &Root,
    path: &RelPath,
    stop: &Stop,
) -> Result<ScannedSource, ScanError> {
    let mut walk = Walk { stop: stop.clone(), ..Walk::default() };
    walk.add_dir(root.open_dir(path)?, None)?;
    walk.finish()
}

fn base_name(name: &[u8], shown: &ShownPath) -> Result<RelPath, ScanError> {
    RelPath::parse(name).map_err(|fault| ScanError::Name { path: shown.clone(), fault })
}

/// True for `dir/`, `dir/.`, `.`, `..` and the like: paths without a name of their own.
fn means_contents(path: &Path) -> bool {
    let last = path.as_os_str().as_bytes().rsplit(|&b| b == b'/').next();
    matches!(last, Some(b"" | b"." | b".."))
}

#[derive(Default)]
struct Walk {
    found: Vec<(Entry, Origin)>,
    scale: Scale,
    roots: Vec<SourceRoot>,
    skipped: Notes<SkipReason>,
    failures: Notes<FailReason>,
    stop: Stop,
}

/// A directory whose names are being visited.
struct Level {
    dir: Dir,
    names: vec::IntoIter<Vec<u8>>,
    /// Its path in the manifest; `None` for contents that land directly.
    path: Option<RelPath>,
}

impl Walk {
    fn add_source(&mut self, source: &Path) -> Result<(), ScanError> {
        let shown = ShownPath::from(source);
        let at = |errno| ConfineError::at(shown.clone(), errno);
        if means_contents(source) {
            return self.add_dir(Dir::open_trusted(source, None).map_err(at)?, None);
        }
        let parent = source.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = Dir::open_trusted(parent.unwrap_or(Path::new(".")), None).map_err(at)?;
        let name = source.file_name().unwrap_or_default().as_bytes();
        let meta = parent.stat(name).map_err(at)?.ok_or_else(|| at(Errno::NOENT))?;
        if meta.kind != FileKind::Dir {
            return self.add_leaf(&parent, name, &meta, shown);
        }
        let prefix = base_name(name, &shown)?;
        self.add_dir(parent.open_named_dir(name).map_err(at)?, Some(prefix))
    }

    /// One file or link, under its own name.
    fn add_leaf(
        &mut self,
        parent: &Dir,
        name: &[u8],
        meta: &Meta,
        shown: ShownPath,
    ) -> Result<(), ScanError> {
        if meta.kind == FileKind::Special {
            return Err(ScanError::Special { path: shown, kind: meta.kind });
        }
        let path = base_name(name, &shown)?;
        let root = self.hold(parent.clone(), None);
        match kind_of(parent, name, &shown, meta) {
            Ok(kind) => self.push(path, meta, kind, root),
            Err(FailReason::Confine(error)) => Err(error.into()),
            Err(reason) => {
                self.failures.push(shown, reason);
                Ok(())
            }
        }
    }

    /// A directory, under `prefix` or directly, with everything beneath it.
    fn add_dir(&mut self, dir: Dir, prefix: Option<RelPath>) -> Result<(), ScanError> {
        let shown = prefix.as_ref().map_or_else(|| ShownPath::new(b""), ShownPath::from);
        let at = |errno| ConfineError::at(shown.clone(), errno);
        let root = self.hold(dir.clone(), prefix.clone());
        if let Some(prefix) = &prefix {
            self.push(prefix.clone(), &dir.meta().map_err(at)?, EntryKind::Dir, root)?;
        }
        // On most file systems several names differ by case only.
        let is_reserved = |name: &Vec<u8>| name.eq_ignore_ascii_case(RESERVED_NAME);
        let (reserved, names): (Vec<_>, Vec<_>) =
            dir.names().map_err(at)?.into_iter().partition(is_reserved);
        for name in reserved {
            // What we keep there ourselves is nothing that anybody misses.
            if !dir.open_dir(&name).is_ok_and(|found| is_of_a_transfer(&name, &found)) {
                self.skipped.push(ShownPath::new(&name), SkipReason::Reserved);
            }
        }
        let mut levels = vec![Level { dir, names: names.into_iter(), path: prefix }];
        // The number of levels, and so of open handles, is bounded by the depth of a path.
        while let Some(level) = levels.last_mut() {
            if self.stop.is_set() {
                return Err(ScanError::Stopped);
            }
            match level.names.next() {
                None => drop(levels.pop()),
                Some(name) => {
                    let deeper = self.visit(level, &name, root)?;
                    levels.extend(deeper);
                }
            }
        }
        Ok(())
    }

    /// Lists one name; a directory comes back to be descended into.
    fn visit(&mut self, at: &Level, name: &[u8], root: u32) -> Result<Option<Level>, ScanError> {
        let path = match &at.path {
            Some(dir) => dir.join_name(name),
            None => RelPath::parse(name),
        };
        let path = match path {
            Ok(path) => path,
            Err(fault) => {
                let dir = at.path.as_ref().map(|dir| [dir.as_bytes(), b"/"].concat());
                let shown = [&dir.unwrap_or_default()[..], name].concat();
                self.failures.push(ShownPath::new(&shown), fault.into());
                return Ok(None);
            }
        };
        match self.visit_path(&at.dir, name, path.clone(), root) {
            Ok(deeper) => Ok(deeper),
            Err(Visit::Stop(error)) => Err(error),
            Err(Visit::Failed(reason)) => {
                self.failures.push((&path).into(), reason);
                Ok(None)
            }
        }
    }

    fn visit_path(
        &mut self,
        dir: &Dir,
        name: &[u8],
        path: RelPath,
        root: u32,
    ) -> Result<Option<Level>, Visit> {
        let at = |errno| FailReason::from(ConfineError::at(&path, errno));
        let Some(meta) = dir.stat(name).map_err(at)? else {
            self.skipped.push((&path).into(), SkipReason::Vanished);
            return Ok(None);
        };
        match meta.kind {
            FileKind::Special => self.skipped.push((&path).into(), SkipReason::Special),
            FileKind::File | FileKind::Symlink => {
                let kind = kind_of(dir, name, &(&path).into(), &meta)?;
                self.push(path, &meta, kind, root)?;
            }
            FileKind::Dir => {
                let dir = dir.open_dir(name).map_err(at)?;
                if is_of_a_transfer(name, &dir) {
                    self.skipped.push((&path).into(), SkipReason::Reserved);
                    return Ok(None);
                }
                let names = dir.names().map_err(at)?.into_iter();
                let meta = dir.meta().map_err(at)?;
                self.push(path.clone(), &meta, EntryKind::Dir, root)?;
                return Ok(Some(Level { dir, names, path: Some(path) }));
            }
        }
        Ok(None)
    }

    fn hold(&mut self, dir: Dir, prefix: Option<RelPath>) -> u32 {
        self.roots.push(SourceRoot { root: Root::from_dir(dir), prefix });
        u32::try_from(self.roots.len() - 1).unwrap_or(u32::MAX)
    }

    fn push(
        &mut self,
        path: RelPath,
        meta: &Meta,
        kind: EntryKind,
        root: u32,
    ) -> Result<(), ScanError> {
        let entry = Entry { path, mode: meta.mode & MODE_MASK, mtime: meta.mtime(), kind };
        self.scale.add(entry.weight()).map_err(|_| ScanError::TooLarge)?;
        self.found.push((entry, Origin { root, identity: meta.identity }));
        Ok(())
    }

    fn finish(self) -> Result<ScannedSource, ScanError> {
        let mut found = self.found;
        found.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let (mut entries, mut origins) = (Vec::new(), Vec::new());
        for (entry, origin) in found {
            if is_repeated(&entries, &entry)? {
                continue;
            }
            entries.push(entry);
            origins.push(origin);
        }
        let (skipped, failures, roots) = (self.skipped, self.failures, self.roots);
        let manifest = Arc::new(Manifest { entries });
        Ok(ScannedSource { manifest, skipped, failures, roots, origins })
    }
}

/// True for a directory that several sources share; anything else must come from one source.
fn is_repeated(entries: &[Entry], next: &Entry) -> Result<bool, ScanError> {
    let Some(last) = entries.last() else { return Ok(false) };
    match last.path.cmp(&next.path) {
        Ordering::Equal if last.is_dir() && next.is_dir() => Ok(true),
        Ordering::Equal => Err(ScanError::Collision { path: next.path.clone() }),
        Ordering::Less | Ordering::Greater => Ok(false),
    }
}

/// How visiting one name can end early.
enum Visit {
    /// Leave this name out and go on.
    Failed(FailReason),
    /// Give up.
    Stop(ScanError),
}

impl From<FailReason> for Visit {
    fn from(reason: FailReason) -> Self {
        Self::Failed(reason)
    }
}

impl From<ScanError> for Visit {
    fn from(error: ScanError) -> Self {
        Self::Stop(error)
    }
}

/// The kind of a file or link, with what the manifest says of it.
fn kind_of(
    dir: &Dir,
    name: &[u8],
    shown: &ShownPath,
    meta: &Meta,
) -> Result<EntryKind, FailReason> {
    let at = |errno| ConfineError::at(shown.clone(), errno);
    if meta.kind == FileKind::Symlink {
        let target = dir.read_link(name).map_err(at)?;
        let fits = (1..=SYMLINK_TARGET_MAX).contains(&target.len());
        return if fits { Ok(EntryKind::Symlink { target }) } else { Err(FailReason::Target) };
    }
    if !dir.is_readable(name).map_err(at)? {
        return Err(at(Errno::ACCESS).into());
    }
    let size = meta.size();
    let extents = if meta.allocated < size {
        let (file, _) = dir.open_file(name).map_err(at)?;
        data_extents(&file, size)
    } else {
        Extents::Full
    };
    Ok(EntryKind::File { size, extents })
}

/// Where `file` holds data; everywhere when the file system cannot say.
fn data_extents(file: &File, size: u64) -> Extents {
    let mut list: Vec<Extent> = Vec::new();
    let mut end = 0;
    while end < size {
        let offset = match seek(file, SeekFrom::Data(end)) {
            Ok(offset) if offset < size => offset,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return Extents::Full,
        };
        let hole = seek(file, SeekFrom::Hole(offset)).map_or(size, |hole| hole.min(size));
        // One more extent than may be listed: the rest counts as data.
        end = if list.len() + 1 == EXTENTS_MAX || hole <= offset { size } else { hole };
        list.push(Extent { offset, len: end - offset });
    }
    if list == [Extent { offset: 0, len: size }] { Extents::Full } else { Extents::List(list) }
}
