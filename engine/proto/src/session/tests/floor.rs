//! A least rate that the user set: what it is obeyed against, and what goes above it.

use super::*;
use crate::trace::Limit;

const SLOW: BitRate = BitRate::mbps(10);
const FLOOR: BitRate = BitRate::mbps(200);

fn floor(rate: BitRate) -> Bounds {
    Bounds::new(Some(rate), None).unwrap()
}

/// A transfer under way that sends slowly, its first trains paid for; large enough that something is
/// left of it at whatever rate the link is found to have.
fn slow() -> Pair {
    const LEN: Bytes = Bytes::mib(2048);
    let mut pair = Pair::new(Policy::Low, Some(SLOW));
    pair.ends[0].declare_send(LEN, &[]).unwrap();
    pair.ends[1].declare_recv(LEN, &[]).unwrap();
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

/// A pair that holds a rate by a floor or by `fixed`, and whose first side hears the second, but not
/// the other way round: only what is as short as a report passes.
fn unheard(policy: Policy, bounds: Bounds) -> Pair {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(policy, bounds, now);
    pair.run(Duration::from_millis(200));
    pair.mtu = Bytes::new(400);
    pair.run(Duration::from_millis(1_500));
    pair
}

/// A receiver that hears nothing reports all the same, and each report ended the silence. spec: W-137
#[test]
fn reports_that_tell_nothing_new_do_not_feed_a_rate_that_is_held() {
    for (policy, bounds) in
        [(Policy::Fair, floor(FLOOR)), (Policy::Fixed, Bounds::capped(Some(FLOOR)))]
    {
        let mut pair = unheard(policy, bounds);
        let before = pair.ends[0].counters();
        let stopped = sent(&mut pair, Duration::from_secs(8));
        let reports = pair.ends[0].counters().reports_received - before.reports_received;
        assert!(reports >= 8, "{reports}");
        assert!(stopped < BitRate::kbps(50), "{policy:?}: {stopped}");
        assert_eq!(pair.ends[0].limits().current(), Some(Limit::Peer));
        // The next question is answered.
        pair.mtu = Bytes::new(1_500);
        let (acked, until) = (before.packets_acked, pair.now + Duration::from_millis(2_100));
        while pair.ends[0].counters().packets_acked == acked && pair.now < until {
            pair.run(DELAY);
        }
        pair.run(DELAY * 2);
        let back = sent(&mut pair, Duration::from_millis(200));
        assert!(back > FLOOR.mul_f64(0.95), "{policy:?}: {back}");
    }
}

/// A peer that claims a drop now and then was sent to for ever, and at the full rate. spec: W-059, W-137
#[test]
fn drops_without_an_acknowledgement_neither_feed_a_held_rate_nor_keep_a_session() {
    let mut pair = unheard(Policy::Fair, floor(FLOOR));
    let (from, before) = (pair.now, pair.ends[0].counters().wire_sent);
    pair.tick = Duration::from_millis(1);
    pair.control_lives = true;
    for drops in 0..6 {
        // The first says what was dropped before the session.
        pair.ends[1].on_local_drops(drops);
        pair.run(Duration::from_secs(20));
    }
    assert!(pair.ends[0].counters().receiver_drops >= 4);
    let fed = pair.ends[0].counters().wire_sent - before;
    assert!(fed.rate_over(pair.now.since(from)) < BitRate::kbps(50), "{fed}");
    let (at, _) = pair.unreached.expect("it is believed for ever");
    assert!(at.since(from) < Duration::from_secs(95), "{:?}", at.since(from));
}

/// The same report again and again measures an ever longer round trip, and silence waits for one.
#[test]
fn a_report_that_is_told_again_and_again_feeds_no_rate_that_is_held() {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Fixed, Bounds::capped(Some(FLOOR)), now);
    pair.run(Duration::from_millis(100));
    let mut report = None;
    while report.is_none() {
        pair.run(TICK);
        report = pair.wires[1].iter().find_map(|(_, plan)| match &plan.body {
            PlanBody::Report(payload) => Some(Feedback::decode(payload).unwrap()),
            _ => None,
        });
    }
    let mut report = report.unwrap();
    pair.mtu = Bytes::ZERO;
    let mut before = Bytes::ZERO;
    for n in 0..400 {
        pair.run(Duration::from_millis(10));
        report.receiver_drops += 1;
        let number = PacketNumber::new((1 << 20) + n);
        let now = pair.now;
        pair.ends[0].on_feedback(&arrival(number, false, now), &report, now).unwrap();
        if n == 200 {
            before = pair.ends[0].counters().wire_sent;
        }
    }
    let fed = pair.ends[0].counters().wire_sent - before;
    assert!(fed.rate_over(Duration::from_secs(2)) < BitRate::kbps(50), "{fed}");
}

