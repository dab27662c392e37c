//! What is left out of a folder, and comes back into it (F-38).

use super::*;

/// Leaves out these paths from now on.
fn ignore(bench: &mut Bench, patterns: &[&str]) {
    bench.folder().setup.rules = Rules::parse(patterns).unwrap();
}

#[test]
fn what_was_seen_under_other_patterns_is_not_published() {
    let mut bench = Bench::new();
    fs::write(bench.root("x.key"), b"secret").unwrap();
    ignore(&mut bench, &["*.key"]);
    let disk = bench.folder().store.root().stat(&path("x.key")).unwrap();
    let identity = crate::scan::identity_of(&disk);
    let content = crate::sample::file(b"secret");
    let found = Found { content, meta: farhaul_sync::version::Meta::default(), identity };
    bench.folder().looked(path("x.key"), Some(found));
    bench.settle();
    assert!(bench.item("x.key").versions.is_empty(), "it was published");
}

#[test]
fn a_directory_that_others_delete_stays_with_what_is_ignored_in_it() {
    let mut bench = Bench::new();
    ignore(&mut bench, &["*.tmp"]);
    fs::create_dir(bench.root("sub")).unwrap();
    fs::write(bench.root("sub/file"), b"known").unwrap();
    fs::write(bench.root("sub/x.tmp"), b"nobody else's").unwrap();
    bench.scan();
    bench.say_next("sub/file", 1, Content::Gone);
    bench.say_next("sub", 2, Content::Gone);
    bench.settle();
    bench.scan();
    assert!(!bench.root("sub/file").exists());
    assert_eq!(fs::read(bench.root("sub/x.tmp")).unwrap(), b"nobody else's");
    assert!(bench.item("sub/x.tmp").versions.is_empty(), "it was published");
    // Its user removes it, and the directory goes as it was to.
    fs::remove_file(bench.root("sub/x.tmp")).unwrap();
    let began = Instant::now();
    while bench.root("sub").exists() {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        bench.scan();
    }
}

#[test]
fn what_is_not_ignored_any_more_is_published_and_deletes_nothing() {
    let mut bench = Bench::new();
    ignore(&mut bench, &["*.tmp"]);
    fs::write(bench.root("mine.tmp"), b"mine").unwrap();
    bench.say("theirs.tmp", &version(dot(2, 1), &[], Content::Dir));
    bench.say("elsewhere.tmp", &version(dot(2, 2), &[], crate::sample::file(b"never came")));
    bench.settle();
    bench.scan();
    assert!(bench.item("mine.tmp").versions.is_empty(), "it is ignored");
    ignore(&mut bench, &[]);
    bench.scan();
    assert!(bench.item("mine.tmp").versions.is_live());
    for theirs in ["theirs.tmp", "elsewhere.tmp"] {
        let versions = bench.item(theirs).versions;
        assert_eq!(versions.len(), 1, "{theirs}: nothing was to be said of it");
        assert!(versions.is_live());
    }
}
