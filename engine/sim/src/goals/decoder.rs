//! What repair symbols cost who decodes slowly: whole transfers to a host that solves a block in so
//! many milliseconds, on one worker that has everything else to do as well.

use crate::report::Report;
use crate::scenario::{HostProfile, Scenario, cell};
use crate::world::{Failure, Speech, run};
use core::time::Duration;
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::units::{BitRate, Bytes};

/// What is carried: 188 blocks.
const OBJECT: Bytes = Bytes::mib(252);
const LOSS: f64 = 0.02;
/// What a digest takes.
const JOB: Duration = Duration::from_micros(500);

/// The head of the table.
pub const HEAD: &str = "| link | a solve | off | auto (blocks solved) | always (blocks solved) |\n\
                        |---|---|---|---|---|";

/// Plays the table with seeds 1 to `seeds`; answers its rows as each is done.
///
/// # Errors
/// If a run breaks a rule of the world: then no figure of it counts.
pub fn play(seeds: u64, mut row: impl FnMut(String)) -> Result<(), Failure> {
    let links = [
        (BitRate::mbps(100), Duration::from_millis(50)),
        (BitRate::mbps(500), Duration::from_millis(200)),
        (BitRate::mbps(2_000), Duration::from_millis(100)),
    ];
    for (rate, rtt) in links {
        for solve in [5, 20, 50, 100, 300].map(Duration::from_millis) {
            let cells = [FecPolicy::Off, FecPolicy::Auto, FecPolicy::Always]
                .map(|fec| transfers((rate, rtt), solve, fec, seeds));
            let [off, auto, always] = cells;
            let (off, auto, always) = (off?, auto?, always?);
            row(format!("| {rate}, {rtt:?} | {solve:?} | {off} | {auto} | {always} |"));
        }
    }
    Ok(())
}

/// The transfer that took longest.
struct Slowest(Report);

impl core::fmt::Display for Slowest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let direction = &self.0.directions[0];
        let (seconds, solved) = (direction.elapsed.as_secs_f64(), direction.coded.1);
        write!(f, "{seconds:.3} s, {:.3} ({solved})", direction.efficiency())
    }
}

fn transfers(
    (rate, rtt): (BitRate, Duration),
    solve: Duration,
    fec: FecPolicy,
    seeds: u64,
) -> Result<Slowest, Failure> {
    let play = |seed| {
        let link = cell(rate, rtt, LOSS);
        let mut scenario = Scenario::one_way("decoder", seed, link, &[OBJECT]);
        scenario.hosts[0].fec = fec;
        let target = scenario.hosts[1].clone();
        scenario.hosts[1] = HostProfile { workers: 1, job: JOB, solve, ..target };
        run(&scenario, Speech::Silent)
    };
    let mut slowest = play(1)?;
    for seed in 2..=seeds {
        let report = play(seed)?;
        if report.directions[0].elapsed > slowest.directions[0].elapsed {
            slowest = report;
        }
    }
    Ok(Slowest(slowest))
}
