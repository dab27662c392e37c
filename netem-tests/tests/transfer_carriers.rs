//! Where UDP is blocked, the same transfers travel over TCP, and say why.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::sites::{assert_failed, finish, succeeded};
use farhaul_netem_tests::{LabProfile, Report, Site, Sites, Unavailable, require};
use std::fs;
use std::process::Command;

fn link() -> LabProfile {
    let text = "rate = '100Mbit/s'\nrtt = '60ms'\nqueue = '50ms'";
    LabProfile::from_toml(text).expect("well-formed")
}

/// Blocks UDP on its way out of the server's site, or lets it pass again.
fn udp(sites: &Sites, verb: &str) {
    for family in ["-4", "-6"] {
        let mut command = Command::new("ip");
        command.args([family, "rule", verb, "ipproto", "udp", "priority", "1", "blackhole"]);
        let done = sites.lab.run(Site::B, &command).expect("it runs");
        assert_eq!(done.usage.exit_code, 0, "{}", done.stderr);
    }
}

fn ready() -> Result<Sites, Unavailable> {
    program("ip")?;
    Sites::start(&link())
}

#[track_caller]
fn assert_carried(report: &Report, carrier: &str, reason: &str) {
    assert_eq!(report.carrier.as_deref(), Some(carrier), "{report:?}");
    assert_eq!(report.carrier_reason.as_deref(), Some(reason), "{report:?}");
}

#[test]
fn where_udp_is_blocked_transfers_travel_over_tcp_until_it_is_not() {
    let test = "where_udp_is_blocked_transfers_travel_over_tcp_until_it_is_not";
    let sites = require!(test, ready());
    let source = sites.file("data.bin", content::bytes(1, 8 * MIB));
    let _server = sites.serve();
    udp(&sites, "add");
    let report = sites.send(&source, "one", &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    assert_eq!((report.limited_by.as_str(), report.symbols_repair), ("carrier", 0));
    content::assert_same(&source, &sites.root().join("one/data.bin"));
    let report = sites.get("one/data.bin", sites.path("back"), &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    content::assert_same(&source, &sites.path("back/data.bin"));
    udp(&sites, "del");
    let report = sites.send(&source, "two", &[]);
    assert_carried(&report, "udp", "UDP answers");
    content::assert_same(&source, &sites.root().join("two/data.bin"));
}

#[test]
fn what_one_carrier_began_the_other_ends() {
    let test = "what_one_carrier_began_the_other_ends";
    let sites = require!(test, ready());
    let source = sites.file("data.bin", content::bytes(2, 16 * MIB));
    let _server = sites.serve();
    let begun = sites.begin(&sites.sending(&source, "", &["--rate", "20Mbit/s"]));
    sites.await_blocks(&sites.root(), 2, &begun);
    begun.kill().expect("our own child");
    udp(&sites, "add");
    let report = sites.send(&source, "", &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    assert!(report.resumed_bytes > 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("data.bin"));
}

#[test]
fn whoever_asks_for_a_carrier_gets_that_one_or_an_error() {
    let test = "whoever_asks_for_a_carrier_gets_that_one_or_an_error";
    let sites = require!(test, ready());
    let source = sites.file("data.bin", content::bytes(3, MIB));
    let server = sites.serve_with(&[&sites.client], &["--tcp", "443"]);
    let report = sites.send(&source, "one", &["--carrier", "tcp", "--tcp-port", "443"]);
    assert_carried(&report, "tcp", "asked for by --carrier");
    let report = sites.send(&source, "two", &["--carrier", "udp"]);
    assert_carried(&report, "udp", "asked for by --carrier");
    let refused = sites.run(&sites.sending(&source, "three", &["--carrier", "tcp"]));
    assert_failed(&refused, 1, &["TCP", "--tcp-port"]);
    server.kill();
    let _server = sites.serve_with(&[&sites.client], &["--tcp", "off"]);
    udp(&sites, "add");
    let silent = sites.run(&sites.sending(&source, "four", &[]));
    assert_failed(&silent, 1, &["does not answer"]);
    assert!(fs::exists(sites.root().join("two/data.bin")).expect("it can be looked at"));
}

/// A route that changed, or a firewall that learns: what worked a moment ago is gone.
#[test]
fn a_transfer_whose_udp_dies_goes_on_over_tcp() {
    let test = "a_transfer_whose_udp_dies_goes_on_over_tcp";
    let sites = require!(test, ready());
    let source = sites.file("data.bin", content::bytes(4, 24 * MIB));
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &["--rate", "16Mbit/s"]));
    sites.await_blocks(&sites.root(), 2, &sender);
    udp(&sites, "add");
    let report = succeeded(&finish(sender));
    assert_carried(&report, "tcp", "UDP carried next to nothing");
    assert!(report.resumed_bytes > 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("data.bin"));
}

/// So much of UDP passes that sites find each other, and no more.
#[test]
fn where_udp_is_policed_to_next_to_nothing_a_transfer_moves_to_tcp_and_tells_why() {
    let test = "where_udp_is_policed_to_next_to_nothing_a_transfer_moves_to_tcp_and_tells_why";
    let policed = "policer = { rate = '40kbit/s', bucket = '4s' }\npolicer_spares_tcp = true";
    let text = format!("rate = '100Mbit/s'\nrtt = '60ms'\nqueue = '50ms'\n{policed}");
    let profile = LabProfile::from_toml(&text).expect("well-formed");
    for verb in ["send", "get"] {
        let sites = require!(test, Sites::start(&profile));
        let source = sites.file("data.bin", content::bytes(5, 16 * MIB));
        let _server = sites.serve();
        let (report, arrived) = if verb == "send" {
            (sites.send(&source, "", &[]), sites.root().join("data.bin"))
        } else {
            fs::copy(&source, sites.root().join("data.bin")).expect("writable");
            (sites.get("data.bin", sites.path("back"), &[]), sites.path("back/data.bin"))
        };
        assert_carried(&report, "tcp", "UDP carried next to nothing");
        content::assert_same(&source, &arrived);
    }
}
