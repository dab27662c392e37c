//! The layout of a packed block's source symbols: `length ++ frame ++ digest ++ zeros`.
//!
//! A packed block travels as a compressed frame in place of its data. The digest is that of the
//! data, so that it also checks the unpacking. Layout only: who packs, and how, is the body's
//! business. spec: W-117

use super::shape::{BlockShape, ShapeError, VerifyError};
use crate::content::Digest;
use crate::limits::{BLOCK_DIGEST_LEN, PACKED_SYMBOLS_MAX, SYMBOL_SIZE};
use core::num::NonZeroU16;
use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The length of the frame, in front of it.
const LENGTH_LEN: usize = 4;
/// What a packed block has around its frame, in bytes; zeros not counted.
pub const PACKED_OVERHEAD: usize = LENGTH_LEN + BLOCK_DIGEST_LEN;

/// Whether blocks are packed; the `compress` key of a job's configuration. The meeker is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum PackPolicy {
    /// Never.
    #[n(0)]
    Off,
    /// Where a sample says that it pays, and the path is not faster than the packing.
    #[default]
    #[n(1)]
    Auto,
    /// Where a sample says that it pays, however fast the path is.
    #[n(2)]
    Always,
}

/// The word is none of `auto`, `off`, `always`: the user's or the configuration's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the compression policy is one of auto, off, always")]
pub struct UnknownPackPolicy;

impl FromStr for PackPolicy {
    type Err = UnknownPackPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPackPolicy> {
        match word {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "always" => Ok(Self::Always),
            _ => Err(UnknownPackPolicy),
        }
    }
}

impl fmt::Display for PackPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Always => "always",
        })
    }
}

/// The shape of a packed block whose frame has `frame_len` bytes, in symbols of `symbol_size`
/// bytes.
///
/// # Errors
/// Refuses shapes with zero-sized symbols, or with more of them than a header can name.
pub fn packed_shape(frame_len: usize, symbol_size: u16) -> Result<BlockShape, ShapeError> {
    if symbol_size == 0 {
        return Err(ShapeError::EmptySymbols);
    }
    let count = (frame_len.saturating_add(PACKED_OVERHEAD)).div_ceil(usize::from(symbol_size));
    let symbols = u16::try_from(count).ok().and_then(NonZeroU16::new);
    let symbols = symbols.ok_or(ShapeError::TooManySymbols(count as u64))?;
    BlockShape::packed(symbols, symbol_size)
}

/// Lays the source symbols of a packed block out at the start of `buffer`.
///
/// # Panics
/// When `buffer` is shorter than [`BlockShape::source_len`], or `shape` is not that of
/// [`packed_shape`] for this frame: both are our caller's.
pub fn finish_packed(shape: BlockShape, buffer: &mut [u8], frame: &[u8], digest: &Digest) {
    let length = u32::try_from(frame.len()).expect("a frame is shorter than a block");
    let source = &mut buffer[..shape.source_len()];
    let (head, rest) = source.split_at_mut(LENGTH_LEN);
    head.copy_from_slice(&length.to_be_bytes());
    let (place, rest) = rest.split_at_mut(frame.len());
    place.copy_from_slice(frame);
    let (place, padding) = rest.split_at_mut(BLOCK_DIGEST_LEN);
    place.copy_from_slice(digest);
    padding.fill(0);
    // The block may get smaller symbols while it lies here: up to one more of them is zeros.
    let room = (shape.source_len() + usize::from(SYMBOL_SIZE)).min(buffer.len());
    buffer[shape.source_len()..room].fill(0);
}

/// The frame and the digest in the complete source symbols of a packed block. Neither is
/// verified: unpack the frame, then compare its data with the digest.
///
/// # Errors
/// [`VerifyError::Packed`] when the parts do not fit, [`VerifyError::Padding`] when something
/// stands behind them.
pub fn packed_parts(shape: BlockShape, buffer: &[u8]) -> Result<(&[u8], Digest), VerifyError> {
    let needed = shape.source_len();
    let Some(source) = buffer.get(..needed) else {
        return Err(VerifyError::BufferTooShort { needed, got: buffer.len() });
    };
    let (length, rest) = source.split_first_chunk::<LENGTH_LEN>().ok_or(VerifyError::Packed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| VerifyError::Packed)?;
    let (frame, rest) = rest.split_at_checked(length).ok_or(VerifyError::Packed)?;
    let (digest, padding) = rest.split_first_chunk().ok_or(VerifyError::Packed)?;
    match padding.iter().position(|&byte| byte != 0) {
        Some(at) => Err(VerifyError::Padding { at: needed - padding.len() + at }),
        None => Ok((frame, *digest)),
    }
}

/// No block needs more symbols packed than the header has room for.
const _: () = {
    let source = crate::limits::BLOCK_DATA.get() + PACKED_OVERHEAD as u64;
    assert!(source.div_ceil(crate::limits::SYMBOL_SIZE_SMALL as u64) <= PACKED_SYMBOLS_MAX as u64);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: Digest = [7; BLOCK_DIGEST_LEN];

    #[test]
    fn policies_are_named_in_small_letters() {
        for policy in [PackPolicy::Auto, PackPolicy::Off, PackPolicy::Always] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("Auto".parse::<PackPolicy>(), Err(UnknownPackPolicy));
    }

    #[test]
    fn a_length_beyond_the_block_is_refused() {
        let shape = packed_shape(100, 64).unwrap();
        let mut buffer = vec![0; shape.source_len()];
        finish_packed(shape, &mut buffer, &[1; 100], &DIGEST);
        for length in [shape.source_len() - 35, usize::MAX >> 33] {
            buffer[..4].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            assert_eq!(packed_parts(shape, &buffer), Err(VerifyError::Packed));
        }
    }

    #[test]
    fn frames_too_long_for_the_header_have_no_shape() {
        assert!(packed_shape(usize::MAX, 64).is_err());
        assert!(packed_shape(64 * usize::from(PACKED_SYMBOLS_MAX), 64).is_err());
        assert_eq!(packed_shape(1, 0), Err(ShapeError::EmptySymbols));
    }

    proptest! {
        #[test]
        fn what_was_laid_out_is_found_again(
            frame in proptest::collection::vec(any::<u8>(), 0..3000), size in 64u16..1408,
        ) {
            let shape = packed_shape(frame.len(), size).unwrap();
            let mut buffer = vec![0xff; shape.source_len() + 9];
            finish_packed(shape, &mut buffer, &frame, &DIGEST);
            prop_assert_eq!(packed_parts(shape, &buffer), Ok((&frame[..], DIGEST)));
            prop_assert!(shape.source_len() - PACKED_OVERHEAD - frame.len() < usize::from(size));
        }

        #[test]
        fn any_bytes_are_parts_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 1..400), size in 16u16..200,
        ) {
            let symbols = NonZeroU16::new(u16::try_from(bytes.len()).unwrap().div_ceil(size)).unwrap();
            let shape = BlockShape::packed(symbols, size).unwrap();
            if let Ok((frame, _)) = packed_parts(shape, &bytes) {
                prop_assert!(frame.len() + PACKED_OVERHEAD <= shape.source_len());
            }
        }
    }
}
