//! When a person is asked, and what is remembered of it.

use super::*;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

fn path(n: u64) -> RelPath {
    RelPath::parse(format!("file {n}").as_bytes()).expect("a path")
}

fn load(deleted: u64, rewritten: u64) -> Load {
    let mut load = Load::default();
    (0..deleted).for_each(|n| load.add(&path(n), true));
    (0..rewritten).for_each(|n| load.add(&path(n), false));
    load
}

/// Whether so many changes of so many paths at once are held.
fn is_held(deleted: u64, rewritten: u64, of: u64) -> bool {
    let limits = Limits::default();
    Brake::default().weigh(Origin::Disk, &load(deleted, rewritten), of, (&limits, 0))
}

#[test]
fn more_than_a_quarter_from_twenty_files_on_or_more_than_a_thousand_are_held() {
    assert!(!is_held(19, 0, 19), "few");
    assert!(is_held(20, 0, 79), "more than a quarter");
    assert!(!is_held(20, 0, 80), "a quarter");
    assert!(is_held(10, 10, 79), "deletions and rewrites count alike");
    assert!(!is_held(1000, 0, 1_000_000));
    assert!(is_held(1001, 0, 1_000_000));
}

#[test]
fn all_that_there_is_is_held_from_eight_files_on() {
    let limits = Limits::default();
    for (deleted, held) in [(7, false), (8, true)] {
        let load = Load { is_all: true, ..load(deleted, 0) };
        assert_eq!(Brake::default().weigh(Origin::Disk, &load, deleted, (&limits, 0)), held);
    }
}

#[test]
fn what_comes_little_by_little_counts_for_ten_minutes() {
    let limits = Limits::default();
    let mut brake = Brake::default();
    for minute in 0..9 {
        let now = minute * MINUTE;
        assert!(!brake.weigh(Origin::Disk, &load(100, 11), 1_000_000, (&limits, now)));
    }
    assert!(brake.weigh(Origin::Disk, &load(2, 0), 1_000_000, (&limits, 9 * MINUTE)));
    let mut slow = Brake::default();
    for minute in 0..1000 {
        let now = minute * MINUTE;
        assert!(!slow.weigh(Origin::Disk, &load(100, 0), 1_000_000, (&limits, now)), "{minute}");
    }
    assert!(slow.encode().len() < 512, "what is counted is bounded");
}

#[test]
fn origins_are_counted_apart_and_those_without_a_name_together() {
    let limits = Limits::default();
    let mut brake = Brake::default();
    let (one, other) = (Origin::Site(SiteId([1; 32])), Origin::Site(SiteId([2; 32])));
    for origin in [one, other, Origin::Disk, Origin::Others] {
        assert!(!brake.weigh(origin, &load(600, 0), 1_000_000, (&limits, 0)));
    }
    assert!(brake.weigh(Origin::Others, &load(600, 0), 1_000_000, (&limits, 0)));
    assert!(!brake.is_on(one) && !brake.is_on(Origin::Disk));
}

#[test]
fn what_is_let_go_counts_no_more_and_what_came_meanwhile_is_shown() {
    let limits = Limits::default();
    let mut brake = Brake::default();
    assert!(!brake.weigh(Origin::Disk, &load(500, 0), 1_000_000, (&limits, 5)));
    assert!(brake.weigh(Origin::Disk, &load(500, 40), 1_000_000, (&limits, 7)));
    assert!(brake.weigh(Origin::Disk, &load(1, 0), 1_000_000, (&limits, 90 * MINUTE)));
    let trip = brake.release(Origin::Disk).expect("it was held");
    assert_eq!((trip.since_millis, trip.deleted, trip.rewritten), (7, 1001, 40));
    assert_eq!((trip.of, trip.examples.len()), (1_000_000, EXAMPLES_MAX));
    assert!(!brake.is_on(Origin::Disk));
    assert!(!brake.weigh(Origin::Disk, &load(900, 0), 1_000_000, (&limits, 90 * MINUTE)));
}

#[test]
fn a_clock_that_was_set_back_for_years_does_not_make_old_changes_count() {
    let limits = Limits::default();
    let mut brake = Brake::default();
    assert!(!brake.weigh(Origin::Disk, &load(900, 0), 1_000_000, (&limits, 1 << 40)));
    assert!(!brake.weigh(Origin::Disk, &load(900, 0), 1_000_000, (&limits, 1 << 30)));
    assert!(brake.weigh(Origin::Disk, &load(101, 0), 1_000_000, (&limits, 1 << 30)));
}

fn any_brake() -> impl Strategy<Value = Brake> {
    let origin = prop_oneof![
        Just(Origin::Disk),
        Just(Origin::Others),
        any::<[u8; 32]>().prop_map(|site| Origin::Site(SiteId(site))),
    ];
    let step = (origin, 0..1200_u64, 0..50_u64, any::<u32>());
    proptest::collection::vec(step, 0..20).prop_map(|steps| {
        let mut brake = Brake::default();
        for (origin, deleted, rewritten, now) in steps {
            let limits = Limits::default();
            brake.weigh(origin, &load(deleted, rewritten), 4000, (&limits, now.into()));
        }
        brake
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_read_again(brake in any_brake()) {
        prop_assert_eq!(Brake::decode(&brake.encode()), Some(brake));
    }

    #[test]
    fn whatever_is_read_ends_without_a_panic(
        brake in any_brake(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0..64_usize,
    ) {
        let mut bytes = brake.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut).max(1));
        if let Some(read) = Brake::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}
