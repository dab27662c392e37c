//! What is heard of a real file system, and what becomes of bytes that are no records.

use super::*;
use crate::files::Root;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// A mark on the file system of a directory, or `None`: then it says why, and the test is skipped.
fn mark(dir: &Dir) -> Option<FileSystemMark> {
    match FileSystemMark::start(dir) {
        Ok(mark) => Some(mark),
        Err(error) => {
            println!("skipped: {error}; run the tests with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH");
            None
        }
    }
}

/// A record in words, without where the directory stands.
fn line(record: Record<'_>) -> String {
    let name = |entry: Entry<'_>| String::from_utf8_lossy(entry.name).into_owned();
    match record {
        Record::Overflow => "overflow".to_owned(),
        Record::Nameless => "nameless".to_owned(),
        Record::Changed { what, at } => {
            let dir = if what.is_dir() { "directory " } else { "" };
            let kind = match (what.is_entry(), what.is_written(), what.is_closed()) {
                (true, ..) => "entry",
                (_, _, true) => "closed",
                (_, true, _) => "written",
                _ => "other",
            };
            format!("{dir}{kind} {}", name(at))
        }
        Record::Renamed { is_dir, from, to } => {
            let dir = if is_dir { "directory " } else { "" };
            let name = |entry: Option<Entry<'_>>| entry.map_or("?".to_owned(), name);
            format!("{dir}renamed {} {}", name(from), name(to))
        }
    }
}

/// Reads until `last` was heard: others use the file system as well.
fn heard_until(mark: &mut FileSystemMark, names: &[&str], last: &str) -> Vec<String> {
    let (began, mut heard) = (Instant::now(), Vec::new());
    while heard.last().is_none_or(|line: &String| line != last) {
        assert!(began.elapsed() < Duration::from_secs(60), "{heard:?}");
        for record in mark.read().expect("it reads") {
            let line = line(record.expect("a record"));
            if names.iter().any(|name| line.contains(name)) {
                heard.push(line);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    heard
}

#[test]
fn entries_are_heard_by_directory_and_name_and_renames_with_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = Root::open(dir.path()).expect("it can be opened");
    let Some(mut mark) = mark(root.dir()) else { return };
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("notify-a"), b"x").expect("written");
    std::fs::create_dir(at("notify-d")).expect("made");
    std::fs::rename(at("notify-a"), at("notify-d/notify-b")).expect("moved");
    std::fs::rename(at("notify-d"), at("notify-e")).expect("moved");
    std::fs::remove_dir_all(at("notify-e")).expect("removed");
    let heard = heard_until(&mut mark, &["notify-"], "directory entry notify-e");
    for line in [
        "directory entry notify-d",
        "renamed notify-a notify-b",
        "directory renamed notify-d notify-e",
    ] {
        assert_eq!(heard.iter().filter(|heard| *heard == line).count(), 1, "{heard:?}");
    }
}

#[test]
fn a_directory_is_found_by_its_handle_wherever_it_was_moved_until_it_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().canonicalize().expect("a path");
    let root = Root::open(&path).expect("it can be opened");
    let Some(mark) = mark(root.dir()) else { return };
    std::fs::create_dir(path.join("a (deleted)")).expect("made");
    let held = root.dir().open_dir(b"a (deleted)").expect("there");
    let (kind, bytes) = fanotify::handle_of(held.as_fd()).expect("it has one");
    let found = || mark.finder().path_of(Handle { kind, bytes: &bytes }).expect("it says");
    let is_at = |name: &str| found() == Some(path.join(name).into_os_string().into_encoded_bytes());
    assert!(is_at("a (deleted)"));
    std::fs::rename(path.join("a (deleted)"), path.join("b")).expect("moved");
    assert!(is_at("b"));
    std::fs::remove_dir(path.join("b")).expect("removed");
    assert_eq!(found(), None);
    drop(held);
    assert_eq!(found(), None);
}

#[test]
fn what_lies_beneath_is_known_however_deep_it_lies() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["inside", "outside"] {
        std::fs::create_dir(dir.path().join(name)).expect("made");
    }
    let root = Root::open(&dir.path().join("inside")).expect("it can be opened");
    let Some(mark) = mark(root.dir()) else { return };
    let finder = mark.finder();
    let name = [b'd'; 200];
    for (start, is_inside) in [("inside", true), ("outside", false)] {
        let start = Root::open(&dir.path().join(start)).expect("it can be opened");
        let mut held = start.dir().clone();
        for _ in 0..30 {
            held.make_dir(&name, 0o700).expect("made");
            held = held.open_dir(&name).expect("there");
        }
        let (kind, bytes) = fanotify::handle_of(held.as_fd()).expect("it has one");
        let handle = Handle { kind, bytes: &bytes };
        let too_long = finder.path_of(handle).expect_err("6000 bytes are not told");
        assert_eq!(too_long.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
        assert_eq!(finder.is_beneath(handle).expect("it says"), is_inside);
    }
}

/// One of what the kernel gave, and the places of records in it.
fn captured(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/fanotify/");
    std::fs::read(format!("{path}{name}")).expect("a file of the corpus")
}

#[test]
fn what_a_kernel_gave_is_read() {
    let lines = |name: &str| -> Vec<String> {
        let bytes = captured(name);
        Records::new(&bytes).map(|record| line(record.expect("a record"))).collect()
    };
    assert_eq!(
        lines("seed-renames"),
        ["entry f", "renamed f g", "directory renamed e e", "directory renamed e e",]
    );
    assert!(lines("seed-overflow").ends_with(&["overflow".to_owned()]));
    assert!(lines("seed-directories").contains(&"directory other .".to_owned()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_go_on_for_ever(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(Records::new(&bytes).count() <= bytes.len() / 24 + 1);
    }

    #[test]
    fn what_the_kernel_gave_and_was_damaged_is_read_or_refused(
        name in prop::sample::select(vec!["seed-renames", "seed-directories", "seed-odd-names"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = captured(name);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut records = Records::new(&bytes);
        while let Some(record) = records.next() {
            let entries = match record {
                Err(_) => {
                    prop_assert!(records.next().is_none());
                    break;
                }
                Ok(Record::Changed { at, .. }) => [Some(at), None],
                Ok(Record::Renamed { from, to, .. }) => [from, to],
                Ok(Record::Overflow | Record::Nameless) => [None, None],
            };
            for Entry { dir, name } in entries.into_iter().flatten() {
                prop_assert!(dir.bytes.len() <= 128 && !name.is_empty());
                prop_assert!(!name.contains(&b'/') && !name.contains(&0));
            }
        }
    }
}
