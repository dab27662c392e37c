//! Whole transfers between two directories, without a network: what arrives, what is resumed,
//! what is refused.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::commit::CommitError;
use farhaul_engine::files::dir::Resolver;
use farhaul_engine::files::staging::StagingError;
use farhaul_engine::files::{ReceiveError, ReceiveOptions, Receiver, Root, SourceError};
use farhaul_proto::layout::ObjectKind;
use farhaul_proto::manifest::{Entry, EntryKind, Extents, FileTime, Manifest};
use kit::{
    BLOCK, PEER, Pair, Transfer, carry_and_stop, noise, os, rel, send, set_mode, set_mtime, tree,
};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// A tree with one of everything.
fn with_everything() -> Pair {
    let pair = Pair::new();
    let long = [b'n'; 255];
    fs::create_dir_all(pair.from("dir/deeper")).unwrap();
    fs::create_dir(pair.from("empty dir")).unwrap();
    for name in [&b"-rf"[..], b"a\nb", b"\xff\xfe", b"..x", &long] {
        fs::write(pair.from("dir").join(os(name)), name).unwrap();
        set_mtime(&pair.from("dir").join(os(name)), -3, 999_999_999);
    }
    for n in 0..40 {
        fs::write(pair.from(&format!("dir/deeper/{n}")), noise(n, 1000)).unwrap();
    }
    fs::write(pair.from("empty"), "").unwrap();
    fs::write(pair.from("large"), noise(9, 2 * BLOCK + 5)).unwrap();
    fs::write(pair.from("tool"), "#!").unwrap();
    set_mode(&pair.from("tool"), 0o6711);
    symlink("/nowhere/at all", pair.from("link")).unwrap();
    let sparse = File::create(pair.from("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(&noise(5, 3 << 20), 7 << 20).unwrap();
    File::create(pair.from("hole")).unwrap().set_len(1 << 20).unwrap();
    set_mtime(&pair.from("large"), 1_234_567_890, 123_456_789);
    set_mtime(&pair.from("link"), 77, 88);
    set_mtime(&pair.from("dir/deeper"), 1, 2);
    set_mode(&pair.from("dir"), 0o555);
    set_mtime(&pair.from("dir"), 3, 4);
    pair
}

#[test]
fn a_tree_arrives_whole() {
    let pair = with_everything();
    let (plan, report) = send(&pair.sources(), &pair.target());
    assert_eq!(report.failures, []);
    assert_eq!((plan.skipped_files, plan.resumed_bytes), (0, 0));
    let mut expected = tree(&pair.from(""));
    expected.get_mut(&b"tool"[..]).unwrap().mode = 0o711;
    assert_eq!(tree(&pair.target()), expected);
    assert_eq!(report.committed, 40 + 5 + 5 + 1);
}

#[test]
fn a_tree_arrives_whole_where_the_kernel_cannot_resolve() {
    let pair = with_everything();
    let root = Root::open_with(&pair.target(), Resolver::Walk).unwrap();
    let transfer = Transfer::open_in(&root, &pair.sources(), None, PEER).unwrap();
    assert_eq!(transfer.run().failures, []);
    drop(transfer);
    let mut expected = tree(&pair.from(""));
    expected.get_mut(&b"tool"[..]).unwrap().mode = 0o711;
    assert_eq!(tree(&pair.target()), expected);
}

#[test]
fn holes_stay_holes() {
    let pair = with_everything();
    send(&pair.sources(), &pair.target());
    for name in ["sparse", "hole"] {
        let (from, to) = (fs::metadata(pair.from(name)), fs::metadata(pair.to(name)));
        assert!(to.unwrap().blocks() <= from.unwrap().blocks() + 16, "{name}");
    }
}

#[test]
fn what_is_in_place_is_not_sent_again() {
    let pair = with_everything();
    set_mode(&pair.from("tool"), 0o711);
    send(&pair.sources(), &pair.target());
    let again = pair.open();
    assert!(again.layout().is_empty());
    assert_eq!(again.plan.skipped_files, 40 + 5 + 5);
    let report = again.run();
    assert_eq!((report.committed, report.failures), (0, vec![]));
    drop(again);
    assert_eq!(tree(&pair.target()), tree(&pair.from("")));
    assert!(pair.is_clean());
}

#[test]
fn only_what_changed_is_sent_and_it_replaces_the_old() {
    let pair = with_everything();
    send(&pair.sources(), &pair.target());
    fs::write(pair.from("tool"), "changed").unwrap();
    fs::write(pair.from("large"), noise(10, BLOCK + 9)).unwrap();
    fs::hard_link(pair.to("tool"), pair.to("other name")).unwrap();
    let transfer = pair.open();
    assert_eq!(transfer.layout().objects.len(), 2);
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("tool")).unwrap(), b"changed");
    assert_eq!(fs::read(pair.to("other name")).unwrap(), b"#!");
    assert_eq!(fs::read(pair.to("large")).unwrap(), noise(10, BLOCK + 9));
}

