//! A disk that fills up, on a tiny tmpfs of the test's own.

#[path = "kit/files.rs"]
mod kit;
#[path = "kit/tiny_disk.rs"]
mod tiny_disk;

use farhaul_engine::files::commit::CommitError;
use farhaul_engine::files::{ConfineError, ReceiveError};
use kit::{BLOCK, PEER, Transfer, contents_of, noise, send};
use std::fs;
use std::path::Path;
use tiny_disk::tiny_disk;

#[test]
fn a_full_disk_fails_what_does_not_fit_and_leaves_nothing_behind() {
    let name = "a_full_disk_fails_what_does_not_fit_and_leaves_nothing_behind";
    if let Some(tiny) = tiny_disk(name, "8m") {
        on_tiny_disk(&tiny);
    }
}

fn on_tiny_disk(tiny: &Path) {
    let source = tempfile::tempdir().unwrap();
    let to = tiny.join("to");
    fs::create_dir(&to).unwrap();
    let write =
        |name: &str, len: usize| fs::write(source.path().join(name), noise(1, len)).unwrap();
    let sources = [contents_of(source.path())];

    write("large", 7 * BLOCK);
    let refused = Transfer::try_open(&sources, &to, None, PEER);
    assert!(matches!(refused.err(), Some(ReceiveError::NoSpace(_))));

    // It fits when the plan is made, then somebody else takes the space.
    write("large", 2 * BLOCK);
    (0..20).for_each(|n| write(&format!("small {n:02}"), 50_000));
    let transfer = Transfer::try_open(&sources, &to, None, PEER).unwrap();
    let taken = usize::try_from(rustix::fs::statvfs(&to).unwrap().f_bavail * 4096).unwrap();
    fs::write(tiny.join("other"), vec![1; taken - 200_000]).unwrap();
    let full =
        |error: &CommitError| matches!(error, CommitError::Place(ConfineError::NoSpace { .. }));
    assert!(full(&transfer.receiver.stage(0).unwrap_err()));
    let mut data = vec![0; 20 * 50_000];
    transfer.source.read_bundle(1, &mut data).unwrap();
    let outcomes = transfer.receiver.write_bundle(transfer.layout().object(1).unwrap(), &data);
    let failed = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err());
    assert!(failed.clone().all(full));
    let failed = failed.count();
    assert!((1..20).contains(&failed), "{failed}");
    let report = transfer.receiver.finish();
    assert_eq!(report.failures.len(), failed + 1);
    drop(transfer);
    assert!(!to.join(".farhaul").exists());

    // With the space back, the rest arrives.
    fs::remove_file(tiny.join("other")).unwrap();
    let (plan, report) = send(&sources, &to);
    assert_eq!((report.failures, plan.skipped_files), (vec![], 20 - failed as u64));
}
