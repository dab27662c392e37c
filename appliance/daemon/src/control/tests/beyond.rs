//! Attributes that are too large to travel (spec: S-169).

use super::*;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// A folder on a file system that has room for attributes; `None`: there is none here.
fn roomy() -> Option<Bench> {
    let home = tempfile::tempdir_in("/dev/shm").ok()?;
    let probe = fs::File::create(home.path().join("probe")).unwrap();
    let set = fsetxattr(&probe, "user.x", &[1; 40_000][..], XattrFlags::empty());
    if set.is_err() {
        println!("skipped: there is no file system with room for long attributes");
        return None;
    }
    Some(Bench::at(home, Arc::new(Unnamed)))
}

fn give(at: &Path, name: &str, value: &[u8]) {
    fsetxattr(fs::File::open(at).unwrap(), name, value, XattrFlags::empty()).unwrap();
}

fn value(at: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 64 << 10];
    let len = fgetxattr(fs::File::open(at).unwrap(), name, &mut buffer[..]).ok()?;
    buffer.truncate(len);
    Some(buffer)
}

#[test]
fn attributes_that_are_too_large_to_travel_are_never_said_to_be_gone() {
    let Some(mut bench) = roomy() else { return };
    let large = vec![7; 30_000];
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("a"), "ours").unwrap();
    give(&bench.root("a"), "user.large", &large);
    give(&bench.root("a"), "user.note", b"short");
    bench.scan();
    let ours = bench.placed("a").version;
    assert!(ours.meta.attrs.is_some(), "there is something");
    // Whoever asks is told, here as well.
    assert_eq!(bench.folder().index.read().lacking().unwrap(), (1, [0, 0, 0, 0, 1]));
    assert_eq!(bench.folder().why(&path("a")).unwrap().lacks.len(), 1);
    // A neighbour that has none of it edits the content, and says of attributes what it heard.
    let mut theirs = version(dot(2, 1), &[ours.dot], content_of(&mut bench, "source"));
    theirs.meta = ours.meta.clone();
    theirs.stamp.millis = ours.stamp.millis + 1;
    bench.say("a", &theirs);
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    assert!(value(&bench.root("a"), "user.large").as_ref() == Some(&large), "they stay");
    assert_eq!(value(&bench.root("a"), "user.note").as_deref(), Some(&b"short"[..]));
    bench.scan();
    assert_eq!(dots(&mut bench, "a"), [theirs.dot], "nobody edited it");
    // One that says which there are has them set, and takes none away that could not be said.
    let mut named = version(dot(2, 2), &[ours.dot, theirs.dot], theirs.content.clone());
    named.stamp.millis = theirs.stamp.millis + 1;
    named.meta.attrs = noted(b"theirs");
    bench.say("a", &named);
    bench.settle();
    assert_eq!(value(&bench.root("a"), "user.note").as_deref(), Some(&b"theirs"[..]));
    assert!(value(&bench.root("a"), "user.large").as_ref() == Some(&large), "they stay");
    bench.scan();
    assert_eq!(dots(&mut bench, "a"), [named.dot], "nobody edited it");
    // Once they can be said, they are.
    let file = fs::File::open(bench.root("a")).unwrap();
    rustix::fs::fremovexattr(&file, "user.large").unwrap();
    give(&bench.root("a"), "user.note", b"ours");
    bench.scan();
    assert_eq!(bench.placed("a").version.meta.attrs, noted(b"ours"));
    assert_eq!(bench.folder().index.read().lacking().unwrap(), (0, [0; 5]));
}

fn noted(note: &[u8]) -> Option<Box<farhaul_sync::version::Attrs>> {
    let mut attrs = farhaul_sync::version::Attrs::default();
    attrs.xattrs.insert((*b"user.note").into(), note.into());
    attrs.boxed()
}

#[test]
fn what_is_not_said_of_attributes_stays_as_it_is_where_the_version_is_put() {
    let Some(mut bench) = roomy() else { return };
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("large"), "large").unwrap();
    give(&bench.root("large"), "user.large", &[7; 30_000]);
    bench.scan();
    let unsaid = bench.placed("large").version.meta.attrs;
    let theirs = content_of(&mut bench, "source");
    let large = content_of(&mut bench, "large");
    let mut before = None;
    for (serial, content, attrs) in
        [(1, &theirs, noted(b"theirs")), (2, &theirs, unsaid.clone()), (3, &large, unsaid.clone())]
    {
        let mut said = version(dot(2, serial), before.as_slice(), content.clone());
        said.meta.attrs = attrs;
        said.stamp.millis = serial * 10;
        before = Some(said.dot);
        bench.say("b", &said);
        bench.scan();
        assert_eq!(dots(&mut bench, "b"), [said.dot], "nobody edited it");
        assert_eq!(value(&bench.root("b"), "user.note").as_deref(), Some(&b"theirs"[..]));
    }
    // An edit of the content says again that they are not said.
    fs::write(bench.root("b"), "ours").unwrap();
    bench.scan();
    let now = bench.placed("b").version;
    assert!(now.content != large && now.meta.attrs == unsaid);
}
