//! Runs cells of rate control and prints a Markdown table.
//!
//! `cells engine/sim/cells/acceptance.toml --seeds 3` runs every cell of the file with seeds 1 to
//! 3 and prints the worst of each figure, for any seed: the same command, the same table. A cell with
//! a rule passes if the rule holds with every seed; the end says how many did, by section.

use anyhow::{Context, Result};
use clap::Parser;
use farhaul_sim::cells::rules::Check;
use farhaul_sim::cells::{Cell, CellFile, Outcome, flight, run};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs cells of rate control and prints a Markdown table.
#[derive(Parser)]
struct Arguments {
    /// Files of cells.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds are run; each figure is the worst of them.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Only cells whose name or section contains this.
    #[arg(long)]
    only: Option<String>,
    /// Also prints what the controllers believed, bin by bin, with the first seed.
    #[arg(long)]
    trace: bool,
    /// Also writes what the first flow of the first cell did, with the first seed, as a flight
    /// record for `farhaul plot`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    let mut record = arguments.record.take();
    println!(
        "| section | cell | goodput/G* | queue mean ms | p95 ms | RTTs to 90 % | overshoot BDP | load loss % | accused | shares | rule |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut totals: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for path in &arguments.files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file = CellFile::from_toml(&text)
            .with_context(|| format!("{} is no file of cells", path.display()))?;
        for cell in file.cells.iter().filter(|c| wanted(c, arguments.only.as_deref())) {
            let seeds = arguments.seed..arguments.seed + arguments.seeds.max(1);
            let outcomes: Vec<_> = seeds.map(|seed| run(cell, seed)).collect();
            let verdict = verdict(cell, &outcomes);
            println!("{} {} |", row(cell, &outcomes), verdict.as_deref().unwrap_or("pass"));
            if cell.rule.is_some() {
                let (passed, all) = totals.entry(cell.section.clone()).or_default();
                (*passed, *all) = (*passed + u32::from(verdict.is_none()), *all + 1);
            }
            if let Some(path) = record.take() {
                let flight = flight(cell, arguments.seed, &outcomes[0], 0);
                std::fs::write(&path, flight.encode())
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            if arguments.trace {
                print_views(&outcomes[0]);
            }
        }
    }
    println!();
    for (section, (passed, all)) in &totals {
        println!("{section}: {passed} of {all} pass");
    }
    let (passed, all) = totals.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("all: {passed} of {all} pass");
    Ok(())
}

/// What does not hold, with the seed farthest off; `None` if all does.
fn verdict(cell: &Cell, outcomes: &[Outcome]) -> Option<String> {
    let Some(rule) = cell.rule else { return Some(String::new()) };
    let mut failed: Vec<Check> = Vec::new();
    for check in outcomes.iter().flat_map(|outcome| rule.judge(cell, outcome)) {
        if check.holds() {
            continue;
        }
        match failed.iter_mut().find(|known| known.what == check.what) {
            Some(known) if known.excess() >= check.excess() => {}
            Some(known) => *known = check,
            None => failed.push(check),
        }
    }
    let words = |c: &Check| format!("{} {:.3} (wanted {})", c.what, c.figure, c.bar());
    let list: Vec<_> = failed.iter().map(words).collect();
    (!list.is_empty()).then(|| format!("FAIL: {}", list.join(", ")))
}

fn wanted(cell: &Cell, only: Option<&str>) -> bool {
    only.is_none_or(|text| cell.name.contains(text) || cell.section.contains(text))
}

fn row(cell: &Cell, outcomes: &[Outcome]) -> String {
    let most = |figure: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(figure).fold(0.0, f64::max);
    let flows = outcomes.iter().flat_map(|outcome| &outcome.flows);
    let accused: u32 = flows.map(|flow| flow.accused).sum();
    let goodput = outcomes.iter().map(Outcome::goodput).fold(f64::MAX, f64::min);
    let ready = most(&|o| o.rtts_to_90().unwrap_or(f64::INFINITY));
    let shares: Vec<_> = (0..cell.flows.len().min(8))
        .map(|flow| format!("{:.3}", outcomes[0].share(flow)))
        .collect();
    format!(
        "| {} | {} | {goodput:.3} | {:.1} | {:.1} | {ready:.1} | {:.3} | {:.2} | {accused} | {} |",
        cell.section,
        cell.name,
        most(&|o| o.queue_mean().as_secs_f64() * 1e3),
        most(&|o| o.queue_p95().as_secs_f64() * 1e3),
        most(&Outcome::overshoot_bdp),
        most(&|o| o.load_loss().get() * 100.0),
        if shares.len() > 1 { shares.join(" ") } else { String::new() },
    )
}

fn print_views(outcome: &Outcome) {
    for (flow, outcome) in outcome.flows.iter().enumerate() {
        for (at, view) in &outcome.views {
            println!(
                "{:9.3} s  flow {flow}  {:<14} R {:>12}  C {:>12}  d {:7.2} ms  q {:6.2} ms  l {:.4}  p0 {:.4}  B {:.1}",
                at.as_secs_f64(),
                view.phase,
                view.rate.to_string(),
                view.capacity.map_or("-".to_owned(), |c| c.to_string()),
                view.rtt_min.as_secs_f64() * 1e3,
                view.queue_delay.as_secs_f64() * 1e3,
                view.loss.get(),
                view.loss_random.get(),
                view.loss_run,
            );
        }
    }
}
