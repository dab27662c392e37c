//! Who has what, as far as they say, and how many have each chunk.
//!
//! Whoever claims everything makes every chunk one more common and no chunk rarer than another: a
//! lie moves no choice between chunks, and costs its teller one failed ask.

use super::{ChunkSet, OutOfRange, Peer, RUNS_MAX, Run};

/// What a number of peers hold.
#[derive(Clone, Debug)]
pub struct Holders {
    chunks: u32,
    counts: Vec<u16>,
    sets: Vec<(Peer, ChunkSet)>,
}

/// A peer said more at once than anybody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HearError {
    /// Chunks that do not exist.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// Too many runs.
    #[error("{0} runs in one message, of {RUNS_MAX} at most: whoever sends them is set aside")]
    Runs(usize),
    /// Some of it is said twice, or out of order.
    #[error("{0:?} does not come after what was said before it: whoever says so is set aside")]
    Order(Run),
}

impl Holders {
    /// Nobody holds any of `chunks`.
    pub fn new(chunks: u32) -> Self {
        Self { chunks, counts: vec![0; chunks as usize], sets: Vec::new() }
    }

    /// A peer says that it holds these as well. Nothing of it counts if any of it is wrong.
    ///
    /// # Errors
    /// If there are too many runs, or one that leaves the manifest.
    pub fn hear(&mut self, peer: Peer, runs: &[Run]) -> Result<u32, HearError> {
        if runs.len() > RUNS_MAX {
            return Err(HearError::Runs(runs.len()));
        }
        // One chunk named a thousand times would be a thousand times the work.
        let mut after = 0;
        for run in runs {
            let end = run.end(self.chunks)?;
            if run.first < after {
                return Err(HearError::Order(*run));
            }
            after = end;
        }
        let at = match self.sets.binary_search_by_key(&peer, |(peer, _)| *peer) {
            Ok(at) => at,
            Err(at) => {
                self.sets.insert(at, (peer, ChunkSet::new(self.chunks)));
                at
            }
        };
        let (counts, before) = (&mut self.counts, self.sets[at].1.count());
        for run in runs {
            let count =
                |chunk: u32| counts[chunk as usize] = counts[chunk as usize].saturating_add(1);
            self.sets[at].1.insert_run(*run, count)?;
        }
        Ok(self.sets[at].1.count() - before)
    }

    /// A peer does not have a chunk, whatever it said.
    pub fn lacks(&mut self, peer: Peer, chunk: u32) {
        if let Ok(at) = self.sets.binary_search_by_key(&peer, |(peer, _)| *peer)
            && self.sets[at].1.remove(chunk)
        {
            self.counts[chunk as usize] = self.counts[chunk as usize].saturating_sub(1);
        }
    }

    /// What a peer said counts no more.
    pub fn forget(&mut self, peer: Peer) {
        if let Ok(at) = self.sets.binary_search_by_key(&peer, |(peer, _)| *peer) {
            let (_, set) = self.sets.remove(at);
            for run in set.runs() {
                for chunk in run.first..run.first + run.len {
                    let count = &mut self.counts[chunk as usize];
                    *count = count.saturating_sub(1);
                }
            }
        }
    }

    /// How many say that they hold a chunk.
    pub fn count(&self, chunk: u32) -> u16 {
        self.counts.get(chunk as usize).copied().unwrap_or(0)
    }

    /// What a peer said that it holds.
    pub fn of(&self, peer: Peer) -> Option<&ChunkSet> {
        let at = self.sets.binary_search_by_key(&peer, |(peer, _)| *peer).ok()?;
        Some(&self.sets[at].1)
    }

    /// True if a peer said that it holds a chunk.
    pub fn has(&self, peer: Peer, chunk: u32) -> bool {
        self.of(peer).is_some_and(|set| set.contains(chunk))
    }

    /// Everybody who said anything, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Peer, &ChunkSet)> {
        self.sets.iter().map(|(peer, set)| (*peer, set))
    }

    /// Bytes of memory that this takes.
    pub fn memory(&self) -> usize {
        let sets: usize = self.sets.iter().map(|(_, set)| set.memory()).sum();
        size_of::<Self>() + self.counts.capacity() * size_of::<u16>() + sets
    }
}
