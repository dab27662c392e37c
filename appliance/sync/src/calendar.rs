//! Calendars: how fast something may be at which time of a place.
//!
//! A [`Calendar`] is a question to the clock on the wall: what it says is a function of the local
//! date and minute and of nothing else (spec: S-200). So an hour that the clocks repeat holds twice,
//! one that they leave out holds not at all, and of a window that begins in it holds what the clocks
//! show. The last rule that speaks of a minute wins: what holds usually is written first, exceptions
//! behind it (spec: S-201).
//!
//! Instants come from the caller, and so does the time zone with its history: nothing here reads a
//! clock or a disk. Whoever looks ahead names the instant up to which it looks, which bounds the work:
//! a day costs one look at each rule, and stretches of days in which no rule begins or ends cost
//! nothing.

mod budget;
mod day;
mod rule;
#[cfg(test)]
mod tests;
mod walk;

pub use rule::{DateSpan, Days, Holidays, Minute, MonthDay, Rule, Window};
pub use walk::{Piece, Spans};

use crate::limits::CALENDAR_RULES_MAX;
use farhaul_proto::units::BitRate;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::fmt;

/// A hundredth part, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// `n` of a hundred; `None` outside 1 to 100: nothing is a pause.
    pub fn new(n: u64) -> Option<Self> {
        u8::try_from(n).ok().filter(|n| (1..=100).contains(n)).map(Self)
    }

    /// Of a hundred.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing is held back.
    Full,
    /// No faster than this, by all that the calendar stands for together.
    Rate(BitRate),
    /// No faster than this part of the link.
    Percent(Percent),
    /// Nothing goes.
    Pause,
}

impl Limit {
    /// What that is on a link of this rate; of a link whose rate is not known `None` is all of it, and
    /// a part of it cannot be told and is all of it as well. Rounds down.
    pub fn on(self, link: Option<BitRate>) -> Option<BitRate> {
        match self {
            Self::Full => link,
            Self::Rate(rate) => Some(link.map_or(rate, |link| link.min(rate))),
            Self::Percent(part) => link.map(|link| {
                let rate = u128::from(link.get()) * u128::from(part.get()) / 100;
                BitRate::bps(u64::try_from(rate).unwrap_or(u64::MAX))
            }),
            Self::Pause => Some(BitRate::ZERO),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Rate(rate) => rate.fmt(f),
            Self::Percent(part) => write!(f, "{} %", part.get()),
            Self::Pause => f.write_str("pause"),
        }
    }
}

/// What is no calendar, or no part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Each one is looked at for each day.
    #[error(
        "there are {0} rules, and a calendar has at most {CALENDAR_RULES_MAX}; write them as fewer"
    )]
    Rules(usize),
    /// Nobody can tell whether that is a day or nothing.
    #[error("a window ends when it begins; a whole day is 00:00 to 24:00")]
    Window,
    /// It would never hold.
    #[error("the range of dates ends before it begins; write the earlier date first")]
    Dates,
}

/// What holds when, in one time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    zone: TimeZone,
    rules: Vec<Rule>,
    otherwise: Limit,
}

impl Calendar {
    /// A calendar of these rules, the last of which that speaks of a minute wins; `otherwise` holds where
    /// none does.
    ///
    /// # Errors
    /// [`CalendarError::Rules`].
    pub fn new(zone: TimeZone, rules: Vec<Rule>, otherwise: Limit) -> Result<Self, CalendarError> {
        if rules.len() > CALENDAR_RULES_MAX {
            return Err(CalendarError::Rules(rules.len()));
        }
        Ok(Self { zone, rules, otherwise })
    }

    /// Whose clock counts.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// In the order in which they were given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds where no rule speaks.
    pub const fn otherwise(&self) -> Limit {
        self.otherwise
    }

    /// Whether it ever speaks of a part of the link.
    pub fn has_percent(&self) -> bool {
        let is_part = |limit: Limit| matches!(limit, Limit::Percent(_));
        is_part(self.otherwise) || self.rules.iter().any(|rule| is_part(rule.limit))
    }

    /// What holds at an instant.
    pub fn at(&self, instant: Timestamp) -> Limit {
        self.on_the_wall(self.zone.to_datetime(instant))
    }

    /// What holds when the clock on the wall shows this.
    fn on_the_wall(&self, shown: DateTime) -> Limit {
        let (today, minute) = (shown.date(), Minute::of(shown.time()));
        let yesterday = today.yesterday().ok();
        let speaks = |rule: &&Rule| rule.speaks(today, yesterday, minute);
        self.rules.iter().rev().find(speaks).map_or(self.otherwise, |rule| rule.limit)
    }

    /// The pieces of time from `from` on in which one and the same holds, each as long as it can be; the
    /// first begins at `from`, the last ends at `until`.
    pub fn spans(&self, from: Timestamp, until: Timestamp) -> Spans<'_> {
        Spans::new(self, from, until)
    }

    /// The first instant after `from` at which something else holds than at `from`; `None` if that is
    /// not before `until`.
    pub fn next_change(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        self.spans(from, until).nth(1).map(|piece| piece.from)
    }

    /// The first instant from `from` on at which something may go, so at which a job may start; `None`
    /// if that is not before `until`.
    pub fn next_open(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let is_open = |piece: &Piece| piece.limit != Limit::Pause;
        self.spans(from, until).find(is_open).map(|piece| piece.from)
    }

    /// The first day after `day` on which a rule may begin or cease to count for another reason than the
    /// day of the week; it may be one on which none does.
    fn next_break(&self, day: Date) -> Option<Date> {
        self.rules.iter().filter_map(|rule| rule.next_break(day)).min()
    }
}
