//! `farhaul probe`: what a path is like, both ways, without a transfer.

use super::args::{HomeArg, RateArg, parse_rate_arg};
use super::connect::Goal;
use super::failure::{Failure, Kind};
use super::target::{Target, TargetError};
use super::transfer::{BUFFERS, WORKERS};
use super::{Ended, connect, setup, signals, text};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::probe::{ProbeOptions, Probed};
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::PathFigures;
use farhaul_sim::profile::{parse_size, parse_span};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// What `farhaul probe --help` says at its end.
pub const HELP: &str = "Sends padding to the peer, which must be a `farhaul serve` that lists this \
host, and asks it to do the same in return. Nothing is read or written at either side. The rate is \
that of the bottleneck, from packets sent back to back (beyond some Gbit/s they arrive as one, and \
it is unknown); a burst near that rate shows what arrives, and \
whether a policer cuts it down.";

/// Bounds of what may be asked for.
const TIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(20);

/// `farhaul probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Where to.
    #[arg(value_name = "ID@HOST[:PORT]", value_parser = site_parser())]
    pub target: Target,
    /// How long it may take, both ways together; 1s to 20s.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub time: Duration,
    /// How much may be sent, each way.
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    pub size: Bytes,
    /// Never send faster than this, either way.
    #[arg(long, value_name = "RATE", default_value = "auto", value_parser = parse_rate_arg)]
    pub rate: RateArg,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Where the host's state lives.
    #[command(flatten)]
    pub home: HomeArg,
}

fn site_parser() -> impl TypedValueParser<Value = Target> {
    OsStringValueParser::new().try_map(parse_site)
}

/// A target without a path; its last colon may be left out.
fn parse_site(mut typed: OsString) -> Result<Target, TargetError> {
    typed.push(":");
    let target = Target::parse(&typed)?;
    // A colon was typed already: what is left is a path of one colon.
    let plain = target.path.is_empty() || target.path == b":";
    if plain { Ok(Target { path: Vec::new(), ..target }) } else { Err(TargetError::Path) }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).map_err(|error| error.to_string())?;
    if TIME.contains(&span) { Ok(span) } else { Err("the time must be 1s to 20s".to_owned()) }
}

pub(super) fn run(args: &ProbeArgs) -> Ended {
    let probed = measure(args)?;
    if args.json {
        let report = Report::new(&probed);
        let json = serde_json::to_string(&report).map_err(|error| {
            Failure::new(Kind::Transfer, format!("the report cannot be JSON: {error}"), "report it")
        })?;
        return text::answer(json);
    }
    text::answer(table(&probed).trim_end())
}

fn measure(args: &ProbeArgs) -> Result<Probed, Failure> {
    let identity = setup::identity(args.home.home.as_ref())?;
    let mut found = None;
    setup::block_on(async {
        let named = args.target.clone();
        let addresses = setup::blocking(move || connect::resolve(&named)).await?;
        let config = |listen| EngineConfig {
            listen,
            tcp: TcpPort::Off,
            identity: identity.clone(),
            allow: None,
            paths: None,
            disk: DiskKind::Threads,
            buffers: BUFFERS,
            workers: WORKERS,
        };
        let engine = Arc::new(connect::engine_towards(&addresses, config)?);
        let rate_max = args.rate.cap();
        let (policy, fec, pack) = (Policy::Fair, FecPolicy::Off, PackPolicy::Off);
        let options = SessionOptions { policy, bounds: Bounds::capped(rate_max), fec, pack };
        let id = args.target.id;
        let goal = Goal { id, addresses, tcp_port: None, options };
        let probing = async {
            let peer = connect::over_udp(&engine, &goal).await?;
            let options = ProbeOptions { span: args.time, bytes_max: args.size, rate_max };
            Ok::<_, Failure>(farhaul_engine::probe::probe(peer, options).await?)
        };
        let probed = tokio::select! {
            probed = probing => probed,
            () = signals::stop() => {
                Err(Failure::new(Kind::Transfer, "interrupted", "run it again"))
            }
        };
        engine.close().await;
        found = Some(probed?);
        Ok(())
    })?;
    found.ok_or_else(|| Failure::new(Kind::Transfer, "nothing was measured", "run it again"))
}

/// One direction as `--json` prints it; the fields are a contract, new ones may be added.
#[derive(Debug, Serialize)]
struct Direction {
    rtt_min_ms: Option<f64>,
    rtt_median_ms: Option<f64>,
    rtt_p99_ms: Option<f64>,
    jitter_ms: Option<f64>,
    loss_ratio: Option<f64>,
    reordered_ratio: Option<f64>,
    small_packets_pass: Option<bool>,
    large_packets_pass: Option<bool>,
    bottleneck_bps: Option<u64>,
    bottleneck_low_bps: Option<u64>,
    bottleneck_high_bps: Option<u64>,
    trains: u64,
    burst_sent_bps: Option<u64>,
    burst_delivered_bps: Option<u64>,
    burst_loss_ratio: Option<f64>,
    policed_bps: Option<u64>,
    wire_bytes: u64,
}

