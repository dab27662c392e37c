//! Folders and paths that stop, and go on by themselves: what a user does meanwhile is kept, nothing
//! else is held up, and it is said.

use super::*;
use crate::control::recover::tests::FAILS;
use farhaul_sync::limits::FILE_MAX;

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

#[test]
fn a_change_that_cannot_be_decided_holds_up_its_path_and_nothing_else() {
    let (mut bench, said) = amid_a_change();
    // As long as what was put there: only its bytes tell them apart.
    fs::write(bench.root("a"), "mine!!").unwrap();
    FAILS.set(true);
    bench.retry();
    bench.scan();
    assert!(bench.halt("tree").is_none());
    let why = bench.folder().why(&path("a")).unwrap();
    let failure = why.failure.expect("it is shown");
    assert!(failure.why.contains("a change before the stop"), "{}", failure.why);
    // What the scan saw there does not count.
    let heads: Vec<Dot> = bench.item("a").versions.iter().map(|head| head.dot).collect();
    assert_eq!(heads, [said.dot]);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"mine!!");
    assert_eq!(bench.folder().index.read().intents().unwrap().len(), 1);
    // All else goes on.
    let other = content_of(&mut bench, "source");
    bench.say_next("b", 2, other);
    fs::write(bench.root("c"), "c").unwrap();
    bench.scan();
    assert_eq!(fs::read(bench.root("b")).unwrap(), b"theirs");
    assert!(bench.item("c").versions.is_live());
    FAILS.set(false);
    let began = std::time::Instant::now();
    while !bench.folder().index.read().intents().unwrap().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it is not tried again");
        bench.body.take(Event::Tick);
        bench.settle();
        std::thread::sleep(Duration::from_millis(50));
    }
    bench.scan();
    assert!(bench.folder().why(&path("a")).unwrap().failure.is_none());
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"mine!!");
    let heads: Vec<Version> = bench.item("a").versions.iter().cloned().collect();
    assert!(heads.len() == 1 && heads[0].dot != said.dot && heads[0].covers(&said), "{heads:?}");
}

#[test]
fn what_cannot_be_read_is_shown_at_its_path_until_it_can_be() {
    // A file system that takes a file longer than any site carries.
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut bench = Bench::at(home, Arc::new(Unnamed));
    let file = fs::File::create(bench.root("large")).unwrap();
    file.set_len(FILE_MAX.get() + 1).unwrap();
    fs::write(bench.root("small"), "small").unwrap();
    bench.scan();
    assert!(bench.item("small").versions.is_live());
    assert!(!bench.item("large").versions.is_live());
    let why = bench.folder().why(&path("large")).unwrap().failure.expect("it is shown");
    assert!(why.why.contains("cannot be read") && why.why.contains("any site"), "{}", why.why);
    fs::remove_file(bench.root("large")).unwrap();
    bench.scan();
    assert!(bench.folder().why(&path("large")).unwrap().failure.is_none());
}
