//! Who gets how much of one link: Farhaul, and others that came later.
//!
//! Each flow has more to send than it can within the time. Farhaul starts, the others follow
//! [`LEAD`] later, and shares are taken from the time after [`SETTLING`], as payload that arrived.

use crate::failure::Failure;
use crate::side_by_side::peers::{FarhaulPair, tcp_pair};
use farhaul_netem_tests::measure::{goodput_limit, median_min_max};
use farhaul_netem_tests::{Lab, LabProfile, Running, Site};
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::lab::Wire;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Farhaul is this much ahead of the others.
pub const LEAD: Duration = Duration::from_secs(5);
/// Shares count from here on, after the others' start.
pub const SETTLING: Duration = Duration::from_secs(15);
/// The ports of the TCP receivers begin here.
const TCP_PORT: u16 = 5001;

/// What comes beside Farhaul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// The kernel's TCP with CUBIC.
    Cubic,
    /// The kernel's TCP with BBR.
    Bbr,
    /// Farhaul itself with the policy `fair`.
    Farhaul,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first flow's `--policy`.
    pub policy: String,
    /// The others.
    pub rival: Rival,
    /// How many of them.
    pub count: u16,
    /// How long shares are taken for.
    pub span: Duration,
    /// Seed of the link.
    pub seed: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// The first flow's policy.
    pub policy: String,
    /// The others.
    pub rival: Rival,
    /// Payload of the first flow, in bits per second.
    pub farhaul_bps: f64,
    /// Payload of each of the others.
    pub rivals_bps: Vec<f64>,
    /// G*, in bits per second.
    pub limit_bps: f64,
    /// 95th percentile of the queue delay of all, in microseconds, from the very start.
    pub queue_p95_us: u64,
}

impl Shared {
    /// Farhaul's part of all that arrived.
    pub fn share(&self) -> f64 {
        self.farhaul_bps / self.total()
    }

    /// What arrived, as a part of what can.
    pub fn used(&self) -> f64 {
        self.total() / self.limit_bps
    }

    fn total(&self) -> f64 {
        self.farhaul_bps + self.rivals_bps.iter().sum::<f64>()
    }
}

/// Measures once; files live in `work`.
///
/// # Errors
/// [`Failure`].
pub fn measure(plan: &Plan, link: &LabProfile, work: &Path) -> Result<Shared, Failure> {
    let limit_bps = goodput_limit(&link.forward).ok_or(Failure::NoRate)?;
    let all = LEAD + SETTLING + plan.span;
    let source = work.join("source");
    write_enough(&source, limit_bps, all + SETTLING)?;
    let target = work.join("target");
    drop(fs::remove_dir_all(&target));
    fs::create_dir_all(&target)?;
    let settings = Settings { seed: plan.seed, ..Settings::default() };
    let lab = Lab::start_with(&Wire::Emulated(Box::new(link.clone())), settings)?;
    let pair = FarhaulPair::start(&lab, work, &target)?;
    let first = Flow::farhaul(&lab, &pair, &source, work, 0, &plan.policy)?;
    thread::sleep(LEAD);
    let mut flows = vec![first];
    for number in 1..=plan.count {
        flows.push(match plan.rival {
            Rival::Farhaul => Flow::farhaul(&lab, &pair, &source, work, number, "fair")?,
            Rival::Cubic => Flow::tcp(&lab, &source, &target, number, "cubic")?,
            Rival::Bbr => Flow::tcp(&lab, &source, &target, number, "bbr")?,
        });
    }
    thread::sleep(SETTLING);
    let marks = || flows.iter().map(Flow::mark).collect::<Result<Vec<Mark>, Failure>>();
    let begun = marks()?;
    thread::sleep(plan.span);
    let ended = marks()?;
    let queue_p95_us = lab.status()?.a_to_b.queue_p95_us;
    let rate = |(from, to): (&Mark, &Mark)| to.rate_since(from).ok_or(Failure::Silent);
    let mut rates = begun.iter().zip(&ended).map(rate);
    let farhaul_bps = rates.next().unwrap_or(Err(Failure::Silent))?;
    let rivals_bps = rates.collect::<Result<Vec<f64>, Failure>>()?;
    let (policy, rival) = (plan.policy.clone(), plan.rival);
    Ok(Shared { policy, rival, farhaul_bps, rivals_bps, limit_bps, queue_p95_us })
}

/// A file that no flow can send to its end within `time`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size within the memory of this machine"
)]
fn write_enough(path: &Path, bps: f64, time: Duration) -> io::Result<()> {
    let size = (bps / 8.0 * time.as_secs_f64()) as u64;
    if fs::metadata(path).is_ok_and(|there| there.len() == size) {
        return Ok(());
    }
    farhaul_tools::wanem::selftest::write_noise(path, size)
}

/// How far a flow was, and when since it began.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    at: Duration,
    bytes: u64,
}

impl Mark {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate_since(&self, before: &Self) -> Option<f64> {
        let seconds = self.at.saturating_sub(before.at).as_secs_f64();
        let bytes = self.bytes.saturating_sub(before.bytes);
        (seconds > 0.0).then(|| bytes as f64 * 8.0 / seconds)
    }
}

