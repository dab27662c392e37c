//! Plays seeds or named scenarios and tells which of them broke a rule, and how to see it again.

use anyhow::{Result, bail};
use clap::Parser;
use farhaul_sim::check::Violation;
use farhaul_sim::report::Report;
use farhaul_sim::scenario::{self, NAMES};
use farhaul_sim::world::{Failure, Speech, run};
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
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let single = match (&arguments.scenario, arguments.seed) {
        (Some(name), seed) => match scenario::named(name, seed.unwrap_or(1)) {
            Some(scenario) => Some(scenario),
            None => bail!("no scenario {name:?}; there are: {}", NAMES.join(", ")),
        },
        (None, Some(seed)) => Some(scenario::generate(seed)),
        (None, None) => None,
    };
    let Some(scenario) = single else { return Ok(play_seeds(&arguments)) };
    if arguments.show {
        println!("{scenario:#?}");
    }
    let speech = if arguments.trace { Speech::Lines } else { Speech::Silent };
    match run(&scenario, speech) {
        Ok(report) => {
            println!("{report}");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            println!("FAILED {failure}");
            Ok(ExitCode::FAILURE)
        }
    }
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
