//! How links are used, for those who ask.

use super::{Hold, Lot};
use farhaul_proto::ids::SiteId;
use farhaul_proto::trace::Limit;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{JobId, JobLimit};
use farhaul_sync::shares::Class;
use std::collections::BTreeMap;

/// Links and what goes over each.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// In the order of the configuration; the last one is what belongs to no link.
    pub links: Vec<LinkShown>,
}

/// A link.
#[derive(Clone, Debug, Default)]
pub struct LinkShown {
    /// What it is called; `None`: what belongs to no link.
    pub name: Option<String>,
    /// What may go over it.
    pub cap: Option<BitRate>,
    /// What goes over it.
    pub rate: BitRate,
    /// With whom.
    pub sessions: Vec<SessionShown>,
}

/// A session.
#[derive(Clone, Debug)]
pub struct SessionShown {
    /// With whom.
    pub peer: SiteId,
    /// What goes to the peer.
    pub rate: BitRate,
    /// What limits it, as far as it goes by itself.
    pub limit: Option<Limit>,
    /// What goes there of what.
    pub flows: Vec<FlowShown>,
}

/// A flow.
#[derive(Clone, Debug)]
pub struct FlowShown {
    /// Of what.
    pub lot: Lot,
    /// What the job is called.
    pub job: Option<String>,
    /// Its class.
    pub class: Class,
    /// Its weight.
    pub weight: u32,
    /// How fast it goes.
    pub rate: BitRate,
    /// What the division has it get; `None`: nothing divides it.
    pub share: Option<BitRate>,
    /// The most that it gets.
    pub cap: Option<BitRate>,
    /// What left so far, at IP level.
    pub wire: Bytes,
    /// What limits it; `None`: it has nothing to send.
    pub limit: Option<JobLimit>,
}

/// What is given of a job to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Giving {
    /// How fast.
    pub rate: BitRate,
    /// Why not faster.
    pub limit: JobLimit,
}

/// Whatever is given of jobs.
pub type GivenNow = BTreeMap<(JobId, SiteId), Giving>;

/// What limits a flow that is held so, in a session that is.
pub(super) const fn limit_of(hold: Hold, session: Option<Limit>) -> JobLimit {
    match hold {
        Hold::Link => JobLimit::Link,
        Hold::Share => JobLimit::Share,
        Hold::Cap => JobLimit::Cap,
        Hold::Calendar => JobLimit::Calendar,
        Hold::Class => JobLimit::Class,
        Hold::Paused => JobLimit::Paused,
        Hold::Session => match session {
            Some(Limit::SourceDisk) => JobLimit::SourceDisk,
            Some(Limit::DestinationDisk | Limit::Receiver) => JobLimit::Target,
            Some(Limit::Share) => JobLimit::Share,
            Some(Limit::Cap | Limit::Policy) => JobLimit::Cap,
            _ => JobLimit::Path,
        },
    }
}
