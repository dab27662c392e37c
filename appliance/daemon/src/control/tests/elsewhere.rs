//! What users of this site write over and delete, which nothing here keeps.

use super::*;

fn gone(bench: &mut Bench, at: &str) -> Vec<(u64, Content)> {
    let gone = bench.folder().index.read().elsewhere_of(&path(at)).unwrap();
    let gone = gone.into_iter();
    gone.map(|gone| (gone.version.dot.serial.get(), gone.version.content)).collect()
}

#[test]
fn what_a_user_writes_over_or_deletes_is_remembered_and_what_others_change_is_kept() {
    let mut bench = Bench::new();
    for (at, text) in [("a", "one"), ("b", "one of b"), ("source", "theirs")] {
        fs::write(bench.root(at), text).unwrap();
    }
    bench.scan();
    let first = bench.placed("a").version;
    fs::write(bench.root("a"), "two, longer").unwrap();
    bench.scan();
    let second = bench.placed("a").version;
    fs::remove_file(bench.root("a")).unwrap();
    bench.scan();
    let expected = [&first, &second].map(|one| (one.dot.serial.get(), one.content.clone()));
    assert_eq!(gone(&mut bench, "a"), expected);
    assert!(bench.kept().is_empty());
    // Another mode is the same content.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.root("b"), mode).unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    bench.say_next("b", 1, theirs);
    bench.settle();
    assert_eq!(fs::read(bench.root("b")).unwrap(), b"theirs");
    assert_eq!((gone(&mut bench, "b"), bench.kept().len()), (Vec::new(), 1));
}
