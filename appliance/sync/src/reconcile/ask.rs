//! The side that asks: it holds what is still to be found out, and keeps a few turns under way.

use super::ReconcileError;
use super::cost::Counted;
use super::part::Part;
use super::place::Range;
use super::side::{Outcome, Side, Todo};
use super::sum::Holdings;
use minicbor::{Decode, Encode};
use std::collections::{BTreeMap, VecDeque};

/// Turns that are under way at once: so many that a long link is not idle.
pub(super) const WINDOW: usize = 32;
/// Ranges of one turn: the answer to one is 16 times as long at most.
pub(super) const RANGES_MAX: usize = 64;
/// Turns of one comparison, far more than any two sites need that tell each other nothing false.
pub(super) const TURNS_MAX: u32 = 1 << 16;
/// Ranges and names of records that wait to be asked about: a peer may make up any number of them.
/// Two sites that hold a million records each, none of them the same, come to 157,272.
pub(super) const PENDING_MAX: usize = 1 << 20;

/// One message of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Turn {
    /// Which, from 1. An answer has the number of its question.
    #[n(0)]
    pub number: u32,
    /// Of a question: the comparison is over. Of an answer: it was all of it.
    #[n(1)]
    pub is_last: bool,
    /// What is said.
    #[n(2)]
    pub parts: Vec<Part>,
}

/// What was asked about a range, and what may come back.
#[derive(Clone, Copy, Debug)]
struct Asked {
    range: Range,
    /// It was divided by so many bits; `None`: it was listed, or nothing is to come.
    step: Option<u8>,
    was_listed: bool,
}

/// A question that is not answered.
#[derive(Clone, Debug)]
struct Flying {
    asked: Vec<Asked>,
    /// Answers ascend: nothing is said twice.
    heard: Option<u64>,
}

/// The site that asks.
#[derive(Clone, Debug)]
pub struct Asker {
    side: Side,
    pending: VecDeque<Todo>,
    /// How many ranges and names those are.
    weight: usize,
    flying: BTreeMap<u32, Flying>,
    next: u32,
    is_over: bool,
    /// Rows that were read to ask.
    rows: u64,
}

impl Asker {
    /// Begins to compare. The salt is drawn at random and names the comparison; `up_to` is the
    /// highest arrival number that is durable.
    pub fn new(salt: [u8; 32], up_to: u64) -> Self {
        let pending = VecDeque::from([Todo::Differs(Range::ALL, u64::MAX)]);
        let side = Side::new(salt, up_to);
        Self { side, pending, weight: 1, flying: BTreeMap::new(), next: 1, is_over: false, rows: 0 }
    }

    /// How many rows of the index all questions, and hearing the answers, took so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Its salt.
    pub const fn salt(&self) -> &[u8; 32] {
        self.side.salt()
    }

    /// The turns that it took.
    pub const fn turns(&self) -> u32 {
        self.next - 1
    }

    /// The next question, if one can be asked before an answer comes. After the one that is
    /// [`Turn::is_last`] comes [`Asker::outcome`].
    ///
    /// # Errors
    /// [`ReconcileError`].
    pub fn ask<H: Holdings>(
        &mut self,
        holdings: &H,
    ) -> Result<Option<Turn>, ReconcileError<H::Error>> {
        let counted = Counted::new(holdings);
        let asked = self.ask_of(&counted);
        self.rows = self.rows.saturating_add(counted.rows());
        asked
    }

    fn ask_of<H: Holdings>(
        &mut self,
        holdings: &H,
    ) -> Result<Option<Turn>, ReconcileError<H::Error>> {
        let is_last = self.pending.is_empty() && self.flying.is_empty();
        let waits = self.flying.len() >= WINDOW || self.pending.is_empty() && !is_last;
        if self.is_over || waits {
            return Ok(None);
        }
        if self.next >= TURNS_MAX {
            return Err(ReconcileError::Endless);
        }
        let number = self.next;
        self.next += 1;
        self.is_over = is_last;
        let count = self.pending.len().min(RANGES_MAX);
        let mut taken: Vec<Todo> = self.pending.drain(..count).collect();
        self.weight -= taken.iter().map(Todo::weight).sum::<usize>();
        taken.sort_unstable_by_key(|todo| todo.range().first());
        let mut parts = Vec::with_capacity(count);
        for todo in taken {
            parts.push(self.side.say(todo, holdings)?);
        }
        if !is_last {
            let asked = parts.iter().map(asked_by).collect();
            self.flying.insert(number, Flying { asked, heard: None });
        }
        Ok(Some(Turn { number, is_last, parts }))
    }

    /// Takes in an answer, or a part of one (spec: S-126).
    ///
    /// # Errors
    /// [`ReconcileError`].
    pub fn hear<H: Holdings>(
        &mut self,
        turn: &Turn,
        holdings: &H,
    ) -> Result<(), ReconcileError<H::Error>> {
        let counted = Counted::new(holdings);
        let heard = self.hear_of(turn, &counted);
        self.rows = self.rows.saturating_add(counted.rows());
        heard
    }

    fn hear_of<H: Holdings>(
        &mut self,
        turn: &Turn,
        holdings: &H,
    ) -> Result<(), ReconcileError<H::Error>> {
        let flying = self.flying.get_mut(&turn.number).ok_or(ReconcileError::Unasked)?;
        for part in &turn.parts {
            let range = part.range();
            let is_next = flying.heard.is_none_or(|heard| heard < range.first());
            if !is_next || !flying.asked.iter().any(|asked| asked.is_answered_by(part)) {
                return Err(ReconcileError::Unasked);
            }
            flying.heard = Some(range.last());
            let todo = self.side.hear(part, holdings).map_err(ReconcileError::Holdings)?;
            self.weight += todo.iter().map(Todo::weight).sum::<usize>();
            self.pending.extend(todo);
            if self.weight > PENDING_MAX {
                return Err(ReconcileError::Endless);
            }
        }
        if turn.is_last {
            self.flying.remove(&turn.number);
        }
        Ok(())
    }

    /// What the peer lacks.
    pub fn outcome(self) -> Outcome {
        self.side.outcome()
    }
}

fn asked_by(part: &Part) -> Asked {
    let (step, was_listed) = match part {
        Part::Split { prints, .. } => (Part::step_of(prints.len()), false),
        Part::List { .. } => (None, true),
        Part::Want { .. } => (None, false),
    };
    Asked { range: part.range(), step, was_listed }
}

impl Asked {
    fn is_answered_by(&self, part: &Part) -> bool {
        match part {
            Part::Split { range, .. } | Part::List { range, .. } => {
                self.step.is_some_and(|step| range.is_child_of(self.range, step))
            }
            Part::Want { range, .. } => self.was_listed && *range == self.range,
        }
    }
}
