//! Calendars: what holds at a moment and until when, for whom, and what changes after it.

use super::Api;
use super::fail::{Answer, Failed};
use crate::config::{Class, Config, Link};
use crate::site::SitesView;
use axum::Json;
use axum::extract::{Path, Query, State};
use farhaul_api::{
    CalendarChange, CalendarStatus, CalendarUse, CalendarView, LinkStatus, Problem, Time,
};
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::Calendar;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

/// How far is looked for a change.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How far is looked where nobody says how far.
const USUALLY: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Changes that are told at once.
const CHANGES_MAX: usize = 1000;

/// From when to when.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct When {
    /// The moment; absent: now.
    pub(super) at: Option<Time>,
    /// Up to when changes are told, at most 400 days and 1000 changes; absent: a week after the moment.
    pub(super) until: Option<Time>,
}

/// All calendars as they are now, by name.
#[utoipa::path(get, path = "/api/v1/calendars", operation_id = "calendars", responses(
    (status = 200, body = Vec<CalendarStatus>), (status = "default", body = Problem)
))]
pub(super) async fn list(State(api): State<Api>) -> Answer<Vec<CalendarStatus>> {
    let (config, now) = (api.sources.config(), Timestamp::now());
    let one = |(name, calendar): (&String, &std::sync::Arc<Calendar>)| {
        status(&config, name, calendar, now)
    };
    Ok(Json(config.calendars.iter().map(one).collect()))
}

/// One calendar, from a moment on.
#[utoipa::path(get, path = "/api/v1/calendars/{calendar}", operation_id = "calendar",
    params(("calendar" = String, Path, description = "Its name"), When), responses(
    (status = 200, body = CalendarView), (status = "default", body = Problem)
))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(when): Query<When>,
) -> Answer<CalendarView> {
    let config = api.sources.config();
    let Some(calendar) = config.calendars.get(&name) else {
        let detail = format!("the site has no calendar {name}");
        let next = "`farhaul calendar list` names the calendars of this site";
        return Err(Failed::missing("no such calendar", detail, next));
    };
    let at = when.at.as_deref().map_or(Ok(Timestamp::now()), moment)?;
    let until = when.until.as_deref().map_or(Ok(after(at, USUALLY)), moment)?;
    if until < at || until > after(at, AHEAD) {
        let detail = format!("{until} is not within 400 days after {at}");
        let next = "give an `until` that is not before `at`, and not farther away";
        return Err(Failed::wrong("no such span of time", detail, next));
    }
    let mut spans = calendar.spans(at, until).skip(1);
    let changes = spans.by_ref().take(CHANGES_MAX).map(|piece| CalendarChange {
        at: piece.from.to_string(),
        local: local(calendar, piece.from),
        limit: piece.limit.to_string(),
    });
    let changes = changes.collect();
    let looked = spans.next().map_or(until, |piece| piece.from).to_string();
    Ok(Json(CalendarView { status: status(&config, &name, calendar, at), changes, looked }))
}

fn moment(text: &str) -> Result<Timestamp, Failed> {
    // It does not end with the clock: 400 days are looked ahead.
    text.parse().map_err(|error| {
        let next = "write it as 2026-11-22T14:30:00Z";
        Failed::wrong("no such moment", format!("\"{text}\": {error}"), next)
    })
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// What the clock of the zone shows, with its offset.
fn local(calendar: &Calendar, at: Timestamp) -> String {
    at.display_with_offset(calendar.zone().to_offset(at)).to_string()
}

fn status(config: &Config, name: &str, calendar: &Calendar, at: Timestamp) -> CalendarStatus {
    let until = calendar.next_change(at, after(at, AHEAD));
    let uses = config.links.iter().flat_map(|link| {
        let goes_by = |class: &Class| {
            let share = link.classes.get(class);
            link.goes_by(name) || share.is_some_and(|share| share.calendar.as_deref() == Some(name))
        };
        Class::ALL.into_iter().filter(goes_by).map(|class| used(config, link, class, at))
    });
    CalendarStatus {
        name: name.to_owned(),
        zone: calendar.zone().iana_name().unwrap_or("UTC").to_owned(),
        rules: calendar.rules().len() as u64,
        at: at.to_string(),
        local: local(calendar, at),
        limit: calendar.at(at).to_string(),
        until: until.map(|until| until.to_string()),
        uses: uses.collect(),
    }
}

fn used(config: &Config, link: &Link, class: Class, at: Timestamp) -> CalendarUse {
    let until = link.next_change(class, &config.calendars, at, after(at, AHEAD));
    CalendarUse {
        link: link.name.clone(),
        class: class.name().to_owned(),
        rate_bps: link.in_force(class, &config.calendars, at).rate.map(BitRate::get),
        until: until.map(|until| until.to_string()),
    }
}

/// The links as they are now, in the order of the configuration.
pub(super) fn links(config: &Config, sites: &SitesView) -> Vec<LinkStatus> {
    let (now, sessions) = (Timestamp::now(), sites.sessions());
    let over = |link: &Link| {
        let goes = |peer: &&farhaul_proto::ids::SiteId| config.link_of(**peer) == Some(link);
        sessions.keys().filter(goes).count() as u64
    };
    let one = |link: &Link| {
        let holds = link.in_force(Class::Normal, &config.calendars, now);
        let until = link.next_change(Class::Normal, &config.calendars, now, after(now, AHEAD));
        LinkStatus {
            name: link.name.clone(),
            up_bps: link.up.map(BitRate::get),
            down_bps: link.down.map(BitRate::get),
            calendar: link.calendar.clone(),
            limit: holds.limit.to_string(),
            rate_bps: holds.rate.map(BitRate::get),
            until: until.map(|until| until.to_string()),
            sessions: over(link),
        }
    };
    config.links.iter().map(one).collect()
}
