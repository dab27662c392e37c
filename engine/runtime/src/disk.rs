//! Reading and writing files off the packet loop: one face, two engines.
//!
//! Requests go in, completions come out by polling; a waker rings when there are some. Buffers
//! belong to an operation until its completion, and then come back, whether it succeeded or not.
//! Nothing is ordered: two requests in flight that touch the same bytes race. The engines make
//! nothing durable, open no paths, keep no cache and know nothing of blocks or objects.

#![forbid(unsafe_code)]

mod align;
mod error;
mod file;
mod port;
mod progress;
mod threads;
mod uring;

pub use error::DiskError;
pub use file::DiskFile;
pub(crate) use file::is_in_memory;

use crate::buffers::{Buffer, BufferPool, Lease};
use crate::wake::Waker;
use file::Route;
use std::sync::Arc;

/// A run of bytes in one file and where it lies in the buffer of its request.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The file; open for what the request does.
    pub file: Arc<DiskFile>,
    /// Where in the file; offset plus length must fit an `i64`.
    pub file_offset: u64,
    /// Where in the buffer; aligned to 4096 if the run shall bypass the page cache.
    pub buffer_offset: usize,
    /// Bytes; nothing happens for none.
    pub len: usize,
}

/// What to do.
#[derive(Debug)]
pub enum Op {
    /// Files to memory. Every segment is read whole, or the request fails.
    Read {
        /// Where to.
        buffer: Lease,
        /// From where; in any order, disjoint in the buffer.
        segments: Vec<Segment>,
    },
    /// Memory to files. Every segment is written whole, or the request fails.
    Write {
        /// Where from.
        buffer: Buffer,
        /// Where to; in any order, disjoint in the files.
        segments: Vec<Segment>,
    },
}

impl Op {
    /// A read of one run.
    pub fn read(buffer: Lease, segment: Segment) -> Self {
        Self::Read { buffer, segments: vec![segment] }
    }

    /// A write of one run.
    pub fn write(buffer: impl Into<Buffer>, segment: Segment) -> Self {
        Self::Write { buffer: buffer.into(), segments: vec![segment] }
    }
}

/// An operation with the caller's name for it.
#[derive(Debug)]
pub struct Request {
    /// Comes back in the completion; need not be unique.
    pub token: u64,
    /// What to do.
    pub op: Op,
}

/// The end of a request; there is exactly one for each that was accepted.
#[derive(Debug)]
pub struct Completion {
    /// The request's token.
    pub token: u64,
    /// The request's buffer, on success and on failure. None where the engine failed so badly that
    /// the kernel may still be using the memory.
    pub buffer: Option<Buffer>,
    /// How it went.
    pub result: Result<(), DiskError>,
}

impl Completion {
    /// The writable lease of a read, or of a write whose buffer nobody shares any more.
    pub fn into_lease(self) -> Option<Lease> {
        self.buffer.and_then(|buffer| buffer.into_lease().ok())
    }
}

/// Whether what these runs touch lies in memory only: then nobody has to wait for it, and whoever
/// has the bytes in the processor's cache does it at once, with [`read_now`] or [`write_now`].
pub fn in_memory(segments: &[Segment]) -> bool {
    segments.iter().all(|segment| segment.file.is_in_memory())
}

/// Reads every run whole into `memory`, on this thread.
///
/// # Errors
/// As the disk engines.
pub fn read_now(memory: &mut [u8], segments: &[Segment]) -> Result<(), DiskError> {
    threads::read(memory, segments, Route::Buffered)
}

/// Writes every run whole from `memory`, on this thread.
///
/// # Errors
/// As the disk engines.
pub fn write_now(memory: &[u8], segments: &[Segment]) -> Result<(), DiskError> {
    let _turn = segments.first().map(|segment| segment.file.turn_to_write());
    threads::write(memory, segments, Route::Buffered)
}

/// A disk engine. Dropping it waits for what the kernel has begun and abandons the rest; buffers
/// go back to their pool.
pub trait Disk: Send {
    /// Hands a request to the engine; never blocks.
    ///
    /// # Errors
    /// The request, when the engine holds `depth` requests already: poll, then try again.
    fn submit(&mut self, request: Request) -> Result<(), Request>;

    /// Appends the completions that are ready to `out`, in no particular order; never blocks.
    fn poll(&mut self, out: &mut Vec<Completion>);

    /// Which engine this is: `uring` or `threads`.
    fn name(&self) -> &'static str;

    /// Requests accepted whose completions were not polled yet.
    fn in_flight(&self) -> usize;
}

/// Which engine to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// io_uring where the kernel permits it, otherwise threads.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// A pool of threads with pread and pwrite.
    Threads,
}

/// How an engine works.
#[derive(Clone, Copy, Debug)]
pub struct DiskConfig<'a> {
    /// Requests in flight at once; at least 1, at most [`DEPTH_MAX`], else the nearest of them.
    pub depth: usize,
    /// Threads of the thread engine; at least 1. The other engine has one of its own.
    pub threads: usize,
    /// The pool most buffers come from; its slots are registered with the kernel as they are
    /// used. Buffers of other pools work too.
    pub pool: &'a BufferPool,
    /// Whether aligned runs of files made by [`DiskFile::with_direct`] bypass the page cache.
    pub direct: bool,
}

/// Largest depth of an engine.
pub const DEPTH_MAX: usize = 4096;

impl DiskConfig<'_> {
    fn depth(&self) -> usize {
        self.depth.clamp(1, DEPTH_MAX)
    }

    fn policy(&self) -> Route {
        if self.direct { Route::Direct } else { Route::Buffered }
    }
}

/// Opens an engine that rings `waker` when completions wait.
///
/// # Errors
/// [`DiskError::EngineUnavailable`] when the kernel forbids io_uring and `kind` insists on it, or
/// when no thread can be started.
pub fn open(
    kind: DiskKind,
    config: DiskConfig<'_>,
    waker: Waker,
) -> Result<Box<dyn Disk>, DiskError> {
    match kind {
        DiskKind::Uring => uring::open(config, waker),
        DiskKind::Threads => threads::open(config, waker),
        DiskKind::Auto => uring::open(config, waker.clone()).or_else(|error| {
            tracing::info!(%error, "io_uring is not available; using a pool of threads");
            threads::open(config, waker)
        }),
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// Refuses segments that reach outside the buffer or beyond what the kernel can address.
fn check(segments: &[Segment], buffer_len: usize) -> Result<(), DiskError> {
    let fits = |segment: &Segment| {
        let in_buffer = segment.buffer_offset.checked_add(segment.len);
        let in_file = segment.file_offset.checked_add(segment.len as u64);
        in_buffer.is_some_and(|end| end <= buffer_len)
            && in_file.is_some_and(|end| i64::try_from(end).is_ok())
    };
    match segments.iter().position(|segment| !fits(segment)) {
        Some(segment) => Err(DiskError::SegmentOutOfBounds { segment }),
        None => Ok(()),
    }
}
