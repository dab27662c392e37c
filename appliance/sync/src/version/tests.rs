//! Histories of one path at three sites: whatever is done in whatever order, sites that heard the
//! same agree, and nothing that somebody wrote disappears unseen.

use super::*;
use farhaul_proto::ids::SiteId;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

pub(crate) fn author(site: u8) -> Author {
    Author { site: SiteId([site; 32]), incarnation: Incarnation::new(u64::from(site)) }
}

pub(crate) fn dot(site: u8, serial: u64) -> Dot {
    Dot { author: author(site), serial: Serial::new(serial).expect("not 0") }
}

pub(crate) fn version(dot: Dot, seen: &[Dot], text: &[u8]) -> Version {
    let mut context = Context::new();
    seen.iter().for_each(|&dot| context.insert(dot));
    let content = match text {
        b"" => Content::Gone,
        b"/" => Content::Dir,
        text => Content::File {
            manifest: ManifestId(*blake3::hash(text).as_bytes()),
            size: Bytes::of_len(text.len()),
        },
    };
    let stamp = Stamp { millis: dot.serial.get(), count: 0 };
    Version { dot, context, stamp, content, meta: Meta::default() }
}

fn set(versions: &[&Version]) -> VersionSet {
    let mut set = VersionSet::new();
    for &version in versions {
        set.insert(version.clone()).expect("few versions");
    }
    set
}

#[test]
fn an_edit_takes_the_place_of_what_its_author_saw() {
    let first = version(dot(1, 1), &[], b"one");
    let second = version(dot(2, 1), &[dot(1, 1)], b"two");
    let mut held = set(&[&first]);
    let inserted = held.insert(second.clone());
    assert_eq!(inserted, Ok(Inserted::New { covered: vec![first.clone()] }));
    assert_eq!(held.insert(first), Ok(Inserted::Old));
    assert_eq!(view(&held, false).shown, Shown::Version(&second));
}

#[test]
fn the_newest_of_concurrent_edits_wins_and_the_others_stand_beside_it() {
    let (old, new) = (version(dot(1, 1), &[], b"old"), version(dot(2, 9), &[], b"new"));
    let held = set(&[&old, &new]);
    let seen = view(&held, false);
    assert_eq!((seen.shown, seen.copies), (Shown::Version(&new), vec![&old]));
}

#[test]
fn the_same_edit_at_two_sites_is_no_conflict() {
    let (one, other) = (version(dot(1, 1), &[], b"same"), version(dot(2, 9), &[], b"same"));
    assert_eq!(view(&set(&[&one, &other]), false).copies, Vec::<&Version>::new());
}

#[test]
fn an_edit_survives_a_deletion_that_did_not_see_it() {
    let gone = version(dot(1, 2), &[dot(1, 1)], b"");
    let edit = version(dot(2, 1), &[dot(1, 1)], b"edit");
    let held = set(&[&gone, &edit]);
    let seen = view(&held, false);
    assert_eq!(seen.shown, Shown::Version(&edit));
    assert!(seen.is_undeleted);
}

