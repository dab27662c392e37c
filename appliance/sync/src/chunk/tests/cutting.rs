//! Where cuts are, and where they stay when a file is edited.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const BLOCK: usize = 4 << 10;
/// The shortest run of zeros in the smallest class.
const RUN: usize = 16 << 10;

fn hex(id: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(id)
}

/// Bytes of chunks that are in `new` and not in `old`.
fn moved(old: &[Entry], new: &[Entry]) -> u64 {
    let old: BTreeSet<&Entry> = old.iter().collect();
    let new = new.iter().filter(|entry| !entry.is_zeros() && !old.contains(entry));
    new.map(|entry| entry.len().get()).sum()
}

#[test]
fn frozen_vectors_hold() {
    let keys = keys();
    let bytes = [noise(1, 300_000), vec![0; 12 * RUN], noise(2, 70_001)].concat();
    let manifest = manifest_of(&keys, &bytes);
    let lens: Vec<u64> = manifest.entries.iter().map(|entry| entry.len().get()).collect();
    let expected = [
        23_846, 21_817, 20_202, 19_067, 27_298, 31_724, 20_269, 24_235, 19_510, 19_787, 21_094,
        25_390, 25_528, 3_337, 192_512, 24_296, 19_403, 16_612, 10_682,
    ];
    assert_eq!(lens, expected);
    let Some(Entry::Chunk(first)) = manifest.entries.first() else { panic!("a chunk") };
    let ids = [first.id.0, manifest.id(&keys).0, manifest_of(&keys, b"").id(&keys).0];
    let expected = [
        "441f366f770a40c0e5b37f253e9adb77a7a3ecd05c240f27f0b2b798f0eaead2",
        "fcc76b60758ac40cf48bf5e0ace6542beb2733959d191f5c279eb1b491a32ecf",
        "f53714b255ced9d189f4bf0b902903d715340c04089d704923cb557e74c7efee",
    ];
    assert_eq!(ids.each_ref().map(hex), expected);
}

#[test]
fn a_file_below_the_shortest_chunk_is_one_and_an_empty_one_has_none() {
    let keys = keys();
    for len in [1, 2, 16_383] {
        let id = keys.chunk_id(&noise(3, len));
        let len = u32::try_from(len).expect("short");
        assert_eq!(
            manifest_of(&keys, &noise(3, len as usize)).entries,
            [Entry::Chunk(Chunk { id, len })]
        );
    }
    assert_eq!(manifest_of(&keys, b"").entries, []);
}

#[test]
fn a_file_in_memory_has_the_list_of_one_on_disk() {
    let keys = keys();
    let bytes = [noise(1, 300_000), vec![0; 3 * RUN], noise(2, 70_001), vec![0; 5 * RUN]].concat();
    for len in [0, 1, 16_384, 200_000, 300_001, 450_000, bytes.len()] {
        assert_eq!(Manifest::of(&keys, &bytes[..len]), manifest_of(&keys, &bytes[..len]));
    }
}

#[test]
fn folders_share_neither_cuts_nor_names() {
    let bytes = noise(4, 1 << 20);
    let other = ContentKeys::of(&FolderKey([8; 32]));
    let (one, two) = (manifest_of(&keys(), &bytes), manifest_of(&other, &bytes));
    let ends = |manifest: &Manifest| -> BTreeSet<u64> {
        let mut end = 0;
        manifest
            .entries
            .iter()
            .map(|entry| {
                end += entry.len().get();
                end
            })
            .collect()
    };
    assert_eq!(ends(&one).intersection(&ends(&two)).count(), 1, "the end of the file");
    assert_ne!(one.id(&keys()), two.id(&other));
}

#[test]
fn classes_grow_with_the_size_and_at_their_bounds() {
    let class = |size| SizeClass::of(Bytes::new(size)).number();
    for (number, bits) in (0..).zip([29, 30, 31, 32, 33, 35, 37, 39]) {
        let bound = 1_u64 << bits;
        assert_eq!([class(bound - 1), class(bound)], [number, number + 1]);
    }
    assert_eq!([class(0), class(1 << 50)], [0, 8]);
    assert_eq!(SizeClass::from_number(9), None);
    for number in 0..=8 {
        let class = SizeClass::from_number(number).expect("there is");
        let lens = [class.min(), class.average(), class.max()].map(|len| len.get() >> number);
        let min = [16 << 10, 8 << 10, 4 << 10][usize::from(number.min(2))];
        assert_eq!(lens, [min, 16 << 10, 64 << 10], "{number}");
    }
}

