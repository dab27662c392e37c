//! What the tests of files and trees share: trees to send, a transfer without a network, and a
//! comparison of trees that sees everything that must arrive.
#![allow(dead_code, reason = "each test binary uses its own part")]

use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{
    ReceiveError, ReceiveOptions, ReceivePlan, Receiver, Report, Root, Source, StagedFile, scan,
};
use farhaul_proto::content::block_digest;
use farhaul_proto::layout::{Layout, ObjectKind};
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::manifest::Manifest;
use farhaul_proto::path_name::RelPath;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const BLOCK: usize = 343 * 4096;

pub(crate) fn rel(bytes: &[u8]) -> RelPath {
    RelPath::parse(bytes).unwrap()
}

pub(crate) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Bytes that differ from block to block and from seed to seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Sets the modification time of `path` itself.
pub(crate) fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification = Timespec { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything about one name that a transfer must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Vec<u8>,
}

/// What is beneath `top`, by relative path.
pub(crate) fn tree(top: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(&dir).unwrap() {
            let path = item.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let (kind, content) = if meta.is_dir() {
                open.push(path.clone());
                ("dir", Vec::new())
            } else if meta.is_symlink() {
                ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                ("file", fs::read(&path).unwrap())
            };
            let mode = if kind == "link" { 0 } else { meta.mode() & 0o7777 };
            let mtime = (meta.mtime(), meta.mtime_nsec());
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
            seen.insert(name, Seen { kind, mode, mtime, content });
        }
    }
    seen
}

pub(crate) const PEER: [u8; 32] = [1; 32];

/// Both sides of one transfer, in one process.
pub(crate) struct Transfer {
    pub(crate) source: Source,
    pub(crate) receiver: Receiver,
    pub(crate) plan: ReceivePlan,
}

impl Transfer {
    pub(crate) fn open(sources: &[PathBuf], target: &Path) -> Self {
        Self::try_open(sources, target, None, PEER).unwrap()
    }

    pub(crate) fn try_open(
        sources: &[PathBuf],
        target: &Path,
        base: Option<RelPath>,
        peer: [u8; 32],
    ) -> Result<Self, ReceiveError> {
        Self::open_in(&Root::open(target).unwrap(), sources, base, peer)
    }

    pub(crate) fn open_in(
        root: &Root,
        sources: &[PathBuf],
        base: Option<RelPath>,
        peer: [u8; 32],
    ) -> Result<Self, ReceiveError> {
        Self::open_with(root, sources, base, ReceiveOptions { resume: true, peer })
    }

    pub(crate) fn open_with(
        root: &Root,
        sources: &[PathBuf],
        base: Option<RelPath>,
        options: ReceiveOptions,
    ) -> Result<Self, ReceiveError> {
        let scanned = Arc::new(scan(sources).unwrap());
        assert!(scanned.failures.is_empty(), "{:?}", scanned.failures);
        // The receiver knows only what travels.
        let manifest = Arc::new(Manifest::decode(&scanned.manifest.encode()).unwrap());
        let (receiver, plan) = Receiver::open(root, base, manifest, options)?;
        let layout = Arc::new(Layout::new(&scanned.manifest, &plan.want));
        assert_eq!(*layout, Layout::new(receiver.manifest(), &plan.want));
        Ok(Self { source: Source::new(scanned, layout), receiver, plan })
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.source.layout()
    }

    /// The blocks of `entry` that the plan has.
    pub(crate) fn has(&self, entry: u32, block: u32) -> bool {
        let mut have = self.plan.have.iter();
        have.any(|h| h.entry == entry && h.first <= block && block - h.first < h.count)
    }

    /// Carries one block; returns its digest.
    pub(crate) fn carry(&self, staged: &StagedFile, object: u32, block: u32) -> [u8; 32] {
        let len = self.layout().object(object).unwrap().block_len(block);
        let mut buffer = vec![0; usize::try_from(len).unwrap()];
        for segment in self.source.read_segments(object, block).unwrap() {
            let part = &mut buffer[segment.buffer_offset..segment.buffer_offset + segment.len];
            segment.file.read_exact_at(part, segment.file_offset).unwrap();
        }
        let mut rest = &buffer[..];
        for run in staged.block_runs(block) {
            let (part, tail) = rest.split_at(usize::try_from(run.len).unwrap());
            staged.fd.write_all_at(part, run.offset).unwrap();
            rest = tail;
        }
        assert!(rest.is_empty());
        let digest = block_digest(&buffer, u64::from(block) * BLOCK_DATA.get());
        staged.journal.append(block, &digest).unwrap();
        digest
    }

