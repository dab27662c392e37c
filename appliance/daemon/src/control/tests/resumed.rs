//! A first scan that is stopped in the middle: what it read and said is neither read nor published
//! again.

use super::*;
use crate::index::chunks::Home;
use crate::scan::{ContentSink, Digester, SinkError};
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ChunkId, PageId};
use farhaul_sync::folder::Why;

const FILES: usize = 120;
/// How many of them are taken in before the process ends.
const BEFORE: usize = 50;
/// The first in the order of the tree, of which chunks are noted.
const LARGE: &str = "d0/f000";

fn name_of(n: usize) -> String {
    format!("d{}/f{n:03}", n % 7)
}

/// A tree of which nothing is known.
fn make_tree(bench: &Bench) {
    for n in 0..FILES {
        let at = bench.root(&name_of(n));
        let _ = fs::create_dir(at.parent().unwrap());
        let lines = if n % 10 == 0 { 25_000 } else { 5 };
        let text: String = (0..lines).map(|line| format!("line {line} of {n}\n")).collect();
        fs::write(at, text).unwrap();
    }
}

/// As right after its opening: no neighbour was heard, and nothing is published.
fn listen(bench: &mut Bench) {
    let folder = bench.folder();
    let peers = folder.setup.peers.clone();
    folder.hearing = listen::Hearing::new(peers);
    folder.publisher = folder.publisher.clone().silent(true);
}

/// Begins a scan, and ends with the process once so many files were taken in: what was said of
/// others by then is lost with it.
fn scan_partly(mut bench: Bench) -> (tempfile::TempDir, Identity) {
    let (mut taken, began) = (0, Instant::now());
    bench.folder().scan();
    while taken < BEFORE {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        let Ok(event) = bench.queue.try_recv() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        if let Event::Looked { found: Some(found), .. } = &event {
            taken += usize::from(matches!(found.content, Content::File { .. }));
        }
        bench.body.take(event);
        bench.folder().go_on();
    }
    bench.folder().stop_jobs();
    bench.killed()
}

