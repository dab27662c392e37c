//! Farhaul in a lab: one site serves a directory, the other sends to it and gets from it.
//!
//! Everything lies in one temporary directory, which goes with the [`Sites`]. The commands are
//! run as a user would run them; nothing here reaches into the product.

use crate::lab::Lab;
use crate::report::Report;
use crate::require::{Unavailable, binary};
use crate::run::{Finished, Running};
use crate::turn::Turn;
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::lab::Wire;
use farhaul_tools::wanem::profile::LabProfile;
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::site::Site;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a transfer may take before it counts as hung.
pub const TRANSFER_LIMIT: Duration = Duration::from_secs(25);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A host with a key pair of its own.
#[derive(Clone, Debug)]
pub struct Host {
    home: PathBuf,
    /// What `farhaul id` prints on it.
    pub id: String,
}

/// A lab with Farhaul in it.
#[derive(Debug)]
pub struct Sites {
    // Fields are dropped in this order: the lab before its turn is given back.
    /// The lab.
    pub lab: Lab,
    /// The host in site A.
    pub client: Host,
    /// The host in site B.
    pub server: Host,
    program: PathBuf,
    directory: TempDir,
    _turn: Turn,
}

impl Sites {
    /// Brings a lab up and gives each site a host; nobody serves yet.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// If the machine permits it and it fails all the same.
    pub fn start(profile: &LabProfile) -> Result<Self, Unavailable> {
        Self::start_in(profile, &std::env::temp_dir())
    }

    /// The same with all files beneath `parent`.
    ///
    /// # Errors
    /// As [`Sites::start`].
    ///
    /// # Panics
    /// As [`Sites::start`].
    pub fn start_in(profile: &LabProfile, parent: &Path) -> Result<Self, Unavailable> {
        Self::start_as(profile, parent, Settings::default())
    }

    /// The same with devices of another MTU than the usual one.
    ///
    /// # Errors
    /// As [`Sites::start`].
    ///
    /// # Panics
    /// As [`Sites::start`].
    pub fn start_with_mtu(profile: &LabProfile, mtu: u16) -> Result<Self, Unavailable> {
        let settings = Settings { mtu, ..Settings::default() };
        Self::start_as(profile, &std::env::temp_dir(), settings)
    }

    fn start_as(
        profile: &LabProfile,
        parent: &Path,
        settings: Settings,
    ) -> Result<Self, Unavailable> {
        let turn = Turn::take();
        let program = binary("farhaul");
        let wire = Wire::Emulated(Box::new(profile.clone()));
        let lab = Lab::start_with(&wire, settings)?;
        let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
        let client = make_host(&program, directory.path().join("client-home"));
        let server = make_host(&program, directory.path().join("server-home"));
        let sites = Self { lab, client, server, program, directory, _turn: turn };
        fs::create_dir(sites.root()).expect("a fresh directory");
        Ok(sites)
    }

    /// Another host, in whichever site it is used.
    ///
    /// # Panics
    /// If its key pair cannot be made.
    pub fn host(&self, name: &str) -> Host {
        make_host(&self.program, self.path(&format!("{name}-home")))
    }

