//! What a measurement of a path says of paths that are known: two sessions, a link each way.

use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::path::proof::Proof;
use farhaul_proto::session::{Arrival, PlanBody, ProbePlan, Session, SessionConfig};
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};
use farhaul_proto::wire::control::PathFigures;
use farhaul_proto::wire::feedback::Feedback;
use farhaul_proto::wire::header::Kind;
use farhaul_sim::link::{Fate, Link};
use farhaul_sim::profile::{Jitter, LinkProfile, Loss, Policer, QueueLimit};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// IP and UDP, plain lane header, tag.
const AROUND: u64 = 28 + 14 + 16;

struct Packet {
    to: usize,
    number: PacketNumber,
    kind: Kind,
    body: PlanBody,
    bytes: Bytes,
}

fn bytes_of(body: &PlanBody) -> Bytes {
    let len = match body {
        PlanBody::Symbol { len, .. } | PlanBody::Padding(len) => u64::from(*len),
        PlanBody::Report(payload) => payload.len() as u64,
        PlanBody::Path(_) => panic!("nobody moves here"),
    };
    Bytes::new(len + AROUND)
}

fn plan() -> ProbePlan {
    ProbePlan { span: Duration::from_millis(2_500), bytes_max: Bytes::mib(32), rate_max: None }
}

/// What the first of two sessions finds, and how long it took.
fn probed(there: LinkProfile, plan: ProbePlan) -> (PathFigures, Duration) {
    let back = LinkProfile { delay: there.delay, ..LinkProfile::default() };
    let rtt = there.delay * 2;
    let config = SessionConfig {
        carrier: Carrier::Udp,
        peer: SocketAddr::from(([192, 0, 2, 1], 7411)),
        policy: Policy::Fair,
        bounds: Bounds::FREE,
        start_hint: None,
        fec: FecPolicy::Auto,
        initial_rtt: rtt,
        send_blocks: 16,
        recv_blocks: 16,
        seed: 5,
    };
    let mut ends =
        [1, 2].map(|seed| Session::new(SessionConfig { seed, ..config.clone() }, Timestamp::ZERO));
    let mut links = [Link::new(there, 7), Link::new(back, 8)];
    let mut flying: BTreeMap<(Timestamp, u64), Packet> = BTreeMap::new();
    let (mut now, mut order) = (Timestamp::from_millis(1), 0);
    let began = now;
    ends[0].probe(plan, now);
    loop {
        for side in 0..2 {
            let mut plans = Vec::new();
            loop {
                let before = plans.len();
                ends[side].poll_transmit(now, &mut plans);
                if plans.len() == before {
                    break;
                }
            }
            ends[side].on_handed(now);
            for plan in plans {
                ends[side].on_sealed(plan.number, proof(plan.number));
                let (to, bytes) = (1 - side, bytes_of(&plan.body));
                if let Fate::Deliver { at, .. } = links[side].offer(bytes, now) {
                    order += 1;
                    let (number, kind, body) = (plan.number, plan.kind, plan.body);
                    flying.insert((at, order), Packet { to, number, kind, body, bytes });
                }
            }
        }
        if let Some(figures) = ends[0].take_probed(now) {
            return (figures, now.since(began));
        }
        let wakes = ends.iter_mut().filter_map(|end| end.poll_timeout(now)).min();
        let arrives = flying.keys().next().map(|&(at, _)| at);
        let next = wakes.into_iter().chain(arrives).min().expect("something is to come");
        now = next.max(now);
        assert!(now.since(began) < Duration::from_secs(60), "it does not end");
        while let Some(first) = flying.first_entry().filter(|first| first.key().0 <= now) {
            let Packet { to, number, kind, body, bytes } = first.remove();
            let train = kind.is_train();
            let arrival = Arrival { number, proof: proof(number), train, at: now };
            match body {
                PlanBody::Padding(_) => ends[to].on_padding(&arrival, bytes, now),
                PlanBody::Report(payload) => {
                    let feedback = Feedback::decode(&payload).expect("a report");
                    ends[to].on_feedback(&arrival, &feedback, now).expect("an honest report");
                }
                PlanBody::Symbol { .. } | PlanBody::Path(_) => panic!("a probe carries no data"),
            }
        }
    }
}

/// What stands for the tag of a packet.
fn proof(number: PacketNumber) -> Proof {
    let [.., high, low] = number.get().wrapping_mul(0x9e37_79b9).rotate_left(16).to_be_bytes();
    Proof::new(u16::from_be_bytes([high, low]))
}

