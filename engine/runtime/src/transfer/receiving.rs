//! The side that wants the files: plan, accept, commit, give the receipt.

use super::bundle::{BundleSink, wire_len};
use super::closing;
use super::conversation::{Conversation, Heard, refusal};
use super::failures::{Failures, Fault, Side};
use super::file::FileSink;
use super::memory::MemorySink;
use super::sending::{path_of, unexpected};
use super::{
    FailedEntry, Figures, Outcome, PROGRESS_EVERY, Progress, ProgressSender, TransferError,
};
use crate::driver::command::{HeldRuns, SessionEvent};
use crate::engine::Peer;
use crate::files::commit::{CommitError, Report};
use crate::files::confine::{ConfineError, Root};
use crate::files::receive::{ReceiveOptions, ReceivePlan, Receiver};
use crate::files::staging::StagingError;
use crate::objects::{BlockSink, Failure};
use farhaul_proto::ids::{ObjectId, TransferId};
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::limits::CONTROL_MESSAGE_MAX;
use farhaul_proto::manifest::Manifest;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{
    Accept, Done, EntryFailure, EntryRange, FAILURES_MAX, FailCode, Have, ManifestCarrier, Message,
    Offer, RefuseCode, Request, reason,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Largest manifest taken from a peer: about 4 million entries.
const MANIFEST_MAX: u64 = 512 << 20;
/// Commits whose results wait to be heard.
const RESULTS_MAX: usize = 256;
/// Files committed at once: more would only queue at the disk.
const COMMITS_AT_ONCE: usize = 4;

/// Gets `path` of the peer into the directory beneath `root`.
///
/// # Errors
/// [`TransferError`]; failures of single entries are in the outcome instead.
pub async fn pull(
    peer: Peer,
    path: Vec<u8>,
    root: Root,
    resume: bool,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let mut conversation = Conversation::new(peer);
    let received = request(&mut conversation, path, &root, resume, progress).await;
    match &received {
        Ok(_) => conversation.finish(),
        Err(error) => conversation.give_up(error).await,
    }
    received
}

async fn request(
    conversation: &mut Conversation,
    path: Vec<u8>,
    root: &Root,
    resume: bool,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let transfer = TransferId::new(1);
    conversation.say(&Message::Request(Request { transfer, path, resume })).await?;
    loop {
        match conversation.hear().await? {
            Heard::Message(Message::Offer(offer)) if offer.transfer == transfer => {
                // Where it goes is ours to say, whatever the peer proposes.
                let received = receive(conversation, offer, None, root, resume, progress).await;
                let mut outcome = received?;
                if let Some(sent) = closing::hear(conversation, transfer).await {
                    closing::amend(&mut outcome, &sent);
                }
                return Ok(outcome);
            }
            Heard::Message(message) => return Err(unexpected(message)),
            Heard::Lane(_) => {}
        }
    }
}

/// Receives an offer into `dest` beneath `root`; the conversation goes on afterwards.
pub(super) async fn receive(
    conversation: &mut Conversation,
    offer: Offer,
    dest: Option<RelPath>,
    root: &Root,
    resume: bool,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let transfer = offer.transfer;
    let prepared = prepare(conversation, offer, dest, root, resume).await;
    if let Err(error) = &prepared
        && let Some(refusal) = refusal(transfer, error)
    {
        conversation.say(&refusal).await?;
    }
    let (receiver, plan) = prepared?;
    let mut receiving = Receiving::declare(conversation, receiver, plan).await?;
    receiving.accept(transfer).await?;
    receiving.run(transfer, progress).await
}

/// Gets the manifest and plans against what is there.
async fn prepare(
    conversation: &mut Conversation,
    offer: Offer,
    dest: Option<RelPath>,
    root: &Root,
    resume: bool,
) -> Result<(Arc<Receiver>, ReceivePlan), TransferError> {
    let encoded = match offer.manifest {
        ManifestCarrier::Inline(encoded) => encoded,
        ManifestCarrier::Object { len, digest } => {
            receive_manifest(conversation, len, digest).await?
        }
    };
    let options = ReceiveOptions { resume: resume && offer.resume, peer: conversation.peer_id() };
    let root = root.clone();
    blocking(move || {
        let manifest = Arc::new(Manifest::decode(&encoded)?);
        drop(encoded);
        let (receiver, plan) = Receiver::open(&root, dest, manifest, options)?;
        Ok((Arc::new(receiver), plan))
    })
    .await
}

async fn receive_manifest(
    conversation: &mut Conversation,
    len: u64,
    digest: [u8; 32],
) -> Result<Vec<u8>, TransferError> {
    if len > MANIFEST_MAX || len <= CONTROL_MESSAGE_MAX.min(1) as u64 {
        let what = format!("a manifest of {len} bytes is not taken (at most {MANIFEST_MAX})");
        return Err(TransferError::local(what, RefuseCode::Unsupported));
    }
    let sink = Arc::new(MemorySink::new(usize::try_from(len).unwrap_or_default()));
    let session = &conversation.session;
    let dyn_sink: Arc<dyn BlockSink> = Arc::clone(&sink) as Arc<dyn BlockSink>;
    let object = session.declare_recv(Bytes::new(len), Vec::new(), dyn_sink).await?;
    loop {
        match conversation.hear().await? {
            Heard::Lane(SessionEvent::RecvComplete(complete)) if complete == object => break,
            Heard::Lane(SessionEvent::AskAgain(block)) => {
                conversation.say(&Message::Restart { block }).await?;
            }
            Heard::Lane(SessionEvent::SinkFailed(_, failure)) => {
                return Err(TransferError::Violation(failure.reason));
            }
            Heard::Lane(_) => {}
            // The sender seals its objects when it has read them; a manifest needs no seal.
            Heard::Message(Message::Sealed { object: sealed }) if sealed == object => {}
            Heard::Message(message) => return Err(unexpected(message)),
        }
    }
    let encoded = sink.take();
    if *blake3::hash(&encoded).as_bytes() != digest {
        return Err(TransferError::Violation("its manifest has another digest".to_owned()));
    }
    Ok(encoded)
}

/// Runs something that may block.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| TransferError::Internal(error.to_string()))?
}

