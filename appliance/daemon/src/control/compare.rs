//! Comparing what this site and a neighbour hold of a folder, where one of them is not known to
//! follow the other: who lacks something is told just that, and then what comes.
//!
//! Of the two, the one with the lower id asks. Whatever goes wrong ends the comparison alone: the
//! neighbour is then told everything, as one is that compares nothing.

mod allowance;
mod check;

use super::folder::{Folder, FolderError, Neighbour};
use crate::index::IndexError;
use crate::site::Outgoing;
use farhaul_proto::ids::SiteId;
use farhaul_sync::message::{Followed, Message, Shared};
use farhaul_sync::reconcile::{
    Answer, Answerer, Asker, Outcome, Part, ReconcileError, Turn, is_due, is_far,
};
use farhaul_sync::seal::FolderKey;
use ring::rand::{SecureRandom, SystemRandom};
use std::time::{Duration, Instant};

pub(super) use allowance::Allowances;
pub use check::Agreement;
pub(super) use check::Checks;
use check::Known;

/// How long a neighbour that says nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A comparison under way.
pub(super) struct Comparison {
    role: Role,
    /// From where the neighbour is told when it is over; `None`: it is told meanwhile.
    held: Option<u64>,
    /// Of two that follow each other: what was known when it began.
    known: Option<Known>,
    /// When it is given up, unless something is heard.
    until: Instant,
}

enum Role {
    /// The neighbour is to ask.
    Awaiting,
    Asking(Box<Asker>),
    Answering(Box<Answerer>),
}

impl Comparison {
    fn new(role: Role, held: Option<u64>) -> Self {
        Self { role, held, known: None, until: Instant::now() + PATIENCE }
    }

    /// Whether the neighbour is told nothing until it is over.
    pub(super) const fn holds(&self) -> bool {
        self.held.is_some()
    }

    fn salt(&self) -> Option<&[u8; 32]> {
        match &self.role {
            Role::Awaiting => None,
            Role::Asking(asker) => Some(asker.salt()),
            Role::Answering(answerer) => Some(answerer.salt()),
        }
    }
}

impl Neighbour {
    /// Whether it is told nothing at the moment.
    pub(super) fn waits(&self) -> bool {
        self.comparison.as_ref().is_some_and(Comparison::holds)
    }
}

