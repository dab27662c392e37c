//! Scenarios drawn from a seed, within wide bounds, and small: a run is a few thousand packets.
//!
//! Every draw comes from the seed; what is drawn does not depend on how earlier draws were used
//! more than the order of the lines here.

use super::{First, HostProfile, Load, Outage, Scenario, Side, Step};
use crate::disk::DiskProfile;
use crate::profile::{Jitter, LinkProfile, Loss, Policer, QueueLimit, Red};
use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::ids::ObjectId;
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::objects::blocks_of;
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};

/// Data of one direction at most.
const BYTES_MAX: u64 = 40 << 20;
/// Time that the data should take at the link's rate, so that a slow link carries little.
const NOMINAL_SECONDS: f64 = 8.0;
/// Most data of one run on average; larger runs are rare.
const USUAL_MAX: u64 = 16 << 20;

/// The scenario that belongs to `seed`.
pub fn generate(seed: u64) -> Scenario {
    let mut scenario = generate_calm(seed);
    let rng = Rng::new(seed).fork("scenario");
    weather(&mut Draw(rng.fork("weather")), &mut scenario);
    scarcity(&mut Draw(rng.fork("scarcity")), &mut scenario);
    sharing(&mut Draw(rng.fork("sharing")), &mut scenario);
    scenario
}

/// The same without what was added later: policers, early drop, uneven delays, links that change,
/// silence in one direction, short and full disks, too few buffers and such as are shared anew. Seeds that failed before that
/// keep their meaning here.
pub fn generate_calm(seed: u64) -> Scenario {
    let rng = Rng::new(seed).fork("scenario");
    let mut draw = Draw(rng.fork("shape"));
    let rtt = draw.log(1.0, 1000.0) / 1e3;
    let links = links(&mut Draw(rng.fork("links")), rtt);
    let hosts = [
        host(&mut Draw(rng.fork("host a")), links[0].rate),
        host(&mut Draw(rng.fork("host b")), links[1].rate),
    ];
    let first = if draw.chance(0.3) { First::Source } else { First::Target };
    let both = draw.chance(0.25);
    let mut loading = Draw(rng.fork("loads"));
    let ahead = loads(&mut loading, links[0].rate, first);
    let back = if both { loads(&mut loading, links[1].rate, first) } else { Vec::new() };
    let mut scenario = Scenario {
        name: "generated".to_owned(),
        seed,
        links,
        hosts,
        loads: [ahead, back],
        first,
        steps: Vec::new(),
        outages: Vec::new(),
        control_lag: if draw.chance(0.2) { draw.span_ms(1.0, 2_000.0) } else { Duration::ZERO },
        patience: Duration::from_secs(120),
        // Long enough for the slowest law on the worst link: what matters is that there is an end.
        deadline: Duration::from_secs(1_800),
    };
    trouble(&mut Draw(rng.fork("trouble")), &mut scenario);
    scenario
}

struct Draw(Rng);

impl Draw {
    fn chance(&mut self, p: f64) -> bool {
        self.0.chance(p)
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.f64()
    }

    /// Evenly over the orders of magnitude.
    fn log(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.0.f64())
    }

    fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.0.below(u64::from(n))).unwrap_or(0)
    }

    /// A part of so many buffers: often one, often all.
    fn share(&mut self, of: u32) -> u32 {
        match self.below(4) {
            0 => 1,
            1 => of,
            _ => 1 + self.below(of),
        }
    }

    fn span_ms(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(self.log(low, high) / 1e3)
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.0.below(items.len() as u64)).unwrap_or(0)]
    }

    /// Bytes, evenly over the orders of magnitude.
    fn bytes(&mut self, low: u64, high: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "sizes of test objects")]
        let size = self.log(low as f64, high.max(low + 1) as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let size = size as u64;
        size
    }
}

