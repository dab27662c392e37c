//! The header of a lane packet: which lane, which number, which symbol.
//!
//! Everything here is read before authentication, so it only says where to look for the key and
//! what the datagram claims to be; nothing may change because of it. All of it is associated
//! data of the AEAD. Does not decrypt and does not restore packet numbers.

use crate::ids::{BlockIndex, LaneTag, PacketNumber, SymbolId};
use crate::limits::{
    DATA_HEADER_LEN, DATAGRAM_MAX, FEEDBACK_LEN_MAX, PACKED_SYMBOL_ID_END, PACKED_SYMBOLS_MAX,
    PLAIN_HEADER_LEN, SYMBOL_ID_END, SYMBOL_SIZE_JUMBO, SYMBOL_SIZE_SMALL, TAG_LEN,
};
use crate::wire::number::{KeyEpoch, TruncatedNumber};
use core::num::NonZeroU16;
use core::ops::RangeInclusive;
use thiserror::Error;

/// The version of the lane packet format: the high half of the first byte.
pub const VERSION: u8 = 1;
/// Every symbol is a multiple of this: the alignment that RaptorQ and SIMD units like.
pub const SYMBOL_SIZE_STEP: u16 = 64;
/// The smallest datagram that carries a path challenge or its response.
pub const PATH_DATAGRAM_MIN: usize = 1200;

/// Low bits of the symbol field that are the id, in packets of packed blocks.
const PACKED_ID_BITS: u32 = PACKED_SYMBOL_ID_END.trailing_zeros();
const _: () = assert!(PACKED_SYMBOLS_MAX as u32 == (SYMBOL_ID_END >> PACKED_ID_BITS) - 1);

/// First bytes below this belong to STUN (RFC 7983).
const FIRST_BYTE_MIN: u8 = 4;
/// A data header goes as far as the last byte of the symbol id.
const _: () = assert!(PLAIN_HEADER_LEN + 4 + 3 == DATA_HEADER_LEN);
const _: () = assert!(SYMBOL_SIZE_JUMBO.is_multiple_of(SYMBOL_SIZE_STEP));
const _: () = assert!(SYMBOL_SIZE_SMALL.is_multiple_of(SYMBOL_SIZE_STEP));

/// What a lane packet is (`spec: W-013`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One symbol of a block.
    Data = 0,
    /// One symbol, sent back to back with its neighbours to measure the bottleneck.
    DataTrain = 1,
    /// Zero bytes that probe the path.
    Pad = 2,
    /// Zero bytes inside a measuring train.
    PadTrain = 3,
    /// A receiver's report.
    Feedback = 4,
    /// A question whether the peer receives at an address.
    PathChallenge = 5,
    /// The answer to a challenge.
    PathResponse = 6,
    /// Reserved: the end of the session.
    Close = 7,
    /// One symbol of a packed block.
    Packed = 8,
    /// One symbol of a packed block, inside a measuring train.
    PackedTrain = 9,
}

impl Kind {
    /// Every kind, in the order of their values.
    pub const ALL: [Self; 10] = [
        Self::Data,
        Self::DataTrain,
        Self::Pad,
        Self::PadTrain,
        Self::Feedback,
        Self::PathChallenge,
        Self::PathResponse,
        Self::Close,
        Self::Packed,
        Self::PackedTrain,
    ];

    /// The low half of the first byte.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// True when the header goes on with a block and a symbol.
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Data | Self::DataTrain | Self::Packed | Self::PackedTrain)
    }

    /// True when the packet belongs to a train that measures the bottleneck.
    pub const fn is_train(self) -> bool {
        matches!(self, Self::DataTrain | Self::PadTrain | Self::PackedTrain)
    }

    /// True when the packet carries a symbol of a packed block.
    pub const fn is_packed(self) -> bool {
        matches!(self, Self::Packed | Self::PackedTrain)
    }

    /// Length of the header of this kind, in bytes.
    pub const fn header_len(self) -> usize {
        if self.has_data() { DATA_HEADER_LEN } else { PLAIN_HEADER_LEN }
    }

    /// Lengths that the sealed payload of this kind may have, tag not counted.
    const fn payload_len(self) -> RangeInclusive<usize> {
        match self {
            Self::Data | Self::DataTrain | Self::Packed | Self::PackedTrain => {
                SYMBOL_SIZE_STEP as usize..=SYMBOL_SIZE_JUMBO as usize
            }
            Self::Pad | Self::PadTrain => 0..=DATAGRAM_MAX - PLAIN_HEADER_LEN - TAG_LEN,
            Self::Feedback => 1..=FEEDBACK_LEN_MAX,
            Self::PathChallenge | Self::PathResponse => {
                const SHORTEST: usize = PATH_DATAGRAM_MIN - PLAIN_HEADER_LEN - TAG_LEN;
                SHORTEST..=DATAGRAM_MAX - PLAIN_HEADER_LEN - TAG_LEN
            }
            Self::Close => 2..=2,
        }
    }

    fn from_value(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }
}

