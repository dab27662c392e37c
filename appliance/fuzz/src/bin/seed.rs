//! Writes the first inputs of every corpus, made by the encoders of the product, good and bad.
//!
//! Takes no arguments; writes `corpus/TARGET/seed-NAME` beside the manifest of this package.

use farhaul_appliance_fuzz::checks::{FOLDER, compare, job_seeds};
use farhaul_proto::ids::{BlockIndex, ObjectId, SiteId};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::chunk::{
    Chunk, ContentKeys, Entry, Hole, Holes, ManifestBuilder, PageId, SizeClass,
};
use farhaul_sync::message::{
    ByteRange, Carrier, Followed, Message, Records, SealedRun, Shared, Wanted,
};
use farhaul_sync::reconcile::{Answer, Answerer, Asker};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{Proof, Statement, leaf, prove, root};
use farhaul_sync::version::{
    Acl, Attrs, Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp,
    Version, Who,
};
use std::path::Path;
use std::{fs, io};

type Seed = (String, Vec<u8>);

fn main() -> io::Result<()> {
    write("message", messages())?;
    write("records", parts())?;
    write("record", records().into_iter().map(|(name, record)| (name, record.encode())))?;
    write("seal", seals())?;
    write("learn", histories())?;
    write("compare", comparisons())?;
    let (pages, lists) = manifests();
    write("page", pages)?;
    write("list", lists)?;
    write("holes", holes())?;
    let jobs = job_seeds().into_iter();
    write("job", jobs.map(|(name, input)| (name.to_owned(), input)))?;
    write("name", names())?;
    write("config", configs()?)?;
    for (target, name, input) in farhauld::fuzz::seeds() {
        write(target, [(name.to_owned(), input)])?;
    }
    Ok(())
}

fn write(target: &str, seeds: impl IntoIterator<Item = Seed>) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (name, input) in seeds {
        fs::write(folder.join(format!("seed-{name}")), input)?;
    }
    Ok(())
}

fn named<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Vec<Seed> {
    seeds.map(|(name, input)| (name.to_owned(), input)).into()
}

/// Each piece behind its length in two bytes.
fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let len = |piece: &Vec<u8>| u16::try_from(piece.len()).expect("seeds are short").to_be_bytes();
    pieces.iter().flat_map(|piece| [&len(piece)[..], piece].concat()).collect()
}

fn messages() -> Vec<Seed> {
    let (folder, epoch) = (FOLDER, 7);
    let shared =
        Shared { folder, epoch, head: 9, followed: Some(Followed { epoch: 1, up_to: u64::MAX }) };
    let other = Shared { folder: farhaul_sync::seal::FolderKey([4; 32]), followed: None, ..shared };
    let manifest = ManifestId([9; 32]);
    let ranges = vec![ByteRange { offset: 0, len: 5 }, ByteRange { offset: 9, len: 1 << 40 }];
    let wanted = vec![
        Wanted::Page { page: PageId([8; 32]) },
        Wanted::Whole { manifest },
        Wanted::Ranges { manifest, ranges },
    ];
    let records = |carrier| Message::Records { folder, epoch, after: 1, to: 2, carrier };
    let all = [
        ("share", Message::Share { folders: vec![shared, other] }),
        ("records-inline", records(Carrier::Inline(vec![1, 2, 3]))),
        ("records-object", records(Carrier::Object { len: 4096 })),
        ("stored", Message::Stored { folder, epoch, up_to: 3 }),
        ("ask", Message::Ask { id: 1, folder, wanted }),
        ("give", Message::Give { id: 1, lens: vec![Some(5), None, Some(0)] }),
        (
            "failed",
            Message::Failed { object: ObjectId::new(3), is_yours: true, reason: "gone".into() },
        ),
        ("restart", Message::Restart { block: BlockIndex::new(4) }),
        ("incomparable", Message::Incomparable { folder, salt: [2; 32] }),
    ];
    let mut seeds = named(all.map(|(name, message)| (name, message.encode())));
    seeds.extend(
        turns().into_iter().take(3).enumerate().map(|(n, turn)| (format!("turn-{n}"), turn)),
    );
    seeds
}

