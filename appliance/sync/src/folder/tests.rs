//! One path at three sites with users, disks, scans, losses of the index and engines that act on what
//! they know: in whatever order, all end alike, and nothing that somebody wrote is lost.

use super::*;
use crate::version::{
    Author, Content, Incarnation, ManifestId, Meta, Serial, Version, VersionSet, view,
};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{Bytes, FileTime};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn file(text: u32) -> Content {
    let text = text.to_be_bytes();
    let manifest = ManifestId(*blake3::hash(&text).as_bytes());
    Content::File { manifest, size: Bytes::of_len(text.len()) }
}

/// What a step does.
#[derive(Clone, Debug)]
enum Step {
    /// A user writes something that nobody wrote before.
    Write(usize),
    /// A user deletes what stands there.
    Delete(usize),
    /// A user changes permissions.
    Chmod(usize, u32),
    /// The site looks at its disk.
    Scan(usize),
    /// The site does what is to be done.
    Act(usize),
    /// A site hears of one version that another one holds.
    Hear { from: usize, to: usize, which: usize },
    /// A site loses its index.
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let site = || 0..3_usize;
    prop_oneof![
        4 => site().prop_map(Step::Write),
        2 => site().prop_map(Step::Delete),
        1 => (site(), 0..0o1000_u32).prop_map(|(at, mode)| Step::Chmod(at, mode)),
        6 => site().prop_map(Step::Scan),
        6 => site().prop_map(Step::Act),
        8 => (site(), site(), any::<usize>())
            .prop_map(|(from, to, which)| Step::Hear { from, to, which }),
        1 => site().prop_map(Step::Forget),
    ]
}

/// A site: its index, its disk, and what a user saw when something was replaced.
struct Site {
    item: Item,
    publisher: Publisher,
    disk: Option<Found>,
    /// What the engine took from its place: conflict copies and old versions, beside the tree.
    aside: BTreeSet<Content>,
    /// It lost its index: what it had put aside no longer has a name in the tree.
    forgot: bool,
}

struct World {
    sites: Vec<Site>,
    /// Counts whatever must be unique: contents, states of disks, incarnations, milliseconds.
    tick: u32,
    written: BTreeSet<Content>,
    /// What a user replaced or deleted, having it on disk.
    seen_off: BTreeSet<Content>,
}

fn publisher(site: usize, incarnation: u32) -> Publisher {
    let site = SiteId([u8::try_from(site).expect("three sites"); 32]);
    let incarnation = Incarnation::new(u64::from(incarnation));
    Publisher::new(Author { site, incarnation }, Serial::FIRST)
}

impl World {
    fn new() -> Self {
        let site = |at| Site {
            item: Item::default(),
            publisher: publisher(at, 0),
            disk: None,
            aside: BTreeSet::new(),
            forgot: false,
        };
        let (written, seen_off) = (BTreeSet::new(), BTreeSet::new());
        Self { sites: (0..3).map(site).collect(), tick: 0, written, seen_off }
    }

    fn of(steps: &[Step]) -> Self {
        let mut world = Self::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        world
    }

    fn take(&mut self, step: &Step) {
        self.tick += 1;
        let tick = self.tick;
        match step {
            Step::Write(at) => {
                let meta =
                    Meta { mtime: FileTime { secs: i64::from(tick), nanos: 0 }, ..Meta::default() };
                self.written.insert(file(tick));
                self.put(*at, Some(Found { content: file(tick), meta, identity: state(tick) }));
            }
            Step::Delete(at) => self.put(*at, None),
            Step::Chmod(at, mode) => {
                if let Some(found) = &mut self.sites[*at].disk {
                    (found.meta.mode, found.identity) = (*mode, state(tick));
                }
            }
            Step::Scan(at) => self.scan(*at),
            Step::Act(at) => self.act(*at),
            Step::Hear { from, to, which } => self.hear(*from, *to, *which),
            Step::Forget(at) => {
                self.sites[*at].item = Item::default();
                self.sites[*at].publisher = publisher(*at, tick);
                self.sites[*at].forgot = true;
            }
        }
    }

