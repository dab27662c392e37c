//! The command line as typed; checked values with units come out of clap already.

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::TcpPort;
use farhaul_engine::identity::SiteId;
use farhaul_proto::congestion::Policy;
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::units::{BitRate, Bytes, Ratio};
use farhaul_sim::profile::{parse_rate, parse_ratio, parse_size, parse_span};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::doctor::{self, DoctorArgs};
use super::manage::{
    self, AsideVerb, CalendarVerb, ConflictVerb, EventsArgs, FolderVerb, JobVerb, OnePath,
    PeerVerb, Plain, RestoreArgs, TopArgs, VersionVerb,
};
use super::plot::{self, PlotArgs};
use super::probe::{self, ProbeArgs};
use super::target::Target;

/// What `--help` says beyond verbs and options.
const ENVIRONMENT: &str = "Environment:
  FARHAUL_LOG  what is logged to standard error: error, warn, info, debug or
               trace, or a filter such as `warn,farhaul_engine=debug`. Without
               it warnings, with --quiet only errors; and of `serve` a line for
               each transfer and each session that failed

Exit codes:
  0 done, 1 transfer failed, 2 usage, 3 peer refused or not authenticated,
  4 local disk, 5 done in part";

/// Carries files, trees and images over long, lossy links at the rate of the link.
#[derive(Debug, Parser)]
#[command(name = "farhaul", version, max_term_width = 100, after_help = ENVIRONMENT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What of a file arrives. A macro, so that it can be a part of a constant.
macro_rules! carried {
    () => {
        "Names (any bytes), permissions, times, symbolic links and holes arrive as they are. Owners and \
the set-user-id and set-group-id bits do not, by design; sockets, pipes and devices are left \
out and named.

The same command again continues where an interrupted one stopped. What that left at the receiver \
(in .farhaul/staging) is removed by a later transfer once it is older than 7 days."
    };
}

const CARRIED: &str = carried!();
const GOTTEN: &str = concat!(
    "DEST is the directory that what you get is put into, under its own name: `get ID@h:a/b DEST` makes \
DEST/b, `get ID@h:a/b/ DEST` puts what is in b into DEST. It is created, with its parents, once the \
peer has offered something; it cannot be the new name of a file.

--rate, --rate-min, --policy, --fec and --compress are wishes to the peer, which sends. It never sends faster than \
its own --rate, nor by a bolder policy than its own --policy; from meek to bold: low, fair, high, fixed. It keeps to \
--rate-min up to its own --rate-min, or with --policy fixed up to its own --rate, and else not at all; what it does not \
keep to is said in a warning. Over TCP --rate-min has no effect.

",
    carried!()
);

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print this host's site id; creates its key pair at first use.
    Id(IdArgs),
    /// Accept and offer transfers below a directory, for allowed sites only.
    Serve(ServeArgs),
    /// Send files and trees to a site.
    #[command(after_help = CARRIED)]
    Send(SendArgs),
    /// Get files and trees from a site.
    #[command(after_help = GOTTEN)]
    Get(GetArgs),
    /// Measure the path to a site, both ways, without a transfer.
    #[command(after_help = probe::HELP)]
    Probe(ProbeArgs),
    /// Find what of this host costs speed or does not work, and the command that mends it.
    #[command(after_help = doctor::HELP)]
    Doctor(DoctorArgs),
    /// Draw a recorded transfer as a picture.
    #[command(after_help = plot::HELP)]
    Plot(PlotArgs),
    /// Carry data between two endpoints on this machine over an emulated long, lossy link.
    Demo(DemoArgs),
    /// How a running site is: its folders and peers.
    #[command(after_help = manage::HELP)]
    Status(Plain),
    /// Folders of a running site: how they are, what is missing; scan, pause and resume them.
    #[command(subcommand, after_help = manage::HELP)]
    Folder(FolderVerb),
    /// Peers of a running site.
    #[command(subcommand, after_help = manage::HELP)]
    Peer(PeerVerb),
    /// Calendars of a running site: what holds when.
    #[command(subcommand, after_help = manage::HELP)]
    Calendar(CalendarVerb),
    /// The links of a running site: what may go over each, what does, of which jobs, and what limits those.
    Links(Plain),
    /// Links and jobs of a running site as they are, again each second; q ends it.
    Top(TopArgs),
    /// Why a path of a folder is not in sync: versions, who has what, what failed, what comes next.
    #[command(after_help = manage::HELP)]
    Why(OnePath),
    /// Conflicts of a folder: list them, end them.
    #[command(subcommand, after_help = manage::HELP)]
    Conflict(ConflictVerb),
    /// Jobs that a site leads: trees to other sites, run by run, with receipts.
    #[command(subcommand, after_help = manage::HELP)]
    Job(JobVerb),
    /// Versions of peers that are not taken in: list them, take them in, delete them.
    #[command(subcommand, after_help = manage::HELP)]
    Aside(AsideVerb),
    /// What was displaced at a path, and is kept.
    #[command(subcommand, after_help = manage::HELP)]
    Version(VersionVerb),
    /// Bring a file or a tree back as it stood at a time.
    #[command(after_help = manage::HELP)]
    Restore(RestoreArgs),
    /// Follow what happens at a running site.
    #[command(after_help = manage::HELP)]
    Events(EventsArgs),
    /// Measure kernel TCP for `demo`; the request comes on standard input, as JSON.
    #[command(hide = true)]
    DemoTcp,
}

