//! What tests of the index and of the store make: versions, runs and an index to put them into.

use crate::control::FolderSetup;
use crate::index::{Durability, Index, Inserted, Run, Signature};
use crate::scan::{Rules, ScrubPlan};
use crate::store::Unnamed;
use crate::store::retention::Retention;
use crate::watch::{Limits, WatchMode};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Proof, Statement, leaf, root};
use farhaul_sync::version::{
    Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp, Version,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const FOLDER: FolderKey = FolderKey([7; 32]);
pub(crate) const SITE: SiteId = SiteId([1; 32]);

/// A folder with `tree` and `state` beneath `home`, shared with one peer, that is looked through when
/// somebody says so.
pub(crate) fn setup(home: &Path, peer: SiteId) -> FolderSetup {
    FolderSetup {
        name: "projects".to_owned(),
        key: FolderKey([5; 32]),
        path: home.join("tree"),
        state: home.join("state"),
        peers: BTreeSet::from([peer]),
        policy: Arc::default(),
        rules: Rules::default(),
        scan_every: Duration::from_hours(1),
        watch: WatchMode::Off,
        scrub: ScrubPlan::default(),
        retention: Retention::default(),
        watch_limits: Limits::default(),
        principals: Arc::new(Unnamed),
    }
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

pub(crate) fn dot(site: u8, serial: u64) -> Dot {
    let author = Author { site: SiteId([site; 32]), incarnation: Incarnation::new(5) };
    Dot { author, serial: Serial::new(serial).expect("not 0") }
}

/// The content of a file: its manifest stands in for cutting it.
pub(crate) fn file(text: &[u8]) -> Content {
    let manifest = ManifestId(*blake3::hash(text).as_bytes());
    Content::File { manifest, size: Bytes::of_len(text.len()) }
}

pub(crate) fn version(dot: Dot, seen: &[Dot], content: Content) -> Version {
    let mut context = Context::new();
    seen.iter().for_each(|&dot| context.insert(dot));
    let stamp = Stamp { millis: dot.serial.get(), count: 0 };
    let mtime = match content {
        Content::Dir => FileTime::default(),
        _ => FileTime { secs: 1_700_000_000 + dot.serial.get().cast_signed(), nanos: 5 },
    };
    let mode = if content == Content::Dir { 0o755 } else { 0o640 };
    let meta = Meta { mode, mtime, ..Meta::default() };
    Version { dot, context, stamp, content, meta }
}

/// A run of these records, all of one author, and their bytes.
pub(crate) fn run(records: &[Record]) -> (Run, Vec<Vec<u8>>) {
    let bytes: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
    let leaves: Vec<_> = bytes.iter().map(|bytes| leaf(bytes)).collect();
    let dots = records.iter().map(|record| record.version.dot);
    let head = dots.max().expect("at least one");
    let count = u16::try_from(records.len()).expect("few");
    let root = root(&leaves).expect("few");
    let (author, head) = (head.author, head.serial);
    let statement = Statement { folder: FOLDER, author, head, count, root };
    let leaves = (0..count).zip(leaves).collect();
    (Run { statement, signature: Signature([9; 64]), leaves, proof: Proof::default() }, bytes)
}

/// Makes an index in a directory.
pub(crate) fn index(dir: &Path) -> Index {
    Index::create(&dir.join("index"), FOLDER, SITE).expect("a new index")
}

/// Stores a version in a run of its own.
pub(crate) fn store(index: &mut Index, path: &RelPath, version: &Version) -> Inserted {
    let record = Record { path: path.clone(), version: version.clone() };
    let (run, bytes) = run(&[record]);
    let mut storing = index.begin(Durability::Now).expect("a transaction");
    let id = storing.add_run(&run).expect("a run");
    let inserted = storing.insert(&bytes[0], id, 0).expect("a version");
    storing.commit().expect("room");
    inserted
}
