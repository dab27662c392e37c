//! The law's promises that need no link: the first train, silence, nonsense.

use super::*;
use crate::congestion::{Controller, Outcome, RttSample, TrainSample};
use crate::ids::{PacketNumber, RateEpoch};

const START: Timestamp = Timestamp::from_millis(1_000);

fn law(config: WConfig) -> WLaw {
    WLaw::new(config, START)
}

fn fair() -> WConfig {
    WConfig::new(Policy::Fair, Bounds::FREE, Duration::from_millis(100))
}

fn nothing() -> Sample<'static> {
    Sample {
        acked: &[],
        lost: &[],
        dead: &[],
        spurious: &[],
        rtts: &[],
        trains: &[],
        receiver_drops: 0,
        in_flight: Bytes::ZERO,
        app_limited: false,
    }
}

fn train(rate: BitRate) -> TrainSample {
    let bytes = Bytes::new(31 * 1_473);
    TrainSample { bytes, gap_sum: bytes.time_at(rate), gaps: 31, sent_at: START }
}

#[test]
fn the_first_train_is_asked_for_at_once_and_only_once() {
    let mut law = law(fair());
    assert_eq!(law.take_train(START), Some(startup::FIRST_TRAIN));
    assert_eq!(law.take_train(START), None);
    assert!(law.view().starting);
}

#[test]
fn a_lost_first_train_is_sent_again() {
    let mut law = law(fair());
    law.take_train(START);
    let again = law.next_timer().unwrap();
    assert!(again > START && law.take_train(again).is_some());
}

#[test]
fn a_first_train_that_arrives_as_one_is_asked_again_and_longer() {
    let mut law = law(fair());
    law.take_train(START);
    let later = START + Duration::from_millis(100);
    let at_once = TrainSample { gap_sum: Duration::from_micros(3), ..train(BitRate::mbps(100)) };
    law.on_feedback(&Sample { trains: &[at_once], ..nothing() }, later);
    assert!(law.pacing_rate(later) < BitRate::mbps(5), "{}", law.pacing_rate(later));
    assert_eq!(law.take_train(later), Some(2 * startup::FIRST_TRAIN));
}

#[test]
fn behind_an_overfull_queue_random_loss_is_at_most_all_loss() {
    let mut elasticity = Elasticity::new(0.0);
    elasticity.accept(0.45);
    elasticity.bound(0.5, 1.0);
    assert!((elasticity.random_loss() - 0.45).abs() < 1e-9);
    elasticity.bound(0.25, 0.5);
    assert!((elasticity.random_loss() - 0.35).abs() < 1e-9);
}

#[test]
fn a_path_that_was_silent_at_first_gets_its_first_train_again() {
    let mut law = law(fair());
    law.take_train(START);
    let later = START + Duration::from_secs(10);
    law.on_outage_end(Duration::from_secs(10), later);
    assert_eq!(law.take_train(later), Some(startup::FIRST_TRAIN));
    law.on_feedback(&nothing(), later + Duration::from_millis(20));
    assert_eq!(law.view().phase, "start: train");
}

#[test]
fn half_of_the_first_trains_answer_is_tested() {
    let mut law = law(fair());
    law.take_train(START);
    let later = START + Duration::from_millis(100);
    let trains = [train(BitRate::mbps(100))];
    let rtts =
        [RttSample { sent_at: START, rtt: Duration::from_millis(100), back: Duration::ZERO }];
    law.on_feedback(&Sample { trains: &trains, rtts: &rtts, ..nothing() }, later);
    let rate = law.pacing_rate(later).as_f64();
    assert!((47e6..50.1e6).contains(&rate), "{rate}");
}

#[test]
fn a_hint_that_the_first_train_confirms_is_used_after_one_round_trip() {
    let mut law = law(WConfig { start_hint: Some(BitRate::mbps(90)), ..fair() });
    assert!((law.pacing_rate(START).as_f64() - 22.5e6).abs() < 1e3);
    law.take_train(START);
    let later = START + Duration::from_millis(100);
    law.on_feedback(&Sample { trains: &[train(BitRate::mbps(100))], ..nothing() }, later);
    assert!(law.pacing_rate(later).as_f64() > 0.95 * 90e6);
    assert!(!law.view().starting);
}

#[test]
fn the_cap_is_never_exceeded() {
    let cap = BitRate::mbps(30);
    let hint = Some(BitRate::mbps(90));
    let mut law = law(WConfig { bounds: Bounds::capped(Some(cap)), start_hint: hint, ..fair() });
    let later = START + Duration::from_millis(100);
    law.on_feedback(&Sample { trains: &[train(BitRate::mbps(100))], ..nothing() }, later);
    assert!(law.pacing_rate(later) <= cap);
    law.set_policy(Policy::High, Bounds::capped(Some(BitRate::mbps(5))), later);
    assert!(law.pacing_rate(later) <= BitRate::mbps(5));
}

