//! The side that wants the files: accept, verify, commit, give the receipt.

use super::bundle::{BundleSink, wire_len};
use super::checkpoints::Checkpoints;
use super::conversation::{Conversation, Heard};
use super::failures::{Failures, Fault, Side};
use super::file::{FileSink, Gate};
use super::jobs::Jobs;
use super::planning::blocking;
use super::sending::{path_of, unexpected};
use super::{
    FailedEntry, Figures, Outcome, PROGRESS_EVERY, Progress, ProgressSender, TransferError,
};
use crate::driver::command::{HeldRuns, SessionEvent};
use crate::engine::SessionFault;
use crate::files::confine::ConfineError;
use crate::files::receive::{ReceiveError, ReceivePlan, Receiver};
use crate::files::staging::StagingError;
use crate::files::{CommitError, Report};
use crate::objects::Failure;
use farhaul_proto::ids::{BlockIndex, Generation, ObjectId, TransferId};
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{
    Accept, BlockSpan, Done, EntryFailure, FAILURES_MAX, FailCode, Have, Message, reason,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

/// An object on its way in.
#[derive(Default)]
struct Coming {
    /// A large file with its entry; nothing for a bundle.
    file: Option<(u32, Arc<FileSink>)>,
    /// Reopenings so far: an event from before the last one says nothing.
    generation: Generation,
    received: bool,
    sealed: bool,
    committing: bool,
}

pub(super) struct Receiving<'a> {
    conversation: &'a mut Conversation,
    receiver: Arc<Receiver>,
    layout: Arc<Layout>,
    plan: ReceivePlan,
    base: u32,
    /// Objects that are neither in place nor failed.
    open: BTreeMap<u32, Coming>,
    failures: Failures,
    commits: Jobs<Result<(), Failure>>,
    gate: Arc<Gate>,
    checkpoints: Checkpoints,
    /// Data bytes that an earlier attempt brought, less those that were reopened.
    resumed: Bytes,
    /// What the session had written before this transfer's data.
    written_before: Bytes,
    /// What the sender told last of the way here.
    figures: Option<Figures>,
}

impl<'a> Receiving<'a> {
    /// Declares what is wanted, before the sender is told: no block can come too early.
    pub(super) async fn declare(
        conversation: &'a mut Conversation,
        receiver: Arc<Receiver>,
        plan: ReceivePlan,
    ) -> Result<Self, TransferError> {
        let layout = Arc::new(Layout::new(receiver.manifest(), &plan.want));
        let resumed = Bytes::new(plan.resumed_bytes);
        let stats = conversation.session.stats().await;
        let mut receiving = Self {
            conversation,
            receiver,
            layout,
            plan,
            base: 0,
            open: BTreeMap::new(),
            failures: Failures::default(),
            commits: Jobs::new(),
            gate: Arc::default(),
            checkpoints: Checkpoints::new(),
            resumed,
            written_before: stats.map_or(Bytes::ZERO, |stats| stats.received.written),
            figures: None,
        };
        for index in 0..receiving.layout.len() {
            receiving.declare_one(index).await?;
        }
        Ok(receiving)
    }

    async fn declare_one(&mut self, index: u32) -> Result<(), TransferError> {
        let layout = Arc::clone(&self.layout);
        let Some(spec) = layout.object(index) else { return Ok(()) };
        let session = &self.conversation.session;
        let mut coming = Coming::default();
        let id = match &spec.kind {
            ObjectKind::File { entry } => {
                let held: HeldRuns = self
                    .plan
                    .have
                    .iter()
                    .filter(|have| have.entry == *entry)
                    .map(|have| (have.first, have.count))
                    .collect();
                let sink = Arc::new(FileSink::new(
                    Arc::clone(&self.receiver),
                    *entry,
                    Arc::clone(&self.gate),
                ));
                coming.file = Some((*entry, Arc::clone(&sink)));
                session.declare_recv(Bytes::new(spec.len), held, sink).await?
            }
            ObjectKind::Bundle { .. } => {
                let (receiver, failures) = (Arc::clone(&self.receiver), self.failures.clone());
                let spec = spec.clone();
                let len = Bytes::new(wire_len(&spec));
                let sink = Arc::new(BundleSink { receiver, spec, failures });
                session.declare_recv(len, Vec::new(), sink).await?
            }
        };
        if index == 0 {
            self.base = id.get();
        }
        self.open.insert(index, coming);
        Ok(())
    }

