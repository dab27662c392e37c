//! What was found, as JSON for machines and a table for people.

use farhaul_netem_tests::measure::median_min_max;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One turn of one program; figures that it did not come to are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Until the large file is there.
    pub large_seconds: Option<f64>,
    /// What crossed the link for it, both ways, at IP level.
    pub large_mib: Option<f64>,
    /// Until all small files are there.
    pub small_seconds: Option<f64>,
    /// Until a MiB that was overwritten in the large file is there.
    pub overwrite_seconds: Option<f64>,
    /// What crossed the link for it.
    pub overwrite_mib: Option<f64>,
    /// Until a byte that was put in front of the large file is there.
    pub insert_seconds: Option<f64>,
    /// What crossed the link for it.
    pub insert_mib: Option<f64>,
    /// Until the directory of the small files has its other name there.
    pub renamed_seconds: Option<f64>,
    /// What crossed the link for it, both ways, at IP level, for each file.
    pub renamed_bytes_per_file: Option<f64>,
    /// Until each of some edits of 10 KiB is there.
    pub edit_seconds: Vec<f64>,
    /// From the start of the program until a tree is scanned for the first time.
    pub first_scan_seconds: Option<f64>,
    /// A scan of it when nothing has changed.
    pub rescan_seconds: Option<f64>,
    /// In memory after that.
    pub resident_mib: Option<f64>,
    /// What that is more than without any file, for each file.
    pub resident_bytes_per_file: Option<f64>,
    /// Why it came to no more.
    pub failure: Option<String>,
}

impl Run {
    /// The edit at a share of all, the slowest last.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the position of a quantile"
    )]
    fn edit_at(&self, share: f64) -> Option<f64> {
        let mut sorted = self.edit_seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(at).copied()
    }
}

/// All turns of one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerRuns {
    /// Its name.
    pub name: String,
    /// In order.
    pub runs: Vec<Run>,
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The link, as TOML.
    pub link: String,
    /// What the programs of others are.
    pub versions: Vec<String>,
    /// In the order of the rounds.
    pub peers: Vec<PeerRuns>,
}

/// A row of the table: its title, how many digits stand behind the point, and its figure.
struct Row(&'static str, usize, fn(&Run) -> Option<f64>);

const ROWS: [Row; 15] = [
    Row("large file, s", 1, |run| run.large_seconds),
    Row("sent for it, MiB", 1, |run| run.large_mib),
    Row("small files, s", 1, |run| run.small_seconds),
    Row("1 MiB overwritten, s", 2, |run| run.overwrite_seconds),
    Row("sent for it, MiB", 2, |run| run.overwrite_mib),
    Row("a byte in front, s", 2, |run| run.insert_seconds),
    Row("sent for it, MiB", 2, |run| run.insert_mib),
    Row("the directory of small files renamed, s", 1, |run| run.renamed_seconds),
    Row("sent for it, bytes a file", 0, |run| run.renamed_bytes_per_file),
    Row("an edit of 10 KiB, p50, s", 3, |run| run.edit_at(0.5)),
    Row("an edit of 10 KiB, p99, s", 3, |run| run.edit_at(0.99)),
    Row("first scan, s", 1, |run| run.first_scan_seconds),
    Row("scan again, s", 2, |run| run.rescan_seconds),
    Row("resident then, MiB", 0, |run| run.resident_mib),
    Row("of that for each file, bytes", 0, |run| run.resident_bytes_per_file),
];

impl Report {
    /// For people: medians with the least and the most, and in brackets how many times the figure of
    /// the first program. Writing to a string cannot fail, hence the ignored results.
    pub fn to_markdown(&self) -> String {
        let link = self.link.trim().replace('\n', ", ");
        let mut text =
            format!("# Sites side by side\n\n{link}\n\n{}\n\n", self.versions.join("; "));
        let names: Vec<&str> = self.peers.iter().map(|peer| peer.name.as_str()).collect();
        let _ = writeln!(text, "| | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        for Row(title, digits, figure) in ROWS {
            let figures: Vec<Option<[f64; 3]>> =
                self.peers.iter().map(|peer| over_runs(peer, figure)).collect();
            if figures.iter().all(Option::is_none) {
                continue;
            }
            let ours = figures.first().copied().flatten().map(|[median, ..]| median);
            let cells: Vec<String> =
                figures.iter().enumerate().map(|(n, f)| cell(*f, ours, n, digits)).collect();
            let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
        }
        for peer in &self.peers {
            for (round, run) in peer.runs.iter().enumerate() {
                if let Some(failure) = &run.failure {
                    let _ = writeln!(text, "\n{}, round {round}: {failure}", peer.name);
                }
            }
        }
        text
    }
}

fn over_runs(peer: &PeerRuns, figure: fn(&Run) -> Option<f64>) -> Option<[f64; 3]> {
    let figures: Vec<f64> = peer.runs.iter().filter_map(figure).collect();
    median_min_max(&figures)
}

fn cell(figures: Option<[f64; 3]>, ours: Option<f64>, peer: usize, digits: usize) -> String {
    let Some([median, min, max]) = figures else { return "-".to_owned() };
    let mut text = format!("{median:.digits$} ({min:.digits$} - {max:.digits$})");
    if let Some(ours) = ours.filter(|ours| peer > 0 && *ours > 0.0) {
        let _ = write!(text, " [{:.2}]", median / ours);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, seconds: &[f64]) -> PeerRuns {
        let run = |s: &f64| Run { large_seconds: Some(*s), ..Run::default() };
        PeerRuns { name: name.to_owned(), runs: seconds.iter().map(run).collect() }
    }

    #[test]
    fn the_table_has_medians_and_ratios_to_the_first_program_and_what_failed() {
        let mut other = peer("y", &[6.0, 5.0]);
        other.runs[1].failure = Some("no end".to_owned());
        let peers = vec![peer("x", &[1.0, 3.0, 2.0]), other];
        let report = Report { link: "rtt = '1ms'\n".to_owned(), versions: Vec::new(), peers };
        let text = report.to_markdown();
        let row = "| large file, s | 2.0 (1.0 - 3.0) | 5.5 (5.0 - 6.0) [2.75] |";
        assert!(text.contains(row), "{text}");
        assert!(!text.contains("first scan"), "{text}");
        assert!(text.ends_with("y, round 1: no end\n"), "{text}");
    }

    #[test]
    fn a_quantile_of_edits_is_one_of_them() {
        let edit_seconds = (1..=50).rev().map(f64::from).collect();
        let run = Run { edit_seconds, ..Run::default() };
        assert_eq!((run.edit_at(0.5), run.edit_at(0.99)), (Some(25.0), Some(50.0)));
        assert_eq!(Run::default().edit_at(0.5), None);
    }
}
