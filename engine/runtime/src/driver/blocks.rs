//! Blocks in memory: the body's half of each block's life.
//!
//! ```text
//! out:  lease -> load (files) [-> disk read] -> digest (work) -> shared, read-only -> release
//! in:   lease <- symbols;  decode + verify (work) -> store (files) [-> disk write] -> journal
//!       (files) -> release
//! ```
//! `work` computes and never waits; `files` calls sources and sinks, which may wait for a file
//! system.
//!
//! No decision is made here: the core says when, this says how.

use super::command::SessionKey;
use crate::buffers::{Lease, SharedLease};
use crate::disk::{DiskError, Segment, in_memory, read_now, write_now};
use crate::objects::{BlockSink, BlockSource, Failure, Load, Store};
use crate::pack::{Effort, Experience, UnpackError, pack_block, unpack_block};
use farhaul_proto::content::{BlockHasher, Digest, block_digest};
use farhaul_proto::fec::{
    BlockShape, FecError, RepairSet, SymbolSet, append_digest, decode, repair_symbols,
    verify_source,
};
use farhaul_proto::ids::{BlockIndex, SymbolId};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::Verified;
use farhaul_proto::wire::control::FailCode;
use std::sync::Arc;

/// A block on its way out.
#[derive(Debug)]
pub(super) struct SendBlock {
    pub(super) shape: BlockShape,
    pub(super) data: SharedLease,
    pub(super) repair: Vec<RepairSet>,
}

impl SendBlock {
    /// The bytes of a symbol, if they are in memory.
    pub(super) fn symbol(&self, symbol: SymbolId) -> Option<&[u8]> {
        let size = usize::from(self.shape.symbol_size());
        if symbol.get() < self.shape.symbols() {
            let start = usize::try_from(symbol.get()).ok()? * size;
            return self.data.as_slice().get(start..start + size);
        }
        let set = self
            .repair
            .iter()
            .find(|set| symbol >= set.first && symbol.get() - set.first.get() < set.len())?;
        Some(set.symbol(symbol.get() - set.first.get()))
    }
}

/// A block on its way in; the lease is away while a worker or the disk has it.
#[derive(Debug)]
pub(super) struct RecvBlock {
    pub(super) lease: Option<Lease>,
    pub(super) repair: Vec<(SymbolId, Box<[u8]>)>,
}

/// A finished job.
#[derive(Debug)]
pub(super) enum Done {
    /// The source gave its answer.
    Loaded { at: At, shape: BlockShape, placed: Placed, lease: Lease, load: Result<Load, Failure> },
    /// Digest and padding stand behind the data.
    Finished { at: At, shape: BlockShape, lease: Lease },
    /// Repair symbols, or none if the encoder failed.
    Encoded { at: At, shape: BlockShape, repair: Option<RepairSet> },
    /// A block was decoded and checked, and what was done with it then.
    Checked { at: At, placed: Placed, block: RecvBlock, outcome: Checked, then: Option<Box<Done>> },
    /// The sink said where a block is to be written.
    Write { at: At, placed: Placed, digest: Digest, lease: Lease, segments: Vec<Segment> },
    /// The sink has taken the block, and noted it; or it could not.
    Stored { at: At, placed: Placed, result: Result<(), Failure> },
    /// The job panicked.
    Panicked { at: At },
}

/// Which way a block travels; both ways count their blocks from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the peer.
    Out,
    /// From the peer.
    In,
}

/// Which block of which session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) session: SessionKey,
    pub(super) way: Way,
    pub(super) block: BlockIndex,
}

/// How a check ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Checked {
    /// Right.
    Good(Digest),
    /// Not right.
    Not(Verified),
}

pub(super) fn load_job(
    at: At,
    shape: BlockShape,
    placed: Placed,
    mut lease: Lease,
    source: Arc<dyn BlockSource>,
) -> impl FnOnce() -> Done {
    move || {
        let load = source.load(placed, lease.as_mut_slice());
        Done::Loaded { at, shape, placed, lease, load }
    }
}

