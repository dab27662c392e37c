//! What the two sides do about objects, and what they tell each other about it.

use super::World;
use super::agenda::Happening;
use super::control::Message;
use crate::check::{End, Violation};
use crate::scenario::{First, Load, Side};
use farhaul_proto::ids::ObjectId;
use farhaul_proto::units::Timestamp;

impl World {
    /// One side declares an object of `source`.
    pub(super) fn declare(
        &mut self,
        side: Side,
        source: Side,
        object: ObjectId,
        load: &Load,
    ) -> Result<(), Violation> {
        let session = &mut self.hosts[side.index()].session;
        let got = if side == source {
            match self.scenario.hosts[side.index()].flows.get(&object) {
                Some(&flow) => session.declare_send_in(flow, load.len, &load.held)?,
                None => session.declare_send(load.len, &load.held)?,
            }
        } else {
            session.declare_recv(load.len, &load.held)?
        };
        if got != object {
            return Err(Violation::Numbered { expected: object, got });
        }
        let now = self.now;
        self.truths[source.index()].on_declared(side, object, load.len, &load.held, now);
        Ok(())
    }

    pub(super) fn tell(&mut self, from: Side, message: Message) {
        let up_at = self.scenario.up_at(self.now);
        let link = &self.scenario.links[from.index()];
        let rtt = self.scenario.rtt();
        let sent = self.now + self.scenario.control_lag;
        let at = self.controls[from.index()].arrival(link, rtt, up_at.max(sent), sent);
        self.messages_flying += 1;
        self.agenda.plan(at, Happening::Control(from.peer(), message));
    }

    pub(super) fn on_message(&mut self, side: Side, message: Message) -> Result<(), Violation> {
        match message {
            Message::Declare { object, len, held } => {
                let source = match self.scenario.first {
                    First::Source => side.peer(),
                    First::Target => side,
                };
                let load = Load { at: Timestamp::ZERO, len, held, wrong: Vec::new() };
                self.declare(side, source, object, &load)
            }
            Message::Reopen { object, position, count, index } => {
                let session = &mut self.hosts[side.index()].session;
                let here = session.reopen_recv(object, &[(position, count)])?.first_block;
                if here != index {
                    let (source_index, target_index) = (index, here);
                    return Err(Violation::Reopened { object, source_index, target_index });
                }
                self.truths[side.peer().index()].on_reopened(side, object, count);
                Ok(())
            }
            Message::AskAgain(block) => {
                self.hosts[side.index()].session.restart_send(block);
                Ok(())
            }
            Message::Abandon(object) => {
                self.with_host(side, |host, around| host.abandon_send(object, around))
            }
            Message::Abandoned(object) => {
                let now = self.now;
                let session = &mut self.hosts[side.index()].session;
                session.abandon_recv(object, now);
                session.settle_recv(object, now);
                self.truths[side.peer().index()].on_abandoned(side, object)
            }
        }
    }

    /// The source found wrong claims.
    pub(super) fn reopen(
        &mut self,
        source: Side,
        object: ObjectId,
        position: u32,
        count: u32,
    ) -> Result<(), Violation> {
        if self.truths[source.index()].end_of(source, object) == Some(End::Abandoned) {
            return Ok(());
        }
        let session = &mut self.hosts[source.index()].session;
        let index = session.reopen_send(object, &[(position, count)])?.first_block;
        self.truths[source.index()].on_reopened(source, object, count);
        self.tell(source, Message::Reopen { object, position, count, index });
        self.serve(source)
    }

    /// The source's user stops an object, unless it ended.
    pub(super) fn cancel(&mut self, source: Side, object: ObjectId) -> Result<(), Violation> {
        let truth = &self.truths[source.index()];
        if truth.is_declared(source, object) && truth.end_of(source, object).is_none() {
            self.with_host(source, |host, around| host.abandon_send(object, around))?;
        }
        self.serve(source)
    }

    /// The target's user stops an object, unless it ended.
    pub(super) fn refuse(&mut self, source: Side, object: ObjectId) -> Result<(), Violation> {
        let (truth, target) = (&self.truths[source.index()], source.peer());
        if truth.is_declared(target, object) && truth.end_of(target, object).is_none() {
            self.with_host(target, |host, around| host.refuse(object, around))?;
        }
        self.serve(target)
    }
}
