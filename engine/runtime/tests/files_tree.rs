//! Confinement and scanning: what a path may reach, and what a walk finds.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::files::dir::{FileKind, Resolver};
use farhaul_engine::files::scan::{
    FailReason, ScanError, SkipReason, scan_beneath, scan_contents_beneath,
};
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{ConfineError, Root, SourceError, scan};
use farhaul_proto::manifest::{EntryKind, Extent, Extents};
use farhaul_proto::path_name::PathError;
use kit::{as_plain_user, contents_of, noise, os, rel, set_mode, set_mtime};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

const RESOLVERS: [Resolver; 2] = [Resolver::Openat2, Resolver::Walk];

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// `top/inside/file` and beside it `outside/secret`, with links from the one to the other.
fn with_links() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    fs::create_dir_all(at("top/inside")).unwrap();
    fs::create_dir(at("outside")).unwrap();
    fs::write(at("top/inside/file"), "good").unwrap();
    fs::write(at("outside/secret"), "secret").unwrap();
    symlink("../outside", at("top/out")).unwrap();
    symlink("inside", at("top/in")).unwrap();
    symlink("file", at("top/inside/alias")).unwrap();
    home
}

#[test]
fn links_in_a_path_are_refused_wherever_they_lead() {
    let home = with_links();
    for resolver in RESOLVERS {
        let root = Root::open_with(&home.path().join("top"), resolver).unwrap();
        let refused = |error| matches!(error, Some(ConfineError::SymlinkInPath { .. }));
        for path in [&b"out/secret"[..], b"in/file", b"inside/alias"] {
            assert!(refused(root.open_file(&rel(path)).err()), "{resolver:?} {}", rel(path));
        }
        for path in [&b"out"[..], b"in"] {
            assert!(refused(root.open_dir(&rel(path)).err()), "{resolver:?} {}", rel(path));
        }
        assert!(refused(root.stat(&rel(b"out/secret")).err()));
        assert!(refused(root.make_dirs(&rel(b"out/new"), 0o755).err()));
        assert!(refused(root.symlink(b"x", &rel(b"out/new")).err()));
        assert!(refused(root.remove_file(&rel(b"out/secret")).err()));
    }
    assert_eq!(fs::read(home.path().join("outside/secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(home.path().join("outside")).unwrap().count(), 1);
}

#[test]
fn the_kernel_resolver_is_chosen_where_it_works() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(Root::open(home.path()).unwrap().dir().resolver(), Resolver::Openat2);
}

#[test]
fn a_link_at_the_end_is_looked_at_not_through() {
    let home = with_links();
    for resolver in RESOLVERS {
        let root = Root::open_with(&home.path().join("top"), resolver).unwrap();
        assert_eq!(root.stat(&rel(b"out")).unwrap().kind, FileKind::Symlink);
        assert_eq!(root.read_link(&rel(b"out")).unwrap(), b"../outside");
    }
}

#[test]
fn another_mount_is_not_entered() {
    for resolver in RESOLVERS {
        let root = Root::open_with(Path::new("/"), resolver).unwrap();
        let refused = root.open_file(&rel(b"proc/version"));
        assert!(matches!(refused, Err(ConfineError::CrossesMount { .. })), "{resolver:?}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_neither_blocks_nor_passes() {
    let home = tempfile::tempdir().unwrap();
    make_pipe(&home.path().join("pipe"));
    for resolver in RESOLVERS {
        let root = Root::open_with(home.path(), resolver).unwrap();
        assert!(matches!(root.open_file(&rel(b"pipe")), Err(ConfineError::Io { .. })));
        assert_eq!(root.stat(&rel(b"pipe")).unwrap().kind, FileKind::Special);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let home = with_links();
    for resolver in RESOLVERS {
        let root = Root::open_with(&home.path().join("top"), resolver).unwrap();
        let open = |path: &[u8]| root.open_file(&rel(path)).err().unwrap();
        assert!(matches!(open(b"none"), ConfineError::NotFound { .. }));
        assert!(matches!(open(b"inside"), ConfineError::IsDirectory { .. }));
        assert!(matches!(open(b"inside/file/x"), ConfineError::NotDirectory { .. }));
        let not_empty = root.remove_dir(&rel(b"inside"));
        assert!(matches!(not_empty, Err(ConfineError::NotEmpty { .. })));
    }
    let missing = Root::open(&home.path().join("none"));
    assert!(matches!(missing, Err(ConfineError::NotFound { .. })));
}

fn paths(found: &farhaul_engine::files::ScannedSource) -> Vec<Vec<u8>> {
    found.manifest.entries.iter().map(|e| e.path.as_bytes().to_vec()).collect()
}

#[test]
fn a_source_lands_under_its_name_and_with_a_slash_its_contents_do() {
    let home = tempfile::tempdir().unwrap();
    let src = home.path().join("src");
    fs::create_dir_all(src.join("b")).unwrap();
    fs::write(src.join("b/two"), "2").unwrap();
    fs::write(src.join("b-one"), "1").unwrap();
    let named = scan(std::slice::from_ref(&src)).unwrap();
    assert_eq!(paths(&named), [&b"src"[..], b"src/b", b"src/b/two", b"src/b-one"]);
    for contents in [contents_of(&src), src.join("."), src.join("b/..")] {
        let direct = scan(std::slice::from_ref(&contents)).unwrap();
        assert_eq!(paths(&direct), [&b"b"[..], b"b/two", b"b-one"], "{contents:?}");
    }
    let one = scan(&[src.join("b-one")]).unwrap();
    assert_eq!(paths(&one), [b"b-one"]);
    for found in [named, one] {
        found.manifest.check().unwrap();
        let last = found.manifest.len() - 1;
        assert!(found.reopen(last).is_ok());
    }
}

#[test]
fn sources_share_directories_but_not_files() {
    let home = tempfile::tempdir().unwrap();
    for (tree, file) in [("one", "shared/a"), ("two", "shared/b"), ("three", "shared/a")] {
        let path = home.path().join(tree).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, tree).unwrap();
    }
    let contents = |tree: &str| contents_of(&home.path().join(tree));
    let merged = scan(&[contents("two"), contents("one")]).unwrap();
    assert_eq!(paths(&merged), [&b"shared"[..], b"shared/a", b"shared/b"]);
    let mut text = [0; 3];
    merged.reopen(1).unwrap().read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"one");
    let clash = scan(&[contents("one"), contents("three")]);
    assert!(matches!(clash, Err(ScanError::Collision { path }) if path == rel(b"shared/a")));
}

#[test]
fn odd_names_are_carried_and_reserved_and_special_ones_noted() {
    let home = tempfile::tempdir().unwrap();
    let long = [b'n'; 255];
    let names: [&[u8]; 6] = [b"-rf", b"a\nb", b"\xff\xfe", b" ", b"..x", &long];
    for name in names {
        fs::write(home.path().join(os(name)), name).unwrap();
    }
    fs::create_dir_all(home.path().join(".farhaul/staging")).unwrap();
    make_pipe(&home.path().join("pipe"));
    let found = scan(&[contents_of(home.path())]).unwrap();
    let mut sorted = names.map(<[u8]>::to_vec);
    sorted.sort();
    assert_eq!(paths(&found), sorted);
    let mut reasons: Vec<_> = found.skipped.first.iter().map(|note| note.reason).collect();
    reasons.sort_by_key(|reason| *reason == SkipReason::Special);
    assert_eq!(reasons, [SkipReason::Reserved, SkipReason::Special]);
}

#[test]
fn links_are_listed_not_followed() {
    let home = with_links();
    let found = scan(&[contents_of(&home.path().join("top"))]).unwrap();
    let out = found.manifest.find(&rel(b"out")).unwrap();
    let target = b"../outside".to_vec();
    assert_eq!(found.manifest.entry(out).unwrap().kind, EntryKind::Symlink { target });
    assert_eq!(found.manifest.find(&rel(b"out/secret")), None);
    assert!(matches!(found.reopen(out), Err(SourceError::Confine(_))));
}

#[test]
fn what_is_too_deep_fails_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("beside"), "x").unwrap();
    fs::create_dir_all(home.path().join(vec!["d"; 258].join("/"))).unwrap();
    let found = scan(&[contents_of(home.path())]).unwrap();
    assert_eq!(found.failures.count, 1);
    let reason = &found.failures.first[0].reason;
    assert!(matches!(reason, FailReason::Path(PathError::TooDeep)));
    assert!(found.manifest.find(&rel(b"beside")).is_some());
    found.manifest.check().unwrap();
}

#[test]
fn a_server_does_not_list_another_mount() {
    let root = Root::open(Path::new("/")).unwrap();
    let refused = scan_beneath(&root, Some(&rel(b"proc")), &Stop::default());
    assert!(matches!(refused, Err(ScanError::Source(ConfineError::CrossesMount { .. }))));
}

#[test]
fn a_server_lists_beneath_its_root_only() {
    let home = with_links();
    let root = Root::open(&home.path().join("top")).unwrap();
    let named = scan_beneath(&root, Some(&rel(b"inside")), &Stop::default()).unwrap();
    assert_eq!(paths(&named), [&b"inside"[..], b"inside/alias", b"inside/file"]);
    let direct = scan_contents_beneath(&root, &rel(b"inside"), &Stop::default()).unwrap();
    assert_eq!(paths(&direct), [&b"alias"[..], b"file"]);
    let file = scan_beneath(&root, Some(&rel(b"inside/file")), &Stop::default()).unwrap();
    assert_eq!(paths(&file), [b"file"]);
    assert!(file.reopen(0).is_ok() && named.reopen(2).is_ok() && direct.reopen(1).is_ok());
    assert_eq!(scan_beneath(&root, None, &Stop::default()).unwrap().manifest.len(), 5);
    let outside = scan_beneath(&root, Some(&rel(b"out/secret")), &Stop::default());
    assert!(matches!(outside, Err(ScanError::Source(ConfineError::SymlinkInPath { .. }))));
}

#[test]
fn a_missing_or_special_source_is_an_error_of_the_order() {
    let home = tempfile::tempdir().unwrap();
    make_pipe(&home.path().join("pipe"));
    assert!(matches!(scan(&[]), Err(ScanError::NoSource)));
    let missing = scan(&[home.path().join("none")]);
    assert!(matches!(missing, Err(ScanError::Source(ConfineError::NotFound { .. }))));
    let pipe = scan(&[home.path().join("pipe")]);
    assert!(matches!(pipe, Err(ScanError::Special { .. })));
    let reserved = home.path().join(".farhaul");
    fs::create_dir(&reserved).unwrap();
    assert!(matches!(scan(&[reserved]), Err(ScanError::Name { .. })));
}

#[test]
fn holes_are_found_and_full_files_are_full() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(10 << 20).unwrap();
    file.write_all_at(&noise(1, 8192), 1 << 20).unwrap();
    file.write_all_at(&noise(2, 4096), 8 << 20).unwrap();
    fs::write(home.path().join("full"), noise(3, 100_000)).unwrap();
    File::create(home.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
    let found = scan(&[contents_of(home.path())]).unwrap();
    let kind = |name: &[u8]| {
        let index = found.manifest.find(&rel(name)).unwrap();
        found.manifest.entry(index).unwrap().kind.clone()
    };
    let runs = [(1 << 20, 8192), (8 << 20, 4096)];
    let list = runs.map(|(offset, len)| Extent { offset, len }).to_vec();
    let sparse = EntryKind::File { size: 10 << 20, extents: Extents::List(list) };
    assert_eq!(kind(b"sparse"), sparse);
    assert_eq!(kind(b"full"), EntryKind::File { size: 100_000, extents: Extents::Full });
    let hole = EntryKind::File { size: 1 << 20, extents: Extents::List(Vec::new()) };
    assert_eq!(kind(b"hole"), hole);
}

#[test]
fn a_source_that_changed_is_not_opened_again() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("appended", |path| {
            let file = File::options().append(true).open(path).unwrap();
            file.write_all_at(b"more", 4).unwrap();
        }),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "text").unwrap();
        }),
        ("touched", |path| set_mtime(path, 5, 6)),
        ("linked", |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            symlink("file.old", path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let home = tempfile::tempdir().unwrap();
        let path: PathBuf = home.path().join("file");
        fs::write(&path, "text").unwrap();
        set_mtime(&path, 1, 2);
        let found = scan(std::slice::from_ref(&path)).unwrap();
        assert!(found.check_unchanged(0).is_ok() && found.reopen(0).is_ok());
        change(&path);
        assert!(found.reopen(0).is_err(), "{what}");
        let changed = found.check_unchanged(0);
        assert!(matches!(changed, Err(SourceError::Changed { .. })), "{what}");
    }
}

