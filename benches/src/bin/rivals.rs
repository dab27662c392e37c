//! Measures how Farhaul shares a link with TCP and with itself.
//!
//! `cargo run --release -p farhaul-benches --bin rivals -- --rate 100Mbit/s --rtt 20ms`

use anyhow::{Context, Result};
use clap::Parser;
use farhaul_benches::files::FileOptions;
use farhaul_benches::rivals::{HEAD, Plan, Rival, measure, to_row};
use farhaul_netem_tests::LabProfile;
use farhaul_sim::profile::parse_span;
use std::time::Duration;

/// Lets one Farhaul flow and others that come later share a link without loss.
#[derive(Debug, Parser)]
#[command(name = "rivals")]
struct Arguments {
    /// The link's rate.
    #[arg(long, default_value = "100Mbit/s")]
    rate: String,
    /// Its round trips; one link for each.
    #[arg(long, value_delimiter = ',', default_value = "20ms,100ms")]
    rtt: Vec<String>,
    /// Its queue, as time; one base round trip, if not given.
    #[arg(long)]
    queue: Option<String>,
    /// Beside whom.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "cubic,bbr,farhaul")]
    beside: Vec<Rival>,
    /// How many of them.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    count: Vec<u16>,
    /// The first flow's policy.
    #[arg(long, value_delimiter = ',', default_value = "fair")]
    policy: Vec<String>,
    /// How long shares are taken for.
    #[arg(long, default_value = "30s", value_parser = parse_span)]
    span: Duration,
    /// How often each.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seed of the first round's link.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    files: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let work = tempfile::tempdir_in(&arguments.files.work)
        .with_context(|| format!("cannot work in {}", arguments.files.work.display()))?;
    let (mut text, mut report) = (HEAD.to_owned(), Vec::new());
    for rtt in &arguments.rtt {
        let queue = arguments.queue.as_ref().unwrap_or(rtt);
        let rate = &arguments.rate;
        let link = format!("rate = '{rate}'\nrtt = '{rtt}'\nqueue = '{queue}'\n");
        let profile = LabProfile::from_toml(&link)?;
        let name = format!("{rate}, {rtt}, queue {queue}");
        for plan in plans(&arguments) {
            let mut runs = Vec::new();
            for round in 0..arguments.rounds {
                let plan = Plan { seed: arguments.seed + u64::from(round), ..plan.clone() };
                runs.push(measure(&plan, &profile, work.path())?);
            }
            let row = to_row(&name, &runs);
            eprint!("{row}");
            text.push_str(&row);
            report.extend(runs);
            arguments.files.write(&text, &report)?;
        }
    }
    print!("{text}");
    Ok(())
}

fn plans(arguments: &Arguments) -> Vec<Plan> {
    let mut plans = Vec::new();
    for policy in &arguments.policy {
        for rival in &arguments.beside {
            for count in &arguments.count {
                plans.push(Plan {
                    policy: policy.clone(),
                    rival: *rival,
                    count: *count,
                    span: arguments.span,
                    seed: arguments.seed,
                });
            }
        }
    }
    plans
}
