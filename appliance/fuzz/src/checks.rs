//! What must hold for any bytes that meet the brain of a site, one function a fuzz target.
//!
//! Used by the fuzzer and by the test that replays the corpora, so both check the same things.

// Where they lie is said, for the tests include this file from elsewhere.
#[path = "checks/compare.rs"]
pub mod compare;
#[path = "checks/learn.rs"]
mod learn;
#[path = "checks/list.rs"]
mod list;

use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::chunk::{Holes, Page};
use farhaul_sync::job::{
    Activate, Class, Exports, Frozen, Giving, JobId, JobLimit, JobMessage, JobState, Kind, Lead,
    Order, Place, Receipt, Report, SiteState, Spec, Times, Wish, authorise, deeds,
};
use farhaul_sync::limits::{HOLES_MAX, PAGE_MAX, RECORD_MAX};
use farhaul_sync::message::{MESSAGE_MAX, Message, Records, SealedRun};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Hash, Proof, leaf, reduce, root_of_part};
use farhaul_sync::version::{
    Author, Content, Context, Dot, Incarnation, Meta, Serial, Stamp, Version, VersionSet,
    conflict_name, copy_stem, view,
};
use std::collections::BTreeSet;

pub use learn::learn;
pub use list::list;

/// A target's name, which is that of its corpus, and its check.
pub type Check = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Check; 11] = [
    ("message", message),
    ("records", records),
    ("record", record),
    ("seal", seal),
    ("learn", learn),
    ("compare", compare::compare),
    ("page", page),
    ("list", list),
    ("holes", holes),
    ("job", job),
    ("name", name),
];

/// The folder of everything in the corpora.
pub const FOLDER: FolderKey = FolderKey([3; 32]);

/// A message that decodes survives, and no shorter bytes say the same.
pub fn message(frame: &[u8]) {
    let Ok(message) = Message::decode(frame) else { return };
    let again = message.encode();
    assert!(again.len() <= frame.len().min(MESSAGE_MAX));
    assert_eq!(Message::decode(&again).expect("own message"), message);
}

/// What is said of a job and decodes survives; an order has legs with places, each at a site that takes
/// part, and can be led and followed.
pub fn job(frame: &[u8]) {
    let Some(message) = JobMessage::decode(frame) else { return };
    assert_eq!(JobMessage::decode(&message.encode()).as_ref(), Some(&message));
    match message {
        JobMessage::Order(order) => {
            let (spec, run) = (order.spec.clone(), order.run);
            for leg in spec.legs().expect("it was checked") {
                assert!(leg.sites().is_subset(&spec.sites()));
                assert!(leg.targets.iter().all(|target| target.path.is_some()));
                let refused = authorise(&spec, leg.source.site, leg.source.site, &Exports::new());
                assert!(refused.is_err(), "nothing is exported");
            }
            let lead = Lead::kept(*order);
            let (state, _) = lead.state(|_| false);
            assert!(state != JobState::Done || lead.order().run == run);
        }
        JobMessage::Question(_) => {}
        // Whatever is found, nothing comes of it that is more than there is.
        JobMessage::Finding(finding) => {
            for (source, target) in finding.legs.iter().zip(finding.legs.iter().skip(1)) {
                if let Some(deeds) = deeds(source, target) {
                    assert!(deeds.reused <= source.tree.expect("there is one").bytes);
                }
            }
        }
        JobMessage::Report(report) => {
            let mut lead = Lead::new(job_of(report.source)).expect("it is one");
            let told = (lead.order().turn, report.job == lead.order().spec.id);
            for from in [report.source, SiteId([9; 32])] {
                lead.reported(from, (*report).clone(), 1);
            }
            assert!(told.1 || lead.order().turn == told.0, "of another job");
        }
    }
}

