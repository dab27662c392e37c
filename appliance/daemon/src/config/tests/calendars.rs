//! Calendars, holidays and links as people write them, right and wrong.

use super::*;
use farhaul_sync::calendar::{Limit, Percent};
use jiff::Timestamp;

const NIGHTS: &str = "
[[holidays]]
name = \"germany\"
dates = [\"01-01\", \"2027-03-26\"]

[[calendar]]
name = \"nights\"
zone = \"Europe/Berlin\"
otherwise = \"full\"
[[calendar.rule]]
days = [\"mon-fri\"]
not-on = [\"germany\"]
from = \"07:00\"
to = \"19:00\"
limit = \"25 %\"
[[calendar.rule]]
dates = \"12-24..01-06\"
days = [\"sat-mon\", \"wed\"]
on = [\"germany\"]
from = \"22:00\"
to = \"06:00\"
limit = \"40 Mbit/s\"
[[calendar.rule]]
dates = \"2027-05-01\"
limit = \"pause\"
";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn percent(n: u64) -> Limit {
    Limit::Percent(Percent::new(n).unwrap())
}

/// spec: S-200, S-201, S-202
#[test]
fn a_calendar_is_what_is_written() {
    let config = config(&with(NIGHTS));
    let nights = &config.calendars["nights"];
    assert_eq!(nights.zone().iana_name(), Some("Europe/Berlin"));
    assert_eq!(nights.rules().len(), 3);
    for (moment, holds) in [
        // A Thursday, and Good Friday.
        ("2027-03-25T06:00:00Z", percent(25)),
        ("2027-03-25T05:59:59Z", Limit::Full),
        ("2027-03-26T10:00:00Z", Limit::Full),
        ("2027-03-29T10:00:00Z", percent(25)),
        // The first of January 2028 is a Saturday.
        ("2028-01-01T22:00:00Z", Limit::Rate(BitRate::mbps(40))),
        ("2028-01-02T22:00:00Z", Limit::Full),
        ("2027-04-30T22:00:00Z", Limit::Pause),
        ("2027-05-01T22:00:00Z", Limit::Full),
    ] {
        assert_eq!(nights.at(at(moment)), holds, "{moment}");
    }
}

/// spec: S-205
#[test]
fn a_link_is_held_to_its_calendar_and_a_class_to_its_own_besides() {
    let more = "[[link]]\nname = \"wan\"\nup = \"100 Mbit/s\"\ndown = \"400 Mbit/s\"\n\
                calendar = \"nights\"\n[link.class.normal]\ncap = \"90 %\"\nfloor = \"5 %\"\n\
                [link.class.background]\ncalendar = \"never\"\n\
                [[calendar]]\nname = \"never\"\nzone = \"UTC\"\notherwise = \"pause\"\n\
                [[link]]\nname = \"lan\"\npeers = [\"tokyo\"]\n";
    let config = config(&with(&format!("{NIGHTS}{more}")));
    let [wan, lan] = config.links.as_slice() else { panic!("{:?}", config.links) };
    assert_eq!((wan.up, wan.down), (Some(BitRate::mbps(100)), Some(BitRate::mbps(400))));
    assert_eq!(wan.classes[&Class::Normal].floor, Some(percent(5)));
    let (day, night) = (at("2027-03-25T10:00:00Z"), at("2027-03-25T22:00:00Z"));
    let rate = |link: &Link, class, at| {
        let InForce { limit, rate } = link.in_force(class, &config.calendars, at);
        (limit, rate.map(BitRate::get))
    };
    assert_eq!(rate(wan, Class::Urgent, day), (percent(25), Some(25_000_000)));
    assert_eq!(rate(wan, Class::Normal, night), (Limit::Full, Some(90_000_000)));
    assert_eq!(rate(wan, Class::Background, day), (Limit::Pause, Some(0)));
    assert_eq!(rate(lan, Class::Normal, day), (Limit::Full, None));
    let tokyo = ID.parse().unwrap();
    assert_eq!(config.link_of(tokyo), Some(lan));
    assert_eq!(config.link_of(OTHER_ID.parse().unwrap()), Some(wan));
}

/// One fault each, told where it is.
#[test]
fn what_is_wrong_in_a_calendar_is_told_at_its_place() {
    // The first line behind the peer is the seventh and empty.
    let cases = [
        ("2027-03-26", "2027-02-29", "10:19: \"2027-02-29\" is no date; write MM-DD"),
        ("\"01-01\"", "\"1-1\"", "10:10: \"1-1\" is no date; write MM-DD for a day of every year"),
        ("\"01-01\"", "7", "10:10: `dates` is not for a bare number; write dates = "),
        ("Europe/Berlin", "Europe/Bonn", "14:8: `zone` = \"Europe/Bonn\" is no time zone; write"),
        ("otherwise = \"full\"", "otherwise = \"fast\"", "15:13: `otherwise` = \"fast\" does not"),
        ("\"25 %\"", "\"25\"", "21:9: `limit` = \"25\" has no unit; write limit = "),
        ("\"25 %\"", "25", "21:9: `limit` is not for a bare number; write limit = "),
        ("\"25 %\"", "\"0 %\"", "21:9: `limit` = \"0 %\" is out of range; write 1 % to 100 %"),
        ("\"25 %\"", "\"1 bit/s\"", "21:9: `limit` = \"1 bit/s\" is out of range; write 1 %"),
        ("\"25 %\"", "\"40 MB/s\"", "21:9: `limit` = \"40 MB/s\" has no unit that is known here"),
        ("limit = \"25 %\"\n", "", "16:1: [[calendar.rule]] has no `limit`; write limit = "),
        ("\"mon-fri\"", "\"monday\"", "17:9: \"monday\" is no day of the week; write mon, tue"),
        ("[\"mon-fri\"]", "[]", "17:8: `days` names no day; write days = "),
        ("not-on = [\"germany\"]", "not-on = [\"x\"]", "18:11: there is no list of holidays `x`"),
        (
            "on = [\"germany\"]",
            "on = [\"germany\", \"germany\"]",
            "18:22: `germany` is in the list",
        ),
        ("07:00", "7:00", "19:8: `from` = \"7:00\" is no time of day; write from = \"22:00\""),
        ("19:00", "24:01", "20:6: `to` = \"24:01\" is no time of day; write to = "),
        ("19:00", "07:00", "20:6: a window ends when it begins; a whole day is 00:00 to 24:00"),
        ("12-24..01-06", "12-24-01-06", "23:9: `dates` = \"12-24-01-06\" is no range of dates"),
        ("12-24..01-06", "12-24..2027-01-06", "23:9: `dates` = \"12-24..2027-01-06\" is no"),
        ("2027-05-01\"", "2027-05-02..2027-05-01\"", "30:9: `dates` = \"2027-05-02..2027-05-01\""),
        ("limit = \"pause\"", "limit = \"pause\"\nrate = 1", "32:1: [[calendar.rule]] has no key"),
    ];
    let mut others = Vec::new();
    for (good, bad, told) in cases {
        assert!(NIGHTS.contains(good), "{good}");
        let fault = fault(&with(&NIGHTS.replacen(good, bad, 1)));
        if !fault.starts_with(told) {
            others.push((bad, fault));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
    let twice = fault(&with(&format!("{NIGHTS}[[calendar]]\nname = \"nights\"\nzone = \"UTC\"\n")));
    assert!(twice.contains("a calendar has the name `nights` already"), "{twice}");
    let rules = "[[calendar.rule]]\nlimit = \"full\"\n".repeat(257);
    let many = fault(&with(&format!("[[calendar]]\nname = \"x\"\nzone = \"UTC\"\n{rules}")));
    assert!(many.contains("a calendar of 257 rules; write 256 at most"), "{many}");
}

#[test]
fn what_is_wrong_at_a_link_is_told_at_its_place() {
    for (link, told) in [
        ("calendar = \"x\"", "there is no calendar `x`; add [[calendar]] of that name"),
        ("calendar = \"nights\"", "`nights` speaks of parts of a link that has no `up`; write up"),
        ("up = \"100\"", "`up` = \"100\" has no unit; write up = \"100 Mbit/s\""),
        ("up = \"1 bit/s\"", "`up` = \"1 bit/s\" is out of range; write 10 kbit/s to 1000 Gbit/s"),
        ("peers = [\"oslo\"]", "there is no peer `oslo`; add a [[peer]]"),
        ("peers = [\"tokyo\", \"tokyo\"]", "`tokyo` is reached over a link already; name each"),
        ("[[link]]\nname = \"b\"", "two links have no `peers`; write at all links but one"),
        ("[[link]]\nname = \"a\"\npeers = []", "a link has the name `a` already; give each"),
        ("[link.class.slow]", "[link.class] has no key `slow`; remove it, or write one of urgent"),
        ("class = 1", "`class` is not for a bare number; write class = sections such as"),
        ("[link.class.normal]\ncap = \"5 %\"", "`cap` is a part of a link that has no `up`"),
        ("[link.class.normal]\ncap = \"pause\"", "`cap` = \"pause\" is no quantity; write cap"),
        (
            "up = \"9 Mbit/s\"\n[link.class.normal]\ncap = \"4 Mbit/s\"\nfloor = \"50 %\"",
            "`floor` is above `cap`; lower `floor`, or raise `cap`",
        ),
        (
            "up = \"9 Mbit/s\"\n[link.class.normal]\nfloor = \"50 %\"\n[link.class.urgent]\n\
             floor = \"51 %\"",
            "the classes are left more than the link carries; lower",
        ),
    ] {
        let text = with(&format!("{NIGHTS}[[link]]\nname = \"a\"\n{link}\n"));
        let fault = fault(&text);
        assert!(fault.contains(told), "{link}: {fault}");
    }
}

#[test]
fn calendars_and_links_change_while_a_site_runs() {
    let link = "[[link]]\nname = \"wan\"\nup = \"9 Mbit/s\"\ncalendar = \"nights\"\n";
    let old = config(&with(&format!("{NIGHTS}{link}")));
    let changed = |new: &str| {
        let changes = Changes::between(&old, &config(&with(new)));
        assert_eq!(changes.after_restart().count(), 0);
        changes.live().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = format!("{NIGHTS}{link}");
    assert!(changed(&before).is_empty());
    assert_eq!(changed(&before.replace("19:00", "20:00")), ["calendar nights"]);
    // A holiday more is another calendar.
    assert_eq!(changed(&before.replace("\"01-01\"", "\"01-01\", \"12-25\"")), ["calendar nights"]);
    assert_eq!(changed(&before.replace("9 Mbit/s", "8 Mbit/s")), ["up of link wan"]);
    let other = before.replace("name = \"wan\"", "name = \"lan\"");
    assert_eq!(changed(&other), ["link wan, which is gone", "link lan, which is new"]);
    assert_eq!(changed(""), ["calendar nights, which is gone", "link wan, which is gone"]);
}

#[test]
fn a_zone_is_found_where_the_machine_has_no_data_and_no_file_is_opened_by_its_name() {
    use super::super::calendars::{bundled, zone};
    assert_eq!(bundled("Europe/Berlin").unwrap().iana_name(), Some("Europe/Berlin"));
    assert_eq!(zone("Australia/Lord_Howe").unwrap().iana_name(), Some("Australia/Lord_Howe"));
    for name in ["", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\0", "Europe", "CEST-1"] {
        assert!(zone(name).is_none(), "{name}");
    }
}
