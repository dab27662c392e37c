//! Objects made of parts: pieces of files and of memory, one after the other.

use super::owed::Owing;
use farhaul_engine::disk::{DiskFile, Segment};
use farhaul_engine::objects::{BlockSink, BlockSource, Failure, Load, Store};
use farhaul_proto::content::Digest;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file that is opened when its turn comes, and closed again: whoever asks for thousands has none
/// of them held open.
pub trait Opens: Send + Sync {
    /// Opens it for reading.
    ///
    /// # Errors
    /// It cannot be, or is not any more what was promised.
    fn open(&self) -> io::Result<File>;
}

/// A piece on its way out.
#[derive(Clone)]
pub enum Part {
    /// Bytes in memory.
    Memory(Arc<[u8]>),
    /// A small file. If it cannot be read any more, zeros go in its place: who asked for it sees that
    /// it is not what it should be, and the pieces beside it are none the worse (spec: S-073).
    Small {
        /// The file.
        file: Arc<dyn Opens>,
        /// Its length.
        len: u64,
    },
    /// A run of a file. If it cannot be read any more, the object comes to no end.
    Run {
        /// The file.
        file: Arc<dyn Opens>,
        /// Where the run begins.
        offset: u64,
        /// Its length.
        len: u64,
    },
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Small { len, .. } | Self::Run { len, .. } => *len,
        }
    }
}

/// Where each piece begins in the object; pieces follow each other without gaps.
#[derive(Debug)]
struct Laid<T> {
    starts: Vec<u64>,
    parts: Vec<T>,
    end: u64,
}

impl<T> Laid<T> {
    fn new(parts: Vec<T>, len: impl Fn(&T) -> u64) -> Self {
        let mut end = 0_u64;
        let start = |part: &T| {
            let start = end;
            end = end.saturating_add(len(part));
            start
        };
        let starts = parts.iter().map(start).collect();
        Self { starts, parts, end }
    }

    /// The pieces within a range of the object, each with the range of it that is meant and where
    /// that begins in the block.
    fn within(&self, range: Range<u64>) -> impl Iterator<Item = (&T, Range<u64>, usize)> {
        let first = self.starts.partition_point(|&start| start <= range.start).saturating_sub(1);
        let ends = self.starts.iter().copied().skip(1).chain([self.end]);
        let parts = self.parts.iter().zip(self.starts.iter().copied().zip(ends)).skip(first);
        let parts = parts.take_while(move |(_, (start, _))| *start < range.end);
        let start_of_block = range.start;
        parts.filter_map(move |(part, (start, end))| {
            let (from, to) = (start.max(range.start), end.min(range.end));
            let at = usize::try_from(from.saturating_sub(start_of_block)).ok()?;
            (from < to).then_some((part, from - start..to - start, at))
        })
    }
}

/// An object that is read from its pieces.
pub struct PartsSource {
    laid: Laid<Part>,
    /// What it costs, until it is dropped.
    _owing: Option<Owing>,
}

impl PartsSource {
    /// The pieces in order.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { laid: Laid::new(parts, Part::len), _owing: None }
    }

    /// The same, and what it costs until it is dropped.
    pub fn costing(self, owing: Owing) -> Self {
        Self { _owing: Some(owing), ..self }
    }

    /// The bytes of all pieces.
    pub const fn len(&self) -> u64 {
        self.laid.end
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.laid.end == 0
    }
}

impl fmt::Debug for PartsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsSource").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl BlockSource for PartsSource {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        let range = range_of(placed, self.laid.end)?;
        let mut reads = Vec::new();
        let mut opened: Option<(&Arc<dyn Opens>, Arc<DiskFile>)> = None;
        for (part, run, at) in self.laid.within(range) {
            let indexes = as_indexes(&run)?;
            let place = buffer.get_mut(at..at + indexes.len()).ok_or_else(outside)?;
            match part {
                Part::Memory(bytes) => {
                    place.copy_from_slice(bytes.get(indexes).ok_or_else(outside)?);
                }
                Part::Small { file, .. } => {
                    let read = file.open().and_then(|file| file.read_exact_at(place, run.start));
                    if let Err(error) = read {
                        tracing::info!(%error, "a file changed before it was sent");
                        place.fill(0);
                    }
                }
                Part::Run { file, offset, .. } => {
                    let held = opened.take().filter(|(last, _)| Arc::ptr_eq(last, file));
                    let held = match held {
                        Some((_, held)) => held,
                        None => Arc::new(DiskFile::new(file.open().map_err(|e| gone(&e))?.into())),
                    };
                    reads.push(Segment {
                        file: Arc::clone(&held),
                        file_offset: offset + run.start,
                        buffer_offset: at,
                        len: indexes.len(),
                    });
                    opened = Some((file, held));
                }
            }
        }
        Ok(if reads.is_empty() { Load::Filled } else { Load::Read(reads) })
    }
}

/// An object that goes to memory, piece by piece: nothing of it is on disk before somebody has
/// verified it, and no session can write to a file.
#[derive(Debug)]
pub struct GatherSink {
    /// The pieces by their numbers, each with its length.
    laid: Laid<(usize, u64)>,
    memory: Mutex<Vec<Vec<u8>>>,
    came: Arc<AtomicU64>,
}

