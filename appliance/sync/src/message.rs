//! What two sites say to each other about folders, over the ordered stream of their session.
//!
//! CBOR with numbered fields, one message a frame (PROTOCOL.md W-063). Fields of a newer peer are
//! skipped; a message that it alone knows is an error, so new ones need a feature bit of the hello.
//! Everything that may grow travels as an object on the lanes. Whether a message is in season is
//! not decided here.

mod records;

pub use records::{Records, RecordsError, SealedRun};

use crate::chunk::PageId;
use crate::reconcile::{Part, Turn};
use crate::seal::FolderKey;
use crate::swarm::words::Word;
use crate::version::{Incarnation, ManifestId};
use farhaul_proto::ids::{BlockIndex, ObjectId};
use minicbor::{Decode, Encode};

/// Bit of the hello's `features`: the session is one of sites that share folders. It is outside of
/// what transfers use.
pub const FEATURE_SITES: u64 = 1 << 16;
/// Bit of the hello's `features`: the site compares what it holds ([`Message::Compare`]).
pub const FEATURE_COMPARES: u64 = 1 << 17;
/// Bit of the hello's `features`: the site cuts files and lists as [`FORM`](crate::chunk::FORM) 2 says,
/// so that the names of contents mean the same to both (spec: S-115).
pub const FEATURE_FORM: u64 = 1 << 18;
/// Bit of the hello's `features`: the site knows jobs ([`Message::Job`]).
pub const FEATURE_JOBS: u64 = 1 << 19;
/// Bit of the hello's `features`: the site knows swarms ([`Message::Swarm`], [`Wanted::Piece`]).
pub const FEATURE_SWARMS: u64 = 1 << 20;
/// Folders in one message.
pub const FOLDERS_MAX: usize = 4096;
/// Files of which something is asked in one message.
pub const WANTED_MAX: usize = 4096;
/// Ranges of files asked for, in one message.
pub const RANGES_MAX: usize = 1 << 16;
/// Pages of chunk lists asked for, in one message.
pub const PAGES_MAX: usize = 64;
/// Files of which ranges are asked for, in one message.
pub const RANGED_MAX: usize = 16;
/// Records that stand in a message itself; more of them travel as an object.
pub const INLINE_MAX: usize = 16 << 10;
/// Encoded records that travel at once.
pub const RECORDS_MAX: usize = 8 << 20;
/// Longest message.
pub const MESSAGE_MAX: usize = 2 << 20;
/// Longest reason for a human, in bytes.
pub const REASON_MAX: usize = 1024;

/// One message (spec: S-051).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Message {
    /// What this side shares with the peer, and how far it has come there: at the start, and
    /// whenever it changes.
    #[n(0)]
    Share {
        /// Each folder once.
        #[n(0)]
        folders: Vec<Shared>,
    },
    /// Records of a folder that the peer has not been told, in the order of our arrival numbers.
    #[n(1)]
    Records {
        /// Of which folder.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// In which life of our index.
        #[n(1)]
        epoch: u64,
        /// Everything up to here the peer has, or has been sent.
        #[n(2)]
        after: u64,
        /// And with these everything up to here.
        #[n(3)]
        to: u64,
        /// What they are.
        #[n(4)]
        carrier: Carrier,
    },
    /// Everything up to an arrival number of the peer is durable here.
    #[n(2)]
    Stored {
        /// Of which folder.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// In which life of the peer's index.
        #[n(1)]
        epoch: u64,
        /// Up to where.
        #[n(2)]
        up_to: u64,
    },
    /// Asks for contents.
    #[n(3)]
    Ask {
        /// Names the answer; ascending.
        #[n(0)]
        id: u64,
        /// Of which folder.
        #[n(1)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// What.
        #[n(2)]
        wanted: Vec<Wanted>,
    },
    /// The answer: what follows as the next object of this direction, if it has any bytes.
    #[n(4)]
    Give {
        /// Which question.
        #[n(0)]
        id: u64,
        /// For each thing asked for, its length in the object; `None` where it is not here. Of none at
        /// all: the folder halts, and what is in it is not known (spec: S-159).
        #[n(1)]
        lens: Vec<Option<u64>>,
    },
    /// An object does not come to its end: a file changed, or a disk failed.
    #[n(5)]
    Failed {
        /// Which.
        #[n(0)]
        object: ObjectId,
        /// Whether it is one that the hearer sends.
        #[n(1)]
        is_yours: bool,
        /// Why, for people; at most [`REASON_MAX`] bytes.
        #[n(2)]
        reason: String,
    },
    /// A block of the peer's was thrown away (its digest was wrong): wanted from its start.
    #[n(6)]
    Restart {
        /// Which.
        #[n(0)]
        block: BlockIndex,
    },
    /// A turn of a comparison of what both hold of a folder; to peers with [`FEATURE_COMPARES`] only.
    #[n(16)]
    Compare {
        /// Which folder.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// Which comparison; what is said in it is salted with this.
        #[n(1)]
        #[cbor(with = "crate::cbor::name")]
        salt: [u8; 32],
        /// Whether it is an answer.
        #[n(2)]
        is_answer: bool,
        /// What is said.
        #[n(3)]
        turn: Turn,
    },
    /// A comparison comes to nothing: both tell everything, as if there had been none.
    #[n(17)]
    Incomparable {
        /// Of which folder.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// Which comparison.
        #[n(1)]
        #[cbor(with = "crate::cbor::name")]
        salt: [u8; 32],
    },
    /// Of a job: an order of its leader, or a report to it ([`JobMessage`](crate::job::JobMessage)); to
    /// peers with [`FEATURE_JOBS`] only.
    #[n(18)]
    Job {
        /// At most [`JOB_MESSAGE_MAX`](crate::job::JOB_MESSAGE_MAX).
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// What is said of a content that spreads among the sites of a folder; to peers with
    /// [`FEATURE_SWARMS`] only.
    #[n(19)]
    Swarm {
        /// Of which folder.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        folder: FolderKey,
        /// Of which content.
        #[n(1)]
        #[cbor(with = "crate::cbor::name")]
        manifest: ManifestId,
        /// What.
        #[n(2)]
        word: Box<Word>,
    },
}

