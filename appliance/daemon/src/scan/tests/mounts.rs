//! What is mounted inside a folder is no part of it. Runs in a mount namespace of its own.

use super::*;
use farhaul_engine::files::dir::Resolver;
use std::process::Command;

/// Set in the inner half: the tree.
const TREE: &str = "FARHAUL_TEST_MOUNTED_TREE";

#[test]
fn what_is_mounted_in_a_folder_is_left_out_and_what_it_hides_is_not_deleted() {
    let tree = Tree::with(&["a", "bound/x", "mounted/x/y", "other/z"]);
    let script = "cd \"$1\" && mount -t tmpfs none mounted && mount --bind other bound || exit 99
        exec \"$2\" --exact scan::tests::mounts::inside_the_namespace --nocapture";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(tree.dir.path())
        .arg(std::env::current_exe().expect("this test"))
        .env(TREE, tree.dir.path())
        .output();
    match child {
        Err(error) => println!("skipped: unshare cannot be run: {error}"),
        Ok(output) if !output.stdout.starts_with(b"\nrunning") => {
            let reason = String::from_utf8_lossy(&output.stderr);
            println!("skipped: no mounts here: {}", reason.trim());
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            assert!(said.contains("1 passed"), "{said}");
        }
    }
}

/// The inner half of the test above.
#[test]
fn inside_the_namespace() {
    let Some(dir) = std::env::var_os(TREE) else {
        // The other half runs it where it belongs.
        return;
    };
    // The kernel's own way, and the one where that is missing or forbidden.
    for resolver in [Resolver::Openat2, Resolver::Walk] {
        leaves_out_what_is_mounted(Path::new(&dir), resolver);
    }
}

fn leaves_out_what_is_mounted(dir: &Path, resolver: Resolver) {
    let root = Root::open_with(dir, resolver).expect("opened");
    let known = [("a", FileKind::File), ("bound", FileKind::Dir), ("bound/x", FileKind::File)];
    let more = [("mounted", FileKind::Dir), ("mounted/x", FileKind::Dir)];
    let items = known.into_iter().chain(more);
    let items = items.map(|(path, kind)| (rel(path.as_bytes()), (kind, None))).collect();
    let index = MemoryIndex { items };
    for helpers in [0, 2] {
        let options = WalkOptions { helpers, ..WalkOptions::default() };
        let mut scan = Scan::start(&root, index.cursor(), options).expect("it begins");
        let mut seen = Vec::new();
        while let Some(next) = scan.advance().expect("it goes on") {
            seen.push(line(&next));
        }
        let expected = [
            "changed a",
            "left out bound: OtherMount",
            "left out mounted: OtherMount",
            "new other",
            "new other/z",
        ];
        assert_eq!(seen, expected);
        assert_eq!((scan.counts().gone, scan.counts().withheld), (0, 4));
    }
    let (keys, mut kept) = (keys(), Kept::default());
    let mut looker = Looker::new(&root, &keys, Rules::default(), Stop::default());
    for path in [&b"mounted/x"[..], b"bound/x", b"mounted", b"bound"] {
        let looked = looker.look(&rel(path), &mut kept);
        assert!(matches!(looked, Ok(Look::LeftOut(LeftOut::OtherMount))), "{looked:?}");
    }
}