    /// Carries what is missing of the large file `object`, and returns it staged.
    pub(crate) fn carry_file(&self, object: u32, entry: u32) -> Arc<StagedFile> {
        let staged = self.receiver.stage(entry).unwrap();
        for block in (0..staged.blocks()).filter(|&block| !self.has(entry, block)) {
            self.carry(&staged, object, block);
        }
        self.source.check_unchanged(object).unwrap();
        staged
    }

    /// Carries everything that is wanted.
    pub(crate) fn run(&self) -> Report {
        let report = self.run_tolerantly();
        assert_eq!(report.not_durable, None);
        report
    }

    /// As [`run`](Self::run), where directories may go away before they are synced.
    pub(crate) fn run_tolerantly(&self) -> Report {
        for object in 0..self.layout().len() {
            let spec = self.layout().object(object).unwrap();
            match &spec.kind {
                ObjectKind::File { entry } => {
                    // Failures are in the report.
                    let _ = self.receiver.commit(&self.carry_file(object, *entry));
                }
                ObjectKind::Bundle { .. } => {
                    let mut data = vec![0; usize::try_from(spec.len).unwrap()];
                    let failed = self.source.read_bundle(object, &mut data).unwrap();
                    assert!(failed.is_empty(), "{failed:?}");
                    self.receiver.write_bundle(spec, &data);
                }
            }
        }
        self.receiver.commit_all_plain(&Stop::default());
        self.receiver.finish()
    }
}

/// Sends `sources` to `target` in one go.
pub(crate) fn send(sources: &[PathBuf], target: &Path) -> (ReceivePlan, Report) {
    let transfer = Transfer::open(sources, target);
    (transfer.plan.clone(), transfer.run())
}

/// `path/` as a source: its contents.
pub(crate) fn contents_of(path: &Path) -> PathBuf {
    path.join("")
}

/// A directory to send from and one to receive into.
pub(crate) struct Pair {
    pub(crate) home: tempfile::TempDir,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("from")).unwrap();
        fs::create_dir(home.path().join("to")).unwrap();
        Self { home }
    }

    pub(crate) fn from(&self, name: &str) -> PathBuf {
        self.home.path().join("from").join(name)
    }

    pub(crate) fn to(&self, name: &str) -> PathBuf {
        self.home.path().join("to").join(name)
    }

    /// What is sent: the contents of `from`.
    pub(crate) fn sources(&self) -> [PathBuf; 1] {
        [contents_of(&self.from("."))]
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.home.path().join("to")
    }

    pub(crate) fn open(&self) -> Transfer {
        Transfer::open(&self.sources(), &self.target())
    }

    /// As [`open`](Self::open), with nothing of earlier attempts.
    pub(crate) fn open_anew(&self) -> Transfer {
        let root = Root::open(&self.target()).unwrap();
        let options = ReceiveOptions { resume: false, peer: PEER };
        Transfer::open_with(&root, &self.sources(), None, options).unwrap()
    }

    /// A file of three blocks and a bit.
    pub(crate) fn with_large() -> (Self, Vec<u8>) {
        let pair = Self::new();
        let content = noise(1, 3 * BLOCK + 777);
        fs::write(pair.from("large"), &content).unwrap();
        (pair, content)
    }

    /// The only file of the staging directory that ends in `suffix`.
    pub(crate) fn staged(&self, suffix: &str) -> PathBuf {
        let mut found = fs::read_dir(self.to(".farhaul/staging")).unwrap().filter_map(|item| {
            let path = item.unwrap().path();
            path.extension().is_some_and(|e| e == suffix).then_some(path)
        });
        let first = found.next().unwrap();
        assert_eq!(found.next(), None);
        first
    }

    pub(crate) fn is_clean(&self) -> bool {
        !self.to(".farhaul").exists()
    }
}

/// Carries the blocks `blocks` of the only object and stops, as if killed.
pub(crate) fn carry_and_stop(pair: &Pair, blocks: &[u32]) {
    let transfer = pair.open();
    let staged = transfer.receiver.stage(0).unwrap();
    for &block in blocks {
        transfer.carry(&staged, 0, block);
    }
}

/// Runs `work` as a user that permission bits apply to. Where that cannot be it says so, past the
/// test harness, and checks nothing.
pub(crate) fn as_plain_user(name: &str, work: impl FnOnce() + Send) {
    let run = || {
        let nobody = Uid::from_raw(65_534);
        // Of this thread alone; the other ones stay what they are.
        if geteuid().is_root() && set_thread_res_uid(None, nobody, None).is_err() {
            let why = "this process cannot become another user";
            let line = format!("skipped by name: {name} because {why}\n");
            return std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        work();
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}
