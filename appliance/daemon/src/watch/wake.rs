//! Waking a thread that waits for the kernel.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, Result, write};
use std::sync::Arc;
use std::time::Duration;

/// Ends the waiting of a watcher, for good. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    /// A new one.
    ///
    /// # Errors
    /// The kernel's own: too many open files.
    pub fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    /// Whoever waits goes on, now and from now on.
    pub fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until `fd` can be read, somebody wakes, or `patience` ends. Returns whether `fd` can be
    /// read.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn wait(&self, fd: impl AsFd, patience: Duration) -> Result<bool> {
        let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [readable(fd.as_fd()), readable(self.0.as_fd())];
        match poll(&mut fds, Some(&patience)) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_woken_does_not_wait() {
        let (wake, other) = (Wake::new().expect("made"), Wake::new().expect("made"));
        wake.wake();
        assert_eq!(wake.wait(&*other.0, Duration::from_secs(3600)), Ok(false));
        other.wake();
        assert_eq!(wake.wait(&*other.0, Duration::from_secs(3600)), Ok(true));
    }
}
