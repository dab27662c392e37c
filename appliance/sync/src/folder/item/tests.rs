//! G20: what is to be done, for every set of up to three versions that nobody saw of each other, over
//! everything that may stand on disk. All of them are gone through, not some by chance.

use super::*;
use crate::version::{Author, Context, Dot, Incarnation, ManifestId, Serial, Stamp};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;

const SITES: u8 = 3;
const MODES: [u32; 2] = [0o600, 0o644];

fn dot(site: u8, serial: u64) -> Dot {
    let author = Author { site: SiteId([site; 32]), incarnation: Incarnation::new(0) };
    Dot { author, serial: Serial::new(serial).expect("from 1") }
}

fn live() -> [Content; 4] {
    let file = |n: u8| Content::File { manifest: ManifestId([n; 32]), size: Bytes::new(1) };
    [Content::Dir, Content::Symlink { target: Box::from(&b"a"[..]) }, file(1), file(2)]
}

/// A version that saw no other one.
fn version(dot: Dot, millis: u64, content: Content, mode: u32) -> Version {
    let mode = if content == Content::Gone { 0 } else { mode };
    let (stamp, meta) = (Stamp { millis, count: 0 }, Meta { mode, ..Meta::default() });
    Version { dot, context: Context::new(), stamp, content, meta }
}

/// What a site may have said: nothing, or one of these at one of three times.
fn said(site: u8) -> Vec<Option<Version>> {
    let mut said = vec![None];
    for millis in 1..=3 {
        said.push(Some(version(dot(site, 1), millis, Content::Gone, 0)));
        for content in live() {
            said.extend(
                MODES.map(|mode| Some(version(dot(site, 1), millis, content.clone(), mode))),
            );
        }
    }
    said
}

/// What may stand on disk: nothing, or one of these, shown by a version that is covered by now or by
/// one that is not.
fn on_disk(versions: &VersionSet) -> Vec<Option<Placed>> {
    let place = |version: Version| {
        let (meta, identity) = (version.meta.clone(), FileIdentity::default());
        Some(Placed { version, meta, identity })
    };
    let old = live()
        .into_iter()
        .flat_map(|content| MODES.map(|mode| place(version(dot(9, 1), 1, content.clone(), mode))));
    let known = versions.iter().filter(|version| version.is_live());
    [None].into_iter().chain(old).chain(known.map(|known| place(known.clone()))).collect()
}

/// What the body does about it.
fn done(item: &Item) -> Option<Placed> {
    let identity = FileIdentity::default();
    let was = item.placed.clone();
    match item.want() {
        Want::Settled => was,
        Want::Adopt(version) => was.map(|was| Placed { version: version.clone(), ..was }),
        Want::SetMeta(version) | Want::Place(version) => {
            Some(Placed { version: version.clone(), meta: version.meta.clone(), identity })
        }
        Want::MakeDir => {
            let version = version(Dot::NOBODY, 1, Content::Dir, MODES[0]);
            Some(Placed { meta: version.meta.clone(), version, identity })
        }
        Want::Remove => None,
    }
}

fn check(item: &mut Item) {
    let seen = view(&item.versions, item.has_children);
    let before = item.placed.as_ref().map(|placed| placed.version.content.clone());
    let shown = match (seen.shown, &item.copy) {
        (Shown::Version(version), _) => Some(&version.content),
        (Shown::ImpliedDir, _) => Some(&Content::Dir),
        (Shown::Absent, Some((_, loser))) => Some(&loser.content),
        (Shown::Absent, None) => None,
    };
    match item.want() {
        Want::Settled | Want::Adopt(_) | Want::SetMeta(_) => {
            assert_eq!(before.as_ref(), shown, "what is right is left alone: {item:?}");
        }
        Want::Place(_) | Want::MakeDir => assert_ne!(before.as_ref(), shown, "{item:?}"),
        Want::Remove => {
            assert!(!item.has_children && !item.versions.is_live(), "I5: {item:?}");
            assert_eq!(shown, None);
        }
    }
    let shown = shown.cloned();
    item.placed = done(item);
    let stands = item.placed.as_ref().map(|placed| placed.version.content.clone());
    assert_eq!(stands, shown, "one deed is enough: {item:?}");
    assert_eq!(item.want(), Want::Settled, "and another one is not needed: {item:?}");
}

/// Whatever is live is seen, at the path or beside it; what has something beneath is a directory.
fn check_view(versions: &VersionSet, has_children: bool) {
    let seen = view(versions, has_children);
    for version in versions.iter().filter(|version| version.is_live()) {
        let is_shown = |other: &&Version| other.content == version.content;
        let is_seen = seen.shown.version().iter().chain(&seen.copies).any(is_shown);
        let is_bare = version.content == Content::Dir;
        assert!(is_seen || is_bare, "I2: {version:?} of {versions:?}");
    }
    if has_children {
        let is_dir = match seen.shown {
            Shown::Version(version) => version.content == Content::Dir,
            Shown::ImpliedDir => true,
            Shown::Absent => false,
        };
        assert!(is_dir, "I5: {versions:?}");
    }
}

#[test]
fn one_deed_makes_a_path_what_all_see_and_takes_nothing_that_stands_nowhere_else() {
    let said: Vec<Vec<Option<Version>>> = (0..SITES).map(said).collect();
    let loser = version(dot(8, 1), 1, live()[3].clone(), MODES[0]);
    let origin = RelPath::parse(b"origin").expect("a path");
    let copy = (CopyOf { origin, dot: loser.dot }, loser);
    let mut cases = 0_u32;
    for one in &said[0] {
        for two in &said[1] {
            for three in &said[2] {
                let mut versions = VersionSet::new();
                for version in [one, two, three].into_iter().flatten() {
                    versions.insert(version.clone()).expect("few");
                }
                let disks = on_disk(&versions);
                for has_children in [false, true] {
                    check_view(&versions, has_children);
                    for placed in &disks {
                        for copy in [None, Some(&copy)] {
                            let (versions, placed) = (versions.clone(), placed.clone());
                            let copy = copy.cloned();
                            check(&mut Item { versions, placed, has_children, copy });
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(cases >= 1_000_000, "{cases}");
}
