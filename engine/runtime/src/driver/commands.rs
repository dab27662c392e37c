//! Commands: what the owners of sessions ask for.

use super::Driver;
use super::command::{Command, GivenUp, NewSession, SessionKey};
use super::receive::LaneDrops;
use super::session::{Outgoing, SessionBody};
use farhaul_proto::units::Timestamp;

impl Driver {
    /// Applies one command.
    pub(super) fn apply(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Add(new) => self.add(*new, now),
            Command::Remove(key) => self.remove(key, now),
            Command::WarmUp { session, expected } => {
                self.with(session, |session| session.core.warm_up(expected));
            }
            Command::DeclareSend { session, flow, len, held, source, reply } => {
                self.with(session, |session| {
                    let declared = session.core.declare_send_in(flow, len, &held);
                    if let Ok(object) = declared {
                        session.sources.insert(object, Outgoing::new(source));
                    }
                    let _ = reply.send(declared);
                });
            }
            Command::DeclareRecv { session, len, held, sink, reply } => {
                self.with(session, |session| {
                    let declared = session.core.declare_recv(len, &held);
                    if let Ok(object) = declared {
                        session.sinks.insert(object, sink);
                    }
                    let _ = reply.send(declared);
                });
            }
            Command::ReopenSend { session, object, runs, reply } => {
                self.with(session, |session| {
                    let _ = reply.send(session.core.reopen_send(object, &runs));
                });
            }
            Command::ReopenRecv { session, object, runs, reply } => {
                self.with(session, |session| {
                    let _ = reply.send(session.core.reopen_recv(object, &runs));
                });
            }
            Command::AbandonSend { session, object, reply } => self.with(session, |session| {
                session.sources.remove(&object);
                session.core.abandon_send(object);
                let _ = reply.send(());
            }),
            Command::ForgetSend(key, object) => self.with(key, |session| {
                session.sources.remove(&object);
            }),
            Command::ForgetRecv(key, object) => self.with(key, |session| {
                session.sinks.remove(&object);
            }),
            Command::AbandonRecv(key, object, by) => self.with(key, |session| {
                session.sinks.remove(&object);
                session.core.abandon_recv(object, now);
                if by == GivenUp::ByPeer {
                    session.core.settle_recv(object, now);
                }
            }),
            Command::RestartSend(key, block) => self.with(key, |s| s.core.restart_send(block)),
            Command::Shape(key, policy, bounds, fec, pack) => self.with(key, |session| {
                session.pack = pack;
                session.core.set_policy(policy, bounds, now);
                session.core.set_fec(fec);
            }),
            Command::Stop => self.stopping = true,
            question => self.answer(question, now),
        }
    }

    /// Applies a command that changes nothing of what is carried, only when it is, or who is told.
    fn answer(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::SetFlow(key, flow, plan, reply) => self.with(key, |session| {
                let _ = reply.send(session.core.set_flow(flow, plan, now));
            }),
            Command::EndFlow(key, flow, reply) => self.with(key, |session| {
                let _ = reply.send(session.core.end_flow(flow));
            }),
            Command::ShapeLink(link, cap) => self.shape_link(link, cap, now),
            Command::PutOver(key, link) => self.put_over(key, link),
            Command::Weigh(key, weight) => self.weigh(key, weight),
            Command::AskPeer(key, reply) => self.with(key, |session| {
                let _ = reply.send(session.ask_peer(now));
            }),
            Command::Record(key, pen) => {
                self.with(key, |session| session.begin_recording(pen, now));
            }
            Command::Probe(key, plan, reply) => self.with(key, |session| {
                session.core.probe(plan, now);
                session.probing = Some(reply);
            }),
            Command::Flows(key, reply) => self.with(key, |session| {
                let _ = reply.send(session.core.flows().collect());
            }),
            Command::Stats(key, reply) => self.with(key, |session| {
                let _ = reply.send(session.stats());
            }),
            Command::Drops(reply) => {
                let unknown_lane = self.drops.unknown_lane + self.early.never_taken(now);
                let _ = reply.send(LaneDrops { unknown_lane, ..self.drops });
            }
            // All others are applied before.
            _ => {}
        }
    }

    /// A session that is not dead.
    pub(super) fn live(&mut self, key: SessionKey) -> Option<&mut SessionBody> {
        self.sessions.get_mut(&key).filter(|session| !session.is_dead())
    }

    pub(super) fn with(&mut self, key: SessionKey, act: impl FnOnce(&mut SessionBody)) {
        if let Some(session) = self.live(key) {
            act(session);
        }
    }

    fn add(&mut self, mut new: NewSession, now: Timestamp) {
        let key = new.key;
        let opening = new.opening.take();
        let mut session = SessionBody::new(new, self.port.udp().receiver_drops(), now);
        session.core.set_solvers(u32::try_from(self.work.threads()).unwrap_or(u32::MAX));
        let lane = session.recv_tag;
        self.lanes.insert(lane, key);
        self.sessions.insert(key, session);
        self.take_early(lane, now);
        drop(opening);
    }

    fn remove(&mut self, key: SessionKey, now: Timestamp) {
        self.with(key, |session| session.trace_end(now));
        if let Some(session) = self.sessions.remove(&key) {
            self.lanes.remove(&session.recv_tag);
        }
        self.waiting_stores.retain(|store| store.at.session != key);
    }
}
