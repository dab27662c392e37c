//! Folders and paths that stop, and go on by themselves: what a user does meanwhile is kept, nothing
//! else is held up, and it is said.

use super::*;
use crate::control::recover::tests::FAILS;
use crate::site::{Outbox, Outgoing};
use crate::store::NameTable;
use farhaul_sync::chunk::PageId;
use farhaul_sync::limits::FILE_MAX;
use farhaul_sync::message::Wanted;
use farhaul_sync::version::{ManifestId, Meta};

/// A bench in which `a` was changed by a neighbour, and the folder halted before the index knew.
fn amid_a_change() -> (Bench, Version) {
    amid_a_change_of(Bench::new(), Meta::default())
}

/// The same, where the neighbour said this of the owner and group.
fn amid_a_change_of(mut bench: Bench, said: Meta) -> (Bench, Version) {
    let (owner, group) = (said.owner, said.group);
    fs::write(bench.root("a"), "old").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let stood = bench.placed("a").version;
    let mut said = version(dot(2, 1), &[], content_of(&mut bench, "source"));
    said.context = stood.context.clone();
    said.context.insert(stood.dot);
    said.stamp.millis = stood.stamp.millis + 1;
    (said.meta.owner, said.meta.group) = (owner, group);
    bench.say("a", &said);
    bench.folder().store.fail_syncs(true);
    bench.settle();
    let halt = bench.halt("tree").expect("it halts");
    assert_eq!(halt.kind, HaltKind::Disk, "{}", halt.reason);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    (bench, said)
}

/// Until it is tried again and found out what became of the change.
fn wait_for_decision(bench: &mut Bench) {
    let began = Instant::now();
    while !bench.folder().index.read().intents().unwrap().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it is not tried again");
        bench.body.take(Event::Tick);
        bench.settle();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn append(bench: &Bench, at: &str, text: &str) {
    let mut file = fs::File::options().append(true).open(bench.root(at)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_failed_sync_of_a_directory_halts_the_folder_until_it_is_recovered() {
    let (mut bench, said) = amid_a_change();
    assert!(bench.body.folders.is_empty());
    bench.retry();
    assert!(bench.halt("tree").is_none());
    // The change was made before the sync failed: it is found done, and what it displaced kept.
    assert_eq!(bench.placed("a").version, said);
    assert_eq!(bench.folder().index.read().intents().unwrap(), []);
    let kept = bench.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.kept_bytes(&kept[0]), b"old");
}

/// It has what it displaced, and cannot say so before it was opened again. spec: S-159
#[test]
fn a_folder_that_halts_says_of_nothing_that_it_is_not_there() {
    let (mut bench, _) = amid_a_change();
    let (neighbour, stranger) = (SiteId([2; 32]), SiteId([9; 32]));
    for (peer, lens) in [(neighbour, vec![]), (stranger, vec![None])] {
        let (outbox, mut said) = Outbox::to_test(peer, false);
        bench.body.take(Event::Peer(FromPeer::Up { peer, outbox }.into()));
        let wanted = vec![Wanted::Whole { manifest: ManifestId([1; 32]) }];
        bench
            .body
            .take(Event::Peer(FromPeer::Asked { peer, id: 7, folder: FOLDER, wanted }.into()));
        assert!(matches!(said.try_recv(), Ok(Outgoing::Say(Message::Share { .. }))));
        let Ok(Outgoing::Give { id: 7, lens: given, source }) = said.try_recv() else {
            panic!("no answer");
        };
        assert!(given == lens && source.is_empty(), "{given:?}");
    }
}

/// spec: S-161
#[test]
fn who_does_not_take_what_it_asked_for_is_given_no_more_until_it_does() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "a").unwrap();
    bench.scan();
    let Content::File { manifest, .. } = content_of(&mut bench, "a") else { panic!("no file") };
    let peer = SiteId([2; 32]);
    let (outbox, mut said) = Outbox::to_test(peer, false);
    bench.body.take(Event::Peer(FromPeer::Up { peer, outbox: outbox.clone() }.into()));
    let mut ask = |wanted: Vec<Wanted>| {
        let outbox = outbox.clone();
        bench.folder().asked(peer, 7, &wanted, &outbox);
        loop {
            if let Outgoing::Give { lens, source, .. } = said.try_recv().expect("an answer") {
                return (lens, source);
            }
        }
    };
    let pages = vec![Wanted::Page { page: PageId([1; 32]) }; 64];
    let file = vec![Wanted::Whole { manifest }];
    let mut not_taken = Vec::new();
    for _ in 0..25 {
        let (lens, source) = ask(pages.clone());
        assert_eq!(lens, vec![None; 64]);
        not_taken.push(source);
    }
    assert_eq!(ask(pages.clone()).0, [], "nobody is told that it is not here");
    // What is small has room beside it.
    assert_eq!(ask(file.clone()).0, [Some(1)]);
    drop(not_taken);
    assert_eq!(ask(pages).0.len(), 64);
    assert_eq!(ask(file).0, [Some(1)]);
}

