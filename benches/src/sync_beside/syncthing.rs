//! Syncthing over TCP, alone in its namespace: no discovery, relays, translators of addresses,
//! upgrades, reports or anything else that leaves it.

use super::local::Api;
use super::syncer::{LOOK_EVERY, PATIENCE, Pair, Scene, end, until};
use farhaul_netem_tests::{Running, Site};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

const PORT: u16 = 22_000;
const KEY: &str = "measured";

/// Two sites that are connected.
#[derive(Debug)]
pub struct SyncthingPair(Vec<Syncthing>);

impl SyncthingPair {
    /// Starts both, which wait for `delay` seconds after a change, and waits until they have met.
    ///
    /// # Errors
    /// If they do not.
    pub fn start(scene: &Scene<'_>, delay: u32) -> io::Result<Self> {
        let homes = Site::BOTH.map(|site| scene.aside(&format!("syncthing-{}", site.letter())));
        let devices = [
            Device::new(generate(&homes[0])?, Site::A),
            Device::new(generate(&homes[1])?, Site::B),
        ];
        let start =
            |(site, home): (Site, &PathBuf)| Syncthing::start(scene, site, home, &devices, delay);
        let sites =
            Site::BOTH.into_iter().zip(&homes).map(start).collect::<io::Result<Vec<_>>>()?;
        for (here, site) in sites.iter().enumerate() {
            let other = &devices[1 - here].id;
            until("two sites are connected", PATIENCE, LOOK_EVERY, || site.is_connected(other))?;
            until("a first scan", PATIENCE, LOOK_EVERY, || site.is_idle())?;
        }
        Ok(Self(sites))
    }
}

impl Pair for SyncthingPair {
    fn bring(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn end(self: Box<Self>) -> io::Result<()> {
        self.0.into_iter().try_for_each(Syncthing::end)
    }
}

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name by its key.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub at: Ipv4Addr,
}

impl Device {
    /// One at a site of a lab of two.
    pub fn new(id: String, site: Site) -> Self {
        Self { id, name: site.letter().to_string(), at: site.ipv4() }
    }
}

/// One site.
#[derive(Debug)]
pub struct Syncthing {
    running: Running,
    api: Api,
}

impl Syncthing {
    /// Starts it in `site`, with the tree of that site.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(
        scene: &Scene<'_>,
        site: Site,
        home: &Path,
        devices: &[Device],
        delay: u32,
    ) -> io::Result<Self> {
        let tree = &scene.trees[usize::from(site == Site::B)];
        let command = configured(home, tree, site.ipv4(), devices, delay)?;
        Self::run(home, |command| scene.lab.spawn_group(site, command), &command)
    }

    /// Starts it by a command that [`configured`] gave.
    ///
    /// # Errors
    /// If it does not start.
    pub fn run(
        home: &Path,
        spawn: impl FnOnce(&Command) -> io::Result<Running>,
        command: &Command,
    ) -> io::Result<Self> {
        let running = spawn(command)?;
        let api = Api::new(&home.join("api"), &format!("X-API-Key: {KEY}\r\n"));
        until("Syncthing answers", PATIENCE, LOOK_EVERY, || {
            Ok(api.get("/rest/system/status").is_ok())
        })?;
        Ok(Self { running, api })
    }

    /// The process that does the work: it may have been started by another one.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn pid(&self) -> io::Result<u32> {
        let pid = self.running.pid();
        // A child is the child of whichever thread started it.
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            if let Some(child) = children.split_whitespace().find_map(|pid| pid.parse().ok()) {
                return Ok(child);
            }
        }
        Ok(pid)
    }

    /// Whether it has met another one.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn is_connected(&self, other: &str) -> io::Result<bool> {
        Ok(self.api.get("/rest/system/connections")?["connections"][other]["connected"] == true)
    }

    /// Whether it does nothing in its folder.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn is_idle(&self) -> io::Result<bool> {
        Ok(self.status()?["state"] == "idle")
    }

    /// How many files it knows to be in its tree.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn files(&self) -> io::Result<u64> {
        Ok(self.status()?["localFiles"].as_u64().unwrap_or_default())
    }

    fn status(&self) -> io::Result<serde_json::Value> {
        self.api.get("/rest/db/status?folder=tree")
    }

    /// Has it scan, and waits for the end.
    ///
    /// # Errors
    /// If it fails.
    pub fn scan(&self) -> io::Result<()> {
        self.api.post("/rest/db/scan?folder=tree")
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(self) -> io::Result<()> {
        end(self.running)
    }
}