/// On a path this short a round trip is over before a train has left at the cap, and start-up sends
/// trains each round trip until one of them measures the link.
#[test]
fn trains_that_measure_nothing_do_not_exceed_the_cap() {
    const SPAN: Duration = Duration::from_secs(1);
    let (cap, rtt) = (BitRate::mbps(60), Duration::from_micros(54));
    let mut law = law(WConfig { bounds: Bounds::capped(Some(cap)), ..fair() });
    let (mut now, mut sent) = (START, Bytes::ZERO);
    while let Some(due) = law.next_timer().filter(|due| due.since(START) < SPAN) {
        now = due.max(now) + Duration::from_micros(1);
        let Some(packets) = law.take_train(now) else { continue };
        let bytes = Bytes::new(1_473 * u64::from(packets));
        sent += bytes;
        let gaps = packets - 1;
        let at_once = TrainSample { bytes, gap_sum: Duration::from_micros(3), gaps, sent_at: now };
        let rtts = [RttSample { sent_at: now, rtt, back: Duration::ZERO }];
        now += rtt;
        law.on_feedback(&Sample { trains: &[at_once], rtts: &rtts, ..nothing() }, now);
    }
    let largest = Bytes::new(1_473 * u64::from(crate::limits::TRAIN_PACKETS_MAX));
    assert!(sent <= cap.bytes_in(SPAN) + largest, "{sent} in trains");
}

#[test]
fn hostile_figures_leave_a_usable_rate() {
    let mut law = law(fair());
    let outcome = Outcome {
        number: PacketNumber::new(u64::MAX),
        sent_at: Timestamp::from_nanos(u64::MAX),
        bytes: Bytes::MAX,
        epoch: RateEpoch::new(u32::MAX),
    };
    let trains = [
        TrainSample { bytes: Bytes::MAX, gap_sum: Duration::ZERO, gaps: 1, sent_at: START },
        TrainSample { bytes: Bytes::ZERO, gap_sum: Duration::MAX, gaps: 0, sent_at: START },
    ];
    let rtts = [
        RttSample { sent_at: START, rtt: Duration::ZERO, back: Duration::MAX },
        RttSample { sent_at: START, rtt: Duration::MAX, back: Duration::ZERO },
    ];
    let sample = Sample {
        acked: &[outcome],
        lost: &[outcome],
        dead: &[],
        spurious: &[outcome],
        rtts: &rtts,
        trains: &trains,
        receiver_drops: u64::MAX,
        in_flight: Bytes::MAX,
        app_limited: false,
    };
    for step in 0..200u64 {
        let now = START + Duration::from_millis(step * 10);
        law.on_feedback(&sample, now);
        law.take_train(now);
        let rate = law.pacing_rate(now).as_f64();
        assert!(rate.is_finite() && rate >= 1e3, "{rate}");
        assert!(law.in_flight_limit() > Bytes::ZERO);
    }
}

#[test]
fn an_idle_sender_sends_no_trains() {
    let mut law = law(WConfig { start_hint: Some(BitRate::mbps(90)), ..fair() });
    law.take_train(START);
    let later = START + Duration::from_millis(100);
    let trains = [train(BitRate::mbps(100))];
    law.on_feedback(&Sample { trains: &trains, app_limited: true, ..nothing() }, later);
    assert_eq!(law.next_timer(), None);
    assert_eq!(law.take_train(later + Duration::from_secs(10)), None);
}

#[test]
fn trains_of_flows_that_began_together_do_not_stay_in_step() {
    let fourth_train = |hint: u64| {
        let mut law = law(WConfig { start_hint: Some(BitRate::mbps(hint)), ..fair() });
        law.take_train(START);
        let sample = Sample { trains: &[train(BitRate::mbps(100))], ..nothing() };
        law.on_feedback(&sample, START + Duration::from_millis(100));
        assert!(!law.view().starting);
        for _ in 0..3 {
            // A timer is told in whole nanoseconds, and may be a little early.
            let at = law.next_timer().unwrap() + Duration::from_micros(1);
            assert!(law.take_train(at).is_some());
        }
        law.next_timer().unwrap()
    };
    assert_ne!(fourth_train(90), fourth_train(91));
}

/// A path whose queue is half a second, and which loses half of what is sent: reports of four
/// seconds, one each 25 ms. Answers the least rate and the last.
fn suffer(law: &mut WLaw) -> (BitRate, BitRate) {
    let (mut number, mut least) = (0, BitRate::MAX);
    let mut waiting = Vec::new();
    for step in 0..160u64 {
        let now = START + Duration::from_millis(step * 25);
        let bytes = Bytes::new(1_473);
        for _ in 0..40 {
            let epoch = law.on_sent(PacketNumber::new(number), bytes, now);
            waiting.push(Outcome { number: PacketNumber::new(number), sent_at: now, bytes, epoch });
            number += 1;
        }
        let arrives =
            waiting.partition_point(|o| now.since(o.sent_at) > Duration::from_millis(500));
        let told: Vec<_> = waiting.drain(..arrives).collect();
        let (acked, lost): (Vec<_>, Vec<_>) = told.iter().partition(|o| o.number.get() % 2 == 0);
        // The queue grew while the first packets were on their way.
        let rtt = Duration::from_millis(if step < 40 { 100 } else { 600 });
        let rtts = [RttSample { sent_at: now - rtt, rtt, back: Duration::ZERO }];
        let trains = [train(BitRate::mbps(100))];
        let trains = if step == 4 { &trains[..] } else { &[] };
        let told = Sample { acked: &acked, lost: &lost, rtts: &rtts, trains, ..nothing() };
        law.take_train(now);
        law.on_feedback(&told, now);
        least = least.min(law.pacing_rate(now));
    }
    (least, law.pacing_rate(START + Duration::from_secs(4)))
}

