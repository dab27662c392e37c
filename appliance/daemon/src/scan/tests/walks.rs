//! What a walk lists, and in which order.

use super::*;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::fs::{PermissionsExt, symlink};

fn plain() -> WalkOptions {
    WalkOptions { helpers: 0, ..WalkOptions::default() }
}

fn helped() -> WalkOptions {
    WalkOptions { helpers: 2, ..WalkOptions::default() }
}

#[test]
fn directories_come_before_what_is_in_them_and_names_by_their_bytes() {
    let tree = Tree::with(&["b", "a/x/y", "a-b", "a/x-", "a.d/", "B"]);
    let expected = ["B", "a", "a/x", "a/x/y", "a/x-", "a-b", "a.d", "b"];
    assert_eq!(tree.listed(plain()), expected);
    assert_eq!(tree.listed(helped()), expected);
}

#[test]
fn a_walk_within_a_directory_lists_what_is_beneath_it() {
    let tree = Tree::with(&["a/x/y/z", "a/x-", "a/x.d/f", "b", "a/x/c", "a/x/ignored/f"]);
    let rules = Rules::parse(&["/a/x/ignored"]).expect("a rule");
    let within = |path: &str, options: WalkOptions| {
        let within = Some(rel(path.as_bytes()));
        tree.listed(WalkOptions { within, rules: rules.clone(), ..options })
    };
    for options in [plain(), helped()] {
        let expected = ["a/x/c", "a/x/ignored: Ignored", "a/x/y", "a/x/y/z"];
        assert_eq!(within("a/x", options.clone()), expected);
        assert_eq!(within("a/x/y", options), ["a/x/y/z"]);
    }
    let within = Some(rel(b"b"));
    let options = WalkOptions { within, ..plain() };
    assert!(Walk::start(&tree.root, options).is_err(), "a file has nothing beneath it");
}

#[test]
fn names_are_bytes() {
    let tree = Tree::new();
    for name in
        [&b"\xff\xfe"[..], b"a\nb", b" ", b"-rf", "n\u{308}".as_bytes(), "\u{f1}".as_bytes()]
    {
        tree.write(odd(name), b"x");
    }
    let mut walk = Walk::start(&tree.root, plain()).expect("it can be read");
    let mut names = Vec::new();
    while walk.step().is_some() {
        names.push(walk.path().to_vec());
    }
    let sorted: [&[u8]; 6] = [b" ", b"-rf", b"a\nb", b"n\xcc\x88", b"\xc3\xb1", b"\xff\xfe"];
    assert_eq!(names, sorted);
}

#[test]
fn links_are_listed_and_not_followed() {
    let tree = Tree::with(&["dir/file"]);
    symlink("dir", tree.at("link")).expect("made");
    symlink("..", tree.at("out")).expect("made");
    symlink("nowhere", tree.at("dangling")).expect("made");
    assert_eq!(tree.listed(plain()), ["dangling", "dir", "dir/file", "link", "out"]);
}

#[test]
fn what_is_reserved_special_or_mounted_is_left_out_with_a_reason() {
    let tree = Tree::with(&[
        ".FarHaul/x",
        ".farhaul/staging/x",
        "d/.farhaul/file",
        "e/.farhaul/staging/x",
        "z",
    ]);
    for dir in ["e/.farhaul/staging", "e/.farhaul"] {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(tree.at(dir), private).expect("changed");
    }
    mknodat(CWD, tree.at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("made");
    let expected = [
        ".FarHaul: Reserved",
        ".farhaul: Reserved",
        "d",
        "d/.farhaul",
        "d/.farhaul/file",
        "e",
        "e/.farhaul: Reserved",
        "pipe: Special",
        "z",
    ];
    assert_eq!(tree.listed(plain()), expected);
    assert_eq!(tree.listed(helped()), expected);
}

#[test]
fn deep_trees_are_walked_as_deep_as_paths_go() {
    let tree = Tree::new();
    let mut dir = tree.root.dir().clone();
    for _ in 0..300 {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).expect("made");
        dir = dir.open_dir(b"d").expect("it is there");
    }
    let listed = tree.listed(plain());
    assert_eq!(listed.len(), 256);
    assert!(listed[255].ends_with("d/d: TooLong"), "{}", listed[255]);
    assert_eq!(tree.listed(helped()), listed);
    let tree = Tree::new();
    let mut dir = tree.root.dir().clone();
    for _ in 0..20 {
        rustix::fs::mkdirat(&dir, "n".repeat(255), Mode::RWXU).expect("made");
        dir = dir.open_dir(&[b'n'; 255]).expect("it is there");
    }
    let listed = tree.listed(plain());
    assert_eq!(listed.len(), 17);
    assert!(listed[16].ends_with("n: TooLong"));
}

