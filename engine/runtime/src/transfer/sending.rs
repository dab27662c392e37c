//! The side that has the files: offer, declare, seal, wait for the receipt.

use super::bundle::{BundleSource, wire_len};
use super::closing;
use super::conversation::{Conversation, Heard};
use super::failures::{Failures, Fault, Side};
use super::file::{FileSource, source_failure};
use super::memory::MemorySource;
use super::{
    FailedEntry, Figures, Outcome, PROGRESS_EVERY, Progress, ProgressSender, TransferError,
};
use crate::driver::command::{HeldRuns, SessionEvent};
use crate::engine::Peer;
use crate::files::scan::ScannedSource;
use crate::files::source::{Source, SourceError};
use crate::objects::Failure;
use farhaul_proto::content::{Digest, block_digest, run_digest};
use farhaul_proto::ids::{ObjectId, TransferId};
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::limits::{BLOCK_DATA, INLINE_MANIFEST_MAX};
use farhaul_proto::manifest::{EntryRange, Manifest};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{
    Accept, Done, EntryFailure, FailCode, Have, ManifestCarrier, Message, Offer, reason,
};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Jobs about sources (checks of claims and of changes) whose answers wait to be heard.
const ANSWERS_MAX: usize = 256;

/// Progress reports from one message with figures to the next: about a second.
const FIGURES_EVERY: u32 = 5;

/// Who wanted the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This side; it sees its own figures.
    Here,
    /// The peer asked for it, and is told how it goes.
    ByPeer,
}

/// Sends what was scanned into the directory `dest` (empty: the root) of the peer.
///
/// # Errors
/// [`TransferError`]; failures of single entries are in the outcome instead.
pub async fn push(
    peer: Peer,
    scanned: ScannedSource,
    dest: Vec<u8>,
    resume: bool,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let mut conversation = Conversation::new(peer);
    conversation.session.warm_up();
    let transfer = TransferId::new(1);
    let offer = Offering { transfer, dest, resume, wanted: Wanted::Here };
    let sent = send(&mut conversation, scanned, offer, progress).await;
    match &sent {
        Ok(_) => conversation.finish(),
        Err(error) => conversation.give_up(error).await,
    }
    sent
}

/// What is offered besides the files.
pub(super) struct Offering {
    pub(super) transfer: TransferId,
    pub(super) dest: Vec<u8>,
    pub(super) resume: bool,
    pub(super) wanted: Wanted,
}

/// Offers and sends; the conversation goes on afterwards.
pub(super) async fn send(
    conversation: &mut Conversation,
    scanned: ScannedSource,
    offering: Offering,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let scanned = Arc::new(scanned);
    let (transfer, wanted) = (offering.transfer, offering.wanted);
    offer(conversation, &scanned.manifest, offering).await?;
    let accept = answer(conversation, transfer).await?;
    let mut sending = Sending::declare(conversation, &scanned, &accept).await?;
    let outcome = sending.run(transfer, wanted, progress).await?;
    if wanted == Wanted::ByPeer {
        let figures = outcome.figures.as_ref().map(Into::into).unwrap_or_default();
        let sent = closing::sent(transfer, figures, &scanned);
        conversation.say(&Message::Sent(sent)).await?;
    }
    Ok(outcome)
}

async fn offer(
    conversation: &mut Conversation,
    manifest: &Manifest,
    offering: Offering,
) -> Result<(), TransferError> {
    let Offering { transfer, dest, resume, .. } = offering;
    let encoded = manifest.encode();
    let manifest_carrier = if encoded.len() <= INLINE_MANIFEST_MAX {
        ManifestCarrier::Inline(encoded)
    } else {
        let (len, digest) = (encoded.len() as u64, *blake3::hash(&encoded).as_bytes());
        let source = Arc::new(MemorySource(encoded));
        // Its id is known to both sides: it is the next object.
        conversation.session.declare_send(Bytes::new(len), Vec::new(), source).await?;
        ManifestCarrier::Object { len, digest }
    };
    let offer = Offer {
        transfer,
        dest,
        manifest: manifest_carrier,
        entries: u64::from(manifest.len()),
        bytes: manifest.data_len(),
        resume,
    };
    conversation.say(&Message::Offer(offer)).await
}

/// Waits for the receiver's plan.
async fn answer(
    conversation: &mut Conversation,
    transfer: TransferId,
) -> Result<Accept, TransferError> {
    loop {
        match conversation.hear().await? {
            Heard::Message(Message::Accept(accept)) if accept.transfer == transfer => {
                return Ok(accept);
            }
            Heard::Message(Message::Restart { block }) => conversation.session.restart_send(block),
            Heard::Message(message) => return Err(unexpected(message)),
            Heard::Lane(SessionEvent::SourceFailed(_, failure)) => {
                return Err(TransferError::Internal(failure.reason));
            }
            Heard::Lane(_) => {}
        }
    }
}

