//! The victim: `farhaul serve` of this build on loopback, and an honest peer of it.

use farhaul_hostile::KitError;
use farhaul_hostile::peer::Peer;
use farhaul_hostile::site::{Site, id_of};
use farhaul_netem_tests::Running;
use farhaul_netem_tests::require::binary;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Sites of ours that the victim knows.
const SITES: usize = 160;
/// Bytes of the file that it offers.
const FILE_LEN: usize = 64 << 20;
/// Bytes of what the honest peer sends.
const HONEST_LEN: usize = 4 << 20;
/// How long an honest transfer may take on a busy machine.
const HONEST_LIMIT: Duration = Duration::from_secs(60);
/// What it sends at most, in bits per second (`--rate` below).
pub(crate) const RATE_BPS: u64 = 40_000_000;
/// The same, for shares of it.
pub(crate) const RATE: f64 = RATE_BPS as f64;
/// The name of the file that it offers.
pub(crate) const FILE: &[u8] = b"file";

pub(crate) struct Victim {
    pub(crate) addr: SocketAddr,
    id: [u8; 32],
    running: Running,
    sites: Mutex<Vec<Site>>,
    directory: TempDir,
    program: PathBuf,
    name: String,
    sent: AtomicU32,
}

impl Victim {
    pub(crate) fn start() -> Self {
        let program = binary("farhaul");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("root")).expect("a fresh directory");
        fs::create_dir(at("outside")).expect("a fresh directory");
        fs::write(at("outside/canary"), "alive").expect("a fresh file");
        fs::write(at("root/file"), noise()).expect("room for it");
        fs::write(at("honest"), pattern()).expect("room for it");
        let sites: Vec<Site> = (0..SITES).map(|_| Site::new().expect("a key")).collect();
        let mut allowed: Vec<String> = sites.iter().map(Site::name).collect();
        allowed.push(own_id(&program, &at("honest-home")));
        let mut command = Command::new(&program);
        command.arg("serve").arg("--root").arg(at("root")).arg("--home").arg(at("home"));
        command.args(["--listen", "127.0.0.1:0", "--rate", "40Mbit/s", "--policy", "fixed"]);
        command.args(["--allow", &allowed.join(",")]).env("FARHAUL_LOG", "error");
        let mut running = Running::spawn(&mut command).expect("it starts");
        let line = running.line().expect("it serves");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., addr, "as", name] = words[..] else { panic!("{line}") };
        let (addr, id) = (addr.parse().expect("an address"), id_of(name).expect("an id"));
        let (name, sent) = (name.to_owned(), AtomicU32::new(0));
        Self { addr, id, running, sites: Mutex::new(sites), directory, program, name, sent }
    }

    /// A site that it knows, and that nobody used yet.
    pub(crate) fn site(&self) -> Site {
        self.sites.lock().expect("no test panics in there").pop().expect("enough sites")
    }

    /// A session with it, of a fresh site.
    pub(crate) async fn peer(&self) -> Result<Peer, KitError> {
        self.peer_of(&self.site()).await
    }

    pub(crate) async fn peer_of(&self, site: &Site) -> Result<Peer, KitError> {
        Peer::connect(site, self.addr, &self.id).await
    }

    /// A file is sent to it by the product itself, and must arrive as it was.
    pub(crate) fn honest_transfer(&self) -> Result<(), String> {
        let name = format!("honest-{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(&self.program);
        command.args(["send", "--home"]).arg(self.directory.path().join("honest-home"));
        command.arg(self.directory.path().join("honest"));
        command.arg(format!("{}@{}:{name}", self.name, self.addr));
        let running = Running::spawn(&mut command).map_err(|error| error.to_string())?;
        let finished = running.finish(HONEST_LIMIT).map_err(|error| error.to_string())?;
        if finished.usage.exit_code != 0 {
            return Err(finished.stderr);
        }
        let arrived = fs::read(self.directory.path().join("root").join(&name).join("honest"));
        let arrived = arrived.map_err(|error| error.to_string())?;
        if arrived == pattern() { Ok(()) } else { Err("it arrived damaged".to_owned()) }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.running.has_ended()
    }

    /// What of it lies in memory.
    pub(crate) fn resident_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(u64::MAX) >> 10
    }

    /// Whether anything beside its root was touched.
    pub(crate) fn outside(&self) -> &'static str {
        let outside = self.directory.path().join("outside");
        let names = fs::read_dir(&outside).map_or(0, Iterator::count);
        let is_alive = fs::read(outside.join("canary")).is_ok_and(|canary| canary == b"alive");
        let escaped = Path::new("/tmp/farhaul-escaped").exists();
        if names == 1 && is_alive && !escaped { "untouched" } else { "TOUCHED" }
    }
}

fn pattern() -> Vec<u8> {
    (0..HONEST_LEN).map(|at| (at / 7 + at / 4099).to_le_bytes()[0]).collect()
}

/// What no packing shrinks.
fn noise() -> Vec<u8> {
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let words = (0..FILE_LEN / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// Makes a host and says its name.
fn own_id(program: &Path, home: &Path) -> String {
    let output = Command::new(program).arg("id").arg("--home").arg(home).output();
    String::from_utf8_lossy(&output.expect("it runs").stdout).trim().to_owned()
}
