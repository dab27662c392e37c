//! Transfers that are cut off, by a killed process at either end: the next attempt goes on where
//! the first one stopped.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::sites::{Server, assert_failed, finish};
use farhaul_netem_tests::{LabProfile, Report, Running, Sites, require};
use std::path::{Path, PathBuf};

const LEN: usize = 16 * MIB;
/// Blocks that are at the receiver when the transfer is cut off.
const BLOCKS: u64 = 3;
const BLOCK_LEN: u64 = 343 * 4096;
/// The first attempt takes longer than it is let.
const SLOWLY: [&str; 2] = ["--rate", "20Mbit/s"];

fn link() -> LabProfile {
    let text = "rate = '200Mbit/s'\nrtt = '40ms'\nloss = '1%'\nqueue = '50ms'";
    LabProfile::from_toml(text).expect("well-formed")
}

/// A file and a server.
fn source_and_server(sites: &Sites) -> (PathBuf, Server) {
    (sites.file("image.raw", content::bytes(1, LEN)), sites.serve())
}

/// Begins to send, until some blocks are there.
fn begin(sites: &Sites, source: &Path) -> Running {
    let sender = sites.begin(&sites.sending(source, "in", &SLOWLY));
    sites.await_blocks(&sites.root(), BLOCKS, &sender);
    sender
}

/// Sends until some blocks are there, and kills the sender.
fn kill_sender(sites: &Sites, source: &Path) {
    let killed = begin(sites, source).kill().expect("our own child");
    assert_eq!(killed.usage.exit_code, 128 + 9);
    content::assert_absent(&sites.root().join("in/image.raw"));
}

/// Sends once more, and all of it is there.
#[track_caller]
fn send_again(sites: &Sites, source: &Path, options: &[&str]) -> Report {
    let report = sites.send(source, "in", options);
    content::assert_same(source, &sites.root().join("in/image.raw"));
    assert_eq!((report.bytes, report.files), (LEN as u64, 1));
    report
}

/// The blocks that were there are not sent again.
#[track_caller]
fn assert_resumed(report: &Report) {
    assert!(report.resumed_bytes >= BLOCKS * BLOCK_LEN, "{report:?}");
    assert!(report.symbols_source * 1408 < LEN as u64, "{report:?}");
}

#[test]
fn a_killed_sender_resumes() {
    let sites = require!("a_killed_sender_resumes", Sites::start(&link()));
    let (source, _server) = source_and_server(&sites);
    kill_sender(&sites, &source);
    assert_resumed(&send_again(&sites, &source, &[]));
}

#[test]
fn a_killed_receiver_resumes_after_its_restart() {
    let test = "a_killed_receiver_resumes_after_its_restart";
    let sites = require!(test, Sites::start(&link()));
    let (source, server) = source_and_server(&sites);
    let sender = begin(&sites, &source);
    server.kill();
    sender.kill().expect("our own child");
    let _server = sites.serve();
    assert_resumed(&send_again(&sites, &source, &[]));
}

/// A sender that is left alone hears of it from the server's next life, and says what to do.
#[test]
fn a_sender_whose_server_was_killed_and_restarted_says_so_and_resumes() {
    let test = "a_sender_whose_server_was_killed_and_restarted_says_so_and_resumes";
    let sites = require!(test, Sites::start(&link()));
    let (source, server) = source_and_server(&sites);
    let sender = begin(&sites, &source);
    server.kill();
    let _server = sites.serve();
    assert_failed(&finish(sender), 1, &["run the same command again"]);
    content::assert_absent(&sites.root().join("in/image.raw"));
    assert_resumed(&send_again(&sites, &source, &[]));
}

#[test]
fn a_killed_getter_resumes() {
    let sites = require!("a_killed_getter_resumes", Sites::start(&link()));
    let source = sites.root().join("image.raw");
    std::fs::write(&source, content::bytes(2, LEN)).expect("writable");
    let _server = sites.serve_with(&[&sites.client], &SLOWLY);
    let back = sites.path("back");
    let getter = sites.begin(&sites.getting("image.raw", &back, &[]));
    sites.await_blocks(&back, BLOCKS, &getter);
    getter.kill().expect("our own child");
    content::assert_absent(&back.join("image.raw"));
    let report = sites.get("image.raw", &back, &[]);
    content::assert_same(&source, &back.join("image.raw"));
    assert!(report.resumed_bytes >= BLOCKS * BLOCK_LEN, "{report:?}");
}

#[test]
fn a_transfer_that_was_interrupted_by_its_user_resumes() {
    let test = "a_transfer_that_was_interrupted_by_its_user_resumes";
    let sites = require!(test, Sites::start(&link()));
    let (source, _server) = source_and_server(&sites);
    let sender = begin(&sites, &source);
    sender.terminate().expect("our own child");
    assert_failed(&finish(sender), 1, &["interrupted", "run the same command"]);
    assert_resumed(&send_again(&sites, &source, &[]));
}

#[test]
fn no_resume_starts_over() {
    let sites = require!("no_resume_starts_over", Sites::start(&link()));
    let (source, _server) = source_and_server(&sites);
    kill_sender(&sites, &source);
    let report = send_again(&sites, &source, &["--no-resume"]);
    assert_eq!(report.resumed_bytes, 0);
    assert!(report.symbols_source * 1408 >= LEN as u64, "{report:?}");
}

#[test]
fn staged_data_that_was_damaged_meanwhile_is_sent_again() {
    let test = "staged_data_that_was_damaged_meanwhile_is_sent_again";
    let sites = require!(test, Sites::start(&link()));
    let (source, server) = source_and_server(&sites);
    kill_sender(&sites, &source);
    server.kill();
    let staging = sites.root().join(".farhaul/staging");
    let parts = std::fs::read_dir(staging).expect("staged").flatten().map(|entry| entry.path());
    let part = parts.into_iter().find(|path| path.extension().is_some_and(|end| end == "part"));
    let part = std::fs::File::options().write(true).open(part.expect("one file")).expect("ours");
    std::os::unix::fs::FileExt::write_all_at(&part, b"damage", 1000).expect("writable");
    let _server = sites.serve();
    let report = send_again(&sites, &source, &[]);
    assert!(report.resumed_bytes > 0, "{report:?}");
}
