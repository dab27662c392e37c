//! Measures Farhaul beside its peers on the same emulated link, interleaved.
//!
//! `cargo run --release -p farhaul-benches --bin side_by_side -- --cells ab --rounds 5`
//! `cargo run --release -p farhaul-benches --bin side_by_side -- --cells f --files 100000 --size 10kB`

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use farhaul_benches::files::FileOptions;
use farhaul_benches::side_by_side::content::Content;
use farhaul_benches::side_by_side::peers::Peer;
use farhaul_benches::side_by_side::report::{Report, RunReport};
use farhaul_benches::side_by_side::{Link, Plan, measure};
use farhaul_netem_tests::{LabProfile, Weather};
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{parse_size, parse_span};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Sends a file or tree with several programs in turn, over the same emulated link.
#[derive(Debug, Parser)]
#[command(name = "side_by_side")]
struct Arguments {
    /// Cells of `netem-tests/profiles`, such as "abc".
    #[arg(long, default_value = "")]
    cells: String,
    /// A profile file of one's own.
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Links that change or are bad in their own way: policer, reverse, bursts, jitter, flaps, nat.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    weather: Vec<String>,
    /// Measures on a plain veth pair as well.
    #[arg(long)]
    veth: bool,
    /// Who takes part; all that can, if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// How often each.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Size of the file, or of each file.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: Bytes,
    /// Sends a tree of so many files.
    #[arg(long)]
    files: Option<u32>,
    /// A run is stopped when its sender takes longer than this.
    #[arg(long, default_value = "150s", value_parser = parse_span)]
    limit: Duration,
    /// Another limit for one peer, such as "cubic=20s"; may be given for several.
    #[arg(long, value_name = "PEER=SPAN", value_parser = parse_limit)]
    limit_of: Vec<(Peer, Duration)>,
    /// Seed of the first round's link.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    options: FileOptions,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let links = links(&arguments)?;
    let mut report = Report::default();
    let size = arguments.size.get();
    let content = match arguments.files {
        Some(files) => Content::Tree { files, each: size },
        None => Content::File(size),
    };
    let peers = available(&arguments.peers, content, &mut report);
    let plan = Plan {
        peers,
        rounds: arguments.rounds,
        content,
        limit: arguments.limit,
        limits: arguments.limit_of,
        seed: arguments.seed,
    };
    let options = &arguments.options;
    let work = tempfile::tempdir_in(&options.work)
        .with_context(|| format!("cannot work in {}", options.work.display()))?;
    for link in &links {
        let cell = measure(&plan, link, work.path(), |peer, run| eprintln!("{}", line(peer, run)))?;
        report.cells.push(cell);
        options.write(&report.to_markdown(), &report)?;
    }
    print!("{}", report.to_markdown());
    Ok(())
}

fn parse_limit(text: &str) -> Result<(Peer, Duration), String> {
    let (peer, span) = text.split_once('=').ok_or("not of the form PEER=SPAN")?;
    let span = parse_span(span).map_err(|error| error.to_string())?;
    Ok((Peer::from_str(peer, true)?, span))
}

fn links(arguments: &Arguments) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for name in arguments.cells.chars() {
        if !matches!(name.to_ascii_lowercase(), 'a'..='f') {
            bail!("there is no cell {name:?}; they are a to f");
        }
        links.push(Link::Cell(name));
    }
    for path in &arguments.profile {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        links.push(Link::Profile(name, Box::new(LabProfile::from_toml(&text)?)));
    }
    for name in &arguments.weather {
        let Some(weather) = Weather::named(name) else {
            let names: Vec<_> = Weather::names().collect();
            bail!("there is no weather {name:?}; there is {}", names.join(", "));
        };
        links.push(Link::Weather(Box::new(weather)));
    }
    if arguments.veth {
        links.push(Link::Veth);
    }
    if links.is_empty() {
        bail!("nothing to measure on: give --cells, --profile, --weather or --veth");
    }
    Ok(links)
}

/// Those that can send that here; the others are named in the report.
fn available(wanted: &[Peer], content: Content, report: &mut Report) -> Vec<Peer> {
    let all = [Peer::Farhaul, Peer::Bbr, Peer::Cubic, Peer::Rsync, Peer::Quinn];
    let wanted = if wanted.is_empty() { &all } else { wanted };
    let mut peers = Vec::new();
    for peer in wanted.iter().filter(|peer| !content.is_tree() || peer.takes_trees()) {
        match peer.available() {
            Ok(()) => peers.push(*peer),
            Err(reason) => report.missing.push(format!("{}: {reason}", peer.name())),
        }
    }
    peers
}

fn line(peer: &str, run: &RunReport) -> String {
    match (&run.failure, run.goodput_bps) {
        (Some(failure), _) => format!("{peer:10} failed: {failure}"),
        (None, bps) => {
            let most = if run.stopped { "at most " } else { "" };
            format!("{peer:10} {most}{:.1} Mbit/s", bps.unwrap_or(0.0) / 1e6)
        }
    }
}
