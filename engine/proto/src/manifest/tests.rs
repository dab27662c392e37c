//! Round trips, refusals and bounds of the manifest codec.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn path(bytes: &[u8]) -> RelPath {
    RelPath::parse(bytes).unwrap()
}

fn entry(bytes: &[u8], kind: EntryKind) -> Entry {
    Entry { path: path(bytes), mode: 0o644, mtime: FileTime { secs: 1, nanos: 2 }, kind }
}

fn file(bytes: &[u8], size: u64) -> Entry {
    entry(bytes, EntryKind::File { size, extents: Extents::Full })
}

fn sparse(bytes: &[u8], size: u64, list: &[(u64, u64)]) -> Entry {
    let list = list.iter().map(|&(offset, len)| Extent { offset, len }).collect();
    entry(bytes, EntryKind::File { size, extents: Extents::List(list) })
}

fn symlink(bytes: &[u8], target: &[u8]) -> Entry {
    entry(bytes, EntryKind::Symlink { target: target.to_vec() })
}

fn dir(bytes: &[u8]) -> Entry {
    entry(bytes, EntryKind::Dir)
}

/// What decoding says of entries that were encoded as they stand.
fn fault_of(entries: Vec<Entry>) -> Option<Fault> {
    match Manifest::decode(&Manifest { entries }.encode()) {
        Err(ManifestError::Entry { fault, .. }) => Some(fault),
        Ok(_) | Err(_) => None,
    }
}

#[test]
fn a_symlink_or_file_is_never_a_parent() {
    assert_eq!(fault_of(vec![symlink(b"a", b"/etc"), file(b"a/passwd", 1)]), Some(Fault::Parent));
    assert_eq!(fault_of(vec![file(b"a", 1), file(b"a/b", 1)]), Some(Fault::Parent));
    assert_eq!(fault_of(vec![file(b"a/b", 1)]), Some(Fault::Parent));
    assert_eq!(fault_of(vec![dir(b"a"), file(b"a/b/c", 1)]), Some(Fault::Parent));
}

#[test]
fn a_path_stands_once_and_in_tree_order() {
    assert_eq!(fault_of(vec![file(b"a", 1), file(b"a", 1)]), Some(Fault::Order));
    assert_eq!(fault_of(vec![file(b"b", 1), file(b"a", 1)]), Some(Fault::Order));
    let sorted = Manifest::new(vec![file(b"b", 1), file(b"a/x", 1), dir(b"a")]).unwrap();
    assert_eq!(sorted.find(&path(b"a/x")), Some(1));
    assert_eq!(Manifest::decode(&sorted.encode()).unwrap(), sorted);
}

#[test]
fn extents_are_ascending_runs_within_the_file() {
    for list in [&[(0, 0)][..], &[(0, 11)], &[(4, 4), (2, 1)], &[(0, 4), (3, 4)]] {
        let manifest = Manifest { entries: vec![sparse(b"a", 10, list)] };
        assert!(manifest.check().is_err(), "{list:?}");
        if list != [(4, 4), (2, 1)] && list != [(0, 4), (3, 4)] {
            // Overlaps cannot even be written: gaps are unsigned.
            assert_eq!(fault_of(manifest.entries), Some(Fault::Extents), "{list:?}");
        }
    }
    assert_eq!(fault_of(vec![sparse(b"a", 10, &[(0, 4), (4, 6)])]), None);
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert_eq!(fault_of(vec![file(b"a", OBJECT_MAX.get() + 1)]), Some(Fault::Size));
    let mut late = file(b"a", 1);
    late.mtime.nanos = 1_000_000_000;
    assert_eq!(fault_of(vec![late]), Some(Fault::Time));
    assert_eq!(fault_of(vec![symlink(b"a", b"")]), Some(Fault::Target));
    assert_eq!(fault_of(vec![symlink(b"a", b"x\0y")]), Some(Fault::Target));
    assert_eq!(fault_of(vec![symlink(b"a", &[b'x'; SYMLINK_TARGET_MAX + 1])]), Some(Fault::Target));
}

#[test]
fn set_id_bits_do_not_travel() {
    let mut tool = file(b"a", 1);
    tool.mode = 0o6755;
    let decoded = Manifest::decode(&Manifest { entries: vec![tool] }.encode()).unwrap();
    assert_eq!(decoded.entries[0].mode, 0o755);
}

