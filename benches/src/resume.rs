//! What an interruption costs: one end is killed in the middle of a file, the transfer is started
//! again, and what the link carried is held against what was missing.

use crate::failure::Failure;
use farhaul_netem_tests::measure::{EFFICIENCY, bytes_needed, goodput_limit, median_min_max};
use farhaul_netem_tests::sites::{Sites, succeeded};
use farhaul_netem_tests::{LabProfile, content};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often the link is asked how far the transfer is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Payload bytes of a symbol.
const SYMBOL: u64 = 1408;
/// What an interruption may cost on any link.
const ALLOWED_MIN: u64 = 8_000_000;

/// The end that is killed (SIGKILL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Killed {
    /// `farhaul send`.
    Sender,
    /// `farhaul serve`, which is started again; the sender, which would notice by itself or by its
    /// user, is ended at once.
    Receiver,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes of the file.
    pub size: u64,
    /// Share of the file that has crossed the link when the end is killed.
    pub at: f64,
    /// Longest that either attempt may take.
    pub limit: Duration,
}

/// One interruption and the attempt after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// Which end was killed.
    pub killed: Killed,
    /// Bytes of the file.
    pub size: u64,
    /// Payload that had crossed the link before the second attempt, by the emulator's count: bytes
    /// at IP level, times payload per packet.
    pub crossed_bytes: u64,
    /// Bytes that the second attempt found in place.
    pub resumed_bytes: u64,
    /// Payload in symbols of any kind that the second attempt sent.
    pub symbol_bytes_sent: u64,
    /// Bytes at IP level that it offered to the link.
    pub link_bytes_offered: u64,
    /// Bytes at IP level that the missing part of the file needs on this link.
    pub needed_bytes: f64,
    /// Bytes that may be sent again: what the link carries in a second, or 8 MB.
    pub allowed_bytes: u64,
    /// Seconds from the start of the second attempt to its exit.
    pub seconds: f64,
}

impl Resumed {
    /// Bytes of the file that crossed the link in vain: they were sent once more.
    pub fn bytes_again(&self) -> u64 {
        self.crossed_bytes.min(self.size).saturating_sub(self.resumed_bytes)
    }
}

/// Kills one end in the middle of a file over `link`, and sends it again; files live in `work`.
///
/// # Errors
/// [`Failure`].
///
/// # Panics
/// If Farhaul does not start, or its second attempt fails or leaves another file.
pub fn measure(
    plan: &Plan,
    link: &LabProfile,
    work: &Path,
    killed: Killed,
) -> Result<Resumed, Failure> {
    let sites = Sites::start_in(link, work)?;
    let source = sites.path("source");
    farhaul_tools::wanem::selftest::write_noise(&source, plan.size)?;
    let server = interrupt(plan, &sites, &source, killed)?;
    let before = sites.lab.status()?.a_to_b;
    let again = sites.begin(&sites.sending(&source, "", &[])).finish(plan.limit)?;
    let report = succeeded(&again);
    drop(server);
    content::assert_same(&source, &sites.root().join("source"));
    let after = sites.lab.status()?.a_to_b;
    let symbols = report.symbols_source + report.symbols_repair + report.symbols_resent;
    Ok(Resumed {
        killed,
        size: plan.size,
        crossed_bytes: payload(before.delivered_bytes),
        resumed_bytes: report.resumed_bytes,
        symbol_bytes_sent: symbols * SYMBOL,
        link_bytes_offered: after.offered_bytes.saturating_sub(before.offered_bytes),
        needed_bytes: bytes_needed(&link.forward, plan.size.saturating_sub(report.resumed_bytes)),
        allowed_bytes: allowed(link),
        seconds: again.elapsed.as_secs_f64(),
    })
}

/// The first attempt. The server that the second one will find.
fn interrupt(
    plan: &Plan,
    sites: &Sites,
    source: &Path,
    killed: Killed,
) -> Result<farhaul_netem_tests::sites::Server, Failure> {
    let server = sites.serve();
    let sender = sites.begin(&sites.sending(source, "", &[]));
    let since = Instant::now();
    while payload(sites.lab.status()?.a_to_b.delivered_bytes) < share(plan.size, plan.at) {
        if sender.has_ended() || since.elapsed() > plan.limit {
            return Err(Failure::Late(since.elapsed()));
        }
        thread::sleep(LOOK_EVERY);
    }
    match killed {
        Killed::Sender => {
            sender.kill()?;
            Ok(server)
        }
        Killed::Receiver => {
            server.kill();
            sender.kill()?;
            Ok(sites.serve())
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rate of a link, in bytes"
)]
fn allowed(link: &LabProfile) -> u64 {
    let second = goodput_limit(&link.forward).unwrap_or(0.0) / 8.0;
    (second as u64).max(ALLOWED_MIN)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a positive count"
)]
fn share(of: u64, share: f64) -> u64 {
    (of as f64 * share) as u64
}

fn payload(link_bytes: u64) -> u64 {
    share(link_bytes, EFFICIENCY)
}

/// A table for people.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn to_markdown(runs: &[Resumed]) -> String {
    let mut text = String::from(
        "| killed | size MB | crossed MB | resumed MB | sent again MB | of the size | second attempt: symbols MB, sent / needed, s |\n|---|---|---|---|---|---|---|\n",
    );
    let mega = |bytes: u64| bytes as f64 / 1e6;
    for run in runs {
        let killed = run.killed.name();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {killed} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} % | {:.1}, {:.3}, {:.2} |",
            mega(run.size),
            mega(run.crossed_bytes),
            mega(run.resumed_bytes),
            mega(run.bytes_again()),
            100.0 * run.bytes_again() as f64 / run.size as f64,
            mega(run.symbol_bytes_sent),
            run.link_bytes_offered as f64 / run.needed_bytes.max(1.0),
            run.seconds
        );
    }
    for end in [Killed::Sender, Killed::Receiver] {
        let runs: Vec<&Resumed> = runs.iter().filter(|run| run.killed == end).collect();
        let again: Vec<f64> = runs.iter().map(|run| run.bytes_again() as f64 / 1e6).collect();
        if let (Some([median, min, max]), Some(run)) = (median_min_max(&again), runs.first()) {
            let _ = writeln!(
                text,
                "\n{} killed, {} times: {median:.1} ({min:.1} - {max:.1}) MB sent again; {:.1} MB may be.",
                end.name(),
                runs.len(),
                mega(run.allowed_bytes)
            );
        }
    }
    text
}

impl Killed {
    fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crossed_the_link_and_was_not_found_again_counts_as_sent_again() {
        let run = Resumed {
            killed: Killed::Receiver,
            size: 1_000_000_000,
            crossed_bytes: 500_000_000,
            resumed_bytes: 490_000_000,
            symbol_bytes_sent: 511_000_000,
            link_bytes_offered: 520_000_000,
            needed_bytes: 500_000_000.0,
            allowed_bytes: 58_000_000,
            seconds: 9.0,
        };
        assert_eq!(run.bytes_again(), 10_000_000);
        let text = to_markdown(&[run]);
        let row = "| receiver | 1000.0 | 500.0 | 490.0 | 10.0 | 1.00 % | 511.0, 1.040, 9.00 |";
        assert!(text.contains(row), "{text}");
        let sum = "receiver killed, 1 times: 10.0 (10.0 - 10.0) MB sent again; 58.0 MB may be.";
        assert!(text.contains(sum), "{text}");
    }
}
