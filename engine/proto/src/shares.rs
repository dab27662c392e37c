//! Who sends next where several share one path: flows with a class, a weight and a cap.
//!
//! A *flow* is what objects of a session have in common: those of one job, say. Among flows that have
//! something to send, the higher class goes first, but for a fiftieth that each lower class is sure of;
//! within a class wire bytes are shared by weight, and what one flow does not use is the others' at
//! once. It counts bytes and knows no packets, blocks or clocks; `send` asks it before every symbol.

mod bucket;
mod turns;

pub use bucket::Bucket;
pub(crate) use turns::{Mask, Turns, places};

use crate::ids::FlowId;
use crate::units::{BitRate, Bytes, Timestamp};
use core::num::NonZeroU16;
use core::time::Duration;

/// Flows that a session may have at once, the default one included.
pub const FLOWS_MAX: usize = 64;

/// What comes first. spec: W-144
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Before all others.
    Urgent,
    /// The usual one.
    #[default]
    Normal,
    /// Only what the others leave, and the fiftieth that every class is sure of.
    Background,
}

impl Class {
    /// Every class, the highest first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Background];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What a flow gets beside others of its class, relative to theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// What a flow has of which nobody said anything: room for others to have more, or less.
    pub const DEFAULT: Self = Self(NonZeroU16::new(100).unwrap());

    /// A weight; zero is taken for one, for a flow that shall have nothing is paused.
    pub fn new(weight: u16) -> Self {
        Self(NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN))
    }

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is wanted of a flow; obeyed by the next packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowPlan {
    /// What comes first.
    pub class: Class,
    /// Its part within its class.
    pub weight: Weight,
    /// Wire bytes of it that may leave, at IP level; none of it leaves at a cap of zero.
    pub cap: Option<BitRate>,
    /// Nothing of it is sent until this is taken back.
    pub paused: bool,
}

/// What keeps a flow from sending more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowLimit {
    /// The session: its path, its peer, a disk; [`crate::trace::Limit`] says which.
    Session,
    /// Other flows, which have their share.
    Share,
    /// Its cap.
    Cap,
    /// It is paused.
    Pause,
}

impl FlowLimit {
    /// Every limit.
    pub const ALL: [Self; 4] = [Self::Session, Self::Share, Self::Cap, Self::Pause];

    /// The name in output that users script against.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Share => "share",
            Self::Cap => "cap",
            Self::Pause => "pause",
        }
    }
}

/// How long each limit applied, in the order of [`FlowLimit::ALL`].
pub type FlowSpent = [Duration; FlowLimit::ALL.len()];

/// What a flow came to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFigures {
    /// Which.
    pub flow: FlowId,
    /// What is wanted of it.
    pub plan: FlowPlan,
    /// What left of it at IP level: first passes, resends and repair symbols.
    pub wire: Bytes,
    /// Objects of it that are neither at the peer nor given up.
    pub objects: u32,
    /// Blocks of it in memory, or being read.
    pub blocks: u32,
    /// What limits it now; nothing when it has nothing to send.
    pub limit: Option<FlowLimit>,
    /// How long each limit applied.
    pub spent: FlowSpent,
}

/// A flow that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The session has as many flows as it may.
    #[error(
        "flow {0} would be one more than the {FLOWS_MAX} that a session may have: end one first"
    )]
    TooMany(FlowId),
    /// Nobody opened it.
    #[error("flow {0} was never opened: open it before it is given objects")]
    Unknown(FlowId),
    /// Objects of it are under way, or it is the default one.
    #[error("flow {0} has objects under way, or is the default one: it cannot end")]
    InUse(FlowId),
}

/// Adds up what limits a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowClock {
    spent: FlowSpent,
    current: Option<FlowLimit>,
    since: Timestamp,
}

impl FlowClock {
    pub(crate) fn set(&mut self, limit: Option<FlowLimit>, now: Timestamp) {
        if let Some(current) = self.current {
            self.spent[current as usize] += now.since(self.since);
        }
        (self.current, self.since) = (limit, now);
    }

    pub(crate) const fn current(&self) -> Option<FlowLimit> {
        self.current
    }

    pub(crate) const fn spent(&self) -> FlowSpent {
        self.spent
    }
}