#[test]
fn what_is_appended_after_a_stop_amid_a_change_is_an_edit_of_what_was_put_there() {
    let (mut bench, said) = amid_a_change();
    append(&bench, "a", " and mine");
    bench.retry();
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs and mine");
    let item = bench.item("a");
    let heads: Vec<&Version> = item.versions.iter().collect();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].dot != said.dot && heads[0].covers(&said));
    let kept = bench.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.kept_bytes(&kept[0]), b"old");
    assert_eq!(bench.folder().index.read().intents().unwrap(), []);
}

#[test]
fn a_change_that_cannot_be_decided_holds_up_its_path_and_nothing_else() {
    let (mut bench, said) = amid_a_change();
    // As long as what was put there: only its bytes tell them apart.
    fs::write(bench.root("a"), "mine!!").unwrap();
    FAILS.set(true);
    bench.retry();
    bench.scan();
    assert!(bench.halt("tree").is_none());
    let why = bench.folder().why(&path("a")).unwrap();
    let failure = why.failure.expect("it is shown");
    assert!(failure.why.contains("a change before the stop"), "{}", failure.why);
    // What the scan saw there does not count.
    let heads: Vec<Dot> = bench.item("a").versions.iter().map(|head| head.dot).collect();
    assert_eq!(heads, [said.dot]);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"mine!!");
    assert_eq!(bench.folder().index.read().intents().unwrap().len(), 1);
    // All else goes on.
    let other = content_of(&mut bench, "source");
    bench.say_next("b", 2, other);
    fs::write(bench.root("c"), "c").unwrap();
    bench.scan();
    assert_eq!(fs::read(bench.root("b")).unwrap(), b"theirs");
    assert!(bench.item("c").versions.is_live());
    FAILS.set(false);
    wait_for_decision(&mut bench);
    bench.scan();
    assert!(bench.folder().why(&path("a")).unwrap().failure.is_none());
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"mine!!");
    let heads: Vec<Version> = bench.item("a").versions.iter().cloned().collect();
    assert!(heads.len() == 1 && heads[0].dot != said.dot && heads[0].covers(&said), "{heads:?}");
}

/// Until then the folder does not forget that there was a power cut (S-103).
#[test]
fn what_a_power_cut_left_of_an_undecided_change_is_no_edit_once_it_can_be_read() {
    SAID.set(Some(boot(7, -1000)));
    let (bench, said) = amid_a_change();
    let (home, identity) = bench.killed();
    fs::write(home.path().join("tree/a"), [0; 6]).unwrap();
    SAID.set(Some(boot(8, 1000)));
    FAILS.set(true);
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench.scan();
    assert_eq!(bench.folder().index.read().intents().unwrap().len(), 1);
    assert!(bench.folder().index.was_cut(), "not all of it was looked at");
    FAILS.set(false);
    wait_for_decision(&mut bench);
    bench.scan();
    assert!(!bench.folder().index.was_cut());
    let heads: Vec<Dot> = bench.item("a").versions.iter().map(|head| head.dot).collect();
    assert_eq!(heads, [said.dot], "zeros are nobody's edit");
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    SAID.set(None);
}

