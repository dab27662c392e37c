//! The programs that are measured, each driven as a person would: by its command line.
//!
//! Farhaul gets no other treatment than its peers. A sender runs in site A, a receiver in site B.

use super::content::same_content;
use farhaul_netem_tests::require::{binary, binary_of, program};
use farhaul_netem_tests::{Finished, Lab, Running, Site, Unavailable};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const FARHAUL_PORT: u16 = 4711;
const TCP_PORT: u16 = 5001;
const QUIC_PORT: u16 = 4712;
const RSYNC_PORT: u16 = 8730;
/// How long a receiver may take to listen, or to end after its sender.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After which silence rsync's processes give up, should they outlive us.
const RSYNC_TIMEOUT: Duration = Duration::from_secs(60);

/// A program that sends files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// Ourselves.
    Farhaul,
    /// A bare sender over the kernel's TCP with BBR.
    Bbr,
    /// The same with CUBIC.
    Cubic,
    /// rsync to an rsync daemon, over BBR.
    Rsync,
    /// One stream of a QUIC library, as it comes.
    Quinn,
}

/// One run's surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// Where it runs.
    pub lab: &'a Lab,
    /// The file or directory to send.
    pub source: &'a Path,
    /// True for a directory.
    pub tree: bool,
    /// A directory for what arrives and for settings.
    pub work: &'a Path,
    /// The sender is stopped after this.
    pub limit: Duration,
}

/// How a run ended that did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The sender was not done at the limit.
    #[error("stopped at the limit")]
    Stopped,
    /// Something broke, or took too long that is not the sending.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Both ends of a run that ended well.
#[derive(Clone, Debug)]
pub struct Ends {
    /// In site A.
    pub sender: Finished,
    /// In site B.
    pub receiver: Finished,
    /// Bytes at IP level that the sender says it sent.
    pub wire_bytes: Option<u64>,
}

impl Peer {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Farhaul => "farhaul",
            Self::Bbr => "tcp-bbr",
            Self::Cubic => "tcp-cubic",
            Self::Rsync => "rsync-bbr",
            Self::Quinn => "quinn-copy",
        }
    }

    /// Whether it can run here.
    ///
    /// # Errors
    /// [`Unavailable`], naming what is missing.
    pub fn available(self) -> Result<(), Unavailable> {
        match self {
            Self::Farhaul => farhaul_answers(&binary("farhaul")),
            Self::Bbr => congestion_available("bbr"),
            Self::Cubic => congestion_available("cubic"),
            Self::Rsync => {
                congestion_available("bbr")?;
                program("rsync").map(drop)
            }
            Self::Quinn => {
                binary_of("farhaul-benches", "quinn_copy");
                Ok(())
            }
        }
    }

    /// Whether it can send a tree.
    pub fn takes_trees(self) -> bool {
        matches!(self, Self::Farhaul | Self::Rsync)
    }

    /// Sends the file or tree once and checks that it arrived whole.
    ///
    /// # Errors
    /// [`Fault::Stopped`] at the limit; [`Fault::Failed`] with `InvalidData` if what arrived is not
    /// the same, else with what went wrong.
    pub fn run(self, transfer: &Transfer<'_>) -> Result<Ends, Fault> {
        let target = transfer.work.join("target");
        remake_directory(&target)?;
        let (ends, arrived) = match self {
            Self::Farhaul => farhaul(transfer, &target)?,
            Self::Bbr => tcp(transfer, &target, "bbr")?,
            Self::Cubic => tcp(transfer, &target, "cubic")?,
            Self::Rsync => rsync(transfer, &target)?,
            Self::Quinn => quinn(transfer, &target)?,
        };
        if !same_content(transfer.source, &arrived)? {
            let other = io::Error::new(io::ErrorKind::InvalidData, "what arrived is not the same");
            return Err(other.into());
        }
        Ok(ends)
    }
}

impl Transfer<'_> {
    /// Runs the sender in site A to its end, or to the limit.
    fn send(&self, command: &Command) -> Result<Finished, Fault> {
        let sender = self.lab.spawn(Site::A, command)?;
        match sender.finish(self.limit) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::Stopped),
            ended => Ok(ended?.succeeded()?),
        }
    }
}