/// A flow that runs; it ends when this is dropped.
#[derive(Debug)]
enum Flow {
    Farhaul { _sender: Running, progress: PathBuf },
    Tcp { _sender: Running, _receiver: Running, arrived: PathBuf, begun: Instant },
}

impl Flow {
    fn farhaul(
        lab: &Lab,
        pair: &FarhaulPair,
        source: &Path,
        work: &Path,
        number: u16,
        policy: &str,
    ) -> io::Result<Self> {
        let progress = work.join(format!("progress-{number}"));
        let mut send = pair.send(source, &format!("flow-{number}/"));
        send.args(["--json-progress", "--policy", policy]);
        // What it says goes into a file that can be read while it runs.
        let mut shell = Command::new("sh");
        shell.args(["-c", "out=$1; shift; exec \"$@\" > \"$out\"", "sh"]).arg(&progress);
        shell.arg(send.get_program()).args(send.get_args());
        Ok(Self::Farhaul { _sender: lab.spawn(Site::A, &shell)?, progress })
    }

    fn tcp(
        lab: &Lab,
        source: &Path,
        target: &Path,
        number: u16,
        congestion: &str,
    ) -> io::Result<Self> {
        let arrived = target.join(format!("tcp-{number}"));
        let (receiver, send) = tcp_pair(lab, TCP_PORT + number, &arrived, source, congestion)?;
        let sender = lab.spawn(Site::A, &send)?;
        let begun = Instant::now();
        Ok(Self::Tcp { _sender: sender, _receiver: receiver, arrived, begun })
    }

    /// How far it is: by what arrived, or by its own word.
    fn mark(&self) -> Result<Mark, Failure> {
        match self {
            Self::Tcp { arrived, begun, .. } => {
                Ok(Mark { at: begun.elapsed(), bytes: fs::metadata(arrived)?.len() })
            }
            Self::Farhaul { progress, .. } => {
                last_told(&fs::read_to_string(progress)?).ok_or(Failure::Silent)
            }
        }
    }
}

/// A line of `--json-progress`, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    seconds: f64,
    bytes_done: u64,
}

/// What the last whole line says.
fn last_told(lines: &str) -> Option<Mark> {
    let told = lines.lines().rev().find_map(|line| serde_json::from_str::<Told>(line).ok())?;
    let at = Duration::try_from_secs_f64(told.seconds).ok()?;
    Some(Mark { at, bytes: told.bytes_done })
}

/// A row for people: median, smallest, largest of several runs of one plan.
pub fn to_row(link: &str, runs: &[Shared]) -> String {
    let mut text = String::new();
    let Some(first) = runs.first() else { return text };
    let figure = |of: fn(&Shared) -> f64| {
        let figures: Vec<f64> = runs.iter().map(of).collect();
        median_min_max(&figures).unwrap_or_default()
    };
    let [share, least, most] = figure(Shared::share);
    let [used, ..] = figure(Shared::used);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let [queue, ..] = figure(|run| run.queue_p95_us as f64 / 1e3);
    let rival = match first.rival {
        Rival::Cubic => "TCP CUBIC",
        Rival::Bbr => "TCP BBR",
        Rival::Farhaul => "Farhaul `fair`",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| {link} | `{}` beside {} {rival} | {share:.2} ({least:.2} - {most:.2}) | {used:.2} | {queue:.0} |",
        first.policy,
        first.rivals_bps.len(),
    );
    text
}

/// What the columns are.
pub const HEAD: &str = "| link | who | Farhaul's share: median (min - max) | all together, of G* | queue p95 ms |\n|---|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_between_the_last_whole_lines_at_two_times() {
        let lines = [
            "{\"progress\":true,\"seconds\":1.0,\"bytes_done\":1000}\n",
            "{\"progress\":true,\"seconds\":2.5,\"bytes_done\":4000}\n{\"progress\":tr",
        ];
        let [before, after] = [lines[0].to_owned(), lines.concat()].map(|text| last_told(&text));
        let (before, after) = (before.expect("a line"), after.expect("a line"));
        assert_eq!(after.rate_since(&before), Some(16_000.0));
        assert_eq!(after.rate_since(&after), None, "one line has no rate");
        assert_eq!(last_told("{\"progress\":tr"), None);
    }

    #[test]
    fn a_share_is_of_what_arrived_and_use_is_of_what_can() {
        let run = Shared {
            policy: "fair".to_owned(),
            rival: Rival::Bbr,
            farhaul_bps: 30e6,
            rivals_bps: vec![20e6, 10e6],
            limit_bps: 80e6,
            queue_p95_us: 12_345,
        };
        assert!((run.share() - 0.5).abs() < 1e-9);
        let row = "| x | `fair` beside 2 TCP BBR | 0.50 (0.50 - 0.50) | 0.75 | 12 |\n";
        assert_eq!(to_row("x", &[run]), row);
    }
}
