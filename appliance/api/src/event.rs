//! What happens at a site, as a stream that can be taken up again.

use crate::{SiteRef, Time, TreePath};
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EventKind {
    /// The site began.
    Started,
    /// Its configuration was read again.
    Reloaded,
    /// A session with a peer began.
    PeerUp,
    /// A session with a peer ended.
    PeerDown,
    /// A folder is looked through. Of the scans before, those that came to their end are forgotten
    /// then: they are no gap.
    ScanStarted,
    /// That came to its end; or did not, and `text` says why.
    ScanEnded,
    /// What a folder is at has changed; `text` has the state.
    FolderState,
    /// A folder does nothing any more, and goes on by itself once the cause is gone; `text` says why
    /// and what to do.
    Halted,
    /// A folder that halted goes on, or one that was not kept for a while is kept again; then `text`
    /// says what of it was gone.
    Resumed,
    /// Something in a folder does not work; `text` says what and why.
    Trouble,
    /// Versions of a path came from a peer.
    Learned,
    /// Something was put in place, or removed.
    Placed,
    /// Something at a path failed; `text` says why.
    Failed,
    /// A mass change is held, or is no more; `text` says which.
    Braked,
    /// Somebody paused a folder, or let it go on; `text` says which.
    Paused,
    /// What a job is at has changed; `text` has its name and state.
    Job,
    /// What may go over a link has changed; `text` says what may, and until when.
    Link,
}

impl EventKind {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Reloaded => "reloaded",
            Self::PeerUp => "peer-up",
            Self::PeerDown => "peer-down",
            Self::ScanStarted => "scan-started",
            Self::ScanEnded => "scan-ended",
            Self::FolderState => "folder-state",
            Self::Halted => "halted",
            Self::Resumed => "resumed",
            Self::Trouble => "trouble",
            Self::Learned => "learned",
            Self::Placed => "placed",
            Self::Failed => "failed",
            Self::Braked => "braked",
            Self::Paused => "paused",
            Self::Job => "job",
            Self::Link => "link",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Names it: the run of the site, `-`, and a number that grows by one.
    pub id: String,
    /// When.
    pub at: Time,
    /// What.
    pub kind: EventKind,
    /// In which folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// With which peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SiteRef>,
    /// At which path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TreePath>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// That events are missing from the stream: whoever follows it has to ask for the state again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Gap {
    /// How many are at most; absent where the site was started anew meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The first event that follows.
    pub next: String,
}
