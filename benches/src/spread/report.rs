//! What was found, as JSON for machines and tables for people.

use super::peers::Spreader;
use farhaul_netem_tests::measure::median_min_max;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One turn of one program. Copies are bytes of wire by bytes of the image that are no hole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Until the last site had the image.
    pub seconds: Option<f64>,
    /// Until each target had it, in the order of the sites.
    pub site_seconds: Vec<Option<f64>>,
    /// Whether what stands at all of them is the same.
    pub verified: bool,
    /// What left over the source's uplink.
    pub source_copies: Option<f64>,
    /// What left over all other uplinks together.
    pub other_up_copies: Option<f64>,
    /// What came over each target's downlink.
    pub down_copies: Vec<f64>,
    /// What the links carried, each second.
    pub trace: Vec<Second>,
    /// Processors that the emulator took.
    pub emulator_cpu: Option<f64>,
    /// How late its packets left, 99th percentile, in microseconds.
    pub emulator_late_p99_us: u64,
    /// Packets that it lost by its own fault.
    pub emulator_own_drops: u64,
    /// Load of the machine when the turn began.
    pub load: Option<f64>,
    /// Why it came to no more.
    pub failure: Option<String>,
}

/// What crossed the links since the turn began, up to one moment of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Which moment, in seconds from the beginning.
    pub at: f64,
    /// Bytes over each uplink, the source's first.
    pub up: Vec<u64>,
    /// Bytes over each downlink.
    pub down: Vec<u64>,
}

/// All turns of one program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerRuns {
    /// Its name.
    pub name: String,
    /// In order.
    pub runs: Vec<Run>,
}

impl PeerRuns {
    /// None yet.
    pub fn of(spreader: &Spreader) -> Self {
        Self { name: spreader.name().to_owned(), runs: Vec::new() }
    }
}

/// All turns with one number of targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// How many.
    pub targets: usize,
    /// No schedule is faster.
    pub bound_seconds: f64,
    /// In the order of the rounds.
    pub peers: Vec<PeerRuns>,
}

/// A whole measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The star, as TOML.
    pub star: String,
    /// Length of the image.
    pub bytes: u64,
    /// Bytes of it that are no hole.
    pub data: u64,
    /// Whether a link flapped and the source was killed and started again, with Farhaul.
    pub faults: bool,
    /// What the programs of others are.
    pub versions: Vec<String>,
    /// By number of targets.
    pub groups: Vec<Group>,
}

/// A column of the table: its title, how many digits stand behind the point, and its figure.
struct Column(&'static str, usize, fn(&Run) -> Option<f64>);

const COLUMNS: [Column; 5] = [
    Column("last site, s", 1, |run| run.seconds.filter(|_| run.verified)),
    Column("first site, s", 1, |run| run.site_seconds.iter().flatten().copied().reduce(f64::min)),
    Column("source's uplink, copies", 2, |run| run.source_copies),
    Column("other uplinks, copies", 2, |run| run.other_up_copies),
    Column("into a site, copies at most", 2, |run| {
        run.down_copies.iter().copied().reduce(f64::max)
    }),
];

impl Report {
    /// For people: medians with the least and the most. Writing to a string cannot fail, hence the
    /// ignored results.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# One image to many sites\n\n{} bytes", self.bytes);
        if self.data < self.bytes {
            let _ = write!(text, ", {} of them no hole", self.data);
        }
        if self.faults {
            text.push_str("; with farhauld one link flapped, and the source was killed once");
        }
        let _ = writeln!(text, ". {}\n", self.versions.join("; "));
        let titles: Vec<&str> = COLUMNS.iter().map(|Column(title, ..)| *title).collect();
        let _ = writeln!(text, "| sites | | {} | of the bound |", titles.join(" | "));
        let _ = writeln!(text, "|---|---|{}---|", "---|".repeat(titles.len()));
        for group in &self.groups {
            let _ = writeln!(
                text,
                "| {} | bound | {:.1} |{} 1.00 |",
                group.targets,
                group.bound_seconds,
                " |".repeat(titles.len() - 1)
            );
            for peer in &group.peers {
                let cells = COLUMNS.iter().map(|column| cell(peer, column));
                let cells: Vec<String> = cells.collect();
                let ratio = over_runs(peer, COLUMNS[0].2)
                    .map_or("-".to_owned(), |[s, ..]| format!("{:.2}", s / group.bound_seconds));
                let (targets, name) = (group.targets, &peer.name);
                let _ = writeln!(text, "| {targets} | {name} | {} | {ratio} |", cells.join(" | "));
            }
        }
        for group in &self.groups {
            for peer in &group.peers {
                for (round, run) in peer.runs.iter().enumerate() {
                    if let Some(failure) = &run.failure {
                        let (targets, name) = (group.targets, &peer.name);
                        let _ =
                            writeln!(text, "\n{name}, {targets} sites, round {round}: {failure}");
                    }
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

fn cell(peer: &PeerRuns, Column(_, digits, figure): &Column) -> String {
    match over_runs(peer, *figure) {
        None => "-".to_owned(),
        Some([median, min, max]) if min.total_cmp(&max).is_eq() => format!("{median:.digits$}"),
        Some([median, min, max]) => format!("{median:.digits$} ({min:.digits$} - {max:.digits$})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_not_verified_has_no_time_and_says_why() {
        let right = Run { seconds: Some(30.0), verified: true, ..Run::default() };
        let wrong =
            Run { seconds: Some(3.0), failure: Some("differs".to_owned()), ..right.clone() };
        let wrong = Run { verified: false, ..wrong };
        let peers = vec![PeerRuns { name: "x".to_owned(), runs: vec![right, wrong] }];
        let group = Group { targets: 4, bound_seconds: 20.0, peers };
        let text = Report { groups: vec![group], ..Report::default() }.to_markdown();
        assert!(text.contains("| 4 | x | 30.0 | - | - | - | - | 1.50 |"), "{text}");
        assert!(text.ends_with("x, 4 sites, round 1: differs\n"), "{text}");
    }
}
