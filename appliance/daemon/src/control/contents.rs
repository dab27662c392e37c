//! What is known of the contents of a folder's files: one map for all threads that read files, and
//! who fills it while they are read.
//!
//! It is a hint and never in the way: where the map fails, it is said once, and files are read and
//! fetched as if nothing were known.

use crate::index::chunks::{At, ChunkMap, ContentMap, Counts, FileNumber, Home, Place};
use crate::index::{IndexError, IndexReader, Kind};
use crate::scan::{ContentSink, Digester, SinkError, identity_of};
use farhaul_engine::files::Root;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ChunkId, ContentKeys, PageId};
use farhaul_sync::folder::Found;
use farhaul_sync::version::{Content, ManifestId};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Files of at most this size travel whole, many at a time: they have a few chunks, and asking which
/// ones are needed costs more than it saves. Nothing is noted of them (spec: S-070).
pub(super) const WHOLE_MAX: Bytes = Bytes::kib(256);
/// Chunks that wait to be noted.
const CHUNKS_MAX: usize = 1024;
/// Pages that do.
const PAGES_MAX: usize = 32;
/// Files looked at in one go while the map is filled anew.
const PAGE: usize = 1024;

/// The map of one folder, shared by all who read its files.
#[derive(Clone)]
pub(super) struct Contents {
    map: Arc<Mutex<dyn ChunkMap>>,
    /// The same, of which is counted what it holds.
    stored: Arc<Mutex<ContentMap>>,
    has_failed: Arc<AtomicBool>,
}

impl Contents {
    /// Opens or makes the map at `path`; ends early once `stop` is set.
    pub(super) fn open(path: &Path, stop: &Stop) -> Result<Self, IndexError> {
        let stored = Arc::new(Mutex::new(ContentMap::open_under(path, stop)?));
        let map = Arc::clone(&stored);
        Ok(Self { map, stored, has_failed: Arc::default() })
    }

    /// Counts what the map holds, without holding it: others go on with it meanwhile.
    fn count(&self, stop: &Stop) {
        let lock = || self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = lock().uncounted() else { return };
        match Counts::of(&path, stop) {
            Ok(counts) => lock().counted(counts),
            // What is dead in it takes its room until the next start.
            Err(error) => tracing::debug!(%error, "what is known of contents was not counted"),
        }
    }

    /// Does something with the map; nothing where it fails.
    fn with<T>(&self, act: impl FnOnce(&mut dyn ChunkMap) -> Result<T, IndexError>) -> Option<T> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        match act(&mut *map) {
            Ok(done) => Some(done),
            Err(error) => {
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "what is known of contents fails: more is fetched");
                }
                None
            }
        }
    }

    /// Where a chunk may be.
    pub(super) fn find(&self, id: ChunkId) -> Vec<Place> {
        self.with(|map| map.find(id)).unwrap_or_default()
    }

    /// A page of a chunk list.
    pub(super) fn page(&self, id: PageId) -> Option<Vec<u8>> {
        self.with(|map| map.page(id)).flatten()
    }

    /// Whether a page is here.
    pub(super) fn has_page(&self, id: PageId) -> bool {
        self.with(|map| map.has_page(id)).unwrap_or(false)
    }

    /// Keeps pages.
    pub(super) fn add_pages(&self, pages: &[(PageId, Vec<u8>)]) {
        self.with(|map| map.add_pages(pages));
    }

    /// Forgets a page that is not what its name says.
    pub(super) fn forget_page(&self, id: PageId) {
        self.with(|map| map.forget_page(id));
    }

    /// A file went from one place to another.
    pub(super) fn moved(&self, from: &Home, to: &Home) {
        self.with(|map| map.moved(from, to));
    }

    /// A file is gone.
    pub(super) fn forget(&self, home: &Home) {
        self.with(|map| map.forget(home));
    }

    /// Files are gone, and the index knows it. Not before: until then one of them may be found at
    /// another path without being read, and what is known of its chunks goes there with it.
    pub(super) fn forget_gone(&self, gone: Vec<RelPath>) {
        gone.into_iter().for_each(|path| self.forget(&Home::Tree(path)));
    }

    /// Begins to note a file.
    pub(super) fn filler(&self) -> Filler {
        let (file, chunks, pages) = (None, Vec::new(), Vec::new());
        Filler { contents: self.clone(), known_at: None, file, chunks, pages }
    }
}

/// Where looks found nothing.
pub(super) fn gone(looks: &[(RelPath, Option<Found>)]) -> Vec<RelPath> {
    let gone = looks.iter().filter(|(_, found)| found.is_none());
    gone.map(|(path, _)| path.clone()).collect()
}

/// Notes one file while it is read, some of it at a time.
pub(super) struct Filler {
    contents: Contents,
    /// Where the file is known from, if it need not be read.
    known_at: Option<RelPath>,
    file: Option<FileNumber>,
    chunks: Vec<At>,
    pages: Vec<(PageId, Vec<u8>)>,
}

