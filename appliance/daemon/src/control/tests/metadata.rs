//! Metadata that a disk does not take.

use super::*;
use crate::exact;
use crate::store::NameTable;
use farhaul_sync::version::{Acl, Attrs, Who};
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

#[test]
fn what_is_put_into_a_directory_while_it_is_looked_at_is_no_edit_of_its_owner() {
    let mut bench = Bench::new();
    let said = version(dot(2, 1), &[], Content::Dir);
    bench.say("d", &said);
    bench.settle();
    fs::write(bench.root("d/one"), "one").unwrap();
    // Seen, and not taken in before it has other times.
    bench.body.folders.values_mut().for_each(Folder::scan);
    let began = Instant::now();
    let mut events = Vec::new();
    while !events.iter().any(|event| matches!(event, Event::Scanned { .. })) {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        events.extend(bench.queue.blocking_recv());
    }
    fs::write(bench.root("d/two"), "two").unwrap();
    events.into_iter().for_each(|event| bench.body.take(event));
    bench.settle();
    assert_eq!(bench.placed("d").version, said);
    assert_eq!(bench.item("d").versions.iter().count(), 1);
}

/// A list with a user in it, and an attribute.
fn attrs() -> Attrs {
    let access = Acl::new(vec![
        (Who::Owner, 6),
        (Who::User((*b"1234").into()), 6),
        (Who::OwningGroup, 4),
        (Who::Mask, 4),
        (Who::Other, 0),
    ]);
    let mut attrs = Attrs { access, ..Attrs::default() };
    attrs.xattrs.insert((*b"user.comment").into(), (*b"a note").into());
    attrs
}

/// Whether this file system has attributes at all.
fn has_attributes(bench: &Bench) -> bool {
    fs::write(bench.root("probe"), "").unwrap();
    let probe = fs::File::open(bench.root("probe")).unwrap();
    let set = rustix::fs::fsetxattr(&probe, "user.x", b"1", rustix::fs::XattrFlags::empty());
    fs::remove_file(bench.root("probe")).unwrap();
    if set.is_err() {
        println!("skipped: this file system has no extended attributes");
    }
    set.is_ok()
}

#[test]
fn lists_and_attributes_arrive_change_and_go() {
    let mut bench = Bench::new();
    if !has_attributes(&bench) {
        return;
    }
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.meta.attrs = attrs().boxed();
    bench.say("a", &said);
    bench.scan();
    assert_eq!(bench.placed("a").version, said);
    // What a user sees and changes of it is what a version says.
    let file = fs::File::options().write(true).open(bench.root("a")).unwrap();
    let set = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&file, "user.comment", b"another note", set).unwrap();
    bench.scan();
    let now = bench.placed("a").version;
    let mut expected = attrs();
    expected.xattrs.insert((*b"user.comment").into(), (*b"another note").into());
    assert_eq!(now.meta.attrs, expected.boxed());
    assert_eq!((now.content.clone(), now.meta.mode), (said.content, said.meta.mode));
    // And where a neighbour says that there is none any more, there is none.
    let mut bare = version(dot(2, 2), &[now.dot], now.content);
    bare.stamp.millis = now.stamp.millis + 1;
    bench.say("a", &bare);
    bench.scan();
    assert_eq!(bench.placed("a").version, bare);
    assert!(rustix::fs::fgetxattr(&file, "user.comment", &mut [0; 99][..]).is_err());
    let list = rustix::fs::fgetxattr(&file, "system.posix_acl_access", &mut [0; 99][..]);
    assert!(list.is_err());
}

#[test]
fn what_a_disk_does_not_take_of_a_version_is_said_again_with_the_next_edit() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    let mut more = attrs();
    // Never set here, whatever the file system.
    more.xattrs.insert((*b"security.capability").into(), (*b"x").into());
    said.meta.attrs = more.clone().boxed();
    bench.say("a", &said);
    bench.scan();
    let file = fs::File::open(bench.root("a")).unwrap();
    assert!(rustix::fs::fgetxattr(&file, "security.capability", &mut [0; 99][..]).is_err());
    fs::write(bench.root("a"), "ours").unwrap();
    bench.scan();
    let now = bench.placed("a").version;
    assert!(now.content != said.content);
    assert_eq!(now.meta.attrs, more.boxed());
}

