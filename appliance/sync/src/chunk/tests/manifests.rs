//! Pages and names of lists, and what is refused of both.

use super::*;
use crate::limits::{HOLES_MAX, PAGE_ENTRIES_MAX, PAGE_MAX};
use crate::version::ManifestId;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLASS: SizeClass = SizeClass::SMALLEST;

type Pages = BTreeMap<PageId, Vec<u8>>;

fn built(keys: &ContentKeys, entries: &[Entry]) -> (ManifestId, Pages) {
    let mut pages = Pages::new();
    let mut builder = ManifestBuilder::new(keys, CLASS);
    for entry in entries {
        builder.push(*entry, &mut |id, bytes| drop(pages.insert(id, bytes.to_vec())));
    }
    let id = builder.finish(&mut |id, bytes| drop(pages.insert(id, bytes.to_vec())));
    (id, pages)
}

fn read(
    keys: &ContentKeys,
    id: ManifestId,
    size: Bytes,
    pages: &Pages,
) -> Result<Vec<Entry>, PageError> {
    let mut reader = ManifestReader::new(keys, id, size);
    let mut entries = Vec::new();
    while !reader.is_complete() {
        let wanted = reader.wanted().next().expect("not complete");
        if let Some(leaf) = reader.take(pages.get(&wanted).map_or(b"", |page| page))? {
            assert_eq!(leaf.first, u64::try_from(entries.len()).expect("few"));
            assert_eq!(leaf.offset, entries.iter().map(Entry::len).sum());
            entries.extend(leaf.entries);
        }
    }
    assert_eq!(reader.take(b""), Err(PageError::Complete));
    Ok(entries)
}

fn chunk(n: u64, len: u32) -> Entry {
    Entry::Chunk(Chunk { id: ChunkId(*blake3::hash(&n.to_be_bytes()).as_bytes()), len })
}

fn chunks(numbers: core::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(|n| chunk(n, 16 << 10)).collect()
}

fn size_of(entries: &[Entry]) -> Bytes {
    entries.iter().map(Entry::len).sum()
}

#[test]
fn a_list_of_any_length_comes_back() {
    let keys = keys();
    for len in [0, 1, 31, 32, 33, 63, 64, 65, 1000, 1024, 5000] {
        let entries = chunks(0..len);
        let (id, pages) = built(&keys, &entries);
        assert_eq!(id, Manifest { class: CLASS, entries: entries.clone() }.id(&keys));
        assert_eq!(read(&keys, id, size_of(&entries), &pages), Ok(entries));
    }
}

#[test]
fn a_list_of_equal_chunks_ends_in_few_levels() {
    let keys = keys();
    for last_byte in [0, 1] {
        let id = ChunkId([last_byte; 32]);
        let entries = vec![Entry::Chunk(Chunk { id, len: 16 << 10 }); 20_000];
        let (id, pages) = built(&keys, &entries);
        assert_eq!(read(&keys, id, size_of(&entries), &pages), Ok(entries));
        assert!(pages.len() <= 4, "equal pages are one: {}", pages.len());
    }
}

#[test]
fn an_edit_changes_few_pages() {
    let keys = keys();
    let old = chunks(0..30_000);
    let (old_id, old_pages) = built(&keys, &old);
    for at in [0, 15_000, 29_999] {
        let mut new = old.clone();
        new.splice(at..at + 1, [chunk(1 << 40, 20_000), chunk(1 << 41, 20_000)]);
        let (id, pages) = built(&keys, &new);
        assert_ne!(id, old_id);
        let fresh: Vec<_> = pages.iter().filter(|(id, _)| !old_pages.contains_key(id)).collect();
        let bytes: usize = fresh.iter().map(|(_, page)| page.len()).sum();
        assert!(fresh.len() <= 4 && bytes <= 100 << 10, "{} pages, {bytes} bytes", fresh.len());
    }
}

/// Each level more is a round trip more until the first chunk can be asked for.
#[test]
fn a_list_of_up_to_256_pages_has_one_level_above_them() {
    let keys = keys();
    for seed in 0..8 {
        let pages = built(&keys, &chunks(seed << 20..(seed << 20) + 20_000)).1;
        let (leaves, above): (Vec<_>, Vec<_>) = pages.values().partition(|page| page[1] == 0);
        assert!((150..=256).contains(&leaves.len()) && above.len() == 1, "{}", leaves.len());
    }
}

