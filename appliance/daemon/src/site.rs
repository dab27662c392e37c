//! Sessions with other sites: who is reached where, what they say, and contents on their way.
//!
//! It knows no versions and no paths: what a peer says goes to the control loop as an event, what is
//! to be said comes from there. Frames, objects and their order are its business.

mod dial;
mod known;
mod lease;
mod outbox;
mod owed;
mod parts;
mod question;
mod session;
mod share;
mod telling;
mod twins;

pub use dial::{PeerPlace, Sites};
pub use known::{CallFailed, SessionFacts, SitesView};
pub use lease::Leased;
pub use outbox::{Outbox, Outgoing};
pub use owed::Owing;
pub use parts::{GatherSink, Opens, Part, PartsSource};
pub use question::{Intake, NoAnswer, Question, Wish};
pub use session::Ended;
pub use share::{
    ClassCap, FlowShown, GivenNow, Giving, Hold, JobShares, JobTable, JobTerms, LinkCap, LinkShown,
    Lot, Rules, SessionShown, Shown,
};
pub use telling::{InLine, Told};
pub(crate) use twins::COUNTS_FOR;
pub use twins::Twice;

use farhaul_proto::ids::SiteId;
use farhaul_sync::message::{Shared, Wanted};
use farhaul_sync::reconcile::Turn;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::swarm::words::Word;
use farhaul_sync::version::ManifestId;

/// What happened at a session, with the room that it takes of the peer until somebody took it in.
#[derive(Debug)]
pub struct PeerEvent {
    /// What.
    pub(crate) what: FromPeer,
    pub(crate) room: Option<lease::MailLease>,
}

/// What no session brought takes no room of theirs.
impl From<FromPeer> for PeerEvent {
    fn from(what: FromPeer) -> Self {
        Self { what, room: None }
    }
}

/// What happened at a session.
#[derive(Debug)]
pub enum FromPeer {
    /// It is there; what is to be said goes into the outbox.
    Up {
        /// With whom.
        peer: SiteId,
        /// The way to it.
        outbox: Outbox,
    },
    /// What the peer shares with this site.
    Shares {
        /// Who.
        peer: SiteId,
        /// Each folder once.
        folders: Vec<Shared>,
    },
    /// Records, not yet read.
    Records {
        /// From whom.
        peer: SiteId,
        /// Of which folder.
        folder: FolderKey,
        /// In which life of the peer's index.
        epoch: u64,
        /// What has to be there before.
        after: u64,
        /// What is there with them.
        to: u64,
        /// Their encoding.
        bytes: Leased,
    },
    /// What of ours is durable there.
    Stored {
        /// Where.
        peer: SiteId,
        /// Of which folder.
        folder: FolderKey,
        /// In which life of our index.
        epoch: u64,
        /// Up to which arrival number.
        up_to: u64,
    },
    /// The peer wants contents.
    Asked {
        /// Who.
        peer: SiteId,
        /// Names the answer.
        id: u64,
        /// Of which folder.
        folder: FolderKey,
        /// What.
        wanted: Vec<Wanted>,
    },
    /// A turn of a comparison of what both hold.
    Compared {
        /// With whom.
        peer: SiteId,
        /// Of which folder.
        folder: FolderKey,
        /// Names the comparison.
        salt: [u8; 32],
        /// Whether it answers one of ours.
        is_answer: bool,
        /// What is said.
        turn: Turn,
    },
    /// The peer goes on comparing no more.
    Incomparable {
        /// Who.
        peer: SiteId,
        /// Of which folder.
        folder: FolderKey,
        /// Names the comparison.
        salt: [u8; 32],
    },
    /// What the peer says of a job, not yet read.
    Job {
        /// Who.
        peer: SiteId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A word about a content that spreads.
    Swarm {
        /// Who.
        peer: SiteId,
        /// Of which folder.
        folder: FolderKey,
        /// Of which content.
        manifest: ManifestId,
        /// What is said.
        word: Word,
    },
    /// The peer took something of what it was told: there is room for more (spec: S-162).
    Freed,
    /// It, or this site, is there twice.
    Twice {
        /// The peer.
        peer: SiteId,
        /// Which of the two.
        who: Twice,
    },
    /// It is over.
    Down {
        /// With whom.
        peer: SiteId,
        /// The outbox that it had: another session may have taken its place.
        outbox: Outbox,
    },
}
