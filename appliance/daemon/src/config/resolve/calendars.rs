//! Calendars, the holidays that they know, and the rules of each.

use super::super::calendars::Calendars;
use super::super::raw::{At, Key, Section};
use super::super::{host::Host, quantity};
use super::{Faults, NAME, shown, site_name};
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::{
    Calendar, DateSpan, Days, Holidays, Limit, Minute, MonthDay, Percent, Rule, Window,
};
use farhaul_sync::limits::CALENDAR_RULES_MAX;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DATES_LISTED: Key = Key { name: "dates", example: "[\"12-25\", \"2027-03-26\"]" };
const ZONE: Key = Key { name: "zone", example: "\"Europe/Berlin\"" };
const OTHERWISE: Key =
    Key { name: "otherwise", example: "\"full\", \"pause\", \"40 Mbit/s\" or \"50 %\"" };
const RULE: Key = Key { name: "rule", example: "[] or sections [[calendar.rule]]" };
const DAYS: Key = Key { name: "days", example: "[\"mon-fri\", \"sun\"]" };
const DATES: Key =
    Key { name: "dates", example: "\"12-24..01-06\", \"2027-06-01..2027-08-31\" or one date" };
const ON: Key = Key { name: "on", example: "[\"germany\"] with names of [[holidays]]" };
const NOT_ON: Key = Key { name: "not-on", example: "[\"germany\"] with names of [[holidays]]" };
const FROM: Key = Key { name: "from", example: "\"22:00\"" };
const TO: Key = Key { name: "to", example: "\"06:00\" or \"24:00\"" };
const LIMIT: Key = Key { name: "limit", example: "\"full\", \"pause\", \"40 Mbit/s\" or \"50 %\"" };

/// Calendars of a site.
const CALENDARS_MAX: usize = 64;
/// Lists of holidays of a site.
const LISTS_MAX: usize = 64;
/// Days of one of them.
const LISTED_MAX: usize = 1024;

/// Lists of holidays by name; one with a fault is known all the same.
pub(super) type Lists = BTreeMap<String, Arc<Holidays>>;

/// The lists of holidays.
pub(super) fn holidays(sections: Vec<Section<'_>>, faults: &mut Faults) -> Lists {
    bounded(&sections, LISTS_MAX, "lists of holidays", faults);
    let mut lists = Lists::new();
    for mut section in sections {
        let name = own_name(&mut section, &lists, "a list of holidays", faults);
        let mut list = Holidays::default();
        if !section.has(DATES_LISTED.name) {
            section.missing(DATES_LISTED, faults);
        }
        let dates = section.list(DATES_LISTED, faults).map_or(Vec::new(), |dates| dates.value);
        if let Some(beyond) = dates.get(LISTED_MAX) {
            let what = format!("a list of {} days", dates.len());
            faults.add(beyond.at, what, format!("write {LISTED_MAX} at most"));
        }
        for text in dates {
            match day(text.value) {
                Some(Day::Yearly(day)) => drop(list.yearly.insert(day)),
                Some(Day::Once(date)) => drop(list.once.insert(date)),
                None => no_date(text, faults),
            }
        }
        section.end(faults);
        lists.extend(name.map(|name| (name, Arc::new(list))));
    }
    lists
}