#[test]
fn one_byte_inserted_at_the_front_moves_one_chunk_or_two() {
    let keys = keys();
    let old = noise(5, 16 << 20);
    let new = [b"x", &old[..]].concat();
    let moved = moved(&manifest_of(&keys, &old).entries, &manifest_of(&keys, &new).entries);
    assert!(moved <= 100 << 10, "{moved}");
}

#[test]
fn what_is_overwritten_moves_with_little_more() {
    let keys = keys();
    let old = noise(6, 32 << 20);
    let entries = manifest_of(&keys, &old).entries;
    let mut extra = 0;
    for n in 0..8 {
        let (mut new, at) = (old.clone(), (3 << 20) * n + 12_345);
        new[at..at + (1 << 20)].copy_from_slice(&noise(7, 1 << 20));
        extra += moved(&entries, &manifest_of(&keys, &new).entries) - (1 << 20);
    }
    assert!(extra / 8 <= 60 << 10, "{}", extra / 8);
}

#[test]
fn a_longer_file_finds_its_chunks_in_a_shorter_one_cut_in_its_class() {
    let keys = keys();
    let longer = noise(8, 40 << 20);
    let class = SizeClass::from_number(2).expect("there is");
    let new = entries_of(&keys, class, &longer);
    let old = entries_of(&keys, class, &longer[..39 << 20]);
    assert!(moved(&old, &new) <= (1 << 20) + 2 * class.max().get());
}

#[test]
fn long_runs_of_zeros_are_one_entry_and_name_no_chunk_and_short_ones_belong_to_chunks() {
    let keys = keys();
    for len in [RUN, RUN + 1, 5 * RUN, 5 * RUN + 7] {
        let entries = manifest_of(&keys, &vec![0; len]).entries;
        assert_eq!(entries, [Entry::Zeros { len: Bytes::of_len(len) }]);
    }
    for len in [1, BLOCK, RUN - BLOCK, RUN - 1] {
        let entries = manifest_of(&keys, &vec![0; len]).entries;
        assert!(entries.iter().all(|entry| !entry.is_zeros()), "{len}");
    }
}

#[test]
fn data_amid_zeros_costs_little_more_than_itself() {
    let keys = keys();
    let class = SizeClass::LARGEST;
    let mut bytes = vec![0; 64 << 20];
    for at in [10_000_000, 30_000_000] {
        bytes[at..at + 5000].copy_from_slice(&noise(10, 5000));
    }
    let entries = entries_of(&keys, class, &bytes);
    let chunks = entries.iter().filter(|entry| !entry.is_zeros());
    let sum: u64 = chunks.map(|entry| entry.len().get()).sum();
    assert_eq!(entries.len(), 5);
    assert!(sum <= 2 * (5000 + 2 * 4096), "{sum}");
}

#[test]
fn the_cutter_asks_for_some_20_mib_at_most_and_waits_for_all_of_it() {
    let keys = keys();
    let mut cutter = Cutter::new(&keys, Bytes::new(1 << 50));
    assert_eq!(cutter.lookahead(), 20 << 20);
    assert_eq!(cutter.cut(&[1; 1000]), None);
    let short = noise(9, 300_000);
    let mut cutter = Cutter::new(&keys, Bytes::of_len(short.len()));
    assert!(matches!(cutter.cut(&short), Some(Cut::Chunk { .. })));
    assert!(cutter.lookahead() <= 5 * RUN + BLOCK);
}

/// Data and zeros, some of them aligned and some not.
fn patchy() -> impl Strategy<Value = Vec<u8>> {
    let part = (any::<u64>(), 0_usize..4 * RUN, any::<bool>(), any::<bool>());
    proptest::collection::vec(part, 0..8).prop_map(|parts| {
        let mut bytes = Vec::new();
        for (seed, len, is_data, is_aligned) in parts {
            let len = if is_aligned { len.next_multiple_of(BLOCK) } else { len };
            bytes.extend(if is_data { noise(seed, len) } else { vec![0; len] });
        }
        bytes
    })
}