    pub(super) async fn accept(&mut self, transfer: TransferId) -> Result<(), TransferError> {
        let have = self.plan.have.iter().map(|have| Have {
            entry: have.entry,
            first: have.first,
            count: have.count,
            digest: have.digest,
        });
        let accept = Accept { transfer, want: self.plan.want.clone(), have: have.collect() };
        self.conversation.say(&Message::Accept(accept)).await
    }

    fn coming(&mut self, object: ObjectId) -> Option<(u32, &mut Coming)> {
        let index = object.get().checked_sub(self.base)?;
        Some((index, self.open.get_mut(&index)?))
    }

    pub(super) async fn run(
        &mut self,
        transfer: TransferId,
        progress: &ProgressSender,
    ) -> Result<Outcome, TransferError> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.open.is_empty() {
            tokio::select! {
                heard = self.conversation.hear() => match heard? {
                    Heard::Message(message) => self.on_message(message).await?,
                    Heard::Lane(event) => self.on_event(event).await?,
                },
                (index, committed) = self.commits.next() => self.on_committed(index, committed),
                _ = tick.tick() => {
                    self.checkpoints.tick(&self.receiver);
                    self.publish(progress).await;
                }
            }
        }
        self.finish(transfer, progress).await
    }

    async fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        match message {
            Message::Sealed { object } => {
                if let Some((index, coming)) = self.coming(object) {
                    coming.sealed = true;
                    self.commit_if_ready(index);
                }
            }
            Message::Reopen { object, runs, first_block } => {
                self.reopen(object, &runs, first_block).await?;
            }
            Message::Figures(figures) => self.figures = Some((&figures).into()),
            Message::ObjectFailed { object, code, reason } => {
                self.conversation.session.abandon_recv(object);
                self.fail(object, Side::Peer, &Failure { code, reason });
            }
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    async fn on_event(&mut self, event: SessionEvent) -> Result<(), TransferError> {
        match event {
            SessionEvent::RecvComplete(object, generation) => {
                if let Some((index, coming)) = self.coming(object)
                    && coming.generation == generation
                {
                    coming.received = true;
                    self.commit_if_ready(index);
                }
            }
            SessionEvent::SinkFailed(object, failure) => {
                self.fail(object, Side::Here, &failure);
                let (code, reason) = (failure.code, reason(&failure.reason));
                self.conversation.say(&Message::ObjectFailed { object, code, reason }).await?;
            }
            SessionEvent::AskAgain(block) => {
                self.conversation.say(&Message::Restart { block }).await?;
            }
            SessionEvent::SendRead(..)
            | SessionEvent::SendComplete(..)
            | SessionEvent::SourceFailed(..)
            | SessionEvent::Violation(_)
            | SessionEvent::ForgeryLimit
            | SessionEvent::Unreached(_) => {}
        }
        Ok(())
    }

    /// Expects blocks again that we claimed to hold: the sender has others. spec: W-080
    async fn reopen(
        &mut self,
        object: ObjectId,
        runs: &[BlockSpan],
        first_block: BlockIndex,
    ) -> Result<(), TransferError> {
        let receiver = Arc::clone(&self.receiver);
        if let Some((_, coming)) = self.coming(object) {
            if coming.sealed {
                let what = format!("it reopens object {object}, which it had sealed");
                return Err(TransferError::Violation(what));
            }
            coming.received = false;
            // Before a block can be written anew: what the journal says must not outlive it.
            if let Some((entry, _)) = coming.file {
                runs.iter().for_each(|run| receiver.reopen(entry, run.first, run.count));
                let bytes = runs.iter().map(|run| receiver.bytes_of(entry, run.first, run.count));
                self.resumed = self.resumed.saturating_sub(Bytes::new(bytes.sum()));
            }
        }
        let runs = runs.iter().map(|run| (run.first, run.count)).collect();
        let reopened = self.conversation.session.reopen_recv(object, runs).await;
        let reopened = reopened.map_err(|fault| match fault {
            SessionFault::Object(error) => TransferError::Violation(error.to_string()),
            SessionFault::Gone => fault.into(),
        })?;
        let ours = reopened.first_block;
        if ours != first_block {
            let what = format!("it counts block {first_block} where {ours} is next");
            return Err(TransferError::Violation(what));
        }
        if let Some((_, coming)) = self.coming(object) {
            coming.generation = reopened.generation;
        }
        Ok(())
    }

    fn fail(&mut self, object: ObjectId, at: Side, failure: &Failure) {
        let Some((index, _)) = self.coming(object) else { return };
        self.open.remove(&index);
        let layout = Arc::clone(&self.layout);
        for &entry in layout.object(index).map_or(&[][..], |spec| spec.entries()) {
            self.failures.note(entry, at, failure.clone());
            match failure.code {
                FailCode::SourceChanged => self.receiver.abandon_version(entry),
                _ => self.receiver.abandon(entry),
            }
        }
    }

    /// Puts a file in place once all of it is here and the sender vouches for it. The files of
    /// a bundle are in place when its block is stored. spec: W-092
    fn commit_if_ready(&mut self, index: u32) {
        let Some(coming) = self.open.get_mut(&index) else { return };
        let Some((_, sink)) = coming.file.clone() else {
            if coming.received {
                self.end(index);
            }
            return;
        };
        if !coming.received || !coming.sealed || coming.committing {
            return;
        }
        coming.committing = true;
        self.gate.enter();
        let (receiver, gate) = (Arc::clone(&self.receiver), Arc::clone(&self.gate));
        self.commits.push(index, move |_| {
            let committed = sink.staged().and_then(|(staged, _)| {
                let committed = receiver.commit(staged);
                committed.map_err(|error| commit_failure(&error))
            });
            gate.leave();
            committed
        });
    }

    fn on_committed(&mut self, index: u32, committed: Option<Result<(), Failure>>) {
        let committed = committed.unwrap_or_else(|| {
            self.gate.leave();
            let reason = "putting it in place failed; this is a bug".to_owned();
            Err(Failure { code: FailCode::Internal, reason })
        });
        if let Err(failure) = committed {
            let layout = Arc::clone(&self.layout);
            for &entry in layout.object(index).map_or(&[][..], |spec| spec.entries()) {
                self.failures.note(entry, Side::Here, failure.clone());
            }
        }
        self.end(index);
    }

    /// Nothing more is to come of an object.
    fn end(&mut self, index: u32) {
        self.open.remove(&index);
        self.conversation.session.forget_recv(ObjectId::new(self.base.saturating_add(index)));
    }

    async fn publish(&self, progress: &ProgressSender) {
        let stats = self.conversation.session.stats().await;
        let written = stats.as_ref().map_or(Bytes::ZERO, |stats| stats.received.written);
        let written = written.saturating_sub(self.written_before);
        let total = Bytes::new(self.layout.data_len());
        progress.send_replace(Progress {
            bytes_total: total,
            // Bundles hold a little more than data.
            bytes_done: (written + self.resumed).min(total),
            bytes_resumed: self.resumed,
            figures: self.figures,
        });
    }

    async fn finish(
        &mut self,
        transfer: TransferId,
        progress: &ProgressSender,
    ) -> Result<Outcome, TransferError> {
        let report = self.put_in_place().await?;
        if let Some(error) = &report.not_durable {
            let what = format!("what arrived may not survive a power cut: {error}");
            return Err(TransferError::Disk { what, code: place_code(error) });
        }
        self.publish(progress).await;
        let failed = self.failures(&report);
        let bytes = self.bytes_in_place(&failed);
        let failed_total = failed.len() as u64;
        let named = failed.iter().take(FAILURES_MAX).map(|(&entry, fault)| EntryFailure {
            entry,
            code: fault.failure.code,
            reason: reason(&fault.failure.reason),
        });
        let done = Done {
            transfer,
            files: report.committed,
            skipped: report.skipped_files,
            bytes: bytes.get(),
            failed: named.collect(),
            failed_total,
        };
        self.conversation.say(&Message::Done(done)).await?;
        let manifest = self.receiver.manifest();
        let failed = failed.iter().take(FAILURES_MAX).map(|(&entry, fault)| FailedEntry {
            path: path_of(manifest, entry),
            reason: fault.failure.reason.clone(),
            code: fault.failure.code,
            at: fault.at,
        });
        Ok(Outcome {
            bytes,
            files: report.committed,
            files_skipped: report.skipped_files,
            resumed: self.resumed,
            failed: failed.collect(),
            failed_total,
            left_out: Vec::new(),
            left_out_total: 0,
            figures: self.figures,
        })
    }

    /// Ends the transfer on disk, and listens meanwhile: once the peer is gone, another attempt
    /// of its may come at any moment, and must not find this one still at work.
    async fn put_in_place(&mut self) -> Result<Report, TransferError> {
        let receiver = Arc::clone(&self.receiver);
        let mut report = pin!(blocking(move |stop| {
            receiver.commit_all_plain(stop);
            if stop.is_set() { Err(ReceiveError::Stopped.into()) } else { Ok(receiver.finish()) }
        }));
        loop {
            tokio::select! {
                report = &mut report => return report,
                heard = self.conversation.hear() => match heard? {
                    Heard::Message(message) => self.on_message(message).await?,
                    Heard::Lane(event) => self.on_event(event).await?,
                },
            }
        }
    }

    /// All failures by entry; what was noted first says more.
    fn failures(&self, report: &Report) -> BTreeMap<u32, Fault> {
        for (entry, error) in &report.failures {
            self.failures.note(*entry, Side::Here, commit_failure(error));
        }
        self.failures.all()
    }

    fn bytes_in_place(&self, failed: &BTreeMap<u32, Fault>) -> Bytes {
        let entries = (0..self.layout.len()).filter_map(|index| self.layout.object(index));
        let entries = entries.flat_map(|spec| spec.entries().iter().copied());
        entries
            .filter(|entry| !failed.contains_key(entry))
            .filter_map(|entry| self.receiver.manifest().entry(entry))
            .map(|entry| Bytes::new(entry.data_len()))
            .sum()
    }
}

/// How a commit error is told.
pub(super) fn commit_failure(error: &CommitError) -> Failure {
    Failure { code: fail_code(error), reason: error.reason() }
}

fn fail_code(error: &CommitError) -> FailCode {
    match error {
        CommitError::DestinationChanged { .. } | CommitError::InTheWay { .. } => {
            FailCode::DestinationChanged
        }
        CommitError::SourceFailed { .. } => FailCode::SourceUnreadable,
        CommitError::Place(error)
        | CommitError::Staging { fault: StagingError::Disk(error), .. } => place_code(error),
        CommitError::Staging { fault: StagingError::Busy, .. } => FailCode::Busy,
        CommitError::Staging { .. } => FailCode::Io,
        _ => FailCode::Internal,
    }
}

/// How an error of the file system is told.
fn place_code(error: &ConfineError) -> FailCode {
    match error {
        ConfineError::NoSpace { .. } => FailCode::NoSpace,
        ConfineError::Permission { .. } | ConfineError::Io { source: Errno::ROFS, .. } => {
            FailCode::NoPermission
        }
        _ => FailCode::Io,
    }
}
