//! Rows of an index with any payload behind a right hash, as a program with a mistake would leave them.

use super::chunks::Home;
use super::codec::{CHECK_LEN, Reader, Table, Writer};
use super::item::{ItemRow, Kind, Shows};
use super::key::{Key, path_of};
use super::run::{read_statement, write_statement};
use super::{
    Kept, Loose, Run, RunId, Seq, Signature, StoredVersion, aside, copies, intent, kept, shortfall,
};
use crate::store::{Action, Intent, Shortfall};
use core::fmt::Debug;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::folder::{Aside, FileIdentity, Found, Look, Placed, Why};
use farhaul_sync::message::SealedRun;
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Proof, Statement, leaf, root};
use farhaul_sync::version::{
    Acl, Attrs, Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp,
    Version, Who,
};

const FOLDER: FolderKey = FolderKey([3; 32]);
/// Under which a row stands, in tables whose keys are paths, numbers, names and dots.
const KEY: &[u8] = b"a\0b";
const ID: i64 = 7;
const NAME: &str = "name";
const DOT_KEY: [u8; 48] = [5; 48];

/// A row that is read is written as it was read, and with a byte changed it is none. The first byte of
/// the input says of which table, the others are what stands behind the hash.
pub(crate) fn rows(input: &[u8]) {
    let Some((&kind, payload)) = input.split_first() else { return };
    match kind % 12 {
        0 => same(Table::Items, KEY, payload, item, |row| row.encode(KEY)),
        1 => {
            let decode = |value: &[u8]| intent::decode(ID, value);
            same(Table::Intents, &ID.to_be_bytes(), payload, decode, |i| intent::encode(ID, i));
        }
        2 => {
            let decode = |value: &[u8]| Loose::decode(NAME, value);
            same(Table::Loose, NAME.as_bytes(), payload, decode, Loose::encode);
        }
        3 => {
            let decode = |value: &[u8]| aside::read_look(KEY, value).ok();
            same(Table::Looks, KEY, payload, decode, |look| aside::write_look(look, KEY));
        }
        4 => {
            let decode = |value: &[u8]| StoredVersion::decode(Seq(9), value).ok();
            same(Table::Versions, &9_u64.to_be_bytes(), payload, decode, StoredVersion::encode);
        }
        5 => run(payload),
        6 => {
            let key = kept::sealed_key(KEY, NAME);
            let decode = |value: &[u8]| kept::decode(KEY, NAME.to_owned(), value).ok();
            same(Table::Kept, &key, payload, decode, Kept::encode);
        }
        7 => {
            let decode = |value: &[u8]| copies::decode(KEY, value).ok();
            same(Table::Copies, KEY, payload, decode, |copy| copies::encode(copy, KEY));
        }
        8 => plain(payload, shortfall::read, shortfall::write),
        9 => plain(
            payload,
            |reader| read_statement(reader, FOLDER),
            |writer, (statement, signature)| write_statement(writer, statement, signature),
        ),
        10 => {
            let decode = |value: &[u8]| aside::read_aside(&DOT_KEY, value, FOLDER).ok();
            same(Table::Asides, &DOT_KEY, payload, decode, |a| aside::write_aside(a, &DOT_KEY));
        }
        _ => {
            if let Ok(path) = path_of(payload) {
                assert_eq!(Key::of(&path).as_bytes(), payload);
            }
            if let Ok(home) = Home::decode(payload) {
                assert_eq!(home.encode(), payload);
            }
        }
    }
}

fn item(value: &[u8]) -> Option<ItemRow> {
    ItemRow::decode(KEY, value).ok()
}

fn same<T: Debug + PartialEq>(
    table: Table,
    key: &[u8],
    payload: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let mut writer = Writer::new();
    writer.raw(payload);
    let mut value = writer.seal(table, key);
    let Some(read) = decode(&value) else { return };
    assert_eq!(decode(&encode(&read)).as_ref(), Some(&read));
    let last = value.len() - 1;
    value[last] ^= 1;
    assert_eq!(decode(&value), None);
}

/// A part of a row, which has no hash of its own.
fn plain<T: Debug + PartialEq>(
    payload: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Option<T>,
    write: impl Fn(&mut Writer, &T),
) {
    let Some(part) = read(&mut Reader::new(payload)) else { return };
    let mut writer = Writer::new();
    write(&mut writer, &part);
    let value = writer.seal(Table::Meta, b"");
    assert_eq!(read(&mut Reader::new(&value[CHECK_LEN..])), Some(part));
}

/// One that hangs together is written as it was read; the root is made to fit.
fn run(payload: &[u8]) {
    let mut writer = Writer::new();
    writer.raw(payload);
    let value = writer.seal(Table::Runs, &ID.to_be_bytes());
    let Ok(mut run) = Run::decode(RunId(ID), &value, FOLDER) else { return };
    let Statement { count, .. } = run.statement;
    let Ok(root) = farhaul_sync::seal::root_of_part(count, &run.leaves, &run.proof) else {
        assert!(run.encode(RunId(ID)).is_err());
        return;
    };
    run.statement.root = root;
    let encoded = run.encode(RunId(ID)).expect("it hangs together");
    assert_eq!(Run::decode(RunId(ID), &encoded, FOLDER).expect("as written"), run);
}

