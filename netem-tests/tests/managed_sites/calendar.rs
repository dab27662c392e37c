//! Calendars and links from the configuration to the commands, and a cap that holds and is lifted while
//! a site runs.

use crate::{Site, pair};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// Always the same: what is tested is no matter of the time of day.
const MORE: &str = "[[calendar]]\nname = \"slow\"\nzone = \"Europe/Berlin\"\n\
    [[calendar.rule]]\nlimit = \"10 %\"\n\
    [[link]]\nname = \"wan\"\nup = \"1 Mbit/s\"\ncalendar = \"slow\"\n";

fn reconfigure(site: &mut Site, text: &str) {
    fs::write(site.config(), text).expect("written");
    kill_process(Pid::from_child(&site.child), Signal::HUP).expect("it runs");
    site.line_with("the configuration was read again");
}

#[test]
fn a_link_is_held_to_its_calendar_until_that_is_taken_away() {
    let (mut berlin, tokyo) = pair();
    let text = fs::read_to_string(berlin.config()).expect("there");
    reconfigure(&mut berlin, &format!("{text}{MORE}"));
    let listed = &berlin.json(&["calendar", "list"])[0][0];
    assert_eq!((&listed["name"], &listed["limit"]), (&"slow".into(), &"10 %".into()));
    assert!(berlin.text(&["calendar", "list"]).starts_with("slow: 10 %; 1 rule, Europe/Berlin"));
    let at = ["calendar", "show", "slow", "--at", "2026-03-29T00:00:00Z", "--days", "30"];
    let shown = berlin.text(&at);
    assert!(shown.contains("2026-03-29T00:00:00Z is 2026-03-29T01:00:00+01:00 there"), "{shown}");
    assert!(shown.contains("normal over wan: 100.0 kbit/s\n"), "{shown}");
    assert!(shown.contains("nothing changes before 2026-04-28T00:00:00Z"), "{shown}");
    assert_eq!(berlin.json(&at)[0]["uses"][1]["rate_bps"], 100_000);
    assert_eq!(berlin.code(&["calendar", "show", "fast"]), Some(2));
    assert_eq!(berlin.code(&["calendar", "show", "slow", "--days", "401"]), Some(2));

    // It is in force, and was told.
    berlin.until(&tokyo, "they are connected", || {
        berlin.json(&["status"])[0]["links"][0]["sessions"] == 1
    });
    let link = berlin.json(&["status"])[0]["links"][0].clone();
    assert_eq!((&link["limit"], &link["rate_bps"]), (&"10 %".into(), &100_000.into()), "{link}");
    let said = |text: &str| {
        let events = berlin.json(&["events", "--since", "start", "--once"]);
        events.iter().any(|event| event["kind"] == "link" && event["text"] == text)
    };
    berlin.until(&tokyo, "it is told", || said("link wan: 10 % (100.0 kbit/s)"));
    // More than 100 kbit/s carry in five minutes, of which no half is left out.
    let content = (0..4_u64 << 20).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
    let content: Vec<u8> = content.collect();
    fs::write(berlin.tree("large"), &content).expect("written");
    berlin.until(&tokyo, "it is wanted", || {
        tokyo.json(&["folder", "show", "docs"])[0]["missing"].as_u64().is_some_and(|n| n > 0)
    });
    assert!(!tokyo.tree("large").exists());
    reconfigure(&mut berlin, &text);
    let arrived = || fs::read(tokyo.tree("large")).is_ok_and(|found| found == content);
    berlin.until(&tokyo, "it is lifted", arrived);
    assert_eq!(berlin.json(&["status"])[0]["links"].as_array().map(Vec::len), Some(0));
}
