//! The sending side of objects: from block numbers to open files and runs.
//!
//! A file is opened when its first block is due, checked against what the scan saw, and kept in
//! a small cache. Bulk reads are the caller's (it owns the disk engine); bundles of small files
//! are read here. Nothing is sent from a file that is not the scanned one, and
//! [`Source::check_unchanged`] after the last read finds out whether it stayed so.

use super::confine::{ConfineError, Root, ShownPath, without_path};
use super::dir::Meta;
use super::scan::ScannedSource;
use farhaul_proto::layout::{Layout, ObjectKind, ObjectSpec};
use farhaul_proto::manifest::Entry;
use farhaul_proto::path_name::RelPath;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Files kept open between two reads.
pub const OPEN_FILES_MAX: usize = 64;

/// Why bytes of a source cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file is not in the state that the scan saw; whoever writes to it is at fault.
    #[error("{path}: changed since it was listed")]
    Changed {
        /// Which.
        path: ShownPath,
    },
    /// It cannot be opened.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The disk fails to give the bytes.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: ShownPath,
        /// What it says.
        source: io::Error,
    },
    /// There is no such entry, or it is no file; the caller is at fault.
    #[error("entry {entry} is no file of this source")]
    NoSuchFile {
        /// The index asked for.
        entry: u32,
    },
    /// There is no such block, or an object of another kind; the caller is at fault.
    #[error("object {object} has no block {block} of that kind")]
    NoSuchBlock {
        /// The object asked for.
        object: u32,
        /// The block asked for.
        block: u32,
    },
    /// The buffer is not as long as the bundle; the caller is at fault.
    #[error("a bundle of {expected} bytes does not go into a buffer of {found}")]
    BufferLength {
        /// Bytes of the bundle.
        expected: u64,
        /// Bytes of the buffer.
        found: u64,
    },
}

impl SourceError {
    /// What is wrong, for a list that names the path itself.
    pub fn reason(&self) -> String {
        match self {
            Self::Changed { path } | Self::Read { path, .. } => without_path(self, path),
            Self::Confine(error) => error.reason(),
            Self::NoSuchFile { .. } | Self::NoSuchBlock { .. } | Self::BufferLength { .. } => {
                self.to_string()
            }
        }
    }
}

impl ScannedSource {
    /// Opens the file of entry `entry` for reading, if it is still what the scan saw.
    ///
    /// # Errors
    /// [`SourceError::Changed`], [`SourceError::Confine`], [`SourceError::NoSuchFile`].
    pub fn reopen(&self, entry: u32) -> Result<File, SourceError> {
        let (item, root, path) = self.locate(entry)?;
        let (file, meta) = root.open_file_meta(&path)?;
        self.compare(entry, item, &meta).map(|()| file)
    }

    /// Whether entry `entry` is still what the scan saw; to be called after its last read.
    ///
    /// # Errors
    /// As [`reopen`](Self::reopen).
    pub fn check_unchanged(&self, entry: u32) -> Result<(), SourceError> {
        let (item, root, path) = self.locate(entry)?;
        self.compare(entry, item, &root.stat(&path)?)
    }

    fn check_open(&self, entry: u32, file: &File) -> Result<(), SourceError> {
        let item = self.file_entry(entry)?;
        let meta = Meta::of(file).map_err(|errno| ConfineError::at(&item.path, errno))?;
        self.compare(entry, item, &meta)
    }

    fn file_entry(&self, entry: u32) -> Result<&Entry, SourceError> {
        let item = self.manifest.entry(entry).filter(|e| !e.is_dir());
        item.ok_or(SourceError::NoSuchFile { entry })
    }

    fn locate(&self, entry: u32) -> Result<(&Entry, &Root, RelPath), SourceError> {
        let missing = SourceError::NoSuchFile { entry };
        let item = self.file_entry(entry)?;
        let index = usize::try_from(entry).unwrap_or(usize::MAX);
        let origin = self.origins.get(index).map(|origin| origin.root as usize);
        let Some(root) = origin.and_then(|root| self.roots.get(root)) else { return Err(missing) };
        let path = match &root.prefix {
            Some(prefix) => item.path.strip_prefix(prefix),
            None => Some(item.path.clone()),
        };
        path.map(|path| (item, &root.root, path)).ok_or(missing)
    }

    fn compare(&self, entry: u32, item: &Entry, now: &Meta) -> Result<(), SourceError> {
        let index = usize::try_from(entry).unwrap_or(usize::MAX);
        match self.origins.get(index) {
            Some(origin) if origin.identity == now.identity => Ok(()),
            Some(_) | None => Err(SourceError::Changed { path: (&item.path).into() }),
        }
    }
}

/// One read that fills a part of a block's buffer.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The file.
    pub file: Arc<File>,
    /// Its entry.
    pub entry: u32,
    /// Where to read in the file.
    pub file_offset: u64,
    /// Where the bytes belong in the buffer.
    pub buffer_offset: usize,
    /// How many bytes.
    pub len: usize,
}

/// A file of a bundle that could not be read; its bytes in the buffer are zeros and must not be
/// taken for content.
#[derive(Debug)]
pub struct FailedEntry {
    /// Its index in the manifest.
    pub entry: u32,
    /// Why.
    pub error: SourceError,
}

/// A scanned source, cut into the objects of one transfer.
#[derive(Debug)]
pub struct Source {
    scanned: Arc<ScannedSource>,
    layout: Arc<Layout>,
    open: Mutex<OpenFiles>,
}