#[test]
fn no_more_than_a_page_of_each_level_is_held_at_a_time() {
    let keys = keys();
    let entries = chunks(0..200_000);
    let mut largest = 0;
    let mut builder = ManifestBuilder::new(&keys, CLASS);
    let mut levels = BTreeSet::new();
    let mut emit = |_: PageId, bytes: &[u8]| {
        largest = largest.max(bytes.len());
        levels.insert(bytes[1]);
    };
    entries.iter().for_each(|entry| builder.push(*entry, &mut emit));
    builder.finish(&mut emit);
    assert!(largest <= PAGE_MAX);
    assert_eq!(levels, BTreeSet::from([0, 1, 2]));
}

#[test]
fn siblings_are_known_before_they_are_needed() {
    let keys = keys();
    let entries = chunks(0..5000);
    let (id, pages) = built(&keys, &entries);
    let mut reader = ManifestReader::new(&keys, id, size_of(&entries));
    let root = reader.wanted().next().expect("the root");
    assert_eq!(reader.wanted().count(), 1);
    assert_eq!(reader.take(&pages[&root]), Ok(None));
    assert_eq!(reader.wanted().count(), pages.len() - 1);
}

#[test]
fn a_page_of_another_name_size_or_class_is_refused() {
    let keys = keys();
    let entries = chunks(0..10);
    let (id, pages) = built(&keys, &entries);
    let page = &pages[&PageId::from(id)];
    let mut reader = ManifestReader::new(&keys, id, size_of(&entries));
    let mut other = page.clone();
    other[20] ^= 1;
    assert_eq!(reader.take(&other), Err(PageError::OtherPage));
    assert!(matches!(reader.take(page), Ok(Some(_))), "the reader is as it was");
    let wrong = size_of(&entries) + Bytes::new(1);
    assert!(matches!(read(&keys, id, wrong, &pages), Err(PageError::Range { .. })));
    let class = SizeClass::LARGEST;
    let large = Page::Leaf { class, entries: vec![chunk(1, 16 << 10)] }.encode();
    let id = keys.page_id(&large);
    let pages = Pages::from([(id, large)]);
    let size = Bytes::kib(16);
    let refused = Err(PageError::Range { field: "class or level" });
    assert_eq!(read(&keys, id.as_manifest(), size, &pages), refused);
}

/// A reader's answer to a manifest of one page, well named but not by the rules.
fn answer_to(entries: Vec<Entry>) -> Result<Vec<Entry>, PageError> {
    let (keys, size) = (keys(), size_of(&entries));
    let page = Page::Leaf { class: CLASS, entries }.encode();
    let id = keys.page_id(&page);
    read(&keys, id.as_manifest(), size, &Pages::from([(id, page)]))
}

#[test]
fn lists_that_no_cutter_makes_are_refused() {
    let block = CLASS.average();
    let zeros = |len| Entry::Zeros { len };
    let short = chunk(1, (16 << 10) - 1);
    let cases = [
        vec![chunk(1, 0)],
        vec![chunk(1, (64 << 10) + 1)],
        vec![short, chunk(2, 16 << 10)],
        vec![zeros(Bytes::ZERO)],
        vec![zeros(block), zeros(block)],
        vec![zeros(Bytes::new(1)), chunk(1, 16 << 10)],
        vec![chunk(1, 20_000), zeros(block)],
        vec![zeros(Bytes::new(block.get() - 4096)), chunk(1, 16 << 10)],
        vec![zeros(block + Bytes::new(1)), chunk(1, 16 << 10)],
        vec![chunk(1, 64 << 10), zeros(Bytes::new(1 << 50))],
    ];
    for entries in cases {
        assert!(answer_to(entries.clone()).is_err(), "{entries:?}");
    }
    let good =
        vec![zeros(block), chunk(1, 48 << 10), chunk(3, 16 << 10), zeros(block + Bytes::new(7))];
    assert_eq!(answer_to(good.clone()), Ok(good));
    assert_eq!(answer_to(vec![short]), Ok(vec![short]), "the last one may be short");
}