/// The calendars; one with a fault is known all the same.
pub(super) fn calendars(
    sections: Vec<Section<'_>>,
    lists: &Lists,
    host: Host,
    faults: &mut Faults,
) -> Calendars {
    bounded(&sections, CALENDARS_MAX, "calendars", faults);
    let mut calendars = Calendars::new();
    for mut section in sections {
        let at = section.at();
        let name = own_name(&mut section, &calendars, "a calendar", faults);
        let zone = section.required(ZONE, faults).and_then(|zone| {
            let found = (host.zone)(zone.value);
            if found.is_none() {
                let what = format!("`zone` = \"{}\" is no time zone", shown(zone.value));
                let advice = format!("{}, a name of the IANA list (tzdata)", ZONE.advice());
                faults.add(zone.at, what, advice);
            }
            found
        });
        let otherwise = section.text(OTHERWISE, faults);
        let otherwise = otherwise.and_then(|text| limit(OTHERWISE, text, faults));
        let rules = section.sections(RULE, "[[calendar.rule]]", faults);
        if rules.len() > CALENDAR_RULES_MAX {
            let what = format!("a calendar of {} rules", rules.len());
            faults.add(at, what, format!("write {CALENDAR_RULES_MAX} at most"));
        }
        let rules: Vec<Rule> =
            rules.into_iter().filter_map(|section| rule(section, lists, faults)).collect();
        section.end(faults);
        let (zone, otherwise) = (zone.unwrap_or(TimeZone::UTC), otherwise.unwrap_or(Limit::Full));
        // More rules than that are a fault already.
        let calendar = Calendar::new(zone, rules, otherwise).ok();
        calendars.extend(name.zip(calendar).map(|(name, one)| (name, Arc::new(one))));
    }
    calendars
}

fn bounded(sections: &[Section<'_>], most: usize, what: &str, faults: &mut Faults) {
    if let Some(section) = sections.get(most) {
        let what = format!("there are {} {what}", sections.len());
        faults.add(section.at(), what, format!("write {most} at most"));
    }
}

/// A name that no other one has.
pub(super) fn own_name<T>(
    section: &mut Section<'_>,
    others: &BTreeMap<String, T>,
    called: &str,
    faults: &mut Faults,
) -> Option<String> {
    let text = section.required(NAME, faults)?;
    let name = site_name(NAME, text, faults)?;
    if others.contains_key(&name) {
        let what = format!("{called} has the name `{name}` already");
        faults.add(text.at, what, "give each one a name of its own");
        return None;
    }
    Some(name)
}

fn rule(mut section: Section<'_>, lists: &Lists, faults: &mut Faults) -> Option<Rule> {
    let days = days(&mut section, faults);
    let dates = section.text(DATES, faults);
    let dates = dates.map(|text| (dates_of(text.value), text));
    let on = named(&mut section, ON, lists, faults);
    let not_on = named(&mut section, NOT_ON, lists, faults);
    let from = section.text(FROM, faults);
    let to = section.text(TO, faults);
    let limits = section.required(LIMIT, faults);
    section.end(faults);
    let first = from.map_or(Some(Minute::FIRST), |text| minute(FROM, text, faults));
    let last = to.map_or(Some(Minute::END), |text| minute(TO, text, faults));
    let limit = limits.and_then(|text| limit(LIMIT, text, faults));
    let dates = match dates {
        Some((None, text)) => {
            let what = format!("`dates` = \"{}\" is no range of dates", shown(text.value));
            faults.add(text.at, what, DATES.advice());
            None
        }
        Some((Some(dates), _)) => Some(dates),
        None => None,
    };
    let window = Window::new(first?, last?).map_err(|error| {
        let at = to.or(from).map_or(0, |text| text.at);
        faults.add(at, error.to_string(), "write another `to`, or leave out both");
    });
    let (days, window, limit) = (days?, window.ok()?, limit?);
    Some(Rule { days, dates, on, not_on, window, limit })
}

/// What holds, in words or as a quantity.
pub(super) fn limit(key: Key, text: At<&str>, faults: &mut Faults) -> Option<Limit> {
    match text.value {
        "full" => return Some(Limit::Full),
        "pause" => return Some(Limit::Pause),
        _ => {}
    }
    let range = BitRate::kbps(10)..=BitRate::kbps(1_000_000_000);
    let percent = quantity::percent(text.value);
    let read = match percent {
        Ok(part) => Ok(Percent::new(part).map(Limit::Percent)),
        Err(_) => quantity::rate(text.value)
            .map(|rate| Some(rate).filter(|rate| range.contains(rate)).map(Limit::Rate)),
    };
    let named = format!("`{}` = \"{}\"", key.name, shown(text.value));
    match read {
        Ok(Some(limit)) => return Some(limit),
        Ok(None) => {
            let advice = "write 1 % to 100 %, 10 kbit/s to 1000 Gbit/s, or \"pause\" for nothing";
            faults.add(text.at, format!("{named} is out of range"), advice);
        }
        Err(error) => faults.add(text.at, format!("{named} {error}"), key.advice()),
    }
    None
}

/// Lists of holidays by their names.
fn named(
    section: &mut Section<'_>,
    key: Key,
    lists: &Lists,
    faults: &mut Faults,
) -> Vec<Arc<Holidays>> {
    let names = section.list(key, faults).map_or(Vec::new(), |names| names.value);
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for name in names {
        if !seen.insert(name.value) {
            let what = format!("`{}` is in the list already", shown(name.value));
            faults.add(name.at, what, "name each list of holidays once");
            continue;
        }
        match lists.get(name.value) {
            Some(list) => found.push(Arc::clone(list)),
            None => {
                let what = format!("there is no list of holidays `{}`", shown(name.value));
                let advice = "add [[holidays]] of that name, or write one that is there";
                faults.add(name.at, what, advice);
            }
        }
    }
    found
}

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// `None` if what is written is wrong.
fn days(section: &mut Section<'_>, faults: &mut Faults) -> Option<Days> {
    if !section.has(DAYS.name) {
        let _ = section.value(DAYS.name);
        return Some(Days::ALL);
    }
    let list = section.list(DAYS, faults)?;
    let mut days = Vec::new();
    for text in &list.value {
        match week_days(text.value) {
            Some(some) => days.extend(some),
            None => {
                let what = format!("\"{}\" is no day of the week", shown(text.value));
                let advice = "write mon, tue, wed, thu, fri, sat or sun, or two of them as mon-fri";
                faults.add(text.at, what, advice);
                return None;
            }
        }
    }
    if days.is_empty() {
        let advice = format!("{}, or leave it out for all", DAYS.advice());
        faults.add(list.at, "`days` names no day", advice);
    }
    Days::of(days)
}

/// A day of the week, or from one to another, over Sunday if it is written so.
fn week_days(text: &str) -> Option<Vec<Weekday>> {
    let day = |text: &str| WEEK.iter().position(|(name, _)| *name == text);
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (day(from)?, day(to)?);
    let count = (to + WEEK.len() - from) % WEEK.len() + 1;
    Some(WEEK.iter().cycle().skip(from).take(count).map(|(_, day)| *day).collect())
}

/// `HH:MM`.
fn minute(key: Key, text: At<&str>, faults: &mut Faults) -> Option<Minute> {
    let read = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        Minute::new(digits(hour, 2)?, digits(minute, 2)?)
    };
    let minute = read(text.value);
    if minute.is_none() {
        let what = format!("`{}` = \"{}\" is no time of day", key.name, shown(text.value));
        faults.add(text.at, what, key.advice());
    }
    minute
}