#[test]
fn large_directories_come_whole_and_in_order() {
    let tree = Tree::new();
    let mut names: Vec<String> = (0..5000).map(|n| format!("{}", n * 7919 % 100_003)).collect();
    for (n, name) in names.iter().enumerate() {
        match n % 10 {
            0 => tree.write(format!("{name}/inside"), b""),
            _ => tree.write(name, b""),
        }
    }
    names.extend(names.clone().iter().step_by(10).map(|name| format!("{name}/inside")));
    names.sort_by_key(|name| rel(name.as_bytes()));
    assert_eq!(tree.listed(plain()), names);
    assert_eq!(tree.listed(helped()), names);
}

#[test]
fn a_directory_that_cannot_be_read_is_said_so() {
    if !obeys_permissions() {
        return;
    }
    let tree = Tree::with(&["a", "closed/x", "listable/x", "z"]);
    for (dir, mode) in [("closed", 0o000), ("listable", 0o400)] {
        std::fs::set_permissions(tree.at(dir), std::fs::Permissions::from_mode(mode))
            .expect("changed");
    }
    let expected = ["a", "closed", "closed: unread", "listable", "listable: unread", "z"];
    assert_eq!(tree.listed(plain()), expected);
    for dir in ["closed", "listable"] {
        std::fs::set_permissions(tree.at(dir), std::fs::Permissions::from_mode(0o700))
            .expect("changed");
    }
}

#[test]
fn rules_leave_out_paths_and_all_beneath_them() {
    let tree =
        Tree::with(&["a.tmp", "b/c.tmp", "b/keep.tmp", "cache/x", "d/cache/y", "top/z", "e/top"]);
    let rules = Rules::parse(&["# notes", "*.tmp", "!keep.tmp", "cache/", "/top"]).expect("good");
    let expected = [
        "a.tmp: Ignored",
        "b",
        "b/c.tmp: Ignored",
        "b/keep.tmp",
        "cache: Ignored",
        "d",
        "d/cache: Ignored",
        "e",
        "e/top",
        "top: Ignored",
    ];
    for options in [plain(), helped()] {
        assert_eq!(tree.listed(WalkOptions { rules: rules.clone(), ..options }), expected);
    }
}

#[test]
fn patterns_that_cost_too_much_are_refused() {
    assert!(matches!(Rules::parse(&vec!["a"; 1001]), Err(RuleError::TooMany { .. })));
    assert!(matches!(Rules::parse(&vec!["x".repeat(1000); 70]), Err(RuleError::TooMany { .. })));
    for bad in
        ["x".repeat(1025), "*a".repeat(65), "a\nb".to_owned(), "[z-a]".to_owned(), "{a".to_owned()]
    {
        let refused = Rules::parse(&["ok".to_owned(), bad.clone()]);
        assert!(matches!(refused, Err(RuleError::Pattern { number: 2, .. })), "{bad}");
    }
    assert!(Rules::parse::<&str>(&[]).expect("good").is_empty());
}

#[test]
fn a_stopped_walk_ends() {
    let tree = Tree::with(&["a/b", "c/d", "e/f"]);
    let stop = Stop::default();
    let mut walk =
        Walk::start(&tree.root, WalkOptions { stop: stop.clone(), ..helped() }).expect("read");
    assert!(walk.step().is_some());
    stop.set();
    assert!(walk.step().is_none() && walk.is_stopped());
}

#[test]
fn a_walk_is_taken_up_behind_any_path() {
    let tree = Tree::with(&["a/b/c", "a/b/d", "a/b-", "a-/x", "b", "c/", "d/e/f/g", "d/e/h", "z"]);
    let whole = tree.listed(plain());
    for at in 0..whole.len() {
        let after = Some(rel(whole[at].as_bytes()));
        for options in [plain(), helped()] {
            let rest = tree.listed(WalkOptions { after: after.clone(), ..options });
            assert_eq!(rest, whole[at + 1..], "after {}", whole[at]);
        }
    }
    for (absent, next) in [("a/b/ca", "a/b/d"), ("a/b0", "a-"), ("0", "a"), ("d/e/f/g/x", "d/e/h")]
    {
        let options = WalkOptions { after: Some(rel(absent.as_bytes())), ..plain() };
        assert_eq!(tree.listed(options).first().map(String::as_str), Some(next), "after {absent}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_tree_is_listed_in_path_order(paths in proptest::collection::btree_set("[ab.-]{1,2}x(/[ab.-]{1,2}y){0,3}", 1..40)) {
        let tree = Tree::new();
        let mut expected = std::collections::BTreeSet::new();
        for path in &paths {
            std::fs::create_dir_all(tree.at(path)).expect("made");
            let path = rel(path.as_bytes());
            expected.extend(std::iter::successors(Some(path), RelPath::parent));
        }
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        prop_assert_eq!(tree.listed(plain()), expected.clone());
        prop_assert_eq!(tree.listed(helped()), expected);
    }
}
