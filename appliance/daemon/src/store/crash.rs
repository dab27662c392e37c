//! Kills this process at a chosen step of a change, and shows what a kill leaves behind; or does
//! something else at a step, as an editor would at that very moment.

use super::tests::{Site, WholeFile};
use super::{Recovered, Store, StoreError, Unnamed};
use crate::index::{Durability, Index, IndexError};
use crate::sample::{FOLDER, SITE, dot, file, path, version};
use farhaul_sync::folder::Placed;
use farhaul_sync::version::{Content, Version};
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The step, counted from 1, at which the process ends.
const CRASH_AT: &str = "FARHAUL_TEST_STORE_CRASH_AT";
/// Where the child works; without it, the test that starts it does nothing.
const HOME: &str = "FARHAUL_TEST_STORE_CRASH_HOME";

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(120);

static STEPS: AtomicU64 = AtomicU64::new(0);

type Act = Box<dyn FnOnce()>;

thread_local! {
    static ACT: RefCell<Option<(u32, Act)>> = const { RefCell::new(None) };
}

/// Does something at the `n`th step from now of this thread.
pub(crate) fn at_step(n: u32, act: impl FnOnce() + 'static) {
    ACT.with(|held| *held.borrow_mut() = Some((n, Box::new(act))));
}

/// That it was done.
pub(crate) fn no_more() {
    assert!(ACT.with(|held| held.borrow().is_none()), "there were fewer steps");
}

/// Ends the process without any clean-up if this is the step of the environment.
pub(super) fn step() {
    let now = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    if std::env::var(CRASH_AT).is_ok_and(|at| at.parse() == Ok(now)) {
        std::process::abort();
    }
    let act = ACT.with(|held| {
        let mut held = held.borrow_mut();
        let left = held.as_mut().map(|(left, _)| {
            *left -= 1;
            *left
        });
        if left == Some(0) { held.take() } else { None }
    });
    if let Some((_, act)) = act {
        act();
    }
}

/// What is to be done, and what stands there before and after: texts of files, `/` for directories.
const GOALS: [(&str, Option<&str>, Option<&str>); 6] = [
    ("new", None, Some("new")),
    ("replaced", Some("old"), Some("new")),
    ("gone", Some("old"), None),
    ("becomes a dir", Some("old"), Some("/")),
    ("becomes a file", Some("/"), Some("new")),
    ("described", Some("same"), Some("same")),
];
/// And this is called otherwise.
const MOVED: [&str; 2] = ["from", "to"];
/// And this gets a further name.
const LINKED: [&str; 2] = ["one", "another"];

fn version_of(at: &str, text: &str, serial: u64) -> Version {
    let content = if text == "/" { Content::Dir } else { file(text.as_bytes()) };
    let serial = serial + at.len() as u64;
    version(dot(2, serial), &[], content)
}

/// A folder in which all of this is still to be done.
fn fill(home: &Path) {
    let mut site = Site::new(home);
    let before = GOALS.iter().filter_map(|(at, before, _)| Some((*at, (*before)?)));
    for (at, text) in before.chain([(MOVED[0], "old"), (LINKED[0], "old")]) {
        let old = version_of(at, text, 100);
        if text == "/" {
            let ready = site.store.ready_dir(&old.meta).unwrap();
            let made = site.store.prepare_put(&path(at), &ready, &old, None).unwrap();
            site.commit(made).unwrap();
        } else {
            site.put(at, text.as_bytes(), &old).unwrap();
        }
    }
    assert_eq!(site.store.kept_names().unwrap().len(), 0);
    let mark = [&site.store.mark().id[..], &site.store.mark().file_system.to_be_bytes()].concat();
    fs::write(home.join("mark"), mark).unwrap();
}

