//! A disk that fills up, in a mount namespace of the test's own: the test starts itself again
//! there. Where namespaces are not permitted it says so, past the test harness, and checks
//! nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const TINY: &str = "FARHAUL_TEST_TINY_DISK";

/// Where the tiny disk is, in the process that has it; otherwise runs the test `name` there, and
/// returns when that has passed.
pub(crate) fn tiny_disk(name: &str, size: &str) -> Option<PathBuf> {
    if let Some(tiny) = std::env::var_os(TINY) {
        return Some(tiny.into());
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    if may_mount(home.path()) {
        run_inside(home.path(), name, size);
    } else {
        let line = format!("skipped by name: {name} because mount namespaces are not permitted\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    }
    None
}

fn may_mount(place: &Path) -> bool {
    let mut command = Command::new("unshare");
    command.args(["-Urm", "mount", "-t", "tmpfs", "none"]).arg(place);
    command.status().is_ok_and(|status| status.success())
}

fn run_inside(home: &Path, name: &str, size: &str) {
    let script =
        "mount -t tmpfs -o \"size=$3\" none \"$1\" && exec \"$2\" --exact --nocapture \"$4\"";
    let ran = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(home)
        .arg(std::env::current_exe().expect("the test itself"))
        .args([size, name])
        .env(TINY, home)
        .status();
    assert!(ran.expect("it began before").success(), "{name} fails on a tiny disk");
}
