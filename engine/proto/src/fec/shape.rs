//! The shape of a block and the layout of its source symbols: `data ++ digest ++ zeros`.
//!
//! Pure arithmetic and hashing; knows nothing of the code that repairs the block.

use crate::content::{Digest, block_digest};
use crate::limits::{
    BLOCK_DATA, BLOCK_DIGEST_LEN, BLOCK_SYMBOLS_MAX, PACKED_SYMBOLS_MAX, SYMBOL_SIZES,
};
use crate::units::Bytes;
use core::num::NonZeroU16;
use thiserror::Error;

/// How many symbols of which size a block has. Only valid shapes can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockShape {
    data_len: usize,
    symbol_size: u16,
    symbols: u32,
    packed: Option<NonZeroU16>,
}

/// Why there is no such block; the peer's fault when the numbers came from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// More data than a full block holds.
    #[error("a block of {len} bytes, the limit is {limit}", len = .0.get(), limit = BLOCK_DATA.get())]
    DataTooLong(Bytes),
    /// Symbols without bytes.
    #[error("symbols of zero bytes")]
    EmptySymbols,
    /// Symbols so small that the block needs too many of them.
    #[error("a block of {0} symbols, the limit is {BLOCK_SYMBOLS_MAX}")]
    TooManySymbols(u64),
}

/// Why the source symbols of a block are not what their sender meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Our caller passed a buffer that does not hold the block.
    #[error("buffer of {got} bytes for a block of {needed}")]
    BufferTooShort {
        /// Bytes of the block's source symbols.
        needed: usize,
        /// Bytes of the buffer.
        got: usize,
    },
    /// The digest inside the block is not that of its data at this offset.
    #[error("the data does not match the digest in the block")]
    Digest,
    /// The parts of a packed block do not fit into it, or it was taken for a plain one.
    #[error("the parts of a packed block do not fit")]
    Packed,
    /// A byte behind the digest is not zero.
    #[error("padding byte {at} is not zero")]
    Padding {
        /// Offset in the buffer.
        at: usize,
    },
}

impl BlockShape {
    /// The shape of a block of `data_len` bytes, at most [`BLOCK_DATA`], in symbols of
    /// `symbol_size` bytes.
    ///
    /// # Errors
    /// Refuses shapes with zero-sized symbols or more than [`BLOCK_SYMBOLS_MAX`] of them.
    pub fn new(data_len: Bytes, symbol_size: u16) -> Result<Self, ShapeError> {
        if data_len > BLOCK_DATA {
            return Err(ShapeError::DataTooLong(data_len));
        }
        if symbol_size == 0 {
            return Err(ShapeError::EmptySymbols);
        }
        let source = data_len.get() + BLOCK_DIGEST_LEN as u64;
        let count = source.div_ceil(u64::from(symbol_size));
        match u32::try_from(count) {
            Ok(symbols) if symbols <= BLOCK_SYMBOLS_MAX => {
                Ok(Self { data_len: data_len.as_len(), symbol_size, symbols, packed: None })
            }
            _ => Err(ShapeError::TooManySymbols(count)),
        }
    }

    /// The shape of a packed block, which travels as fewer symbols than its data has. spec: W-117
    ///
    /// # Errors
    /// Refuses shapes with zero-sized symbols or more than [`PACKED_SYMBOLS_MAX`] of them.
    pub const fn packed(symbols: NonZeroU16, symbol_size: u16) -> Result<Self, ShapeError> {
        if symbol_size == 0 {
            return Err(ShapeError::EmptySymbols);
        }
        if symbols.get() > PACKED_SYMBOLS_MAX {
            return Err(ShapeError::TooManySymbols(symbols.get() as u64));
        }
        let data_len = symbols.get() as usize * symbol_size as usize;
        Ok(Self { data_len, symbol_size, symbols: symbols.get() as u32, packed: Some(symbols) })
    }

    /// K of a packed block, as its packets name it; nothing for a plain one.
    pub const fn packed_symbols(self) -> Option<NonZeroU16> {
        self.packed
    }

    /// K: the number of source symbols; at least 1, at most [`BLOCK_SYMBOLS_MAX`].
    pub const fn symbols(self) -> u32 {
        self.symbols
    }

    /// T: bytes per symbol.
    pub const fn symbol_size(self) -> u16 {
        self.symbol_size
    }

    /// Bytes of all source symbols: K times T.
    pub const fn source_len(self) -> usize {
        self.symbols as usize * self.symbol_size as usize
    }

    /// Bytes that the source symbols of a block with so much data may take, whatever their size.
    pub fn room(data_len: Bytes) -> usize {
        let source = data_len.as_len() + BLOCK_DIGEST_LEN;
        let room = |size: u16| source.next_multiple_of(usize::from(size));
        SYMBOL_SIZES.into_iter().map(room).max().unwrap_or(source)
    }

    /// The same source in symbols of another size; `data_len` is that of the block.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::packed`].
    pub fn in_symbols_of(self, data_len: Bytes, symbol_size: u16) -> Result<Self, ShapeError> {
        if self.packed.is_none() {
            return Self::new(data_len, symbol_size);
        }
        let count = self.source_len().div_ceil(usize::from(symbol_size).max(1));
        let symbols = u16::try_from(count).ok().and_then(NonZeroU16::new);
        Self::packed(symbols.ok_or(ShapeError::TooManySymbols(count as u64))?, symbol_size)
    }

    /// Bytes of data, without digest and padding; of a packed block, all that travels.
    pub const fn data_len(self) -> usize {
        self.data_len
    }

