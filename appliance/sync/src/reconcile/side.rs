//! What both sides of a comparison do with what they hear of a range.

use super::ReconcileError;
use super::part::Part;
use super::place::{BITS_MAX, Place, Range};
use super::sum::{Holdings, Sum, children};
use std::sync::Arc;

/// Bits by which a range is divided. Eight at first, or always, cost more in every case that was
/// measured, and save one round trip of three only with lists so long that a thousand differences
/// cost more than twice as much.
const STEP: u8 = 4;
/// Records that are listed rather than divided: a directory of usual size is divided once.
const LIST_MAX: u64 = 32;
/// What a peer lacks at most before it is simpler to tell it everything.
const LACKING_MAX: usize = 1 << 20;

/// What is to be said of a range.
#[derive(Clone, Debug)]
pub(super) enum Todo {
    /// It differs: so many records are in it here.
    Differs(Range, u64),
    /// Records of the peer that are not here.
    Want(Range, Vec<u64>),
}

impl Todo {
    pub(super) const fn range(&self) -> Range {
        match self {
            Self::Differs(range, _) | Self::Want(range, _) => *range,
        }
    }

    /// How many ranges and names it holds.
    pub(super) const fn weight(&self) -> usize {
        match self {
            Self::Differs(..) => 1,
            Self::Want(_, ids) => 1 + ids.len(),
        }
    }
}

/// What a peer lacks of what was here when the comparison began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The highest arrival number then.
    pub up_to: u64,
    /// The arrival numbers of what it lacks, ascending.
    pub seqs: Arc<[u64]>,
}

/// What came of a comparison, for who it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It lacks these.
    Lacking(Lacking),
    /// It lacks so much that it is told everything.
    Everything,
}

/// One side.
#[derive(Clone, Debug)]
pub(super) struct Side {
    salt: [u8; 32],
    up_to: u64,
    /// Arrival numbers of what the peer lacks.
    lacks: Vec<u64>,
    is_too_much: bool,
}

impl Side {
    pub(super) const fn new(salt: [u8; 32], up_to: u64) -> Self {
        Self { salt, up_to, lacks: Vec::new(), is_too_much: false }
    }

    pub(super) const fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    pub(super) fn outcome(mut self) -> Outcome {
        if self.is_too_much {
            return Outcome::Everything;
        }
        self.lacks.sort_unstable();
        self.lacks.dedup();
        Outcome::Lacking(Lacking { up_to: self.up_to, seqs: self.lacks.into() })
    }

    /// What the peer lacks. What came after the beginning is told anyway (spec: S-127).
    fn lacks(&mut self, seq: u64) {
        if seq > self.up_to || self.is_too_much {
            return;
        }
        if self.lacks.len() >= LACKING_MAX {
            // The same record may have been found twice, if it came between two looks.
            self.lacks.sort_unstable();
            self.lacks.dedup();
        }
        if self.lacks.len() >= LACKING_MAX {
            (self.lacks, self.is_too_much) = (Vec::new(), true);
        } else {
            self.lacks.push(seq);
        }
    }

    /// What a range is called on the wire (spec: S-123).
    fn print(&self, sum: &Sum) -> u64 {
        if sum.count == 0 { 0 } else { self.salted(&sum.digest).max(1) }
    }

    fn id(&self, place: Place) -> u64 {
        self.salted(&place.0)
    }

    fn salted(&self, bytes: &[u8; 32]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(&self.salt, bytes).as_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Takes in what the peer says of a range, and what is to be said then (spec: S-125).
    pub(super) fn hear<H: Holdings>(
        &mut self,
        part: &Part,
        holdings: &H,
    ) -> Result<Vec<Todo>, H::Error> {
        match part {
            Part::Split { range, prints } => self.compare(*range, prints, holdings),
            Part::List { range, ids } => {
                let (mut seen, mut missing) = (vec![false; ids.len()], Vec::new());
                self.find(*range, ids, holdings, &mut |found, seq| match found {
                    Some(n) => seen[n] = true,
                    None => missing.push(seq),
                })?;
                missing.into_iter().for_each(|seq| self.lacks(seq));
                let wanted = ids.iter().zip(seen).filter(|(_, seen)| !seen).map(|(id, _)| *id);
                let wanted: Vec<u64> = wanted.collect();
                Ok(if wanted.is_empty() { Vec::new() } else { vec![Todo::Want(*range, wanted)] })
            }
            Part::Want { range, ids } => {
                let mut wanted = Vec::new();
                self.find(*range, ids, holdings, &mut |found, seq| {
                    wanted.extend(found.map(|_| seq));
                })?;
                wanted.into_iter().for_each(|seq| self.lacks(seq));
                Ok(Vec::new())
            }
        }
    }

    fn compare<H: Holdings>(
        &mut self,
        range: Range,
        prints: &[u64],
        holdings: &H,
    ) -> Result<Vec<Todo>, H::Error> {
        let Some(step) = Part::step_of(prints.len()) else { return Ok(Vec::new()) };
        let sums = children(holdings, range, step)?;
        let mut todo = Vec::new();
        for ((sum, theirs), n) in sums.iter().zip(prints).zip(0..) {
            let child = range.child(step, n);
            if self.print(sum) == *theirs {
                continue;
            }
            if *theirs != 0 {
                todo.push(Todo::Differs(child, sum.count));
                continue;
            }
            // Nothing is there: all that is here is lacking, and nothing more is to be said.
            let mut missing = Vec::new();
            holdings.places(child, &mut |_, seq| missing.push(seq))?;
            missing.into_iter().for_each(|seq| self.lacks(seq));
        }
        Ok(todo)
    }

    /// Goes through what is here of a range: the number in `ids` of each, if it is there.
    fn find<H: Holdings>(
        &self,
        range: Range,
        ids: &[u64],
        holdings: &H,
        each: &mut dyn FnMut(Option<usize>, u64),
    ) -> Result<(), H::Error> {
        let found = |place| ids.binary_search(&self.id(place)).ok();
        holdings.places(range, &mut |place, seq| each(found(place), seq))
    }

    /// What is said: of a range that differs, what it is here by now.
    pub(super) fn say<H: Holdings>(
        &self,
        todo: Todo,
        holdings: &H,
    ) -> Result<Part, ReconcileError<H::Error>> {
        let (range, count) = match todo {
            Todo::Want(range, ids) => return Ok(Part::Want { range, ids }),
            Todo::Differs(range, count) => (range, count),
        };
        if count <= LIST_MAX || range.bits() == BITS_MAX {
            let mut ids = Vec::new();
            let mut is_few = true;
            let listed = holdings.places(range, &mut |place, _| {
                is_few = ids.len() < super::part::IDS_MAX;
                if is_few {
                    ids.push(self.id(place));
                }
            });
            listed.map_err(ReconcileError::Holdings)?;
            ids.sort_unstable();
            ids.dedup();
            if is_few {
                return Ok(Part::List { range, ids });
            } else if range.bits() == BITS_MAX {
                return Err(ReconcileError::Dense);
            }
        }
        let sums = children(holdings, range, STEP).map_err(ReconcileError::Holdings)?;
        Ok(Part::Split { range, prints: sums.iter().map(|sum| self.print(sum)).collect() })
    }
}
