//! G3, G4, G5, G11 and G13 from whole transfers by the sessions of the product.

use super::Line;
use crate::profile::{LinkProfile, Loss};
use crate::report::Report;
use crate::scenario::{Load, Scenario, cell, warm};
use crate::world::{Failure, Speech, run};
use core::time::Duration;
use farhaul_proto::congestion::Bounds;
use farhaul_proto::trace::{Limit, longest};
use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};

const RATE: BitRate = BitRate::mbps(100);
const NONE: f64 = f64::NEG_INFINITY;
/// Small objects of a run, one each second, after one that warms the session.
const SMALL: u32 = 100;

/// Plays everything with seeds 1 to `seeds`.
///
/// # Errors
/// If a run breaks a rule of the world: then no figure of it counts.
pub fn lines(seeds: u64) -> Result<Vec<Line>, Failure> {
    let mut lines = waste(seeds)?;
    lines.extend(quick(seeds)?);
    lines.extend(tails(seeds)?);
    lines.extend(reverse_loss(seeds)?);
    lines.push(limits(seeds)?);
    Ok(lines)
}

fn play(scenario: &Scenario) -> Result<Report, Failure> {
    run(scenario, Speech::Silent)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn bursts(mut link: LinkProfile, mean: f64) -> LinkProfile {
    link.loss = Loss::GilbertElliott { mean: Ratio::new(mean), burst: 10.0 };
    link
}

fn load(at: Timestamp, len: Bytes) -> Load {
    Load { at, len, held: Vec::new(), wrong: Vec::new() }
}

/// G3. One object on a fresh session: what start-up and reports send counts as well.
fn waste(seeds: u64) -> Result<Vec<Line>, Failure> {
    let cases = [
        ("64 KiB", Bytes::kib(64), 0.25),
        ("10 MiB", Bytes::mib(10), 0.03),
        ("200 MiB", Bytes::mib(200), 0.01),
    ];
    let mut lines = Vec::new();
    for (name, len, bar) in cases {
        let what = format!("waste of {name}, 100 Mbit/s, 200 ms");
        let mut line = Line::new("G3", what, NONE, bar);
        for loss in [0.0, 0.02, 0.05] {
            for seed in 1..=seeds {
                let link = cell(RATE, millis(200), loss);
                let report = play(&Scenario::one_way("waste", seed, link, &[len]))?;
                let waste = report.directions[0].sent_of_needed() - 1.0;
                line.note(waste, || format!("loss {loss} ({seed})"));
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

/// G4. Small objects on a warm session, and one of 10 MiB.
fn quick(seeds: u64) -> Result<Vec<Line>, Failure> {
    let rtt = millis(200);
    let link = cell(RATE, rtt, 0.02);
    let mut times = Vec::new();
    for seed in 1..=seeds {
        let scenario = warm(seed, link.clone(), Bytes::kib(64), SMALL);
        times.extend(play(&scenario)?.carried[0].iter().skip(1).copied());
    }
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::MAX);
    let serial = Bytes::kib(64).time_at(limit(&link, RATE));
    let ratio = |time: Duration, best: Duration| time.as_secs_f64() / best.as_secs_f64();
    let mut small =
        Line::new("G4", "64 KiB, warm, 200 ms, 2 %: p99 / (r/2 + serialisation)", NONE, 1.1);
    small.note(ratio(p99, rtt / 2 + serial), || format!("{} objects", times.len()));
    let rtt = millis(300);
    let link = cell(RATE, rtt, 0.05);
    let serial = Bytes::mib(10).time_at(limit(&link, RATE));
    let mut large =
        Line::new("G4", "10 MiB, warm, 300 ms, 5 %: round trips beyond serialisation", NONE, 1.2);
    for seed in 1..=seeds {
        let mut scenario = Scenario::one_way("large", seed, link.clone(), &[Bytes::mib(20)]);
        scenario.first = crate::scenario::First::Source;
        scenario.loads[0].push(load(Timestamp::from_millis(8_000), Bytes::mib(10)));
        let time = play(&scenario)?.carried[0].last().copied().unwrap_or(Duration::MAX);
        let beyond = time.saturating_sub(serial).as_secs_f64() / rtt.as_secs_f64();
        large.note(beyond, || format!("{:.3} s ({seed})", time.as_secs_f64()));
    }
    Ok(vec![small, large])
}

/// Data that the link carries in a second, losses and headers taken off.
fn limit(link: &LinkProfile, rate: BitRate) -> BitRate {
    let loss = match link.loss {
        Loss::None => 0.0,
        Loss::Bernoulli(share) | Loss::GilbertElliott { mean: share, .. } => share.get(),
    };
    rate.mul_f64((1.0 - loss) * 1408.0 / 1473.0)
}

/// G5. From the end of the first pass to the last byte on the disk.
fn tails(seeds: u64) -> Result<Vec<Line>, Failure> {
    let rtt = millis(200);
    let cases = [
        ("2 %", cell(RATE, rtt, 0.02), 0.6),
        ("2 % in runs of 10", bursts(cell(RATE, rtt, 0.0), 0.02), 0.8),
    ];
    let mut lines = Vec::new();
    for (name, link, bar) in cases {
        let what = format!("last-byte lag in round trips, 200 ms, {name}");
        let mut line = Line::new("G5", what, NONE, bar);
        for seed in 1..=seeds {
            for len in [Bytes::mib(1), Bytes::mib(10), Bytes::mib(20), Bytes::mib(100)] {
                let report = play(&Scenario::one_way("tail", seed, link.clone(), &[len]))?;
                let tail = report.directions[0].tail.as_secs_f64() / rtt.as_secs_f64();
                line.note(tail, || format!("{len} ({seed})"));
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

/// G11, as far as a way back that loses is concerned.
fn reverse_loss(seeds: u64) -> Result<Vec<Line>, Failure> {
    let mut cost = Line::new("G11", "goodput lost to 10 % loss on the way back", NONE, 0.02);
    let mut half = Line::new("G11", "goodput/G* at 50 % loss on the way back", 0.01, f64::INFINITY);
    for seed in 1..=seeds {
        let goodput = |loss: f64| -> Result<f64, Failure> {
            let link = cell(RATE, millis(200), 0.02);
            let mut scenario = Scenario::one_way("reverse", seed, link, &[Bytes::mib(200)]);
            if loss > 0.0 {
                scenario.links[1].loss = Loss::Bernoulli(Ratio::new(loss));
            }
            Ok(play(&scenario)?.directions[0].efficiency())
        };
        let (none, tenth, most) = (goodput(0.0)?, goodput(0.1)?, goodput(0.5)?);
        cost.note(1.0 - tenth / none, || format!("{tenth:.3} after {none:.3} ({seed})"));
        half.note(most, || format!("({seed})"));
    }
    Ok(vec![cost, half])
}

/// G13. Runs whose limit is known: what the session says limited it for most of the time.
fn limits(seeds: u64) -> Result<Line, Failure> {
    let slow = Some(BitRate::mbps(20));
    let (mut right, mut all, mut wrong) = (0u32, 0u32, String::new());
    for seed in 1..=seeds {
        for (rtt, loss) in [(20, 0.0), (100, 0.02), (200, 0.1), (300, 0.05)] {
            let base = || {
                let link = cell(RATE, millis(rtt), loss);
                Scenario::one_way("limit", seed, link, &[Bytes::mib(60)])
            };
            let mut cases = vec![(Limit::Link, base())];
            let mut with = |limit, change: &dyn Fn(&mut Scenario)| {
                let mut scenario = base();
                change(&mut scenario);
                cases.push((limit, scenario));
            };
            with(Limit::Cap, &|s| s.hosts[0].bounds = Bounds::capped(slow));
            with(Limit::SourceDisk, &|s| s.hosts[0].disk.rate = slow);
            with(Limit::DestinationDisk, &|s| s.hosts[1].disk.rate = slow);
            // A tenth of the product of rate and round trip, if that is a block at all.
            if rtt >= 100 {
                with(Limit::Receiver, &|s| s.hosts[1].recv_blocks = 1);
                with(Limit::Sender, &|s| s.hosts[0].send_blocks = 1);
            }
            for (limit, scenario) in cases {
                let said = longest(&play(&scenario)?.directions[0].limited);
                all += 1;
                if said == Some(limit) {
                    right += 1;
                } else if wrong.len() < 120 {
                    let said = said.map_or("nothing", Limit::name);
                    wrong += &format!("{}: {said} at {rtt} ms; ", limit.name());
                }
            }
        }
    }
    let mut line =
        Line::new("G13", format!("limit named rightly, of {all} runs"), 0.95, f64::INFINITY);
    line.note(f64::from(right) / f64::from(all.max(1)), || wrong);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_session_carries_a_small_object_in_less_than_a_round_trip() {
        let link = cell(RATE, millis(200), 0.0);
        let mut scenario = Scenario::one_way("small", 1, link, &[Bytes::mib(2)]);
        scenario.first = crate::scenario::First::Source;
        scenario.loads[0].push(load(Timestamp::from_millis(4_000), Bytes::kib(64)));
        let report = play(&scenario).expect("no rule is broken");
        assert_eq!(report.carried[0].len(), 2);
        assert!(report.carried[0][1] < millis(200), "{:?}", report.carried[0]);
    }

    #[test]
    fn a_capped_transfer_says_so() {
        let link = cell(RATE, millis(20), 0.0);
        let mut scenario = Scenario::one_way("cap", 1, link, &[Bytes::mib(10)]);
        scenario.hosts[0].bounds = Bounds::capped(Some(BitRate::mbps(20)));
        let direction = play(&scenario).expect("no rule is broken").directions[0];
        assert_eq!(longest(&direction.limited), Some(Limit::Cap));
    }
}
