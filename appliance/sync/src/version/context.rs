//! What the author of a version had seen of its path: a set of dots.
//!
//! A plain vector (author -> highest number) cannot say that its owner saw version 4 of a site but
//! not version 3, which happens when two versions conflict and the user edits one of them; so the
//! set is kept exactly, as runs. Runs cost nothing extra as long as nobody conflicts: an author
//! who knows that it gave a path no other numbers may fill its own gaps ([`Context::close_gaps`]).

use super::dot::{Author, Dot};
use core::cmp::Ordering;
use farhaul_proto::ranges::RangeSet;
use std::collections::BTreeMap;

/// A set of dots (spec: S-003).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    seen: BTreeMap<Author, RangeSet>,
}

impl Context {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `dot` was seen.
    pub fn contains(&self, dot: Dot) -> bool {
        self.seen.get(&dot.author).is_some_and(|runs| runs.contains(dot.serial.get()))
    }

    /// Adds one dot.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_run(dot.author, dot.serial.get(), dot.serial.get());
    }

    /// Adds the numbers `first ..= last` of an author; numbers that name no version do no harm.
    pub fn insert_run(&mut self, author: Author, first: u64, last: u64) {
        if first <= last {
            self.seen.entry(author).or_default().insert_range(first, last);
        }
    }

    /// Adds all that `other` contains.
    pub fn extend(&mut self, other: &Self) {
        for (author, first, last) in other.runs() {
            self.insert_run(author, first, last);
        }
    }

    /// Fills the numbers of `author` below the highest seen, except `unseen` ones. Only the author
    /// itself may do so, who knows which of its versions of this path there are.
    pub fn close_gaps(&mut self, author: Author, unseen: impl Iterator<Item = Dot>) {
        let Some(runs) = self.seen.get_mut(&author) else { return };
        let Some(highest) = runs.max() else { return };
        let own = unseen.filter(|dot| dot.author == author && !runs.contains(dot.serial.get()));
        let unseen: Vec<u64> = own.map(|dot| dot.serial.get()).collect();
        runs.insert_range(1, highest);
        for serial in unseen {
            runs.remove_range(serial, serial);
        }
    }

    /// What was seen of each author, ascending.
    pub fn authors(&self) -> impl Iterator<Item = (&Author, &RangeSet)> {
        self.seen.iter()
    }

    /// The runs, ascending by author, then by number: `(author, first, last)`.
    pub fn runs(&self) -> impl Iterator<Item = (Author, u64, u64)> + '_ {
        self.seen
            .iter()
            .flat_map(|(author, runs)| runs.iter().map(|(first, last)| (*author, first, last)))
    }

    /// Number of runs: what the set costs.
    pub fn runs_len(&self) -> usize {
        self.runs().count()
    }
}

impl Ord for Context {
    /// Any total order will do: it makes sets of versions print and compare alike everywhere.
    fn cmp(&self, other: &Self) -> Ordering {
        self.runs().cmp(other.runs())
    }
}

impl PartialOrd for Context {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
