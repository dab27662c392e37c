//! A disk that fills up, in a mount namespace of the test's own: the test starts itself again
//! there on a tiny tmpfs. Where namespaces are not permitted it says so and checks nothing.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::commit::CommitError;
use farhaul_engine::files::{ConfineError, ReceiveError};
use kit::{BLOCK, PEER, Transfer, contents_of, noise, send};
use std::fs;
use std::path::Path;
use std::process::Command;

const TINY: &str = "FARHAUL_TEST_TINY_DISK";

#[test]
fn a_full_disk_fails_what_does_not_fit_and_leaves_nothing_behind() {
    if let Some(tiny) = std::env::var_os(TINY) {
        return on_tiny_disk(Path::new(&tiny));
    }
    let home = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$1\" && exec \"$2\" --exact --nocapture \
                  a_full_disk_fails_what_does_not_fit_and_leaves_nothing_behind";
    let may_mount = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "none"])
        .arg(home.path())
        .status()
        .is_ok_and(|status| status.success());
    if !may_mount {
        eprintln!("skipped: no mount namespace is permitted here");
        return;
    }
    let ran = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(home.path())
        .arg(std::env::current_exe().unwrap())
        .env(TINY, home.path())
        .status();
    assert!(ran.unwrap().success());
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
