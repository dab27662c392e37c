//! Metadata that a disk does not take.

use super::*;
use crate::store::NameTable;
use std::os::unix::fs::PermissionsExt;

#[test]
fn who_a_site_could_not_give_a_file_to_stays_its_owner_when_it_is_edited() {
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(NameTable::default()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.owner = Some((*b"ann").into());
    said.meta.group = Some((*b"staff").into());
    bench.say("a", &said);
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    // Looked at again for nothing: no edit.
    fs::set_permissions(bench.root("a"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(bench.root("a"), fs::Permissions::from_mode(0o640)).unwrap();
    bench.scan();
    assert_eq!(bench.placed("a").version, said);
    // A new mode, and a new content: what is said of the owner stays.
    for change in 0..2 {
        if change == 0 {
            fs::set_permissions(bench.root("a"), fs::Permissions::from_mode(0o600)).unwrap();
        } else {
            fs::write(bench.root("a"), "ours").unwrap();
        }
        bench.scan();
        let now = bench.placed("a").version;
        assert!(now.dot != said.dot, "it is an edit");
        assert_eq!(now.meta.owner.as_deref(), Some(&b"ann"[..]));
        assert_eq!((now.meta.group.as_deref(), now.meta.mode), (Some(&b"staff"[..]), 0o600));
    }
}

#[test]
fn a_file_that_somebody_gives_away_has_a_new_owner() {
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(NameTable::default()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.owner = Some((*b"ann").into());
    bench.say("a", &said);
    bench.settle();
    if std::os::unix::fs::chown(bench.root("a"), Some(4_000_000_123), None).is_err() {
        println!("skipped: this process may not give files away");
        return;
    }
    bench.scan();
    assert_eq!(bench.placed("a").version.meta.owner.as_deref(), Some(&b"4000000123"[..]));
    // And back to whom this site had left it with: an edit like any other.
    let me = rustix::process::geteuid().as_raw();
    std::os::unix::fs::chown(bench.root("a"), Some(me), None).unwrap();
    bench.scan();
    assert!(bench.placed("a").version.meta.owner.as_deref() != Some(&b"4000000123"[..]));
    assert!(bench.placed("a").version.meta.owner.as_deref() != Some(&b"ann"[..]));
}