/// A number of so many digits.
fn digits(text: &str, count: usize) -> Option<u16> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// A day of one year or of each.
#[derive(Clone, Copy)]
enum Day {
    Yearly(MonthDay),
    Once(Date),
}

/// `MM-DD` or `YYYY-MM-DD`.
fn day(text: &str) -> Option<Day> {
    let small = |text: &str| i8::try_from(digits(text, 2)?).ok();
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [month, day] => MonthDay::new(small(month)?, small(day)?).map(Day::Yearly),
        [year, month, day] => {
            let year = i16::try_from(digits(year, 4)?).ok().filter(|year| *year >= 1970)?;
            Date::new(year, small(month)?, small(day)?).ok().map(Day::Once)
        }
        _ => None,
    }
}

/// One day, or from one to another of the same kind.
fn dates_of(text: &str) -> Option<DateSpan> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (day(from)?, day(to)?) {
        (Day::Yearly(from), Day::Yearly(to)) => Some(DateSpan::Yearly(from, to)),
        (Day::Once(from), Day::Once(to)) => DateSpan::once(from, to).ok(),
        _ => None,
    }
}

fn no_date(text: At<&str>, faults: &mut Faults) {
    let what = format!("\"{}\" is no date", shown(text.value));
    faults.add(text.at, what, "write MM-DD for a day of every year, or YYYY-MM-DD from 1970 on");
}
