//! A disk that gives something else than what was written to it.

use super::*;
use crate::control::rot::ScrubJob;
use crate::scan::identity_of;

impl Bench {
    /// As if its disk gave `bytes` for a file that nobody touched: the index has the state in which
    /// the file is now.
    fn rots(&mut self, at: &str, bytes: &[u8]) {
        fs::write(self.root(at), bytes).unwrap();
        let (folder, path) = (self.folder(), path(at));
        let identity = identity_of(&folder.store.root().stat(&path).unwrap());
        let placed = folder.index.read().item(&path).unwrap().placed.expect("it stands there");
        let mut keeping = folder.index.begin(crate::index::Durability::Now).unwrap();
        keeping.place(&path, Some(&Placed { identity, ..placed })).unwrap();
        keeping.commit().unwrap();
    }

    fn scrub(&mut self) -> farhaul_api::ScrubStatus {
        self.folder().want_scrub();
        self.settle();
        let folder = self.folder();
        folder.scrub.status(folder.setup.scrub)
    }
}

#[test]
fn what_a_disk_gives_wrong_is_kept_and_what_stood_there_comes_back_as_nobodys_edit() {
    for size in [9, 300_000] {
        let mut bench = Bench::new();
        let text: Vec<u8> = b"all of it".iter().copied().cycle().take(size).collect();
        fs::write(bench.root("a"), &text).unwrap();
        fs::write(bench.root("healthy"), "and well").unwrap();
        bench.scan();
        let before = bench.placed("a").version;
        let mut rotten = text.clone();
        rotten[size / 2] ^= 0x10;
        bench.rots("a", &rotten);
        bench.scan();
        assert_eq!(bench.placed("a").version, before, "nothing to be seen without reading it");
        let scrub = bench.scrub();
        assert_eq!((scrub.files, scrub.damaged), (2, 1));
        assert!(scrub.ended.is_some() && !scrub.running);
        // Nobody has it: what is there stays, and is not published.
        assert_eq!(fs::read(bench.root("a")).unwrap(), rotten);
        let heads: Vec<Dot> = bench.item("a").versions.iter().map(|one| one.dot).collect();
        assert_eq!(heads, [before.dot]);
        assert!(bench.folder().health.failure(&path("a")).is_some());
        // Somebody has it.
        fs::write(bench.root("again"), &text).unwrap();
        bench.scan();
        assert_eq!(fs::read(bench.root("a")).unwrap(), text);
        assert_eq!(bench.placed("a").version, before);
        let kept = bench.kept();
        assert_eq!(kept.len(), 1);
        assert_eq!(bench.kept_bytes(&kept[0]), rotten);
        assert!(bench.folder().health.failure(&path("a")).is_none());
        let again = bench.scrub();
        assert_eq!((again.files, again.damaged), (3, 0));
    }
}

#[test]
fn what_somebody_edits_is_no_damage_and_an_edit_of_what_is_damaged_is_one_of_what_stood_there() {
    let mut bench = Bench::new();
    for name in ["edited", "damaged"] {
        fs::write(bench.root(name), "as it was").unwrap();
    }
    bench.scan();
    let before = bench.placed("damaged").version;
    fs::write(bench.root("edited"), "as it is!").unwrap();
    bench.rots("damaged", b"as it wa\xf3");
    let scrub = bench.scrub();
    assert_eq!((scrub.files, scrub.damaged), (1, 1));
    fs::write(bench.root("damaged"), "mended by hand").unwrap();
    bench.scan();
    for (name, text) in [("edited", "as it is!"), ("damaged", "mended by hand")] {
        assert_eq!(fs::read(bench.root(name)).unwrap(), text.as_bytes());
        assert_eq!(bench.item(name).versions.iter().count(), 1, "{name}");
    }
    let head = bench.item("damaged").versions.iter().next().cloned().expect("one");
    assert!(head.dot != before.dot && head.covers(&before));
}

