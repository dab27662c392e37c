//! What one neighbour is told of a folder: the versions that are kept, in the order in which they
//! came, each once. What was covered meanwhile is left out, so a neighbour that was away for long is
//! told what there is, not what there was.

use super::index::{Arrival, Index, KeptRun, RunRef};
use crate::message::{Records, SealedRun};
use crate::reconcile::{Lacking, Outcome};
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
    /// What alone is lacking there, up to where both were compared.
    lacking: Option<Lacking>,
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
        Self { after, told: BTreeMap::new(), lacking: None }
    }

    /// A neighbour that has everything up to `after`, and of what came then up to a comparison
    /// lacks only what that found (spec: S-128).
    pub fn compared(after: u64, outcome: Outcome) -> Self {
        let lacking = match outcome {
            Outcome::Lacking(lacking) if lacking.up_to > after => Some(lacking),
            Outcome::Lacking(_) | Outcome::Everything => None,
        };
        Self { lacking, ..Self::new(after) }
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
        let (arrivals, to) = match &self.lacking {
            Some(lacking) => lacking_of(index, lacking, self.after).map_err(FeedError::Index)?,
            None => following(index, self.after, last).map_err(FeedError::Index)?,
        };
        let mut runs = self.words(index, &arrivals)?;
        for (run, part) in by_run(&arrivals) {
            let run = part_of(index.run(run).map_err(FeedError::Index)?, &part)?;
            self.heard(run.statement.author, run.statement.head);
            runs.push(run);
        }
        let after = core::mem::replace(&mut self.after, to);
        self.lacking = self.lacking.take().filter(|lacking| lacking.up_to > to);
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

/// The next of what came after `after`, and up to where that is all.
fn following<I: Index>(index: &I, after: u64, last: u64) -> Result<(Vec<Arrival>, u64), I::Error> {
    let mut arrivals = index.arrivals(after, RECORDS_MAX)?;
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
    Ok((arrivals, to))
}

/// The next of what is lacking after `after`, and up to where that is all. What was covered since
/// the comparison is not there any more: what covers it came later.
fn lacking_of<I: Index>(
    index: &I,
    lacking: &Lacking,
    after: u64,
) -> Result<(Vec<Arrival>, u64), I::Error> {
    let from = lacking.seqs.partition_point(|&seq| seq <= after);
    let (mut arrivals, mut bytes) = (Vec::new(), 0);
    for (n, &seq) in lacking.seqs[from..].iter().enumerate() {
        if n >= RECORDS_MAX || bytes >= BYTES_MAX {
            return Ok((arrivals, lacking.seqs[from + n - 1]));
        }
        let found = index.arrivals(seq - 1, 1)?.into_iter().find(|arrival| arrival.seq == seq);
        bytes += found.as_ref().map_or(0, |arrival| arrival.record.len());
        arrivals.extend(found);
    }
    Ok((arrivals, lacking.up_to))
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

#[cfg(test)]
mod tests;
