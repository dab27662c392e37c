//! Forward error correction: a guard over the RaptorQ library (RFC 6330, systematic).
//!
//! The library panics on bad numbers and lengths and solves the whole system at every attempt.
//! Here every field is checked before it enters, each decode attempt solves once, and a panic
//! that gets through all the same becomes an error. What this module does not do: decide when
//! redundancy is worth its bytes (that is [`policy`], whose answer the sender weighs), run on
//! its own thread, or trust what it decoded: [`verify_source`] comes after every [`decode`].
//!
//! ```text
//! data ++ digest ++ zeros --repair_symbols--> repair symbols ~~> --decode--> missing symbols
//! '----------- K * T bytes ------------'                         '--verify_source--> digest
//! ```

mod decode;
mod encode;
mod packed;
pub mod policy;
mod shape;
mod symbols;

pub use decode::decode;
pub use encode::{RepairEncoder, RepairSet, repair_symbols};
pub use packed::{
    PACKED_OVERHEAD, PackPolicy, UnknownPackPolicy, finish_packed, packed_parts, packed_shape,
};
pub use policy::{FecPolicy, Goal, LossEstimate, proactive};
pub use shape::{BlockShape, ShapeError, VerifyError, append_digest, finish_source, verify_source};
pub use symbols::{Missing, SymbolSet};

use crate::ids::SymbolId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// Why symbols could not be produced or a block not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FecError {
    /// Our caller passed a buffer that does not hold the block.
    #[error("buffer of {got} bytes for a block of {needed}")]
    BufferTooShort {
        /// Bytes of the block's source symbols.
        needed: usize,
        /// Bytes of the buffer.
        got: usize,
    },
    /// Our caller passed a symbol set that was made for another shape.
    #[error("symbol set for {got} symbols, the block has {expected}")]
    SetMismatch {
        /// Source symbols of the block.
        expected: u32,
        /// Capacity of the set.
        got: u32,
    },
    /// The peer sent, or our caller asked for, a repair symbol with the id of a source symbol.
    #[error("symbol {id} is a source symbol, repair symbols start at {symbols}")]
    NotRepair {
        /// The offending id.
        id: SymbolId,
        /// Source symbols of the block.
        symbols: u32,
    },
    /// The peer sent, or our caller asked for, an id beyond the 24 bits of the space.
    #[error("symbol {id} lies outside the space of encoding symbols")]
    IdOutOfRange {
        /// The offending id.
        id: SymbolId,
    },
    /// The same repair symbol stands twice in the list.
    #[error("symbol {id} twice")]
    Duplicate {
        /// The id that repeats.
        id: SymbolId,
    },
    /// The peer sent a repair symbol of another size than the block's.
    #[error("symbol {id} has {got} bytes instead of {expected}")]
    SymbolLength {
        /// The offending symbol.
        id: SymbolId,
        /// The block's symbol size.
        expected: u16,
        /// What came.
        got: usize,
    },
    /// More repair symbols at once than [`limits::BLOCK_REPAIR_MAX`](crate::limits::BLOCK_REPAIR_MAX).
    #[error("{count} repair symbols at once, the limit is {limit}")]
    TooMany {
        /// What was asked for or passed.
        count: usize,
        /// The limit.
        limit: u32,
    },
    /// Fewer symbols than source symbols: no system to solve.
    #[error("{have} symbols of at least {need}")]
    TooFew {
        /// Distinct symbols at hand.
        have: u32,
        /// Source symbols of the block.
        need: u32,
    },
    /// The symbols at hand do not determine the block; one or two more will.
    #[error("the symbols at hand do not determine the block yet")]
    NotYet,
    /// The library panicked; the block must be fetched by exact repair.
    #[error("the RaptorQ library failed on this block")]
    Library,
}

/// The unwind barrier around the library.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, FecError> {
    // Everything the closures own dies with them, so no broken state can be seen afterwards.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| FecError::Library)
}

/// The library's parameters for one block alone: one source block, one sub-block, alignment 1.
fn library_parameters(shape: BlockShape) -> raptorq::ObjectTransmissionInformation {
    let length = shape.source_len() as u64;
    raptorq::ObjectTransmissionInformation::new(length, shape.symbol_size(), 1, 1, 1)
}

/// The one source block number that the library ever sees.
const LIBRARY_BLOCK: u8 = 0;

#[cfg(test)]
mod tests;
