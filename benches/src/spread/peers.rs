//! The programs, and what a turn needs of each of them.

use super::rsync::{Order, RsyncPeer};
use super::syncthing::SyncthingPeer;
use super::{IMAGE, Scene};
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::{StarSites, Unavailable};
use std::io;

/// Name of Farhaul's job.
const JOB: &str = "spread";

/// A program, and how it is told to bring an image to many sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spreader {
    /// Ourselves: a job of the kind `distribute`, all sites peers of each other.
    Farhauld,
    /// rsync to an rsync daemon over BBR, one target after the other.
    Rsync,
    /// The same to all targets at once.
    RsyncParallel,
    /// Syncthing over TCP with BBR, a folder of all sites, told to scan when the clock starts.
    Syncthing,
}

impl Spreader {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Farhauld, Self::Rsync, Self::RsyncParallel, Self::Syncthing];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Farhauld => "farhauld",
            Self::Rsync => "rsync, one by one",
            Self::RsyncParallel => "rsync, all at once",
            Self::Syncthing => "Syncthing",
        }
    }

    /// Whether it is here.
    ///
    /// # Errors
    /// [`Unavailable::Program`].
    pub fn available(self) -> Result<(), Unavailable> {
        match self {
            Self::Farhauld => Ok(()),
            Self::Rsync | Self::RsyncParallel => program("rsync").map(drop),
            Self::Syncthing => program("syncthing").map(drop),
        }
    }

    /// Has it run at all sites of a scene, without the image.
    ///
    /// # Errors
    /// If it does not start, or its sites do not meet.
    pub fn start<'a>(self, scene: &'a Scene<'_>) -> io::Result<Box<dyn Peer + 'a>> {
        Ok(match self {
            Self::Farhauld => Box::new(FarhauldPeer(StarSites::start(scene.star, &scene.work)?)),
            Self::Rsync => Box::new(RsyncPeer::start(scene, Order::OneByOne)?),
            Self::RsyncParallel => Box::new(RsyncPeer::start(scene, Order::AllAtOnce)?),
            Self::Syncthing => Box::new(SyncthingPeer::start(scene)?),
        })
    }
}

/// A program at all sites.
pub trait Peer {
    /// Has it bring the image, which stands at the source.
    ///
    /// # Errors
    /// If it refuses.
    fn begin(&mut self) -> io::Result<()>;

    /// Looks after it.
    ///
    /// # Errors
    /// If it gave up.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What it says of itself, for people.
    fn said(&self) -> String {
        String::new()
    }

    /// Kills it at the source.
    ///
    /// # Errors
    /// If that cannot be done.
    fn kill_source(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts it again there.
    ///
    /// # Errors
    /// If it does not start.
    fn restart_source(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct FarhauldPeer<'a>(StarSites<'a>);

impl Peer for FarhauldPeer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.0.distribute(JOB, IMAGE)
    }

    fn said(&self) -> String {
        self.0.show(JOB).map_or_else(|error| error.to_string(), |job| job.to_string())
    }

    fn kill_source(&mut self) -> io::Result<()> {
        self.0.kill(0)
    }

    fn restart_source(&mut self) -> io::Result<()> {
        self.0.start_again(0)
    }
}
