//! Prints the goals as a table: what was wanted, the worst that came out, and whether it holds.
//!
//! `goals --seeds 3` plays all of it (many minutes), `--fast` adds the links of 10 Gbit/s. `--only rate`
//! plays the cells of rate control, `--only transfer` the whole transfers, `--only G8` the cells of one
//! goal. What is known goes to the standard error at once, the table to the standard output.

use anyhow::Result;
use clap::Parser;
use farhaul_sim::goals::{HEAD, Line, decoder, fec, rate, transfer};
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
    /// Only "rate" (cells of rate control), "transfer" (whole transfers) or the cells of one goal, or
    /// instead "fec" (what repair symbols buy) or "decoder" (what they cost who decodes slowly).
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let only = arguments.only.as_deref();
    if only == Some("fec") {
        println!("{}", fec::HEAD);
        fec::play(arguments.seeds, |row| println!("{row}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if only == Some("decoder") {
        println!("{}", decoder::HEAD);
        decoder::play(arguments.seeds, |row| println!("{row}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let goal = only.filter(|only| !["rate", "transfer"].contains(only));
    let mut lines: Vec<Line> = Vec::new();
    if only.is_none_or(|only| only == "transfer") {
        lines.extend(transfer::lines(arguments.seeds)?);
    }
    if only != Some("transfer") {
        let show = |line: &Line| eprintln!("{}", line.row());
        lines.extend(rate::lines(arguments.seeds, arguments.fast, goal, show));
    }
    lines.sort_by_key(|line| line.goal[1..].parse::<u32>().unwrap_or(u32::MAX));
    println!("{HEAD}");
    lines.iter().for_each(|line| println!("{}", line.row()));
    let passed = lines.iter().filter(|line| line.passes()).count();
    println!("\n{passed} of {} lines pass.", lines.len());
    Ok(ExitCode::SUCCESS)
}
