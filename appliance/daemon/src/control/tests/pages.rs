//! An index of which a power cut left pages in each other's place.

use super::*;
use crate::index::Index;

const PAGE: usize = 4096;

/// Two pages of an index change places, such that nothing is wrong at the first look and something is
/// not found any more.
fn hide_rows(index: &Path, site: SiteId) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(index.with_file_name(format!("index{suffix}")));
    }
    let bytes = fs::read(index).unwrap();
    let pages = bytes.len() / PAGE;
    let pairs = (1..pages).flat_map(|one| (one + 1..pages).map(move |other| (one, other)));
    // Leaves of tables and of indexes.
    let is_leaf = |page: usize| matches!(bytes[page * PAGE], 0x0a | 0x0d);
    let trial = tempfile::tempdir().unwrap();
    for (one, other) in pairs.filter(|(one, other)| is_leaf(*one) && is_leaf(*other)) {
        let mut swapped = bytes.clone();
        for byte in 0..PAGE {
            swapped.swap(one * PAGE + byte, other * PAGE + byte);
        }
        let at = trial.path().join(format!("{one}-{other}"));
        fs::write(&at, &swapped).unwrap();
        let opened = Index::open(&at, FOLDER, site);
        let Ok(opened) = opened else { continue };
        let reads = (0..200).all(|n| opened.read().item(&path(&format!("file {n}"))).is_ok());
        if reads && opened.check().is_err() {
            return fs::write(index, &swapped).unwrap();
        }
    }
    panic!("every pair of pages is noticed when it is read");
}

#[test]
fn after_a_power_cut_rows_that_are_not_found_any_more_are_missed_and_nothing_is_deleted() {
    SAID.set(Some(boot(7, -1000)));
    let mut bench = Bench::new();
    for n in 0..200 {
        fs::write(bench.root(&format!("file {n}")), format!("text {n}")).unwrap();
    }
    bench.scan();
    let before = bench.folder().index.author();
    let mut files = files_of(&bench.root(""));
    files.sort();
    let (home, identity) = bench.killed();
    hide_rows(&home.path().join("state/tree/index"), identity.id());
    SAID.set(Some(boot(8, -1000)));
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    assert_ne!(bench.folder().index.author(), before, "a new index took its place");
    assert!(bench.home.path().join("state/tree/index-damaged-1").exists());
    bench.scan();
    let mut now = files_of(&bench.root(""));
    now.sort();
    assert_eq!(now, files);
    for n in 0..200 {
        assert_eq!(bench.item(&format!("file {n}")).versions.iter().count(), 1);
    }
    bench.folder().index.check().unwrap();
    SAID.set(None);
}
