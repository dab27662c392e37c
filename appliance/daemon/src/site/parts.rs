//! Objects made of parts: pieces of files and of memory, one after the other.

use farhaul_engine::disk::{DiskFile, Segment};
use farhaul_engine::objects::{BlockSink, BlockSource, Failure, Load, Store};
use farhaul_proto::content::Digest;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A piece on its way out.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes in memory.
    Memory(Arc<[u8]>),
    /// A run of a file.
    File {
        /// The file, open for reading.
        file: Arc<DiskFile>,
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
            Self::File { len, .. } => *len,
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
#[derive(Debug)]
pub struct PartsSource(Laid<Part>);

impl PartsSource {
    /// The pieces in order.
    pub fn new(parts: Vec<Part>) -> Self {
        Self(Laid::new(parts, Part::len))
    }

    /// The bytes of all pieces.
    pub const fn len(&self) -> u64 {
        self.0.end
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.end == 0
    }
}

impl BlockSource for PartsSource {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        let range = range_of(placed, self.0.end)?;
        let mut reads = Vec::new();
        for (part, run, at) in self.0.within(range) {
            match part {
                Part::Memory(bytes) => {
                    let run = as_indexes(&run)?;
                    let place = buffer.get_mut(at..at + run.len()).ok_or_else(outside)?;
                    place.copy_from_slice(bytes.get(run).ok_or_else(outside)?);
                }
                Part::File { file, offset, .. } => reads.push(Segment {
                    file: Arc::clone(file),
                    file_offset: offset + run.start,
                    buffer_offset: at,
                    len: as_indexes(&run)?.len(),
                }),
            }
        }
        Ok(if reads.is_empty() { Load::Filled } else { Load::Read(reads) })
    }
}

/// Where a piece goes on its way in.
#[derive(Clone, Debug)]
pub enum Target {
    /// Memory of that length.
    Memory {
        /// Bytes.
        len: u64,
    },
    /// A run of a file.
    File {
        /// The file, open for writing.
        file: Arc<DiskFile>,
        /// Where the run begins.
        offset: u64,
        /// Its length.
        len: u64,
    },
}

impl Target {
    const fn len(&self) -> u64 {
        match self {
            Self::Memory { len } | Self::File { len, .. } => *len,
        }
    }
}

/// An object that goes to several places.
#[derive(Debug)]
pub struct GatherSink {
    laid: Laid<(usize, Target)>,
    /// What came for each piece that goes to memory.
    memory: Mutex<Vec<Vec<u8>>>,
}

impl GatherSink {
    /// The places in order. What goes to memory is allocated here: its lengths are checked.
    pub fn new(targets: Vec<Target>) -> Self {
        let room = targets.iter().map(|target| match target {
            Target::Memory { len } => vec![0; usize::try_from(*len).unwrap_or(0)],
            Target::File { .. } => Vec::new(),
        });
        let memory = Mutex::new(room.collect());
        let laid = targets.into_iter().enumerate().collect();
        Self { laid: Laid::new(laid, |(_, target)| target.len()), memory }
    }

    /// The bytes of all pieces.
    pub const fn len(&self) -> u64 {
        self.laid.end
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.laid.end == 0
    }

    /// What came for the piece numbered `at`; empty if it went to a file.
    pub fn take(&self, at: usize) -> Vec<u8> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get_mut(at).map(std::mem::take).unwrap_or_default()
    }
}

impl BlockSink for GatherSink {
    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        let range = range_of(placed, self.laid.end)?;
        let mut writes = Vec::new();
        for ((number, target), run, at) in self.laid.within(range) {
            let indexes = as_indexes(&run)?;
            match target {
                Target::Memory { .. } => {
                    let bytes = data.get(at..at + indexes.len()).ok_or_else(outside)?;
                    let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                    let place = memory.get_mut(*number).and_then(|room| room.get_mut(indexes));
                    place.ok_or_else(outside)?.copy_from_slice(bytes);
                }
                Target::File { file, offset, .. } => writes.push(Segment {
                    file: Arc::clone(file),
                    file_offset: offset + run.start,
                    buffer_offset: at,
                    len: indexes.len(),
                }),
            }
        }
        Ok(if writes.is_empty() { Store::Taken } else { Store::Write(writes) })
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
            let targets = pieces.iter().map(|piece| Target::Memory { len: piece.len() as u64 });
            let sink = GatherSink::new(targets.collect());
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

    #[test]
    fn a_block_beyond_the_end_is_refused() {
        let source = PartsSource::new(vec![Part::Memory(vec![1, 2, 3].into())]);
        assert!(source.load(placed(2, 2), &mut [0; 2]).is_err());
        let sink = GatherSink::new(vec![Target::Memory { len: 3 }]);
        assert!(sink.store(placed(2, 2), &[0; 2]).is_err());
    }
}
