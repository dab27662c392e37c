//! What sessions may send: what goes over each link, divided among classes, jobs and peers.
//!
//! Packets are divided by the engine: each link has a cap over its sessions, each session a weight beside
//! the others, and within it a flow for each job with class, weight and cap. What one does not use is the
//! others' with the next packet. What those settings are is decided here, at every change and a few times a
//! second ([`divide`]), from what there is to send (spec: S-206).

mod divide;
mod flows;
mod meter;
mod shown;
mod steer;
mod table;

pub use shown::{FlowShown, GivenNow, Giving, LinkShown, SessionShown, Shown};
pub use table::{JobShares, JobTable, JobTerms};

pub(super) use flows::{Declared, Share};
pub(super) use steer::Shares;

use crate::config::Class;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::Limit;
use farhaul_sync::job::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// What may go over a link at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkCap {
    /// What the link is called.
    pub name: String,
    /// What it carries; parts of it are parts of this.
    pub up: Option<BitRate>,
    /// By all sessions together; `None`: nothing holds them back.
    pub cap: Option<BitRate>,
    /// Whether a calendar has it so.
    pub by_calendar: bool,
    /// What classes may have of it; those that are not named, all of it.
    pub classes: BTreeMap<Class, ClassCap>,
    /// Who is reached over it; `None`: whoever is not reached over another one.
    pub peers: Option<BTreeSet<SiteId>>,
}

/// What a class may have of a link at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassCap {
    /// The most.
    pub cap: Option<BitRate>,
    /// Whether a calendar has it so.
    pub by_calendar: bool,
    /// What higher classes leave it, if it can use it.
    pub floor: Option<BitRate>,
}

/// What the configuration has in force at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The links, in the order of the configuration.
    pub links: Vec<LinkCap>,
    /// What each calendar says.
    pub calendars: BTreeMap<String, Limit>,
}

/// What of a session belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lot {
    /// What is said: records that are too long for a message.
    Words,
    /// What folders sync.
    Folders,
    /// What a job moves.
    Job(JobId),
}

/// What holds something to its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// What the link carries.
    Link,
    /// Others have their share.
    Share,
    /// A cap of its own.
    Cap,
    /// A calendar.
    Calendar,
    /// What its class may have, or a class that comes first.
    Class,
    /// Somebody paused it.
    Paused,
    /// What the session with the peer is held by.
    Session,
}

/// The link over which a peer is reached, by its place in the list.
pub(super) fn link_of(links: &[LinkCap], peer: SiteId) -> Option<usize> {
    let is_named = |link: &LinkCap| link.peers.as_ref().is_some_and(|all| all.contains(&peer));
    links.iter().position(is_named).or_else(|| links.iter().position(|link| link.peers.is_none()))
}
