//! Where UDP is blocked, the same transfers travel over TCP, and say why.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::sites::{Protocol, assert_failed, finish, succeeded, until};
use farhaul_netem_tests::{LabProfile, Report, Site, Sites, Unavailable, require};
use std::fs;
use std::path::PathBuf;

fn link() -> LabProfile {
    let text = "rate = '100Mbit/s'\nrtt = '60ms'\nqueue = '50ms'";
    LabProfile::from_toml(text).expect("well-formed")
}

/// The sites, and a file of so many bytes at the first.
fn ready(seed: u64, len: usize) -> Result<(Sites, PathBuf), Unavailable> {
    program("ip")?;
    let sites = Sites::start(&link())?;
    let source = sites.file("data.bin", content::bytes(seed, len));
    Ok((sites, source))
}

#[track_caller]
fn assert_carried(report: &Report, carrier: &str, reason: &str) {
    assert_eq!(report.carrier.as_deref(), Some(carrier), "{report:?}");
    assert_eq!(report.carrier_reason.as_deref(), Some(reason), "{report:?}");
}

#[test]
fn where_udp_is_blocked_transfers_travel_over_tcp_until_it_is_not() {
    let test = "where_udp_is_blocked_transfers_travel_over_tcp_until_it_is_not";
    let (sites, source) = require!(test, ready(1, 8 * MIB));
    let _server = sites.serve();
    sites.let_udp_pass(false);
    let report = sites.send(&source, "one", &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    assert_eq!((report.limited_by.as_str(), report.symbols_repair), ("carrier", 0));
    let (udp, tcp) = (report.carriers.udp, report.carriers.tcp);
    assert_eq!((udp.packets_received, udp.reads), (0, 0), "{report:?}");
    assert!(tcp.packets_sent * 1408 > 8 << 20 && tcp.bytes_sent > 8 << 20, "{report:?}");
    assert!(tcp.packets_received > 0 && tcp.reads > 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("one/data.bin"));
    let report = sites.get("one/data.bin", sites.path("back"), &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    content::assert_same(&source, &sites.path("back/data.bin"));
    sites.let_udp_pass(true);
    let report = sites.send(&source, "two", &[]);
    assert_carried(&report, "udp", "UDP answers");
    assert_eq!(report.carriers.tcp.packets_sent, 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("two/data.bin"));
}

/// A firewall was opened: what goes over TCP because nobody answered goes back to UDP.
#[test]
fn a_transfer_over_tcp_returns_to_udp_once_that_answers() {
    let test = "a_transfer_over_tcp_returns_to_udp_once_that_answers";
    let (sites, source) = require!(test, ready(6, 40 * MIB));
    let _server = sites.serve();
    sites.let_udp_pass(false);
    let options = ["--rate", "32Mbit/s", "--udp-again", "1s"];
    let sender = sites.begin(&sites.sending(&source, "", &options));
    sites.await_blocks(&sites.root(), 2, &sender);
    sites.let_udp_pass(true);
    let report = succeeded(&finish(sender));
    assert_carried(&report, "udp", "UDP answers again");
    assert!(report.resumed_bytes > 0, "{report:?}");
    assert!(report.carriers.udp.packets_sent > 0 && report.carriers.tcp.packets_sent > 0);
    content::assert_same(&source, &sites.root().join("data.bin"));
}

#[test]
fn what_one_carrier_began_the_other_ends() {
    let test = "what_one_carrier_began_the_other_ends";
    let (sites, source) = require!(test, ready(2, 16 * MIB));
    let _server = sites.serve();
    let begun = sites.begin(&sites.sending(&source, "", &["--rate", "20Mbit/s"]));
    sites.await_blocks(&sites.root(), 2, &begun);
    begun.kill().expect("our own child");
    sites.let_udp_pass(false);
    let report = sites.send(&source, "", &[]);
    assert_carried(&report, "tcp", "no answer over UDP");
    assert!(report.resumed_bytes > 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("data.bin"));
}

#[test]
fn whoever_asks_for_a_carrier_gets_that_one_or_an_error() {
    let test = "whoever_asks_for_a_carrier_gets_that_one_or_an_error";
    let (sites, source) = require!(test, ready(3, MIB));
    let server = sites.serve_with(&[&sites.client], &["--tcp", "443"]);
    let report = sites.send(&source, "one", &["--carrier", "tcp", "--tcp-port", "443"]);
    assert_carried(&report, "tcp", "asked for by --carrier");
    let report = sites.send(&source, "two", &["--carrier", "udp"]);
    assert_carried(&report, "udp", "asked for by --carrier");
    let refused = sites.run(&sites.sending(&source, "three", &["--carrier", "tcp"]));
    assert_failed(&refused, 1, &["TCP", "--tcp-port"]);
    server.kill();
    let _server = sites.serve_with(&[&sites.client], &["--tcp", "off"]);
    sites.let_udp_pass(false);
    let silent = sites.run(&sites.sending(&source, "four", &[]));
    assert_failed(&silent, 1, &["does not answer"]);
    assert!(fs::exists(sites.root().join("two/data.bin")).expect("it can be looked at"));
}

/// A route that changed, or a firewall that learns: what worked a moment ago is gone.
#[test]
fn a_transfer_whose_udp_dies_goes_on_over_tcp() {
    let test = "a_transfer_whose_udp_dies_goes_on_over_tcp";
    let (sites, source) = require!(test, ready(4, 14 * MIB));
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &["--rate", "16Mbit/s"]));
    sites.await_blocks(&sites.root(), 2, &sender);
    sites.let_udp_pass(false);
    let report = succeeded(&finish(sender));
    assert_carried(&report, "tcp", "UDP carried next to nothing");
    assert!(report.resumed_bytes > 0, "{report:?}");
    content::assert_same(&source, &sites.root().join("data.bin"));
}

/// What died came back: the transfer does not stay with TCP for the rest of its days.
#[test]
fn a_transfer_whose_udp_died_and_came_back_ends_over_udp() {
    let test = "a_transfer_whose_udp_died_and_came_back_ends_over_udp";
    let (sites, source) = require!(test, ready(7, 48 * MIB));
    let _server = sites.serve();
    let options = ["--rate", "32Mbit/s", "--udp-again", "1s"];
    let sender = sites.begin(&sites.sending(&source, "", &options));
    sites.await_blocks(&sites.root(), 2, &sender);
    sites.let_udp_pass(false);
    assert!(until(|| sites.sent(Site::A, Protocol::Tcp) > 1000), "it goes on over TCP");
    sites.let_udp_pass(true);
    let report = succeeded(&finish(sender));
    assert_carried(&report, "udp", "UDP answers again");
    assert!(report.carriers.tcp.packets_sent > 0, "{report:?}");
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
