//! The CBOR that control messages use: which of it is allowed, and how ids are written.
//!
//! The shape of a frame is checked before it is decoded, without allocation: definite lengths,
//! shortest heads, bounded depth and lists. So the decoder never meets an announced length that
//! the frame does not hold. Does not know any message.

use super::{ControlError, ShapeError, WANT_MAX};
use crate::ids::{BlockIndex, ObjectId, TransferId};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// The longest list of any message.
const ITEMS_MAX: u64 = WANT_MAX as u64;
/// Deeper than any message nests, with room for fields to come.
const NESTING_MAX: usize = 8;

macro_rules! plain_number {
    ($($id:ty),*) => {$(
        impl<C> Encode<C> for $id {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.u32(self.get())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $id {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.u32().map(Self::new)
            }
        }
    )*};
}

plain_number!(BlockIndex, ObjectId, TransferId);

/// Checks that `frame` is exactly one allowed item (`spec: W-061`).
pub(super) fn check_shape(frame: &[u8]) -> Result<(), ControlError> {
    let mut rest = frame;
    let error = |rest: &[u8], source| ControlError::Shape { at: frame.len() - rest.len(), source };
    // Items still to come at each level of nesting; the innermost is last.
    let mut open = [0u64; NESTING_MAX];
    open[0] = 1;
    let mut depth = 1;
    while depth > 0 {
        if open[depth - 1] == 0 {
            depth -= 1;
            continue;
        }
        open[depth - 1] -= 1;
        let before = rest;
        let inside = item(&mut rest).map_err(|source| error(before, source))?;
        if inside > 0 {
            let level = open.get_mut(depth);
            *level.ok_or_else(|| error(before, ShapeError::Depth))? = inside;
            depth += 1;
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(error(rest, ShapeError::Trailing)) }
}

/// Passes one item, or the head of a list; returns how many items are in the list.
fn item(rest: &mut &[u8]) -> Result<u64, ShapeError> {
    let (kind, value) = head(rest)?;
    match kind {
        0 | 1 => Ok(0),
        2 | 3 => skip(rest, value).map(|()| 0),
        4 => list(rest, value),
        5 => list(rest, value.saturating_mul(2)),
        // Simple values: false, true, null.
        7 if (20..=22).contains(&value) => Ok(0),
        _ => Err(ShapeError::Kind),
    }
}

/// The major type of an item (RFC 8949 section 3) and its number, in shortest form.
fn head(rest: &mut &[u8]) -> Result<(u8, u64), ShapeError> {
    let (&first, tail) = rest.split_first().ok_or(ShapeError::Truncated)?;
    let (kind, short) = (first >> 5, first & 0x1f);
    let size = match short {
        0..24 => 0,
        24..28 => 1usize << (short - 24),
        _ => return Err(ShapeError::NotShortest),
    };
    if kind == 7 && size > 0 {
        return Err(ShapeError::Kind);
    }
    let (number, tail) = tail.split_at_checked(size).ok_or(ShapeError::Truncated)?;
    *rest = tail;
    if size == 0 {
        return Ok((kind, u64::from(short)));
    }
    let value = number.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    let least = if size == 1 { 24 } else { 1u64 << (size * 4) };
    if value < least { Err(ShapeError::NotShortest) } else { Ok((kind, value)) }
}

fn skip(rest: &mut &[u8], len: u64) -> Result<(), ShapeError> {
    let tail = usize::try_from(len).ok().and_then(|len| rest.get(len..));
    *rest = tail.ok_or(ShapeError::Truncated)?;
    Ok(())
}

fn list(rest: &[u8], items: u64) -> Result<u64, ShapeError> {
    // Every item takes at least one byte.
    if usize::try_from(items).is_ok_and(|items| items <= rest.len()) {
        if items <= ITEMS_MAX { Ok(items) } else { Err(ShapeError::Count) }
    } else {
        Err(ShapeError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(frame: &[u8]) -> Result<(), ShapeError> {
        check_shape(frame).map_err(|error| match error {
            ControlError::Shape { source, .. } => source,
            other => panic!("not about shape: {other}"),
        })
    }

    #[test]
    fn what_messages_are_made_of_is_allowed() {
        // [0, {1: -1}, h'00', "a", true, null, [], 256]
        let frame = [0x88, 0, 0xa1, 1, 0x20, 0x41, 0, 0x61, b'a', 0xf5, 0xf6, 0x80, 0x19, 1, 0];
        assert_eq!(shape(&frame), Ok(()));
    }

    #[test]
    fn indefinite_lengths_are_refused() {
        for first in [0x5f, 0x7f, 0x9f, 0xbf, 0xff] {
            assert_eq!(shape(&[first, 0xff]), Err(ShapeError::NotShortest));
        }
    }

    #[test]
    fn longer_heads_than_needed_are_refused() {
        for frame in [&[0x18, 23][..], &[0x19, 0, 255], &[0x1a, 0, 0, 255, 255], &[0x58, 0]] {
            assert_eq!(shape(frame), Err(ShapeError::NotShortest), "{frame:?}");
        }
        assert_eq!(shape(&[0x18, 24]), Ok(()));
        assert_eq!(shape(&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(()));
    }

    #[test]
    fn tags_and_floats_are_refused() {
        for frame in [&[0xc0, 0][..], &[0xf9, 0, 0], &[0xf7], &[0xe0]] {
            assert_eq!(shape(frame), Err(ShapeError::Kind), "{frame:?}");
        }
    }

    #[test]
    fn announced_lengths_beyond_the_frame_are_refused() {
        for frame in [&[0x41][..], &[0x82, 0], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255], &[]]
        {
            assert_eq!(shape(frame), Err(ShapeError::Truncated), "{frame:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert_eq!(shape(&nested(NESTING_MAX - 1)), Ok(()));
        assert_eq!(shape(&nested(NESTING_MAX)), Err(ShapeError::Depth));
    }

    #[test]
    fn a_list_longer_than_any_message_has_is_refused() {
        let mut frame = vec![0; WANT_MAX + 6];
        frame[..5].copy_from_slice(&[0x9a, 0, 0x10, 0, 1]);
        assert_eq!(shape(&frame), Err(ShapeError::Count));
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        assert_eq!(shape(&[0x80, 0]), Err(ShapeError::Trailing));
    }
}
