//! A ring of the kernel's io_uring that owns what the kernel works on.
//!
//! Memory lent to an operation belongs to the ring until the operation's completion was reaped,
//! also when the ring is dropped or its thread unwinds. It knows nothing of requests, retries or
//! files: that is `crate::disk::uring`.

use crate::buffers::{Buffer, BufferPool};
use crate::sys::memory::{Mapping, Slot};
use crate::sys::writeback;
use crate::wake::WakeSource;
use core::marker::PhantomData;
use core::ops::Range;
use io_uring::types::Fd;
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// Operations the engine cannot do without; all are there since Linux 5.6.
const NEEDED: [u8; 6] = [
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::ReadFixed::CODE,
    opcode::WriteFixed::CODE,
    opcode::SyncFileRange::CODE,
    opcode::PollAdd::CODE,
];
/// The kernel's bound on registered buffers (`IORING_MAX_REG_BUFFERS`).
const FIXED_MAX: usize = 1 << 14;
/// Marks the completion of the bell's poll; flights use their index.
const BELL: u64 = u64::MAX;
/// Times that a busy kernel is asked again before the ring counts as broken.
const BUSY_RETRIES_MAX: u32 = 10_000;

/// A buffer that the kernel may be working on: it shows its bytes to nobody.
#[derive(Clone, Debug)]
pub(crate) struct Loan(Arc<Buffer>);

impl Loan {
    pub(crate) fn new(buffer: Buffer) -> Self {
        Self(Arc::new(buffer))
    }

    /// The buffer back, once no operation holds it.
    pub(crate) fn redeem(self) -> Result<Buffer, Self> {
        Arc::try_unwrap(self.0).map_err(Self)
    }
}

/// What the kernel shall do.
#[derive(Debug)]
pub(crate) enum Command {
    /// File to memory; the loan must be of an owned buffer.
    Read { fd: Arc<OwnedFd>, offset: u64, memory: Loan, range: Range<usize> },
    /// Memory to file.
    Write { fd: Arc<OwnedFd>, offset: u64, memory: Loan, range: Range<usize> },
    /// Start of write-back, see [`writeback`].
    WriteBack { fd: Arc<OwnedFd>, offset: u64, len: u32 },
}

/// What has to live until the operation is over.
struct Flight<T> {
    tag: T,
    command: Command,
}

/// An operation that is over: the bytes moved, or the error.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) tag: T,
    pub(crate) result: Result<usize, Errno>,
}

/// The ring, bound to the thread that opened it.
pub(crate) struct Ring<T> {
    io: IoUring,
    flights: Vec<Option<Flight<T>>>,
    free: Vec<usize>,
    fixed: Fixed,
    bell: WakeSource,
    bell_armed: bool,
    /// The kernel takes submissions from one thread only.
    thread: PhantomData<*mut ()>,
}

impl<T> Ring<T> {
    /// Opens a ring for at least `flights` operations at once. A ring of `bell` ends a wait.
    pub(crate) fn open(flights: u32, pool: &BufferPool, bell: WakeSource) -> io::Result<Self> {
        // One entry more than flights: the bell's poll.
        let io = build(flights.saturating_add(1))?;
        let mut probe = Probe::new();
        io.submitter().register_probe(&mut probe)?;
        if !NEEDED.iter().all(|&code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let capacity = io.params().sq_entries() as usize - 1;
        let fixed = Fixed::open(&io, pool);
        Ok(Self {
            io,
            flights: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).rev().collect(),
            fixed,
            bell,
            bell_armed: false,
            thread: PhantomData,
        })
    }

    /// Operations that can be pushed now.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    /// Operations that were pushed and not reaped.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// Whether buffers are registered with the kernel as they are used.
    pub(crate) fn registers_buffers(&self) -> bool {
        self.fixed.usable
    }

    /// Queues an operation for the next wait; there must be room.
    pub(crate) fn push(&mut self, command: Command, tag: T) {
        let entry = self.entry(&command);
        let flight = self.free.pop().expect("the caller saw room");
        self.flights[flight] = Some(Flight { tag, command });
        self.push_entry(&entry.user_data(flight as u64));
    }

    fn entry(&mut self, command: &Command) -> squeue::Entry {
        match command {
            Command::Read { fd, offset, memory, range } => {
                let owned = matches!(*memory.0, Buffer::Owned(_));
                assert!(owned, "the kernel must not write into shared memory");
                self.transfer_entry(Direction::Read, fd, *offset, memory.0.slot(), range)
            }
            Command::Write { fd, offset, memory, range } => {
                self.transfer_entry(Direction::Write, fd, *offset, memory.0.slot(), range)
            }
            Command::WriteBack { fd, offset, len } => {
                opcode::SyncFileRange::new(Fd(fd.as_raw_fd()), *len)
                    .offset(*offset)
                    .flags(writeback::START)
                    .build()
            }
        }
    }

