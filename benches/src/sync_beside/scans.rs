//! How long a site takes for a tree that is there already: the first scan, a scan when nothing has
//! changed, and what it keeps in memory of each file.

use super::Plan;
use super::farhauld::Farhauld;
use super::report::Run;
use super::rsync::RsyncPair;
use super::syncer::{LOOK_EVERY, Pair, Scene, Syncer, until};
use super::syncthing::{Device, Syncthing, generate};
use crate::memory::resident;
use crate::side_by_side::content::Content;
use farhaul_netem_tests::Site;
use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of each file.
const EACH: u64 = 2 << 10;
/// Times of scans are told to the second.
const REST: Duration = Duration::from_millis(2200);

/// All figures of a peer. The trees of the scene are not there.
///
/// # Errors
/// If the program does not do it in time.
pub(super) fn all(plan: &Plan, peer: Syncer, scene: &Scene<'_>, run: &mut Run) -> io::Result<()> {
    match peer {
        Syncer::Farhauld => farhauld(plan, scene, run),
        Syncer::Syncthing | Syncer::SyncthingDefault => syncthing(plan, scene, run),
        Syncer::Rsync => rsync(plan, scene, run),
    }
}

fn make(plan: &Plan, scene: &Scene<'_>) -> io::Result<()> {
    Content::Tree { files: plan.scanned, each: EACH }.make(&scene.trees[0])
}

/// One site alone: first with no files, then with all of them.
fn farhauld(plan: &Plan, scene: &Scene<'_>, run: &mut Run) -> io::Result<()> {
    fs::create_dir_all(&scene.trees[0])?;
    let start = |name: &str| Farhauld::start(scene, Site::A, &scene.aside(name), None);
    let scanned = |site: &Farhauld| {
        until("a scan", scene.limit, LOOK_EVERY, || Ok(site.scan_ended()?.is_some()))
    };
    let empty = start("empty")?;
    scanned(&empty)?;
    let before = resident(empty.pid())?;
    empty.end()?;
    fs::remove_dir_all(&scene.trees[0])?;
    make(plan, scene)?;
    let began = Instant::now();
    let site = start("full")?;
    scanned(&site)?;
    run.first_scan_seconds = Some(began.elapsed().as_secs_f64());
    thread::sleep(REST);
    let first = site.scan_ended()?;
    let began = Instant::now();
    site.scan()?;
    until("a second scan", scene.limit, LOOK_EVERY, || {
        Ok(site.scan_ended()?.is_some_and(|ended| Some(ended) != first))
    })?;
    run.rescan_seconds = Some(began.elapsed().as_secs_f64());
    remember(plan, run, before, resident(site.pid())?);
    site.end()
}

fn syncthing(plan: &Plan, scene: &Scene<'_>, run: &mut Run) -> io::Result<()> {
    let start = |name: &str| {
        fs::create_dir_all(&scene.trees[0])?;
        let home = scene.aside(name);
        let device = Device::new(generate(&home)?, Site::A);
        Syncthing::start(scene, Site::A, &home, &[device], 1)
    };
    let empty = start("empty")?;
    until("a scan", scene.limit, LOOK_EVERY, || empty.is_idle())?;
    let before = resident(empty.pid()?)?;
    empty.end()?;
    fs::remove_dir_all(&scene.trees[0])?;
    make(plan, scene)?;
    let began = Instant::now();
    let site = start("full")?;
    until("a first scan", scene.limit, LOOK_EVERY, || {
        Ok(site.is_idle()? && site.files()? >= u64::from(plan.scanned))
    })?;
    run.first_scan_seconds = Some(began.elapsed().as_secs_f64());
    thread::sleep(REST);
    let began = Instant::now();
    site.scan()?;
    run.rescan_seconds = Some(began.elapsed().as_secs_f64());
    remember(plan, run, before, resident(site.pid()?)?);
    site.end()
}

/// Nothing is kept between two runs: the second of equal trees.
fn rsync(plan: &Plan, scene: &Scene<'_>, run: &mut Run) -> io::Result<()> {
    make(plan, scene)?;
    let mut copy = Command::new("cp");
    let copied = copy.arg("-a").args(&scene.trees).status()?;
    if !copied.success() {
        return Err(io::Error::other("cp cannot copy a tree"));
    }
    let pair = RsyncPair::start(scene)?;
    let done = pair.run()?;
    run.rescan_seconds = Some(done.elapsed.as_secs_f64());
    run.resident_mib = Some(mib(done.usage.resident_bytes_max));
    Box::new(pair).end()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn remember(plan: &Plan, run: &mut Run, before: u64, after: u64) {
    run.resident_mib = Some(mib(after));
    let more = after.saturating_sub(before);
    run.resident_bytes_per_file = Some(more as f64 / f64::from(plan.scanned));
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