impl Folder {
    /// A neighbour said how far it follows: if one of the two is not known to follow the other, what
    /// both hold is compared.
    pub(super) fn begin_to_compare(&mut self, peer: SiteId, theirs: &Shared) {
        let Some(ours) = self.share_with(peer).filter(|ours| is_due(ours, theirs)) else { return };
        let asks = self.identity.id() < peer;
        let start = Followed::start(theirs.followed, self.index.author().incarnation);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.outbox.compares() {
            return;
        }
        let held = is_far(theirs.followed, ours.epoch, ours.head).then_some(start.min(ours.head));
        // It is told everything from there.
        if let Err(fault) = self.check_left(peer) {
            let fault = fault.to_string();
            tracing::warn!(folder = %self.setup.name, %peer, fault, "nothing is compared");
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let role = match salt().filter(|_| asks) {
            Some(salt) => Role::Asking(Box::new(Asker::new(salt, ours.head))),
            None => Role::Awaiting,
        };
        neighbour.comparison = Some(Comparison::new(role, held));
        let asked = self.compare_on(peer);
        self.end_if_faulty(peer, asked);
    }

    /// A turn of a comparison.
    pub(super) fn compared(&mut self, peer: SiteId, salt: [u8; 32], is_answer: bool, turn: &Turn) {
        if is_answer {
            let heard = self.hear_answer(peer, salt, turn);
            self.end_if_faulty(peer, heard);
        } else {
            let answered = self.answer_turn(peer, salt, turn);
            self.end_if_faulty(peer, answered);
        }
    }

    /// The neighbour gives a comparison up.
    pub(super) fn incomparable(&mut self, peer: SiteId, salt: [u8; 32]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let is_that = |comparison: &Comparison| comparison.salt() == Some(&salt);
        if neighbour.comparison.as_ref().is_some_and(is_that) {
            tracing::warn!(folder = %self.setup.name, %peer, "does not go on comparing");
            neighbour.comparison = None;
        }
    }

    /// Gives up comparisons in which nothing is heard any more.
    pub(super) fn give_up_comparing(&mut self) {
        let now = Instant::now();
        let is_late = |comparison: &Comparison| comparison.until <= now;
        let late = self
            .neighbours
            .iter()
            .filter(|(_, neighbour)| neighbour.comparison.as_ref().is_some_and(is_late));
        let late: Vec<SiteId> = late.map(|(peer, _)| *peer).collect();
        for peer in late {
            self.end_comparing(peer, "nothing is heard");
        }
    }

    fn end_comparing(&mut self, peer: SiteId, why: &str) {
        let folder = self.setup.key;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(comparison) = neighbour.comparison.take() else { return };
        tracing::warn!(folder = %self.setup.name, %peer, why, "a comparison comes to nothing");
        if let Some(salt) = comparison.salt().copied() {
            let said = Message::Incomparable { folder, salt };
            let _ = neighbour.outbox.send(Outgoing::Say(said));
        }
    }

    fn end_if_faulty(&mut self, peer: SiteId, done: Result<(), Faulty>) {
        if let Err(fault) = done {
            self.end_comparing(peer, &fault.to_string());
        }
    }

    /// That a neighbour may have this site read on (spec: S-146).
    fn check_left(&mut self, peer: SiteId) -> Result<(), Faulty> {
        let (allowances, index) = (&mut self.allowances, &self.index);
        let held = allowances.held(index.last_seq().get(), || index.read().held())?;
        match allowances.has_left(peer, held, Instant::now()) {
            true => Ok(()),
            false => Err(Faulty::Spent),
        }
    }

    /// Brings sums up to date: that is for whoever is compared with.
    fn sum_up_for(&mut self, peer: SiteId) -> Result<(), Faulty> {
        let rows = self.index.sum_up()?;
        self.allowances.spend(peer, rows, Instant::now());
        Ok(())
    }

    /// Asks whatever can be asked now.
    fn compare_on(&mut self, peer: SiteId) -> Result<(), Faulty> {
        let is_asking = |neighbour: &Neighbour| match &neighbour.comparison {
            Some(comparison) => matches!(comparison.role, Role::Asking(_)),
            None => false,
        };
        if !self.neighbours.get(&peer).is_some_and(is_asking) {
            return Ok(());
        }
        self.sum_up_for(peer)?;
        let folder = self.setup.key;
        loop {
            self.check_left(peer)?;
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
            let Some(Comparison { role: Role::Asking(asker), .. }) = &mut neighbour.comparison
            else {
                return Ok(());
            };
            let (salt, before) = (*asker.salt(), asker.rows());
            let asked = asker.ask(&self.index.read());
            self.allowances.spend(peer, asker.rows() - before, Instant::now());
            let Some(turn) = asked? else { return Ok(()) };
            let (is_last, is_answer) = (turn.is_last, false);
            let said = Message::Compare { folder, salt, is_answer, turn };
            neighbour.outbox.send(Outgoing::Say(said)).map_err(|_| Faulty::Deaf)?;
            if is_last {
                self.conclude_comparing(peer);
                return Ok(());
            }
        }
    }

    fn hear_answer(&mut self, peer: SiteId, salt: [u8; 32], turn: &Turn) -> Result<(), Faulty> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        match &mut neighbour.comparison {
            Some(Comparison { role: Role::Asking(asker), until, .. }) if *asker.salt() == salt => {
                *until = Instant::now() + PATIENCE;
                let before = asker.rows();
                let heard = asker.hear(turn, &self.index.read());
                self.allowances.spend(peer, asker.rows() - before, Instant::now());
                heard?;
            }
            // Of one that was given up.
            _ => return Ok(()),
        }
        self.compare_on(peer)
    }

