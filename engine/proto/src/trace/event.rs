//! What a session did, for whoever has to explain afterwards why a transfer was slow or failed.
//!
//! Events are of fixed size and never one per packet: what happens per packet is counted, and the
//! counts are told at a bounded pace. Names follow the event schemas of qlog where those have one.

use super::Limit;
use crate::congestion::{Bounds, Policy};
use crate::fec::FecPolicy;
use crate::ids::{BlockIndex, ObjectId, PacketNumber};
use crate::session::{SessionError, Timer};
use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

/// An event and when it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRecord {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: TraceEvent,
}

const _: () = assert!(size_of::<TraceRecord>() <= 96, "rings are sized for small records");

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the peer.
    Out,
    /// From the peer.
    In,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its owner let go of it with nothing left to do.
    Done,
    /// Its owner let go of it while objects were incomplete.
    Unfinished,
    /// The peer broke the protocol.
    Violation,
    /// Too many packets were forged.
    ForgeryLimit,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceEvent {
    /// The session began.
    SessionStarted {
        /// How the path is shared.
        policy: Policy,
        /// How slow and how fast.
        bounds: Bounds,
        /// The rate to start from.
        start_hint: Option<BitRate>,
        /// When repair symbols are used.
        fec: FecPolicy,
        /// Round trip of the handshake.
        initial_rtt: Duration,
        /// Blocks that may be in memory on their way out.
        send_blocks: u32,
        /// Blocks that the peer may hold open here.
        recv_blocks: u32,
    },
    /// The session ended.
    SessionClosed {
        /// Why.
        why: Closed,
        /// What it was waiting for.
        waiting_for: Option<Timer>,
        /// Data never sent.
        unsent: Bytes,
        /// Bytes in flight.
        in_flight: Bytes,
    },
    /// Policy or bounds changed.
    PolicyUpdated {
        /// How the path is shared from now on.
        policy: Policy,
        /// How slow and how fast from now on.
        bounds: Bounds,
    },
    /// The size of packets was chosen.
    MtuUpdated {
        /// Symbol size.
        symbol_size: u16,
        /// Size of a data packet at IP level.
        packet: Bytes,
    },
    /// The rate controller entered another phase.
    CongestionStateUpdated {
        /// The phase that it left.
        old: &'static str,
        /// The phase that it is in.
        new: &'static str,
    },
    /// The rate moved by a tenth or more since this was last told.
    RateUpdated {
        /// The rate now.
        rate: BitRate,
        /// The bottleneck's capacity, once known.
        capacity: Option<BitRate>,
    },
    /// Samples of a path in use, and packets counted since the samples before.
    MetricsUpdated {
        /// Smoothed round trip.
        rtt: Duration,
        /// Its windowed minimum, as the rate controller has it.
        rtt_min: Duration,
        /// Queue delay.
        queue_delay: Duration,
        /// Bytes in flight.
        in_flight: Bytes,
        /// Packets sent.
        sent: u32,
        /// Packets that arrived at the peer.
        acked: u32,
        /// Packets declared lost.
        lost: u32,
    },
    /// Samples of the receiving side, and what was counted since the samples before.
    ReceiveUpdated {
        /// Data written.
        written: Bytes,
        /// Data that waits for the disk.
        backlog: Bytes,
        /// Blocks open.
        open: u32,
        /// Symbols refused.
        refused: u32,
        /// Symbols that were not needed.
        redundant: u32,
    },
    /// Something else limits the sending side, for most of a sampling interval.
    LimitUpdated {
        /// What limited before (`None`: nothing to send).
        old: Option<Limit>,
        /// What limits now.
        new: Option<Limit>,
    },
    /// Losses with less than a pause between them, told when the pause came.
    PacketsLost {
        /// The first packet lost.
        first: PacketNumber,
        /// The last packet lost.
        last: PacketNumber,
        /// Packets lost.
        packets: u32,
        /// From the first to the last declaration.
        span: Duration,
    },
    /// Reports came later than ones sent after them.
    ReportsOvertaken {
        /// How many since this was last told.
        reports: u32,
        /// The newest report so far.
        newest: PacketNumber,
    },
    /// A report said what cannot be.
    ReportInvalid {
        /// The report.
        number: PacketNumber,
        /// Which rule it broke.
        error: SessionError,
    },
    /// No report for too long: the rate was halved so many times.
    FeedbackOverdue {
        /// Halvings so far.
        halvings: u32,
    },
    /// No report for so long that sending stopped.
    PathSilent,
    /// A packet asks whether the path is back.
    ProbeSent,
    /// A report came over a path that had been silent.
    PathRestored {
        /// For how long it was silent.
        silent: Duration,
    },
    /// The peer is at another address.
    PeerMoved {
        /// It came back to the one before.
        returned: bool,
    },
    /// An object was declared.
    ObjectDeclared {
        /// Which way it goes.
        way: Way,
        /// Which object.
        object: ObjectId,
        /// Its length.
        len: Bytes,
    },
    /// Every block of an object is at its destination.
    ObjectCompleted {
        /// Which way it went.
        way: Way,
        /// Which object.
        object: ObjectId,
    },
    /// An object was given up.
    ObjectAbandoned {
        /// Which way it went.
        way: Way,
        /// Which object.
        object: ObjectId,
    },
    /// A block takes up a buffer.
    BlockOpened {
        /// Which way it goes.
        way: Way,
        /// Which block.
        block: BlockIndex,
        /// Its source symbols.
        symbols: u32,
    },
    /// A block is at its destination.
    BlockCompleted {
        /// Which way it went.
        way: Way,
        /// Which block.
        block: BlockIndex,
    },
    /// A block failed its digest and starts over.
    BlockRestarted {
        /// Which way it goes.
        way: Way,
        /// Which block.
        block: BlockIndex,
    },
    /// The peer misses symbols of a block of which nothing is on its way.
    DeficitReported {
        /// Which block.
        block: BlockIndex,
        /// Symbols that it misses.
        missing: u32,
    },
    /// Fresh repair symbols were planned for a block.
    RepairPlanned {
        /// Which block.
        block: BlockIndex,
        /// How many.
        symbols: u32,
    },
    /// Everything in doubt of a block was planned to be sent again.
    ResendPlanned {
        /// Which block.
        block: BlockIndex,
        /// How many symbols.
        symbols: u32,
    },
}

