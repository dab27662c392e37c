//! Addresses that change in the middle of a transfer, as translators and roaming hosts do it.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::sites::{finish, succeeded};
use farhaul_netem_tests::{LabProfile, Running, Site, Sites, require};
use farhaul_tools::wanem::nat::NatOrder;
use farhaul_tools::wanem::status::DirectionStatus;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const LEN: usize = 8 * MIB;
/// Slow enough to be disturbed: seven seconds.
const SLOWLY: &[&str] = &["--rate", "10Mbit/s"];
const RTT: Duration = Duration::from_millis(80);

fn link() -> LabProfile {
    let text = "rate = '100Mbit/s'\nrtt = '80ms'\nqueue = '50ms'\nloss = '1%'";
    LabProfile::from_toml(text).expect("well-formed")
}

fn translator(address: &str) -> NatOrder {
    NatOrder::On { idle: None, address: address.parse().ok() }
}

fn status(sites: &Sites, way: usize) -> DirectionStatus {
    let status = sites.lab.status().expect("a running lab");
    if way == 0 { status.a_to_b } else { status.b_to_a }
}

/// Watches a second of traffic and tells the longest pause in it: to see, not to judge by.
fn tell_stall(sites: &Sites, what: &str, way: usize) {
    let (begun, mut last, mut longest) = (Instant::now(), (0, Instant::now()), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(1) {
        let seen = status(sites, way);
        let arrived = seen.delivered.saturating_sub(seen.dropped.nat);
        if arrived > last.0 + 4 {
            last = (arrived, Instant::now());
        }
        longest = longest.max(last.1.elapsed());
    }
    let rounds = longest.as_secs_f64() / RTT.as_secs_f64();
    println!("{what}: longest pause {longest:?}, {rounds:.1} round trips");
}

/// A push and a pull, each disturbed twice by `change`, which gets the count.
fn disturbed(test: &str, change: impl Fn(&Sites, usize)) {
    let sites = require!(test, Sites::start(&link()));
    sites.lab.process().nat(Site::A, translator("10.77.9.1")).expect("a running lab");
    let source = sites.file("data.bin", content::bytes(21, LEN));
    let _server = sites.serve();
    let push = sites.begin(&sites.sending(&source, "", SLOWLY));
    disturb(&sites, &sites.root(), push, 0, &|sites, n| change(sites, n));
    content::assert_same(&source, &sites.root().join("data.bin"));
    let back = sites.path("back");
    std::fs::create_dir(&back).expect("a fresh directory");
    let pull = sites.begin(&sites.getting("data.bin", &back, SLOWLY));
    disturb(&sites, &back, pull, 1, &|sites, n| change(sites, n + 2));
    content::assert_same(&source, &back.join("data.bin"));
    // Answers that were under way to the address before, or nothing was tried.
    assert!(status(&sites, 1).dropped.nat > 0, "nothing came to an address that was gone");
}

fn disturb(sites: &Sites, to: &Path, running: Running, way: usize, change: &dyn Fn(&Sites, usize)) {
    for n in 0..2 {
        sites.await_blocks(to, 1 + 2 * n as u64, &running);
        change(sites, n);
        tell_stall(sites, ["push", "pull"][way], way);
    }
    succeeded(&finish(running));
}

#[test]
fn a_translator_that_forgets_does_not_end_a_transfer() {
    disturbed("a_translator_that_forgets_does_not_end_a_transfer", |sites, _| {
        sites.lab.process().nat(Site::A, NatOrder::Rebind).expect("a running lab");
    });
}

#[test]
fn a_translator_that_moves_to_another_network_does_not_end_a_transfer() {
    disturbed("a_translator_that_moves_to_another_network_does_not_end_a_transfer", |sites, n| {
        let order = translator(&format!("10.77.{}.1", 20 + n));
        sites.lab.process().nat(Site::A, order).expect("a running lab");
    });
}

#[test]
fn a_client_that_gets_another_address_goes_on() {
    let test = "a_client_that_gets_another_address_goes_on";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.file("data.bin", content::bytes(22, LEN));
    let _server = sites.serve();
    let to = |n: usize| IpAddr::from([10, 77, u8::try_from(n).expect("few moves"), 1]);
    let push = sites.begin(&sites.sending(&source, "", SLOWLY));
    disturb(&sites, &sites.root(), push, 0, &|sites, n| {
        sites.lab.process().readdress(Site::A, to(30 + n)).expect("moved");
    });
    content::assert_same(&source, &sites.root().join("data.bin"));
    let back = sites.path("back");
    std::fs::create_dir(&back).expect("a fresh directory");
    let pull = sites.begin(&sites.getting("data.bin", &back, SLOWLY));
    disturb(&sites, &back, pull, 1, &|sites, n| {
        sites.lab.process().readdress(Site::A, to(40 + n)).expect("moved");
    });
    content::assert_same(&source, &back.join("data.bin"));
}
