//! The same transfer once more: what is in place, what another attempt puts there meanwhile, and
//! what differs only in its mode.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::commit::CommitError;
use farhaul_engine::files::stop::Stop;
use kit::{BLOCK, Pair, as_plain_user, carry_and_stop, noise, send, set_mode, set_mtime, tree};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

/// One of each kind, none of them with a mode or time that it would have by chance.
fn with_each_kind() -> Pair {
    let pair = Pair::new();
    fs::create_dir(pair.from("dir")).unwrap();
    fs::write(pair.from("dir/empty"), "").unwrap();
    fs::write(pair.from("dir/small"), "small").unwrap();
    fs::write(pair.from("large"), noise(1, BLOCK + 777)).unwrap();
    symlink("large", pair.from("link")).unwrap();
    for (name, nanos) in [("dir/empty", 1), ("dir/small", 2), ("large", 3), ("link", 4)] {
        set_mtime(&pair.from(name), 1_000_000_000, nanos);
    }
    set_mode(&pair.from("dir/small"), 0o640);
    pair
}

#[test]
fn what_another_attempt_put_in_place_meanwhile_has_arrived() {
    let pair = with_each_kind();
    let (first, second) = (pair.open(), pair.open());
    assert_eq!(first.run().failures, []);
    let report = second.run();
    assert_eq!((report.failures, report.committed), (vec![], 4));
    assert_eq!(tree(&pair.from("")), {
        let mut there = tree(&pair.target());
        there.retain(|name, _| !name.starts_with(b".farhaul"));
        there
    });
    drop((first, second));
    assert!(pair.is_clean());
}

#[test]
fn what_another_attempt_replaced_meanwhile_has_arrived() {
    let pair = with_each_kind();
    fs::create_dir(pair.to("dir")).unwrap();
    for name in ["dir/empty", "dir/small", "large", "link"] {
        fs::write(pair.to(name), "of an older version").unwrap();
    }
    let (first, second) = (pair.open(), pair.open());
    assert_eq!(first.run().failures, []);
    assert_eq!(second.run().failures, []);
    drop((first, second));
    assert!(pair.is_clean());
    assert_eq!(tree(&pair.target()), tree(&pair.from("")));
}

#[test]
fn what_another_attempt_replaced_is_no_excuse_to_leave_it_when_all_is_sent_anew() {
    let pair = with_each_kind();
    let (first, second) = (pair.open(), pair.open_anew());
    assert_eq!(first.run().failures, []);
    let failures = second.run().failures;
    assert_eq!(failures.len(), 3, "all but the link: {failures:?}");
    let changed = |error: &CommitError| matches!(error, CommitError::DestinationChanged { .. });
    assert!(failures.iter().all(|(_, error)| changed(error)), "{failures:?}");
}

#[test]
fn a_commit_that_nobody_waits_for_any_more_places_nothing() {
    let pair = Pair::new();
    for n in 0..20 {
        fs::write(pair.from(&format!("{n}")), "").unwrap();
    }
    symlink("x", pair.from("link")).unwrap();
    let transfer = pair.open();
    let stop = Stop::default();
    stop.set();
    transfer.receiver.commit_all_plain(&stop);
    drop(transfer);
    assert_eq!(tree(&pair.target()), tree(&Pair::new().target()));
}

#[test]
fn files_that_share_an_inode_at_the_destination_are_all_replaced_at_once() {
    let pair = Pair::new();
    for (to, names) in [("small", ["a", "b", "c"]), ("large", ["x", "y", "z"])] {
        fs::write(pair.to(to), "old").unwrap();
        set_mtime(&pair.to(to), 5, 5);
        for (n, name) in (0u64..).zip(names) {
            let len = if to == "large" { BLOCK + 1 } else { 100 };
            fs::write(pair.from(name), noise(n, len)).unwrap();
            fs::hard_link(pair.to(to), pair.to(name)).unwrap();
        }
    }
    assert_eq!(pair.open().run().failures, []);
    for (n, name) in ["a", "b", "c", "x", "y", "z"].iter().enumerate() {
        let content = fs::read(pair.from(name)).unwrap();
        assert!(fs::read(pair.to(name)).unwrap() == content, "{name}, number {n}");
    }
    assert_eq!(fs::read(pair.to("small")).unwrap(), b"old");
}

