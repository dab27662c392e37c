//! The side that has the files: offer, declare, seal, wait for the receipt.

use super::bundle::{BundleSource, wire_len};
use super::claims;
use super::conversation::{Conversation, Heard};
use super::failures::{Failures, Fault, Side};
use super::figures::{Figures, Teller, Wanted};
use super::file::{FileSource, source_failure};
use super::jobs::Jobs;
use super::witness::Witness;
use super::{
    FailedEntry, Outcome, PROGRESS_EVERY, Progress, ProgressSender, TransferError, left_out,
};
use crate::driver::command::{HeldRuns, SessionEvent};
use crate::engine::{Peer, SessionFault};
use crate::files::scan::{ScanError, ScannedSource};
use crate::files::source::{Source, SourceError};
use crate::objects::{Failure, MemorySource};
use farhaul_proto::ids::{Generation, ObjectId, TransferId};
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::limits::INLINE_MANIFEST_MAX;
use farhaul_proto::manifest::{ENCODED_MAX, Manifest};
use farhaul_proto::objects::ObjectError;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{
    Accept, BlockSpan, Done, EntryFailure, Have, ManifestCarrier, Message, Offer, reason,
};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    conversation.session.warm_up(Some(Bytes::new(scanned.manifest.data_len())));
    let transfer = TransferId::new(1);
    let sent =
        send(&mut conversation, transfer, scanned, dest, resume, Wanted::Here, progress).await;
    match &sent {
        Ok(_) => conversation.finish(),
        Err(error) => conversation.give_up(error).await,
    }
    sent
}

/// Offers and sends; the conversation goes on afterwards.
pub(super) async fn send(
    conversation: &mut Conversation,
    transfer: TransferId,
    scanned: ScannedSource,
    dest: Vec<u8>,
    resume: bool,
    wanted: Wanted,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let scanned = Arc::new(scanned);
    let listed = offer(conversation, transfer, &scanned, dest, resume, wanted).await?;
    let accept = answer(conversation, transfer).await?;
    if let Some(object) = listed {
        conversation.session.forget_send(object);
    }
    let mut sending = Sending::declare(conversation, &scanned, &accept).await?;
    let mut teller = Teller::new(wanted);
    let outcome = sending.run(transfer, &mut teller, progress).await?;
    teller.end(conversation, transfer, outcome.figures).await?;
    Ok(outcome)
}

/// Offers what was scanned; returns the object that carries the manifest if one does.
async fn offer(
    conversation: &mut Conversation,
    transfer: TransferId,
    scanned: &ScannedSource,
    dest: Vec<u8>,
    resume: bool,
    wanted: Wanted,
) -> Result<Option<ObjectId>, TransferError> {
    let manifest = &scanned.manifest;
    let encoded = manifest.encode();
    let mut listed = None;
    if encoded.len() > ENCODED_MAX {
        return Err(ScanError::TooLarge.into());
    }
    let manifest_carrier = if encoded.len() <= INLINE_MANIFEST_MAX {
        ManifestCarrier::Inline(encoded)
    } else {
        let (len, digest) = (encoded.len() as u64, *blake3::hash(&encoded).as_bytes());
        let source = Arc::new(MemorySource(encoded));
        // Its id is known to both sides: it is the next object.
        let object = conversation.session.declare_send(Bytes::new(len), Vec::new(), source).await?;
        listed = Some(object);
        ManifestCarrier::Object { len, digest }
    };
    let offer = Offer {
        transfer,
        dest,
        manifest: manifest_carrier,
        entries: u64::from(manifest.len()),
        bytes: manifest.data_len(),
        resume,
        left_out: left_out::of_scan(scanned),
        rate_min: wanted.rate_min(),
    };
    conversation.say(&Message::Offer(offer)).await?;
    Ok(listed)
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
        Message::Probe(_) => "probe",
        Message::Probed { .. } => "probed",
        Message::Figures(_) => "figures",
        Message::Sent { .. } => "sent",
    }
}

