//! Every message survives its encoding, and nothing that comes over the wire makes a reader panic.

use super::*;
use crate::reconcile::Range;
use crate::record::Record;
use crate::seal::Statement;
use crate::seal::{Hash, leaf, prove, root};
use crate::swarm::words::{Given, NAMED_MAX, Named};
use crate::swarm::{Fault, RUNS_MAX, Run};
use crate::version::{Author, Content, Context, Dot, Meta, Serial, Stamp, Version};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use proptest::prelude::*;

const FOLDER: FolderKey = FolderKey([3; 32]);

fn name() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn ranges() -> impl Strategy<Value = Vec<ByteRange>> {
    proptest::collection::vec((0_u64..9, 1_u64..9), 1..5).prop_map(|gaps| {
        let mut end = 0;
        let range = |(gap, len)| {
            let offset = end + gap;
            end = offset + len;
            ByteRange { offset, len }
        };
        gaps.into_iter().map(range).collect()
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let manifest = || name().prop_map(ManifestId);
    prop_oneof![
        name().prop_map(|page| Wanted::Page { page: PageId(page) }),
        manifest().prop_map(|manifest| Wanted::Whole { manifest }),
        (manifest(), ranges()).prop_map(|(manifest, ranges)| Wanted::Ranges { manifest, ranges }),
    ]
}

fn piece() -> impl Strategy<Value = Wanted> {
    (name(), any::<u32>(), ranges()).prop_map(|(manifest, piece, ranges)| Wanted::Piece {
        manifest: ManifestId(manifest),
        piece,
        ranges,
    })
}

fn word() -> impl Strategy<Value = Word> {
    let run = any::<(u32, u32)>().prop_map(|(first, len)| Run { first, len });
    let runs = proptest::collection::vec(run, 0..9);
    let site = || name().prop_map(SiteId);
    let given = (site(), any::<u64>()).prop_map(|(site, bytes)| Given { site, bytes });
    let named = || proptest::collection::vec(site().prop_map(Named), 0..4);
    let fault = prop_oneof![Just(Fault::BadBytes), Just(Fault::Nonsense), Just(Fault::Silent)];
    prop_oneof![
        runs.clone().prop_map(|runs| Word::Hello { runs }),
        runs.clone().prop_map(|runs| Word::Have { runs }),
        (runs, proptest::collection::vec(given, 0..4))
            .prop_map(|(runs, given)| Word::Report { runs, given }),
        (named(), named()).prop_map(|(neighbours, aside)| Word::Plan { neighbours, aside }),
        (site(), fault).prop_map(|(site, fault)| Word::Blame { site, fault }),
        Just(Word::Left),
    ]
}

fn shared() -> impl Strategy<Value = Shared> {
    let followed = proptest::option::of(any::<(u64, u64)>());
    (name(), any::<u64>(), any::<u64>(), followed).prop_map(|(folder, epoch, head, followed)| {
        let followed = followed.map(|(epoch, up_to)| Followed { epoch, up_to });
        Shared { folder: FolderKey(folder), epoch, head, followed }
    })
}

fn carrier() -> impl Strategy<Value = Carrier> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..99).prop_map(Carrier::Inline),
        (1..=RECORDS_MAX as u64).prop_map(|len| Carrier::Object { len }),
    ]
}

