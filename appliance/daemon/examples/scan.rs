//! Scans a tree and prints how long that took: `scan DIR [FILES]`. With a number it first makes that
//! many files of 2 KiB, 100 to a directory, in DIR, which must be empty.
//!
//! The figures of `appliance/README.md` are its output. The index is in memory, so they are those of
//! the scanner alone.

use farhaul_engine::files::Root;
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ContentKeys, PageId};
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::seal::FolderKey;
use farhauld::scan::{
    ContentSink, Known, KnownError, KnownItem, Look, Looker, Rules, Scan, Seen, SinkError,
    WalkOptions, identity_of,
};
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What was seen before, in path order.
type Index = [Entry];
type Entry = (RelPath, FileKind, FileIdentity);

struct Memory<'a>(&'a Index);

impl Known for Memory<'_> {
    fn seek(&mut self, after: Option<&RelPath>) -> Result<(), KnownError> {
        let begin = self.0.partition_point(|(path, ..)| Some(path) <= after);
        self.0 = &self.0[begin..];
        Ok(())
    }

    fn current(&self) -> Option<KnownItem<'_>> {
        let (path, kind, identity) = self.0.first()?;
        Some(KnownItem { path: path.as_bytes(), kind: *kind, identity: Some(*identity) })
    }

    fn advance(&mut self) -> Result<(), KnownError> {
        self.0 = self.0.get(1..).unwrap_or_default();
        Ok(())
    }
}

/// Counts chunks and bytes.
#[derive(Default)]
struct Count {
    chunks: u64,
    bytes: u64,
}

impl ContentSink for Count {
    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn chunk(&mut self, _: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
        self.chunks += 1;
        self.bytes += u64::from(chunk.len);
        Ok(())
    }

    fn page(&mut self, _: PageId, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: scan DIR [FILES]")?;
    if let Some(files) = arguments.next() {
        make(Path::new(&dir), files.parse()?)?;
    }
    let root = Root::open(Path::new(&dir))?;
    let mut index = Vec::new();
    report("first walk", 1, || {
        index = scan(&root, &[])?;
        Ok(index.len())
    })?;
    for helpers in [0, 1, 2] {
        report(&format!("rescan, {helpers} helpers"), 5, || {
            let options = WalkOptions { helpers, ..WalkOptions::default() };
            let mut scan = Scan::start(&root, Memory(&index), options)?;
            while scan.advance()?.is_some() {}
            Ok(usize::try_from(scan.counts().unchanged)?)
        })?;
    }
    report("look at all, 2 threads", 2, || look(&root, &index))
}

fn make(dir: &Path, files: usize) -> Result<(), Box<dyn Error>> {
    for n in 0..files {
        let dir = dir.join(format!("{:03}/{:05}", n / 10_000, n / 100));
        if n % 100 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        let mut bytes = [0; 2048];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        std::fs::write(dir.join(format!("file-of-the-tree-{n:07}")), bytes)?;
    }
    Ok(())
}

/// Does it `times` times and prints the best.
fn report(
    what: &str,
    times: u32,
    mut act: impl FnMut() -> Result<usize, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (mut best, mut count) = (Duration::MAX, 0);
    for _ in 0..times {
        let begun = Instant::now();
        count = act()?;
        best = best.min(begun.elapsed());
    }
    let each = best.as_secs_f64() * 1e6 / f64::from(u32::try_from(count)?.max(1));
    println!("{what}: {count} in {best:.3?}, {each:.3} ms a thousand");
    Ok(())
}

fn scan(root: &Root, known: &Index) -> Result<Vec<Entry>, Box<dyn Error>> {
    let mut scan = Scan::start(root, Memory(known), WalkOptions::default())?;
    let mut found = Vec::new();
    while let Some(seen) = scan.advance()? {
        if let Seen::Changed(change) = seen {
            found.push((change.path, change.meta.kind, identity_of(&change.meta)));
        }
    }
    Ok(found)
}

/// Two threads read every file; prints the speed.
fn look(root: &Root, index: &Index) -> Result<usize, Box<dyn Error>> {
    let keys = ContentKeys::of(&FolderKey([7; 32]));
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let work = || -> Result<Count, String> {
        let mut looker = Looker::new(root, &keys, Rules::default(), Stop::default());
        let mut count = Count::default();
        while let Some((path, ..)) = index.get(next.fetch_add(1, Ordering::Relaxed)) {
            match looker.look(path, &mut count) {
                Ok(Look::Found(_)) => {}
                Ok(other) => return Err(format!("{path}: {other:?}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(count)
    };
    let counts = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread ended".to_owned())))
    });
    let mut sum = Count::default();
    for count in counts {
        let count = count?;
        sum = Count { chunks: sum.chunks + count.chunks, bytes: sum.bytes + count.bytes };
    }
    let speed = u128::from(sum.bytes) / begun.elapsed().as_micros().max(1);
    println!("{} bytes in {} chunks, {speed} MB/s", sum.bytes, sum.chunks);
    Ok(index.len())
}
