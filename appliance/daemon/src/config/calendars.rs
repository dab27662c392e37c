//! Calendars, and the links that they steer, as they are configured.

use farhaul_proto::ids::SiteId;
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::{Calendar, Limit};
pub use farhaul_sync::shares::Class;
use jiff::Timestamp;
use jiff::tz::{self, TimeZone, TimeZoneDatabase};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a class may have of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassShare {
    /// The calendar that holds for it besides that of the link.
    pub calendar: Option<String>,
    /// The most that it takes; a rate or a part of the link.
    pub cap: Option<Limit>,
    /// What it is left by classes before it; a rate or a part of the link.
    pub floor: Option<Limit>,
}

/// A line of this site to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it is called.
    pub name: String,
    /// What it carries away from this site, of all peers together.
    pub up: Option<BitRate>,
    /// What it carries to this site.
    pub down: Option<BitRate>,
    /// The calendar that holds for all of it.
    pub calendar: Option<String>,
    /// Who is reached over it; `None`: whoever is not reached over another one.
    pub peers: Option<BTreeSet<SiteId>>,
    /// What classes may have of it.
    pub classes: BTreeMap<Class, ClassShare>,
}

/// What is allowed at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// As the calendar says it, the smaller of those of the link and of the class.
    pub limit: Limit,
    /// What that is, with what the link carries and the most that the class takes; `None`: no limit.
    pub rate: Option<BitRate>,
}

/// The most that a class takes, whether a calendar has it so, and what higher classes leave it.
pub type ClassAllowed = (Option<BitRate>, bool, Option<BitRate>);

impl Link {
    /// What a class may send over the link at an instant (spec: S-205).
    pub fn in_force(&self, class: Class, calendars: &Calendars, at: Timestamp) -> InForce {
        let share = self.classes.get(&class);
        let names = [self.calendar.as_deref(), share.and_then(|share| share.calendar.as_deref())];
        let mut limit = Limit::Full;
        let mut rate = self.up;
        for calendar in names.into_iter().flatten().filter_map(|name| calendars.get(name)) {
            let holds = calendar.at(at);
            let allowed = holds.on(self.up);
            if is_less(allowed, rate) || limit == Limit::Full {
                limit = holds;
            }
            rate = least(rate, allowed);
        }
        let cap = share.and_then(|share| share.cap).and_then(|cap| cap.on(self.up));
        InForce { limit, rate: least(rate, cap) }
    }

    /// What all of it may carry at an instant, and whether a calendar has it so.
    pub fn allowed(&self, calendars: &Calendars, at: Timestamp) -> (Option<BitRate>, bool) {
        let calendar = self.calendar.as_deref().and_then(|name| calendars.get(name));
        let allowed = calendar.and_then(|calendar| calendar.at(at).on(self.up));
        (least(self.up, allowed), is_less(allowed, self.up))
    }

    /// What a class may have of it at an instant beside that: the most, whether a calendar has it so, and
    /// what higher classes leave it.
    pub fn allowed_to(&self, class: Class, calendars: &Calendars, at: Timestamp) -> ClassAllowed {
        let share = self.classes.get(&class);
        let calendar = share.and_then(|share| share.calendar.as_deref());
        let limit = calendar.and_then(|name| calendars.get(name)).map(|calendar| calendar.at(at));
        let allowed = limit.filter(|limit| *limit != Limit::Full).and_then(|it| it.on(self.up));
        let own = share.and_then(|share| share.cap).and_then(|cap| cap.on(self.up));
        let floor = share.and_then(|share| share.floor).and_then(|floor| floor.on(self.up));
        (least(own, allowed), is_less(allowed, own), floor)
    }

    /// The first instant after `from` at which something else is in force for a class; `None` if that is
    /// not before `until`.
    pub fn next_change(
        &self,
        class: Class,
        calendars: &Calendars,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<Timestamp> {
        /// Changes of calendars that are of no consequence: beyond so many nobody waits.
        const IDLE_MAX: usize = 1000;
        let share = self.classes.get(&class).and_then(|share| share.calendar.as_deref());
        let names = [self.calendar.as_deref(), share].into_iter().flatten();
        let calendars_of: Vec<_> = names.filter_map(|name| calendars.get(name)).collect();
        let holds = self.in_force(class, calendars, from);
        let next = |at: &Timestamp| {
            calendars_of.iter().filter_map(|one| one.next_change(*at, until)).min()
        };
        let mut changes = std::iter::successors(next(&from), next).take(IDLE_MAX);
        changes.find(|at| self.in_force(class, calendars, *at) != holds)
    }

    /// Whether a calendar holds for all of it.
    pub fn goes_by(&self, calendar: &str) -> bool {
        self.calendar.as_deref() == Some(calendar)
    }
}

fn is_less(one: Option<BitRate>, other: Option<BitRate>) -> bool {
    one.unwrap_or(BitRate::MAX) < other.unwrap_or(BitRate::MAX)
}

fn least(one: Option<BitRate>, other: Option<BitRate>) -> Option<BitRate> {
    one.into_iter().chain(other).min()
}

/// Calendars by name.
pub type Calendars = BTreeMap<String, Arc<Calendar>>;

/// A time zone by its name, from the data of this machine, or where it has none of that name from those
/// that came with the program (spec: S-204).
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    let is_name = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte))
    };
    Some(name).filter(is_name).and_then(|name| tz::db().get(name).ok()).or_else(|| bundled(name))
}

/// A time zone by its name, from the data that came with the program.
pub(super) fn bundled(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}
