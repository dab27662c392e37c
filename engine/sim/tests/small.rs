//! Little data: what it costs, how soon it is there.

use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::report::Report;
use farhaul_sim::scenario::{First, Scenario, cell, warm};
use farhaul_sim::world::{Speech, run};

const RTT: Duration = Duration::from_millis(200);

fn play(scenario: &Scenario) -> Report {
    run(scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"))
}

fn fresh(seed: u64, loss: f64, len: Bytes) -> Scenario {
    Scenario::one_way("small", seed, cell(BitRate::mbps(100), RTT, loss), &[len])
}

/// Padding that looked for the rate cost twice as much as the object. spec: W-120
#[test]
fn a_small_object_on_a_fresh_session_costs_a_quarter_more_at_most() {
    for loss in [0.0, 0.02] {
        let direction = play(&fresh(1, loss, Bytes::kib(64))).directions[0];
        assert!(direction.sent_of_needed() < 1.25, "{loss}: {}", direction.sent_of_needed());
    }
}

/// It needs a round trip for the sizes that pass, and half of one for itself.
#[test]
fn a_small_object_on_a_fresh_session_is_there_in_two_round_trips() {
    for len in [Bytes::new(100), Bytes::new(5_000), Bytes::kib(64)] {
        let took = play(&fresh(1, 0.0, len)).carried[0][0];
        assert!(took < RTT * 2, "{len}: {took:?}");
    }
}

#[test]
fn a_small_object_that_loses_packets_on_a_warm_session_is_there_in_one_round_trip() {
    let scenario = warm(3, cell(BitRate::mbps(100), RTT, 0.05), Bytes::kib(64), 20);
    let report = play(&scenario);
    let mut times: Vec<Duration> = report.carried[0][1..].to_vec();
    times.sort_unstable();
    assert!(times[18] < RTT, "{times:?}");
    assert!(report.directions[0].repair > 0, "nothing was coded: the test tests nothing");
}

/// Its symbols were refused, and reports did not say so before something else arrived: the sender
/// waited until it took the path for dead. spec: W-048
#[test]
fn what_came_before_its_object_is_sent_again_once_that_is_known() {
    let mut scenario = fresh(1, 0.0, Bytes::kib(64));
    scenario.first = First::Source;
    scenario.control_lag = Duration::from_millis(600);
    let report = play(&scenario);
    assert!(report.directions[0].refused > 0, "nothing was refused: the test tests nothing");
    // The word, the report on it, and what was refused: half a round trip each.
    let took = report.carried[0][0];
    assert!(took < scenario.control_lag + RTT * 2, "{took:?}");
}
