//! A bounded pool of threads for work that must not hold the packet loop up.
//!
//! Jobs are closures whose results come back by polling, in no particular order. A job that
//! panics is contained: its prepared failure result is delivered in its stead, because libraries
//! that chew on a peer's bytes may panic and one block must not take the site down. The pool
//! knows no priorities and cannot cancel a job.

#![forbid(unsafe_code)]

use crate::wake::Waker;
use core::fmt;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// A job: runs once on some thread and returns its result.
pub type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A job with the result that stands for its panic.
struct Task<T> {
    job: Job<T>,
    on_panic: T,
}

impl<T> Task<T> {
    fn run(self) -> T {
        // What the job captured is dropped by the unwinding and never looked at again.
        catch_unwind(AssertUnwindSafe(self.job)).unwrap_or(self.on_panic)
    }
}

/// The tasks that wait. Not a channel: those of `crossbeam` and of the standard library have a
/// thread that finds nothing yield to others a dozen times before it sleeps, which jobs of a
/// millisecond and more never repay.
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    more: Condvar,
}

struct Waiting<T> {
    tasks: VecDeque<Task<T>>,
    closed: bool,
}

impl<T> Queue<T> {
    fn new() -> Self {
        let waiting = Waiting { tasks: VecDeque::new(), closed: false };
        Self { waiting: Mutex::new(waiting), more: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        // No task runs under the lock, so that nothing is left half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task<T>) {
        self.waiting().tasks.push_back(task);
        self.more.notify_one();
    }

    /// The next task, once there is one; none after the end.
    fn next(&self) -> Option<Task<T>> {
        let idle = |waiting: &mut Waiting<T>| waiting.tasks.is_empty() && !waiting.closed;
        let waiting = self.more.wait_while(self.waiting(), idle);
        waiting.unwrap_or_else(PoisonError::into_inner).tasks.pop_front()
    }

    /// Ends it for all, and drops what waits.
    fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let abandoned = std::mem::take(&mut waiting.tasks);
        drop(waiting);
        self.more.notify_all();
        drop(abandoned);
    }
}

/// The pool has `queue` jobs already; both parts of the submission come back.
pub struct Full<T> {
    /// The job that was not taken.
    pub job: Job<T>,
    /// The result that was to stand for its panic.
    pub on_panic: T,
}

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

/// Runs jobs on its own threads, or on the caller's where it has none.
pub struct WorkPool<T> {
    tasks: Arc<Queue<T>>,
    results: Receiver<T>,
    /// Results of jobs that ran inline.
    inline: VecDeque<T>,
    workers: Vec<JoinHandle<()>>,
    queue: usize,
    in_flight: usize,
    waker: Waker,
}

impl<T: Send + 'static> WorkPool<T> {
    /// A pool of `threads` threads `name-0`, `name-1` ..; with none, jobs run inside `try_submit`.
    ///
    /// `queue` (at least 1) bounds the jobs that wait, run, or have a result nobody collected.
    /// `waker` rings when results wait.
    ///
    /// # Errors
    /// What the system says when it refuses a thread.
    pub fn new(name: &str, threads: usize, queue: usize, waker: Waker) -> io::Result<Self> {
        let queue = queue.max(1);
        let tasks = Arc::new(Queue::new());
        let (result_queue, results) = bounded(queue);
        let mut pool = Self {
            tasks,
            results,
            inline: VecDeque::new(),
            workers: Vec::with_capacity(threads),
            queue,
            in_flight: 0,
            waker,
        };
        for n in 0..threads {
            let (tasks, results) = (Arc::clone(&pool.tasks), result_queue.clone());
            let waker = pool.waker.clone();
            let worker = Builder::new().name(format!("{name}-{n}"));
            pool.workers.push(worker.spawn(move || work(&tasks, &results, &waker))?);
        }
        Ok(pool)
    }

    /// Jobs that run at once; none where they run on the caller's thread.
    pub const fn threads(&self) -> usize {
        self.workers.len()
    }

    /// Hands `job` to the pool. If it panics, `on_panic` is delivered as its result.
    ///
    /// # Errors
    /// [`Full`] with both arguments when the pool is at its bound: poll, then try again.
    pub fn try_submit(&mut self, job: Job<T>, on_panic: T) -> Result<(), Full<T>> {
        if self.in_flight >= self.queue {
            return Err(Full { job, on_panic });
        }
        let task = Task { job, on_panic };
        if self.workers.is_empty() {
            self.inline.push_back(task.run());
            self.waker.wake();
        } else {
            self.tasks.push(task);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Appends the results that are ready to `out`; never blocks.
    pub fn poll(&mut self, out: &mut Vec<T>) {
        let before = out.len();
        out.extend(self.inline.drain(..));
        out.extend(self.results.try_iter());
        self.in_flight -= out.len() - before;
    }

    /// Jobs submitted whose results were not collected yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl<T> Drop for WorkPool<T> {
    /// Waits for the jobs that run; drops those that wait.
    fn drop(&mut self) {
        self.tasks.close();
        for worker in self.workers.drain(..) {
            let ended = worker.join();
            debug_assert!(ended.is_ok(), "jobs cannot unwind into the worker");
        }
    }
}

impl<T> fmt::Debug for WorkPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkPool")
            .field("threads", &self.workers.len())
            .field("queue", &self.queue)
            .field("in_flight", &self.in_flight)
            .finish()
    }
}

