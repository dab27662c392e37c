//! Figures for `appliance/README.md`: run with `--release -- --ignored --nocapture measure`.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Files of the tree, 100 to a directory, and the bytes of each.
const FILES: usize = 200_000;
const FILE_LEN: usize = 2048;

fn per_thousand(span: Duration, files: usize) -> f64 {
    span.as_secs_f64() * 1e6 / f64::from(u32::try_from(files).expect("few"))
}

#[test]
#[ignore = "writes 200,000 files and prints figures"]
fn measure_a_first_walk_a_digest_and_a_rescan() {
    let tree = Tree::new();
    for n in 0..FILES {
        let mut bytes = vec![0; FILE_LEN];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        tree.write(format!("{:03}/{:04}/file-of-the-tree-{n:07}", n / 10_000, n / 100), &bytes);
    }
    for helpers in [0, 1, 2] {
        let options = || WalkOptions { helpers, ..WalkOptions::default() };
        let begun = Instant::now();
        let (seen, _) = tree.scanned(&MemoryIndex::default(), options());
        println!(
            "{helpers} helpers: first walk {:.2} ms/1000",
            per_thousand(begun.elapsed(), seen.len())
        );
        let index = tree.known();
        for _ in 0..3 {
            let begun = Instant::now();
            let (seen, counts) = tree.scanned(&index, options());
            let span = begun.elapsed();
            assert_eq!(seen.len(), 0);
            let items = usize::try_from(counts.unchanged).expect("few");
            println!("{helpers} helpers: warm rescan {:.2} ms/1000", per_thousand(span, items));
        }
    }
    digest_all(&tree);
}

/// Two threads look at every file.
fn digest_all(tree: &Tree) {
    let files: Vec<RelPath> = tree.known().items.into_keys().collect();
    let (keys, next) = (keys(), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
                let mut kept = Kept::default();
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    looker.look(path, &mut kept).expect("it can be read");
                    kept.pages.clear();
                }
            });
        }
    });
    println!("2 threads: look {:.2} ms/1000", per_thousand(begun.elapsed(), files.len()));
}

#[test]
#[ignore = "reads and writes 1 GiB and prints figures"]
fn measure_the_speed_of_cutting() {
    let tree = Tree::new();
    let part = looks::noise(64 << 20);
    let file = std::fs::File::create(tree.at("f")).expect("made");
    for n in 0..16 {
        std::os::unix::fs::FileExt::write_all_at(&file, &part, n << 26).expect("written");
    }
    let keys = keys();
    let mut looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
    for _ in 0..3 {
        let (begun, mut kept) = (Instant::now(), Kept::default());
        looker.look(&rel(b"f"), &mut kept).expect("it can be read");
        let speed = f64::from(1 << 30) / begun.elapsed().as_secs_f64() / 1e9;
        let mean = (1_usize << 30) / kept.chunks.len();
        println!("read, cut and hashed: {speed:.2} GB/s, {mean} bytes a chunk");
    }
    let bytes = std::fs::read(tree.at("f")).expect("read");
    let (begun, mut cutter) =
        (Instant::now(), farhaul_sync::chunk::Cutter::new(&keys, Bytes::of_len(bytes.len())));
    while cutter.cut(&bytes[cutter.offset().as_len()..]).is_some() {}
    println!("cut alone: {:.2} GB/s", f64::from(1 << 30) / begun.elapsed().as_secs_f64() / 1e9);
}
