//! Whole trees: odd names, links, holes, modes and times arrive as they were, and a second time
//! nothing is carried.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::tree::{self, Content, Node};
use farhaul_netem_tests::{LabProfile, Sites, require};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Small files of mixed sizes in the tree.
const FILES: u32 = 2000;
const DIRECTORIES: u32 = 40;
const SPARSE_LEN: u64 = 24 << 20;
/// A name of the greatest length that file systems take.
const LONG: [u8; 255] = [b'n'; 255];

/// Names that commands and formats stumble over.
const ODD_NAMES: [&[u8]; 9] = [
    b"-rf",
    b"new\nline",
    b"invalid\xff\xfeutf-8",
    b" spaces \t",
    b"quote\"'`$(x)\\",
    b"\x01\x1b[31m",
    "caf\u{e9}".as_bytes(),
    b"...",
    &LONG,
];

fn link() -> LabProfile {
    let text = "rate = '200Mbit/s'\nrtt = '60ms'\nloss = '1%'\nqueue = '50ms'";
    LabProfile::from_toml(text).expect("well-formed")
}

/// A time in the past, other for each `number`, down to the nanosecond.
fn set_time(path: &Path, number: u64) {
    let time = Duration::new(1_000_000_000 + number, 123_456_789);
    let file = File::open(path).expect("just made");
    let modified = SystemTime::UNIX_EPOCH + time;
    file.set_times(FileTimes::new().set_modified(modified)).expect("our own file");
}

fn put(path: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32, number: u64) {
    let path = path.as_ref();
    fs::write(path, content).expect("a new file");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own file");
    set_time(path, number);
}

/// Sizes from nothing to a few kilobytes.
fn small_len(number: u32) -> usize {
    usize::try_from(number.wrapping_mul(2_654_435_761) >> 19).expect("13 bits")
        * usize::from(!number.is_multiple_of(50))
}

fn plant(root: &Path) {
    fs::create_dir(root).expect("a fresh directory");
    let directory = |number: u32| root.join(format!("d{}/e{number}", number % 7));
    for number in 0..DIRECTORIES {
        fs::create_dir_all(directory(number)).expect("a fresh directory");
    }
    for number in 0..FILES {
        let path = directory(number % DIRECTORIES).join(format!("file-{number}"));
        let mode = [0o644, 0o600, 0o755, 0o440][usize::try_from(number % 4).expect("small")];
        put(path, content::bytes(number.into(), small_len(number)), mode, number.into());
    }
    plant_odd(root);
    plant_large(root);
    for number in 0..DIRECTORIES {
        let mode = [0o755, 0o700, 0o711][usize::try_from(number % 3).expect("small")];
        fs::set_permissions(directory(number), Permissions::from_mode(mode)).expect("our own");
        set_time(&directory(number), number.into());
    }
}

fn plant_odd(root: &Path) {
    let odd = root.join("odd");
    fs::create_dir_all(odd.join("deep/".repeat(20))).expect("a fresh directory");
    fs::create_dir(root.join("empty")).expect("a fresh directory");
    for name in ODD_NAMES {
        put(odd.join(OsStr::from_bytes(name)), name, 0o644, 5);
        fs::create_dir(root.join("empty").join(OsStr::from_bytes(name))).expect("a fresh name");
    }
    symlink("deep", odd.join("link-to-directory")).expect("a fresh name");
    symlink("../d0", odd.join("link-upwards")).expect("a fresh name");
    symlink("/nowhere/at/all", odd.join("dangling")).expect("a fresh name");
    symlink(OsStr::from_bytes(b"bad\xff\n"), odd.join("dangling-odd")).expect("a fresh name");
    symlink("loop", odd.join("loop")).expect("a fresh name");
}

fn plant_large(root: &Path) {
    // Around the length of a block, and around that up to which files travel together.
    for (number, len) in [1_404_927, 1_404_928, 1_404_929, 300_000, 3 * MIB].into_iter().enumerate()
    {
        let seed = number as u64;
        put(root.join(format!("large-{len}")), content::bytes(seed, len), 0o644, seed);
    }
    let path = root.join("sparse.img");
    let file = File::create(&path).expect("a fresh name");
    file.set_len(SPARSE_LEN).expect("a sparse file");
    for (seed, offset) in [(1, 0), (2, 5 << 20), (3, (17 << 20) + 4096)] {
        file.write_all_at(&content::bytes(seed, 100_000), offset).expect("room");
    }
    drop(file);
    set_time(&path, 9);
    let file = File::create(root.join("all-hole.img")).expect("a fresh name");
    file.set_len(8 << 20).expect("a sparse file");
}

