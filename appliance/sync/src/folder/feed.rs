//! What one neighbour is told of a folder: the versions that are kept, in the order in which they
//! came, each once. What was covered meanwhile is left out, so a neighbour that was away for long is
//! told what there is, not what there was.

use super::index::{Arrival, Index, KeptRun, RunRef};
use crate::message::{Records, SealedRun};
use crate::reconcile::{Lacking, Outcome};
use crate::record::{Record, RecordError};
use crate::seal::{SealError, reduce};
use crate::version::{Author, Dot, Serial};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Records at once.
const RECORDS_MAX: usize = 4096;
/// Bytes of records at once, after which no other is added.
const BYTES_MAX: usize = 1 << 20;
/// Words of authors at once, after which no other record is added. One record names at most
/// [`crate::limits::CONTEXT_RUNS_MAX`] authors, so with its records' own runs a part stays within what a reader
/// takes, of however many incarnations.
const WORDS_MAX: usize = 2048;
/// Versions that a neighbour told and that are remembered until it would be told them: half a megabyte.
/// Of more than that some are told back, which changes nothing.
const THEIRS_MAX: usize = 1 << 13;

/// One neighbour's position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Everything up to here was sent.
    after: u64,
    /// The authors' words that were sent.
    told: BTreeMap<Author, Serial>,
    /// The neighbour's own author, if it was told nothing yet: its first part goes even if nothing
    /// is new, and carries what is known of its numbers (spec: S-024).
    greeting: Option<Author>,
    /// Where the parts end that it was sent and has not called durable.
    in_flight: VecDeque<u64>,
    /// What alone is lacking there, up to where both were compared.
    lacking: Option<Lacking>,
    /// What the neighbour told in this session: it has that.
    theirs: BTreeSet<Dot>,
    /// Arrival numbers of what is told once more: the neighbour was told of it and does not hold it.
    again: BTreeSet<u64>,
}

