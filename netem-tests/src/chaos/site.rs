//! A site of a run: a `farhauld` in a network namespace, with a tree and a state directory on disk.

use super::net::Net;
use crate::require::{binary, binary_of};
use crate::run::Running;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where sites listen.
const PORT: u16 = 7411;
/// How long a site may take to end after it was asked to.
const END_MAX: Duration = Duration::from_secs(30);
/// The folder's id.
const FOLDER: &str = "chaos";

/// A site, whether its daemon runs or not.
#[derive(Debug)]
pub struct ChaosSite {
    /// Its number.
    pub number: usize,
    home: PathBuf,
    daemon: Option<Running>,
}

/// Which sites are peers of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peering {
    /// Each of each.
    All,
    /// Each of the one before and the one behind it: what others did comes by way of them.
    Ring,
}

impl Peering {
    fn are_peers(self, one: usize, other: usize, sites: usize) -> bool {
        let is_next = (one + 1) % sites == other || (other + 1) % sites == one;
        one != other && (self == Self::All || is_next)
    }
}

impl ChaosSite {
    /// Sites with keys, trees and configurations beneath `directory`, none of which runs yet.
    ///
    /// # Errors
    /// If anything of that cannot be made.
    pub fn make_all(
        directory: &Path,
        net: &Net,
        sites: usize,
        peering: Peering,
        scan_every: Duration,
    ) -> io::Result<Vec<Self>> {
        let homes = (0..sites).map(|site| directory.join(format!("site-{site}")));
        let homes: Vec<PathBuf> = homes.collect();
        let mut ids = Vec::new();
        for home in &homes {
            fs::create_dir_all(home.join("tree"))?;
            ids.push(identity(&home.join("state"))?);
        }
        for (site, home) in homes.iter().enumerate() {
            let peers = (0..sites).filter(|other| peering.are_peers(site, *other, sites));
            let text = config(site, home, scan_every, peers.clone());
            let peers = peers.map(|other| {
                let address = net.address(other);
                let id = &ids[other];
                format!(
                    "[[peer]]\nname = 'site-{other}'\nid = '{id}'\naddress = '{address}:{PORT}'\n"
                )
            });
            fs::write(home.join("farhauld.toml"), peers.fold(text, |all, peer| all + &peer))?;
        }
        let site = |(number, home)| Self { number, home, daemon: None };
        Ok(homes.into_iter().enumerate().map(site).collect())
    }

    /// Where its tree is.
    pub fn tree(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Starts the daemon, if it does not run.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, net: &Net) -> io::Result<()> {
        if self.daemon.is_some() {
            return Ok(());
        }
        let mut command = Command::new("sh");
        let script = "exec \"$0\" --config \"$1\" >> \"$2\" 2>&1";
        command.args(["-c", script]).arg(binary_of("farhauld", "farhauld"));
        command.arg(self.home.join("farhauld.toml")).arg(self.log());
        let (lab, end) = net.place(self.number);
        self.daemon = Some(lab.spawn(end, &command)?);
        Ok(())
    }

    /// Whether the daemon ended though nobody asked it to.
    pub fn has_fallen(&self) -> bool {
        self.daemon.as_ref().is_some_and(Running::has_ended)
    }

    /// Kills the daemon (SIGKILL).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.daemon.take().map_or(Ok(()), |daemon| daemon.kill().map(drop))
    }

    /// Asks the daemon to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// If it does not.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        daemon.terminate()?;
        let limit = daemon.age() + END_MAX;
        daemon.finish(limit).map(drop)
    }

    /// What the site says of the folder.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn folder(&self) -> io::Result<Value> {
        self.ask(&["folder", "show"], &[FOLDER])
    }

    /// Why the site thinks that a path is as it is, in its own words.
    pub fn why(&self, path: &str) -> String {
        match self.ask(&["why"], &[FOLDER, path]) {
            Ok(why) => why.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// What is asked about may begin with a dash.
    fn ask(&self, words: &[&str], about: &[&str]) -> io::Result<Value> {
        let mut command = Command::new(binary("farhaul"));
        command.args(words).arg("--json").arg("--config").arg(self.home.join("farhauld.toml"));
        command.arg("--").args(about);
        let asked = Running::spawn(&mut command)?.finish(END_MAX)?.succeeded()?;
        let line = asked.stdout.lines().next().unwrap_or_default();
        serde_json::from_str(line).map_err(io::Error::other)
    }
}

fn identity(state: &Path) -> io::Result<String> {
    let mut command = Command::new(binary("farhaul"));
    command.args(["id", "--home"]).arg(state);
    let told = Running::spawn(&mut command)?.finish(END_MAX)?.succeeded()?;
    Ok(told.stdout.trim().to_owned())
}

/// All but the peers' own sections.
fn config(
    site: usize,
    home: &Path,
    scan_every: Duration,
    peers: impl Iterator<Item = usize>,
) -> String {
    let names: Vec<String> = peers.map(|other| format!("'site-{other}'")).collect();
    // Both ways of hearing of changes are tried.
    let watch = if site.is_multiple_of(2) { "inotify" } else { "auto" };
    let api = home.join("api");
    format!(
        "[site]\nname = 'site-{site}'\nstate = '{state}'\nlisten = '0.0.0.0:{PORT}'\n\
         api = 'unix:{api}'\nbuffers = '64 MiB'\n\
         [[folder]]\nid = '{FOLDER}'\npath = '{tree}'\npeers = [{names}]\nbrake = 'off'\n\
         scan-every = '{scan} s'\nwatch = '{watch}'\nroot-owned = 'as-said'\n",
        state = home.join("state").display(),
        api = api.display(),
        tree = home.join("tree").display(),
        names = names.join(", "),
        scan = scan_every.as_secs().max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_each_site_has_two_peers_and_two_sites_have_each_other() {
        let peers = |peering: Peering, sites| -> Vec<usize> {
            (0..sites).filter(|other| peering.are_peers(0, *other, sites)).collect()
        };
        assert_eq!(peers(Peering::Ring, 5), [1, 4]);
        assert_eq!(peers(Peering::All, 4), [1, 2, 3]);
        assert_eq!(peers(Peering::Ring, 2), [1]);
    }
}
