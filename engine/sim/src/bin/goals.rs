//! Prints the goals as a table: what was wanted, the worst that came out, and whether it holds.
//!
//! `goals --seeds 3` plays all of it (minutes), `--fast` adds the links of 10 Gbit/s; `--only G13`
//! plays one goal of whole transfers or the cells.

use anyhow::Result;
use clap::Parser;
use farhaul_sim::goals::{HEAD, Line, rate, transfer};
use std::process::ExitCode;

/// Prints the goals as a table.
#[derive(Debug, Parser)]
struct Arguments {
    /// So many seeds are played; each figure is the worst of them.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Also the links of 10 Gbit/s.
    #[arg(long)]
    fast: bool,
    /// Only "rate" (cells of rate control) or "transfer" (whole transfers).
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    let mut lines: Vec<Line> = Vec::new();
    if wanted("transfer") {
        lines.extend(transfer::lines(arguments.seeds)?);
    }
    if wanted("rate") {
        lines.extend(rate::lines(arguments.seeds, arguments.fast));
    }
    lines.sort_by_key(|line| line.goal[1..].parse::<u32>().unwrap_or(u32::MAX));
    println!("{HEAD}");
    lines.iter().for_each(|line| println!("{}", line.row()));
    let passed = lines.iter().filter(|line| line.passes()).count();
    println!("\n{passed} of {} lines pass.", lines.len());
    Ok(ExitCode::SUCCESS)
}
