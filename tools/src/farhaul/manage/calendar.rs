//! `farhaul calendar`: what holds when, for which links and classes.

use super::client::{Client, encoded};
use super::{CalendarArgs, lines, print};
use crate::farhaul::{Ended, text};
use farhaul_api::{CalendarStatus, CalendarUse, CalendarView, LinkStatus};
use farhaul_proto::units::BitRate;

pub(super) async fn list(client: Client, json: bool) -> Ended {
    let calendars: Vec<CalendarStatus> = client.get("/api/v1/calendars").await?;
    if json {
        return print(&calendars);
    }
    calendars.iter().try_for_each(|calendar| text::answer(line(calendar)))
}

pub(super) async fn show(client: Client, args: &CalendarArgs) -> Ended {
    let mut address = format!("/api/v1/calendars/{}", encoded(&args.calendar));
    let at = args.at.unwrap_or_else(super::Moment::now);
    let until = at.days_later(args.days).text();
    address.push_str(&format!("?at={}&until={}", encoded(&at.text()), encoded(&until)));
    let view: CalendarView = client.get(&address).await?;
    if args.site.json {
        return print(&view);
    }
    let CalendarView { status, changes, looked } = &view;
    text::answer(line(status))?;
    text::answer(format_args!("  {} is {} there", status.at, status.local))?;
    status.uses.iter().try_for_each(|one| text::answer(use_line(one)))?;
    for change in changes {
        text::answer(format_args!("  {}  {:25}  {}", change.at, change.local, change.limit))?;
    }
    match changes.len() as u64 {
        0 => text::answer(format_args!("  nothing changes before {looked}")),
        count => {
            let changes = lines::count(count, "change", "changes");
            text::answer(format_args!("  {changes} before {looked}"))
        }
    }
}

fn line(status: &CalendarStatus) -> String {
    let CalendarStatus { name, zone, limit, until, rules, .. } = status;
    let rules = lines::count(*rules, "rule", "rules");
    format!("{name}: {limit}{}; {rules}, {zone}", until_text(until.as_deref()))
}

fn use_line(one: &CalendarUse) -> String {
    let CalendarUse { link, class, rate_bps, until } = one;
    let until = until_text(until.as_deref());
    format!("  {class} over {link}: {}{until}", rate_text(*rate_bps))
}

/// A link in a line.
pub(super) fn link_line(link: &LinkStatus) -> String {
    let LinkStatus { name, calendar, limit, rate_bps, until, sessions, .. } = link;
    let until = until_text(until.as_deref());
    let sessions = lines::count(*sessions, "session", "sessions");
    let by = calendar.as_ref().map_or(String::new(), |calendar| format!(" by {calendar}"));
    format!("link {name}: {limit}{by}, {} for {sessions}{until}", rate_text(*rate_bps))
}

fn rate_text(bps: Option<u64>) -> String {
    bps.map_or("no limit".to_owned(), |bps| BitRate::bps(bps).to_string())
}

fn until_text(until: Option<&str>) -> String {
    until.map_or(String::new(), |until| format!(" until {until}"))
}
