//! What one neighbour is told of a folder: the versions that are kept, in the order in which they
//! came, each once. What was covered meanwhile is left out, so a neighbour that was away for long is
//! told what there is, not what there was.

use super::index::{Arrival, Index, KeptRun, RunRef};
use crate::message::{Records, SealedRun};
use crate::record::{Record, RecordError};
use crate::seal::{SealError, reduce};
use crate::version::{Author, Serial};
use std::collections::{BTreeMap, BTreeSet};

/// Records at once.
const RECORDS_MAX: usize = 4096;
/// Bytes of records at once, after which no other is added.
const BYTES_MAX: usize = 1 << 20;

/// One neighbour's position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Everything up to here was sent.
    after: u64,
    /// The authors' words that were sent.
    told: BTreeMap<Author, Serial>,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// What the neighbour has to have before.
    pub after: u64,
    /// What it has with this.
    pub to: u64,
    /// The records; none if all that came meanwhile is covered.
    pub records: Records,
}

/// Why nothing can be sent: the index is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError<E> {
    /// It cannot be read.
    #[error("the index: {0}")]
    Index(E),
    /// A record that it keeps cannot be read.
    #[error("the index holds a damaged record: {0}")]
    Record(#[from] RecordError),
    /// A run that it keeps does not hang together.
    #[error("the index holds a damaged run: {0}")]
    Seal(#[from] SealError),
    /// It does not hold the word of an author whose version a record names.
    #[error("the index does not know how far an author's numbers go")]
    Word,
}

impl Feed {
    /// A neighbour that has everything up to `after`.
    pub const fn new(after: u64) -> Self {
        Self { after, told: BTreeMap::new() }
    }

    /// What was sent so far.
    pub const fn sent(&self) -> u64 {
        self.after
    }

    /// The next part; `None`: the neighbour was sent everything.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn next<I: Index>(&mut self, index: &I) -> Result<Option<Fed>, FeedError<I::Error>> {
        let last = index.last_arrival().map_err(FeedError::Index)?;
        if last <= self.after {
            return Ok(None);
        }
        let mut arrivals = index.arrivals(self.after, RECORDS_MAX).map_err(FeedError::Index)?;
        let is_all = arrivals.len() < RECORDS_MAX;
        let mut bytes = 0;
        let fits = arrivals.iter().take_while(|arrival| {
            let before = bytes;
            bytes += arrival.record.len();
            before < BYTES_MAX
        });
        let fits = fits.count();
        let is_all = is_all && fits == arrivals.len();
        arrivals.truncate(fits);
        let to = match arrivals.last() {
            Some(arrival) if !is_all => arrival.seq,
            _ => last,
        };
        let mut runs = self.words(index, &arrivals)?;
        for (run, part) in by_run(&arrivals) {
            let run = part_of(index.run(run).map_err(FeedError::Index)?, &part)?;
            self.heard(run.statement.author, run.statement.head);
            runs.push(run);
        }
        let after = core::mem::replace(&mut self.after, to);
        Ok(Some(Fed { after, to, records: Records { runs } }))
    }

    /// The words of those authors whose versions are named and who were not heard that far
    /// (spec: S-054).
    fn words<I: Index>(
        &mut self,
        index: &I,
        arrivals: &[Arrival],
    ) -> Result<Vec<SealedRun>, FeedError<I::Error>> {
        let mut named: BTreeMap<Author, u64> = BTreeMap::new();
        for arrival in arrivals {
            let record = Record::decode(&arrival.record)?;
            for (author, _, last) in record.version.context.runs() {
                let highest = named.entry(author).or_default();
                *highest = last.max(*highest);
            }
        }
        let mut words = Vec::new();
        for (author, last) in named {
            if self.told.get(&author).is_some_and(|told| told.get() >= last) {
                continue;
            }
            let word = index.statement(author).map_err(FeedError::Index)?;
            let word = word.ok_or(FeedError::Word)?;
            self.heard(author, word.statement.head);
            words.push(word);
        }
        Ok(words)
    }

    fn heard(&mut self, author: Author, head: Serial) {
        let told = self.told.entry(author).or_insert(head);
        *told = head.max(*told);
    }
}

/// The records of each run, in the order in which the runs first come.
fn by_run(arrivals: &[Arrival]) -> Vec<(RunRef, BTreeMap<u16, &[u8]>)> {
    let mut seen: BTreeSet<RunRef> = BTreeSet::new();
    let order = arrivals.iter().map(|arrival| arrival.run).filter(|run| seen.insert(*run));
    let order: Vec<RunRef> = order.collect();
    let mut parts: BTreeMap<RunRef, BTreeMap<u16, &[u8]>> = BTreeMap::new();
    for arrival in arrivals {
        parts.entry(arrival.run).or_default().insert(arrival.number, &arrival.record);
    }
    order.into_iter().filter_map(|run| Some((run, parts.remove(&run)?))).collect()
}

/// A part of a run, with what proves it.
fn part_of(run: KeptRun, part: &BTreeMap<u16, &[u8]>) -> Result<SealedRun, SealError> {
    let numbers: Vec<u16> = part.keys().copied().collect();
    let proof = reduce(run.statement.count, &run.leaves, &run.proof, &numbers)?;
    let records = part.iter().map(|(number, record)| (*number, record.to_vec())).collect();
    let KeptRun { key, statement, signature, .. } = run;
    Ok(SealedRun { key, statement, signature, records, proof })
}