fn author(site: u8) -> Author {
    Author { site: SiteId([site; 32]), incarnation: Incarnation::new(u64::from(site)) }
}

fn dot(site: u8, serial: u64) -> Dot {
    Dot { author: author(site), serial: Serial::new(serial).expect("not 0") }
}

fn record(path: &[u8], dot: Dot, seen: &[Dot], content: Content) -> Record {
    let mut context = Context::new();
    seen.iter().for_each(|&dot| context.insert(dot));
    let is_dir = content == Content::Dir;
    let mtime = if is_dir { FileTime::default() } else { FileTime { secs: 5, nanos: 6 } };
    let meta = Meta { mode: 0o644, mtime, ..Meta::default() };
    let stamp = Stamp { millis: 1_795_335_303_000, count: 0 };
    let path = RelPath::parse(path).expect("a path");
    Record { path, version: Version { dot, context, stamp, content, meta } }
}

fn file(name: u8) -> Content {
    Content::File { manifest: ManifestId([name; 32]), size: Bytes::new(name.into()) }
}

fn records() -> Vec<(String, Record)> {
    let link = Content::Symlink { target: (*b"../../etc/passwd").into() };
    let mut full = record(b"a/b", dot(2, 9), &[dot(1, 1), dot(1, 3), dot(2, 8)], file(9));
    let list = vec![
        (Who::Owner, 7),
        (Who::User((*b"ann").into()), 4),
        (Who::OwningGroup, 5),
        (Who::Group((*b"staff").into()), 4),
        (Who::Mask, 5),
        (Who::Other, 0),
    ];
    let xattrs = [((*b"user.x").into(), (*b"y").into())].into();
    let attrs = Attrs {
        access: Acl::new(list.clone()),
        default: Acl::new(list),
        xattrs,
        ..Attrs::default()
    };
    let (owner, group) = (Some((*b"root").into()), Some((*b"staff").into()));
    full.version.meta = Meta { owner, group, attrs: attrs.boxed(), ..full.version.meta };
    let mut edge = record(b"a", dot(2, u64::MAX), &[dot(1, u64::MAX)], file(0));
    edge.version.stamp = Stamp { millis: u64::MAX, count: u32::MAX };
    edge.version.meta.mtime = FileTime { secs: i64::MIN, nanos: 999_999_999 };
    let all = [
        ("gone", record(b"a", dot(2, 2), &[dot(2, 1)], Content::Gone)),
        ("dir", record(b"a", dot(2, 1), &[], Content::Dir)),
        ("link", record(b"a/l", dot(2, 1), &[], link)),
        ("file", record(b"a/f", dot(2, 1), &[], file(3))),
        ("full", full),
        ("edge", edge),
    ];
    all.map(|(name, record)| (name.to_owned(), record)).into()
}

/// A run of one author's records, of which those at `present` are there.
fn run(records: &[Record], present: &[u16]) -> SealedRun {
    let bytes: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
    let leaves: Vec<_> = bytes.iter().map(|bytes| leaf(bytes)).collect();
    let head = records.iter().map(|record| record.version.dot).max().expect("at least one");
    let statement = Statement {
        folder: FOLDER,
        author: head.author,
        head: head.serial,
        count: u16::try_from(records.len()).expect("few"),
        root: root(&leaves).expect("few"),
    };
    let proof = prove(&leaves, present).expect("part of it");
    let records = present.iter().map(|&at| (at, bytes[usize::from(at)].clone())).collect();
    SealedRun { key: [7; 32], statement, signature: [8; 64], records, proof }
}

fn word(site: u8, head: u64) -> SealedRun {
    let one = record(b"a", dot(site, head), &[], Content::Dir);
    SealedRun { records: Vec::new(), proof: Proof::default(), ..run(&[one], &[0]) }
}

fn encoded(runs: Vec<SealedRun>) -> Vec<u8> {
    Records { runs }.encode()
}

fn three() -> [Record; 3] {
    let (dir, link) = (Content::Dir, Content::Symlink { target: (*b"..").into() });
    [
        record(b"a", dot(2, 1), &[], dir),
        record(b"a/f", dot(2, 2), &[], file(3)),
        record(b"a/l", dot(2, 3), &[], link),
    ]
}

