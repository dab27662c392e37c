//! Calendars against a minute by minute look at the clock on the wall, around changes of clocks.

use super::*;
use jiff::SignedDuration;
use jiff::civil::{Weekday, date};
use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;
use std::sync::Arc;

use farhaul_proto::units::Bytes;

const MBPS: fn(u64) -> BitRate = BitRate::mbps;

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn minute(text: &str) -> Minute {
    let (hour, minute) = text.split_once(':').unwrap();
    Minute::new(hour.parse().unwrap(), minute.parse().unwrap()).unwrap()
}

fn window(from: &str, to: &str) -> Window {
    Window::new(minute(from), minute(to)).unwrap()
}

fn rate(mbps: u64) -> Limit {
    Limit::Rate(MBPS(mbps))
}

/// Full, but for one window of each day.
fn daily(name: &str, from: &str, to: &str) -> Calendar {
    let rule = Rule::daily(window(from, to), Limit::Pause);
    Calendar::new(zone(name), vec![rule], Limit::Full).unwrap()
}

/// The changes of a span, as text.
fn changes(calendar: &Calendar, from: &str, until: &str) -> Vec<(String, Limit)> {
    let spans = calendar.spans(instant(from), instant(until)).skip(1);
    spans.map(|piece| (piece.from.to_string(), piece.limit)).collect()
}

fn told(changes: &[(&str, Limit)]) -> Vec<(String, Limit)> {
    changes.iter().map(|(at, limit)| ((*at).to_owned(), *limit)).collect()
}

/// spec: S-200
#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let friday = Days::of([Weekday::Friday]).unwrap();
    let rule = Rule { days: friday, ..Rule::daily(window("22:00", "06:00"), Limit::Pause) };
    let calendar = Calendar::new(TimeZone::UTC, vec![rule], Limit::Full).unwrap();
    // 2026-01-02 is a Friday.
    let expected =
        told(&[("2026-01-02T22:00:00Z", Limit::Pause), ("2026-01-03T06:00:00Z", Limit::Full)]);
    assert_eq!(changes(&calendar, "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z"), expected);
    assert_eq!(calendar.at(instant("2026-01-03T05:59:59.999999999Z")), Limit::Pause);
    assert_eq!(calendar.at(instant("2026-01-02T05:00:00Z")), Limit::Full);
}

/// spec: S-200
#[test]
fn an_hour_that_is_left_out_does_not_hold_and_one_that_is_repeated_holds_twice() {
    let berlin = daily("Europe/Berlin", "02:00", "03:00");
    assert_eq!(changes(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), []);
    let expected =
        told(&[("2026-10-25T00:00:00Z", Limit::Pause), ("2026-10-25T02:00:00Z", Limit::Full)]);
    assert_eq!(changes(&berlin, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), expected);
    // A window that begins in what is left out begins when the clocks go on.
    let berlin = daily("Europe/Berlin", "02:30", "03:30");
    let expected =
        told(&[("2026-03-29T01:00:00Z", Limit::Pause), ("2026-03-29T01:30:00Z", Limit::Full)]);
    assert_eq!(changes(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), expected);
    // One that ends in what is repeated holds, ends, and holds again.
    let new_york = daily("America/New_York", "01:00", "01:30");
    let expected = told(&[
        ("2026-11-01T05:00:00Z", Limit::Pause),
        ("2026-11-01T05:30:00Z", Limit::Full),
        ("2026-11-01T06:00:00Z", Limit::Pause),
        ("2026-11-01T06:30:00Z", Limit::Full),
    ]);
    assert_eq!(changes(&new_york, "2026-10-31T12:00:00Z", "2026-11-01T12:00:00Z"), expected);
}

