//! A star keeps what its profile promises: real packets among several sites, root or not.
//!
//! Bounds are those of `wanem selftest`, with its remedy for machines that are short of processors for
//! a moment: further tries, all of which a wrong emulator fails.

use farhaul_netem_tests::require::binary;
use farhaul_netem_tests::run::TIME_LIMIT;
use farhaul_netem_tests::{Finished, Running, Star, require};
use farhaul_tools::wanem::probe::udp::{ReceiveReport, RttReport, SendReport};
use farhaul_tools::wanem::star::profile::StarProfile;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static TURN: Mutex<()> = Mutex::new(());

const PORT: u16 = 9000;
const TRIES: u32 = 4;

const FOUR: &str = "
    [access]
    up = { rate = '20Mbit/s', delay = '10ms' }
    down = { rate = '10Mbit/s', delay = '15ms' }
    [[site]]
    [[site]]
    [[site]]
    [[site]]
    name = 'far'
    [[way]]
    between = ['a', 'far']
    delay = '40ms'
";

fn four() -> StarProfile {
    StarProfile::from_toml(FOUR).expect("well-formed")
}

/// Has `check` find nothing wrong, at the first try or at a later one.
fn in_time(check: impl Fn() -> Result<(), String>) {
    for left in (0..TRIES).rev() {
        match check() {
            Ok(()) => return,
            Err(finding) => eprintln!("{finding}; {left} further tries"),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("wrong each time");
}

fn tool(star: &Star, site: &str, tool: &str, more: &[&str]) -> Running {
    let mut command = star.process().probe_at(site, tool);
    Running::spawn(command.args(more)).expect("it starts")
}

fn listening(star: &Star, site: &str, name: &str, more: &[&str]) -> (Running, String) {
    let at = format!("{}:{PORT}", star.address(site).expect("a site"));
    let mut running = tool(star, site, name, &[&[at.as_str()], more].concat());
    assert_eq!(running.line().expect("it says so"), "ready");
    (running, at)
}

fn told<T: DeserializeOwned>(running: Running) -> T {
    let done = running.finish(TIME_LIMIT).and_then(Finished::succeeded).expect("it ends");
    serde_json::from_str(done.stdout.lines().last().unwrap_or_default()).expect("its report")
}

fn round_trips(star: &Star, from: &str, to: &str) -> RttReport {
    let (_echo, at) = listening(star, to, "echo", &[]);
    told(tool(star, from, "rtt", &[&at, "--count", "20"]))
}

#[test]
fn the_round_trip_is_that_of_both_access_links_and_of_the_way_between() {
    let test = "the_round_trip_is_that_of_both_access_links_and_of_the_way_between";
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let star = require!(test, Star::start(&four(), 1));
    for (from, to, wanted) in [("a", "b", 50_000), ("b", "far", 50_000), ("far", "a", 130_000)] {
        in_time(|| {
            let seen = round_trips(&star, from, to);
            // The small packets of the probe take 60 us to serialise on all four links.
            let is_right = seen.min_us >= wanted && seen.min_us <= wanted + 1500;
            is_right.then_some(()).ok_or_else(|| format!("{from} - {to}: {seen:?}"))
        });
    }
}

#[test]
fn two_that_send_to_one_share_its_downlink_and_every_byte_is_counted() {
    let test = "two_that_send_to_one_share_its_downlink_and_every_byte_is_counted";
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    drop(require!(test, Star::start(&four(), 2)));
    in_time(|| {
        let star = Star::start(&four(), 2).expect("as a moment ago");
        let (one, at) = listening(&star, "c", "udp-receive", &[]);
        let other_at = format!("{}:{}", star.address("c").expect("a site"), PORT + 1);
        let mut other = tool(&star, "c", "udp-receive", &[&other_at]);
        assert_eq!(other.line().expect("it says so"), "ready");
        let send = |site: &str, to: &str| {
            tool(&star, site, "udp-send", &[to, "--rate", "8Mbit/s", "--duration", "3s"])
        };
        let senders = [send("a", &at), send("far", &other_at)];
        let sent = senders.map(told::<SendReport>);
        let came = [one, other].map(told::<ReceiveReport>);
        let status = star.status().expect("a running star");
        let (a, c) = (status.site("a").expect("there"), status.site("c").expect("there"));
        let rate: f64 = came.iter().map(|seen| seen.rate_median_bps).sum();
        let received: u64 = came.iter().map(|seen| seen.received).sum();
        let offered: u64 = sent.iter().map(|seen| seen.sent).sum();
        let finding = format!("{rate} bit/s, {received} of {offered}, {c:?}, {:?}", status.hub);
        let is_rate = (rate / 10e6 - 1.0).abs() < 0.02;
        // Marks of a stream's end are packets too, short ones: some 50 each.
        let is_counted = c.down.delivered.abs_diff(received) <= 120
            && a.up.wire_bytes.abs_diff(sent[0].sent * 1500) <= 60 * 100
            && c.down.dropped.queue > offered / 10
            && c.down.wire_bytes == c.down.delivered_bytes
            && status.hub.own_drops.total() == 0;
        (is_rate && is_counted).then_some(()).ok_or(finding)
    });
}

#[test]
fn a_link_is_lossy_slow_or_cut_from_one_moment_to_the_next_and_others_are_not() {
    let test = "a_link_is_lossy_slow_or_cut_from_one_moment_to_the_next_and_others_are_not";
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let star = require!(test, Star::start(&four(), 3));
    star.change("b", "down = true", "down = true").expect("allowed");
    let (echo, at) = listening(&star, "b", "echo", &[]);
    let cut = tool(&star, "a", "rtt", &[&at, "--count", "1"]).finish(TIME_LIMIT);
    assert_ne!(cut.expect("it ends").usage.exit_code, 0, "packets passed a link that is down");
    drop(echo);
    assert_eq!(round_trips(&star, "a", "c").answers, 20);
    star.change("b", "down = false", "down = false\nloss = '30%'").expect("allowed");
    let (receiver, at) = listening(&star, "b", "udp-receive", &["--idle", "2s"]);
    let sent: SendReport =
        told(tool(&star, "a", "udp-send", &[&at, "--rate", "5Mbit/s", "--duration", "3s"]));
    let came: ReceiveReport = told(receiver);
    let lost = 1.0
        - f64::from(u32::try_from(came.received).expect("few"))
            / f64::from(u32::try_from(sent.sent).expect("few"));
    // Some 1,250 packets: four standard deviations are 0.05.
    assert!((lost - 0.3).abs() < 0.06, "{lost}: {came:?}");
    assert!(star.change("b", "speed = 1", "").is_err());
    assert!(star.change("nobody", "", "").is_err());
    let status = star.status().expect("a running star");
    assert!(status.site("b").expect("there").down.dropped.down > 0);
}

fn wanem(run_dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(binary("wanem"));
    command.env("WANEM_RUN_DIR", run_dir).args(words).output().expect("it runs")
}

#[test]
fn a_star_that_was_killed_leaves_nothing_that_keeps_the_next_one_from_coming_up() {
    let test = "a_star_that_was_killed_leaves_nothing_that_keeps_the_next_one_from_coming_up";
    drop(require!(test, Star::start(&four(), 1)));
    let dir = tempfile::tempdir().expect("a directory");
    let profile = dir.path().join("four.toml");
    std::fs::write(&profile, FOUR).expect("written");
    let profile = profile.to_str().expect("text");
    let name = format!("k{}", std::process::id());
    let named = |site: &str| Path::new("/run/netns").join(format!("{name}-{site}"));
    for round in 0..2 {
        let up = wanem(dir.path(), &["star", "up", "--name", &name, "--profile", profile]);
        assert!(up.status.success(), "round {round}: {}", String::from_utf8_lossy(&up.stderr));
        let text = String::from_utf8_lossy(&up.stdout).into_owned();
        let pid = text.split("process ").nth(1).and_then(|rest| rest.split(')').next());
        let pid: i32 = pid.and_then(|pid| pid.parse().ok()).expect("its number");
        let there = wanem(dir.path(), &["exec", "--name", &name, "FAR", "--", "true"]);
        assert!(there.status.success(), "{}", String::from_utf8_lossy(&there.stderr));
        let pid = rustix::process::Pid::from_raw(pid).expect("a number");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    }
    let down = wanem(dir.path(), &["star", "down", "--name", &name]);
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    for site in ["a", "b", "c", "far"] {
        assert!(!named(site).exists(), "{site} is still there");
    }
    assert!(!dir.path().join(format!("{name}.json")).exists());
}