#[test]
fn pages_that_end_elsewhere_are_refused() {
    let named = |last_byte: u8| Entry::Chunk(Chunk { id: ChunkId([last_byte; 32]), len: 16 << 10 });
    let entries = vec![named(1); 100];
    assert_eq!(answer_to(entries.clone()), Ok(entries.clone()));
    for (at, last_byte) in [(80, 0), (31, 64), (98, 192)] {
        let mut entries = entries.clone();
        entries[at] = named(last_byte);
        assert!(answer_to(entries).is_err(), "{at}");
    }
    let mut few = entries;
    few[30] = named(64);
    assert_eq!(answer_to(few.clone()), Ok(few), "a page of 31 is none but the last");
    let keys = keys();
    let halves = [chunks(0..40), chunks(40..80)].map(|entries| {
        let span = size_of(&entries);
        let page = Page::Leaf { class: CLASS, entries }.encode();
        (Child { id: keys.page_id(&page), span }, page)
    });
    let children = halves.iter().map(|(child, _)| *child).collect();
    let root = Page::Node { level: 1, class: CLASS, children }.encode();
    let id = keys.page_id(&root);
    let mut pages: Pages = halves.into_iter().map(|(child, page)| (child.id, page)).collect();
    pages.insert(id, root);
    let size = size_of(&chunks(0..80));
    assert!(read(&keys, id.as_manifest(), size, &pages).is_err());
}

#[test]
fn claims_of_more_than_a_page_holds_are_refused_without_reading_on() {
    assert_eq!(Page::decode(&vec![1; PAGE_MAX + 1]), Err(PageError::TooLong { len: PAGE_MAX + 1 }));
    let too_many = u16::try_from(PAGE_ENTRIES_MAX + 1).expect("small").to_be_bytes();
    assert!(Page::decode(&[FORM, 0, 0, too_many[0], too_many[1]]).is_err());
    assert_eq!(Page::decode(&[9, 0, 0, 0, 0]), Err(PageError::Form { form: 9 }));
    assert_eq!(Page::decode(&[FORM, 0, 0, 0, 1]), Err(PageError::Length));
    assert_eq!(Page::decode(&[FORM, 0, 0, 0, 0, 0]), Err(PageError::Length));
    let refused = |field| Err(PageError::Range { field });
    assert_eq!(Page::decode(&[FORM, 7, 0, 0, 2]), refused("number of entries or levels"));
    assert_eq!(Page::decode(&[FORM, 1, 9, 0, 2]), refused("class"));
}

/// So are lists that a site of an earlier version made. spec: S-115
#[test]
fn pages_of_the_form_before_are_refused_by_their_first_byte() {
    let keys = keys();
    for mut page in built(&keys, &chunks(0..100)).1.into_values() {
        assert!(Page::decode(&page).is_ok());
        page[0] = 1;
        assert_eq!(Page::decode(&page), Err(PageError::Form { form: 1 }));
        let id = keys.page_id(&page).as_manifest();
        let mut reader = ManifestReader::new(&keys, id, Bytes::kib(1600));
        assert_eq!(reader.take(&page), Err(PageError::Form { form: 1 }));
    }
}

/// Lists as a cutter makes them, with many names that end a page.
fn lists() -> impl Strategy<Value = Vec<Entry>> {
    let piece = (any::<u64>(), 1_u64..5, 0_u8..8, any::<bool>());
    vec(piece, 0..400).prop_map(|pieces| {
        let mut entries: Vec<Entry> = Vec::new();
        for (n, blocks, last_byte, is_zeros) in pieces {
            let len = CLASS.average().saturating_mul(blocks);
            if is_zeros && !entries.last().is_some_and(Entry::is_zeros) {
                entries.push(Entry::Zeros { len });
            } else if let Entry::Chunk(mut chunk) = chunk(n, 64 << 10) {
                chunk.id.0[31] = last_byte;
                entries.push(Entry::Chunk(chunk));
            }
        }
        entries
    })
}

fn hole_list() -> impl Strategy<Value = Holes> {
    vec((1_u64..1 << 20, 1_u64..1 << 20), 0..20).prop_map(|gaps| {
        let (mut holes, mut end) = (Holes::default(), 0);
        for (gap, len) in gaps {
            let (offset, len) = (Bytes::new(end + gap), Bytes::new(len));
            holes.push(Hole { offset, len });
            end = (offset + len).get();
        }
        holes
    })
}