/// What a message means that ends a conversation or does not belong there.
pub(super) fn unexpected(message: Message) -> TransferError {
    match message {
        Message::Refuse { code, reason, .. } => TransferError::Refused { code, reason },
        Message::Cancel { code, reason, .. } => TransferError::Cancelled { code, reason },
        other => TransferError::Violation(format!("unexpected message: {}", name(&other))),
    }
}

fn name(message: &Message) -> &'static str {
    match message {
        Message::Hello { .. } => "hello",
        Message::Offer(_) => "offer",
        Message::Request(_) => "request",
        Message::Accept(_) => "accept",
        Message::Refuse { .. } => "refuse",
        Message::Sealed { .. } => "sealed",
        Message::Reopen { .. } => "reopen",
        Message::ObjectFailed { .. } => "object failed",
        Message::Restart { .. } => "restart",
        Message::Done(_) => "done",
        Message::Cancel { .. } => "cancel",
        Message::Figures(_) => "figures",
        Message::Sent(_) => "sent",
    }
}

/// An object on its way.
#[derive(Debug, Default)]
struct Outgoing {
    read: bool,
    claims: Vec<Have>,
    claims_open: bool,
    sealed: bool,
}

/// The answer of a job about a source.
enum Answer {
    /// Which claims of an object do not hold.
    Claims { index: u32, wrong: Vec<Have>, failure: Option<Failure> },
    /// Whether an object's source is still what was offered.
    Unchanged { index: u32, result: Result<(), SourceError> },
}

struct Sending<'a> {
    conversation: &'a mut Conversation,
    source: Arc<Source>,
    /// Id of the layout's first object.
    base: u32,
    objects: BTreeMap<u32, Outgoing>,
    failures: Failures,
    answers_in: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    resumed: Bytes,
}

impl<'a> Sending<'a> {
    /// Declares the objects that follow from the receiver's answer, in the same order as there.
    async fn declare(
        conversation: &'a mut Conversation,
        scanned: &Arc<ScannedSource>,
        accept: &Accept,
    ) -> Result<Self, TransferError> {
        let want: Vec<EntryRange> = accept
            .want
            .iter()
            .map(|range| EntryRange { first: range.first, count: range.count })
            .collect();
        let layout = Arc::new(Layout::new(&scanned.manifest, &want));
        let source = Arc::new(Source::new(Arc::clone(scanned), Arc::clone(&layout)));
        let (answers_in, answers) = mpsc::channel(ANSWERS_MAX);
        let mut sending = Self {
            conversation,
            source,
            base: 0,
            objects: BTreeMap::new(),
            failures: Failures::default(),
            answers_in,
            answers,
            resumed: Bytes::ZERO,
        };
        let mut claims = claims_by_entry(&accept.have);
        for index in 0..layout.len() {
            sending.declare_one(&layout, index, &mut claims).await?;
        }
        if !claims.is_empty() {
            let what = "it claims blocks of entries that are no large files it wants";
            return Err(TransferError::Violation(what.to_owned()));
        }
        Ok(sending)
    }

    async fn declare_one(
        &mut self,
        layout: &Layout,
        index: u32,
        claims: &mut BTreeMap<u32, Vec<Have>>,
    ) -> Result<(), TransferError> {
        let Some(spec) = layout.object(index) else { return Ok(()) };
        let session = &self.conversation.session;
        let mut outgoing = Outgoing::default();
        let id = match &spec.kind {
            ObjectKind::File { entry } => {
                outgoing.claims = claims.remove(entry).unwrap_or_default();
                outgoing.claims_open = !outgoing.claims.is_empty();
                let held: HeldRuns = outgoing.claims.iter().map(|c| (c.first, c.count)).collect();
                for &(first, count) in &held {
                    let blocks = first..first.saturating_add(count);
                    self.resumed += blocks.map(|b| Bytes::new(spec.block_len(b))).sum::<Bytes>();
                }
                let source = Arc::new(FileSource::new(Arc::clone(&self.source), index));
                session.declare_send(Bytes::new(spec.len), held, source).await?
            }
            ObjectKind::Bundle { .. } => {
                let source = Arc::new(BundleSource {
                    source: Arc::clone(&self.source),
                    object: index,
                    failures: self.failures.clone(),
                });
                session.declare_send(Bytes::new(wire_len(spec)), Vec::new(), source).await?
            }
        };
        if index == 0 {
            self.base = id.get();
        }
        self.check_claims(index, &outgoing.claims);
        self.objects.insert(index, outgoing);
        Ok(())
    }

