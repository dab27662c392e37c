//! Flight records of the simulator: what they say is what happened, and they can be flown again.

use core::time::Duration;
use farhaul_proto::trace::Limit;
use farhaul_proto::trace::flight::{Flight, FlightSample, What};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::profile::Loss;
use farhaul_sim::replay::{self, ReplayError};
use farhaul_sim::scenario::{Scenario, Side, Step, cell, named};
use farhaul_sim::world::{Speech, run_recorded};

const RTT: Duration = Duration::from_millis(200);
const RATE: BitRate = BitRate::mbps(100);

fn recorded(scenario: &Scenario) -> (f64, Flight) {
    let played = run_recorded(scenario, Speech::Silent);
    let (report, flight) = played.unwrap_or_else(|failure| panic!("{failure}"));
    // What can be written can be read.
    assert_eq!(Flight::parse(&flight.encode()), Ok(flight.clone()));
    (report.directions[0].elapsed.as_secs_f64(), flight)
}

fn sum(flight: &Flight, of: impl Fn(&FlightSample) -> u64) -> u64 {
    flight.samples.iter().map(of).sum()
}

#[test]
fn a_record_tells_what_was_sent_delivered_and_lost() {
    let scenario = named("lossy", 3).expect("a named scenario");
    let (seconds, flight) = recorded(&scenario);
    let (sent, delivered) = (sum(&flight, |s| s.sent), sum(&flight, |s| s.delivered));
    assert!(delivered >= Bytes::mib(20).get(), "{delivered}");
    assert!(sent > delivered);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let loss = sum(&flight, |s| s.lost) as f64 / sum(&flight, |s| s.lost + s.acked) as f64;
    assert!((0.015..0.03).contains(&loss), "{loss}");
    #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
    let samples = flight.samples.len() as f64;
    assert!((samples - seconds * 10.0).abs() < 15.0, "{samples} in {seconds} s");
    let base = flight.samples.last().expect("samples").base_rtt_us;
    assert!((199_000..=203_000).contains(&base), "{base}");
    assert!(matches!(flight.events[0].what, What::Started { .. }));
    let lost = flight.events.iter().any(|event| matches!(event.what, What::Losses { .. }));
    assert!(lost);
}

#[test]
fn a_record_is_the_same_for_the_same_seed() {
    let scenario = named("bursty", 5).expect("a named scenario");
    assert_eq!(recorded(&scenario).1.encode(), recorded(&scenario).1.encode());
}

/// A link that falls to a third and loses 3 % for a while: the replay takes about as long.
#[test]
fn a_recorded_flight_takes_as_long_when_flown_again() {
    let link = cell(RATE, RTT, 0.0);
    let mut scenario = Scenario::one_way("step", 11, link.clone(), &[Bytes::mib(60)]);
    let slow = farhaul_sim::profile::LinkProfile {
        rate: Some(BitRate::mbps(33)),
        loss: Loss::Bernoulli(farhaul_proto::units::Ratio::new(0.03)),
        ..link.clone()
    };
    let at = farhaul_proto::units::Timestamp::from_millis;
    scenario.steps.push((at(3_000), Step::Link { from: Side::A, profile: slow }));
    scenario.steps.push((at(7_000), Step::Link { from: Side::A, profile: link }));
    let (first, flight) = recorded(&scenario);
    let again = replay::scenario(&flight, 1).expect("it was measured");
    let (second, _) = recorded(&again);
    assert!((second / first - 1.0).abs() < 0.2, "{first} s, again {second} s");
    let rate_at = |millis: u64| {
        let before = again.steps.iter().rfind(|(when, _)| *when <= at(millis));
        match before {
            Some((_, Step::Link { profile, .. })) => {
                profile.rate.unwrap_or_default().as_f64() / 1e6
            }
            _ => 0.0,
        }
    };
    assert!((rate_at(6_000) - 33.0).abs() < 6.0, "{}", rate_at(6_000));
    assert!(rate_at(2_500) > 85.0, "{}", rate_at(2_500));
}

#[test]
fn a_record_that_measured_nothing_cannot_be_flown() {
    let (_, mut flight) = recorded(&named("clean", 1).expect("a named scenario"));
    assert!(flight.samples.iter().any(|sample| sample.limit == Some(Limit::Link)));
    flight.samples.iter_mut().for_each(|sample| sample.base_rtt_us = 0);
    assert_eq!(replay::scenario(&flight, 1).err(), Some(ReplayError::NothingMeasured));
}
