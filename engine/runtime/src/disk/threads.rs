//! The disk engine that works everywhere: threads with pread and pwrite.
//!
//! A request is done by one thread from start to end; requests run in parallel.

use super::file::{DiskFile, Route};
use super::port::{self, Dock, Port};
use super::progress::{Piece, Progress, Step};
use super::{Completion, Direction, Disk, DiskConfig, DiskError, Op, Request, Segment, check};
use crate::buffers::Buffer;
use crate::sys::writeback;
use crate::wake::Waker;
use rustix::io::{Errno, pread, pwrite};
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Builder, JoinHandle};

const NAME: &str = "threads";

pub(super) fn open(config: DiskConfig<'_>, waker: Waker) -> Result<Box<dyn Disk>, DiskError> {
    let (port, dock) = port::pair(config.depth(), waker);
    let mut engine = Threads { port, workers: Vec::new() };
    for n in 0..config.threads.clamp(1, config.depth()) {
        let (dock, policy) = (dock.clone(), config.policy());
        let worker = Builder::new()
            .name(format!("disk-{n}"))
            .spawn(move || work(&dock, policy))
            .map_err(|error| unavailable(&error))?;
        engine.workers.push(worker);
    }
    Ok(Box::new(engine))
}

fn unavailable(error: &io::Error) -> DiskError {
    DiskError::EngineUnavailable { engine: NAME, errno: error.raw_os_error().unwrap_or(0) }
}

struct Threads {
    port: Port,
    workers: Vec<JoinHandle<()>>,
}

impl Disk for Threads {
    fn submit(&mut self, request: Request) -> Result<(), Request> {
        self.port.submit(request)
    }

    fn poll(&mut self, out: &mut Vec<Completion>) {
        self.port.poll(out);
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn in_flight(&self) -> usize {
        self.port.in_flight()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.port.close();
        for worker in self.workers.drain(..) {
            let ended = worker.join();
            debug_assert!(ended.is_ok(), "the worker has no reason to panic");
        }
    }
}

fn work(dock: &Dock, policy: Route) {
    for Request { token, op } in &dock.requests {
        // A panic ends this request, not those that the other threads would leave behind.
        let done = catch_unwind(AssertUnwindSafe(|| perform(op, policy)));
        dock.complete(match done {
            Ok((buffer, result)) => Completion { token, buffer: Some(buffer), result },
            Err(_) => Completion::broken(token),
        });
    }
}

fn perform(op: Op, policy: Route) -> (Buffer, Result<(), DiskError>) {
    match op {
        Op::Read { mut buffer, segments } => {
            let result = read(buffer.as_mut_slice(), &segments, policy);
            (buffer.into(), result)
        }
        Op::Write { buffer, segments } => {
            let result = write(buffer.as_slice(), &segments, policy);
            (buffer, result)
        }
    }
}

pub(super) fn read(
    memory: &mut [u8],
    segments: &[Segment],
    policy: Route,
) -> Result<(), DiskError> {
    each(Direction::Read, segments, memory.len(), policy, |file, piece| {
        pread(file.fd(piece.route), &mut memory[piece.range.clone()], piece.file_offset)
    })
}

pub(super) fn write(memory: &[u8], segments: &[Segment], policy: Route) -> Result<(), DiskError> {
    each(Direction::Write, segments, memory.len(), policy, |file, piece| {
        pwrite(file.fd(piece.route), &memory[piece.range.clone()], piece.file_offset)
    })
}

/// Takes every segment from start to end, `call` being the system call for one piece.
fn each(
    direction: Direction,
    segments: &[Segment],
    buffer_len: usize,
    policy: Route,
    mut call: impl FnMut(&DiskFile, &Piece) -> Result<usize, Errno>,
) -> Result<(), DiskError> {
    check(segments, buffer_len)?;
    for segment in segments.iter().filter(|segment| segment.len > 0) {
        let mut progress = Progress::new(direction, segment);
        loop {
            let piece = progress.piece(&segment.file, policy);
            let result = call(&segment.file, &piece);
            if result == Err(Errno::AGAIN) {
                thread::yield_now();
            }
            match progress.on_result(&segment.file, &piece, result) {
                Step::More => {}
                Step::Done => break,
                Step::Failed(error) => return Err(error),
            }
        }
        if let Some((offset, len)) = progress.write_back(segment)
            && !segment.file.is_in_memory()
        {
            // A hint: what it cannot do now, the sync does, and reports.
            let _ = writeback::start(segment.file.as_fd(), offset, len);
        }
    }
    Ok(())
}
