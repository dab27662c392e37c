//! Plays seeds or named scenarios and tells which of them broke a rule, and how to see it again.

use anyhow::{Context, Result, bail};
use clap::Parser;
use core::time::Duration;
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::trace::flight::Flight;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::check::Violation;
use farhaul_sim::replay;
use farhaul_sim::report::{Direction, Report};
use farhaul_sim::scenario::{self, NAMES, Scenario, TRANSFERS};
use farhaul_sim::world::{Failure, Speech, run, run_recorded};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One seed in this many runs twice: the second run must be the same.
const REPEAT_EVERY: u64 = 100;

/// Play the transfer core in a virtual world.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many generated scenarios to play.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Play this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell every event (with one seed or scenario).
    #[arg(long)]
    trace: bool,
    /// Print what the scenario is, before it is played.
    #[arg(long)]
    show: bool,
    /// Play a named scenario instead of generated ones.
    #[arg(long)]
    scenario: Option<String>,
    /// Print speed, tail and waste of objects of several sizes at 200 ms, with and without repair
    /// symbols; medians over this many seeds.
    #[arg(long)]
    table: Option<u64>,
    /// Print a Markdown table of whole transfers over the acceptance cells; each figure is the
    /// worst of this many seeds.
    #[arg(long)]
    cells: Option<u64>,
    /// Play one of the acceptance cells A to E once.
    #[arg(long, value_name = "NAME", conflicts_with = "scenario")]
    cell: Option<String>,
    /// Fly again what a flight record tells of: its rates, delays and losses are the link's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "cell"])]
    replay: Option<PathBuf>,
    /// Write what the sender did as a flight record, for `farhaul plot` (with one seed, scenario,
    /// cell or replay).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The loss of the table of sizes, as a share.
    #[arg(long, default_value_t = 0.02)]
    loss: f64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(seeds) = arguments.table {
        return print_table(seeds, arguments.loss);
    }
    if let Some(seeds) = arguments.cells {
        return print_cells(seeds);
    }
    let Some(scenario) = single(&arguments)? else {
        if arguments.record.is_some() {
            bail!("--record takes one run: add --seed, --scenario, --cell or --replay");
        }
        return Ok(play_seeds(&arguments));
    };
    if arguments.show {
        println!("{scenario:#?}");
    }
    let speech = if arguments.trace { Speech::Lines } else { Speech::Silent };
    match run_recorded(&scenario, speech) {
        Ok((report, flight)) => {
            println!("{report}");
            if let Some(path) = &arguments.record {
                std::fs::write(path, flight.encode())
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            println!("FAILED {failure}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The one run that is asked for, if it is one.
fn single(arguments: &Arguments) -> Result<Option<Scenario>> {
    let seed = arguments.seed.unwrap_or(1);
    if let Some(path) = &arguments.replay {
        let record =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let flight = Flight::parse(&record).with_context(|| format!("{}", path.display()))?;
        return Ok(Some(replay::scenario(&flight, seed)?));
    }
    if let Some(name) = &arguments.cell {
        let transfer = TRANSFERS.iter().find(|t| t.name.eq_ignore_ascii_case(name));
        let names = TRANSFERS.map(|transfer| transfer.name).join(", ");
        let transfer = transfer.with_context(|| format!("no cell {name:?}; there are: {names}"))?;
        return Ok(Some(transfer.scenario(seed)?));
    }
    if let Some(name) = &arguments.scenario {
        let scenario = scenario::named(name, seed);
        let names = NAMES.join(", ");
        return scenario
            .map(Some)
            .with_context(|| format!("no scenario {name:?}; there are: {names}"));
    }
    Ok(arguments.seed.map(scenario::generate))
}

/// What the acceptance cells come to, in the hands of the sessions of the product.
fn print_cells(seeds: u64) -> Result<ExitCode> {
    println!("| cell | object | goodput/G* | sent/needed | p95 of queue, ms | tail, round trips |");
    println!("|---|---|---|---|---|---|");
    for transfer in TRANSFERS {
        let mut runs = Vec::new();
        for seed in 1..=seeds.max(1) {
            runs.push(run(&transfer.scenario(seed)?, Speech::Silent)?.directions[0]);
        }
        let most = |figure: &dyn Fn(&Direction) -> f64| runs.iter().map(figure).fold(0.0, f64::max);
        let rtt = transfer.scenario(0)?.rtt().as_secs_f64();
        println!(
            "| {} | {} | {:.3} | {:.3} | {:.1} | {:.2} |",
            transfer.name,
            transfer.len,
            runs.iter().map(Direction::efficiency).fold(f64::MAX, f64::min),
            most(&Direction::sent_of_needed),
            most(&|direction| direction.queue_p95.as_secs_f64() * 1e3),
            most(&|direction| direction.tail.as_secs_f64() / rtt),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What a job of each size comes to, at two rates.
fn print_table(seeds: u64, loss: f64) -> Result<ExitCode> {
    let sizes = [Bytes::kib(64), Bytes::mib(1), Bytes::mib(10), Bytes::mib(100)];
    println!(
        "rate        size       fec     elapsed    of G*   tail (of rtt)  worst   over     in vain"
    );
    for rate in [BitRate::mbps(100), BitRate::mbps(500)] {
        for size in sizes {
            for fec in [FecPolicy::Off, FecPolicy::Auto] {
                print_row((rate, loss), size, fec, seeds)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_row((rate, loss): (BitRate, f64), size: Bytes, fec: FecPolicy, seeds: u64) -> Result<()> {
    let rtt = Duration::from_millis(200);
    let mut runs = Vec::new();
    for seed in 0..seeds.max(1) {
        let link = scenario::cell(rate, rtt, loss);
        let mut scenario = Scenario::one_way("table", seed, link, &[size]);
        scenario.hosts[0].fec = fec;
        runs.push(run(&scenario, Speech::Silent)?.directions[0]);
    }
    let median = |value: &dyn Fn(&Direction) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let tail = |direction: &Direction| direction.tail.as_secs_f64() / rtt.as_secs_f64();
    println!(
        "{:<11} {:<10} {:<7} {:>7.3} s  {:>6.3}   {:>6.2}        {:>6.2}  {:>5.1} %  {:>5.2} %",
        rate.to_string(),
        size.to_string(),
        fec,
        median(&|direction| direction.elapsed.as_secs_f64()),
        median(&Direction::efficiency),
        median(&tail),
        runs.iter().map(tail).fold(0.0, f64::max),
        median(&Direction::overhead) * 100.0,
        median(&Direction::waste) * 100.0,
    );
    Ok(())
}

/// Sums over many runs.
#[derive(Debug, Default)]
struct Total {
    packets: u64,
    bytes: u64,
    abandoned: usize,
    failures: Vec<Failure>,
}

fn play_seeds(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = play_seed(seed);
                    let Ok(mut total) = total.lock() else { return };
                    total.take(outcome);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_default();
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let speed = arguments.seeds as f64 / seconds;
    println!(
        "{} seeds in {seconds:.1} s ({speed:.1} a second), {} packets, {} MiB, {} objects given \
         up, {} failed",
        arguments.seeds,
        total.packets,
        total.bytes >> 20,
        total.abandoned,
        total.failures.len()
    );
    if total.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play_seed(seed: u64) -> Result<Report, Failure> {
    let scenario = scenario::generate(seed);
    let report = run(&scenario, Speech::Silent)?;
    if seed.is_multiple_of(REPEAT_EVERY) {
        let again = run(&scenario, Speech::Silent)?;
        if again.hash != report.hash {
            let violation = Violation::NotRepeatable;
            return Err(Failure { name: scenario.name, seed, at: Default::default(), violation });
        }
    }
    Ok(report)
}

impl Total {
    fn take(&mut self, outcome: Result<Report, Failure>) {
        match outcome {
            Ok(report) => {
                self.packets += report.packets;
                self.bytes += report.directions.iter().map(|d| d.bytes.get()).sum::<u64>();
                self.abandoned += report.abandoned.0;
            }
            Err(failure) => {
                println!("FAILED {failure}\n       again: sim --seed {} --trace", failure.seed);
                self.failures.push(failure);
            }
        }
    }
}