fn links(draw: &mut Draw, rtt: f64) -> [LinkProfile; 2] {
    let rate = draw.log(1e6, 1e9);
    let back_rate = if draw.chance(0.5) { rate } else { rate * draw.log(0.1, 1.0) };
    let delay = Duration::from_secs_f64(rtt / 2.0);
    let ahead = link(draw, rate, delay, 0.3);
    let mut back = link(draw, back_rate.max(1e6), delay, 0.3);
    if draw.chance(0.2) {
        back.loss = Loss::Bernoulli(Ratio::new(draw.uniform(0.3, 0.5)));
    }
    if draw.chance(0.1) {
        return [LinkProfile { mtu: Some(1300), ..ahead }, LinkProfile { mtu: Some(1300), ..back }];
    }
    [ahead, back]
}

fn link(draw: &mut Draw, rate: f64, delay: Duration, loss_max: f64) -> LinkProfile {
    let mut rare = |p: f64, max: f64| {
        let hit = draw.chance(p);
        let share = draw.log(0.0005, max);
        if hit { Ratio::new(share) } else { Ratio::ZERO }
    };
    let (reorder, duplicate, corrupt) = (rare(0.3, 0.1), rare(0.3, 0.1), rare(0.3, 0.03));
    let jitter = draw
        .chance(0.3)
        .then(|| Jitter { amplitude: draw.span_ms(0.1, 30.0), reorder: draw.chance(0.4) });
    let queue = if draw.chance(0.2) {
        QueueLimit::Bytes(Bytes::new(draw.bytes(4_500, 30_000)))
    } else {
        QueueLimit::Time(draw.span_ms(5.0, 400.0))
    };
    LinkProfile {
        rate: Some(BitRate::from_f64(rate)),
        delay,
        queue,
        loss: loss(draw, loss_max),
        jitter,
        reorder,
        reorder_by: draw.span_ms(0.2, 40.0),
        duplicate,
        corrupt,
        ..LinkProfile::default()
    }
}

fn loss(draw: &mut Draw, max: f64) -> Loss {
    let mean = Ratio::new(draw.log(0.0005, max));
    match draw.below(4) {
        0 => Loss::None,
        1 => Loss::GilbertElliott { mean, burst: draw.uniform(1.5, 6.0) },
        _ => Loss::Bernoulli(mean),
    }
}

fn host(draw: &mut Draw, rate: Option<BitRate>) -> HostProfile {
    let rate = rate.unwrap_or(BitRate::mbps(100));
    let fixed = draw.chance(0.15);
    let policy = if fixed {
        Policy::Fixed
    } else {
        draw.pick(&[Policy::Fair, Policy::Fair, Policy::High, Policy::Low])
    };
    let disk_rate = draw.uniform(0.3, 3.0);
    HostProfile {
        policy,
        bounds: Bounds::capped((fixed || draw.chance(0.2)).then(|| rate.mul_f64(0.95))),
        start_hint: draw.chance(0.3).then(|| rate.mul_f64(draw.log(0.1, 2.0))),
        fec: draw.pick(&[FecPolicy::Auto, FecPolicy::Auto, FecPolicy::Off, FecPolicy::Always]),
        send_blocks: draw.pick(&[1, 2, 4, 16, 64]),
        recv_blocks: draw.pick(&[1, 2, 4, 16, 64]),
        disk: DiskProfile {
            latency: draw.span_ms(0.05, 50.0),
            rate: draw.chance(0.2).then(|| rate.mul_f64(disk_rate).max(BitRate::mbps(5))),
            ..DiskProfile::default()
        },
        workers: draw.pick(&[1, 2, 4]),
        job: draw.span_ms(0.1, 40.0),
        failing_encodes: if draw.chance(0.1) { 1 + draw.below(5) } else { 0 },
        packable: draw.pick(&[0, 0, 30, 100]),
        ..HostProfile::default()
    }
}

