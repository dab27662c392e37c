//! Measures an index: `cargo run --release -p farhauld --example index -- DIR [ITEMS]`.
//!
//! Fills a new index in DIR with items as a first scan does, then reads it as a warm one does.

use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Proof, RUN_MAX, Statement, leaf, root};
use farhaul_sync::version::{Content, Context, Dot, ManifestId, Meta, Serial, Stamp, Version};
use farhauld::index::{Durability, Index, Run, Signature};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const FOLDER: FolderKey = FolderKey([7; 32]);
const SITE: SiteId = SiteId([1; 32]);
/// Items in a transaction, about as many as a scan stores at once.
const BATCH: u64 = 50 * RUN_MAX as u64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: index DIR [ITEMS]")?;
    let items: u64 = args.next().as_deref().unwrap_or("1000000").parse()?;
    let at = Path::new(&dir).join("index");
    let mut index = Index::create(&at, FOLDER, SITE)?;
    let started = Instant::now();
    fill(&mut index, items)?;
    report("insert", items, started);
    println!("resident: {} MiB", resident_kib()? >> 10);
    index.close()?;
    let size = std::fs::metadata(&at)?.len();
    println!("file: {} MiB, {} bytes an item", size >> 20, size / items.max(1));
    let started = Instant::now();
    let index = Index::open(&at, FOLDER, SITE)?;
    report("open", 1, started);
    for _ in 0..3 {
        let started = Instant::now();
        let count = index.read().all_standing(None).filter(Result::is_ok).count();
        report("walk", count as u64, started);
    }
    println!("resident: {} MiB", resident_kib()? >> 10);
    let started = Instant::now();
    for n in 0..items.min(100_000) {
        index.read().item(&path_of((n * 7_919) % items)?)?;
    }
    report("item", items.min(100_000), started);
    let started = Instant::now();
    index.check()?;
    report("check", items, started);
    println!("resident: {} MiB", resident_kib()? >> 10);
    Ok(())
}

fn fill(index: &mut Index, items: u64) -> Result<(), Box<dyn Error>> {
    let author = index.author();
    let mut n = 0;
    while n < items {
        let until = items.min(n + BATCH);
        let reserved = index.reserve(u32::try_from(until - n)?)?;
        let mut serial = Some(reserved.first);
        let mut filling = index.begin(Durability::Later)?;
        while n < until {
            let count = (until - n).min(RUN_MAX as u64);
            let mut records = Vec::new();
            for n in n..n + count {
                let given = serial.ok_or("numbers are used up")?;
                serial = given.next();
                let version = version_of(n, Dot { author, serial: given });
                records.push(Record { path: path_of(n)?, version });
            }
            let bytes: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
            let leaves: Vec<_> = bytes.iter().map(|bytes| leaf(bytes)).collect();
            let (count16, root) = (u16::try_from(count)?, root(&leaves)?);
            let head = serial.and_then(|next| Serial::new(next.get() - 1)).unwrap_or(Serial::FIRST);
            let statement = Statement { folder: FOLDER, author, head, count: count16, root };
            let leaves = (0..count16).zip(leaves).collect();
            let signature = Signature([0; 64]);
            let run =
                filling.add_run(&Run { statement, signature, leaves, proof: Proof::default() })?;
            for (position, (record, bytes)) in (0..).zip(records.iter().zip(&bytes)) {
                filling.insert(bytes, run, position)?;
                filling.place(&record.path, Some(&placed_of(&record.version)))?;
            }
            n += count;
        }
        filling.commit()?;
    }
    Ok(())
}

/// Some 60 bytes, 100 files in a directory.
fn path_of(n: u64) -> Result<RelPath, Box<dyn Error>> {
    let text = format!(
        "projects/{:04}/measurements/{:04}/recording-{:012}.dat",
        n / 10_000,
        n / 100 % 100,
        n
    );
    Ok(RelPath::parse(text.as_bytes())?)
}

fn version_of(n: u64, dot: Dot) -> Version {
    let manifest = ManifestId(*blake3::hash(&n.to_be_bytes()).as_bytes());
    let content = Content::File { manifest, size: Bytes::new(n * 77) };
    let meta = Meta {
        mode: 0o644,
        mtime: FileTime { secs: 1_795_000_000, nanos: 123_456_789 },
        owner: Some(b"researcher"[..].into()),
        group: Some(b"staff"[..].into()),
        attrs: None,
        link: None,
    };
    let stamp = Stamp { millis: 1_795_000_000_000 + n, count: 0 };
    Version { dot, context: Context::new(), stamp, content, meta }
}

fn placed_of(version: &Version) -> Placed {
    let time = 1_795_000_000_123_456_789;
    let identity = FileIdentity {
        device: 65_024,
        inode: 1_000_000 + version.dot.serial.get(),
        generation: 0,
        size: 77 * version.dot.serial.get(),
        mtime: time,
        ctime: time + 1,
    };
    Placed { version: version.clone(), meta: version.meta.clone(), identity }
}

fn report(what: &str, count: u64, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    let micros = seconds * 1e6 / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX));
    println!("{what}: {count} in {seconds:.3} s, {micros:.2} us each");
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