/// Which symbol a data packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataId {
    /// The block, within the session.
    pub block: BlockIndex,
    /// The symbol, within the block; below [`SYMBOL_ID_END`], or [`PACKED_SYMBOL_ID_END`].
    pub symbol: SymbolId,
    /// K of a packed block: only its packets tell it. spec: W-117
    pub packed: Option<NonZeroU16>,
}

impl DataId {
    /// A symbol of a block that is not packed.
    pub const fn plain(block: BlockIndex, symbol: SymbolId) -> Self {
        Self { block, symbol, packed: None }
    }
}

/// Which packet, of which lane, under which key: what every header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketId {
    /// The lane, by the tag of its direction.
    pub lane: LaneTag,
    /// The key.
    pub epoch: KeyEpoch,
    /// The packet.
    pub number: PacketNumber,
    /// Random: it makes the tag of the packet unpredictable to the peer (`spec: W-028`).
    pub salt: u8,
}

/// The header of a lane packet (`spec: W-012`).
///
/// Shape: `data` is present exactly when `kind` [has data](Kind::has_data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub kind: Kind,
    /// The low 8 bits of the key epoch.
    pub epoch: u8,
    /// Finds the session, the lane and the key.
    pub lane: LaneTag,
    /// The low 24 bits of the packet number.
    pub number: TruncatedNumber,
    /// Random bits of the sender; they mean nothing.
    pub salt: u8,
    /// Which symbol, for data packets.
    pub data: Option<DataId>,
}

/// Why a datagram is not a lane packet. Unauthenticated, so nobody's fault: drop and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Fewer bytes than the shortest packet of its kind.
    #[error("datagram of {len} bytes is too short")]
    TooShort {
        /// Bytes in the datagram.
        len: usize,
    },
    /// More bytes than a packet of its kind may have.
    #[error("datagram of {len} bytes is too long")]
    TooLong {
        /// Bytes in the datagram.
        len: usize,
    },
    /// The first byte belongs to another protocol on the port.
    #[error("first byte {first:#04x} is not a lane packet")]
    NotLane {
        /// The first byte.
        first: u8,
    },
    /// A version of the lane format that this side does not speak.
    #[error("lane packet version {version} is unknown")]
    Version {
        /// The high half of the first byte.
        version: u8,
    },
    /// A kind that this version does not define.
    #[error("lane packet kind {kind} is unknown")]
    Kind {
        /// The low half of the first byte.
        kind: u8,
    },
    /// The payload is not a whole symbol.
    #[error("payload of {len} bytes is not a symbol")]
    SymbolSize {
        /// Bytes of payload, tag not counted.
        len: usize,
    },
    /// A packed block without symbols.
    #[error("a packed block of no symbols")]
    PackedNothing,
}

impl Header {
    /// The header of a packet that carries no symbol.
    ///
    /// # Panics
    /// When `kind` is one that carries data: a data packet without identity cannot be sent.
    pub fn plain(kind: Kind, id: &PacketId) -> Self {
        assert!(!kind.has_data(), "a data packet names its symbol");
        Self::with(kind, id, None)
    }

    /// The header of a data packet, inside a measuring train or not.
    ///
    /// # Panics
    /// When the symbol id does not fit into its bits: it would name another symbol.
    pub fn data(id: &PacketId, data: DataId, train: Train) -> Self {
        let end = if data.packed.is_some() { PACKED_SYMBOL_ID_END } else { SYMBOL_ID_END };
        assert!(data.symbol.get() < end, "the symbol id does not fit");
        let kind = match (train, data.packed) {
            (Train::No, None) => Kind::Data,
            (Train::Member, None) => Kind::DataTrain,
            (Train::No, Some(_)) => Kind::Packed,
            (Train::Member, Some(_)) => Kind::PackedTrain,
        };
        Self::with(kind, id, Some(data))
    }

    const fn with(kind: Kind, id: &PacketId, data: Option<DataId>) -> Self {
        let (epoch, number) = (id.epoch.wire_byte(), TruncatedNumber::of(id.number));
        Self { kind, epoch, lane: id.lane, number, salt: id.salt, data }
    }

    /// Length of the encoded header, in bytes.
    pub const fn encoded_len(&self) -> usize {
        self.kind.header_len()
    }