/// What a disk did not take of a version stays said by an edit after a stop (S-100).
#[test]
fn who_appends_after_a_stop_amid_a_change_gives_the_file_to_nobody() {
    let bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(NameTable::default()));
    let ann =
        Meta { owner: Some((*b"ann").into()), group: Some((*b"staff").into()), ..Meta::default() };
    let (mut bench, said) = amid_a_change_of(bench, ann);
    append(&bench, "a", " and mine");
    bench.retry();
    bench.scan();
    let now = bench.placed("a").version;
    assert!(now.dot != said.dot && now.covers(&said), "{now:?}");
    assert_eq!(now.meta.owner.as_deref(), Some(&b"ann"[..]));
    assert_eq!(now.meta.group.as_deref(), Some(&b"staff"[..]));
}

#[test]
fn what_cannot_be_read_is_shown_at_its_path_until_it_can_be() {
    // A file system that takes a file longer than any site carries.
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut bench = Bench::at(home, Arc::new(Unnamed));
    let file = fs::File::create(bench.root("large")).unwrap();
    file.set_len(FILE_MAX.get() + 1).unwrap();
    fs::write(bench.root("small"), "small").unwrap();
    bench.scan();
    assert!(bench.item("small").versions.is_live());
    assert!(!bench.item("large").versions.is_live());
    let why = bench.folder().why(&path("large")).unwrap().failure.expect("it is shown");
    assert!(why.why.contains("cannot be read") && why.why.contains("any site"), "{}", why.why);
    fs::remove_file(bench.root("large")).unwrap();
    bench.scan();
    assert!(bench.folder().why(&path("large")).unwrap().failure.is_none());
}

/// What was said of folders that halt and go on.
fn said_of_halts(bench: &Bench) -> Vec<(EventKind, Option<String>)> {
    let events = bench.body.log.since(crate::events::From::Number(0), 10_000).events;
    let is_of_halts = |kind| matches!(kind, EventKind::Halted | EventKind::Resumed);
    let events = events.into_iter().filter(|event| is_of_halts(event.kind));
    events.map(|event| (event.kind, event.text)).collect()
}

#[test]
fn a_root_that_goes_away_halts_at_the_next_tick_and_goes_on_once_it_is_back() {
    for leaves in ["nothing", "a directory", "a file"] {
        let mut bench = Bench::new();
        fs::write(bench.root("a"), "a").unwrap();
        bench.scan();
        let (root, aside) = (bench.root(""), bench.home.path().join("aside"));
        let root = root.parent().unwrap().join("tree");
        fs::rename(&root, &aside).unwrap();
        match leaves {
            "a directory" => fs::create_dir(&root).unwrap(),
            "a file" => fs::write(&root, "").unwrap(),
            _ => {}
        }
        bench.body.take(Event::Tick);
        bench.settle();
        let halt = bench.halt("tree").expect("it halts");
        assert_eq!(halt.kind, HaltKind::Elsewhere, "{leaves}: {}", halt.reason);
        assert!(halt.reason.contains(root.to_str().unwrap()), "{}", halt.reason);
        let said = said_of_halts(&bench);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].1.as_ref().is_some_and(|text| text.contains("mount its disk")), "{said:?}");
        match leaves {
            "a directory" => fs::remove_dir(&root).unwrap(),
            "a file" => fs::remove_file(&root).unwrap(),
            _ => {}
        }
        fs::rename(&aside, &root).unwrap();
        bench.retry();
        assert!(bench.halt("tree").is_none());
        assert_eq!(said_of_halts(&bench).last().map(|said| said.0), Some(EventKind::Resumed));
        assert_eq!(bench.item("a").versions.iter().count(), 1);
        assert!(bench.item("a").versions.is_live());
    }
}

