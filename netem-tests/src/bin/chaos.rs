//! Real daemons, users, faults, and what is left of what was written: a run of any length.
//!
//! `cargo run --profile bench-dev -p farhaul-netem-tests --bin chaos -- --minutes 30 --sites 4`
//!
//! Prints the verdict; exits with 1 if anything is wrong, and leaves trees, logs and the journal then.

use clap::Parser;
use farhaul_netem_tests::chaos::site::Peering;
use farhaul_netem_tests::chaos::{ChaosError, Plan, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Has daemons, their users and faults at work for a while, and looks what became of everything.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// How many sites; more than two need a privileged user.
    #[arg(long, default_value_t = 2)]
    sites: usize,
    /// Each site speaks to its two neighbours only.
    #[arg(long)]
    ring: bool,
    /// Modes and times of files are not changed by themselves.
    #[arg(long)]
    no_metadata: bool,
    /// Of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The longest pause between two acts at a site, in milliseconds.
    #[arg(long, default_value_t = 200)]
    pause: u64,
    /// The longest pause between two faults, in seconds.
    #[arg(long, default_value_t = 6)]
    faults_pause: u64,
    /// How long the sites may take to agree, in seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// How often sites scan, in seconds.
    #[arg(long, default_value_t = 60)]
    scan_every: u64,
    /// Where trees and logs are kept; a temporary directory, which stays if anything is wrong.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

fn main() -> ExitCode {
    play(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("chaos: {error}");
        ExitCode::FAILURE
    })
}

fn play(arguments: Arguments) -> Result<ExitCode, ChaosError> {
    let parent = arguments.work.unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)?;
    let mut directory = tempfile::Builder::new().prefix("chaos-").tempdir_in(parent)?;
    let mut plan = Plan::new(Duration::from_secs_f64(arguments.minutes * 60.0), arguments.seed);
    plan.sites = arguments.sites;
    plan.peering = if arguments.ring { Peering::Ring } else { Peering::All };
    plan.metadata = !arguments.no_metadata;
    plan.pause = Duration::from_millis(arguments.pause);
    plan.faults_pause = Duration::from_secs(arguments.faults_pause);
    plan.patience = Duration::from_secs(arguments.patience);
    plan.scan_every = Duration::from_secs(arguments.scan_every);
    let verdict = run(&plan, directory.path())?;
    print!("{verdict}");
    if verdict.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    directory.disable_cleanup(true);
    println!("all of it is in {}", directory.path().display());
    Ok(ExitCode::FAILURE)
}
