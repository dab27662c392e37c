//! Packet sizes over real sockets: jumbo frames, and paths that cease to carry large packets.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::sites::{finish, succeeded};
use farhaul_netem_tests::{LabProfile, Sites, require};
use farhaul_tools::wanem::script::Way;
use std::time::{Duration, Instant};

const LEN: usize = 8 * MIB;

/// How a file is pushed so that its packets can be watched.
struct Push {
    /// MTU of the devices at both ends.
    device: u16,
    /// Never faster than this.
    rate: &'static str,
    len: usize,
    /// The link is changed once so many blocks are there.
    blocks: u64,
}

const USUAL: Push = Push { device: 1500, rate: "10Mbit/s", len: LEN, blocks: 2 };
/// Quick enough for jumbo frames, and some blocks later than they are found.
const JUMBO: Push = Push { device: 9000, rate: "45Mbit/s", len: 5 * LEN, blocks: 10 };

fn link(more: &str) -> LabProfile {
    let text = format!("rate = '100Mbit/s'\nrtt = '80ms'\nqueue = '50ms'\n{more}");
    LabProfile::from_toml(&text).expect("well-formed")
}

/// Packets and bytes that passed from A to B so far.
fn passed(sites: &Sites) -> (u64, u64) {
    let way = sites.lab.status().expect("a running lab").a_to_b;
    (way.delivered, way.delivered_bytes)
}

/// Mean size of the packets that pass from A to B within half a second.
fn mean_size(sites: &Sites) -> u64 {
    let before = passed(sites);
    std::thread::sleep(Duration::from_millis(500));
    let after = passed(sites);
    (after.1 - before.1) / (after.0 - before.0).max(1)
}

/// Pushes a file, slowly; changes the link to `mtu` in the middle. What passes before and after is
/// `sizes`.
fn clamped(test: &str, push: &Push, keys: &str, sizes: &[std::ops::Range<u64>; 2]) {
    let sites = require!(test, Sites::start_with_mtu(&link("loss = '1%'"), push.device));
    let source = sites.file("data.bin", content::bytes(31, push.len));
    let _server = sites.serve();
    let running = sites.begin(&sites.sending(&source, "", &["--rate", push.rate]));
    sites.await_blocks(&sites.root(), push.blocks, &running);
    let before = mean_size(&sites);
    sites.lab.change(Way::Both, keys).expect("a running lab");
    let since = Instant::now();
    let (_, bytes) = passed(&sites);
    while passed(&sites).1 < bytes + 400_000 && since.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{test}: 400 kB after {:?}", since.elapsed());
    let after = mean_size(&sites);
    succeeded(&finish(running));
    content::assert_same(&source, &sites.root().join("data.bin"));
    assert!(
        sites.lab.status().expect("a running lab").a_to_b.dropped.mtu > 0,
        "nothing was clamped"
    );
    assert!(sizes[0].contains(&before) && sizes[1].contains(&after), "{before}, {after}");
}

#[test]
fn a_path_that_ceases_to_carry_large_packets_is_used_with_small_ones() {
    let test = "a_path_that_ceases_to_carry_large_packets_is_used_with_small_ones";
    clamped(test, &USUAL, "mtu = 1300", &[1_350..1_500, 1_000..1_250]);
}

#[test]
fn a_path_that_says_so_is_used_with_small_ones_as_well() {
    let test = "a_path_that_says_so_is_used_with_small_ones_as_well";
    clamped(test, &USUAL, "mtu = 1300\nmtu_told = true", &[1_350..1_500, 1_000..1_250]);
}

#[test]
fn jumbo_frames_are_used_and_left_when_they_do_not_pass_any_more() {
    let test = "jumbo_frames_are_used_and_left_when_they_do_not_pass_any_more";
    clamped(test, &JUMBO, "mtu = 1500", &[5_000..9_000, 1_300..1_500]);
}

#[test]
fn jumbo_frames_carry_a_file_there_and_back() {
    let test = "jumbo_frames_carry_a_file_there_and_back";
    let sites = require!(test, Sites::start_with_mtu(&link("loss = '2%'"), 9000));
    let source = sites.file("data.bin", content::bytes(32, 4 * LEN));
    let _server = sites.serve();
    sites.send(&source, "", &[]);
    content::assert_same(&source, &sites.root().join("data.bin"));
    sites.get("data.bin", sites.path("back"), &[]);
    content::assert_same(&source, &sites.path("back/data.bin"));
    let (packets, bytes) = passed(&sites);
    assert!(bytes / packets > 2_000, "{bytes} bytes in {packets} packets");
}