fn parts() -> Vec<Seed> {
    let whole = encoded(vec![run(&three(), &[0, 1, 2])]);
    let cut = whole[..whole.len() - 5].to_vec();
    named([
        ("none", encoded(Vec::new())),
        ("word", encoded(vec![word(2, 9)])),
        ("part", encoded(vec![word(3, 9), run(&three(), &[1])])),
        ("cut", cut),
        ("whole", whole),
    ])
}

/// What members say one after the other.
fn histories() -> Vec<Seed> {
    let part = |stale: u8, runs| [vec![stale], encoded(runs)].concat();
    let alone = |record: Record| run(&[record], &[0]);
    let edit = record(b"a/f", dot(3, 1), &[dot(2, 2)], file(4));
    let beside = record(b"a/f", dot(3, 1), &[], file(5));
    let child = record(b"a/f/x", dot(3, 2), &[], file(6));
    let link = record(b"a", dot(4, 1), &[], Content::Symlink { target: (*b"/etc").into() });
    let twin = record(b"a/f", dot(2, 2), &[], file(7));
    let ahead = record(b"b", dot(3, 1), &[dot(9, 5)], file(1));
    let ours = record(b"b", dot(1, 1), &[], file(1));
    let gone = record(b"a/f", dot(3, 9), &[dot(2, 2), dot(3, 1)], Content::Gone);
    let first = part(0, vec![run(&three(), &[0, 1, 2])]);
    named([
        ("edited", joined(&[first.clone(), part(0, vec![alone(edit.clone())])])),
        ("beside", joined(&[first.clone(), part(0, vec![alone(beside), alone(gone)])])),
        ("beneath", joined(&[first.clone(), part(0, vec![alone(child), alone(link)])])),
        ("twins", joined(&[first.clone(), part(0, vec![alone(twin)])])),
        ("ahead", joined(&[part(0, vec![alone(ahead)])])),
        ("ours", joined(&[part(0, vec![alone(ours)])])),
        ("stale", joined(&[part(0, vec![word(2, 9)]), part(1, vec![run(&three(), &[1])]), first])),
    ])
}