fn work<T>(tasks: &Queue<T>, results: &Sender<T>, waker: &Waker) {
    while let Some(task) = tasks.next() {
        // There is room: the results queue is as long as the bound on jobs in flight.
        if results.send(task.run()).is_err() {
            return;
        }
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::{self, WakeSource};
    use core::sync::atomic::{AtomicBool, Ordering};
    use core::time::Duration;

    fn pool(threads: usize, queue: usize) -> (WorkPool<u32>, WakeSource) {
        let (waker, source) = wake::pair().expect("an eventfd");
        (WorkPool::new("work", threads, queue, waker).expect("threads"), source)
    }

    /// Polls until `count` results are there.
    fn collect(pool: &mut WorkPool<u32>, source: &WakeSource, count: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while out.len() < count {
            let woken = source.wait(Some(Duration::from_secs(20))).expect("poll");
            assert!(woken, "stuck after {} of {count} results", out.len());
            source.drain();
            pool.poll(&mut out);
        }
        out.sort_unstable();
        out
    }

    #[test]
    fn every_job_yields_one_result() {
        for threads in [0, 1, 3] {
            let (mut pool, source) = pool(threads, 64);
            for n in 0..64 {
                pool.try_submit(Box::new(move || n), 1000).expect("room");
            }
            assert_eq!(collect(&mut pool, &source, 64), (0..64).collect::<Vec<_>>());
            assert_eq!(pool.in_flight(), 0);
        }
    }

    #[test]
    fn a_panicking_job_yields_its_failure_and_the_pool_goes_on() {
        for threads in [0, 1] {
            let (mut pool, source) = pool(threads, 4);
            pool.try_submit(Box::new(|| std::panic::resume_unwind(Box::new(()))), 77)
                .expect("room");
            pool.try_submit(Box::new(|| 1), 78).expect("room");
            assert_eq!(collect(&mut pool, &source, 2), [1, 77]);
        }
    }

    #[test]
    fn a_full_pool_hands_the_job_back_until_results_are_collected() {
        for threads in [0, 2] {
            let (mut pool, source) = pool(threads, 2);
            pool.try_submit(Box::new(|| 1), 0).expect("room");
            pool.try_submit(Box::new(|| 2), 0).expect("room");
            let full = pool.try_submit(Box::new(|| 3), 9).expect_err("full");
            assert_eq!(((full.job)(), full.on_panic), (3, 9));
            assert_eq!(collect(&mut pool, &source, 2), [1, 2]);
            pool.try_submit(Box::new(|| 4), 0).expect("room again");
        }
    }

    #[test]
    fn dropping_the_pool_abandons_the_jobs_that_wait() {
        let (mut pool, _source) = pool(1, 4);
        let (release, gate) = bounded::<()>(0);
        let (started, start) = bounded::<()>(0);
        let ran = Arc::new(AtomicBool::new(false));
        let blocked = Box::new(move || {
            started.send(()).expect("the test waits");
            u32::from(gate.recv().is_ok())
        });
        pool.try_submit(blocked, 0).expect("room");
        let mark = Arc::clone(&ran);
        pool.try_submit(Box::new(move || u32::from(mark.swap(true, Ordering::Relaxed))), 0)
            .expect("room");
        start.recv().expect("the first job starts");
        // The gate opens only after the waiting job was dropped, and with it its `mark`.
        let watch = Arc::clone(&ran);
        let opener = std::thread::spawn(move || {
            while Arc::strong_count(&watch) > 2 {
                std::thread::yield_now();
            }
            drop(release);
        });
        drop(pool);
        opener.join().expect("the opener ends");
        assert!(!ran.load(Ordering::Relaxed));
    }

    #[test]
    fn jobs_run_on_named_threads() {
        let (waker, source) = wake::pair().expect("an eventfd");
        let mut pool = WorkPool::new("work", 1, 1, waker).expect("a thread");
        let name = || std::thread::current().name().map(str::to_owned);
        pool.try_submit(Box::new(name), None).expect("room");
        assert!(source.wait(Some(Duration::from_secs(20))).expect("poll"));
        let mut out = Vec::new();
        pool.poll(&mut out);
        assert_eq!(out, [Some("work-0".to_owned())]);
    }
}