/// spec: S-200
#[test]
fn half_an_hour_of_summer_time_and_a_day_that_a_place_left_out_are_seen() {
    let island = daily("Australia/Lord_Howe", "01:45", "02:15");
    // 2026-04-05 at 02:00 (+11) clocks go back to 01:30 (+10:30).
    let expected = told(&[
        ("2026-04-04T14:45:00Z", Limit::Pause),
        ("2026-04-04T15:00:00Z", Limit::Full),
        ("2026-04-04T15:15:00Z", Limit::Pause),
        ("2026-04-04T15:45:00Z", Limit::Full),
    ]);
    assert_eq!(changes(&island, "2026-04-04T12:00:00Z", "2026-04-05T00:00:00Z"), expected);
    // There was no 30 December 2011: a Friday. What went on from it went on.
    let friday = Days::of([Weekday::Friday]).unwrap();
    let rule = Rule { days: friday, ..Rule::daily(window("20:00", "04:00"), Limit::Pause) };
    let calendar = Calendar::new(zone("Pacific/Apia"), vec![rule], Limit::Full).unwrap();
    let expected =
        told(&[("2011-12-30T10:00:00Z", Limit::Pause), ("2011-12-30T14:00:00Z", Limit::Full)]);
    assert_eq!(changes(&calendar, "2011-12-25T00:00:00Z", "2012-01-01T00:00:00Z"), expected);
}

/// spec: S-200
#[test]
fn clocks_that_go_back_over_midnight_show_the_evening_of_the_day_before_again() {
    // At 00:01 of 7 November 2010 they showed 23:01 of the 6th.
    let day = date(2010, 11, 6);
    let dates = Some(DateSpan::once(day, day).unwrap());
    let rule = Rule { dates, ..Rule::daily(window("22:00", "24:00"), Limit::Pause) };
    let calendar = Calendar::new(zone("America/St_Johns"), vec![rule], Limit::Full).unwrap();
    let expected = told(&[
        ("2010-11-07T00:30:00Z", Limit::Pause),
        ("2010-11-07T02:30:00Z", Limit::Full),
        ("2010-11-07T02:31:00Z", Limit::Pause),
        ("2010-11-07T03:30:00Z", Limit::Full),
    ]);
    assert_eq!(changes(&calendar, "2010-11-01T00:00:00Z", "2010-12-24T00:00:00Z"), expected);
}

/// spec: S-201
#[test]
fn the_last_rule_that_speaks_wins_and_the_order_counts() {
    let day = Rule::daily(window("08:00", "18:00"), rate(10));
    let noon = Rule::daily(window("12:00", "13:00"), Limit::Percent(Percent::new(50).unwrap()));
    let at = instant("2026-05-05T12:30:00Z");
    let calendar = |rules| Calendar::new(TimeZone::UTC, rules, Limit::Full).unwrap();
    assert_eq!(calendar(vec![day.clone(), noon.clone()]).at(at), noon.limit);
    assert_eq!(calendar(vec![noon, day]).at(at), rate(10));
    assert_eq!(calendar(vec![]).at(at), Limit::Full);
}

/// spec: S-202
#[test]
fn holidays_are_days_on_which_a_rule_holds_only_or_does_not() {
    let christmas = MonthDay::new(12, 25).unwrap();
    let list =
        Holidays { yearly: [christmas].into(), once: [date(2026, 4, 3)].into_iter().collect() };
    let list = Arc::new(list);
    let office =
        Rule { not_on: vec![Arc::clone(&list)], ..Rule::daily(window("08:00", "18:00"), rate(10)) };
    let quiet = Rule { on: vec![list], ..Rule::daily(Window::DAY, Limit::Percent(percent(90))) };
    let calendar = Calendar::new(TimeZone::UTC, vec![office, quiet.clone()], Limit::Full).unwrap();
    assert_eq!(calendar.at(instant("2026-04-02T09:00:00Z")), rate(10));
    assert_eq!(calendar.at(instant("2026-04-03T09:00:00Z")), quiet.limit);
    assert_eq!(calendar.at(instant("2027-04-03T09:00:00Z")), rate(10));
    assert_eq!(calendar.at(instant("9998-12-25T23:59:00Z")), quiet.limit);
    // Only on holidays: nothing changes for months, and that is found at once.
    let calendar = Calendar::new(TimeZone::UTC, vec![quiet], Limit::Full).unwrap();
    let next = calendar.next_change(instant("2026-04-04T12:00:00Z"), Timestamp::MAX);
    assert_eq!(next, Some(instant("2026-12-25T00:00:00Z")));
}

