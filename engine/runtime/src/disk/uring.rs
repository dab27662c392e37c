//! The disk engine on io_uring: one thread that feeds the kernel and sleeps in it.
//!
//! The segments of a request are in the kernel at the same time, first come, first served across
//! requests. When a segment fails, the rest of its request is not begun, and what is in the
//! kernel is waited for before the completion.

use super::file::Route;
use super::port::{self, Dock, Port};
use super::progress::{Piece, Progress, Step};
use super::{Completion, Direction, Disk, DiskConfig, DiskError, Op, Request, Segment, check};
use crate::buffers::{Buffer, BufferPool};
use crate::sys::uring::{Command, Done, Loan, Ring};
use crate::wake::{self, WakeSource, Waker};
use crossbeam_channel::{Sender, TryRecvError, bounded};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

const NAME: &str = "uring";
/// Operations in the kernel at once: enough to scatter one request over many small files.
const FLIGHTS_MIN: usize = 64;
/// More do not help any disk, and each costs kernel memory.
const FLIGHTS_MAX: usize = 1024;

pub(super) fn open(config: DiskConfig<'_>, waker: Waker) -> Result<Box<dyn Disk>, DiskError> {
    let (bell, source) = wake::pair().map_err(|error| unavailable(&error))?;
    let (port, dock) = port::pair(config.depth(), waker);
    let (verdict, opened) = bounded(1);
    let (pool, depth, policy) = (config.pool.clone(), config.depth(), config.policy());
    let thread = Builder::new()
        .name("disk-uring".into())
        .spawn(move || run(&verdict, &pool, source, dock, depth, policy))
        .map_err(|error| unavailable(&error))?;
    // The ring belongs to the thread that opens it, so the thread has to tell.
    let opened = opened.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    let engine = Uring { port, bell, thread: Some(thread) };
    opened.map_err(|error| unavailable(&error))?;
    Ok(Box::new(engine))
}

fn unavailable(error: &io::Error) -> DiskError {
    DiskError::EngineUnavailable { engine: NAME, errno: error.raw_os_error().unwrap_or(0) }
}

