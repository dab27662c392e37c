//! What a scan says of a tree of which something is known.

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::fs::PermissionsExt;

fn scan(tree: &Tree, index: &MemoryIndex) -> (Vec<String>, Counts) {
    tree.scanned(index, WalkOptions::default())
}

#[test]
fn a_tree_that_nobody_knows_is_all_new_and_then_nothing_is() {
    let tree = Tree::with(&["a/b", "c", "d/"]);
    let (seen, counts) = scan(&tree, &MemoryIndex::default());
    assert_eq!(seen, ["new a", "new a/b", "new c", "new d"]);
    assert_eq!(counts, Counts { changed: 4, ..Counts::default() });
    let (seen, counts) = scan(&tree, &tree.known());
    assert_eq!((seen.len(), counts), (0, Counts { unchanged: 4, ..Counts::default() }));
}

#[test]
fn edits_deletions_and_changes_of_kind_are_told_apart() {
    let tree = Tree::with(&["a/b", "a/c", "edit", "gone/x/y", "kind/x", "same"]);
    let index = tree.known();
    std::fs::remove_dir_all(tree.at("gone")).expect("removed");
    std::fs::remove_dir_all(tree.at("kind")).expect("removed");
    tree.write("kind", b"a file now");
    tree.write("edit", b"tide");
    tree.write("fresh/er", b"x");
    let (seen, counts) = scan(&tree, &index);
    let expected = [
        "changed edit",
        "new fresh",
        "new fresh/er",
        "gone gone",
        "gone gone/x",
        "gone gone/x/y",
        "changed kind",
        "gone kind/x",
    ];
    assert_eq!(seen, expected);
    let counts = Counts { unchanged: 4, ..counts };
    assert_eq!(counts, Counts { unchanged: 4, changed: 4, gone: 4, ..Counts::default() });
}

#[test]
fn a_restored_time_and_an_inode_given_out_again_are_changes() {
    let tree = Tree::with(&["a", "b"]);
    let index = tree.known();
    let [a, b] = ["a", "b"].map(|name| std::fs::metadata(tree.at(name)).expect("there"));
    std::thread::sleep(std::time::Duration::from_millis(20));
    tree.write("a", b"x");
    std::fs::remove_file(tree.at("b")).expect("removed");
    tree.write("b", b"y");
    for (name, meta) in [("a", a), ("b", b)] {
        let file = std::fs::File::options().write(true).open(tree.at(name)).expect("opened");
        file.set_modified(meta.modified().expect("has one")).expect("set");
    }
    assert_eq!(scan(&tree, &index).0, ["changed a", "changed b"]);
}

#[test]
fn a_state_in_doubt_is_looked_at_again() {
    let tree = Tree::with(&["a", "b"]);
    let mut index = tree.known();
    index.items.insert(rel(b"b"), (FileKind::File, None));
    assert_eq!(scan(&tree, &index).0, ["changed b"]);
}

#[test]
fn what_became_something_that_no_site_carries_is_not_deleted() {
    let tree = Tree::with(&["a", "d/x", "z"]);
    let index = tree.known();
    std::fs::remove_dir_all(tree.at("d")).expect("removed");
    std::fs::remove_file(tree.at("a")).expect("removed");
    for name in ["a", "d"] {
        mknodat(CWD, tree.at(name), FileType::Fifo, Mode::RUSR, 0).expect("made");
    }
    let (seen, counts) = scan(&tree, &index);
    assert_eq!(seen, ["left out a: Special", "left out d: Special"]);
    assert_eq!((counts.withheld, counts.gone, counts.unchanged), (3, 0, 1));
}

#[test]
fn nothing_beneath_what_cannot_be_read_is_deleted() {
    if !obeys_permissions() {
        return;
    }
    let tree = Tree::with(&["a", "closed/x/y", "closed/z", "closed-", "listable/x", "zz"]);
    let index = tree.known();
    std::fs::remove_file(tree.at("closed-")).expect("removed");
    for (dir, mode) in [("closed", 0o000), ("listable", 0o400)] {
        std::fs::set_permissions(tree.at(dir), std::fs::Permissions::from_mode(mode))
            .expect("changed");
    }
    let (seen, counts) = scan(&tree, &index);
    for dir in ["closed", "listable"] {
        std::fs::set_permissions(tree.at(dir), std::fs::Permissions::from_mode(0o700))
            .expect("changed");
    }
    let expected =
        ["changed closed", "unread closed", "gone closed-", "changed listable", "unread listable"];
    assert_eq!(seen, expected);
    assert_eq!((counts.withheld, counts.gone, counts.unread), (4, 1, 2));
}

