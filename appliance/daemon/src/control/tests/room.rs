//! A disk that is full.

use super::*;

#[test]
fn while_its_disk_is_full_a_folder_fetches_nothing_and_does_what_needs_no_room() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("goes"), "old").unwrap();
    bench.scan();
    let reserve = bench.home.path().join("state/tree/index-reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 64 << 20);
    bench.folder().pause_for_room(&"no space left");
    assert!(!reserve.exists(), "the index has it");
    let theirs = content_of(&mut bench, "source");
    bench.say_next("a", 1, theirs);
    bench.say_next("goes", 2, Content::Gone);
    bench.settle();
    bench.body.show_troubles();
    assert!(bench.body.conditions.lock().unwrap().get(&FOLDER).unwrap().is_full);
    assert_eq!((bench.root("a").exists(), bench.root("goes").exists()), (false, false));
    bench.folder().look_for_room();
    bench.settle();
    bench.body.show_troubles();
    assert!(!bench.body.conditions.lock().unwrap().get(&FOLDER).unwrap().is_full);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    assert!(reserve.exists());
}