fn link(mbps: u64, one_way_ms: u64) -> LinkProfile {
    LinkProfile {
        rate: Some(BitRate::mbps(mbps)),
        delay: Duration::from_millis(one_way_ms),
        queue: QueueLimit::Time(Duration::from_millis(50)),
        ..LinkProfile::default()
    }
}

#[track_caller]
fn assert_near(found: Option<u64>, mbps: f64, tolerance: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let found = found.expect("it was found") as f64 / 1e6;
    assert!((found / mbps - 1.0).abs() < tolerance, "{found} Mbit/s, expected {mbps}");
}

#[test]
fn rate_delay_and_sizes_of_a_clean_path_are_found() {
    for (mbps, delay) in [(10, 5), (100, 50), (500, 100), (50, 300)] {
        let (figures, took) = probed(link(mbps, delay), plan());
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        assert_near(figures.train_rate_bps, mbps as f64, 0.05);
        assert_near(figures.burst_delivered_bps.map(|rate| rate * 100 / 95), mbps as f64, 0.2);
        let base = delay * 2_000;
        assert!((base..base + 3_000).contains(&figures.rtt_min_us), "{figures:?}");
        assert!(figures.rtt_p99_us >= figures.rtt_median_us, "{figures:?}");
        assert_eq!((figures.small_passes, figures.full_passes), (Some(true), Some(true)));
        assert_eq!((figures.delay_lost, figures.overtaken, figures.policed_bps), (0, 0, None));
        assert!(figures.jitter_us < 500, "{figures:?}");
        assert!(took < Duration::from_millis(3_000), "{took:?}");
    }
}

#[test]
fn loss_of_the_way_there_is_found() {
    let lossy = LinkProfile { loss: Loss::Bernoulli(Ratio::new(0.1)), ..link(100, 50) };
    let long = ProbePlan { span: Duration::from_secs(10), ..plan() };
    let (figures, _) = probed(lossy, long);
    let loss = figures.loss().get();
    assert!((0.05..0.15).contains(&loss), "{figures:?}");
    assert_near(figures.train_rate_bps, 100.0, 0.05);
    assert_eq!(figures.policed_bps, None, "{figures:?}");
}

#[test]
fn jitter_and_reordering_are_found() {
    let jitter = Some(Jitter { amplitude: Duration::from_millis(10), reorder: true });
    let (figures, _) = probed(LinkProfile { jitter, ..link(100, 50) }, plan());
    // Uniform over 20 ms: neighbours differ by a third of that in the mean.
    assert!((4_000..10_000).contains(&figures.jitter_us), "{figures:?}");
    assert!(figures.overtaken * 10 > figures.marks, "{figures:?}");
}

#[test]
fn a_path_for_small_packets_only_is_named_and_measured() {
    let (figures, _) = probed(LinkProfile { mtu: Some(1_300), ..link(100, 50) }, plan());
    assert_eq!((figures.small_passes, figures.full_passes), (Some(true), Some(false)));
    assert_near(figures.train_rate_bps, 100.0, 0.05);
}

#[test]
fn a_policer_behind_a_fast_link_is_hinted_at() {
    let policer = Policer { rate: BitRate::mbps(40), bucket: Duration::from_millis(200) };
    let (figures, _) = probed(LinkProfile { policer: Some(policer), ..link(200, 20) }, plan());
    assert_near(figures.train_rate_bps, 200.0, 0.1);
    assert_near(figures.policed_bps, 40.0, 0.25);
}

#[test]
fn a_cap_and_a_budget_are_kept() {
    let rate_max = Some(BitRate::mbps(5));
    let (figures, took) = probed(link(100, 20), ProbePlan { rate_max, ..plan() });
    let allowed = BitRate::mbps(5).bytes_in(took) + Bytes::new(32 * 1_473);
    assert!(figures.wire_bytes <= allowed.get(), "{figures:?}");
    let bytes_max = Bytes::kib(100);
    let (figures, _) = probed(link(100, 20), ProbePlan { bytes_max, ..plan() });
    assert!(figures.wire_bytes <= bytes_max.get() + 32 * 1_473, "{figures:?}");
}

#[test]
fn a_path_that_carries_nothing_ends_it_all_the_same() {
    let (figures, took) = probed(LinkProfile { down: true, ..link(100, 20) }, plan());
    assert_eq!((figures.rtt_min_us, figures.full_passes), (0, None));
    assert!(took < Duration::from_millis(3_500), "{took:?}");
}
