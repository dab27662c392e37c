//! Addresses change in the middle of a transfer: it goes on, soon, and nobody else gets the flow.
//! Every run also holds that an address gets at most three times what came from it until it answered.

use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use farhaul_sim::report::{Direction, Report};
use farhaul_sim::scenario::{Scenario, Side, Step, address, cell};
use farhaul_sim::world::{Speech, run};

const LEN: Bytes = Bytes::mib(20);

/// 20 MiB from A to B at 100 Mbit/s, after `change`.
fn carried(
    seed: u64,
    rtt: Duration,
    loss: f64,
    change: impl FnOnce(&mut Scenario),
) -> (Report, Direction) {
    let link = cell(BitRate::mbps(100), rtt, loss);
    let mut scenario = Scenario::one_way("moves", seed, link, &[LEN]);
    change(&mut scenario);
    let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((report.abandoned.0, report.directions[0].bytes), (0, LEN));
    let direction = report.directions[0];
    (report, direction)
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// The longest pause at the target, in round trips, when `side` is at `to` from 1.2 s on.
fn stall(seed: u64, rtt: u64, loss: f64, side: Side, to: core::net::SocketAddr) -> f64 {
    let span = Duration::from_millis(rtt);
    let (_, direction) = carried(seed, span, loss, |scenario| {
        scenario.steps.push((ms(1_200), Step::Readdress { side, to }));
    });
    direction.stall.as_secs_f64() / span.as_secs_f64()
}

/// The worst of several seeds without loss, told to whoever asks with `--nocapture`.
fn worst(what: &str, side: Side, to: core::net::SocketAddr, loss: f64) -> Vec<f64> {
    let rtts = [20, 100, 200, 400];
    let worst =
        rtts.map(|rtt| (0..5).map(|seed| stall(seed, rtt, loss, side, to)).fold(0.0, f64::max));
    println!("{what}, loss {loss}: stall of {worst:.2?} round trips at {rtts:?} ms");
    worst.to_vec()
}

#[test]
fn a_receiver_behind_another_port_is_found_within_three_round_trips() {
    let port = address(2, 40_000);
    let stalls = worst("receiver, other port", Side::B, port, 0.0);
    assert!(stalls.iter().all(|&stall| stall < 3.0), "{stalls:?}");
}

#[test]
fn a_receiver_in_another_network_is_found_within_three_round_trips() {
    let stalls = worst("receiver, other network", Side::B, address(9, 7411), 0.0);
    assert!(stalls.iter().all(|&stall| stall < 3.0), "{stalls:?}");
}

#[test]
fn a_sender_that_moves_hardly_pauses() {
    for to in [address(1, 40_000), address(9, 4000)] {
        let stalls = worst("sender", Side::A, to, 0.0);
        assert!(stalls.iter().all(|&stall| stall < 3.0), "{stalls:?}");
    }
}

/// The last byte of the address that a side moves to.
const fn number(side: Side) -> u8 {
    match side {
        Side::A => 1,
        Side::B => 2,
    }
}

#[test]
fn loss_delays_the_move_and_does_not_prevent_it() {
    for side in Side::BOTH {
        let to = address(number(side), 40_000);
        let stalls = worst("lossy", side, to, 0.1);
        assert!(stalls.iter().all(|&stall| stall < 12.0), "{stalls:?}");
    }
}

#[test]
fn a_peer_that_moves_again_and_again_is_followed() {
    let rtt = Duration::from_millis(100);
    let (still, moving) = [false, true]
        .map(|moves| {
            carried(3, rtt, 0.01, |scenario| {
                for n in 0..if moves { 6 } else { 0 } {
                    let side = Side::BOTH[usize::from(n % 2)];
                    let to = address(number(side), 30_000 + n);
                    let at = ms(600 + 300 * u64::from(n));
                    scenario.steps.push((at, Step::Readdress { side, to }));
                }
            })
            .1
        })
        .into();
    assert!(moving.elapsed < still.elapsed * 3, "{:?} {:?}", moving.elapsed, still.elapsed);
}

/// The rate was that of the link; another port is no reason to look for it anew.
#[test]
fn the_rate_is_kept_when_only_the_port_changes() {
    let rtt = Duration::from_millis(100);
    let elapsed = |to: Option<_>| {
        carried(3, rtt, 0.0, |scenario| {
            let step = |to| (ms(1_200), Step::Readdress { side: Side::B, to });
            scenario.steps.extend(to.map(step));
        })
        .1
        .elapsed
    };
    let (still, port) = (elapsed(None), elapsed(Some(address(2, 40_000))));
    assert!(port < still + rtt * 5, "{port:?} {still:?}");
}

#[test]
fn a_flow_that_somebody_led_astray_comes_home() {
    let rtt = Duration::from_millis(100);
    for of in Side::BOTH {
        let (_, direction) = carried(5, rtt, 0.0, |scenario| {
            let by = Some((of, address(66, 666)));
            scenario.steps.push((ms(600), Step::Forward(by)));
            scenario.steps.push((ms(1_500), Step::Forward(None)));
        });
        assert!(direction.stall < rtt * 5, "{of:?} {:?}", direction.stall);
    }
}
