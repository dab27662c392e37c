//! Addresses that change under the traffic: translators before a site, a site that moves, and links
//! that say when a packet is too long.

use farhaul_netem_tests::{Lab, LabProfile, Site, content, require};
use farhaul_tools::wanem::nat::NatOrder;
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::selftest;
use std::process::Command;
use std::time::Duration;

fn on() -> NatOrder {
    NatOrder::On { idle: None, address: "10.77.9.9".parse().ok() }
}

/// A counter of site A's kernel, such as `Icmp: InDestUnreachs`.
fn counter(lab: &Lab, group: &str, name: &str) -> u64 {
    let mut command = Command::new("cat");
    let seen = lab.run(Site::A, command.arg("/proc/net/snmp")).expect("it runs");
    let lines = seen.succeeded().expect("it succeeds").stdout;
    let mut lines = lines.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let at = names.split_whitespace().position(|word| word == name).expect("a counter");
    values.split_whitespace().nth(at).and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn both_transports_pass_a_translator_with_segments_and_without() {
    let test = "both_transports_pass_a_translator_with_segments_and_without";
    let lab = require!(test, Lab::start(&LabProfile::default()));
    lab.process().nat(Site::A, on()).expect("a running lab");
    assert_eq!(selftest::round_trips(lab.process(), 3).expect("answers").answers, 3);
    let streamed = selftest::stream(lab.process(), Some("50Mbit/s"), Duration::from_millis(300));
    assert!(streamed.expect("a stream").received.received > 0);
    let directory = tempfile::tempdir().expect("a directory");
    let [source, target] = ["in", "out"].map(|name| directory.path().join(name));
    std::fs::write(&source, content::bytes(3, 4 << 20)).expect("a file");
    selftest::tcp(lab.process(), "cubic", &source, Some(&target)).expect("a stream");
    content::assert_same(&source, &target);
}

#[test]
fn a_rebind_and_a_move_break_no_traffic_that_begins_at_the_site() {
    let test = "a_rebind_and_a_move_break_no_traffic_that_begins_at_the_site";
    let lab = require!(test, Lab::start(&LabProfile::default()));
    let answers = || selftest::round_trips(lab.process(), 2).expect("answers").answers;
    lab.process().nat(Site::A, on()).expect("a running lab");
    assert_eq!(answers(), 2);
    lab.process().nat(Site::A, NatOrder::Rebind).expect("a running lab");
    assert_eq!(answers(), 2);
    lab.process().readdress(Site::A, "10.77.3.4".parse().expect("an address")).expect("moved");
    assert_eq!(answers(), 2);
    lab.process().nat(Site::A, NatOrder::Off).expect("a running lab");
    assert_eq!(answers(), 2);
}

#[test]
fn a_link_may_tell_who_sends_too_long_packets() {
    let test = "a_link_may_tell_who_sends_too_long_packets";
    let lab = require!(test, Lab::start(&LabProfile::default()));
    lab.process().nat(Site::A, on()).expect("a running lab");
    let mut told = Vec::new();
    for keys in ["mtu = 1300", "mtu_told = true"] {
        lab.change(Way::Ab, keys).expect("a running lab");
        // Its packets are as long as the device permits: none arrives, and it says so.
        drop(selftest::stream(lab.process(), Some("1Mbit/s"), Duration::from_millis(200)));
        told.push(counter(&lab, "Icmp:", "InDestUnreachs"));
    }
    assert!(told[0] == 0 && told[1] > 0, "{told:?}");
    assert!(lab.status().expect("a running lab").a_to_b.dropped.mtu > 0);
    // Nor does the receiver of a stream that could not be sent keep its port.
    assert_eq!(selftest::round_trips(lab.process(), 1).expect("an answer").answers, 1);
}