#[test]
fn why_a_folder_halts_is_said_once_however_often_it_is_opened_in_vain() {
    let (mut bench, other) = (Bench::new(), Bench::new());
    let (root, aside) = (bench.home.path().join("tree"), bench.home.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    // Another folder stands there: its marker has it opened each time.
    fs::rename(other.home.path().join("tree"), &root).unwrap();
    bench.body.take(Event::Tick);
    bench.settle();
    let (mut reasons, mut pauses) = (BTreeSet::new(), Vec::new());
    for _ in 0..4 {
        reasons.insert(bench.halt("tree").expect("it halts").reason);
        for halted in bench.body.halted.values_mut() {
            halted.next = Instant::now();
        }
        bench.body.retry_halted();
        let next = bench.body.halted.values().map(|halted| halted.next).max();
        pauses.push(next.expect("it halts") - Instant::now());
    }
    assert!(pauses.is_sorted() && pauses[3] > 4 * pauses[0], "it was not tried: {pauses:?}");
    let said = said_of_halts(&bench);
    assert_eq!(said.len(), reasons.len(), "{said:?}");
}

#[test]
fn nothing_is_put_in_place_where_the_root_was_replaced_since_the_last_scan() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let (root, aside) = (bench.home.path().join("tree"), bench.home.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    fs::create_dir(&root).unwrap();
    bench.say_next("a", 1, theirs);
    bench.settle();
    assert_eq!(bench.halt("tree").expect("it halts").kind, HaltKind::Elsewhere);
    assert!(!aside.join("a").exists() && !root.join("a").exists());
}

#[test]
fn an_index_of_a_newer_program_halts_its_folder_and_stays_where_it_is() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    bench.scan();
    let (home, identity) = bench.closed();
    let index = home.path().join("state/tree/index");
    let newer = rusqlite::Connection::open(&index).unwrap();
    newer.execute_batch("PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(newer);
    let before = fs::read(&index).unwrap();
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    let halt = bench.halt("tree").expect("it halts");
    assert!(halt.reason.contains("use the newer program"), "{}", halt.reason);
    assert_eq!(halt.kind, HaltKind::Index);
    assert_eq!(fs::read(&index).unwrap(), before);
    // The newer program goes on.
    let newer = rusqlite::Connection::open(&index).unwrap();
    newer.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(newer);
    bench.retry();
    assert!(bench.halt("tree").is_none());
    assert_eq!(bench.placed("a").version.dot.serial.get(), 1);
}

/// Nothing is read into an index of a program that cut files otherwise, or taken from it. spec: S-115
#[test]
fn a_folder_with_an_index_of_another_form_halts_until_that_is_moved_aside() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "kept").unwrap();
    bench.scan();
    let (home, identity) = bench.closed();
    let place = home.path().join("state/tree/index");
    let db = rusqlite::Connection::open(&place).unwrap();
    assert_eq!(db.execute("DELETE FROM meta WHERE name = 'form'", []).unwrap(), 1);
    drop(db);
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    let halt = bench.halt("tree").expect("it halts");
    assert_eq!(halt.kind, HaltKind::Form);
    assert!(halt.reason.contains("names contents in form 1"), "{}", halt.reason);
    assert!(bench.body.folders.is_empty());
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"kept");

    fs::rename(&place, place.with_extension("aside")).unwrap();
    bench.retry();
    assert!(bench.halt("tree").is_none());
    bench.scan();
    assert_eq!(bench.placed("a").version.content, content_of(&mut bench, "a"));
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"kept");
}

/// One that was in the way for a moment is no reason to wait an hour for the next scan.
#[test]
fn a_scan_that_fails_once_is_begun_again_soon_and_the_folder_is_in_sync_after_it() {
    use farhaul_api::FolderState::{InSync, Waiting};
    let mut bench = Bench::new();
    bench.folder().setup.peers.clear();
    bench.scan();
    assert_eq!(bench.folder().state(), InSync);
    bench.folder().health.scan_begins();
    bench.folder().scanned(Err("nobody may look".to_owned()), 0);
    assert_eq!(bench.folder().state(), Waiting);
    let soon = Instant::now() + folder::SCAN_AGAIN + Duration::from_secs(5);
    assert!(bench.folder().next_scan <= soon, "it is tried again");
    bench.scan();
    assert_eq!(bench.folder().state(), InSync);
    // What a neighbour did once is tried again by nobody.
    bench.folder().note_once("records cannot be taken in", Err(FolderError::Forged));
    assert_eq!(bench.folder().state(), Waiting);
    bench.folder().health.let_pass(Instant::now() + Duration::from_mins(11));
    assert_eq!(bench.folder().state(), InSync);
}