#[test]
fn a_receiver_that_drops_goes_above_a_rate_that_is_held_and_is_named() {
    let both = Bounds::new(Some(FLOOR), Some(FLOOR)).unwrap();
    for (policy, bounds) in [(Policy::Fair, both), (Policy::Fixed, Bounds::capped(Some(FLOOR)))] {
        let mut pair = slow();
        let now = pair.now;
        pair.ends[0].set_policy(policy, bounds, now);
        pair.ends[1].on_local_drops(0);
        pair.run(Duration::from_millis(300));
        pair.ends[1].on_local_drops(500);
        pair.run(Duration::from_millis(150));
        let rate = pair.ends[0].view().rate;
        assert!(rate < FLOOR.mul_f64(0.97), "{policy:?}: {rate}");
        assert_eq!(pair.ends[0].limits().current(), Some(Limit::Receiver), "{policy:?}");
    }
}

/// What waits for credit, or for the word that all is written, waits for reports that name nothing new.
#[test]
fn a_rate_that_is_held_goes_on_at_once_when_a_disk_does() {
    for (policy, bounds) in
        [(Policy::Fair, floor(FLOOR)), (Policy::Fixed, Bounds::capped(Some(FLOOR)))]
    {
        let mut pair = slow();
        let now = pair.now;
        pair.ends[0].set_policy(policy, bounds, now);
        pair.disk_stands = true;
        pair.run(Duration::from_secs(10));
        assert!(pair.ends[0].sender().blocked_by_peer());
        pair.disk_stands = false;
        pair.run(Duration::from_millis(100));
        let after = sent(&mut pair, Duration::from_millis(100));
        assert!(after > FLOOR.mul_f64(0.95), "{policy:?}: {after}");
    }
}

/// Who goes on elsewhere has half the rate for a hint, and the floor for what it is; until the peer
/// has answered from there, no packet but the question goes there. spec: W-102, W-133
#[test]
fn the_floor_holds_on_a_new_path_once_that_is_validated() {
    let mut pair = slow();
    let now = pair.now;
    pair.ends[0].set_policy(Policy::Low, floor(FLOOR), now);
    pair.run(Duration::from_millis(100));
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 7411));
    let (number, now) = (PacketNumber::new(1 << 20), pair.now);
    let report = Bytes::new(500);
    pair.ends[0].on_arrival(elsewhere, number, Kind::Feedback, report, now);
    pair.sent.clear();
    pair.run(Duration::from_millis(1));
    let there = |plan: &&PacketPlan| plan.route != Route::Peer;
    let asked: Vec<_> = pair.sent.iter().flatten().filter(there).collect();
    let sizes = asked.iter().fold(Bytes::ZERO, |sum, plan| sum + size(plan));
    assert!(asked.iter().all(|plan| plan.route == Route::Only(elsewhere)), "{asked:?}");
    assert!(sizes <= report.saturating_mul(3), "{sizes}");
    let PlanBody::Path(token) = asked.first().expect("a question").body else {
        panic!("{asked:?}")
    };
    assert_ne!(pair.ends[0].peer(), elsewhere);
    let now = pair.now;
    pair.ends[0].on_response(elsewhere, token, now);
    assert_eq!(pair.ends[0].peer(), elsewhere);
    assert!(pair.ends[0].view().rate >= FLOOR, "{}", pair.ends[0].view().rate);
    let after = sent(&mut pair, Duration::from_millis(100));
    assert!(after > FLOOR.mul_f64(0.95), "{after}");
}
