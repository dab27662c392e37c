//! What each stage of the path of a byte costs, in cycles of the processor's nominal clock.
//!
//! `cargo bench -p farhaul-benches --bench stages`; the files lie in memory where there is
//! `/dev/shm`. One thread does both ends, so that the caches are kinder than they are to two
//! processes; what is missing is hand-overs between threads.

use farhaul_benches::stages::{Carried, Meter, Stage, carry};
use farhaul_proto::units::Bytes;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the files.
const SPAN: Bytes = Bytes::mib(256);
/// Bytes carried.
const LEN: Bytes = Bytes::mib(1024);
/// Of so many rounds each stage's fastest counts.
const ROUNDS: usize = 5;

/// Time by stage.
struct Clock {
    last: Instant,
    spent: [Duration; Stage::ALL.len()],
}

impl Meter for Clock {
    fn done(&mut self, stage: Stage) {
        let now = Instant::now();
        self.spent[stage as usize] += now - self.last;
        self.last = now;
    }
}

fn main() -> io::Result<()> {
    let shm = Path::new("/dev/shm");
    let home = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let home = tempfile::tempdir_in(home)?;
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::write(&from, vec![7; SPAN.as_len()])?;
    fs::write(&to, vec![0; SPAN.as_len()])?;
    let mut best = [Duration::MAX; Stage::ALL.len()];
    let mut carried = Carried::default();
    for _ in 0..ROUNDS {
        let mut clock = Clock { last: Instant::now(), spent: [Duration::ZERO; Stage::ALL.len()] };
        carried = carry((&from, &to), SPAN, LEN, &mut clock)?;
        for (best, spent) in best.iter_mut().zip(clock.spent) {
            *best = spent.min(*best);
        }
    }
    print(&best, &carried);
    Ok(())
}

/// The clock that the processor counts in, if the system tells.
fn nominal_ghz() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.split(':').nth(1)?.trim().parse::<f64>().ok()? / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print(best: &[Duration], carried: &Carried) {
    let bytes = carried.bytes as f64;
    let ghz = nominal_ghz();
    let row = |name: &str, spent: Duration| {
        let per_gb = spent.as_secs_f64() / bytes * 1e9;
        let cycles = ghz.map_or_else(String::new, |ghz| format!("{:8.2}", per_gb * ghz));
        println!("{name:10} {per_gb:8.3} s/GB {cycles} cycles a byte");
    };
    let mut sides = [Duration::ZERO; 2];
    for (stage, &spent) in Stage::ALL.iter().zip(best) {
        row(&format!("{stage:?}").to_lowercase(), spent);
        sides[usize::from(!stage.is_sending())] += spent;
    }
    row("SENDER", sides[0]);
    row("RECEIVER", sides[1]);
    let each = |calls: u64| carried.packets as f64 / calls.max(1) as f64;
    println!(
        "{} packets; {:.1} to a send call, {:.1} to a receive call, {:.0} to a report",
        carried.packets,
        each(carried.sends),
        each(carried.receives),
        each(carried.reports)
    );
}