/// A site that takes and gives below one directory keeps its staged files there: whoever gets all of
/// it was told that something is missing.
#[test]
fn what_we_keep_ourselves_at_the_top_is_not_missed() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "data").unwrap();
    let staging = home.path().join(".farhaul/staging");
    fs::create_dir_all(&staging).unwrap();
    set_mode(&staging, 0o700);
    set_mode(staging.parent().unwrap(), 0o700);
    let found = scan_beneath(&Root::open(home.path()).unwrap(), None, &Stop::default()).unwrap();
    assert_eq!(paths(&found), [b"file"]);
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
}

/// The second spelling was a failure of the whole transfer.
#[test]
fn every_spelling_of_the_reserved_name_is_left_out() {
    let home = tempfile::tempdir().unwrap();
    for name in [".Farhaul", ".FARHAUL"] {
        fs::write(home.path().join(name), "data").unwrap();
    }
    let found = scan_beneath(&Root::open(home.path()).unwrap(), None, &Stop::default()).unwrap();
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    assert_eq!(found.skipped.first.len(), 2, "{:?}", found.skipped);
}

#[test]
fn what_an_interrupted_transfer_left_within_a_tree_is_not_carried() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    for (parent, mode) in [("ours", 0o700), ("open", 0o755), ("bare", 0o700)] {
        let staging = at(parent).join(".farhaul/staging");
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("x.part"), "partial").unwrap();
        set_mode(&staging, mode);
        set_mode(staging.parent().unwrap(), mode);
    }
    // Nothing that we make: it is the user's.
    fs::remove_dir_all(at("bare/.farhaul/staging")).unwrap();
    fs::create_dir(at("file")).unwrap();
    fs::write(at("file/.farhaul"), "a file").unwrap();
    let scanned = scan(&[contents_of(home.path())]).unwrap();
    let [note] = &scanned.skipped.first[..] else { panic!("{:?}", scanned.skipped) };
    assert_eq!((note.path.as_bytes(), note.reason), (&b"ours/.farhaul"[..], SkipReason::Reserved));
    let names: Vec<_> = scanned.manifest.entries.iter().map(|e| e.path.as_bytes()).collect();
    let expected: [&[u8]; 9] = [
        b"bare",
        b"bare/.farhaul",
        b"file",
        b"file/.farhaul",
        b"open",
        b"open/.farhaul",
        b"open/.farhaul/staging",
        b"open/.farhaul/staging/x.part",
        b"ours",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_cannot_be_read_is_named_whole_and_once() {
    as_plain_user("naming what cannot be read", || {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("us")).unwrap();
        fs::write(home.path().join("us/no"), "x").unwrap();
        set_mode(&home.path().join("us/no"), 0o000);
        let scanned = scan(&[home.path().join("us")]).unwrap();
        let [note] = &scanned.failures.first[..] else { panic!("{:?}", scanned.failures) };
        assert_eq!(note.path.as_bytes(), b"us/no");
        assert_eq!(note.reason.to_string(), "us/no: permission denied");
        assert_eq!(note.reason.reason(), "permission denied");
        let named = scan(&[home.path().join("us/no")]).err().unwrap().to_string();
        assert!(named.ends_with("/us/no: permission denied"), "{named}");
    });
}