impl Filler {
    /// Where the file is known from, if it need not be read: what was noted of it there holds.
    pub(super) const fn known_at(&self) -> Option<&RelPath> {
        self.known_at.as_ref()
    }

    /// A chunk of it.
    pub(super) fn note(&mut self, offset: Bytes, chunk: &Chunk) {
        self.chunks.push(At { chunk: chunk.id, offset: offset.get(), len: chunk.len });
        if self.chunks.len() >= CHUNKS_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let (chunks, pages) = (std::mem::take(&mut self.chunks), std::mem::take(&mut self.pages));
        let file = self.file;
        let noted = self.contents.with(|map| {
            let file = file.map_or_else(|| map.begin(), Ok)?;
            map.add(file, &chunks)?;
            map.add_pages(&pages)?;
            Ok(file)
        });
        self.file = noted.or(file);
    }

    /// The file was read to its end, has that content and is at `home`. Of a small one nothing is noted.
    pub(super) fn done(mut self, home: &Home, (content, size): (ManifestId, Bytes)) {
        if size <= WHOLE_MAX {
            return;
        }
        if let Some(known_at) = self.known_at.take() {
            self.contents.with(|map| map.found_at(content, &Home::Tree(known_at), home));
            return;
        }
        self.flush();
        if let Some(file) = self.file.take() {
            self.contents.with(|map| {
                map.settle(file, home, content)?;
                map.sweep()
            });
        }
    }

    fn void(&mut self) {
        self.chunks.clear();
        self.pages.clear();
        if let Some(file) = self.file.take() {
            self.contents.with(|map| map.abandon(file));
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.void();
    }
}

impl ContentSink for Filler {
    fn begin(&mut self) -> Result<(), SinkError> {
        self.known_at = None;
        self.void();
        Ok(())
    }

    fn chunk(&mut self, offset: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
        self.note(offset, chunk);
        Ok(())
    }

    fn known_at(&mut self, path: &RelPath) {
        self.known_at = Some(path.clone());
    }

    fn page(&mut self, id: PageId, bytes: &[u8]) -> Result<(), SinkError> {
        self.pages.push((id, bytes.to_vec()));
        if self.pages.len() >= PAGES_MAX {
            self.flush();
        }
        Ok(())
    }
}

/// Reads the large files of which nothing is known: after the map was lost.
pub(super) struct Refill {
    root: Root,
    keys: Arc<ContentKeys>,
    reader: IndexReader,
    contents: Contents,
    stop: Stop,
}

impl Refill {
    /// For the files beneath a root that an index knows; ends early once `stop` is set.
    pub(super) fn new(
        (root, reader): (Root, IndexReader),
        keys: &Arc<ContentKeys>,
        contents: &Contents,
        stop: &Stop,
    ) -> Self {
        let (keys, contents, stop) = (Arc::clone(keys), contents.clone(), stop.clone());
        Self { root, keys, reader, contents, stop }
    }

    /// Goes through them in a thread of its own.
    pub(super) fn start(self) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("farhaul-refill".to_owned());
        thread.spawn(move || self.run()).map(drop)
    }

    fn run(self) {
        self.contents.count(&self.stop);
        match self.fill() {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "were read again to know their chunks"),
            Err(error) => tracing::warn!(%error, "not all files are known by their chunks"),
        }
    }

    fn fill(&self) -> Result<usize, IndexError> {
        let mut digester = Digester::new(&self.keys, self.stop.clone());
        let (mut after, mut read): (Option<RelPath>, _) = (None, 0);
        loop {
            let page = self.reader.read().standing(None, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(read) };
            after = Some(last.path.clone());
            let is_large = |size: u64| size > WHOLE_MAX.get();
            for standing in page {
                if self.stop.is_set() {
                    return Ok(read);
                }
                if standing.kind == Kind::File && is_large(standing.identity.size) {
                    read += usize::from(self.fill_one(&mut digester, &standing.path)?);
                }
            }
        }
    }

    fn fill_one(&self, digester: &mut Digester<'_>, path: &RelPath) -> Result<bool, IndexError> {
        let placed = self.reader.read().item(path)?.placed;
        let Some(placed) = placed else { return Ok(false) };
        let Content::File { manifest, size } = placed.version.content else { return Ok(false) };
        if self.knows(manifest) {
            return Ok(false);
        }
        let Ok((file, before)) = self.root.open_file_meta(path) else { return Ok(false) };
        if identity_of(&before) != placed.identity {
            return Ok(false);
        }
        let mut filler = self.contents.filler();
        match digester.digest(&file, &before, &mut filler) {
            Ok(digested) if digested.manifest == manifest => {
                filler.done(&Home::Tree(path.clone()), (manifest, size));
                Ok(true)
            }
            // A scan sees what became of it.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    fn knows(&self, manifest: ManifestId) -> bool {
        self.contents.with(|map| map.has_page(manifest.into())).unwrap_or(true)
    }
}
