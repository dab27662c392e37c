//! What of a manifest is to be fetched: what is not here already.

use super::page::{Chunk, Entry};
use super::read::Leaf;
use farhaul_proto::units::Bytes;
use std::collections::BTreeSet;

/// Entries that follow each other in a manifest, all of them chunks that are to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of the first one.
    pub first: u64,
    /// How many, from 1.
    pub count: u64,
    /// Where in the file the first one begins.
    pub offset: Bytes,
    /// Their length together.
    pub len: Bytes,
}

/// What is to be fetched of a manifest, gathered part by part (spec: S-037).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In file order, none touching the next.
    pub fetch: Vec<Run>,
    /// Bytes to be fetched.
    pub missing: Bytes,
    /// Bytes of chunks that are here, or come earlier in the same part.
    pub reused: Bytes,
    /// Bytes of zeros, which nobody sends.
    pub zeros: Bytes,
}

impl Plan {
    /// Takes in the next part. `is_here` says whether a chunk can be had without the network; a
    /// chunk that occurs twice in one part is fetched once.
    pub fn add(&mut self, leaf: &Leaf, mut is_here: impl FnMut(&Chunk) -> bool) {
        let mut fetched = BTreeSet::new();
        let mut offset = leaf.offset;
        for (number, entry) in (leaf.first..).zip(&leaf.entries) {
            match entry {
                Entry::Zeros { len } => self.zeros += *len,
                Entry::Chunk(chunk) if fetched.contains(&chunk.id) || is_here(chunk) => {
                    self.reused += entry.len();
                }
                Entry::Chunk(chunk) => {
                    fetched.insert(chunk.id);
                    self.missing += entry.len();
                    self.fetch_also(number, offset, entry.len());
                }
            }
            offset += entry.len();
        }
    }

    fn fetch_also(&mut self, number: u64, offset: Bytes, len: Bytes) {
        match self.fetch.last_mut().filter(|run| run.first + run.count == number) {
            Some(run) => {
                run.count += 1;
                run.len += len;
            }
            None => self.fetch.push(Run { first: number, count: 1, offset, len }),
        }
    }
}
