//! Places are found as long as their file has its number; a damaged map is made anew. Random
//! histories go through the stored map and through the one in memory.

use super::memory::MemoryMap;
use super::stored::{DEAD_MIN, FORMAT, count};
use super::*;
use crate::sample::path;
use farhaul_engine::files::stop::Stop;
use farhaul_sync::limits::PAGE_MAX;
use proptest::prelude::*;

fn map(home: &tempfile::TempDir) -> ContentMap {
    ContentMap::open(&home.path().join("chunks")).expect("opened")
}

fn id(n: u8) -> ChunkId {
    ChunkId([n; 32])
}

fn content(n: u8) -> ManifestId {
    ManifestId([n; 32])
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
    map.settle(file, home, content(chunks[0].chunk.0[0])).expect("settled");
    map.sweep().expect("swept");
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

/// As a log that is moved aside while another one is begun in its place, which is read first.
#[test]
fn a_file_that_is_found_elsewhere_when_its_place_is_taken_is_known_there() {
    let home = tempfile::tempdir().unwrap();
    let mut map = map(&home);
    note(&mut map, &tree("log"), &[at(1, 0)]);
    note(&mut map, &tree("log"), &[at(2, 0)]);
    map.found_at(content(1), &tree("log"), &tree("log.1")).unwrap();
    assert_eq!(map.find(id(1)).unwrap(), [place(tree("log.1"), 0)]);
    assert_eq!(map.find(id(2)).unwrap(), [place(tree("log"), 0)]);
    // Two that changed places.
    map.found_at(content(1), &tree("log.1"), &tree("log")).unwrap();
    map.found_at(content(2), &tree("log"), &tree("log.1")).unwrap();
    assert_eq!(map.find(id(1)).unwrap(), [place(tree("log"), 0)]);
    assert_eq!(map.find(id(2)).unwrap(), [place(tree("log.1"), 0)]);
    // What is remembered takes no room among those that are here, and goes with a sweep.
    for _ in 0..2 * PLACES_MAX {
        note(&mut map, &tree("log"), &[at(1, 0)]);
    }
    assert_eq!(map.find(id(1)).unwrap(), [place(tree("log"), 0)]);
    // Whoever opens it again counts what is dead.
    map.dead_min = 0;
    map.recount();
    map.sweep().unwrap();
    assert_eq!(count(&map.db, "SELECT count(*) FROM files").unwrap(), 2);
    assert_eq!(count(&map.db, "SELECT count(*) FROM places").unwrap(), 2);
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
fn what_was_there_is_counted_by_somebody_else_and_swept_after_that() {
    let home = tempfile::tempdir().unwrap();
    let mut noted = map(&home);
    assert_eq!(noted.uncounted(), None, "nothing was there");
    note(&mut noted, &tree("a"), &[at(1, 0), at(2, 65_536), at(3, 131_072)]);
    // The process ends before it sweeps.
    noted.forget(&tree("a")).unwrap();
    drop(noted);
    let mut again = map(&home);
    again.dead_min = 3;
    let left = |map: &ContentMap| count(&map.db, "SELECT count(*) FROM places").unwrap();
    again.sweep().unwrap();
    assert_eq!(left(&again), 3, "nobody counted yet");
    let uncounted = again.uncounted().expect("it is to be counted");
    let stopped = Stop::default();
    let counts = Counts::of(&uncounted, &stopped).expect("nobody holds it");
    again.counted(counts);
    assert_eq!(again.uncounted(), None);
    again.sweep().unwrap();
    assert_eq!(left(&again), 0);
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

/// A step of a history. Files that are being noted are named by their place among those.
#[derive(Clone, Debug)]
enum Act {
    Begin,
    Add(usize, Vec<At>),
    Settle(usize, Home),
    Abandon(usize),
    Moved(Home, Home),
    Forget(Home),
    AddPages(Vec<(PageId, Vec<u8>)>),
    ForgetPage(PageId),
    Sweep,
    /// The process ends, in order or not, and another one begins.
    Stop,
}

const CHUNKS: u8 = 4;
const PAGES: u8 = 3;

fn some_home() -> impl Strategy<Value = Home> {
    prop_oneof![
        prop::sample::select(vec!["a", "b", "d/a"]).prop_map(tree),
        Just(Home::Kept("k".to_owned())),
        Just(Home::Staged(ManifestId([3; 32]))),
    ]
}

fn some_chunks() -> impl Strategy<Value = Vec<At>> {
    let chunk = (0..CHUNKS, 0..20_u64, 1..3_u32);
    let chunk = chunk.prop_map(|(n, offset, len)| At { chunk: id(n), offset, len });
    prop::collection::vec(chunk, 0..12)
}

fn some_pages() -> impl Strategy<Value = Vec<(PageId, Vec<u8>)>> {
    let len = prop_oneof![9 => 0..4_usize, 1 => Just(PAGE_MAX + 1)];
    let page = (0..PAGES, len).prop_map(|(n, len)| (PageId([n; 32]), vec![n; len]));
    prop::collection::vec(page, 0..3)
}

fn some_act() -> impl Strategy<Value = Act> {
    let which = || any::<prop::sample::Index>().prop_map(|which| which.index(1 << 16));
    prop_oneof![
        4 => Just(Act::Begin),
        6 => (which(), some_chunks()).prop_map(|(which, chunks)| Act::Add(which, chunks)),
        4 => (which(), some_home()).prop_map(|(which, home)| Act::Settle(which, home)),
        1 => which().prop_map(Act::Abandon),
        2 => (some_home(), some_home()).prop_map(|(from, to)| Act::Moved(from, to)),
        1 => some_home().prop_map(Act::Forget),
        1 => some_pages().prop_map(Act::AddPages),
        1 => (0..PAGES).prop_map(|n| Act::ForgetPage(PageId([n; 32]))),
        1 => Just(Act::Sweep),
        1 => Just(Act::Stop),
    ]
}

/// A map and the files that are being noted in it.
struct Player<M> {
    map: M,
    open: Vec<FileNumber>,
}

impl<M: ChunkMap> Player<M> {
    /// Does a step, and says whether it was done; what names a file while there is none does nothing.
    fn act(&mut self, act: &Act) -> bool {
        let (map, open) = (&mut self.map, &mut self.open);
        let which = |which: usize, open: &[FileNumber]| which.checked_rem(open.len());
        let done = match act {
            Act::Begin => map.begin().map(|file| open.push(file)),
            Act::Add(n, chunks) => which(*n, open).map_or(Ok(()), |at| map.add(open[at], chunks)),
            Act::Settle(n, home) => {
                which(*n, open).map_or(Ok(()), |at| map.settle(open.remove(at), home, content(7)))
            }
            Act::Abandon(n) => which(*n, open).map_or(Ok(()), |at| map.abandon(open.remove(at))),
            Act::Moved(from, to) => map.moved(from, to),
            Act::Forget(home) => map.forget(home),
            Act::AddPages(pages) => map.add_pages(pages),
            Act::ForgetPage(page) => map.forget_page(*page),
            Act::Sweep => map.sweep(),
            Act::Stop => {
                open.clear();
                Ok(())
            }
        };
        done.is_ok()
    }

    /// All that anybody can find out.
    fn told(&self) -> (Vec<Vec<Place>>, Vec<Option<Vec<u8>>>) {
        let places = (0..CHUNKS).map(|n| self.map.find(id(n)).expect("found"));
        let pages = (0..PAGES).map(|n| {
            let page = self.map.page(PageId([n; 32])).expect("read");
            assert_eq!(self.map.has_page(PageId([n; 32])).expect("read"), page.is_some());
            page
        });
        (places.collect(), pages.collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_stored_map_says_what_the_one_in_memory_says(
        acts in prop::collection::vec(some_act(), 1..60),
    ) {
        let home = tempfile::tempdir().unwrap();
        // So few that a history comes to sweeps that do something.
        let open_map = || { let mut map = map(&home); map.dead_min = 3; map };
        let mut stored = Player { map: open_map(), open: Vec::new() };
        let mut model = Player { map: MemoryMap::default(), open: Vec::new() };
        for act in &acts {
            prop_assert_eq!(stored.act(act), model.act(act), "{:?}", act);
            if matches!(act, Act::Stop) {
                model.map.stop();
                stored.map = open_map();
            }
            prop_assert_eq!(stored.told(), model.told(), "after {:?}", act);
        }
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
