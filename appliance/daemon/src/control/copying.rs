//! Copies of what is here already: small files in a queue that a few threads work off, large ones each
//! in a thread of its own.
//!
//! Of a directory that was renamed everything is a small copy, and what comes together is put in place
//! together, in one commit.

use super::contents::WHOLE_MAX;
use super::fetch::LocalCopy;
use super::folder::FolderError;
use super::turns::Kind;
use farhaul_proto::units::Bytes;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Small files that wait in the queue or are copied.
const SMALL_MAX: usize = 1024;
/// Threads that copy small files: each waits for the disk most of the time.
const THREADS: usize = 8;
/// Large files that are copied at the same time.
const LARGE_MAX: usize = 4;

/// What of a folder is copied.
#[derive(Default)]
pub(super) struct Copying {
    /// The way to the threads, once there are any. They end when it is gone and the queue is empty.
    queue: Option<Sender<LocalCopy>>,
    small: usize,
    large: usize,
}

/// Of which kind a copy of that size is.
pub(super) const fn kind_of(size: Bytes) -> Kind {
    if size.get() > WHOLE_MAX.get() { Kind::LargeCopy } else { Kind::SmallCopy }
}

impl Copying {
    /// How many more of a kind may be begun.
    pub(super) const fn room(&self, kind: Kind) -> usize {
        match kind {
            Kind::SmallCopy => SMALL_MAX.saturating_sub(self.small),
            Kind::LargeCopy => LARGE_MAX.saturating_sub(self.large),
            Kind::Small | Kind::Large => 0,
        }
    }

    /// Begins to copy a file.
    pub(super) fn begin(&mut self, copy: LocalCopy) -> Result<(), FolderError> {
        if kind_of(copy.wish.size) == Kind::LargeCopy {
            spawn("farhaul-copy", move || copy.run())?;
            self.large += 1;
            return Ok(());
        }
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => start()?,
        };
        // The threads end after us.
        let _ = self.queue.insert(queue).send(copy);
        self.small += 1;
        Ok(())
    }

    /// What became of the copy of a file of this size was told.
    pub(super) const fn ended(&mut self, size: Bytes) {
        let of_kind = match kind_of(size) {
            Kind::LargeCopy => &mut self.large,
            _ => &mut self.small,
        };
        *of_kind = of_kind.saturating_sub(1);
    }
}

fn start() -> Result<Sender<LocalCopy>, FolderError> {
    let (queue, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..THREADS {
        let waiting = Arc::clone(&waiting);
        spawn("farhaul-copy", move || work(&waiting))?;
    }
    Ok(queue)
}

/// Copies one after the other. Once the folder is closed the rest of the queue is dropped.
fn work(waiting: &Mutex<Receiver<LocalCopy>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(copy) if copy.shared.stop.is_set() => drop(copy),
            Ok(copy) => copy.run(),
            Err(_) => return,
        }
    }
}

/// Begins something in a thread of its own.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), FolderError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop).map_err(FolderError::Thread)
}