    /// A user replaces what stands on disk.
    fn put(&mut self, at: usize, found: Option<Found>) {
        let before = core::mem::replace(&mut self.sites[at].disk, found);
        self.seen_off.extend(before.map(|found| found.content));
    }

    fn scan(&mut self, at: usize) {
        let Site { item, publisher, disk, .. } = &mut self.sites[at];
        publisher.observe(item, disk.clone(), u64::from(self.tick) * 1000).expect("few versions");
    }

    fn hear(&mut self, from: usize, to: usize, which: usize) {
        let held: Vec<Version> = self.sites[from].item.versions.iter().cloned().collect();
        if !held.is_empty() {
            let heard = held[which % held.len()].clone();
            self.sites[to].item.versions.insert(heard).expect("few versions");
        }
    }

    /// The engine does what is to be done, unless what stands on disk is not what it knows of.
    fn act(&mut self, at: usize) {
        let tick = self.tick;
        let Site { item, disk, aside, .. } = &mut self.sites[at];
        let known = item.placed.as_ref().map(|placed| placed.identity);
        if known != disk.as_ref().map(|found| found.identity) {
            return self.scan(at);
        }
        match item.want() {
            Want::Settled => {}
            Want::Adopt(version) => {
                let version = version.clone();
                item.placed = item.placed.take().map(|placed| Placed { version, ..placed });
            }
            Want::SetMeta(version) | Want::Place(version) => {
                let (version, identity) = (version.clone(), state(tick));
                let (content, meta) = (version.content.clone(), version.meta.clone());
                aside.extend(disk.take().map(|found| found.content));
                *disk = Some(Found { content, meta: meta.clone(), identity });
                item.placed = Some(Placed { version, meta, identity });
            }
            Want::Remove => {
                aside.extend(disk.take().map(|found| found.content));
                item.placed = None;
            }
            Want::MakeDir => unreachable!("nothing stands beneath"),
        }
    }

    /// What all sites know together.
    fn known(&self) -> VersionSet {
        let mut all = VersionSet::new();
        self.sites.iter().for_each(|site| all.merge(&site.item.versions).expect("few versions"));
        all
    }

    /// Nothing that was written is gone unless a user who had it on disk put something in its place.
    fn check(&self) {
        let known = self.known();
        let kept = self.sites.iter().filter_map(|site| site.disk.as_ref());
        let mut kept: BTreeSet<&Content> = kept.map(|found| &found.content).collect();
        kept.extend(known.iter().map(|version| &version.content));
        kept.extend(self.sites.iter().flat_map(|site| &site.aside));
        for content in self.written.difference(&self.seen_off) {
            assert!(kept.contains(content), "{content:?} is lost");
        }
    }

    /// No user does anything any more, and everybody hears everything.
    fn quiesce(&mut self) {
        for _ in 0..10 {
            for at in 0..3 {
                self.tick += 1;
                self.scan(at);
                let known = self.known();
                self.sites[at].item.versions.merge(&known).expect("few versions");
                self.act(at);
            }
        }
    }
}

fn state(tick: u32) -> FileIdentity {
    FileIdentity { inode: u64::from(tick), ..FileIdentity::default() }
}

#[test]
fn an_empty_disk_with_a_new_index_deletes_nothing() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.sites[1].publisher = publisher(1, 7);
    world.quiesce();
    assert!(world.sites[1].disk.is_some());
}

#[test]
fn a_lost_index_makes_no_version_of_what_others_know() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    let before = world.known();
    let heard = Step::Hear { from: 0, to: 1, which: 0 };
    [Step::Forget(1), heard, Step::Scan(1)].iter().for_each(|step| world.take(step));
    world.quiesce();
    assert_eq!(world.known(), before);
}