    /// Reads the blocks that the receiver claims to hold, to see whether it holds these.
    fn check_claims(&self, index: u32, claims: &[Have]) {
        if claims.is_empty() {
            return;
        }
        let (source, claims) = (Arc::clone(&self.source), claims.to_vec());
        self.ask(move || {
            let mut wrong = Vec::new();
            for claim in claims {
                match digest_of(&source, index, &claim) {
                    Ok(digest) if digest == claim.digest => {}
                    Ok(_) => wrong.push(claim),
                    Err(failure) => {
                        return Answer::Claims { index, wrong, failure: Some(failure) };
                    }
                }
            }
            Answer::Claims { index, wrong, failure: None }
        });
    }

    /// Runs a job that may block and queues its answer.
    fn ask(&self, job: impl FnOnce() -> Answer + Send + 'static) {
        let answers = self.answers_in.clone();
        tokio::task::spawn_blocking(move || {
            // Nobody listens any more when the transfer has ended: then nothing is lost.
            let _ = answers.blocking_send(job());
        });
    }

    fn index_of(&self, object: ObjectId) -> Option<u32> {
        let index = object.get().checked_sub(self.base)?;
        self.objects.contains_key(&index).then_some(index)
    }

    async fn run(
        &mut self,
        transfer: TransferId,
        wanted: Wanted,
        progress: &ProgressSender,
    ) -> Result<Outcome, TransferError> {
        let mut ticks = 0_u32;
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = self.conversation.hear() => match heard? {
                    Heard::Message(Message::Done(done)) if done.transfer == transfer => {
                        let figures = self.publish(progress).await;
                        return Ok(self.outcome(&done, figures));
                    }
                    Heard::Message(message) => self.on_message(message).await?,
                    Heard::Lane(event) => self.on_event(event).await?,
                },
                Some(answer) = self.answers.recv() => self.on_answer(answer).await?,
                _ = tick.tick() => {
                    let figures = self.publish(progress).await;
                    ticks = (ticks + 1) % FIGURES_EVERY;
                    if let Some(figures) = figures && wanted == Wanted::ByPeer && ticks == 0 {
                        self.conversation.say(&Message::Figures((&figures).into())).await?;
                    }
                }
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        match message {
            Message::Restart { block } => self.conversation.session.restart_send(block),
            Message::ObjectFailed { object, code, reason } => {
                self.conversation.session.abandon_send(object);
                // Said back, so that the receiver knows that no more of it comes.
                self.tell_failed(object, Side::Peer, Failure { code, reason }).await?;
            }
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    async fn on_event(&mut self, event: SessionEvent) -> Result<(), TransferError> {
        match event {
            SessionEvent::SendRead(object) => {
                if let Some(index) = self.index_of(object) {
                    if let Some(outgoing) = self.objects.get_mut(&index) {
                        outgoing.read = true;
                    }
                    self.seal_if_ready(index);
                }
            }
            SessionEvent::SourceFailed(object, failure) => {
                self.tell_failed(object, Side::Here, failure).await?;
            }
            SessionEvent::SendComplete(_)
            | SessionEvent::RecvComplete(_)
            | SessionEvent::SinkFailed(..)
            | SessionEvent::AskAgain(_)
            | SessionEvent::Violation(_)
            | SessionEvent::ForgeryLimit => {}
        }
        Ok(())
    }

    async fn tell_failed(
        &mut self,
        object: ObjectId,
        at: Side,
        failure: Failure,
    ) -> Result<(), TransferError> {
        let code = failure.code;
        let reason = reason(&failure.reason);
        self.fail_object(object, at, &failure);
        self.conversation.say(&Message::ObjectFailed { object, code, reason }).await
    }

    /// Notes why an object failed and forgets it.
    fn fail_object(&mut self, object: ObjectId, at: Side, failure: &Failure) {
        let Some(index) = self.index_of(object) else { return };
        self.objects.remove(&index);
        let layout = Arc::clone(self.source.layout());
        for &entry in layout.object(index).map_or(&[][..], |spec| spec.entries()) {
            self.failures.note(entry, at, failure.clone());
        }
    }

    /// Asks whether the source changed, once all of it was read and every claim was checked.
    /// spec: W-092
    fn seal_if_ready(&mut self, index: u32) {
        let Some(outgoing) = self.objects.get_mut(&index) else { return };
        if outgoing.sealed || !outgoing.read || outgoing.claims_open {
            return;
        }
        outgoing.sealed = true;
        let source = Arc::clone(&self.source);
        self.ask(move || Answer::Unchanged { index, result: source.check_unchanged(index) });
    }

    async fn on_answer(&mut self, answer: Answer) -> Result<(), TransferError> {
        match answer {
            Answer::Claims { index, failure: Some(failure), .. } => {
                let object = ObjectId::new(self.base + index);
                self.conversation.session.abandon_send(object);
                self.tell_failed(object, Side::Here, failure).await
            }
            Answer::Claims { index, wrong, failure: None } => self.reopen(index, &wrong).await,
            Answer::Unchanged { index, result } => {
                let object = ObjectId::new(self.base + index);
                match result {
                    Ok(()) => {
                        self.source.close(index);
                        self.conversation.say(&Message::Sealed { object }).await
                    }
                    Err(error) => {
                        self.conversation.session.abandon_send(object);
                        self.tell_failed(object, Side::Here, source_failure(&error)).await
                    }
                }
            }
        }
    }

    /// Sends the blocks whose claims do not hold.
    async fn reopen(&mut self, index: u32, wrong: &[Have]) -> Result<(), TransferError> {
        let object = ObjectId::new(self.base + index);
        for claim in wrong {
            let (position, count) = (claim.first, claim.count);
            let session = &self.conversation.session;
            let first_block = session.reopen_send(object, position, count).await?;
            let reopen = Message::Reopen { object, position, count, first_block };
            self.conversation.say(&reopen).await?;
        }
        if let Some(outgoing) = self.objects.get_mut(&index) {
            outgoing.claims_open = false;
            // What is reopened has to be read before the object can be sealed.
            outgoing.read &= wrong.is_empty();
        }
        self.seal_if_ready(index);
        Ok(())
    }

    async fn publish(&self, progress: &ProgressSender) -> Option<Figures> {
        let stats = self.conversation.session.stats().await;
        tracing::debug!(?stats, "sending");
        let layout = self.source.layout();
        let done = stats.as_ref().map_or(Bytes::ZERO, |stats| stats.sent.complete);
        let figures = stats.as_ref().map(Figures::from);
        progress.send_replace(Progress {
            bytes_total: Bytes::new(layout.data_len()),
            bytes_done: done + self.resumed,
            bytes_resumed: self.resumed,
            files_total: u64::from(self.source.scanned().manifest.len()),
            figures,
        });
        figures
    }

    fn outcome(&self, done: &Done, figures: Option<Figures>) -> Outcome {
        let manifest = &self.source.scanned().manifest;
        // Our own reasons say more than the receiver's "cannot read it".
        for EntryFailure { entry, code, reason } in &done.failed {
            let failure = Failure { code: *code, reason: reason.clone() };
            self.failures.note(*entry, Side::Peer, failure);
        }
        let faults = self.failures.all().into_iter();
        let mut failed: Vec<FailedEntry> = faults
            .map(|(entry, Fault { at, failure })| FailedEntry {
                path: path_of(manifest, entry),
                reason: failure.reason,
                code: failure.code,
                at,
            })
            .collect();
        let scan_failures = &self.source.scanned().failures;
        failed.extend(scan_failures.first.iter().map(|failure| FailedEntry {
            path: failure.path.to_string(),
            reason: failure.reason.to_string(),
            code: FailCode::SourceUnreadable,
            at: Side::Here,
        }));
        let named = failed.len() as u64;
        Outcome {
            bytes: Bytes::new(done.bytes),
            files: done.files,
            files_skipped: done.skipped,
            resumed: self.resumed,
            failed,
            failed_total: named.max(done.failed_total + scan_failures.count),
            left_out: closing::left_out(self.source.scanned()).map(|o| o.to_string()).collect(),
            left_out_total: self.source.scanned().skipped.count,
            figures,
        }
    }
}

/// The path of an entry, printable.
pub(super) fn path_of(manifest: &Manifest, entry: u32) -> String {
    manifest.entry(entry).map_or_else(|| format!("entry {entry}"), |e| e.path.to_string())
}

fn claims_by_entry(have: &[Have]) -> BTreeMap<u32, Vec<Have>> {
    let mut claims: BTreeMap<u32, Vec<Have>> = BTreeMap::new();
    for claim in have {
        claims.entry(claim.entry).or_default().push(*claim);
    }
    claims
}

/// Digest over the blocks of a claim, read from the source.
fn digest_of(source: &Source, index: u32, claim: &Have) -> Result<Digest, Failure> {
    let mut buffer = vec![0; BLOCK_DATA.as_len()];
    let mut digests = Vec::new();
    for block in claim.first..claim.first.saturating_add(claim.count) {
        let mut len = 0;
        let segments = source.read_segments(index, block).map_err(|e| source_failure(&e))?;
        for segment in &segments {
            let end = segment.buffer_offset + segment.len;
            let place = buffer.get_mut(segment.buffer_offset..end).ok_or_else(|| Failure {
                code: FailCode::Internal,
                reason: "a block is longer than a block can be; this is a bug".to_owned(),
            })?;
            segment.file.read_exact_at(place, segment.file_offset).map_err(|error| Failure {
                code: FailCode::SourceUnreadable,
                reason: format!("reading the source failed: {error}"),
            })?;
            len = len.max(end);
        }
        digests.push(block_digest(&buffer[..len], u64::from(block) * BLOCK_DATA.get()));
    }
    Ok(run_digest(&digests))
}
