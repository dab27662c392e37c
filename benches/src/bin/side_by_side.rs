//! Measures Farhaul beside its peers on the same emulated link, interleaved.
//!
//! `cargo run --release -p farhaul-benches --bin side_by_side -- --cells ab --rounds 5`
//! `cargo run --release -p farhaul-benches --bin side_by_side -- --cells f --files 100000 --size 10kB`
//! `cargo run --release -p farhaul-benches --bin side_by_side -- --cells abcde --fill 10s --limit 1.5x`

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
use std::str::FromStr;
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
    /// Instead of a size: as much as the link carries at best in this time.
    #[arg(long, value_name = "SPAN", value_parser = parse_span, conflicts_with_all = ["size", "files"])]
    fill: Option<Duration>,
    /// Another time for one link, such as "nat=12s"; may be given for several.
    #[arg(long, value_name = "LINK=SPAN", value_parser = parse_fill, value_delimiter = ',')]
    fill_of: Vec<(String, Duration)>,
    /// Sends a tree of so many files.
    #[arg(long)]
    files: Option<u32>,
    /// A run is stopped when its sender takes longer than this, or than so many times what the link
    /// takes at best, such as "1.5x".
    #[arg(long, value_name = "SPAN|TIMES", default_value = "150s")]
    limit: Limit,
    /// Another limit for one peer, such as "cubic=20s"; may be given for several.
    #[arg(long, value_name = "PEER=SPAN|TIMES", value_parser = parse_limit, value_delimiter = ',')]
    limit_of: Vec<(Peer, Limit)>,
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
    let peers = available(&arguments.peers, arguments.files.is_some(), &mut report);
    let options = &arguments.options;
    let work = tempfile::tempdir_in(&options.work)
        .with_context(|| format!("cannot work in {}", options.work.display()))?;
    for link in &links {
        let plan = plan(&arguments, link, &peers)?;
        eprintln!("{}: {} bytes", link.name(), plan.content.bytes());
        let cell = measure(&plan, link, work.path(), |peer, run| eprintln!("{}", line(peer, run)))?;
        report.cells.push(cell);
        options.write(&report.to_markdown(), &report)?;
    }
    print!("{}", report.to_markdown());
    Ok(())
}

/// What is measured on this link.
fn plan(arguments: &Arguments, link: &Link, peers: &[Peer]) -> Result<Plan> {
    let own = arguments.fill_of.iter().rev().find(|(name, _)| link.is_called(name));
    let fill = own.map(|(_, span)| *span).or(arguments.fill);
    let content = match (fill, arguments.files) {
        (Some(span), _) => {
            let size = link.carries_in(span);
            Content::File(size.with_context(|| format!("{} has no rate to fill", link.name()))?)
        }
        (None, Some(files)) => Content::Tree { files, each: arguments.size.get() },
        (None, None) => Content::File(arguments.size.get()),
    };
    let best = link.best_time(content.bytes());
    let limits = arguments.limit_of.iter().map(|(peer, limit)| Ok((*peer, limit.span(best)?)));
    Ok(Plan {
        peers: peers.to_vec(),
        rounds: arguments.rounds,
        content,
        limit: arguments.limit.span(best)?,
        limits: limits.collect::<Result<_>>()?,
        seed: arguments.seed,
    })
}

/// How long a sender may take.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Span(Duration),
    /// Of what the link takes at best.
    Times(f64),
}

impl Limit {
    /// `best` is what the link takes, if that is known.
    fn span(self, best: Option<Duration>) -> Result<Duration> {
        match self {
            Self::Span(span) => Ok(span),
            Self::Times(times) => {
                Ok(best.context("a link without a rate needs a limit in seconds")?.mul_f64(times))
            }
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(times) = text.strip_suffix('x') else {
            return parse_span(text).map(Self::Span).map_err(|error| error.to_string());
        };
        match times.parse() {
            Ok(times) if (1.0..=1000.0).contains(&times) => Ok(Self::Times(times)),
            _ => Err("not a number of times from 1x to 1000x".to_owned()),
        }
    }
}

fn parse_limit(text: &str) -> Result<(Peer, Limit), String> {
    let (peer, limit) = text.split_once('=').ok_or("not of the form PEER=SPAN or PEER=TIMES")?;
    Ok((Peer::from_str(peer, true)?, limit.parse()?))
}

fn parse_fill(text: &str) -> Result<(String, Duration), String> {
    let (link, span) = text.split_once('=').ok_or("not of the form LINK=SPAN")?;
    let span = parse_span(span).map_err(|error| error.to_string())?;
    Ok((link.to_owned(), span))
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
fn available(wanted: &[Peer], tree: bool, report: &mut Report) -> Vec<Peer> {
    let all = [Peer::Farhaul, Peer::Bbr, Peer::Cubic, Peer::Rsync, Peer::Quinn];
    let wanted = if wanted.is_empty() { &all } else { wanted };
    let mut peers = Vec::new();
    for peer in wanted.iter().filter(|peer| !tree || peer.takes_trees()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_span_or_so_many_times_the_best() {
        let best = Some(Duration::from_secs(10));
        let span = |text: &str, best| text.parse::<Limit>().expect("a limit").span(best).ok();
        assert_eq!(span("20s", None), Some(Duration::from_secs(20)));
        assert_eq!(span("1.5x", best), Some(Duration::from_secs(15)));
        assert_eq!(span("1.5x", None), None, "nobody knows what a link without a rate takes");
        for bad in ["0.5x", "x", "-2x", "NaNx", "20"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
