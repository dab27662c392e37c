//! What the driver is told, and what it tells.

pub use super::link::LinkNumber;
use super::receive::LaneDrops;
use crate::control::Opening;
use crate::objects::{BlockSink, BlockSource, Failure};
use crate::record::FlightPen;
use crate::seal::{LaneSecrets, OpenKey, SealKey};
use farhaul_proto::congestion::{Bounds, Policy, View};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::{BlockIndex, FlowId, Generation, LaneTag, ObjectId};
use farhaul_proto::objects::{BlockRun, ObjectError, Reopened};
use farhaul_proto::recv::RecvCounters;
use farhaul_proto::send::SendCounters;
use farhaul_proto::session::{ProbePlan, SessionConfig, SessionError, Unreached};
use farhaul_proto::shares::{FlowError, FlowFigures, FlowPlan, Weight};
use farhaul_proto::trace::{Counters, Limit, Spent};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::PathFigures;
use farhaul_proto::wire::feedback::FeedbackError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A session of this engine; never reused while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// The keys of one lane in both directions.
pub struct LaneKeys {
    /// Tag in the packets that we send.
    pub send_tag: LaneTag,
    /// Tag in the packets that we receive.
    pub recv_tag: LaneTag,
    /// Seals what we send.
    pub seal: SealKey,
    /// Opens what we receive.
    pub open: OpenKey,
}

impl LaneKeys {
    /// The keys that follow from a lane's secrets; make them once per lane.
    pub fn from_secrets(secrets: &LaneSecrets) -> Self {
        Self {
            send_tag: secrets.send.tag(),
            recv_tag: secrets.recv.tag(),
            seal: secrets.send.seal_key(),
            open: secrets.recv.open_key(),
        }
    }
}

impl fmt::Debug for LaneKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneKeys").finish_non_exhaustive()
    }
}

/// A new session for the driver.
pub struct NewSession {
    /// Its name.
    pub key: SessionKey,
    /// Its keys.
    pub lane: LaneKeys,
    /// How it is set up.
    pub config: SessionConfig,
    /// Whether blocks that leave are packed.
    pub pack: PackPolicy,
    /// Where its events go.
    pub events: mpsc::Sender<SessionEvent>,
    /// Of a connection that came in: until the lane is known, its first packets are kept.
    pub opening: Option<Opening>,
}

/// A reply to a command about objects.
pub type ObjectReply<T> = oneshot::Sender<Result<T, ObjectError>>;

/// Blocks that the receiver holds already, as ascending runs of `(first, count)`.
pub type HeldRuns = Vec<BlockRun>;

/// Who gave an object up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// This side; the peer may still send blocks of it.
    Here,
    /// The peer: no more of it comes.
    ByPeer,
}

/// What the driver is told.
pub enum Command {
    /// Take a session in.
    Add(Box<NewSession>),
    /// Forget a session.
    Remove(SessionKey),
    /// Data will follow: look for the rate.
    WarmUp {
        /// Whose.
        session: SessionKey,
        /// How much, if that is known.
        expected: Option<Bytes>,
    },
    /// An object to send.
    DeclareSend {
        /// The session.
        session: SessionKey,
        /// Its flow.
        flow: FlowId,
        /// Its length.
        len: Bytes,
        /// Blocks that the peer holds.
        held: HeldRuns,
        /// Where its bytes come from.
        source: Arc<dyn BlockSource>,
        /// Its id.
        reply: ObjectReply<ObjectId>,
    },
    /// An object to receive.
    DeclareRecv {
        /// The session.
        session: SessionKey,
        /// Its length.
        len: Bytes,
        /// Blocks that are here.
        held: HeldRuns,
        /// Where its bytes go.
        sink: Arc<dyn BlockSink>,
        /// Its id.
        reply: ObjectReply<ObjectId>,
    },
    /// Send blocks that the peer wrongly claimed.
    ReopenSend {
        /// The session.
        session: SessionKey,
        /// The object.
        object: ObjectId,
        /// Which of its blocks: ascending, disjoint runs.
        runs: Vec<BlockRun>,
        /// Their new indices.
        reply: ObjectReply<Reopened>,
    },
    /// Expect blocks that we wrongly claimed.
    ReopenRecv {
        /// The session.
        session: SessionKey,
        /// The object.
        object: ObjectId,
        /// Which of its blocks: ascending, disjoint runs.
        runs: Vec<BlockRun>,
        /// Their new indices.
        reply: ObjectReply<Reopened>,
    },
    /// Stop sending an object. Answered when that is done: a peer that hears of it sooner may
    /// already speak of blocks that were never sent.
    AbandonSend {
        /// Whose.
        session: SessionKey,
        /// The object.
        object: ObjectId,
        /// It is given up.
        reply: oneshot::Sender<()>,
    },
    /// Stop receiving an object.
    AbandonRecv(SessionKey, ObjectId, GivenUp),
    /// No block of an object will be read again: let its source go.
    ForgetSend(SessionKey, ObjectId),
    /// No block of an object will be stored again: let its sink go.
    ForgetRecv(SessionKey, ObjectId),
    /// Send a block again from its start.
    RestartSend(SessionKey, BlockIndex),
    /// Change what shapes the data that we send.
    Shape(SessionKey, Policy, Bounds, FecPolicy, PackPolicy),
    /// Open a flow of a session, or change it.
    SetFlow(SessionKey, FlowId, FlowPlan, oneshot::Sender<Result<(), FlowError>>),
    /// Forget a flow that has nothing under way.
    EndFlow(SessionKey, FlowId, oneshot::Sender<Result<(), FlowError>>),
    /// Say what the flows of a session came to.
    Flows(SessionKey, oneshot::Sender<Vec<FlowFigures>>),
    /// What all sessions over a link may send together, at IP level.
    ShapeLink(LinkNumber, Option<BitRate>),
    /// Over which link a session goes.
    PutOver(SessionKey, LinkNumber),
    /// A session's part of that.
    Weigh(SessionKey, Weight),
    /// Ask the peer for a sign of life, and say when the last one came.
    AskPeer(SessionKey, oneshot::Sender<SignOfLife>),
    /// Record the session.
    Record(SessionKey, FlightPen),
    /// Measure the way to the peer; answered when that is done.
    Probe(SessionKey, ProbePlan, oneshot::Sender<PathFigures>),
    /// Report figures.
    Stats(SessionKey, oneshot::Sender<SessionStats>),
    /// Report what was dropped.
    Drops(oneshot::Sender<LaneDrops>),
    /// End the driver.
    Stop,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add(_) => "Add",
            Self::Remove(_) => "Remove",
            Self::WarmUp { .. } => "WarmUp",
            Self::DeclareSend { .. } => "DeclareSend",
            Self::DeclareRecv { .. } => "DeclareRecv",
            Self::ReopenSend { .. } => "ReopenSend",
            Self::ReopenRecv { .. } => "ReopenRecv",
            Self::AbandonSend { .. } => "AbandonSend",
            Self::AbandonRecv(..) => "AbandonRecv",
            Self::ForgetSend(..) => "ForgetSend",
            Self::ForgetRecv(..) => "ForgetRecv",
            Self::RestartSend(..) => "RestartSend",
            Self::Shape(..) => "Shape",
            Self::SetFlow(..) => "SetFlow",
            Self::EndFlow(..) => "EndFlow",
            Self::Flows(..) => "Flows",
            Self::ShapeLink(..) => "ShapeLink",
            Self::PutOver(..) => "PutOver",
            Self::Weigh(..) => "Weigh",
            Self::AskPeer(..) => "AskPeer",
            Self::Record(..) => "Record",
            Self::Probe(..) => "Probe",
            Self::Stats(..) => "Stats",
            Self::Drops(..) => "Drops",
            Self::Stop => "Stop",
        })
    }
}

