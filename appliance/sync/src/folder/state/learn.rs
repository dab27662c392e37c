//! What a neighbour tells: record by record, so that one that cannot be taken in holds back no other.

use super::{FolderState, Learned, StateError};
use crate::folder::aside::{Aside, Why};
use crate::folder::index::{Admitted, Index, KeptRun, RunRef};
use crate::folder::item::Item;
use crate::message::SealedRun;
use crate::record::Record;
use crate::seal::{Proof, leaf, reduce};
use crate::version::{Author, Dot, Inserted, Serial, Version};
use farhaul_proto::path_name::RelPath;

/// Records that are set aside at once. A neighbour that tells more of them is followed no further
/// until some of them were taken in.
pub const ASIDE_MAX: usize = 4096;

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// A neighbour that is followed and follows.
    Current,
    /// A neighbour that has not heard of deletions which nobody remembers any more: what it calls
    /// new may be what was deleted (spec: S-066).
    Stale,
}

/// What became of one record.
enum Became {
    /// It was known.
    Old,
    /// It is new here.
    New,
    /// It is set aside.
    Aside,
}

/// Where a record comes from.
struct Source<'a> {
    run: &'a SealedRun,
    name: RunRef,
    teller: Teller,
    /// How far its author's numbers were known to go before.
    known: Option<Serial>,
}

/// A path of which a run tells.
struct Open {
    path: RelPath,
    item: Item,
    /// Whether something live was known of it before.
    was_live: bool,
    is_changed: bool,
    /// Where files stand that these versions may take away elsewhere, and which was the first.
    at_stake: Vec<(RelPath, Version)>,
}

impl Open {
    fn new(path: &RelPath, item: Item) -> Self {
        let was_live = item.versions.is_live();
        Self { path: path.clone(), item, was_live, is_changed: false, at_stake: Vec::new() }
    }
}

impl<I: Index> FolderState<I> {
    /// Takes in a run of somebody's records. Its signature is verified, `records` are what it holds.
    /// A record that cannot be taken in is set aside, and the others are not (spec: S-025).
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn learn(
        &mut self,
        run: &SealedRun,
        records: &[Record],
    ) -> Result<Learned, StateError<I::Error>> {
        self.learn_from(run, records, Teller::Current)
    }

    /// As [`Self::learn`], from a neighbour that may be stale.
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn learn_from(
        &mut self,
        run: &SealedRun,
        records: &[Record],
        teller: Teller,
    ) -> Result<Learned, StateError<I::Error>> {
        let statement = &run.statement;
        let author = statement.author;
        if author == self.publisher.author() {
            let is_given = self.publisher.next().is_none_or(|next| statement.head < next);
            let is_held = is_given && (teller == Teller::Stale || self.holds(records)?);
            return if is_held { Ok(Learned::default()) } else { Err(StateError::RolledBack) };
        }
        if !self.policy.rights.takes(self.publisher.author().site, author.site) {
            return self.refuse_run(run, records.len());
        }
        let known = self.known_before(author)?;
        let leaves = run.records.iter().map(|(number, bytes)| (*number, leaf(bytes))).collect();
        let kept = KeptRun {
            key: run.key,
            statement: statement.clone(),
            signature: run.signature,
            leaves,
            proof: run.proof.clone(),
        };
        let name = self.index.next_run().map_err(StateError::Index)?;
        self.index.add_run(name, &kept).map_err(StateError::Index)?;
        let source = Source { run, name, teller, known };
        let mut learned = Learned::default();
        let mut open: Option<Open> = None;
        for (record, (number, bytes)) in records.iter().zip(&run.records) {
            let path = &record.path;
            let mut at = match open.take() {
                Some(open) if open.path == *path => open,
                before => {
                    before.map_or(Ok(()), |before| self.end_path(before))?;
                    Open::new(path, self.index.item(path).map_err(StateError::Index)?)
                }
            };
            match self.learn_one(record, &mut at, (*number, bytes), &source)? {
                Became::Old => {}
                Became::New => learned.changed.push(path.clone()),
                Became::Aside => learned.aside.push(path.clone()),
            }
            open = Some(at);
        }
        open.map_or(Ok(()), |open| self.end_path(open))?;
        Ok(learned)
    }

    /// What follows from all that was told of one path in a row: copies are named once for all of them,
    /// and not once for each.
    fn end_path(&mut self, open: Open) -> Result<(), StateError<I::Error>> {
        if open.is_changed {
            self.changed(&open.path, open.was_live)?;
        }
        for (at, version) in open.at_stake {
            let item = self.index.item(&at).map_err(StateError::Index)?;
            if self.is_harmed(&item) {
                self.note_harm(&at, &item, &version);
            }
        }
        Ok(())
    }

    /// Takes in no more than its author's word for how far its numbers go: versions of others may
    /// name them (spec: S-140).
    fn refuse_run(
        &mut self,
        run: &SealedRun,
        refused: usize,
    ) -> Result<Learned, StateError<I::Error>> {
        let word = KeptRun {
            key: run.key,
            statement: run.statement.clone(),
            signature: run.signature,
            leaves: Vec::new(),
            proof: Proof::default(),
        };
        let name = self.index.next_run().map_err(StateError::Index)?;
        self.index.add_run(name, &word).map_err(StateError::Index)?;
        Ok(Learned { refused, ..Learned::default() })
    }

