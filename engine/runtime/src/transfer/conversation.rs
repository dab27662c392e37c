//! Two event sources, one ear: control messages and what the lane tells.

use super::TransferError;
use crate::control::{CLOSE_FAILED, ControlConnection, ControlError, ControlSender, PeerFault};
use crate::driver::command::SessionEvent;
use crate::engine::{Peer, SessionHandle};
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::wire::control::{
    FEATURE_PROBE, FailCode, Message, Offer, Printable, RefuseCode, reason,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Control messages read ahead at most.
const READ_AHEAD: usize = 64;
/// Bytes of control messages read ahead; one message may be longer by itself.
const READ_AHEAD_BYTES: u32 = 8 << 20;

/// Application code of a close in good order.
const CLOSE_DONE: u64 = CLOSE_DONE_U32 as u64;
const CLOSE_DONE_U32: u32 = 0;
/// How long a peer may take to hear why we give up.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Something happened.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The peer said something.
    Message(Message),
    /// The lane reports.
    Lane(SessionEvent),
}

/// What was read ahead; its share of the memory is free again once it is taken.
struct Ahead {
    message: Result<Message, TransferError>,
    _share: Option<OwnedSemaphorePermit>,
}

/// A peer with its messages decoded.
pub(crate) struct Conversation {
    pub(crate) session: SessionHandle,
    connection: ControlConnection,
    sender: ControlSender,
    messages: mpsc::Receiver<Ahead>,
    events: mpsc::Receiver<SessionEvent>,
    reader: JoinHandle<()>,
    greeted: bool,
    /// When a peer that says nothing more in mid-transfer must have closed.
    silence_ends: Option<Instant>,
}

impl Conversation {
    /// Takes a peer over. Frames are read by a task of their own, so that waiting for either
    /// source can be interrupted at any time.
    pub(crate) fn new(peer: Peer) -> Self {
        let Peer { connection, sender, mut receiver, session, events } = peer;
        let (heard, messages) = mpsc::channel(READ_AHEAD);
        let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES as usize));
        let reader = tokio::spawn(async move {
            let mut greeted = false;
            loop {
                let ahead = match receiver.recv().await {
                    Ok(Some(frame)) => {
                        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                        let share = Arc::clone(&room).acquire_many_owned(len.min(READ_AHEAD_BYTES));
                        let message = Message::decode(&frame)
                            .map(escaped)
                            .map_err(|error| TransferError::Violation(error.to_string()));
                        drop(frame);
                        Ahead { message, _share: share.await.ok() }
                    }
                    Ok(None) => return,
                    Err(error) => Ahead { message: Err(misread(error)), _share: None },
                };
                let message = match ahead.message {
                    Ok(Message::Hello { features, agent }) if !greeted => {
                        tracing::debug!(features, agent, "the peer says hello");
                        greeted = true;
                        continue;
                    }
                    // spec: W-064
                    Ok(Message::Hello { .. }) => Err(violation("it says hello twice")),
                    Ok(_) if !greeted => Err(violation("its first message is no hello")),
                    message => message,
                };
                let ahead = Ahead { message, ..ahead };
                let last = ahead.message.is_err();
                if heard.send(ahead).await.is_err() || last {
                    return;
                }
            }
        });
        let silence_ends = None;
        Self { session, connection, sender, messages, events, reader, greeted: false, silence_ends }
    }

    /// What carries its packets.
    pub(crate) fn carrier(&self) -> Carrier {
        self.connection.carrier
    }

    /// The identity of the peer.
    pub(crate) fn peer_id(&self) -> [u8; 32] {
        self.connection.peer.0
    }

    /// Says who we are: only then does the peer know of the conversation.
    pub(crate) async fn greet(&mut self) -> Result<(), TransferError> {
        if self.greeted {
            return Ok(());
        }
        self.greeted = true;
        let agent = concat!("farhaul/", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = Message::Hello { features: FEATURE_PROBE, agent };
        Ok(self.sender.send(&hello.encode_body()).await?)
    }

    /// Says something; before the first thing, who we are. Nobody waits for that.
    pub(crate) async fn say(&mut self, message: &Message) -> Result<(), TransferError> {
        self.greet().await?;
        tracing::debug!(?message, "says");
        Ok(self.sender.send(&message.encode_body()).await?)
    }

    /// Waits for the next thing.
    pub(crate) async fn hear(&mut self) -> Result<Heard, TransferError> {
        tokio::select! {
            message = self.messages.recv() => match message {
                Some(ahead) => ahead.message.map(|message| {
                    tracing::debug!(?message, "hears");
                    Heard::Message(message)
                }),
                None => Err(self.silenced().await),
            },
            event = self.events.recv() => told(event),
        }
    }

    /// Why a peer says nothing any more in the middle of a transfer. Whoever waits for this may
    /// be interrupted and wait again: the time runs from the first.
    async fn silenced(&mut self) -> TransferError {
        let ends = *self.silence_ends.get_or_insert_with(|| Instant::now() + FAREWELL_MAX);
        match tokio::time::timeout_at(ends, self.connection.closed()).await {
            Ok(closed) => closed.into(),
            Err(_) => TransferError::Violation("it ended its messages in mid-transfer".to_owned()),
        }
    }

    /// The next message that opens a transfer; `None` when the peer ended in good order.
    pub(crate) async fn next_opening(&mut self) -> Result<Option<Message>, TransferError> {
        let error = loop {
            let heard = tokio::select! {
                message = self.messages.recv() => match message {
                    Some(ahead) => ahead.message.map(Heard::Message),
                    // It has nothing more to say, and waits for us to close.
                    None => return Ok(None),
                },
                event = self.events.recv() => told(event),
            };
            match heard {
                Ok(Heard::Message(message)) => return Ok(Some(message)),
                // Last words of the lane about a transfer that is over.
                Ok(Heard::Lane(_)) => {}
                Err(error) => break error,
            }
        };
        match error {
            TransferError::Control(ControlError::ClosedByPeer { code: CLOSE_DONE, .. }) => Ok(None),
            error => Err(error),
        }
    }

    /// Tells the peer why the conversation ends here, and ends it.
    pub(crate) async fn give_up(mut self, error: &TransferError) {
        let (code, what) = match error {
            TransferError::Violation(what) => {
                // Whose goodbye was lost is guilty of nothing else, and may come again at once.
                if self.silence_ends.is_none() {
                    self.session.bar_peer();
                }
                (FailCode::Protocol, what.clone())
            }
            TransferError::Disk { what, code } => (*code, what.clone()),
            // The peer decided so: it need not be told.
            TransferError::Refused { .. }
            | TransferError::Cancelled { .. }
            | TransferError::Control(_) => {
                self.connection.close(CLOSE_DONE_U32, "done");
                return;
            }
            // Nobody's fault: another attempt goes on from here.
            TransferError::Unreached(_) => (FailCode::Cancelled, error.to_string()),
            other => (FailCode::Internal, other.to_string()),
        };
        let transfer = farhaul_proto::ids::TransferId::new(0);
        let cancel = Message::Cancel { transfer, code, reason: reason(&what) };
        let said = self.say(&cancel).await.is_ok() && self.sender.finish().is_ok();
        if said {
            // The peer closes when it has heard.
            let _ = tokio::time::timeout(FAREWELL_MAX, self.connection.closed()).await;
        }
        self.connection.close(CLOSE_FAILED, "the transfer failed");
    }

    /// Ends the conversation in good order after words of ours that nobody answers: the peer
    /// closes once it has heard them.
    pub(crate) async fn finish_heard(mut self) {
        if self.sender.finish().is_ok() {
            let _ = tokio::time::timeout(FAREWELL_MAX, self.connection.closed()).await;
        }
        self.connection.close(CLOSE_DONE_U32, "done");
    }

    /// Ends the conversation in good order: everything we said was answered.
    pub(crate) fn finish(mut self) {
        let _ = self.sender.finish();
        self.connection.close(CLOSE_DONE_U32, "done");
    }
}

