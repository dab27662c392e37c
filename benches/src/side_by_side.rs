//! One file or tree, one link, several programs in turn: A B C A B C, so that a change of the
//! machine's mood hits all alike.
//!
//! Each run gets a fresh lab (no state of the kernel's TCP survives) whose seed depends on the
//! round alone, so the peers of one round meet the same random link. A run counts from the start of
//! the sender to its exit, and only if all of it arrived whole.

pub mod content;
pub mod peers;
pub mod report;

use crate::failure::Failure;
use content::Content;
use farhaul_netem_tests::measure::{bytes_needed, cell, goodput_limit};
use farhaul_netem_tests::weather::during;
use farhaul_netem_tests::{Lab, LabProfile, Weather};
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::lab::Wire;
use farhaul_tools::wanem::script::Step;
use peers::{Peer, Transfer};
use report::{CellReport, PeerReport, RunReport};
use std::path::Path;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order, within each round.
    pub peers: Vec<Peer>,
    /// Rounds per cell.
    pub rounds: u32,
    /// What is sent.
    pub content: Content,
    /// A run whose sender takes longer is stopped.
    pub limit: Duration,
    /// Other limits for some peers.
    pub limits: Vec<(Peer, Duration)>,
    /// Seed of the first round.
    pub seed: u64,
}

impl Plan {
    /// A run of `peer` whose sender takes longer is stopped.
    pub fn limit_of(&self, peer: Peer) -> Duration {
        let own = self.limits.iter().rev().find(|(of, _)| *of == peer);
        own.map_or(self.limit, |(_, limit)| *limit)
    }
}

/// A link to measure on.
#[derive(Clone, Debug)]
pub enum Link {
    /// A cell of `netem-tests/profiles`, 'a' to 'e'.
    Cell(char),
    /// A profile of one's own, by name.
    Profile(String, Box<LabProfile>),
    /// A link that changes, or is bad in its own way.
    Weather(Box<Weather>),
    /// A veth pair without emulator.
    Veth,
}

impl Link {
    /// Its name in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Cell(name) => name.to_ascii_uppercase().to_string(),
            Self::Profile(name, _) => name.clone(),
            Self::Weather(weather) => format!("{}: {}", weather.name, weather.about),
            Self::Veth => "veth".to_owned(),
        }
    }

    /// True when `name` stands for it on a command line.
    pub fn is_called(&self, name: &str) -> bool {
        match self {
            Self::Cell(own) => name.eq_ignore_ascii_case(own.encode_utf8(&mut [0; 4])),
            Self::Profile(own, _) => name == own,
            Self::Weather(weather) => name == weather.name,
            Self::Veth => name == "veth",
        }
    }

    /// The payload that it carries in `span` at best, in whole MiB, one at least; `None` without a
    /// rate.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size of files")]
    pub fn carries_in(&self, span: Duration) -> Option<u64> {
        let mib = self.limit_bps()? / 8.0 * span.as_secs_f64() / f64::from(1 << 20);
        Some((mib as u64).max(1) << 20)
    }

    /// How long it takes for `bytes` of payload at best; `None` without a rate.
    #[expect(clippy::cast_precision_loss, reason = "a limit for people")]
    pub fn best_time(&self, bytes: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(bytes as f64 * 8.0 / self.limit_bps()?).ok()
    }

    /// G*, in bits per second.
    fn limit_bps(&self) -> Option<f64> {
        match self.wire() {
            Wire::Veth => None,
            Wire::Emulated(profile) => goodput_limit(&profile.forward),
        }
    }

    fn wire(&self) -> Wire {
        match self {
            Self::Cell(name) => Wire::Emulated(Box::new(cell(*name))),
            Self::Profile(_, profile) => Wire::Emulated(profile.clone()),
            Self::Weather(weather) => Wire::Emulated(Box::new(weather.profile.clone())),
            Self::Veth => Wire::Veth,
        }
    }

    fn steps(&self) -> &[Step] {
        match self {
            Self::Weather(weather) => &weather.steps,
            Self::Cell(_) | Self::Profile(..) | Self::Veth => &[],
        }
    }
}

/// Measures all peers of `plan` on one link; files live in `work`. `progress` is told each run.
///
/// # Errors
/// [`Failure`]; a run that fails is no failure of the measurement.
pub fn measure(
    plan: &Plan,
    link: &Link,
    work: &Path,
    mut progress: impl FnMut(&str, &RunReport),
) -> Result<CellReport, Failure> {
    let source = work.join("source");
    plan.content.make(&source)?;
    let size = plan.content.bytes();
    let wire = link.wire();
    let (profile, needed_bytes) = match &wire {
        Wire::Veth => (None, None),
        Wire::Emulated(profile) => {
            (profile.to_toml().ok(), Some(bytes_needed(&profile.forward, size)))
        }
    };
    let mut reports: Vec<PeerReport> =
        plan.peers.iter().map(|peer| PeerReport::new(peer.name())).collect();
    for round in 0..plan.rounds {
        for (peer, report) in plan.peers.iter().zip(&mut reports) {
            let settings = Settings { seed: plan.seed + u64::from(round), ..Settings::default() };
            let lab = Lab::start_with(&wire, settings)?;
            let limit = plan.limit_of(*peer);
            let tree = plan.content.is_tree();
            let transfer = Transfer { lab: &lab, source: &source, tree, work, limit };
            let outcome = during(&lab, link.steps(), || peer.run(&transfer));
            let run = RunReport::new(outcome, plan, limit, &lab);
            progress(peer.name(), &run);
            report.runs.push(run);
        }
    }
    Ok(CellReport {
        name: link.name(),
        profile,
        limit_bps: link.limit_bps(),
        size,
        files: plan.content.files(),
        needed_bytes,
        peers: reports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_carries_in_a_time_takes_that_time_at_best() {
        let link = Link::Cell('B');
        assert!(link.is_called("b") && !link.is_called("bb"));
        let size = link.carries_in(Duration::from_secs(10)).expect("it has a rate");
        assert_eq!(size >> 20, 558);
        let best = link.best_time(size).expect("it has a rate");
        assert!((9.9..=10.0).contains(&best.as_secs_f64()), "{best:?}");
        assert_eq!(Link::Veth.carries_in(Duration::from_secs(10)), None);
    }
}
