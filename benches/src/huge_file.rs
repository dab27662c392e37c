//! A file that is longer than the disk, between two sites over an emulated link: data at intervals,
//! holes in between, and as many entries in its list of chunks as an image without holes would have.
//!
//! The receiver is killed (SIGKILL) once half of the data lies in its staged file, and started again:
//! what counts then is the time until more of it does. What both sites take of memory is the most that
//! each process ever had, beside the same without the file.

pub mod islands;

use crate::failure::Failure;
use crate::memory::resident_max;
use crate::sync_beside::farhauld::FarhauldPair;
use crate::sync_beside::syncer::{Pair as _, Scene, until};
use farhaul_netem_tests::{Lab, LabProfile, Site};
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::lab::Wire;
pub use islands::Islands;
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often what stands at the receiver is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Name of the file.
const NAME: &str = "huge.img";

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file.
    pub islands: Islands,
    /// The link.
    pub link: LabProfile,
    /// Seed of the link and of the data.
    pub seed: u64,
    /// How long anything may take.
    pub limit: Duration,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Length of the file and of its data, in bytes.
    pub size: u64,
    /// See `size`.
    pub data: u64,
    /// Seconds until the receiver had staged the first of it.
    pub first_seconds: f64,
    /// Seconds from the start of the receiver that was killed until it had more than before.
    pub again_seconds: f64,
    /// Bytes that it had staged when it was killed.
    pub killed_at: u64,
    /// Seconds from when the file was put in the tree until it was whole at the receiver.
    pub whole_seconds: f64,
    /// The most memory that each site had without the file, in bytes: of A, of B.
    pub idle: [u64; 2],
    /// And with it.
    pub most: [u64; 2],
}

/// Carries the file from A to B; files lie beneath `work`.
///
/// # Errors
/// [`Failure`], also if what arrived is not what was sent.
pub fn measure(plan: &Plan, work: &Path) -> Result<Figures, Failure> {
    let wire = Wire::Emulated(Box::new(plan.link.clone()));
    let lab = Lab::start_with(&wire, Settings { seed: plan.seed, ..Settings::default() })?;
    let directory = tempfile::tempdir_in(work)?;
    let scene = Scene::new(&lab, directory.path(), plan.limit)?;
    let made = scene.aside(NAME);
    plan.islands.make(&made, plan.seed)?;
    let mut pair = FarhauldPair::start(&scene)?;
    let mut figures = Figures {
        size: plan.islands.size,
        data: plan.islands.data(),
        idle: memory_of(&pair)?,
        ..Figures::default()
    };
    let incoming = scene.trees[1].join(".farhaul/incoming");
    let [here, there] = [0, 1].map(|site: usize| scene.trees[site].join(NAME));
    let began = Instant::now();
    fs::rename(&made, &here)?;
    let staged = |at_least: u64| {
        until("data at the receiver", plan.limit, LOOK_EVERY, || {
            Ok(there.exists() || allocated(&incoming)? >= at_least)
        })
    };
    staged(1)?;
    figures.first_seconds = began.elapsed().as_secs_f64();
    staged(figures.data / 2)?;
    figures.most[1] = memory_of(&pair)?[1];
    pair.kill(Site::B)?;
    figures.killed_at = allocated(&incoming)?;
    let again = Instant::now();
    pair.start_again(&scene, Site::B)?;
    staged(figures.killed_at + 1)?;
    figures.again_seconds = again.elapsed().as_secs_f64();
    until("the whole file", plan.limit, LOOK_EVERY, || Ok(there.exists()))?;
    figures.whole_seconds = began.elapsed().as_secs_f64();
    let after = memory_of(&pair)?;
    figures.most = [after[0], after[1].max(figures.most[1])];
    Box::new(pair).end()?;
    islands::same(&here, &there)?;
    Ok(figures)
}

fn memory_of(pair: &FarhauldPair) -> io::Result<[u64; 2]> {
    Ok([resident_max(pair.pid(Site::A)?)?, resident_max(pair.pid(Site::B)?)?])
}

/// Bytes that the files of a directory have on disk; none where it is not there.
fn allocated(directory: &Path) -> io::Result<u64> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(0) };
    let mut blocks = 0;
    for entry in entries {
        // It may have its name in the tree by now.
        let found = entry.and_then(|entry| entry.metadata());
        blocks += found.map_or(0, |found| if found.is_file() { found.blocks() } else { 0 });
    }
    Ok(blocks * 512)
}
