//! What the disk itself does: full, unmounted, somebody else's; and what is on its way in.

use super::*;

#[test]
fn staged_data_is_found_again_and_holes_stay() {
    let home = tempfile::tempdir().unwrap();
    let site = Site::new(home.path());
    let (at, manifest, size) = (path("a"), ManifestId([3; 32]), Bytes::mib(64));
    let data = [0..5, (32 << 20)..(32 << 20) + 5];
    let staged = site.store.stage(&at, manifest, size, &data).unwrap();
    assert!(!staged.is_resumed());
    data.iter().for_each(|part| staged.write_at(b"hello", part.start).unwrap());
    drop(staged);
    let other = site.store.stage(&path("b"), manifest, size, &[]).unwrap();
    assert!(!other.is_resumed());
    other.discard();
    let staged = site.store.stage(&at, manifest, size, &data).unwrap();
    let mut read = [0; 5];
    assert!(staged.is_resumed() && staged.read_at(&mut read, 32 << 20).unwrap());
    assert_eq!(&read, b"hello");
    assert!(!staged.read_at(&mut read, 64 << 20).unwrap());
    let found = DiskMeta::of(staged.file()).unwrap();
    assert!(found.allocated < 1 << 20, "{} bytes", found.allocated);
    let ready = staged.finish(&Meta { mode: 0o400, ..Meta::default() }).unwrap();
    assert_eq!(ready.identity.size, 64 << 20);
    // Its final mode keeps nobody from going on with it.
    assert!(site.store.stage(&at, manifest, size, &data).unwrap().is_resumed());
}

#[test]
fn a_sweep_takes_what_nobody_goes_on_with() {
    let home = tempfile::tempdir().unwrap();
    let site = Site::new(home.path());
    site.store.ready_link(b"x", &Meta::default()).unwrap();
    site.store.ready_dir(&Meta::default()).unwrap();
    drop(site.store.stage(&path("a"), ManifestId([3; 32]), Bytes::new(5), &[]).unwrap());
    let now = site.store.incoming.meta().unwrap().identity.ctime.secs;
    assert_eq!(site.store.sweep(now).unwrap(), 2);
    assert_eq!(site.store.sweep(now + 8 * 24 * 3600).unwrap(), 1);
}

#[test]
fn an_unmounted_emptied_or_other_folder_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (root, other) = (home.path().join("tree"), home.path().join("other"));
    [&root, &other].into_iter().for_each(|at| fs::create_dir(at).unwrap());
    let refused = |result: Result<Store, StoreError>| result.map(drop).unwrap_err();
    let open = |at: &Path, mark: &FolderMark| Store::open(at, mark, Arc::new(Unnamed));
    let nowhere = FolderMark { id: [0; 16], file_system: 0 };
    assert!(matches!(refused(open(&root, &nowhere)), StoreError::NoMarker { .. }));
    let store = Store::create(&root, Arc::new(Unnamed)).unwrap();
    let mark = store.mark();
    store.check_there().unwrap();
    assert!(matches!(refused(open(&root, &mark)), StoreError::InUse));
    let again = Store::create(&root, Arc::new(Unnamed));
    assert!(matches!(refused(again), StoreError::MarkedAlready));
    let elsewhere = FolderMark { file_system: !mark.file_system, ..mark };
    assert!(matches!(refused(open(&root, &elsewhere)), StoreError::OtherFileSystem { .. }));
    let foreign = FolderMark { id: [1; 16], ..mark };
    assert!(refused(open(&root, &foreign)).is_elsewhere());
    // Swapped with another folder while it is open.
    drop(Store::create(&other, Arc::new(Unnamed)).unwrap());
    let swapped = home.path().join("swapped");
    fs::rename(&root, &swapped).unwrap();
    assert!(store.check_there().is_err());
    fs::rename(&other, &root).unwrap();
    assert!(store.check_there().unwrap_err().is_elsewhere());
    fs::remove_file(root.join(".farhaul/folder")).unwrap();
    assert!(store.check_there().unwrap_err().is_elsewhere());
    for junk in [&b"farhaul folder 1\nzz\n"[..], b"", b"\xff\xff", &[b'a'; 10_000]] {
        fs::write(root.join(".farhaul/folder"), junk).unwrap();
        assert!(matches!(refused(open(&root, &mark)), StoreError::NoMarker { .. }));
    }
}

