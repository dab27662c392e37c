//! Files whose contents are here already: all of a directory that somebody renamed.

use super::*;
use crate::control::fetch::Wish;
use crate::control::givers::HERE;
use crate::index::chunks::Home;
use farhaul_sync::chunk::{Entry, Manifest};

/// More than are copied at a time.
const FILES: usize = 1500;

#[test]
fn a_renamed_directory_is_copied_and_each_of_its_paths_weighed_a_few_times() {
    let mut bench = Bench::new();
    let old = |n: usize| format!("old/{:02}/{n:04}", n % 7);
    for n in 0..7 {
        fs::create_dir_all(bench.root(&format!("old/{n:02}"))).unwrap();
    }
    for n in 0..FILES {
        fs::write(bench.root(&old(n)), format!("the file {n}")).unwrap();
    }
    bench.scan();
    let new = |old: &str| old.replacen("old", "new", 1);
    let dirs = (0..7).map(|n| format!("old/{n:02}"));
    let names: Vec<String> =
        ["old".to_owned()].into_iter().chain(dirs).chain((0..FILES).map(old)).collect();
    let mut records = Vec::new();
    let mut serial = 0;
    let mut next = |at: &str, seen: &Version, content: Content| {
        serial += 1;
        let mut said = version(dot(2, serial), &[], content);
        said.context = seen.context.clone();
        said.context.insert(seen.dot);
        said.stamp.millis = seen.stamp.millis + 1;
        records.push(Record { path: path(at), version: said });
    };
    for name in &names {
        let stands = bench.placed(name).version;
        next(name, &stands, Content::Gone);
        next(&new(name), &stands, stands.content.clone());
    }
    let before = bench.folder().going.weighed;
    for some in records.chunks(100) {
        bench.say_all(some);
    }
    bench.settle();
    for n in 0..FILES {
        let text = fs::read_to_string(bench.root(&new(&old(n)))).unwrap();
        assert_eq!(text, format!("the file {n}"));
    }
    assert!(!bench.root("old").exists());
    let weighed = bench.folder().going.weighed - before;
    assert!(weighed <= 4 * records.len(), "{weighed} for {} changes", records.len());
}

/// Its row still says that it is there: whoever looks it up again would find it for ever.
#[test]
fn a_kept_version_that_is_gone_is_asked_for_elsewhere() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "kept").unwrap();
    bench.scan();
    let kept = content_of(&mut bench, "a");
    bench.say_next("a", 1, Content::Gone);
    bench.settle();
    let row = bench.kept().remove(0);
    fs::remove_file(bench.root(&format!(".farhaul/versions/{}", row.name))).unwrap();
    let said = version(dot(2, 2), &[], kept);
    bench.say("b", &said);
    let Content::File { manifest, size } = said.content else { panic!("a file") };
    let source = bench.folder().find(manifest);
    assert!(source.is_some());
    let wish = Wish { path: path("b"), version: said, manifest, size };
    assert!(bench.folder().fetching.begin(wish, source).unwrap().is_none());
    let event = bench.queue.blocking_recv().expect("it says so");
    assert!(matches!(event, Event::Fetched { .. }), "{event:?}");
    bench.body.take(event);
    assert!(bench.folder().fetching.givers().was_missed(manifest, HERE));
    bench.settle();
    assert!(!bench.root("b").exists());
}

#[test]
fn a_copy_whose_source_went_elsewhere_is_made_from_there_at_once() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "the same").unwrap();
    fs::write(bench.root("b"), "the same").unwrap();
    bench.scan();
    let said = version(dot(2, 1), &[], content_of(&mut bench, "a"));
    bench.say("c", &said);
    let Content::File { manifest, size } = said.content else { panic!("a file") };
    let source = bench.folder().find(manifest);
    fs::rename(bench.root("a"), bench.home.path().join("elsewhere")).unwrap();
    let wish = Wish { path: path("c"), version: said, manifest, size };
    assert!(bench.folder().fetching.begin(wish, source).unwrap().is_none());
    let event = bench.queue.blocking_recv().expect("it says so");
    assert!(matches!(event, Event::MovedOn { .. }), "{event:?}");
    bench.body.take(event);
    assert!(!bench.folder().fetching.givers().was_missed(manifest, HERE));
    bench.settle();
    assert_eq!(fs::read(bench.root("c")).unwrap(), b"the same");
}

/// Bytes of which no two stretches are the same.
fn noise(seed: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut noise = vec![0; 1 << 20];
    hasher.finalize_xof().fill(&mut noise);
    noise
}

/// Where the first chunk of a file is, as far as the map knows.
fn places_of(bench: &mut Bench, text: &[u8]) -> Vec<Home> {
    let manifest = Manifest::of(&bench.folder().keys, text);
    let first = manifest.entries.iter().find_map(|entry| match entry {
        Entry::Chunk(chunk) => Some(chunk.id),
        Entry::Zeros { .. } => None,
    });
    let places = bench.folder().contents.find(first.expect("it has some"));
    places.into_iter().map(|place| place.home).collect()
}

/// What took the place of a directory that was renamed comes first in the tree, and is read before that
/// is found, whose files need not be read: the chunks of each are known where it is.
#[test]
fn files_of_a_directory_that_is_moved_aside_for_a_new_one_are_known_by_their_chunks_as_the_new_ones_are()
 {
    let mut bench = Bench::new();
    let (old, new) = (noise(1), noise(2));
    fs::create_dir(bench.root("logs")).unwrap();
    fs::write(bench.root("logs/a"), &old).unwrap();
    bench.scan();
    assert_eq!(places_of(&mut bench, &old), [Home::Tree(path("logs/a"))]);
    fs::rename(bench.root("logs"), bench.root("logs.1")).unwrap();
    fs::create_dir(bench.root("logs")).unwrap();
    fs::write(bench.root("logs/a"), &new).unwrap();
    // What is found is taken in once all was looked at.
    bench.body.folders.values_mut().for_each(Folder::scan);
    let began = Instant::now();
    while bench.queue.len() < 5 {
        assert!(began.elapsed() < PATIENCE, "{} things were found", bench.queue.len());
        std::thread::sleep(Duration::from_millis(2));
    }
    bench.settle();
    assert_eq!(places_of(&mut bench, &old), [Home::Tree(path("logs.1/a"))]);
    assert_eq!(places_of(&mut bench, &new), [Home::Tree(path("logs/a"))]);
}
