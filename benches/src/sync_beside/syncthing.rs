//! Syncthing over TCP, alone in its namespace: no discovery, relays, translators of addresses,
//! upgrades, reports or anything else that leaves it.

use super::local::Api;
use super::syncer::{LOOK_EVERY, PATIENCE, Pair, Scene, end, until};
use farhaul_netem_tests::{Running, Site};
use std::fs;
use std::io;
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
            Device { id: generate(&homes[0])?, site: Site::A },
            Device { id: generate(&homes[1])?, site: Site::B },
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
    /// Where it is.
    pub site: Site,
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
        fs::create_dir_all(tree.join(".stfolder"))?;
        let socket = home.join("api");
        let made = fs::read_to_string(home.join("config.xml"))?;
        let version = made.split("version=\"").nth(1).and_then(|rest| rest.split('"').next());
        let version = version.ok_or_else(|| io::Error::other("a configuration without version"))?;
        let text = config(version, tree, &socket, site, devices, delay);
        fs::write(home.join("config.xml"), text)?;
        let mut command = Command::new("syncthing");
        command.args(["serve", "--no-browser", "--no-restart", "--no-upgrade"]);
        command.args(["--no-default-folder", "--home"]).arg(home);
        command.env("STNODEFAULTFOLDER", "1").env("HOME", home);
        let running = scene.lab.spawn_group(site, &command)?;
        let api = Api::new(&socket, &format!("X-API-Key: {KEY}\r\n"));
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

    fn is_connected(&self, other: &str) -> io::Result<bool> {
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

fn config(
    version: &str,
    tree: &Path,
    socket: &Path,
    site: Site,
    devices: &[Device],
    delay: u32,
) -> String {
    let shared: String =
        devices.iter().map(|device| format!("<device id=\"{}\"/>", device.id)).collect();
    let known: String = devices
        .iter()
        .map(|Device { id, site }| {
            format!(
                "<device id=\"{id}\" name=\"{}\" compression=\"metadata\">\
                 <address>tcp://{}:{PORT}</address><paused>false</paused></device>",
                site.letter(),
                site.ipv4()
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
        at = site.ipv4(),
    )
}