#[test]
fn what_is_ignored_is_neither_published_nor_removed() {
    let tree = Tree::with(&["a.tmp", "cache/deep/x", "kept", "old.tmp"]);
    let index = tree.known();
    std::fs::remove_file(tree.at("old.tmp")).expect("removed");
    tree.write("a.tmp", b"edited");
    tree.write("cache/new", b"x");
    let rules = Rules::parse(&["*.tmp", "cache"]).expect("good");
    let (seen, counts) =
        tree.scanned(&index, WalkOptions { rules: rules.clone(), ..WalkOptions::default() });
    assert_eq!(seen, ["left out a.tmp: Ignored", "left out cache: Ignored"]);
    assert_eq!((counts.withheld, counts.unchanged), (5, 1));
    std::fs::remove_dir_all(tree.at("cache")).expect("removed");
    let (seen, _) = tree.scanned(&index, WalkOptions { rules, ..WalkOptions::default() });
    assert_eq!(seen, ["left out a.tmp: Ignored"], "what lay in an ignored directory stays known");
    assert_eq!(scan(&tree, &MemoryIndex::default()).0, ["new a.tmp", "new kept"], "and comes back");
}

#[test]
fn a_root_that_was_removed_is_no_empty_folder() {
    let tree = Tree::with(&["top/a", "top/b"]);
    let root = Root::open(&tree.at("top")).expect("opened");
    let whole = Tree { dir: tree.dir, root };
    let index = whole.known();
    std::fs::remove_dir_all(whole.at("top")).expect("removed");
    let started = Scan::start(&whole.root, index.cursor(), WalkOptions::default());
    let ended = started.and_then(|mut scan| scan.advance().map(|_| ()));
    assert!(matches!(ended, Err(ScanError::Root(_))), "{ended:?}");
    let (keys, mut kept) = (keys(), Kept::default());
    let mut looker = Looker::new(&whole.root, &keys, Rules::default(), Stop::default());
    assert!(matches!(looker.look(&rel(b"a"), &mut kept), Err(LookError::Confine(_))));
}

#[test]
fn a_scan_is_taken_up_where_it_was_and_says_the_same() {
    let tree = Tree::with(&["a/b/c", "a/d", "e", "f/g", "h", "i/j/k"]);
    let index = tree.known();
    for name in ["a/d", "h"] {
        tree.write(name, b"edited");
    }
    std::fs::remove_dir_all(tree.at("f")).expect("removed");
    tree.write("a/b/new", b"x");
    let (whole, _) = scan(&tree, &index);
    assert_eq!(whole.len(), 6, "{whole:?}");
    for stop_after in 0..whole.len() {
        let (mut seen, mut after) = (Vec::new(), None);
        while seen.len() < whole.len() {
            let options = WalkOptions { after: after.take(), ..WalkOptions::default() };
            let mut scan = Scan::start(&tree.root, index.cursor(), options).expect("it begins");
            for _ in 0..=stop_after {
                match scan.advance().expect("it goes on") {
                    Some(next) => seen.push(line(&next)),
                    None => break,
                }
            }
            after = scan.position();
        }
        assert_eq!(seen, whole, "in steps of {}", stop_after + 1);
    }
}

#[test]
fn a_stopped_scan_says_so_and_deletes_nothing() {
    let tree = Tree::with(&["a", "b", "c"]);
    let index = tree.known();
    std::fs::remove_file(tree.at("c")).expect("removed");
    let stop = Stop::default();
    let options = WalkOptions { stop: stop.clone(), ..WalkOptions::default() };
    let mut scan = Scan::start(&tree.root, index.cursor(), options).expect("it begins");
    stop.set();
    assert!(matches!(scan.advance(), Err(ScanError::Stopped)));
    assert_eq!(scan.counts().gone, 0);
}
