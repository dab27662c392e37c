//! What the driver needs from whoever owns the files: where a block's bytes come from, and where
//! they go.
//!
//! Implementations may block, but for what says that it must not; the driver calls them on the
//! worker pools only.

mod memory;

pub use memory::{MemorySink, MemorySource};

use crate::disk::Segment;
use farhaul_proto::content::Digest;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;

/// Why an object cannot go on: for the peer and for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// The kind of failure, as it stands on the wire.
    pub code: FailCode,
    /// What failed and why, in one sentence.
    pub reason: String,
}

/// How a block's data gets into memory.
#[derive(Debug)]
pub enum Load {
    /// The source filled the buffer.
    Filled,
    /// The disk engine should read these runs.
    Read(Vec<Segment>),
}

/// How a block's data gets out of memory.
#[derive(Debug)]
pub enum Store {
    /// The sink has taken it.
    Taken,
    /// The disk engine should write these runs.
    Write(Vec<Segment>),
}

/// Where an outgoing object's bytes come from.
pub trait BlockSource: Send + Sync {
    /// Fills the first `placed.len` bytes of `buffer`, or says what to read there.
    ///
    /// # Errors
    /// The source cannot be read, or is not what it was when it was offered.
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure>;

    /// Whether its bytes lie in memory, so that [`BlockSource::load`] and what it says to read wait
    /// for no device. Called by the driver itself: it must not block.
    fn is_at_hand(&self) -> bool {
        false
    }

    /// Whether packing may pay: false for what is packed already.
    fn may_pack(&self) -> bool {
        true
    }
}

/// Where an incoming object's bytes go.
pub trait BlockSink: Send + Sync {
    /// Whether it would take a block now; if not, it is asked again later. Called by the driver
    /// itself: it must not block.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether its bytes go to memory, so that nothing here waits for a device. Called by the
    /// driver itself: it must not block.
    fn is_at_hand(&self) -> bool {
        false
    }

    /// Takes the verified data of a block, or says where to write it.
    ///
    /// # Errors
    /// The destination cannot take it.
    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure>;

    /// The block's data reached its file (not yet the platter): the place to keep a journal.
    ///
    /// # Errors
    /// The journal cannot be kept.
    fn stored(&self, placed: Placed, digest: Digest) -> Result<(), Failure>;
}