impl TraceEvent {
    /// Its name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionStarted { .. } => "connectivity:session_started",
            Self::SessionClosed { .. } => "connectivity:session_closed",
            Self::PathSilent => "connectivity:path_silent",
            Self::ProbeSent => "connectivity:probe_sent",
            Self::PathRestored { .. } => "connectivity:path_restored",
            Self::PeerMoved { .. } => "connectivity:peer_moved",
            Self::MtuUpdated { .. } => "connectivity:mtu_updated",
            Self::PolicyUpdated { .. } => "recovery:policy_updated",
            Self::CongestionStateUpdated { .. } => "recovery:congestion_state_updated",
            Self::RateUpdated { .. } => "recovery:rate_updated",
            Self::MetricsUpdated { .. } => "recovery:metrics_updated",
            Self::LimitUpdated { .. } => "recovery:limit_updated",
            Self::PacketsLost { .. } => "recovery:packets_lost",
            Self::FeedbackOverdue { .. } => "recovery:feedback_overdue",
            Self::ReportsOvertaken { .. } => "recovery:reports_overtaken",
            Self::ReportInvalid { .. } => "recovery:report_invalid",
            Self::ReceiveUpdated { .. } => "transfer:receive_updated",
            Self::ObjectDeclared { .. } => "transfer:object_declared",
            Self::ObjectCompleted { .. } => "transfer:object_completed",
            Self::ObjectAbandoned { .. } => "transfer:object_abandoned",
            Self::BlockOpened { .. } => "transfer:block_opened",
            Self::BlockCompleted { .. } => "transfer:block_completed",
            Self::BlockRestarted { .. } => "transfer:block_restarted",
            Self::DeficitReported { .. } => "transfer:deficit_reported",
            Self::RepairPlanned { .. } => "transfer:repair_planned",
            Self::ResendPlanned { .. } => "transfer:resend_planned",
        }
    }

    /// True for what happens with every block of a transfer that goes well.
    pub const fn is_routine(&self) -> bool {
        matches!(self, Self::BlockOpened { .. } | Self::BlockCompleted { .. })
    }
}