/// Waits for a receiver whose sender has ended.
fn finish(receiver: Running) -> io::Result<Finished> {
    let limit = receiver.age() + PATIENCE;
    receiver.finish(limit)?.succeeded()
}

fn remake_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(path)
}

fn congestion_available(name: &str) -> Result<(), Unavailable> {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let known = fs::read_to_string(path).unwrap_or_default();
    if known.split_whitespace().any(|known| known == name) {
        return Ok(());
    }
    Err(Unavailable::Program(format!("the kernel's TCP congestion control {name}")))
}

/// The binary may exist before it can do anything.
fn farhaul_answers(farhaul: &Path) -> Result<(), Unavailable> {
    let home = tempfile::tempdir().map_err(|_| Unavailable::Program("a directory".to_owned()))?;
    let output = Command::new(farhaul).args(["id", "--home"]).arg(home.path()).output();
    match output {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => Ok(()),
        _ => Err(Unavailable::Program("farhaul with an `id` command".to_owned())),
    }
}

fn farhaul(transfer: &Transfer<'_>, target: &Path) -> Result<(Ends, PathBuf), Fault> {
    let pair = FarhaulPair::start(transfer.lab, transfer.work, target)?;
    let sender = transfer.send(pair.send(transfer.source, "").arg("--json"))?;
    let receiver = pair.server.kill()?;
    let said: serde_json::Value = sender
        .stdout
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let wire_bytes = said.get("wire_bytes_sent").and_then(serde_json::Value::as_u64);
    let arrived = target.join(transfer.source.file_name().unwrap_or_default());
    Ok((Ends { sender, receiver, wire_bytes }, arrived))
}

/// A server in site B, and what somebody in site A needs to know of it.
#[derive(Debug)]
pub struct FarhaulPair {
    farhaul: PathBuf,
    home: PathBuf,
    /// `ID@HOST:PORT`.
    at: String,
    /// The server.
    pub server: Running,
}

impl FarhaulPair {
    /// Starts a server for `target`; identities live in `work`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(lab: &Lab, work: &Path, target: &Path) -> io::Result<Self> {
        let farhaul = binary("farhaul");
        let [home, server_home] =
            Site::BOTH.map(|site| work.join(format!("home-{}", site.letter())));
        let id = identity(&farhaul, &home)?;
        let listen = format!("{}:{FARHAUL_PORT}", Site::B.ipv4());
        let mut serve = Command::new(&farhaul);
        serve.args(["serve", "--listen", &listen, "--allow", &id, "--root"]).arg(target);
        let mut server = lab.spawn(Site::B, serve.arg("--home").arg(server_home))?;
        // "listening on ADDR:PORT as ID"
        let line = server.line()?;
        let server_id = line.split_whitespace().next_back().unwrap_or_default();
        let at = format!("{server_id}@{listen}");
        Ok(Self { farhaul, home, at, server })
    }

    /// The command, for site A, that sends `source` to `path` below the server's root.
    pub fn send(&self, source: &Path, path: &str) -> Command {
        let mut send = Command::new(&self.farhaul);
        send.args(["send", "--home"]).arg(&self.home).arg(source);
        send.arg(format!("{}:{path}", self.at));
        send
    }
}