/// How a block may be packed.
pub(super) struct Packing {
    pub(super) effort: Effort,
    pub(super) experience: Arc<Experience>,
}

/// A block on its way to its digest.
pub(super) struct Finish {
    pub(super) at: At,
    pub(super) shape: BlockShape,
    pub(super) placed: Placed,
    pub(super) lease: Lease,
    pub(super) packing: Option<Packing>,
}

/// Loads a block from a source that is at hand and finishes it.
pub(super) fn load_and_finish_job(
    finish: Finish,
    source: Arc<dyn BlockSource>,
) -> impl FnOnce() -> Done {
    move || {
        let Finish { at, shape, placed, mut lease, packing } = finish;
        let runs = match source.load(placed, lease.as_mut_slice()) {
            Ok(Load::Read(runs)) if in_memory(&runs) && fills(&runs, placed) => runs,
            load => return Done::Loaded { at, shape, placed, lease, load },
        };
        match read_and_hash(lease.as_mut_slice(), &runs) {
            Ok(hasher) => {
                let digest = hasher.finish(placed.offset.get());
                finished(Finish { at, shape, placed, lease, packing }, &digest)
            }
            Err(error) => {
                let load = Err(disk_failure(&error, true));
                Done::Loaded { at, shape, placed, lease, load }
            }
        }
    }
}

/// So much is read before it is hashed: it is still in this processor's cache.
const PIECE: usize = 128 << 10;

fn read_and_hash(buffer: &mut [u8], runs: &[Segment]) -> Result<BlockHasher, DiskError> {
    let mut hasher = BlockHasher::new();
    for run in runs {
        for start in (0..run.len).step_by(PIECE) {
            let piece = Segment {
                file: Arc::clone(&run.file),
                file_offset: run.file_offset + start as u64,
                buffer_offset: run.buffer_offset + start,
                len: PIECE.min(run.len - start),
            };
            read_now(buffer, std::slice::from_ref(&piece))?;
            hasher.update(&buffer[piece.buffer_offset..piece.buffer_offset + piece.len]);
        }
    }
    Ok(hasher)
}

pub(super) fn finish_job(finish: Finish) -> impl FnOnce() -> Done {
    move || {
        let data = &finish.lease.as_slice()[..finish.shape.data_len()];
        let digest = block_digest(data, finish.placed.offset.get());
        finished(finish, &digest)
    }
}

/// Puts the digest behind the data, and packs them where that may pay.
fn finished(finish: Finish, digest: &Digest) -> Done {
    let Finish { at, shape, mut lease, packing, .. } = finish;
    let buffer = lease.as_mut_slice();
    append_digest(shape, buffer, digest);
    let packed = packing.and_then(|Packing { effort, experience }| {
        pack_block(shape, buffer, digest, effort, &experience)
    });
    Done::Finished { at, shape: packed.unwrap_or(shape), lease }
}

pub(super) fn encode_job(
    at: At,
    shape: BlockShape,
    data: SharedLease,
    first: SymbolId,
    count: u32,
) -> impl FnOnce() -> Done {
    move || {
        let repair = repair_symbols(shape, data.as_slice(), first, count);
        if let Err(error) = &repair {
            tracing::warn!(%error, block = %at.block, "repair symbols could not be computed");
        }
        Done::Encoded { at, shape, repair: repair.ok() }
    }
}

/// Everything a check needs.
pub(super) struct Check {
    pub(super) at: At,
    pub(super) shape: BlockShape,
    pub(super) placed: Placed,
    pub(super) present: SymbolSet,
    pub(super) block: RecvBlock,
    /// Where it goes, if that is at hand: then it is stored while this processor's cache has it.
    pub(super) sink: Option<Arc<dyn BlockSink>>,
}

pub(super) fn check_job(check: Check) -> impl FnOnce() -> Done {
    move || {
        let Check { at, shape, placed, present, mut block, sink } = check;
        let outcome = match &mut block.lease {
            Some(lease) => check_block(shape, placed, &present, lease, &block.repair),
            None => Checked::Not(Verified::Bad),
        };
        let then = match (outcome, sink, block.lease.take()) {
            (Checked::Good(digest), Some(sink), Some(lease)) => {
                Some(Box::new(store_job(at, placed, digest, lease, sink)()))
            }
            (_, _, lease) => {
                block.lease = lease;
                None
            }
        };
        Done::Checked { at, placed, block, outcome, then }
    }
}

