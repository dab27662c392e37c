//! Commands, completions and effects: the joints between the core and the rest of the body.

use super::Driver;
use super::blocks::{
    At, Check, Checked, Done, Io, RecvBlock, SendBlock, Way, check_job, disk_failure, encode_job,
    finish_job, load_job, segments_len, stored_job,
};
use super::command::{Command, GivenUp, NewSession, SessionEvent, SessionKey};
use super::session::SessionBody;
use crate::buffers::Lease;
use crate::disk::{Completion, Op, Request};
use crate::objects::{Failure, Load, Store};
use crate::work::Job;
use farhaul_proto::content::Digest;
use farhaul_proto::fec::BlockShape;
use farhaul_proto::ids::{BlockIndex, ObjectId};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::{RecvEffect, RecvEvent, Verified};
use farhaul_proto::send::{SendEffect, SendEvent};
use farhaul_proto::session::{Effect, Event};
use farhaul_proto::units::Timestamp;
use farhaul_proto::wire::control::FailCode;

/// A block that waits for a buffer to be read into.
pub(super) struct WaitingRead {
    at: At,
    placed: Placed,
    shape: BlockShape,
}

impl Driver {
    /// Applies one command.
    pub(super) fn apply(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Add(new) => self.add(*new, now),
            Command::Remove(key) => self.remove(key),
            Command::WarmUp(key) => self.with(key, |session| session.core.warm_up()),
            Command::DeclareSend { session, len, held, source, reply } => {
                self.with(session, |session| {
                    let declared = session.core.declare_send(len, &held);
                    if let Ok(object) = declared {
                        session.sources.insert(object, source);
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
            Command::AbandonSend(key, object) => self.with(key, |session| {
                session.sources.remove(&object);
                session.core.abandon_send(object);
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
            Command::RestartSend(key, block) => {
                self.with(key, |session| session.core.restart_send(block));
            }
            Command::SetPolicy(key, policy, cap) => {
                self.with(key, |session| session.core.set_policy(policy, cap, now));
            }
            Command::Stats(key, reply) => self.with(key, |session| {
                let _ = reply.send(session.stats(now));
            }),
            Command::Stop => self.stopping = true,
        }
    }

    fn with(&mut self, key: SessionKey, act: impl FnOnce(&mut SessionBody)) {
        if let Some(session) = self.sessions.get_mut(&key) {
            act(session);
        }
    }

    fn add(&mut self, new: NewSession, now: Timestamp) {
        let key = new.key;
        let session = SessionBody::new(new, now);
        let lane = session.recv_tag;
        self.lanes.insert(lane, key);
        self.sessions.insert(key, session);
        self.take_early(lane, now);
    }

    fn remove(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.remove(&key) {
            self.lanes.remove(&session.recv_tag);
        }
        self.waiting_reads.retain(|read| read.at.session != key);
    }

    /// Does what a core asks for, until it asks for nothing.
    pub(super) fn drain(&mut self, key: SessionKey) {
        loop {
            let Some(session) = self.sessions.get_mut(&key) else { return };
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
                self.waiting_reads.push_back(WaitingRead { at, placed, shape });
                self.retry_reads();
            }
            SendEffect::Encode { block, shape, first, count } => {
                let at = At { session: key, way: Way::Out, block };
                let held = self.sessions.get(&key).and_then(|s| s.send_blocks.get(&block));
                if let Some(data) = held.map(|held| held.data.clone()) {
                    let job = encode_job(at, shape, data, first, count);
                    self.run_job(at, Box::new(job));
                }
            }
            SendEffect::Release { block } => {
                self.with(key, |session| {
                    session.send_blocks.remove(&block);
                });
            }
        }
    }

    /// Starts reads for which there is a buffer now.
    pub(super) fn retry_reads(&mut self) {
        while let Some(read) = self.waiting_reads.front() {
            let (at, object) = (read.at, read.placed.object);
            let session = self.sessions.get(&at.session);
            let source = session.and_then(|s| s.sources.get(&object)).cloned();
            let Some(source) = source else {
                self.waiting_reads.pop_front();
                self.with(at.session, |session| {
                    // Abandoned, or somebody forgot the source too early: that must be heard.
                    if session.core.sender().is_open(object) {
                        session.give_up_send(object, forgotten());
                    }
                });
                continue;
            };
            let Some(lease) = self.pool.try_lease() else { return };
            if let Some(read) = self.waiting_reads.pop_front() {
                let job = load_job(at, read.shape, read.placed, lease, source);
                self.run_file(at, Box::new(job));
            }
        }
    }

    fn on_recv_effect(&mut self, key: SessionKey, effect: RecvEffect) {
        match effect {
            RecvEffect::Verify { block, placed, shape, .. } => {
                self.check(key, block, placed, shape);
            }
            // The sink already answered when the block was checked; see `on_checked`.
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
        let Some(session) = self.sessions.get_mut(&key) else { return };
        // Abandoned meanwhile: nobody wants the block any more.
        let Some(present) = session.core.receiver().present(block).cloned() else { return };
        let sink = session.sinks.get(&placed.object).cloned();
        let held = session.recv_blocks.get_mut(&block);
        let (Some(sink), Some(held)) = (sink, held) else {
            session.give_up_recv(placed.object, forgotten(), now);
            return;
        };
        let held = std::mem::replace(held, RecvBlock { lease: None, repair: Vec::new() });
        let job = check_job(Check { at, shape, placed, present, block: held, sink });
        self.run_job(at, Box::new(job));
    }

    fn run_job(&mut self, at: At, job: Job<Done>) {
        if self.work.try_submit(job, Done::Panicked { at }).is_err() {
            tracing::error!("the worker queue is full: a job was dropped");
            self.fail_block(at, "the worker queue is full");
        }
    }

    fn run_file(&mut self, at: At, job: Job<Done>) {
        if self.files.try_submit(job, Done::Panicked { at }).is_err() {
            tracing::error!("the file queue is full: a job was dropped");
            self.fail_block(at, "the file queue is full");
        }
    }

    /// A worker finished.
    pub(super) fn on_done(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Loaded { at, shape, placed, lease, load } => {
                self.on_load(at, shape, placed, lease, load);
            }
            Done::Finished { at, shape, lease } => self.with(at.session, |session| {
                let data = lease.freeze();
                session.send_blocks.insert(at.block, SendBlock { shape, data, repair: Vec::new() });
                session.core.on_loaded(at.block);
            }),
            Done::Encoded { at, repair } => self.with(at.session, |session| {
                let count = repair.as_ref().map(farhaul_proto::fec::RepairSet::len);
                if let (Some(held), Some(repair)) = (session.send_blocks.get_mut(&at.block), repair)
                {
                    held.repair.push(repair);
                }
                session.core.on_encoded(at.block, count);
            }),
            Done::Checked { at, placed, block, outcome } => {
                self.on_checked(at, placed, block, outcome, now);
            }
            Done::Stored { at, placed, result } => self.with(at.session, |session| match result {
                Ok(()) => session.core.on_written(at.block, now),
                Err(failure) => session.sink_failed(placed.object, failure, now),
            }),
            Done::Panicked { at } => self.fail_block(at, "a worker panicked; this is a bug"),
        }
    }

    fn on_load(
        &mut self,
        at: At,
        shape: BlockShape,
        placed: Placed,
        lease: Lease,
        load: Result<Load, Failure>,
    ) {
        match load {
            Ok(Load::Filled) => {
                self.run_job(at, Box::new(finish_job(at, shape, placed, lease)));
            }
            Ok(Load::Read(segments)) if segments_len(&segments) == placed.len.as_len() => {
                self.submit(Io::Read { at, shape, placed }, Op::Read { buffer: lease, segments });
            }
            Ok(Load::Read(_)) => self.source_failed(at, placed.object, layout_failure()),
            Err(failure) => self.source_failed(at, placed.object, failure),
        }
    }

    fn submit(&mut self, io: Io, op: Op) {
        let token = self.next_token;
        self.next_token += 1;
        self.ios.insert(token, io);
        if let Err(request) = self.disk.submit(Request { token, op }) {
            self.waiting_io.push_back(request);
        }
    }

    fn on_checked(
        &mut self,
        at: At,
        placed: Placed,
        mut block: RecvBlock,
        outcome: Checked,
        now: Timestamp,
    ) {
        let Some(session) = self.sessions.get_mut(&at.session) else { return };
        match outcome {
            Checked::Not(verified) => {
                if let Some(held) = session.recv_blocks.get_mut(&at.block) {
                    *held = block;
                }
                session.core.on_verified(at.block, verified, now);
            }
            Checked::Good(digest, store) => {
                session.core.on_verified(at.block, Verified::Good, now);
                let lease = block.lease.take();
                self.store(at, placed, digest, lease, store, now);
            }
        }
        self.drain(at.session);
    }

    fn store(
        &mut self,
        at: At,
        placed: Placed,
        digest: Digest,
        lease: Option<Lease>,
        store: Result<Store, Failure>,
        now: Timestamp,
    ) {
        match (store, lease) {
            (Ok(Store::Taken), _) => self.note_stored(at, placed, digest),
            (Ok(Store::Write(segments)), Some(lease))
                if segments_len(&segments) == placed.len.as_len() =>
            {
                let op = Op::Write { buffer: lease.into(), segments };
                self.submit(Io::Write { at, placed, digest }, op);
            }
            (Ok(Store::Write(_)), _) => {
                self.with(at.session, |s| s.sink_failed(placed.object, layout_failure(), now));
            }
            (Err(failure), _) => {
                self.with(at.session, |s| s.sink_failed(placed.object, failure, now));
            }
        }
    }

    fn note_stored(&mut self, at: At, placed: Placed, digest: Digest) {
        let now = self.clock.now();
        let Some(session) = self.sessions.get_mut(&at.session) else { return };
        if let Some(sink) = session.sinks.get(&placed.object).cloned() {
            self.run_file(at, Box::new(stored_job(at, placed, digest, sink)));
        } else if session.core.receiver().present(at.block).is_some() {
            session.give_up_recv(placed.object, forgotten(), now);
        }
    }

    /// The disk engine finished.
    pub(super) fn on_disk(&mut self, completion: Completion, now: Timestamp) {
        let Some(io) = self.ios.remove(&completion.token) else { return };
        match (io, &completion.result) {
            (Io::Read { at, shape, placed }, Ok(())) => {
                if let Some(lease) = completion.into_lease() {
                    self.run_job(at, Box::new(finish_job(at, shape, placed, lease)));
                } else {
                    self.source_failed(at, placed.object, layout_failure());
                }
            }
            (Io::Read { at, placed, .. }, Err(error)) => {
                let failure = disk_failure(error, true);
                self.source_failed(at, placed.object, failure);
            }
            (Io::Write { at, placed, digest }, Ok(())) => self.note_stored(at, placed, digest),
            (Io::Write { at, placed, .. }, Err(error)) => {
                let failure = disk_failure(error, false);
                self.with(at.session, |s| s.sink_failed(placed.object, failure, now));
                self.drain(at.session);
            }
        }
    }

    fn source_failed(&mut self, at: At, object: ObjectId, failure: Failure) {
        self.with(at.session, |session| {
            if session.sources.contains_key(&object) {
                session.give_up_send(object, failure);
            }
        });
    }

    /// A block cannot be processed on this host: its object fails, nothing else.
    fn fail_block(&mut self, at: At, reason: &str) {
        let failure = Failure { code: FailCode::Internal, reason: reason.to_owned() };
        let now = self.clock.now();
        let Some(session) = self.sessions.get_mut(&at.session) else { return };
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

    fn sink_failed(&mut self, object: ObjectId, failure: Failure, now: Timestamp) {
        if self.sinks.contains_key(&object) {
            self.give_up_recv(object, failure, now);
        }
    }

    fn give_up_send(&mut self, object: ObjectId, failure: Failure) {
        self.sources.remove(&object);
        self.core.abandon_send(object);
        self.tell(SessionEvent::SourceFailed(object, failure));
    }

    fn give_up_recv(&mut self, object: ObjectId, failure: Failure, now: Timestamp) {
        self.sinks.remove(&object);
        self.core.abandon_recv(object, now);
        self.tell(SessionEvent::SinkFailed(object, failure));
    }
}

fn forgotten() -> Failure {
    let reason = "a block is wanted of an object whose file was let go; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}

fn layout_failure() -> Failure {
    let reason = "the file layer gave runs that do not add up to the block; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}
