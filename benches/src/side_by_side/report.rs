//! What a measurement found, as JSON for machines and Markdown for people.

use super::Plan;
use super::peers::Ends;
use farhaul_netem_tests::Lab;
use farhaul_netem_tests::measure::{Goodput, median_min_max};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;

/// One run of one peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Bits of payload per second from start to exit; the most it can have been when `timed_out`;
    /// none when it failed.
    pub goodput_bps: Option<f64>,
    /// Seconds from start to exit.
    pub seconds: f64,
    /// True when it was stopped at the limit.
    pub timed_out: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// CPU seconds of the sender.
    pub sender_cpu_seconds: f64,
    /// CPU seconds of the receiver.
    pub receiver_cpu_seconds: f64,
    /// Largest resident set of the two, in bytes.
    pub resident_bytes_max: u64,
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
    pub(super) fn new(outcome: io::Result<Ends>, plan: &Plan, lab: &Lab) -> Self {
        let mut report = match outcome {
            Ok(ends) => Self::of_ends(&ends, plan.size),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Self {
                goodput_bps: Some(Goodput::new(plan.size, plan.limit).bps),
                seconds: plan.limit.as_secs_f64(),
                timed_out: true,
                ..Self::default()
            },
            Err(error) => Self { failure: Some(error.to_string()), ..Self::default() },
        };
        // A veth lab has no status.
        if let Ok(status) = lab.status() {
            let way = status.a_to_b;
            if report.timed_out {
                // What the link delivered bounds what the receiver can have.
                let bytes = way.delivered_bytes.min(plan.size);
                report.goodput_bps = Some(Goodput::new(bytes, plan.limit).bps);
            }
            report.link_bytes_offered = Some(way.offered_bytes);
            report.queue_p95_us = Some(way.queue_p95_us);
            report.emulator_drops = Some(way.own_drops.total() + status.b_to_a.own_drops.total());
            report.emulator_late_p99_us = Some(way.late_p99_us);
        }
        report
    }

    fn of_ends(ends: &Ends, size: u64) -> Self {
        let goodput = Goodput::new(size, ends.sender.elapsed);
        let (sender, receiver) = (&ends.sender, &ends.receiver);
        Self {
            goodput_bps: Some(goodput.bps),
            seconds: goodput.seconds,
            sender_cpu_seconds: sender.cpu_seconds(),
            receiver_cpu_seconds: receiver.cpu_seconds(),
            resident_bytes_max: sender
                .usage
                .resident_bytes_max
                .max(receiver.usage.resident_bytes_max),
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

    fn median(&self, figure: impl Fn(&RunReport) -> Option<f64>) -> Option<f64> {
        let figures: Vec<f64> = self.runs.iter().filter_map(figure).collect();
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
    /// Bytes of the file.
    pub size: u64,
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
        for cell in &self.cells {
            cell.write_markdown(&mut text);
        }
        for missing in &self.missing {
            let _ = writeln!(text, "\nNot measured: {missing}.");
        }
        text
    }
}

impl CellReport {
    /// Writing to a string cannot fail, hence the ignored results here and below.
    fn write_markdown(&self, text: &mut String) {
        let profile = self.profile.as_deref().unwrap_or("veth pair").trim().replace('\n', ", ");
        let limit =
            self.limit_bps.map_or("none".to_owned(), |bps| format!("{:.0} Mbit/s", bps / 1e6));
        let _ =
            writeln!(text, "\n## {}\n\n{profile}. G* {limit}, {} bytes.\n", self.name, self.size);
        text.push_str("| peer | goodput Mbit/s: median (min - max) | of G* | seconds | CPU s/GB sender, receiver | queue p95 ms | sent / needed | runs |\n");
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for peer in &self.peers {
            self.write_peer(text, peer);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn write_peer(&self, text: &mut String, peer: &PeerReport) {
        let Some([median, min, max]) = peer.goodput() else { return };
        let dash = || "-".to_owned();
        let share = self.limit_bps.map_or_else(dash, |limit| format!("{:.3}", median / limit));
        let seconds = peer.median(|run| Some(run.seconds)).map_or_else(dash, |s| format!("{s:.2}"));
        let per_gb = |figure: fn(&RunReport) -> f64| {
            let done =
                |run: &RunReport| (!run.timed_out && run.failure.is_none()).then(|| figure(run));
            peer.median(done).map_or_else(dash, |s| format!("{:.2}", s * 1e9 / self.size as f64))
        };
        let queue = peer.median(|run| run.queue_p95_us.map(|us| us as f64 / 1e3));
        let sent = peer.median(|run| run.link_bytes_offered.map(|b| b as f64 / self.size as f64));
        let figure = |value: Option<f64>, digits: usize| {
            value.map_or_else(dash, |value| format!("{value:.digits$}"))
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} ({:.1} - {:.1}) | {share} | {seconds} | {}, {} | {} | {} | {} |",
            peer.name,
            median / 1e6,
            min / 1e6,
            max / 1e6,
            per_gb(|run| run.sender_cpu_seconds),
            per_gb(|run| run.receiver_cpu_seconds),
            figure(queue, 1),
            figure(sent, 3),
            notes(&peer.runs)
        );
    }
}

/// How many runs, and what was wrong with some.
fn notes(runs: &[RunReport]) -> String {
    let count = |wrong: fn(&RunReport) -> bool| runs.iter().filter(|run| wrong(run)).count();
    let mut text = runs.len().to_string();
    for (number, what) in [
        (count(|run| run.timed_out), "stopped at the limit"),
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
            ..RunReport::default()
        };
        let peer = PeerReport { name: "x".to_owned(), runs: goodputs.iter().map(run).collect() };
        CellReport {
            name: "B".to_owned(),
            profile: Some("rate = '500Mbit/s'\n".to_owned()),
            limit_bps: Some(468e6),
            size: 1_000_000_000,
            peers: vec![peer],
        }
    }

    #[test]
    fn the_table_shows_median_range_and_share_of_the_limit() {
        let report = Report { cells: vec![report(&[468e6, 234e6, 400e6])], missing: Vec::new() };
        let text = report.to_markdown();
        assert!(
            text.contains("| x | 400.0 (234.0 - 468.0) | 0.855 | 1.00 | 0.50, 0.00 |"),
            "{text}"
        );
    }

    #[test]
    fn failed_and_stopped_runs_are_named_and_count_as_slow() {
        let mut cell = report(&[468e6]);
        let failed = RunReport { failure: Some("reset".to_owned()), ..RunReport::default() };
        let stopped = RunReport { goodput_bps: Some(1e6), timed_out: true, ..RunReport::default() };
        cell.peers[0].runs.extend([failed, stopped]);
        assert_eq!(cell.peers[0].goodput(), Some([1e6, 0.0, 468e6]));
        let text = Report { cells: vec![cell], missing: vec!["y: gone".to_owned()] }.to_markdown();
        assert!(text.contains("3, 1 stopped at the limit, 1 failed"), "{text}");
        assert!(text.contains("Not measured: y: gone."));
    }
}