/// Frames that are none are the peer's doing; everything else befell the connection. spec: W-062
fn misread(error: ControlError) -> TransferError {
    match error {
        ControlError::Peer(fault @ (PeerFault::MessageLength | PeerFault::MessageCut)) => {
            TransferError::Violation(fault.to_string())
        }
        error => error.into(),
    }
}

/// What an event of the lane means to a conversation.
fn told(event: Option<SessionEvent>) -> Result<Heard, TransferError> {
    match event {
        Some(SessionEvent::Violation(violation)) => {
            Err(TransferError::Violation(violation.to_string()))
        }
        Some(SessionEvent::ForgeryLimit) => {
            Err(TransferError::Violation("too many forged packets".to_owned()))
        }
        Some(SessionEvent::Unreached(unreached)) => Err(unreached.into()),
        Some(event) => {
            tracing::debug!(?event, "the lane tells");
            Ok(Heard::Lane(event))
        }
        None => Err(TransferError::Internal("the driver dropped the session".to_owned())),
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A message whose words for people cannot steer a terminal. spec: W-085
fn escaped(mut message: Message) -> Message {
    let escape = |text: &mut String| *text = Printable(text).to_string();
    match &mut message {
        Message::Hello { agent, .. } => escape(agent),
        Message::Refuse { reason, .. }
        | Message::ObjectFailed { reason, .. }
        | Message::Cancel { reason, .. } => escape(reason),
        Message::Done(done) => done.failed.iter_mut().for_each(|f| escape(&mut f.reason)),
        Message::Offer(Offer { left_out: Some(left_out), .. }) => {
            let notes = left_out.failed.iter_mut().chain(&mut left_out.skipped);
            notes.for_each(|note| escape(&mut note.reason));
        }
        _ => {}
    }
    message
}

fn violation(what: &str) -> TransferError {
    TransferError::Violation(what.to_owned())
}

/// The refusal that tells a peer about a local error.
pub(crate) fn refusal(
    transfer: farhaul_proto::ids::TransferId,
    error: &TransferError,
) -> Option<Message> {
    let (code, what) = match error {
        TransferError::Local { what, code } => (*code, what.clone()),
        TransferError::Internal(what) => (RefuseCode::Internal, what.clone()),
        TransferError::Violation(what) => (RefuseCode::Unsupported, what.clone()),
        TransferError::Refused { .. }
        | TransferError::Cancelled { .. }
        | TransferError::Control(_)
        | TransferError::Disk { .. }
        | TransferError::Unreached(_)
        | TransferError::Session(_) => return None,
    };
    Some(Message::Refuse { transfer, code, reason: reason(&what) })
}
