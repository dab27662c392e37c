//! Measures how long one image takes to many sites, by `farhauld`, rsync and Syncthing in turn.
//!
//! `cargo run --release -p farhaul-benches --bin spread -- --sites 4,8 --rounds 3 --json spread.json`

use anyhow::{Context, Result};
use clap::Parser;
use farhaul_benches::huge_file::islands::Islands;
use farhaul_benches::spread::peers::Spreader;
use farhaul_benches::spread::report::Run;
use farhaul_benches::spread::{Plan, measure};
use farhaul_netem_tests::star::star8;
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{parse_size, parse_span};
use farhaul_tools::wanem::star::profile::StarProfile;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of data in a row.
const ISLAND: u64 = 1 << 20;

/// Has several programs bring an image from one site to many others, in turn, over the same star.
#[derive(Debug, Parser)]
#[command(name = "spread")]
struct Arguments {
    /// How many targets.
    #[arg(long, value_delimiter = ',', default_value = "4,8")]
    sites: Vec<usize>,
    /// Length of the image.
    #[arg(long, alias = "image", default_value = "64MiB", value_parser = parse_size)]
    size: Bytes,
    /// The image is holes but for --data, spread over it.
    #[arg(long)]
    sparse: bool,
    /// What a sparse image has that is no hole.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    data: Bytes,
    /// Who takes part; all that are installed, if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Spreader>,
    /// How often each.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// A star of one's own, instead of nine sites at 20 Mbit/s up and 40 Mbit/s down.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Has a link flap and the source be killed and started again while farhauld is at it.
    #[arg(long)]
    faults: bool,
    /// How long a turn may take.
    #[arg(long, default_value = "900s", value_parser = parse_span)]
    limit: Duration,
    /// Seed of the first round's links.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the files go; a memory file system keeps the disk out of it.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    work: PathBuf,
    /// Writes the report there, with what each link carried each second.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Arguments {
    fn image(&self) -> Islands {
        let data = if self.sparse { self.data } else { self.size };
        Islands { size: self.size.get(), count: data.get() / ISLAND, each: ISLAND }
    }

    fn star(&self) -> Result<StarProfile> {
        let Some(path) = &self.profile else { return Ok(star8()) };
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        StarProfile::from_toml(&text).with_context(|| format!("{} is no star", path.display()))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = if arguments.only.is_empty() { &Spreader::ALL } else { &arguments.only[..] };
    let mut peers = Vec::new();
    for peer in wanted {
        match peer.available() {
            Ok(()) => peers.push(*peer),
            Err(error) => eprintln!("{} is left out: {error}", peer.name()),
        }
    }
    let plan = Plan {
        peers,
        targets: arguments.sites.clone(),
        rounds: arguments.rounds,
        star: arguments.star()?,
        seed: arguments.seed,
        image: arguments.image(),
        limit: arguments.limit,
        faults: arguments.faults,
    };
    let report = measure(&plan, &arguments.work, |targets, peer, run| {
        let brief = Run { trace: Vec::new(), ..run.clone() };
        eprintln!("{targets} sites, {peer}: {}", serde_json::to_string(&brief).unwrap_or_default());
    })?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("{}", report.to_markdown());
    Ok(())
}
