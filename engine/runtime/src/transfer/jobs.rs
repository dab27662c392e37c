//! Work of one transfer that may block: a few jobs at a time, the rest waits its turn.

use crate::files::stop::{Stop, StopOnDrop};
use std::collections::{HashMap, VecDeque};
use tokio::task::{Id, JoinSet};

/// Jobs that run at once: more would only queue at the disk, and each may hold a block.
const AT_ONCE: usize = 4;

type Job<T> = Box<dyn FnOnce() -> T + Send + Sync>;

/// A queue of jobs, each about one object. Dropping it drops those that wait and asks those that
/// run to stop.
pub(super) struct Jobs<T> {
    waiting: VecDeque<(u32, Job<T>)>,
    running: JoinSet<T>,
    objects: HashMap<Id, u32>,
    stop: StopOnDrop,
}

impl<T: Send + 'static> Jobs<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            objects: HashMap::new(),
            stop: StopOnDrop::default(),
        }
    }

    /// Queues a job about `object`.
    pub(super) fn push(
        &mut self,
        object: u32,
        job: impl FnOnce(&Stop) -> T + Send + Sync + 'static,
    ) {
        let stop = self.stop.0.clone();
        self.waiting.push_back((object, Box::new(move || job(&stop))));
        self.start();
    }

    /// Waits for the end of a job; forever while there is none. `None` says that it panicked.
    pub(super) async fn next(&mut self) -> (u32, Option<T>) {
        loop {
            let Some(ended) = self.running.join_next_with_id().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let (id, result) = match ended {
                Ok((id, result)) => (id, Some(result)),
                Err(error) => (error.id(), None),
            };
            let object = self.objects.remove(&id);
            self.start();
            if let Some(object) = object {
                return (object, result);
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < AT_ONCE {
            let Some((object, job)) = self.waiting.pop_front() else { return };
            let id = self.running.spawn_blocking(job).id();
            self.objects.insert(id, object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn few_jobs_run_at_once_and_each_is_heard_even_one_that_panics() {
        let mut jobs = Jobs::new();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for n in 0..20u32 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            jobs.push(n, move |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                if n == 7 {
                    std::panic::resume_unwind(Box::new(()));
                }
                n * 2
            });
        }
        let mut heard = Vec::new();
        for _ in 0..20 {
            heard.push(jobs.next().await);
        }
        heard.sort_unstable();
        let expected = (0..20).map(|n| (n, (n != 7).then_some(n * 2)));
        assert_eq!(heard, expected.collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= AT_ONCE);
        let none = tokio::time::timeout(Duration::from_millis(20), jobs.next()).await;
        assert!(none.is_err(), "there is no job left");
    }

    #[tokio::test]
    async fn dropping_the_queue_stops_what_runs_and_forgets_what_waits() {
        let (ended, ends) = std::sync::mpsc::channel();
        let mut jobs = Jobs::new();
        for n in 0..10u32 {
            let ended = ended.clone();
            jobs.push(n, move |stop| {
                while !stop.is_set() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let _ = ended.send(n);
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop((jobs, ended));
        let ran = tokio::task::spawn_blocking(move || ends.iter().count()).await.unwrap();
        assert!(ran <= AT_ONCE, "{ran}");
    }
}