struct Uring {
    port: Port,
    /// Wakes the thread when there are requests.
    bell: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Disk for Uring {
    fn submit(&mut self, request: Request) -> Result<(), Request> {
        self.port.submit(request)?;
        self.bell.wake();
        Ok(())
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

impl Drop for Uring {
    fn drop(&mut self) {
        self.port.close();
        self.bell.wake();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the engine has no reason to panic");
        }
    }
}

fn run(
    verdict: &Sender<io::Result<()>>,
    pool: &BufferPool,
    bell: WakeSource,
    dock: Dock,
    depth: usize,
    policy: Route,
) {
    let flights = depth.saturating_mul(2).clamp(FLIGHTS_MIN, FLIGHTS_MAX);
    let flights = u32::try_from(flights).expect("clamped far below");
    let ring = match Ring::open(flights, pool, bell) {
        Ok(ring) => ring,
        Err(error) => return drop(verdict.send(Err(error))),
    };
    tracing::debug!(flights = ring.room(), registered = ring.registers_buffers(), "io_uring open");
    if verdict.send(Ok(())).is_err() {
        return;
    }
    let mut engine = Engine::new(ring, dock, depth, policy);
    if let Err(error) = engine.serve() {
        tracing::error!(%error, "the io_uring disk engine failed");
        engine.fail(error.raw_os_error().unwrap_or(0));
    }
}

/// What an operation in the kernel is for.
enum Tag {
    Piece { request: usize, segment: usize, piece: Piece, progress: Progress },
    WriteBack,
}

/// A request that was begun.
struct Active {
    token: u64,
    direction: Direction,
    memory: Loan,
    segments: Vec<Segment>,
    /// The first segment that was not begun.
    next: usize,
    /// Its operations in the kernel.
    in_kernel: usize,
    /// The first error; nothing new is begun after it.
    error: Option<DiskError>,
}

impl Active {
    fn new(Request { token, op }: Request) -> Self {
        let (direction, buffer, mut segments): (_, Buffer, _) = match op {
            Op::Read { buffer, segments } => (Direction::Read, buffer.into(), segments),
            Op::Write { buffer, segments } => (Direction::Write, buffer, segments),
        };
        let checked = check(&segments, buffer.as_slice().len());
        if checked.is_ok() {
            segments.retain(|segment| segment.len > 0);
        }
        let memory = Loan::new(buffer);
        Self { token, direction, memory, segments, next: 0, in_kernel: 0, error: checked.err() }
    }

    /// Whether something is left to begin.
    fn is_ready(&self) -> bool {
        self.next < self.segments.len() && self.error.is_none()
    }

    fn is_over(&self) -> bool {
        self.in_kernel == 0 && !self.is_ready()
    }

    fn into_completion(self) -> Completion {
        let buffer = self.memory.redeem().ok();
        Completion { token: self.token, buffer, result: self.error.map_or(Ok(()), Err) }
    }
}

struct Engine {
    ring: Ring<Tag>,
    dock: Dock,
    policy: Route,
    /// As many places as requests can be in flight.
    requests: Vec<Option<Active>>,
    free: Vec<usize>,
    /// Requests with segments that the kernel does not have yet, in order of arrival.
    ready: VecDeque<usize>,
}

impl Engine {
    fn new(ring: Ring<Tag>, dock: Dock, depth: usize, policy: Route) -> Self {
        let requests = (0..depth).map(|_| None).collect();
        let free = (0..depth).rev().collect();
        Self { ring, dock, policy, requests, free, ready: VecDeque::with_capacity(depth) }
    }

    /// Works until the port closes; an error means that the ring is broken.
    fn serve(&mut self) -> io::Result<()> {
        let mut over = Vec::new();
        while self.accept() {
            self.begin();
            self.ring.wait()?;
            self.ring.reap(&mut over);
            over.drain(..).for_each(|done| self.on_done(done));
        }
        self.drain()
    }

    /// Takes in what waits at the port; false once it is closed.
    fn accept(&mut self) -> bool {
        loop {
            match self.dock.requests.try_recv() {
                Ok(request) => self.enter(request),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn enter(&mut self, request: Request) {
        let index = self.free.pop().expect("the port lets in as many as there are places");
        let active = self.requests[index].insert(Active::new(request));
        if active.is_ready() {
            self.ready.push_back(index);
        } else {
            self.complete(index);
        }
    }

    /// Gives the kernel as much as it may have at once.
    fn begin(&mut self) {
        while self.ring.room() > 0 {
            let Some(&index) = self.ready.front() else { return };
            let active = self.requests[index].as_mut().expect("ready requests are there");
            let segment = active.next;
            let progress = Progress::new(active.direction, &active.segments[segment]);
            active.next += 1;
            active.in_kernel += 1;
            self.push_piece(index, segment, progress);
            self.leave_ready(index);
        }
    }

    /// Takes the front request out of the ready queue once nothing of it is left to begin.
    fn leave_ready(&mut self, index: usize) {
        let active = self.requests[index].as_ref().expect("ready requests are there");
        if !active.is_ready() {
            self.ready.pop_front();
        }
    }

    fn push_piece(&mut self, request: usize, segment: usize, progress: Progress) {
        let active = self.requests[request].as_ref().expect("it has this operation");
        let file = &active.segments[segment].file;
        let piece = progress.piece(file, self.policy);
        let fd = Arc::clone(file.fd(piece.route));
        let (offset, range) = (piece.file_offset, piece.range.clone());
        let memory = active.memory.clone();
        let command = match active.direction {
            Direction::Read => Command::Read { fd, offset, memory, range },
            Direction::Write => Command::Write { fd, offset, memory, range },
        };
        self.ring.push(command, Tag::Piece { request, segment, piece, progress });
    }

    fn on_done(&mut self, Done { tag, result }: Done<Tag>) {
        match tag {
            // A hint: what it could not do, the sync does, and reports.
            Tag::WriteBack => {}
            Tag::Piece { request, segment, piece, progress } => {
                self.on_piece(request, segment, &piece, progress, result);
            }
        }
    }

    fn on_piece(
        &mut self,
        request: usize,
        segment: usize,
        piece: &Piece,
        mut progress: Progress,
        result: Result<usize, Errno>,
    ) {
        let active = self.requests[request].as_ref().expect("it has this operation");
        let place = &active.segments[segment];
        match progress.on_result(&place.file, piece, result) {
            // The flight that just ended left room for the next piece, also after an error
            // elsewhere in the request: the rest of this segment is not worth a special case.
            Step::More => self.push_piece(request, segment, progress),
            Step::Done => {
                if let Some((offset, len)) = progress.write_back(place) {
                    let fd = Arc::clone(place.file.fd(Route::Buffered));
                    self.write_back(fd, offset, len);
                }
                self.end_operation(request, Ok(()));
            }
            Step::Failed(error) => self.end_operation(request, Err(error)),
        }
    }

    /// Starts write-back of a run. A hint, so it is left out where it cannot be had cheaply.
    fn write_back(&mut self, fd: Arc<OwnedFd>, offset: u64, len: usize) {
        if let (Ok(len), true) = (u32::try_from(len), self.ring.room() > 0) {
            self.ring.push(Command::WriteBack { fd, offset, len }, Tag::WriteBack);
        }
    }

    fn end_operation(&mut self, request: usize, result: Result<(), DiskError>) {
        let active = self.requests[request].as_mut().expect("it has this operation");
        active.in_kernel -= 1;
        if let (Err(error), None) = (result, active.error) {
            active.error = Some(error);
            self.ready.retain(|&ready| ready != request);
        }
        if active.is_over() {
            self.complete(request);
        }
    }

    fn complete(&mut self, request: usize) {
        if let Some(active) = self.requests[request].take() {
            self.free.push(request);
            self.dock.complete(active.into_completion());
        }
    }

    /// Waits for what the kernel has; begins nothing more.
    fn drain(&mut self) -> io::Result<()> {
        let mut over = Vec::new();
        while self.ring.in_flight() > 0 {
            self.ring.wait()?;
            self.ring.reap(&mut over);
            over.drain(..).for_each(|done| self.on_done(done));
        }
        Ok(())
    }

    /// Answers every request with a failure until the port closes.
    fn fail(self, errno: i32) {
        let Self { ring, dock, requests, .. } = self;
        let error = DiskError::EngineFailed { errno };
        // Dropping the ring ends the operations, or keeps their buffers if it cannot.
        drop(ring);
        for mut active in requests.into_iter().flatten() {
            active.error.get_or_insert(error);
            dock.complete(active.into_completion());
        }
        for request in &dock.requests {
            let mut active = Active::new(request);
            active.error = Some(error);
            dock.complete(active.into_completion());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None`, and a word on the real standard error, where the kernel lets this user have no ring;
    /// whatever else keeps one from opening is a failure.
    fn ring_or_skip<T>(flights: u32, pool: &BufferPool, bell: WakeSource) -> Option<Ring<T>> {
        let error = match Ring::open(flights, pool, bell) {
            Ok(ring) => return Some(ring),
            Err(error) => error,
        };
        let forbidden = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
        assert!(forbidden.contains(&error.kind()), "{error}");
        let test = std::thread::current();
        let line =
            format!("skipped by name: {} because {error}\n", test.name().unwrap_or("a test"));
        // Nobody may be reading.
        drop(io::Write::write_all(&mut io::stderr(), line.as_bytes()));
        None
    }

    fn request(token: u64, pool: &BufferPool) -> Request {
        let file = tempfile::tempfile().expect("a temporary file");
        let segment =
            Segment { file: Arc::new(file.into()), file_offset: 0, buffer_offset: 0, len: 4096 };
        let buffer = pool.try_lease().expect("the test leaves some free");
        Request { token, op: Op::write(buffer, segment) }
    }

    #[test]
    fn a_broken_engine_answers_every_request_and_returns_every_buffer() {
        let pool = BufferPool::new(2, 4096).expect("a mapping");
        let (bell, source) = wake::pair().expect("an eventfd");
        let Some(ring) = ring_or_skip(8, &pool, source) else { return };
        let (waker, driver) = wake::pair().expect("an eventfd");
        let (mut port, dock) = port::pair(2, waker);
        let mut engine = Engine::new(ring, dock, 2, Route::Buffered);
        port.submit(request(1, &pool)).expect("room");
        assert!(engine.accept());
        engine.begin();
        port.submit(request(2, &pool)).expect("room");
        let caller = std::thread::spawn(move || {
            let mut out = Vec::new();
            while out.len() < 2 {
                let woken = driver.wait(Some(std::time::Duration::from_secs(20))).expect("poll");
                assert!(woken, "stuck after {} completions", out.len());
                driver.drain();
                port.poll(&mut out);
            }
            port.close();
            out
        });
        engine.fail(5);
        drop(bell);
        let out = caller.join().expect("both are answered");
        let broken = Err(DiskError::EngineFailed { errno: 5 });
        assert!(out.iter().all(|done| done.result == broken && done.buffer.is_some()));
        drop(out);
        assert_eq!(pool.free_slots(), 2);
    }

    #[test]
    fn a_ring_that_is_dropped_waits_for_the_kernel() {
        let pool = BufferPool::new(1, 4096).expect("a mapping");
        let (_bell, source) = wake::pair().expect("an eventfd");
        let Some(mut ring) = ring_or_skip(1, &pool, source) else { return };
        // A read from an empty pipe stays in the kernel until something is written.
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let lease = pool.try_lease().expect("fresh");
        let (fd, memory) = (Arc::new(reader), Loan::new(lease.into()));
        ring.push(Command::Read { fd, offset: u64::MAX, memory, range: 0..4096 }, ());
        assert_eq!((ring.in_flight(), pool.free_slots()), (1, 0));
        let helper = std::thread::spawn(move || rustix::io::write(&writer, &[1; 100]));
        drop(ring);
        assert_eq!(helper.join().expect("it ends"), Ok(100));
        assert_eq!(pool.free_slots(), 1);
    }
}