/// A folder that both may share (spec: S-052).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Shared {
    /// Which.
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    pub folder: FolderKey,
    /// The life of this side's index.
    #[n(1)]
    pub epoch: u64,
    /// The highest arrival number of this side.
    #[n(2)]
    pub head: u64,
    /// How much of the peer's index is durable here; `None`: nothing that can be named.
    #[n(3)]
    pub followed: Option<Followed>,
}

/// How far one index follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Followed {
    /// In which life of the index that is followed.
    #[n(0)]
    pub epoch: u64,
    /// Its arrival number up to which everything is durable.
    #[n(1)]
    pub up_to: u64,
}

impl Followed {
    /// From where to go on with an index of the life `epoch`.
    pub fn start(followed: Option<Self>, epoch: Incarnation) -> u64 {
        followed.filter(|followed| followed.epoch == epoch.get()).map_or(0, |known| known.up_to)
    }
}

/// How records travel.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Carrier {
    /// In the message; at most [`INLINE_MAX`] bytes.
    #[n(0)]
    Inline(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// As the next object of this direction.
    #[n(1)]
    Object {
        /// Its bytes; at most [`RECORDS_MAX`].
        #[n(0)]
        len: u64,
    },
}

/// Something of a file (spec: S-057).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// A page of a chunk list. The topmost one has the name of the manifest.
    #[n(0)]
    Page {
        /// Which.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        page: PageId,
    },
    /// All of its bytes.
    #[n(1)]
    Whole {
        /// Of which content.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        manifest: ManifestId,
    },
    /// Some of its bytes: those of chunks, as its chunk list lays them out.
    #[n(2)]
    Ranges {
        /// Of which content.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        manifest: ManifestId,
        /// Which: ascending and disjoint.
        #[n(1)]
        ranges: Vec<ByteRange>,
    },
    /// Some of the bytes of a piece ([`Pieces`](crate::swarm::Pieces)), for one who said to have it; the
    /// only thing asked for in its message, and to peers with [`FEATURE_SWARMS`] only.
    #[n(3)]
    Piece {
        /// Of which content.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        manifest: ManifestId,
        /// Which piece of it.
        #[n(1)]
        piece: u32,
        /// Which bytes, counted from the start of the piece: ascending and disjoint.
        #[n(2)]
        ranges: Vec<ByteRange>,
    },
}

/// Bytes of a file that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ByteRange {
    /// The first, from 0.
    #[n(0)]
    pub offset: u64,
    /// How many, from 1.
    #[n(1)]
    pub len: u64,
}

