//! Records survive their encoding, and no other bytes are taken for one.

use super::*;
use crate::version::{
    Acl, Attrs, Author, Content, Context, Dot, Incarnation, LinkGroup, ManifestId, Meta, Serial,
    Stamp, Unsaid, Who,
};
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
    let link = option::of(any::<[u8; 16]>().prop_map(LinkGroup));
    let some = (0_u32..=0o1777, mtime, name(), name(), attrs(), link);
    some.prop_map(|(mode, (secs, nanos), owner, group, attrs, link)| Meta {
        mode: mode & 0o1777,
        mtime: FileTime { secs, nanos },
        owner,
        group,
        attrs: attrs.boxed(),
        link,
    })
}

fn attrs() -> impl Strategy<Value = Attrs> {
    let acl = || {
        option::of((vec("[a-z]{1,9}", 0..4), 0_u8..8).prop_map(|(names, perms)| acl(&names, perms)))
    };
    let xattrs =
        proptest::collection::btree_map("user[.][a-z]{1,9}", vec(any::<u8>(), 0..20), 0..4);
    (acl(), acl(), xattrs, 0_u8..8).prop_map(|(access, default, xattrs, bits)| {
        let own = |(name, value): (String, Vec<u8>)| (name.into_bytes().into(), value.into());
        let unsaid = Unsaid::from_bits(bits).expect("bits");
        Attrs {
            access: access.filter(|_| !unsaid.access),
            default: default.filter(|_| !unsaid.default),
            xattrs: xattrs.into_iter().map(own).filter(|_| !unsaid.xattrs).collect(),
            unsaid,
        }
    })
}

fn acl(names: &[String], perms: u8) -> Acl {
    let names: std::collections::BTreeSet<&String> = names.iter().collect();
    let mut entries: Vec<(Who, u8)> =
        [Who::Owner, Who::OwningGroup, Who::Other, Who::Mask].map(|who| (who, perms)).to_vec();
    for name in names {
        let name: Box<[u8]> = name.as_bytes().into();
        entries.extend([(Who::User(name.clone()), perms), (Who::Group(name), 7)]);
    }
    Acl::new(entries).expect("a list")
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
            if !matches!(content, Content::File { .. }) {
                meta.link = None;
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
fn names_of_one_file_say_their_group_and_nothing_else_does() {
    let mut record = plain();
    let manifest = ManifestId([4; 32]);
    record.version.content = Content::File { manifest, size: Bytes::new(1) };
    let fields = |record: &Record| Decoder::new(&record.encode()).map().expect("a map");
    let before = fields(&record);
    assert_eq!(Record::decode(&record.encode()).expect("taken").version.meta.link, None);
    record.version.meta.link = Some(LinkGroup([5; 16]));
    assert_eq!(
        fields(&record),
        before.map(|fields| fields + 1),
        "and no field where there is none"
    );
    assert_eq!(Record::decode(&record.encode()).expect("taken"), record);
    for kind in [Content::Gone, Content::Dir, Content::Symlink { target: (*b"a").into() }] {
        record.version.content = kind;
        assert_eq!(refusal(&record.encode()), "the record's link group is out of range");
    }
    for len in [0, 15, 17] {
        let bytes = with_field(18, |encoder| {
            encoder.bytes(&vec![1; len]).expect("memory");
        });
        assert_eq!(refusal(&bytes), "the record's link group is out of range");
    }
}

#[test]
fn lists_and_attributes_that_break_a_rule_are_refused() {
    // Nobody in it; somebody twice; others missing; a name where there is none; out of order.
    let lists: [&[(u8, Option<&str>)]; 5] = [
        &[],
        &[(0, None), (0, None), (2, None), (5, None)],
        &[(0, None), (2, None)],
        &[(0, Some("ann")), (2, None), (5, None)],
        &[(2, None), (0, None), (5, None)],
    ];
    for list in lists {
        for field in [15, 16] {
            let refused = refusal(&with_field(field, |encoder| {
                encoder.array(list.len() as u64).expect("memory");
                for (who, name) in list {
                    encoder.array(3).expect("memory").u8(*who).expect("memory");
                    encoder.u8(4).expect("memory");
                    match name {
                        Some(name) => encoder.bytes(name.as_bytes()).expect("memory"),
                        None => encoder.null().expect("memory"),
                    };
                }
            }));
            assert_eq!(refused, "the record's access control list is out of range", "{list:?}");
        }
    }
    let long = vec![0; crate::limits::XATTR_BYTES_MAX];
    let xattrs: [&[(&[u8], &[u8])]; 5] = [
        &[],
        &[(b"user.b", b"1"), (b"user.a", b"2")],
        &[(b"user.a", b"1"), (b"user.a", b"2")],
        &[(b"user.\0", b"1")],
        &[(b"user.a", &long)],
    ];
    for some in xattrs {
        let refused = refusal(&with_field(17, |encoder| {
            encoder.array(some.len() as u64).expect("memory");
            for (name, value) in some {
                encoder.array(2).expect("memory").bytes(name).expect("memory");
                encoder.bytes(value).expect("memory");
            }
        }));
        assert_eq!(refused, "the record's extended attributes is out of range");
    }
}

#[test]
fn the_largest_record_fits() {
    let mut record = plain();
    record.path =
        RelPath::parse(&[&[b'a'; 254][..], b"/"].concat().repeat(16)[..4079]).expect("long");
    let target = vec![b'a'; crate::limits::SYMLINK_TARGET_MAX];
    record.version.content = Content::Symlink { target: target.into() };
    for n in 0..crate::limits::CONTEXT_RUNS_MAX as u64 {
        let mut site = [0xff; 32];
        site[..8].copy_from_slice(&n.to_be_bytes());
        let author = Author { site: SiteId(site), incarnation: Incarnation::new(u64::MAX) };
        record.version.context.insert_run(author, u64::MAX - 5, u64::MAX - 3);
    }
    let names: Vec<String> = (10..24).map(|n| format!("{n}").repeat(127)).collect();
    let mut attrs = Attrs { access: Some(acl(&names, 7)), ..Attrs::default() };
    attrs.default = attrs.access.clone();
    let len = crate::limits::XATTR_BYTES_MAX / crate::limits::XATTRS_MAX - 8;
    for n in 0..crate::limits::XATTRS_MAX {
        attrs.xattrs.insert(format!("user.{n:03}").into_bytes().into(), vec![0; len].into());
    }
    assert!(attrs.fits());
    let name: Box<[u8]> = vec![b'n'; 255].into();
    (record.version.meta.owner, record.version.meta.group) = (Some(name.clone()), Some(name));
    record.version.meta.attrs = attrs.boxed();
    let bytes = record.encode();
    assert!(bytes.len() < RECORD_MAX, "{} bytes", bytes.len());
    assert_eq!(Record::decode(&bytes).expect("taken"), record);
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
    assert_eq!(number(19, 0), "the record's list of what is unsaid is out of range");
    assert_eq!(number(19, 8), "the record's list of what is unsaid is out of range");
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