/// A job from a site to another.
fn job_of(source: SiteId) -> Spec {
    let place = |site, text: &str| Place::of(text.parse().expect("a place"), site);
    let target = if source == SiteId([9; 32]) { SiteId([8; 32]) } else { SiteId([9; 32]) };
    Spec {
        id: JobId([7; 16]),
        revision: 1,
        name: "golden".to_owned(),
        kind: Kind::Copy,
        sources: vec![place(source, "berlin:images/golden")],
        targets: vec![place(target, "tokyo:images/golden")],
        class: Class::Normal,
        weight: 1,
        cap: None,
        calendar: None,
        activate: Activate::Together,
        times: Times::default(),
    }
}

/// What a leader and those who take part say of it, for the corpus.
#[allow(dead_code, reason = "the corpus is written by another program")]
pub fn job_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let source = SiteId([1; 32]);
    let (bytes, stored) = (Bytes::new(1 << 40), Bytes::new(1 << 30));
    let frozen = Frozen { root: [5; 32], files: 3, bytes, stored, is_file: false };
    let spec = job_of(source);
    let order = |spec: Spec, wish, frozen: Vec<_>| Order {
        spec,
        wish,
        run: 2,
        frozen,
        switch_at: Some(1_795_335_303_000),
        back: false,
        turn: 9,
    };
    let many = Spec {
        kind: Kind::Consolidate,
        sources: (2..40)
            .map(|n| Place::of("rome:logs".parse().expect("one"), SiteId([n; 32])))
            .collect(),
        targets: vec![Place::of("oslo:all".parse().expect("one"), source)],
        calendar: Some("nights".to_owned()),
        ..spec.clone()
    };
    let receipt = Receipt { frozen, at_millis: 7, key: [6; 32], signature: [8; 64] };
    let report = Report {
        job: spec.id,
        revision: 1,
        run: 1,
        source,
        state: SiteState::Done,
        reason: None,
        done: Bytes::new(1 << 40),
        frozen: None,
        receipt: Some(receipt),
        gives: vec![Giving { to: SiteId([9; 32]), rate: BitRate::mbps(3), limit: JobLimit::Share }],
    };
    let froze = Report { frozen: Some(frozen), receipt: None, ..report.clone() };
    let failed = Report {
        state: SiteState::Failed,
        reason: Some("there is no room".to_owned()),
        receipt: None,
        ..report.clone()
    };
    let order =
        |spec, wish, frozen| JobMessage::Order(Box::new(order(spec, wish, frozen))).encode();
    let say = |report| JobMessage::Report(Box::new(report)).encode();
    vec![
        ("order", order(spec.clone(), Wish::Run, vec![(source, frozen)])),
        ("stop", order(spec, Wish::Stop, Vec::new())),
        ("many", order(many, Wish::Pause, Vec::new())),
        ("done", say(report)),
        ("froze", say(froze)),
        ("failed", say(failed)),
    ]
}

/// Runs that decode survive, and open to records of who signed them or to nothing. The root is made to
/// fit, as whoever signs would.
pub fn records(bytes: &[u8]) {
    let Ok(records) = Records::decode(bytes, FOLDER) else { return };
    let again = records.encode();
    assert!(again.len() <= bytes.len());
    assert_eq!(Records::decode(&again, FOLDER).expect("own records"), records);
    for run in records.runs {
        let run = sealed(run);
        let Ok(opened) = run.open() else { continue };
        assert_eq!(opened.len(), run.records.len());
        let (author, head) = (run.statement.author, run.statement.head);
        for Record { version, .. } in opened {
            assert!(version.dot.author == author && version.dot.serial <= head);
        }
    }
}

/// The run with the root that its records have, if they have one.
pub fn sealed(mut run: SealedRun) -> SealedRun {
    let leaves: Vec<(u16, Hash)> =
        run.records.iter().map(|(number, bytes)| (*number, leaf(bytes))).collect();
    if let Ok(root) = root_of_part(run.statement.count, &leaves, &run.proof) {
        run.statement.root = root;
    }
    run
}