proptest! {
    #![proptest_config(crate::cases::cases(48))]

    #[test]
    fn pieces_keep_their_bounds_and_make_the_file_again(bytes in patchy()) {
        let (class, keys) = (SizeClass::SMALLEST, keys());
        let entries = entries_of(&keys, class, &bytes);
        let mut at = 0;
        for (n, entry) in entries.iter().enumerate() {
            let part = &bytes[at..at + entry.len().as_len()];
            match entry {
                Entry::Zeros { .. } => {
                    prop_assert!(at % BLOCK == 0 && part.iter().all(|byte| *byte == 0));
                    prop_assert!(part.len() >= RUN);
                    prop_assert!(n == 0 || !entries[n - 1].is_zeros());
                    at += part.len();
                    prop_assert!(at % BLOCK == 0 || at == bytes.len());
                }
                Entry::Chunk(chunk) => {
                    prop_assert_eq!(chunk.id, keys.chunk_id(part));
                    prop_assert!(entry.len() <= class.max());
                    at += part.len();
                    let may_be_short = entries.get(n + 1).is_none_or(Entry::is_zeros);
                    prop_assert!(entry.len() >= class.min() || may_be_short);
                }
            }
        }
        prop_assert_eq!(at, bytes.len());
    }

    #[test]
    fn cuts_do_not_depend_on_how_much_is_shown(bytes in patchy(), more in 0_usize..3 * RUN) {
        let (class, keys) = (SizeClass::SMALLEST, keys());
        let mut cutter = Cutter::of_class(&keys, class, Bytes::of_len(bytes.len()));
        let mut entries = Vec::new();
        loop {
            let at = cutter.offset().as_len();
            let end = (at + cutter.lookahead() + more).min(bytes.len());
            let Some(cut) = cutter.cut(&bytes[at..end]) else { break };
            push(&keys, &mut entries, cut, &bytes[at..end]);
        }
        prop_assert_eq!(entries, entries_of(&keys, class, &bytes));
    }

    /// spec: S-033
    #[test]
    fn holes_and_written_zeros_have_the_same_name(
        bytes in patchy(),
        skip in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let keys = keys();
        let mut cutter = Cutter::new(&keys, Bytes::of_len(bytes.len()));
        let mut entries = Vec::new();
        for is_hole in skip.into_iter().cycle() {
            let at = cutter.offset().as_len();
            let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
            let zeros = if is_hole { zeros } else { zeros.min(BLOCK) };
            // As little as tells where the first run of zeros is, if it is near.
            let end = at + cutter.lookahead();
            let mut runs = (at.next_multiple_of(BLOCK)..).step_by(BLOCK).map(|at| at..at + RUN);
            let run = runs.by_ref().take_while(|run| run.end < end).find(|run| bytes[run.clone()].iter().all(|byte| *byte == 0));
            let end = run.filter(|_| is_hole).map_or(end, |run| run.end);
            let cut = match cutter.hole(Bytes::of_len(zeros)) {
                Some(cut) => Some(cut),
                None => cutter.cut(&bytes[at..end]),
            };
            let Some(cut) = cut else { break };
            push(&keys, &mut entries, cut, &bytes[at..]);
        }
        prop_assert_eq!(entries, manifest_of(&keys, &bytes).entries);
    }

    /// spec: S-033
    #[test]
    fn of_a_hole_nothing_has_to_be_shown(bytes in patchy()) {
        let keys = keys();
        let mut cutter = Cutter::new(&keys, Bytes::of_len(bytes.len()));
        let mut entries = Vec::new();
        let zeros_from = |at: usize| bytes[at..].iter().take_while(|byte| **byte == 0).count();
        while cutter.lookahead() > 0 {
            let at = cutter.offset().as_len();
            let end = at + cutter.lookahead();
            let mut blocks = (at.next_multiple_of(BLOCK)..end).step_by(BLOCK);
            let hole = blocks.find(|at| zeros_from(*at) >= RUN).filter(|hole| *hole > at);
            let cut = cutter.hole(Bytes::of_len(zeros_from(at)));
            let cut = cut.or_else(|| {
                let hole = hole?;
                cutter.cut_before_hole(&bytes[at..hole], Bytes::of_len(zeros_from(hole)))
            });
            let cut = cut.or_else(|| cutter.cut(&bytes[at..end])).expect("all is shown");
            push(&keys, &mut entries, cut, &bytes[at..]);
        }
        prop_assert_eq!(entries, manifest_of(&keys, &bytes).entries);
    }
}