#[test]
fn set_id_bits_of_a_hostile_writer_are_stripped() {
    let mut bytes = Manifest { entries: vec![dir(b"a")] }.encode();
    // 0o644 is the two-byte integer 19 01 a4; 0o6755 is 19 0d ed.
    let at = bytes.windows(3).position(|w| w == [0x19, 0x01, 0xa4]).unwrap();
    bytes[at + 1..at + 3].copy_from_slice(&[0x0d, 0xed]);
    assert_eq!(Manifest::decode(&bytes).unwrap().entries[0].mode, 0o755);
    bytes[at + 1..at + 3].copy_from_slice(&[0x81, 0xed]);
    let refused = Manifest::decode(&bytes);
    assert!(matches!(refused, Err(ManifestError::Entry { index: 0, fault: Fault::Mode })));
}

#[test]
fn a_reserved_or_escaping_path_is_refused() {
    for bad in [&b".farhaul"[..], b"../up", b"/abs"] {
        let mut bytes = Encoder::new(Vec::new());
        bytes.array(2).unwrap().u32(VERSION).unwrap().array(1).unwrap();
        bytes.array(6).unwrap().u8(KIND_DIR).unwrap().u64(0).unwrap().bytes(bad).unwrap();
        bytes.u32(0).unwrap().i64(0).unwrap().u32(0).unwrap();
        let refused = Manifest::decode(bytes.writer());
        assert!(matches!(refused, Err(ManifestError::Entry { index: 0, fault: Fault::Path(_) })));
    }
}

#[test]
fn a_claimed_count_is_checked_before_it_sizes_anything() {
    let mut bytes = Encoder::new(Vec::new());
    bytes.array(2).unwrap().u32(VERSION).unwrap().array(1 << 21).unwrap();
    let refused = Manifest::decode(bytes.writer());
    assert!(matches!(refused, Err(ManifestError::TooManyEntries { count: 0x20_0000 })));

    let mut bytes = Encoder::new(Vec::new());
    bytes.array(2).unwrap().u32(VERSION).unwrap().array(1).unwrap();
    bytes.array(8).unwrap().u8(KIND_SPARSE).unwrap().u64(0).unwrap().bytes(b"a").unwrap();
    bytes.u32(0).unwrap().i64(0).unwrap().u32(0).unwrap().u64(1).unwrap().array(u64::MAX).unwrap();
    let refused = Manifest::decode(bytes.writer());
    assert!(matches!(refused, Err(ManifestError::Entry { index: 0, fault: Fault::Extents })));
}

#[test]
fn trailing_bytes_and_other_versions_are_refused() {
    let mut bytes = Manifest { entries: vec![file(b"a", 1)] }.encode();
    bytes.push(0);
    assert!(matches!(Manifest::decode(&bytes), Err(ManifestError::TrailingBytes)));
    bytes[1] = 9;
    assert!(matches!(Manifest::decode(&bytes), Err(ManifestError::Version { found: 9 })));
}

/// A chain of directories with 4-KiB paths and `leaves` files of short names at its end.
fn deep_and_wide(leaves: usize) -> Manifest {
    let mut entries = Vec::new();
    let mut at = path(&[b'd'; 250]);
    entries.push(dir(at.as_bytes()));
    for _ in 1..16 {
        at = at.join_name(&[b'd'; 250]).unwrap();
        entries.push(dir(at.as_bytes()));
    }
    for n in 0..leaves {
        entries.push(file(at.join_name(format!("{n:06}").as_bytes()).unwrap().as_bytes(), 1));
    }
    Manifest::new(entries).unwrap()
}

#[test]
fn long_paths_take_few_bytes() {
    let manifest = deep_and_wide(2_000);
    let bytes = manifest.encode();
    let named: usize = manifest.entries.iter().map(|e| e.path.as_bytes().len()).sum();
    assert!(bytes.len() < named / 100, "{} of {named}", bytes.len());
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
}

/// The wire form of `count` entries that `write` puts down, each told its index.
fn encoded(count: usize, write: impl Fn(&mut Encoder<Vec<u8>>, usize)) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u32(VERSION).unwrap().array(count as u64).unwrap();
    (0..count).for_each(|index| write(&mut e, index));
    e.into_writer()
}

/// Entries that take over a path of 4 KiB and add a byte or two would take gigabytes.
#[test]
fn a_manifest_whose_paths_inflate_in_memory_is_refused() {
    let entries = deep_and_wide(0).entries;
    let deepest = entries.last().unwrap().path.as_bytes().len();
    let (dirs, leaves) = (entries.len(), 30_000);
    let bytes = encoded(dirs + leaves, |e, index| {
        let before = index.checked_sub(1).and_then(|i| entries.get(i));
        let before = before.map_or(&[][..], |entry| entry.path.as_bytes());
        if let Some(entry) = entries.get(index) {
            write_entry(e, entry, common_prefix(before, entry.path.as_bytes())).unwrap();
            return;
        }
        e.array(6).unwrap().u8(KIND_DIR).unwrap().u64(deepest as u64).unwrap();
        e.bytes(format!("/{:06}", index - dirs).as_bytes()).unwrap();
        e.u32(0).unwrap().i64(0).unwrap().u32(0).unwrap();
    });
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    let refused = Manifest::decode(&bytes);
    assert!(matches!(refused, Err(ManifestError::Entry { fault: Fault::TooHeavy, .. })));
    let within = Manifest::new(deep_and_wide(20_000).entries).unwrap();
    assert_eq!(Manifest::decode(&within.encode()).unwrap(), within);
}

