//! Two sites that lost each other's position compare, lose sessions, publish and hear of others
//! meanwhile; then they follow each other, and hold the same.

use super::super::{FileIdentity, FolderState, Found, MemoryIndex, Publisher};
use super::*;
use crate::message::Records;
use crate::reconcile::{Answer, Answerer, Asker, Turn};
use crate::seal::FolderKey;
use crate::version::{Content, Incarnation, ManifestId, Meta};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use proptest::prelude::*;
use std::collections::VecDeque;

const FOLDER: FolderKey = FolderKey([9; 32]);
const SITES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A site publishes something at a path.
    Publish(usize, u8),
    /// The third site is told everything by one, or tells everything to one.
    Third { other: usize, is_told: bool },
    /// The oldest message from the one to the other arrives.
    Deliver(usize),
    /// The session ends: what is under way is lost, and the next one begins.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..SITES, 0..40_u8).prop_map(|(at, path)| Step::Publish(at, path)),
        2 => (0..2_usize, any::<bool>()).prop_map(|(other, is_told)| Step::Third { other, is_told }),
        9 => (0..2_usize).prop_map(Step::Deliver),
        1 => Just(Step::Lose),
    ]
}

/// What one of the two says to the other.
enum Said {
    Turn(Turn),
    Told(Fed),
}

struct World {
    sites: Vec<FolderState<MemoryIndex>>,
    tick: u32,
    /// What is under way from each of the two.
    under_way: [VecDeque<Said>; 2],
    asker: Option<Asker>,
    answerer: Option<Answerer>,
    /// What each of the two tells the other, once both were compared.
    feeds: [Option<Feed>; 2],
    /// Up to where each of the two follows the other.
    followed: [u64; 2],
}

impl World {
    fn new() -> Self {
        let site = |at| {
            let author = Author { site: SiteId([at; 32]), incarnation: Incarnation::new(1) };
            FolderState::new(MemoryIndex::new(), FOLDER, Publisher::new(author, Serial::FIRST))
        };
        Self {
            sites: (0..3).map(site).collect(),
            tick: 0,
            under_way: Default::default(),
            asker: None,
            answerer: None,
            feeds: [None, None],
            followed: [0; 2],
        }
    }

    fn publish(&mut self, at: usize, path: u8) {
        self.tick += 1;
        let manifest = ManifestId(*blake3::hash(&self.tick.to_be_bytes()).as_bytes());
        let content = Content::File { manifest, size: Bytes::new(4) };
        let mtime = FileTime { secs: i64::from(self.tick), nanos: 0 };
        let identity = FileIdentity { inode: u64::from(self.tick), ..FileIdentity::default() };
        let found = Found { content, meta: Meta { mtime, ..Meta::default() }, identity };
        let path = RelPath::parse(format!("dir {}/{path}", path % 4).as_bytes()).expect("a path");
        let site = &mut self.sites[at];
        site.observe(&path, Some(found), 1000).expect("few versions");
        site.sealed([0; 32], [0; 64]).expect("in memory");
    }

    /// Which versions that were.
    fn learn(&mut self, at: usize, fed: &Fed) -> Vec<Dot> {
        let records = Records::decode(&fed.records.encode(), FOLDER).expect("our own");
        let mut versions = Vec::new();
        for run in &records.runs {
            let opened = run.open().expect("what was sealed");
            self.sites[at].learn(run, &opened).expect("words come first");
            versions.extend(opened.iter().map(|record| record.version.dot));
        }
        versions
    }

    fn tell_all(&mut self, from: usize, to: usize) {
        let mut feed = Feed::default();
        while let Some(fed) = feed.next(self.sites[from].index()).expect("in memory") {
            self.learn(to, &fed);
        }
    }

    fn last(&self, at: usize) -> u64 {
        self.sites[at].index().last_arrival().expect("in memory")
    }