fn loads(draw: &mut Draw, rate: Option<BitRate>, first: First) -> Vec<Load> {
    let rate = rate.unwrap_or(BitRate::mbps(100));
    let nominal = rate.bytes_in(Duration::from_secs_f64(NOMINAL_SECONDS)).get();
    let usual = if draw.chance(0.1) { BYTES_MAX } else { USUAL_MAX };
    let most = nominal.min(usual).max(2);
    let least = if draw.chance(0.3) { 1 } else { most / 16 + 1 };
    let budget = draw.bytes(least, most);
    let count = 1 + draw.below(5);
    let mut left = budget;
    let mut loads = Vec::new();
    for place in 0..count {
        let last = place + 1 == count;
        let len = if last { left } else { draw.0.below(left + 1) };
        let len = if draw.chance(0.05) { 0 } else { len };
        left -= len;
        let late = first == First::Source && draw.chance(0.4);
        let at = if late { Timestamp::ZERO + draw.span_ms(1.0, 3_000.0) } else { Timestamp::ZERO };
        let (held, wrong) = if draw.chance(0.3) { claims(draw, len) } else { Default::default() };
        loads.push(Load { at, len: Bytes::new(len), held, wrong });
    }
    loads.sort_by_key(|load| load.at);
    loads
}

/// Runs of blocks.
type Runs = Vec<(u32, u32)>;

/// Runs that the target claims to hold, and those of them that are wrong.
fn claims(draw: &mut Draw, len: u64) -> (Runs, Runs) {
    let blocks = blocks_of(Bytes::new(len));
    let (mut held, mut wrong) = (Vec::new(), Vec::new());
    let mut at = draw.below(3);
    while at < blocks {
        let count = (1 + draw.below(3)).min(blocks - at);
        held.push((at, count));
        if draw.chance(0.3) {
            wrong.push((at, 1 + draw.below(count)));
        }
        at += count + 1 + draw.below(4);
    }
    (held, wrong)
}

/// Outages, failing disks and digests, users who change their minds.
fn trouble(draw: &mut Draw, scenario: &mut Scenario) {
    if draw.chance(0.15) {
        let from = Timestamp::ZERO + draw.span_ms(1.0, 5_000.0);
        scenario.outages.push(Outage::both(from, from + draw.span_ms(1_000.0, 20_000.0)));
    }
    for source in Side::BOTH {
        let loads = scenario.loads[source.index()].clone();
        for (place, load) in loads.iter().enumerate() {
            let object = ObjectId::new(u32::try_from(place).unwrap_or(u32::MAX));
            let blocks = u32::try_from(load.len.get().div_ceil(BLOCK_DATA.get())).unwrap_or(0);
            if blocks == 0 {
                continue;
            }
            let block = (object, draw.below(blocks));
            let at = load.at + draw.span_ms(1.0, 4_000.0);
            let (sends, takes) = (source.index(), source.peer().index());
            match draw.below(30) {
                0 => drop(scenario.hosts[sends].disk.failing_reads.insert(block)),
                1 => drop(scenario.hosts[takes].disk.failing_writes.insert(block)),
                2..=4 => {
                    let times = 1 + draw.below(3);
                    scenario.hosts[takes].digest_failures.insert(block, times);
                }
                5 => scenario.steps.push((at, Step::Cancel { source, object })),
                6 => scenario.steps.push((at, Step::Refuse { source, object })),
                _ => {}
            }
        }
    }
}

/// Slowest that a link becomes: a block must still pass before patience ends.
const RATE_MIN: BitRate = BitRate::mbps(1);

/// What else a link may be like, and become.
fn weather(draw: &mut Draw, scenario: &mut Scenario) {
    if draw.chance(0.2) {
        let rtt = scenario.rtt();
        let ahead = rtt.mul_f64(draw.uniform(0.02, 0.98));
        scenario.links[0].delay = ahead;
        scenario.links[1].delay = rtt.saturating_sub(ahead);
    }
    for link in &mut scenario.links {
        let rate = link.rate.unwrap_or(BitRate::mbps(100));
        if draw.chance(0.1) {
            let rate = rate.mul_f64(draw.uniform(0.2, 0.95)).max(RATE_MIN);
            link.policer = Some(Policer { rate, bucket: draw.span_ms(2.0, 200.0) });
        }
        if draw.chance(0.1) {
            let min = draw.span_ms(1.0, 50.0);
            let max = min.mul_f64(draw.uniform(1.5, 4.0));
            link.red = Some(Red { min, max, ceiling: Ratio::new(draw.log(0.01, 0.3)) });
        }
    }
    for from in Side::BOTH {
        if draw.chance(0.05) {
            let at = Timestamp::ZERO + draw.span_ms(1.0, 5_000.0);
            let until = at + draw.span_ms(300.0, 15_000.0);
            scenario.outages.push(Outage::one_way(from, at, until));
        }
        for _ in 0..if draw.chance(0.15) { 1 + draw.below(3) } else { 0 } {
            let at = Timestamp::ZERO + draw.span_ms(10.0, 10_000.0);
            let profile = changed(draw, &scenario.links[from.index()]);
            scenario.steps.push((at, Step::Link { from, profile }));
        }
    }
}