#[test]
fn neither_delay_nor_loss_nor_a_policy_presses_the_rate_below_the_floor() {
    let floor = BitRate::mbps(30);
    for policy in [Policy::Low, Policy::Fair, Policy::High] {
        let mut free = law(WConfig { policy, ..fair() });
        let (_, last) = suffer(&mut free);
        assert!(last < floor.mul_f64(0.8), "{policy:?}: nothing presses, {last}");
        let bounds = Bounds::new(Some(floor), None).unwrap();
        let mut held = law(WConfig { policy, bounds, ..fair() });
        let (least, last) = suffer(&mut held);
        assert!(least >= floor, "{policy:?}: {least}");
        assert!(last < floor.mul_f64(1.3), "{policy:?}: {last}");
        // What two such round trips hold is allowed, or the window would be what presses.
        let needed = floor.bytes_in(Duration::from_millis(1_200));
        assert!(held.in_flight_limit() > needed, "{policy:?}: {}", held.in_flight_limit());
    }
}

#[test]
fn a_floor_holds_from_the_first_packet_on_and_through_an_outage() {
    let bounds = Bounds::new(Some(BitRate::mbps(30)), Some(BitRate::mbps(40))).unwrap();
    let mut law = law(WConfig { bounds, ..fair() });
    assert_eq!(law.pacing_rate(START), BitRate::mbps(30));
    law.take_train(START);
    let later = START + Duration::from_secs(10);
    law.on_outage_end(Duration::from_secs(10), later);
    assert_eq!(law.pacing_rate(later), BitRate::mbps(30));
    law.on_feedback(&Sample { trains: &[train(BitRate::mbps(100))], ..nothing() }, later);
    assert_eq!(law.pacing_rate(later), BitRate::mbps(40));
}

#[test]
fn a_floor_is_obeyed_by_the_next_packet_and_lifted_by_the_next() {
    let mut law = law(fair());
    let slow = law.pacing_rate(START);
    assert!(slow < BitRate::mbps(5), "{slow}");
    law.set_policy(Policy::Low, Bounds::new(Some(BitRate::mbps(30)), None).unwrap(), START);
    assert_eq!(law.pacing_rate(START), BitRate::mbps(30));
    law.set_policy(Policy::Low, Bounds::capped(Some(slow)), START);
    assert_eq!(law.pacing_rate(START), slow);
}

#[test]
fn what_the_receiver_cannot_take_goes_above_the_floor() {
    let bounds = Bounds::new(Some(BitRate::mbps(30)), None).unwrap();
    let mut law = law(WConfig { bounds, ..fair() });
    suffer(&mut law);
    let now = START + Duration::from_secs(4);
    let rate = law.pacing_rate(now);
    law.on_feedback(&Sample { receiver_drops: 50, ..nothing() }, now);
    let spared = law.pacing_rate(now);
    assert!(spared < BitRate::mbps(30) && spared < rate, "{rate} before, {spared}");
    let later = now + Duration::from_secs(30);
    assert!(law.pacing_rate(later) >= BitRate::mbps(30), "{}", law.pacing_rate(later));
}

/// Nothing was delivered yet, so no rate was known that it takes: the floor went on at it.
#[test]
fn a_receiver_that_takes_nothing_presses_the_rate_below_the_floor() {
    let bounds = Bounds::new(Some(BitRate::mbps(30)), None).unwrap();
    let mut law = law(WConfig { bounds, ..fair() });
    let mut rate = law.pacing_rate(START);
    for step in 1..6 {
        let now = START + Duration::from_millis(100) * step;
        law.on_feedback(&Sample { receiver_drops: 50, ..nothing() }, now);
        let less = law.pacing_rate(now);
        assert!(less < rate.mul_f64(0.6), "{step}: {rate}, then {less}");
        rate = less;
    }
}

#[test]
fn what_the_receiver_cannot_take_is_known_after_a_change_of_bounds() {
    let bounds = |mbps| Bounds::new(Some(BitRate::mbps(mbps)), None).unwrap();
    let mut law = law(WConfig { bounds: bounds(30), ..fair() });
    suffer(&mut law);
    let now = START + Duration::from_secs(4);
    law.on_feedback(&Sample { receiver_drops: 50, ..nothing() }, now);
    let spared = law.pacing_rate(now);
    law.set_policy(Policy::High, bounds(40), now);
    assert_eq!(law.pacing_rate(now), spared);
}
