//! Measures `farhauld` beside Syncthing and rsync on the same emulated link, interleaved.
//!
//! `cargo run --release -p farhaul-benches --bin sync_beside -- --rounds 3 --out sites`

use anyhow::Result;
use clap::Parser;
use farhaul_benches::files::FileOptions;
use farhaul_benches::link::LinkOptions;
use farhaul_benches::sync_beside::report::Run;
use farhaul_benches::sync_beside::syncer::Syncer;
use farhaul_benches::sync_beside::{Plan, measure};
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{parse_size, parse_span};
use std::time::Duration;

/// Has several programs keep two trees equal, in turn, over the same emulated link.
#[derive(Debug, Parser)]
#[command(name = "sync_beside")]
struct Arguments {
    #[command(flatten)]
    link: LinkOptions,
    /// Who takes part; all that are installed, if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Syncer>,
    /// How often each.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Size of the large file.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: Bytes,
    /// How many files of 10 KiB.
    #[arg(long, default_value_t = 10_000)]
    files: u32,
    /// How many edits of 10 KiB, one after the other.
    #[arg(long, default_value_t = 50)]
    edits: u32,
    /// How many files of 2 KiB are scanned; 0: no scans.
    #[arg(long, default_value_t = 200_000)]
    scanned: u32,
    /// How long each thing may take.
    #[arg(long, default_value = "300s", value_parser = parse_span)]
    limit: Duration,
    /// Seed of the first round's link.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    options: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = if arguments.peers.is_empty() { &Syncer::ALL } else { &arguments.peers[..] };
    let mut peers = Vec::new();
    for peer in wanted {
        match peer.available() {
            Ok(()) => peers.push(*peer),
            Err(error) => eprintln!("{} is left out: {error}", peer.name()),
        }
    }
    let plan = Plan {
        peers,
        rounds: arguments.rounds,
        link: arguments.link.link()?,
        seed: arguments.seed,
        large: arguments.size.get(),
        small: arguments.files,
        edits: arguments.edits,
        scanned: arguments.scanned,
        limit: arguments.limit,
    };
    let report =
        measure(&plan, &arguments.options.work, |peer, run| eprintln!("{}", told(peer, run)))?;
    arguments.options.write(&report.to_markdown(), &report)?;
    print!("{}", report.to_markdown());
    Ok(())
}

/// A turn in a line.
fn told(peer: &str, run: &Run) -> String {
    let run = serde_json::to_string(run).unwrap_or_default();
    format!("{peer}: {run}")
}
