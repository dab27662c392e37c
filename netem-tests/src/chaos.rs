//! Chaos: real daemons over an emulated WAN, users of their trees, faults, and an oracle that knows
//! every byte that was written.
//!
//! Actors do at each site what people and programs do to files; daemons are killed and links go
//! down and lose packets meanwhile. Then everything is mended and left alone until all sites say
//! that they are in sync and all trees are equal: names, contents, modes, times of files, links. What has
//! to be found by then is the oracle's rule, see [`oracle`]. A seed makes the same choices; what they
//! meet depends on the daemons, so that a run can be repeated but not replayed. What was done is in
//! the journal of the run.

pub mod actor;
pub mod dice;
pub mod faults;
pub mod net;
pub mod oracle;
pub mod site;
pub mod survey;
pub mod verdict;

use crate::require::Unavailable;
use actor::Actor;
use dice::Dice;
use net::{Between, Net};
use oracle::Oracle;
use site::{ChaosSite, Peering};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use verdict::{Quiet, Verdict};

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long trees have to be equal before they count as that.
const STABLE: Duration = Duration::from_secs(3);

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many.
    pub sites: usize,
    /// Who speaks to whom.
    pub peering: Peering,
    /// What lies between them.
    pub between: Between,
    /// How long actors are at work and faults happen.
    pub span: Duration,
    /// How long the sites may take to agree after that.
    pub patience: Duration,
    /// The longest pause between two acts at a site.
    pub pause: Duration,
    /// The longest pause between two faults.
    pub faults_pause: Duration,
    /// Whether actors change modes and times of files by themselves.
    pub metadata: bool,
    /// How often a site scans its tree, whatever it has heard.
    pub scan_every: Duration,
    /// Of all choices.
    pub seed: u64,
}

impl Plan {
    /// Two sites at 100 ms and 1 % for `span`.
    pub fn new(span: Duration, seed: u64) -> Self {
        Self {
            sites: 2,
            peering: Peering::All,
            between: Between { megabits: 200, rtt: Duration::from_millis(100), loss: 1.0 },
            span,
            patience: Duration::from_secs(300),
            pause: Duration::from_millis(200),
            faults_pause: Duration::from_secs(6),
            metadata: true,
            scan_every: Duration::from_secs(30),
            seed,
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// The machine does not permit it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The disk, the lab or a daemon could not be used.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Does it; trees, logs and the journal are left in `directory`.
///
/// # Errors
/// [`ChaosError`]; what is wrong with the product is in the verdict.
pub fn run(plan: &Plan, directory: &Path) -> Result<Verdict, ChaosError> {
    let net = Net::start(plan.sites, plan.between, plan.seed)?;
    let oracle = Oracle::new(&directory.join("journal.jsonl"))?;
    let (peering, scan) = (plan.peering, plan.scan_every);
    let mut sites = ChaosSite::make_all(directory, &net, plan.sites, peering, scan)?;
    for site in &mut sites {
        site.start(&net)?;
    }
    let over = AtomicBool::new(false);
    let trees: Vec<_> = sites.iter().map(|site| (site.number, site.tree())).collect();
    thread::scope(|scope| -> io::Result<()> {
        let (oracle, over) = (&oracle, &over);
        let at_work = trees.iter().map(|(number, tree)| {
            let actor = Actor::new(*number, tree, plan.seed, oracle);
            let mut actor = if plan.metadata { actor } else { actor.without_metadata() };
            let mut pauses = Dice::new(plan.seed, 200 + *number as u64);
            scope.spawn(move || -> io::Result<()> {
                while !over.load(Ordering::Relaxed) {
                    actor.act()?;
                    thread::sleep(pauses.span(Duration::ZERO, plan.pause));
                }
                Ok(())
            })
        });
        let at_work: Vec<_> = at_work.collect();
        let dice = Dice::new(plan.seed, 1);
        let spans = (plan.span, plan.faults_pause);
        let struck = faults::strike(&net, &mut sites, oracle, dice, spans);
        over.store(true, Ordering::Relaxed);
        for actor in at_work {
            actor.join().map_err(|_| io::Error::other("an actor panicked"))??;
        }
        struck
    })?;
    for site in &mut sites {
        net.set_down(site.number, false)?;
        net.set_loss(site.number, None)?;
        site.start(&net)?;
    }
    let quiet = settle(plan, &net, &mut sites, &oracle)?;
    let verdict = Verdict::new(plan, &sites, &oracle, &quiet)?;
    for site in &mut sites {
        site.kill()?;
    }
    Ok(verdict)
}

/// Waits until all sites agree and say so, and stay at that.
fn settle(plan: &Plan, net: &Net, sites: &mut [ChaosSite], oracle: &Oracle) -> io::Result<Quiet> {
    let began = Instant::now();
    let mut since: Option<(Instant, Vec<survey::Survey>)> = None;
    loop {
        let now = verdict::agreed(sites);
        since = match (since, now) {
            (Some((when, before)), Some(now)) if before == now => Some((when, before)),
            (_, now) => now.map(|now| (Instant::now(), now)),
        };
        if let Some((when, trees)) = since.take_if(|(when, _)| when.elapsed() >= STABLE) {
            return Ok(Quiet { after: Some(when.duration_since(began)), trees });
        }
        if began.elapsed() > plan.patience {
            return Ok(Quiet { after: None, trees: verdict::trees(sites)? });
        }
        faults::wait(net, sites, oracle, LOOK_EVERY)?;
    }
}
