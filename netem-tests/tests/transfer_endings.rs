//! How transfers and servers end when something stands in their way, or somebody beside them.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::require::program;
use farhaul_netem_tests::sites::{assert_failed, finish, succeeded};
use farhaul_netem_tests::{LabProfile, Sites, Unavailable, require};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const LEN: usize = 8 * MIB;
/// Slow enough to be disturbed once a block is there.
const SLOWLY: [&str; 2] = ["--rate", "8Mbit/s"];

fn link() -> LabProfile {
    let text = "rate = '200Mbit/s'\nrtt = '50ms'\nloss = '0.5%'\nqueue = '50ms'";
    LabProfile::from_toml(text).expect("well-formed")
}

#[test]
fn an_idle_server_stops_cleanly_when_asked_to() {
    let sites = require!("an_idle_server_stops_cleanly_when_asked_to", Sites::start(&link()));
    let stopped = sites.serve().stop();
    assert_eq!(stopped.usage.exit_code, 0, "{}", stopped.stderr);
}

#[test]
fn a_busy_server_stops_cleanly_and_tells_its_peer() {
    let sites = require!("a_busy_server_stops_cleanly_and_tells_its_peer", Sites::start(&link()));
    let source = sites.file("data.bin", content::bytes(1, LEN));
    let server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &sender);
    let stopped = server.stop();
    assert_eq!(stopped.usage.exit_code, 0, "{}", stopped.stderr);
    assert_failed(&finish(sender), 1, &["run the same command again"]);
    content::assert_absent(&sites.root().join("data.bin"));
    let _server = sites.serve();
    let report = sites.send(&source, "", &[]);
    content::assert_same(&source, &sites.root().join("data.bin"));
    assert!(report.resumed_bytes > 0, "{report:?}");
}

#[test]
fn a_large_source_that_changes_while_it_is_sent_does_not_arrive() {
    let test = "a_large_source_that_changes_while_it_is_sent_does_not_arrive";
    let sites = require!(test, Sites::start(&link()));
    // Much more than the sender reads ahead: what was read whole before it changed may arrive.
    let source = sites.file("changing.bin", content::bytes(2, 32 * MIB));
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &["--rate", "60Mbit/s"]));
    sites.await_blocks(&sites.root(), 1, &sender);
    let file = File::options().write(true).open(&source).expect("our own file");
    file.write_all_at(b"changed", 10).expect("writable");
    assert_failed(&finish(sender), 1, &["changing.bin", "changed"]);
    content::assert_absent(&sites.root().join("changing.bin"));
    sites.send(&source, "", &[]);
    content::assert_same(&source, &sites.root().join("changing.bin"));
}

#[test]
fn a_source_that_shrinks_while_it_is_sent_fails_alone() {
    let sites =
        require!("a_source_that_shrinks_while_it_is_sent_fails_alone", Sites::start(&link()));
    let tree = sites.path("tree");
    fs::create_dir(&tree).expect("a fresh directory");
    fs::write(tree.join("a-good"), content::bytes(3, 3 * MIB)).expect("writable");
    fs::write(tree.join("b-shrinking"), content::bytes(4, LEN)).expect("writable");
    fs::write(tree.join("c-good"), content::bytes(5, 3 * MIB)).expect("writable");
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&tree, "", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &sender);
    let file = File::options().write(true).open(tree.join("b-shrinking")).expect("our own file");
    file.set_len(100).expect("writable");
    let ended = finish(sender);
    assert_failed(&ended, 1, &["b-shrinking"]);
    let arrived = sites.root().join("tree");
    content::assert_absent(&arrived.join("b-shrinking"));
    for name in ["a-good", "c-good"] {
        content::assert_same(&tree.join(name), &arrived.join(name));
    }
}

