//! What a look at one path gives.

use super::*;
use farhaul_engine::files::ConfineError;
use farhaul_sync::chunk::{Cut, Cutter, Entry, Hole, ManifestReader};
use farhaul_sync::folder::Found;
use farhaul_sync::version::{Content, ManifestId};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::time::Duration;

/// Does not wait long.
const HASTE: Patience =
    Patience { tick: Duration::from_millis(20), quiet: Duration::from_millis(1), tries: 3 };

fn look(tree: &Tree, path: &[u8], kept: &mut Kept) -> Result<Look, LookError> {
    let keys = keys();
    let looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
    looker.with_patience(HASTE).look(&rel(path), kept)
}

fn found(tree: &Tree, path: &[u8]) -> (Found, farhaul_sync::chunk::Holes, Kept) {
    let mut kept = Kept::default();
    match look(tree, path, &mut kept) {
        Ok(Look::Found(standing)) => (standing.found, standing.holes, kept),
        other => panic!("{other:?}"),
    }
}

fn manifest(tree: &Tree, path: &[u8]) -> ManifestId {
    match found(tree, path).0.content {
        Content::File { manifest, .. } => manifest,
        other => panic!("{other:?}"),
    }
}

/// Bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_file_comes_with_chunks_and_pages_that_say_what_it_holds() {
    let tree = Tree::new();
    let bytes = noise(3_000_001);
    tree.write("f", &bytes);
    let (found, holes, kept) = found(&tree, b"f");
    let Content::File { manifest, size } = found.content else { panic!("a file") };
    assert_eq!((size, holes.count(), kept.begun), (Bytes::of_len(bytes.len()), 0, 1));
    let keys = keys();
    let mut reader = ManifestReader::new(&keys, manifest, size);
    let mut listed = Vec::new();
    while !reader.is_complete() {
        let wanted = reader.wanted().next().expect("not complete");
        if let Some(leaf) = reader.take(&kept.pages[&wanted]).expect("a good page") {
            listed.extend(leaf.entries);
        }
    }
    let mut at = 0;
    for (entry, (offset, chunk)) in listed.iter().zip(&kept.chunks) {
        assert_eq!((*entry, *offset), (Entry::Chunk(*chunk), Bytes::of_len(at)));
        let len = entry.len().as_len();
        assert_eq!(chunk.id, keys.chunk_id(&bytes[at..at + len]));
        at += len;
    }
    assert_eq!((at, listed.len()), (bytes.len(), kept.chunks.len()));
    // The same as cut in one go, whatever the buffer.
    let mut cutter = Cutter::new(&keys, size);
    for (offset, chunk) in &kept.chunks {
        assert_eq!(cutter.offset(), *offset);
        let cut = cutter.cut(&bytes[offset.as_len()..]);
        assert_eq!(cut, Some(Cut::Chunk { len: chunk.len as usize }));
    }
}

#[test]
fn metadata_is_that_of_the_path_and_owners_have_names() {
    let tree = Tree::with(&["d/", "f"]);
    symlink("f", tree.at("l")).expect("made");
    std::fs::set_permissions(tree.at("f"), std::fs::Permissions::from_mode(0o6751))
        .expect("changed");
    let owners = Owners::default();
    let me = rustix::process::geteuid().as_raw();
    let group =
        std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(tree.at("f")).expect("there"));
    let names = (Some(owners.user(me).expect("known")), Some(owners.group(group).expect("known")));
    let (file, ..) = found(&tree, b"f");
    assert_eq!(file.meta.mode, 0o751, "set-id bits do not travel");
    assert_eq!((file.meta.owner, file.meta.group), names);
    let stat = tree.root.stat(&rel(b"f")).expect("there");
    assert_eq!((file.meta.mtime, file.identity), (stat.mtime(), identity_of(&stat)));
    let (dir, ..) = found(&tree, b"d");
    assert_eq!((dir.content, dir.meta.mtime), (Content::Dir, Default::default()));
    let (link, ..) = found(&tree, b"l");
    assert_eq!(link.content, Content::Symlink { target: b"f"[..].into() });
}

