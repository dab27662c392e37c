//! One image from one site to all others of a star, by several programs in turn, beside what the links
//! allow: when the last site has it whole, and what the source's uplink and each downlink carried.
//!
//! A B C A B C, as everywhere here. Each turn gets a fresh star whose seed depends on the round alone,
//! fresh sites and a fresh image. All programs are up and have met before the clock starts. The image
//! counts as arrived when it stands under its name in its full length, which each of these programs
//! gives it only once it is whole; its bytes are compared after the clock has stopped.

pub mod faults;
pub mod peers;
pub mod report;
mod rsync;
mod syncthing;

use crate::failure::Failure;
use crate::huge_file::islands::{Islands, same};
use farhaul_netem_tests::Star;
use farhaul_sim::profile::{LinkProfile, Loss};
use farhaul_sim::swarm::bound::least;
use farhaul_tools::wanem::star::profile::StarProfile;
use farhaul_tools::wanem::star::status::StarStatus;
use faults::Faults;
use peers::{Peer, Spreader};
use report::{Group, PeerRuns, Report, Run, Second};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How often the sites are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Chunks of the bound: what a site must have whole before it can pass it on.
const CHUNK: u64 = 1 << 20;
/// Name of the image.
pub(crate) const IMAGE: &str = "image";

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order, within each round.
    pub peers: Vec<Spreader>,
    /// How many targets; one group of turns for each number.
    pub targets: Vec<usize>,
    /// How often each.
    pub rounds: u32,
    /// The star; the first sites of it are used.
    pub star: StarProfile,
    /// Seed of the first round.
    pub seed: u64,
    /// The image.
    pub image: Islands,
    /// How long a turn may take.
    pub limit: Duration,
    /// Whether links flap and the source is killed meanwhile.
    pub faults: bool,
}

/// Where a turn happens.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The sites and links.
    pub star: &'a Star,
    /// For whatever is needed; each site has a directory of its name in it.
    pub work: PathBuf,
    /// The sites' names; the source is the first.
    pub names: Vec<String>,
    /// Whether the image is mostly holes.
    pub is_sparse: bool,
}

impl Scene<'_> {
    /// The directory in which a site has the image.
    pub fn images(&self, site: usize) -> PathBuf {
        self.work.join(&self.names[site]).join("images")
    }
}

/// Measures; files are made beneath `work`. `progress` is told each turn.
///
/// # Errors
/// [`Failure`] if the star or the disk fails; that a program does not do it is in the report.
pub fn measure(
    plan: &Plan,
    work: &Path,
    mut progress: impl FnMut(usize, &str, &Run),
) -> Result<Report, Failure> {
    let mut groups = Vec::new();
    for targets in &plan.targets {
        let star = plan.star.clone().first(targets + 1).map_err(io::Error::other)?;
        let mut peers: Vec<PeerRuns> = plan.peers.iter().map(PeerRuns::of).collect();
        let bound = bound(&star, plan.image.data());
        for round in 0..plan.rounds {
            for (peer, runs) in plan.peers.iter().zip(&mut peers) {
                let lab = Star::start(&star, plan.seed + u64::from(round))?;
                let directory = tempfile::tempdir_in(work)?;
                let mut run = Run { load: load(), ..Run::default() };
                if let Err(error) = turn(plan, *peer, (&lab, directory.path()), bound, &mut run) {
                    run.failure = Some(error.to_string());
                }
                progress(*targets, peer.name(), &run);
                runs.runs.push(run);
            }
        }
        groups.push(Group { targets: *targets, bound_seconds: bound, peers });
    }
    let (bytes, data) = (plan.image.size, plan.image.data());
    let versions = crate::sync_beside::syncer::versions();
    Ok(Report { star: plan.star.to_toml()?, bytes, data, faults: plan.faults, versions, groups })
}

fn turn(
    plan: &Plan,
    spreader: Spreader,
    (star, work): (&Star, &Path),
    bound: f64,
    run: &mut Run,
) -> io::Result<()> {
    let names = star.names();
    let is_sparse = plan.image.data() < plan.image.size;
    let scene = Scene { star, work: work.to_owned(), names, is_sparse };
    for (site, name) in scene.names.iter().enumerate() {
        fs::create_dir_all(scene.images(site))?;
        let setting = "echo bbr > /proc/sys/net/ipv4/tcp_congestion_control";
        star.run(name, Command::new("sh").args(["-c", setting]))?.succeeded()?;
    }
    let made = scene.work.join("made");
    plan.image.make(&made, plan.seed)?;
    let mut peer = spreader.start(&scene)?;
    fs::rename(&made, scene.images(0).join(IMAGE))?;
    let before = star.status().map_err(io::Error::other)?;
    let mut faults = Faults::new(plan.faults && spreader == Spreader::Farhauld, bound);
    let began = Instant::now();
    peer.begin()?;
    run.site_seconds = vec![None; scene.names.len() - 1];
    let ended = until_all_have_it(plan, &scene, peer.as_mut(), &mut faults, began, run);
    let after = star.status().map_err(io::Error::other)?;
    figures(&before, &after, plan.image.data(), run);
    ended?;
    run.seconds = Some(began.elapsed().as_secs_f64());
    for site in 1..scene.names.len() {
        same(&scene.images(0).join(IMAGE), &scene.images(site).join(IMAGE))?;
    }
    run.verified = true;
    Ok(())
}