/// What of some arrivals goes at once.
#[derive(Default)]
struct Fitting {
    arrivals: Vec<Arrival>,
    /// The highest numbers that they name and the neighbour has not been told of.
    named: BTreeMap<Author, u64>,
    /// Up to where that is, if it is not all of them.
    up_to: Option<u64>,
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
        Self {
            after,
            told: BTreeMap::new(),
            greeting: None,
            in_flight: VecDeque::new(),
            lacking: None,
            theirs: BTreeSet::new(),
            again: BTreeSet::new(),
        }
    }

    /// A neighbour that has everything up to `after`, and listens for what is known of the numbers
    /// that it gave in its present life.
    pub const fn greeting(after: u64, hearer: Author) -> Self {
        let mut feed = Self::new(after);
        feed.greeting = Some(hearer);
        feed
    }

    /// Whether there is something to tell, of an index that has given numbers up to `last`.
    pub fn has_more(&self, last: u64) -> bool {
        self.greeting.is_some() || self.after < last || !self.again.is_empty()
    }

    /// Tells these once more, as far as they were told: the neighbour was found not to hold them,
    /// although it called them durable (spec: S-182).
    pub fn tell_again(&mut self, seqs: impl IntoIterator<Item = u64>) {
        let after = self.after;
        self.again.extend(seqs.into_iter().filter(|&seq| seq <= after));
    }

    /// The neighbour told of these versions: it is not told of them (spec: S-160).
    pub fn heard_of(&mut self, versions: impl IntoIterator<Item = Dot>) {
        let room = THEIRS_MAX.saturating_sub(self.theirs.len());
        self.theirs.extend(versions.into_iter().take(room));
    }

    /// Parts that the neighbour was sent and has not called durable.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The neighbour says that everything up to an arrival number is durable there. However many
    /// parts that ends, and however often it says so.
    pub fn stored(&mut self, up_to: u64) {
        while self.in_flight.front().is_some_and(|&to| to <= up_to) {
            self.in_flight.pop_front();
        }
    }

    /// The same for a neighbour that has everything up to `after`, and of what came then up to a
    /// comparison lacks only what that found (spec: S-128).
    #[must_use]
    pub fn compared(self, after: u64, outcome: Outcome) -> Self {
        let lacking = match outcome {
            Outcome::Lacking(lacking) if lacking.up_to > after => Some(lacking),
            Outcome::Lacking(_) | Outcome::Everything => None,
        };
        let Self { greeting, theirs, .. } = self;
        Self { lacking, greeting, theirs, ..Self::new(after) }
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
        if !self.has_more(last) {
            return Ok(None);
        }
        if self.greeting.is_none()
            && let Some(fed) = self.next_again(index)?
        {
            return Ok(Some(fed));
        }
        if self.greeting.is_none() && self.after >= last {
            return Ok(None);
        }
        let (arrivals, all) = match &self.lacking {
            Some(lacking) => lacking_of(index, lacking, self.after).map_err(FeedError::Index)?,
            None => following(index, self.after, last).map_err(FeedError::Index)?,
        };
        let Fitting { arrivals, named, up_to } = self.fitting(arrivals)?;
        let to = up_to.unwrap_or(all);
        let mut runs = self.words(index, named)?;
        for (run, part) in by_run(&arrivals) {
            let run = part_of(index.run(run).map_err(FeedError::Index)?, &part)?;
            self.heard(run.statement.author, run.statement.head);
            runs.push(run);
        }
        let after = core::mem::replace(&mut self.after, to);
        self.in_flight.push_back(to);
        self.lacking = self.lacking.take().filter(|lacking| lacking.up_to > to);
        if to >= last {
            // What else it told is not kept here, or was sent before.
            self.theirs.clear();
        }
        Ok(Some(Fed { after, to, records: Records { runs } }))
    }

    /// The next of what is told once more: a part that goes no further than what was sent before. What
    /// was covered meanwhile is not there any more.
    fn next_again<I: Index>(&mut self, index: &I) -> Result<Option<Fed>, FeedError<I::Error>> {
        while !self.again.is_empty() {
            let seqs: Vec<u64> = self.again.iter().copied().take(RECORDS_MAX).collect();
            let lacking = Lacking { up_to: self.after, seqs: seqs.into() };
            let (arrivals, up_to) = lacking_of(index, &lacking, 0).map_err(FeedError::Index)?;
            let theirs = core::mem::take(&mut self.theirs);
            let fitting = self.fitting(arrivals);
            self.theirs = theirs;
            let Fitting { arrivals, named, up_to: cut } = fitting?;
            // Of those up to there it was looked for all.
            let done = cut.unwrap_or(up_to);
            let last = lacking.seqs.last().map_or(done, |&last| last.min(done));
            self.again = self.again.split_off(&(last + 1));
            if arrivals.is_empty() {
                continue;
            }
            let mut runs = self.words(index, named)?;
            for (run, part) in by_run(&arrivals) {
                let run = part_of(index.run(run).map_err(FeedError::Index)?, &part)?;
                self.heard(run.statement.author, run.statement.head);
                runs.push(run);
            }
            self.in_flight.push_back(self.after);
            let records = Records { runs };
            return Ok(Some(Fed { after: self.after, to: self.after, records }));
        }
        Ok(None)
    }

    /// What a neighbour is told that is told of no versions: what is known of its own numbers, once
    /// (spec: S-143).
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn greet<I: Index>(&mut self, index: &I) -> Result<Option<Fed>, FeedError<I::Error>> {
        if self.greeting.is_none() {
            return Ok(None);
        }
        let runs = self.words(index, BTreeMap::new())?;
        self.in_flight.push_back(self.after);
        Ok(Some(Fed { after: self.after, to: self.after, records: Records { runs } }))
    }

    /// Those of `arrivals` that go at once, without what the neighbour told.
    fn fitting<E>(&self, arrivals: Vec<Arrival>) -> Result<Fitting, FeedError<E>> {
        let mut fitting = Fitting::default();
        let (mut bytes, mut before) = (0, None);
        for arrival in arrivals {
            if bytes >= BYTES_MAX || fitting.named.len() >= WORDS_MAX {
                fitting.up_to = before;
                break;
            }
            before = Some(arrival.seq);
            let version = Record::decode(&arrival.record)?.version;
            if self.theirs.contains(&version.dot) {
                continue;
            }
            for (author, _, last) in version.context.runs() {
                if self.told.get(&author).is_none_or(|told| told.get() < last) {
                    let highest = fitting.named.entry(author).or_default();
                    *highest = last.max(*highest);
                }
            }
            bytes += arrival.record.len();
            fitting.arrivals.push(arrival);
        }
        Ok(fitting)
    }

    /// The words of those authors whose versions are named and who were not heard that far
    /// (spec: S-054); before the first part, what is known of the hearer.
    fn words<I: Index>(
        &mut self,
        index: &I,
        named: BTreeMap<Author, u64>,
    ) -> Result<Vec<SealedRun>, FeedError<I::Error>> {
        let mut words = Vec::new();
        if let Some(hearer) = self.greeting.take() {
            words.extend(index.statement(hearer).map_err(FeedError::Index)?);
        }
        for author in named.into_keys() {
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
    let arrivals = index.arrivals(after, RECORDS_MAX)?;
    let to = match arrivals.last() {
        Some(arrival) if arrivals.len() >= RECORDS_MAX => arrival.seq,
        _ => last.max(after),
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
