//! Control messages: what the two ends of a session say over their one reliable, ordered stream.
//!
//! CBOR with numbered fields, one message a frame. Fields of a newer peer are skipped; a message
//! or code it alone knows is an error, so new ones need a feature bit of `Hello`. Everything a
//! message may hold is bounded. Does not judge whether a message is in season.

mod cbor;
mod error;
mod frame;
mod limited;
mod probe;
mod text;
mod validate;

use crate::congestion::Policy;
use crate::fec::{FecPolicy, PackPolicy};
use crate::ids::{BlockIndex, ObjectId, TransferId};
use crate::limits::CONTROL_MESSAGE_MAX;
use minicbor::{Decode, Encode};

pub use crate::content::Digest;
pub use crate::manifest::EntryRange;
pub use error::{ControlError, Field, ShapeError};
pub use frame::{FRAME_PREFIX_LEN, FrameReader, frame_prefix};
pub use limited::{LIMITED_MAX, Limited};
pub use probe::{PathFigures, Probe};
pub use text::{Printable, misleads, reason};

/// Longest name and version of a program in a hello, in bytes.
pub const AGENT_MAX: usize = 64;
/// Longest reason for a human, in bytes.
pub const REASON_MAX: usize = 1024;
/// Ranges of wanted entries in an accept.
pub const WANT_MAX: usize = 1 << 20;
/// Runs of blocks already present in an accept.
pub const HAVE_MAX: usize = 1 << 16;
/// Bit of `features`: answers `probe`.
pub const FEATURE_PROBE: u64 = 1;
/// Failures named one by one at the end of a transfer; the rest is only counted.
pub const FAILURES_MAX: usize = 1000;

/// Things left out of an offer that are named one by one, of each kind; the rest is only counted.
pub const LEFT_OUT_MAX: usize = 256;