/// Where the host's state lives.
#[derive(Clone, Debug, Args)]
pub struct HomeArg {
    /// Directory of this host's key pair [default: $XDG_STATE_HOME/farhaul or
    /// ~/.local/state/farhaul].
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
}

/// `farhaul id`.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Where the host's state lives.
    #[command(flatten)]
    pub home: HomeArg,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `farhaul serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Directory below which files are accepted and offered; nothing outside is ever touched.
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// UDP address to listen on [default: port 7411 of every address, IPv6 and IPv4].
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Sites that may connect, separated by commas; nobody else gets an answer.
    #[arg(long, value_name = "ID[,ID...]", value_delimiter = ',')]
    pub allow: Vec<SiteId>,
    /// TCP port for sites that UDP does not reach, or `off` [default: the number of the UDP port].
    #[arg(long, value_name = "PORT|off", value_parser = parse_tcp_port)]
    pub tcp: Option<TcpPort>,
    /// Record each session into a file of its own in this directory, which `farhaul plot` draws; the
    /// oldest are removed beyond 1000 files or 512 MiB.
    #[arg(long, value_name = "DIR")]
    pub record_dir: Option<PathBuf>,
    /// Where the host's state lives.
    #[command(flatten)]
    pub home: HomeArg,
    /// How files are read and written.
    #[arg(long, value_enum, default_value_t = DiskArg::Auto)]
    pub disk: DiskArg,
    /// What shapes the data that this host sends, and bounds what a peer may wish.
    #[command(flatten)]
    pub tuning: TuningArgs,
}

/// What shapes the data that is sent.
#[derive(Clone, Debug, Args)]
pub struct TuningArgs {
    /// Never send faster than this, e.g. 500Mbit/s; `auto` finds the link's rate.
    #[arg(long, value_name = "RATE", default_value = "auto", value_parser = parse_rate_arg)]
    pub rate: RateArg,
    /// Never send slower than this while the receiver answers, by any policy, whatever is lost. Above
    /// what the link carries it takes the link from everybody else, and loses the rest.
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub rate_min: Option<BitRate>,
    /// How to share the link with others [default: fair].
    #[arg(long, value_enum)]
    pub policy: Option<PolicyArg>,
    /// When to send repair symbols [default: auto].
    #[arg(long, value_name = "auto|off|always")]
    pub fec: Option<FecPolicy>,
    /// Whether to compress what compresses [default: auto].
    #[arg(long, value_name = "auto|off|always")]
    pub compress: Option<PackPolicy>,
    /// Neither start from what the path carried before, nor remember what it carries. Only the
    /// side that sends does either.
    #[arg(long)]
    pub no_memory: bool,
}

/// Options of a transfer.
#[derive(Clone, Debug, Args)]
pub struct TransferArgs {
    /// What shapes the data that is sent.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// What carries the data: UDP, or TCP where UDP is blocked; `auto` finds out and says why.
    #[arg(long, value_enum, default_value_t = CarrierArg::Auto)]
    pub carrier: CarrierArg,
    /// The peer's TCP port [default: the port of the target].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp_port: Option<u16>,
    /// How often UDP is asked whether it answers, while TCP carries because it did not; less and
    /// less often where it answers and then carries nothing.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_pause)]
    pub udp_again: Duration,
    /// Start over instead of continuing what an earlier attempt left; what was left is kept for
    /// 7 days.
    #[arg(long)]
    pub no_resume: bool,
    /// Print one JSON object at the end instead of text.
    #[arg(long)]
    pub json: bool,
    /// As --json, and before the end one JSON object a second, on lines of their own.
    #[arg(long)]
    pub json_progress: bool,
    /// Record what the transfer does, ten times a second, into this file, which `farhaul plot`
    /// draws.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// No progress line, no summary and no warnings; errors are still told.
    #[arg(long, short)]
    pub quiet: bool,
    /// Where the host's state lives.
    #[command(flatten)]
    pub home: HomeArg,
    /// How files are read and written.
    #[arg(long, value_enum, default_value_t = DiskArg::Auto)]
    pub disk: DiskArg,
}

/// `farhaul send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Options of the transfer.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// Files and directories; a directory with a trailing slash stands for its contents.
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Where to: a directory below the peer's root, created if need be.
    #[arg(value_name = "ID@HOST[:PORT]:[PATH]", value_parser = target_parser())]
    pub target: Target,
}

