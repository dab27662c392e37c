//! Pieces of a file: what sites offer and ask each other for (spec: S-222).
//!
//! A piece is some chunks that follow each other in the list, without the zeros between them: it is as
//! long as its chunks are together. Which chunks make a piece follows from the list alone, so all
//! sites number alike; a piece is there when each of its chunks has the hash of the list.

use super::{CHUNKS_MAX, Part};
use crate::chunk::Chunk;
use crate::message::ByteRange;
use core::ops::Range;
use farhaul_proto::units::Bytes;

/// The shortest and the longest that pieces are meant to be.
const SIZE_MIN: u64 = 256 << 10;
const SIZE_MAX: u64 = 16 << 20;
/// About so many pieces in a file.
const COUNT: u64 = 1024;

/// A chunk and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The first byte in the file.
    pub offset: u64,
    /// The chunk.
    pub chunk: Chunk,
}

/// The pieces of a file, in the order of the file.
#[derive(Clone, Debug)]
pub struct Pieces {
    chunks: Vec<Placed>,
    /// The first chunk of each piece.
    firsts: Vec<u32>,
    lengths: Vec<u32>,
}

/// At which length a piece ends, with the chunk that reaches it, of a file that has so much `data` without
/// the zeros between its chunks. By the length of the file an image of 64 GiB with 256 MiB in it had
/// 16 pieces, and each site waited for a whole one of 16 MiB before it could pass anything on.
pub const fn piece_size(data: Bytes) -> u64 {
    let about = (data.get() / COUNT).next_power_of_two();
    if about < SIZE_MIN {
        SIZE_MIN
    } else if about > SIZE_MAX {
        SIZE_MAX
    } else {
        about
    }
}

impl Pieces {
    /// Those of a file with these chunks, in its order.
    pub fn of_list(chunks: Vec<Placed>) -> Self {
        let data = chunks.iter().map(|placed| u64::from(placed.chunk.len)).sum();
        let size = piece_size(Bytes::new(data));
        let (mut firsts, mut lengths) = (Vec::new(), Vec::<u32>::new());
        for (at, placed) in (0_u32..).zip(&chunks) {
            match lengths.last_mut().filter(|len| u64::from(**len) < size) {
                Some(len) => *len += placed.chunk.len,
                None => {
                    firsts.push(at);
                    lengths.push(placed.chunk.len);
                }
            }
        }
        Self { chunks, firsts, lengths }
    }

    /// How many bytes each piece has.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Whether there are as many as can be spread.
    pub fn is_spreadable(&self) -> bool {
        !self.lengths.is_empty() && self.lengths.len() <= CHUNKS_MAX as usize
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.lengths.len()).unwrap_or(u32::MAX)
    }

    /// All chunks, in order.
    pub fn chunks(&self) -> &[Placed] {
        &self.chunks
    }

    /// The numbers of the chunks of a piece; none of one that does not exist.
    pub fn within(&self, piece: u32) -> Range<usize> {
        let first = |piece: usize| self.firsts.get(piece).map(|first| *first as usize);
        let piece = piece as usize;
        let from = first(piece).unwrap_or(self.chunks.len());
        from..first(piece + 1).unwrap_or(self.chunks.len())
    }

    /// The chunks of a piece, each with its number and where it begins in the piece.
    pub fn of(&self, piece: u32) -> impl Iterator<Item = (usize, u32, &Placed)> {
        let mut start = 0_u32;
        self.within(piece).filter_map(move |at| {
            let placed = self.chunks.get(at)?;
            let from = start;
            start += placed.chunk.len;
            Some((at, from, placed))
        })
    }

    /// The number of the chunk that begins at a byte of the file.
    pub fn at(&self, offset: u64) -> Option<usize> {
        self.chunks.binary_search_by_key(&offset, |placed| placed.offset).ok()
    }

    /// Which bytes of a part of a piece are of chunks that `is_wanted`, counted in the piece.
    pub fn wanted(&self, part: Part, is_wanted: impl Fn(usize) -> bool) -> Vec<ByteRange> {
        let mut ranges = Vec::new();
        for (at, start, placed) in self.of(part.chunk) {
            let (from, to) = (start.max(part.from), (start + placed.chunk.len).min(part.to));
            if from < to && is_wanted(at) {
                push_joined(&mut ranges, u64::from(from), u64::from(to - from));
            }
        }
        ranges
    }

    /// Where in the file some bytes of a piece stand.
    pub fn in_file(&self, piece: u32, ranges: &[ByteRange]) -> Vec<ByteRange> {
        let mut found = Vec::new();
        let mut wanted = ranges.iter().copied().peekable();
        for (_, start, placed) in self.of(piece) {
            let (start, end) = (u64::from(start), u64::from(start) + u64::from(placed.chunk.len));
            while let Some(range) = wanted.peek().copied() {
                let stop = range.offset.saturating_add(range.len);
                let (from, to) = (range.offset.max(start), stop.min(end));
                if from < to {
                    push_joined(&mut found, placed.offset + (from - start), to - from);
                }
                if stop > end {
                    break;
                }
                wanted.next();
            }
        }
        found
    }
}

fn push_joined(ranges: &mut Vec<ByteRange>, offset: u64, len: u64) {
    match ranges.last_mut().filter(|last| last.offset + last.len == offset) {
        Some(last) => last.len += len,
        None => ranges.push(ByteRange { offset, len }),
    }
}
