//! What somebody sees who reads a file at a site while versions from elsewhere take its place.

use crate::*;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Files that come in a bundle, as one chunk, and as several.
const FILES: [(&str, usize); 3] = [("small", 2_000), ("one chunk", 60_000), ("large", 3 << 20)];
const VERSIONS: u8 = 25;

/// What a version holds: nothing but its number.
fn version(number: u8, len: usize) -> Vec<u8> {
    vec![number; len]
}

/// Versions differ in their modes as well.
fn mode_of(number: u8) -> u32 {
    if number.is_multiple_of(2) { 0o640 } else { 0o600 }
}

/// Writes a version aside and puts it in place at once, as editors do.
fn put(root: &Path, name: &str, number: u8, len: usize) {
    let aside = root.parent().expect("a home").join("aside");
    fs::write(&aside, version(number, len)).expect("written");
    fs::set_permissions(&aside, fs::Permissions::from_mode(mode_of(number))).expect("set");
    fs::rename(&aside, root.join(name)).expect("put in place");
}

/// Opens the files again and again until told to end; counts what it read.
fn watch(root: &Path, ends: &AtomicBool, read: &AtomicU64) {
    let mut content = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        for (name, len) in FILES {
            let opened = fs::File::open(root.join(name));
            let mut file = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
            let mode = file.metadata().expect("open").permissions().mode() & 0o7777;
            content.clear();
            file.read_to_end(&mut content).expect("readable");
            let number = content.first().copied().unwrap_or(0);
            let is_whole = content.len() == len && content.iter().all(|byte| *byte == number);
            assert!(is_whole, "{name}: {} bytes that begin with {number}", content.len());
            assert_eq!(mode, mode_of(number), "{name}: version {number}");
            read.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_never_missing_and_never_half_written_while_versions_take_its_place() {
    let (here, there) = pair();
    for (name, len) in FILES {
        put(&here.tree(), name, 0, len);
    }
    until_both_have((&here, &there), &tree_of(&here.tree())).await;
    let (ends, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watcher = {
        let (root, ends, read) = (there.tree(), Arc::clone(&ends), Arc::clone(&read));
        std::thread::spawn(move || watch(&root, &ends, &read))
    };
    for number in 1..=VERSIONS {
        for (name, len) in FILES {
            put(&here.tree(), name, number, len);
        }
        until_both_have((&here, &there), &tree_of(&here.tree())).await;
        if watcher.is_finished() {
            break;
        }
    }
    ends.store(true, Ordering::Relaxed);
    if let Err(seen) = watcher.join() {
        std::panic::resume_unwind(seen);
    }
    assert!(read.load(Ordering::Relaxed) > u64::from(VERSIONS), "nobody looked");
}
