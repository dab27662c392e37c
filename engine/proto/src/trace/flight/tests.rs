//! Records that are read as they were written, and files that are none.

use super::*;

fn header() -> FlightHeader {
    FlightHeader {
        farhaul_flight: VERSION,
        agent: "farhaul 0.1.0".to_owned(),
        role: Role::Sender,
        site: "here".to_owned(),
        peer: "there".to_owned(),
        title: "big.img".to_owned(),
        started_unix_us: 1_700_000_000_000_000,
        policy: "fair".to_owned(),
        cap_bps: None,
        floor_bps: Some(2_000_000),
        sample_us: SAMPLE_US,
    }
}

fn sample(at_us: u64) -> FlightSample {
    FlightSample {
        at_us,
        span_us: SAMPLE_US,
        sent: 1_000_000,
        limit: Some(Limit::SourceDisk),
        phase: "seek".into(),
        ceiling_bps: Some(5),
        ..FlightSample::default()
    }
}

fn flight() -> Flight {
    let event = |at_us, what| FlightEvent { at_us, what };
    let events = vec![
        event(
            0,
            What::Started {
                policy: "fair".into(),
                cap_bps: None,
                floor_bps: Some(3),
                hint_bps: Some(7),
                initial_rtt_us: 9,
            },
        ),
        event(150_000, What::Losses { packets: 3, span_us: 10 }),
        event(160_000, What::Silent {}),
        event(170_000, What::Limit { old: None, new: Some(Limit::StartUp) }),
        event(400_000, What::Ended { why: "done".into(), unsent: 0, in_flight: 0 }),
    ];
    Flight { header: header(), samples: vec![sample(100_000), sample(200_000)], events }
}

fn lines() -> Vec<String> {
    String::from_utf8(flight().encode()).unwrap().lines().map(|l| format!("{l}\n")).collect()
}

#[track_caller]
fn refused(lines: &[String]) -> String {
    let text = lines.concat();
    let error = Flight::parse(text.as_bytes()).expect_err("it is no record").to_string();
    assert!(error.len() < 400, "{error}");
    error
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let flight = flight();
    let encoded = flight.encode();
    assert_eq!(Flight::parse(&encoded), Ok(flight.clone()));
    assert_eq!(Flight::parse(&encoded).unwrap().encode(), encoded);
    assert_eq!(flight.end_us(), 400_000);
}

#[test]
fn the_longest_line_that_is_written_is_read() {
    let big = u64::MAX >> 24;
    let mut longest = sample(1);
    longest.phase = "p".repeat(TEXT_MAX).into();
    for number in [&mut longest.sent, &mut longest.delivered, &mut longest.acked, &mut longest.lost]
    {
        *number = big;
    }
    let mut line = Vec::new();
    encode_line(&FlightLine::Sample(longest), &mut line);
    assert!(line.len() < LINE_MAX / 2, "{}", line.len());
    let text = "x".repeat(TEXT_MAX);
    let long = FlightHeader {
        agent: text.clone(),
        site: text.clone(),
        peer: text.clone(),
        title: text.clone(),
        policy: text,
        ..header()
    };
    line.clear();
    encode_line(&long, &mut line);
    assert!(line.len() < LINE_MAX / 2, "{}", line.len());
}

#[test]
fn foreign_files_are_refused_with_the_line() {
    assert_eq!(Flight::parse(b""), Err(FlightError::Empty));
    assert!(refused(&["\u{7f}ELF\n".to_owned()]).starts_with("line 1: no flight record"));
    assert!(refused(&["{}\n".to_owned()]).starts_with("line 1: no flight record"));
    let newer = vec!["{\"farhaul_flight\":3,\"whatever\":true}\n".to_owned()];
    assert!(refused(&newer).contains("version 3"), "{}", refused(&newer));
    let mut broken = lines();
    broken[3] = "{\"sample\":{\"at_us\":1}}\n".to_owned();
    assert!(refused(&broken).starts_with("line 4: missing field"), "{}", refused(&broken));
    broken[3] = broken[2].replace("\"sent\"", "\"spent\"");
    assert!(refused(&broken).starts_with("line 4: unknown field"), "{}", refused(&broken));
    broken[3] = format!("{}\n", "x".repeat(LINE_MAX));
    assert_eq!(refused(&broken), format!("line 4: longer than {LINE_MAX} bytes"));
}

#[test]
fn a_record_of_before_there_were_floors_is_read() {
    let text = lines().concat().replacen("\"farhaul_flight\":2", "\"farhaul_flight\":1", 1);
    let old = text.replace("\"floor_bps\":2000000,", "").replace("\"floor_bps\":3,", "");
    assert!(!old.contains("floor"), "{old}");
    let flight = Flight::parse(old.as_bytes()).unwrap();
    assert_eq!((flight.header.farhaul_flight, flight.header.floor_bps), (1, None));
}

/// No version 1 program wrote that: what it means nobody knows.
#[test]
fn a_record_of_version_1_that_names_a_floor_is_refused_with_the_line() {
    let old = |line: String| line.replacen("\"farhaul_flight\":2", "\"farhaul_flight\":1", 1);
    let with_floor: Vec<String> = lines().into_iter().map(old).collect();
    assert!(refused(&with_floor).starts_with("line 1: "), "{}", refused(&with_floor));
    assert!(refused(&with_floor).contains("`floor_bps`"), "{}", refused(&with_floor));
    let null = with_floor[0].replace("\"floor_bps\":2000000", "\"floor_bps\":null");
    assert!(refused(&[null]).contains("`floor_bps`"));
    let without = with_floor[0].replace("\"floor_bps\":2000000,", "");
    let at = 1 + with_floor[1..].iter().position(|line| line.contains("floor_bps")).unwrap();
    let mut event = with_floor;
    event[0] = without;
    assert!(refused(&event).starts_with(&format!("line {}: ", at + 1)), "{}", refused(&event));
}

#[test]
fn a_record_that_was_cut_short_says_so() {
    let mut cut = flight().encode();
    cut.truncate(cut.len() - 5);
    assert_eq!(Flight::parse(&cut), Err(FlightError::Cut { line: 8 }));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut back = lines();
    back.swap(2, 4);
    assert!(refused(&back).contains("time goes back"));
    let mut huge = lines();
    huge[2] = huge[2].replace("1000000", "18446744073709551615");
    assert!(refused(&huge).contains("out of range"));
    let mut steering = lines();
    steering[2] = steering[2].replace("seek", "\\u001b[2J");
    assert!(refused(&steering).contains("control characters"));
    let mut limit = lines();
    limit[2] = limit[2].replace("source disk", "weather");
    assert!(refused(&limit).contains("no limit of that name"), "{}", refused(&limit));
}