    /// Where the padding starts: behind data and digest.
    const fn padding_at(self) -> usize {
        self.data_len + BLOCK_DIGEST_LEN
    }
}

/// Completes the source symbols of a block whose data already stands at the start of `buffer`:
/// writes digest and padding (as far as the buffer goes: for every symbol size), returns the digest.
///
/// # Panics
/// When `buffer` is shorter than [`BlockShape::source_len`], or the block is packed: our caller
/// leases buffers by shape, and packs afterwards.
pub fn finish_source(shape: BlockShape, buffer: &mut [u8], offset_in_object: u64) -> Digest {
    let digest = block_digest(&buffer[..shape.data_len], offset_in_object);
    append_digest(shape, buffer, &digest);
    digest
}

/// The same with a digest that is known already.
///
/// # Panics
/// As [`finish_source`].
pub fn append_digest(shape: BlockShape, buffer: &mut [u8], digest: &Digest) {
    assert!(shape.packed.is_none(), "packed blocks have a layout of their own");
    assert!(buffer.len() >= shape.source_len(), "the buffer must hold the whole block");
    let (digest_slot, padding) =
        buffer[shape.data_len..shape.source_len()].split_at_mut(BLOCK_DIGEST_LEN);
    digest_slot.copy_from_slice(digest);
    padding.fill(0);
    // The block may get other symbols while it lies here.
    let room = BlockShape::room(Bytes::of_len(shape.data_len)).min(buffer.len());
    buffer[shape.source_len().min(room)..room].fill(0);
}

/// Checks complete source symbols against the digest they carry and returns that digest.
///
/// # Errors
/// [`VerifyError::Digest`] or [`VerifyError::Padding`] when any byte of the block is wrong;
/// [`VerifyError::Packed`] for a packed block, see [`packed_parts`](super::packed_parts).
pub fn verify_source(
    shape: BlockShape,
    buffer: &[u8],
    offset_in_object: u64,
) -> Result<Digest, VerifyError> {
    let needed = shape.source_len();
    let Some(source) = buffer.get(..needed) else {
        return Err(VerifyError::BufferTooShort { needed, got: buffer.len() });
    };
    if shape.packed.is_some() {
        return Err(VerifyError::Packed);
    }
    let digest = block_digest(&source[..shape.data_len], offset_in_object);
    if source[shape.data_len..shape.padding_at()] != digest {
        return Err(VerifyError::Digest);
    }
    match source[shape.padding_at()..].iter().position(|&byte| byte != 0) {
        Some(at) => Err(VerifyError::Padding { at: shape.padding_at() + at }),
        None => Ok(digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SYMBOL_SIZE, SYMBOL_SIZE_SMALL};
    use proptest::prelude::*;

    fn shape(data_len: u64, symbol_size: u16) -> BlockShape {
        BlockShape::new(Bytes::new(data_len), symbol_size).expect("a valid shape")
    }

    #[test]
    fn a_full_block_has_998_symbols_and_1220_small_ones() {
        assert_eq!(shape(BLOCK_DATA.get(), SYMBOL_SIZE).symbols(), 998);
        assert_eq!(shape(BLOCK_DATA.get(), SYMBOL_SIZE_SMALL).symbols(), 1220);
    }

    #[test]
    fn an_empty_block_still_carries_its_digest() {
        let empty = shape(0, SYMBOL_SIZE);
        assert_eq!((empty.symbols(), empty.source_len()), (1, usize::from(SYMBOL_SIZE)));
        let mut buffer = vec![0xff; empty.source_len()];
        let digest = finish_source(empty, &mut buffer, 7);
        assert_eq!(verify_source(empty, &buffer, 7), Ok(digest));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let over = BLOCK_DATA + Bytes::new(1);
        assert_eq!(BlockShape::new(over, SYMBOL_SIZE), Err(ShapeError::DataTooLong(over)));
        assert_eq!(BlockShape::new(Bytes::ZERO, 0), Err(ShapeError::EmptySymbols));
        assert_eq!(BlockShape::new(Bytes::new(4065), 1), Err(ShapeError::TooManySymbols(4097)));
    }

    #[test]
    fn a_short_buffer_is_no_block() {
        let s = shape(100, 64);
        let short = BlockShape::source_len(s) - 1;
        let expected = VerifyError::BufferTooShort { needed: short + 1, got: short };
        assert_eq!(verify_source(s, &vec![0; short], 0), Err(expected));
    }

    proptest! {
        #[test]
        fn shapes_hold_their_data_without_a_spare_symbol(len in 0u64..=BLOCK_DATA.get(), size in 352u16..) {
            let s = shape(len, size);
            let content = s.data_len() + BLOCK_DIGEST_LEN;
            prop_assert!(s.source_len() >= content);
            prop_assert!(s.source_len() - content < usize::from(size));
            prop_assert!(s.symbols() >= 1 && s.symbols() <= BLOCK_SYMBOLS_MAX);
        }

        #[test]
        fn any_changed_bit_is_noticed(
            len in 0u64..300, size in 16u16..200, at in any::<prop::sample::Index>(), bit in 0u8..8,
            offset in any::<u64>(),
        ) {
            let s = shape(len, size);
            let mut buffer = vec![0x5a; s.source_len() + 3];
            let digest = finish_source(s, &mut buffer, offset);
            prop_assert_eq!(verify_source(s, &buffer, offset), Ok(digest));
            prop_assert_eq!(verify_source(s, &buffer, offset ^ 1), Err(VerifyError::Digest));
            buffer[at.index(s.source_len())] ^= 1 << bit;
            prop_assert!(verify_source(s, &buffer, offset).is_err());
        }
    }
}
