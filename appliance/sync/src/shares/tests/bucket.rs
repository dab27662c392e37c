//! Caps: what passes in 200 ms, whatever comes when, and while the cap changes.

use crate::shares::{BURST, Bucket, WINDOW};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use proptest::prelude::*;

const WINDOW_NANOS: u128 = 200_000_000;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Sends packets as early as is allowed, for so long; when each went.
fn flood(bucket: &mut Bucket, bytes: u64, from: Timestamp, span: Duration) -> Vec<(u64, u64)> {
    let (mut now, mut sent) = (from, Vec::new());
    while now < from + span {
        match bucket.take(Bytes::new(bytes), now) {
            None => sent.push((now.as_nanos(), bytes)),
            Some(wait) => now += wait,
        }
    }
    sent
}

fn total(sent: &[(u64, u64)]) -> u64 {
    sent.iter().map(|(_, bytes)| bytes).sum()
}

/// The most that any 200 ms have of what was sent from `from` on, in bits.
fn most(sent: &[(u64, u64)], from: u64) -> u128 {
    let sent: Vec<_> = sent.iter().filter(|(at, _)| *at >= from).collect();
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for (at, bytes) in &sent {
        sum += u128::from(*bytes) * 8;
        while sent[first].0 + 200_000_000 <= *at {
            sum -= u128::from(sent[first].1) * 8;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

/// 102 % of what a cap passes in a window, or one packet where that is less.
fn allowed(rate: u64, largest: u64) -> u128 {
    let window = u128::from(rate) * WINDOW_NANOS * 102 / 100_000_000_000;
    window.max(u128::from(largest) * 8)
}

#[test]
fn a_full_bucket_gives_4_ms_at_once_and_then_the_cap() {
    let mut bucket = Bucket::new(BitRate::mbps(80), at(0));
    for _ in 0..40 {
        assert_eq!(bucket.take(Bytes::new(1000), at(0)), None);
    }
    assert_eq!(bucket.take(Bytes::new(1000), at(0)), Some(Duration::from_micros(100)));
    assert_eq!(bucket.take(Bytes::new(1000), at(100_000)), None);
    assert_eq!((BURST, WINDOW), (Duration::from_millis(4), Duration::from_millis(200)));
}

#[test]
fn a_cap_of_zero_gives_nothing_and_another_cap_wakes_it() {
    let mut bucket = Bucket::new(BitRate::ZERO, at(0));
    assert_eq!(bucket.take(Bytes::new(1), at(1)), Some(Duration::MAX));
    bucket.set_rate(BitRate::mbps(8), at(1));
    assert_eq!(bucket.take(Bytes::new(100), at(1)), Some(Duration::from_micros(100)));
    assert_eq!(bucket.take(Bytes::new(100), at(100_001)), None);
}

#[test]
fn a_lower_cap_holds_from_the_moment_it_is_set() {
    let mut bucket = Bucket::new(BitRate::mbps(1000), at(0));
    let mut sent = flood(&mut bucket, 1408, at(0), Duration::from_millis(100));
    bucket.set_rate(BitRate::mbps(10), at(100_000_000));
    sent.extend(flood(&mut bucket, 1408, at(100_000_000), Duration::from_millis(600)));
    assert!(most(&sent, 100_000_000) <= allowed(10_000_000, 1408));
}

#[test]
fn a_higher_cap_is_used_from_the_moment_it_is_set() {
    let mut bucket = Bucket::new(BitRate::kbps(64), at(0));
    flood(&mut bucket, 1408, at(0), Duration::from_secs(1));
    bucket.set_rate(BitRate::mbps(100), at(1_000_000_000));
    let sent = flood(&mut bucket, 1408, at(1_000_000_000), Duration::from_secs(1));
    assert!(total(&sent) >= 12_500_000 * 98 / 100, "{}", total(&sent));
}

#[test]
fn whoever_always_has_something_to_send_gets_the_cap() {
    for (rate, percent) in
        [(BitRate::mbps(1), 98), (BitRate::mbps(20), 99), (BitRate::mbps(900), 99)]
    {
        let mut bucket = Bucket::new(rate, at(0));
        let sent = flood(&mut bucket, 1408, at(0), Duration::from_secs(2));
        let wanted = rate.bytes_in(Duration::from_secs(2)).get() * percent / 100;
        assert!(total(&sent) >= wanted, "{rate}: {} of {wanted}", total(&sent));
    }
}

#[test]
fn a_packet_that_is_more_than_200_ms_of_the_cap_goes_all_the_same() {
    let mut bucket = Bucket::new(BitRate::bps(8_000), at(0));
    let sent = flood(&mut bucket, 1000, at(0), Duration::from_secs(10));
    assert_eq!(sent.len(), 10);
}

#[test]
fn a_slow_cap_holds_within_200_ms_though_16_packets_would_be_just_above_it() {
    for divided_anew in [false, true] {
        let mut bucket = Bucket::new(BitRate::kbps(940), at(0));
        let (mut now, mut sent) = (at(0), Vec::new());
        while now < Timestamp::from_millis(2000) {
            match bucket.take(Bytes::new(1500), now) {
                None => sent.push((now.as_nanos(), 1500)),
                Some(wait) => now += wait,
            }
            if divided_anew {
                bucket.set_rate(BitRate::kbps(941), now);
                bucket.set_rate(BitRate::kbps(940), now);
            }
        }
        assert_eq!(most(&sent, 0), 15 * 1500 * 8);
    }
}

#[test]
fn nothing_overflows() {
    for rate in [1, u64::MAX] {
        let mut bucket = Bucket::new(BitRate::bps(rate), at(0));
        for now in [0, 5, u64::MAX, 3] {
            let _ = bucket.take(Bytes::MAX, at(now));
            bucket.set_rate(BitRate::bps(u64::MAX / rate), at(now));
            let _ = bucket.take(Bytes::new(1), at(now));
        }
    }
}

/// A cap, and packets that come so long after each other.
fn offered() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![Just(0_u64), 0..200_000_u64, 0..3_000_000_u64, 0..300_000_000_u64];
    proptest::collection::vec((gap, 1..=1500_u64), 1..400)
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![10_000..1_000_000_u64, 1_000_000..30_000_000_u64, 30_000_000..2_000_000_000_u64]
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

    #[test]
    fn no_200_ms_carry_more_than_102_percent_of_the_cap(
        rate in rate(),
        offered in offered(),
        is_patient in any::<bool>(),
    ) {
        let mut bucket = Bucket::new(BitRate::bps(rate), at(0));
        let (mut now, mut sent) = (at(0), Vec::new());
        for (gap, bytes) in offered {
            now += Duration::from_nanos(gap);
            let wait = bucket.take(Bytes::new(bytes), now);
            if let Some(wait) = wait.filter(|_| is_patient) {
                now += wait;
                prop_assert_eq!(bucket.take(Bytes::new(bytes), now), None);
            }
            if wait.is_none() || is_patient {
                sent.push((now.as_nanos(), bytes));
            }
        }
        prop_assert!(most(&sent, 0) <= allowed(rate, 1500), "{} of {}", most(&sent, 0), allowed(rate, 1500));
    }

    /// After each change the new cap holds, and within any 200 ms the highest that was in force.
    #[test]
    fn a_cap_that_changes_all_the_time_holds_from_each_change_on(
        changes in proptest::collection::vec((rate(), 0..400_000_000_u64, 1..=1500_u64), 1..12),
        bounce in prop::option::of(1..4_u64),
    ) {
        let mut bucket = Bucket::new(BitRate::bps(changes[0].0), at(0));
        let (mut now, mut sent) = (at(0), Vec::<(u64, u64)>::new());
        for &(rate, span, bytes) in &changes {
            let from = now.as_nanos();
            bucket.set_rate(BitRate::bps(rate), now);
            let until = now + Duration::from_nanos(span);
            let mut left = 3000;
            while now < until && left > 0 {
                left -= 1;
                match bucket.take(Bytes::new(bytes), now) {
                    None => sent.push((now.as_nanos(), bytes)),
                    Some(wait) => now += wait.min(until.since(now)),
                }
                // Somebody who divides the link anew after each packet.
                if let Some(part) = bounce {
                    bucket.set_rate(BitRate::bps(rate / part + 1), now);
                    bucket.set_rate(BitRate::bps(rate), now);
                }
            }
        prop_assert!(most(&sent, from) <= allowed(rate, 1500));
            now = now.max(until);
        }
        let highest = changes.iter().map(|change| change.0).max().unwrap_or(0);
        prop_assert!(most(&sent, 0) <= allowed(highest, 1500));
    }
}