impl GatherSink {
    /// For pieces of these lengths, in order. They are allocated here: their lengths are checked.
    pub fn new(lens: &[u64]) -> Self {
        let room = lens.iter().map(|&len| vec![0; usize::try_from(len).unwrap_or(0)]);
        let memory = Mutex::new(room.collect());
        let laid = Laid::new(lens.iter().copied().enumerate().collect(), |(_, len)| *len);
        Self { laid, memory, came: Arc::default() }
    }

    /// The same, and `came` grows by each byte that comes.
    #[must_use]
    pub fn counting(self, came: Arc<AtomicU64>) -> Self {
        Self { came, ..self }
    }

    /// The bytes of all pieces.
    pub const fn len(&self) -> u64 {
        self.laid.end
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.laid.end == 0
    }

    /// What came for the piece numbered `at`, once.
    pub fn take(&self, at: usize) -> Vec<u8> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get_mut(at).map(std::mem::take).unwrap_or_default()
    }
}

impl BlockSink for GatherSink {
    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        let range = range_of(placed, self.laid.end)?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for ((number, _), run, at) in self.laid.within(range) {
            let indexes = as_indexes(&run)?;
            let bytes = data.get(at..at + indexes.len()).ok_or_else(outside)?;
            let place = memory.get_mut(*number).and_then(|room| room.get_mut(indexes));
            place.ok_or_else(outside)?.copy_from_slice(bytes);
        }
        self.came.fetch_add(placed.len.get(), Ordering::Relaxed);
        Ok(Store::Taken)
    }

    fn stored(&self, _placed: Placed, _digest: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

fn range_of(placed: Placed, end: u64) -> Result<Range<u64>, Failure> {
    let start = placed.offset.get();
    let range = start..start.saturating_add(placed.len.get());
    if range.end <= end { Ok(range) } else { Err(outside()) }
}

fn as_indexes(run: &Range<u64>) -> Result<Range<usize>, Failure> {
    let index = |n: u64| usize::try_from(n).map_err(|_| outside());
    Ok(index(run.start)?..index(run.end)?)
}

fn gone(error: &io::Error) -> Failure {
    Failure { code: FailCode::SourceChanged, reason: format!("a file cannot be read: {error}") }
}

fn outside() -> Failure {
    let reason = "a block lies outside of its object; this is a bug, please report it";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::ids::ObjectId;
    use farhaul_proto::units::Bytes;
    use proptest::prelude::*;

    fn placed(offset: usize, len: usize) -> Placed {
        let (offset, len) = (Bytes::of_len(offset), Bytes::of_len(len));
        Placed { object: ObjectId::new(0), position: 0, offset, len }
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_carry_the_pieces_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..12),
            block in 1_usize..50,
        ) {
            let whole = pieces.concat();
            let parts = pieces.iter().map(|piece| Part::Memory(piece.clone().into())).collect();
            let source = PartsSource::new(parts);
            prop_assert_eq!(source.len(), whole.len() as u64);
            let lens: Vec<u64> = pieces.iter().map(|piece| piece.len() as u64).collect();
            let sink = GatherSink::new(&lens);
            for offset in (0..whole.len()).step_by(block) {
                let len = block.min(whole.len() - offset);
                let mut buffer = vec![0; block];
                let loaded = source.load(placed(offset, len), &mut buffer).expect("inside");
                prop_assert!(matches!(loaded, Load::Filled));
                prop_assert_eq!(&buffer[..len], &whole[offset..offset + len]);
                let stored = sink.store(placed(offset, len), &buffer[..len]).expect("inside");
                prop_assert!(matches!(stored, Store::Taken));
            }
            for (at, piece) in pieces.iter().enumerate() {
                prop_assert_eq!(&sink.take(at), piece);
            }
        }
    }

    struct Gone;

    impl Opens for Gone {
        fn open(&self) -> io::Result<File> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn a_small_file_that_is_gone_spoils_nothing_beside_it() {
        let (before, behind) = (Part::Memory([1; 3].into()), Part::Memory([2; 3].into()));
        let gone = Part::Small { file: Arc::new(Gone), len: 2 };
        let source = PartsSource::new(vec![before, gone, behind]);
        let mut buffer = [9; 8];
        assert!(matches!(source.load(placed(0, 8), &mut buffer), Ok(Load::Filled)));
        assert_eq!(buffer, [1, 1, 1, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn an_object_with_a_run_of_a_file_that_is_gone_fails() {
        let source = PartsSource::new(vec![Part::Run { file: Arc::new(Gone), offset: 4, len: 2 }]);
        assert!(source.load(placed(0, 2), &mut [0; 2]).is_err());
    }

    #[test]
    fn a_block_beyond_the_end_is_refused() {
        let source = PartsSource::new(vec![Part::Memory(vec![1, 2, 3].into())]);
        assert!(source.load(placed(2, 2), &mut [0; 2]).is_err());
        let sink = GatherSink::new(&[3]);
        assert!(sink.store(placed(2, 2), &[0; 2]).is_err());
    }
}
