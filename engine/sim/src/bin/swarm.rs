//! Plays the cells of the swarm and prints a table: the last site beside what physics allows, what
//! left the origins, what came over each WAN link, what came in vain, and which bars hold.
//!
//! `swarm` plays all of `engine/sim/cells/swarm.toml`, `swarm --only 128` the cells whose goal or name
//! has that in it. Each cell is played with each seed; the row with the most broken bars is shown.

use anyhow::{Context, Result};
use clap::Parser;
use farhaul_proto::units::Timestamp;
use farhaul_sim::swarm::{CellFile, Outcome, outcome, run};
use farhaul_sync::swarm::planner::{Input, Planner};
use farhaul_sync::swarm::{About, Dice, Peer, Run, Terms};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Plays the cells of the swarm.
#[derive(Debug, Parser)]
struct Arguments {
    /// The file of cells.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/cells/swarm.toml"))]
    file: PathBuf,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds are played; the worst is shown.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Only cells whose goal or name contains this, and those that they are measured beside.
    #[arg(long)]
    only: Option<String>,
    /// Instead: what the planner of 1,000 sites and 1,000,000 chunks takes.
    #[arg(long)]
    planner: bool,
    /// Only cells of at most so many sites.
    #[arg(long, default_value_t = usize::MAX)]
    most_sites: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.planner {
        return measure_planner();
    }
    let path = &arguments.file;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let cells = CellFile::from_toml(&text)
        .with_context(|| format!("{} is no file of cells", path.display()))?
        .cells;
    let is_wanted = |goal: &str, name: &str| {
        arguments.only.as_deref().is_none_or(|only| goal.contains(only) || name.contains(only))
    };
    let beside: Vec<&str> = cells
        .iter()
        .filter(|cell| is_wanted(&cell.goal, &cell.name))
        .filter_map(|cell| cell.bars.beside.as_deref())
        .collect();
    println!("{}", outcome::HEAD);
    let mut known: BTreeMap<(String, u64), Outcome> = BTreeMap::new();
    let (mut kept, mut all) = (0, 0);
    for cell in &cells {
        if cell.sites > arguments.most_sites {
            continue;
        }
        if !is_wanted(&cell.goal, &cell.name) && !beside.contains(&cell.name.as_str()) {
            continue;
        }
        let mut worst: Option<(Vec<String>, Outcome)> = None;
        for seed in arguments.seed..arguments.seed + arguments.seeds.max(1) {
            let began = Instant::now();
            let outcome = run(cell, seed)?;
            let other = cell.bars.beside.as_ref();
            let other = other.and_then(|name| known.get(&(name.clone(), seed)));
            let broken = outcome.broken(&cell.bars, other);
            eprintln!(
                "{} seed {seed}: {:.1?}, planner {} KiB, taker {} KiB, split, late, refused {:?}, control {:?}, {:.2} of the bound, {:.2} out, {:.0} % busy",
                cell.name,
                began.elapsed(),
                outcome.memory.0 / 1024,
                outcome.memory.1 / 1024,
                outcome.asks,
                outcome.control,
                outcome.ratio(),
                outcome.out_at / outcome.bound,
                100.0 * outcome.busy
            );
            known.insert((cell.name.clone(), seed), outcome.clone());
            if worst.as_ref().is_none_or(|(least, _)| broken.len() > least.len()) {
                worst = Some((broken, outcome));
            }
        }
        let Some((broken, outcome)) = worst else { continue };
        all += 1;
        kept += u32::from(broken.is_empty());
        let verdict = if broken.is_empty() { "hold".to_owned() } else { broken.join("; ") };
        println!("| {} | {} | {} | {verdict} |", cell.goal, cell.name, outcome.row());
    }
    println!("\n{kept} of {all} cells hold all of their bars.");
    Ok(())
}

/// Memory and time of a planner that hears of 1,000 sites in the middle of a million chunks: each a
/// little behind the origin with a few holes, and each with every second chunk.
fn measure_planner() -> Result<()> {
    const SITES: u16 = 1_000;
    const CHUNKS: u32 = 1_000_000;
    println!("| what sites hold | planner | a report of 12 chunks | a plan |\n|---|---|---|---|");
    for (what, is_scattered) in [("runs with a few holes", false), ("every second chunk", true)] {
        let site = |label: u16| About { label, region: label % 8, is_origin: label == 0 };
        let terms = Terms::new(vec![1 << 20; CHUNKS as usize], (0..=SITES).map(site).collect())?;
        let mut planner = Planner::new(Arc::new(terms), Dice::new(1));
        let mut now = Timestamp::from_millis(1);
        (0..=SITES).for_each(|at| planner.handle(Input::Joined(Peer(at)), now));
        let report =
            |site, have| Input::Report { site: Peer(site), have, given: Vec::new(), free: 0 };
        for at in 1..=SITES {
            if is_scattered {
                for first in (0..CHUNKS).step_by(2048) {
                    let odd = (first..(first + 2048).min(CHUNKS)).step_by(2).map(Run::one);
                    planner.handle(report(at, odd.take(1024).collect()), now);
                }
            } else {
                let hole = 500_000 - 97 * u32::from(at);
                let runs = [Run { first: 0, len: hole }, Run { first: hole + 1, len: 60 }];
                planner.handle(report(at, runs.to_vec()), now);
            }
        }
        let began = Instant::now();
        for at in 1..=SITES {
            let new = (0..12).map(|n| Run::one(600_001 + 26 * u32::from(at) + 2 * n)).collect();
            planner.handle(report(at, new), now);
        }
        let reports = began.elapsed() / u32::from(SITES);
        let began = Instant::now();
        for second in 1..=10 {
            now = Timestamp::from_millis(second * 1_000);
            planner.handle(Input::Tick, now);
            while planner.poll_effect().is_some() {}
        }
        let plan = began.elapsed() / 10;
        println!("| {what} | {} MiB | {reports:.1?} | {plan:.1?} |", planner.memory() >> 20);
    }
    Ok(())
}
