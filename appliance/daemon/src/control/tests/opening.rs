//! A folder whose opening does not come to its end: its mark is a pipe that nobody writes into, as a
//! file is on a disk that hangs.

use super::*;
use crate::control::ask::FolderFacts;
use farhaul_api::FolderState;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::sync::atomic::AtomicU64;

const SLOW: FolderKey = FolderKey([9; 32]);

/// A site with two folders, one of which is slow to open.
struct Slow {
    home: tempfile::TempDir,
    identity: Identity,
    mark: Vec<u8>,
}

impl Slow {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let slow = Self { home, identity: Identity::ephemeral().unwrap(), mark: Vec::new() };
        drop(Control::start(&slow.identity, slow.setups()).unwrap());
        let mark = fs::read(slow.mark_at()).unwrap();
        Self { mark, ..slow }
    }

    fn setups(&self) -> Vec<FolderSetup> {
        let setup = |key, name| setup_at(self.home.path(), key, name, Arc::new(Unnamed));
        vec![setup(FOLDER, "tree"), setup(SLOW, "slow")]
    }

    fn mark_at(&self) -> PathBuf {
        self.home.path().join("state/slow/mark")
    }

    /// Whoever reads the mark from now on waits.
    fn hang(&self) {
        let pipe = self.mark_at().with_extension("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::rename(pipe, self.mark_at()).unwrap();
    }

    /// Whoever waits for it reads it; whoever comes later finds a file.
    fn answer(&self) {
        self.answer_and_leave(&self.mark);
    }

    /// The same, but whoever comes later finds `left`.
    fn answer_and_leave(&self, left: &[u8]) {
        let pipe = fs::OpenOptions::new().write(true).open(self.mark_at());
        fs::write(self.mark_at().with_extension("file"), left).unwrap();
        fs::rename(self.mark_at().with_extension("file"), self.mark_at()).unwrap();
        pipe.unwrap().write_all(&self.mark).unwrap();
    }
}

