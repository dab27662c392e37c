//! Jobs: orders that one site leads and others carry out. A leader says what is to be ([`Order`]),
//! whoever takes part says how far it is ([`Report`]); either may be lost, repeated or come late.
//!
//! A job has *runs*: each is of one frozen tree, named by a root hash ([`Frozen`]) that its source
//! says and every target computes for itself. Bytes travel as those of a folder does, one for each
//! source ([`Spec::legs`]); this room knows no bytes and no paths on disks.

mod duty;
mod giving;
mod lead;
mod message;
mod place;
mod plan;
mod spec;
mod times;

pub use crate::shares::Class;
pub use duty::{Duty, DutyChange, Exports, Grants, Refusal, authorise, check_apart};
pub use giving::{Giving, JobLimit};
pub use lead::{EditError, JobState, Lead, LeadChange, SWITCH_NOTICE_MILLIS, SiteFacts};
pub use message::{Frozen, JOB_MESSAGE_MAX, JobMessage, Order, Receipt, Report, SiteState, Wish};
pub use place::{ExportName, Place, PlaceError, PlaceText};
pub use plan::{
    ChangedSince, Deeds, Finding, Findings, LegFound, Question, TreeFound, deeds, differs,
};
pub use spec::{Activate, JobId, Kind, Leg, Spec, SpecError};
pub use times::{Outlook, Times};

#[cfg(test)]
mod tests;
