//! A least rate that the user set: what it is obeyed against, and what goes above it.

use super::*;
use crate::trace::Limit;

const SLOW: BitRate = BitRate::mbps(10);
const FLOOR: BitRate = BitRate::mbps(200);

fn floor(rate: BitRate) -> Bounds {
    Bounds::new(Some(rate), None).unwrap()
}

/// A transfer under way that sends slowly, its first trains paid for.
fn slow() -> Pair {
    let mut pair = Pair::new(Policy::Low, Some(SLOW));
    pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
    pair.run(Duration::from_secs(2));
    pair
}

/// What leaves in `span`, as a rate.
fn sent(pair: &mut Pair, span: Duration) -> BitRate {
    let before = pair.ends[0].counters().wire_sent;
    pair.run(span);
    (pair.ends[0].counters().wire_sent - before).rate_over(span)
}

#[test]
fn a_floor_that_is_set_while_data_flows_is_obeyed_within_a_round_trip() {
    let mut pair = slow();
    let before = sent(&mut pair, Duration::from_millis(200));
    assert!(before < SLOW.mul_f64(1.3), "{before}");
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Low, floor(FLOOR), now);
    pair.run(DELAY * 2);
    let after = sent(&mut pair, Duration::from_millis(100));
    assert!(after > FLOOR.mul_f64(0.95), "{after}");
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Low, Bounds::capped(Some(SLOW)), now);
    pair.run(DELAY * 2);
    let lifted = sent(&mut pair, Duration::from_millis(200));
    assert!(lifted < SLOW.mul_f64(1.3), "{lifted}");
}

#[test]
fn a_fixed_rate_obeys_a_floor_above_it_and_keeps_to_it_when_the_cap_goes() {
    let mut pair = Pair::new(Policy::Fixed, Some(BitRate::mbps(20)));
    pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
    pair.run(Duration::from_millis(300));
    assert_eq!(pair.ends[0].view().rate, BitRate::mbps(20));
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Fixed, floor(FLOOR), now);
    assert_eq!(pair.ends[0].view().rate, FLOOR);
    pair.run(DELAY * 2);
    let after = sent(&mut pair, Duration::from_millis(100));
    assert!(after > FLOOR.mul_f64(0.95) && after < FLOOR.mul_f64(1.1), "{after}");
}

/// No feedback, no flood: that rule is for others than the user. spec: W-058
#[test]
fn silence_goes_above_the_floor() {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Fair, floor(FLOOR), now);
    pair.run(Duration::from_millis(200));
    pair.mtu = Bytes::ZERO;
    pair.run(Duration::from_millis(600));
    let halved = sent(&mut pair, Duration::from_millis(200));
    assert!(halved < FLOOR.mul_f64(0.3), "{halved}");
    pair.run(Duration::from_millis(400));
    let stopped = sent(&mut pair, Duration::from_secs(2));
    assert!(stopped < BitRate::kbps(50), "{stopped}");
    assert_eq!(pair.ends[0].limits().current(), Some(Limit::Peer));
}

#[test]
fn a_disk_that_stands_still_goes_above_the_floor() {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Fair, floor(FLOOR), now);
    pair.disk_stands = true;
    // Eight blocks of credit, at the floor and more.
    pair.run(Duration::from_secs(4));
    let held = sent(&mut pair, Duration::from_secs(1));
    assert!(held < BitRate::mbps(1), "{held}");
    assert!(pair.ends[0].sender().blocked_by_peer());
}

/// Who goes on elsewhere has half the rate for a hint, and the floor for what it is.
#[test]
fn the_floor_holds_on_a_new_path_once_that_is_validated() {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Low, floor(FLOOR), now);
    pair.ends[0].forget_path(now);
    assert!(pair.ends[0].view().rate >= FLOOR, "{}", pair.ends[0].view().rate);
}
