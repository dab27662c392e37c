//! Folders and paths that stop, and go on by themselves: what a user does meanwhile is kept, nothing
//! else is held up, and it is said.

use super::*;

/// A bench in which `a` was changed by a neighbour, and the folder halted before the index knew.
fn amid_a_change() -> (Bench, Version) {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let said = bench.say_next("a", 1, theirs);
    bench.folder().store.fail_syncs(true);
    bench.settle();
    assert_eq!(bench.halt("tree").expect("it halts").kind, HaltKind::Disk);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    (bench, said)
}

fn append(bench: &Bench, at: &str, text: &str) {
    let mut file = fs::File::options().append(true).open(bench.root(at)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_is_appended_after_a_stop_amid_a_change_is_an_edit_of_what_was_put_there() {
    let (mut bench, said) = amid_a_change();
    append(&bench, "a", " and mine");
    bench.retry();
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs and mine");
    let item = bench.item("a");
    let heads: Vec<&Version> = item.versions.iter().collect();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].dot != said.dot && heads[0].covers(&said));
    let kept = bench.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.kept_bytes(&kept[0]), b"old");
    assert_eq!(bench.folder().index.read().intents().unwrap(), []);
}
