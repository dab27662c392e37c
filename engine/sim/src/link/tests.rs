//! The link against what its profile promises.

use super::*;
use crate::profile::{Jitter, Loss};
use farhaul_proto::units::Ratio;
use proptest::prelude::*;

const PACKET: Bytes = Bytes::new(1473);

fn profile() -> LinkProfile {
    LinkProfile {
        rate: Some(BitRate::mbps(100)),
        delay: Duration::from_millis(50),
        queue: QueueLimit::Time(Duration::from_millis(50)),
        ..LinkProfile::default()
    }
}

fn arrival(fate: Fate) -> Option<Timestamp> {
    match fate {
        Fate::Deliver { at, .. } => Some(at),
        Fate::Dropped(_) => None,
    }
}

/// Offers `count` packets, one each `gap`; answers the arrivals in order of sending.
fn offer_evenly(link: &mut Link, count: u64, gap: Duration) -> Vec<Option<Timestamp>> {
    let mut now = Timestamp::from_millis(1);
    (0..count)
        .map(|_| {
            now += gap;
            arrival(link.offer(PACKET, now))
        })
        .collect()
}

#[test]
fn an_overloaded_link_passes_exactly_its_rate() {
    for rate in [BitRate::mbps(2), BitRate::bps(99_999_999), BitRate::mbps(10_000)] {
        let mut link = Link::new(LinkProfile { rate: Some(rate), ..profile() }, 1);
        let gap = PACKET.time_at(rate).mul_f64(0.8);
        let arrivals: Vec<_> = offer_evenly(&mut link, 20_000, gap).into_iter().flatten().collect();
        let span = arrivals[arrivals.len() - 1].since(arrivals[0]);
        let passed = PACKET.saturating_mul(arrivals.len() as u64 - 1).rate_over(span);
        let error = (passed.as_f64() / rate.as_f64() - 1.0).abs();
        assert!(error < 1e-5, "{rate}: {passed}, error {error}");
        assert!(link.stats().queue.max() <= Duration::from_millis(50));
    }
}

#[test]
fn an_idle_link_adds_serialisation_and_propagation_only() {
    let mut link = Link::new(profile(), 1);
    let now = Timestamp::from_millis(5);
    let serialisation = PACKET.time_at(BitRate::mbps(100));
    let at = arrival(link.offer(PACKET, now)).unwrap();
    assert!(at.since(now) <= Duration::from_millis(50) + serialisation);
    assert!(at.since(now) + Duration::from_nanos(1) >= Duration::from_millis(50) + serialisation);
}

#[test]
fn the_perfect_link_delivers_at_once() {
    let mut link = Link::new(LinkProfile::default(), 1);
    let now = Timestamp::from_millis(5);
    assert_eq!(arrival(link.offer(PACKET, now)), Some(now));
}

#[test]
fn a_queue_in_bytes_holds_that_many_bytes() {
    let limit = PACKET.saturating_mul(10);
    let queue = QueueLimit::Bytes(limit);
    let mut link = Link::new(LinkProfile { queue, ..profile() }, 1);
    let now = Timestamp::from_millis(1);
    let passed = (0..100).filter(|_| arrival(link.offer(PACKET, now)).is_some()).count();
    assert_eq!(passed, 10);
    assert_eq!(link.stats().dropped(DropCause::Queue), 90);
}

#[test]
fn independent_loss_has_its_share_and_short_runs() {
    let loss = Loss::Bernoulli(Ratio::new(0.1));
    let mut link = Link::new(LinkProfile { rate: None, loss, ..profile() }, 7);
    let fates = offer_evenly(&mut link, 200_000, Duration::from_micros(10));
    let (share, run) = loss_shape(&fates);
    assert!((share - 0.1).abs() < 0.003, "{share}");
    assert!((run - 1.0 / 0.9).abs() < 0.03, "{run}");
}

#[test]
fn loss_in_runs_has_its_share_and_its_run_length() {
    let loss = Loss::GilbertElliott { mean: Ratio::new(0.05), burst: 10.0 };
    let mut link = Link::new(LinkProfile { rate: None, loss, ..profile() }, 7);
    let fates = offer_evenly(&mut link, 1_000_000, Duration::from_micros(10));
    let (share, run) = loss_shape(&fates);
    assert!((share - 0.05).abs() < 0.004, "{share}");
    assert!((run - 10.0).abs() < 0.5, "{run}");
}