#[test]
fn a_file_with_several_names_that_somebody_wrote_to_is_not_replaced() {
    let pair = Pair::new();
    fs::write(pair.from("a"), "new").unwrap();
    fs::write(pair.to("a"), "of an older version").unwrap();
    fs::hard_link(pair.to("a"), pair.to("b")).unwrap();
    let transfer = pair.open();
    fs::write(pair.to("b"), "newer").unwrap();
    let failures = transfer.run().failures;
    assert!(matches!(failures[..], [(0, CommitError::DestinationChanged { .. })]));
    assert_eq!(fs::read(pair.to("a")).unwrap(), b"newer");
}

#[test]
fn all_is_sent_and_replaced_when_nothing_shall_be_taken_up() {
    let pair = with_each_kind();
    send(&pair.sources(), &pair.target());
    // Damage that neither size nor time nor mode shows.
    for (name, nanos) in [("dir/small", 2), ("large", 3)] {
        let mut content = fs::read(pair.to(name)).unwrap();
        content[1] ^= 1;
        fs::write(pair.to(name), content).unwrap();
        set_mtime(&pair.to(name), 1_000_000_000, nanos);
    }
    assert!(pair.open().layout().is_empty());
    let anew = pair.open_anew();
    assert_eq!(anew.plan.skipped_files, 0);
    let report = anew.run();
    assert_eq!((report.failures, report.committed, report.skipped_files), (vec![], 3, 0));
    drop(anew);
    assert_eq!(tree(&pair.target()), tree(&pair.from("")));
}

#[test]
fn a_file_that_differs_only_in_its_mode_gets_the_mode_and_no_data() {
    let pair = with_each_kind();
    send(&pair.sources(), &pair.target());
    let names = ["dir/empty", "dir/small", "large"];
    let inodes = || names.map(|name| fs::metadata(pair.to(name)).unwrap().ino());
    let before = inodes();
    set_mode(&pair.to("dir/small"), 0o000);
    for (name, mode) in names.iter().zip([0o600, 0o400, 0o751]) {
        set_mode(&pair.from(name), mode);
    }
    let transfer = pair.open();
    assert!(transfer.layout().is_empty());
    let report = transfer.run();
    assert_eq!((report.failures, report.committed, report.skipped_files), (vec![], 0, 3));
    drop(transfer);
    assert_eq!(tree(&pair.target()), tree(&pair.from("")));
    assert_eq!(inodes(), before);
    assert!(pair.is_clean());
}

#[test]
fn the_mode_of_a_file_that_changed_meanwhile_is_left_alone() {
    let pair = with_each_kind();
    send(&pair.sources(), &pair.target());
    set_mode(&pair.from("large"), 0o600);
    set_mode(&pair.from("dir/small"), 0o600);
    let transfer = pair.open();
    fs::write(pair.to("large"), "newer").unwrap();
    set_mode(&pair.to("large"), 0o444);
    fs::remove_file(pair.to("dir/small")).unwrap();
    symlink("../large", pair.to("dir/small")).unwrap();
    let report = transfer.run();
    let changed = |error: &CommitError| matches!(error, CommitError::DestinationChanged { .. });
    assert_eq!(report.failures.len(), 2, "{:?}", report.failures);
    assert!(report.failures.iter().all(|(_, error)| changed(error)), "{:?}", report.failures);
    assert_eq!(report.skipped_files, 1);
    assert_eq!(fs::metadata(pair.to("large")).unwrap().mode() & 0o7777, 0o444);
}

#[test]
fn the_mode_of_a_file_with_other_names_is_not_changed_under_them() {
    let pair = with_each_kind();
    send(&pair.sources(), &pair.target());
    fs::hard_link(pair.to("dir/small"), pair.to("other name")).unwrap();
    set_mode(&pair.from("dir/small"), 0o600);
    assert_eq!(pair.open().run().failures, []);
    let mode = |name| fs::metadata(pair.to(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("dir/small"), mode("other name")), (0o600, 0o640));
}

#[test]
fn a_staged_file_that_was_killed_with_its_final_mode_is_taken_up_again() {
    as_plain_user("taking up a read-only staged file", || {
        let (pair, content) = Pair::with_large();
        set_mode(&pair.from("large"), 0o444);
        carry_and_stop(&pair, &[0, 1, 2, 3]);
        set_mode(&pair.staged("part"), 0o444);
        assert!(fs::File::options().write(true).open(pair.staged("part")).is_err());
        let transfer = pair.open();
        assert_eq!(transfer.plan.resumed_bytes, content.len() as u64);
        assert_eq!(transfer.run().failures, []);
        drop(transfer);
        assert_eq!(tree(&pair.target()), tree(&pair.from("")));
    });
}
