//! What repair symbols buy: objects of five sizes over links that lose, with and without them.
//!
//! Objects up to 10 MiB travel on a session that has carried something before, one by one; their
//! times are those of many. Larger ones have a session each, of which start-up is a part.

use crate::profile::{LinkProfile, Loss};
use crate::report::Report;
use crate::scenario::{HostProfile, Scenario, cell, warm};
use crate::world::{Failure, Speech, run};
use core::time::Duration;
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::units::{BitRate, Bytes, Ratio};

/// The link of the table.
const RATE: BitRate = BitRate::mbps(500);
const RTT: Duration = Duration::from_millis(200);
const POLICIES: [FecPolicy; 3] = [FecPolicy::Off, FecPolicy::Auto, FecPolicy::Always];
/// Objects of one session.
const OBJECTS: u32 = 50;

/// The head of the table.
pub const HEAD: &str = "| object | loss | off: median, p99 (sent) | auto: median, p99 (sent) | \
                        always: median, p99 (sent) | off/auto: median, p99 |\n\
                        |---|---|---|---|---|---|";

/// Plays the table with seeds 1 to `seeds`; answers its rows as each is done.
///
/// # Errors
/// If a run breaks a rule of the world: then no figure of it counts.
pub fn play(seeds: u64, mut row: impl FnMut(String)) -> Result<(), Failure> {
    let sizes = [
        ("64 KiB", Bytes::kib(64)),
        ("1 MiB", Bytes::mib(1)),
        ("10 MiB", Bytes::mib(10)),
        ("100 MiB", Bytes::mib(100)),
        ("1 GiB", Bytes::mib(1024)),
    ];
    let bursts = Loss::GilbertElliott { mean: Ratio::new(0.02), burst: 10.0 };
    let losses = [
        ("2 %", cell(RATE, RTT, 0.02)),
        ("5 %", cell(RATE, RTT, 0.05)),
        ("2 % in runs of 10", LinkProfile { loss: bursts, ..cell(RATE, RTT, 0.0) }),
    ];
    for (size, len) in sizes {
        for (loss, link) in &losses {
            let mut cells = Vec::new();
            for fec in POLICIES {
                cells.push(times(len, link, fec, seeds)?);
            }
            let [off, auto, always] = &cells[..] else { continue };
            row(format!(
                "| {size} | {loss} | {off} | {auto} | {always} | {:.2}, {:.2} |",
                off.median() / auto.median(),
                off.p99() / auto.p99()
            ));
        }
    }
    Ok(())
}

/// What the objects of one cell took, ascending, and the packets sent for each one needed.
struct Times {
    seconds: Vec<f64>,
    sent: f64,
}

impl Times {
    fn median(&self) -> f64 {
        self.seconds.get(self.seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn p99(&self) -> f64 {
        self.seconds.get(self.seconds.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }
}

impl core::fmt::Display for Times {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let worst = self.p99();
        write!(f, "{:.3} s, {worst:.3} s ({:.3})", self.median(), self.sent)
    }
}

fn times(len: Bytes, link: &LinkProfile, fec: FecPolicy, seeds: u64) -> Result<Times, Failure> {
    let one_session = len <= Bytes::mib(10);
    let (mut seconds, mut reports) = (Vec::new(), Vec::<Report>::new());
    for seed in 1..=seeds.max(1) {
        let mut scenario = if one_session {
            warm(seed, link.clone(), len, OBJECTS)
        } else {
            Scenario::one_way("fec", seed, link.clone(), &[len])
        };
        for host in &mut scenario.hosts {
            *host = HostProfile { fec, ..host.clone() };
        }
        let report = run(&scenario, Speech::Silent)?;
        let first = usize::from(one_session);
        seconds.extend(report.carried[0].iter().skip(first).map(Duration::as_secs_f64));
        reports.push(report);
    }
    seconds.sort_by(f64::total_cmp);
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    #[expect(clippy::cast_precision_loss, reason = "counts of packets")]
    let sent = sum(&|r| r.directions[0].data_packets) as f64
        / sum(&|r| r.directions[0].needed).max(1) as f64;
    Ok(Times { seconds, sent })
}