fn percent(n: u64) -> Percent {
    Percent::new(n).unwrap()
}

/// spec: S-202
#[test]
fn dates_of_every_year_go_over_its_turn_and_a_leap_day_is_one_of_leap_years() {
    let of = |from, to, limit| Rule {
        dates: Some(DateSpan::Yearly(from, to)),
        ..Rule::daily(Window::DAY, limit)
    };
    let day = |month, day| MonthDay::new(month, day).unwrap();
    let turn = of(day(12, 24), day(1, 6), Limit::Pause);
    let calendar = Calendar::new(TimeZone::UTC, vec![turn], Limit::Full).unwrap();
    let expected =
        told(&[("2026-12-24T00:00:00Z", Limit::Pause), ("2027-01-07T00:00:00Z", Limit::Full)]);
    assert_eq!(changes(&calendar, "2026-06-01T00:00:00Z", "2027-06-01T00:00:00Z"), expected);

    let leap = of(day(2, 29), day(2, 29), Limit::Pause);
    let calendar = Calendar::new(TimeZone::UTC, vec![leap], Limit::Full).unwrap();
    // 2100 is no leap year.
    let next = calendar.next_change(instant("2096-03-01T00:00:00Z"), Timestamp::MAX);
    assert_eq!(next, Some(instant("2104-02-29T00:00:00Z")));
    let until = of(day(2, 1), day(2, 29), Limit::Pause);
    let calendar = Calendar::new(TimeZone::UTC, vec![until], Limit::Full).unwrap();
    let next = calendar.next_change(instant("2026-02-10T00:00:00Z"), Timestamp::MAX);
    assert_eq!(next, Some(instant("2026-03-01T00:00:00Z")));
}

#[test]
fn what_never_changes_is_known_to_the_end_of_time() {
    let rules = || {
        let yearly = DateSpan::Yearly(MonthDay::new(3, 1).unwrap(), MonthDay::new(5, 1).unwrap());
        (0..4).map(move |_| Rule { dates: Some(yearly), ..Rule::daily(Window::DAY, Limit::Full) })
    };
    let calendar = Calendar::new(zone("Europe/Berlin"), rules().collect(), Limit::Full).unwrap();
    assert_eq!(calendar.next_change(instant("1970-01-01T00:00:00Z"), Timestamp::MAX), None);
    let far = DateSpan::once(date(9998, 6, 1), date(9998, 6, 2)).unwrap();
    let far = Rule { dates: Some(far), ..Rule::daily(Window::DAY, Limit::Pause) };
    let calendar = Calendar::new(TimeZone::UTC, vec![far], Limit::Full).unwrap();
    let expected =
        told(&[("9998-06-01T00:00:00Z", Limit::Pause), ("9998-06-03T00:00:00Z", Limit::Full)]);
    assert_eq!(changes(&calendar, "1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"), expected);
}

/// As many rules as may be, of other days each, and holidays besides: what is looked at is bounded by days.
#[test]
fn as_many_rules_as_may_be_are_looked_through_for_years() {
    let days = (1..=12i8).flat_map(|month| (1..=28i8).map(move |day| (month, day)));
    let days: Vec<MonthDay> = days.filter_map(|(month, day)| MonthDay::new(month, day)).collect();
    let list = Arc::new(Holidays { yearly: days.iter().copied().collect(), ..Holidays::default() });
    let rule = |day: &MonthDay| Rule {
        dates: Some(DateSpan::Yearly(*day, *day)),
        not_on: vec![Arc::clone(&list)],
        ..Rule::daily(window("22:00", "06:00"), Limit::Pause)
    };
    let rules: Vec<Rule> = days.iter().take(256).map(rule).collect();
    let calendar = Calendar::new(zone("Europe/Berlin"), rules, Limit::Full).unwrap();
    let (from, until) = (instant("2026-01-01T00:00:00Z"), instant("2046-01-01T00:00:00Z"));
    assert_eq!(calendar.next_change(from, until), None);
    assert_eq!(calendar.next_open(from, until), Some(from));
}

