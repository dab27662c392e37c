//! When a rule speaks: days of the week, dates, holidays, and a window of the day.

use super::{CalendarError, Limit};
use jiff::civil::{Date, Time, Weekday};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A minute of the day, from 00:00 to 24:00, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

impl Minute {
    /// 00:00.
    pub const FIRST: Self = Self(0);
    /// 24:00.
    pub const END: Self = Self(24 * 60);

    /// An hour and a minute of it; `None` if no clock shows that, but 24:00 is one.
    pub fn new(hour: u16, minute: u16) -> Option<Self> {
        let is_shown = hour < 24 && minute < 60 || (hour, minute) == (24, 0);
        is_shown.then(|| Self(hour * 60 + minute))
    }

    /// The minute that has begun.
    pub(super) fn of(time: Time) -> Self {
        // Neither is below zero.
        Self(u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs()))
    }

    /// Since 00:00.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// From a minute on up to another one, each day; one that ends before it begins goes on into the next
/// day, and belongs to the day on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Minute,
    to: Minute,
}

impl Window {
    /// The whole day.
    pub const DAY: Self = Self { from: Minute::FIRST, to: Minute::END };

    /// From one minute up to another; an end at 00:00 is one at 24:00, and so is a beginning at 24:00 one
    /// at 00:00.
    ///
    /// # Errors
    /// [`CalendarError::Window`]: both are the same.
    pub fn new(from: Minute, to: Minute) -> Result<Self, CalendarError> {
        let (from, to) = (Minute(from.0 % Minute::END.0), if to.0 == 0 { Minute::END } else { to });
        if from == to {
            return Err(CalendarError::Window);
        }
        Ok(Self { from, to })
    }

    /// Of the day on which it begins.
    pub(super) fn today(self) -> (u16, u16) {
        (self.from.0, if self.from < self.to { self.to.0 } else { Minute::END.0 })
    }

    /// Of the day after that: up to this minute.
    pub(super) fn tomorrow(self) -> u16 {
        if self.from < self.to { 0 } else { self.to.0 }
    }
}

/// Days of the week; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Each of them.
    pub const ALL: Self = Self(0b111_1111);

    /// These ones; `None` without any.
    pub fn of(days: impl IntoIterator<Item = Weekday>) -> Option<Self> {
        let bits = days.into_iter().fold(0, |bits, day| bits | Self::bit(day));
        (bits != 0).then_some(Self(bits))
    }

    /// Whether that day is one of them.
    pub fn has(self, day: Weekday) -> bool {
        self.0 & Self::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.to_monday_zero_offset()
    }
}

/// A day of every year; 29 February is one of leap years only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonthDay {
    month: i8,
    day: i8,
}

impl MonthDay {
    /// The 29th of February has its place: this one is a leap year.
    const LEAP: i16 = 2000;

    /// `None` if no year has it.
    pub fn new(month: i8, day: i8) -> Option<Self> {
        Date::new(Self::LEAP, month, day).ok().map(|_| Self { month, day })
    }

    fn of(date: Date) -> Self {
        Self { month: date.month(), day: date.day() }
    }

    /// The first of them from `day` on; 1 March where a year has no 29 February.
    fn from(self, day: Date) -> Option<Date> {
        let in_year = |year: i16| {
            let date = Date::new(year, self.month, self.day);
            date.or_else(|_| Date::new(year, 3, 1)).ok().filter(|date| *date >= day)
        };
        in_year(day.year()).or_else(|| in_year(day.year().checked_add(1)?))
    }
}

/// Dates from one to another, both of them counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateSpan {
    /// Each year; one that ends before it begins goes over the turn of the year.
    Yearly(MonthDay, MonthDay),
    /// Once.
    Once(Date, Date),
}

impl DateSpan {
    /// Once, from one date to another.
    ///
    /// # Errors
    /// [`CalendarError::Dates`]: it ends before it begins.
    pub fn once(from: Date, to: Date) -> Result<Self, CalendarError> {
        if from > to { Err(CalendarError::Dates) } else { Ok(Self::Once(from, to)) }
    }

    fn has(self, day: Date) -> bool {
        match self {
            Self::Once(from, to) => (from..=to).contains(&day),
            Self::Yearly(from, to) => {
                let day = MonthDay::of(day);
                if from <= to { (from..=to).contains(&day) } else { day >= from || day <= to }
            }
        }
    }

    fn next_break(self, after: Date) -> Option<Date> {
        let (from, to) = match self {
            Self::Once(from, to) => (Some(from), Some(to)),
            Self::Yearly(from, to) => (from.from(after.tomorrow().ok()?), to.from(after)),
        };
        let ends = [from, to].into_iter().flatten().filter_map(|date| edge(date, after));
        ends.min()
    }
}

/// The first day after `after` on which a date begins or is over.
fn edge(date: Date, after: Date) -> Option<Date> {
    if date > after { Some(date) } else { date.tomorrow().ok().filter(|next| *next > after) }
}

/// A list of days that are none like others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holidays {
    /// Of every year.
    pub yearly: BTreeSet<MonthDay>,
    /// Of one year.
    pub once: BTreeSet<Date>,
}

impl Holidays {
    /// Whether that day is one.
    pub fn has(&self, day: Date) -> bool {
        self.once.contains(&day) || self.yearly.contains(&MonthDay::of(day))
    }

    fn next_break(&self, after: Date) -> Option<Date> {
        let once = self.once.range(after..).next().copied();
        let today = MonthDay::of(after);
        // Behind the last one of a year comes the first one of the next.
        let yearly = self.yearly.range(today..).next().or_else(|| self.yearly.first());
        let yearly = yearly.and_then(|day| day.from(after));
        [once, yearly].into_iter().flatten().filter_map(|date| edge(date, after)).min()
    }
}

/// What holds on certain days from one minute to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// On which days of the week.
    pub days: Days,
    /// In which part of the year, or of time; `None`: always.
    pub dates: Option<DateSpan>,
    /// Only on days of one of these lists, if there are any.
    pub on: Vec<Arc<Holidays>>,
    /// Not on days of any of these lists.
    pub not_on: Vec<Arc<Holidays>>,
    /// From when to when.
    pub window: Window,
    /// What holds then.
    pub limit: Limit,
}

impl Rule {
    /// What holds on every day from one minute to another.
    pub const fn daily(window: Window, limit: Limit) -> Self {
        Self { days: Days::ALL, dates: None, on: Vec::new(), not_on: Vec::new(), window, limit }
    }

    /// Whether its window begins on that day.
    pub fn begins_on(&self, day: Date) -> bool {
        self.days.has(day.weekday())
            && self.dates.is_none_or(|dates| dates.has(day))
            && (self.on.is_empty() || self.on.iter().any(|list| list.has(day)))
            && !self.not_on.iter().any(|list| list.has(day))
    }

    /// Whether it speaks of a minute of a day: its own window of that day does, or that of the day before
    /// which goes on into it.
    pub(super) fn speaks(&self, today: Date, yesterday: Option<Date>, minute: Minute) -> bool {
        let (from, to) = self.window.today();
        let is_within = (from..to).contains(&minute.get()) && self.begins_on(today);
        is_within
            || minute.get() < self.window.tomorrow()
                && yesterday.is_some_and(|yesterday| self.begins_on(yesterday))
    }

    /// The first day after this one on which it may begin or cease to count.
    pub(super) fn next_break(&self, after: Date) -> Option<Date> {
        let dates = self.dates.and_then(|dates| dates.next_break(after));
        let lists = self.on.iter().chain(&self.not_on).filter_map(|list| list.next_break(after));
        lists.chain(dates).min()
    }
}
