//! Through time, from change to change, by a clock that people put forward and back.

use super::day::Day;
use super::rule::Minute;
use super::{Calendar, Limit};
use jiff::civil::{Date, Time};
use jiff::{Timestamp, ToSpan};

/// A piece of time in which one and the same holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends, after that.
    pub to: Timestamp,
    /// What holds.
    pub limit: Limit,
}

/// See [`Calendar::spans`].
#[derive(Clone, Debug)]
pub struct Spans<'c> {
    walk: Walk<'c>,
    ahead: Option<Piece>,
}

impl<'c> Spans<'c> {
    pub(super) fn new(calendar: &'c Calendar, from: Timestamp, until: Timestamp) -> Self {
        let walk = Walk { calendar, now: from, until, day: None, turns: None };
        Self { walk, ahead: None }
    }
}

impl Iterator for Spans<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let mut piece = self.ahead.take().or_else(|| self.walk.next())?;
        for next in self.walk.by_ref() {
            if next.limit != piece.limit {
                self.ahead = Some(next);
                break;
            }
            piece.to = next.to;
        }
        Some(piece)
    }
}

/// Pieces that end as well where a day does, and where the clocks are changed.
#[derive(Clone, Debug)]
struct Walk<'c> {
    calendar: &'c Calendar,
    now: Timestamp,
    until: Timestamp,
    /// What holds on the day that was looked at last.
    day: Option<(Date, Day)>,
    /// When the clocks are changed next, if that was looked for; the end of time if never.
    turns: Option<Timestamp>,
}

impl Walk<'_> {
    fn day(&mut self, date: Date) -> &Day {
        if self.day.as_ref().is_none_or(|(of, _)| *of != date) {
            self.day = None;
        }
        &self.day.get_or_insert_with(|| (date, self.calendar.day(date))).1
    }

    /// When the clocks are changed after this moment.
    fn turns(&mut self) -> Timestamp {
        match self.turns {
            Some(turns) if turns > self.now => turns,
            _ => {
                let next = self.calendar.zone.following(self.now).map(|turn| turn.timestamp());
                let next = next.take(4).find(|turn| *turn > self.now).unwrap_or(Timestamp::MAX);
                *self.turns.insert(next)
            }
        }
    }

    /// How far nothing changes for certain, if a whole day of `limit` is part of a longer time of it.
    fn quiet(&mut self, date: Date, limit: Limit) -> Option<Timestamp> {
        /// Days by which no place ever put its clocks forward or back at once.
        const MARGIN: i32 = 3;
        // Clocks that are put back may show the end of the day before again.
        if self.turns() < self.now.checked_add((24 * MARGIN).hours()).ok()? {
            return None;
        }
        let last = self.calendar.zone.to_datetime(self.until).date();
        let loud = self.calendar.quiet_until(date, limit, last);
        let safe = loud.checked_sub(MARGIN.days()).ok()?;
        let safe = self.calendar.zone.to_timestamp(safe.to_datetime(Time::midnight())).ok()?;
        Some(safe).filter(|safe| *safe > self.now)
    }
}

impl Iterator for Walk<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.now >= self.until {
            return None;
        }
        let shown = self.calendar.zone.to_datetime(self.now);
        let (limit, until) = self.day(shown.date()).at(Minute::of(shown.time()));
        let passed = shown.time().duration_since(Time::midnight()).as_nanos();
        let rest = i128::from(until) * 60 * 1_000_000_000 - passed;
        let ends = Timestamp::from_nanosecond(self.now.as_nanosecond() + rest);
        let mut to = ends.unwrap_or(Timestamp::MAX).min(self.turns());
        if self.day(shown.date()).whole() == Some(limit)
            && let Some(quiet) = self.quiet(shown.date(), limit)
        {
            to = to.max(quiet);
        }
        let to = to.min(self.until);
        let piece = Piece { from: self.now, to, limit };
        self.now = to;
        Some(piece)
    }
}
