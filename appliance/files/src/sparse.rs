//! A file in a stream, without its holes: pieces of data with their places, and its length at the end.
//!
//! A piece is its offset (8 bytes, big-endian), its length (4 bytes) and so many bytes; pieces ascend
//! and do not overlap. A piece of length 0 is the end, and its offset the length of the file.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::FileExt;

/// Bytes before those of a piece.
pub const HEAD: usize = 12;
/// Bytes of data that are read at a time.
const PIECE: usize = 256 << 10;
/// What a file system gives room for; zeros that fill one are not written.
const BLOCK: u64 = 4096;

/// What stands before a piece, or is the end.
pub fn head(offset: u64, len: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&offset.to_be_bytes());
    head[8..].copy_from_slice(&len.to_be_bytes());
    head
}

/// A piece with its head.
pub fn piece(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&head(offset, len), bytes].concat()
}

/// Reads what `file`, of `size` bytes, holds and is no hole, in order; all of it where the file system
/// does not tell holes. Moves the file's position.
///
/// # Errors
/// What the system says, a file that became shorter, and what `each` says.
pub fn data_of(
    file: &File,
    size: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) if end > start => end.min(size),
            Ok(_) | Err(_) => size,
        };
        at = start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut buffer[..len], at)?;
            each(at, &buffer[..len])?;
            at += len as u64;
        }
    }
    // Behind the end of a file there is no data either: that would be taken for a hole.
    if file.metadata()?.len() < size {
        return Err(Error::new(ErrorKind::UnexpectedEof, "it became shorter while it was read"));
    }
    Ok(())
}

/// Writes data at its place, but for blocks of zeros: a file that is made so has holes there.
///
/// # Errors
/// What the system says.
pub fn write_data(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        // Up to the end of its block.
        let len = usize::try_from(BLOCK - at % BLOCK).unwrap_or(rest.len()).min(rest.len());
        let (block, behind) = rest.split_at(len);
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, at)?;
        }
        (at, rest) = (at + len as u64, behind);
    }
    Ok(())
}

/// Takes a stream apart, however it is cut.
#[derive(Debug, Default)]
pub struct Taker {
    head: Vec<u8>,
    /// Where the next byte of a piece is, and how many are left of it.
    at: u64,
    left: u64,
    size: Option<u64>,
}

impl Taker {
    /// How long the file is; `None` before the end came.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Takes some more of the stream, and gives `write` what it has of pieces, with its place.
    ///
    /// # Errors
    /// That it is no such stream, and what `write` says.
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        write: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.size.is_some() {
                return Err(Error::new(ErrorKind::InvalidData, "more comes behind the end"));
            }
            if self.left == 0 {
                let (more, behind) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(more);
                bytes = behind;
                self.begin()?;
                continue;
            }
            let len = usize::try_from(self.left).unwrap_or(bytes.len()).min(bytes.len());
            let (data, behind) = bytes.split_at(len);
            write(self.at, data)?;
            (self.at, self.left) = (self.at + len as u64, self.left - len as u64);
            bytes = behind;
        }
        Ok(())
    }

    /// Begins a piece, if its head is whole.
    fn begin(&mut self) -> io::Result<()> {
        let Some((offset, len)) = self.head.split_first_chunk::<8>() else { return Ok(()) };
        let Ok(len) = <[u8; 4]>::try_from(len) else { return Ok(()) };
        let (offset, len) = (u64::from_be_bytes(*offset), u64::from(u32::from_be_bytes(len)));
        self.head.clear();
        if offset < self.at || offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::new(ErrorKind::InvalidData, "pieces of it do not ascend"));
        }
        if len == 0 {
            self.size = Some(offset);
        }
        (self.at, self.left) = (offset, len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    fn stream_of(file: &File, size: u64) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut each = |at, bytes: &[u8]| {
            stream.extend(piece(at, bytes));
            Ok(())
        };
        data_of(file, size, &mut each).unwrap();
        stream.extend(head(size, 0));
        stream
    }

    #[test]
    fn a_file_with_holes_is_the_same_behind_a_stream_and_takes_no_more_room() {
        const SIZE: u64 = 1 << 40;
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(&[7; 10_000], 5 << 30).unwrap();
        // Written zeros take no room either.
        from.write_all_at(&[0; 100_000], 6 << 30).unwrap();
        from.set_len(SIZE).unwrap();
        let stream = stream_of(&from, SIZE);
        assert!(stream.len() < 200_000, "{}", stream.len());
        let mut taker = Taker::default();
        for some in stream.chunks(1000) {
            taker.take(some, &mut |at, bytes| write_data(&to, at, bytes)).unwrap();
        }
        assert_eq!(taker.size(), Some(SIZE));
        to.set_len(SIZE).unwrap();
        let mut read = [1; 10_001];
        to.read_exact_at(&mut read, 5 << 30).unwrap();
        assert!(read[..10_000].iter().all(|&byte| byte == 7) && read[10_000] == 0);
        to.read_exact_at(&mut read[..6], 0).unwrap();
        assert_eq!(&read[..6], b"begin\0");
        assert!(to.metadata().unwrap().blocks() * 512 < 200_000);
    }

    #[test]
    fn a_file_that_became_shorter_is_not_taken_for_one_that_ends_in_a_hole() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"begins", 0).unwrap();
        let mut nowhere = |_, _: &[u8]| Ok(());
        data_of(&file, 6, &mut nowhere).unwrap();
        let cut = data_of(&file, 1 << 20, &mut nowhere).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
        file.set_len(1 << 20).unwrap();
        data_of(&file, 1 << 20, &mut nowhere).unwrap();
    }

    #[test]
    fn what_does_not_ascend_or_goes_on_behind_the_end_is_refused() {
        let mut nowhere = |_, _: &[u8]| Ok(());
        let twice = [piece(5, b"ab"), piece(6, b"c")].concat();
        assert!(Taker::default().take(&twice, &mut nowhere).is_err());
        let behind = [&head(3, 0)[..], b"x"].concat();
        assert!(Taker::default().take(&behind, &mut nowhere).is_err());
        assert!(Taker::default().take(&head(u64::MAX, 1), &mut nowhere).is_err());
        let mut cut = Taker::default();
        cut.take(&piece(0, b"abc")[..13], &mut nowhere).unwrap();
        assert_eq!(cut.size(), None);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_pieces_come(
            pieces in prop::collection::vec((0_u64..50, prop::collection::vec(any::<u8>(), 1..40)), 0..8),
            cut in 1_usize..60,
        ) {
            let (mut at, mut stream, mut expected) = (0, Vec::new(), Vec::new());
            for (gap, bytes) in pieces {
                at += gap;
                stream.extend(piece(at, &bytes));
                expected.extend(bytes.iter().enumerate().map(|(n, &byte)| (at + n as u64, byte)));
                at += bytes.len() as u64;
            }
            stream.extend(head(at, 0));
            let (mut taker, mut found) = (Taker::default(), Vec::new());
            for some in stream.chunks(cut) {
                taker.take(some, &mut |at, bytes| {
                    found.extend(bytes.iter().enumerate().map(|(n, &byte)| (at + n as u64, byte)));
                    Ok(())
                }).unwrap();
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(taker.size(), Some(at));
        }
    }
}