    /// A place of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory that is served.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A file of the test's own.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a writable directory");
        path
    }

    /// Serves [`Sites::root`] to [`Sites::client`].
    ///
    /// # Panics
    /// If it does not start.
    pub fn serve(&self) -> Server {
        self.serve_with(&[&self.client], &[])
    }

    /// Serves [`Sites::root`] to `allowed`, with more options.
    ///
    /// # Panics
    /// If it does not start.
    pub fn serve_with(&self, allowed: &[&Host], options: &[&str]) -> Server {
        let mut command = Command::new(&self.program);
        self.arm(&mut command, allowed);
        command.args(options);
        self.serve_by(&command)
    }

    /// Serves by a command that ends up as `farhaul serve`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn serve_by(&self, command: &Command) -> Server {
        let mut running = self.lab.spawn(Site::B, command).expect("a server");
        match running.line() {
            Ok(line) => assert!(line.contains(&self.server.id), "{line}"),
            Err(_) => panic!("it does not serve: {:?}", running.finish(TRANSFER_LIMIT)),
        }
        Server(Some(running))
    }

    /// Gives `command` the arguments that make the server of these sites.
    pub fn arm(&self, command: &mut Command, allowed: &[&Host]) {
        let allowed: Vec<&str> = allowed.iter().map(|host| host.id.as_str()).collect();
        command.arg("serve").arg("--root").arg(self.root());
        command.arg("--home").arg(&self.server.home).args(["--allow", &allowed.join(",")]);
    }

    /// Where the `farhaul` of this build is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The server's `path`, as written on a command line.
    pub fn at_server(&self, path: &str) -> String {
        format!("{}@{}:{path}", self.server.id, Site::B.ipv4())
    }

    /// `farhaul VERB OPTIONS`, as `host`, which reports as JSON.
    pub fn command(&self, host: &Host, verb: &str, options: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args([verb, "--json", "--home"]).arg(&host.home).args(options);
        command
    }

    /// The command that sends `source` to `path` at the server.
    pub fn sending(&self, source: impl AsRef<OsStr>, path: &str, options: &[&str]) -> Command {
        let mut command = self.command(&self.client, "send", options);
        command.arg(source).arg(self.at_server(path));
        command
    }

    /// The command that gets `path` of the server into `dest`.
    pub fn getting(&self, path: &str, dest: impl AsRef<OsStr>, options: &[&str]) -> Command {
        let mut command = self.command(&self.client, "get", options);
        command.arg(self.at_server(path)).arg(dest);
        command
    }

    /// Starts a command in the client's site.
    ///
    /// # Panics
    /// If it does not start.
    pub fn begin(&self, command: &Command) -> Running {
        self.lab.spawn(Site::A, command).expect("it starts")
    }

    /// Runs a command in the client's site to its end.
    ///
    /// # Panics
    /// If it does not end within [`TRANSFER_LIMIT`].
    #[track_caller]
    pub fn run(&self, command: &Command) -> Finished {
        let finished = self.lab.run_within(Site::A, command, TRANSFER_LIMIT);
        finished.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Sends `source` to `path` at the server, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn send(&self, source: impl AsRef<OsStr>, path: &str, options: &[&str]) -> Report {
        succeeded(&self.run(&self.sending(source, path, options)))
    }

    /// Gets `path` of the server into `dest`, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn get(&self, path: &str, dest: impl AsRef<OsStr>, options: &[&str]) -> Report {
        succeeded(&self.run(&self.getting(path, dest, options)))
    }

    /// Waits until the journals in `root` note at least `blocks` blocks as received.
    ///
    /// # Panics
    /// If `transfer` ends, or nothing comes, before that.
    #[track_caller]
    pub fn await_blocks(&self, root: &Path, blocks: u64, transfer: &Running) {
        let met = until(|| noted_blocks(root) >= blocks || transfer.has_ended());
        assert!(met, "no {blocks} blocks within {TRANSFER_LIMIT:?}");
        assert!(!transfer.has_ended(), "the transfer ended before it could be disturbed");
    }

    /// Blocks UDP on its way out of the server's site, or lets it pass again; `ip` must be there.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn let_udp_pass(&self, passes: bool) {
        let verb = if passes { "del" } else { "add" };
        for family in ["-4", "-6"] {
            let mut command = Command::new("ip");
            command.args([family, "rule", verb, "ipproto", "udp", "priority", "1", "blackhole"]);
            let done = self.lab.run(Site::B, &command).expect("it runs");
            assert_eq!(done.usage.exit_code, 0, "{}", done.stderr);
        }
    }

    /// What `site` has sent by `protocol` since the lab came up: segments of TCP, or datagrams and
    /// trains of datagrams of UDP.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn sent(&self, site: Site, protocol: Protocol) -> u64 {
        let mut command = Command::new("cat");
        let table = self.lab.run(site, command.arg("/proc/net/snmp")).expect("it runs").stdout;
        counter(&table, protocol).unwrap_or_else(|| panic!("no {protocol:?} in {table}"))
    }

    /// Takes the link down for `span`, in one direction or both.
    ///
    /// # Panics
    /// If the lab does not answer.
    pub fn interrupt(&self, way: Way, span: Duration) {
        self.lab.change(way, "down = true").expect("a running lab");
        thread::sleep(span);
        self.lab.change(way, "down = false").expect("a running lab");
    }
}

