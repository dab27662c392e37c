//! Variable-length integers of RFC 9000 section 16: 1, 2, 4 or 8 bytes, values below 2^62.
//!
//! Unlike QUIC, only the shortest form is accepted, so that a value has one encoding. Knows
//! nothing of the fields that are written with it.

use thiserror::Error;

/// The largest encodable value, 2^62 - 1.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Why a variable-length integer was refused; always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VarintError {
    /// The input ends inside the integer.
    #[error("input ends inside an integer")]
    Truncated,
    /// A shorter form of the same value exists.
    #[error("integer is not in its shortest form")]
    NotShortest,
}

/// The number of bytes [`put`] writes for `value`.
pub const fn len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Appends `value`; what exceeds [`VARINT_MAX`] is written as [`VARINT_MAX`].
pub fn put(out: &mut Vec<u8>, value: u64) {
    let value = value.min(VARINT_MAX);
    let bytes = value.to_be_bytes();
    let len = len(value);
    let start = out.len();
    out.extend_from_slice(&bytes[bytes.len() - len..]);
    out[start] |= prefix(len);
}

/// Takes one integer off the front of `input`.
///
/// # Errors
/// The input is too short, or the integer is not in its shortest form (`spec: W-050`).
pub fn take(input: &mut &[u8]) -> Result<u64, VarintError> {
    let (&first, _) = input.split_first().ok_or(VarintError::Truncated)?;
    let size = 1usize << (first >> 6);
    let (encoded, rest) = input.split_at_checked(size).ok_or(VarintError::Truncated)?;
    let head = u64::from(first & 0x3f);
    let value = encoded[1..].iter().fold(head, |value, &byte| value << 8 | u64::from(byte));
    if len(value) != size {
        return Err(VarintError::NotShortest);
    }
    *input = rest;
    Ok(value)
}

/// The two bits that announce an encoding of `len` bytes.
const fn prefix(len: usize) -> u8 {
    match len {
        1 => 0x00,
        2 => 0x40,
        4 => 0x80,
        _ => 0xc0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1_hold() {
        assert_eq!(
            encoded(151_288_809_941_952_652),
            [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]
        );
        assert_eq!(encoded(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(encoded(15_293), [0x7b, 0xbd]);
        assert_eq!(encoded(37), [0x25]);
    }

    #[test]
    fn a_longer_form_than_needed_is_refused() {
        assert_eq!(take(&mut &[0x40, 0x25][..]), Err(VarintError::NotShortest));
    }

    #[test]
    fn an_integer_cut_short_is_refused_and_nothing_is_taken() {
        let mut input = &[0x9d, 0x7f, 0x3e][..];
        assert_eq!(take(&mut input), Err(VarintError::Truncated));
        assert_eq!(input.len(), 3);
        assert_eq!(take(&mut &[][..]), Err(VarintError::Truncated));
    }

    #[test]
    fn a_value_beyond_the_range_saturates() {
        assert_eq!(take(&mut &encoded(u64::MAX)[..]), Ok(VARINT_MAX));
    }

    proptest! {
        #[test]
        fn every_value_survives_with_the_announced_length(bits in 0u32..62, seed in any::<u64>()) {
            let value = (seed & VARINT_MAX) >> bits;
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), len(value));
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }
    }
}
