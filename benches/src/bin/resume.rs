//! Measures what an interruption in the middle of a file costs.
//!
//! `cargo run --release -p farhaul-benches --bin resume -- --cell b`

use anyhow::{Context, Result, bail};
use clap::Parser;
use farhaul_benches::files::FileOptions;
use farhaul_benches::resume::{Killed, Plan, measure, to_markdown};
use farhaul_netem_tests::cell;
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{parse_size, parse_span};
use std::time::Duration;

/// Kills one end in the middle of a file, sends it again, and tells what was sent twice.
#[derive(Debug, Parser)]
#[command(name = "resume")]
struct Arguments {
    /// Cell of `netem-tests/profiles`, 'a' to 'f'.
    #[arg(long, default_value_t = 'b')]
    cell: char,
    /// Which end is killed; each in turn, if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    killed: Vec<Killed>,
    /// Size of the file.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: Bytes,
    /// Share of the file that has crossed the link by then.
    #[arg(long, default_value_t = 0.5)]
    at: f64,
    /// How often each.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Longest that either attempt may take.
    #[arg(long, default_value = "150s", value_parser = parse_span)]
    limit: Duration,
    #[command(flatten)]
    files: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !matches!(arguments.cell.to_ascii_lowercase(), 'a'..='f') {
        bail!("there is no cell {:?}; they are a to f", arguments.cell);
    }
    if !(0.0..1.0).contains(&arguments.at) {
        bail!("{} is no share of a file below 1", arguments.at);
    }
    let plan = Plan { size: arguments.size.get(), at: arguments.at, limit: arguments.limit };
    let both = [Killed::Sender, Killed::Receiver];
    let ends = if arguments.killed.is_empty() { &both[..] } else { &arguments.killed };
    let mut runs = Vec::new();
    for _ in 0..arguments.rounds {
        for end in ends {
            let run = measure(&plan, &cell(arguments.cell), &arguments.files.work, *end)
                .with_context(|| format!("with the {end:?} killed"))?;
            runs.push(run);
        }
    }
    let text = to_markdown(&runs);
    print!("{text}");
    Ok(arguments.files.write(&text, &runs)?)
}
