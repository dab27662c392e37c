//! What a measurement found, as JSON for machines and Markdown for people.

use super::Plan;
use super::peers::{Ends, Fault};
use farhaul_netem_tests::Lab;
use farhaul_netem_tests::measure::{Goodput, median_min_max};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

/// One run of one peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Bits of payload per second from start to exit; the most it can have been when `stopped`;
    /// none when it failed.
    pub goodput_bps: Option<f64>,
    /// Seconds from start to exit.
    pub seconds: f64,
    /// True when its sender was stopped at the limit.
    pub stopped: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// CPU seconds of the sender.
    pub sender_cpu_seconds: f64,
    /// CPU seconds of the receiver.
    pub receiver_cpu_seconds: f64,
    /// Largest resident set of the sender, in bytes.
    pub sender_resident_bytes_max: u64,
    /// Largest resident set of the receiver, in bytes; of its largest process if it has several.
    pub receiver_resident_bytes_max: u64,
    /// Bytes at IP level that left site A, by the emulator's count.
    pub link_bytes_offered: Option<u64>,
    /// Bytes at IP level that the sender says it sent.
    pub wire_bytes_sent: Option<u64>,
    /// 95th percentile of the queue delay that it caused, in microseconds.
    pub queue_p95_us: Option<u64>,
    /// Packets that the emulator lost by its own fault: a run with many tells nothing.
    pub emulator_drops: Option<u64>,
    /// 99th percentile of how late the emulator was, in microseconds.
    pub emulator_late_p99_us: Option<u64>,
}

impl RunReport {
    /// From a run's outcome and the state of its lab.
    pub(super) fn new(
        outcome: Result<Ends, Fault>,
        plan: &Plan,
        limit: Duration,
        lab: &Lab,
    ) -> Self {
        let mut report = Self::of_outcome(outcome, plan.content.bytes(), limit);
        // A veth lab has no status.
        if let Ok(status) = lab.status() {
            let way = status.a_to_b;
            if report.stopped {
                // What the link delivered bounds what the receiver can have.
                let bytes = way.delivered_bytes.min(plan.content.bytes());
                report.goodput_bps = Some(Goodput::new(bytes, limit).bps);
            }
            report.link_bytes_offered = Some(way.offered_bytes);
            report.queue_p95_us = Some(way.queue_p95_us);
            report.emulator_drops = Some(way.own_drops.total() + status.b_to_a.own_drops.total());
            report.emulator_late_p99_us = Some(way.late_p99_us);
        }
        report
    }

    fn of_outcome(outcome: Result<Ends, Fault>, size: u64, limit: Duration) -> Self {
        match outcome {
            Ok(ends) => Self::of_ends(&ends, size),
            Err(Fault::Stopped) => Self {
                goodput_bps: Some(Goodput::new(size, limit).bps),
                seconds: limit.as_secs_f64(),
                stopped: true,
                ..Self::default()
            },
            Err(Fault::Failed(error)) => {
                Self { failure: Some(error.to_string()), ..Self::default() }
            }
        }
    }

    /// True when all of it arrived whole.
    pub fn finished(&self) -> bool {
        !self.stopped && self.failure.is_none()
    }

    fn of_ends(ends: &Ends, size: u64) -> Self {
        let goodput = Goodput::new(size, ends.sender.elapsed);
        let (sender, receiver) = (&ends.sender, &ends.receiver);
        Self {
            goodput_bps: Some(goodput.bps),
            seconds: goodput.seconds,
            sender_cpu_seconds: sender.cpu_seconds(),
            receiver_cpu_seconds: receiver.cpu_seconds(),
            sender_resident_bytes_max: sender.usage.resident_bytes_max,
            receiver_resident_bytes_max: receiver.usage.resident_bytes_max,
            wire_bytes_sent: ends.wire_bytes,
            ..Self::default()
        }
    }
}

/// All runs of one peer on one link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// In order.
    pub runs: Vec<RunReport>,
}

