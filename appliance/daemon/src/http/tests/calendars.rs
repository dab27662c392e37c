//! What the API says of calendars and links.

use super::*;
use farhaul_api::{CalendarStatus, CalendarView};

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_is_told_as_it_is_at_a_moment_and_changes_after_it() {
    let site = Site::new();
    let all: Vec<CalendarStatus> = site.get("/api/v1/calendars").await;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["days", "never"]);
    let address = "/api/v1/calendars/days?at=2026-10-24T20:00:00Z&until=2026-10-26T12:00:00Z";
    let days: CalendarView = site.get(address).await;
    let status = &days.status;
    assert_eq!((status.zone.as_str(), status.limit.as_str()), ("Europe/Berlin", "full"));
    assert_eq!(status.local, "2026-10-24T22:00:00+02:00");
    // The clocks were put back in that night.
    assert_eq!(status.until.as_deref(), Some("2026-10-25T07:00:00Z"));
    let changes: Vec<[&str; 3]> =
        days.changes.iter().map(|one| [&*one.at, &*one.local, &*one.limit]).collect();
    let expected = [
        ["2026-10-25T07:00:00Z", "2026-10-25T08:00:00+01:00", "25 %"],
        ["2026-10-25T17:00:00Z", "2026-10-25T18:00:00+01:00", "full"],
        ["2026-10-26T07:00:00Z", "2026-10-26T08:00:00+01:00", "25 %"],
    ];
    assert_eq!(changes, expected);
    assert_eq!(days.looked, "2026-10-26T12:00:00Z");
    let uses: Vec<(&str, &str, Option<u64>)> =
        status.uses.iter().map(|one| (&*one.link, &*one.class, one.rate_bps)).collect();
    let all = Some(100_000_000);
    assert_eq!(
        uses,
        [("wan", "urgent", all), ("wan", "normal", all), ("wan", "background", Some(0))]
    );
    let never: CalendarView = site.get("/api/v1/calendars/never").await;
    assert_eq!((never.status.limit.as_str(), &never.status.until), ("pause", &None));
    assert_eq!((never.status.uses.len(), never.changes.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_may_go_over_a_link() {
    let site = Site::new();
    let status: SiteStatus = site.get("/api/v1/status").await;
    let [wan] = status.links.as_slice() else { panic!("{:?}", status.links) };
    assert_eq!((wan.name.as_str(), wan.calendar.as_deref()), ("wan", Some("days")));
    assert_eq!((wan.up_bps, wan.sessions), (Some(100_000_000), 0));
    let (limit, rate) = (wan.limit.as_str(), wan.rate_bps);
    assert!([("full", Some(100_000_000)), ("25 %", Some(25_000_000))].contains(&(limit, rate)));
    assert!(wan.until.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_there_is_not_and_a_span_that_makes_no_sense_are_refused() {
    let site = Site::new();
    for (address, status, title) in [
        ("nights", 404, "no such calendar"),
        ("days?at=tomorrow", 400, "no such moment"),
        ("days?at=2026-01-01T00:00:00Z&until=2025-01-01T00:00:00Z", 400, "no such span of time"),
        ("days?at=2026-01-01T00:00:00Z&until=2029-01-01T00:00:00Z", 400, "no such span of time"),
        ("days?at=9999-12-30T00:00:00Z&until=-009999-01-05T00:00:00Z", 400, "no such span of time"),
        ("days?when=now", 400, "the request cannot be read"),
    ] {
        let failed = site.fails(Method::GET, &format!("/api/v1/calendars/{address}"), "").await;
        assert_eq!((failed.status, failed.title.as_str()), (status, title), "{address}");
    }
    let last = "/api/v1/calendars/days?at=9999-12-30T21:00:00Z";
    let _: CalendarView = site.get(last).await;
}

/// What is not told at once is told from where the answer says that it ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_many_changes_says_up_to_when_it_looked() {
    let site = Site::new();
    let address = "/api/v1/calendars/days?at=2026-01-01T00:00:00Z&until=2027-01-31T00:00:00Z";
    let year: CalendarView = site.get(address).await;
    assert_eq!((year.changes.len(), year.looked.as_str()), (790, "2027-01-31T00:00:00Z"));
}
