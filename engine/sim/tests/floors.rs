//! A least rate that the user set, against links that carry less, lose, or are shared.

use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::trace::{Limit, longest};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::cells::{self, CellFile, Outcome};
use farhaul_sim::scenario::{Outage, Scenario, Side, cell};
use farhaul_sim::world::{Speech, run};

const RTT: Duration = Duration::from_millis(100);
const POLICIES: [Policy; 3] = [Policy::Low, Policy::Fair, Policy::High];

fn floor(rate: BitRate) -> Bounds {
    Bounds::new(Some(rate), None).unwrap()
}

/// Half as much again as the link carries, in and out of its queue: a third of it is lost.
#[test]
fn a_floor_above_the_link_is_held_and_everything_arrives() {
    let (rate, least) = (BitRate::mbps(20), BitRate::mbps(30));
    for (policy, loss) in POLICIES.into_iter().flat_map(|p| [(p, 0.0), (p, 0.05)]) {
        let len = Bytes::mib(24);
        let mut scenario = Scenario::one_way("floor", 7, cell(rate, RTT, loss), &[len]);
        (scenario.hosts[0].policy, scenario.hosts[0].bounds) = (policy, floor(least));
        let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
        let sent = report.directions[0];
        assert_eq!((report.abandoned.0, sent.bytes), (0, len), "{policy:?}");
        let on_average = sent.wire.rate_over(sent.elapsed);
        println!("{policy:?} {loss}: {on_average} sent, {} arrive", sent.goodput());
        assert!(on_average > least.mul_f64(0.95), "{policy:?} {loss}: {on_average}");
        assert!(on_average < least.mul_f64(1.15), "{policy:?} {loss}: {on_average}");
        assert!(sent.goodput() > rate.mul_f64(0.85 * (1.0 - loss)), "{}", sent.goodput());
        assert_eq!(longest(&sent.limited), Some(Limit::Policy), "{policy:?} {loss}");
    }
}

/// An outage stops the sender (W-058), and the floor holds again behind it.
#[test]
fn an_outage_goes_above_the_floor_and_everything_arrives() {
    let least = BitRate::mbps(30);
    let link = cell(BitRate::mbps(20), RTT, 0.0);
    let mut scenario = Scenario::one_way("floor", 7, link, &[Bytes::mib(10)]);
    scenario.hosts[0].bounds = floor(least);
    let from = farhaul_proto::units::Timestamp::from_millis(1_000);
    let span = Duration::from_secs(30);
    scenario.outages.push(Outage::both(from, from + span));
    let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
    let sent = report.directions[0];
    assert_eq!((report.abandoned.0, sent.bytes), (0, Bytes::mib(10)));
    // A second and a round trip of falling rates, and probes.
    let rest = sent.elapsed.saturating_sub(span) + Duration::from_secs(1);
    assert!(sent.wire < least.mul_f64(1.15).bytes_in(rest), "{} in {rest:?}", sent.wire);
}

/// Only the way there is down, so the receiver reports all the while that nothing came: the sender was
/// fed its whole rate for as long as that lasted. A liar that besides claims drops is believed no more.
/// spec: W-058, W-137
#[test]
fn an_outage_of_one_direction_goes_above_a_rate_that_is_held() {
    let least = BitRate::mbps(30);
    let fixed = Bounds::capped(Some(least));
    for (policy, bounds, claims_drops) in [
        (Policy::Fair, floor(least), false),
        (Policy::Fixed, fixed, false),
        (Policy::Fair, floor(least), true),
        (Policy::Fixed, fixed, true),
    ] {
        let len = Bytes::mib(10);
        let mut scenario = Scenario::one_way("floor", 7, cell(BitRate::mbps(20), RTT, 0.0), &[len]);
        (scenario.hosts[0].policy, scenario.hosts[0].bounds) = (policy, bounds);
        scenario.hosts[1].claims_drops = claims_drops;
        let from = farhaul_proto::units::Timestamp::from_millis(1_000);
        let span = Duration::from_secs(30);
        scenario.outages.push(Outage::one_way(Side::A, from, from + span));
        let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
        let sent = report.directions[0];
        assert_eq!((report.abandoned.0, sent.bytes), (0, len), "{policy:?} {claims_drops}");
        println!("{policy:?}, drops claimed: {claims_drops}: {} in {:?}", sent.wire, sent.elapsed);
        // A second and a round trip of falling rates, and probes.
        let rest = sent.elapsed.saturating_sub(span) + Duration::from_secs(1);
        let most = least.mul_f64(1.15).bytes_in(rest);
        assert!(sent.wire < most, "{policy:?} {claims_drops}: {} in {rest:?}", sent.wire);
    }
}