impl PeerReport {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), runs: Vec::new() }
    }

    /// Median, smallest, largest goodput; a failed run counts as zero.
    pub fn goodput(&self) -> Option<[f64; 3]> {
        let figures: Vec<f64> =
            self.runs.iter().map(|run| run.goodput_bps.unwrap_or(0.0)).collect();
        median_min_max(&figures)
    }

    /// In a word: goodput in Mbit/s, what was stopped, what failed.
    fn told(&self) -> String {
        let Some([median, min, max]) = self.goodput() else { return "-".to_owned() };
        let count = |wrong: fn(&RunReport) -> bool| self.runs.iter().filter(|r| wrong(r)).count();
        let (stopped, failed) = (count(|r| r.stopped), count(|r| r.failure.is_some()));
        if failed == self.runs.len() {
            return "failed".to_owned();
        }
        let most = if stopped > 0 { "at most " } else { "" };
        let short = |bps: f64| {
            let digits = if bps < 10e6 { 1 } else { 0 };
            format!("{:.digits$}", bps / 1e6)
        };
        let mut text = format!("{most}{} ({} - {})", short(median), short(min), short(max));
        for (number, what) in [(stopped, "stopped"), (failed, "failed")] {
            if number > 0 {
                let _ = write!(text, ", {number} {what}");
            }
        }
        text
    }

    /// Of the runs that finished and have this figure.
    fn median(&self, figure: impl Fn(&RunReport) -> Option<f64>) -> Option<f64> {
        let finished = self.runs.iter().filter(|run| run.finished());
        let figures: Vec<f64> = finished.filter_map(figure).collect();
        median_min_max(&figures).map(|[median, ..]| median)
    }
}

/// All peers on one link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// Its name.
    pub name: String,
    /// The link, as TOML; none for a veth pair.
    pub profile: Option<String>,
    /// G*, in bits per second.
    pub limit_bps: Option<f64>,
    /// Bytes of what is sent.
    pub size: u64,
    /// Files of a tree; none where one file is sent.
    pub files: Option<u64>,
    /// Bytes at IP level that must be offered to the link for it to pass.
    pub needed_bytes: Option<f64>,
    /// In the order of the rounds.
    pub peers: Vec<PeerReport>,
}

/// A whole measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Link by link.
    pub cells: Vec<CellReport>,
    /// Peers that could not run here, and why.
    pub missing: Vec<String>,
}

impl Report {
    /// For people.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("# Side by side\n");
        self.write_overview(&mut text);
        for cell in &self.cells {
            cell.write_markdown(&mut text);
        }
        text.push_str(LEGEND);
        for missing in &self.missing {
            let _ = writeln!(text, "\nNot measured: {missing}.");
        }
        text
    }

    /// All links and peers in one table. Writing to a string cannot fail, hence the ignored
    /// results here and below.
    fn write_overview(&self, text: &mut String) {
        let mut names: Vec<&str> = Vec::new();
        for peer in self.cells.iter().flat_map(|cell| &cell.peers) {
            if !names.contains(&peer.name.as_str()) {
                names.push(&peer.name);
            }
        }
        let _ = writeln!(
            text,
            "\nMbit/s from start to exit: median (min - max).\n\n| link | MiB | G* | {} |",
            names.join(" | ")
        );
        let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(names.len()));
        for cell in &self.cells {
            let limit = cell.limit_bps.map_or("-".to_owned(), |bps| format!("{:.0}", bps / 1e6));
            let _ = write!(text, "| {} | {} | {limit} |", cell.name, cell.size >> 20);
            for name in &names {
                let peer = cell.peers.iter().find(|peer| peer.name == *name);
                let _ =
                    write!(text, " {} |", peer.map_or_else(|| "-".to_owned(), PeerReport::told));
            }
            text.push('\n');
        }
    }
}