#[test]
fn a_copy_that_shares_the_folders_files_is_not_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("tree");
    fs::create_dir(&root).unwrap();
    let store = Store::create(&root, Arc::new(Unnamed)).unwrap();
    store.check_marker().unwrap();
    let aside = home.path().join("aside");
    fs::rename(&root, &aside).unwrap();
    fs::create_dir_all(root.join(".farhaul")).unwrap();
    fs::hard_link(aside.join(".farhaul/folder"), root.join(".farhaul/folder")).unwrap();
    assert!(store.check_marker().unwrap_err().is_elsewhere());
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    store.check_marker().unwrap();
}

#[test]
fn directories_of_ours_that_others_can_look_into_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let site = Site::new(home.path());
    let (mark, versions) = (site.store.mark(), site.at(".farhaul/versions"));
    drop(site);
    fs::set_permissions(versions, fs::Permissions::from_mode(0o755)).unwrap();
    let opened = Store::open(&home.path().join("tree"), &mark, Arc::new(Unnamed));
    assert!(matches!(opened, Err(StoreError::NotPrivate { .. })));
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    // A file system of 8 MiB: in memory, where this process may mount one.
    let home = tempfile::tempdir().unwrap();
    let small = home.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&small)
        .output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped: a full disk, for this process may not mount one");
        return;
    }
    let result = std::panic::catch_unwind(|| fill(&small));
    let unmount = std::process::Command::new("umount").arg("-l").arg(&small).status();
    assert!(unmount.unwrap().success());
    result.unwrap();
}

fn fill(small: &Path) {
    let site = Site::new(small);
    fs::write(site.at("a"), b"old").unwrap();
    let stage = |size: Bytes| {
        let all = 0..size.get();
        site.store.stage(&path("a"), ManifestId([3; 32]), size, core::slice::from_ref(&all))
    };
    let refused = stage(Bytes::mib(9)).map(drop).unwrap_err();
    assert!(refused.is_full(), "{refused}");
    assert_eq!(site.store.incoming.names().unwrap().len(), 0);
    // There was room when it was asked, and somebody else took it.
    let staged = stage(Bytes::mib(4)).unwrap();
    let filler = vec![1; 8 << 20];
    let _ = fs::write(small.join("filler"), &filler);
    let mut written = Ok(());
    for at in 0..8 {
        written = written.and_then(|()| staged.write_at(&filler[..1 << 20], at << 20));
    }
    assert!(written.unwrap_err().is_full());
    drop(staged);
    assert_eq!(text(site.at("a")), "old");
    fs::remove_file(small.join("filler")).unwrap();
    assert!(stage(Bytes::mib(4)).unwrap().is_resumed());
    assert!(matches!(site.index.take_reserve(), Err(crate::index::IndexError::Full)));
    assert!(!small.join("index-reserve").exists());
}

/// Whoever makes a folder is killed at one of the steps of that: the next start goes on there.
#[test]
fn a_directory_whose_first_start_was_killed_becomes_a_folder_with_the_next() {
    for killed_at in 1..=6 {
        let home = tempfile::tempdir().unwrap();
        let (tree, kept) = (home.path().join("tree"), home.path().join("mark"));
        fs::create_dir(&tree).unwrap();
        let make = || Store::open_or_create(&tree, &kept, Arc::new(Unnamed));
        crash::at_step(killed_at, || std::panic::resume_unwind(Box::new("killed")));
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
        assert!(killed.is_err(), "there is no step {killed_at}");
        let made = make().unwrap_or_else(|error| panic!("killed at {killed_at}: {error}")).mark();
        assert_eq!(make().unwrap().mark(), made);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "killed at {killed_at}");
    }
}
