//! The programs, and what a measurement needs of each of them.

use super::{farhauld, rsync, syncthing};
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::{Lab, Running, Site, Unavailable};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How often what changes slowly is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a program may take to start, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that keeps trees equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Syncer {
    /// Ourselves.
    Farhauld,
    /// Syncthing over TCP with BBR, told to wait for a second after a change, which is the least.
    Syncthing,
    /// The same as it comes: it waits for ten seconds.
    SyncthingDefault,
    /// rsync to an rsync daemon over BBR, started after each change.
    Rsync,
}

impl Syncer {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Farhauld, Self::Syncthing, Self::SyncthingDefault, Self::Rsync];

    /// Its name in reports.
    pub fn name(self) -> String {
        match self {
            Self::Farhauld => "farhauld".to_owned(),
            Self::Syncthing => "Syncthing, delay 1 s".to_owned(),
            Self::SyncthingDefault => "Syncthing".to_owned(),
            Self::Rsync => "rsync".to_owned(),
        }
    }

    /// Whether it is here.
    ///
    /// # Errors
    /// [`Unavailable::Program`].
    pub fn available(self) -> Result<(), Unavailable> {
        match self {
            Self::Farhauld => Ok(()),
            Self::Syncthing | Self::SyncthingDefault => program("syncthing").map(drop),
            Self::Rsync => program("rsync").map(drop),
        }
    }

    /// Whether its scans are measured: those of a program that only waits longer are the same.
    pub fn scans(self) -> bool {
        self != Self::SyncthingDefault
    }

    /// Whether it only is measured in what its waiting changes.
    pub fn is_latency_only(self) -> bool {
        self == Self::SyncthingDefault
    }

    /// Has it keep the two trees of a scene equal.
    ///
    /// # Errors
    /// If it does not start, or its sites do not meet.
    pub fn start<'a>(self, scene: &'a Scene<'_>) -> io::Result<Box<dyn Pair + 'a>> {
        Ok(match self {
            Self::Farhauld => Box::new(farhauld::FarhauldPair::start(scene)?),
            Self::Syncthing => Box::new(syncthing::SyncthingPair::start(scene, 1)?),
            Self::SyncthingDefault => Box::new(syncthing::SyncthingPair::start(scene, 10)?),
            Self::Rsync => Box::new(rsync::RsyncPair::start(scene)?),
        })
    }
}

/// Where a turn happens.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The two namespaces and the link.
    pub lab: &'a Lab,
    /// For whatever is needed besides the trees, on the same file system.
    pub work: PathBuf,
    /// The tree of site A, where changes are made, and that of site B.
    pub trees: [PathBuf; 2],
    /// How long anything may take.
    pub limit: Duration,
}

impl<'a> Scene<'a> {
    /// With empty trees beneath `work`.
    ///
    /// # Errors
    /// If they cannot be made, or TCP cannot be told to use BBR.
    pub fn new(lab: &'a Lab, work: &Path, limit: Duration) -> io::Result<Self> {
        let trees = ["a", "b"].map(|name| work.join("trees").join(name));
        for (site, tree) in Site::BOTH.into_iter().zip(&trees) {
            fs::create_dir_all(tree)?;
            let setting = "echo bbr > /proc/sys/net/ipv4/tcp_congestion_control";
            lab.run(site, Command::new("sh").args(["-c", setting]))?.succeeded()?;
        }
        Ok(Self { lab, work: work.to_owned(), trees, limit })
    }

    /// A directory or file beside the trees.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}

/// A program at both sites.
pub trait Pair {
    /// Brings what changed to the other site, if that has to be asked for.
    ///
    /// # Errors
    /// If it fails.
    fn bring(&mut self) -> io::Result<()>;

    /// Whether changes are brought without being asked for.
    fn is_live(&self) -> bool;

    /// Ends it.
    ///
    /// # Errors
    /// If it does not end.
    fn end(self: Box<Self>) -> io::Result<()>;
}

/// Waits until `met`.
///
/// # Errors
/// `TimedOut` with `what` after `limit`; those of `met`.
pub(crate) fn until(
    what: &str,
    limit: Duration,
    every: Duration,
    mut met: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let since = Instant::now();
    while !met()? {
        if since.elapsed() > limit {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: not so")));
        }
        thread::sleep(every);
    }
    Ok(())
}

/// Asks a program to end and waits for that.
///
/// # Errors
/// If it does not.
pub(super) fn end(running: Running) -> io::Result<()> {
    running.terminate()?;
    let limit = running.age() + PATIENCE;
    running.finish(limit).map(drop)
}

/// What the programs of others say of themselves.
pub fn versions() -> Vec<String> {
    ["syncthing", "rsync"].iter().filter_map(|name| version(name)).collect()
}

fn version(program: &str) -> Option<String> {
    let said = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&said.stdout).lines().next().map(str::to_owned)
}