/// Rows of each table, as they are written.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let path = RelPath::parse(b"a/b").expect("a path");
    let (file, link) = (version(&file()), version(&Content::Symlink { target: (*b"c").into() }));
    let placed = Placed { version: file.clone(), meta: file.meta.clone(), identity: IDENTITY };
    let row = |shows| ItemRow::of(&placed, shows).expect("a file stands there").encode(KEY);
    let staged = Action::Put { staged: NAME.to_owned(), inode: 4 };
    let to = RelPath::parse(b"a/c").expect("a path");
    let intent = |action, old: bool, new: bool| {
        let (old, new) = (old.then(|| placed.clone()), new.then(|| link.clone()));
        let kept = NAME.to_owned();
        intent::encode(ID, &Intent { path: path.clone(), action, old, new, kept })
    };
    let found =
        Found { content: file.content.clone(), meta: file.meta.clone(), identity: IDENTITY };
    let look = |found| aside::write_look(&Look { found, wall_millis: 5, why: Why::Listening }, KEY);
    let (shortfall, with_mode) = (lacking(None), lacking(Some(0o640)));
    let loose = Loose {
        name: NAME.to_owned(),
        path: path.clone(),
        over: Some(file.clone()),
        said: Some(IDENTITY),
        shortfall: Some(shortfall),
        at_secs: 6,
    };
    let bytes = Record { path: path.clone(), version: file.clone() }.encode();
    let stored =
        StoredVersion { seq: Seq(9), bytes: bytes.clone(), run: RunId(1), position: 0 }.encode();
    let kind = Kind::File;
    let kept = Kept {
        path: path.clone(),
        name: NAME.to_owned(),
        version: Some(file),
        kind,
        size: 3,
        at_secs: 8,
    };
    let aside = aside(bytes.clone());
    let copy = farhaul_sync::folder::CopyOf { origin: to.clone(), dot: aside.dot };
    let statement = aside.run.statement.clone();
    let leaves = vec![(0, leaf(&bytes))];
    let signature = Signature(aside.run.signature);
    let run = Run { statement: statement.clone(), signature, leaves, proof: Proof::default() };
    let run = run.encode(RunId(ID)).expect("it hangs together");
    let sealed = [
        (0, "item-held", row(Shows::Held(Seq(3)))),
        (0, "item-covered", row(Shows::Covered(bytes))),
        (1, "intent-put", intent(staged, true, true)),
        (1, "intent-describe", intent(Action::Describe, true, true)),
        (1, "intent-remove", intent(Action::Remove, true, false)),
        (1, "intent-move", intent(Action::Move { to }, false, true)),
        (2, "loose", loose.encode()),
        (3, "look-nothing", look(None)),
        (3, "look-file", look(Some(found))),
        (4, "version", stored),
        (5, "run", run),
        (6, "kept", kept.encode()),
        (7, "copy", copies::encode(&copy, KEY)),
        (8, "shortfall", part(&|writer| shortfall::write(writer, &shortfall))),
        (8, "shortfall-mode", part(&|writer| shortfall::write(writer, &with_mode))),
        (9, "statement", part(&|writer| write_statement(writer, &statement, &signature))),
        (10, "aside", aside::write_aside(&aside, &DOT_KEY)),
    ];
    let plain =
        [("home-tree", &b"\x0bta\0b"[..]), ("home-kept", b"\x0bkname"), ("key", b"\x0ba\0b")];
    let plain = plain.map(|(name, input)| (name, input.to_vec()));
    sealed.map(behind).into_iter().chain(plain).collect()
}

/// An owner and attributes that are others, and a mode, all of which is lacking.
fn lacking(mode: Option<u32>) -> Shortfall {
    let mut short = Shortfall { owner: Some(0), attrs: Some([7; 16]), ..Shortfall::default() };
    short.mode = mode;
    short.lacks = short.presumed();
    short
}

/// A part of a row as if it were one.
fn part(write: &dyn Fn(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.seal(Table::Meta, b"")
}

/// As the target is fed with it: the number of the table, and what stands behind the hash.
fn behind((kind, name, value): (u8, &'static str, Vec<u8>)) -> (&'static str, Vec<u8>) {
    (name, [&[kind][..], &value[CHECK_LEN..]].concat())
}

const IDENTITY: FileIdentity =
    FileIdentity { device: 1, inode: 2, generation: 3, size: 4, mtime: -5, ctime: 6 };

fn file() -> Content {
    Content::File { manifest: ManifestId([9; 32]), size: Bytes::new(3) }
}

fn author() -> Author {
    Author { site: SiteId([1; 32]), incarnation: Incarnation::new(5) }
}

/// With everything that a version can say.
fn version(content: &Content) -> Version {
    let list = vec![
        (Who::Owner, 6),
        (Who::User((*b"ann").into()), 4),
        (Who::OwningGroup, 4),
        (Who::Mask, 4),
        (Who::Other, 0),
    ];
    let xattrs = [((*b"user.x").into(), (*b"y").into())].into();
    let attrs = Attrs { access: Acl::new(list), default: None, xattrs, ..Attrs::default() };
    let (owner, group) = (Some((*b"ann").into()), Some((*b"staff").into()));
    let mtime = FileTime { secs: -1, nanos: 999_999_999 };
    let meta = Meta { mode: 0o640, mtime, owner, group, attrs: attrs.boxed(), link: None };
    let mut context = Context::new();
    context.insert_run(author(), 1, 3);
    let dot = Dot { author: author(), serial: Serial::new(4).expect("not 0") };
    let stamp = Stamp { millis: 1_795_335_303_000, count: 1 };
    Version { dot, context, stamp, content: content.clone(), meta }
}

fn aside(bytes: Vec<u8>) -> Aside {
    let record = Record::decode(&bytes).expect("own record");
    let root = root(&[leaf(&bytes)]).expect("one record");
    let (dot, count) = (record.version.dot, 1);
    let (author, head) = (dot.author, dot.serial);
    let statement = Statement { folder: FOLDER, author, head, count, root };
    let (signature, records) = ([8; 64], vec![(0, bytes)]);
    let run = SealedRun { key: [7; 32], statement, signature, records, proof: Proof::default() };
    Aside { path: record.path, dot, run, why: Why::Crowded }
}