/// Waits for something of a folder.
async fn wait_for(control: &Control, name: &str, is_so: impl Fn(Option<&FolderFacts>) -> bool) {
    let waits = async {
        loop {
            let all = control.asker().folders().await.expect("the loop goes round");
            if is_so(all.iter().find(|facts| facts.name == name)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("after all patience");
}

fn is_opening(facts: Option<&FolderFacts>) -> bool {
    facts.is_some_and(|facts| facts.state == FolderState::Opening)
}

fn is_open(facts: Option<&FolderFacts>) -> bool {
    facts.is_some_and(|facts| facts.opened > 0)
}

/// spec: S-181
#[tokio::test]
async fn a_folder_that_opens_for_long_holds_up_no_other_and_is_shown_as_that() {
    let slow = Slow::new();
    fs::write(slow.home.path().join("tree/a"), "a").unwrap();
    slow.hang();
    let log = Events::default();
    let control = Control::start_telling(&slow.identity, slow.setups(), log).unwrap();
    wait_for(&control, "tree", is_open).await;
    assert!(!control.is_open_within(Duration::from_millis(1)));
    wait_for(&control, "slow", is_opening).await;
    let refused = control.asker().reader("slow").await.expect_err("nothing can be asked of it");
    assert!(matches!(&refused, AskError::Opening { stage } if stage == "its disk is looked at"));
    // The loop goes round, and what the other one found waits for its peer only.
    let rounds = control.asker().beat().rounds();
    let reader = control.asker().reader("tree").await.unwrap();
    let began = Instant::now();
    while control.asker().beat().rounds() < rounds + 3
        || reader.index.read().looks(None, 1).unwrap().is_empty()
    {
        assert!(began.elapsed() < PATIENCE, "after all patience");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is not opened a second time, however often somebody wants it.
    let opened = || control.asker().ask(|body| body.opened);
    let before = opened().await.unwrap();
    let again = control.asker().configure(slow.setups(), BTreeSet::new());
    let answers = async {
        while control.asker().ask(|body| body.opening[&SLOW].is_told()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        slow.answer();
    };
    let (failed, ()) = tokio::join!(again, answers);
    assert_eq!(failed.unwrap(), [], "it was opened while somebody waited for that");
    assert_eq!(opened().await.unwrap(), before);
    wait_for(&control, "slow", is_open).await;
    assert!(control.is_open_within(PATIENCE));
    control.asker().reader("slow").await.expect("it runs");
}

/// spec: S-181
#[tokio::test]
async fn a_folder_that_halts_is_opened_again_beside_the_loop() {
    let slow = Slow::new();
    fs::write(slow.mark_at(), "nothing of ours").unwrap();
    let control = Control::start(&slow.identity, slow.setups()).unwrap();
    let is_halted =
        |facts: Option<&FolderFacts>| facts.is_some_and(|facts| facts.state == FolderState::Halted);
    wait_for(&control, "slow", is_halted).await;
    slow.hang();
    wait_for(&control, "slow", is_opening).await;
    wait_for(&control, "tree", is_open).await;
    let conditions = control.conditions();
    assert!(conditions.iter().any(|it| it.name == "slow" && it.halt.is_some()), "as before");
    slow.answer();
    wait_for(&control, "slow", is_open).await;
    assert!(control.conditions().iter().all(|it| it.halt.is_none()));
}

/// spec: S-181
#[tokio::test]
async fn a_stop_waits_for_no_disk_that_hangs_and_leaves_nothing_open() {
    let slow = Slow::new();
    slow.hang();
    let control = Control::start_telling(&slow.identity, slow.setups(), Events::default()).unwrap();
    wait_for(&control, "slow", is_opening).await;
    drop(control);
    // The disk answers when nobody waits for it any more.
    slow.answer();
    let control = Control::start(&slow.identity, slow.setups()).unwrap();
    for name in ["tree", "slow"] {
        wait_for(&control, name, is_open).await;
        let unclean = control.asker().ask_folder(name, |folder| Ok(folder.index.was_unclean()));
        assert!(!unclean.await.unwrap(), "{name} was not closed");
    }
}

/// spec: S-181
#[tokio::test]
async fn a_folder_that_is_removed_while_it_is_opened_and_added_again_is_opened_once_more() {
    let slow = Slow::new();
    slow.hang();
    let control = Control::start_telling(&slow.identity, slow.setups(), Events::default()).unwrap();
    wait_for(&control, "slow", is_opening).await;
    let tree = slow.setups().into_iter().take(1).collect();
    assert_eq!(control.asker().configure(tree, BTreeSet::new()).await.unwrap(), []);
    wait_for(&control, "slow", |facts| facts.is_none()).await;
    let again = control.asker().configure(slow.setups(), BTreeSet::new());
    let answers = async {
        while control.asker().ask(|body| body.opening[&SLOW].is_told()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        slow.answer();
    };
    let (failed, ()) = tokio::join!(again, answers);
    assert_eq!(failed.unwrap(), []);
    wait_for(&control, "slow", is_open).await;
}

/// Who had it added again is told what comes of the opening that follows, not of one that is over.
#[tokio::test]
async fn a_folder_that_is_added_again_while_it_is_opened_and_then_fails_is_said_to() {
    let slow = Slow::new();
    slow.hang();
    let control = Control::start_telling(&slow.identity, slow.setups(), Events::default()).unwrap();
    wait_for(&control, "slow", is_opening).await;
    let tree = slow.setups().into_iter().take(1).collect();
    assert_eq!(control.asker().configure(tree, BTreeSet::new()).await.unwrap(), []);
    let again = control.asker().configure(slow.setups(), BTreeSet::new());
    let answers = async {
        while control.asker().ask(|body| body.opening[&SLOW].is_told()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        slow.answer_and_leave(b"nothing of ours");
    };
    let (failed, ()) = tokio::join!(again, answers);
    let failed = failed.unwrap();
    assert!(matches!(&failed[..], [(name, _)] if name == "slow"), "{failed:?}");
}

/// What the watchdog is fed with comes from the loop, not from a clock beside it.
#[tokio::test]
async fn a_loop_that_hangs_feeds_nobody_and_one_that_goes_round_does() {
    let slow = Slow::new();
    let control = Control::start(&slow.identity, slow.setups()).unwrap();
    let fed = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&fed);
    let feed = move || _ = counts.fetch_add(1, Ordering::Relaxed);
    control.asker().beat().feed(Duration::ZERO, feed);
    let more_than = async |than| {
        let waits = async {
            while fed.load(Ordering::Relaxed) <= than {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.expect("it is fed");
    };
    more_than(1).await;
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let (began, at) = tokio::sync::oneshot::channel();
    let hanging = control.asker().ask(move |_| {
        let _ = began.send(());
        let _ = hangs.recv();
    });
    let looks = async {
        at.await.expect("it hangs from here on");
        let before = fed.load(Ordering::Relaxed);
        tokio::time::sleep(TICK + Duration::from_millis(500)).await;
        assert_eq!(fed.load(Ordering::Relaxed), before, "a tick has passed, and no round");
        release.send(()).expect("it waits for that");
        before
    };
    let (done, before) = tokio::join!(hanging, looks);
    done.expect("the loop goes on");
    more_than(before).await;
}