/// A server; killed when dropped. What it said is shown when the test fails.
#[derive(Debug)]
pub struct Server(Option<Running>);

impl Server {
    /// The process.
    ///
    /// # Panics
    /// Never: it is taken by what consumes the server.
    pub fn running(&self) -> &Running {
        self.0.as_ref().expect("taken at the end only")
    }

    /// Kills it (SIGKILL).
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(mut self) {
        let running = self.0.take().expect("taken at the end only");
        running.kill().expect("our own child");
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// If it does not end within [`TRANSFER_LIMIT`] of now.
    pub fn stop(mut self) -> Finished {
        let running = self.0.take().expect("taken at the end only");
        running.terminate().expect("our own child");
        finish(running)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.0.take()
            && let Ok(finished) = running.kill()
            && thread::panicking()
        {
            eprintln!("the server said:\n{}", finished.stderr);
        }
    }
}

/// The end of a program that may run for [`TRANSFER_LIMIT`] from now on.
///
/// # Panics
/// If it does not end by then.
#[track_caller]
pub fn finish(running: Running) -> Finished {
    let limit = running.age() + TRANSFER_LIMIT;
    running.finish(limit).unwrap_or_else(|error| panic!("{error}"))
}

/// The report of a transfer that must have succeeded.
///
/// # Panics
/// If it did not, or its report lacks a field of the contract.
#[track_caller]
pub fn succeeded(finished: &Finished) -> Report {
    assert_eq!(finished.usage.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    match Report::parse(&finished.stdout) {
        Ok(report) => report,
        Err(error) => panic!("{error} in {}", finished.stdout),
    }
}

/// Fails the test unless the transfer ended with `code` and complained with each of `words`.
///
/// # Panics
/// If it did not.
#[track_caller]
pub fn assert_failed(finished: &Finished, code: i32, words: &[&str]) {
    let said = &finished.stderr;
    assert_eq!(finished.usage.exit_code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said:?}");
    }
}

/// Waits until `met`; false if it is not within [`TRANSFER_LIMIT`].
pub fn until(mut met: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !met() {
        if start.elapsed() > TRANSFER_LIMIT {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}

/// A protocol whose packets the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Of `/proc/net/snmp`: for each protocol a line of names and one of figures.
fn counter(table: &str, protocol: Protocol) -> Option<u64> {
    let (head, name) = match protocol {
        Protocol::Tcp => ("Tcp:", "OutSegs"),
        Protocol::Udp => ("Udp:", "OutDatagrams"),
    };
    let mut lines = table.lines().filter(|line| line.split(' ').next() == Some(head));
    let (names, figures) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|known| known == name)?;
    figures.split(' ').nth(at)?.parse().ok()
}

/// Blocks that the journals beneath `root` note as received: records of 44 bytes behind a head of
/// 64.
fn noted_blocks(root: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(root.join(".farhaul/staging")) else { return 0 };
    let journals = entries.flatten().map(|entry| entry.path());
    let journals = journals.filter(|path| path.extension() == Some(OsStr::new("journal")));
    let lengths = journals.filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len());
    lengths.map(|len| len.saturating_sub(64) / 44).sum()
}

fn make_host(program: &Path, home: PathBuf) -> Host {
    let mut command = Command::new(program);
    let running = Running::spawn(command.arg("id").arg("--home").arg(&home));
    let finished = running.and_then(|running| running.finish(TRANSFER_LIMIT)).expect("it ends");
    assert_eq!(finished.usage.exit_code, 0, "{}", finished.stderr);
    Host { home, id: finished.stdout.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_stands_below_its_name() {
        let table = "Tcp: RtoMin InSegs OutSegs\nTcp: 200 7 9\nUdp: InDatagrams OutDatagrams\n\
                     Udp: 3 4\nUdpLite: InDatagrams OutDatagrams\nUdpLite: 5 6\n";
        assert_eq!(counter(table, Protocol::Tcp), Some(9));
        assert_eq!(counter(table, Protocol::Udp), Some(4));
        assert_eq!(counter("Tcp: OutSegs\n", Protocol::Tcp), None);
    }
}
