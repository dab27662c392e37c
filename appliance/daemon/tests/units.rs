//! The units of `systemd/` are what systemd takes, and let the daemon's own signals be.

use std::path::Path;
use std::process::Command;

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/farhauld.service");
    std::fs::read_to_string(path).expect("a file of the source")
}

/// systemd-analyze wants the program to be there, and its user: both are those of this test.
#[test]
fn systemd_takes_the_unit() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("farhauld.service");
    let program = env!("CARGO_BIN_EXE_farhauld");
    let text = unit().replace("/usr/bin/farhauld", program);
    let text = text.replace("User=farhaul", "User=root").replace("Group=farhaul", "Group=root");
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new("systemd-analyze");
    let Ok(output) = command.arg("--man=no").arg("verify").arg(&path).output() else {
        eprintln!("skipped by name: systemd_takes_the_unit: systemd-analyze is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    // Other units of this machine may be told of; this one must not be.
    let faults: Vec<&str> = told.lines().filter(|line| line.contains("farhauld.service")).collect();
    assert!(output.status.success() && faults.is_empty(), "{told}");
}

#[test]
fn each_line_that_takes_something_away_is_followed_by_no_other_without_a_reason() {
    let text = unit();
    let mut has_reason = false;
    for line in text.lines() {
        match line.chars().next() {
            None => has_reason = false,
            Some('#' | '[') => has_reason = true,
            Some(_) => assert!(has_reason, "`{line}` stands without a reason above it"),
        }
    }
}

/// A reason per line: nobody can tell later what a line is for that stands among others.
#[test]
fn every_directive_has_a_comment_of_its_own_directly_above_it() {
    let (text, mut before, mut directives) = (unit(), "", 0);
    for line in text.lines() {
        let is_directive = !line.is_empty() && !line.starts_with(['#', '[']);
        if is_directive {
            directives += 1;
            assert!(before.starts_with("# "), "`{line}` has no reason of its own");
        }
        before = line;
    }
    assert!(directives > 40, "{directives} directives");
}

/// With it systemd forbids `openat2`, by which paths are resolved in one call.
#[test]
fn nothing_keeps_it_from_resolving_paths_by_the_kernel() {
    let text = unit();
    let settings = || text.lines().filter(|line| !line.starts_with('#'));
    for forbids in ["RestrictSUIDSGID=", "DynamicUser="] {
        assert!(settings().all(|line| !line.starts_with(forbids)), "{forbids} forbids openat2");
    }
}

/// What it exits with for faults that another start does not mend is what the unit does not restart.
#[test]
fn faults_that_stay_are_not_tried_again() {
    assert!(unit().contains("\nRestartPreventExitStatus=2 4\n"));
}