/// An object on its way in.
struct Coming {
    file: Option<Arc<FileSink>>,
    received: bool,
    sealed: bool,
}

struct Receiving<'a> {
    conversation: &'a mut Conversation,
    receiver: Arc<Receiver>,
    layout: Arc<Layout>,
    plan: ReceivePlan,
    base: u32,
    /// Objects that are neither in place nor failed.
    open: BTreeMap<u32, Coming>,
    failures: Failures,
    /// What the sender told last of the way here.
    figures: Option<Figures>,
    commits: Arc<tokio::sync::Semaphore>,
    results_in: mpsc::Sender<u32>,
    results: mpsc::Receiver<u32>,
}

impl<'a> Receiving<'a> {
    /// Declares what is wanted, before the sender is told: no block can come too early.
    async fn declare(
        conversation: &'a mut Conversation,
        receiver: Arc<Receiver>,
        plan: ReceivePlan,
    ) -> Result<Self, TransferError> {
        let layout = Arc::new(Layout::new(receiver.manifest(), &plan.want));
        let (results_in, results) = mpsc::channel(RESULTS_MAX);
        let mut receiving = Self {
            conversation,
            receiver,
            layout,
            plan,
            base: 0,
            open: BTreeMap::new(),
            failures: Failures::default(),
            figures: None,
            commits: Arc::new(tokio::sync::Semaphore::new(COMMITS_AT_ONCE)),
            results_in,
            results,
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
        let mut coming = Coming { file: None, received: false, sealed: false };
        let id = match &spec.kind {
            ObjectKind::File { entry } => {
                let held: HeldRuns = self
                    .plan
                    .have
                    .iter()
                    .filter(|have| have.entry == *entry)
                    .map(|have| (have.first, have.count))
                    .collect();
                let sink = Arc::new(FileSink::new(Arc::clone(&self.receiver), *entry));
                coming.file = Some(Arc::clone(&sink));
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

    async fn accept(&mut self, transfer: TransferId) -> Result<(), TransferError> {
        let want = self.plan.want.iter();
        let want = want.map(|range| EntryRange { first: range.first, count: range.count });
        let have = self.plan.have.iter().map(|have| Have {
            entry: have.entry,
            first: have.first,
            count: have.count,
            digest: have.digest,
        });
        let accept = Accept { transfer, want: want.collect(), have: have.collect() };
        self.conversation.say(&Message::Accept(accept)).await
    }

    fn index_of(&self, object: ObjectId) -> Option<u32> {
        let index = object.get().checked_sub(self.base)?;
        self.open.contains_key(&index).then_some(index)
    }

    async fn run(
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
                Some(index) = self.results.recv() => {
                    self.open.remove(&index);
                }
                _ = tick.tick() => self.publish(progress).await,
            }
        }
        self.finish(transfer, progress).await
    }

    async fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        match message {
            Message::Sealed { object } => {
                if let Some(index) = self.index_of(object) {
                    if let Some(coming) = self.open.get_mut(&index) {
                        coming.sealed = true;
                    }
                    self.commit_if_ready(index);
                }
            }
            Message::Reopen { object, position, count, first_block } => {
                let session = &self.conversation.session;
                let ours = session.reopen_recv(object, position, count).await?;
                if ours != first_block {
                    let what = format!("it counts block {first_block} where {ours} is next");
                    return Err(TransferError::Violation(what));
                }
                if let Some(index) = self.index_of(object)
                    && let Some(coming) = self.open.get_mut(&index)
                {
                    coming.received = false;
                }
            }
            Message::ObjectFailed { object, code, reason } => {
                self.conversation.session.abandon_recv(object);
                self.fail(object, Side::Peer, &Failure { code, reason });
            }
            Message::Figures(figures) => self.figures = Some((&figures).into()),
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    async fn on_event(&mut self, event: SessionEvent) -> Result<(), TransferError> {
        match event {
            SessionEvent::RecvComplete(object) => {
                if let Some(index) = self.index_of(object) {
                    if let Some(coming) = self.open.get_mut(&index) {
                        coming.received = true;
                    }
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
            SessionEvent::SendRead(_)
            | SessionEvent::SendComplete(_)
            | SessionEvent::SourceFailed(..)
            | SessionEvent::Violation(_)
            | SessionEvent::ForgeryLimit => {}
        }
        Ok(())
    }

    fn fail(&mut self, object: ObjectId, at: Side, failure: &Failure) {
        let Some(index) = self.index_of(object) else { return };
        self.open.remove(&index);
        let layout = Arc::clone(&self.layout);
        for &entry in layout.object(index).map_or(&[][..], |spec| spec.entries()) {
            self.failures.note(entry, at, failure.clone());
            self.receiver.abandon(entry);
        }
    }

    /// Puts a file in place once all of it is here and the sender vouches for it. The files of
    /// a bundle are in place when its block is stored. spec: W-092
    fn commit_if_ready(&mut self, index: u32) {
        let Some(coming) = self.open.get(&index) else { return };
        let Some(sink) = coming.file.clone() else {
            if coming.received {
                self.open.remove(&index);
            }
            return;
        };
        if !coming.received || !coming.sealed {
            return;
        }
        let (receiver, results) = (Arc::clone(&self.receiver), self.results_in.clone());
        let commits = Arc::clone(&self.commits);
        tokio::spawn(async move {
            let _permit = commits.acquire_owned().await;
            let committed = tokio::task::spawn_blocking(move || {
                // A failure is noted by the receiver for the report.
                if let Ok((staged, _)) = sink.staged() {
                    let _ = receiver.commit(staged);
                }
            });
            let _ = committed.await;
            let _ = results.send(index).await;
        });
    }

    async fn publish(&self, progress: &ProgressSender) {
        let stats = self.conversation.session.stats().await;
        let resumed = Bytes::new(self.plan.resumed_bytes);
        let done = stats.as_ref().map_or(Bytes::ZERO, |stats| stats.received.written);
        progress.send_replace(Progress {
            bytes_total: Bytes::new(self.layout.data_len()),
            bytes_done: done + resumed,
            bytes_resumed: resumed,
            files_total: u64::from(self.receiver.manifest().len()),
            figures: self.figures,
        });
    }

    async fn finish(
        &mut self,
        transfer: TransferId,
        progress: &ProgressSender,
    ) -> Result<Outcome, TransferError> {
        let receiver = Arc::clone(&self.receiver);
        let report = blocking(move || {
            receiver.commit_all_plain();
            Ok(receiver.finish())
        })
        .await?;
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
            resumed: Bytes::new(self.plan.resumed_bytes),
            failed: failed.collect(),
            failed_total,
            left_out: Vec::new(),
            left_out_total: 0,
            figures: self.figures,
        })
    }

    /// All failures by entry; what was noted first says more.
    fn failures(&self, report: &Report) -> BTreeMap<u32, Fault> {
        for (entry, error) in &report.failures {
            let failure = Failure { code: fail_code(error), reason: error.to_string() };
            self.failures.note(*entry, Side::Here, failure);
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
pub(super) fn fail_code(error: &CommitError) -> FailCode {
    match error {
        CommitError::DestinationChanged { .. } | CommitError::InTheWay { .. } => {
            FailCode::DestinationChanged
        }
        CommitError::SourceFailed { .. } => FailCode::SourceUnreadable,
        CommitError::Place(error)
        | CommitError::Staging { fault: StagingError::Disk(error), .. } => place_code(error),
        CommitError::Staging { .. } => FailCode::Io,
        _ => FailCode::Internal,
    }
}

/// How an error of the file system is told.
pub(super) fn place_code(error: &ConfineError) -> FailCode {
    match error {
        ConfineError::NoSpace { .. } => FailCode::NoSpace,
        ConfineError::Permission { .. } => FailCode::NoPermission,
        _ => FailCode::Io,
    }
}
