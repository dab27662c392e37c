//! How long it takes until a transfer travels over TCP where UDP does not carry it: blocked from
//! the beginning, blocked in the middle, or policed to next to nothing in the middle.

use crate::failure::Failure;
use farhaul_netem_tests::LabProfile;
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::sites::{Sites, succeeded};
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::selftest::write_noise;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often the link is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What is on its way over UDP has passed by then, and nothing new can have begun over TCP.
const QUIET_AFTER: Duration = Duration::from_secs(3);
/// The rate that the transfer is held to, so that it lasts.
const RATE: &str = "16Mbit/s";
/// Bytes of the file.
const SIZE: u64 = 32 << 20;
/// Bytes that crossed the link when UDP ends.
const BEGUN: u64 = 4 << 20;
/// Bytes in the quiet that only a transfer is.
const FLOWS: u64 = 256 << 10;
/// What is left of UDP.
const POLICED: &str = "policer = { rate = '40kbit/s', bucket = '4s' }\npolicer_spares_tcp = true";

/// What happens to UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// It never passes.
    Blocked,
    /// It passes, then no more.
    Dies,
    /// It passes, then next to nothing of it.
    Policed,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Switched {
    /// What happened to UDP.
    pub trouble: Trouble,
    /// Seconds until there was a session over TCP, from the first packet (blocked); until data
    /// flowed again, from the end of UDP (otherwise).
    pub seconds: f64,
    /// What the transfer said.
    pub reason: String,
}

/// Measures once, on a link with round trips of `rtt`; files live in `work`.
///
/// # Errors
/// [`Failure`].
///
/// # Panics
/// If Farhaul does not start, or the transfer fails.
pub fn measure(
    trouble: Trouble,
    rtt: Duration,
    limit: Duration,
    work: &Path,
) -> Result<Switched, Failure> {
    program("ip")?;
    let text = format!("rate = '100Mbit/s'\nrtt = '{}ms'\nqueue = '50ms'", rtt.as_millis());
    let sites = Sites::start_in(&LabProfile::from_toml(&text)?, work)?;
    let source = sites.path("source");
    write_noise(&source, SIZE)?;
    let _server = sites.serve();
    if trouble == Trouble::Blocked {
        sites.let_udp_pass(false);
    }
    let sender = sites.begin(&sites.sending(&source, "", &["--rate", RATE]));
    let after = match trouble {
        Trouble::Blocked => None,
        Trouble::Dies | Trouble::Policed => Some(until_data_flows_again(&sites, trouble, limit)?),
    };
    let report = succeeded(&sender.finish(limit)?);
    let seconds = after.map_or(report.connect_seconds, |after| after.as_secs_f64());
    Ok(Switched { trouble, seconds, reason: report.carrier_reason.unwrap_or_default() })
}

/// Ends UDP in the middle of a transfer.
fn until_data_flows_again(
    sites: &Sites,
    trouble: Trouble,
    limit: Duration,
) -> Result<Duration, Failure> {
    let crossed = || Ok::<_, Failure>(sites.lab.status()?.a_to_b.delivered_bytes);
    await_bytes(crossed, BEGUN, limit)?;
    let since = Instant::now();
    match trouble {
        Trouble::Policed => sites.lab.change(Way::Both, POLICED)?,
        Trouble::Blocked | Trouble::Dies => sites.let_udp_pass(false),
    }
    thread::sleep(QUIET_AFTER);
    let quiet = crossed()?;
    await_bytes(crossed, quiet + FLOWS, limit)?;
    Ok(since.elapsed())
}

fn await_bytes(
    crossed: impl Fn() -> Result<u64, Failure>,
    bytes: u64,
    limit: Duration,
) -> Result<(), Failure> {
    let since = Instant::now();
    while crossed()? < bytes {
        if since.elapsed() > limit {
            return Err(Failure::Late(limit));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A table for people: each kind of trouble, with median and range.
pub fn to_markdown(rtt: Duration, runs: &[Switched]) -> String {
    let mut text = String::from(
        "| UDP | RTT ms | seconds: median (min - max) | runs | said |\n|---|---|---|---|---|\n",
    );
    for (trouble, name) in [
        (Trouble::Blocked, "blocked"),
        (Trouble::Dies, "dies"),
        (Trouble::Policed, "policed to 40 kbit/s"),
    ] {
        let runs: Vec<&Switched> = runs.iter().filter(|run| run.trouble == trouble).collect();
        let seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
        let figures = farhaul_netem_tests::measure::median_min_max(&seconds);
        if let (Some([median, min, max]), Some(run)) = (figures, runs.first()) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {name} | {} | {median:.2} ({min:.2} - {max:.2}) | {} | {} |",
                rtt.as_millis(),
                runs.len(),
                run.reason
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_kind_of_trouble_that_was_measured() {
        let run = |seconds| Switched { trouble: Trouble::Dies, seconds, reason: "gone".to_owned() };
        let text = to_markdown(Duration::from_millis(60), &[run(9.0), run(7.0), run(8.5)]);
        assert!(text.ends_with("| dies | 60 | 8.50 (7.00 - 9.00) | 3 | gone |\n"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
