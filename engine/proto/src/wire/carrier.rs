//! Datagrams in a byte stream: a big-endian `u16` length, then that many bytes (`spec: W-111`).
//!
//! The stream is what a TCP carrier offers; the datagrams are those of the UDP port, whichever
//! protocol they belong to. Memory is allocated once; a length is believed only after it was
//! checked. It does not look into datagrams.

use crate::limits::{DATA_HEADER_LEN, SYMBOL_SIZE, TAG_LEN};

/// Bytes of a datagram's length.
pub const LENGTH_LEN: usize = 2;
/// The longest frame.
pub const CARRIER_FRAME_MAX: usize = LENGTH_LEN + CARRIED_MAX;
/// The longest datagram that travels over a link: one with a symbol of the usual size.
pub const CARRIED_MAX: usize = DATA_HEADER_LEN + SYMBOL_SIZE as usize + TAG_LEN;

/// Why a stream of frames has no further meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// A frame announces no bytes.
    #[error("a datagram of no bytes")]
    Empty,
    /// A frame announces more than a datagram may have.
    #[error("a datagram of {0} bytes")]
    TooLong(usize),
}

/// What stands before a datagram of `len` bytes.
///
/// # Errors
/// No datagram is empty or longer than [`CARRIED_MAX`].
pub fn frame_length(len: usize) -> Result<[u8; LENGTH_LEN], CarrierError> {
    match u16::try_from(len) {
        Ok(0) => Err(CarrierError::Empty),
        Ok(announced) if len <= CARRIED_MAX => Ok(announced.to_be_bytes()),
        Ok(_) | Err(_) => Err(CarrierError::TooLong(len)),
    }
}

/// The length of the frame at the beginning of `bytes`, its own length included, and whether all
/// of it is there; `None` while even its length is not.
///
/// # Errors
/// What it announces is no datagram.
pub fn first_frame(bytes: &[u8]) -> Result<Option<usize>, CarrierError> {
    let Some(&announced) = bytes.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let announced = usize::from(u16::from_be_bytes(announced));
    frame_length(announced)?;
    Ok(Some(LENGTH_LEN + announced))
}

/// Memory that a stream is read into, and datagrams are taken out of.
///
/// ```
/// # use farhaul_proto::wire::carrier::{CarrierError, FrameBuffer};
/// # fn main() -> Result<(), CarrierError> {
/// let mut buffer = FrameBuffer::new(4096);
/// buffer.space()[..5].copy_from_slice(&[0, 2, 7, 8, 0]);
/// buffer.filled(5);
/// assert_eq!(buffer.pull()?, Some(&mut [7, 8][..]));
/// assert_eq!(buffer.pull()?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FrameBuffer {
    memory: Box<[u8]>,
    /// What is between these two was read and not taken.
    begin: usize,
    end: usize,
}

impl FrameBuffer {
    /// With room for `len` bytes, and for one whole frame at least.
    pub fn new(len: usize) -> Self {
        let len = len.max(CARRIER_FRAME_MAX);
        Self { memory: vec![0; len].into_boxed_slice(), begin: 0, end: 0 }
    }

    /// Where the next bytes of the stream go; never empty once [`Self::pull`] yields nothing.
    pub fn space(&mut self) -> &mut [u8] {
        self.memory.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        &mut self.memory[self.end..]
    }

    /// So many bytes (at most as many as there was space for) were read there.
    pub fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.memory.len());
    }

    /// Takes the next whole datagram, until there is none.
    ///
    /// # Errors
    /// What stands next is no frame; nothing after it means anything.
    pub fn pull(&mut self) -> Result<Option<&mut [u8]>, CarrierError> {
        let Some(len) = first_frame(&self.memory[self.begin..self.end])? else { return Ok(None) };
        let (start, end) = (self.begin, self.begin + len);
        if end > self.end {
            return Ok(None);
        }
        self.begin = end;
        Ok(Some(&mut self.memory[start + LENGTH_LEN..end]))
    }

    /// Bytes held: less than a frame once [`Self::pull`] yields nothing.
    pub const fn buffered(&self) -> usize {
        self.end - self.begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<(), CarrierError>) {
        let mut buffer = FrameBuffer::new(0);
        let mut datagrams = Vec::new();
        let (mut rest, mut pieces) = (stream, pieces.iter().cycle());
        while !rest.is_empty() {
            let space = buffer.space();
            let piece = (*pieces.next().expect("a cycle")).clamp(1, rest.len()).min(space.len());
            space[..piece].copy_from_slice(&rest[..piece]);
            buffer.filled(piece);
            rest = &rest[piece..];
            loop {
                match buffer.pull() {
                    Ok(Some(datagram)) => datagrams.push(datagram.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (datagrams, Err(error)),
                }
            }
        }
        (datagrams, Ok(()))
    }

    fn stream_of(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for datagram in datagrams {
            stream.extend(frame_length(datagram.len()).expect("a datagram"));
            stream.extend(datagram);
        }
        stream
    }

    /// spec: W-111
    #[test]
    fn lengths_of_zero_and_beyond_a_datagram_end_the_stream_before_anything_is_kept() {
        let fault = |announced: u16| {
            let stream = [&[0, 1, 7][..], &announced.to_be_bytes(), &[0; 9]].concat();
            read(&stream, &[1])
        };
        assert_eq!(fault(0), (vec![vec![7]], Err(CarrierError::Empty)));
        let long = u16::try_from(CARRIED_MAX + 1).expect("short");
        assert_eq!(fault(long), (vec![vec![7]], Err(CarrierError::TooLong(CARRIED_MAX + 1))));
        assert_eq!(fault(u16::MAX).1, Err(CarrierError::TooLong(65_535)));
        assert_eq!(frame_length(0), Err(CarrierError::Empty));
        assert_eq!(frame_length(70_000), Err(CarrierError::TooLong(70_000)));
    }

    proptest! {
        #[test]
        fn datagrams_survive_however_the_stream_is_cut(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=CARRIED_MAX), 0..8),
            pieces in prop::collection::vec(1usize..3000, 1..20),
        ) {
            let (read, outcome) = read(&stream_of(&datagrams), &pieces);
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(read, datagrams);
        }

        #[test]
        fn any_stream_gives_the_same_whether_in_one_piece_or_in_many(
            stream in prop::collection::vec(prop_oneof![Just(0u8), 0u8..6, any::<u8>()], 0..6000),
            pieces in prop::collection::vec(1usize..2000, 1..20),
        ) {
            prop_assert_eq!(read(&stream, &pieces), read(&stream, &[usize::MAX]));
        }
    }
}
