//! Power cuts and disks that fail late, on a disk of the test's own.

#[path = "kit/files.rs"]
mod kit;
#[path = "kit/loop_disk.rs"]
mod loop_disk;

use farhaul_engine::files::bundle::BundleOutcome;
use farhaul_engine::files::commit::CommitError;
use kit::{BLOCK, PEER, Transfer, contents_of, noise, send};
use loop_disk::{LoopDisk, loop_disk};
use std::fs;
use std::path::{Path, PathBuf};

/// Small files enough for several bundles.
const FILES: usize = 300;
const EACH: usize = 10_000;

fn small_files() -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        fs::write(source.path().join(format!("{n:04}")), noise(n as u64, EACH)).unwrap();
    }
    source
}

/// A place for what arrives.
fn destination(disk: &LoopDisk) -> PathBuf {
    let to = disk.path().join("to");
    fs::create_dir(&to).unwrap();
    to
}

#[test]
fn small_files_that_arrived_survive_a_power_cut() {
    let name = "small_files_that_arrived_survive_a_power_cut";
    if let Some(disk) = loop_disk(name, "100m") {
        survive(&disk);
    }
}

fn survive(disk: &LoopDisk) {
    let source = small_files();
    let to = destination(disk);
    let (_, report) = send(&[contents_of(source.path())], &to);
    assert_eq!((report.failures, report.not_durable), (vec![], None));
    let after = disk.after_power_cut().join("to");
    for n in 0..FILES {
        let found = fs::read(after.join(format!("{n:04}"))).ok();
        assert!(found == Some(noise(n as u64, EACH)), "{n}");
    }
}

#[test]
fn files_that_the_disk_lost_after_it_took_them_are_not_said_to_have_arrived() {
    let name = "files_that_the_disk_lost_after_it_took_them_are_not_said_to_have_arrived";
    if let Some(disk) = loop_disk(name, "100m") {
        lose(&disk);
    }
}

fn lose(disk: &LoopDisk) {
    let source = small_files();
    let to = destination(disk);
    let transfer = Transfer::try_open(&[contents_of(source.path())], &to, None, PEER).unwrap();
    disk.fill_beneath(64 << 10);
    let mut failed = 0;
    for object in 0..transfer.layout().len() {
        let spec = transfer.layout().object(object).unwrap();
        let mut data = vec![0; usize::try_from(spec.len).unwrap()];
        transfer.source.read_bundle(object, &mut data).unwrap();
        let outcomes = transfer.receiver.write_bundle(spec, &data);
        assert_eq!(outcomes.len(), spec.entries().len());
        let bad = |outcome: &&_| {
            matches!(outcome, BundleOutcome { result: Err(CommitError::Place(_)), .. })
        };
        failed += outcomes.iter().filter(bad).count();
    }
    assert!(failed > FILES / 2, "{failed}");
    assert!(transfer.receiver.finish().failures.len() >= failed);
}

/// spec: W-130
#[test]
fn staged_blocks_survive_a_power_cut_from_the_checkpoint_on() {
    let name = "staged_blocks_survive_a_power_cut_from_the_checkpoint_on";
    if let Some(disk) = loop_disk(name, "250m") {
        survive_staged(&disk);
    }
}

/// Blocks of the file below that a transfer would not ask for again after a power cut now.
fn claimed(disk: &LoopDisk, source: &Path) -> u32 {
    let after = disk.after_power_cut();
    let plan = Transfer::try_open(&[contents_of(source)], &after.join("to"), None, PEER);
    let claimed = plan.unwrap().plan.have.iter().map(|have| have.count).sum();
    disk.end_of_power_cut();
    claimed
}

fn survive_staged(disk: &LoopDisk) {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("large"), noise(1, 20 * BLOCK)).unwrap();
    let to = destination(disk);
    fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    let transfer = Transfer::try_open(&[contents_of(source.path())], &to, None, PEER).unwrap();
    let staged = transfer.receiver.stage(0).unwrap();
    let receive = |blocks: std::ops::Range<u32>| {
        for block in blocks {
            transfer.carry(&staged, 0, block);
        }
    };
    receive(0..10);
    assert_eq!(transfer.receiver.at_risk().get(), 10 * BLOCK as u64);
    // Whoever asks for nothing has nothing: it is all in memory.
    assert_eq!(claimed(disk, source.path()), 0);
    transfer.receiver.checkpoint().sync().unwrap();
    assert_eq!(transfer.receiver.at_risk().get(), 0);
    assert_eq!(claimed(disk, source.path()), 10);
    receive(10..20);
    assert_eq!(claimed(disk, source.path()), 10);
    transfer.receiver.checkpoint().sync().unwrap();
    assert_eq!(claimed(disk, source.path()), 20);
}
