//! A session from the outside: what its owner may ask of the driver.

use super::seats::Seat;
use super::{EngineError, FlowControl, SessionOptions};
use crate::control::{ControlConnection, ControlReceiver, ControlSender};
use crate::driver::command::{
    Command, GivenUp, HeldRuns, SessionEvent, SessionKey, SessionStats, SignOfLife,
};
use crate::objects::{BlockSink, BlockSource};
use crate::record::FlightPen;
use crate::remember::Remembered;
use crate::wake::Waker;
use crossbeam_channel::Sender;
use farhaul_proto::congestion::Bounds;
use farhaul_proto::ids::{BlockIndex, FlowId, ObjectId};
use farhaul_proto::objects::{BlockRun, ObjectError, Reopened};
use farhaul_proto::session::ProbePlan;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::{PathFigures, Wishes};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long the driver may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The way to the driver.
#[derive(Clone)]
pub(super) struct Mailbox {
    pub(super) commands: Sender<Command>,
    pub(super) waker: Waker,
}

impl Mailbox {
    /// The queue is bounded; a full one means that the driver is far behind, so waiting is right.
    pub(super) fn post(&self, command: Command) -> Result<(), EngineError> {
        let posted = self.commands.send(command).map_err(|_| EngineError::Stopped);
        self.waker.wake();
        posted
    }

    pub(super) async fn stats(&self, key: SessionKey) -> Option<SessionStats> {
        self.ask(|reply| Command::Stats(key, reply)).await.ok()
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.post(command(reply)).map_err(|_| NoAnswer::Over)?;
        let answer = tokio::time::timeout(ANSWER_MAX, answer).await;
        answer.map_err(|_| NoAnswer::Late)?.map_err(|_| NoAnswer::Over)
    }
}

/// Why the driver did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The session is over, or the driver is.
    Over,
    /// It has too much to do at the moment.
    Late,
}

/// A session with a peer, seen from the conversation.
pub struct Peer {
    /// The connection beneath.
    pub connection: ControlConnection,
    /// Control messages to the peer.
    pub sender: ControlSender,
    /// Control messages from the peer.
    pub receiver: ControlReceiver,
    /// The lane.
    pub session: SessionHandle,
    /// What the lane tells.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// The driver's end of a session; dropping it removes the session.
pub struct SessionHandle {
    pub(super) key: SessionKey,
    /// The bounds of what a peer may wish.
    pub(super) options: SessionOptions,
    /// What its path carried before, and where to say what it carries now.
    pub(super) remembered: Option<Remembered>,
    pub(super) mailbox: Mailbox,
    /// Its place among the sessions that peers opened.
    pub(super) seat: Option<Seat>,
}

impl Peer {
    /// A way to ask whether the peer lives while somebody else owns the session.
    pub fn probe(&self) -> SessionProbe {
        SessionProbe { key: self.session.key, mailbox: self.session.mailbox.clone() }
    }
}

/// Asks for a session's signs of life and figures; does not keep it alive.
#[derive(Clone)]
pub struct SessionProbe {
    key: SessionKey,
    mailbox: Mailbox,
}

impl SessionProbe {
    /// When the peer was heard last. It is asked for a sign of life, which it gives within a
    /// round trip, whatever it is doing, if it lives.
    ///
    /// # Errors
    /// [`NoAnswer`] of our own driver.
    pub async fn ask_peer(&self) -> Result<SignOfLife, NoAnswer> {
        self.mailbox.ask(|reply| Command::AskPeer(self.key, reply)).await
    }

    /// Figures of this moment; `None` once the session is over.
    pub async fn stats(&self) -> Option<SessionStats> {
        self.mailbox.stats(self.key).await
    }
}

/// Why a command to a session did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// The session is over.
    #[error("the session is over")]
    Gone,
    /// The object cannot be declared so.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl SessionHandle {
    /// Its name within the engine.
    pub const fn key(&self) -> SessionKey {
        self.key
    }

    /// The peer broke the protocol: if it opened this session, it opens no other for a minute.
    pub fn bar_peer(&self) {
        if let Some(seat) = &self.seat {
            seat.bar(Instant::now());
        }
    }

    /// Looks for the path's rate before there is data; `expected` of it will follow, if that is known.
    pub fn warm_up(&self, expected: Option<Bytes>) {
        let _ = self.mailbox.post(Command::WarmUp { session: self.key, expected });
    }