impl CellReport {
    fn write_markdown(&self, text: &mut String) {
        let profile = self.profile.as_deref().unwrap_or("veth pair").trim().replace('\n', ", ");
        let limit =
            self.limit_bps.map_or("none".to_owned(), |bps| format!("{:.0} Mbit/s", bps / 1e6));
        let files = self.files.map_or(String::new(), |files| format!(" in {files} files"));
        let _ = writeln!(
            text,
            "\n## {}\n\n{profile}. G* {limit}, {} bytes{files}.\n",
            self.name, self.size
        );
        text.push_str("| peer | goodput Mbit/s: median (min - max) | of G* | seconds | CPU s/GB sender, receiver | resident MiB sender, receiver | queue p95 ms | sent / needed | runs |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for peer in &self.peers {
            self.write_peer(text, peer);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn write_peer(&self, text: &mut String, peer: &PeerReport) {
        let Some([median, min, max]) = peer.goodput() else { return };
        let most = if peer.runs.iter().any(|run| run.stopped) { "at most " } else { "" };
        let figure = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let of_run = |of: fn(&RunReport) -> f64, factor: f64, digits: usize| {
            figure(peer.median(|run| Some(of(run) * factor)), digits)
        };
        let per_gb = 1e9 / self.size as f64;
        let per_mib = 1.0 / f64::from(1 << 20);
        let sent = |run: &RunReport| Some(run.link_bytes_offered? as f64 / self.needed_bytes?);
        let _ = writeln!(
            text,
            "| {} | {most}{:.1} ({:.1} - {:.1}) | {} | {} | {}, {} | {}, {} | {} | {} | {} |",
            peer.name,
            median / 1e6,
            min / 1e6,
            max / 1e6,
            figure(self.limit_bps.map(|limit| median / limit), 3),
            of_run(|run| run.seconds, 1.0, 2),
            of_run(|run| run.sender_cpu_seconds, per_gb, 2),
            of_run(|run| run.receiver_cpu_seconds, per_gb, 2),
            of_run(|run| run.sender_resident_bytes_max as f64, per_mib, 0),
            of_run(|run| run.receiver_resident_bytes_max as f64, per_mib, 0),
            figure(peer.median(|run| Some(run.queue_p95_us? as f64 / 1e3)), 1),
            figure(peer.median(sent), 3),
            notes(&peer.runs)
        );
    }
}

/// What the columns mean.
const LEGEND: &str = "
Goodput counts a failed run as zero and a stopped one as all that the link delivered until then,
hence \"at most\"; the other columns are medians of the runs that finished. \"Sent / needed\": bytes at
IP level offered to the link, over the size in packets with 1408 bytes of payload in 1473,
divided by the share that the link does not lose. \"Resident\": the most that was ever resident.
";

/// How many runs, and what was wrong with some.
fn notes(runs: &[RunReport]) -> String {
    let count = |wrong: fn(&RunReport) -> bool| runs.iter().filter(|run| wrong(run)).count();
    let mut text = runs.len().to_string();
    for (number, what) in [
        (count(|run| run.stopped), "stopped at the limit"),
        (count(|run| run.failure.is_some()), "failed"),
        (count(|run| run.emulator_drops.is_some_and(|n| n > 0)), "with emulator drops"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(goodputs: &[f64]) -> CellReport {
        let run = |bps: &f64| RunReport {
            goodput_bps: Some(*bps),
            seconds: 1.0,
            sender_cpu_seconds: 0.5,
            sender_resident_bytes_max: 64 << 20,
            link_bytes_offered: Some(1_200_000_000),
            ..RunReport::default()
        };
        let peer = PeerReport { name: "x".to_owned(), runs: goodputs.iter().map(run).collect() };
        CellReport {
            name: "B".to_owned(),
            profile: Some("rate = '500Mbit/s'\n".to_owned()),
            limit_bps: Some(468e6),
            size: 1_000_000_000,
            files: None,
            needed_bytes: Some(1.0e9),
            peers: vec![peer],
        }
    }

    #[test]
    fn the_table_shows_median_range_and_share_of_the_limit() {
        let report = Report { cells: vec![report(&[468e6, 234e6, 400e6])], missing: Vec::new() };
        let text = report.to_markdown();
        assert!(
            text.contains(
                "| x | 400.0 (234.0 - 468.0) | 0.855 | 1.00 | 0.50, 0.00 | 64, 0 | - | 1.200 | 3 |"
            ),
            "{text}"
        );
    }

    #[test]
    fn failed_and_stopped_runs_are_named_and_slow_but_count_nowhere_else() {
        let mut cell = report(&[468e6]);
        let failed = RunReport { failure: Some("reset".to_owned()), ..RunReport::default() };
        let stopped = RunReport {
            goodput_bps: Some(1e6),
            seconds: 20.0,
            stopped: true,
            link_bytes_offered: Some(3),
            ..RunReport::default()
        };
        cell.peers[0].runs.extend([failed, stopped]);
        assert_eq!(cell.peers[0].goodput(), Some([1e6, 0.0, 468e6]));
        let text = Report { cells: vec![cell], missing: vec!["y: gone".to_owned()] }.to_markdown();
        assert!(text.contains("| at most 1.0 (0.0 - 468.0) | 0.002 | 1.00 |"), "{text}");
        assert!(text.contains("| 1.200 | 3, 1 stopped at the limit, 1 failed"), "{text}");
        assert!(text.contains("Not measured: y: gone."));
        let overview = "| link | MiB | G* | x |\n|---|---|---|---|\n\
                        | B | 953 | 468 | at most 1.0 (0.0 - 468), 1 stopped, 1 failed |\n";
        assert!(text.contains(overview), "{text}");
    }

    #[test]
    fn only_the_senders_limit_makes_a_run_a_stopped_one() {
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the receiver");
        let limit = Duration::from_secs(2);
        let failed = RunReport::of_outcome(Err(late.into()), 1 << 20, limit);
        assert!(!failed.stopped && failed.failure.is_some());
        let stopped = RunReport::of_outcome(Err(Fault::Stopped), 1 << 20, limit);
        assert!(stopped.stopped && stopped.failure.is_none());
    }
}
