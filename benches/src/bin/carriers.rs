//! Measures how long a transfer takes to travel over TCP where UDP does not carry it, and over UDP
//! again once that does.
//!
//! `cargo run --release -p farhaul-benches --bin carriers -- --rtt 200ms`

use anyhow::{Context, Result};
use clap::Parser;
use farhaul_benches::carriers::{Trouble, measure, to_markdown};
use farhaul_benches::files::FileOptions;
use farhaul_sim::profile::parse_span;
use std::time::Duration;

/// Takes UDP away from a transfer and gives it back; tells how long it took to go over TCP, and
/// over UDP again.
#[derive(Debug, Parser)]
#[command(name = "carriers")]
struct Arguments {
    /// What happens to UDP; each in turn, if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    trouble: Vec<Trouble>,
    /// Round trip of the link.
    #[arg(long, default_value = "200ms", value_parser = parse_span)]
    rtt: Duration,
    /// How often each.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Longest to wait for each: data over TCP, data over UDP again, the end.
    #[arg(long, default_value = "40s", value_parser = parse_span)]
    limit: Duration,
    #[command(flatten)]
    files: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let all = [Trouble::Blocked, Trouble::Dies, Trouble::Policed];
    let troubles = if arguments.trouble.is_empty() { &all[..] } else { &arguments.trouble };
    let mut runs = Vec::new();
    for _ in 0..arguments.rounds {
        for trouble in troubles {
            let run = measure(*trouble, arguments.rtt, arguments.limit, &arguments.files.work)
                .with_context(|| format!("with UDP that is {trouble:?}"))?;
            runs.push(run);
        }
    }
    let text = to_markdown(arguments.rtt, &runs);
    print!("{text}");
    Ok(arguments.files.write(&text, &runs)?)
}
