//! The side that answers: it keeps nothing of a comparison but what the peer was found to lack.

use super::ReconcileError;
use super::ask::{RANGES_MAX, TURNS_MAX, Turn};
use super::cost::Counted;
use super::part::{PARTS_MAX, Part};
use super::side::{Outcome, Side};
use super::sum::Holdings;

/// Bytes of one message, after which another one begins.
const BYTES_MAX: usize = 64 << 10;

/// The site that answers.
#[derive(Clone, Debug)]
pub struct Answerer {
    side: Side,
    /// Turns that were answered.
    turns: u32,
    /// Rows that were read for that.
    rows: u64,
}

/// What follows from a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These messages.
    Say(Vec<Turn>),
    /// The comparison is over.
    Over,
}

impl Answerer {
    /// Begins to answer; `up_to` is the highest arrival number that is durable.
    pub const fn new(salt: [u8; 32], up_to: u64) -> Self {
        Self { side: Side::new(salt, up_to), turns: 0, rows: 0 }
    }

    /// Of which comparison.
    pub const fn salt(&self) -> &[u8; 32] {
        self.side.salt()
    }

    /// The turns that it answered.
    pub const fn turns(&self) -> u32 {
        self.turns
    }

    /// How many rows of the index all answers took so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Answers a question (spec: S-126).
    ///
    /// # Errors
    /// [`ReconcileError`].
    pub fn answer<H: Holdings>(
        &mut self,
        turn: &Turn,
        holdings: &H,
    ) -> Result<Answer, ReconcileError<H::Error>> {
        let counted = Counted::new(holdings);
        let answer = self.answer_from(turn, &counted);
        self.rows = self.rows.saturating_add(counted.rows());
        answer
    }

    fn answer_from<H: Holdings>(
        &mut self,
        turn: &Turn,
        holdings: &H,
    ) -> Result<Answer, ReconcileError<H::Error>> {
        if turn.number != self.turns + 1 || turn.parts.len() > RANGES_MAX {
            return Err(ReconcileError::Unasked);
        }
        self.turns = turn.number;
        if self.turns >= TURNS_MAX {
            return Err(ReconcileError::Endless);
        }
        let (mut said, mut parts, mut len) = (Vec::new(), Vec::new(), 0);
        let number = turn.number;
        for part in &turn.parts {
            for todo in self.side.hear(part, holdings).map_err(ReconcileError::Holdings)? {
                let part: Part = self.side.say(todo, holdings)?;
                len += part.len();
                parts.push(part);
                if len >= BYTES_MAX || parts.len() >= PARTS_MAX {
                    let parts = core::mem::take(&mut parts);
                    said.push(Turn { number, is_last: false, parts });
                    len = 0;
                }
            }
        }
        if turn.is_last {
            return Ok(Answer::Over);
        }
        said.push(Turn { number, is_last: true, parts });
        Ok(Answer::Say(said))
    }

    /// What the peer lacks.
    pub fn outcome(self) -> Outcome {
        self.side.outcome()
    }
}
