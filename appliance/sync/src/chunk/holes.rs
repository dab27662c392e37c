//! Where a file has holes: its layout, which is no part of what its content is named.
//!
//! Zeros that were written and zeros that were not are the same bytes, so they have the same chunks
//! and the same manifest, and two sites never disagree over holes alone. The layout travels beside
//! the manifest, from whoever gives the content. It is unsigned, and a lie does no harm: a receiver
//! makes a hole only where the bytes that it verified are zeros.

use crate::limits::HOLES_MAX;
use farhaul_proto::units::Bytes;

/// A range of a file for which the disk holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// Where it begins.
    pub offset: Bytes,
    /// How many bytes it has, from 1.
    pub len: Bytes,
}

/// The holes of a file, in order, none touching the next (spec: S-036).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes(Vec<Hole>);

/// Why bytes say nothing of holes; who sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HolesError {
    /// The bytes end amid a hole, or there are more holes than [`HOLES_MAX`].
    #[error("a list of holes of {len} bytes is refused")]
    Length {
        /// How many.
        len: usize,
    },
    /// A hole is empty, touches the one before it, or reaches beyond the file.
    #[error("the holes of the file overlap or reach beyond its end")]
    Range,
}

/// Bytes of an encoded hole.
const WIDTH: usize = 16;

impl Holes {
    /// None at all.
    pub const NONE: Self = Self(Vec::new());

    /// The holes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Hole> + Clone {
        self.0.iter()
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// How many bytes they have together.
    pub fn total(&self) -> Bytes {
        self.0.iter().map(|hole| hole.len).sum()
    }

    /// Adds a hole behind all others; one that touches the last prolongs it. What cannot be listed
    /// any more counts as written: it is zeros all the same.
    pub fn push(&mut self, hole: Hole) {
        let is_full = self.0.len() == HOLES_MAX;
        match self.0.last_mut().filter(|last| last.offset + last.len >= hole.offset) {
            Some(last) => last.len = hole.offset + hole.len - last.offset,
            None if hole.len > Bytes::ZERO && !is_full => self.0.push(hole),
            None => {}
        }
    }

    /// The bytes to store and send: offset and length of each, 8 bytes big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|hole| [hole.offset, hole.len]);
        numbers.flat_map(|number| number.get().to_be_bytes()).collect()
    }

    /// Reads and checks what a peer said of a file of `size` bytes.
    ///
    /// # Errors
    /// [`HolesError`] names the first rule that it breaks.
    pub fn decode(bytes: &[u8], size: Bytes) -> Result<Self, HolesError> {
        let (pairs, rest) = bytes.as_chunks::<WIDTH>();
        if !rest.is_empty() || pairs.len() > HOLES_MAX {
            return Err(HolesError::Length { len: bytes.len() });
        }
        let mut holes = Vec::with_capacity(pairs.len());
        let mut end = None;
        for pair in pairs {
            let number = |at: usize| {
                let part = pair[at..].iter().take(8);
                Bytes::new(part.fold(0, |number, byte| number << 8 | u64::from(*byte)))
            };
            let hole = Hole { offset: number(0), len: number(8) };
            let next = hole.offset.get().checked_add(hole.len.get()).ok_or(HolesError::Range)?;
            let is_apart = end.is_none_or(|end| hole.offset > end);
            if hole.len == Bytes::ZERO || next > size.get() || !is_apart {
                return Err(HolesError::Range);
            }
            end = Some(Bytes::new(next));
            holes.push(hole);
        }
        Ok(Self(holes))
    }
}