    fn answer_turn(&mut self, peer: SiteId, salt: [u8; 32], turn: &Turn) -> Result<(), Faulty> {
        if self.identity.id() < peer {
            return Ok(());
        }
        let (folder, up_to) = (self.setup.key, self.index.last_seq().get());
        match self.check_left(peer) {
            Err(Faulty::Spent) => return self.refuse_turn(peer, salt),
            left => left?,
        }
        self.sum_up_for(peer)?;
        let known = self.known_of(peer);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        let may_answer = turn.is_last || neighbour.outbox.may_answer();
        let is_new = neighbour.comparison.as_ref().and_then(Comparison::salt) != Some(&salt);
        if is_new && turn.number == 1 {
            let before = neighbour.comparison.take();
            // Nobody waited for it: the two follow each other.
            let known = before.as_ref().map_or(Some(known), |before| before.known);
            let held = before.and_then(|before| before.held);
            let role = Role::Answering(Box::new(Answerer::new(salt, up_to)));
            neighbour.comparison = Some(Comparison { known, ..Comparison::new(role, held) });
        }
        match &mut neighbour.comparison {
            Some(Comparison { role: Role::Answering(answerer), until, .. })
                if *answerer.salt() == salt =>
            {
                *until = Instant::now() + PATIENCE;
                // Before it is made up (spec: S-164).
                if !may_answer {
                    return Err(Faulty::Full);
                }
                let before = answerer.rows();
                let answer = answerer.answer(turn, &self.index.read());
                self.allowances.spend(peer, answerer.rows() - before, Instant::now());
                let Answer::Say(turns) = answer? else {
                    self.conclude_comparing(peer);
                    return Ok(());
                };
                for turn in turns {
                    let told = neighbour.outbox.answered(len_of(&turn));
                    let message = Message::Compare { folder, salt, is_answer: true, turn };
                    let answer = Outgoing::Answer { message, told };
                    neighbour.outbox.send(answer).map_err(|_| Faulty::Deaf)?;
                }
                Ok(())
            }
            // Of one that was given up here, or forgotten: who asks need not wait for answers.
            _ => refuse(neighbour, folder, salt),
        }
    }

    /// A neighbour has had too much compared lately: it is told everything instead, as one is whose
    /// comparison comes to nothing.
    fn refuse_turn(&mut self, peer: SiteId, salt: [u8; 32]) -> Result<(), Faulty> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        if neighbour.comparison.take().is_some() {
            tracing::warn!(folder = %self.setup.name, %peer, "has too much compared");
        }
        refuse(neighbour, self.setup.key, salt)
    }

    /// A comparison is over: a neighbour that waited for it is told what it lacks.
    fn conclude_comparing(&mut self, peer: SiteId) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(Comparison { role, held, known, .. }) = neighbour.comparison.take() else {
            return;
        };
        let (turns, outcome) = match role {
            Role::Asking(asker) => (asker.turns(), asker.outcome()),
            Role::Answering(answerer) => (answerer.turns(), answerer.outcome()),
            Role::Awaiting => return,
        };
        let lacking = match &outcome {
            Outcome::Lacking(lacking) => lacking.seqs.len().to_string(),
            Outcome::Everything => "everything".to_owned(),
        };
        tracing::info!(folder = %self.setup.name, %peer, turns, %lacking, "compared");
        if let Some(start) = held {
            neighbour.feed = neighbour.feed.clone().compared(start, outcome);
        } else if let Some(known) = known {
            self.checked(peer, known, &outcome);
        }
    }
}

/// Says that a comparison comes to nothing.
fn refuse(neighbour: &Neighbour, folder: FolderKey, salt: [u8; 32]) -> Result<(), Faulty> {
    let said = Message::Incomparable { folder, salt };
    neighbour.outbox.send(Outgoing::Say(said)).map_err(|_| Faulty::Deaf)
}

/// Why a comparison does not go on.
#[derive(Debug, thiserror::Error)]
enum Faulty {
    #[error(transparent)]
    Compared(#[from] ReconcileError<IndexError>),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the neighbour does not listen")]
    Deaf,
    #[error("the neighbour does not take what it was answered")]
    Full,
    #[error("the neighbour had this site read too much lately")]
    Spent,
}

impl From<IndexError> for Faulty {
    fn from(error: IndexError) -> Self {
        Self::Folder(error.into())
    }
}

/// How many bytes of memory a turn takes, about.
fn len_of(turn: &Turn) -> usize {
    let words = |part: &Part| match part {
        Part::Split { prints: words, .. }
        | Part::List { ids: words, .. }
        | Part::Want { ids: words, .. } => words.len(),
    };
    turn.parts.iter().map(|part| 8 * words(part) + size_of::<Part>()).sum()
}

/// A name for a comparison that nobody foresees.
fn salt() -> Option<[u8; 32]> {
    let mut salt = [0; 32];
    SystemRandom::new().fill(&mut salt).ok().map(|()| salt)
}

#[cfg(test)]
mod tests;