    /// A session begins, of two that do not know how far they follow each other.
    fn begin(&mut self) {
        self.under_way = Default::default();
        (self.feeds, self.answerer, self.followed) = ([None, None], None, [0; 2]);
        self.asker = Some(Asker::new([7; 32], self.last(0)));
        self.go_on();
    }

    /// Says what can be said.
    fn go_on(&mut self) {
        while let Some(asker) = &mut self.asker
            && let Some(turn) = asker.ask(self.sites[0].index()).expect("in memory")
        {
            let is_last = turn.is_last;
            self.under_way[0].push_back(Said::Turn(turn));
            if is_last && let Some(asker) = self.asker.take() {
                self.feeds[0] = Some(Feed::default().compared(0, asker.outcome()));
            }
        }
        for at in 0..2 {
            while let Some(feed) = &mut self.feeds[at]
                && let Some(fed) = feed.next(self.sites[at].index()).expect("in memory")
            {
                self.under_way[at].push_back(Said::Told(fed));
            }
        }
    }

    /// The other hears the oldest message of one.
    fn deliver(&mut self, from: usize) {
        let to = 1 - from;
        match self.under_way[from].pop_front() {
            None => {}
            Some(Said::Told(fed)) => {
                assert!(fed.after <= self.followed[to], "something between was not told");
                let versions = self.learn(to, &fed);
                if let Some(feed) = &mut self.feeds[to] {
                    feed.heard_of(versions);
                }
                self.followed[to] = fed.to;
            }
            Some(Said::Turn(turn)) if to == 1 => {
                let last = self.last(1);
                let answerer = self.answerer.get_or_insert_with(|| Answerer::new([7; 32], last));
                match answerer.answer(&turn, self.sites[1].index()).expect("in order") {
                    Answer::Say(turns) => {
                        self.under_way[1].extend(turns.into_iter().map(Said::Turn));
                    }
                    Answer::Over => {
                        let answerer = self.answerer.take().expect("it answered");
                        self.feeds[1] = Some(Feed::default().compared(0, answerer.outcome()));
                    }
                }
            }
            Some(Said::Turn(turn)) => {
                let asker = self.asker.as_mut().expect("it is not over");
                asker.hear(&turn, self.sites[0].index()).expect("asked");
            }
        }
        self.go_on();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Publish(at, path) => {
                self.publish(*at, *path);
                self.go_on();
            }
            Step::Third { other, is_told: true } => self.tell_all(*other, 2),
            Step::Third { other, is_told: false } => {
                self.tell_all(2, *other);
                self.go_on();
            }
            Step::Deliver(from) => self.deliver(*from),
            Step::Lose => self.begin(),
        }
    }

    fn versions(&self, at: usize) -> Vec<(RelPath, crate::version::VersionSet)> {
        let index = self.sites[at].index();
        let known = |path: RelPath| (path.clone(), index.item(&path).expect("in memory").versions);
        let all = index.paths().into_iter().map(known);
        all.filter(|(_, versions)| !versions.is_empty()).collect()
    }
}

proptest! {
    #![proptest_config(crate::cases::cases(128))]
    #[test]
    fn who_compared_and_then_follows_each_other_holds_the_same(
        before in proptest::collection::vec(step(), 0..120),
        meanwhile in proptest::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new();
        before.iter().filter(|step| !matches!(step, Step::Lose)).for_each(|step| world.take(step));
        world.begin();
        meanwhile.iter().for_each(|step| world.take(step));
        while world.under_way.iter().any(|way| !way.is_empty()) {
            (0..2).for_each(|from| world.deliver(from));
        }
        prop_assert!(world.asker.is_none() && world.answerer.is_none());
        prop_assert_eq!(world.versions(0), world.versions(1));
        let lasts = [world.last(1), world.last(0)];
        prop_assert_eq!(world.followed, lasts);
    }
}

