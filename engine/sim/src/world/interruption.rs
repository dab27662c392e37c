//! Hosts whose processor is taken away between planning packets and sending them.

use super::World;
use super::agenda::{Happening, Packet};
use crate::check::Violation;
use crate::scenario::Side;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// What a host that stands still has before it.
#[derive(Debug)]
pub(super) struct Standing {
    /// Planned and sealed, not sent.
    train: Vec<Packet>,
    /// What happened to it meanwhile, and when.
    waiting: Vec<(Timestamp, Happening)>,
}

impl World {
    pub(super) const fn is_standing(&self, side: Side) -> bool {
        self.standing[side.index()].is_some()
    }

    /// A host stops before it sends `train`.
    pub(super) fn interrupt(&mut self, side: Side, span: Duration, train: Vec<Packet>) {
        self.standing[side.index()] = Some(Standing { train, waiting: Vec::new() });
        self.agenda.plan(self.now + span, Happening::Resume(side));
    }

    /// Keeps what came to a host that stands still; anything else is given back.
    pub(super) fn wait_for_host(&mut self, came: Timestamp, what: Happening) -> Option<Happening> {
        let side = match &what {
            Happening::Wake(side)
            | Happening::Arrive(side, _)
            | Happening::Done(side, _)
            | Happening::Control(side, _) => *side,
            Happening::Resume(_) | Happening::Step(_) => return Some(what),
        };
        let Some(standing) = &mut self.standing[side.index()] else { return Some(what) };
        // Whoever stands looks around anyway when it goes on.
        match what {
            Happening::Wake(_) => self.wakes[side.index()] = None,
            what => standing.waiting.push((came, what)),
        }
        None
    }

    /// It sends what it had planned, then takes in what waits.
    pub(super) fn resume(&mut self, side: Side) -> Result<(), Violation> {
        let Some(Standing { train, waiting }) = self.standing[side.index()].take() else {
            return Ok(());
        };
        self.trace.note(self.now, "resume", side as u64, 0);
        self.send(side, train)?;
        for (came, what) in waiting {
            if let Some(what) = self.wait_for_host(came, what) {
                self.happen_at(came, what)?;
            }
        }
        self.serve(side)
    }
}