    /// Declares an object to send, in the default flow.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn declare_send(
        &self,
        len: Bytes,
        held: HeldRuns,
        source: Arc<dyn BlockSource>,
    ) -> Result<ObjectId, SessionFault> {
        self.declare_send_in(FlowId::default(), len, held, source).await
    }

    /// Declares an object to send in a flow that was opened: see [`FlowControl::set`].
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn declare_send_in(
        &self,
        flow: FlowId,
        len: Bytes,
        held: HeldRuns,
        source: Arc<dyn BlockSource>,
    ) -> Result<ObjectId, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::DeclareSend { session, flow, len, held, source, reply }).await
    }

    /// A way to change what its flows get while somebody else owns the session.
    pub fn flows(&self) -> FlowControl {
        FlowControl::new(self.key, self.mailbox.clone())
    }

    /// Declares an object to receive.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn declare_recv(
        &self,
        len: Bytes,
        held: HeldRuns,
        sink: Arc<dyn BlockSink>,
    ) -> Result<ObjectId, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::DeclareRecv { session, len, held, sink, reply }).await
    }

    /// Sends blocks that the peer wrongly claimed: all runs or none, as one reopening.
    ///
    /// # Errors
    /// [`SessionFault`]; [`ObjectError::GivenUp`] in it says that the object failed meanwhile.
    pub async fn reopen_send(
        &self,
        object: ObjectId,
        runs: Vec<BlockRun>,
    ) -> Result<Reopened, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::ReopenSend { session, object, runs, reply }).await
    }

    /// Expects blocks that we wrongly claimed: all runs or none, as one reopening.
    ///
    /// # Errors
    /// [`SessionFault`].
    pub async fn reopen_recv(
        &self,
        object: ObjectId,
        runs: Vec<BlockRun>,
    ) -> Result<Reopened, SessionFault> {
        let session = self.key;
        self.ask(|reply| Command::ReopenRecv { session, object, runs, reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ObjectError>>) -> Command,
    ) -> Result<T, SessionFault> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.post(command(reply)).map_err(|_| SessionFault::Gone)?;
        Ok(answer.await.map_err(|_| SessionFault::Gone)??)
    }

    /// Lets the source of an object go. Until then it is kept, for the peer may turn out to lack
    /// blocks it claimed; a block reopened afterwards fails the object.
    pub fn forget_send(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::ForgetSend(self.key, object));
    }

    /// Lets the sink of an object go. Until then it is kept, for the peer may reopen blocks; one
    /// reopened afterwards fails the object.
    pub fn forget_recv(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::ForgetRecv(self.key, object));
    }

    /// Stops sending an object and lets its source go. Only then may the peer hear of it: it
    /// counts the object's blocks as complete from there on, sent or not. spec: W-081
    pub async fn abandon_send(&self, object: ObjectId) {
        let session = self.key;
        // A session that is over sends nothing either.
        let _ = self.mailbox.ask(|reply| Command::AbandonSend { session, object, reply }).await;
    }

    /// Stops receiving an object that is not wanted any more, and lets its sink go. The peer is to hear
    /// of it: until it has given the object up too, it sends, and reports speak around it.
    pub fn decline_recv(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::AbandonRecv(self.key, object, GivenUp::Here));
    }

    /// Stops receiving an object that the peer gave up, and lets its sink go.
    pub fn abandon_recv(&self, object: ObjectId) {
        let _ = self.mailbox.post(Command::AbandonRecv(self.key, object, GivenUp::ByPeer));
    }

    /// Sends a block again from its start.
    pub fn restart_send(&self, block: BlockIndex) {
        let _ = self.mailbox.post(Command::RestartSend(self.key, block));
    }

    /// Sends from now on as the peer wishes, within what this side was started with; answers how slow
    /// and how fast that is.
    pub fn shape(&self, wishes: &Wishes) -> Bounds {
        let SessionOptions { policy, bounds, fec, pack } = self.options.within(wishes);
        tracing::debug!(?policy, ?bounds, ?fec, ?pack, "sends as the peer wishes");
        let _ = self.mailbox.post(Command::Shape(self.key, policy, bounds, fec, pack));
        bounds
    }

    /// Measures the way to the peer; meant for a session that carries nothing else.
    ///
    /// # Errors
    /// [`SessionFault::Gone`].
    pub async fn probe(&self, plan: ProbePlan) -> Result<PathFigures, SessionFault> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Probe(self.key, plan, reply);
        self.mailbox.post(command).map_err(|_| SessionFault::Gone)?;
        answer.await.map_err(|_| SessionFault::Gone)
    }

    /// The rate that an earlier session to the same place left to start from, if it did.
    pub fn start_hint(&self) -> Option<BitRate> {
        self.remembered().and_then(|remembered| remembered.hint)
    }

    pub(crate) const fn remembered(&self) -> Option<&Remembered> {
        self.remembered.as_ref()
    }

    /// The bounds of what a peer may wish.
    pub const fn options(&self) -> SessionOptions {
        self.options
    }

    /// Records the session from its start on, with `pen`.
    pub fn record(&self, pen: FlightPen) {
        let _ = self.mailbox.post(Command::Record(self.key, pen));
    }

    /// Figures of this moment; `None` once the session is over.
    pub async fn stats(&self) -> Option<SessionStats> {
        self.mailbox.stats(self.key).await
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        let _ = self.mailbox.post(Command::Remove(self.key));
    }
}
