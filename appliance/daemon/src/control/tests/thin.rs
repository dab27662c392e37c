//! Versions that are thinned out, and what asks for them at that moment.

use super::*;
use crate::control::ask::AskError;
use crate::control::revise::Revision;
use crate::index::Durability;
use crate::store::retention::Retention;
use farhaul_proto::units::Bytes;
use farhaul_sync::version::Meta;

/// A neighbour wrote `count` versions of `a`, each over the one before; all but the last are kept.
fn rewritten(bench: &mut Bench, count: u64) {
    let root = bench.root("a");
    for serial in 1..=count {
        // As if a neighbour's had come: this site's own is replaced, and what it replaces is kept.
        fs::write(&root, format!("text {serial}")).unwrap();
        bench.scan();
        bench.say_next("a", serial, Content::Gone);
        bench.settle();
    }
    assert!(!root.exists());
    assert_eq!(bench.kept().len() as u64, count);
}

/// As if all that is kept had been displaced at these moments, in seconds before now.
fn age(bench: &mut Bench, ages: &[u64]) {
    let now = folder::wall_millis() / 1000;
    let kept = bench.kept();
    assert_eq!(kept.len(), ages.len());
    let texts: Vec<Vec<u8>> = kept.iter().map(|kept| bench.kept_bytes(kept)).collect();
    let mut ordered: Vec<_> = texts.into_iter().zip(kept).collect();
    ordered.sort_by(|a, b| a.0.cmp(&b.0));
    let mut writing = bench.folder().index.begin(Durability::Now).unwrap();
    for ((_, kept), age) in ordered.into_iter().zip(ages) {
        writing.forget_loose(&kept.name).unwrap();
        writing.write_kept(&Kept { at_secs: now - age, ..kept }).unwrap();
    }
    writing.commit().unwrap();
}

fn thin(bench: &mut Bench) {
    let folder = bench.folder();
    folder.thinning.begin_now();
    folder.keep_thinning();
    assert!(folder.thinning.is_busy());
    bench.settle();
}

fn texts(bench: &mut Bench) -> Vec<String> {
    let kept = bench.kept();
    let mut texts: Vec<String> =
        kept.iter().map(|kept| String::from_utf8(bench.kept_bytes(kept)).unwrap()).collect();
    texts.sort();
    texts
}

/// spec: S-045
#[test]
fn of_what_is_kept_less_stays_the_older_it_is() {
    const DAY: u64 = 24 * 3600;
    let mut bench = Bench::new();
    rewritten(&mut bench, 4);
    age(&mut bench, &[400 * DAY, 3 * DAY, 3 * DAY - 60, 10]);
    thin(&mut bench);
    assert_eq!(texts(&mut bench), ["text 2", "text 4"]);
    let kept = bench.folder().thinning.status();
    assert_eq!((kept.versions, kept.bytes), (2, 12));
    assert!(kept.counted.is_some());
    let names = bench.folder().store.kept_names().unwrap();
    assert_eq!(names.len(), 2);
}

/// spec: S-045
#[test]
fn what_was_displaced_a_moment_ago_stays_whatever_came_after_it() {
    let mut bench = Bench::new();
    rewritten(&mut bench, 3);
    thin(&mut bench);
    assert_eq!(texts(&mut bench).len(), 3);
}

/// spec: S-045
#[test]
fn the_oldest_go_where_there_is_no_room_for_all() {
    let mut bench = Bench::new();
    rewritten(&mut bench, 4);
    age(&mut bench, &[40_000, 30_000, 20_000, 10_000]);
    bench.folder().setup.retention = Retention { age: None, room: Some(Bytes::new(15)) };
    thin(&mut bench);
    assert_eq!(texts(&mut bench), ["text 3", "text 4"]);
}

/// spec: S-045
#[test]
fn a_clock_that_jumps_ahead_by_years_removes_nothing_at_once() {
    let mut bench = Bench::new();
    rewritten(&mut bench, 2);
    // As old as a year by a clock that was a day further back an hour ago.
    age(&mut bench, &[366 * 24 * 3600, 366 * 24 * 3600 - 3601]);
    let real = folder::wall_millis() / 1000;
    let mut writing = bench.folder().index.begin(Durability::Now).unwrap();
    writing.set_thinned(real - 366 * 24 * 3600).unwrap();
    writing.commit().unwrap();
    thin(&mut bench);
    assert_eq!(texts(&mut bench), ["text 1", "text 2"]);
    let thinned = bench.folder().index.read().thinned().unwrap();
    assert_eq!(thinned, Some(real - 365 * 24 * 3600));
}

/// spec: S-045
#[test]
fn what_is_to_come_back_and_went_meanwhile_is_refused_and_what_came_back_stays() {
    let mut bench = Bench::new();
    rewritten(&mut bench, 2);
    age(&mut bench, &[400 * 24 * 3600, 399 * 24 * 3600]);
    let kept = bench.kept();
    let revision = |kept: &Kept| {
        let content = kept.version.clone().unwrap().content;
        let meta = Meta { mode: 0o644, ..Meta::default() };
        Revision { path: path("a"), content, meta, comes: false }
    };
    let (first, second) = (&kept[0], &kept[1]);
    let (first_bytes, second_bytes) = (bench.kept_bytes(first), bench.kept_bytes(second));
    assert_ne!(first_bytes, second_bytes);
    // It is published before the round, and stands nowhere yet.
    assert_eq!(bench.folder().revise(vec![revision(first)]).unwrap(), 1);
    let names: Vec<String> = kept.iter().map(|kept| kept.name.clone()).collect();
    let expired = names.into_iter().map(|name| (path("a"), name)).collect();
    bench.folder().expired(expired, folder::wall_millis() / 1000);
    let refused = bench.folder().revise(vec![revision(second)]);
    assert!(matches!(refused, Err(AskError::NotKept { .. })), "{refused:?}");
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), first_bytes);
}