proptest! {
    #[test]
    fn what_is_built_is_read(entries in lists()) {
        let keys = keys();
        let (id, pages) = built(&keys, &entries);
        for (id, bytes) in &pages {
            prop_assert_eq!(Page::decode(bytes).map(|page| page.encode()), Ok(bytes.clone()));
            prop_assert_eq!(keys.page_id(bytes), *id);
        }
        prop_assert_eq!(read(&keys, id, size_of(&entries), &pages), Ok(entries));
    }

    #[test]
    fn different_lists_have_different_names(entries in lists(), at in any::<prop::sample::Index>()) {
        let keys = keys();
        prop_assume!(!entries.is_empty());
        let mut other = entries.clone();
        let at = at.index(entries.len());
        let replaced = if other[at].is_zeros() { chunk(0, 1) } else { chunk(1 << 50, 64 << 10) };
        other[at] = replaced;
        prop_assert_ne!(built(&keys, &entries).0, built(&keys, &other).0);
        other.remove(at);
        prop_assert_ne!(built(&keys, &entries).0, built(&keys, &other).0);
    }

    #[test]
    fn no_bytes_make_a_page_panic(mut bytes in vec(any::<u8>(), 0..300), level in 0_u8..8, count in 0_u16..9) {
        let _ = Page::decode(&bytes);
        if bytes.len() >= 5 {
            bytes[..5].copy_from_slice(&[FORM, level, 0, 0, u8::try_from(count).expect("small")]);
        }
        let keys = keys();
        let id = keys.page_id(&bytes);
        let decoded = Page::decode(&bytes);
        if let Ok(page) = &decoded {
            prop_assert_eq!(page.encode(), bytes.clone());
        }
        for size in [Bytes::ZERO, decoded.map_or(Bytes::ZERO, |page| page.span())] {
            let mut reader = ManifestReader::new(&keys, id.as_manifest(), size);
            let _ = reader.take(&bytes);
            let _ = reader.take(&bytes);
        }
    }

    #[test]
    fn a_page_with_a_changed_byte_is_another_page(entries in lists(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let keys = keys();
        let (id, mut pages) = built(&keys, &entries);
        let page = pages.values_mut().next().expect("a root at least");
        let at = at.index(page.len());
        page[at] ^= flip;
        prop_assert_eq!(read(&keys, id, size_of(&entries), &pages), Err(PageError::OtherPage));
    }

    #[test]
    fn holes_come_back(holes in hole_list()) {
        let size = Bytes::new(1 << 30);
        prop_assert_eq!(Holes::decode(&holes.encode(), size), Ok(holes.clone()));
        let end = holes.iter().last().map_or(Bytes::ZERO, |hole| hole.offset + hole.len);
        prop_assert!(end == Bytes::ZERO || Holes::decode(&holes.encode(), end - Bytes::new(1)).is_err());
    }

    #[test]
    fn no_bytes_make_holes_panic(bytes in vec(any::<u8>(), 0..100), size in any::<u64>()) {
        if let Ok(holes) = Holes::decode(&bytes, Bytes::new(size)) {
            prop_assert_eq!(holes.encode(), bytes);
        }
    }
}

#[test]
fn holes_that_touch_overlap_or_are_too_many_are_refused() {
    let encoded = |holes: &[(u64, u64)]| -> Vec<u8> {
        holes.iter().flat_map(|(at, len)| [at.to_be_bytes(), len.to_be_bytes()].concat()).collect()
    };
    let size = Bytes::new(100);
    for holes in
        [&[(0, 0)][..], &[(0, 101)], &[(0, 5), (5, 5)], &[(9, 5), (3, 1)], &[(u64::MAX, 2)]]
    {
        assert_eq!(Holes::decode(&encoded(holes), size), Err(HolesError::Range), "{holes:?}");
    }
    let many = vec![0; 16 * (HOLES_MAX + 1)];
    assert_eq!(Holes::decode(&many, size), Err(HolesError::Length { len: many.len() }));
    assert_eq!(Holes::decode(&[0; 15], size), Err(HolesError::Length { len: 15 }));
    let mut joined = Holes::default();
    for (offset, len) in [(0, 5), (5, 5), (20, 0), (30, 1)] {
        joined.push(Hole { offset: Bytes::new(offset), len: Bytes::new(len) });
    }
    assert_eq!(joined.encode(), encoded(&[(0, 10), (30, 1)]));
}