/// An object on its way.
#[derive(Debug, Default)]
struct Outgoing {
    /// A large file; the receiver needs a word of ours before it is in place.
    is_file: bool,
    /// Reopenings so far: an event from before the last one says nothing.
    generation: Generation,
    read: bool,
    complete: bool,
    claims_open: bool,
    sealing: bool,
    sealed: bool,
}

struct Sending<'a> {
    conversation: &'a mut Conversation,
    source: Arc<Source>,
    /// Id of the layout's first object.
    base: u32,
    objects: BTreeMap<u32, Outgoing>,
    failures: Failures,
    claims: Jobs<claims::Checked>,
    seals: Jobs<Result<(), SourceError>>,
    /// Data bytes that the receiver holds, as far as is known.
    resumed: Bytes,
    /// What the session had delivered before this transfer's data.
    sent_before: Bytes,
    witness: Witness,
}

impl<'a> Sending<'a> {
    /// Declares the objects that follow from the receiver's answer, in the same order as there.
    async fn declare(
        conversation: &'a mut Conversation,
        scanned: &Arc<ScannedSource>,
        accept: &Accept,
    ) -> Result<Self, TransferError> {
        let layout = Arc::new(Layout::new(&scanned.manifest, &accept.want));
        let source = Arc::new(Source::new(Arc::clone(scanned), Arc::clone(&layout)));
        let stats = conversation.session.stats().await;
        let mut sending = Self {
            conversation,
            source,
            base: 0,
            objects: BTreeMap::new(),
            failures: Failures::default(),
            claims: Jobs::new(),
            seals: Jobs::new(),
            resumed: Bytes::ZERO,
            sent_before: stats.map_or(Bytes::ZERO, |stats| stats.sent.complete),
            witness: Witness::default(),
        };
        let mut claims = claims::by_entry(&accept.have);
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
        let mut claimed = Vec::new();
        let id = match &spec.kind {
            ObjectKind::File { entry } => {
                outgoing.is_file = true;
                claimed = claims.remove(entry).unwrap_or_default();
                outgoing.claims_open = !claimed.is_empty();
                let held: HeldRuns = claimed.iter().map(|c| (c.first, c.count)).collect();
                let source = Arc::new(FileSource::new(Arc::clone(&self.source), index, *entry));
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
        self.objects.insert(index, outgoing);
        // The session has found them within the object.
        self.resumed += claimed.iter().map(|claim| claims::bytes_of(spec, claim)).sum::<Bytes>();
        if !claimed.is_empty() {
            let source = Arc::clone(&self.source);
            self.claims.push(index, move |stop| claims::wrong(&source, index, claimed, stop));
        }
        Ok(())
    }

    fn outgoing(&mut self, object: ObjectId) -> Option<(u32, &mut Outgoing)> {
        let index = object.get().checked_sub(self.base)?;
        Some((index, self.objects.get_mut(&index)?))
    }

    fn object(&self, index: u32) -> ObjectId {
        ObjectId::new(self.base.saturating_add(index))
    }

    async fn run(
        &mut self,
        transfer: TransferId,
        teller: &mut Teller,
        progress: &ProgressSender,
    ) -> Result<Outcome, TransferError> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = self.conversation.hear() => match heard? {
                    Heard::Message(Message::Done(done)) if done.transfer == transfer => {
                        self.check_done(&done)?;
                        let figures = self.publish(progress).await;
                        self.learn().await;
                        return Ok(self.outcome(&done, figures));
                    }
                    Heard::Message(message) => self.on_message(message).await?,
                    Heard::Lane(event) => self.on_event(event).await?,
                },
                (index, checked) = self.claims.next() => self.on_checked(index, checked).await?,
                (index, result) = self.seals.next() => self.on_unchanged(index, result).await?,
                _ = tick.tick() => {
                    let figures = self.publish(progress).await;
                    teller.tick(self.conversation, figures).await?;
                }
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        match message {
            Message::Restart { block } => self.conversation.session.restart_send(block),
            Message::ObjectFailed { object, code, reason } => {
                self.conversation.session.abandon_send(object).await;
                // Said back, so that the receiver knows that no more of it comes.
                self.tell_failed(object, Side::Peer, Failure { code, reason }).await?;
            }
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    async fn on_event(&mut self, event: SessionEvent) -> Result<(), TransferError> {
        match event {
            SessionEvent::SendRead(object, generation) => {
                if let Some((index, outgoing)) = self.outgoing(object)
                    && outgoing.generation == generation
                {
                    outgoing.read = true;
                    self.seal_if_ready(index);
                }
            }
            SessionEvent::SendComplete(object, generation) => {
                if let Some((index, outgoing)) = self.outgoing(object)
                    && outgoing.generation == generation
                {
                    outgoing.complete = true;
                    self.end_if_ready(index);
                }
            }
            SessionEvent::SourceFailed(object, failure) => {
                self.tell_failed(object, Side::Here, failure).await?;
            }
            SessionEvent::RecvComplete(..)
            | SessionEvent::SinkFailed(..)
            | SessionEvent::AskAgain(_)
            | SessionEvent::Violation(_)
            | SessionEvent::ForgeryLimit
            | SessionEvent::Unreached(_) => {}
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
        let Some((index, _)) = self.outgoing(object) else { return };
        self.objects.remove(&index);
        self.source.close(index);
        let layout = Arc::clone(self.source.layout());
        for &entry in layout.object(index).map_or(&[][..], |spec| spec.entries()) {
            self.failures.note(entry, at, failure.clone());
        }
    }

    /// Asks whether the source changed, once all of it was read and every claim was checked.
    /// spec: W-092
    fn seal_if_ready(&mut self, index: u32) {
        let Some(outgoing) = self.objects.get_mut(&index) else { return };
        if outgoing.sealing || !outgoing.read || outgoing.claims_open {
            return;
        }
        outgoing.sealing = true;
        let source = Arc::clone(&self.source);
        self.seals.push(index, move |_| source.check_unchanged(index));
    }

    async fn on_unchanged(
        &mut self,
        index: u32,
        result: Option<Result<(), SourceError>>,
    ) -> Result<(), TransferError> {
        let failure = match result {
            Some(Ok(())) => {
                // It may have failed meanwhile.
                let Some(outgoing) = self.objects.get_mut(&index) else { return Ok(()) };
                outgoing.sealed = true;
                self.source.close(index);
                let object = self.object(index);
                self.end_if_ready(index);
                return self.conversation.say(&Message::Sealed { object }).await;
            }
            Some(Err(error)) => source_failure(&error),
            None => claims::check_panicked(),
        };
        self.give_up(index, failure).await
    }

    /// Lets the source of an object go: a block of it may be asked for until all are delivered.
    fn end_if_ready(&mut self, index: u32) {
        if self.objects.get(&index).is_some_and(|outgoing| outgoing.sealed && outgoing.complete) {
            self.objects.remove(&index);
            self.conversation.session.forget_send(self.object(index));
        }
    }

    async fn on_checked(
        &mut self,
        index: u32,
        checked: Option<claims::Checked>,
    ) -> Result<(), TransferError> {
        match checked.unwrap_or_else(|| Err(claims::check_panicked())) {
            Ok(wrong) => self.reopen(index, &wrong).await,
            Err(failure) => self.give_up(index, failure).await,
        }
    }

    /// Gives an object up that cannot be sent, unless it has failed already.
    async fn give_up(&mut self, index: u32, failure: Failure) -> Result<(), TransferError> {
        if !self.objects.contains_key(&index) {
            return Ok(());
        }
        let object = self.object(index);
        self.conversation.session.abandon_send(object).await;
        self.tell_failed(object, Side::Here, failure).await
    }

    /// Sends the blocks whose claims do not hold.
    async fn reopen(&mut self, index: u32, wrong: &[Have]) -> Result<(), TransferError> {
        // It may have failed meanwhile.
        let Some(outgoing) = self.objects.get_mut(&index) else { return Ok(()) };
        outgoing.claims_open = false;
        if !wrong.is_empty() {
            // What is reopened has to be read before the object can be sealed.
            (outgoing.read, outgoing.complete) = (false, false);
            let object = self.object(index);
            let runs = wrong.iter().map(|claim| (claim.first, claim.count)).collect();
            let reopened = match self.conversation.session.reopen_send(object, runs).await {
                Ok(reopened) => reopened,
                // It failed meanwhile, which the peer is told by its own message.
                Err(SessionFault::Object(ObjectError::GivenUp(_))) => return Ok(()),
                Err(fault) => return Err(fault.into()),
            };
            if let Some(outgoing) = self.objects.get_mut(&index) {
                outgoing.generation = reopened.generation;
            }
            if let Some(spec) = self.source.layout().object(index) {
                let bytes = wrong.iter().map(|claim| claims::bytes_of(spec, claim)).sum::<Bytes>();
                self.resumed = self.resumed.saturating_sub(bytes);
            }
            let first_block = reopened.first_block;
            let span = |claim: &Have| BlockSpan { first: claim.first, count: claim.count };
            let runs = wrong.iter().map(span).collect();
            self.conversation.say(&Message::Reopen { object, runs, first_block }).await?;
        }
        self.seal_if_ready(index);
        Ok(())
    }

    /// A receiver is not done with files that it could not have put in place yet.
    fn check_done(&self, done: &Done) -> Result<(), TransferError> {
        let all_named = done.failed.len() as u64 == done.failed_total;
        let failed = |entry: &u32| done.failed.iter().any(|failure| failure.entry == *entry);
        let layout = self.source.layout();
        let open = self.objects.iter().find(|(index, outgoing)| {
            let entries = layout.object(**index).map_or(&[][..], |spec| spec.entries());
            outgoing.is_file && !outgoing.sealed && all_named && !entries.iter().all(failed)
        });
        open.map_or(Ok(()), |(&index, _)| {
            let what =
                format!("it is done with object {}, which is on its way", self.object(index));
            Err(TransferError::Violation(what))
        })
    }

    /// Keeps what this transfer teaches about its path, for the sessions to come.
    async fn learn(&self) {
        let Some(remembered) = self.conversation.session.remembered() else { return };
        if self.witness.peer().is_some_and(|peer| remembered.is_at(peer))
            && let Some(lesson) = self.witness.lesson(remembered.hint)
        {
            tracing::debug!(?lesson, "what the path carried");
            remembered.learn(lesson).await;
        }
    }

    async fn publish(&mut self, progress: &ProgressSender) -> Option<Figures> {
        let stats = self.conversation.session.stats().await;
        tracing::debug!(?stats, "sending");
        if let Some(stats) = &stats {
            self.witness.see(stats);
        }
        let hint = self.conversation.session.start_hint();
        let figures = stats.as_ref().map(|stats| Figures::new(stats, hint));
        let layout = self.source.layout();
        let sent = stats.as_ref().map_or(Bytes::ZERO, |stats| stats.sent.complete);
        let sent = sent.saturating_sub(self.sent_before);
        let total = Bytes::new(layout.data_len());
        progress.send_replace(Progress {
            bytes_total: total,
            // Bundles hold a little more than data.
            bytes_done: (sent + self.resumed).min(total),
            bytes_resumed: self.resumed,
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
        let scanned = self.source.scanned();
        failed.extend(left_out::failed_here(scanned));
        let named = failed.len() as u64;
        Outcome {
            bytes: Bytes::new(done.bytes),
            files: done.files,
            files_skipped: done.skipped,
            resumed: self.resumed,
            failed,
            failed_total: named.max(done.failed_total.saturating_add(scanned.failures.count)),
            left_out: left_out::skipped_here(scanned),
            left_out_total: scanned.skipped.count,
            figures,
        }
    }
}

/// The path of an entry, printable.
pub(super) fn path_of(manifest: &Manifest, entry: u32) -> String {
    manifest.entry(entry).map_or_else(|| format!("entry {entry}"), |e| e.path.to_string())
}
