//! What holds on one day of the clock on the wall, from minute to minute.

use super::rule::{Minute, Rule};
use super::{Calendar, Limit};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// A day, as what holds from which minute on; the first is 00:00, neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day(Vec<(u16, Limit)>);

impl Day {
    /// What holds from a minute on, and up to which.
    pub(super) fn at(&self, minute: Minute) -> (Limit, u16) {
        let behind = self.0.partition_point(|(from, _)| *from <= minute.get());
        let until = self.0.get(behind).map_or(Minute::END.get(), |(from, _)| *from);
        // There is always one that begins at 00:00.
        (self.0.get(behind.saturating_sub(1)).map_or(Limit::Full, |(_, limit)| *limit), until)
    }

    /// What holds from its beginning to its end, if that is one thing.
    pub(super) fn whole(&self) -> Option<Limit> {
        match self.0.as_slice() {
            [(_, limit)] => Some(*limit),
            _ => None,
        }
    }
}

impl Calendar {
    /// What holds on a day. Rules are laid upon each other in their order.
    pub(super) fn day(&self, today: Date) -> Day {
        let yesterday = today.yesterday().ok();
        let mut laid = BTreeMap::from([(0, self.otherwise)]);
        for rule in &self.rules {
            let Rule { window, limit, .. } = rule;
            let goes_on = window.tomorrow() > 0
                && yesterday.is_some_and(|yesterday| rule.begins_on(yesterday));
            if goes_on {
                lay(&mut laid, (0, window.tomorrow()), *limit);
            }
            if rule.begins_on(today) {
                lay(&mut laid, window.today(), *limit);
            }
        }
        let mut pieces: Vec<(u16, Limit)> = laid.into_iter().collect();
        pieces.dedup_by_key(|(_, limit)| *limit);
        Day(pieces)
    }

    /// From `day` on `limit` holds without a pause: up to the beginning of the day that is returned, on which
    /// it may be otherwise, or up to one that is not before `until`.
    pub(super) fn quiet_until(&self, day: Date, limit: Limit, until: Date) -> Date {
        /// Days after which all days of the week came, and each of them after one that counts alike.
        const WEEK: usize = 9;
        let (mut from, is_quiet) = (day, |day: &Date| self.day(*day).whole() == Some(limit));
        while from < until {
            let next = self.next_break(from).unwrap_or(Date::MAX);
            let mut days = std::iter::successors(Some(from), |day| day.tomorrow().ok()).take(WEEK);
            if let Some(loud) = days.find(|day| *day < next && !is_quiet(day)) {
                return loud;
            }
            if next == Date::MAX {
                return next;
            }
            from = next;
        }
        from
    }
}

/// Lays a limit upon what holds from one minute up to another.
fn lay(laid: &mut BTreeMap<u16, Limit>, (from, to): (u16, u16), limit: Limit) {
    if let Some(behind) = laid.range(..=to).next_back().map(|(_, limit)| *limit)
        && to < Minute::END.get()
    {
        laid.insert(to, behind);
    }
    let covered: Vec<u16> = laid.range(from..to).map(|(from, _)| *from).collect();
    for from in covered {
        laid.remove(&from);
    }
    laid.insert(from, limit);
}
