//! Changes that are not heard of, and that this is known.

use super::*;

#[test]
fn of_more_than_the_queue_holds_nothing_is_missed() {
    for mode in MODES {
        let limits = Limits { paths: 16, ..Limits::default() };
        let Some(mut scene) = Scene::with(mode, limits, Rules::default()) else { continue };
        for n in 0..2000 {
            let dir = scene.at(format!("{}/{}", n % 5, n % 35));
            fs::create_dir_all(&dir).expect("made");
            fs::write(dir.join(n.to_string()), n.to_string()).expect("written");
        }
        // At the top there is no directory to look at instead.
        for n in 0..100 {
            fs::write(scene.at(format!("top {n}")), n.to_string()).expect("written");
        }
        scene.until(|scene| scene.scans > 1);
        scene.settle();
        let shown = scene.folder.shown.get();
        assert!(shown.overflows > 0 && shown.last_overflow.is_some(), "{shown:?}");
        // One scan for all of them, and one for what came after it began.
        assert!(scene.scans <= 3, "{} scans", scene.scans);
    }
}

/// A watcher by itself, nobody reading meanwhile.
fn watcher(mode: WatchMode, root: &Path) -> Option<Box<dyn watch::Watcher>> {
    let root = farhaul_engine::files::Root::open(root).expect("it can be opened");
    let watched = Watched { root, rules: Rules::default(), limits: Limits::default() };
    match watch::start(mode, &watched) {
        Ok((watcher, _)) => Some(watcher),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// What is heard until nothing is for a while.
fn heard(watcher: &mut dyn watch::Watcher) -> Vec<Notice> {
    let (wake, mut notices) = (Wake::new().expect("made"), Vec::new());
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(300) {
        let before = notices.len();
        let patience = Duration::from_millis(50);
        watcher.wait(&wake, patience, &mut |notice| notices.push(notice)).expect("it hears");
        if notices.len() != before {
            quiet = Instant::now();
        }
    }
    notices
}

#[test]
fn an_overflow_of_the_kernels_queue_is_heard_of_and_what_was_made_meanwhile_is_watched() {
    for mode in MODES {
        let dir = tempfile::tempdir().expect("a directory");
        let Some(mut watcher) = watcher(mode, dir.path()) else { continue };
        // The kernel holds 16,384 of them.
        for n in 0..17_000 {
            fs::write(dir.path().join(n.to_string()), b"").expect("written");
        }
        fs::create_dir_all(dir.path().join("d/e")).expect("made");
        assert!(heard(&mut *watcher).contains(&Notice::Lost));
        fs::write(dir.path().join("d/e/f"), b"x").expect("written");
        assert!(heard(&mut *watcher).contains(&Notice::Closed(rel("d/e/f"))));
    }
}

#[test]
fn a_renamed_directory_keeps_its_watches_under_its_new_name() {
    for mode in MODES {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("made");
        fs::create_dir(dir.path().join("z")).expect("made");
        let Some(mut watcher) = watcher(mode, dir.path()) else { continue };
        let watches = watcher.coverage().watches;
        fs::rename(dir.path().join("a"), dir.path().join("z/c")).expect("moved");
        let both = [Notice::Tree(rel("a")), Notice::Tree(rel("z/c"))];
        assert_eq!(heard(&mut *watcher), both);
        assert_eq!(watcher.coverage().watches, watches);
        fs::write(dir.path().join("z/c/b/f"), b"x").expect("written");
        assert_eq!(heard(&mut *watcher).last(), Some(&Notice::Closed(rel("z/c/b/f"))));
        fs::remove_dir_all(dir.path().join("z/c")).expect("removed");
        heard(&mut *watcher);
        let left = if mode == WatchMode::Inotify { watches - 2 } else { watches };
        assert_eq!(watcher.coverage().watches, left);
    }
}

#[test]
fn what_lies_beyond_the_limit_of_watches_is_known_shown_and_found() {
    let dir = tempfile::tempdir().expect("a directory");
    for n in 0..150 {
        fs::create_dir_all(dir.path().join(format!("tree/{}/{n}", n % 10))).expect("made");
    }
    fs::create_dir(dir.path().join("state")).expect("made");
    let limits = Limits { watches: 100, ..Limits::default() };
    let scene = Scene::over(dir, WatchMode::Inotify, limits, Rules::default());
    let mut scene = scene.expect("there is inotify");
    let shown = scene.folder.shown.get();
    // The root, 10 directories in it, and 150 in these.
    let Coverage { watches, unwatched } = shown.coverage;
    assert_eq!((watches, unwatched), (100, 61));
    assert!(!shown.is_live());
    for n in 0..150 {
        fs::write(scene.at(format!("{}/{n}/f", n % 10)), b"x").expect("written");
    }
    // What is not watched is looked through, without a scan of all of it.
    let mut watcher = Limited::over(&scene);
    let trees = watcher.cover();
    // 6 of the 10 with all in them, one with 2 of 15; 13 and 3 begin parts that are not watched.
    assert_eq!(trees.len(), 16);
    scene.until(|scene| scene.said.len() >= 92);
    scene.folder.ears.as_ref().expect("it listens").note(&trees);
    scene.settle();
    scene.assert_heard();
}

/// The same tree, watched with the same limit a second time.
struct Limited(watch::Inotify);

impl Limited {
    fn over(scene: &Scene) -> Self {
        let job = scene.folder.scan_job(Stop::default()).expect("it opens");
        let limits = scene.folder.setup.watch_limits;
        let watched = Watched { root: job.root.clone(), rules: job.rules.clone(), limits };
        Self(watch::Inotify::start(watched).expect("there is inotify"))
    }

    /// What is to be looked at because it is not watched.
    fn cover(&mut self) -> Vec<Notice> {
        let mut told = Vec::new();
        watch::Watcher::cover(&mut self.0, &mut |notice| told.push(notice));
        told
    }
}

#[test]
fn watches_that_become_free_are_taken_up() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["a", "b", "c"] {
        fs::create_dir(dir.path().join(name)).expect("made");
    }
    let root = farhaul_engine::files::Root::open(dir.path()).expect("it can be opened");
    let limits = Limits { watches: 3, ..Limits::default() };
    let watched = Watched { root, rules: Rules::default(), limits };
    let mut watcher = watch::Inotify::start(watched).expect("there is inotify");
    let coverage = |watcher: &watch::Inotify| {
        let Coverage { watches, unwatched } = watch::Watcher::coverage(watcher);
        (watches, unwatched)
    };
    assert_eq!(coverage(&watcher), (3, 1));
    let cover = |watcher: &mut watch::Inotify| {
        let mut told = Vec::new();
        watch::Watcher::cover(watcher, &mut |notice| told.push(notice));
        told
    };
    assert_eq!(cover(&mut watcher).len(), 1);
    assert_eq!(coverage(&watcher), (3, 1));
    let is_unwatched = |name: &&str| {
        fs::write(dir.path().join(name).join("f"), b"x").expect("written");
        heard(&mut watcher).is_empty()
    };
    let unwatched = ["a", "b", "c"].into_iter().find(is_unwatched).expect("one of them");
    let watched = ["a", "b", "c"].into_iter().find(|name| *name != unwatched).expect("another");
    fs::remove_dir_all(dir.path().join(watched)).expect("removed");
    heard(&mut watcher);
    assert_eq!(coverage(&watcher), (2, 1));
    assert_eq!(cover(&mut watcher), [Notice::Tree(rel(unwatched))]);
    assert_eq!(coverage(&watcher), (3, 0));
}

#[test]
fn a_scan_that_is_asked_for_while_one_runs_is_made_afterwards() {
    let mut scene = Scene::new(WatchMode::Inotify).expect("there is inotify");
    scene.folder.scan();
    assert!(scene.folder.is_scanning());
    for _ in 0..100 {
        scene.folder.watcher_said(Heard::Overflow);
    }
    scene.until(|scene| scene.scans == 2);
    assert!(!scene.folder.is_scanning());
    // Once for all of them, a while after the last.
    assert!(scene.folder.next_scan <= Instant::now() + SCAN_GAP);
    assert_eq!(scene.folder.shown.get().overflows, 100);
}

#[test]
fn the_interval_of_scans_is_a_quarter_more_or_less() {
    let hour = Duration::from_secs(3600);
    let spans: Vec<Duration> = (0..200).map(|_| jittered(hour)).collect();
    assert!(spans.iter().all(|span| *span >= hour * 3 / 4 && *span <= hour * 5 / 4));
    let (least, most) = (spans.iter().min(), spans.iter().max());
    assert!(least < Some(&(hour * 9 / 10)) && most > Some(&(hour * 11 / 10)));
}

#[test]
fn of_a_folder_whose_marker_is_gone_nothing_is_taken_for_deleted() {
    for mode in MODES {
        let Some(mut scene) = Scene::new(mode) else { continue };
        fs::write(scene.at("kept"), b"x").expect("written");
        scene.settle();
        scene.rest();
        let (before, own) = (scene.in_index(), scene.dir.path().join("own"));
        fs::rename(scene.at(".farhaul"), &own).expect("moved");
        fs::remove_file(scene.at("kept")).expect("removed");
        scene.until(|scene| scene.said.contains(&(rel("kept"), false)));
        scene.rest();
        assert_eq!(scene.in_index(), before);
        // Once it is there again, it is scanned, and what is gone is gone.
        fs::rename(&own, scene.at(".farhaul")).expect("moved");
        scene.until(|scene| scene.scans == 2);
        scene.settle();
        assert_eq!(scene.in_index().len(), 0);
    }
}
