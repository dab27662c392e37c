//! Places are found as long as their file has its number; a damaged map is made anew.

use super::*;
use crate::sample::path;
use farhaul_sync::chunk::PageId;
use farhaul_sync::limits::PAGE_MAX;

fn map(home: &tempfile::TempDir) -> ContentMap {
    ContentMap::open(&home.path().join("chunks")).expect("opened")
}

fn id(n: u8) -> ChunkId {
    ChunkId([n; 32])
}

fn tree(at: &str) -> Home {
    Home::Tree(path(at))
}

fn at(n: u8, offset: u64) -> At {
    At { chunk: id(n), offset, len: 65_536 }
}

fn place(home: Home, offset: u64) -> Place {
    Place { home, offset, len: 65_536 }
}

fn note(map: &mut ContentMap, home: &Home, chunks: &[At]) {
    let file = map.begin().expect("begun");
    map.add(file, chunks).expect("added");
    map.settle(file, home).expect("settled");
}

#[test]
fn chunks_are_found_where_their_file_is_and_across_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let mut noted = map(&home);
    note(&mut noted, &tree("a"), &[at(1, 0), at(2, 65_536)]);
    note(&mut noted, &tree("b/c"), &[at(1, 7)]);
    let found = noted.find(id(1)).unwrap();
    assert_eq!(found, [place(tree("b/c"), 7), place(tree("a"), 0)]);
    noted.forget(&tree("a")).unwrap();
    noted.close().unwrap();
    let again = map(&home);
    assert_eq!(again.find(id(1)).unwrap(), [place(tree("b/c"), 7)]);
    assert_eq!(again.find(id(2)).unwrap(), []);
}

#[test]
fn what_a_file_had_before_it_was_read_again_is_not_found_there() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    note(&mut map, &tree("a"), &[at(1, 0), at(2, 65_536)]);
    note(&mut map, &tree("a"), &[at(2, 0)]);
    assert_eq!(map.find(id(1)).unwrap(), []);
    assert_eq!(map.find(id(2)).unwrap(), [place(tree("a"), 0)]);
}

#[test]
fn a_file_that_is_displaced_is_found_where_it_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    let (kept, staged) = (Home::Kept("k1".to_owned()), Home::Staged(ManifestId([3; 32])));
    note(&mut map, &tree("a"), &[at(1, 0)]);
    note(&mut map, &staged, &[at(2, 0)]);
    map.moved(&tree("a"), &kept).unwrap();
    map.moved(&staged, &tree("a")).unwrap();
    assert_eq!(map.find(id(1)).unwrap(), [place(kept, 0)]);
    assert_eq!(map.find(id(2)).unwrap(), [place(tree("a"), 0)]);
    // What was never noted takes nothing away.
    map.moved(&tree("unknown"), &tree("a")).unwrap();
    assert_eq!(map.find(id(2)).unwrap(), [place(tree("a"), 0)]);
}

#[test]
fn a_file_that_is_not_noted_to_its_end_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    let file = map.begin().unwrap();
    map.add(file, &[at(1, 0)]).unwrap();
    assert_eq!(map.find(id(1)).unwrap(), []);
    map.abandon(file).unwrap();
    assert_eq!(map.find(id(1)).unwrap(), []);
}

#[test]
fn a_chunk_that_is_everywhere_has_a_few_places() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    let chunks: Vec<At> = (0..100).map(|n| at(0, n << 16)).collect();
    note(&mut map, &tree("a"), &chunks);
    assert_eq!(map.find(id(0)).unwrap().len(), PLACES_MAX as usize);
    // Those of a file that is gone take no room from others.
    note(&mut map, &tree("a"), &[at(1, 0)]);
    note(&mut map, &tree("b"), &[at(0, 0)]);
    assert_eq!(map.find(id(0)).unwrap(), [place(tree("b"), 0)]);
}

#[test]
fn dead_places_are_swept_when_they_are_many() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    let chunk = |n: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        At { chunk: ChunkId(id), offset: n, len: 1 }
    };
    // How many are dead is judged by the mean of both files.
    let chunks: Vec<At> = (0..2 * DEAD_MIN + 10).map(chunk).collect();
    note(&mut map, &tree("a"), &chunks);
    note(&mut map, &tree("a"), &chunks[..5]);
    let left = count(&map.db, "SELECT count(*) FROM places").unwrap();
    assert_eq!(left, 5);
    assert_eq!(map.find(chunks[4].chunk).unwrap().len(), 1);
}

#[test]
fn pages_are_kept_by_their_names() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    let ids = [1, 2].map(|n| PageId([n; 32]));
    map.add_pages(&[(ids[0], vec![7; PAGE_MAX])]).unwrap();
    map.add_pages(&[(ids[0], vec![7; PAGE_MAX])]).unwrap();
    assert!(map.add_pages(&[(ids[1], vec![7; PAGE_MAX + 1])]).is_err());
    assert_eq!(map.page(ids[0]).unwrap(), Some(vec![7; PAGE_MAX]));
    assert!(map.has_page(ids[0]).unwrap() && !map.has_page(ids[1]).unwrap());
    map.forget_page(ids[0]).unwrap();
    assert_eq!(map.page(ids[0]).unwrap(), None);
}

#[test]
fn a_damaged_map_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().join("chunks");
    let mut noted = map(&home);
    note(&mut noted, &tree("a"), &[at(1, 0)]);
    noted.close().unwrap();
    let len = std::fs::metadata(&location).unwrap().len();
    for junk in [vec![0x55; 5000], vec![0; usize::try_from(len).unwrap()]] {
        std::fs::write(&location, junk).unwrap();
        let mut noted = map(&home);
        assert_eq!(noted.find(id(1)).unwrap(), []);
        note(&mut noted, &tree("a"), &[at(1, 0)]);
        noted.close().unwrap();
    }
}

/// Chunks that were cut otherwise are found no more, and nobody needs them to be.
#[test]
fn a_map_of_another_format_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let mut noted = map(&home);
    note(&mut noted, &tree("a"), &[at(1, 0)]);
    noted.db.pragma_update(None, "user_version", FORMAT - 1).unwrap();
    noted.close().unwrap();
    let mut again = map(&home);
    assert_eq!(again.find(id(1)).unwrap(), []);
    note(&mut again, &tree("a"), &[at(1, 0)]);
    again.close().unwrap();
    assert_eq!(map(&home).find(id(1)).unwrap(), [place(tree("a"), 0)]);
}