fn until_all_have_it(
    plan: &Plan,
    scene: &Scene<'_>,
    peer: &mut dyn Peer,
    faults: &mut Faults,
    began: Instant,
    run: &mut Run,
) -> io::Result<()> {
    let before = scene.star.status().map_err(io::Error::other)?;
    loop {
        peer.tick()?;
        faults.tick(scene, peer, began)?;
        if began.elapsed().as_secs_f64() >= run.trace.last().map_or(0.0, |last| last.at + 1.0) {
            run.trace.push(since(&before, scene, began)?);
        }
        for (site, seconds) in run.site_seconds.iter_mut().enumerate() {
            let path = scene.images(site + 1).join(IMAGE);
            let is_there = || fs::metadata(&path).is_ok_and(|meta| meta.len() == plan.image.size);
            if seconds.is_none() && is_there() {
                *seconds = Some(began.elapsed().as_secs_f64());
            }
        }
        if run.site_seconds.iter().all(Option::is_some) {
            return Ok(());
        }
        if began.elapsed() > plan.limit {
            let words = format!("not at all sites after {:?}; {}", plan.limit, peer.said());
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What the links carried up to now.
fn since(before: &StarStatus, scene: &Scene<'_>, began: Instant) -> io::Result<Second> {
    let now = scene.star.status().map_err(io::Error::other)?;
    let pairs = || before.sites.iter().zip(&now.sites);
    let up = pairs().map(|(was, is)| is.up.wire_bytes - was.up.wire_bytes).collect();
    let down = pairs().map(|(was, is)| is.down.wire_bytes - was.down.wire_bytes).collect();
    Ok(Second { at: began.elapsed().as_secs_f64(), up, down })
}

/// What the links carried, and what the emulator took for it.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(before: &StarStatus, after: &StarStatus, data: u64, run: &mut Run) {
    let copies = |bytes: u64| bytes as f64 / data as f64;
    let pairs = || before.sites.iter().zip(&after.sites);
    run.source_copies =
        pairs().next().map(|(was, is)| copies(is.up.wire_bytes - was.up.wire_bytes));
    let uplinks = pairs().skip(1).map(|(was, is)| copies(is.up.wire_bytes - was.up.wire_bytes));
    run.other_up_copies = Some(uplinks.sum());
    run.down_copies =
        pairs().skip(1).map(|(was, is)| copies(is.down.wire_bytes - was.down.wire_bytes)).collect();
    let span = after.up_seconds - before.up_seconds;
    run.emulator_cpu = Some((after.hub.cpu_seconds - before.hub.cpu_seconds) / span.max(0.001));
    run.emulator_late_p99_us = after.hub.late_p99_us;
    run.emulator_own_drops = after.hub.own_drops.total() - before.hub.own_drops.total();
}

/// The least seconds that any schedule takes: what comes through a link is its rate less its loss.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn bound(star: &StarProfile, data: u64) -> f64 {
    let (source, targets) = star.sites.split_first().expect("a star has sites");
    let ups: Vec<f64> = targets.iter().map(|site| bytes_a_second(&site.up)).collect();
    let downs: Vec<f64> = targets.iter().map(|site| bytes_a_second(&site.down)).collect();
    let chunks = u32::try_from(data.div_ceil(CHUNK)).unwrap_or(u32::MAX);
    least(data as f64, bytes_a_second(&source.up), &ups, &downs, chunks)
}

fn bytes_a_second(link: &LinkProfile) -> f64 {
    let lost = match link.loss {
        Loss::None => 0.0,
        Loss::Bernoulli(share) => share.get(),
        Loss::GilbertElliott { mean, .. } => mean.get(),
    };
    link.rate.map_or(f64::INFINITY, |rate| rate.as_f64() / 8.0 * (1.0 - lost))
}

/// How many processes wanted a processor in the last minute.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_netem_tests::star::star8;

    #[test]
    fn the_bound_is_that_of_the_sources_uplink_until_the_swarm_helps_no_more() {
        let star = star8().first(5).expect("it has nine");
        // 64 MiB over 20 Mbit/s, and two steps of a 64th more from site to site.
        let wanted = f64::from(64 << 20) / 2.5e6 * (1.0 + 2.0 / 64.0);
        assert!((bound(&star, 64 << 20) - wanted).abs() < 1e-6);
    }
}
