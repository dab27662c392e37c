//! The way to a peer: what is to be said waits here, and what that costs is counted.

use super::owed::{Owed, Owing};
use super::parts::PartsSource;
use super::question::{Question, Wish};
use super::telling::{InLine, Telling, Told};
use farhaul_proto::ids::SiteId;
use farhaul_sync::message::{Message, Wanted};
use farhaul_sync::seal::FolderKey;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;

/// What waits to be said at most; who comes to that has a peer that does not listen.
pub(super) const OUTGOING_MAX: usize = 4096;

/// Something to be said.
pub enum Outgoing {
    /// A message that announces no object.
    Say(Message),
    /// A turn that answers one of a comparison.
    Answer {
        /// The message.
        message: Message,
        /// What it takes of the room, until it was written.
        told: Told,
    },
    /// Records of a folder.
    Records {
        /// Which.
        folder: FolderKey,
        /// In which life of our index.
        epoch: u64,
        /// What the peer has before.
        after: u64,
        /// What it has with them.
        to: u64,
        /// Their encoding.
        bytes: Vec<u8>,
        /// What they take of the room, until the peer took them.
        told: Told,
    },
    /// The answer to a question.
    Give {
        /// Which.
        id: u64,
        /// The length of each thing that was asked for.
        lens: Vec<Option<u64>>,
        /// All of them, one after the other.
        source: PartsSource,
    },
    /// A question.
    Ask {
        /// Of which folder.
        folder: FolderKey,
        /// What.
        wanted: Vec<Wanted>,
        /// Where the answer goes.
        question: Question,
    },
    /// The answer to a question is not wanted any more: what is on its way of it may stop.
    Enough(Wish),
}

/// The way to a peer.
#[derive(Clone)]
pub struct Outbox {
    peer: SiteId,
    /// Whether the peer compares what it holds.
    compares: bool,
    /// Whether it knows jobs.
    knows_jobs: bool,
    /// Whether it knows swarms.
    knows_swarms: bool,
    queue: mpsc::Sender<Outgoing>,
    came: Arc<AtomicU64>,
    owed: Owed,
    telling: Telling,
    answers: Telling,
}

impl Outbox {
    /// One in which nothing was said yet, to a peer that is not known to compare.
    pub(super) fn new(peer: SiteId, queue: mpsc::Sender<Outgoing>) -> Self {
        let (came, owed, compares) = (Arc::default(), Owed::default(), false);
        let (telling, answers) = (Telling::records(), Telling::answers());
        let (knows_jobs, knows_swarms) = (false, false);
        Self { peer, compares, knows_jobs, knows_swarms, queue, came, owed, telling, answers }
    }

    /// Says something, or gives it back: the session is over, or the peer does not listen.
    ///
    /// # Errors
    /// What was to be said.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), Outgoing> {
        self.queue.try_send(outgoing).map_err(|error| match error {
            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => back,
        })
    }

    /// The same, to a peer that compares or does not.
    pub(super) fn comparing(self, compares: bool) -> Self {
        Self { compares, ..self }
    }

    /// The same, to a peer that knows jobs or does not.
    pub(super) fn knowing_jobs(self, knows_jobs: bool) -> Self {
        Self { knows_jobs, ..self }
    }

    /// The same, to a peer that knows swarms or does not.
    #[must_use]
    pub(crate) fn knowing_swarms(self, knows_swarms: bool) -> Self {
        Self { knows_swarms, ..self }
    }

    /// Whether pieces may be offered to the peer and asked of it.
    pub const fn knows_swarms(&self) -> bool {
        self.knows_swarms
    }

    /// Whether the peer understands what is said of jobs: it is told nothing of them if not.
    pub const fn knows_jobs(&self) -> bool {
        self.knows_jobs
    }

    /// The room for records.
    pub(super) const fn telling(&self) -> &Telling {
        &self.telling
    }

    /// To whom.
    pub const fn peer(&self) -> SiteId {
        self.peer
    }

    /// Whether the peer understands comparisons: it is sent none if not.
    pub const fn compares(&self) -> bool {
        self.compares
    }

    /// Grows with whatever the peer gives in this session, for whichever folder: whoever takes an
    /// answer in adds to it.
    pub const fn came(&self) -> &Arc<AtomicU64> {
        &self.came
    }

    /// For an answer to the peer: what it costs counts until the peer took it.
    pub fn owing(&self) -> Owing {
        self.owed.owing()
    }

    /// Whether the peer may be told of records now. If not, `place` is one in the line for that:
    /// whoever has it asks again, or drops it (spec: S-162).
    pub fn may_tell(&self, place: &mut Option<InLine>) -> bool {
        self.telling.may_tell(place)
    }

    /// For records of so many bytes: what they take counts until the peer took them.
    pub fn told(&self, bytes: usize) -> Told {
        self.telling.told(bytes)
    }

    /// Whether the peer may be answered in a comparison: not if it does not take what it was answered
    /// (spec: S-164).
    pub fn may_answer(&self) -> bool {
        self.answers.has_room()
    }

    /// For an answer of so many bytes: what it takes counts until it was written.
    pub fn answered(&self, bytes: usize) -> Told {
        self.answers.told(bytes)
    }

    /// Whether both lead into the same session.
    pub fn is_same(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }
}

impl Outbox {
    /// One that leads to whoever calls this, who plays a peer without a session and compares
    /// nothing.
    pub fn scripted(peer: SiteId) -> (Self, mpsc::Receiver<Outgoing>) {
        let (queue, said) = mpsc::channel(OUTGOING_MAX);
        (Self::new(peer, queue), said)
    }

    /// One that leads nowhere but to the test.
    #[cfg(test)]
    pub(crate) fn to_test(peer: SiteId, compares: bool) -> (Self, mpsc::Receiver<Outgoing>) {
        let (outbox, said) = Self::scripted(peer);
        (outbox.comparing(compares), said)
    }

    /// The same, with room for so many bytes of records, and of answers.
    #[cfg(test)]
    pub(crate) fn with_room(self, bytes: u64) -> Self {
        Self { telling: Telling::of(bytes), answers: Telling::of(bytes), ..self }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("peer", &self.peer).finish_non_exhaustive()
    }
}