impl Source {
    /// `layout` must come from the manifest of `scanned`.
    pub fn new(scanned: Arc<ScannedSource>, layout: Arc<Layout>) -> Self {
        Self { scanned, layout, open: Mutex::default() }
    }

    /// The objects.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// What was scanned.
    pub fn scanned(&self) -> &Arc<ScannedSource> {
        &self.scanned
    }

    /// The reads that make up block `block` of the large file `object`, in buffer order.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read_segments(&self, object: u32, block: u32) -> Result<Vec<Segment>, SourceError> {
        let missing = SourceError::NoSuchBlock { object, block };
        let Some(ObjectKind::File { entry }) = self.spec(object).map(|spec| &spec.kind) else {
            return Err(missing);
        };
        let runs = self.layout.runs(&self.scanned.manifest, object, block);
        if runs.is_empty() {
            return Err(missing);
        }
        let file = self.file(*entry)?;
        let mut buffer_offset = 0;
        let segments = runs.iter().map(|run| {
            let len = usize::try_from(run.len).unwrap_or(usize::MAX);
            let (file, file_offset) = (Arc::clone(&file), run.file_offset);
            let segment = Segment { file, entry: *entry, file_offset, buffer_offset, len };
            buffer_offset += len;
            segment
        });
        Ok(segments.collect())
    }

    /// Reads a whole bundle into `out`, whose length must be that of the bundle.
    ///
    /// Files that changed or cannot be read come back by entry; the others are good.
    ///
    /// # Errors
    /// [`SourceError::NoSuchBlock`], [`SourceError::BufferLength`].
    pub fn read_bundle(
        &self,
        object: u32,
        out: &mut [u8],
    ) -> Result<Vec<FailedEntry>, SourceError> {
        let bundle = self.spec(object).filter(|s| matches!(s.kind, ObjectKind::Bundle { .. }));
        let spec = bundle.ok_or(SourceError::NoSuchBlock { object, block: 0 })?;
        let found = out.len() as u64;
        if found != spec.len {
            return Err(SourceError::BufferLength { expected: spec.len, found });
        }
        let mut failed = Vec::new();
        let mut rest = out;
        for &entry in spec.entries() {
            let data_len = self.scanned.manifest.entry(entry).map_or(0, Entry::data_len);
            let len = usize::try_from(data_len).unwrap_or(usize::MAX).min(rest.len());
            let (part, tail) = rest.split_at_mut(len);
            rest = tail;
            if let Err(error) = self.read_small(entry, part) {
                part.fill(0);
                failed.push(FailedEntry { entry, error });
            }
        }
        Ok(failed)
    }

    /// Whether the files of object `object` are still what the scan saw; to be called after the
    /// last read. The files of a bundle were checked when it was read.
    ///
    /// # Errors
    /// [`SourceError::Changed`] and what opening can bring.
    pub fn check_unchanged(&self, object: u32) -> Result<(), SourceError> {
        match self.spec(object).map(|spec| &spec.kind) {
            Some(ObjectKind::File { entry }) => {
                let file = self.file(*entry)?;
                self.scanned.check_open(*entry, &file)
            }
            Some(ObjectKind::Bundle { .. }) => Ok(()),
            None => Err(SourceError::NoSuchBlock { object, block: 0 }),
        }
    }

    /// Closes the file of object `object` if it is open; blocks still being read keep it alive.
    pub fn close(&self, object: u32) {
        if let Some(ObjectKind::File { entry }) = self.spec(object).map(|spec| &spec.kind) {
            self.lock().forget(*entry);
        }
    }

    fn spec(&self, object: u32) -> Option<&ObjectSpec> {
        self.layout.object(object)
    }

    fn file(&self, entry: u32) -> Result<Arc<File>, SourceError> {
        if let Some(file) = self.lock().find(entry) {
            return Ok(file);
        }
        // Opened outside the lock: a slow disk must not hold up other files.
        let file = Arc::new(self.scanned.reopen(entry)?);
        self.lock().insert(entry, &file);
        Ok(file)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        // The cache is valid after any interruption: at worst a file is missing in it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_small(&self, entry: u32, out: &mut [u8]) -> Result<(), SourceError> {
        let file = self.scanned.reopen(entry)?;
        let item = self.scanned.file_entry(entry)?;
        let mut rest = out;
        for extent in item.data_extents() {
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(rest.len());
            let (part, tail) = rest.split_at_mut(len);
            file.read_exact_at(part, extent.offset).map_err(|source| read_error(item, source))?;
            rest = tail;
        }
        self.scanned.check_open(entry, &file)
    }
}

fn read_error(item: &Entry, source: io::Error) -> SourceError {
    let path = ShownPath::from(&item.path);
    match source.kind() {
        // Shorter than the scan saw it.
        io::ErrorKind::UnexpectedEof => SourceError::Changed { path },
        _ => SourceError::Read { path, source },
    }
}

/// The files used last, oldest first.
#[derive(Debug, Default)]
struct OpenFiles {
    files: VecDeque<(u32, Arc<File>)>,
}

impl OpenFiles {
    fn find(&mut self, entry: u32) -> Option<Arc<File>> {
        let at = self.files.iter().position(|(e, _)| *e == entry)?;
        let found = self.files.remove(at)?;
        let file = Arc::clone(&found.1);
        self.files.push_back(found);
        Some(file)
    }

    fn insert(&mut self, entry: u32, file: &Arc<File>) {
        self.forget(entry);
        if self.files.len() == OPEN_FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back((entry, Arc::clone(file)));
    }

    fn forget(&mut self, entry: u32) {
        self.files.retain(|(e, _)| *e != entry);
    }
}
