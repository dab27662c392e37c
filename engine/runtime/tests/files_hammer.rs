//! The destination changes between directory and link at full speed while files are committed:
//! nothing outside the root may change.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::Root;
use farhaul_engine::files::dir::Resolver;
use kit::{BLOCK, PEER, Transfer, contents_of, noise, rel, tree};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ROUNDS_MIN: u32 = 150;
/// So many are only needed where the hammer hardly gets to run.
const ROUNDS_MAX: u32 = 20_000;

/// Swaps `a` and `b` until told to stop; counts the swaps.
fn hammer(a: &Path, b: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
        swaps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `act` while `to/dir` flips between a directory and a link to `canary`; returns the swaps.
fn while_flipping(home: &Path, act: impl FnOnce()) -> u64 {
    fs::create_dir_all(home.join("canary")).unwrap();
    fs::create_dir_all(home.join("to/dir")).unwrap();
    fs::write(home.join("canary/keep"), "canary").unwrap();
    symlink("../canary", home.join("to/link")).unwrap();
    let before = tree(&home.join("canary"));
    let links_before = fs::metadata(home.join("canary/keep")).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (a, b) = (home.join("to/dir"), home.join("to/link"));
        let (stop, swaps) = (&stop, &swaps);
        scope.spawn(move || hammer(&a, &b, stop, swaps));
        // Lets go of the hammer whatever happens here.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        acted.unwrap();
    });
    assert_eq!(tree(&home.join("canary")), before);
    let links = |meta: &fs::Metadata| std::os::unix::fs::MetadataExt::nlink(meta);
    let after = fs::metadata(home.join("canary/keep")).unwrap();
    assert_eq!(links(&after), links(&links_before));
    swaps.into_inner()
}

#[test]
fn commits_never_leave_the_root_while_a_parent_flips_to_a_link() {
    commits_stay_beneath(Resolver::Openat2);
}

#[test]
fn commits_by_the_walk_never_leave_the_root_either() {
    commits_stay_beneath(Resolver::Walk);
}

fn commits_stay_beneath(resolver: Resolver) {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir_all(from.join("dir/new")).unwrap();
    fs::write(from.join("dir/keep"), "attack").unwrap();
    fs::write(from.join("dir/empty"), "").unwrap();
    fs::write(from.join("dir/new/file"), "attack").unwrap();
    fs::write(from.join("dir/large"), noise(1, BLOCK + 5)).unwrap();
    symlink("/etc", from.join("dir/away")).unwrap();
    let (mut committed, mut failed) = (0, 0);
    let swaps = while_flipping(home.path(), || {
        let root = Root::open_with(&home.path().join("to"), resolver).unwrap();
        for round in 0..ROUNDS_MAX {
            if round >= ROUNDS_MIN && committed > 0 && failed > 0 {
                break;
            }
            // A new version each time, so that every round replaces what the last one placed.
            fs::write(from.join("dir/keep"), format!("attack {round}")).unwrap();
            let transfer = Transfer::open_in(&root, &[contents_of(&from)], None, PEER).unwrap();
            let report = transfer.run_tolerantly();
            committed += report.committed;
            failed += report.failures.len();
        }
    });
    assert!(swaps > 0 && committed > 0 && failed > 0, "{swaps} {committed} {failed}");
}

#[test]
fn reads_never_leave_the_root_while_a_parent_flips_to_a_link() {
    for resolver in [Resolver::Openat2, Resolver::Walk] {
        let home = tempfile::tempdir().unwrap();
        let (mut inside, mut refused) = (0, 0);
        let swaps = while_flipping(home.path(), || {
            fs::create_dir_all(home.path().join("to/fixed")).unwrap();
            let root = Root::open_with(&home.path().join("to"), resolver).unwrap();
            for round in 0..50 * ROUNDS_MAX {
                if round >= 50 * ROUNDS_MIN && inside > 0 && refused > 0 {
                    break;
                }
                // Only the canary holds a file of this name.
                assert!(root.open_file(&rel(b"dir/keep")).is_err());
                match root.open_dir(&rel(b"dir")) {
                    Ok(_) => inside += 1,
                    Err(_) => refused += 1,
                }
            }
        });
        assert!(swaps > 0 && inside > 0 && refused > 0, "{swaps} {inside} {refused}");
    }
}
