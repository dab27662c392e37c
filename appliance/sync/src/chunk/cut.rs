//! Where chunks begin and end: cuts follow content, so an edit moves only the cuts next to it.
//!
//! Zeros are cut out first, by blocks of the class's average length aligned in the file. Written
//! zeros and holes are the same bytes and so give the same cuts, but a hole need not be read
//! ([`Cutter::hole`]), and no chunk of zeros is ever stored, hashed or sent.

use super::class::SizeClass;
use super::key::ContentKeys;
use farhaul_proto::units::Bytes;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A chunk.
    Chunk {
        /// Its length.
        len: usize,
    },
    /// Whole blocks of zeros, or the last of the file; more may follow.
    Zeros {
        /// How many bytes.
        len: Bytes,
    },
}

/// Cuts one file from beginning to end (spec: S-032, S-033).
///
/// Whoever drives it holds [`lookahead`](Self::lookahead) bytes from [`offset`](Self::offset) on;
/// the bytes are neither copied nor kept.
#[derive(Clone, Debug)]
pub struct Cutter<'a> {
    keys: &'a ContentKeys,
    class: SizeClass,
    size: u64,
    at: u64,
    /// Blocks that begin before this offset are known not to be zeros.
    data_until: u64,
}

impl<'a> Cutter<'a> {
    /// For a file of `size` bytes.
    pub const fn new(keys: &'a ContentKeys, size: Bytes) -> Self {
        Self::of_class(keys, SizeClass::of(size), size)
    }

    /// In a class that is not that of `size`: to find the chunks of a file of another size.
    pub const fn of_class(keys: &'a ContentKeys, class: SizeClass, size: Bytes) -> Self {
        Self { keys, class, size: size.get(), at: 0, data_until: 0 }
    }

    /// The class in which it cuts.
    pub const fn class(&self) -> SizeClass {
        self.class
    }

    /// Where the next piece begins; the size at the end.
    pub const fn offset(&self) -> Bytes {
        Bytes::new(self.at)
    }

    /// How many bytes from [`offset`](Self::offset) on the next cut depends on: at most 20 MiB,
    /// 0 at the end of the file.
    pub fn lookahead(&self) -> usize {
        let block = self.block();
        let end = (self.at + self.class.max().get()).div_ceil(block) * block;
        Bytes::new(end.min(self.size) - self.at).as_len()
    }

    /// The next piece; `ahead` is what the file holds from [`offset`](Self::offset) on. `None` at
    /// the end, and where `ahead` has less than [`lookahead`](Self::lookahead) bytes.
    pub fn cut(&mut self, ahead: &[u8]) -> Option<Cut> {
        let ahead = ahead.get(..self.lookahead()).filter(|ahead| !ahead.is_empty())?;
        let data = self.data_before_zeros(ahead);
        let cut = if data == 0 {
            Cut::Zeros { len: Bytes::of_len(self.zeros(ahead)) }
        } else {
            Cut::Chunk { len: self.keys.first_cut(&ahead[..data], self.class) }
        };
        self.at += match cut {
            Cut::Chunk { len } => Bytes::of_len(len).get(),
            Cut::Zeros { len } => len.get(),
        };
        Some(cut)
    }

    /// What [`cut`](Self::cut) would give for the next `len` bytes of zeros, without them. `None`
    /// where a block is not zeros to its end or the next piece begins amid one.
    pub fn hole(&mut self, len: Bytes) -> Option<Cut> {
        let block = self.block();
        if !self.at.is_multiple_of(block) || self.at < self.data_until {
            return None;
        }
        let left = self.size - self.at;
        let len = if len.get() >= left { left } else { len.get() / block * block };
        self.at += len;
        (len > 0).then_some(Cut::Zeros { len: Bytes::new(len) })
    }

    const fn block(&self) -> u64 {
        self.class.average().get()
    }

    /// The length of the block that begins at `begin` bytes from here.
    fn block_at(&self, ahead: &[u8], begin: usize) -> usize {
        Bytes::new(self.block()).as_len().min(ahead.len() - begin)
    }

    /// How much of `ahead` lies before the first block of zeros; all of it if there is none.
    fn data_before_zeros(&mut self, ahead: &[u8]) -> usize {
        let first = self.at.next_multiple_of(self.block()).max(self.data_until);
        let mut begin = Bytes::new(first - self.at).as_len();
        while begin < ahead.len() {
            let block = self.block_at(ahead, begin);
            if is_zeros(&ahead[begin..begin + block]) {
                return begin;
            }
            begin += block;
            self.data_until = self.at + Bytes::of_len(begin).get();
        }
        ahead.len()
    }

    /// How much of `ahead` is blocks of zeros.
    fn zeros(&self, ahead: &[u8]) -> usize {
        let mut end = 0;
        while end < ahead.len() {
            let block = self.block_at(ahead, end);
            if !is_zeros(&ahead[end..end + block]) {
                break;
            }
            end += block;
        }
        end
    }
}

/// Whether all of `bytes` are zero. Most data is told from zeros by its first bytes.
fn is_zeros(bytes: &[u8]) -> bool {
    // A fold without a way out within it becomes wide instructions.
    bytes.chunks(256).all(|part| part.iter().fold(0, |any, byte| any | byte) == 0)
}