#[test]
fn of_equal_indexes_no_record_is_told_again() {
    let mut world = World::new();
    (0..40).for_each(|path| world.publish(0, path));
    world.tell_all(0, 1);
    (0..5).for_each(|path| world.publish(1, path));
    world.tell_all(1, 0);
    world.publish(0, 39);
    world.begin();
    let mut told = 0;
    while world.under_way.iter().any(|way| !way.is_empty()) {
        for from in 0..2 {
            if let Some(Said::Told(fed)) = world.under_way[from].front() {
                told += fed.records.runs.iter().map(|run| run.records.len()).sum::<usize>();
            }
            world.deliver(from);
        }
    }
    // One is new at the first site. The second offers what that covers, and does not tell the new one
    // back (S-160).
    assert_eq!(told, 2);
    assert_eq!(world.versions(0), world.versions(1));
}

/// spec: S-160
#[test]
fn what_a_neighbour_told_it_is_not_told_back_and_everything_else_is() {
    let mut world = World::new();
    (0..6).for_each(|path| world.publish(0, path));
    world.publish(2, 40);
    world.tell_all(2, 1);
    let (mut here, mut there) = (Feed::default(), Feed::default());
    while let Some(fed) = here.next(world.sites[0].index()).expect("in memory") {
        let versions = world.learn(1, &fed);
        there.heard_of(versions);
    }
    // Beside what it was told and did not put in place.
    world.publish(1, 3);
    let fed = there.next(world.sites[1].index()).expect("in memory").expect("its own");
    assert_eq!((fed.after, fed.to), (0, world.last(1)));
    let told: usize = fed.records.runs.iter().map(|run| run.records.len()).sum();
    assert_eq!(told, 2, "what the third site wrote, and its own");
    world.learn(0, &fed);
    assert_eq!(world.versions(0), world.versions(1));
    assert!(there.theirs.is_empty());
    assert_eq!(there.next(world.sites[1].index()).expect("in memory"), None);
    // Of another session nothing is known: it may have been put back from a copy since.
    let fed = Feed::default().next(world.sites[1].index()).expect("in memory").expect("all of it");
    assert_eq!(fed.records.runs.iter().map(|run| run.records.len()).sum::<usize>(), 8);
}

/// spec: S-182
#[test]
fn what_is_told_again_goes_once_more_and_no_further_than_what_was_sent() {
    let mut world = World::new();
    (0..200).for_each(|path| world.publish(0, path));
    let mut feed = Feed::default();
    while let Some(fed) = feed.next(world.sites[0].index()).expect("in memory") {
        feed.stored(fed.to);
    }
    let arrivals = world.sites[0].index().arrivals(0, 1000).expect("in memory");
    let seqs: Vec<u64> = arrivals.iter().map(|arrival| arrival.seq).collect();
    let sent = world.last(0);
    // Covered since, and told as what covers it.
    world.publish(0, 7);
    // Also those that the neighbour told in this session; not what it was never told.
    let held = world.versions(0);
    feed.heard_of(held.iter().flat_map(|(_, set)| set.iter().map(|version| version.dot)));
    let last = world.last(0);
    feed.tell_again([seqs[0], seqs[7], seqs[149], seqs[199], last, last + 9999]);
    let fed = feed.next(world.sites[0].index()).expect("in memory").expect("three records");
    assert_eq!((fed.after, fed.to), (sent, sent));
    world.learn(1, &fed);
    assert_eq!(world.versions(1).len(), 3);
    assert_eq!(feed.in_flight(), 1);
    let next = feed.next(world.sites[0].index()).expect("in memory").expect("what came then");
    assert_eq!((next.after, next.to), (sent, last));
    feed.stored(last);
    assert_eq!((feed.in_flight(), feed.has_more(last)), (0, false));
    // Where nothing of it is left there is nothing to say.
    feed.tell_again([seqs[7]]);
    assert!(feed.has_more(last));
    assert_eq!(feed.next(world.sites[0].index()).expect("in memory"), None);
    assert!(!feed.has_more(last));
}