/// `farhaul get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Options of the transfer.
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// What: a path below the peer's root; with a trailing slash, a directory's contents.
    #[arg(value_name = "ID@HOST[:PORT]:PATH", value_parser = target_parser())]
    pub target: Target,
    /// Directory to put it in, under its own name; created if need be.
    #[arg(value_name = "DEST")]
    pub dest: PathBuf,
}

/// `farhaul demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Round trip of the emulated link.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = parse_span)]
    pub rtt: Duration,
    /// Packets lost at random, each way.
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = parse_link_loss)]
    pub loss: Ratio,
    /// Rate of the emulated link, each way.
    #[arg(long, value_name = "RATE", default_value = "200Mbit/s", value_parser = parse_limit)]
    pub rate: BitRate,
    /// How much made-up data to carry.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub size: Bytes,
    /// Leave kernel TCP out of the comparison.
    #[arg(long)]
    pub no_tcp: bool,
    /// Print one JSON object at the end instead of text.
    #[arg(long)]
    pub json: bool,
    /// Carry this file instead of made-up data.
    #[arg(value_name = "FILE", conflicts_with = "size")]
    pub file: Option<PathBuf>,
}

/// A rate, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateArg {
    /// Find it.
    Auto,
    /// Never above this.
    Cap(BitRate),
}

impl RateArg {
    /// The limit, if there is one.
    pub const fn cap(self) -> Option<BitRate> {
        match self {
            Self::Auto => None,
            Self::Cap(rate) => Some(rate),
        }
    }
}

/// Paths need not be text, so neither need targets.
fn target_parser() -> impl TypedValueParser<Value = Target> {
    OsStringValueParser::new().try_map(|typed| Target::parse(&typed))
}

pub(super) fn parse_rate_arg(text: &str) -> Result<RateArg, String> {
    if text == "auto" {
        return Ok(RateArg::Auto);
    }
    parse_limit(text).map(RateArg::Cap)
}

/// A pause that keeps what follows it rare: a second at least.
fn parse_pause(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).map_err(|error| error.to_string())?;
    if span < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(span) }
}

fn parse_tcp_port(text: &str) -> Result<TcpPort, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(TcpPort::At(port)),
        _ if text == "off" => Ok(TcpPort::Off),
        _ => Err("it must be a port from 1 to 65535, or `off`".to_owned()),
    }
}

/// A rate that something can be carried at.
fn parse_limit(text: &str) -> Result<BitRate, String> {
    let rate = parse_rate(text).map_err(|error| error.to_string())?;
    if rate < BitRate::kbps(10) {
        return Err("the rate must be at least 10kbit/s".to_owned());
    }
    Ok(rate)
}

/// The loss of a link over which something arrives.
fn parse_link_loss(text: &str) -> Result<Ratio, String> {
    let loss = parse_ratio(text).map_err(|error| error.to_string())?;
    if loss.get() > 0.9 {
        return Err("the loss must be at most 90%".to_owned());
    }
    Ok(loss)
}

/// The policies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyArg {
    /// One fair share of the link.
    Fair,
    /// About two fair shares.
    High,
    /// Only what nobody else wants.
    Low,
    /// Exactly --rate, whatever happens.
    Fixed,
}

impl From<PolicyArg> for Policy {
    fn from(policy: PolicyArg) -> Self {
        match policy {
            PolicyArg::Fair => Self::Fair,
            PolicyArg::High => Self::High,
            PolicyArg::Low => Self::Low,
            PolicyArg::Fixed => Self::Fixed,
        }
    }
}

/// The carriers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CarrierArg {
    /// UDP where it passes, else TCP.
    Auto,
    /// UDP or an error.
    Udp,
    /// One TCP connection, whatever UDP does.
    Tcp,
}

/// The disk engines by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiskArg {
    /// `io_uring` where the kernel permits it, else threads.
    Auto,
    /// `io_uring` or an error.
    Uring,
    /// A pool of threads.
    Threads,
}

impl From<DiskArg> for DiskKind {
    fn from(disk: DiskArg) -> Self {
        match disk {
            DiskArg::Auto => Self::Auto,
            DiskArg::Uring => Self::Uring,
            DiskArg::Threads => Self::Threads,
        }
    }
}