/// Makes a key at `home`, and tells the device's name.
///
/// # Errors
/// If it cannot be made.
pub fn generate(home: &Path) -> io::Result<String> {
    fs::create_dir_all(home)?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new("syncthing");
        command.args(arguments).arg("--home").arg(home).env("HOME", home);
        Running::spawn(&mut command)?.finish(PATIENCE)?.succeeded()
    };
    run(&["generate", "--no-default-folder", "--skip-port-probing"])?;
    Ok(run(&["--device-id"])?.stdout.trim().to_owned())
}

/// Writes the configuration of a device at `at`, which has a key at `home`, and gives the command that
/// runs it there.
///
/// # Errors
/// If its files cannot be read or written.
pub fn configured(
    home: &Path,
    tree: &Path,
    at: Ipv4Addr,
    devices: &[Device],
    delay: u32,
) -> io::Result<Command> {
    fs::create_dir_all(tree.join(".stfolder"))?;
    let made = fs::read_to_string(home.join("config.xml"))?;
    let version = made.split("version=\"").nth(1).and_then(|rest| rest.split('"').next());
    let version = version.ok_or_else(|| io::Error::other("a configuration without version"))?;
    let text = config(version, tree, &home.join("api"), at, devices, delay);
    fs::write(home.join("config.xml"), text)?;
    let mut command = Command::new("syncthing");
    command.args(["serve", "--no-browser", "--no-restart", "--no-upgrade"]);
    command.args(["--no-default-folder", "--home"]).arg(home);
    command.env("STNODEFAULTFOLDER", "1").env("HOME", home);
    Ok(command)
}

fn config(
    version: &str,
    tree: &Path,
    socket: &Path,
    at: Ipv4Addr,
    devices: &[Device],
    delay: u32,
) -> String {
    let shared: String =
        devices.iter().map(|device| format!("<device id=\"{}\"/>", device.id)).collect();
    let known: String = devices
        .iter()
        .map(|Device { id, name, at }| {
            format!(
                "<device id=\"{id}\" name=\"{name}\" compression=\"metadata\">\
                 <address>tcp://{at}:{PORT}</address><paused>false</paused></device>"
            )
        })
        .collect();
    format!(
        "<configuration version=\"{version}\">\
         <folder id=\"tree\" path=\"{tree}\" type=\"sendreceive\" rescanIntervalS=\"3600\" \
         fsWatcherEnabled=\"true\" fsWatcherDelayS=\"{delay}\">{shared}</folder>{known}\
         <gui enabled=\"true\" tls=\"false\"><address>{socket}</address>\
         <unixSocketPermissions>0600</unixSocketPermissions><apikey>{KEY}</apikey></gui>\
         <options><listenAddress>tcp://{at}:{PORT}</listenAddress>\
         <globalAnnounceEnabled>false</globalAnnounceEnabled>\
         <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled>\
         <natEnabled>false</natEnabled><urAccepted>-1</urAccepted><urSeen>3</urSeen>\
         <autoUpgradeIntervalH>0</autoUpgradeIntervalH>\
         <crashReportingEnabled>false</crashReportingEnabled><startBrowser>false</startBrowser>\
         <reconnectionIntervalS>1</reconnectionIntervalS><stunKeepaliveStartS>0</stunKeepaliveStartS>\
         <setLowPriority>false</setLowPriority></options></configuration>",
        tree = tree.display(),
        socket = socket.display(),
    )
}
