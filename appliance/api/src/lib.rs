//! The management API of a site: what is asked and answered, as types that daemon and clients share.
//!
//! It knows nothing else of the product. `openapi.json` beside the sources describes the whole API;
//! `farhauld openapi` prints it, and a test of the daemon holds both against each other.

#![forbid(unsafe_code)]

mod calendar;
mod conflict;
mod event;
mod item;
mod job;
mod link;
mod path;
mod problem;
mod status;
mod version;
mod waiting;

pub use calendar::{CalendarChange, CalendarStatus, CalendarUse, CalendarView, LinkStatus};
pub use conflict::{Conflict, ConflictPage, Keep, Resolve};
pub use event::{Event, EventKind, Gap};
pub use item::{
    Failure, Fetching, ItemKind, Known, Missing, MissingPage, SiteRef, Spread, SpreadState, Task,
    VersionInfo, Why,
};
pub use job::{JobEdit, JobPlan, JobPlanSite, JobReceipt, JobSite, JobSpec, JobStatus};
pub use link::{LinkFlow, LinkSession, LinkView, LinksView};
pub use path::{BadPath, TreePath};
pub use problem::Problem;
pub use status::{
    Call, Contents, Done, FolderPeer, FolderState, FolderStatus, Health, KeptStatus, Lacking,
    PeerCompared, PeerStatus, ScanStatus, ScrubStatus, SiteStatus, Trouble, WatchStatus,
};
pub use version::{
    GoneVersion, KeptVersion, Restore, RestoreAction, RestoreItem, RestorePage, Versions,
};
pub use waiting::{
    Brake, Braked, Fate, Forget, ForgetItem, ForgetPage, OneAside, Revert, SetAside, SetAsidePage,
    WaitReason, Waiting, WaitingPage,
};

/// A moment: RFC 3339 in UTC, such as `2026-11-22T14:30:00Z`.
pub type Time = String;
