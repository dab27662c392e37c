//! Effects and events of the cores: what they ask of the rest of the body.

use super::Driver;
use super::blocks::{
    At, Check, Done, Finish, RecvBlock, Way, check_job, encode_job, load_and_finish_job, load_job,
};
use super::command::{SessionEvent, SessionKey};
use super::session::SessionBody;
use crate::buffers::Lease;
use crate::objects::Failure;
use crate::work::Job;
use farhaul_proto::content::Digest;
use farhaul_proto::fec::BlockShape;
use farhaul_proto::ids::{BlockIndex, ObjectId};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::{RecvEffect, RecvEvent};
use farhaul_proto::send::{SendEffect, SendEvent};
use farhaul_proto::session::{Effect, Event};
use farhaul_proto::units::Timestamp;
use farhaul_proto::wire::control::FailCode;
use std::sync::Arc;
use std::time::Duration;

/// A block that waits for a buffer to be read into.
pub(super) struct WaitingRead {
    pub(super) at: At,
    pub(super) placed: Placed,
    pub(super) shape: BlockShape,
}

/// A verified block that waits for room at its sink; no thread waits with it.
pub(super) struct WaitingStore {
    pub(super) at: At,
    pub(super) placed: Placed,
    pub(super) digest: Digest,
    pub(super) lease: Lease,
}

/// How often sinks without room are asked again.
const STORE_RETRY: Duration = Duration::from_millis(20);

impl Driver {
    /// Does what a core asks for, until it asks for nothing.
    pub(super) fn drain(&mut self, key: SessionKey) {
        loop {
            let Some(session) = self.live(key) else { return };
            if let Some(effect) = session.core.poll_effect() {
                match effect {
                    Effect::Send(effect) => self.on_send_effect(key, effect),
                    Effect::Recv(effect) => self.on_recv_effect(key, effect),
                }
            } else if let Some(event) = session.core.poll_event() {
                session.on_event(event);
            } else {
                return;
            }
        }
    }

    fn on_send_effect(&mut self, key: SessionKey, effect: SendEffect) {
        match effect {
            SendEffect::Read { block, placed, shape } => {
                let at = At { session: key, way: Way::Out, block };
                self.with(key, |session| {
                    session.waiting_reads.push_back(WaitingRead { at, placed, shape });
                });
                self.start_reads(key);
            }
            SendEffect::Encode { block, shape, first, count } => {
                let at = At { session: key, way: Way::Out, block };
                let held = self.live(key).and_then(|s| s.send_blocks.get(&block));
                if let Some(data) = held.map(|held| held.data.clone()) {
                    let job = encode_job(at, shape, data, first, count);
                    self.run_job(at, Box::new(job));
                }
            }
            SendEffect::Reshape { block, shape } => self.with(key, |session| {
                // Behind the data are zeros enough for any shape; see `finish_source`.
                if let Some(held) = session.send_blocks.get_mut(&block) {
                    held.shape = shape;
                    held.repair.clear();
                }
            }),
            SendEffect::Release { block } => {
                self.with(key, |session| {
                    session.send_blocks.remove(&block);
                });
            }
        }
    }

    /// Starts the reads of a session for which there is a buffer now.
    pub(super) fn start_reads(&mut self, key: SessionKey) {
        let alive = |session: &&mut SessionBody| !session.is_dead();
        while let Some(session) = self.sessions.get_mut(&key).filter(alive) {
            let Some(read) = session.waiting_reads.front() else { return };
            let object = read.placed.object;
            let Some(source) = session.sources.get(&object).map(|out| Arc::clone(&out.source))
            else {
                session.waiting_reads.pop_front();
                // Abandoned, or somebody forgot the source too early: that must be heard.
                if session.core.sender().is_open(object) {
                    session.give_up_send(object, forgotten());
                }
                continue;
            };
            let held = session.sending().held;
            if self.shares.out.room(held) == 0 {
                return;
            }
            let Some(lease) = self.pool.try_lease() else { return };
            let Some(WaitingRead { at, placed, shape }) = session.waiting_reads.pop_front() else {
                return;
            };
            self.shares.out.take(held);
            if source.is_at_hand() {
                let packing = session.packing(placed.object);
                let finish = Finish { at, shape, placed, lease, packing };
                self.run_job(at, Box::new(load_and_finish_job(finish, source)));
            } else {
                self.run_file(at, Box::new(load_job(at, shape, placed, lease, source)));
            }
        }
    }

    /// Hands over the blocks for which their sinks have room now.
    pub(super) fn retry_stores(&mut self, now: Timestamp) {
        if self.waiting_stores.is_empty() || now < self.stores_at {
            return;
        }
        self.stores_at = now + STORE_RETRY;
        for store in std::mem::take(&mut self.waiting_stores) {
            self.store(store, now);
        }
    }