/// Parts about buckets, apart from each other.
fn turn() -> impl Strategy<Value = Turn> {
    let ids = || proptest::collection::btree_set(any::<u64>(), 1..9);
    let part = (any::<u16>(), 0..3_u8, ids()).prop_map(|(bucket, kind, ids)| {
        let range = Range::bucket(bucket);
        let mut ids: Vec<u64> = ids.into_iter().collect();
        match kind {
            0 => {
                ids.resize(16, 0);
                Part::Split { range, prints: ids }
            }
            1 => Part::List { range, ids },
            _ => Part::Want { range, ids },
        }
    });
    let parts = proptest::collection::vec(part, 0..9);
    (1..=u32::MAX, any::<bool>(), parts).prop_map(|(number, is_last, mut parts)| {
        parts.sort_by_key(|part| part.range().bounds().0);
        parts.dedup_by_key(|part| part.range().bounds().0);
        Turn { number, is_last, parts }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let folder = || name().prop_map(FolderKey);
    let lens = proptest::collection::vec(proptest::option::of(0_u64..1 << 50), 0..9);
    prop_oneof![
        proptest::collection::vec(shared(), 0..4).prop_map(|mut folders| {
            folders.dedup_by_key(|shared| shared.folder);
            Message::Share { folders }
        }),
        (folder(), any::<u64>(), 0_u64..99, 1_u64..99, carrier()).prop_map(
            |(folder, epoch, after, more, carrier)| {
                Message::Records { folder, epoch, after, to: after + more, carrier }
            }
        ),
        (folder(), any::<(u64, u64)>()).prop_map(|(folder, (epoch, up_to))| Message::Stored {
            folder,
            epoch,
            up_to
        }),
        (any::<u64>(), folder(), proptest::collection::vec(wanted(), 1..5))
            .prop_map(|(id, folder, wanted)| Message::Ask { id, folder, wanted }),
        (any::<u64>(), lens).prop_map(|(id, lens)| Message::Give { id, lens }),
        (any::<u32>(), any::<bool>(), "[a-z ]{0,40}").prop_map(|(n, is_yours, reason)| {
            Message::Failed { object: ObjectId::new(n), is_yours, reason }
        }),
        any::<u32>().prop_map(|n| Message::Restart { block: BlockIndex::new(n) }),
        (folder(), name(), any::<bool>(), turn()).prop_map(|(folder, salt, is_answer, turn)| {
            Message::Compare { folder, salt, is_answer, turn }
        }),
        (folder(), name()).prop_map(|(folder, salt)| Message::Incomparable { folder, salt }),
        (any::<u64>(), folder(), piece()).prop_map(|(id, folder, piece)| Message::Ask {
            id,
            folder,
            wanted: vec![piece]
        }),
        (folder(), name(), word()).prop_map(|(folder, manifest, word)| Message::Swarm {
            folder,
            manifest: ManifestId(manifest),
            word: word.into()
        }),
    ]
}

fn author() -> Author {
    Author { site: SiteId([1; 32]), incarnation: Incarnation::new(5) }
}

fn record(serial: u64) -> Record {
    let dot = Dot { author: author(), serial: Serial::new(serial).expect("from 1") };
    let stamp = Stamp { millis: serial, count: 0 };
    let (context, content, meta) = (Context::new(), Content::Dir, Meta::default());
    let path = RelPath::parse(format!("dir {serial}").as_bytes()).expect("a path");
    Record { path, version: Version { dot, context, stamp, content, meta } }
}

/// A run of `count` records with head `head`, of which `kept` are passed on.
fn run(count: u64, head: u64, kept: &[u16]) -> SealedRun {
    let records: Vec<Vec<u8>> = (1..=count).map(|serial| record(serial).encode()).collect();
    let leaves: Vec<Hash> = records.iter().map(|bytes| leaf(bytes)).collect();
    let statement = Statement {
        folder: FOLDER,
        author: author(),
        head: Serial::new(head).expect("from 1"),
        count: u16::try_from(count).expect("few"),
        root: root(&leaves).expect("a run"),
    };
    let proof = if kept.is_empty() {
        crate::seal::Proof::default()
    } else {
        prove(&leaves, kept).expect("kept")
    };
    let kept = kept.iter().map(|&n| (n, records[usize::from(n)].clone()));
    SealedRun { key: [8; 32], statement, signature: [9; 64], records: kept.collect(), proof }
}

#[test]
fn ranges_that_overlap_or_end_beyond_all_numbers_are_refused() {
    let refused = |ranges: &[(u64, u64)]| {
        let ranges = ranges.iter().map(|&(offset, len)| ByteRange { offset, len }).collect();
        let wanted = vec![Wanted::Ranges { manifest: ManifestId([0; 32]), ranges }];
        let bytes = minicbor::to_vec(Message::Ask { id: 1, folder: FOLDER, wanted });
        Message::decode(&bytes.expect("in memory")).is_err()
    };
    assert!(refused(&[]));
    assert!(refused(&[(0, 0)]));
    assert!(refused(&[(0, 2), (1, 1)]));
    assert!(refused(&[(u64::MAX, 1)]));
    assert!(!refused(&[(0, 2), (2, 1)]));
}

/// spec: S-223
#[test]
fn a_word_of_a_swarm_that_says_more_than_one_may_hold_is_refused() {
    let is_read = |word: Word| {
        let said =
            Message::Swarm { folder: FOLDER, manifest: ManifestId([1; 32]), word: word.into() };
        Message::decode(&minicbor::to_vec(said).expect("in memory")).is_ok()
    };
    let runs = |count| vec![Run::one(7); count];
    let named = |count| vec![Named(SiteId([7; 32])); count];
    for (count, is_fine) in [(0, true), (RUNS_MAX, true), (RUNS_MAX + 1, false)] {
        assert_eq!(is_read(Word::Hello { runs: runs(count) }), is_fine);
        assert_eq!(is_read(Word::Have { runs: runs(count) }), is_fine);
        assert_eq!(is_read(Word::Report { runs: runs(count), given: Vec::new() }), is_fine);
    }
    for (count, is_fine) in [(NAMED_MAX, true), (NAMED_MAX + 1, false)] {
        let given = vec![Given { site: SiteId([7; 32]), bytes: 1 }; count];
        assert_eq!(is_read(Word::Report { runs: Vec::new(), given }), is_fine);
        assert_eq!(is_read(Word::Plan { neighbours: named(count), aside: Vec::new() }), is_fine);
        assert_eq!(is_read(Word::Plan { neighbours: Vec::new(), aside: named(count) }), is_fine);
    }
}

/// spec: S-223
#[test]
fn a_piece_is_asked_for_alone_and_by_ranges_that_are_in_order() {
    let is_read = |wanted: Vec<Wanted>| {
        let said = Message::Ask { id: 1, folder: FOLDER, wanted };
        Message::decode(&minicbor::to_vec(said).expect("in memory")).is_ok()
    };
    let piece = |ranges: &[(u64, u64)]| Wanted::Piece {
        manifest: ManifestId([1; 32]),
        piece: 3,
        ranges: ranges.iter().map(|&(offset, len)| ByteRange { offset, len }).collect(),
    };
    assert!(is_read(vec![piece(&[(0, 5), (9, 1)])]));
    assert!(!is_read(vec![piece(&[(0, 5), (4, 1)])]));
    assert!(!is_read(vec![piece(&[])]));
    assert!(!is_read(vec![piece(&[(0, 5)]), piece(&[(5, 1)])]));
    assert!(!is_read(vec![piece(&[(0, 5)]), Wanted::Whole { manifest: ManifestId([1; 32]) }]));
}

#[test]
fn a_question_for_more_pages_or_ranges_than_one_may_hold_is_refused() {
    let page = Wanted::Page { page: PageId([7; 32]) };
    let ranges = vec![ByteRange { offset: 0, len: 1 }];
    let ranged = Wanted::Ranges { manifest: ManifestId([0; 32]), ranges };
    for (one, max) in [(page, PAGES_MAX), (ranged, RANGED_MAX)] {
        let asked = |count| {
            let wanted = vec![one.clone(); count];
            let bytes = minicbor::to_vec(Message::Ask { id: 1, folder: FOLDER, wanted });
            Message::decode(&bytes.expect("in memory"))
        };
        assert!(asked(max).is_ok());
        assert!(asked(max + 1).is_err());
    }
}

#[test]
fn a_folder_named_twice_is_refused() {
    let shared = Shared { folder: FOLDER, epoch: 1, head: 2, followed: None };
    let bytes = minicbor::to_vec(Message::Share { folders: vec![shared.clone(), shared] });
    assert!(Message::decode(&bytes.expect("in memory")).is_err());
}

#[test]
fn parts_of_a_comparison_that_overlap_or_that_nobody_can_mean_are_refused() {
    let refused = |parts: &[(u8, u64, u8, usize)]| {
        let part = |&(bits, at, kind, words): &(u8, u64, u8, usize)| {
            let words: Vec<u8> = (0..words as u64).flat_map(u64::to_be_bytes).collect();
            (kind, (bits, at), minicbor::bytes::ByteVec::from(words))
        };
        let parts: Vec<_> = parts.iter().map(part).collect();
        let salt = minicbor::bytes::ByteArray::from([9; 32]);
        let bytes = minicbor::to_vec((16, salt, salt, false, (1, false, parts)));
        Message::decode(&bytes.expect("in memory")).is_err()
    };
    assert!(!refused(&[(8, 1, 0, 16), (8, 2, 1, 3), (12, 0x30, 2, 1)]));
    assert!(refused(&[(8, 1, 1, 3), (8, 1, 1, 3)]), "twice");
    assert!(refused(&[(8, 2, 1, 3), (8, 1, 1, 3)]), "descending");
    assert!(refused(&[(8, 1, 1, 3), (12, 0x1f, 1, 3)]), "one within another");
    assert!(refused(&[(8, 0x100, 1, 3)]), "beyond its bits");
    assert!(refused(&[(7, 1, 1, 3)]) && refused(&[(68, 1, 1, 3)]), "no such depth");
    assert!(refused(&[(8, 1, 0, 15)]) && refused(&[(64, 1, 0, 16)]), "no such division");
    assert!(refused(&[(12, 1, 0, 256)]), "children that are parts of buckets");
    assert!(refused(&[(8, 1, 1, 257)]) && refused(&[(8, 1, 2, 0)]), "too many or none");
    assert!(refused(&vec![(16, 0, 1, 0); 1025]));
}

#[test]
fn a_part_of_a_run_opens_to_what_was_signed() {
    let opened = run(5, 9, &[1, 4]).open().expect("sealed so");
    assert_eq!(opened, [record(2), record(5)]);
}

#[test]
fn a_record_beyond_the_numbers_that_its_author_gave_is_refused() {
    assert!(matches!(run(5, 4, &[0, 4]).open(), Err(RecordsError::Author)));
}

#[test]
fn a_changed_record_is_refused() {
    let mut forged = run(5, 9, &[1, 4]);
    forged.records[0].1 = record(3).encode();
    assert!(matches!(forged.open(), Err(RecordsError::Root)));
}

#[test]
fn a_word_without_records_opens_to_nothing() {
    assert_eq!(run(5, 9, &[]).open().expect("no records").len(), 0);
}

#[test]
fn records_survive_their_encoding() {
    let records = Records { runs: vec![run(5, 9, &[]), run(7, 7, &[0, 6]), run(1, 1, &[0])] };
    assert_eq!(Records::decode(&records.encode(), FOLDER).expect("our own"), records);
}

proptest! {
    #[test]
    fn a_message_survives_its_encoding(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()).expect("our own"), message);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
        let _ = Records::decode(&bytes, FOLDER);
    }

    #[test]
    fn a_damaged_message_makes_no_reader_panic(
        message in message(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn damaged_records_never_open_to_others(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let whole = Records { runs: vec![run(3, 3, &[0, 2])] };
        let mut bytes = whole.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(records) = Records::decode(&bytes, FOLDER) {
            for run in records.runs {
                // The root is signed: only what has it can come through the verification.
                if run.statement == whole.runs[0].statement && !run.records.is_empty() {
                    let opened = run.open();
                    prop_assert!(opened.is_err() || opened.expect("ok") == [record(1), record(3)]);
                }
            }
        }
    }
}
