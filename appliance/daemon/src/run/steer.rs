//! What may go over the links of this site, by their calendars, at every moment.
//!
//! It is looked at when a calendar changes, when the configuration was read again, and every 30 s besides:
//! a clock that is set, or a machine that slept, is seen by then (spec: S-207).

use crate::config::{Class, Config, InForce};
use crate::events::Said;
use crate::http::Sources;
use crate::site::{ClassCap, LinkCap, Rules};
use farhaul_api::EventKind;
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::Limit;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long nobody looks, at most.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How far an event says until when.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Holds what is sent to what the links may carry. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Steering(JoinHandle<()>);

impl Steering {
    /// From now on; within a tokio runtime.
    pub(super) fn start(sources: Arc<Sources>) -> Self {
        Self(tokio::spawn(steer(sources)))
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn steer(sources: Arc<Sources>) {
    let mut told = BTreeMap::new();
    loop {
        let (config, now) = (sources.config(), Timestamp::now());
        sources.sites.hold(rules(&config, now));
        for said in news(&config, now, &mut told) {
            tracing::info!("{said}");
            sources.control.log().say(Said::that(EventKind::Link).text(said));
        }
        let look = SignedDuration::try_from(LOOK_EVERY).unwrap_or(SignedDuration::ZERO);
        let soon = now.checked_add(look).unwrap_or(Timestamp::MAX);
        let next = config.calendars.values().filter_map(|one| one.next_change(now, soon)).min();
        let wait = next.map(|next| next.duration_since(now)).and_then(|wait| wait.try_into().ok());
        tokio::select! {
            () = tokio::time::sleep(wait.unwrap_or(LOOK_EVERY)) => {}
            () = sources.reconfigured.notified() => {}
        }
    }
}

/// What is in force at a moment.
fn rules(config: &Config, now: Timestamp) -> Rules {
    let class = |link: &crate::config::Link, class: Class| {
        let (cap, by_calendar, floor) = link.allowed_to(class, &config.calendars, now);
        let allowed = ClassCap { cap, by_calendar, floor };
        (allowed != ClassCap::default()).then_some((class, allowed))
    };
    let link = |link: &crate::config::Link| {
        let (cap, by_calendar) = link.allowed(&config.calendars, now);
        LinkCap {
            name: link.name.clone(),
            up: link.up,
            cap,
            by_calendar,
            classes: Class::ALL.into_iter().filter_map(|it| class(link, it)).collect(),
            peers: link.peers.clone(),
        }
    };
    let calendars = config.calendars.iter();
    Rules {
        links: config.links.iter().map(link).collect(),
        calendars: calendars.map(|(name, calendar)| (name.clone(), calendar.at(now))).collect(),
    }
}

/// What is in force over each link that was told.
type Told = BTreeMap<String, InForce>;

/// What is to be said of links over which something else is in force than was told; at first of those
/// that are held back.
fn news(config: &Config, now: Timestamp, told: &mut Told) -> Vec<String> {
    let mut news = Vec::new();
    let mut current = Told::new();
    for link in &config.links {
        let holds = link.in_force(Class::Normal, &config.calendars, now);
        let free = InForce { limit: Limit::Full, rate: link.up };
        if told.get(&link.name).unwrap_or(&free) != &holds {
            let far = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
            let until = link.next_change(Class::Normal, &config.calendars, now, far);
            let until = until.map_or(String::new(), |until| format!(", until {until}"));
            let rate = holds.rate.map_or("no limit".to_owned(), told_rate);
            news.push(format!("link {}: {} ({rate}){until}", link.name, holds.limit));
        }
        current.insert(link.name.clone(), holds);
    }
    *told = current;
    news
}

fn told_rate(rate: BitRate) -> String {
    if rate == BitRate::ZERO { "next to nothing".to_owned() } else { rate.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[site]\nname = \"berlin\"\nstate = \"/state\"\n\
        [[calendar]]\nname = \"nights\"\nzone = \"Europe/Berlin\"\n\
        [[calendar.rule]]\nfrom = \"08:00\"\nto = \"18:00\"\nlimit = \"25 %\"\n\
        [[link]]\nname = \"wan\"\nup = \"100 Mbit/s\"\ncalendar = \"nights\"\n\
        [[link]]\nname = \"lan\"\npeers = []\n";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    /// spec: S-205, S-207
    #[test]
    fn what_is_in_force_is_told_when_it_changes_and_once() {
        let config = Config::parse(CONFIG).expect("a configuration");
        let (night, day) = (at("2026-11-23T05:00:00Z"), at("2026-11-23T07:00:00Z"));
        let rate = |now| rules(&config, now).links.iter().map(|link| link.cap).collect::<Vec<_>>();
        assert_eq!(rate(night), [Some(BitRate::mbps(100)), None]);
        assert_eq!(rate(day), [Some(BitRate::mbps(25)), None]);
        let mut told = Told::new();
        assert!(news(&config, night, &mut told).is_empty());
        let said = news(&config, day, &mut told);
        assert_eq!(said, ["link wan: 25 % (25.0 Mbit/s), until 2026-11-23T17:00:00Z"]);
        assert!(news(&config, day, &mut told).is_empty());
        let said = news(&config, at("2026-11-23T17:00:00Z"), &mut told);
        assert_eq!(said, ["link wan: full (100.0 Mbit/s), until 2026-11-24T07:00:00Z"]);
    }
}