/// A command line that mounts a small disk at `place`, which this command alone sees, and becomes
/// `command` then.
fn on_small_disk(place: &Path, megabytes: u32, command: &Command) -> Command {
    let script = r#"mount -t tmpfs -o "size=$1m" small "$2" || exit 77; shift 2; exec "$@""#;
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", script, "sh", &megabytes.to_string()]).arg(place);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

/// Whether this user may mount inside a lab.
fn may_mount(sites: &Sites) -> Result<(), Unavailable> {
    program("unshare")?;
    program("mount")?;
    let tried =
        sites.run(on_small_disk(&sites.root(), 1, &Command::new("true")).env("LC_ALL", "C"));
    let forbidden = ["not permitted", "denied", "superuser"];
    match tried.usage.exit_code {
        0 => Ok(()),
        _ if forbidden.iter().any(|words| tried.stderr.contains(words)) => Err(Unavailable::Mount),
        code => panic!("no small disk, exit code {code}: {}", tried.stderr),
    }
}

#[test]
fn a_server_without_room_says_so_before_anything_is_sent() {
    let test = "a_server_without_room_says_so_before_anything_is_sent";
    let sites = require!(test, Sites::start(&link()));
    require!(test, may_mount(&sites));
    let source = sites.file("large.bin", content::bytes(6, LEN));
    let small = sites.file("small.bin", content::bytes(7, 2 * MIB));
    let mut command = Command::new(sites.program());
    sites.arm(&mut command, &[&sites.client]);
    let _server = sites.serve_by(&on_small_disk(&sites.root(), 4, &command));
    let refused = sites.run(&sites.sending(&source, "", &[]));
    assert_failed(&refused, 3, &["free", "make room"]);
    sites.send(&small, "", &[]);
    sites.get("small.bin", sites.path("back"), &[]);
    content::assert_same(&small, &sites.path("back/small.bin"));
}

#[test]
fn a_getter_without_room_says_so() {
    let sites = require!("a_getter_without_room_says_so", Sites::start(&link()));
    require!("a_getter_without_room_says_so", may_mount(&sites));
    fs::write(sites.root().join("large.bin"), content::bytes(8, LEN)).expect("writable");
    let back = sites.path("back");
    fs::create_dir(&back).expect("a fresh directory");
    let _server = sites.serve();
    let getting = on_small_disk(&back, 4, &sites.getting("large.bin", &back, &[]));
    assert_failed(&sites.run(&getting), 4, &["free"]);
}

#[test]
fn two_senders_at_once_are_both_served() {
    let sites = require!("two_senders_at_once_are_both_served", Sites::start(&link()));
    let other = sites.host("other");
    let names = ["one.bin", "other.bin"];
    let [one, another] = [1, 2].map(|n| sites.file(names[n - 1], content::bytes(n as u64, LEN)));
    let _server = sites.serve_with(&[&sites.client, &other], &[]);
    let first = sites.begin(&sites.sending(&one, "in", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &first);
    let mut command = sites.command(&other, "send", &[]);
    let second = sites.run(command.arg(&another).arg(sites.at_server("in")));
    assert!(!first.has_ended(), "they were not served at once");
    succeeded(&second);
    succeeded(&finish(first));
    content::assert_same(&one, &sites.root().join("in/one.bin"));
    content::assert_same(&another, &sites.root().join("in/other.bin"));
}

#[test]
fn one_site_may_send_and_get_at_once() {
    let sites = require!("one_site_may_send_and_get_at_once", Sites::start(&link()));
    let source = sites.file("up.bin", content::bytes(1, LEN));
    fs::write(sites.root().join("down.bin"), content::bytes(2, LEN)).expect("writable");
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &sender);
    sites.get("down.bin", sites.path("back"), &[]);
    assert!(!sender.has_ended(), "they were not served at once");
    succeeded(&finish(sender));
    content::assert_same(&source, &sites.root().join("up.bin"));
    content::assert_same(&sites.root().join("down.bin"), &sites.path("back/down.bin"));
}

/// The receiver gave the object of the second transfer up and reported its blocks complete; the
/// sender closed the session for that, and its user never heard the reason.
#[test]
fn the_same_file_sent_twice_at_once_arrives_once_and_the_other_sender_hears_why() {
    let test = "the_same_file_sent_twice_at_once_arrives_once_and_the_other_sender_hears_why";
    let sites = require!(test, Sites::start(&link()));
    // The others wait five seconds each for its end, of the nearly thirty that it takes.
    let source = sites.file("data.bin", content::bytes(1, 3 * LEN));
    let _server = sites.serve();
    let first = sites.begin(&sites.sending(&source, "", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &first);
    for options in [&[][..], &["--no-resume"][..]] {
        let second = sites.run(&sites.sending(&source, "", options));
        assert_failed(&second, 1, &["data.bin", "another transfer is receiving the same file"]);
    }
    assert!(!first.has_ended(), "they were not served at once");
    succeeded(&finish(first));
    content::assert_same(&source, &sites.root().join("data.bin"));
}

#[test]
fn a_server_that_does_not_run_is_a_failed_transfer() {
    let sites = require!("a_server_that_does_not_run_is_a_failed_transfer", Sites::start(&link()));
    let source = sites.file("data.bin", "data");
    let ended = sites.run(&sites.sending(&source, "", &[]));
    assert_failed(&ended, 1, &["check that `farhaul serve` runs there"]);
}

#[test]
fn an_existing_file_is_replaced_only_by_a_whole_one() {
    let sites = require!("an_existing_file_is_replaced_only_by_a_whole_one", Sites::start(&link()));
    let source = sites.file("data.bin", content::bytes(1, LEN));
    let there = sites.root().join("data.bin");
    fs::write(&there, "old").expect("writable");
    let _server = sites.serve();
    let sender = sites.begin(&sites.sending(&source, "", &SLOWLY));
    sites.await_blocks(&sites.root(), 1, &sender);
    assert_eq!(fs::read(&there).expect("there"), b"old");
    succeeded(&finish(sender));
    content::assert_same(&source, &there);
    let staged = fs::read_dir(sites.root().join(".farhaul/staging"));
    let left: Vec<_> = staged.into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| name == OsStr::new("")), "left behind: {left:?}");
}

/// What somebody else put there meanwhile is theirs, even where the transfer would replace a file.
#[test]
fn a_destination_that_somebody_changes_meanwhile_is_left_to_them() {
    let test = "a_destination_that_somebody_changes_meanwhile_is_left_to_them";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.file("data.bin", content::bytes(1, LEN));
    let there = sites.root().join("data.bin");
    let _server = sites.serve();
    for (before, theirs) in [(Some("old"), "edited meanwhile"), (None, "made meanwhile")] {
        match before {
            Some(old) => fs::write(&there, old).expect("writable"),
            None => fs::remove_file(&there).expect("the one of the round before"),
        }
        let sender = sites.begin(&sites.sending(&source, "", &SLOWLY));
        sites.await_blocks(&sites.root(), 1, &sender);
        fs::write(&there, theirs).expect("writable");
        let words = ["data.bin", "changed at the destination", "run the same command again"];
        assert_failed(&finish(sender), 1, &words);
        assert_eq!(fs::read(&there).expect("theirs"), theirs.as_bytes());
        sites.send(&source, "", &[]);
        content::assert_same(&source, &there);
    }
}
