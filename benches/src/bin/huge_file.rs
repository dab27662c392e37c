//! Measures a file that is longer than the disk, between two sites.
//!
//! `cargo run --release -p farhaul-benches --bin huge_file -- --size 4TiB --islands 1000 --each 64KiB --work DIR`

use anyhow::Result;
use clap::Parser;
use farhaul_benches::files::FileOptions;
use farhaul_benches::huge_file::{Figures, Islands, Plan, measure};
use farhaul_benches::link::LinkOptions;
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{parse_size, parse_span};
use std::time::Duration;

/// Carries a file with data at intervals and holes in between from one site to another, and kills the
/// receiver on the way. `--work` has to be on a file system that takes files of that length.
#[derive(Debug, Parser)]
#[command(name = "huge_file")]
struct Arguments {
    #[command(flatten)]
    link: LinkOptions,
    /// Length of the file.
    #[arg(long, default_value = "4TiB", value_parser = parse_size)]
    size: Bytes,
    /// How many stretches of data.
    #[arg(long, default_value_t = 1000)]
    islands: u64,
    /// Length of each.
    #[arg(long, default_value = "64KiB", value_parser = parse_size)]
    each: Bytes,
    /// How long anything may take.
    #[arg(long, default_value = "900s", value_parser = parse_span)]
    limit: Duration,
    /// Seed of the link and of the data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    options: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = Plan {
        islands: Islands {
            size: arguments.size.get(),
            count: arguments.islands,
            each: arguments.each.get(),
        },
        link: arguments.link.link()?,
        seed: arguments.seed,
        limit: arguments.limit,
    };
    let figures = measure(&plan, &arguments.options.work)?;
    let table = table(&figures);
    arguments.options.write(&table, &figures)?;
    print!("{table}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn table(figures: &Figures) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "| what | figure |\n|---|---|\n\
         | length, MiB | {:.0} |\n| data, MiB | {:.1} |\n\
         | first of it staged at B, s | {:.1} |\n\
         | B killed with so much of it, MiB | {:.1} |\n\
         | from its start until it had more, s | {:.2} |\n\
         | whole at B, s | {:.1} |\n\
         | most memory at A without the file and with it, MiB | {:.1}, {:.1} |\n\
         | the same at B | {:.1}, {:.1} |\n",
        mib(figures.size),
        mib(figures.data),
        figures.first_seconds,
        mib(figures.killed_at),
        figures.again_seconds,
        figures.whole_seconds,
        mib(figures.idle[0]),
        mib(figures.most[0]),
        mib(figures.idle[1]),
        mib(figures.most[1]),
    )
}
