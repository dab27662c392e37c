//! How the wanted entries of a manifest become objects and blocks.
//!
//! A pure function of manifest and want, so both sides derive the same objects without a word on
//! the wire: a file with more than [`BUNDLED_MAX`] data bytes is an object of its own, smaller
//! ones are packed in manifest order into bundles of one block; empty files, directories and
//! symbolic links need none. The bytes of an object are the data extents of its entries, one
//! after the other. It opens nothing and knows no digests.

use crate::limits::BLOCK_DATA;
use crate::manifest::{Entry, Extent, Manifest};
use crate::objects::blocks_of;
use crate::units::Bytes;
use core::iter;

pub use crate::manifest::EntryRange;

/// Data bytes of a file up to which it travels in a bundle.
pub const BUNDLED_MAX: u64 = 1 << 20;
/// Files of one bundle, so that committing one stays a short piece of work.
pub const BUNDLE_FILES_MAX: usize = 4096;

/// Most data bytes in a bundle: behind them stands a status byte for each file, in one block.
pub const BUNDLE_DATA_MAX: u64 = BLOCK_DATA.get() - BUNDLE_FILES_MAX as u64;

const _: () = assert!(BUNDLED_MAX <= BUNDLE_DATA_MAX);

/// A run of bytes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the entry in the manifest.
    pub entry: u32,
    /// Where the run starts in the file.
    pub file_offset: u64,
    /// Its length in bytes, not 0.
    pub len: u64,
}

/// What an object carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// The data of one large file.
    File {
        /// Its index in the manifest.
        entry: u32,
    },
    /// The data of several small files, in manifest order; one block.
    Bundle {
        /// Their indices in the manifest, ascending.
        entries: Vec<u32>,
    },
}

/// One object: what it carries and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSpec {
    /// Data bytes, not 0.
    pub len: u64,
    /// What it carries.
    pub kind: ObjectKind,
}

impl ObjectSpec {
    /// The number of blocks, at least 1.
    pub fn blocks(&self) -> u32 {
        blocks_of(Bytes::new(self.len))
    }

    /// Data bytes of block `block`; 0 beyond the last.
    pub fn block_len(&self, block: u32) -> u64 {
        let start = u64::from(block).saturating_mul(BLOCK_DATA.get());
        self.len.saturating_sub(start).min(BLOCK_DATA.get())
    }

    /// The entries whose data it carries, ascending.
    pub fn entries(&self) -> &[u32] {
        match &self.kind {
            ObjectKind::File { entry } => core::slice::from_ref(entry),
            ObjectKind::Bundle { entries } => entries,
        }
    }
}

/// Where the data bytes of one file lie in it, searchable by position among the data bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMap {
    extents: Vec<Extent>,
    /// Position of the first byte of each extent among the data bytes.
    starts: Vec<u64>,
    len: u64,
}

impl DataMap {
    /// The map of `entry`; empty for everything but files with data.
    pub fn of(entry: &Entry) -> Self {
        let extents: Vec<Extent> = entry.data_extents().collect();
        let mut len = 0u64;
        let starts = extents.iter().map(|extent| {
            let start = len;
            len = len.saturating_add(extent.len);
            start
        });
        let starts = starts.collect();
        Self { extents, starts, len }
    }

    /// All data bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when the file has no data bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of blocks that the data bytes take as an object of their own.
    pub fn blocks(&self) -> u32 {
        blocks_of(Bytes::new(self.len))
    }

    /// The data extents, ascending.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The runs in the file of the data bytes `start .. start + len`, as far as there are any.
    pub fn runs(&self, start: u64, len: u64) -> impl Iterator<Item = Extent> + '_ {
        let end = start.saturating_add(len).min(self.len);
        let mut at = start;
        let mut index = self.starts.partition_point(|&s| s <= start).saturating_sub(1);
        iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (extent, extent_start) = (self.extents.get(index)?, self.starts.get(index)?);
            let skip = at - extent_start;
            let len = (extent.len - skip).min(end - at);
            (at, index) = (at + len, index + 1);
            Some(Extent { offset: extent.offset + skip, len })
        })
    }

    /// The runs in the file of block `block`.
    pub fn block_runs(&self, block: u32) -> impl Iterator<Item = Extent> + '_ {
        self.runs(u64::from(block).saturating_mul(BLOCK_DATA.get()), BLOCK_DATA.get())
    }
}

/// The objects of one transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order in which packing closes them; the index is the object's
    /// number within the transfer.
    pub objects: Vec<ObjectSpec>,
    /// For each object that is one file the map of that file.
    maps: Vec<Option<DataMap>>,
}

