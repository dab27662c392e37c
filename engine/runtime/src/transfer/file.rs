//! Large files as objects: blocks straight between the disk engine and the file.

use super::receiving::commit_failure;
use crate::disk::{DiskFile, Segment};
use crate::files::receive::Receiver;
use crate::files::source::{Source, SourceError};
use crate::files::staging::StagedFile;
use crate::objects::{BlockSink, BlockSource, Failure, Load, Store};
use crate::pack::is_packed_name;
use farhaul_proto::content::Digest;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A large file on its way out.
pub(super) struct FileSource {
    source: Arc<Source>,
    object: u32,
    /// Its name does not say that it is packed already.
    packable: bool,
    /// The open file as the disk engine knows it; kept while the object is sent.
    open: Mutex<Option<(Arc<File>, Arc<DiskFile>)>>,
}

impl FileSource {
    /// The source of `object`, which is the file of `entry`.
    pub(super) fn new(source: Arc<Source>, object: u32, entry: u32) -> Self {
        let entry = source.scanned().manifest.entry(entry);
        let packable = !entry.is_some_and(|entry| is_packed_name(entry.path.as_bytes()));
        Self { source, object, packable, open: Mutex::new(None) }
    }

    fn disk_file(&self, file: &Arc<File>) -> std::io::Result<Arc<DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, disk)) = &*open
            && Arc::ptr_eq(known, file)
        {
            return Ok(Arc::clone(disk));
        }
        let disk = Arc::new(DiskFile::new(OwnedFd::from(file.try_clone()?)));
        *open = Some((Arc::clone(file), Arc::clone(&disk)));
        Ok(disk)
    }
}

impl BlockSource for FileSource {
    fn load(&self, placed: Placed, _buffer: &mut [u8]) -> Result<Load, Failure> {
        let segments = self.source.read_segments(self.object, placed.position);
        let segments = segments.map_err(|error| source_failure(&error))?;
        let mut reads = Vec::with_capacity(segments.len());
        for segment in segments {
            let file = self.disk_file(&segment.file).map_err(|error| Failure {
                code: FailCode::SourceUnreadable,
                reason: format!("the source cannot be opened again: {error}"),
            })?;
            reads.push(Segment {
                file,
                file_offset: segment.file_offset,
                buffer_offset: segment.buffer_offset,
                len: segment.len,
            });
        }
        Ok(Load::Read(reads))
    }

    fn is_at_hand(&self) -> bool {
        // Whoever holds the lock opens the file.
        let open = self.open.try_lock();
        open.is_ok_and(|open| open.as_ref().is_some_and(|(_, disk)| disk.is_in_memory()))
    }

    fn may_pack(&self) -> bool {
        self.packable
    }
}

/// How a source error is told.
pub(super) fn source_failure(error: &SourceError) -> Failure {
    let code = match error {
        SourceError::Changed { .. } => FailCode::SourceChanged,
        SourceError::Confine(_) | SourceError::Read { .. } => FailCode::SourceUnreadable,
        _ => FailCode::Internal,
    };
    Failure { code, reason: error.reason() }
}

/// Complete files that wait for their turn to be put in place, before new ones are held up.
const WAITING_MAX: usize = 64;

/// Holds new files up while the disk does not keep up with complete ones: each keeps its
/// descriptors until it is in place.
#[derive(Default)]
pub(super) struct Gate {
    waiting: AtomicUsize,
}

impl Gate {
    /// One more file waits.
    pub(super) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One file less waits.
    pub(super) fn leave(&self) {
        let less = |waiting: usize| Some(waiting.saturating_sub(1));
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= WAITING_MAX
    }
}

/// A large file on its way in.
pub(super) struct FileSink {
    receiver: Arc<Receiver>,
    gate: Arc<Gate>,
    entry: u32,
    staged: OnceLock<(Arc<StagedFile>, Arc<DiskFile>)>,
    /// Taken while the file is being staged, so that two blocks do not stage it twice.
    staging: Mutex<()>,
}

impl FileSink {
    pub(super) fn new(receiver: Arc<Receiver>, entry: u32, gate: Arc<Gate>) -> Self {
        Self { receiver, gate, entry, staged: OnceLock::new(), staging: Mutex::new(()) }
    }

    /// The staged file, once a block has arrived or an earlier attempt left one.
    pub(super) fn staged(&self) -> Result<&(Arc<StagedFile>, Arc<DiskFile>), Failure> {
        if let Some(staged) = self.staged.get() {
            return Ok(staged);
        }
        let _guard = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staged) = self.staged.get() {
            return Ok(staged);
        }
        let staged = self.receiver.stage(self.entry).map_err(|error| commit_failure(&error))?;
        let clone = staged.fd.try_clone().map_err(|error| Failure {
            code: FailCode::Io,
            reason: format!("the staged file cannot be opened again: {error}"),
        })?;
        let disk = Arc::new(DiskFile::new(OwnedFd::from(clone)));
        Ok(self.staged.get_or_init(|| (staged, disk)))
    }
}

impl BlockSink for FileSink {
    fn has_room(&self) -> bool {
        self.staged.get().is_some() || !self.gate.is_full()
    }

    fn is_at_hand(&self) -> bool {
        self.staged.get().is_some_and(|(_, disk)| disk.is_in_memory())
    }

    fn store(&self, placed: Placed, _data: &[u8]) -> Result<Store, Failure> {
        let (staged, disk) = self.staged()?;
        let mut buffer_offset = 0;
        let runs = staged.block_runs(placed.position).map(|run| {
            let len = usize::try_from(run.len).unwrap_or(usize::MAX);
            let segment =
                Segment { file: Arc::clone(disk), file_offset: run.offset, buffer_offset, len };
            buffer_offset += len;
            segment
        });
        Ok(Store::Write(runs.collect()))
    }

    fn stored(&self, placed: Placed, digest: Digest) -> Result<(), Failure> {
        let (staged, _) = self.staged()?;
        if let Err(errno) = staged.journal.append(placed.position, &digest) {
            // Lost is only that a resumed transfer would carry the block again.
            tracing::warn!(%errno, "a block could not be noted in the journal");
        }
        Ok(())
    }
}
