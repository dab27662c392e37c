//! Real trees: what a scan says of them, and what a look finds.

mod changes;
mod looks;
mod mounts;
mod walks;

use super::*;
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ContentKeys, PageId};
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tree of a test.
struct Tree {
    dir: TempDir,
    root: Root,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Root::open(dir.path()).expect("it can be opened");
        Self { dir, root }
    }

    /// One with these files, each holding its own path; a path that ends with `/` is a directory.
    fn with(paths: &[&str]) -> Self {
        let tree = Self::new();
        for path in paths {
            match path.strip_suffix('/') {
                Some(dir) => std::fs::create_dir_all(tree.at(dir)).expect("made"),
                None => tree.write(path, path.as_bytes()),
            }
        }
        tree
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("beneath the root")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// What a walk lists, with what it leaves out or cannot read marked.
    fn listed(&self, options: WalkOptions) -> Vec<String> {
        let mut walk = Walk::start(&self.root, options).expect("it can be read");
        let mut listed = Vec::new();
        while let Some(step) = walk.step() {
            let path = String::from_utf8_lossy(walk.path());
            listed.push(match step {
                Step::Entry(_) => path.into_owned(),
                Step::LeftOut(reason) => format!("{path}: {reason:?}"),
                Step::Unread(_) => format!("{path}: unread"),
            });
        }
        listed
    }

    /// What an index knows that saw everything.
    fn known(&self) -> MemoryIndex {
        let mut index = MemoryIndex::default();
        let mut walk = Walk::start(&self.root, WalkOptions::default()).expect("it can be read");
        while let Some(step) = walk.step() {
            if let Step::Entry(meta) = step {
                index.items.insert(rel(walk.path()), (meta.kind, Some(identity_of(&meta))));
            }
        }
        index
    }

    /// What a scan says, one line each.
    fn scanned(&self, index: &MemoryIndex, options: WalkOptions) -> (Vec<String>, Counts) {
        let mut scan = Scan::start(&self.root, index.cursor(), options).expect("it begins");
        let mut seen = Vec::new();
        while let Some(next) = scan.advance().expect("it goes on") {
            seen.push(line(&next));
        }
        (seen, scan.counts())
    }
}

fn line(seen: &Seen) -> String {
    match seen {
        Seen::Changed(change) if change.was_known => format!("changed {}", change.path),
        Seen::Changed(change) => format!("new {}", change.path),
        Seen::Gone { path, .. } => format!("gone {path}"),
        Seen::Unread(error) => format!("unread {}", error.path()),
        Seen::LeftOut { path, reason } => format!("left out {path}: {reason:?}"),
    }
}

fn rel(bytes: &[u8]) -> RelPath {
    RelPath::parse(bytes).expect("a path")
}

fn keys() -> ContentKeys {
    ContentKeys::of(&FolderKey([7; 32]))
}

fn odd(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// An index in memory.
#[derive(Clone, Debug, Default)]
struct MemoryIndex {
    items: BTreeMap<RelPath, (FileKind, Option<FileIdentity>)>,
}

type Item<'a> = (&'a RelPath, &'a (FileKind, Option<FileIdentity>));

struct Cursor<'a> {
    index: &'a MemoryIndex,
    rest: Box<dyn Iterator<Item = Item<'a>> + 'a>,
    current: Option<Item<'a>>,
}

impl MemoryIndex {
    fn cursor(&self) -> Cursor<'_> {
        Cursor { index: self, rest: Box::new(self.items.iter()), current: None }
    }
}

impl Known for Cursor<'_> {
    fn seek(&mut self, after: Option<&RelPath>) -> Result<(), KnownError> {
        let after = after.cloned();
        let items = self.index.items.iter();
        self.rest = Box::new(items.skip_while(move |(path, _)| Some(*path) <= after.as_ref()));
        self.advance()
    }

    fn current(&self) -> Option<KnownItem<'_>> {
        let (path, (kind, identity)) = self.current?;
        Some(KnownItem { path: path.as_bytes(), kind: *kind, identity: *identity })
    }

    fn advance(&mut self) -> Result<(), KnownError> {
        self.current = self.rest.next();
        Ok(())
    }
}

/// Keeps what a file came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    begun: usize,
    chunks: Vec<(Bytes, Chunk)>,
    pages: BTreeMap<PageId, Vec<u8>>,
}

impl ContentSink for Kept {
    fn begin(&mut self) -> Result<(), SinkError> {
        self.begun += 1;
        self.chunks.clear();
        Ok(())
    }

    fn chunk(&mut self, offset: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
        self.chunks.push((offset, *chunk));
        Ok(())
    }

    fn page(&mut self, id: PageId, bytes: &[u8]) -> Result<(), SinkError> {
        self.pages.insert(id, bytes.to_vec());
        Ok(())
    }
}

/// Whether this process is stopped by permissions. Tests of what cannot be read say by it that they
/// are skipped.
fn obeys_permissions() -> bool {
    let obeys = !rustix::process::geteuid().is_root();
    if !obeys {
        println!("skipped: root reads everything; run the tests as another user");
    }
    obeys
}
