//! How a reception begins: a request or an offer, the manifest, a plan against what is there.

use super::conversation::{Conversation, Heard, refusal};
use super::receiving::Receiving;
use super::sending::unexpected;
use super::{Outcome, ProgressSender, TransferError, destination, figures, least, left_out};
use crate::driver::command::SessionEvent;
use crate::engine::Peer;
use crate::files::confine::Root;
use crate::files::receive::{ReceiveOptions, ReceivePlan, Receiver};
use crate::files::stop::{Stop, StopOnDrop};
use crate::objects::{BlockSink, MemorySink};
use farhaul_proto::ids::TransferId;
use farhaul_proto::manifest::{ENCODED_MAX, Manifest};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{ManifestCarrier, Message, Offer, RefuseCode, Request, Wishes};
use std::path::PathBuf;
use std::sync::Arc;

/// The only transfer of its session.
const TRANSFER: TransferId = TransferId::new(1);

/// What to get, and how.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Relative to what the peer serves; empty for all of it.
    pub path: Vec<u8>,
    /// The directory to put it in. Made, with its parents, once the peer has offered something.
    pub dest: PathBuf,
    /// Whether what an earlier attempt left is taken up.
    pub resume: bool,
    /// How the peer should send it.
    pub wishes: Wishes,
}

/// Gets something from the peer.
///
/// # Errors
/// [`TransferError`]; failures of single entries are in the outcome instead.
pub async fn pull(
    peer: Peer,
    what: Pull,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let mut conversation = Conversation::new(peer);
    let mut received = request(&mut conversation, what, progress).await;
    match &mut received {
        Ok(outcome) => match figures::hear_last(&mut conversation, TRANSFER).await {
            Some(figures) => {
                outcome.figures = Some(figures);
                conversation.finish();
            }
            // The receipt is our last word: leaving at once would lose it.
            None => conversation.finish_heard().await,
        },
        Err(error) => conversation.give_up(error).await,
    }
    received
}

async fn request(
    conversation: &mut Conversation,
    what: Pull,
    progress: &ProgressSender,
) -> Result<Outcome, TransferError> {
    let Pull { path, dest, resume, wishes } = what;
    let transfer = TRANSFER;
    let wished = wishes.rate_min;
    let wishes = (wishes != Wishes::default()).then_some(wishes);
    conversation.say(&Message::Request(Request { transfer, path, resume, wishes })).await?;
    loop {
        match conversation.hear().await? {
            Heard::Message(Message::Offer(offer)) if offer.transfer == transfer => {
                let carrier = conversation.carrier();
                if let Some(notice) =
                    wished.and_then(|wished| least::notice(wished, offer.rate_min, carrier))
                {
                    tracing::warn!("{notice}");
                }
                let root = blocking(move |_| destination::open(&dest)).await;
                let root = or_refuse(conversation, transfer, root).await?;
                // Where it goes is ours to say, whatever the peer proposes.
                return receive(conversation, offer, None, &root, resume, progress).await;
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
    let (transfer, left_out) = (offer.transfer, offer.left_out.clone().unwrap_or_default());
    let prepared = prepare(conversation, offer, dest, root, resume).await;
    let (receiver, plan) = or_refuse(conversation, transfer, prepared).await?;
    let mut receiving = Receiving::declare(conversation, receiver, plan).await?;
    receiving.accept(transfer).await?;
    let mut outcome = receiving.run(transfer, progress).await?;
    outcome.failed.extend(left_out::failed_there(&left_out));
    outcome.failed_total = outcome.failed_total.saturating_add(left_out.failed_total);
    outcome.left_out = left_out::skipped_there(&left_out);
    outcome.left_out_total = left_out.skipped_total;
    Ok(outcome)
}

/// Tells the peer about an error of this side that keeps an offer out.
async fn or_refuse<T>(
    conversation: &mut Conversation,
    transfer: TransferId,
    result: Result<T, TransferError>,
) -> Result<T, TransferError> {
    if let Err(error) = &result
        && let Some(refusal) = refusal(transfer, error)
    {
        conversation.say(&refusal).await?;
    }
    result
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
    blocking(move |stop| {
        let manifest = Arc::new(Manifest::decode(&encoded)?);
        drop(encoded);
        let (receiver, plan) = Receiver::open_until(&root, dest, manifest, options, stop)?;
        Ok((Arc::new(receiver), plan))
    })
    .await
}

async fn receive_manifest(
    conversation: &mut Conversation,
    len: u64,
    digest: [u8; 32],
) -> Result<Vec<u8>, TransferError> {
    let Some(size) = usize::try_from(len).ok().filter(|&size| size <= ENCODED_MAX) else {
        let what = format!("a manifest of {len} bytes is not taken (at most {ENCODED_MAX})");
        return Err(TransferError::local(what, RefuseCode::Unsupported));
    };
    let sink = Arc::new(MemorySink::new(size));
    let session = &conversation.session;
    let dyn_sink: Arc<dyn BlockSink> = Arc::clone(&sink) as Arc<dyn BlockSink>;
    let object = session.declare_recv(Bytes::new(len), Vec::new(), dyn_sink).await?;
    loop {
        match conversation.hear().await? {
            Heard::Lane(SessionEvent::RecvComplete(complete, _)) if complete == object => break,
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
    conversation.session.forget_recv(object);
    let encoded = sink.take();
    if *blake3::hash(&encoded).as_bytes() != digest {
        return Err(TransferError::Violation("its manifest has another digest".to_owned()));
    }
    Ok(encoded)
}

/// Runs something that may block, and asks it to stop when nobody waits for it any more.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce(&Stop) -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let waiting = StopOnDrop::default();
    let stop = waiting.0.clone();
    tokio::task::spawn_blocking(move || job(&stop))
        .await
        .map_err(|error| TransferError::Internal(error.to_string()))?
}