#[test]
fn time_ends_and_nothing_is_looked_for_behind_its_end() {
    let calendar = daily("Pacific/Kiritimati", "22:00", "06:00");
    let (last, first) = (Timestamp::MAX, Timestamp::MIN);
    assert_eq!(calendar.next_change(last, last), None);
    assert_eq!(calendar.next_change(instant("9999-12-30T21:00:00Z"), last), None);
    assert!(calendar.next_change(first, instant("-009999-01-05T00:00:00Z")).is_some());
    assert_eq!(calendar.spans(last, first).count(), 0);
    assert_eq!(calendar.capacity(BitRate::MAX, last, first), Bytes::ZERO);
}

#[test]
fn parts_of_a_calendar_that_mean_nothing_are_refused() {
    assert_eq!(Window::new(minute("08:00"), minute("08:00")), Err(CalendarError::Window));
    assert_eq!(Window::new(minute("24:00"), minute("00:00")), Ok(Window::DAY));
    assert_eq!(Window::new(minute("00:00"), minute("24:00")), Ok(Window::DAY));
    assert_eq!(window("22:00", "00:00"), window("22:00", "24:00"));
    assert_eq!(Minute::new(24, 1).or(Minute::new(7, 60)).or(Minute::new(25, 0)), None);
    assert_eq!(MonthDay::new(2, 30).or(MonthDay::new(13, 1)).or(MonthDay::new(0, 1)), None);
    assert_eq!(DateSpan::once(date(2026, 2, 2), date(2026, 2, 1)), Err(CalendarError::Dates));
    assert_eq!(Percent::new(0).or(Percent::new(101)), None);
    assert_eq!(Days::of([]), None);
    let rules = vec![Rule::daily(Window::DAY, Limit::Full); 257];
    let refused = Calendar::new(TimeZone::UTC, rules, Limit::Full);
    assert_eq!(refused, Err(CalendarError::Rules(257)));
}

/// spec: S-203
#[test]
fn capacity_and_the_end_of_a_job_are_those_of_the_windows() {
    let night = Rule::daily(window("22:00", "06:00"), Limit::Full);
    let calendar = Calendar::new(zone("Europe/Berlin"), vec![night], Limit::Pause).unwrap();
    let link = MBPS(80);
    // Eight hours each night, seven in the one in which clocks are put forward.
    let (from, to) = (instant("2026-03-27T11:00:00Z"), instant("2026-03-29T10:00:00Z"));
    let hour = 36_000_000_000;
    assert_eq!(calendar.capacity(link, from, to), Bytes::new(15 * hour));
    let done = calendar.when_done(Bytes::new(10 * hour), link, from, Timestamp::MAX);
    assert_eq!(done, Some(instant("2026-03-28T23:00:00Z")));
    assert_eq!(calendar.when_done(Bytes::new(15 * hour + 1), link, from, to), None);
    assert_eq!(calendar.when_done(Bytes::ZERO, link, from, to), Some(from));
    assert_eq!(calendar.next_open(from, to), Some(instant("2026-03-27T21:00:00Z")));
    let never = Calendar::new(TimeZone::UTC, vec![], Limit::Pause).unwrap();
    assert_eq!(never.when_done(Bytes::new(1), link, from, Timestamp::MAX), None);
    assert_eq!(never.next_open(from, Timestamp::MAX), None);
    let always = Calendar::new(TimeZone::UTC, vec![], Limit::Full).unwrap();
    assert_eq!(always.capacity(BitRate::MAX, from, Timestamp::MAX), Bytes::new(u64::MAX));
}

#[test]
fn a_limit_on_a_link_is_never_more_than_the_link() {
    let part = Limit::Percent(percent(50));
    assert_eq!(part.on(Some(MBPS(90))), Some(MBPS(45)));
    assert_eq!(part.on(Some(BitRate::MAX)), Some(BitRate::bps(u64::MAX / 2)));
    assert_eq!((part.on(None), Limit::Full.on(None)), (None, None));
    assert_eq!((rate(9).on(Some(MBPS(5))), rate(9).on(None)), (Some(MBPS(5)), Some(MBPS(9))));
    assert_eq!(Limit::Pause.on(None), Some(BitRate::ZERO));
}

