//! Pictures by their structure: what is drawn, not where.

use super::*;
use farhaul_proto::trace::flight::{
    FlightEvent, FlightHeader, FlightSample, SAMPLE_US, VERSION, What,
};

fn flight(role: Role, samples: u64) -> Flight {
    let header = FlightHeader {
        farhaul_flight: VERSION,
        agent: "farhaul 0.1.0".to_owned(),
        role,
        site: "here".to_owned(),
        peer: "there".to_owned(),
        title: "send <to> there".to_owned(),
        started_unix_us: 0,
        policy: "fair".to_owned(),
        cap_bps: Some(20_000_000),
        floor_bps: Some(1_500_000),
        sample_us: SAMPLE_US,
    };
    let sample = |n: u64| FlightSample {
        at_us: n * SAMPLE_US,
        span_us: SAMPLE_US,
        sent: 125_000,
        delivered: 120_000,
        arrived: if role == Role::Receiver { 120_000 } else { 0 },
        acked: 80,
        lost: 2,
        resent: 2,
        rtt_us: 210_000,
        base_rtt_us: 200_000,
        rate_bps: 10_000_000,
        capacity_bps: Some(11_000_000),
        limit: Some(if n < 4 { Limit::StartUp } else { Limit::Link }),
        ..FlightSample::default()
    };
    let event = |at_us, what| FlightEvent { at_us, what };
    let told =
        What::Told { sent: 1, loss_ppm: 20_000, rtt_us: 9_000, base_rtt_us: 8_000, limit: None };
    let events = vec![
        event(500_000, told),
        event(600_000, What::Silent {}),
        event(700_000, What::Restored { silent_us: 100_000 }),
    ];
    Flight { header, samples: (1..=samples).map(sample).collect(), events }
}

/// Elements in their order, repeated ones once.
fn structure(picture: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in picture.lines() {
        let tag = line.trim_start_matches('<').split([' ', '>']).next().unwrap_or_default();
        let class = line.split("class=\"").nth(1).and_then(|rest| rest.split('"').next());
        let part = format!("{tag} {}", class.unwrap_or_default()).trim_end().to_owned();
        if parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    parts
}

fn texts<'a>(picture: &'a str, class: &str) -> Vec<&'a str> {
    let mark = format!("<text class=\"{class}\"");
    let lines = picture.lines().filter(|line| line.starts_with(&mark));
    lines.filter_map(|line| line.split('>').nth(1)?.split('<').next()).collect()
}

#[test]
fn a_picture_has_its_panels_axes_and_band() {
    let picture = draw(&flight(Role::Sender, 20));
    let found = structure(&picture);
    assert_eq!(found[..4], ["svg", "rect paper", "text title", "text subtitle"]);
    assert_eq!(found[4..7], ["g panel rate", "rect silent", "text title"]);
    assert_eq!(found[found.len() - 2..], ["/g", "/svg"]);
    for group in ["g panel rate", "g panel delay", "g panel loss", "g band"] {
        assert_eq!(found.iter().filter(|part| *part == group).count(), 1, "{group}");
    }
    let titles = [
        "send &lt;to&gt; there",
        "Rate, Mbit/s",
        "Delay, ms",
        "Loss and waste, % of packets",
        "Limited by",
    ];
    assert_eq!(texts(&picture, "title"), titles);
    assert_eq!(texts(&picture, "axis"), ["time, s"]);
    let legend = [
        "capacity",
        "wanted",
        "delivered",
        "sent",
        "smallest",
        "round trip",
        "sent again or as repair",
        "lost",
        "link 85 %",
        "start-up 15 %",
    ];
    assert_eq!(texts(&picture, "legend"), legend);
    let band: Vec<_> = found
        .iter()
        .filter(|part| ["rect start-up", "rect link"].contains(&part.as_str()))
        .collect();
    assert_eq!(band, ["rect start-up", "rect link"]);
    assert!(texts(&picture, "subtitle")[0].contains("at most 20.0 Mbit/s"));
}

#[test]
fn a_receiver_shows_what_arrived_and_what_it_was_told() {
    let picture = draw(&flight(Role::Receiver, 20));
    let legend = texts(&picture, "legend");
    assert!(legend.contains(&"arrived") && !legend.contains(&"sent"), "{legend:?}");
    assert!(legend.contains(&"lost (mean so far, told by the sender)"), "{legend:?}");
}

#[test]
fn a_long_record_makes_no_longer_picture_and_an_empty_one_is_drawn() {
    let long = draw(&flight(Role::Sender, 40_000));
    assert!(long.len() < 200_000, "{}", long.len());
    let empty =
        draw(&Flight { samples: Vec::new(), events: Vec::new(), ..flight(Role::Sender, 0) });
    assert!(empty.ends_with("</svg>\n") && !empty.contains("NaN") && !empty.contains("inf"));
}
