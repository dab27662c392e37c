//! The side that waits: takes offers and requests of one peer, one after the other.

use super::conversation::{Conversation, refusal};
use super::figures::Wanted;
use super::sending::unexpected;
use super::{Outcome, Progress, TransferError};
use super::{least, planning, sending};
use crate::engine::Peer;
use crate::files::confine::Root;
use crate::files::scan::{ScannedSource, scan_beneath, scan_contents_beneath};
use crate::files::stop::Stop;
use crate::probe;
use farhaul_proto::ids::TransferId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::wire::control::{Message, RefuseCode, Request};
use tokio::sync::watch;

/// Which way a transfer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer gave, this side received.
    Received,
    /// The peer asked, this side sent.
    Sent,
}

/// Serves a peer below `root` until it closes; each transfer that ended is handed to `ended`.
///
/// # Errors
/// What ended the conversation other than the peer closing it.
pub async fn serve(
    peer: Peer,
    root: &Root,
    mut ended: impl FnMut(Direction, &Outcome),
) -> Result<(), TransferError> {
    let mut conversation = Conversation::new(peer);
    let served = serve_all(&mut conversation, root, &mut ended).await;
    match &served {
        Ok(()) => conversation.finish(),
        Err(error) => conversation.give_up(error).await,
    }
    served
}

async fn serve_all(
    conversation: &mut Conversation,
    root: &Root,
    ended: &mut impl FnMut(Direction, &Outcome),
) -> Result<(), TransferError> {
    let (progress, _) = watch::channel(Progress::default());
    while let Some(opening) = conversation.next_opening().await? {
        let direction = match opening {
            Message::Request(_) => Direction::Sent,
            _ => Direction::Received,
        };
        let outcome = match opening {
            // Last words about objects of a transfer that is over.
            Message::Sealed { .. } | Message::ObjectFailed { .. } => {
                continue;
            }
            Message::Probe(asked) => {
                probe::answer(conversation, asked).await?;
                continue;
            }
            Message::Offer(offer) => {
                let transfer = offer.transfer;
                match dest_path(&offer.dest) {
                    Ok(dest) => {
                        planning::receive(conversation, offer, dest, root, true, &progress).await
                    }
                    Err(error) => refuse(conversation, transfer, error).await,
                }
            }
            Message::Request(request) => give(conversation, &request, root, &progress).await,
            other => return Err(unexpected(other)),
        };
        match outcome {
            Ok(outcome) => ended(direction, &outcome),
            // The peer was told why; it may ask for something else.
            Err(error @ TransferError::Local { .. }) => {
                tracing::warn!(%error, "a transfer was refused");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn refuse(
    conversation: &mut Conversation,
    transfer: TransferId,
    error: TransferError,
) -> Result<Outcome, TransferError> {
    if let Some(refusal) = refusal(transfer, &error) {
        conversation.say(&refusal).await?;
    }
    Err(error)
}

async fn give(
    conversation: &mut Conversation,
    request: &Request,
    root: &Root,
    progress: &super::ProgressSender,
) -> Result<Outcome, TransferError> {
    let wishes = request.wishes.unwrap_or_default();
    let granted = conversation.session.shape(&wishes);
    let rate_min = least::held(&wishes, granted, conversation.carrier());
    conversation.session.warm_up(None);
    let (root, path) = (root.clone(), request.path.clone());
    let scanned = planning::blocking(move |stop| scan_path(&root, &path, stop)).await;
    let (transfer, resume) = (request.transfer, request.resume);
    let sent = match scanned {
        Ok(scanned) => {
            let (wanted, dest) = (Wanted::ByPeer { rate_min }, Vec::new());
            sending::send(conversation, transfer, scanned, dest, resume, wanted, progress).await
        }
        Err(error) => Err(error),
    };
    match sent {
        // Nothing is offered after all.
        Err(error @ TransferError::Local { .. }) => refuse(conversation, transfer, error).await,
        sent => sent,
    }
}

/// What is asked for: a path; with a trailing slash, what is in it; empty, all of the root.
fn scan_path(root: &Root, path: &[u8], stop: &Stop) -> Result<ScannedSource, TransferError> {
    let Some(stripped) = path.strip_suffix(b"/") else {
        let path = if path.is_empty() { None } else { Some(parse(path)?) };
        return Ok(scan_beneath(root, path.as_ref(), stop)?);
    };
    if stripped.is_empty() {
        return Ok(scan_beneath(root, None, stop)?);
    }
    Ok(scan_contents_beneath(root, &parse(stripped)?, stop)?)
}

fn dest_path(dest: &[u8]) -> Result<Option<RelPath>, TransferError> {
    let dest = dest.strip_suffix(b"/").unwrap_or(dest);
    if dest.is_empty() { Ok(None) } else { parse(dest).map(Some) }
}

fn parse(path: &[u8]) -> Result<RelPath, TransferError> {
    RelPath::parse(path).map_err(|error| TransferError::local(error, RefuseCode::BadPath))
}