/// A record that decodes survives; what is seen of it alone is itself or nothing.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let again = record.encode();
    assert!(again.len() <= bytes.len().min(RECORD_MAX));
    assert_eq!(Record::decode(&again).expect("own record"), record);
    let Record { path, version } = record;
    assert!(!version.context.contains(version.dot));
    let mut set = VersionSet::new();
    set.insert(version.clone()).expect("the first one");
    for has_children in [false, true] {
        let view = view(&set, has_children);
        assert!(view.copies.len() <= 1);
        assert!(view.copies.iter().all(|copy| **copy == version));
    }
    assert!(conflict_name(&path, &version).all(|copy| copy.file_name().len() <= 255));
}

/// Whatever is said to be part of a run: it has one root or none, and a part of it has the same.
///
/// Two bytes of count, one of how many numbers follow in two bytes each, one that says which to keep;
/// then hashes of one byte.
pub fn seal(input: &[u8]) {
    let Some((&[high, low, numbers, kept], rest)) = input.split_first_chunk() else { return };
    let count = u16::from_be_bytes([high, low]);
    let Some((numbers, hashes)) = rest.split_at_checked(usize::from(numbers) * 2) else { return };
    let (numbers, _) = numbers.as_chunks::<2>();
    let present: Vec<(u16, Hash)> =
        numbers.iter().map(|number| (u16::from_be_bytes(*number), leaf(number))).collect();
    let proof = Proof(hashes.iter().map(|byte| Hash([*byte; 32])).collect());
    let Ok(root) = root_of_part(count, &present, &proof) else { return };
    let keeps = |at: &usize| kept >> (at % 8) & 1 == 1;
    let kept: Vec<(u16, Hash)> = (0..present.len()).filter(keeps).map(|at| present[at]).collect();
    let kept_numbers: Vec<u16> = kept.iter().map(|(number, _)| *number).collect();
    let reduced = reduce(count, &present, &proof, &kept_numbers).expect("part of what has a root");
    assert_eq!(root_of_part(count, &kept, &reduced), Ok(root));
}

/// A page that decodes has these very bytes.
pub fn page(bytes: &[u8]) {
    let Ok(page) = Page::decode(bytes) else { return };
    assert!(bytes.len() <= PAGE_MAX);
    assert_eq!(page.encode(), bytes);
}

/// A list of holes that decodes has these very bytes, and lies within the file. The first eight bytes
/// are the size.
pub fn holes(input: &[u8]) {
    let Some((size, list)) = input.split_first_chunk() else { return };
    let size = Bytes::new(u64::from_be_bytes(*size));
    let Ok(holes) = Holes::decode(list, size) else { return };
    assert!(holes.count() <= HOLES_MAX && holes.total() <= size);
    assert_eq!(holes.encode(), list);
}

/// Names of conflict copies of any path: few, different, as long as names may be, beside the path, and
/// found again by what they begin with. The first 16 bytes are time and number of the version.
pub fn name(input: &[u8]) {
    let Some((head, path)) = input.split_first_chunk::<16>() else { return };
    let Ok(path) = RelPath::parse(path) else { return };
    let number = |at: usize| {
        head[at..at + 8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let loser = version(number(0), number(8) | 1);
    let names: Vec<RelPath> = conflict_name(&path, &loser).collect();
    assert!(names.len() <= 12);
    let different: BTreeSet<&[u8]> = names.iter().map(RelPath::as_bytes).collect();
    assert_eq!(different.len(), names.len());
    for copy in &names {
        assert!(copy.file_name().len() <= 255);
        assert_eq!(copy.parent_bytes(), path.parent_bytes());
    }
    for copy in &names {
        if let Some(stem) = copy_stem(copy) {
            assert!(names.iter().all(|name| name.as_bytes().starts_with(stem.as_bytes())));
        }
    }
}

fn version(millis: u64, serial: u64) -> Version {
    let author = Author { site: SiteId([1; 32]), incarnation: Incarnation::new(serial) };
    let serial = Serial::new(serial).unwrap_or(Serial::FIRST);
    Version {
        dot: Dot { author, serial },
        context: Context::new(),
        stamp: Stamp { millis, count: 0 },
        content: Content::Dir,
        meta: Meta::default(),
    }
}