    fn transfer_entry(
        &mut self,
        direction: Direction,
        fd: &Arc<OwnedFd>,
        offset: u64,
        slot: &Slot,
        range: &Range<usize>,
    ) -> squeue::Entry {
        let bounds = range.start <= range.end && range.end <= slot.mapping().slot_len();
        assert!(bounds, "an operation must stay inside its buffer");
        let len = u32::try_from(range.len()).expect("pieces are far below 4 GiB");
        let fd = Fd(fd.as_raw_fd());
        let start = slot.as_ptr().wrapping_add(range.start);
        match (direction, self.fixed.index_of(&self.io, slot)) {
            (Direction::Read, Some(index)) => {
                opcode::ReadFixed::new(fd, start, len, index).offset(offset).build()
            }
            (Direction::Read, None) => opcode::Read::new(fd, start, len).offset(offset).build(),
            (Direction::Write, Some(index)) => {
                opcode::WriteFixed::new(fd, start, len, index).offset(offset).build()
            }
            (Direction::Write, None) => opcode::Write::new(fd, start, len).offset(offset).build(),
        }
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        // SAFETY: the entry's memory lies inside a slot whose loan sits in `flights` until the
        // completion was reaped (`Drop` waits for that too); nothing reads or writes the bytes
        // through a loan; its descriptor is owned by the same flight, or by `bell`.
        let pushed = unsafe { self.io.submission().push(entry) };
        assert!(pushed.is_ok(), "the queue has an entry for every flight and the bell");
    }

    /// Submits what was pushed and sleeps until something completes or the bell rings. An error
    /// means that the ring is broken.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        if !self.bell_armed {
            let fd = Fd(self.bell.as_fd().as_raw_fd());
            let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
            self.push_entry(&poll.user_data(BELL));
            self.bell_armed = true;
        }
        for _ in 0..BUSY_RETRIES_MAX {
            match self.io.submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    if !self.io.completion().is_empty() {
                        return Ok(());
                    }
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Moves what has completed to `out`, and quiets the bell if it rang.
    pub(crate) fn reap(&mut self, out: &mut Vec<Done<T>>) {
        let Self { io, flights, free, bell, bell_armed, .. } = self;
        for entry in io.completion() {
            if entry.user_data() == BELL {
                bell.drain();
                *bell_armed = false;
                continue;
            }
            let flight = usize::try_from(entry.user_data()).expect("we numbered it from a usize");
            let over = flights[flight].take().expect("one completion for each operation");
            let Flight { tag, command } = over;
            drop(command);
            free.push(flight);
            let result = usize::try_from(entry.result())
                .map_err(|_| Errno::from_raw_os_error(entry.result().wrapping_neg()));
            out.push(Done { tag, result });
        }
    }
}

impl<T> Drop for Ring<T> {
    /// Waits for every operation. If the kernel does not say that they are over, their buffers
    /// are lost to the pool for good, which is better than memory that changes under its owner.
    fn drop(&mut self) {
        let mut over = Vec::new();
        while self.in_flight() > 0 {
            if self.wait().is_err() {
                self.flights.drain(..).for_each(core::mem::forget);
                return;
            }
            self.reap(&mut over);
            over.clear();
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// The best set-up this kernel takes: completions run on our thread when it asks for them (since
/// 6.1), or at least without interrupting it (since 5.19).
fn build(entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp();
    let mut deferred = builder.clone();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut cooperative = builder.clone();
    cooperative.setup_coop_taskrun();
    let unknown_flag = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    match deferred.build(entries) {
        Err(error) if unknown_flag(&error) => {}
        outcome => return outcome,
    }
    match cooperative.build(entries) {
        Err(error) if unknown_flag(&error) => builder.build(entries),
        outcome => outcome,
    }
}

/// The pool's slots as the kernel knows them. Registration pins a slot's pages, so it happens at
/// first use: a pool that is not used stays free of resident pages.
struct Fixed {
    mapping: Arc<Mapping>,
    registered: Vec<bool>,
    /// False once the kernel refused a slot (old kernel, `RLIMIT_MEMLOCK`): slots registered
    /// before stay in use, the others go the plain way.
    usable: bool,
}

impl Fixed {
    fn open(io: &IoUring, pool: &BufferPool) -> Self {
        let slots = pool.slots();
        let usable = slots <= FIXED_MAX
            && u32::try_from(slots)
                .is_ok_and(|n| io.submitter().register_buffers_sparse(n).is_ok());
        Self { mapping: Arc::clone(pool.mapping()), registered: vec![false; slots], usable }
    }

    /// The slot's index in the kernel's table, registering it if need be.
    fn index_of(&mut self, io: &IoUring, slot: &Slot) -> Option<u16> {
        if !Arc::ptr_eq(&self.mapping, slot.mapping()) {
            return None;
        }
        let index = u16::try_from(slot.index()).ok()?;
        let registered = self.registered.get_mut(usize::from(index))?;
        if !*registered && self.usable {
            *registered = register(io, slot);
            self.usable = *registered;
        }
        registered.then_some(index)
    }
}

fn register(io: &IoUring, slot: &Slot) -> bool {
    let iov_len = slot.mapping().slot_len();
    let iovec = libc::iovec { iov_base: slot.as_ptr().cast(), iov_len };
    // SAFETY: the range is one slot of a live mapping, which `Fixed` keeps as long as the ring
    // exists; registering pins pages and reads or writes no byte of them.
    let registered =
        unsafe { io.submitter().register_buffers_update(slot.index(), &[iovec], None) };
    if let Err(error) = &registered {
        tracing::info!(%error, "io_uring refuses to register more buffers; going on without");
    }
    registered.is_ok()
}