/// Scans to the end; only then is it taken in what was found.
fn scan_before_anything_is_taken_in(bench: &mut Bench) {
    let (mut said, began) = (Vec::new(), Instant::now());
    bench.folder().scan();
    while !matches!(said.last(), Some(Event::Scanned { .. })) {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        match bench.queue.try_recv() {
            Ok(event) => said.push(event),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    said.into_iter().for_each(|event| bench.body.take(event));
    bench.settle();
}

/// Scans to the end, and says how many files were read.
fn scan_counting(bench: &mut Bench) -> u64 {
    let (mut files, began) = (None, Instant::now());
    bench.folder().scan();
    while files.is_none() || bench.folder().is_busy() || !bench.queue.is_empty() {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        let Ok(event) = bench.queue.try_recv() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        if let Event::Scanned { outcome, read, .. } = &event {
            assert_eq!(*outcome, Ok(()));
            files = Some(*read);
        }
        bench.body.take(event);
        bench.folder().go_on();
    }
    files.expect("it ended")
}

fn reopen((home, identity): (tempfile::TempDir, Identity)) -> Bench {
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench
}

/// The only version of each file that has one.
fn published(bench: &mut Bench) -> BTreeMap<String, Dot> {
    let mut published = BTreeMap::new();
    for n in 0..FILES {
        let versions = bench.item(&name_of(n)).versions;
        let dots: Vec<Dot> = versions.iter().map(|version| version.dot).collect();
        assert!(dots.len() <= 1, "{} has {dots:?}", name_of(n));
        published.extend(dots.into_iter().map(|dot| (name_of(n), dot)));
    }
    published
}

/// The chunks of the large file.
fn chunks(bench: &mut Bench) -> Vec<ChunkId> {
    struct Noted(Vec<ChunkId>);
    impl ContentSink for Noted {
        fn begin(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn chunk(&mut self, _offset: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
            self.0.push(chunk.id);
            Ok(())
        }
        fn page(&mut self, _id: PageId, _bytes: &[u8]) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let (mut noted, keys) = (Noted(Vec::new()), Arc::clone(&bench.folder().keys));
    let file = fs::File::open(bench.root(LARGE)).unwrap();
    let before = Meta::of(&file).unwrap();
    Digester::new(&keys, Stop::default()).digest(&file, &before, &mut noted).unwrap();
    noted.0
}

/// How often each chunk of the large file is known.
fn known(bench: &mut Bench, chunks: &[ChunkId]) -> Vec<usize> {
    chunks.iter().map(|chunk| bench.folder().contents.find(*chunk).len()).collect()
}

#[test]
fn the_chunks_of_a_large_file_are_known_where_its_directory_went() {
    // In the order of the tree what is gone comes first, and last.
    for to in ["zz", "a"] {
        let mut bench = Bench::new();
        make_tree(&bench);
        bench.scan();
        let chunks = chunks(&mut bench);
        let once = vec![1; chunks.len()];
        assert_eq!(known(&mut bench, &chunks), once);
        fs::rename(bench.root("d0"), bench.root(to)).unwrap();
        scan_before_anything_is_taken_in(&mut bench);
        assert_eq!(known(&mut bench, &chunks), once, "{to}");
        let homes = bench.folder().contents.find(chunks[0]);
        assert_eq!(homes[0].home, Home::Tree(path(&format!("{to}/f000"))));
        // What is gone altogether is known no more.
        fs::remove_dir_all(bench.root(to)).unwrap();
        bench.scan();
        assert_eq!(known(&mut bench, &chunks), vec![0; chunks.len()], "{to}");
    }
}

/// spec: S-168
#[test]
fn what_a_first_scan_published_before_a_kill_is_neither_read_nor_published_again() {
    let bench = Bench::new();
    make_tree(&bench);
    let mut bench = reopen(scan_partly(bench));
    let before = published(&mut bench);
    assert_eq!(before.len(), BEFORE);
    assert_eq!(scan_counting(&mut bench), (FILES - BEFORE) as u64);
    let after = published(&mut bench);
    assert_eq!(after.len(), FILES);
    assert!(before.iter().all(|(path, dot)| after[path] == *dot), "another version");
    assert_eq!(scan_counting(&mut bench), 0);
    assert_eq!(published(&mut bench), after);
}

/// spec: S-168
#[test]
fn what_a_first_scan_found_before_neighbours_were_heard_is_not_read_again() {
    let mut bench = Bench::new();
    listen(&mut bench);
    make_tree(&bench);
    let mut bench = reopen(scan_partly(bench));
    listen(&mut bench);
    let looks = bench.folder().index.read().looks(None, 999).unwrap();
    let files = looks.iter().filter(|(path, _)| path.to_string().contains('/')).count();
    assert_eq!(files, BEFORE);
    assert!(looks.iter().all(|(_, look)| look.why == Why::Listening));
    let first_seen = looks[1].clone();
    assert_eq!(scan_counting(&mut bench), (FILES - BEFORE) as u64);
    assert_eq!(scan_counting(&mut bench), 0, "nor by a site that goes on listening");
    assert_eq!(bench.folder().index.read().look(&first_seen.0).unwrap(), Some(first_seen.1));
    assert!(published(&mut bench).is_empty());
    // What is known of the chunks of a file that is not read again stays known.
    let chunks = chunks(&mut bench);
    assert_eq!(known(&mut bench, &chunks), vec![1; chunks.len()]);
    // A file that was written to meanwhile is another one.
    fs::write(bench.root(&name_of(1)), "an edit").unwrap();
    assert_eq!(scan_counting(&mut bench), 1);
    bench.settle();
    bench.folder().look_at_all_again();
    bench.settle();
    assert_eq!(published(&mut bench).len(), FILES);
    assert_eq!(scan_counting(&mut bench), 0);
}