/// One control message (`spec: W-060`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Message {
    /// The first message of each side.
    #[n(0)]
    Hello {
        /// Optional abilities, one bit each; unknown bits are ignored.
        #[n(0)]
        features: u64,
        /// Program and version, for logs; at most [`AGENT_MAX`] bytes.
        #[n(1)]
        agent: String,
    },
    /// The sender of files wants to push.
    #[n(1)]
    Offer(#[n(0)] Offer),
    /// The receiver of files wants to pull; answered by an offer or a refusal.
    #[n(2)]
    Request(#[n(0)] Request),
    /// The receiver of files agrees and says what it wants.
    #[n(3)]
    Accept(#[n(0)] Accept),
    /// An offer or a request is turned down.
    #[n(4)]
    Refuse {
        /// Which transfer.
        #[n(0)]
        transfer: TransferId,
        /// Why, for programs.
        #[n(1)]
        code: RefuseCode,
        /// Why, for people; at most [`REASON_MAX`] bytes.
        #[n(2)]
        reason: String,
    },
    /// The sender has read an object to its end, every claim about it holds and its source did
    /// not change meanwhile: the receiver may put it in place.
    #[n(5)]
    Sealed {
        /// Which object.
        #[n(0)]
        object: ObjectId,
    },
    /// The sender sends blocks that the receiver wrongly called present; they get the next
    /// block indices.
    #[n(6)]
    Reopen {
        /// Which object.
        #[n(0)]
        object: ObjectId,
        /// Which blocks: ascending, disjoint; at least one run, at most [`HAVE_MAX`].
        #[n(1)]
        runs: Vec<BlockSpan>,
        /// The index of the first, as the sender counts: both sides must agree.
        #[n(2)]
        first_block: BlockIndex,
    },
    /// One side gives an object up: its source or its destination failed.
    #[n(7)]
    ObjectFailed {
        /// Which object.
        #[n(0)]
        object: ObjectId,
        /// Why, for programs.
        #[n(1)]
        code: FailCode,
        /// Why, for people; at most [`REASON_MAX`] bytes.
        #[n(2)]
        reason: String,
    },
    /// The receiver threw a block away (its digest was wrong) and wants it from the start.
    #[n(8)]
    Restart {
        /// Which block.
        #[n(0)]
        block: BlockIndex,
    },
    /// The receiver has everything on disk that it will have.
    #[n(9)]
    Done(#[n(0)] Done),
    /// Either side gives a transfer up.
    #[n(10)]
    Cancel {
        /// Which transfer.
        #[n(0)]
        transfer: TransferId,
        /// Why, for programs.
        #[n(1)]
        code: FailCode,
        /// Why, for people; at most [`REASON_MAX`] bytes.
        #[n(2)]
        reason: String,
    },
    /// The sender of files that were requested, about once a second: how it goes.
    #[n(11)]
    Figures(#[n(0)] Figures),
    /// The sender of files that were requested, in answer to `Done`: how it went.
    #[n(12)]
    Sent {
        /// Which transfer.
        #[n(0)]
        transfer: TransferId,
        /// How it went.
        #[n(1)]
        figures: Figures,
    },
    /// Asks the peer to measure its way to us.
    #[n(13)]
    Probe(#[n(0)] Probe),
    /// What the peer measured.
    #[n(14)]
    Probed {
        /// Which probe.
        #[n(0)]
        transfer: TransferId,
        /// The way from the peer to us.
        #[n(1)]
        figures: PathFigures,
        /// The peer's wall clock as it says this, in microseconds since 1970.
        #[n(2)]
        clock_us: u64,
    },
}

/// What the sender of files would send.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    /// The transfer that begins.
    #[n(0)]
    pub transfer: TransferId,
    /// Where to, relative to the serving root; empty for the root itself. Only its length is
    /// checked here.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub dest: Vec<u8>,
    /// What is in it.
    #[n(2)]
    pub manifest: ManifestCarrier,
    /// Entries of the manifest, for display and the space check.
    #[n(3)]
    pub entries: u64,
    /// Bytes of data, for display and the space check.
    #[n(4)]
    pub bytes: u64,
    /// Whether the receiver may use what an earlier attempt left behind.
    #[n(5)]
    pub resume: bool,
    /// What is not in the manifest though it was asked for; nothing if missing.
    #[n(6)]
    pub left_out: Option<LeftOut>,
    /// In answer to a wish for one (`spec: W-138`): the least rate that the sender holds, in bits per
    /// second at IP level; 0 for none.
    #[n(7)]
    pub rate_min: Option<u64>,
}

/// What the sender of files could not, or would not, include in its offer (`spec: W-097`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct LeftOut {
    /// What could not be included; at most [`LEFT_OUT_MAX`].
    #[n(0)]
    pub failed: Vec<LeftOutNote>,
    /// How many failed in all.
    #[n(1)]
    pub failed_total: u64,
    /// What was skipped on purpose (sockets, devices); at most [`LEFT_OUT_MAX`].
    #[n(2)]
    pub skipped: Vec<LeftOutNote>,
    /// How many were skipped in all.
    #[n(3)]
    pub skipped_total: u64,
}

/// One thing that is not in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LeftOutNote {
    /// Where it would have been; at most [`PATH_MAX`](crate::limits::PATH_MAX) bytes, for
    /// people only.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Why it is not, for people; at most [`REASON_MAX`] bytes.
    #[n(1)]
    pub reason: String,
}

/// How a manifest reaches the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ManifestCarrier {
    /// Within the offer; at most [`INLINE_MANIFEST_MAX`](crate::limits::INLINE_MANIFEST_MAX)
    /// bytes.
    #[n(0)]
    Inline(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// As the first object of the transfer.
    #[n(1)]
    Object {
        /// Its length in bytes; not zero.
        #[n(0)]
        len: u64,
        /// BLAKE3 of the whole manifest.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        digest: Digest,
    },
}

/// What the receiver of files asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// The transfer that begins.
    #[n(0)]
    pub transfer: TransferId,
    /// What, relative to the serving root; empty for the root itself. Only its length is
    /// checked here.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Whether what an earlier attempt left behind shall be used.
    #[n(2)]
    pub resume: bool,
    /// How it should be sent; as the sender likes if missing.
    #[n(3)]
    pub wishes: Option<Wishes>,
}

/// How the receiver of files would have them sent (`spec: W-098`). What is missing is the
/// sender's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Wishes {
    /// Never faster than this, in bits per second at IP level; not zero.
    #[n(0)]
    pub rate_max: Option<u64>,
    /// How to share the path.
    #[n(1)]
    pub policy: Option<Policy>,
    /// When to send repair symbols.
    #[n(2)]
    pub fec: Option<FecPolicy>,
    /// Whether to pack blocks.
    #[n(3)]
    pub pack: Option<PackPolicy>,
    /// Not slower than this, in bits per second at IP level; not zero.
    #[n(4)]
    pub rate_min: Option<u64>,
}

/// What the receiver wants of an offer, and what it has already.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Accept {
    /// Which transfer.
    #[n(0)]
    pub transfer: TransferId,
    /// Wanted entries: ascending, disjoint; at most [`WANT_MAX`].
    #[n(1)]
    pub want: Vec<EntryRange>,
    /// Blocks that need not be sent: ascending, disjoint; at most [`HAVE_MAX`].
    #[n(2)]
    pub have: Vec<Have>,
}

/// Blocks `first .. first + count` of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockSpan {
    /// The first block, counted within the object.
    #[n(0)]
    pub first: u32,
    /// How many; at least one.
    #[n(1)]
    pub count: u32,
}

/// A run of blocks of one entry's object that the receiver holds, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// Which entry of the manifest.
    #[n(0)]
    pub entry: u32,
    /// The first block, counted within the object.
    #[n(1)]
    pub first: u32,
    /// How many; at least one.
    #[n(2)]
    pub count: u32,
    /// BLAKE3 over the digests of these blocks in order; a sender that finds another value
    /// sends the blocks.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub digest: Digest,
}