#[test]
fn three_versions_with_a_deletion_look_alike_in_every_order() {
    let all = [
        version(dot(1, 2), &[dot(1, 1)], b""),
        version(dot(2, 1), &[dot(1, 1)], b"two"),
        version(dot(3, 1), &[dot(1, 1)], b"three"),
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let sets = orders.map(|order| set(&order.map(|at| &all[at])));
    assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_directory_stays_while_something_stands_in_it() {
    let gone = version(dot(1, 2), &[dot(1, 1)], b"");
    assert_eq!(view(&set(&[&gone]), true).shown, Shown::ImpliedDir);
    assert_eq!(view(&set(&[&gone]), false).shown, Shown::Absent);
    let file = version(dot(2, 3), &[dot(1, 1)], b"file");
    let held = set(&[&gone, &file]);
    let seen = view(&held, true);
    assert_eq!((seen.shown, seen.copies), (Shown::ImpliedDir, vec![&file]));
}

#[test]
fn deleting_a_conflict_copy_leaves_the_winner_alone() {
    let (old, new) = (version(dot(1, 1), &[], b"old"), version(dot(2, 9), &[], b"new"));
    let mut held = set(&[&old, &new]);
    let mut gone = version(dot(3, 1), &[], b"");
    gone.context = dismissal_context(&held, &old, author(3));
    held.insert(gone).expect("few versions");
    let seen = view(&held, false);
    assert_eq!((seen.shown, seen.copies), (Shown::Version(&new), vec![]));
}

/// Its file stood on disk while the index learned what covers it.
///
/// spec: S-004
#[test]
fn what_was_shown_is_covered_where_the_index_has_dropped_it() {
    let old = version(dot(1, 1), &[dot(4, 2)], b"old");
    let other = version(dot(2, 9), &[], b"other");
    let context = successor_context(&set(&[&other]), &[&old], author(3));
    assert!(context.contains(dot(1, 1)) && context.contains(dot(4, 2)));
    assert!(!context.contains(dot(2, 9)), "nobody saw it");
}

/// spec: S-013
#[test]
fn a_copy_that_the_index_has_dropped_is_dismissed_all_the_same() {
    let old = version(dot(1, 1), &[dot(4, 2)], b"old");
    let other = version(dot(2, 9), &[], b"other");
    let context = dismissal_context(&set(&[&other]), &old, author(3));
    assert!(context.contains(dot(1, 1)) && context.contains(dot(4, 2)));
    assert!(!context.contains(dot(2, 9)), "it is no part of that");
}

#[test]
fn what_an_author_did_not_see_of_its_own_is_not_covered_when_gaps_close() {
    let (own, other) =
        (version(dot(1, 5), &[], b"own"), version(dot(2, 9), &[dot(1, 3)], b"other"));
    let held = set(&[&own, &other]);
    let context = successor_context(&held, &[&other], author(1));
    assert!(
        !context.contains(dot(1, 5)) && context.contains(dot(1, 3)) && context.contains(dot(2, 9))
    );
    let context = successor_context(&held, &[&own], author(1));
    assert_eq!(context.runs().collect::<Vec<_>>(), [(author(1), 1, 5)]);
}

#[test]
fn a_long_history_of_one_site_costs_one_run() {
    let mut held = VersionSet::new();
    for serial in (1..1000).step_by(7) {
        let shown: Vec<&Version> = held.iter().collect();
        let mut next = version(dot(1, serial), &[], format!("{serial}").as_bytes());
        next.context = successor_context(&held, &shown, author(1));
        assert!(next.context.runs_len() <= 1);
        held.insert(next).expect("one version");
    }
    assert_eq!(held.len(), 1);
}

#[test]
fn more_versions_than_limits_allow_are_refused() {
    let mut held = VersionSet::new();
    for serial in 1..=crate::limits::CONCURRENT_MAX as u64 {
        held.insert(version(dot(1, serial), &[], b"x")).expect("within limits");
    }
    let before = held.clone();
    assert_eq!(held.insert(version(dot(2, 1), &[], b"y")), Err(TooManyVersions));
    assert_eq!(held, before);
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// A user writes one of a few contents over what is shown.
    Write(usize, u8),
    /// A user deletes what is shown.
    Delete(usize),
    /// A user deletes a conflict copy.
    Dismiss(usize, Index),
    /// One site hears of one version that another one holds.
    Hear { from: usize, to: usize, which: Index },
}

fn step() -> impl Strategy<Value = Step> {
    let site = 0..3_usize;
    prop_oneof![
        3 => (site.clone(), 0..4_u8).prop_map(|(at, text)| Step::Write(at, text)),
        1 => site.clone().prop_map(Step::Delete),
        1 => (site.clone(), any::<Index>()).prop_map(|(at, which)| Step::Dismiss(at, which)),
        5 => (site.clone(), site, any::<Index>())
            .prop_map(|(from, to, which)| Step::Hear { from, to, which }),
    ]
}

/// Three sites and everything that was ever published.
struct History {
    sites: [VersionSet; 3],
    published: Vec<Version>,
    /// What was deleted or overwritten by somebody who saw it.
    is_seen_off: BTreeMap<Dot, bool>,
}

impl History {
    fn of(steps: &[Step]) -> Self {
        let sites = [VersionSet::new(), VersionSet::new(), VersionSet::new()];
        let mut history = Self { sites, published: Vec::new(), is_seen_off: BTreeMap::new() };
        steps.iter().for_each(|step| history.take(step));
        history
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(at, text) => self.publish(*at, &[b'a' + text]),
            Step::Delete(at) => {
                if self.sites[*at].is_live() {
                    self.publish(*at, b"");
                }
            }
            Step::Dismiss(at, which) => self.dismiss(*at, which),
            Step::Hear { from, to, which } => {
                let held: Vec<_> = self.sites[*from].iter().cloned().collect();
                if !held.is_empty() {
                    let heard = which.get(&held).clone();
                    self.sites[*to].insert(heard).expect("few versions");
                }
            }
        }
    }

    fn next_dot(&self, at: usize) -> Dot {
        dot(u8::try_from(at).expect("three sites"), 1 + self.published.len() as u64)
    }

    fn publish(&mut self, at: usize, text: &[u8]) {
        let held = &self.sites[at];
        let shown: Vec<&Version> = match view(held, false).shown {
            Shown::Version(version) => vec![version],
            Shown::Absent | Shown::ImpliedDir => Vec::new(),
        };
        let mut next = version(self.next_dot(at), &[], text);
        next.context = successor_context(held, &shown, next.dot.author);
        let shown: Vec<Content> = shown.iter().map(|version| version.content.clone()).collect();
        self.see_off(at, |version| shown.contains(&version.content));
        self.add(at, next);
    }

    fn dismiss(&mut self, at: usize, which: &Index) {
        let held = &self.sites[at];
        let copies = view(held, false).copies;
        if copies.is_empty() {
            return;
        }
        let loser = (*which.get(&copies)).clone();
        let mut gone = version(self.next_dot(at), &[], b"");
        gone.context = dismissal_context(held, &loser, gone.dot.author);
        self.see_off(at, |version| version.content == loser.content);
        self.add(at, gone);
    }

    fn see_off(&mut self, at: usize, is_seen: impl Fn(&Version) -> bool) {
        for version in self.sites[at].iter().filter(|version| is_seen(version)) {
            self.is_seen_off.insert(version.dot, true);
        }
    }

    fn add(&mut self, at: usize, version: Version) {
        self.sites[at].insert(version.clone()).expect("few versions");
        self.published.push(version);
    }

    fn merged(&self, order: &[usize]) -> VersionSet {
        let mut all = VersionSet::new();
        order.iter().for_each(|&at| all.merge(&self.sites[at]).expect("few versions"));
        all
    }
}

proptest! {
    #[test]
    fn sites_agree_in_whatever_order_they_hear_of_versions(
        steps in proptest::collection::vec(step(), 1..40),
        keys in proptest::collection::vec(any::<u64>(), 40),
    ) {
        let history = History::of(&steps);
        let merged = history.merged(&[0, 1, 2]);
        for order in [[2, 1, 0], [1, 0, 2], [0, 2, 1]] {
            prop_assert_eq!(&history.merged(&order), &merged);
        }
        let mut again = merged.clone();
        again.merge(&merged).expect("few versions");
        prop_assert_eq!(&again, &merged);
        let mut shuffled: Vec<_> = history.published.iter().zip(&keys).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let heard: Vec<_> = shuffled.into_iter().map(|(version, _)| version).collect();
        prop_assert_eq!(&set(&heard), &merged);
    }

    #[test]
    fn no_version_of_a_set_covers_another(steps in proptest::collection::vec(step(), 1..40)) {
        for held in History::of(&steps).sites {
            for (a, b) in held.iter().flat_map(|a| held.iter().map(move |b| (a, b))) {
                prop_assert!(a == b || !a.covers(b));
            }
        }
    }

    #[test]
    fn what_was_written_is_shown_until_somebody_who_saw_it_puts_something_else_there(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let history = History::of(&steps);
        let merged = history.merged(&[0, 1, 2]);
        let seen = view(&merged, false);
        let shown = match seen.shown {
            Shown::Version(version) => Some(version),
            Shown::Absent | Shown::ImpliedDir => None,
        };
        let visible: Vec<&Content> =
            shown.into_iter().chain(seen.copies).map(|version| &version.content).collect();
        for version in history.published.iter().filter(|version| version.is_live()) {
            let is_over = history.is_seen_off.contains_key(&version.dot);
            prop_assert!(is_over || visible.contains(&&version.content), "{:?} is lost", version);
        }
    }

    #[test]
    fn what_was_covered_never_comes_back(steps in proptest::collection::vec(step(), 1..40)) {
        let history = History::of(&steps);
        let mut merged = history.merged(&[0, 1, 2]);
        for version in &history.published {
            prop_assert_eq!(merged.insert(version.clone()), Ok(Inserted::Old));
        }
    }

    #[test]
    fn a_view_is_the_same_for_equal_sets_and_names_each_content_once(
        steps in proptest::collection::vec(step(), 1..40),
        has_children in any::<bool>(),
    ) {
        for held in History::of(&steps).sites {
            let seen = view(&held, has_children);
            let shown = match seen.shown {
                Shown::Version(version) => Some(version),
                Shown::Absent | Shown::ImpliedDir => None,
            };
            let all: Vec<_> = shown.into_iter().chain(seen.copies.iter().copied()).collect();
            for (at, version) in all.iter().enumerate() {
                prop_assert!(version.is_live());
                prop_assert!(all[..at].iter().all(|other| other.content != version.content));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_bounded_context_names_nothing_new_and_all_that_is_held(
        runs in proptest::collection::btree_map((0_u8..200, 1_u64..400), 0_u64..2, 900..2000),
        held in proptest::collection::vec(any::<Index>(), 0..60),
    ) {
        let mut context = Context::new();
        for (&(site, at), &more) in &runs {
            context.insert_run(author(site), at * 3, at * 3 + more);
        }
        let places: Vec<(u8, u64)> = runs.keys().copied().collect();
        let mut holds = VersionSet::new();
        for index in held {
            let (site, at) = places[index.index(places.len())];
            holds.insert(version(dot(site, at * 3), &[], b"x")).expect("few versions");
        }
        let bounded = bounded_context(context.clone(), &holds, &[]);
        let max = crate::limits::CONTEXT_RUNS_MAX;
        prop_assert_eq!(bounded.runs_len(), context.runs_len().min(max));
        for (author, first, last) in bounded.runs() {
            let is_old = |n| context.contains(Dot { author, serial: Serial::new(n).expect("not 0") });
            prop_assert!((first..=last).all(is_old));
        }
        prop_assert!(holds.iter().all(|held| bounded.contains(held.dot)));
    }

    #[test]
    fn versions_are_a_set_if_and_only_if_none_covers_another(
        versions in proptest::collection::vec(
            (1..4_u8, 1..9_u64, proptest::collection::vec((1..4_u8, 1..9_u64), 0..6)), 0..8),
    ) {
        let versions: Vec<Version> = versions.into_iter().map(|(site, serial, seen)| {
            let seen = seen.into_iter().map(|(site, serial)| dot(site, serial));
            let this = dot(site, serial);
            let seen: Vec<Dot> = seen.filter(|seen| *seen != this).collect();
            version(this, &seen, &[site])
        }).collect();
        let covers = |(n, one): (usize, &Version)| {
            versions.iter().enumerate().any(|(m, other)| n != m && one.covers(other))
        };
        let is_one = !versions.iter().enumerate().any(covers);
        let read = VersionSet::of(versions.clone());
        prop_assert_eq!(read.is_some(), is_one);
        if let Some(read) = read {
            prop_assert_eq!(read, set(&versions.iter().collect::<Vec<_>>()));
        }
    }
}