    /// Writes the header to the front of `out` and returns its length.
    ///
    /// # Panics
    /// When `out` is shorter than [`Self::encoded_len`], or a data packet has no identity.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        out[0] = VERSION << 4 | self.kind.value();
        out[1] = self.epoch;
        out[2..10].copy_from_slice(&self.lane.get().to_be_bytes());
        out[10..13].copy_from_slice(&self.number.to_bytes());
        out[13] = self.salt;
        if self.kind.has_data() {
            let id = self.data.expect("a data packet names its symbol");
            out[14..18].copy_from_slice(&id.block.get().to_be_bytes());
            let packed = id.packed.map_or(0, |symbols| u32::from(symbols.get()) << PACKED_ID_BITS);
            let symbol = packed | id.symbol.get();
            out[18..DATA_HEADER_LEN].copy_from_slice(&symbol.to_be_bytes()[1..]);
        }
        self.encoded_len()
    }

    /// Reads the header off a whole datagram; returns it with its length.
    ///
    /// # Errors
    /// The datagram is not a lane packet of this version, or has a length that its kind
    /// rules out. Such a datagram is dropped in silence (`spec: W-030`).
    pub fn decode(datagram: &[u8]) -> Result<(Self, usize), HeaderError> {
        let &[first, ..] = datagram else {
            return Err(HeaderError::TooShort { len: datagram.len() });
        };
        let kind = kind_of(first)?;
        check_len(kind, datagram.len())?;
        let plain = datagram.first_chunk::<PLAIN_HEADER_LEN>();
        let plain = plain.ok_or(HeaderError::TooShort { len: datagram.len() })?;
        let &[_, epoch, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1, n2, salt] = plain;
        let number = TruncatedNumber::from_bytes([n0, n1, n2]);
        let lane = LaneTag::new(u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let data = if kind.has_data() { Some(data_id(kind, datagram)?) } else { None };
        Ok((Self { kind, epoch, lane, number, salt, data }, kind.header_len()))
    }
}

/// Whether a packet belongs to a measuring train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Train {
    /// It is paced like every other packet.
    No,
    /// It leaves back to back with its neighbours.
    Member,
}

/// True when a datagram that begins with `first_byte` is a lane packet and not QUIC or STUN
/// (`spec: W-003`).
pub const fn is_lane(first_byte: u8) -> bool {
    first_byte & 0xc0 == 0 && first_byte >= FIRST_BYTE_MIN
}

/// True when `len` is a possible symbol size: a multiple of 64 in `64 ..= 1408`
/// (`spec: W-015`).
pub const fn is_symbol_size(len: usize) -> bool {
    len >= SYMBOL_SIZE_STEP as usize
        && len <= SYMBOL_SIZE_JUMBO as usize
        && len.is_multiple_of(SYMBOL_SIZE_STEP as usize)
}

/// Reads version and kind off the first byte.
fn kind_of(first: u8) -> Result<Kind, HeaderError> {
    if !is_lane(first) {
        return Err(HeaderError::NotLane { first });
    }
    if first >> 4 != VERSION {
        return Err(HeaderError::Version { version: first >> 4 });
    }
    let kind = first & 0x0f;
    Kind::from_value(kind).ok_or(HeaderError::Kind { kind })
}

/// Checks the length of a whole datagram of this kind.
fn check_len(kind: Kind, len: usize) -> Result<(), HeaderError> {
    let allowed = kind.payload_len();
    let around = kind.header_len() + TAG_LEN;
    if len < around + allowed.start() {
        return Err(HeaderError::TooShort { len });
    }
    if len > around + allowed.end() {
        return Err(HeaderError::TooLong { len });
    }
    if kind.has_data() && !is_symbol_size(len - around) {
        return Err(HeaderError::SymbolSize { len: len - around });
    }
    Ok(())
}

/// Reads the symbol's identity off a data packet.
fn data_id(kind: Kind, datagram: &[u8]) -> Result<DataId, HeaderError> {
    let id = datagram.get(PLAIN_HEADER_LEN..DATA_HEADER_LEN);
    let Some(&[b0, b1, b2, b3, s0, s1, s2]) = id else {
        return Err(HeaderError::TooShort { len: datagram.len() });
    };
    let block = BlockIndex::new(u32::from_be_bytes([b0, b1, b2, b3]));
    let symbol = u32::from_be_bytes([0, s0, s1, s2]);
    if !kind.is_packed() {
        return Ok(DataId { block, symbol: SymbolId::new(symbol), packed: None });
    }
    let symbols = u16::try_from(symbol >> PACKED_ID_BITS).ok().and_then(NonZeroU16::new);
    let packed = Some(symbols.ok_or(HeaderError::PackedNothing)?);
    Ok(DataId { block, symbol: SymbolId::new(symbol & (PACKED_SYMBOL_ID_END - 1)), packed })
}

#[cfg(test)]
mod tests;