    /// Whether records of this incarnation are what this index knows that it wrote, be it that it has
    /// dropped them since. One that it does not know was written by a later state of it, which is lost
    /// (spec: S-056).
    fn holds(&self, records: &[Record]) -> Result<bool, StateError<I::Error>> {
        for Record { path, version } in records {
            let item = self.index.item(path).map_err(StateError::Index)?;
            let is_held = item.versions.iter().any(|held| held.covers(version));
            if is_held {
                continue;
            }
            let dropped = self.index.dropped().map_err(StateError::Index)?;
            if version.is_live() || !dropped.contains(version.dot.serial.get()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far an author's numbers were known to go before this message: it may itself begin with a
    /// word on numbers that it tells of (spec: S-054, S-066).
    fn known_before(&mut self, author: Author) -> Result<Option<Serial>, StateError<I::Error>> {
        if let Some(known) = self.known.get(&author) {
            return Ok(*known);
        }
        let known = self.index.head(author).map_err(StateError::Index)?;
        self.known.insert(author, known);
        Ok(known)
    }

    fn learn_one(
        &mut self,
        record: &Record,
        open: &mut Open,
        (number, bytes): (u16, &[u8]),
        source: &Source<'_>,
    ) -> Result<Became, StateError<I::Error>> {
        self.check_given(record)?;
        let Record { path, version } = record;
        let was_live = open.item.versions.is_live();
        let is_known = open.item.versions.iter().any(|held| held.covers(version));
        let is_past = source.known.is_some_and(|known| version.dot.serial <= known);
        if source.teller == Teller::Stale && is_past && !is_known {
            return self.set_aside(record, number, source.run, Why::Stale);
        }
        let was_harmed = self.is_harmed(&open.item);
        let covered = match open.item.versions.insert(version.clone()) {
            Ok(Inserted::Old) => return Ok(Became::Old),
            Ok(Inserted::New { covered }) => covered,
            Err(_) => return self.set_aside(record, number, source.run, Why::Crowded),
        };
        let admitted = Admitted { version, record: bytes, run: source.name, number };
        for at in self.at_stake(path, &covered, !was_live)? {
            if open.at_stake.iter().all(|(known, _)| *known != at) {
                open.at_stake.push((at, version.clone()));
            }
        }
        self.replace(path, admitted, &covered)?;
        open.is_changed = true;
        if !was_harmed && self.is_harmed(&open.item) {
            self.note_harm(path, &open.item, version);
        }
        Ok(Became::New)
    }

    /// That a record names no number that was not given (spec: S-023).
    fn check_given(&self, record: &Record) -> Result<(), StateError<I::Error>> {
        for (author, _, last) in record.version.context.runs() {
            let head = self.index.head(author).map_err(StateError::Index)?;
            let own = (author == self.publisher.author()).then(|| self.publisher.next());
            let is_given = match own {
                Some(next) => next.is_none_or(|next| last < next.get()),
                None => head.is_some_and(|head| last <= head.get()),
            };
            if !is_given {
                return Err(StateError::Ahead);
            }
        }
        Ok(())
    }

    fn set_aside(
        &mut self,
        record: &Record,
        number: u16,
        run: &SealedRun,
        why: Why,
    ) -> Result<Became, StateError<I::Error>> {
        let dot = record.version.dot;
        if self.index.aside_count().map_err(StateError::Index)? >= ASIDE_MAX {
            return Err(StateError::TooManyAside);
        }
        let bytes = run.records.iter().find(|(at, _)| *at == number);
        let leaves: Vec<_> = run.records.iter().map(|(at, bytes)| (*at, leaf(bytes))).collect();
        let proof = reduce(run.statement.count, &leaves, &run.proof, &[number]);
        let proof = proof.map_err(|_| StateError::Unproven)?;
        let records = bytes.cloned().into_iter().collect();
        let run = SealedRun { records, proof, ..run.clone() };
        let aside = Aside { path: record.path.clone(), dot, run, why };
        self.index.set_aside(dot, Some(&aside)).map_err(StateError::Index)?;
        Ok(Became::Aside)
    }

    /// Tries again what was set aside, `limit` records from behind `after` at most. Returns the last
    /// one that was tried; `None`: that was all.
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn retry_aside(
        &mut self,
        after: Option<Dot>,
        limit: usize,
    ) -> Result<Option<Dot>, StateError<I::Error>> {
        let asides = self.index.asides(after, limit).map_err(StateError::Index)?;
        let last = asides.last().map(|aside| aside.dot).filter(|_| asides.len() == limit);
        // Many may be of one path that is crowded: its versions are read once for all of them.
        let mut at: Option<(RelPath, Item)> = None;
        for aside in asides {
            let item = match at.take().filter(|(path, _)| *path == aside.path) {
                Some((_, item)) => item,
                None => self.index.item(&aside.path).map_err(StateError::Index)?,
            };
            let is_covered = item
                .versions
                .iter()
                .any(|held| held.dot == aside.dot || held.context.contains(aside.dot));
            if is_covered {
                self.index.set_aside(aside.dot, None).map_err(StateError::Index)?;
            } else if aside.why == Why::Crowded {
                let records = aside.run.open().map_err(|_| StateError::Unproven)?;
                if records.iter().all(|record| item.versions.has_room_for(&record.version)) {
                    self.accept_aside(&aside)?;
                    continue;
                }
            }
            at = Some((aside.path, item));
        }
        Ok(last)
    }

    /// Takes in a record that was set aside; it stays aside if it still cannot be.
    ///
    /// # Errors
    /// [`StateError`]; what was written to the index is to be rolled back.
    pub fn accept_aside(&mut self, aside: &Aside) -> Result<(), StateError<I::Error>> {
        let records = aside.run.open().map_err(|_| StateError::Unproven)?;
        self.index.set_aside(aside.dot, None).map_err(StateError::Index)?;
        self.learn(&aside.run, &records)?;
        // It is no message of anybody.
        self.known.clear();
        Ok(())
    }
}
