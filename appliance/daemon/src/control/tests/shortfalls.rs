//! What a site cannot take of a version's metadata: nothing is said of it that nobody did, it is shown,
//! and it is tried again.

use super::owned::{Withheld, is_root, owner_of};
use super::*;
use crate::store::NameTable;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

/// Ann is known once somebody adds her.
#[derive(Debug, Default)]
struct Growing(Mutex<bool>);

impl Principals for Growing {
    fn user_id(&self, name: &[u8]) -> Option<u32> {
        (*self.0.lock().unwrap() && name == b"ann").then_some(1000)
    }
    fn group_id(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn user_name(&self, id: u32) -> Option<Box<[u8]>> {
        (*self.0.lock().unwrap() && id == 1000).then(|| (*b"ann").into())
    }
    fn group_name(&self, _: u32) -> Option<Box<[u8]>> {
        None
    }
}

#[test]
fn what_was_missing_is_tried_again_once_it_is_there() {
    if !is_root() {
        return;
    }
    let names = Arc::new(Growing::default());
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::at(home, Arc::clone(&names) as Arc<dyn Principals>);
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.owner = Some((*b"ann").into());
    bench.say("a", &said);
    let mut dir = version(dot(2, 2), &[], Content::Dir);
    dir.meta.owner = Some((*b"ann").into());
    bench.say("d", &dir);
    bench.scan();
    assert_eq!(owner_of(&bench.root("a")).0, 65_534);
    let lacks = bench.folder().why(&path("a")).unwrap().lacks;
    assert!(lacks.len() == 1 && lacks[0].contains("`map-users`"), "{lacks:?}");
    assert_eq!(bench.folder().index.read().lacking().unwrap(), (2, [2, 0, 0, 0, 0]));
    // What cannot be done is not tried without an end.
    let state = |bench: &Bench| fs::metadata(bench.root("a")).unwrap().ctime_nsec();
    let before = state(&bench);
    bench.scan();
    assert_eq!(state(&bench), before);
    *names.0.lock().unwrap() = true;
    bench.scan();
    assert_eq!((owner_of(&bench.root("a")).0, owner_of(&bench.root("d")).0), (1000, 1000));
    // Nobody edited anything, and there is nothing left to be done.
    let before = state(&bench);
    bench.scan();
    assert_eq!((dots(&mut bench, "a"), state(&bench)), (vec![said.dot], before));
    assert_eq!(dots(&mut bench, "d"), [dir.dot]);
    assert_eq!(
        bench.folder().index.read().shortfall(&path("a")).unwrap().and_then(|s| s.owner),
        None
    );
}

#[test]
fn what_is_to_be_given_away_is_tried_again_once_this_site_may() {
    if !is_root() {
        return;
    }
    // What is root's elsewhere may be root's here, so nothing is refused.
    let names = NameTable::parse(b"ann:x:1000:50::/:\n", b"staff:x:50:\n").with_root();
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(names));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let withheld = Withheld::chown();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.owner = Some((*b"ann").into());
    said.meta.group = Some((*b"staff").into());
    bench.say("a", &said);
    bench.scan();
    let at = bench.root("a");
    let state = || fs::metadata(&at).unwrap().ctime_nsec();
    assert_eq!(owner_of(&at), (0, 0));
    let lacks = bench.folder().why(&path("a")).unwrap().lacks;
    assert!(lacks.len() == 2 && lacks.iter().all(|line| line.contains("CAP_CHOWN")), "{lacks:?}");
    let before = state();
    bench.scan();
    assert_eq!((state(), owner_of(&at)), (before, (0, 0)), "nothing is tried that cannot be done");
    // What the disk did not take is no edit, and an edit says it again.
    fs::write(&at, "ours").unwrap();
    bench.scan();
    let ours = bench.placed("a").version;
    assert_eq!((&ours.meta.owner, &ours.meta.group), (&said.meta.owner, &said.meta.group));
    drop(withheld);
    bench.scan();
    assert_eq!(owner_of(&at), (1000, 50));
    bench.scan();
    assert_eq!((bench.placed("a").version, dots(&mut bench, "a")), (ours.clone(), vec![ours.dot]));
    assert_eq!(bench.folder().index.read().lacking().unwrap(), (0, [0; 5]));
    // Of what is gone nothing is lacking.
    let withheld = Withheld::chown();
    bench.say("b", &Version { dot: dot(2, 2), ..said });
    bench.scan();
    assert_eq!(bench.folder().index.read().lacking().unwrap().0, 1);
    drop(withheld);
    fs::remove_file(bench.root("b")).unwrap();
    bench.scan();
    assert_eq!(bench.folder().index.read().lacking().unwrap(), (0, [0; 5]));
}

#[test]
fn what_nobody_may_change_is_not_tried_before_somebody_orders_it() {
    if !is_root() {
        return;
    }
    let names = Arc::new(Growing::default());
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::at(home, Arc::clone(&names) as Arc<dyn Principals>);
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.owner = Some((*b"ann").into());
    bench.say("a", &said);
    bench.scan();
    let file = fs::File::open(bench.root("a")).unwrap();
    if rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE).is_err() {
        println!("skipped: this file system cannot keep files from being changed");
        return;
    }
    *names.0.lock().unwrap() = true;
    bench.scan();
    let is_decided = bench.folder().index.read().intents().unwrap().is_empty();
    rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty()).unwrap();
    assert!(is_decided, "nothing is left half done");
    bench.scan();
    assert_eq!(owner_of(&bench.root("a")).0, 65_534, "it was in vain");
    bench.body.take(Event::Rescan);
    bench.settle();
    assert_eq!(owner_of(&bench.root("a")).0, 1000);
    assert_eq!(dots(&mut bench, "a"), [said.dot]);
}