/// Another capacity, another way, another quality.
fn changed(draw: &mut Draw, link: &LinkProfile) -> LinkProfile {
    let rate = link.rate.map(|rate| rate.mul_f64(draw.log(0.2, 4.0)).max(RATE_MIN));
    let delay = link.delay.mul_f64(draw.log(0.3, 3.0));
    LinkProfile { rate, delay, loss: loss(draw, 0.3), ..link.clone() }
}

/// Disks and buffers that are not enough.
fn scarcity(draw: &mut Draw, scenario: &mut Scenario) {
    for side in Side::BOTH {
        let coming: Bytes = scenario.loads[side.peer().index()].iter().map(|load| load.len).sum();
        let host = &mut scenario.hosts[side.index()];
        if draw.chance(0.2) {
            host.disk.short_writes = 1 + draw.below(6);
        }
        if draw.chance(0.05) {
            let capacity = draw.0.below(coming.get().max(1));
            host.disk.capacity = Some(Bytes::new(capacity));
        }
        if draw.chance(0.1) {
            host.recv_pool = Some(1 + draw.below(host.recv_blocks));
        }
    }
}

/// Other sessions come and go, and with them the share of the buffers.
fn sharing(draw: &mut Draw, scenario: &mut Scenario) {
    for side in Side::BOTH {
        let host = &scenario.hosts[side.index()];
        for _ in 0..if draw.chance(0.25) { 1 + draw.below(6) } else { 0 } {
            let at = Timestamp::ZERO + draw.span_ms(1.0, 10_000.0);
            let (send, recv) = (draw.share(host.send_blocks), draw.share(host.recv_blocks));
            scenario.steps.push((at, Step::Share { side, send, recv }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_drawn_now_and_then() {
        let runs: Vec<Scenario> = (0..300).map(generate).collect();
        let count = |has: &dyn Fn(&Scenario) -> bool| runs.iter().filter(|s| has(s)).count();
        let link = |has: fn(&LinkProfile) -> bool| count(&|s| s.links.iter().any(has));
        let host = |has: fn(&HostProfile) -> bool| count(&|s| s.hosts.iter().any(has));
        let step = |has: fn(&Step) -> bool| count(&|s| s.steps.iter().any(|(_, step)| has(step)));
        for (what, times) in [
            ("policer", link(|l| l.policer.is_some())),
            ("early drop", link(|l| l.red.is_some())),
            ("uneven delay", count(&|s| s.links[0].delay > s.links[1].delay.mul_f64(1.5))),
            ("outage", count(&|s| s.outages.iter().any(|o| o.side.is_none()))),
            ("silence one way", count(&|s| s.outages.iter().any(|o| o.side.is_some()))),
            ("change", step(|step| matches!(step, Step::Link { .. }))),
            ("short write", host(|h| h.disk.short_writes > 0)),
            ("full disk", host(|h| h.disk.capacity.is_some())),
            (
                "fewer buffers than credit",
                host(|h| h.recv_pool.is_some_and(|pool| pool < h.recv_blocks)),
            ),
            ("failing read", host(|h| !h.disk.failing_reads.is_empty())),
            ("failing write", host(|h| !h.disk.failing_writes.is_empty())),
            ("other share", step(|step| matches!(step, Step::Share { .. }))),
            ("cancel", step(|step| matches!(step, Step::Cancel { .. }))),
        ] {
            assert!((5..250).contains(&times), "{what}: {times} of {}", runs.len());
        }
    }
}
