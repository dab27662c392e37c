//! Sites that keep trees equal, each by another program, measured in turn over the same emulated
//! link: what changes at one site, and when it is whole at the other.
//!
//! A B C A B C, so that a change of the machine's mood hits all alike. Each turn gets a fresh lab whose
//! seed depends on the round alone, and fresh trees on disk. What is changed is prepared beside the
//! tree and renamed into it, unless it is an edit in place; a change counts as arrived when name,
//! length and modification time are there, and its bytes are compared after the clock has stopped.

pub mod edits;
pub mod farhauld;
pub mod local;
pub mod report;
pub mod rsync;
pub mod scans;
pub mod syncer;
pub mod syncthing;

use crate::failure::Failure;
use farhaul_netem_tests::{Lab, LabProfile};
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::lab::Wire;
use report::{PeerRuns, Report, Run};
use std::fs;
use std::path::Path;
use std::time::Duration;
use syncer::{Scene, Syncer};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order, within each round.
    pub peers: Vec<Syncer>,
    /// How often each.
    pub rounds: u32,
    /// The link.
    pub link: LabProfile,
    /// Seed of the first round.
    pub seed: u64,
    /// Length of the large file, in bytes.
    pub large: u64,
    /// How many small files.
    pub small: u32,
    /// How many edits for the latency; a tenth of them for who waits long by design.
    pub edits: u32,
    /// Files of the tree that is scanned; none: it is not.
    pub scanned: u32,
    /// How long anything may take.
    pub limit: Duration,
}

/// Measures; files are made beneath `work`. `progress` is told each turn.
///
/// # Errors
/// [`Failure`] if the lab or the disk fails; that a program does not do it is in the report.
pub fn measure(
    plan: &Plan,
    work: &Path,
    mut progress: impl FnMut(&str, &Run),
) -> Result<Report, Failure> {
    let wire = Wire::Emulated(Box::new(plan.link.clone()));
    let mut peers: Vec<PeerRuns> =
        plan.peers.iter().map(|peer| PeerRuns { name: peer.name(), runs: Vec::new() }).collect();
    for round in 0..plan.rounds {
        for (peer, runs) in plan.peers.iter().zip(&mut peers) {
            let settings = Settings { seed: plan.seed + u64::from(round), ..Settings::default() };
            let lab = Lab::start_with(&wire, settings)?;
            let directory = tempfile::tempdir_in(work)?;
            let scene = Scene::new(&lab, directory.path(), plan.limit)?;
            let mut run = Run::default();
            if let Err(error) = turn(plan, *peer, &scene, &mut run, u64::from(round)) {
                run.failure = Some(error.to_string());
            }
            progress(&peer.name(), &run);
            runs.runs.push(run);
        }
    }
    Ok(Report { link: plan.link.to_toml()?, versions: syncer::versions(), peers })
}

fn turn(
    plan: &Plan,
    peer: Syncer,
    scene: &Scene<'_>,
    run: &mut Run,
    round: u64,
) -> std::io::Result<()> {
    {
        let mut pair = peer.start(scene)?;
        edits::all(plan, (scene, peer), pair.as_mut(), run, round)?;
        pair.end()?;
    }
    if plan.scanned > 0 && peer.scans() {
        for tree in &scene.trees {
            fs::remove_dir_all(tree)?;
        }
        scans::all(plan, peer, scene, run)?;
    }
    Ok(())
}
