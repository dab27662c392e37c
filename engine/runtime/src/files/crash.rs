//! Kills this process at a chosen step of the commit path, and shows what a kill leaves behind.

use std::sync::atomic::{AtomicU64, Ordering};

/// The step, counted from 1, at which the process ends.
const CRASH_AT: &str = "FARHAUL_TEST_CRASH_AT";

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Ends the process without any clean-up if this is the step of the environment.
pub(super) fn step() {
    let now = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    if std::env::var(CRASH_AT).is_ok_and(|at| at.parse() == Ok(now)) {
        std::process::abort();
    }
}

/// Where the child works; without it, the test that starts it does nothing.
const HOME: &str = "FARHAUL_TEST_CRASH_HOME";

use super::receive::{ReceiveOptions, Receiver};
use super::scan::scan;
use super::source::Source;
use super::stop::Stop;
use super::{Report, Root};
use farhaul_proto::content::block_digest;
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::limits::BLOCK_DATA;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Carries `from` to `to` within `home`; what was staged before is taken up.
fn transfer(home: &Path) -> Report {
    let scanned = Arc::new(scan(&[home.join("from/")]).unwrap());
    let root = Root::open(&home.join("to")).unwrap();
    let options = ReceiveOptions { resume: true, peer: [3; 32] };
    let manifest = Arc::clone(&scanned.manifest);
    let (receiver, plan) = Receiver::open(&root, None, manifest, options).unwrap();
    let layout = Arc::new(Layout::new(&scanned.manifest, &plan.want));
    let source = Source::new(scanned, Arc::clone(&layout));
    for object in 0..layout.len() {
        let spec = layout.object(object).unwrap();
        let ObjectKind::File { entry } = spec.kind else {
            let mut data = vec![0; usize::try_from(spec.len).unwrap()];
            source.read_bundle(object, &mut data).unwrap();
            receiver.write_bundle(spec, &data);
            continue;
        };
        let staged = receiver.stage(entry).unwrap();
        for block in 0..staged.blocks() {
            for run in source.read_segments(object, block).unwrap() {
                let mut data = vec![0; run.len];
                run.file.read_exact_at(&mut data, run.file_offset).unwrap();
                staged.fd.write_all_at(&data, run.file_offset).unwrap();
                let digest = block_digest(&data, u64::from(block) * BLOCK_DATA.get());
                staged.journal.append(block, &digest).unwrap();
            }
        }
        receiver.commit(&staged).unwrap();
    }
    receiver.commit_all_plain(&Stop::default());
    receiver.finish()
}

/// What has to arrive: large and small, new and replacing older versions, in a directory.
fn fill(home: &Path, version: u8) {
    let dir = home.join(if version == 0 { "to" } else { "from" });
    fs::create_dir_all(dir.join("sub")).unwrap();
    let large = vec![version; BLOCK_DATA.as_len() + 5];
    let names: &[&str] = if version == 0 { &["sub/old"] } else { &["sub/old", "sub/new"] };
    // Further apart than the clock of the file system is coarse.
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + u64::from(version));
    for name in names {
        let small = (format!("{name} small"), &large[..100]);
        for (name, content) in [((*name).to_owned(), &large[..]), small] {
            fs::write(dir.join(&name), content).unwrap();
            fs::File::open(dir.join(&name)).unwrap().set_modified(mtime).unwrap();
        }
    }
}

/// Whether each destination is whole: an old version, a new one, or nothing where nothing was.
fn is_whole(home: &Path) -> bool {
    ["sub/old", "sub/new", "sub/old small", "sub/new small"].iter().all(|name| {
        let found = fs::read(home.join("to").join(name)).ok();
        let new = fs::read(home.join("from").join(name)).ok();
        let old = new.as_ref().map(|new| vec![0; new.len()]);
        found == new || if name.contains("old") { found == old } else { found.is_none() }
    })
}

/// The child of the test below; on its own it has nothing to do.
#[test]
fn carries_until_it_is_killed() {
    if let Some(home) = std::env::var_os(HOME) {
        let report = transfer(Path::new(&home));
        assert_eq!((report.failures, report.not_durable), (vec![], None));
    }
}

#[test]
fn a_kill_at_any_step_leaves_old_or_new_files_and_the_next_attempt_completes() {
    let mut killed = 0;
    for step in 1.. {
        let home = tempfile::tempdir().unwrap();
        fill(home.path(), 0);
        fill(home.path(), 1);
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::crash::carries_until_it_is_killed"])
            .env(HOME, home.path())
            .env(CRASH_AT, step.to_string())
            .output()
            .unwrap();
        assert!(is_whole(home.path()), "killed at step {step}");
        if child.status.success() {
            break;
        }
        assert_eq!(child.status.signal(), Some(6), "{:?}", String::from_utf8_lossy(&child.stdout));
        killed += 1;
        let report = transfer(home.path());
        assert_eq!((report.failures, report.not_durable), (vec![], None), "step {step}");
        for name in ["sub/old", "sub/new", "sub/old small", "sub/new small"] {
            let [from, to] = ["from", "to"].map(|side| fs::read(home.path().join(side).join(name)));
            assert!(from.unwrap() == to.unwrap(), "{name} after step {step}");
        }
    }
    // Nine steps of each large file, and those of the small ones and of the end.
    assert!(killed > 15, "only {killed} steps were tried");
}