/// Places and moments around which something is odd.
const ODD: [(&str, &str); 10] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/Havana", "2026-11-01T05:00:00Z"),
    // Clocks are put back to the day before.
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
    ("UTC", "2028-02-29T12:00:00Z"),
];

fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![
        Just(Limit::Full),
        Just(Limit::Pause),
        (1..4u64).prop_map(|n| rate(n * 10)),
        (1..4u64).prop_map(|n| Limit::Percent(percent(n * 25))),
    ]
}

/// Dates near the odd moments.
fn dates(about: Date) -> impl Strategy<Value = Option<DateSpan>> {
    let near = (-4..5i32, 0..4i32).prop_map(move |(from, long)| {
        let day = |n: i32| about.checked_add(jiff::ToSpan::days(n)).unwrap();
        (day(from), day(from + long))
    });
    let once = near.clone().prop_map(|(from, to)| DateSpan::once(from, to).unwrap());
    let month_day = |date: Date| MonthDay::new(date.month(), date.day()).unwrap();
    let yearly = near.prop_map(move |(from, to)| DateSpan::Yearly(month_day(from), month_day(to)));
    prop_oneof![2 => Just(None), 1 => once.prop_map(Some), 1 => yearly.prop_map(Some)]
}

fn lists(about: Date) -> impl Strategy<Value = Vec<Arc<Holidays>>> {
    let day = (-3..4i32).prop_map(move |n| about.checked_add(jiff::ToSpan::days(n)).unwrap());
    let list = prop::collection::vec((day, any::<bool>()), 1..3).prop_map(|days| {
        let mut list = Holidays::default();
        for (day, yearly) in days {
            match yearly {
                true => drop(list.yearly.insert(MonthDay::new(day.month(), day.day()).unwrap())),
                false => drop(list.once.insert(day)),
            }
        }
        Arc::new(list)
    });
    prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(list, 1..2)]
}

fn rules(about: Date) -> impl Strategy<Value = Vec<Rule>> {
    // Mostly quarters of an hour, at night.
    let minutes = || prop_oneof![3 => (0..20u16).prop_map(|n| n * 15), 1 => 0..=1440u16];
    let windows = (minutes(), minutes()).prop_map(|(from, to)| {
        let minute = |n: u16| Minute::new(n / 60, n % 60).unwrap();
        Window::new(minute(from), minute(to)).unwrap_or(Window::DAY)
    });
    let days = (1..128u8).prop_map(|bits| {
        let all = (0..7i8).map(|n| Weekday::from_monday_zero_offset(n).unwrap());
        Days::of(all.filter(|day| bits >> day.to_monday_zero_offset() & 1 == 1)).unwrap()
    });
    let days = prop_oneof![2 => Just(Days::ALL), 1 => days];
    let rule = (days, dates(about), lists(about), lists(about), windows, limits());
    let rule = rule.prop_map(|(days, dates, on, not_on, window, limit)| Rule {
        days,
        dates,
        on,
        not_on,
        window,
        limit,
    });
    prop::collection::vec(rule, 0..6)
}

/// A calendar, and a moment some days before what is odd there.
fn cases() -> impl Strategy<Value = (Calendar, Timestamp)> {
    (0..ODD.len(), -200..60i64, limits()).prop_flat_map(|(odd, hours, otherwise)| {
        let (place, moment) = ODD[odd];
        let (zone, moment) = (zone(place), instant(moment));
        let about = zone.to_datetime(moment).date();
        let from = moment + SignedDuration::from_hours(hours);
        rules(about)
            .prop_map(move |rules| (Calendar::new(zone.clone(), rules, otherwise).unwrap(), from))
    })
}