/// Share of lost packets and mean length of a run of them.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn loss_shape(fates: &[Option<Timestamp>]) -> (f64, f64) {
    let lost = fates.iter().filter(|f| f.is_none()).count() as f64;
    let runs = fates.windows(2).filter(|w| w[0].is_some() && w[1].is_none()).count() as f64;
    (lost / fates.len() as f64, lost / runs)
}

#[test]
fn jitter_without_reordering_keeps_order_and_moves_slowly() {
    let jitter = Some(Jitter { amplitude: Duration::from_millis(50), reorder: false });
    let mut link = Link::new(LinkProfile { rate: None, jitter, ..profile() }, 3);
    let arrivals: Vec<_> =
        offer_evenly(&mut link, 50_000, Duration::from_micros(200)).into_iter().flatten().collect();
    assert!(arrivals.windows(2).all(|w| w[0] <= w[1]));
    let late =
        |i: usize| arrivals[i].since(Timestamp::from_millis(1)).as_secs_f64() - (i as f64) * 2e-4;
    let (low, high) = (0..arrivals.len())
        .fold((f64::MAX, 0.0f64), |(low, high), i| (low.min(late(i)), high.max(late(i))));
    assert!(high - low > 0.06, "spread {}", high - low);
    assert!(low >= 0.05 && high <= 0.151, "{low} {high}");
}

#[test]
fn jitter_with_reordering_reorders_and_spans_its_range() {
    let jitter = Some(Jitter { amplitude: Duration::from_millis(5), reorder: true });
    let mut link = Link::new(LinkProfile { rate: None, jitter, ..profile() }, 3);
    let arrivals: Vec<_> =
        offer_evenly(&mut link, 10_000, Duration::from_micros(200)).into_iter().flatten().collect();
    assert!(arrivals.windows(2).filter(|w| w[0] > w[1]).count() > 1_000);
}

#[test]
fn the_chosen_share_is_held_back() {
    let reorder = Ratio::new(0.02);
    let mut link = Link::new(LinkProfile { rate: None, reorder, ..profile() }, 3);
    let arrivals: Vec<_> =
        offer_evenly(&mut link, 50_000, Duration::from_micros(100)).into_iter().flatten().collect();
    let overtaken = arrivals.windows(2).filter(|w| w[0] > w[1]).count();
    assert!((800..1_200).contains(&overtaken), "{overtaken}");
}

#[test]
fn a_policer_passes_its_rate_and_its_bucket() {
    let policer = Some(Policer { rate: BitRate::mbps(20), bucket: Duration::from_millis(50) });
    let mut link = Link::new(LinkProfile { policer, ..profile() }, 3);
    let gap = PACKET.time_at(BitRate::mbps(80));
    let passed = offer_evenly(&mut link, 40_000, gap).into_iter().flatten().count() as u64;
    let seconds = (gap * 40_000).as_secs_f64();
    let expected = 20e6 * (seconds + 0.05) / 8.0 / PACKET.get() as f64;
    assert!((passed as f64 / expected - 1.0).abs() < 0.001, "{passed} of {expected}");
    assert_eq!(link.stats().dropped(DropCause::Policer), 40_000 - passed);
}

#[test]
fn early_drop_begins_at_its_threshold() {
    let red = Red {
        min: Duration::from_millis(3),
        max: Duration::from_millis(20),
        ceiling: Ratio::new(0.1),
    };
    assert!(early_drop(red, Duration::from_millis(3)) == 0.0);
    assert!((early_drop(red, Duration::from_millis(20)) - 0.1).abs() < 1e-9);
    assert!(early_drop(red, Duration::from_millis(40)) > 0.999);
}

#[test]
fn down_and_mtu_drop_by_name() {
    let mut link = Link::new(LinkProfile { mtu: Some(1400), ..profile() }, 3);
    let now = Timestamp::from_millis(1);
    assert_eq!(link.offer(PACKET, now), Fate::Dropped(DropCause::Mtu));
    link.set_profile(LinkProfile { down: true, ..profile() }, now);
    assert_eq!(link.offer(PACKET, now), Fate::Dropped(DropCause::Down));
    link.set_profile(profile(), now);
    assert!(arrival(link.offer(PACKET, now)).is_some());
}