impl Layout {
    /// The objects for the entries in `want` (`spec: W-090`). The ranges are read as a set: order and overlap do
    /// not matter, what lies beyond the manifest is ignored.
    pub fn new(manifest: &Manifest, want: &[EntryRange]) -> Self {
        let mut layout = Self::default();
        let mut bundle = Bundle::default();
        for index in wanted(manifest, want) {
            let Some(entry) = manifest.entry(index) else { continue };
            match entry.data_len() {
                0 => {}
                1..=BUNDLED_MAX => {
                    if !bundle.has_room(entry.data_len()) {
                        layout.close(&mut bundle);
                    }
                    bundle.push(index, entry.data_len());
                }
                len => {
                    layout
                        .objects
                        .push(ObjectSpec { len, kind: ObjectKind::File { entry: index } });
                    layout.maps.push(Some(DataMap::of(entry)));
                }
            }
        }
        layout.close(&mut bundle);
        layout
    }

    /// The number of objects.
    pub fn len(&self) -> u32 {
        u32::try_from(self.objects.len()).unwrap_or(u32::MAX)
    }

    /// True when nothing needs to travel.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Object number `object`.
    pub fn object(&self, object: u32) -> Option<&ObjectSpec> {
        self.objects.get(usize::try_from(object).ok()?)
    }

    /// The data bytes of all objects.
    pub fn data_len(&self) -> u64 {
        self.objects.iter().fold(0, |sum, object| sum.saturating_add(object.len))
    }

    /// The runs of bytes that make up block `block` of object `object`, in order; none when there
    /// is no such block. `manifest` is the one that the layout was made from.
    pub fn runs(&self, manifest: &Manifest, object: u32, block: u32) -> Vec<Run> {
        let index = usize::try_from(object).unwrap_or(usize::MAX);
        let (Some(spec), Some(map)) = (self.objects.get(index), self.maps.get(index)) else {
            return Vec::new();
        };
        match (&spec.kind, map) {
            (ObjectKind::File { entry }, Some(map)) => {
                map.block_runs(block).map(|extent| run(*entry, extent)).collect()
            }
            (ObjectKind::Bundle { entries }, _) if block == 0 => bundle_runs(manifest, entries),
            (ObjectKind::Bundle { .. }, _) | (ObjectKind::File { .. }, None) => Vec::new(),
        }
    }

    fn close(&mut self, bundle: &mut Bundle) {
        let Bundle { entries, len } = core::mem::take(bundle);
        if !entries.is_empty() {
            self.objects.push(ObjectSpec { len, kind: ObjectKind::Bundle { entries } });
            self.maps.push(None);
        }
    }
}

/// The bundle being packed.
#[derive(Default)]
struct Bundle {
    entries: Vec<u32>,
    len: u64,
}

impl Bundle {
    fn has_room(&self, len: u64) -> bool {
        self.entries.len() < BUNDLE_FILES_MAX && self.len + len <= BUNDLE_DATA_MAX
    }

    fn push(&mut self, entry: u32, len: u64) {
        self.entries.push(entry);
        self.len += len;
    }
}

/// The indices in `want`, ascending, each once.
fn wanted<'a>(manifest: &Manifest, want: &'a [EntryRange]) -> impl Iterator<Item = u32> + use<'a> {
    let mut ranges = want.to_vec();
    ranges.sort_unstable_by_key(|range| range.first);
    let entries = manifest.len();
    let mut done = 0u32;
    ranges.into_iter().flat_map(move |range| {
        let first = range.first.max(done);
        let end = range.first.saturating_add(range.count).min(entries);
        done = done.max(end);
        first..end
    })
}

fn bundle_runs(manifest: &Manifest, entries: &[u32]) -> Vec<Run> {
    let runs = entries.iter().flat_map(|&index| {
        let extents = manifest.entry(index).into_iter().flat_map(Entry::data_extents);
        extents.map(move |extent| run(index, extent))
    });
    runs.collect()
}