fn seals() -> Vec<Seed> {
    named([
        ("all", vec![0, 2, 2, 1, 0, 0, 0, 1]),
        ("part", vec![0, 4, 1, 1, 0, 2, 1, 2]),
        ("one-of-many", vec![1, 0, 1, 0, 0, 77, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("none", vec![0, 5, 0, 0, 9]),
        ("order", vec![0, 5, 2, 3, 0, 4, 0, 1, 9, 9, 9]),
        ("too-many", vec![1, 1, 1, 1, 0, 0]),
    ])
}

/// The messages of a comparison with a site that holds other records.
fn turns() -> Vec<Vec<u8>> {
    let ours = compare::held(1..=300);
    let theirs = compare::held((30..=300).chain(400..=420));
    let mut asker = Asker::new(compare::SALT, 250);
    let mut answerer = Answerer::new(compare::SALT, 420);
    let mut said = Vec::new();
    while let Ok(Some(question)) = asker.ask(&ours) {
        said.push(compare::said(&question, false));
        match answerer.answer(&question, &theirs).expect("it was asked well") {
            Answer::Over => break,
            Answer::Say(answers) => {
                for answer in answers {
                    said.push(compare::said(&answer, true));
                    asker.hear(&answer, &ours).expect("it was answered well");
                }
            }
        }
    }
    said
}

fn comparisons() -> Vec<Seed> {
    let said = turns();
    let backwards: Vec<_> = said.iter().rev().cloned().collect();
    let twice: Vec<_> = said.iter().flat_map(|turn| [turn.clone(), turn.clone()]).collect();
    let answers = said.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>();
    named([
        ("whole", joined(&said)),
        ("backwards", joined(&backwards)),
        ("twice", joined(&twice)),
        ("answers", joined(&answers)),
    ])
}

/// Pages, and lists of pages behind the size of their file.
fn manifests() -> (Vec<Seed>, Vec<Seed>) {
    let keys = ContentKeys::of(&FOLDER);
    let chunk = |n: u32, len: u32| Entry::Chunk(Chunk { id: keys.chunk_id(&n.to_be_bytes()), len });
    let zeros = Entry::Zeros { len: Bytes::kib(64) };
    let few: Vec<Entry> = vec![chunk(0, 65_536), zeros, chunk(1, 60_000), chunk(2, 5)];
    // As many as fill some pages, and no more than a seed may be long.
    let many: Vec<Entry> = (0..1100).map(|n| chunk(n, 65_536)).collect();
    let (mut pages, mut lists) = (Vec::new(), Vec::new());
    for (name, entries) in [("few", few), ("many", many), ("empty", Vec::new())] {
        let size: Bytes = entries.iter().map(Entry::len).sum();
        let mut built: Vec<(PageId, Vec<u8>)> = Vec::new();
        let mut emit = |id: PageId, page: &[u8]| built.push((id, page.to_vec()));
        let mut builder = ManifestBuilder::new(&keys, SizeClass::of(size));
        entries.iter().for_each(|entry| builder.push(*entry, &mut emit));
        let top = builder.finish(&mut emit);
        // As they are read: what is above first, then in the order of the file.
        built.sort_by_key(|(id, _)| id.0 != top.0);
        let read: Vec<Vec<u8>> = built.into_iter().map(|(_, page)| page).collect();
        lists.push((name.to_owned(), [&size.get().to_be_bytes()[..], &joined(&read)].concat()));
        if let Some(first) = read.first() {
            pages.push((name.to_owned(), first.clone()));
        }
        if let (Some(last), "many") = (read.last(), name) {
            let mut changed = last.clone();
            changed[1] = 9;
            pages.push(("leaf".to_owned(), last.clone()));
            pages.push(("level".to_owned(), changed));
        }
    }
    let wrong = [&4_u64.to_be_bytes()[..], &lists[0].1[8..]].concat();
    lists.push(("size".to_owned(), wrong));
    (pages, lists)
}

fn holes() -> Vec<Seed> {
    let mut holes = Holes::default();
    for offset in [0, 8192, 1 << 30] {
        holes.push(Hole { offset: Bytes::new(offset), len: Bytes::new(4096) });
    }
    let of = |size: u64, list: &[u8]| [&size.to_be_bytes()[..], list].concat();
    let list = holes.encode();
    named([
        ("some", of(1 << 31, &list)),
        ("none", of(0, &[])),
        ("beyond", of(1 << 20, &list)),
        ("cut", of(1 << 31, &list[..list.len() - 1])),
        ("overflow", of(u64::MAX, &[0xff; 16])),
    ])
}

fn names() -> Vec<Seed> {
    let of =
        |millis: u64, path: &[u8]| [&millis.to_be_bytes()[..], &7_u64.to_be_bytes(), path].concat();
    let copy = b"a/report.conflict-20261122-081503-k4mzqa2f.pdf";
    named([
        ("plain", of(1_795_335_303_000, b"a/report.pdf")),
        ("copy", of(1_795_335_303_000, copy)),
        ("undated", of(u64::MAX, b".profile")),
        ("long", of(0, &[0xe4; 255])),
        ("letters", of(0, "\u{6f22}".repeat(85).as_bytes())),
        ("deep", of(0, &b"x/".repeat(255).into_iter().chain(*b"y").collect::<Vec<u8>>())),
    ])
}

/// Those that the project documents, and one with faults.
fn configs() -> io::Result<Vec<Seed>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let read = |name: &str| fs::read(folder.join(name));
    let (full, minimal) = (read("farhauld.toml")?, read("minimal.toml")?);
    let without_comments = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).replace("\n#  ", "\n");
        let lines = text.lines().filter(|line| !line.starts_with("# ") && !line.is_empty());
        let lines = lines.map(|line| line.strip_prefix('#').unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n").into_bytes()
    };
    let all = without_comments(&full);
    let cut = minimal[..minimal.len() - 20].to_vec();
    let faulty = b"[site]\nname = 7\nstate = \"rel\"\n[[folder]]\nid = \"A\"\nx = 1\n".to_vec();
    Ok(named([("all", all), ("minimal", minimal), ("cut", cut), ("faulty", faulty)]))
}