/// 100 ms, so many seconds, measured from the tenth on.
fn flows(link: &str, seconds: u64, flows: &str) -> Outcome {
    let text = format!(
        "[[cell]]\nname = \"floor\"\nsection = \"floor\"\nrtt = \"100ms\"\nlink = {{ {link} }}\n\
         flows = [{flows}]\nduration = \"{seconds}s\"\nmeasure_from = \"10s\"\nnoise = \"50us\"\n"
    );
    let file = CellFile::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
    cells::run(&file.cells[0], 7)
}

/// What a flow sent over the measured part, and its slowest second of it, in Mbit/s.
fn sent(outcome: &Outcome, flow: usize) -> (f64, f64) {
    let bins = &outcome.flows[flow].sent;
    let per_second = usize::try_from(1_000_000_000 / outcome.bin.as_nanos()).expect("few");
    let from = 10 * per_second;
    let mbps = |bins: &[Bytes]| {
        let bytes = bins.iter().map(|bytes| bytes.get()).sum::<u64>();
        let span = outcome.bin * u32::try_from(bins.len()).expect("few");
        Bytes::new(bytes).rate_over(span).as_f64() / 1e6
    };
    let seconds = bins[from..].chunks_exact(per_second);
    (mbps(&bins[from..]), seconds.map(mbps).fold(f64::MAX, f64::min))
}

/// For minutes: a queue that never empties hides the base round trip, and must not let it run away.
#[test]
fn a_floor_above_the_link_is_held_for_minutes_and_hardly_left() {
    for (link, policy) in [
        ("rate = \"20Mbit/s\", queue = \"100ms\"", "low"),
        ("rate = \"20Mbit/s\", queue = \"100ms\"", "fair"),
        ("rate = \"20Mbit/s\", queue = \"400ms\", loss = \"2%\"", "high"),
        (
            "rate = \"100Mbit/s\", queue = \"50ms\", policer = { rate = \"20Mbit/s\", bucket = \"50ms\" }",
            "fair",
        ),
    ] {
        let flow = format!("{{ policy = \"{policy}\", floor = \"40Mbit/s\" }}");
        let (mean, least) = sent(&flows(link, 150, &flow), 0);
        println!("{link} {policy}: {mean:.2} Mbit/s, {least:.2} in the slowest second");
        assert!(least > 39.5, "{link} {policy}: {least:.2}");
        assert!(mean < 40.5, "{link} {policy}: {mean:.2}");
    }
}

#[test]
fn a_floor_within_the_link_holds_beside_others_and_changes_nothing_alone() {
    let link = "rate = \"100Mbit/s\", queue = \"100ms\"";
    let beside = "{ policy = \"low\", floor = \"60Mbit/s\" }, { policy = \"high\" }";
    let outcome = flows(link, 60, beside);
    let (_, least) = sent(&outcome, 0);
    let (rest, _) = sent(&outcome, 1);
    println!("60 of 100 held: {least:.2} in the slowest second, {rest:.2} Mbit/s beside it");
    assert!(least > 59.5, "{least:.2}");
    assert!(rest > 30.0, "{rest:.2}");
    let of = |flow: &str| flows(link, 30, flow);
    let (free, held) = (of("{}"), of("{ floor = \"50Mbit/s\" }"));
    println!("alone: {:.3} of G*, with a floor of half {:.3}", free.goodput(), held.goodput());
    assert!(held.goodput() > 0.97 && held.queue_mean() < free.queue_mean() * 2);
}

#[test]
fn a_floor_above_the_cap_is_refused_in_a_cell_as_well() {
    let text = "[[cell]]\nname = \"x\"\nsection = \"x\"\nrtt = \"1ms\"\nlink = {}\n\
        flows = [{ floor = \"2Mbit/s\", cap = \"1Mbit/s\" }]\n";
    let error = CellFile::from_toml(text).unwrap_err().to_string();
    assert!(error.contains("2.0 Mbit/s") && error.contains("1.0 Mbit/s"), "{error}");
}
