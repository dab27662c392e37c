//! How long it takes until a transfer travels over TCP where UDP does not carry it: blocked from
//! the beginning, blocked in the middle, or policed to next to nothing in the middle; and over UDP
//! again, once that passes.

use crate::failure::Failure;
use farhaul_netem_tests::measure::median_min_max;
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::sites::{Protocol, Sites, succeeded};
use farhaul_netem_tests::{LabProfile, Site};
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::selftest::write_noise;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often the kernel's counters are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The rate that the transfer is held to, so that it lasts.
const RATE: &str = "40Mbit/s";
/// Bytes of the file: seconds over UDP, until UDP is asked again over TCP, and as many behind that
/// as make it worth while to go back.
const SIZE: u64 = 80 << 20;
/// Bytes that crossed the link when UDP ends.
const BEGUN: u64 = 4 << 20;
/// Segments of TCP, or sends of UDP, within the looks of a second, that only a transfer makes.
const FLOWS: u64 = 100;
/// How often UDP is asked whether it answers again; it is part of the time until the way back.
const UDP_AGAIN: &str = "5s";
/// What is left of UDP.
const POLICED: &str = "policer = { rate = '40kbit/s', bucket = '4s' }\npolicer_spares_tcp = true";

/// What happens to UDP, before it passes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// It does not pass from the beginning.
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
    /// Seconds until data flowed over TCP, from the start (blocked) or from the end of UDP.
    pub to_tcp_seconds: f64,
    /// Seconds until data flowed over UDP, from when it passed again.
    pub to_udp_seconds: f64,
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
    let options = ["--rate", RATE, "--udp-again", UDP_AGAIN];
    let sender = sites.begin(&sites.sending(&source, "", &options));
    let flowed = follow(&sites, trouble, limit);
    let [to_tcp, to_udp] = match flowed {
        Ok(flowed) => flowed,
        Err(Failure::Stuck { what, limit, .. }) => {
            let ended = sender.kill()?;
            let said = [ended.stdout, ended.stderr].concat();
            return Err(Failure::Stuck { what, limit, said });
        }
        Err(failure) => return Err(failure),
    };
    let age = sender.age();
    succeeded(&sender.finish(age + limit)?);
    Ok(Switched {
        trouble,
        to_tcp_seconds: to_tcp.as_secs_f64(),
        to_udp_seconds: to_udp.as_secs_f64(),
    })
}

/// Takes UDP away from a transfer that has just begun and gives it back: the times until data
/// flowed over TCP, and over UDP again.
fn follow(sites: &Sites, trouble: Trouble, limit: Duration) -> Result<[Duration; 2], Failure> {
    if trouble != Trouble::Blocked {
        let begun = || Ok(sites.lab.status()?.a_to_b.delivered_bytes >= BEGUN);
        until(begun, "nothing crossed the link", limit)?;
    }
    let ended = Instant::now();
    let plain = "policer = 'none'\npolicer_spares_tcp = false";
    match trouble {
        Trouble::Blocked => {}
        Trouble::Dies => sites.let_udp_pass(false),
        Trouble::Policed => sites.lab.change(Way::Both, POLICED)?,
    }
    until(flows(sites, Protocol::Tcp), "no data flowed over TCP", limit)?;
    let to_tcp = ended.elapsed();
    let passes = Instant::now();
    match trouble {
        Trouble::Blocked | Trouble::Dies => sites.let_udp_pass(true),
        Trouble::Policed => sites.lab.change(Way::Both, plain)?,
    }
    until(flows(sites, Protocol::Udp), "no data flowed over UDP again", limit)?;
    Ok([to_tcp, passes.elapsed()])
}

/// Whether more is sent by `protocol` than questions and answers are.
fn flows(sites: &Sites, protocol: Protocol) -> impl FnMut() -> Result<bool, Failure> {
    let mut looks = VecDeque::new();
    move || {
        let now = Instant::now();
        let sent = sites.sent(Site::A, protocol);
        looks.push_back((now, sent));
        looks.retain(|(then, _)| now - *then <= Duration::from_secs(1));
        Ok(looks.front().is_some_and(|(_, before)| sent - before >= FLOWS))
    }
}

fn until(
    mut met: impl FnMut() -> Result<bool, Failure>,
    what: &'static str,
    limit: Duration,
) -> Result<(), Failure> {
    let since = Instant::now();
    while !met()? {
        if since.elapsed() > limit {
            return Err(Failure::Stuck { what, limit, said: String::new() });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A table for people: each kind of trouble, with medians and ranges.
pub fn to_markdown(rtt: Duration, runs: &[Switched]) -> String {
    let mut text = format!(
        "Round trips of {} ms; UDP is asked again every {UDP_AGAIN}; seconds: median (min - max).\n\n\
         | UDP | until TCP carries | until UDP carries again | runs |\n|---|---|---|---|\n",
        rtt.as_millis()
    );
    for (trouble, name) in [
        (Trouble::Blocked, "blocked"),
        (Trouble::Dies, "dies"),
        (Trouble::Policed, "policed to 40 kbit/s"),
    ] {
        let runs: Vec<&Switched> = runs.iter().filter(|run| run.trouble == trouble).collect();
        let figures = |of: fn(&Switched) -> f64| {
            let seconds: Vec<f64> = runs.iter().map(|run| of(run)).collect();
            let [median, min, max] = median_min_max(&seconds)?;
            Some(format!("{median:.2} ({min:.2} - {max:.2})"))
        };
        let (there, back) = (figures(|run| run.to_tcp_seconds), figures(|run| run.to_udp_seconds));
        if let (Some(there), Some(back)) = (there, back) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {there} | {back} | {} |", runs.len());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_kind_of_trouble_that_was_measured() {
        let run = |to_tcp_seconds| Switched {
            trouble: Trouble::Dies,
            to_tcp_seconds,
            to_udp_seconds: 4.0,
        };
        let text = to_markdown(Duration::from_millis(60), &[run(9.0), run(7.0), run(8.5)]);
        let row = "| dies | 8.50 (7.00 - 9.00) | 4.00 (4.00 - 4.00) | 3 |\n";
        assert!(text.ends_with(row), "{text}");
        assert_eq!(text.lines().count(), 5);
    }
}