/// What opens once nobody has it open: a process that another test starts has a copy of every lock of
/// this one from its fork to its exec, for as long as the machine lets it wait in between.
fn once_free<T, E: std::fmt::Debug>(
    open: impl Fn() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> T {
    let began = std::time::Instant::now();
    loop {
        match open() {
            Err(error) if is_in_use(&error) && began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Opens the folder as after any stop: what was half-done is recovered first.
fn open(home: &Path) -> Site {
    let mark = fs::read(home.join("mark")).unwrap();
    let mark = super::FolderMark {
        id: mark[..16].try_into().unwrap(),
        file_system: u64::from_be_bytes(mark[16..].try_into().unwrap()),
    };
    let store = once_free(
        || Store::open(&home.join("tree"), &mark, Arc::new(Unnamed)),
        |error| matches!(error, StoreError::InUse),
    );
    let index = once_free(
        || Index::open(&home.join("index"), FOLDER, SITE),
        |error| matches!(error, IndexError::InUse { .. }),
    );
    let mut site = Site { store, index, home: home.to_path_buf() };
    for (id, intent) in site.index.read().intents().unwrap() {
        let recovered = site.store.recover(id, &intent, None, &mut WholeFile).unwrap();
        let is_clear = matches!(recovered, Recovered::Done(_) | Recovered::Undone(_));
        assert!(is_clear, "{intent:?}: {recovered:?}");
        let mut settling = site.index.begin(Durability::Now).unwrap();
        settling.settle(recovered.committed(), 1000).unwrap();
        settling.commit().unwrap();
    }
    site
}

/// Does what is still to be done.
fn carry(site: &mut Site) {
    for (at, _, after) in GOALS {
        let old = site.index.read().item(&path(at)).unwrap().placed;
        let new = after.map(|text| version_of(at, text, 200));
        if old.as_ref().map(|old| &old.version) != new.as_ref() {
            advance(site, at, old, new, after).unwrap();
        }
    }
    let [from, to] = MOVED.map(path);
    if let Some(old) = site.index.read().item(&from).unwrap().placed {
        let prepared = site.store.prepare_move(&from, &to, &old.version, &old).unwrap();
        site.commit(prepared).unwrap();
    }
    let [one, another] = LINKED.map(path);
    if site.index.read().item(&another).unwrap().placed.is_none() {
        let content = file(b"old");
        // A kill behind the link leaves another change time.
        let known = super::identity_of(&site.store.root.stat(&one).unwrap());
        let (ready, _) = site.store.ready_name_of(&one, &known, &content).unwrap();
        let new = version_of(LINKED[1], "old", 200);
        let prepared = site.store.prepare_put(&another, &ready, &new, None).unwrap();
        site.commit(prepared).unwrap();
    }
}

fn advance(
    site: &mut Site,
    at: &str,
    old: Option<Placed>,
    new: Option<Version>,
    text: Option<&str>,
) -> Result<(), StoreError> {
    let prepared = match (new, old) {
        (None, None) => return Ok(()),
        (None, Some(old)) => site.store.prepare_remove(&path(at), &old)?,
        (Some(new), Some(old)) if new.content == old.version.content => {
            site.store.prepare_describe(&path(at), &new, &old)?
        }
        (Some(new), old) => {
            let text = text.expect("something live");
            let ready = if text == "/" {
                site.store.ready_dir(&new.meta)?
            } else {
                site.ready(at, text.as_bytes(), &new.meta)
            };
            site.store.prepare_put(&path(at), &ready, &new, old.as_ref())?
        }
    };
    site.commit(prepared).map(drop)
}

/// What stands at a path, as in [`GOALS`].
fn found(home: &Path, at: &str) -> Option<String> {
    let at = home.join("tree").join(at);
    if at.is_dir() { Some("/".to_owned()) } else { fs::read_to_string(at).ok() }
}

/// The child of the test below; on its own it has nothing to do.
#[test]
fn changes_until_it_is_killed() {
    if let Some(home) = std::env::var_os(HOME) {
        carry(&mut open(Path::new(&home)));
    }
}

#[test]
fn a_kill_at_any_step_leaves_old_or_new_and_what_was_displaced_is_kept() {
    let mut killed = 0;
    for step in 1.. {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fill(home);
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::crash::changes_until_it_is_killed"])
            .env(HOME, home)
            .env(CRASH_AT, step.to_string())
            .output()
            .unwrap();
        for (at, before, after) in GOALS {
            let found = found(home, at);
            let is_whole = [before, after].iter().any(|text| text.map(str::to_owned) == found);
            assert!(is_whole, "{at} after a kill at step {step}: {found:?}");
        }
        let moved = MOVED.map(|at| found(home, at).is_some());
        assert!(moved[0] != moved[1], "a kill at step {step}");
        let linked = LINKED.map(|at| found(home, at));
        assert_eq!(linked[0].as_deref(), Some("old"));
        assert!(linked[1].is_none() || linked[1] == linked[0], "a kill at step {step}");
        if child.status.success() {
            break;
        }
        assert_eq!(child.status.signal(), Some(6), "{:?}", String::from_utf8_lossy(&child.stdout));
        killed += 1;
        let mut site = open(home);
        assert!(site.index.was_unclean());
        check_recovered(&site, step);
        carry(&mut site);
        check_recovered(&site, step);
        for (at, _, after) in GOALS {
            assert_eq!(found(home, at).as_deref(), after, "{at} after step {step}");
        }
        assert_eq!(MOVED.map(|at| found(home, at).is_some()), [false, true]);
        let inodes = LINKED.map(|at| fs::metadata(home.join("tree").join(at)).unwrap().ino());
        assert_eq!(inodes[0], inodes[1]);
        for at in ["replaced", "gone", "becomes a dir"] {
            assert_eq!(site.kept(at), [("old".to_owned(), true)], "{at} after step {step}");
        }
        let dirs = site.index.read().kept_of(&path("becomes a file")).unwrap();
        assert_eq!(dirs, [], "a directory is kept after step {step}");
        site.store.sweep(i64::MAX).unwrap();
        assert_eq!(fs::metadata(home.join("tree").join(LINKED[0])).unwrap().nlink(), 2);
        site.index.check().unwrap();
    }
    // Eight changes of some five to eight steps.
    assert!(killed > 40, "only {killed} steps were tried");
}

/// Nothing would be taken for an edit by a scan, and the catalogue is that of the version store.
fn check_recovered(site: &Site, step: u32) {
    let goals = GOALS.iter().map(|(at, ..)| *at).chain(MOVED).chain([LINKED[1]]);
    for at in goals {
        let said = site.index.read().item(&path(at)).unwrap().placed;
        let said = said.map(|placed| placed.identity);
        let found = site.store.root.stat(&path(at)).ok().map(|meta| super::identity_of(&meta));
        assert_eq!(said, found, "{at} after a kill at step {step}");
    }
    assert_eq!(site.index.read().intents().unwrap(), []);
    let kept = site.index.read().kept_from(None, 99).unwrap();
    let mut kept: Vec<String> = kept.into_iter().map(|kept| kept.name).collect();
    kept.sort_unstable();
    assert_eq!(kept, site.store.kept_names().unwrap(), "after a kill at step {step}");
}