#[test]
fn a_transfer_lands_below_its_destination_directory() {
    let pair = Pair::new();
    fs::write(pair.from("file"), "x").unwrap();
    let base = Some(rel(b"new/below"));
    let sources = [pair.from("file")];
    let transfer = Transfer::try_open(&sources, &pair.target(), base, PEER).unwrap();
    assert_eq!(transfer.run().failures, []);
    drop(transfer);
    assert_eq!(fs::read(pair.to("new/below/file")).unwrap(), b"x");
    assert!(pair.is_clean());
}

#[test]
fn a_stopped_transfer_goes_on_where_it_was() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1, 3]);
    let transfer = pair.open();
    let runs: Vec<_> = transfer.plan.have.iter().map(|h| (h.first, h.count)).collect();
    assert_eq!(runs, [(0, 2), (3, 1)]);
    assert_eq!(transfer.plan.resumed_bytes, 2 * BLOCK as u64 + 777);
    let staged = transfer.receiver.stage(0).unwrap();
    assert_eq!(staged.journal.missing(), 1);
    let digest = transfer.carry(&staged, 0, 3);
    assert_eq!(transfer.plan.have[1].digest, *blake3::hash(&digest).as_bytes());
    drop(staged);
    assert_eq!(transfer.run().failures, []);
    drop(transfer);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
    assert!(pair.is_clean());
}

#[test]
fn a_flipped_byte_in_staged_data_is_found() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1, 2]);
    let part = File::options().read(true).write(true).open(pair.staged("part")).unwrap();
    let at = BLOCK as u64 + 4711;
    let mut byte = [0];
    part.read_exact_at(&mut byte, at).unwrap();
    part.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let transfer = pair.open();
    assert!(transfer.has(0, 0) && !transfer.has(0, 1) && transfer.has(0, 2));
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
}

#[test]
fn a_torn_journal_costs_only_its_torn_record() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1, 2]);
    let journal = File::options().write(true).open(pair.staged("journal")).unwrap();
    journal.set_len(journal.metadata().unwrap().len() - 1).unwrap();
    let transfer = pair.open();
    assert!(transfer.has(0, 0) && transfer.has(0, 1) && !transfer.has(0, 2));
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
}

#[test]
fn a_journal_that_lies_is_not_believed() {
    let (pair, _) = Pair::with_large();
    carry_and_stop(&pair, &[0]);
    let part = File::options().write(true).open(pair.staged("part")).unwrap();
    part.set_len(0).unwrap();
    assert_eq!(pair.open().plan.have, []);
}

#[test]
fn staged_data_of_another_version_or_peer_is_not_taken_up() {
    let (pair, _) = Pair::with_large();
    carry_and_stop(&pair, &[0, 1]);
    let other = Transfer::try_open(&pair.sources(), &pair.target(), None, [2; 32]).unwrap();
    assert_eq!(other.plan.have, []);
    set_mtime(&pair.from("large"), 5, 5);
    assert_eq!(pair.open().plan.have, []);
}