#[test]
fn duplicates_and_damage_have_their_share() {
    let (duplicate, corrupt) = (Ratio::new(0.02), Ratio::new(0.01));
    let mut link = Link::new(LinkProfile { rate: None, duplicate, corrupt, ..profile() }, 9);
    offer_evenly(&mut link, 100_000, Duration::from_micros(10));
    let stats = link.stats();
    assert!((1_850..2_150).contains(&stats.duplicated), "{}", stats.duplicated);
    assert!((900..1_100).contains(&stats.corrupted), "{}", stats.corrupted);
}

#[test]
fn a_change_of_rate_takes_effect_behind_what_is_queued() {
    let mut link = Link::new(profile(), 3);
    let now = Timestamp::from_millis(1);
    for _ in 0..100 {
        link.offer(PACKET, now);
    }
    let before = link.queue_delay(now);
    link.set_profile(LinkProfile { rate: Some(BitRate::mbps(25)), ..profile() }, now);
    assert_eq!(link.queue_delay(now), before);
    link.offer(PACKET, now);
    let added = link.queue_delay(now) - before;
    assert!((added.as_secs_f64() - PACKET.time_at(BitRate::mbps(25)).as_secs_f64()).abs() < 1e-8);
}

fn any_profile() -> impl Strategy<Value = LinkProfile> {
    let rate = prop_oneof![Just(None), (10_000u64..1 << 36).prop_map(|b| Some(BitRate::bps(b)))];
    let loss = (0.0f64..0.5, 1.0f64..20.0)
        .prop_map(|(mean, burst)| Loss::GilbertElliott { mean: Ratio::new(mean), burst });
    let jitter = prop_oneof![
        Just(None),
        (0u64..100, any::<bool>()).prop_map(|(ms, reorder)| Some(Jitter {
            amplitude: Duration::from_millis(ms),
            reorder
        }))
    ];
    (rate, loss, jitter, 0u64..200, 0.0f64..0.1).prop_map(|(rate, loss, jitter, ms, share)| {
        LinkProfile {
            rate,
            loss,
            jitter,
            delay: Duration::from_millis(ms),
            reorder: Ratio::new(share),
            duplicate: Ratio::new(share),
            ..LinkProfile::default()
        }
    })
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_fates(profile in any_profile(), seed in any::<u64>()) {
        let run = || {
            let mut link = Link::new(profile.clone(), seed);
            offer_evenly(&mut link, 300, Duration::from_micros(90))
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn every_packet_is_counted_once_and_none_arrives_early(
        profile in any_profile(),
        seed in any::<u64>(),
        gaps in prop::collection::vec(0u64..1_000_000, 1..300),
    ) {
        let mut link = Link::new(profile.clone(), seed);
        let mut now = Timestamp::from_millis(1);
        for gap in gaps {
            now += Duration::from_nanos(gap);
            if let Some(at) = arrival(link.offer(PACKET, now)) {
                prop_assert!(at >= now + profile.delay);
            }
        }
        let stats = link.stats();
        prop_assert_eq!(stats.offered, stats.delivered + stats.dropped_total());
    }
}

#[test]
fn a_policer_may_spare_tcp_and_counts_nothing_of_it() {
    let policer = Some(Policer { rate: BitRate::kbps(100), bucket: Duration::from_millis(200) });
    for spares in [false, true] {
        let profile = LinkProfile { policer, policer_spares_tcp: spares, ..profile() };
        let mut link = Link::new(profile, 3);
        let passed = |fate: &Fate| matches!(fate, Fate::Deliver { .. });
        let at = |n: u64| Timestamp::from_millis(10 * n);
        let offers = (0..20).map(|n| link.offer_tcp(Bytes::new(1000), at(n)));
        assert_eq!(offers.filter(passed).count() == 20, spares);
        let offers = (20..40).map(|n| link.offer(Bytes::new(1000), at(n)));
        let (udp, few) = (offers.filter(passed).count(), if spares { 4..7 } else { 2..5 });
        assert!(few.contains(&udp), "{udp}");
        assert_eq!(
            LinkProfile::from_toml(&link.profile().to_toml().unwrap()).unwrap(),
            *link.profile()
        );
    }
}