    fn on_recv_effect(&mut self, key: SessionKey, effect: RecvEffect) {
        match effect {
            RecvEffect::Verify { block, placed, shape, .. } => {
                self.check(key, block, placed, shape);
            }
            // The sink is asked when the check comes back, with the buffer; see `on_checked`.
            RecvEffect::Write { .. } => {}
            RecvEffect::Release { block } => self.with(key, |session| {
                session.recv_blocks.remove(&block);
            }),
            RecvEffect::Clear { block } => self.with(key, |session| {
                if let Some(held) = session.recv_blocks.get_mut(&block) {
                    held.repair.clear();
                }
            }),
            RecvEffect::AskAgain { block } => {
                self.with(key, |session| session.tell(SessionEvent::AskAgain(block)));
            }
        }
    }

    fn check(&mut self, key: SessionKey, block: BlockIndex, placed: Placed, shape: BlockShape) {
        let at = At { session: key, way: Way::In, block };
        let now = self.clock.now();
        let Some(session) = self.live(key) else { return };
        // Abandoned meanwhile: nobody wants the block any more.
        let Some(present) = session.core.receiver().present(block).cloned() else { return };
        let sink = session.sinks.get(&placed.object).cloned();
        let Some(held) = session.recv_blocks.get_mut(&block).filter(|_| sink.is_some()) else {
            session.give_up_recv(placed.object, forgotten(), now);
            return;
        };
        let sink = sink.filter(|sink| sink.is_at_hand() && sink.has_room());
        let held = std::mem::replace(held, RecvBlock { lease: None, repair: Vec::new() });
        let job = check_job(Check { at, shape, placed, present, block: held, sink });
        self.run_job(at, Box::new(job));
    }

    pub(super) fn run_job(&mut self, at: At, job: Job<Done>) {
        if self.work.try_submit(job, Done::Panicked { at }).is_err() {
            tracing::error!("the worker queue is full: a job was dropped");
            self.fail_block(at, "the worker queue is full");
        }
    }

    pub(super) fn run_file(&mut self, at: At, job: Job<Done>) {
        if self.files.try_submit(job, Done::Panicked { at }).is_err() {
            tracing::error!("the file queue is full: a job was dropped");
            self.fail_block(at, "the file queue is full");
        }
    }

    pub(super) fn source_failed(&mut self, at: At, object: ObjectId, failure: Failure) {
        self.with(at.session, |session| {
            if session.sources.contains_key(&object) {
                session.give_up_send(object, failure);
            }
        });
    }

    /// A block cannot be processed on this host: its object fails, nothing else.
    pub(super) fn fail_block(&mut self, at: At, reason: &str) {
        let failure = Failure { code: FailCode::Internal, reason: reason.to_owned() };
        let now = self.clock.now();
        let Some(session) = self.live(at.session) else { return };
        match at.way {
            Way::In => {
                if let Some(object) = session.core.receiver().object_of(at.block) {
                    session.sink_failed(object, failure, now);
                }
            }
            Way::Out => {
                if let Some(object) = session.core.sender().object_of(at.block) {
                    self.source_failed(at, object, failure);
                }
            }
        }
    }
}

impl SessionBody {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Send(SendEvent::ObjectRead { object, generation }) => {
                self.tell(SessionEvent::SendRead(object, generation));
            }
            // Source and sink stay: claims are still being checked, and a wrong one reopens blocks.
            Event::Send(SendEvent::ObjectComplete { object, generation }) => {
                self.tell(SessionEvent::SendComplete(object, generation));
            }
            Event::Recv(RecvEvent::ObjectComplete { object, generation }) => {
                self.tell(SessionEvent::RecvComplete(object, generation));
            }
            Event::Recv(RecvEvent::ObjectCorrupt(object)) => {
                self.sinks.remove(&object);
                let reason = "its blocks fail their digests again and again: the peer's source \
                              or memory is damaged";
                let failure = Failure { code: FailCode::Io, reason: reason.to_owned() };
                self.tell(SessionEvent::SinkFailed(object, failure));
            }
        }
    }

    pub(super) fn sink_failed(&mut self, object: ObjectId, failure: Failure, now: Timestamp) {
        if self.sinks.contains_key(&object) {
            self.give_up_recv(object, failure, now);
        }
    }

    fn give_up_send(&mut self, object: ObjectId, failure: Failure) {
        self.sources.remove(&object);
        self.core.abandon_send(object);
        self.tell(SessionEvent::SourceFailed(object, failure));
    }

    pub(super) fn give_up_recv(&mut self, object: ObjectId, failure: Failure, now: Timestamp) {
        self.sinks.remove(&object);
        self.core.abandon_recv(object, now);
        self.tell(SessionEvent::SinkFailed(object, failure));
    }
}

pub(super) fn forgotten() -> Failure {
    let reason = "a block is wanted of an object whose file was let go; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}

pub(super) fn layout_failure() -> Failure {
    let reason = "the file layer gave runs that do not add up to the block; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}
