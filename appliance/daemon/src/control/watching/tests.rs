//! Real trees that are changed while they are watched: once nothing happens any more, the index says
//! what a scan would say, and no scan was made.

use super::*;
use crate::control::folder::FolderSetup;
use crate::scan::{Look, Rules, ScrubPlan, Step, Walk, WalkOptions};
use crate::store::Unnamed;
use crate::watch::Limits;
use farhaul_engine::identity::Identity;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::Content;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod losses;
mod storms;

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder that is watched, and what is to be done in it.
struct Scene {
    folder: Folder,
    queue: mpsc::Receiver<Event>,
    /// Paths that were said, in order.
    said: Vec<(RelPath, bool)>,
    scans: usize,
    dir: tempfile::TempDir,
}

/// What stands at paths: everything but the times of directories.
type Tree = BTreeMap<RelPath, (Content, u32)>;

impl Scene {
    /// `None` where this process may not watch in that way; then it says so.
    fn new(mode: WatchMode) -> Option<Self> {
        Self::with(mode, Limits::default(), Rules::default())
    }

    fn with(mode: WatchMode, watch_limits: Limits, rules: Rules) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("tree")).expect("made");
        fs::create_dir(dir.path().join("state")).expect("made");
        Self::over(dir, mode, watch_limits, rules)
    }

    /// Over a directory that has its tree and state.
    fn over(
        dir: tempfile::TempDir,
        mode: WatchMode,
        watch_limits: Limits,
        rules: Rules,
    ) -> Option<Self> {
        let identity = Identity::ephemeral().expect("made");
        let setup = FolderSetup {
            name: "watched".to_owned(),
            key: FolderKey([3; 32]),
            path: dir.path().join("tree"),
            state: dir.path().join("state"),
            peers: BTreeSet::new(),
            policy: Arc::default(),
            rules,
            scan_every: Duration::from_secs(24 * 3600),
            watch: mode,
            scrub: ScrubPlan::default(),
            retention: crate::store::retention::Retention::default(),
            watch_limits,
            principals: Arc::new(Unnamed),
        };
        let (events, queue) = mpsc::channel(1024);
        let mut folder = {
            let health =
                super::super::health::Health::new("tree", crate::events::Events::default());
            let progress = crate::control::opening::Progress::default();
            Folder::open(setup, &identity, events, (health, 1), &progress)
        }
        .expect("it opens");
        folder.wake_up();
        let mut scene = Self { folder, queue, said: Vec::new(), scans: 0, dir };
        scene.until(|scene| scene.scans > 0);
        if let Some(why) = scene.folder.shown.get().why.filter(|_| mode == WatchMode::Fanotify) {
            println!("skipped: {why}");
            return None;
        }
        scene.said.clear();
        Some(scene)
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    /// Takes in events until `is_done`, or patience ends.
    fn until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_done(self) {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.folder.shown.get());
            self.step();
        }
    }

    fn step(&mut self) {
        self.folder.tick();
        // The loop would open a folder again that halts.
        let _ = self.folder.upkeep.take_halt();
        let mut any = false;
        while let Ok(event) = self.queue.try_recv() {
            any = true;
            match event {
                Event::Looked { path, found, .. } => {
                    self.said.push((path.clone(), found.is_some()));
                    self.folder.looked(path, found);
                }
                Event::Scanned { outcome, .. } => {
                    self.scans += 1;
                    assert_eq!(outcome, Ok(()));
                    self.folder.scanned(outcome, 0);
                }
                Event::Heard { heard, .. } => self.folder.watcher_said(heard),
                Event::LooseLooked { outcome, .. } => self.folder.loose_looked(outcome),
                Event::LookedAgain { .. } => self.folder.looked_again(),
                Event::Thinned { outcome, .. } => self.folder.thinned(outcome),
                other => panic!("{other:?}"),
            }
        }
        self.folder.go_on();
        let _ = self.folder.upkeep.take_halt();
        if !any {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What stands on disk, by a walk and looks at everything.
    fn on_disk(&self) -> Tree {
        let job = self.folder.scan_job(Stop::default()).expect("it opens");
        let options = WalkOptions { rules: job.rules.clone(), ..WalkOptions::default() };
        let mut walk = Walk::start(&job.root, options).expect("it can be read");
        let mut paths = Vec::new();
        while let Some(step) = walk.step() {
            if let Step::Entry(_) = step {
                paths.push(RelPath::parse(walk.path()).expect("a path"));
            }
        }
        let mut looker =
            crate::scan::Looker::new(&job.root, &job.keys, job.rules.clone(), Stop::default());
        let looks = paths.into_iter().filter_map(|path| {
            match looker.look(&path, &mut crate::scan::Nowhere) {
                Ok(Look::Found(standing)) => {
                    Some((path, (standing.found.content, standing.found.meta.mode)))
                }
                _ => None,
            }
        });
        looks.collect()
    }

    /// What the index says.
    fn in_index(&self) -> Tree {
        let reading = self.folder.index.read();
        let standing = reading.all_standing(None).map(|standing| {
            let path = standing.expect("it reads").path;
            let placed = reading.item(&path).expect("it reads").placed.expect("it stands");
            (path, (placed.version.content, placed.meta.mode))
        });
        standing.collect()
    }

    /// Waits until the index says what stands on disk.
    fn settle(&mut self) {
        let began = Instant::now();
        loop {
            let (disk, index) = (self.on_disk(), self.in_index());
            if disk == index {
                return;
            }
            let missing: Vec<_> =
                disk.iter().filter(|(path, it)| index.get(path) != Some(it)).collect();
            let left: Vec<_> = index.keys().filter(|path| !disk.contains_key(path)).collect();
            let what = format!("not said: {missing:?}; still there: {left:?}");
            assert!(began.elapsed() < PATIENCE, "{what}; {:?}", self.folder.shown.get());
            for _ in 0..10 {
                self.step();
            }
        }
    }

    /// That all was heard of, and nothing scanned but at the start. Where the whole file system is
    /// heard, other tests may have made too much noise.
    fn assert_heard(&self) {
        let shown = self.folder.shown.get();
        let is_noisy = shown.by == By::Fanotify && shown.overflows > 0;
        assert!(self.scans == 1 && shown.overflows == 0 || is_noisy, "{} {shown:?}", self.scans);
    }

    /// Waits until nothing was said for a while.
    fn rest(&mut self) {
        let mut quiet = Instant::now();
        let mut said = self.said.len();
        while quiet.elapsed() < Duration::from_millis(400) {
            self.step();
            if self.said.len() != said {
                (quiet, said) = (Instant::now(), self.said.len());
            }
        }
    }
}

/// Each way in which a tree can be watched.
const MODES: [WatchMode; 2] = [WatchMode::Inotify, WatchMode::Fanotify];

fn rel(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("a path")
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::from_be_bytes(*self.0.to_be_bytes().first_chunk().expect("8 bytes")) % bound
    }
}
