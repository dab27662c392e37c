//! Whose what is put in place becomes.

use super::*;
use crate::store::{NameTable, Wake};
use farhaul_sync::version::Meta;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

pub(super) fn owner_of(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn belonging(mut version: Version, owner: &str, group: &str) -> Version {
    version.meta.owner = Some(owner.as_bytes().into());
    version.meta.group = Some(group.as_bytes().into());
    version
}

pub(super) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: this process is not root");
    }
    is_root
}

/// This thread, and those that it begins, may give nothing away for as long as it lives.
pub(super) struct Withheld(CapabilitySet);

impl Withheld {
    pub(super) fn chown() -> Self {
        let mut sets = capabilities(None).unwrap();
        let before = sets.effective;
        sets.effective.remove(CapabilitySet::CHOWN);
        set_capabilities(None, sets).unwrap();
        Self(before)
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        let mut sets = capabilities(None).unwrap();
        sets.effective = self.0;
        set_capabilities(None, sets).unwrap();
    }
}

#[test]
fn an_owner_without_a_name_is_that_number_elsewhere() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(NameTable::default()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let said = belonging(version(dot(2, 1), &[], theirs.clone()), "1234", "4321");
    bench.say("a", &said);
    bench.say("d", &belonging(version(dot(2, 2), &[], Content::Dir), "1234", "0"));
    bench.say("b", &belonging(version(dot(2, 3), &[], theirs), "+7", "4294967295"));
    bench.settle();
    assert_eq!(owner_of(&bench.root("a")), (1234, 4321));
    assert_eq!(owner_of(&bench.root("d")), (1234, 65_534), "nothing becomes root's");
    assert_eq!(owner_of(&bench.root("b")), (65_534, 65_534), "these are no numbers");
    bench.scan();
    assert_eq!(dots(&mut bench, "a"), [said.dot]);
}

fn names() -> NameTable {
    NameTable::parse(b"root:x:0:0::/:\n", b"root:x:0:\n")
}

#[test]
fn what_was_roots_here_is_roots_again_where_it_stands_as_a_conflict_copy() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(names()));
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("a"), "ours").unwrap();
    bench.scan();
    let ours = bench.placed("a").version;
    assert_eq!(ours.meta.owner.as_deref(), Some(&b"root"[..]));
    // Somebody who had not seen it put something else there, and it is what is shown.
    let mut theirs = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    theirs.stamp.millis = ours.stamp.millis + 1;
    bench.say("a", &belonging(theirs, "root", "root"));
    bench.scan();
    let files = files_of(&bench.root(""));
    let copy = files.iter().find(|(name, _)| name.contains(".conflict-")).unwrap().0.clone();
    assert_eq!(fs::read(bench.root(&copy)).unwrap(), b"ours");
    assert_eq!(owner_of(&bench.root(&copy)), (0, 0), "it was root's here");
    // A member that says so of other bytes, or of these under a name of its own, has no say.
    let ours_said = |serial, content: &Content| {
        let mut said = version(dot(2, serial), &[], content.clone());
        said.meta = ours.meta.clone();
        said
    };
    bench.say("b", &ours_said(2, &ours.content));
    bench.settle();
    assert_eq!(owner_of(&bench.root("b")), (65_534, 65_534));
    // And back at its path, once the other is gone.
    fs::remove_file(bench.root("a")).unwrap();
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"ours");
    assert_eq!(owner_of(&bench.root("a")), (0, 0));
    assert_eq!(bench.placed("a").version, ours);
}

#[test]
fn what_cannot_be_taken_from_root_is_not_put_in_place() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(names()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let withheld = Withheld::chown();
    let mut theirs = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    theirs.meta.mode = 0o666;
    bench.say("a", &belonging(theirs.clone(), "root", "root"));
    bench.say("d", &belonging(version(dot(2, 2), &[], Content::Dir), "1234", "1234"));
    bench.settle();
    assert!(!bench.root("a").exists(), "a member's bytes as root's");
    assert!(!bench.root("d").exists(), "a member's directory as root's");
    let why = bench.folder().health.failure(&path("a")).unwrap().why;
    assert!(why.contains("root-owned"), "{why}");
    drop(withheld);
    // That it can give files away is noticed after a moment.
    let began = Instant::now();
    while !bench.root("a").exists() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        bench.scan();
    }
    assert_eq!(owner_of(&bench.root("a")), (65_534, 65_534));
    assert_eq!(owner_of(&bench.root("d")), (1234, 1234));
}

/// A directory that takes its time.
#[derive(Default)]
struct Slow {
    has_answered: AtomicBool,
    wakes: Mutex<Vec<Wake>>,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slow")
    }
}

impl Principals for Slow {
    fn user_id(&self, name: &[u8]) -> Option<u32> {
        (self.has_answered.load(Ordering::SeqCst) && name == b"ann").then_some(1000)
    }
    fn group_id(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn user_name(&self, _: u32) -> Option<Box<[u8]>> {
        None
    }
    fn group_name(&self, _: u32) -> Option<Box<[u8]>> {
        None
    }
    fn is_ready(&self, meta: &Meta, wake: &mut dyn FnMut() -> Option<Wake>) -> bool {
        let is_ready = meta.owner.is_none() || self.has_answered.load(Ordering::SeqCst);
        if !is_ready {
            self.wakes.lock().unwrap().extend(wake());
        }
        is_ready
    }
}

#[test]
fn who_waits_for_a_directory_of_users_holds_nothing_else_up() {
    let slow = Arc::new(Slow::default());
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::at(home, Arc::clone(&slow) as Arc<dyn Principals>);
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    for (serial, at) in (1..).zip(["a", "b", "c"]) {
        let mut said = version(dot(2, serial), &[], theirs.clone());
        said.meta.owner = (at != "c").then(|| (*b"ann").into());
        bench.say(at, &said);
    }
    bench.settle();
    assert!(bench.root("c").exists(), "nobody is to be asked for");
    assert!(!bench.root("a").exists() && !bench.root("b").exists());
    assert_eq!(slow.wakes.lock().unwrap().len(), 1, "once is enough");
    slow.has_answered.store(true, Ordering::SeqCst);
    std::mem::take(&mut *slow.wakes.lock().unwrap()).into_iter().for_each(|wake| wake());
    bench.settle();
    if rustix::process::geteuid().is_root() {
        assert_eq!((owner_of(&bench.root("a")).0, owner_of(&bench.root("b")).0), (1000, 1000));
    }
    assert!(bench.root("a").exists() && bench.root("b").exists());
}
