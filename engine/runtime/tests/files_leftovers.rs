//! What an attempt that ended early leaves behind, and what becomes of it.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::commit::CommitError;
use kit::{BLOCK, Pair, carry_and_stop, noise, set_mode};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Names in the staging directory.
fn staged_names(pair: &Pair) -> Vec<String> {
    let names = fs::read_dir(pair.to(".farhaul/staging")).unwrap();
    names.map(|item| item.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn data_staged_for_an_older_version_makes_room_when_the_next_one_is_planned() {
    let (pair, _) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1]);
    let old = staged_names(&pair);
    let content = noise(2, 3 * BLOCK + 999);
    fs::write(pair.from("large"), &content).unwrap();
    let transfer = pair.open();
    assert!(old.iter().all(|name| !pair.to(".farhaul/staging").join(name).exists()));
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
}

#[test]
fn data_of_an_older_version_that_is_still_arriving_is_left_alone() {
    let (pair, _) = Pair::with_large();
    let first = pair.open();
    let staged = first.receiver.stage(0).unwrap();
    first.carry(&staged, 0, 0);
    let held = staged_names(&pair);
    fs::write(pair.from("large"), noise(2, 3 * BLOCK + 999)).unwrap();
    let _second = pair.open();
    assert!(held.iter().all(|name| pair.to(".farhaul/staging").join(name).exists()));
}

#[test]
fn what_is_staged_of_a_version_that_is_gone_goes_with_it() {
    let (pair, _) = Pair::with_large();
    let transfer = pair.open();
    let staged = transfer.receiver.stage(0).unwrap();
    transfer.carry(&staged, 0, 0);
    transfer.receiver.abandon_version(0);
    assert_eq!(staged_names(&pair), Vec::<String>::new());
}

#[test]
fn a_staged_file_that_was_set_aside_by_a_killed_commit_is_taken_up_again() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1, 2, 3]);
    let part = pair.staged("part");
    let kept = part.with_extension("part.kept");
    fs::rename(&part, &kept).unwrap();
    let transfer = pair.open();
    assert_eq!(transfer.plan.have.len(), 1);
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
    assert!(pair.is_clean());
}

#[test]
fn a_version_of_the_users_that_a_killed_commit_displaced_is_never_removed() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0]);
    let kept = pair.staged("part").with_extension("part.kept");
    fs::write(&kept, "the user's").unwrap();
    assert_eq!(pair.open().run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
    assert_eq!(fs::read(&kept).unwrap(), b"the user's");
}

#[test]
fn what_never_arrives_is_a_failure_at_the_end() {
    let (pair, _) = Pair::with_large();
    let report = pair.open().receiver.finish();
    assert!(matches!(report.failures[..], [(0, CommitError::NotPlaced { .. })]));
}

#[test]
fn a_directory_that_was_opened_up_for_a_transfer_is_closed_again_when_it_stops() {
    let pair = Pair::new();
    for dir in [pair.from("dir"), pair.to("dir")] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(pair.from("dir/file"), "x").unwrap();
    set_mode(&pair.to("dir"), 0o511);
    let mode = || fs::metadata(pair.to("dir")).unwrap().mode() & 0o7777;
    let transfer = pair.open();
    assert_eq!(mode(), 0o711);
    drop(transfer);
    assert_eq!(mode(), 0o511);
    set_mode(&pair.from("dir"), 0o311);
    assert_eq!(pair.open().run().failures, []);
    assert_eq!(mode(), 0o311);
    set_mode(&pair.from("dir"), 0o711);
}
