//! Records survive their encoding, and no other bytes are taken for one.

use super::*;
use crate::version::{Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{Bytes, FileTime};
use minicbor::Encoder;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn author() -> impl Strategy<Value = Author> {
    (any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(site, life)| Author { site: SiteId(site), incarnation: Incarnation::new(life) })
}

fn dot() -> impl Strategy<Value = Dot> {
    (author(), 1_u64..)
        .prop_map(|(author, n)| Dot { author, serial: Serial::new(n).expect("not 0") })
}

fn context() -> impl Strategy<Value = Context> {
    let runs = vec((1_u64..1 << 40, 0_u64..1 << 20), 1..5);
    vec((author(), runs), 0..6).prop_map(|seen| {
        let mut context = Context::new();
        for (author, runs) in seen {
            runs.iter().for_each(|&(first, more)| context.insert_run(author, first, first + more));
        }
        context
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Gone),
        Just(Content::Dir),
        vec(1_u8.., 1..64).prop_map(|target| Content::Symlink { target: target.into() }),
        (any::<[u8; 32]>(), 0_u64..=1 << 50)
            .prop_map(|(id, n)| Content::File { manifest: ManifestId(id), size: Bytes::new(n) }),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let name = || option::of("[a-zäöü$ -]{1,40}".prop_map(|name| name.into_bytes().into()));
    let mtime = (any::<i64>(), 0_u32..1_000_000_000);
    (0_u32..=0o1777, mtime, name(), name()).prop_map(|(mode, (secs, nanos), owner, group)| Meta {
        mode: mode & 0o1777,
        mtime: FileTime { secs, nanos },
        owner,
        group,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let path =
        "[a-z/.]{1,30}".prop_filter_map("no path", |text| RelPath::parse(text.as_bytes()).ok());
    let stamp = any::<(u64, u32)>().prop_map(|(millis, count)| Stamp { millis, count });
    (path, dot(), context(), stamp, content(), meta())
        .prop_filter("knows itself", |(_, dot, context, ..)| {
            let own = context.authors().find(|(author, _)| **author == dot.author);
            own.and_then(|(_, runs)| runs.max()).is_none_or(|last| last < dot.serial.get())
        })
        .prop_map(|(path, dot, context, stamp, content, mut meta)| {
            if content == Content::Dir {
                meta.mtime = FileTime::default();
            }
            Record { path, version: Version { dot, context, stamp, content, meta } }
        })
}

fn plain() -> Record {
    let author = Author { site: SiteId([7; 32]), incarnation: Incarnation::new(1) };
    let dot = Dot { author, serial: Serial::FIRST };
    let stamp = Stamp { millis: 1, count: 0 };
    let (context, content, meta) = (Context::new(), Content::Dir, Meta::default());
    let version = Version { dot, context, stamp, content, meta };
    Record { path: RelPath::parse(b"a").expect("valid"), version }
}

/// The plain record with its field `number` replaced by what `write` writes.
fn with_field(number: u8, write: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let bytes = plain().encode();
    let mut decoder = Decoder::new(&bytes);
    let fields = decoder.map().expect("a map").expect("definite");
    let mut changed = Vec::new();
    let mut encoder = Encoder::new(&mut changed);
    let mut others = Vec::new();
    for _ in 0..fields {
        let at = decoder.position();
        let found = decoder.u8().expect("a number");
        decoder.skip().expect("a value");
        if found != number {
            others.push(&bytes[at..decoder.position()]);
        }
    }
    encoder.map(others.len() as u64 + 1).expect("memory").u8(number).expect("memory");
    write(&mut encoder);
    others.iter().for_each(|field| changed.extend_from_slice(field));
    changed
}

fn refusal(bytes: &[u8]) -> String {
    Record::decode(bytes).expect_err("refused").to_string()
}

#[test]
fn a_field_that_nobody_knows_yet_is_left_alone() {
    let bytes = with_field(99, |encoder| {
        encoder.str("from the future").expect("memory");
    });
    assert_eq!(Record::decode(&bytes).expect("taken"), plain());
}

#[test]
fn fields_out_of_range_are_named() {
    let number = |field, value: u64| {
        refusal(&with_field(field, |encoder| {
            encoder.u64(value).expect("memory");
        }))
    };
    assert_eq!(number(2, 0), "the record's serial number is out of range");
    assert_eq!(number(6, 2), "the record's content is out of range");
    assert_eq!(number(6, 9), "the record is of no known kind (9)");
    assert_eq!(number(9, 1), "the record's content is out of range");
    assert_eq!(number(10, 0o4755), "the record's mode is out of range");
    assert_eq!(number(12, 1_000_000_000), "the record's time is out of range");
    let path = with_field(0, |encoder| {
        encoder.bytes(b"../etc/passwd").expect("memory");
    });
    assert_eq!(refusal(&path), "the record's path is refused");
    let owner = with_field(13, |encoder| {
        encoder.bytes(b"root:x").expect("memory");
    });
    assert_eq!(refusal(&owner), "the record's owner or group is out of range");
}

#[test]
fn a_context_out_of_order_or_with_the_version_itself_is_refused() {
    let context = |authors: &[(u8, &[u64])]| {
        let bytes = with_field(3, |encoder| {
            encoder.array(authors.len() as u64).expect("memory");
            for (site, runs) in authors {
                encoder.array(2).expect("memory").array(2).expect("memory");
                encoder.bytes(&[*site; 32]).expect("memory").u64(1).expect("memory");
                encoder.array(runs.len() as u64).expect("memory");
                runs.iter().for_each(|&n| _ = encoder.u64(n).expect("memory"));
            }
        });
        Record::decode(&bytes)
    };
    assert!(context(&[(6, &[1, 3, 5, 9]), (8, &[2, 2])]).is_ok());
    let wrong: [&[(u8, &[u64])]; 8] = [
        &[(8, &[1, 1]), (6, &[1, 1])],
        &[(6, &[1, 1]), (6, &[3, 3])],
        &[(6, &[])],
        &[(6, &[1])],
        &[(6, &[0, 1])],
        &[(6, &[1, 3, 4, 5])],
        &[(6, &[3, 2])],
        &[(7, &[1, 1])],
    ];
    for authors in wrong {
        assert!(context(authors).is_err(), "{authors:?}");
    }
}

#[test]
fn a_context_of_too_many_runs_is_refused() {
    let mut record = plain();
    let other = Author { site: SiteId([9; 32]), incarnation: Incarnation::new(1) };
    for n in 1..=crate::limits::CONTEXT_RUNS_MAX as u64 {
        record.version.context.insert_run(other, 2 * n, 2 * n);
    }
    assert_eq!(Record::decode(&record.encode()).expect("within limits"), record);
    record.version.context.insert_run(other, 1 << 30, 1 << 30);
    assert_eq!(refusal(&record.encode()), "the record's context is out of range");
}

#[test]
fn a_list_that_claims_to_be_endless_costs_nothing() {
    let bytes = with_field(3, |encoder| {
        encoder.array(u64::MAX).expect("memory");
    });
    assert_eq!(refusal(&bytes), "malformed record");
}

proptest! {
    #[test]
    fn a_record_survives_its_encoding(record in record()) {
        let bytes = record.encode();
        prop_assert_eq!(Record::decode(&bytes).expect("own record"), record);
    }

    #[test]
    fn a_cut_or_lengthened_record_is_refused(record in record(), cut in any::<prop::sample::Index>()) {
        let mut bytes = record.encode();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn what_is_taken_is_what_its_own_encoding_says(record in record(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&record.encode()).expect("own record"), record);
        }
    }
}