/// What the driver tells about a session.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// Every placed block of an outgoing object was read from its source. Holds for the
    /// reopenings counted: with one more, there is more to read.
    SendRead(ObjectId, Generation),
    /// The peer has every placed block of an object, those of the reopenings counted included.
    SendComplete(ObjectId, Generation),
    /// Every placed block of an object, those of the reopenings counted included, is verified
    /// and written.
    RecvComplete(ObjectId, Generation),
    /// An outgoing object failed at its source; it is no longer sent.
    SourceFailed(ObjectId, Failure),
    /// An incoming object failed at its destination; it is no longer received.
    SinkFailed(ObjectId, Failure),
    /// The peer has to send a block again from its start.
    AskAgain(BlockIndex),
    /// The peer broke the protocol on the lane; the session is dead.
    Violation(Violation),
    /// Too many forged packets; the session is dead.
    ForgeryLimit,
    /// Nothing that is sent reaches the peer; the session is dead.
    Unreached(Unreached),
}

/// How a peer broke the protocol in packets that opened, or by sending none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Its report breaks a rule. spec: W-041
    #[error("its report is malformed: {0}")]
    Report(#[from] FeedbackError),
    /// Its padding is not zeros. spec: W-045
    #[error("its padding carries something")]
    Padding,
    /// It holds more buffers than its part, and nothing of them gets done.
    #[error("it lets blocks lie that others need the memory of")]
    Hoarding,
    /// It says what cannot be.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Figures of a session at one moment.
#[derive(Clone, Debug)]
pub struct SessionStats {
    /// Where the peer is now.
    pub peer: SocketAddr,
    /// What the rate controller believes.
    pub view: View,
    /// Packet counters.
    pub counters: Counters,
    /// Symbols sent.
    pub sent: SendCounters,
    /// Blocks received.
    pub received: RecvCounters,
    /// Data and padding packets received.
    pub received_packets: u64,
    /// Data bytes not yet sent once.
    pub unsent: Bytes,
    /// Bytes in flight.
    pub in_flight: Bytes,
    /// Smallest round trip.
    pub rtt_min: Duration,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// 95th percentile of queue delay.
    pub queue_delay_p95: Duration,
    /// Median size of the packets sent, at IP level.
    pub packet_size_p50: Bytes,
    /// Median size of what leaves at once, at IP level.
    pub train_size_p50: Bytes,
    /// The size that one such train in a hundred exceeds.
    pub train_size_p99: Bytes,
    /// What limited for most of the last second.
    pub limited_by: Option<Limit>,
    /// How long each limit applied.
    pub limited: Spent,
}

/// The last that was heard of a peer.
#[derive(Clone, Copy, Debug)]
pub struct SignOfLife {
    /// Time since the last authentic packet.
    pub heard_ago: Duration,
    /// Smoothed round trip.
    pub rtt: Duration,
}