/// What holds by the letter of the specification, rule by rule in their order.
fn by_the_letter(calendar: &Calendar, at: Timestamp) -> Limit {
    let shown = calendar.zone().to_datetime(at);
    let minute = i32::from(shown.hour()) * 60 + i32::from(shown.minute());
    let mut holds = calendar.otherwise();
    for rule in calendar.rules() {
        let (from, to) = rule.window.today();
        let (from, to) = (i32::from(from), i32::from(to));
        let tail = i32::from(rule.window.tomorrow());
        let yesterday = shown.date().yesterday().unwrap();
        if rule.begins_on(shown.date()) && from <= minute && minute < to
            || rule.begins_on(yesterday) && minute < tail
        {
            holds = rule.limit;
        }
    }
    holds
}

proptest! {
    /// spec: S-200, S-201, S-202
    #[test]
    fn spans_are_what_a_look_each_minute_sees((calendar, from) in cases()) {
        // Offsets of these places are of whole minutes, and so are the moments.
        let minute = SignedDuration::from_mins(1);
        let until = from + SignedDuration::from_hours(5 * 24);
        let mut expected: Vec<(Timestamp, Limit)> = Vec::new();
        let mut now = from;
        while now < until {
            let holds = by_the_letter(&calendar, now);
            prop_assert_eq!(calendar.at(now), holds, "{}", now);
            if expected.last().is_none_or(|(_, limit)| *limit != holds) {
                expected.push((now, holds));
            }
            now += minute;
        }
        let spans: Vec<Piece> = calendar.spans(from, until).collect();
        let seen: Vec<(Timestamp, Limit)> = spans.iter().map(|one| (one.from, one.limit)).collect();
        prop_assert_eq!(seen, expected);
        prop_assert!(spans.windows(2).all(|pair| pair[0].to == pair[1].from));
        prop_assert_eq!(spans.last().unwrap().to, until);
    }

    /// spec: S-200
    #[test]
    fn nothing_changes_before_the_next_change((calendar, from) in cases(), ahead in 1..4000i64) {
        let until = from + SignedDuration::from_hours(ahead);
        let before = |at: Timestamp| at - SignedDuration::from_nanos(1);
        match calendar.next_change(from, until) {
            Some(next) => {
                prop_assert!(from < next && next < until);
                prop_assert_eq!(calendar.at(before(next)), calendar.at(from));
                prop_assert_ne!(calendar.at(next), calendar.at(from));
            }
            None => {
                let mut now = from;
                while now < until {
                    prop_assert_eq!(calendar.at(now), calendar.at(from), "{}", now);
                    now += SignedDuration::from_mins(15);
                }
            }
        }
    }

    /// spec: S-203
    #[test]
    fn capacity_is_the_sum_of_its_minutes((calendar, from) in cases(), minutes in 0..6000i64) {
        let link = MBPS(60);
        let mut bits = 0;
        for n in 0..minutes {
            let holds = calendar.at(from + SignedDuration::from_mins(n)).on(Some(link)).unwrap();
            bits += u128::from(holds.get()) * 60;
        }
        let to = from + SignedDuration::from_mins(minutes);
        let carried = calendar.capacity(link, from, to);
        prop_assert_eq!(u128::from(carried.get()), bits / 8);
        // It is all through when that much has gone, and not before.
        let done = calendar.when_done(carried, link, from, to);
        let done = done.unwrap();
        prop_assert!(done <= to);
        prop_assert_eq!(calendar.capacity(link, from, done), carried);
        if done > from {
            let early = done - SignedDuration::from_nanos(1);
            prop_assert!(calendar.capacity(link, from, early) < carried);
        }
    }

    /// A calendar of this time looks the same in any year: nothing comes to an end, wherever one looks.
    #[test]
    fn any_moment_of_any_year_has_a_next_change(
        (calendar, _) in cases(),
        seconds in 0..253_300_000_000i64,
        nanos in 0..1_000_000_000i32,
    ) {
        let from = Timestamp::new(seconds, nanos).unwrap();
        let until = from.checked_add(SignedDuration::from_hours(24 * 60)).unwrap_or(Timestamp::MAX);
        for piece in calendar.spans(from, until) {
            prop_assert!(piece.from < piece.to);
            prop_assert_eq!(calendar.at(piece.from), piece.limit);
            let last = piece.to - SignedDuration::from_nanos(1);
            prop_assert_eq!(calendar.at(last), piece.limit);
        }
    }
}