#[test]
fn an_old_file_found_by_a_new_index_does_not_win_over_newer_edits() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    [Step::Write(1), Step::Scan(1), Step::Forget(0), Step::Scan(0)]
        .iter()
        .for_each(|s| world.take(s));
    let newest = world.sites[1].disk.clone().expect("written").content;
    world.quiesce();
    let found = world.sites[0].disk.clone().expect("kept").content;
    assert_eq!(found, newest);
    assert_eq!(view(&world.known(), false).copies.len(), 1);
}

#[test]
fn a_deletion_reaches_the_others() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    world.take(&Step::Delete(2));
    world.quiesce();
    assert!(world.sites.iter().all(|site| site.disk.is_none()));
}

#[test]
fn an_edit_that_nobody_scanned_yet_survives_one_from_elsewhere() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    world.take(&Step::Write(1));
    world.take(&Step::Write(2));
    world.quiesce();
    let known = world.known();
    let seen = view(&known, false);
    assert_eq!(seen.copies.len(), 1);
}

#[test]
fn a_change_of_permissions_is_no_conflict() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    world.take(&Step::Chmod(1, 0o700));
    world.take(&Step::Chmod(2, 0o750));
    world.quiesce();
    let modes: BTreeSet<u32> =
        world.sites.iter().filter_map(|site| site.disk.as_ref()).map(|f| f.meta.mode).collect();
    assert!(modes == [0o700].into() || modes == [0o750].into(), "{modes:?}");
    assert_eq!(view(&world.known(), false).copies, Vec::<&Version>::new());
}

#[test]
fn who_puts_back_the_content_of_a_copy_chooses_it() {
    let mut world = World::of(&[Step::Write(0), Step::Write(1)]);
    world.quiesce();
    let known = world.known();
    let loser = view(&known, false).copies[0].clone();
    let found = Found { content: loser.content.clone(), meta: loser.meta, identity: state(999) };
    world.put(2, Some(found));
    world.quiesce();
    let known = world.known();
    let seen = view(&known, false);
    assert_eq!(
        (seen.copies.len(), world.sites[0].disk.clone().expect("there").content),
        (0, loser.content)
    );
}

/// What others wrote meanwhile is known, and not on disk yet.
///
/// spec: S-006
#[test]
fn who_puts_there_what_lost_elsewhere_chooses_it() {
    let mut world = World::of(&[Step::Write(0), Step::Scan(0)]);
    world.quiesce();
    [Step::Write(1), Step::Scan(1), Step::Write(2), Step::Scan(2)]
        .iter()
        .for_each(|s| world.take(s));
    let chosen = world.sites[1].disk.clone().expect("written");
    let known = world.known();
    assert_eq!(view(&known, false).copies.len(), 1);
    world.sites[0].item.versions.merge(&known).expect("few versions");
    world.put(0, Some(Found { identity: state(999), ..chosen.clone() }));
    world.scan(0);
    let me = world.sites[0].publisher.author();
    let mut said = world.sites[0].item.versions.iter().filter(|version| version.dot.author == me);
    assert!(said.any(|version| version.content == chosen.content));
}

proptest! {
    #![proptest_config(crate::cases::cases(2000))]

    #[test]
    fn all_sites_end_alike_and_nothing_written_is_lost(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::of(&steps);
        world.quiesce();
        world.check();
        let known = world.known();
        let seen = view(&known, false);
        let disks: Vec<_> = world
            .sites
            .iter()
            .map(|site| site.disk.as_ref().map(|found| (found.content.clone(), found.meta.clone())))
            .collect();
        prop_assert!(disks.windows(2).all(|pair| pair[0] == pair[1]), "{disks:?}");
        let mut visible: BTreeSet<Content> =
            seen.copies.iter().map(|version| version.content.clone()).collect();
        visible.extend(disks[0].clone().map(|(content, _)| content));
        for site in world.sites.iter().filter(|site| site.forgot) {
            visible.extend(site.aside.iter().cloned());
        }
        for content in world.written.difference(&world.seen_off) {
            prop_assert!(visible.contains(content), "{content:?} is kept, but nobody sees it");
        }
        for site in &world.sites {
            prop_assert_eq!(site.item.want(), Want::Settled);
        }
    }
}
