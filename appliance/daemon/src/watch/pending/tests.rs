//! When paths are handed out, and what becomes of them when there are too many.

use super::*;
use proptest::prelude::*;

fn rel(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("a path")
}

fn entry(path: &str) -> Notice {
    Notice::Entry(rel(path))
}

fn tree(path: &str) -> Notice {
    Notice::Tree(rel(path))
}

fn due(path: &str, is_tree: bool) -> Due {
    Due { path: rel(path), is_tree }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_path_is_handed_out_once_it_was_left_alone() {
    let (mut pending, start) = (Pending::new(10), Instant::now());
    assert!(pending.note(&entry("b"), start));
    assert!(pending.note(&entry("a"), start));
    assert!(pending.note(&entry("a"), start + 40 * MS));
    assert_eq!(pending.take(start + 49 * MS, 10), []);
    assert_eq!(pending.take(start + 50 * MS, 10), [due("b", false)]);
    assert_eq!(pending.next(), Some(start + 90 * MS));
    assert_eq!(pending.take(start + 90 * MS, 10), [due("a", false)]);
    assert!(pending.is_empty() && pending.next().is_none());
}

#[test]
fn a_file_that_is_open_is_left_alone_for_longer_until_it_is_closed() {
    let (mut pending, start) = (Pending::new(10), Instant::now());
    pending.note(&Notice::Written(rel("f")), start);
    assert_eq!(pending.next(), Some(start + QUIET_OPEN));
    pending.note(&Notice::Closed(rel("f")), start + 60 * MS);
    assert_eq!(pending.next(), Some(start + 60 * MS + QUIET));
}

#[test]
fn a_path_that_is_never_left_alone_is_handed_out_after_seconds_all_the_same() {
    let (mut pending, start) = (Pending::new(10), Instant::now());
    let mut taken = Vec::new();
    for at in 0..6000_u32 {
        let now = start + at * 10 * MS;
        pending.note(&Notice::Written(rel("log")), now);
        if !pending.take(now, 10).is_empty() {
            taken.push(now);
        }
    }
    let gaps: Vec<Duration> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(taken.len() >= 8, "{taken:?}");
    assert!(gaps.iter().all(|gap| *gap <= QUIET_MAX * 2 + 10 * MS), "{gaps:?}");
    // What is not left alone has to be left alone for longer, up to a bound.
    pending.take(start + 70_000 * MS, 10);
    pending.note(&entry("log"), start + 70_001 * MS);
    assert_eq!(pending.next(), Some(start + 70_001 * MS + QUIET_MAX));
    pending.take(start + 80_000 * MS, 10);
    pending.note(&entry("log"), start + 100_000 * MS);
    assert_eq!(pending.next(), Some(start + 100_000 * MS + QUIET));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_for_a_part_of_the_time_only() {
    let (mut pending, start) = (Pending::new(10), Instant::now());
    let mut now = start;
    pending.note(&entry("image"), now);
    let took = 30_000 * MS;
    for _ in 0..5 {
        now = pending.next().expect("it waits");
        assert_eq!(pending.take(now, 10), [due("image", false)]);
        now += took;
        pending.retry(&rel("image"), took, now);
        assert!(pending.next().expect("it waits") >= now + took * READ_SHARE);
        assert!(pending.next().expect("it waits") <= now + took * (READ_SHARE * 2 + 1));
    }
}

#[test]
fn what_is_beneath_a_directory_that_waits_belongs_to_it() {
    let (mut pending, start) = (Pending::new(10), Instant::now());
    pending.note(&entry("d/a"), start);
    pending.note(&entry("d-"), start);
    pending.note(&tree("d"), start);
    pending.note(&entry("d/b/c"), start + 20 * MS);
    assert_eq!(pending.len(), 2);
    assert_eq!(pending.take(start + 50 * MS, 10), [due("d-", false)]);
    assert_eq!(pending.take(start + 70 * MS, 10), [due("d", true)]);
}

#[test]
fn where_too_many_wait_directories_are_looked_at_and_then_everything() {
    let (mut pending, start) = (Pending::new(16), Instant::now());
    for n in 0..40 {
        assert!(pending.note(&entry(&format!("a/{}/{n}", n % 3)), start));
        assert!(pending.len() <= 16);
    }
    let all = pending.take(start + 60 * MS, 100);
    let of_dirs: Vec<_> =
        all.iter().filter(|due| due.is_tree).map(|due| due.path.clone()).collect();
    assert_eq!(of_dirs, [rel("a/0"), rel("a/1"), rel("a/2")]);
    let kept: Vec<bool> = (0..17).map(|n| pending.note(&entry(&n.to_string()), start)).collect();
    assert!(kept[..16].iter().all(|kept| *kept) && !kept[16]);
    assert!(pending.is_empty());
}

fn notice() -> impl Strategy<Value = Notice> {
    let name = prop::sample::select(vec!["a", "b", "c-", "c"]);
    let path = prop::collection::vec(name, 1..5).prop_map(|names| rel(&names.join("/")));
    (path, 0..4_u8).prop_map(|(path, kind)| match kind {
        0 => Notice::Entry(path),
        1 => Notice::Written(path),
        2 => Notice::Closed(path),
        _ => Notice::Tree(path),
    })
}

proptest! {
    #[test]
    fn whatever_happened_is_handed_out_by_itself_or_with_a_directory_above_it(
        notices in prop::collection::vec((notice(), 0..80_u32), 1..60), limit in 1..20_usize,
    ) {
        let mut pending = Pending::new(limit);
        let mut now = Instant::now();
        let mut heard = Vec::new();
        let mut out = Vec::new();
        for (notice, gap) in &notices {
            now += *gap * MS;
            out.extend(pending.take(now, 3));
            if pending.note(notice, now) {
                heard.push(notice.clone());
            } else {
                // Everything is looked at.
                (heard, out) = (Vec::new(), Vec::new());
            }
            prop_assert!(pending.len() <= limit);
            prop_assert_eq!(pending.order.len(), pending.entries.len());
        }
        while let Some(next) = pending.next() {
            prop_assert!(next <= now + WAIT_MAX.max(QUIET_MAX * 2));
            out.extend(pending.take(next, 3));
        }
        for notice in heard {
            let (path, is_tree) = match notice {
                Notice::Entry(path) | Notice::Written(path) | Notice::Closed(path) => (path, false),
                Notice::Tree(path) => (path, true),
                Notice::Lost | Notice::Whole => continue,
            };
            let covers = |due: &Due| {
                due.path == path && (due.is_tree || !is_tree)
                    || due.is_tree && path.starts_with(&due.path)
            };
            prop_assert!(out.iter().any(covers), "{path} in {out:?}");
        }
    }
}
