//! How accurate the emulator is on this machine: real traffic through a real lab, compared with
//! what the profile promises.
//!
//! The bounds are those a measurement needs: rate within 1 %, round trip within 1 ms, loss within
//! four standard deviations, no packet out of order, twice or damaged unless asked for.

use super::client::{ClientError, LabProcess};
use super::probe::tcp::TcpReport;
use super::probe::udp::{ReceiveReport, RttReport, SendReport};
use super::profile::LabProfile;
use super::site::Site;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One property, measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was measured.
    pub name: &'static str,
    /// What it should be and what it was, for people.
    pub finding: String,
    /// Whether it is within its bound.
    pub passed: bool,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelftestError {
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] ClientError),
    /// A traffic tool could not be run.
    #[error("cannot run a traffic tool")]
    Io(#[from] io::Error),
    /// A traffic tool failed.
    #[error("a traffic tool failed: {0}")]
    Tool(String),
    /// A traffic tool printed something else than its result.
    #[error("unreadable result of a traffic tool")]
    Result(#[from] serde_json::Error),
    /// A profile of this module is wrong.
    #[error(transparent)]
    Profile(#[from] super::profile::ProfileError),
}

type Result<T> = std::result::Result<T, SelftestError>;

/// UDP payload of a full packet over IPv4.
const PAYLOAD: u64 = 1472;
const PORT: u16 = 9000;

/// A stream through the lab: what was sent and what arrived.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// At A.
    pub sent: SendReport,
    /// At B.
    pub received: ReceiveReport,
}

/// Sends a UDP stream from A to B; `rate` as wanem writes it, or none for full speed.
///
/// # Errors
/// [`SelftestError`].
pub fn stream(lab: &LabProcess, rate: Option<&str>, duration: Duration) -> Result<Streamed> {
    let at = format!("{}:{PORT}", Site::B.ipv4());
    let mut receiver = lab.probe(Site::B, "udp-receive");
    let receiver = start(receiver.args([&at, "--size", &PAYLOAD.to_string()]))?;
    let mut sender = lab.probe(Site::A, "udp-send");
    sender.args([&at, "--size", &PAYLOAD.to_string()]);
    sender.args(["--duration", &format!("{}ms", duration.as_millis())]);
    if let Some(rate) = rate {
        sender.args(["--rate", rate]);
    }
    let sent = result(Tool::spawn(&mut sender)?)?;
    Ok(Streamed { sent, received: result(receiver)? })
}

/// Sends `file` from A to B over the kernel's TCP into `output`.
///
/// # Errors
/// [`SelftestError`].
pub fn tcp(
    lab: &LabProcess,
    congestion: &str,
    file: &Path,
    output: Option<&Path>,
) -> Result<TcpReport> {
    let at = format!("{}:{PORT}", Site::B.ipv4());
    let mut receiver = lab.probe(Site::B, "tcp-receive");
    receiver.arg(&at);
    if let Some(output) = output {
        receiver.arg("--output").arg(output);
    }
    let receiver = start(&mut receiver)?;
    let mut sender = lab.probe(Site::A, "tcp-send");
    sender.arg(&at).arg(file).args(["--congestion", congestion]);
    let sent = result(Tool::spawn(&mut sender)?)?;
    let _: TcpReport = result(receiver)?;
    Ok(sent)
}

/// Round trips from A to B and back.
///
/// # Errors
/// [`SelftestError`].
pub fn round_trips(lab: &LabProcess, count: u32) -> Result<RttReport> {
    let at = format!("{}:{PORT}", Site::B.ipv4());
    let _echo = start(lab.probe(Site::B, "echo").arg(&at))?;
    let mut rtt = lab.probe(Site::A, "rtt");
    rtt.args([&at, "--count", &count.to_string()]);
    result(Tool::spawn(&mut rtt)?)
}

/// A traffic tool that ends with whoever holds it: a receiver would wait for ever for a sender that
/// failed.
struct Tool(Child);

impl Tool {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(Self)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a receiver and waits until it listens.
fn start(command: &mut Command) -> Result<Tool> {
    let mut tool = Tool::spawn(command)?;
    let mut ready = [0; 6];
    let announced = tool.0.stdout.as_mut().is_some_and(|out| out.read_exact(&mut ready).is_ok());
    if announced && ready == *b"ready\n" { Ok(tool) } else { Err(failure(&mut tool)) }
}

/// Waits for a tool and reads its last line.
fn result<T: DeserializeOwned>(mut tool: Tool) -> Result<T> {
    let mut last = String::new();
    if let Some(out) = tool.0.stdout.take() {
        for line in BufReader::new(out).lines() {
            last = line?;
        }
    }
    if last.is_empty() {
        return Err(failure(&mut tool));
    }
    tool.0.wait()?;
    Ok(serde_json::from_str(&last)?)
}

fn failure(tool: &mut Tool) -> SelftestError {
    let mut said = Vec::new();
    match tool.0.stderr.take().map(|mut stderr| stderr.read_to_end(&mut said)) {
        Some(Err(error)) => error.into(),
        _ => SelftestError::Tool(String::from_utf8_lossy(&said).trim().to_owned()),
    }
}

/// The round trip is the profile's, to 1 ms beyond what this machine adds by itself: each way three
/// threads are woken from idleness (the emulator by the packet and by its timer, then the other end),
/// which takes as long as a timer is late.
///
/// # Errors
/// [`SelftestError`].
pub fn check_round_trip(lab: &LabProcess) -> Result<Check> {
    let own = 6 * late_timer_us(Duration::from_millis(50));
    lab.set(&LabProfile::from_toml("rate = '500Mbit/s'\nrtt = '100ms'")?)?;
    let rtt = round_trips(lab, 50)?;
    let passed = rtt.min_us >= 100_000 && rtt.p50_us <= 101_000 + own;
    let finding = format!(
        "100 ms asked; min {}, median {}, max {} us; this machine adds up to {own} us",
        rtt.min_us, rtt.p50_us, rtt.max_us
    );
    Ok(Check { name: "round trip", finding, passed })
}

/// How late a timer of `span` wakes a thread on this machine now: the median of 21.
fn late_timer_us(span: Duration) -> u64 {
    let mut late: Vec<_> = (0..21)
        .map(|_| {
            let begun = Instant::now();
            std::thread::sleep(span);
            begun.elapsed().saturating_sub(span)
        })
        .collect();
    late.sort_unstable();
    u64::try_from(late[late.len() / 2].as_micros()).unwrap_or(u64::MAX)
}

/// The rate is the profile's, to 1 %, and nothing is lost twice, damaged or out of order.
///
/// # Errors
/// [`SelftestError`].
pub fn check_rate(lab: &LabProcess, duration: Duration) -> Result<Check> {
    lab.set(&LabProfile::from_toml("rate = '500Mbit/s'\nrtt = '100ms'\nqueue = '50ms'")?)?;
    let seen = stream(lab, Some("600Mbit/s"), duration)?.received;
    let error = seen.rate_median_bps / 500e6 - 1.0;
    let passed = error.abs() <= 0.01 && seen.reordered + seen.duplicates + seen.damaged == 0;
    let finding = format!(
        "500 Mbit/s asked, 600 offered; {:.2} came ({:+.2} %; {:.2} on average), \
         {} reordered, {} twice, {} damaged",
        seen.rate_median_bps / 1e6,
        error * 100.0,
        seen.rate_bps / 1e6,
        seen.reordered,
        seen.duplicates,
        seen.damaged
    );
    Ok(Check { name: "rate", finding, passed })
}

/// The loss is the profile's, within four standard deviations, and nothing is lost beside it.
///
/// # Errors
/// [`SelftestError`].
pub fn check_loss(lab: &LabProcess, duration: Duration) -> Result<Check> {
    lab.set(&LabProfile::from_toml("rate = '500Mbit/s'\nrtt = '100ms'\nloss = '2%'")?)?;
    let before = lab.status()?.a_to_b;
    let seen = stream(lab, Some("300Mbit/s"), duration)?;
    let after = lab.status()?.a_to_b;
    let link_dropped = after.offered - before.offered - (after.delivered - before.delivered);
    let missing = seen.sent.sent.saturating_sub(seen.received.received);
    let own = after.own_drops.total() - before.own_drops.total();
    let expected = count(seen.sent.sent) * 0.02;
    let deviation = (expected * 0.98).sqrt();
    // Marks of the stream's end are lost as well, hence the small allowance.
    let honest = missing <= link_dropped && link_dropped - missing <= 20;
    let passed = (count(missing) - expected).abs() <= 4.0 * deviation && honest && own == 0;
    let finding = format!(
        "2 % of {} asked: {expected:.0} +- {deviation:.0}; {missing} missing, {link_dropped} dropped \
         by the link, {own} by the emulator",
        seen.sent.sent
    );
    Ok(Check { name: "loss", finding, passed })
}

/// Duplicates, damage and reordering come when asked for, as often as asked for.
///
/// # Errors
/// [`SelftestError`].
pub fn check_mischief(lab: &LabProcess, duration: Duration) -> Result<Check> {
    let profile = "rtt = '20ms'\nduplicate = '1%'\ncorrupt = '1%'\nreorder = '1%'";
    lab.set(&LabProfile::from_toml(profile)?)?;
    let before = lab.status()?.a_to_b.reordered;
    let streamed = stream(lab, Some("100Mbit/s"), duration)?;
    let told = lab.status()?.a_to_b.reordered - before;
    let seen = streamed.received;
    let expected = count(streamed.sent.sent) * 0.01;
    let near = |n: u64| (count(n) - expected).abs() <= 4.0 * expected.sqrt() + 5.0;
    // Packets that are held back only a little are not overtaken.
    let reordered = count(seen.reordered) >= expected * 0.5
        && told.abs_diff(seen.reordered) <= seen.reordered / 20;
    let passed = near(seen.duplicates) && near(seen.damaged) && reordered;
    let finding = format!(
        "{expected:.0} of each asked; {} twice, {} damaged, {} reordered ({told} by own count)",
        seen.duplicates, seen.damaged, seen.reordered
    );
    Ok(Check { name: "mischief", finding, passed })
}

/// The kernel's TCP carries a file byte for byte, with loss, duplicates, damage and reordering.
///
/// # Errors
/// [`SelftestError`].
pub fn check_tcp(lab: &LabProcess, congestion: &str, directory: &Path) -> Result<Check> {
    let profile = "rate = '500Mbit/s'\nrtt = '10ms'\nloss = '0.1%'\nduplicate = '0.1%'\n\
                   corrupt = '0.1%'\nreorder = '0.1%'";
    lab.set(&LabProfile::from_toml(profile)?)?;
    let (source, target) = (directory.join("source"), directory.join("target"));
    write_noise(&source, 32 << 20)?;
    let sent = tcp(lab, congestion, &source, Some(&target))?;
    let passed = fs::read(&source)? == fs::read(&target)?;
    let finding = format!(
        "32 MiB over {} at {:.0} Mbit/s: {}",
        sent.congestion,
        sent.goodput_bps / 1e6,
        if passed { "equal" } else { "different" }
    );
    Ok(Check { name: "TCP byte for byte", finding, passed })
}

/// How much passes with segmentation offload and no rate limit: UDP and TCP.
///
/// # Errors
/// [`SelftestError`].
pub fn check_throughput(lab: &LabProcess, duration: Duration, directory: &Path) -> Result<Check> {
    lab.set(&LabProfile::from_toml("rate = '2Gbit/s'\nrtt = '20ms'\nqueue = '50ms'")?)?;
    let seen = stream(lab, Some("2100Mbit/s"), duration)?.received;
    let used = lab.status()?;
    lab.set(&LabProfile::from_toml("rtt = '2ms'")?)?;
    let file = directory.join("large");
    write_noise(&file, 1 << 30)?;
    let tcp = tcp(lab, "cubic", &file, None)?;
    fs::remove_file(&file)?;
    let passed = seen.rate_median_bps >= 1.98e9;
    let finding = format!(
        "2 Gbit/s asked: {:.2} UDP ({:.2} s CPU in all so far); without limit: {:.2} Gbit/s TCP",
        seen.rate_median_bps / 1e9,
        used.a_to_b.cpu_seconds + used.b_to_a.cpu_seconds,
        tcp.goodput_bps / 1e9
    );
    Ok(Check { name: "throughput", finding, passed })
}

/// Writes `len` bytes that do not compress.
///
/// # Errors
/// Any of the file.
pub fn write_noise(path: &Path, len: u64) -> io::Result<()> {
    let mut rng = farhaul_sim::rng::Rng::new(len);
    let mut block = vec![0u8; 1 << 16];
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    let mut left = len;
    while left > 0 {
        for word in block.as_chunks_mut::<8>().0 {
            *word = rng.next_u64().to_ne_bytes();
        }
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.flush()
}

#[expect(clippy::cast_precision_loss, reason = "packet counts stay far below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}