/// F-31: ext4 has a block for the attributes of a file.
#[test]
fn what_a_disk_has_no_room_for_keeps_no_content_back_and_is_said_again() {
    let mut bench = Bench::new();
    if !has_attributes(&bench) {
        return;
    }
    let long = vec![b'x'; 20_000];
    fs::write(bench.root("probe"), "").unwrap();
    let probe = fs::File::open(bench.root("probe")).unwrap();
    let set = rustix::fs::fsetxattr(&probe, "user.long", &long, rustix::fs::XattrFlags::empty());
    fs::remove_file(bench.root("probe")).unwrap();
    if set.is_ok() {
        println!("skipped: this file system has room for long attributes");
        return;
    }
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    // Without a list: a mode changes its mask, and that is an edit of all that is said of attributes.
    let mut more = Attrs { access: None, ..attrs() };
    more.xattrs.insert((*b"user.long").into(), long.into());
    said.meta.attrs = more.clone().boxed();
    bench.say("a", &said);
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    let file = fs::File::open(bench.root("a")).unwrap();
    assert!(rustix::fs::fgetxattr(&file, "user.long", &mut [0; 99][..]).is_err());
    assert_eq!(rustix::fs::fgetxattr(&file, "user.comment", &mut [0; 99][..]), Ok(6));
    assert_eq!(bench.placed("a").version, said, "nobody edited it");
    // A new mode alone, and a new content: what there is no room for is said each time.
    fs::set_permissions(bench.root("a"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.scan();
    assert!(bench.placed("a").version.meta.attrs == more.clone().boxed(), "after a new mode");
    fs::write(bench.root("a"), "ours").unwrap();
    bench.scan();
    let now = bench.placed("a").version;
    assert!(now.content != said.content && now.meta.mode == 0o600);
    assert!(now.meta.attrs == more.boxed(), "after an edit");
}

#[test]
fn of_two_names_that_are_one_to_the_disk_neither_file_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("tree")).unwrap();
    // As a file system that folds names shows itself.
    fs::create_dir(home.path().join("tree/.FARHAUL")).unwrap();
    let mut bench = Bench::at(home, Arc::new(Unnamed));
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("folded readme"), "ours").unwrap();
    bench.scan();
    // The other spelling leads to the same file, and no directory lists it.
    fs::hard_link(bench.root("folded readme"), bench.root("FOLDED README")).unwrap();
    exact::tests::HIDDEN.lock().unwrap().insert(b"FOLDED README".to_vec());
    let theirs = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    bench.say("FOLDED README", &theirs);
    bench.settle();
    bench.body.show_troubles();
    let shown = bench.body.conditions.lock().unwrap().get(&FOLDER).unwrap().unplaced.clone();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].0, path("FOLDED README"));
    assert_eq!(fs::read(bench.root("folded readme")).unwrap(), b"ours");
    // Nobody takes the one for an edit of the other.
    bench.folder().upkeep.look_again(&path("FOLDED README"));
    bench.settle();
    let item = bench.item("FOLDED README");
    assert_eq!(item.versions.iter().map(|version| version.dot).collect::<Vec<_>>(), [theirs.dot]);
    assert!(item.placed.is_none());
    // With another name for ours there is room for theirs.
    fs::rename(bench.root("folded readme"), bench.root("ours")).unwrap();
    fs::remove_file(bench.root("FOLDED README")).unwrap();
    exact::tests::HIDDEN.lock().unwrap().remove(&b"FOLDED README"[..]);
    bench.scan();
    assert_eq!(fs::read(bench.root("FOLDED README")).unwrap(), b"theirs");
    assert_eq!(fs::read(bench.root("ours")).unwrap(), b"ours");
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_mode_that_changes_while_the_content_is_under_way_arrives_with_it() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let said = |serial, mode, seen: &[Dot]| {
        let mut said = version(dot(2, serial), seen, theirs.clone());
        said.meta.mode = mode;
        said.stamp.millis += serial;
        said
    };
    bench.say("a", &said(1, 0o644, &[]));
    // The content is brought by a thread of its own, and comes in with a later event.
    bench.body.folders.values_mut().for_each(Folder::go_on);
    bench.say("a", &said(2, 0o750, &[dot(2, 1)]));
    bench.settle();
    assert_eq!(mode_of(&bench.root("a")), 0o750);
    assert_eq!(bench.placed("a").version.dot, dot(2, 2));
    bench.scan();
    assert_eq!(bench.item("a").versions.iter().count(), 1);
    assert_eq!(bench.placed("a").version.dot, dot(2, 2), "nobody edited it");
}

