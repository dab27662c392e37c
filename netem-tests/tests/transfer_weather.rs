//! Bad weather: links that pause, reorder, repeat, waver, damage and change.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::sites::{finish, succeeded};
use farhaul_netem_tests::{LabProfile, Running, Sites, require};
use farhaul_tools::wanem::control::LabStatus;
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::status::DirectionStatus;
use std::path::Path;
use std::time::Duration;

const LEN: usize = 8 * MIB;

fn link(more: &str) -> LabProfile {
    let text = format!("rate = '100Mbit/s'\nrtt = '80ms'\nqueue = '50ms'\n{more}");
    LabProfile::from_toml(&text).expect("well-formed")
}

/// Sends a file over a link and gets it back. What is wrong with the link must have `come` in both
/// directions: else nothing was tested.
fn there_and_back(test: &str, more: &str, come: impl Fn(&DirectionStatus) -> bool) {
    let sites = require!(test, Sites::start(&link(more)));
    let source = sites.file("data.bin", content::bytes(11, LEN));
    let _server = sites.serve();
    sites.send(&source, "", &[]);
    content::assert_same(&source, &sites.root().join("data.bin"));
    sites.get("data.bin", sites.path("back"), &[]);
    content::assert_same(&source, &sites.path("back/data.bin"));
    let LabStatus { a_to_b, b_to_a, .. } = sites.lab.status().expect("a running lab");
    for did in [a_to_b, b_to_a] {
        assert!(come(&did), "fair weather: {did:?}");
    }
}

/// Begins to send `source`, slowly enough to be disturbed once a block is there.
fn begin_slowly(sites: &Sites, source: &Path) -> Running {
    let sender = sites.begin(&sites.sending(source, "", &["--rate", "10Mbit/s"]));
    sites.await_blocks(&sites.root(), 1, &sender);
    sender
}

#[test]
fn a_link_that_is_down_for_5_s_only_delays() {
    let sites = require!("a_link_that_is_down_for_5_s_only_delays", Sites::start(&link("")));
    let source = sites.file("data.bin", content::bytes(12, LEN));
    let _server = sites.serve();
    let sender = begin_slowly(&sites, &source);
    sites.interrupt(Way::Both, Duration::from_secs(5));
    let report = succeeded(&finish(sender));
    content::assert_same(&source, &sites.root().join("data.bin"));
    assert_eq!(report.bytes, LEN as u64);
    let dropped = sites.lab.status().expect("a running lab").a_to_b.dropped.down;
    assert!(dropped > 0, "nothing was sent while the link was down");
}

/// Longer than any timer of QUIC likes; what the lanes learn is passed on to it.
#[test]
fn a_link_that_is_down_for_50_s_only_delays() {
    let sites = require!("a_link_that_is_down_for_50_s_only_delays", Sites::start(&link("")));
    let source = sites.file("data.bin", content::bytes(12, LEN));
    let _server = sites.serve();
    let sender = begin_slowly(&sites, &source);
    sites.interrupt(Way::Both, Duration::from_secs(50));
    let back = std::time::Instant::now();
    succeeded(&finish(sender));
    content::assert_same(&source, &sites.root().join("data.bin"));
    println!("done {:?} after the link came back", back.elapsed());
}

#[test]
fn a_way_back_that_is_down_for_3_s_only_delays() {
    let sites = require!("a_way_back_that_is_down_for_3_s_only_delays", Sites::start(&link("")));
    let source = sites.file("data.bin", content::bytes(13, LEN));
    let _server = sites.serve();
    let sender = begin_slowly(&sites, &source);
    sites.interrupt(Way::Ba, Duration::from_secs(3));
    succeeded(&finish(sender));
    content::assert_same(&source, &sites.root().join("data.bin"));
    let dropped = sites.lab.status().expect("a running lab").b_to_a.dropped.down;
    assert!(dropped > 0, "nothing came back while the way was down");
}

#[test]
fn a_link_that_becomes_another_one_is_followed() {
    let sites = require!("a_link_that_becomes_another_one_is_followed", Sites::start(&link("")));
    let source = sites.file("data.bin", content::bytes(14, LEN));
    let _server = sites.serve();
    let sender = begin_slowly(&sites, &source);
    sites.lab.set(&link("loss = '15%'")).expect("a running lab");
    sites.await_blocks(&sites.root(), 2, &sender);
    let longer = "rtt = '250ms'\nrate = '20Mbit/s'";
    sites.lab.change(Way::Both, longer).expect("a running lab");
    sites.await_blocks(&sites.root(), 3, &sender);
    sites.lab.change(Way::Both, "rtt = '5ms'").expect("a running lab");
    succeeded(&finish(sender));
    content::assert_same(&source, &sites.root().join("data.bin"));
    let lost = sites.lab.status().expect("a running lab").a_to_b.dropped.loss;
    assert!(lost > 0, "the link never became a lossy one");
}

#[test]
fn reordered_packets_do_no_harm() {
    let text = "reorder = '5%'\nreorder_by = '20ms'";
    there_and_back("reordered_packets_do_no_harm", text, |did| did.reordered > 0);
}

#[test]
fn repeated_packets_do_no_harm() {
    let text = "duplicate = '20%'";
    there_and_back("repeated_packets_do_no_harm", text, |did| did.duplicated > 0);
}

#[test]
fn wavering_delay_does_no_harm() {
    let text = "jitter = { amplitude = '15ms', reorder = true }\nloss = '1%'";
    there_and_back("wavering_delay_does_no_harm", text, |did| {
        did.reordered > 0 && did.dropped.loss > 0
    });
}

#[test]
fn damaged_packets_never_reach_a_file() {
    let text = "corrupt = '2%'";
    there_and_back("damaged_packets_never_reach_a_file", text, |did| did.corrupted > 0);
}

#[test]
fn losses_in_bursts_do_no_harm() {
    let text = "loss = { mean = '5%', burst = 20.0 }";
    there_and_back("losses_in_bursts_do_no_harm", text, |did| did.dropped.loss > 0);
}

#[test]
fn a_path_that_carries_small_packets_only_is_used_with_small_packets() {
    let test = "a_path_that_carries_small_packets_only_is_used_with_small_packets";
    there_and_back(test, "mtu = 1350", |did| did.dropped.mtu > 0);
}

#[test]
fn all_of_it_at_once_does_no_harm() {
    let text = "loss = '5%'\ncorrupt = '1%'\nduplicate = '5%'\nreorder = '3%'\n\
                reorder_by = '15ms'\n[reverse]\nloss = '20%'\nrate = '5Mbit/s'";
    let sites = require!("all_of_it_at_once_does_no_harm", Sites::start(&link(text)));
    let source = sites.file("data.bin", content::bytes(15, LEN));
    let _server = sites.serve();
    sites.send(&source, "", &[]);
    content::assert_same(&source, &sites.root().join("data.bin"));
    let did = sites.lab.status().expect("a running lab").a_to_b;
    let counts = [did.dropped.loss, did.corrupted, did.duplicated, did.reordered];
    assert!(counts.iter().all(|count| *count > 0), "fair weather: {did:?}");
}
