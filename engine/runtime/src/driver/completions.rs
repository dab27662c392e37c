//! Completions: what came of jobs and disk requests.

use super::Driver;
use super::blocks::{
    Aim, At, Checked, Done, Finish, Io, RecvBlock, SendBlock, disk_failure, fills, finish_job,
    store_job, stored_job,
};
use super::effects::{WaitingRead, WaitingStore, forgotten, layout_failure};
use crate::buffers::Lease;
use crate::disk::{Completion, DiskError, Op, Request, Segment};
use crate::objects::{BlockSink, Failure, Load};
use farhaul_proto::content::Digest;
use farhaul_proto::fec::{BlockShape, RepairSet};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::Verified;
use farhaul_proto::units::Timestamp;
use std::sync::Arc;

impl Driver {
    /// A worker finished.
    pub(super) fn on_done(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Loaded { at, shape, placed, lease, load } => {
                self.on_load(at, shape, placed, lease, load);
            }
            Done::Finished { at, shape, lease } => self.with(at.session, |session| {
                let data = lease.freeze();
                session.send_blocks.insert(at.block, SendBlock { shape, data, repair: Vec::new() });
                session.core.on_loaded(at.block, shape);
            }),
            Done::Encoded { at, shape, repair } => self.with(at.session, |session| {
                let held = session.send_blocks.get_mut(&at.block);
                // Of a shape that the block has no more: nobody waits for it.
                let Some(held) = held.filter(|held| held.shape == shape) else { return };
                let count = repair.as_ref().map(RepairSet::len);
                held.repair.extend(repair);
                session.core.on_encoded(at.block, count);
            }),
            Done::Checked { at, placed, block, outcome, then } => {
                self.on_checked(at, placed, block, outcome, now);
                if let Some(then) = then {
                    self.on_done(*then, now);
                }
            }
            Done::Write { at, placed, digest, lease, segments } => {
                self.write(at, placed, digest, lease, segments, now);
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
            Ok(Load::Filled) => self.finish(at, shape, placed, lease),
            Ok(Load::Read(segments)) if !fills(&segments, placed) => {
                self.source_failed(at, placed.object, layout_failure());
            }
            Ok(Load::Read(segments)) => {
                let op = Op::Read { buffer: lease, segments: segments.clone() };
                let aim = Aim::Read(shape);
                self.submit(Io { at, placed, segments, aim, again: false }, op);
            }
            Err(failure) => self.source_failed(at, placed.object, failure),
        }
    }

    /// Has a block that is in memory hashed, and packed where that may pay.
    fn finish(&mut self, at: At, shape: BlockShape, placed: Placed, lease: Lease) {
        let packing = self.live(at.session).and_then(|session| session.packing(placed.object));
        let finish = Finish { at, shape, placed, lease, packing };
        self.run_job(at, Box::new(finish_job(finish)));
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
        let Some(session) = self.live(at.session) else { return };
        match outcome {
            Checked::Not(verified) => {
                if let Some(held) = session.recv_blocks.get_mut(&at.block) {
                    *held = block;
                }
                session.core.on_verified(at.block, verified, now);
            }
            Checked::Good(digest) => {
                session.core.on_verified(at.block, Verified::Good, now);
                if let Some(lease) = block.lease.take() {
                    self.store(WaitingStore { at, placed, digest, lease }, now);
                }
            }
        }
        self.drain(at.session);
    }

    /// Hands a verified block to its sink, now or once that has room.
    pub(super) fn store(&mut self, store: WaitingStore, now: Timestamp) {
        let WaitingStore { at, placed, .. } = store;
        let Some(sink) = self.sink_of(at, placed, now) else { return };
        if sink.has_room() {
            let WaitingStore { digest, lease, .. } = store;
            self.run_file(at, Box::new(store_job(at, placed, digest, lease, sink)));
        } else {
            self.waiting_stores.push_back(store);
        }
    }

