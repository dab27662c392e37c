//! Memory for the packets that are under way: 1 MiB chunks, filled front to back, reused when the
//! last packet in them has left.
//!
//! Packets leave in about the order they came, so chunks empty in order and nothing is fragmented.
//! A chunk is allocated when the flight grows and kept afterwards: no allocation per packet.

const CHUNK_LEN: usize = 1 << 20;

/// Room that [`Arena::space`] always offers: the largest frame a TUN device yields (65,535 bytes
/// and a virtio-net header), rounded up.
pub(crate) const FRAME_MAX: usize = 68 << 10;

const _: () = assert!(FRAME_MAX < CHUNK_LEN);

/// Where one frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    chunk: usize,
    offset: usize,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    pieces: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    empty: Vec<usize>,
    current: Option<usize>,
    cursor: usize,
    chunks_max: usize,
}

impl Arena {
    /// An arena that grows to at most `bytes_max`, rounded up to a whole chunk.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let chunks_max = bytes_max.div_ceil(CHUNK_LEN).max(1);
        Self { chunks: Vec::new(), empty: Vec::new(), current: None, cursor: 0, chunks_max }
    }

    /// Room for one frame, [`FRAME_MAX`] bytes; `None` when the arena is full.
    pub(crate) fn space(&mut self) -> Option<&mut [u8]> {
        let current = self.chunk_with_room()?;
        Some(&mut self.chunks[current].bytes[self.cursor..self.cursor + FRAME_MAX])
    }

    /// Keeps the first `len` bytes of what [`Arena::space`] gave last.
    pub(crate) fn commit(&mut self, len: usize) -> Piece {
        let chunk = self.current.expect("space() chose a chunk before commit()");
        assert!(len <= FRAME_MAX, "a frame is longer than the room it was given");
        let piece = Piece { chunk, offset: self.cursor, len };
        self.cursor += len;
        self.chunks[chunk].pieces += 1;
        piece
    }

    /// The bytes of a piece.
    pub(crate) fn bytes(&self, piece: Piece) -> &[u8] {
        &self.chunks[piece.chunk].bytes[piece.offset..piece.offset + piece.len]
    }

    /// Gives a piece back; it is not used afterwards.
    pub(crate) fn release(&mut self, piece: Piece) {
        let chunk = &mut self.chunks[piece.chunk];
        chunk.pieces = chunk.pieces.checked_sub(1).expect("a piece is released once");
        if chunk.pieces == 0 && self.current != Some(piece.chunk) {
            self.empty.push(piece.chunk);
        }
    }

    fn chunk_with_room(&mut self) -> Option<usize> {
        if let Some(current) = self.current {
            if self.chunks[current].pieces == 0 {
                self.cursor = 0;
            }
            if self.cursor + FRAME_MAX <= CHUNK_LEN {
                return Some(current);
            }
        }
        let next = self.empty.pop().or_else(|| self.grow())?;
        self.current = Some(next);
        self.cursor = 0;
        Some(next)
    }

    fn grow(&mut self) -> Option<usize> {
        if self.chunks.len() == self.chunks_max {
            return None;
        }
        let bytes = vec![0; CHUNK_LEN].into_boxed_slice();
        self.chunks.push(Chunk { bytes, pieces: 0 });
        Some(self.chunks.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn store(arena: &mut Arena, byte: u8, len: usize) -> Option<Piece> {
        arena.space()?[..len].fill(byte);
        Some(arena.commit(len))
    }

    #[test]
    fn a_full_arena_offers_no_room_until_a_chunk_empties() {
        let mut arena = Arena::new(2 * CHUNK_LEN);
        let mut pieces = Vec::new();
        while let Some(piece) = store(&mut arena, 1, 60_000) {
            pieces.push(piece);
        }
        assert!(pieces.len() >= 2 * (CHUNK_LEN / FRAME_MAX));
        let first_chunk = pieces[0].chunk;
        for piece in pieces.iter().filter(|piece| piece.chunk == first_chunk) {
            arena.release(*piece);
        }
        assert!(arena.space().is_some());
    }

    #[test]
    fn a_steady_flight_lives_in_few_chunks() {
        let mut arena = Arena::new(64 * CHUNK_LEN);
        let mut flight = VecDeque::new();
        for round in 0..10_000u32 {
            let byte = u8::try_from(round % 251).expect("below 251");
            flight.push_back((byte, store(&mut arena, byte, 1500).expect("room")));
            if flight.len() > 100 {
                let (byte, piece) = flight.pop_front().expect("not empty");
                assert!(arena.bytes(piece).iter().all(|b| *b == byte));
                arena.release(piece);
            }
        }
        assert!(arena.chunks.len() <= 3, "{} chunks for 150 kB", arena.chunks.len());
    }
}