fn count(nodes: &BTreeMap<Vec<u8>, Node>, of: impl Fn(&Content) -> bool) -> u64 {
    nodes.values().filter(|node| of(&node.content)).count() as u64
}

fn is_file(content: &Content) -> bool {
    matches!(content, Content::File(_))
}

fn is_link(content: &Content) -> bool {
    matches!(content, Content::Link(_))
}

#[test]
fn a_tree_arrives_with_names_bytes_modes_times_and_links() {
    let test = "a_tree_arrives_with_names_bytes_modes_times_and_links";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.path("tree");
    plant(&source);
    let _server = sites.serve();
    let sent = sites.send(&source, "in", &[]);
    tree::assert_same(&source, &sites.root().join("in/tree"));
    let nodes = tree::walk(&source).expect("readable");
    assert!(count(&nodes, is_file) > u64::from(FILES));
    assert_eq!(sent.files, count(&nodes, is_file) + count(&nodes, is_link));
    assert_eq!((sent.files_skipped, sent.files_failed), (0, 0));
}

#[test]
fn a_tree_can_be_got_as_well() {
    let sites = require!("a_tree_can_be_got_as_well", Sites::start(&link()));
    plant(&sites.root().join("tree"));
    let _server = sites.serve();
    sites.get("tree", sites.path("back"), &[]);
    tree::assert_same(&sites.root().join("tree"), &sites.path("back/tree"));
    sites.get("tree/odd/", sites.path("contents"), &[]);
    tree::assert_same(&sites.root().join("tree/odd"), &sites.path("contents"));
}

#[test]
fn a_tree_that_is_in_place_is_not_sent_again() {
    let test = "a_tree_that_is_in_place_is_not_sent_again";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.path("tree");
    plant(&source);
    let _server = sites.serve();
    sites.send(&source, "in", &[]);
    let before = tree::walk(&sites.root()).expect("readable");
    let again = sites.send(&source, "in", &[]);
    tree::assert_same(&source, &sites.root().join("in/tree"));
    assert_eq!((again.bytes, again.files, again.files_failed), (0, 0, 0));
    assert_eq!(again.files_skipped, count(&before, is_file));
    // The list of the tree still crosses the link, and a few packets that measure it.
    assert!(again.wire_bytes_sent < 2 << 20, "{again:?}");
    let after = tree::walk(&sites.root()).expect("readable");
    for (path, node) in before.iter().filter(|(_, node)| node.content != Content::Directory) {
        let same = after[path].incarnation == node.incarnation;
        assert!(same, "{} was written again", path.escape_ascii());
    }
}

#[test]
fn only_what_changed_in_a_tree_is_sent_again() {
    let test = "only_what_changed_in_a_tree_is_sent_again";
    let sites = require!(test, Sites::start(&link()));
    let source = sites.path("tree");
    fs::create_dir_all(source.join("d")).expect("a fresh directory");
    for number in 0..20 {
        let name = format!("d/file-{number}");
        put(source.join(name), content::bytes(number, 50_000), 0o644, number);
    }
    let _server = sites.serve();
    sites.send(&source, "", &[]);
    put(source.join("d/file-3"), content::bytes(99, 50_000), 0o644, 1000);
    put(source.join("d/new"), content::bytes(98, 10), 0o644, 1001);
    let again = sites.send(&source, "", &[]);
    tree::assert_same(&source, &sites.root().join("tree"));
    assert_eq!((again.bytes, again.files, again.files_skipped), (50_010, 2, 19));
}

#[test]
fn holes_of_sparse_files_stay_holes() {
    let sites = require!("holes_of_sparse_files_stay_holes", Sites::start(&link()));
    let source = sites.path("tree");
    fs::create_dir(&source).expect("a fresh directory");
    plant_large(&source);
    let _server = sites.serve();
    let report = sites.send(source.join("sparse.img"), "", &[]);
    let found = tree::walk(&sites.root()).expect("readable");
    let sparse = &found[&b"sparse.img"[..]];
    let allocated = sparse.allocated;
    content::assert_same(&source.join("sparse.img"), &sites.root().join("sparse.img"));
    assert!(allocated < 1 << 20, "{allocated} bytes on disk");
    assert!(report.wire_bytes_sent < SPARSE_LEN / 4, "{report:?}");
    sites.get("sparse.img", sites.path("back"), &[]);
    content::assert_same(&source.join("sparse.img"), &sites.path("back/sparse.img"));
    let back = tree::walk(&sites.path("back")).expect("readable");
    assert!(back[&b"sparse.img"[..]].allocated < 1 << 20);
}