    fn write(
        &mut self,
        at: At,
        placed: Placed,
        digest: Digest,
        lease: Lease,
        segments: Vec<Segment>,
        now: Timestamp,
    ) {
        if fills(&segments, placed) {
            let op = Op::Write { buffer: lease.into(), segments: segments.clone() };
            let aim = Aim::Write(digest);
            self.submit(Io { at, placed, segments, aim, again: false }, op);
        } else {
            self.with(at.session, |s| s.sink_failed(placed.object, layout_failure(), now));
        }
    }

    /// The block's data reached its file: the sink notes it.
    fn note_stored(&mut self, at: At, placed: Placed, digest: Digest, now: Timestamp) {
        if let Some(sink) = self.sink_of(at, placed, now) {
            self.run_file(at, Box::new(stored_job(at, placed, digest, sink)));
        }
    }

    /// The sink of a block. There is none once the object was abandoned, and then nobody wants
    /// the block; if somebody forgot the sink too early, that must be heard.
    fn sink_of(&mut self, at: At, placed: Placed, now: Timestamp) -> Option<Arc<dyn BlockSink>> {
        let session = self.live(at.session)?;
        session.core.receiver().present(at.block)?;
        let sink = session.sinks.get(&placed.object).cloned();
        if sink.is_none() {
            session.give_up_recv(placed.object, forgotten(), now);
        }
        sink
    }

    /// The disk engine finished.
    pub(super) fn on_disk(&mut self, completion: Completion, now: Timestamp) {
        let Some(io) = self.ios.remove(&completion.token) else { return };
        let broken = matches!(completion.result, Err(DiskError::EngineFailed { .. }));
        if broken && !io.again && self.replace_disk() {
            self.ask_again(io, completion);
            return;
        }
        let Io { at, placed, aim, .. } = io;
        match (aim, &completion.result) {
            (Aim::Read(shape), Ok(())) => {
                if let Some(lease) = completion.into_lease() {
                    self.finish(at, shape, placed, lease);
                } else {
                    self.source_failed(at, placed.object, layout_failure());
                }
            }
            (Aim::Read(_), Err(error)) => {
                let failure = disk_failure(error, true);
                self.source_failed(at, placed.object, failure);
            }
            (Aim::Write(digest), Ok(())) => self.note_stored(at, placed, digest, now),
            (Aim::Write(_), Err(error)) => self.write_failed(at, placed, error, now),
        }
    }

    fn write_failed(&mut self, at: At, placed: Placed, error: &DiskError, now: Timestamp) {
        let failure = disk_failure(error, false);
        self.with(at.session, |s| s.sink_failed(placed.object, failure, now));
        self.drain(at.session);
    }

    /// Opens the other disk engine in place of one that broke; true if there is one to ask.
    fn replace_disk(&mut self) -> bool {
        let Some(spare) = self.spare_disk.take() else { return self.broken_disk.is_some() };
        match spare() {
            Ok(disk) => {
                tracing::warn!(from = self.disk.name(), to = disk.name(), "the disk engine broke");
                let _ = self.fallback_disk.set(disk.name());
                self.broken_disk = Some(std::mem::replace(&mut self.disk, disk));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the disk engine broke, and there is no other");
                false
            }
        }
    }

    /// Asks the new engine for what the broken one did not do.
    fn ask_again(&mut self, io: Io, completion: Completion) {
        let Io { at, placed, segments, aim, .. } = io;
        let op = match (aim, completion.buffer) {
            (Aim::Read(_), Some(buffer)) => match buffer.into_lease() {
                Ok(buffer) => Op::Read { buffer, segments: segments.clone() },
                Err(_) => return self.source_failed(at, placed.object, layout_failure()),
            },
            (Aim::Write(_), Some(buffer)) => Op::Write { buffer, segments: segments.clone() },
            // The kernel may still have the memory: read into another buffer.
            (Aim::Read(shape), None) => {
                return self.with(at.session, |session| {
                    session.waiting_reads.push_back(WaitingRead { at, placed, shape });
                });
            }
            // The only copy here is gone with it.
            (Aim::Write(_), None) => {
                self.with(at.session, |session| session.core.on_lost(at.block));
                return self.drain(at.session);
            }
        };
        self.submit(Io { at, placed, segments, aim, again: true }, op);
    }
}
