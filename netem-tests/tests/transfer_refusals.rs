//! Who is refused, and what is never touched: strangers, impostors, and paths that lead outside.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::sites::assert_failed;
use farhaul_netem_tests::{LabProfile, Sites, require};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

fn link() -> LabProfile {
    LabProfile::from_toml("rate = '100Mbit/s'\nrtt = '20ms'").expect("well-formed")
}

/// A directory beside the root with a file that nobody may change.
fn canary(sites: &Sites) -> PathBuf {
    let outside = sites.path("outside");
    fs::create_dir(&outside).expect("a fresh directory");
    fs::write(outside.join("canary"), "alive").expect("a fresh file");
    outside
}

/// Nothing was added, removed or changed beside the root.
#[track_caller]
fn assert_untouched(outside: &std::path::Path) {
    let names = fs::read_dir(outside).expect("still there").flatten().map(|e| e.file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["canary"]);
    assert_eq!(fs::read(outside.join("canary")).expect("still there"), b"alive");
}

#[test]
fn a_site_that_is_not_allowed_is_refused() {
    let sites = require!("a_site_that_is_not_allowed_is_refused", Sites::start(&link()));
    let source = sites.file("file", "data");
    let _server = sites.serve();
    let stranger = sites.host("stranger");
    let mut command = sites.command(&stranger, "send", &[]);
    let refused = sites.run(command.arg(&source).arg(sites.at_server("in")));
    assert_failed(&refused, 3, &["--allow", "farhaul id"]);
    let mut command = sites.command(&stranger, "get", &[]);
    let refused = sites.run(command.arg(sites.at_server("")).arg(sites.path("back")));
    assert_failed(&refused, 3, &["--allow", "farhaul id"]);
    assert_eq!(fs::read_dir(sites.root()).expect("served").count(), 0);
}

#[test]
fn a_server_that_is_somebody_else_gets_nothing() {
    let sites = require!("a_server_that_is_somebody_else_gets_nothing", Sites::start(&link()));
    let source = sites.file("file", "data");
    let _server = sites.serve();
    let expected = sites.host("expected");
    let wrong = sites.at_server("in").replace(&sites.server.id, &expected.id);
    let mut command = sites.command(&sites.client, "send", &[]);
    let refused = sites.run(command.arg(&source).arg(wrong));
    assert_failed(&refused, 3, &["check the id and the address"]);
    assert_eq!(fs::read_dir(sites.root()).expect("served").count(), 0);
}

#[test]
fn getting_what_is_not_there_is_refused() {
    let sites = require!("getting_what_is_not_there_is_refused", Sites::start(&link()));
    let _server = sites.serve();
    let refused = sites.run(&sites.getting("no/such", sites.path("back"), &[]));
    assert_failed(&refused, 3, &["no/such", "check the path"]);
}

#[test]
fn sending_what_is_not_there_is_an_error_of_this_host() {
    let test = "sending_what_is_not_there_is_an_error_of_this_host";
    let sites = require!(test, Sites::start(&link()));
    let refused = sites.run(&sites.sending(sites.path("no-such"), "in", &[]));
    assert_failed(&refused, 4, &["no-such"]);
}

#[test]
fn a_destination_above_the_root_is_refused() {
    let sites = require!("a_destination_above_the_root_is_refused", Sites::start(&link()));
    let outside = canary(&sites);
    let source = sites.file("canary", "dead");
    let _server = sites.serve();
    let absolute = outside.to_str().expect("a plain name").to_owned();
    for dest in ["../outside", "a/../../outside", "..", &absolute] {
        let refused = sites.run(&sites.sending(&source, dest, &[]));
        assert_failed(&refused, 3, &["refused"]);
        assert_untouched(&outside);
    }
}

#[test]
fn a_source_above_the_root_is_refused() {
    let sites = require!("a_source_above_the_root_is_refused", Sites::start(&link()));
    let outside = canary(&sites);
    let _server = sites.serve();
    let absolute = outside.to_str().expect("a plain name").to_owned();
    symlink(&outside, sites.root().join("link")).expect("a fresh name");
    for path in ["../outside/canary", "a/../../outside", "..", &absolute, "link/canary", "link/"] {
        let refused = sites.run(&sites.getting(path, sites.path("back"), &[]));
        assert_failed(&refused, 3, &["refused"]);
        content::assert_absent(&sites.path("back/canary"));
    }
}

#[test]
fn a_link_in_the_destination_path_leads_nowhere() {
    let sites = require!("a_link_in_the_destination_path_leads_nowhere", Sites::start(&link()));
    let outside = canary(&sites);
    let source = sites.file("canary", "dead");
    symlink(&outside, sites.root().join("link")).expect("a fresh name");
    let _server = sites.serve();
    for dest in ["link", "link/", "link/deeper"] {
        let refused = sites.run(&sites.sending(&source, dest, &[]));
        assert_failed(&refused, 3, &["refused", "link"]);
        assert_untouched(&outside);
    }
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let test = "a_link_in_the_place_of_a_directory_is_not_followed";
    let sites = require!(test, Sites::start(&link()));
    let outside = canary(&sites);
    let tree = sites.path("tree");
    fs::create_dir_all(tree.join("sub")).expect("a fresh directory");
    fs::write(tree.join("sub/canary"), "dead").expect("a fresh file");
    fs::write(tree.join("sub/large"), content::bytes(1, 2 * MIB)).expect("a fresh file");
    fs::write(tree.join("good"), "good").expect("a fresh file");
    fs::create_dir(sites.root().join("tree")).expect("a fresh directory");
    symlink(&outside, sites.root().join("tree/sub")).expect("a fresh name");
    let _server = sites.serve();
    let ended = sites.run(&sites.sending(&tree, "", &[]));
    assert_failed(&ended, 1, &["tree/sub"]);
    assert_untouched(&outside);
    content::assert_same(&tree.join("good"), &sites.root().join("tree/good"));
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_written_through() {
    let test = "a_link_in_the_place_of_a_file_is_replaced_and_not_written_through";
    let sites = require!(test, Sites::start(&link()));
    let outside = canary(&sites);
    let source = sites.file("file", "new");
    symlink(outside.join("canary"), sites.root().join("file")).expect("a fresh name");
    let _server = sites.serve();
    sites.send(&source, "", &[]);
    assert_untouched(&outside);
    assert!(fs::symlink_metadata(sites.root().join("file")).expect("there").is_file());
}

#[test]
fn words_that_make_no_sense_are_an_error_of_usage() {
    let test = "words_that_make_no_sense_are_an_error_of_usage";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.file("file", "data");
    let whole = sites.at_server("in");
    let (id, place) = whole.split_once('@').expect("ID@HOST");
    for (target, option) in [
        (place, "--quiet"),
        (id, "--quiet"),
        ("abc@10.77.0.2:in", "--quiet"),
        (&whole, "--rate=fast"),
        (&whole, "--policy=fixed"),
        (&whole, "--no-such-option"),
    ] {
        let mut command = Command::new(sites.program());
        command.arg("send").arg("--home").arg(sites.path("client-home"));
        let ended = sites.run(command.arg(option).arg(&source).arg(target));
        assert_eq!(ended.usage.exit_code, 2, "{option} {target}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty());
    }
}
