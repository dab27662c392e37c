//! Three whole sites over loopback, one link with a cap, jobs of several weights and classes: how the link
//! is divided, as a series of times.
//!
//! `cargo run -p farhaul-netem-tests --bin shares > shares.csv`
//!
//! Jobs of weights 5, 3 and 1 (the last to another site) begin together; at 20 s one of weight 3 joins, at
//! 35 s one that is urgent. Lines are of each job, 10 times a second: seconds, job, wire bytes so far, rate
//! and share in bits per second, what limits it; what was found stands at the end, on standard error.

use clap::Parser;
use farhaul_netem_tests::require::{binary, binary_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["berlin", "tokyo", "austin"];
/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Name, to whom, weight, class, MiB, when it begins.
const JOBS: [(&str, &str, u32, &str, u32, u64); 5] = [
    ("five", "tokyo", 5, "normal", 300, 0),
    ("three", "tokyo", 3, "normal", 300, 0),
    ("one", "austin", 1, "normal", 300, 0),
    ("joins", "austin", 3, "normal", 12, 20),
    ("urgent", "austin", 1, "urgent", 20, 35),
];

/// Has three sites divide a link for a while.
#[derive(Debug, Parser)]
#[command(name = "shares")]
struct Arguments {
    /// What the link carries, in Mbit/s.
    #[arg(long, default_value_t = 40)]
    mbps: u64,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
}

/// A site; it ends with this.
struct Site {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The body of an answer of its API.
    fn ask(&self, method: &str, address: &str, body: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.path("api"))?;
        write!(
            stream,
            "{method} {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!("{address}: {answer}")));
        }
        Ok(body.to_owned())
    }
}

/// What was seen of one job at a moment.
struct Seen {
    at: f64,
    wire: BTreeMap<String, u64>,
}

type Failed = Box<dyn Error>;

fn start(mbps: u64) -> Result<Vec<Site>, Failed> {
    let mut sites = Vec::new();
    let sockets = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0"));
    let (mut ports, mut ids) = (Vec::new(), Vec::new());
    for socket in sockets {
        ports.push(socket?.local_addr()?.port());
        let dir = tempfile::tempdir()?;
        let state = dir.path().join("state");
        let told = Command::new(binary("farhaul")).arg("id").arg("--home").arg(state).output()?;
        ids.push(String::from_utf8(told.stdout)?.trim().to_owned());
        sites.push(Site { dir, child: None });
    }
    for (at, site) in sites.iter_mut().enumerate() {
        let (state, tree) = (site.path("state"), site.path("tree"));
        fs::create_dir(&tree)?;
        let mut text = format!(
            "[site]\nname = \"{}\"\nstate = {state:?}\nlisten = \"127.0.0.1:{}\"\n\
             api = \"unix:{}\"\nbuffers = \"64 MiB\"\n",
            NAMES[at],
            ports[at],
            site.path("api").display()
        );
        for other in (0..NAMES.len()).filter(|other| *other != at) {
            let (name, id, port) = (NAMES[other], &ids[other], ports[other]);
            text += &format!(
                "[[peer]]\nname = \"{name}\"\nid = \"{id}\"\naddress = \"127.0.0.1:{port}\"\n"
            );
        }
        let grants =
            if at == 0 { "read = [\"tokyo\", \"austin\"]" } else { "write = [\"berlin\"]" };
        text += &format!("[[export]]\nname = \"tree\"\npath = {tree:?}\n{grants}\n");
        if at == 0 {
            text += &format!("[[link]]\nname = \"wan\"\nup = \"{mbps} Mbit/s\"\n");
        }
        fs::write(site.path("farhauld.toml"), text)?;
        let mut command = Command::new(binary_of("farhauld", "farhauld"));
        command.arg("--config").arg(site.path("farhauld.toml"));
        site.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    }
    Ok(sites)
}

/// Bytes that no other file has.
fn write_noise(path: &Path, mib: u32, seed: u64) -> io::Result<()> {
    let (mut file, mut state) = (File::create(path)?, seed);
    for _ in 0..mib {
        let next = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        file.write_all(&next.take(1 << 20).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// Looks once, and prints what each job has.
fn look(berlin: &Site, at: f64) -> Result<Seen, Failed> {
    let view: Value = serde_json::from_str(&berlin.ask("GET", "/api/v1/links", "")?)?;
    let mut wire = BTreeMap::new();
    let sessions = view["links"][0]["over"].as_array().cloned().unwrap_or_default();
    for flow in sessions.iter().filter_map(|session| session["flows"].as_array()).flatten() {
        let Some(job) = flow["job"].as_str() else { continue };
        let (bytes, rate) = (flow["wire_bytes"].as_u64().unwrap_or(0), &flow["rate_bps"]);
        let (share, limit) = (&flow["share_bps"], flow["limited_by"].as_str().unwrap_or(""));
        let share = share.as_u64().map_or(String::new(), |share| share.to_string());
        println!("{at:.2},{job},{bytes},{rate},{share},{limit}");
        *wire.entry(job.to_owned()).or_default() += bytes;
    }
    Ok(Seen { at, wire })
}

/// By how much the first three jobs were off 5:3:1 over any 2 s while they were alone.
fn worst(seen: &[Seen]) -> f64 {
    let alone: Vec<&Seen> = seen.iter().filter(|it| (4.0..19.0).contains(&it.at)).collect();
    let mut worst = 0.0_f64;
    for (n, from) in alone.iter().enumerate() {
        let Some(to) = alone[n..].iter().find(|to| to.at - from.at >= 2.0) else { break };
        let of = |job: &str| {
            let wire = |seen: &Seen| seen.wire.get(job).copied().unwrap_or(0);
            f64::from(u32::try_from(wire(to) - wire(from)).unwrap_or(u32::MAX))
        };
        let all: f64 = JOBS[..3].iter().map(|(job, ..)| of(job)).sum();
        for (job, _, weight, ..) in &JOBS[..3] {
            worst = worst.max((of(job) / all * 9.0 / f64::from(*weight) - 1.0).abs());
        }
    }
    worst
}

fn run(arguments: &Arguments) -> Result<(), Failed> {
    let sites = start(arguments.mbps)?;
    let berlin = &sites[0];
    for (n, (job, _, _, _, mib, _)) in JOBS.iter().enumerate() {
        // A directory is read by one job at a time.
        let dir = berlin.path("tree").join(job);
        fs::create_dir(&dir)?;
        write_noise(&dir.join("noise"), *mib, n as u64 + 1)?;
    }
    while sites.iter().any(|site| site.ask("GET", "/api/v1/links", "").is_err()) {
        sleep(STEP);
    }
    sleep(Duration::from_secs(3));
    println!("seconds,job,wire_bytes,rate_bps,share_bps,limited_by");
    let (begun, mut seen, mut next) = (Instant::now(), Vec::new(), 0);
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        while let Some((job, to, weight, class, _, at)) = JOBS.get(next)
            && begun.elapsed() >= Duration::from_secs(*at)
        {
            let spec = json!({
                "name": job, "kind": "copy", "source": format!("berlin:tree/{job}"),
                "target": format!("{to}:tree/{job}"), "weight": weight, "class": class,
            });
            berlin.ask("POST", "/api/v1/jobs", &spec.to_string())?;
            next += 1;
        }
        seen.push(look(berlin, begun.elapsed().as_secs_f64())?);
        sleep(STEP);
    }
    eprintln!("5:3:1 within {:.1} % over any 2 s from 4 to 19 s", worst(&seen) * 100.0);
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shares: {error}");
            ExitCode::FAILURE
        }
    }
}