#[test]
fn what_is_kept_and_rots_is_given_to_nobody_as_the_version_that_it_was() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        fs::write(bench.root(name), format!("{name} as it was")).unwrap();
    }
    bench.scan();
    let before = ["a", "b"].map(|name| bench.placed(name).version);
    fs::write(bench.root("theirs"), "from elsewhere").unwrap();
    bench.scan();
    for name in ["a", "b"] {
        let theirs = content_of(&mut bench, "theirs");
        bench.say_next(name, 1, theirs);
    }
    bench.scan();
    let kept = bench.kept();
    assert_eq!(kept.len(), 2);
    // Nobody has them open any more.
    let folder = bench.folder();
    let mut keeping = folder.index.begin(crate::index::Durability::Now).unwrap();
    kept.iter().for_each(|kept| keeping.forget_loose(&kept.name).unwrap());
    keeping.commit().unwrap();
    bench.scrub();
    assert_eq!(bench.kept(), kept, "they are as they were");
    let (rotten, other) = (&kept[0], &kept[1]);
    fs::write(bench.root(&format!(".farhaul/versions/{}", rotten.name)), "a as it wa\u{3}")
        .unwrap();
    let scrub = bench.scrub();
    assert_eq!(scrub.damaged, 1);
    assert_eq!(bench.kept(), [Kept { version: None, ..rotten.clone() }, other.clone()]);
    let Content::File { manifest, .. } = before[0].content else { panic!("a file") };
    let folder = bench.folder();
    assert_eq!(folder.index.read().kept_with(manifest).unwrap(), None);
    // What stands there is as it should be.
    assert!(folder.health.failure(&path("a")).is_none());
    assert_eq!(bench.scrub().damaged, 0, "it is told once");
}

/// As if the catalogue had been read before a late write was published.
#[test]
fn what_became_another_version_while_it_was_read_is_not_judged_by_the_one_before() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "as it was").unwrap();
    fs::write(bench.root("theirs"), "from elsewhere").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "theirs");
    bench.say_next("a", 1, theirs);
    bench.scan();
    let kept = bench.kept().remove(0);
    let mut version = kept.version.clone().expect("one");
    version.dot = Dot::NOBODY;
    let before = Kept { version: Some(version), ..kept.clone() };
    let seen = rot::Scrubbed { broken: vec![before], ..Default::default() };
    bench.folder().scrubbed(seen);
    assert_eq!(bench.kept(), [kept]);
}

#[test]
fn a_round_that_was_stopped_goes_on_where_it_was_and_the_next_one_waits_its_time() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        fs::write(bench.root(name), "some text").unwrap();
    }
    bench.scan();
    // As after a stop behind the second file.
    let folder = bench.folder();
    let round = crate::index::ScrubRound {
        began_millis: 5,
        files: 2,
        after: Some(path("b")),
        ..crate::index::ScrubRound::default()
    };
    let mut keeping = folder.index.begin(crate::index::Durability::Now).unwrap();
    keeping.set_scrub_round(&round).unwrap();
    keeping.commit().unwrap();
    folder.open_scrub().unwrap();
    folder.keep_scrubbing();
    bench.settle();
    let folder = bench.folder();
    let now = folder.scrub.status(folder.setup.scrub);
    assert_eq!((now.files, now.ended.is_some()), (3, true));
    // It began long ago, so the next one is due; that one began just now.
    folder.keep_scrubbing();
    bench.settle();
    let folder = bench.folder();
    let now = folder.scrub.status(folder.setup.scrub);
    assert_eq!(now.files, 3);
    assert!(now.next_in_seconds.is_some_and(|next| next > 29 * 24 * 3600));
    folder.keep_scrubbing();
    assert!(!folder.scrub.is_busy());
    // One that pauses reads nothing.
    folder.pause(true).unwrap();
    folder.want_scrub();
    assert!(!folder.scrub.is_busy());
}

#[test]
fn a_reading_that_is_stopped_says_up_to_where_it_came() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        fs::write(bench.root(name), "some text").unwrap();
    }
    bench.scan();
    let (events, mut queue) = mpsc::channel(8);
    let (folder, stop) = (bench.folder(), Stop::default());
    stop.set();
    let job = ScrubJob {
        folder: folder.setup.key,
        root: folder.store.root().clone(),
        store: folder.store.clone(),
        keys: folder.keys.clone(),
        reader: folder.index.reader().unwrap(),
        after: None,
        rate: folder.setup.scrub.rate,
        stop,
        events,
    };
    job.run();
    let said = queue.try_recv().unwrap();
    assert!(matches!(said, Event::ScrubEnded { outcome: Ok(false), .. }), "{said:?}");
}
