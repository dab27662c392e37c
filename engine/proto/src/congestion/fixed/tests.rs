//! A rate that is held: what lowers it all the same, and what it returns to.

use super::*;
use crate::congestion::{Outcome, RttSample, controller};

const RTT: Duration = Duration::from_millis(50);
const TARGET: BitRate = BitRate::mbps(100);
const PACKET: Bytes = Bytes::new(1_473);

fn held(bounds: Bounds) -> FixedRate {
    FixedRate::new(bounds, None, RTT, Timestamp::ZERO)
}

/// A report each 10 ms over `span`: what was sent, up to `taken`; the rest the receiver drops.
fn suffer(
    law: &mut dyn Controller,
    taken: BitRate,
    from: Timestamp,
    span: Duration,
) -> (BitRate, Timestamp) {
    let (every, mut now, mut least) = (Duration::from_millis(10), from, BitRate::MAX);
    while now.since(from) < span {
        now += every;
        let rate = law.pacing_rate(now);
        let packets = |rate: BitRate| rate.bytes_in(every).get() / PACKET.get();
        let outcome = |n| Outcome {
            number: PacketNumber::new(n),
            sent_at: now - RTT,
            bytes: PACKET,
            epoch: RateEpoch::new(0),
        };
        let acked: Vec<_> = (0..packets(rate.min(taken))).map(outcome).collect();
        let rtts = [RttSample { sent_at: now - RTT, rtt: RTT, back: Duration::ZERO }];
        let sample = Sample {
            acked: &acked,
            lost: &[],
            dead: &[],
            spurious: &[],
            rtts: &rtts,
            trains: &[],
            receiver_drops: packets(rate) - acked.len() as u64,
            in_flight: Bytes::ZERO,
            app_limited: false,
        };
        law.on_feedback(&sample, now);
        least = least.min(law.pacing_rate(now));
    }
    (least, now)
}

#[test]
fn what_the_receiver_takes_goes_above_a_fixed_rate_and_above_its_floor() {
    let takes = BitRate::mbps(30);
    for bounds in [
        Bounds::capped(Some(TARGET)),
        Bounds::new(Some(TARGET), Some(TARGET)).unwrap(),
        Bounds::new(Some(TARGET), None).unwrap(),
    ] {
        let mut law = held(bounds);
        let (_, now) = suffer(&mut law, TARGET, Timestamp::ZERO, Duration::from_secs(1));
        assert_eq!(law.pacing_rate(now), TARGET);
        let (least, now) = suffer(&mut law, takes, now, Duration::from_secs(1));
        assert!(least <= takes && least > takes.mul_f64(0.8), "{bounds:?}: {least}");
        assert!(law.in_flight_limit() < takes.bytes_in(RTT * 4 + Duration::from_millis(200)));
        assert_eq!(law.view().ceiling, Some(law.view().rate));
        // Once there is room again, the rate is what it was.
        let (_, now) = suffer(&mut law, TARGET, now, Duration::from_secs(3));
        assert_eq!((law.pacing_rate(now), law.view().ceiling), (TARGET, None));
    }
}

/// Each hold that ends in drops again makes the next one twice as long.
#[test]
fn a_receiver_that_takes_less_for_good_is_asked_ever_more_seldom() {
    let mut law = held(Bounds::capped(Some(TARGET)));
    let (mut now, takes) = (Timestamp::ZERO, BitRate::mbps(30));
    let mut full = 0;
    for second in 0..40 {
        let asked = (0..100).filter(|_| {
            (_, now) = suffer(&mut law, takes, now, Duration::from_millis(10));
            law.pacing_rate(now) > takes.mul_f64(1.2)
        });
        let asked = asked.count();
        full += if second >= 20 { asked } else { 0 };
    }
    assert!(full < 40, "{full} of 2000 reports found it sending too much");
}

#[test]
fn a_receiver_that_takes_nothing_is_sent_less_and_less() {
    let mut law = held(Bounds::new(Some(TARGET), None).unwrap());
    let (least, _) = suffer(&mut law, BitRate::ZERO, Timestamp::ZERO, Duration::from_secs(3));
    assert!(least < BitRate::mbps(1), "{least}");
}

#[test]
fn what_the_receiver_takes_is_known_after_a_change_of_policy() {
    let (floor, takes) = (Bounds::new(Some(TARGET), None).unwrap(), BitRate::mbps(30));
    let policies = [Policy::Fixed, Policy::Low, Policy::Fair, Policy::High];
    for (before, after) in
        policies.into_iter().flat_map(|before| policies.map(|after| (before, after)))
    {
        let mut law = controller(before, floor, None, RTT, Timestamp::ZERO);
        let (least, now) = suffer(law.as_mut(), takes, Timestamp::ZERO, Duration::from_secs(2));
        assert!(least < TARGET.mul_f64(0.5), "{before:?}: {least}");
        law.set_policy(after, floor, now);
        let rate = law.pacing_rate(now);
        assert!(rate < TARGET.mul_f64(0.9), "{before:?} to {after:?}: {rate}");
    }
}

#[test]
fn a_floor_that_is_lifted_leaves_the_target_that_there_was() {
    let hint = Some(BitRate::mbps(20));
    for (hint, target) in [(hint, BitRate::mbps(20)), (None, RATE_DEFAULT)] {
        let mut law = FixedRate::new(Bounds::FREE, hint, RTT, Timestamp::ZERO);
        law.set_policy(Policy::Fixed, Bounds::new(Some(TARGET), None).unwrap(), Timestamp::ZERO);
        assert_eq!(law.pacing_rate(Timestamp::ZERO), TARGET);
        law.set_policy(Policy::Fixed, Bounds::FREE, Timestamp::ZERO);
        assert_eq!(law.pacing_rate(Timestamp::ZERO), target);
    }
}

/// A floor that comes with a seeking policy and goes with it must not stay as what `fixed` holds.
#[test]
fn a_floor_that_is_lifted_with_the_policy_is_no_target_of_the_next() {
    let floor = Bounds::new(Some(TARGET), None).unwrap();
    let mut law = controller(Policy::Fair, floor, None, RTT, Timestamp::ZERO);
    assert_eq!(law.pacing_rate(Timestamp::ZERO), TARGET);
    law.set_policy(Policy::Fixed, Bounds::FREE, Timestamp::ZERO);
    assert_eq!(law.pacing_rate(Timestamp::ZERO), RATE_DEFAULT);
}