#[test]
fn an_empty_file_is_content_too() {
    let tree = Tree::new();
    tree.write("e", b"");
    let (found, _, kept) = found(&tree, b"e");
    let Content::File { manifest, size } = found.content else { panic!("a file") };
    assert_eq!((size, kept.chunks.len(), kept.pages.len()), (Bytes::ZERO, 0, 1));
    assert!(kept.pages.contains_key(&manifest.into()));
}

#[test]
fn what_stands_nowhere_is_absent_and_what_is_special_left_out() {
    let tree = Tree::with(&["file", "dir/x"]);
    symlink("dir", tree.at("link")).expect("made");
    mknodat(CWD, tree.at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("made");
    let mut kept = Kept::default();
    for path in [&b"nothing"[..], b"no/thing", b"file/beneath", b"link/x"] {
        assert!(matches!(look(&tree, path, &mut kept), Ok(Look::Absent)));
    }
    assert!(matches!(look(&tree, b"pipe", &mut kept), Ok(Look::LeftOut(LeftOut::Special))));
    let keys = keys();
    let rules = Rules::parse(&["dir"]).expect("good");
    let mut looker = Looker::new(&tree.root, &keys, rules, Stop::default());
    let ignored = looker.look(&rel(b"dir/x"), &mut kept);
    assert!(matches!(ignored, Ok(Look::LeftOut(LeftOut::Ignored))));
}

#[test]
fn hard_links_are_files_of_their_own_with_one_content() {
    let tree = Tree::with(&["a"]);
    std::fs::hard_link(tree.at("a"), tree.at("b")).expect("linked");
    assert_eq!(manifest(&tree, b"a"), manifest(&tree, b"b"));
    assert_eq!(tree.listed(WalkOptions::default()), ["a", "b"]);
    let looked = look(&tree, b"a", &mut Kept::default());
    assert!(matches!(looked, Ok(Look::Found(standing)) if standing.links == 2));
}

#[test]
fn holes_are_told_and_change_no_name() {
    let tree = Tree::new();
    let data = noise(100_000);
    let file = std::fs::File::create(tree.at("sparse")).expect("made");
    for at in [0, 1 << 20, 5_000_000] {
        file.write_all_at(&data, at).expect("written");
    }
    file.set_len(8 << 20).expect("prolonged");
    drop(file);
    let bytes = std::fs::read(tree.at("sparse")).expect("read");
    tree.write("full", &bytes);
    assert_eq!(manifest(&tree, b"sparse"), manifest(&tree, b"full"));
    let (_, holes, kept) = found(&tree, b"sparse");
    let read: u64 = kept.chunks.iter().map(|(_, chunk)| u64::from(chunk.len)).sum();
    assert!(read < 1 << 20, "{read}");
    if holes.count() == 0 {
        println!("skipped: this file system tells of no holes");
        return;
    }
    for Hole { offset, len } in holes.iter() {
        let hole = &bytes[offset.as_len()..(*offset + *len).as_len()];
        assert!(hole.iter().all(|byte| *byte == 0));
    }
    assert!(holes.total() > Bytes::mib(7));
    assert_eq!(found(&tree, b"full").1.count(), 0);
}

#[test]
fn a_sparse_file_of_4_tib_is_read_where_it_holds_data() {
    let tree = Tree::new();
    let file = std::fs::File::create(tree.at("image")).expect("made");
    if file.set_len(1 << 42).is_err() {
        println!("skipped: this file system has no files of 4 TiB");
        return;
    }
    for at in [0, 1 << 40, (1 << 42) - 5] {
        file.write_all_at(b"data!", at).expect("written");
    }
    drop(file);
    let (found, holes, kept) = found(&tree, b"image");
    let Content::File { size, .. } = found.content else { panic!("a file") };
    assert_eq!(size, Bytes::new(1 << 42));
    let read: u32 = kept.chunks.iter().map(|(_, chunk)| chunk.len).sum();
    assert!(kept.chunks.len() == 3 && read <= 3 * 4096, "{read}");
    assert!(holes.total() > Bytes::new((1 << 42) - (1 << 20)));
}

/// Writes into the file that is being read, as often as it has left to do so.
struct Writer {
    file: std::fs::File,
    left: usize,
    kept: Kept,
}

impl ContentSink for Writer {
    fn begin(&mut self) -> Result<(), SinkError> {
        self.kept.begin()
    }

    fn chunk(&mut self, offset: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
        if self.left > 0 {
            self.left -= 1;
            self.file.write_all_at(b"x", 500_000)?;
        }
        self.kept.chunk(offset, chunk)
    }

    fn page(&mut self, id: PageId, bytes: &[u8]) -> Result<(), SinkError> {
        self.kept.page(id, bytes)
    }
}

#[test]
fn a_file_that_is_written_all_the_time_is_reported_and_one_that_rests_is_read() {
    let tree = Tree::new();
    tree.write("busy", &noise(1 << 20));
    let file = std::fs::File::options().write(true).open(tree.at("busy")).expect("opened");
    let mut writer = Writer { file, left: usize::MAX, kept: Kept::default() };
    let keys = keys();
    let looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
    let mut looker = looker.with_patience(HASTE);
    let seen = looker.look(&rel(b"busy"), &mut writer);
    let is_changed = matches!(&seen, Err(LookError::Digest { fault: DigestError::Changed, .. }));
    assert!(is_changed, "{seen:?}");
    assert!(seen.expect_err("changed").to_string().contains("changes while being read"));
    assert_eq!(writer.kept.begun, 3, "as often as patience goes");
    (writer.left, writer.kept) = (1, Kept::default());
    assert!(matches!(looker.look(&rel(b"busy"), &mut writer), Ok(Look::Found(_))));
    assert_eq!(writer.kept.begun, 2, "once in vain");
    let sum: u64 = writer.kept.chunks.iter().map(|(_, chunk)| u64::from(chunk.len)).sum();
    assert_eq!(sum, 1 << 20, "what came of the first attempt is void");
}

#[test]
fn a_file_that_is_shortened_while_it_is_read_is_no_shorter_version() {
    /// Shortens the file when its first chunk is there.
    struct Shorten(std::fs::File);
    impl ContentSink for Shorten {
        fn begin(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn chunk(&mut self, _: Bytes, _: &Chunk) -> Result<(), SinkError> {
            Ok(self.0.set_len(1_600_000)?)
        }
        fn page(&mut self, _: PageId, _: &[u8]) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let tree = Tree::new();
    tree.write("f", &noise(8 << 20));
    let file = std::fs::File::options().write(true).open(tree.at("f")).expect("opened");
    let (opened, before) = tree.root.open_file_meta(&rel(b"f")).expect("opened");
    let keys = keys();
    let mut digester = Digester::new(&keys, Stop::default());
    let digested = digester.digest(&opened, &before, &mut Shorten(file));
    assert!(matches!(digested, Err(DigestError::Changed)), "{digested:?}");
}

#[test]
fn a_sink_that_refuses_ends_the_reading() {
    struct Full;
    impl ContentSink for Full {
        fn begin(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn chunk(&mut self, _: Bytes, _: &Chunk) -> Result<(), SinkError> {
            Ok(())
        }
        fn page(&mut self, _: PageId, _: &[u8]) -> Result<(), SinkError> {
            Err("the index is full".into())
        }
    }
    let tree = Tree::with(&["f"]);
    let keys = keys();
    let mut looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
    let refused = looker.look(&rel(b"f"), &mut Full).expect_err("refused").to_string();
    assert!(refused.contains("the index is full"), "{refused}");
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_absent() {
    if !obeys_permissions() {
        return;
    }
    let tree = Tree::with(&["closed/x", "f"]);
    for path in ["closed", "f"] {
        std::fs::set_permissions(tree.at(path), std::fs::Permissions::from_mode(0o000))
            .expect("changed");
    }
    let mut kept = Kept::default();
    for path in [&b"f"[..], b"closed/x"] {
        assert!(matches!(look(&tree, path, &mut kept), Err(LookError::Confine(_))));
    }
    std::fs::set_permissions(tree.at("closed"), std::fs::Permissions::from_mode(0o700))
        .expect("changed");
}

#[test]
fn what_the_disk_does_not_give_is_an_error_with_its_place() {
    // Nothing is mapped at address 0: the kernel answers as a broken disk does.
    let file = std::fs::File::open("/proc/self/mem").expect("opened");
    let tree = Tree::with(&["f"]);
    let mut before = tree.root.stat(&rel(b"f")).expect("there");
    before.identity.size = 1 << 20;
    let keys = keys();
    let mut digester = Digester::new(&keys, Stop::default());
    let failed = digester.digest(&file, &before, &mut Kept::default());
    let is_told = matches!(&failed, Err(DigestError::Read { offset: 0, errno }) if *errno == rustix::io::Errno::IO);
    assert!(is_told, "{failed:?}");
}

/// Knows one file by its state.
struct KnownAs(FileIdentity, Content);

impl KnownContent for KnownAs {
    fn content_of(&self, path: &RelPath, identity: &FileIdentity) -> Option<(Content, RelPath)> {
        (*identity == self.0).then(|| (self.1.clone(), path.clone()))
    }
}

/// spec: S-093
#[test]
fn a_file_that_was_read_in_the_state_in_which_it_is_is_not_read_again() {
    let tree = Tree::new();
    tree.write("a/f", b"1234");
    let (before, ..) = found(&tree, b"a/f");
    let size = Bytes::new(4);
    let other = Content::File { manifest: ManifestId([9; 32]), size };
    let known = KnownAs(before.identity, other.clone());
    let look = |path: &[u8], known: &KnownAs| {
        let keys = keys();
        let looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
        let mut looker = looker.with_patience(HASTE).with_known(known);
        match looker.look(&rel(path), &mut Kept::default()) {
            Ok(Look::Found(standing)) => standing.found.content,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(look(b"a/f", &known), other);
    std::fs::rename(tree.at("a"), tree.at("b")).expect("moved");
    assert_eq!(look(b"b/f", &known), other);
    // The name of the file itself is a part of its state, and what is doubtful is read.
    std::fs::rename(tree.at("b/f"), tree.at("b/g")).expect("moved");
    assert_eq!(look(b"b/g", &known), before.content);
    let wrong = Content::File { manifest: ManifestId([9; 32]), size: Bytes::new(5) };
    let (now, ..) = found(&tree, b"b/g");
    assert_eq!(look(b"b/g", &KnownAs(now.identity, wrong)), before.content);
}

#[test]
fn what_becomes_something_else_while_it_is_looked_at_changes_and_is_not_called_unreadable() {
    let tree = Tree::new();
    let at = tree.dir.path().join("a");
    let stop = Stop::default();
    let stops = stop.clone();
    let changing = std::thread::spawn(move || {
        while !stops.is_set() {
            std::fs::write(&at, "a file").unwrap();
            std::fs::remove_file(&at).unwrap();
            std::fs::create_dir(&at).unwrap();
            std::fs::remove_dir(&at).unwrap();
            symlink("somewhere", &at).unwrap();
            std::fs::remove_file(&at).unwrap();
        }
    });
    let keys = keys();
    let now = Patience { tick: Duration::ZERO, quiet: Duration::ZERO, tries: 1 };
    let looker = Looker::new(&tree.root, &keys, Rules::default(), Stop::default());
    let mut looker = looker.with_patience(now);
    let mut seen = BTreeSet::new();
    for _ in 0..20_000 {
        match looker.look(&rel(b"a"), &mut Kept::default()) {
            Ok(_) | Err(LookError::Confine(ConfineError::NotFound { .. })) => {}
            Err(error) => _ = seen.insert(error.to_string()),
        }
    }
    stop.set();
    changing.join().unwrap();
    seen.remove("a: changes while being read");
    assert_eq!(seen, BTreeSet::new());
}
