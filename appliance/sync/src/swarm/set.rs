//! A set of chunk numbers: nothing at all for runs of 4096 that are empty or whole, bits for others.
//!
//! Sites that are a little behind an origin hold long runs, so most of a manifest costs 16 bytes for
//! each 4096 chunks; the worst case is one bit a chunk.

use super::{OutOfRange, Run};

const BLOCK: u32 = 4096;
const WORDS: usize = 64;

#[derive(Clone, Debug)]
struct Bits {
    words: [u64; WORDS],
    held: u32,
}

#[derive(Clone, Debug)]
enum Block {
    Empty,
    Full,
    Bits(Box<Bits>),
}

/// Some of the chunks of a manifest.
#[derive(Clone, Debug)]
pub struct ChunkSet {
    chunks: u32,
    held: u32,
    blocks: Vec<Block>,
}

impl ChunkSet {
    /// None of `chunks`.
    pub fn new(chunks: u32) -> Self {
        let blocks = chunks.div_ceil(BLOCK) as usize;
        Self { chunks, held: 0, blocks: vec![Block::Empty; blocks] }
    }

    /// All of them.
    pub fn full(chunks: u32) -> Self {
        let blocks = chunks.div_ceil(BLOCK) as usize;
        Self { chunks, held: chunks, blocks: vec![Block::Full; blocks] }
    }

    /// How many it holds.
    pub fn count(&self) -> u32 {
        self.held
    }

    /// Of how many.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// True if it holds all of them.
    pub fn is_full(&self) -> bool {
        self.held == self.chunks
    }

    /// True if it holds `chunk`.
    pub fn contains(&self, chunk: u32) -> bool {
        chunk < self.chunks && self.word(chunk as usize / 64) >> (chunk % 64) & 1 == 1
    }

    /// Adds a chunk: true if it is new. One that does not exist is not.
    pub fn insert(&mut self, chunk: u32) -> bool {
        self.set(chunk, true)
    }

    /// Takes a chunk out: true if it was there.
    pub fn remove(&mut self, chunk: u32) -> bool {
        self.set(chunk, false)
    }

    /// Adds a run; calls `new` with each chunk that was not there.
    ///
    /// # Errors
    /// If the run leaves the manifest; nothing is added then.
    pub fn insert_run(&mut self, run: Run, mut new: impl FnMut(u32)) -> Result<(), OutOfRange> {
        for chunk in run.first..run.end(self.chunks)? {
            if self.insert(chunk) {
                new(chunk);
            }
        }
        Ok(())
    }

    /// 64 chunks from `64 * index` on, the first in the lowest bit.
    pub fn word(&self, index: usize) -> u64 {
        match self.blocks.get(index / WORDS) {
            None | Some(Block::Empty) => 0,
            Some(Block::Full) => self.mask(index),
            Some(Block::Bits(bits)) => bits.words[index % WORDS],
        }
    }

    /// Which bits of a word are chunks.
    pub fn mask(&self, index: usize) -> u64 {
        match u64::from(self.chunks).saturating_sub(index as u64 * 64) {
            0 => 0,
            left @ 1..64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.chunks.div_ceil(64) as usize
    }

    /// True if every chunk of the 4096 around word `index` is held.
    pub fn is_full_around(&self, index: usize) -> bool {
        matches!(self.blocks.get(index / WORDS), Some(Block::Full))
    }

    /// True if no chunk of the 4096 around word `index` is held.
    pub fn is_empty_around(&self, index: usize) -> bool {
        !matches!(self.blocks.get(index / WORDS), Some(Block::Full | Block::Bits(_)))
    }

    /// The runs that it holds, ascending, as few as can be.
    pub fn runs(&self) -> Runs<'_> {
        Runs { set: self, at: 0, inverted: false }
    }

    /// The runs that it lacks, ascending.
    pub fn gaps(&self) -> Runs<'_> {
        Runs { set: self, at: 0, inverted: true }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        let bits = self.blocks.iter().filter(|block| matches!(block, Block::Bits(_))).count();
        size_of::<Self>() + self.blocks.len() * size_of::<Block>() + bits * size_of::<Bits>()
    }

    fn set(&mut self, chunk: u32, value: bool) -> bool {
        if chunk >= self.chunks || self.contains(chunk) == value {
            return false;
        }
        let at = (chunk / BLOCK) as usize;
        let size = BLOCK.min(self.chunks - chunk / BLOCK * BLOCK);
        if !matches!(self.blocks[at], Block::Bits(_)) {
            let words = core::array::from_fn(|word| self.word(at * WORDS + word));
            let held = words.iter().map(|word: &u64| word.count_ones()).sum();
            self.blocks[at] = Block::Bits(Box::new(Bits { words, held }));
        }
        let Block::Bits(bits) = &mut self.blocks[at] else { return false };
        bits.words[(chunk % BLOCK / 64) as usize] ^= 1 << (chunk % 64);
        bits.held = if value { bits.held + 1 } else { bits.held - 1 };
        self.held = if value { self.held + 1 } else { self.held - 1 };
        match bits.held {
            0 => self.blocks[at] = Block::Empty,
            held if held == size => self.blocks[at] = Block::Full,
            _ => {}
        }
        true
    }

    /// The next chunk from `at` on that is (or is not) held.
    fn next(&self, at: u32, is_held: bool) -> Option<u32> {
        let mut at = at;
        while at < self.chunks {
            match (&self.blocks[(at / BLOCK) as usize], is_held) {
                (Block::Empty, true) | (Block::Full, false) => at = (at / BLOCK + 1) * BLOCK,
                (Block::Full, true) | (Block::Empty, false) => return Some(at),
                (Block::Bits(_), _) => {
                    let index = at as usize / 64;
                    let word = if is_held { self.word(index) } else { !self.word(index) };
                    let rest = word & self.mask(index) & u64::MAX << (at % 64);
                    if rest != 0 {
                        return Some(at / 64 * 64 + rest.trailing_zeros());
                    }
                    at = (at / 64 + 1) * 64;
                }
            }
        }
        None
    }
}

/// The runs of a set, ascending.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    set: &'a ChunkSet,
    at: u32,
    inverted: bool,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let first = self.set.next(self.at, !self.inverted)?;
        let end = self.set.next(first, self.inverted).unwrap_or(self.set.chunks);
        self.at = end;
        Some(Run { first, len: end - first })
    }
}
