//! Farhaul's site daemon, configured as a person would, with the defaults.

use super::local::Api;
use super::syncer::{LOOK_EVERY, PATIENCE, Pair, Scene, end, until};
use farhaul_netem_tests::require::{binary, binary_of};
use farhaul_netem_tests::{Running, Site};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder's id.
const FOLDER: &str = "tree";
const PORT: u16 = 7411;

/// Two sites that are connected: of [`Site::BOTH`], in that order, those that run.
#[derive(Debug)]
pub struct FarhauldPair {
    sites: [Option<Farhauld>; 2],
    ids: [String; 2],
}

impl FarhauldPair {
    /// Starts both, and waits until they have met and hear of changes.
    ///
    /// # Errors
    /// If they do not.
    pub fn start(scene: &Scene<'_>) -> io::Result<Self> {
        let ids = [identity(&home(scene, Site::A))?, identity(&home(scene, Site::B))?];
        let mut pair = Self { sites: [None, None], ids };
        for site in Site::BOTH {
            pair.start_again(scene, site)?;
        }
        for site in pair.sites.iter().flatten() {
            until("two sites are connected", PATIENCE, LOOK_EVERY, || site.is_connected())?;
            until("a first scan", PATIENCE, LOOK_EVERY, || Ok(site.scan_ended()?.is_some()))?;
        }
        Ok(pair)
    }

    /// Starts one that does not run, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_again(&mut self, scene: &Scene<'_>, site: Site) -> io::Result<()> {
        let there = usize::from(site == Site::A);
        let peer = (self.ids[there].as_str(), Site::BOTH[there]);
        let started = Farhauld::start(scene, site, &home(scene, site), Some(peer))?;
        self.sites[number(site)] = Some(started);
        Ok(())
    }

    /// Kills one (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, site: Site) -> io::Result<()> {
        let running = self.sites[number(site)].take().ok_or_else(stopped)?;
        running.running.kill().map(drop)
    }

    /// The process id of one.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self, site: Site) -> io::Result<u32> {
        self.sites[number(site)].as_ref().map(Farhauld::pid).ok_or_else(stopped)
    }
}

const fn number(site: Site) -> usize {
    match site {
        Site::A => 0,
        Site::B => 1,
    }
}

fn home(scene: &Scene<'_>, site: Site) -> PathBuf {
    scene.aside(&format!("farhauld-{}", site.letter()))
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "this site does not run")
}

impl Pair for FarhauldPair {
    fn bring(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn end(self: Box<Self>) -> io::Result<()> {
        self.sites.into_iter().flatten().try_for_each(Farhauld::end)
    }
}

/// One site.
#[derive(Debug)]
pub struct Farhauld {
    running: Running,
    api: Api,
}

impl Farhauld {
    /// Starts it in `site`, with a peer or alone; with the tree of that site.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(
        scene: &Scene<'_>,
        site: Site,
        home: &Path,
        peer: Option<(&str, Site)>,
    ) -> io::Result<Self> {
        fs::create_dir_all(home)?;
        let tree = &scene.trees[usize::from(site == Site::B)];
        let socket = home.join("api");
        let mut text = format!(
            "[site]\nname = '{}'\nstate = '{}'\nlisten = '0.0.0.0:{PORT}'\napi = 'unix:{}'\n\
             [[folder]]\nid = '{FOLDER}'\npath = '{}'\npeers = [{}]\nbrake = 'off'\n",
            site.letter(),
            home.join("state").display(),
            socket.display(),
            tree.display(),
            if peer.is_some() { "'other'" } else { "" },
        );
        if let Some((id, at)) = peer {
            let at = at.ipv4();
            text += &format!("[[peer]]\nname = 'other'\nid = '{id}'\naddress = '{at}:{PORT}'\n");
        }
        let config = home.join("farhauld.toml");
        fs::write(&config, text)?;
        let mut command = Command::new(binary_of("farhauld", "farhauld"));
        let running = scene.lab.spawn(site, command.arg("--config").arg(config))?;
        let api = Api::new(&socket, "");
        until("farhauld answers", PATIENCE, LOOK_EVERY, || Ok(api.get("/api/v1/status").is_ok()))?;
        Ok(Self { running, api })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    fn is_connected(&self) -> io::Result<bool> {
        Ok(self.api.get("/api/v1/status")?["peers"][0]["connected"] == true)
    }

    /// When its last scan ended, if one did and none runs.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn scan_ended(&self) -> io::Result<Option<String>> {
        let folder = self.api.get(&format!("/api/v1/folders/{FOLDER}"))?;
        let scan = &folder["scan"];
        let ended = scan["ended"].as_str().map(str::to_owned);
        Ok(ended.filter(|_| scan["running"] == false))
    }

    /// Has it scan, without waiting for the end.
    ///
    /// # Errors
    /// If it refuses.
    pub fn scan(&self) -> io::Result<()> {
        self.api.post(&format!("/api/v1/folders/{FOLDER}/scan"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(self) -> io::Result<()> {
        end(self.running)
    }
}

fn identity(home: &Path) -> io::Result<String> {
    let state: PathBuf = home.join("state");
    let mut command = Command::new(binary("farhaul"));
    command.args(["id", "--home"]).arg(state);
    let told = Running::spawn(&mut command)?.finish(PATIENCE)?.succeeded()?;
    Ok(told.stdout.trim().to_owned())
}