#[test]
fn a_staged_file_with_a_second_name_is_never_written_to() {
    let (pair, content) = Pair::with_large();
    carry_and_stop(&pair, &[0]);
    let precious = pair.to("precious");
    fs::hard_link(pair.staged("part"), &precious).unwrap();
    let before = fs::read(&precious).unwrap();
    let transfer = pair.open();
    assert_eq!(transfer.plan.have, []);
    assert_eq!(transfer.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
    assert_eq!(fs::read(precious).unwrap(), before);
}

#[test]
fn resuming_can_be_switched_off() {
    let (pair, _) = Pair::with_large();
    carry_and_stop(&pair, &[0]);
    let manifest = Arc::clone(&pair.open().source.scanned().manifest);
    let root = Root::open(&pair.target()).unwrap();
    let options = ReceiveOptions { resume: false, peer: PEER };
    let (receiver, plan) = Receiver::open(&root, None, manifest, options).unwrap();
    assert_eq!(plan.have, []);
    assert_eq!(receiver.stage(0).unwrap().journal.missing(), 4);
}

#[test]
fn two_transfers_of_one_file_do_not_mix() {
    let (pair, _) = Pair::with_large();
    let first = pair.open();
    let staged = first.receiver.stage(0).unwrap();
    let second = pair.open();
    let failures = second.receiver.failures();
    assert!(matches!(failures[..], [(0, CommitError::Staging { fault: StagingError::Busy, .. })]));
    assert!(second.plan.want.is_empty());
    first.carry(&staged, 0, 0);
    assert_eq!(first.run().failures, []);
}

/// Several blocks of it may come at once, and its sender is to hear of one reason.
#[test]
fn whoever_asks_again_for_a_file_that_failed_hears_the_same_reason() {
    let (pair, _) = Pair::with_large();
    let first = pair.open();
    let _held = first.receiver.stage(0).unwrap();
    let manifest = Arc::clone(&first.source.scanned().manifest);
    let root = Root::open(&pair.target()).unwrap();
    let options = ReceiveOptions { resume: false, peer: PEER };
    let (second, _) = Receiver::open(&root, None, manifest, options).unwrap();
    for _ in 0..2 {
        let refused = second.stage(0).map(|_| ());
        let is_busy =
            matches!(refused, Err(CommitError::Staging { fault: StagingError::Busy, .. }));
        assert!(is_busy, "{refused:?}");
    }
}

#[test]
fn a_transfer_does_not_remove_the_staging_directory_of_another() {
    let (pair, content) = Pair::with_large();
    let idle = pair.open();
    fs::write(pair.from("small"), "s").unwrap();
    assert_eq!(send(&[pair.from("small")], &pair.target()).1.failures, []);
    assert_eq!(idle.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
}

#[test]
fn a_commit_needs_every_block() {
    let (pair, _) = Pair::with_large();
    let transfer = pair.open();
    let staged = transfer.receiver.stage(0).unwrap();
    transfer.carry(&staged, 0, 1);
    let refused = transfer.receiver.commit(&staged);
    assert!(matches!(refused, Err(CommitError::Incomplete { missing: 3, .. })));
    assert!(!pair.to("large").exists());
}

/// Lets the destination change between plan and commit of `name`, then expects the refusal.
fn refuses_after(name: &str, pair: &Pair, change: impl FnOnce(&Path)) {
    let transfer = pair.open();
    change(&pair.to(name));
    let before = tree(&pair.target());
    let report = transfer.run();
    let entry = transfer.receiver.manifest().find(&rel(name.as_bytes())).unwrap();
    let [(failed, CommitError::DestinationChanged { .. })] = report.failures[..] else {
        panic!("{:?}", report.failures);
    };
    assert_eq!(failed, entry);
    let after = tree(&pair.target());
    assert_eq!(after[name.as_bytes()], before[name.as_bytes()]);
}

#[test]
fn a_destination_that_appeared_is_not_overwritten() {
    let (pair, content) = Pair::with_large();
    refuses_after("large", &pair, |path| fs::write(path, "user's").unwrap());
    // The data stays staged: the next attempt has everything.
    let again = pair.open();
    assert_eq!(again.plan.resumed_bytes, content.len() as u64);
    assert_eq!(again.run().failures, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content);
}

#[test]
fn a_destination_that_changed_is_not_overwritten() {
    let (pair, _) = Pair::with_large();
    fs::write(pair.to("large"), "old").unwrap();
    refuses_after("large", &pair, |path| fs::write(path, "newer").unwrap());
}

#[test]
fn a_destination_that_went_away_stays_away() {
    let (pair, _) = Pair::with_large();
    fs::write(pair.to("large"), "old").unwrap();
    let transfer = pair.open();
    fs::remove_file(pair.to("large")).unwrap();
    let failures = transfer.run().failures;
    assert!(matches!(failures[..], [(0, CommitError::DestinationChanged { .. })]));
    assert!(!pair.to("large").exists());
}

#[test]
fn a_changed_destination_fails_one_small_file_and_no_other() {
    let pair = Pair::new();
    for n in 0..30 {
        fs::write(pair.from(&format!("f{n:02}")), noise(n, 100)).unwrap();
    }
    refuses_after("f07", &pair, |path| fs::write(path, "user's").unwrap());
    let arrived =
        (0..30).filter(|n| fs::read(pair.to(&format!("f{n:02}"))).unwrap() == noise(*n, 100));
    assert_eq!(arrived.count(), 29);
}

#[test]
fn a_changed_destination_keeps_links_and_empty_files_out() {
    let pair = Pair::new();
    fs::write(pair.from("empty"), "").unwrap();
    symlink("target", pair.from("link")).unwrap();
    refuses_after("empty", &pair, |path| fs::write(path, "user's").unwrap());
    fs::remove_file(pair.to("link")).unwrap();
    fs::remove_file(pair.to("empty")).unwrap();
    refuses_after("link", &pair, |path| fs::write(path, "user's").unwrap());
}

#[test]
fn what_is_in_the_way_fails_alone() {
    let pair = Pair::new();
    fs::write(pair.from("file"), "x").unwrap();
    fs::write(pair.from("good"), "good").unwrap();
    fs::create_dir(pair.from("dir")).unwrap();
    fs::write(pair.from("dir/below"), "x").unwrap();
    fs::create_dir(pair.to("file")).unwrap();
    fs::write(pair.to("dir"), "a file").unwrap();
    let (_, report) = send(&pair.sources(), &pair.target());
    let [dir, below, file] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert!(matches!(dir, (0, CommitError::InTheWay { .. })));
    assert!(matches!(below, (1, CommitError::Place(_))));
    assert!(matches!(file, (2, CommitError::InTheWay { .. })));
    assert_eq!(fs::read(pair.to("good")).unwrap(), b"good");
    assert_eq!(fs::read(pair.to("dir")).unwrap(), b"a file");
    assert!(pair.to("file").is_dir());
}

#[test]
fn a_link_in_the_destination_is_not_followed() {
    let pair = Pair::new();
    let canary = pair.home.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("keep"), "canary").unwrap();
    set_mtime(&canary, 9, 9);
    fs::create_dir(pair.from("dir")).unwrap();
    fs::write(pair.from("dir/keep"), "attack").unwrap();
    fs::write(pair.from("dir/large"), noise(1, BLOCK + 1)).unwrap();
    symlink("x", pair.from("dir/link")).unwrap();
    symlink("../canary", pair.to("dir")).unwrap();
    let before = tree(pair.home.path());
    let (_, report) = send(&pair.sources(), &pair.target());
    assert_eq!(report.failures.len(), 4);
    let after = tree(pair.home.path());
    let outside = |name: &&Vec<u8>| name.starts_with(b"canary");
    assert!(before.keys().filter(outside).eq(after.keys().filter(outside)));
    assert!(before.keys().filter(outside).all(|name| before[name] == after[name]));
}

#[test]
fn a_link_at_a_files_place_is_replaced_not_written_through() {
    let pair = Pair::new();
    fs::write(pair.home.path().join("canary"), "canary").unwrap();
    fs::write(pair.from("file"), "new").unwrap();
    symlink("../canary", pair.to("file")).unwrap();
    assert_eq!(send(&pair.sources(), &pair.target()).1.failures, []);
    assert_eq!(fs::read(pair.home.path().join("canary")).unwrap(), b"canary");
    assert!(!pair.to("file").is_symlink());
    assert_eq!(fs::read(pair.to("file")).unwrap(), b"new");
}

#[test]
fn a_link_as_staging_directory_is_refused() {
    let (pair, _) = Pair::with_large();
    fs::create_dir_all(pair.home.path().join("elsewhere/staging")).unwrap();
    symlink("../elsewhere", pair.to(".farhaul")).unwrap();
    let refused = Transfer::try_open(&pair.sources(), &pair.target(), None, PEER);
    assert!(matches!(refused.err(), Some(ReceiveError::Staging(StagingError::Disk(_)))));
}

#[test]
fn a_staging_directory_that_others_may_write_to_is_refused() {
    let (pair, _) = Pair::with_large();
    fs::create_dir_all(pair.to(".farhaul/staging")).unwrap();
    set_mode(&pair.to(".farhaul/staging"), 0o777);
    let refused = Transfer::try_open(&pair.sources(), &pair.target(), None, PEER);
    assert!(matches!(refused.err(), Some(ReceiveError::Staging(StagingError::NotPrivate))));
}

#[test]
fn more_than_the_disk_holds_is_refused_with_figures() {
    let pair = Pair::new();
    let size = 1 << 50;
    let kind = EntryKind::File { size, extents: Extents::Full };
    let mtime = FileTime { secs: 1, nanos: 1 };
    let entries = vec![Entry { path: rel(b"huge"), mode: 0o644, mtime, kind }];
    let manifest = Arc::new(Manifest { entries });
    let root = Root::open(&pair.target()).unwrap();
    let options = ReceiveOptions { resume: true, peer: PEER };
    let refused = Receiver::open(&root, None, manifest, options);
    let Err(ReceiveError::NoSpace(figures)) = refused else { panic!("must not fit") };
    assert_eq!(figures.needed.get(), size + size / 100);
    assert!(0 < figures.available.get() && figures.available < figures.needed);
    assert!(pair.is_clean());
}

#[test]
fn a_source_that_changes_while_it_is_sent_is_found() {
    let (pair, _) = Pair::with_large();
    let transfer = pair.open();
    let staged = transfer.receiver.stage(0).unwrap();
    transfer.carry(&staged, 0, 0);
    assert!(transfer.source.check_unchanged(0).is_ok());
    let file = File::options().write(true).open(pair.from("large")).unwrap();
    file.write_all_at(b"!", 5).unwrap();
    set_mtime(&pair.from("large"), 1, 1);
    let changed = transfer.source.check_unchanged(0);
    assert!(matches!(changed, Err(SourceError::Changed { .. })));
    transfer.source.close(0);
    assert!(transfer.source.read_segments(0, 1).is_err());
}

#[test]
fn a_small_source_that_changed_fails_alone() {
    let pair = Pair::new();
    for name in ["a", "b", "c"] {
        fs::write(pair.from(name), name.repeat(5)).unwrap();
    }
    let transfer = pair.open();
    fs::write(pair.from("b"), "other").unwrap();
    set_mtime(&pair.from("b"), 1, 1);
    let mut data = [7; 15];
    let failed = transfer.source.read_bundle(0, &mut data).unwrap();
    assert!(matches!(failed[..], [ref one] if one.entry == 1));
    assert_eq!(&data, b"aaaaa\0\0\0\0\0ccccc");
    transfer.receiver.abandon(failed[0].entry);
    let spec = transfer.layout().object(0).unwrap();
    let outcomes = transfer.receiver.write_bundle(spec, &data);
    assert_eq!(outcomes.iter().map(|o| o.result.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    let report = transfer.receiver.finish();
    assert!(matches!(report.failures[..], [(1, CommitError::SourceFailed { .. })]));
    assert!(!pair.to("b").exists());
    assert_eq!(fs::read(pair.to("c")).unwrap(), b"ccccc");
}

#[test]
fn a_bundle_of_the_wrong_length_writes_nothing() {
    let pair = Pair::new();
    fs::write(pair.from("a"), "aaa").unwrap();
    fs::write(pair.from("b"), "bbb").unwrap();
    let transfer = pair.open();
    let spec = transfer.layout().object(0).unwrap();
    let outcomes = transfer.receiver.write_bundle(spec, b"aaabb");
    let error = CommitError::BundleLength { expected: 6, found: 5 };
    assert!(outcomes.iter().all(|outcome| outcome.result == Err(error.clone())));
    assert!(!pair.to("a").exists());
}

#[test]
fn blocks_and_objects_that_do_not_exist_are_refused() {
    let (pair, _) = Pair::with_large();
    fs::write(pair.from("small"), "s").unwrap();
    let transfer = pair.open();
    let kinds: Vec<_> = transfer.layout().objects.iter().map(|o| o.kind.clone()).collect();
    assert!(matches!(kinds[..], [ObjectKind::File { entry: 0 }, ObjectKind::Bundle { .. }]));
    for (object, block) in [(0, 4), (1, 0), (2, 0), (u32::MAX, u32::MAX)] {
        let refused = transfer.source.read_segments(object, block);
        assert!(matches!(refused, Err(SourceError::NoSuchBlock { .. })), "{object} {block}");
    }
    for entry in [2, u32::MAX] {
        let refused = transfer.receiver.stage(entry);
        assert!(matches!(refused, Err(CommitError::NotExpected { .. })));
    }
}
