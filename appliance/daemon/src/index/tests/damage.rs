//! Indexes that a disk gives otherwise than they were written.

use super::*;
use crate::boot::Boot;
use crate::boot::tests::SAID;

const PAGE: usize = 4096;

/// The items, and what is kept with their contents.
type Seen = (Vec<Item>, Vec<Option<Kept>>);

/// What a user of an index can see of it.
fn seen(index: &Index) -> Result<Seen, IndexError> {
    let items = (1..=60).map(|n| index.read().item(&path(&format!("{}/{n}", n % 3))));
    let contents = (1..=60_u64).map(|n| match file(&n.to_be_bytes()) {
        Content::File { manifest, .. } => index.read().kept_with(manifest),
        _ => Ok(None),
    });
    Ok((items.collect::<Result<_, _>>()?, contents.collect::<Result<_, _>>()?))
}

/// Puts other bytes into the place of an index.
fn damage(location: &Path, bytes: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        remove_if_there(&beside(location, suffix)).unwrap();
    }
    std::fs::write(location, bytes).unwrap();
}

/// spec: S-149
#[test]
fn after_a_power_cut_an_index_is_compared_with_itself_once() {
    let started = |id| SAID.set(Some(Boot { id: Some(id), at_secs: 0 }));
    let home = tempfile::tempdir().unwrap();
    started(7);
    let index = filled(home.path());
    let location = index.path.clone();
    drop(index);
    for boot in [8, 9] {
        started(boot);
        let mut index = Index::open(&location, FOLDER, SITE).unwrap();
        assert!(index.was_cut() && index.is_doubtful);
        // Stopped before that came to its end.
        drop(index);
        index = Index::open(&location, FOLDER, SITE).unwrap();
        assert!(index.was_cut() && index.is_doubtful);
        index.check_after_cut().unwrap();
        drop(index);
        // What it left in the tree was not looked at yet.
        index = Index::open(&location, FOLDER, SITE).unwrap();
        assert!(index.was_cut() && !index.is_doubtful);
    }
    let mut index = Index::open(&location, FOLDER, SITE).unwrap();
    index.end_cut().unwrap();
    drop(index);
    assert!(!Index::open(&location, FOLDER, SITE).unwrap().was_cut());
    SAID.set(None);
}

#[test]
fn a_flipped_byte_is_found_or_harmless() {
    let home = tempfile::tempdir().unwrap();
    let index = filled(home.path());
    let whole = seen(&index).unwrap();
    let location = index.path.clone();
    index.close().unwrap();
    let bytes = std::fs::read(&location).unwrap();
    let (mut found, mut harmless) = (0, 0);
    // Each page at some twenty places, however many pages there are.
    for at in (0..bytes.len()).step_by(PAGE / 20 + 1) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        damage(&location, &flipped);
        let opened = Index::open(&location, FOLDER, SITE);
        let read = opened.and_then(|index| index.check().and_then(|()| seen(&index)));
        match read {
            Err(_) => found += 1,
            Ok(read) => {
                assert_eq!(read, whole, "byte {at}");
                harmless += 1;
            }
        }
    }
    println!("{found} found, {harmless} harmless");
    assert!(found > 300, "{found} found, {harmless} harmless");
    for len in (0..bytes.len()).step_by(4096) {
        damage(&location, &bytes[..len]);
        let opened = Index::open(&location, FOLDER, SITE);
        let read = opened.and_then(|index| index.check().and_then(|()| seen(&index)));
        assert!(read.is_err(), "truncated to {len}");
    }
}

/// What an index of these bytes says, if nothing is found wrong in it.
fn read_of(location: &Path, bytes: &[u8]) -> Result<Seen, IndexError> {
    damage(location, bytes);
    let opened = Index::open(location, FOLDER, SITE);
    opened.and_then(|index| index.check().and_then(|()| seen(&index)))
}

#[test]
fn pages_in_each_others_place_or_of_another_time_are_found_or_harmless() {
    let home = tempfile::tempdir().unwrap();
    let index = filled(home.path());
    let location = index.path.clone();
    index.close().unwrap();
    let before = std::fs::read(&location).unwrap();
    let mut index = Index::open(&location, FOLDER, SITE).unwrap();
    for n in 61..=90_u64 {
        let at = path(&format!("{}/{}", n % 3, n - 60));
        store(&mut index, &at, &version(dot(4, n), &[], file(&n.to_le_bytes())));
    }
    let whole = seen(&index).unwrap();
    index.close().unwrap();
    let bytes = std::fs::read(&location).unwrap();
    let pages = bytes.len() / PAGE;
    let (mut found, mut harmless) = (0, 0);
    let mut note = |read: Result<Seen, IndexError>, what: &str| match read {
        Err(_) => found += 1,
        Ok(read) => {
            assert_eq!(read, whole, "{what}");
            harmless += 1;
        }
    };
    for at in 1..pages {
        // Each page in the place of the one before it, and of one far from it; and as it was once.
        for other in [at - 1, (at * 7 + 3) % pages] {
            let mut swapped = bytes.clone();
            for byte in 0..PAGE {
                swapped.swap(at * PAGE + byte, other * PAGE + byte);
            }
            note(read_of(&location, &swapped), &format!("pages {at} and {other}"));
        }
        let mut stale = bytes.clone();
        if let Some(old) = before.get(at * PAGE..(at + 1) * PAGE) {
            stale[at * PAGE..(at + 1) * PAGE].copy_from_slice(old);
            note(read_of(&location, &stale), &format!("page {at} of another time"));
        }
    }
    println!("{pages} pages: {found} found, {harmless} harmless");
    assert!(found > pages, "{found} found, {harmless} harmless");
}
