//! Two event sources, one ear: control messages and what the lane tells.

use super::TransferError;
use crate::control::{ControlError, ControlSender};
use crate::driver::command::SessionEvent;
use crate::engine::{Peer, SessionHandle};
use farhaul_proto::wire::control::{FailCode, Message, RefuseCode, reason};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Control messages read ahead at most.
const READ_AHEAD: usize = 64;

/// Something happened.
#[derive(Debug)]
pub(super) enum Heard {
    /// The peer said something.
    Message(Message),
    /// The lane reports.
    Lane(SessionEvent),
}

/// A peer with its messages decoded.
pub(crate) struct Conversation {
    pub(super) session: SessionHandle,
    connection: crate::control::endpoint::ControlConnection,
    sender: ControlSender,
    messages: mpsc::Receiver<Result<Message, TransferError>>,
    events: mpsc::Receiver<SessionEvent>,
    reader: JoinHandle<()>,
}

impl Conversation {
    /// Takes a peer over. Frames are read by a task of their own, so that waiting for either
    /// source can be interrupted at any time.
    pub(crate) fn new(peer: Peer) -> Self {
        let Peer { connection, sender, mut receiver, session, events } = peer;
        let (heard, messages) = mpsc::channel(READ_AHEAD);
        let reader = tokio::spawn(async move {
            loop {
                let message = match receiver.recv().await {
                    Ok(Some(frame)) => Message::decode(&frame)
                        .map_err(|error| TransferError::Violation(error.to_string())),
                    Ok(None) => return,
                    Err(error) => Err(error.into()),
                };
                let last = message.is_err();
                if heard.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Self { session, connection, sender, messages, events, reader }
    }

    /// The identity of the peer.
    pub(crate) fn peer_id(&self) -> [u8; 32] {
        self.connection.peer().to_bytes()
    }

    /// Says something.
    pub(super) async fn say(&mut self, message: &Message) -> Result<(), TransferError> {
        Ok(self.sender.send(&message.encode_body()).await?)
    }

    /// Waits for the next thing.
    pub(super) async fn hear(&mut self) -> Result<Heard, TransferError> {
        tokio::select! {
            message = self.messages.recv() => match message {
                Some(message) => message.map(Heard::Message),
                None => Err(self.connection.close_reason().into()),
            },
            event = self.events.recv() => match event {
                Some(SessionEvent::Violation(violation)) => {
                    Err(TransferError::Violation(violation.to_string()))
                }
                Some(SessionEvent::ForgeryLimit) => {
                    Err(TransferError::Violation("too many forged packets".to_owned()))
                }
                Some(event) => Ok(Heard::Lane(event)),
                None => Err(TransferError::Internal("the driver dropped the session".to_owned())),
            },
        }
    }

    /// The next message that opens a transfer; `None` when the peer closed in good order.
    pub(crate) async fn next_opening(&mut self) -> Result<Option<Message>, TransferError> {
        match self.messages.recv().await {
            Some(message) => message.map(Some),
            None => match self.connection.close_reason() {
                ControlError::Closed => Ok(None),
                error => Err(error.into()),
            },
        }
    }

    /// Tells the peer why the conversation ends here, and ends it.
    pub(crate) async fn give_up(mut self, error: &TransferError) {
        let (code, what) = match error {
            TransferError::Violation(what) => (FailCode::Protocol, what.clone()),
            other => (FailCode::Internal, other.to_string()),
        };
        let transfer = farhaul_proto::ids::TransferId::new(0);
        let cancel = Message::Cancel { transfer, code, reason: reason(&what) };
        let _ = self.say(&cancel).await;
        let _ = self.sender.finish().await;
        self.connection.close(1, "the transfer failed");
    }

    /// Ends the conversation in good order.
    pub(crate) async fn finish(mut self) {
        let _ = self.sender.finish().await;
        self.connection.close(0, "done");
        self.connection.flushed().await;
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The refusal that tells a peer about a local error.
pub(super) fn refusal(
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
        | TransferError::Session(_) => return None,
    };
    Some(Message::Refuse { transfer, code, reason: reason(&what) })
}