/// Why a frame is no message; its sender is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MESSAGE_MAX`].
    #[error("a message of {len} bytes is refused")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// Not the CBOR that is expected here.
    #[error("malformed message")]
    Malformed(#[from] minicbor::decode::Error),
    /// Bytes after the end.
    #[error("bytes after the end of the message")]
    TrailingBytes,
    /// Something is out of its range.
    #[error("the message's {field} is out of range")]
    Range {
        /// What.
        field: &'static str,
    },
}

impl Message {
    /// The body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.check().is_ok(), "the peer would refuse this: {self:?}");
        match minicbor::to_vec(self) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("encoding into memory: {error}"),
        }
    }

    /// Reads and checks the body of one frame.
    ///
    /// # Errors
    /// [`MessageError`] names the first rule that it breaks; the session cannot go on.
    pub fn decode(frame: &[u8]) -> Result<Self, MessageError> {
        if frame.len() > MESSAGE_MAX {
            return Err(MessageError::TooLong { len: frame.len() });
        }
        let mut decoder = minicbor::Decoder::new(frame);
        let message: Self = decoder.decode()?;
        if decoder.position() != frame.len() {
            return Err(MessageError::TrailingBytes);
        }
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Share { folders } => {
                require(folders.len() <= FOLDERS_MAX, "number of folders")?;
                let mut keys: Vec<_> = folders.iter().map(|shared| shared.folder).collect();
                keys.sort_unstable();
                require(keys.windows(2).all(|pair| pair[0] != pair[1]), "list of folders")
            }
            Self::Records { after, to, carrier, .. } => {
                // A first part may have nothing to tell but how far it is told.
                require(after <= to, "numbers")?;
                match carrier {
                    Carrier::Inline(bytes) => require(bytes.len() <= INLINE_MAX, "records"),
                    Carrier::Object { len } => {
                        let fits = usize::try_from(*len).is_ok_and(|len| len <= RECORDS_MAX);
                        require(fits && *len > 0, "length of records")
                    }
                }
            }
            Self::Ask { wanted, .. } => check_wanted(wanted),
            Self::Give { lens, .. } => {
                require(lens.len() <= WANTED_MAX, "number of answers")?;
                let total = lens.iter().flatten().try_fold(0_u64, |sum, &len| sum.checked_add(len));
                require(total.is_some(), "length of answers")
            }
            Self::Failed { reason, .. } => require(reason.len() <= REASON_MAX, "reason"),
            Self::Compare { turn, .. } => {
                require(turn.number > 0, "turn")?;
                require(Part::are_valid(&turn.parts), "ranges of a comparison")
            }
            Self::Job { bytes } => require(bytes.len() <= crate::job::JOB_MESSAGE_MAX, "job"),
            Self::Swarm { word, .. } => require(word.is_bounded(), "word of a swarm"),
            Self::Stored { .. } | Self::Restart { .. } | Self::Incomparable { .. } => Ok(()),
        }
    }
}

fn check_wanted(wanted: &[Wanted]) -> Result<(), MessageError> {
    require((1..=WANTED_MAX).contains(&wanted.len()), "number of questions")?;
    let pages = wanted.iter().filter(|one| matches!(one, Wanted::Page { .. })).count();
    require(pages <= PAGES_MAX, "number of pages")?;
    let ranged = wanted.iter().filter(|one| matches!(one, Wanted::Ranges { .. })).count();
    require(ranged <= RANGED_MAX, "number of files with ranges")?;
    let is_piece = wanted.iter().any(|one| matches!(one, Wanted::Piece { .. }));
    require(!is_piece || wanted.len() == 1, "number of pieces")?;
    let mut count = 0_usize;
    for one in wanted {
        let (Wanted::Ranges { ranges, .. } | Wanted::Piece { ranges, .. }) = one else { continue };
        count += ranges.len();
        require(!ranges.is_empty() && count <= RANGES_MAX, "number of ranges")?;
        let mut end = 0_u64;
        for range in ranges {
            let next = range.offset.checked_add(range.len);
            require(range.offset >= end && range.len > 0 && next.is_some(), "ranges of bytes")?;
            end = next.unwrap_or(u64::MAX);
        }
    }
    Ok(())
}

fn require(holds: bool, field: &'static str) -> Result<(), MessageError> {
    if holds { Ok(()) } else { Err(MessageError::Range { field }) }
}

#[cfg(test)]
mod tests;
