//! The cases that people talk about, by name.

use super::{HostProfile, Load, Outage, Scenario};
use crate::profile::{LinkProfile, Loss, QueueLimit};
use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};

/// Every named scenario.
pub const NAMES: [&str; 11] = [
    "clean",
    "lossy",
    "bursty",
    "reverse-loss",
    "outage",
    "long",
    "slow-disk",
    "both-ways",
    "fast",
    "small",
    "warm",
];

/// A long link as the measurements use it: 100 Mbit/s, 200 ms, one bandwidth-delay product of
/// queue at most 100 ms long, `loss` in the direction of the data.
pub fn cell(rate: BitRate, rtt: Duration, loss: f64) -> LinkProfile {
    let loss = if loss > 0.0 { Loss::Bernoulli(Ratio::new(loss)) } else { Loss::None };
    LinkProfile {
        rate: Some(rate),
        delay: rtt / 2,
        queue: QueueLimit::Time(Duration::from_millis(100)),
        loss,
        ..LinkProfile::default()
    }
}

/// After an object that warms the session, `count` objects of `len`, one every two seconds.
pub fn warm(seed: u64, link: LinkProfile, len: Bytes, count: u32) -> Scenario {
    let mut scenario = Scenario::one_way("warm", seed, link, &[Bytes::mib(10)]);
    let loads = (0..count).map(|n| Load {
        at: Timestamp::from_millis(5_000 + 2_000 * u64::from(n)),
        len,
        held: Vec::new(),
        wrong: Vec::new(),
    });
    scenario.loads[0].extend(loads);
    scenario
}

/// The scenario of that name.
pub fn named(name: &str, seed: u64) -> Option<Scenario> {
    let rtt = Duration::from_millis(200);
    let rate = BitRate::mbps(100);
    let base = |loss| Scenario::one_way(name, seed, cell(rate, rtt, loss), &[Bytes::mib(20)]);
    let mut scenario = match name {
        "clean" => base(0.0),
        "lossy" => base(0.02),
        "bursty" => {
            let loss = Loss::GilbertElliott { mean: Ratio::new(0.05), burst: 8.0 };
            let link = LinkProfile { loss, ..cell(rate, rtt, 0.0) };
            Scenario::one_way(name, seed, link, &[Bytes::mib(20)])
        }
        "reverse-loss" => {
            let mut scenario = base(0.02);
            scenario.links[1].loss = Loss::Bernoulli(Ratio::new(0.5));
            scenario
        }
        "outage" => {
            let mut scenario = base(0.02);
            let from = Timestamp::from_millis(1_000);
            scenario.outages.push(Outage::both(from, from + Duration::from_secs(5)));
            scenario
        }
        "long" => {
            let link = cell(BitRate::mbps(500), Duration::from_millis(600), 0.05);
            Scenario::one_way(name, seed, link, &[Bytes::mib(40)])
        }
        "slow-disk" => {
            let mut scenario = base(0.0);
            scenario.hosts[1].disk.rate = Some(BitRate::mbps(40));
            scenario.hosts[1].recv_blocks = 8;
            scenario
        }
        "both-ways" => {
            let mut scenario = base(0.02);
            scenario.links[1].loss = scenario.links[0].loss;
            let len = Bytes::mib(10);
            let load = Load { at: Timestamp::ZERO, len, held: Vec::new(), wrong: Vec::new() };
            scenario.loads[1].push(load);
            scenario
        }
        // In 25 ms come more packets than one report can name.
        "fast" => {
            let rate = BitRate::mbps(5_000);
            let link = cell(rate, rtt, 0.1);
            let mut scenario = Scenario::one_way(name, seed, link, &[Bytes::mib(200)]);
            for host in &mut scenario.hosts {
                (host.policy, host.bounds) =
                    (Policy::Fixed, Bounds::capped(Some(rate.mul_f64(0.95))));
                (host.send_blocks, host.recv_blocks) = (256, 256);
            }
            // Every symbol that comes in vain was taken for lost.
            scenario.hosts[0].fec = FecPolicy::Off;
            return Some(scenario);
        }
        "small" => Scenario::one_way(name, seed, cell(rate, rtt, 0.02), &[Bytes::kib(64)]),
        "warm" => warm(seed, cell(rate, rtt, 0.02), Bytes::kib(64), 20),
        _ => return None,
    };
    for host in &mut scenario.hosts {
        *host = HostProfile { fec: FecPolicy::Auto, ..host.clone() };
    }
    Some(scenario)
}