fn identity(farhaul: &Path, home: &Path) -> io::Result<String> {
    let output = Command::new(farhaul).args(["id", "--home"]).arg(home).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("farhaul id: {}", words.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn tcp(transfer: &Transfer<'_>, target: &Path, congestion: &str) -> Result<(Ends, PathBuf), Fault> {
    let arrived = target.join("file");
    let (receiver, send) = tcp_pair(transfer.lab, TCP_PORT, &arrived, transfer.source, congestion)?;
    let sender = transfer.send(&send)?;
    let receiver = finish(receiver)?;
    Ok((Ends { sender, receiver, wire_bytes: None }, arrived))
}

/// A receiver in site B that writes `arrived`, and the command, for site A, that sends `source`.
pub(crate) fn tcp_pair(
    lab: &Lab,
    port: u16,
    arrived: &Path,
    source: &Path,
    congestion: &str,
) -> io::Result<(Running, Command)> {
    let wanem = binary("wanem");
    let at = format!("{}:{port}", Site::B.ipv4());
    let mut receive = Command::new(&wanem);
    receive.args(["probe", "tcp-receive", &at, "--output"]).arg(arrived);
    let mut receiver = lab.spawn(Site::B, &receive)?;
    receiver.line()?;
    let mut send = Command::new(&wanem);
    send.args(["probe", "tcp-send", &at]).arg(source).args(["--congestion", congestion]);
    Ok((receiver, send))
}

fn quinn(transfer: &Transfer<'_>, target: &Path) -> Result<(Ends, PathBuf), Fault> {
    let quinn_copy = binary_of("farhaul-benches", "quinn_copy");
    let at = format!("{}:{QUIC_PORT}", Site::B.ipv4());
    let arrived = target.join("file");
    let mut receive = Command::new(&quinn_copy);
    receive.args(["receive", &at]).arg(&arrived);
    let mut receiver = transfer.lab.spawn(Site::B, &receive)?;
    let identity = receiver.line()?;
    let mut send = Command::new(&quinn_copy);
    send.args(["send", &at, identity.trim()]).arg(transfer.source);
    let sender = transfer.send(&send)?;
    let receiver = finish(receiver)?;
    Ok((Ends { sender, receiver, wire_bytes: None }, arrived))
}

fn rsync(transfer: &Transfer<'_>, target: &Path) -> Result<(Ends, PathBuf), Fault> {
    for site in Site::BOTH {
        let setting = "echo bbr > /proc/sys/net/ipv4/tcp_congestion_control";
        transfer.lab.run(site, Command::new("sh").args(["-c", setting]))?.succeeded()?;
    }
    let config = transfer.work.join("rsyncd.conf");
    let text = format!(
        "use chroot = no\nreverse lookup = no\ntimeout = {}\n[data]\npath = {}\nread only = no\n\
         uid = 0\ngid = 0\n",
        RSYNC_TIMEOUT.as_secs(),
        target.display()
    );
    fs::write(&config, text)?;
    let mut daemon = Command::new("rsync");
    daemon.args(["--daemon", "--no-detach", "--address", &Site::B.ipv4().to_string()]);
    daemon.args(["--port", &RSYNC_PORT.to_string(), "--config"]).arg(&config);
    let daemon = transfer.lab.spawn_group(Site::B, &daemon)?;
    await_listener(transfer.lab, RSYNC_PORT)?;
    let mut send = Command::new("rsync");
    send.args(["--whole-file", "--inplace"]);
    if transfer.tree {
        send.args(["--recursive", "--times", "--perms"]);
    }
    // A directory that is named goes into the one at the daemon, a file may get another name.
    let name = if transfer.tree { "" } else { "source" };
    send.arg(transfer.source).arg(format!("rsync://{}:{RSYNC_PORT}/data/{name}", Site::B.ipv4()));
    let sender = transfer.send(&send)?;
    let receiver = stop_daemon(daemon)?;
    Ok((Ends { sender, receiver, wire_bytes: None }, target.join("source")))
}

/// Ends rsync's daemon once it has waited for its children: what they used counts as its own then.
fn stop_daemon(daemon: Running) -> io::Result<Finished> {
    let since = Instant::now();
    while !daemon.is_childless()? {
        if since.elapsed() > PATIENCE {
            let words = "the receiver goes on though its sender has ended";
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        thread::sleep(LOOK_EVERY);
    }
    daemon.terminate()?;
    let limit = daemon.age() + PATIENCE;
    daemon.finish(limit)
}

/// Waits until something listens on `port` in site B, without touching it.
fn await_listener(lab: &Lab, port: u16) -> io::Result<()> {
    let since = Instant::now();
    // The kernel's table: local address with the port in hex, then state 0A, which is LISTEN.
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    while since.elapsed() < PATIENCE {
        let table = lab.run(Site::B, Command::new("cat").arg("/proc/net/tcp"))?;
        if table.stdout.contains(&wanted) {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver does not listen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_congestion_control_is_named_as_missing() {
        let error = congestion_available("none-such").expect_err("no kernel has it");
        assert!(error.to_string().contains("none-such"));
    }
}
