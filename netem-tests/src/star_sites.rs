//! `farhauld` at every site of a star, all peers of each other, configured as a person would.
//!
//! The first site is the source: others may read its export, and it may write to theirs. Targets may
//! read each other's. Orders go to the Unix sockets of the daemons, past the emulated links.

use crate::require::{binary, binary_of};
use crate::run::{Finished, Running};
use crate::star::Star;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 7411;
/// Longer than any machine that is only busy needs to start a site, or two sites to meet.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Sites that run, or were killed.
#[derive(Debug)]
pub struct StarSites<'a> {
    star: &'a Star,
    sites: Vec<StarSite>,
}

#[derive(Debug)]
struct StarSite {
    name: String,
    home: PathBuf,
    running: Option<Running>,
}

impl StarSite {
    fn config(&self) -> PathBuf {
        self.home.join("farhauld.toml")
    }

    fn farhaul(&self, words: &[&str]) -> io::Result<Finished> {
        let mut command = Command::new(binary("farhaul"));
        command.args(words).arg("--config").arg(self.config());
        Running::spawn(&mut command)?.finish(PATIENCE)
    }

    fn ask(&self, words: &[&str]) -> io::Result<Value> {
        let told = self.farhaul(words)?.succeeded()?;
        serde_json::from_str(&told.stdout).map_err(io::Error::other)
    }

    fn connected(&self) -> usize {
        let status = self.ask(&["status", "--json"]).unwrap_or_default();
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().filter(|peer| peer["connected"] == true).count()
    }
}

impl<'a> StarSites<'a> {
    /// Starts a site at each of a star's, with its files beneath `work`, and waits until all have met.
    ///
    /// # Errors
    /// If they do not.
    pub fn start(star: &'a Star, work: &Path) -> io::Result<Self> {
        let mut sites = Vec::new();
        let mut ids = Vec::new();
        for name in star.names() {
            let home = work.join(&name);
            fs::create_dir_all(home.join("images"))?;
            let mut command = Command::new(binary("farhaul"));
            command.args(["id", "--home"]).arg(home.join("state"));
            let told = Running::spawn(&mut command)?.finish(PATIENCE)?.succeeded()?;
            ids.push(told.stdout.trim().to_owned());
            sites.push(StarSite { name, home, running: None });
        }
        let mut all = Self { star, sites };
        for number in 0..all.sites.len() {
            fs::write(all.sites[number].config(), all.config(number, &ids)?)?;
            all.start_again(number)?;
        }
        let others = all.sites.len() - 1;
        for site in &all.sites {
            until(&format!("{} has met all others", site.name), || site.connected() == others)?;
        }
        Ok(all)
    }

    fn config(&self, number: usize, ids: &[String]) -> io::Result<String> {
        let StarSite { name, home, .. } = &self.sites[number];
        let mut text = format!(
            "[site]\nname = \"{name}\"\nstate = {:?}\nlisten = \"0.0.0.0:{PORT}\"\n\
             api = \"unix:{}\"\nbuffers = \"32 MiB\"\n",
            home.join("state"),
            home.join("api").display()
        );
        let mut readers = Vec::new();
        for (other, id) in self.sites.iter().zip(ids).filter(|(other, _)| other.name != *name) {
            let at = self.star.address(&other.name).map_err(io::Error::other)?;
            let peer = &other.name;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "[[peer]]\nname = \"{peer}\"\nid = \"{id}\"\naddress = \"{at}:{PORT}\""
            );
            readers.push(format!("\"{peer}\""));
        }
        let write = match number {
            0 => String::new(),
            _ => format!("write = [\"{}\"]\n", self.sites[0].name),
        };
        let (images, readers) = (home.join("images"), readers.join(", "));
        let _ = write!(
            text,
            "[[export]]\nname = \"images\"\npath = {images:?}\nread = [{readers}]\n{write}"
        );
        Ok(text)
    }

    /// Starts one that does not run, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_again(&mut self, number: usize) -> io::Result<()> {
        let site = &mut self.sites[number];
        let mut command = Command::new(binary_of("farhauld", "farhauld"));
        command.arg("--config").arg(site.config());
        site.running = Some(self.star.spawn(&site.name, &command)?);
        until(&format!("{} answers", site.name), || {
            site.farhaul(&["status"]).is_ok_and(|told| told.usage.exit_code == 0)
        })
    }

    /// Kills one (SIGKILL).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self, number: usize) -> io::Result<()> {
        self.sites[number].running.take().map_or(Ok(()), |running| running.kill().map(drop))
    }

    /// What is at `path` of a site's export.
    pub fn at(&self, number: usize, path: &str) -> PathBuf {
        self.sites[number].home.join("images").join(path)
    }

    /// Has the source distribute `path` of its export to the same path of all others.
    ///
    /// # Errors
    /// If it refuses.
    pub fn distribute(&self, job: &str, path: &str) -> io::Result<()> {
        let source = &self.sites[0];
        let targets: Vec<String> =
            self.sites[1..].iter().map(|site| format!("\"{}:images/{path}\"", site.name)).collect();
        let text = format!(
            "[job]\nname = \"{job}\"\nkind = \"distribute\"\nsource = \"{}:images/{path}\"\n\
             targets = [{}]\n",
            source.name,
            targets.join(", ")
        );
        let file = source.home.join(format!("{job}.toml"));
        fs::write(&file, text)?;
        source.farhaul(&["job", "create", &file.display().to_string()])?.succeeded().map(drop)
    }

    /// What the source says of a job.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn show(&self, job: &str) -> io::Result<Value> {
        self.sites[0].ask(&["job", "show", job, "--json"])
    }
}

/// Waits until `met`.
fn until(what: &str, mut met: impl FnMut() -> bool) -> io::Result<()> {
    let since = Instant::now();
    while !met() {
        if since.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: not so")));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
