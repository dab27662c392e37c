//! What holds when: calendars, and the links that they steer.

use crate::Time;
use serde::{Deserialize, Serialize};

/// A calendar at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CalendarStatus {
    /// What it is called in the configuration.
    pub name: String,
    /// Whose clock counts.
    pub zone: String,
    /// How many rules it has.
    pub rules: u64,
    /// The moment.
    pub at: Time,
    /// That moment by the clock of the zone, with its offset from UTC.
    pub local: String,
    /// What holds then: `full`, `pause`, a rate or a part of the link.
    pub limit: String,
    /// Until when; absent if it stays so for as long as was looked ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Who goes by it.
    pub uses: Vec<CalendarUse>,
}

/// A link, or a class of what goes over it, that goes by a calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CalendarUse {
    /// The name of the link.
    pub link: String,
    /// The class: `urgent`, `normal` or `background`.
    pub class: String,
    /// What that may send then in bits per second, by all calendars and caps that hold for it together;
    /// absent: nothing holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// Until when; absent if it stays so for as long as was looked ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A calendar from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CalendarView {
    /// How it is at that moment.
    #[serde(flatten)]
    pub status: CalendarStatus,
    /// What changes after that, the earliest first.
    pub changes: Vec<CalendarChange>,
    /// Up to when was looked: all changes before this moment are told.
    pub looked: Time,
}

/// A moment from which on something else holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CalendarChange {
    /// When.
    pub at: Time,
    /// The same by the clock of the zone, with its offset from UTC.
    pub local: String,
    /// What holds from then on.
    pub limit: String,
}

/// A line of a site to others, and what may go over it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkStatus {
    /// What it is called in the configuration.
    pub name: String,
    /// What it carries from this site, in bits per second; absent: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_bps: Option<u64>,
    /// What it carries to this site, in bits per second; absent: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_bps: Option<u64>,
    /// The calendar that holds for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// What holds now for what folders sync: `full`, `pause`, a rate or a part of the link.
    pub limit: String,
    /// What this site sends at most to all peers of the link together, in bits per second; absent:
    /// nothing holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// Until when; absent if it stays so for as long as was looked ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Sessions that share it.
    pub sessions: u64,
}