fn check_block(
    shape: BlockShape,
    placed: Placed,
    present: &SymbolSet,
    lease: &mut Lease,
    repair: &[(SymbolId, Box<[u8]>)],
) -> Checked {
    let repair: Vec<(SymbolId, &[u8])> = repair.iter().map(|(id, data)| (*id, &**data)).collect();
    match decode(shape, lease.as_mut_slice(), present, &repair) {
        Ok(()) => {}
        Err(FecError::NotYet | FecError::TooFew { .. }) => return Checked::Not(Verified::NotYet),
        Err(error) => {
            tracing::warn!(%error, "a block could not be decoded");
            return Checked::Not(Verified::Bad);
        }
    }
    let (offset, buffer) = (placed.offset.get(), lease.as_mut_slice());
    let checked = match shape.packed_symbols() {
        Some(_) => unpack_block(shape, buffer, placed.len.as_len(), offset),
        None => verify_source(shape, buffer, offset).map_err(UnpackError::from),
    };
    match checked {
        Ok(digest) => Checked::Good(digest),
        Err(error) => {
            tracing::warn!(%error, "a block arrived that is not what was sent");
            Checked::Not(Verified::Bad)
        }
    }
}

pub(super) fn store_job(
    at: At,
    placed: Placed,
    digest: Digest,
    lease: Lease,
    sink: Arc<dyn BlockSink>,
) -> impl FnOnce() -> Done {
    move || match sink.store(placed, &lease.as_slice()[..placed.len.as_len()]) {
        Ok(Store::Taken) => Done::Stored { at, placed, result: sink.stored(placed, digest) },
        Ok(Store::Write(segments))
            if sink.is_at_hand() && in_memory(&segments) && fills(&segments, placed) =>
        {
            let written = write_now(lease.as_slice(), &segments);
            let written = written.map_err(|error| disk_failure(&error, false));
            Done::Stored { at, placed, result: written.and_then(|()| sink.stored(placed, digest)) }
        }
        Ok(Store::Write(segments)) => Done::Write { at, placed, digest, lease, segments },
        Err(failure) => Done::Stored { at, placed, result: Err(failure) },
    }
}

pub(super) fn stored_job(
    at: At,
    placed: Placed,
    digest: Digest,
    sink: Arc<dyn BlockSink>,
) -> impl FnOnce() -> Done {
    move || Done::Stored { at, placed, result: sink.stored(placed, digest) }
}

/// A disk request under way, with what it takes to ask for it again.
pub(super) struct Io {
    pub(super) at: At,
    pub(super) placed: Placed,
    pub(super) segments: Vec<Segment>,
    pub(super) aim: Aim,
    /// It was asked of an engine that broke before.
    pub(super) again: bool,
}

/// What a disk request is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// A block is being read.
    Read(BlockShape),
    /// A block with this digest is being written.
    Write(Digest),
}

/// What a disk error means to the user and to the peer.
pub(super) fn disk_failure(error: &DiskError, reading: bool) -> Failure {
    let code = match error {
        _ if error.is_out_of_space() => FailCode::NoSpace,
        // It had that length when it was listed: somebody cut it off, the disk is well.
        DiskError::UnexpectedEof { .. } if reading => FailCode::SourceChanged,
        _ if reading => FailCode::SourceUnreadable,
        _ => FailCode::Io,
    };
    let what = if reading { "reading the source" } else { "writing the destination" };
    Failure { code, reason: format!("{what} failed: {error}") }
}

/// Whether the segments add up to the block, one behind the other.
pub(super) fn fills(segments: &[Segment], placed: Placed) -> bool {
    let end = segments
        .iter()
        .try_fold(0, |end, segment| (segment.buffer_offset == end).then_some(end + segment.len));
    end == Some(placed.len.as_len())
}