fn run(entry: u32, extent: Extent) -> Run {
    Run { entry, file_offset: extent.offset, len: extent.len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{EntryKind, Extents, FileTime};
    use crate::path_name::RelPath;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn manifest(sizes: &[u64]) -> Manifest {
        let entries = sizes
            .iter()
            .enumerate()
            .map(|(n, &size)| entry(n, EntryKind::File { size, extents: Extents::Full }));
        Manifest { entries: entries.collect() }
    }

    fn entry(n: usize, kind: EntryKind) -> Entry {
        let path = RelPath::parse(format!("{n:06}").as_bytes()).unwrap();
        Entry { path, mode: 0o644, mtime: FileTime::default(), kind }
    }

    fn all(manifest: &Manifest) -> [EntryRange; 1] {
        [EntryRange { first: 0, count: manifest.len() }]
    }

    #[test]
    fn small_files_share_a_block_and_large_ones_stand_alone() {
        let manifest = manifest(&[10, BUNDLED_MAX + 1, 20, 0, BUNDLED_MAX]);
        let layout = Layout::new(&manifest, &all(&manifest));
        let kinds: Vec<_> = layout.objects.iter().map(ObjectSpec::entries).collect();
        assert_eq!(kinds, [&[1][..], &[0, 2, 4]]);
        assert!(layout.objects.iter().all(|object| object.blocks() == 1));
    }

    #[test]
    fn a_bundle_never_exceeds_one_block_or_its_number_of_files() {
        let manifest = manifest(&vec![1; BUNDLE_FILES_MAX + 1]);
        let layout = Layout::new(&manifest, &all(&manifest));
        let counts: Vec<_> = layout.objects.iter().map(|object| object.entries().len()).collect();
        assert_eq!(counts, [BUNDLE_FILES_MAX, 1]);
    }

    #[test]
    fn ranges_beyond_the_manifest_are_ignored() {
        let manifest = manifest(&[1, 2]);
        let far = EntryRange { first: 1, count: u32::MAX };
        let farther = EntryRange { first: u32::MAX, count: u32::MAX };
        assert_eq!(Layout::new(&manifest, &[far, farther]).data_len(), 2);
    }

    #[test]
    fn the_blocks_of_a_large_file_follow_each_other() {
        let size = BLOCK_DATA.get() * 2 + 5;
        let manifest = manifest(&[size]);
        let layout = Layout::new(&manifest, &all(&manifest));
        assert_eq!(layout.objects[0].blocks(), 3);
        let last = Run { entry: 0, file_offset: BLOCK_DATA.get() * 2, len: 5 };
        assert_eq!(layout.runs(&manifest, 0, 2), [last]);
        assert_eq!(layout.objects[0].block_len(2), 5);
        assert_eq!(layout.runs(&manifest, 0, 3), []);
        assert_eq!(layout.runs(&manifest, 1, 0), []);
    }

    fn kinds() -> impl Strategy<Value = EntryKind> {
        let extents = proptest::collection::vec((0u64..3_000_000, 1u64..3_000_000), 0..5);
        prop_oneof![
            3 => (0u64..2_000).prop_map(|size| EntryKind::File { size, extents: Extents::Full }),
            2 => (0u64..5_000_000).prop_map(|size| EntryKind::File { size, extents: Extents::Full }),
            2 => extents.prop_map(|steps| {
                let mut list = Vec::new();
                let mut end = 0;
                for (gap, len) in steps {
                    list.push(Extent { offset: end + gap, len });
                    end += gap + len;
                }
                EntryKind::File { size: end + 7, extents: Extents::List(list) }
            }),
            1 => Just(EntryKind::Dir),
        ]
    }

    proptest! {
        #[test]
        fn every_wanted_byte_travels_exactly_once(
            kinds in proptest::collection::vec(kinds(), 0..40),
            want in proptest::collection::vec((0u32..45, 0u32..20), 0..6),
        ) {
            let entries = kinds.into_iter().enumerate().map(|(n, kind)| entry(n, kind)).collect();
            let manifest = Manifest { entries };
            let want: Vec<_> =
                want.into_iter().map(|(first, count)| EntryRange { first, count }).collect();
            let layout = Layout::new(&manifest, &want);
            let mut travelled: BTreeMap<u32, Vec<Extent>> = BTreeMap::new();
            for object in 0..layout.len() {
                let spec = layout.object(object).unwrap();
                let mut total = 0;
                for block in 0..spec.blocks() {
                    let runs = layout.runs(&manifest, object, block);
                    let len: u64 = runs.iter().map(|run| run.len).sum();
                    prop_assert_eq!(len, spec.block_len(block));
                    prop_assert!(0 < len && len <= BLOCK_DATA.get());
                    total += len;
                    for run in runs {
                        let extent = Extent { offset: run.file_offset, len: run.len };
                        travelled.entry(run.entry).or_default().push(extent);
                    }
                }
                prop_assert_eq!(total, spec.len);
            }
            for (n, entry) in (0u32..).zip(&manifest.entries) {
                let in_want = want.iter().any(|w| w.first <= n && n - w.first < w.count);
                let expected: Vec<Extent> =
                    if in_want { entry.data_extents().collect() } else { Vec::new() };
                let got = merged(travelled.get(&n).map_or(&[][..], Vec::as_slice));
                prop_assert_eq!(got, merged(&expected));
            }
        }
    }

    /// Joins runs that touch; keeps any overlap or disorder visible.
    fn merged(runs: &[Extent]) -> Vec<Extent> {
        let mut out: Vec<Extent> = Vec::new();
        for run in runs {
            match out.last_mut() {
                Some(last) if last.end() == run.offset => last.len += run.len,
                Some(_) | None => out.push(*run),
            }
        }
        out
    }
}