#[expect(clippy::cast_precision_loss, reason = "times and counts, for display")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl From<&PathFigures> for Direction {
    fn from(f: &PathFigures) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "times, for display")]
        let millis = |us: u64| (f.rtt_min_us > 0).then_some(us as f64 / 1e3);
        Self {
            rtt_min_ms: millis(f.rtt_min_us),
            rtt_median_ms: millis(f.rtt_median_us),
            rtt_p99_ms: millis(f.rtt_p99_us),
            jitter_ms: millis(f.jitter_us).filter(|_| f.marks > 1),
            loss_ratio: ratio(f.delay_lost, f.delay_sent).filter(|_| f.rtt_min_us > 0),
            reordered_ratio: ratio(f.overtaken, f.marks),
            small_packets_pass: f.small_passes,
            large_packets_pass: f.full_passes,
            bottleneck_bps: f.train_rate_bps,
            bottleneck_low_bps: f.train_low_bps,
            bottleneck_high_bps: f.train_high_bps,
            trains: f.trains,
            burst_sent_bps: f.burst_rate_bps,
            burst_delivered_bps: f.burst_delivered_bps,
            burst_loss_ratio: ratio(f.burst_lost, f.burst_sent),
            policed_bps: f.policed_bps,
            wire_bytes: f.wire_bytes,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    forward: Direction,
    reverse: Option<Direction>,
    clock_offset_ms: Option<f64>,
}

impl Report {
    fn new(probed: &Probed) -> Self {
        Self {
            forward: (&probed.forward).into(),
            reverse: probed.reverse.as_ref().map(Into::into),
            #[expect(clippy::cast_precision_loss, reason = "a time, for display")]
            clock_offset_ms: probed.clock_offset_us.map(|us| us as f64 / 1e3),
        }
    }
}

/// A cell of the table from a direction.
type Cell = fn(&Direction) -> Option<String>;

const ROWS: [(&str, Cell); 9] = [
    ("round trip, smallest", |d| d.rtt_min_ms.map(|ms| format!("{ms:.2} ms"))),
    ("round trip, median", |d| d.rtt_median_ms.map(|ms| format!("{ms:.2} ms"))),
    ("round trip, 99 %", |d| d.rtt_p99_ms.map(|ms| format!("{ms:.2} ms"))),
    ("jitter, one way", |d| d.jitter_ms.map(|ms| format!("{ms:.2} ms"))),
    ("loss, one way", |d| d.loss_ratio.map(percent)),
    ("out of order", |d| d.reordered_ratio.map(percent)),
    ("packets that pass", |d| {
        let sizes = match (d.small_packets_pass, d.large_packets_pass) {
            (_, Some(true)) => "1473 bytes",
            (Some(true), _) => "1281 bytes, not 1473",
            _ => return None,
        };
        Some(sizes.to_owned())
    }),
    ("bottleneck", |d| d.bottleneck_bps.map(|bps| BitRate::bps(bps).to_string())),
    ("arrives of a burst", |d| {
        let (sent, arrived) = (d.burst_sent_bps?, d.burst_delivered_bps?);
        Some(format!("{} of {}", BitRate::bps(arrived), BitRate::bps(sent)))
    }),
];

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn table(probed: &Probed) -> String {
    let forward = Direction::from(&probed.forward);
    let reverse = probed.reverse.as_ref().map(Direction::from);
    let mut out = format!("{:<22} {:<28} from the peer\n", "", "to the peer");
    for (name, cell) in ROWS {
        let unknown = || "unknown".to_owned();
        let there = cell(&forward).unwrap_or_else(unknown);
        let back = reverse.as_ref().and_then(cell).unwrap_or_else(unknown);
        let _ = writeln!(out, "{name:<22} {there:<28} {back}");
    }
    let ways = [("to", Some(&forward)), ("from", reverse.as_ref())];
    for (way, direction) in ways {
        if let Some(policed) = direction.and_then(|direction| direction.policed_bps) {
            let rate = BitRate::bps(policed);
            let _ = writeln!(out, "a policer seems to cut what goes {way} the peer to {rate}");
        }
    }
    if reverse.is_none() {
        let _ = writeln!(out, "the peer did not answer in time: the way back is not known");
    }
    if let Some(offset) = probed.clock_offset_us {
        let _ = match (offset.unsigned_abs() / 1_000, offset < 0) {
            (0, _) => writeln!(out, "the peer's clock is that of this host"),
            (ms, true) => writeln!(out, "the peer's clock is {ms} ms behind this host's"),
            (ms, false) => writeln!(out, "the peer's clock is {ms} ms ahead of this host's"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_engine::identity::SiteId;

    #[test]
    fn a_site_is_named_with_or_without_its_last_colon_and_without_a_path() {
        let id = SiteId::of_public_key(b"some key");
        let parse = |text: &str| parse_site(format!("{id}@{text}").into());
        for (text, port) in [("h", 7411), ("h:", 7411), ("h:9", 9), ("h:9:", 9), ("[::1]:9", 9)] {
            let target = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((target.port, target.path.len()), (port, 0), "{text}");
        }
        assert_eq!(parse("h:data/x"), Err(TargetError::Path));
    }

    #[test]
    fn a_table_says_what_is_unknown_and_names_a_policer() {
        let forward = PathFigures {
            delay_sent: 100,
            delay_lost: 2,
            rtt_min_us: 20_000,
            marks: 50,
            policed_bps: Some(40_000_000),
            small_passes: Some(true),
            full_passes: Some(false),
            ..PathFigures::default()
        };
        let probed = Probed { forward, reverse: None, clock_offset_us: Some(-2_000) };
        let table = table(&probed);
        assert!(table.contains("loss, one way          2.00 %"), "{table}");
        assert!(table.contains("1281 bytes, not 1473"), "{table}");
        assert!(table.contains("cut what goes to the peer to 40.0 Mbit/s"), "{table}");
        assert!(table.contains("the way back is not known"), "{table}");
        assert!(table.contains("clock is 2 ms behind this host's"), "{table}");
        let json = serde_json::to_value(Report::new(&probed)).unwrap();
        assert_eq!(json["forward"]["loss_ratio"], 0.02);
        assert!(json["reverse"].is_null() && json["forward"]["bottleneck_bps"].is_null());
    }
}
