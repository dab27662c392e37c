//! What waits for the control loop has a bound, of each session and of all.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As long as a message may be.
const LONG: usize = 2 << 20;

/// A peer that says one message of that length after the other.
struct Talks(usize, Arc<AtomicUsize>);

impl Frames for Talks {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Some(vec![0; self.0]))
    }
}

/// A session that reads what such a peer says.
struct Scene {
    heard: mpsc::Receiver<Result<Read, Ended>>,
    said: Arc<AtomicUsize>,
}

impl Scene {
    fn new(len: usize, all: &Room) -> Self {
        let (read, heard) = mpsc::channel(READ_AHEAD);
        let said = Arc::<AtomicUsize>::default();
        tokio::spawn(read_frames(Talks(len, Arc::clone(&said)), read, Mail::new(all.clone())));
        Self { heard, said }
    }

    /// Takes what there is, as the control loop's queue does, until nothing comes any more.
    async fn take_all(&mut self, held: &mut Vec<Read>) {
        let before = held.len();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
            while let Ok(read) = self.heard.try_recv() {
                held.push(read.expect("it goes on for ever"));
            }
            assert!(held.len() - before < 10_000, "without a bound");
        }
    }
}

/// spec: S-184
#[tokio::test]
async fn of_messages_that_wait_for_the_loop_a_session_has_four_mebibytes_and_one_more() {
    let (all, mut held) = (Room::messages(), Vec::new());
    let mut scene = Scene::new(LONG, &all);
    scene.take_all(&mut held).await;
    assert_eq!(held.len(), 2);
    assert_eq!(scene.said.load(Ordering::Relaxed), 3, "the third waits for room");
    // Nothing is lost: it comes once something was taken in.
    held.pop();
    scene.take_all(&mut held).await;
    assert_eq!((held.len(), scene.said.load(Ordering::Relaxed)), (2, 4));
    // Others have room of their own.
    let (mut other, mut theirs) = (Scene::new(LONG, &all), Vec::new());
    other.take_all(&mut theirs).await;
    assert_eq!(theirs.len(), 2);
    // Of short ones there are more, and not without a bound.
    let (mut short, mut many) = (Scene::new(1, &all), Vec::new());
    short.take_all(&mut many).await;
    assert_eq!(many.len(), 4096);
}

/// spec: S-184
#[tokio::test]
async fn all_sessions_together_have_sixty_four_mebibytes() {
    let (all, mut held) = (Room::messages(), Vec::new());
    let mut scenes: Vec<Scene> = (0..20).map(|_| Scene::new(LONG, &all)).collect();
    for scene in &mut scenes {
        scene.take_all(&mut held).await;
    }
    assert_eq!(held.len(), 32);
    let said: usize = scenes.iter().map(|scene| scene.said.load(Ordering::Relaxed)).sum();
    assert!(said <= 32 + scenes.len(), "each has one in hand at most, {said} were said");
    // Whoever waits comes once others were taken in.
    held.clear();
    for scene in &mut scenes {
        scene.take_all(&mut held).await;
    }
    assert_eq!(held.len(), 32);
}
