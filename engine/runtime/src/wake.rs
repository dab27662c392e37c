//! Waking a thread that sleeps in poll: an eventfd behind a flag, so that a burst of events costs
//! one system call.
//!
//! It carries no message: whoever wakes puts the message into a queue first. It does not count.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    /// True from the first wake until the next drain.
    rung: AtomicBool,
}

/// A new pair; the source may make more wakers.
///
/// # Errors
/// What eventfd says: the process has no descriptors left.
pub fn pair() -> io::Result<(Waker, WakeSource)> {
    let source = WakeSource::new()?;
    Ok((source.waker(), source))
}

/// The end that wakes. Cheap to clone; any thread may use it.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

impl Waker {
    /// Makes the source readable. Does nothing if it already is.
    pub fn wake(&self) {
        if self.bell.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // A write of one blocks or fails only at a count of 2^64 - 2, and the count is at most 1.
        while rustix::io::write(&self.bell.fd, &1u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }
}

/// The end that sleeps: readable (POLLIN) from the first wake until [`WakeSource::drain`].
#[derive(Debug)]
pub struct WakeSource {
    bell: Arc<Bell>,
}

impl WakeSource {
    /// A source nobody has woken yet.
    ///
    /// # Errors
    /// What eventfd says: the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { bell: Arc::new(Bell { fd, rung: AtomicBool::new(false) }) })
    }

    /// One more waker for this source.
    pub fn waker(&self) -> Waker {
        Waker { bell: Arc::clone(&self.bell) }
    }

    /// Makes the source quiet again. Look into the queues **after** this, never before: a message
    /// that was put there with a wake before the drain is then seen, and one after it wakes again.
    pub fn drain(&self) {
        let mut count = [0; 8];
        // Read first, then lower the flag: the other order could swallow the write of a wake
        // whose flag stays up, and nobody would ever ring again.
        while rustix::io::read(&self.bell.fd, &mut count) == Err(Errno::INTR) {}
        self.bell.rung.swap(false, Ordering::AcqRel);
    }

    /// Sleeps until woken or until `timeout` has passed (`None`: no limit); true if woken. For
    /// threads that wait for nothing else.
    ///
    /// # Errors
    /// What poll says; an interrupted wait counts as not woken.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::new(&self.bell.fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for WakeSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn many_wakes_are_one_and_drain_ends_them() {
        let (waker, source) = pair().expect("an eventfd");
        assert!(!source.wait(NOW).expect("poll"));
        waker.wake();
        waker.clone().wake();
        assert!(source.wait(NOW).expect("poll"));
        source.drain();
        assert!(!source.wait(NOW).expect("poll"));
    }

    #[test]
    fn a_wake_after_drain_is_seen() {
        let (waker, source) = pair().expect("an eventfd");
        waker.wake();
        source.drain();
        waker.wake();
        assert!(source.wait(NOW).expect("poll"));
    }

    #[test]
    fn draining_a_quiet_source_does_not_block() {
        let (waker, source) = pair().expect("an eventfd");
        source.drain();
        waker.wake();
        assert!(source.wait(NOW).expect("poll"));
    }

    #[test]
    fn no_message_is_lost_between_two_threads() {
        let (waker, source) = pair().expect("an eventfd");
        let (sender, receiver) = crossbeam_channel::bounded(4);
        let producer = std::thread::spawn(move || {
            for n in 0..10_000u32 {
                sender.send(n).expect("the receiver lives");
                waker.wake();
            }
        });
        let mut seen = 0;
        while seen < 10_000 {
            let woken = source.wait(Some(Duration::from_secs(20))).expect("poll");
            assert!(woken, "stuck after {seen} messages");
            source.drain();
            seen += receiver.try_iter().count();
        }
        producer.join().expect("the producer ends");
    }
}