/// Two bytes of the wire are one extent of many bytes in memory.
#[test]
fn a_manifest_whose_extents_inflate_in_memory_is_refused() {
    let full: Vec<(u64, u64)> = (0..EXTENTS_MAX as u64).map(|n| (2 * n + 1, 1)).collect();
    let size = 2 * EXTENTS_MAX as u64 + 1;
    let fit = WEIGHT_MAX / (EXTENTS_MAX * EXTENT_WEIGHT + ENTRY_WEIGHT + 2);
    let files = |count| {
        let name = |n| format!("{n:02}");
        (0..count).map(|n| sparse(name(n).as_bytes(), size, &full)).collect::<Vec<_>>()
    };
    let within = Manifest::new(files(fit)).unwrap();
    assert_eq!(Manifest::decode(&within.encode()).unwrap(), within);
    let beyond = files(fit + 1);
    assert_eq!(fault_of(beyond.clone()), Some(Fault::TooHeavy));
    let refused = Manifest::new(beyond);
    assert!(matches!(refused, Err(ManifestError::Entry { fault: Fault::TooHeavy, .. })));
}

#[test]
fn a_manifest_of_too_many_bytes_is_refused_unread() {
    let refused = Manifest::decode(&vec![0; ENCODED_MAX + 1]);
    assert!(matches!(refused, Err(ManifestError::TooLong { .. })));
}

/// Manifests that keep the rules: every proper prefix of a path is a directory.
fn manifests() -> impl Strategy<Value = Manifest> {
    let name = proptest::collection::vec("[a-c\u{e4}\n]{1,2}", 1..4).prop_map(|n| n.join("/"));
    let leaf = (name, 0u8..4, any::<u64>(), any::<(u32, i64, u32)>());
    proptest::collection::vec(leaf, 0..24).prop_map(|leaves| {
        let mut tree: BTreeMap<RelPath, Entry> = BTreeMap::new();
        for (name, kind, number, (mode, secs, nanos)) in leaves {
            let leaf = path(name.as_bytes());
            let mut up = leaf.parent();
            while let Some(parent) = up {
                tree.insert(parent.clone(), dir(parent.as_bytes()));
                up = parent.parent();
            }
            let free = tree.keys().all(|other| !other.starts_with(&leaf));
            let mut new = match kind {
                0 if free => symlink(leaf.as_bytes(), format!("../{number}").as_bytes()),
                1 if free => file(leaf.as_bytes(), number >> 16),
                2 if free => {
                    let step = number >> 40;
                    sparse(leaf.as_bytes(), step * 4 + 3, &[(step, 1), (step * 2 + 1, step + 1)])
                }
                _ => dir(leaf.as_bytes()),
            };
            (new.mode, new.mtime) =
                (mode & MODE_MASK, FileTime { secs, nanos: nanos % 1_000_000_000 });
            let below_a_leaf = tree.iter().any(|(at, e)| !e.is_dir() && leaf.starts_with(at));
            if !below_a_leaf && (free || new.is_dir()) {
                tree.insert(leaf, new);
            }
        }
        let mut entries: Vec<Entry> = tree.into_values().collect();
        let leaves: Vec<RelPath> =
            entries.iter().filter(|e| !e.is_dir()).map(|e| e.path.clone()).collect();
        entries.retain(|e| !leaves.iter().any(|l| *l != e.path && e.path.starts_with(l)));
        Manifest { entries }
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(manifest in manifests()) {
        manifest.check().unwrap();
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn a_cut_manifest_is_refused(manifest in manifests(), cut in any::<prop::sample::Index>()) {
        let bytes = manifest.encode();
        prop_assert!(Manifest::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn damage_is_refused_or_still_keeps_every_rule(
        manifest in manifests(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = manifest.encode();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(decoded) = Manifest::decode(&bytes) {
            decoded.check().unwrap();
            prop_assert!(decoded.entries.iter().all(|e| e.mode & !MODE_MASK == 0));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut framed = vec![0x82, 0x01, 0x98, 0x08];
        framed.extend_from_slice(&bytes);
        let _ = Manifest::decode(&bytes);
        let _ = Manifest::decode(&framed);
    }
}