#[test]
fn a_mode_that_is_set_on_a_conflict_copy_is_set_back_to_that_of_its_version() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("a"), "ours").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    bench.say("a", &version(dot(2, 1), &[], theirs));
    bench.scan();
    let files = files_of(&bench.root(""));
    let copy = files.iter().find(|(name, _)| name.contains(".conflict-")).unwrap().0.clone();
    let before = mode_of(&bench.root(&copy));
    fs::set_permissions(bench.root(&copy), fs::Permissions::from_mode(before ^ 0o111)).unwrap();
    bench.scan();
    assert_eq!(mode_of(&bench.root(&copy)), before);
    assert!(bench.root(&copy).exists());
}

fn owner_of(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

/// Two users and two groups, one of each with number 0.
fn names() -> NameTable {
    NameTable::parse(b"root:x:0:0::/:\nann:x:1000:50::/:\n", b"root:x:0:\nstaff:x:50:\n")
}

fn belonging(mut version: Version, owner: &str, group: &str) -> Version {
    version.meta.owner = Some(owner.as_bytes().into());
    version.meta.group = Some(group.as_bytes().into());
    version
}

#[test]
fn nothing_becomes_roots_because_a_member_says_so() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this process is not root");
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(names()));
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("mine"), "ours").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let mine = bench.placed("mine").version;
    let said = |serial, seen: &[Dot], content: &Content, owner, group| {
        let mut version = belonging(version(dot(2, serial), seen, content.clone()), owner, group);
        version.stamp.millis = mine.stamp.millis + serial;
        version
    };
    bench.say("file", &said(1, &[], &theirs, "root", "root"));
    bench.say("dir", &said(2, &[], &Content::Dir, "root", "0"));
    bench.say("unknown", &said(3, &[], &theirs, "zed", "zeds"));
    bench.say("known", &said(4, &[], &theirs, "ann", "staff"));
    // What is root's already stays that under another content.
    bench.say("mine", &said(5, &[mine.dot], &theirs, "root", "root"));
    bench.settle();
    let nobody = (65_534, 65_534);
    for (name, belongs) in [
        ("file", nobody),
        ("dir", nobody),
        ("unknown", nobody),
        ("known", (1000, 50)),
        ("mine", (0, 0)),
    ] {
        assert_eq!(owner_of(&bench.root(name)), belongs, "{name}");
    }
    assert_eq!(fs::read(bench.root("mine")).unwrap(), b"theirs");
    // Nor what stands there already, and only gets another owner.
    bench.say("known", &said(6, &[dot(2, 4)], &theirs, "root", "root"));
    bench.settle();
    assert_eq!(owner_of(&bench.root("known")), (1000, 50));
    assert_eq!(bench.placed("known").version.dot, dot(2, 6));
    // None of that is an edit, and the next edit says what the version said.
    bench.scan();
    for (name, serial) in [("file", 1), ("dir", 2), ("unknown", 3), ("mine", 5), ("known", 6)] {
        assert_eq!(bench.placed(name).version.dot, dot(2, serial), "{name}");
    }
    fs::write(bench.root("file"), "edited").unwrap();
    bench.scan();
    assert_eq!(bench.placed("file").version.meta.owner.as_deref(), Some(&b"root"[..]));
}

#[test]
fn where_the_configuration_allows_it_what_is_roots_elsewhere_is_roots_here() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this process is not root");
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(names().with_root()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    bench.say("file", &belonging(version(dot(2, 1), &[], theirs), "root", "staff"));
    bench.say("dir", &belonging(version(dot(2, 2), &[], Content::Dir), "zed", "zeds"));
    bench.settle();
    assert_eq!(owner_of(&bench.root("file")), (0, 50));
    assert_eq!(owner_of(&bench.root("dir")), (0, 0));
}