/// How a transfer ended, as the receiver saw it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    /// Which transfer.
    #[n(0)]
    pub transfer: TransferId,
    /// Files put in place.
    #[n(1)]
    pub files: u64,
    /// Data bytes in place.
    #[n(2)]
    pub bytes: u64,
    /// Entries that failed; at most [`FAILURES_MAX`].
    #[n(3)]
    pub failed: Vec<EntryFailure>,
    /// How many failed in all.
    #[n(4)]
    pub failed_total: u64,
    /// Files that were in place before.
    #[n(5)]
    pub skipped: u64,
}

/// What only the sender of data knows of the way there. Nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Figures {
    /// Bytes sent on lanes, at IP level.
    #[n(0)]
    pub wire_sent: u64,
    /// Source symbols sent for the first time.
    #[n(1)]
    pub source: u64,
    /// Repair symbols sent.
    #[n(2)]
    pub repair: u64,
    /// Source symbols sent again.
    #[n(3)]
    pub resent: u64,
    /// Lost packets in a million.
    #[n(4)]
    pub loss_ppm: u32,
    /// Smoothed round trip in microseconds.
    #[n(5)]
    pub rtt_us: u64,
    /// Smallest round trip in microseconds.
    #[n(6)]
    pub rtt_min_us: u64,
    /// 95th percentile of the queue delay in microseconds.
    #[n(7)]
    pub queue_delay_p95_us: u64,
    /// What limited for most of the last second, as [`Limit::code`](crate::trace::Limit::code) has it; unknown codes mean
    /// nothing.
    #[n(8)]
    pub limited_by: Option<u8>,
    /// What limited for the longest time.
    #[n(9)]
    pub limited_mostly: Option<u8>,
    /// How long each limit applied; unknown of an older peer.
    #[n(10)]
    pub limited: Option<Limited>,
    /// Data bytes of blocks that were packed.
    #[n(11)]
    pub packed: Option<u64>,
    /// What those blocks were packed into.
    #[n(12)]
    pub packed_to: Option<u64>,
    /// The rate that the sender began with because the path carried it before, in bits per second
    /// at IP level; missing if it knew none.
    #[n(13)]
    pub start_hint_bps: Option<u64>,
}

/// An entry that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EntryFailure {
    /// Which entry of the manifest.
    #[n(0)]
    pub entry: u32,
    /// Why, for programs.
    #[n(1)]
    pub code: FailCode,
    /// Why, for people; at most [`REASON_MAX`] bytes.
    #[n(2)]
    pub reason: String,
}

/// Why an offer or a request was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RefuseCode {
    /// This peer may not do this.
    #[n(0)]
    NotAllowed,
    /// The path is malformed or leads out of the serving root.
    #[n(1)]
    BadPath,
    /// There is nothing at the path.
    #[n(2)]
    NotFound,
    /// Something is at the path that must not be replaced.
    #[n(3)]
    Exists,
    /// It would not fit on the disk.
    #[n(4)]
    NoSpace,
    /// The operating system forbids it.
    #[n(5)]
    NoPermission,
    /// Too much else is going on; try later.
    #[n(6)]
    Busy,
    /// It asks for an ability this side lacks.
    #[n(7)]
    Unsupported,
    /// This side has a fault of its own.
    #[n(8)]
    Internal,
}

/// Why an entry, an object or a whole transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FailCode {
    /// The source changed while it was sent.
    #[n(0)]
    SourceChanged,
    /// The source could not be read.
    #[n(1)]
    SourceUnreadable,
    /// Somebody else changed the destination meanwhile.
    #[n(2)]
    DestinationChanged,
    /// The disk is full.
    #[n(3)]
    NoSpace,
    /// The operating system forbids it.
    #[n(4)]
    NoPermission,
    /// The disk failed.
    #[n(5)]
    Io,
    /// The peer broke the protocol.
    #[n(6)]
    Protocol,
    /// The user or the program stopped it.
    #[n(7)]
    Cancelled,
    /// The side that reports has a fault of its own.
    #[n(8)]
    Internal,
    /// Another transfer works on the same file.
    #[n(9)]
    Busy,
}

impl Message {
    /// The body of the message; what stands before it is [`frame_prefix`]'s.
    ///
    /// # Panics
    /// When the body exceeds [`CONTROL_MESSAGE_MAX`], which no message that passes
    /// [`Self::validate`] does.
    pub fn encode_body(&self) -> Vec<u8> {
        debug_assert!(self.validate().is_ok(), "the peer would refuse this message: {self:?}");
        let body = minicbor::to_vec(self).expect("no field refuses its value");
        assert!(body.len() <= CONTROL_MESSAGE_MAX, "the message passes validate");
        body
    }

    /// Reads the body of one frame.
    ///
    /// # Errors
    /// The body is not one message that keeps every rule of the protocol; the session cannot go
    /// on (`spec: W-062`).
    pub fn decode(frame: &[u8]) -> Result<Self, ControlError> {
        if frame.len() > CONTROL_MESSAGE_MAX {
            return Err(ControlError::FrameTooLong { len: frame.len() });
        }
        cbor::check_shape(frame)?;
        let message: Self = minicbor::decode(frame)?;
        message.validate()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
