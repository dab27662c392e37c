//! Links: what goes over each, and what limits it.

use crate::{LinkStatus, SiteRef};
use serde::{Deserialize, Serialize};

/// How this site sends: over which link how much, to whom, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinksView {
    /// The links, in the order of the configuration.
    pub links: Vec<LinkView>,
    /// Sessions over no link: nothing divides what they have among them.
    pub others: Vec<LinkSession>,
}

/// A link and what goes over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkView {
    /// How it is.
    #[serde(flatten)]
    pub status: LinkStatus,
    /// What may go over it now in all, in bits per second; absent: nothing holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_bps: Option<u64>,
    /// What went over it in the last half second or so, in bits per second, as wire bytes.
    pub used_bps: u64,
    /// The sessions over it.
    pub over: Vec<LinkSession>,
}

/// A session over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkSession {
    /// With whom.
    pub peer: SiteRef,
    /// What goes to the peer, in bits per second.
    pub rate_bps: u64,
    /// What limits the session as a whole, while it has something to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// What goes to the peer of what.
    pub flows: Vec<LinkFlow>,
}

/// What goes to a peer of one job, of folders, or of what is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkFlow {
    /// `job`, `folders` or `records`.
    pub kind: String,
    /// The name of the job; absent once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The id of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `urgent`, `normal` or `background`.
    pub class: String,
    /// Its part of what its class gets.
    pub weight: u32,
    /// How fast it goes, in bits per second.
    pub rate_bps: u64,
    /// What the division has it get just now; absent where nothing is divided or there is nothing to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_bps: Option<u64>,
    /// The most that it may get; absent: no cap holds for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_bps: Option<u64>,
    /// Wire bytes that left of it since it began.
    pub wire_bytes: u64,
    /// What limits it: `link`, `share`, `cap`, `calendar`, `class`, `paused`, `source disk`, `target` or
    /// `path`; absent: it has nothing to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
}
