//! Where chunks begin and end: cuts follow content, so an edit moves only the cuts next to it.
//!
//! Zeros are cut out first: runs of aligned blocks of zeros that are at least as long as the class's
//! average chunk. Blocks are small, so that data amid zeros costs little more than itself; runs are
//! long, so that zeros amid data do not make the list long. Written zeros and holes are the same
//! bytes and so give the same cuts, but a hole need not be read ([`Cutter::hole`]), and no long run
//! of zeros is ever stored, hashed or sent.

use super::class::SizeClass;
use super::key::ContentKeys;
use crate::limits::ZERO_BLOCK;
use farhaul_proto::units::Bytes;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A chunk.
    Chunk {
        /// Its length.
        len: usize,
    },
    /// Blocks of zeros, or the last of the file; more may follow.
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
    /// Blocks that begin before this offset are known to belong to chunks.
    data_until: u64,
    /// Whether a run of zeros ended here, as far as was seen.
    is_in_zeros: bool,
}

impl<'a> Cutter<'a> {
    /// For a file of `size` bytes.
    pub const fn new(keys: &'a ContentKeys, size: Bytes) -> Self {
        Self::of_class(keys, SizeClass::of(size), size)
    }

    /// In a class that is not that of `size`: to find the chunks of a file of another size.
    pub const fn of_class(keys: &'a ContentKeys, class: SizeClass, size: Bytes) -> Self {
        Self { keys, class, size: size.get(), at: 0, data_until: 0, is_in_zeros: false }
    }

    /// The class in which it cuts.
    pub const fn class(&self) -> SizeClass {
        self.class
    }

    /// Where the next piece begins; the size at the end.
    pub const fn offset(&self) -> Bytes {
        Bytes::new(self.at)
    }

    /// How many bytes from [`offset`](Self::offset) on the next cut depends on: some 20 MiB at most,
    /// 0 at the end of the file.
    pub fn lookahead(&self) -> usize {
        // A run of zeros that ends the longest chunk must be seen to be one.
        let longest = (self.at + self.class.max().get()).next_multiple_of(ZERO_BLOCK);
        let end = longest + self.run_min().get();
        Bytes::new(end.min(self.size) - self.at).as_len()
    }

    /// The next piece; `ahead` is what the file holds from [`offset`](Self::offset) on. `None` at
    /// the end, and where `ahead` has less than [`lookahead`](Self::lookahead) bytes; fewer do if a
    /// whole [`run_min`](Self::run_min) of blocks of zeros is among them.
    pub fn cut(&mut self, ahead: &[u8]) -> Option<Cut> {
        let (need, shown) = (self.lookahead(), Bytes::of_len(ahead.len()).get());
        let is_all = ahead.len() >= need;
        // Of a block that is not shown to its end, nothing is known.
        let end = (self.at + shown) / ZERO_BLOCK * ZERO_BLOCK;
        let end =
            if is_all { need } else { Bytes::new(end).saturating_sub(self.offset()).as_len() };
        let ahead = ahead.get(..end).filter(|ahead| !ahead.is_empty())?;
        let data = self.data_before_zeros(ahead, Bytes::ZERO);
        if data == ahead.len() && !is_all {
            return None;
        }
        Some(self.take(ahead, data))
    }

    /// What [`cut`](Self::cut) would give if `zeros` more bytes were shown, all of them zero, which
    /// nobody has to read: a hole. `ahead` ends where a block does. `None` where these are no run by
    /// themselves, and where nothing is shown.
    pub fn cut_before_hole(&mut self, ahead: &[u8], zeros: Bytes) -> Option<Cut> {
        if ahead.len() >= self.lookahead() {
            return self.cut(ahead);
        }
        let behind = self.at + Bytes::of_len(ahead.len()).get();
        let is_block = behind.is_multiple_of(ZERO_BLOCK) && !ahead.is_empty();
        if !is_block || zeros < self.run_min() || zeros.get() > self.size - behind {
            return None;
        }
        let data = self.data_before_zeros(ahead, zeros);
        Some(self.take(ahead, data))
    }

    /// Cuts what is shown, of which so much is data.
    fn take(&mut self, ahead: &[u8], data: usize) -> Cut {
        let cut = if data == 0 {
            let len = zeros_at(ahead, 0, usize::MAX);
            self.is_in_zeros = len == ahead.len();
            Cut::Zeros { len: Bytes::of_len(len) }
        } else {
            self.is_in_zeros = false;
            Cut::Chunk { len: self.keys.first_cut(&ahead[..data], self.class) }
        };
        self.at += match cut {
            Cut::Chunk { len } => Bytes::of_len(len).get(),
            Cut::Zeros { len } => len.get(),
        };
        cut
    }

    /// What [`cut`](Self::cut) would give for the next `len` bytes of zeros, without them. `None`
    /// where they may belong to a chunk: the bytes have to be shown.
    pub fn hole(&mut self, len: Bytes) -> Option<Cut> {
        let left = self.size - self.at;
        let len = if len.get() >= left { left } else { len.get() / ZERO_BLOCK * ZERO_BLOCK };
        let is_block = self.at.is_multiple_of(ZERO_BLOCK) && self.at >= self.data_until;
        let is_run = self.is_in_zeros || len >= self.run_min().get();
        if !is_block || !is_run || len == 0 {
            return None;
        }
        self.at += len;
        self.is_in_zeros = true;
        Some(Cut::Zeros { len: Bytes::new(len) })
    }

    /// A shorter run of zeros belongs to the chunks around it.
    pub const fn run_min(&self) -> Bytes {
        self.class.average()
    }

    /// How much of `ahead` lies before the first run of zeros, of which some may be behind it; all of
    /// it if there is none that a chunk can reach.
    fn data_before_zeros(&mut self, ahead: &[u8], behind: Bytes) -> usize {
        if self.is_in_zeros && zeros_at(ahead, 0, 1) > 0 {
            return 0;
        }
        let run_min = self.run_min().as_len();
        let first = self.at.next_multiple_of(ZERO_BLOCK).max(self.data_until);
        let mut begin = Bytes::new(first - self.at).as_len();
        while begin < ahead.len() {
            let run = zeros_at(ahead, begin, run_min);
            let is_last = begin + run == ahead.len();
            if run >= run_min || (is_last && behind >= self.run_min()) {
                return begin;
            }
            if is_last {
                break; // too short, or it begins beyond the longest chunk
            }
            begin += if run == 0 { block_at(ahead, begin).len() } else { run };
            self.data_until = self.at + Bytes::of_len(begin).get();
        }
        ahead.len()
    }
}

/// The block that begins at `begin`: the last of a file may be shorter.
fn block_at(ahead: &[u8], begin: usize) -> &[u8] {
    let len = Bytes::new(ZERO_BLOCK).as_len().min(ahead.len() - begin);
    &ahead[begin..begin + len]
}

/// How many bytes of blocks of zeros there are from `begin` on; not counted further than `enough`.
fn zeros_at(ahead: &[u8], begin: usize, enough: usize) -> usize {
    let mut end = begin;
    while end < ahead.len() && end - begin < enough && is_zeros(block_at(ahead, end)) {
        end += block_at(ahead, end).len();
    }
    end - begin
}

/// Whether all of `bytes` are zero. Most data is told from zeros by its first bytes.
fn is_zeros(bytes: &[u8]) -> bool {
    // A fold without a way out within it becomes wide instructions.
    bytes.chunks(256).all(|part| part.iter().fold(0, |any, byte| any | byte) == 0)
}
