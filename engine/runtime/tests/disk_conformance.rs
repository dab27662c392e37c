//! One body of tests for every disk engine: what holds for one holds for all.
//!
//! The arms are the engines, each with and without direct I/O. An arm whose engine the kernel
//! forbids prints the reason and passes. Nothing here measures speed.

use farhaul_engine::buffers::{Buffer, BufferPool, Lease};
use farhaul_engine::disk::{
    self, Completion, Disk, DiskConfig, DiskError, DiskFile, DiskKind, Op, Request, Segment,
};
use farhaul_engine::wake::{self, WakeSource};
use proptest::prelude::*;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A full block of the protocol: 343 pages.
const RUN: usize = 343 * 4096;
const SLOTS: usize = 24;
/// Far beyond any completion's time: only a hang gets there.
const HANG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
struct Arm {
    kind: DiskKind,
    direct: bool,
}

/// An engine with a pool and a directory of its own.
struct Rig {
    /// Before the pool: dropped first, as in the product.
    disk: Box<dyn Disk>,
    source: WakeSource,
    pool: BufferPool,
    dir: TempDir,
    direct: bool,
}

impl Rig {
    fn new(arm: Arm) -> Option<Self> {
        Self::with_depth(arm, 8)
    }

    fn with_depth(arm: Arm, depth: usize) -> Option<Self> {
        let pool = BufferPool::new(SLOTS, RUN + 4096).expect("a mapping");
        Self::with_pool(arm, depth, pool)
    }

    fn with_pool(arm: Arm, depth: usize, pool: BufferPool) -> Option<Self> {
        let (waker, source) = wake::pair().expect("an eventfd");
        let config = DiskConfig { depth, threads: 3, pool: &pool, direct: arm.direct };
        let disk = match disk::open(arm.kind, config, waker) {
            Ok(disk) => disk,
            Err(error) => {
                assert_eq!(arm.kind, DiskKind::Uring, "threads are always available: {error}");
                assert!(is_forbidden(&error), "{error}");
                skip(&error.to_string());
                return None;
            }
        };
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        Some(Self { disk, source, pool, dir, direct: arm.direct })
    }

    fn open(&self, path: &Path, flags: OFlags) -> Arc<DiskFile> {
        let fd = open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).expect("it opens");
        Arc::new(if self.direct { DiskFile::with_direct(fd) } else { DiskFile::new(fd) })
    }

    fn create(&self, name: &str) -> Arc<DiskFile> {
        self.open(&self.dir.path().join(name), OFlags::RDWR | OFlags::CREATE)
    }

    fn contents(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).expect("the file is there")
    }

    fn lease(&self) -> Lease {
        self.pool.try_lease().expect("the test leaves some free")
    }

    fn filled(&self, seed: u64) -> Lease {
        let mut lease = self.lease();
        fill(lease.as_mut_slice(), seed);
        lease
    }

    fn submit(&mut self, token: u64, op: Op) {
        self.disk.submit(Request { token, op }).expect("the test leaves room");
    }

    /// Completions of everything in flight, by token.
    fn settle(&mut self) -> BTreeMap<u64, Completion> {
        let mut out = Vec::new();
        while self.disk.in_flight() > 0 {
            let woken = self.source.wait(Some(HANG)).expect("poll");
            assert!(woken, "{} hangs with {} in flight", self.disk.name(), self.disk.in_flight());
            self.source.drain();
            self.disk.poll(&mut out);
        }
        let count = out.len();
        let by_token: BTreeMap<_, _> = out.into_iter().map(|done| (done.token, done)).collect();
        assert_eq!(by_token.len(), count, "one completion for each request");
        by_token
    }

    fn run(&mut self, op: Op) -> Completion {
        self.submit(1, op);
        self.settle().remove(&1).expect("its token comes back")
    }

    fn write(&mut self, buffer: impl Into<Buffer>, segment: Segment) {
        assert_eq!(self.run(Op::write(buffer, segment)).result, Ok(()));
    }

    fn read(&mut self, segment: Segment) -> Vec<u8> {
        let range = segment.buffer_offset..segment.buffer_offset + segment.len;
        let done = self.run(Op::read(self.lease(), segment));
        assert_eq!(done.result, Ok(()));
        done.into_lease().expect("a read owns its buffer").as_slice()[range].to_vec()
    }
}

/// Whether the kernel lets this user have no io_uring: `kernel.io_uring_disabled`, or the filter of a
/// container. Whatever else keeps the engine from opening is a failure.
fn is_forbidden(error: &DiskError) -> bool {
    let forbidden = [Errno::PERM, Errno::ACCESS, Errno::NOSYS].map(Errno::raw_os_error);
    matches!(error, DiskError::EngineUnavailable { errno, .. } if forbidden.contains(errno))
}

/// Says that a test was skipped, where a person sees it: `cargo test` swallows what the macros of a
/// passing test print.
fn skip(because: &str) {
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    // Nobody may be reading.
    drop(writeln!(std::io::stderr().lock(), "skipped by name: {name} because {because}"));
}

/// Bytes that differ from place to place and from seed to seed.
fn fill(bytes: &mut [u8], seed: u64) {
    for (word, place) in bytes.chunks_mut(8).zip(1u64..) {
        let value = (place ^ seed << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        word.copy_from_slice(&value[..word.len()]);
    }
}

fn segment(file: &Arc<DiskFile>, file_offset: u64, buffer_offset: usize, len: usize) -> Segment {
    Segment { file: Arc::clone(file), file_offset, buffer_offset, len }
}

fn what_is_written_is_read_back(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let file = rig.create("file");
    let places = [(0, 0, RUN), (8192, 4096, 65_536), (RUN as u64, 0, 5000), (13, 7, 300_001)];
    for (seed, (file_offset, buffer_offset, len)) in (1..).zip(places) {
        let place = segment(&file, file_offset, buffer_offset, len);
        let buffer = rig.filled(seed);
        let expected = buffer.as_slice()[buffer_offset..buffer_offset + len].to_vec();
        rig.write(buffer, place.clone());
        assert!(rig.read(place) == expected, "at {file_offset}");
        let start = usize::try_from(file_offset).expect("small");
        assert!(rig.contents("file")[start..start + len] == expected, "at {file_offset}");
    }
    assert_eq!(rig.pool.free_slots(), SLOTS);
}

fn one_request_scatters_over_more_files_than_the_kernel_takes_at_once(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    const FILES: usize = 300;
    let names: Vec<_> = (0..FILES).map(|n| format!("f{n}")).collect();
    let files: Vec<_> = names.iter().map(|name| rig.create(name)).collect();
    let segments: Vec<_> =
        files.iter().enumerate().map(|(n, file)| segment(file, 0, n * 4096, 3000 + n)).collect();
    let buffer = rig.filled(5);
    let expected = buffer.as_slice().to_vec();
    let done = rig.run(Op::Write { buffer: buffer.into(), segments: segments.clone() });
    assert_eq!(done.result, Ok(()));
    for (n, name) in names.iter().enumerate() {
        assert!(rig.contents(name) == expected[n * 4096..n * 4096 + 3000 + n], "{name}");
    }
    let done = rig.run(Op::Read { buffer: rig.filled(6), segments });
    assert_eq!(done.result, Ok(()));
    let lease = done.into_lease().expect("owned");
    for n in 0..FILES {
        let range = n * 4096..n * 4096 + 3000 + n;
        assert!(lease.as_slice()[range.clone()] == expected[range], "file {n}");
    }
}

fn a_read_past_the_end_says_where_the_file_ends(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    for (name, len) in [("unaligned", 10_000), ("aligned", 8192), ("empty", 0)] {
        let file = rig.create(name);
        let buffer = rig.filled(1);
        rig.write(buffer, segment(&file, 0, 0, len));
        let done = rig.run(Op::read(rig.lease(), segment(&file, 0, 0, 16_384)));
        assert_eq!(done.result, Err(DiskError::UnexpectedEof { file_offset: len as u64 }));
        assert!(done.into_lease().is_some());
        let done = rig.run(Op::read(rig.lease(), segment(&file, 1 << 40, 0, 1)));
        assert_eq!(done.result, Err(DiskError::UnexpectedEof { file_offset: 1 << 40 }));
        assert_eq!(rig.read(segment(&file, 0, 0, len)).len(), len);
    }
}

fn empty_requests_succeed(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let file = rig.create("file");
    let nothing = Op::Write { buffer: rig.lease().into(), segments: Vec::new() };
    assert_eq!(rig.run(nothing).result, Ok(()));
    let nothing = Op::read(rig.lease(), segment(&file, 100, 100, 0));
    assert_eq!(rig.run(nothing).result, Ok(()));
}

fn a_full_device_is_told_apart_and_the_buffer_comes_back(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let full = rig.open(Path::new("/dev/full"), OFlags::RDWR);
    let good = rig.create("good");
    let op = Op::Write {
        buffer: rig.lease().into(),
        segments: vec![segment(&good, 0, 0, 100), segment(&full, 0, 0, RUN)],
    };
    let done = rig.run(op);
    assert_eq!(done.result, Err(DiskError::NoSpace));
    assert!(done.result.is_err_and(DiskError::is_out_of_space));
    assert!(done.into_lease().is_some());
    let buffer = rig.filled(3);
    rig.write(buffer, segment(&good, 0, 0, 100));
}

fn a_failed_segment_ends_its_request_once(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let full = rig.open(Path::new("/dev/full"), OFlags::RDWR);
    let segments = (0..300).map(|n| segment(&full, 0, n * 4096, 4096)).collect();
    let other = rig.create("other");
    let (bad, good) = (rig.filled(1), rig.filled(2));
    rig.submit(1, Op::Write { buffer: bad.into(), segments });
    rig.submit(2, Op::write(good, segment(&other, 0, 0, RUN)));
    let done = rig.settle();
    assert_eq!(done[&1].result, Err(DiskError::NoSpace));
    assert_eq!(done[&2].result, Ok(()));
    drop(done);
    assert_eq!(rig.pool.free_slots(), SLOTS);
}

fn descriptors_of_the_wrong_kind_are_refused(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let path = rig.dir.path().join("file");
    std::fs::write(&path, [1; 8192]).expect("written");
    let read_only = rig.open(&path, OFlags::RDONLY);
    let write_only = rig.open(&path, OFlags::WRONLY);
    let done = rig.run(Op::write(rig.lease(), segment(&read_only, 0, 0, 8192)));
    assert_eq!(done.result, Err(DiskError::BadDescriptor));
    let done = rig.run(Op::read(rig.lease(), segment(&write_only, 0, 0, 8192)));
    assert_eq!(done.result, Err(DiskError::BadDescriptor));
    assert!(rig.contents("file") == [1; 8192]);
}

fn segments_out_of_bounds_are_refused_before_any_byte_moves(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let file = rig.create("file");
    let len = rig.pool.slot_len();
    let wrong = [
        segment(&file, 0, 1, len),
        segment(&file, 0, usize::MAX, 2),
        segment(&file, 0, len + 1, 0),
        segment(&file, u64::MAX, 0, 1),
        segment(&file, i64::MAX as u64, 0, 1),
    ];
    for wrong in wrong {
        let segments = vec![segment(&file, 0, 0, 10), wrong];
        let done = rig.run(Op::Write { buffer: rig.lease().into(), segments });
        assert_eq!(done.result, Err(DiskError::SegmentOutOfBounds { segment: 1 }));
        assert!(done.into_lease().is_some());
    }
    assert!(rig.contents("file").is_empty());
}

fn a_full_engine_hands_the_request_back(arm: Arm) {
    let Some(mut rig) = Rig::with_depth(arm, 2) else { return };
    let file = rig.create("file");
    for token in 0..2 {
        let buffer = rig.filled(token);
        rig.submit(token, Op::write(buffer, segment(&file, token * 4096, 0, 4096)));
    }
    let buffer = rig.filled(2);
    let op = Op::write(buffer, segment(&file, 8192, 0, 4096));
    let back = rig.disk.submit(Request { token: 2, op }).expect_err("depth is 2");
    assert_eq!((back.token, rig.disk.in_flight()), (2, 2));
    assert_eq!(rig.settle().into_keys().collect::<Vec<_>>(), [0, 1]);
    rig.disk.submit(back).expect("room again");
    assert_eq!(rig.settle().into_keys().collect::<Vec<_>>(), [2]);
    assert_eq!(rig.contents("file").len(), 3 * 4096);
}

fn dropping_the_engine_returns_every_buffer(arm: Arm) {
    let Some(mut rig) = Rig::with_depth(arm, SLOTS) else { return };
    let file = rig.create("file");
    for token in 0..SLOTS as u64 {
        let buffer = rig.filled(7);
        let place = segment(&file, token * RUN as u64, 0, RUN);
        let op = if token % 2 == 0 { Op::write(buffer, place) } else { Op::read(buffer, place) };
        rig.submit(token, op);
    }
    assert_eq!(rig.pool.free_slots(), 0);
    let Rig { disk, pool, .. } = rig;
    drop(disk);
    assert_eq!(pool.free_slots(), SLOTS);
}

fn many_requests_in_flight_keep_their_data_apart(arm: Arm) {
    let Some(mut rig) = Rig::with_depth(arm, SLOTS) else { return };
    let file = rig.create("file");
    for round in 0..3 {
        for token in 0..SLOTS as u64 {
            let buffer = rig.filled(round * 100 + token);
            rig.submit(token, Op::write(buffer, segment(&file, token * 40_000, 0, 40_000)));
        }
        assert!(rig.settle().values().all(|done| done.result.is_ok()));
        for token in 0..SLOTS as u64 {
            let buffer = rig.lease();
            rig.submit(token, Op::read(buffer, segment(&file, token * 40_000, 4096, 40_000)));
        }
        let mut expected = vec![0; 40_000];
        for (token, done) in rig.settle() {
            fill(&mut expected, round * 100 + token);
            let lease = done.into_lease().expect("owned");
            assert!(lease.as_slice()[4096..44_096] == expected, "round {round}, {token}");
        }
    }
}

fn a_shared_buffer_serves_several_writes(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let shared = rig.filled(9).freeze();
    for (token, name) in [(1, "one"), (2, "two")] {
        let file = rig.create(name);
        rig.submit(token, Op::write(shared.clone(), segment(&file, 0, 0, RUN)));
    }
    for done in rig.settle().into_values() {
        assert_eq!(done.result, Ok(()));
        assert!(done.into_lease().is_none(), "the test still shares it");
    }
    assert!(rig.contents("one") == shared.as_slice()[..RUN]);
    assert!(rig.contents("two") == shared.as_slice()[..RUN]);
    assert!(shared.try_thaw().is_ok());
}

fn buffers_of_another_pool_work_too(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let file = rig.create("file");
    let other = BufferPool::new(1, 10_000).expect("a mapping");
    let mut buffer = other.try_lease().expect("fresh");
    fill(buffer.as_mut_slice(), 4);
    let expected = buffer.as_slice()[..9000].to_vec();
    rig.write(buffer, segment(&file, 0, 0, 9000));
    let buffer = other.try_lease().expect("it came back");
    assert_eq!(rig.run(Op::read(buffer, segment(&file, 0, 0, 9000))).result, Ok(()));
    assert!(rig.contents("file") == expected);
}

fn pools_with_more_slots_than_the_kernel_registers_work(arm: Arm) {
    let pool = BufferPool::new(20_000, 8192).expect("a mapping");
    let Some(mut rig) = Rig::with_pool(arm, 4, pool) else { return };
    let file = rig.create("file");
    let buffer = rig.filled(8);
    let expected = buffer.as_slice().to_vec();
    rig.write(buffer, segment(&file, 0, 0, 8192));
    assert!(rig.read(segment(&file, 0, 0, 8192)) == expected);
}

/// A step of the model: which file, write or read, and the lengths of consecutive segments.
#[derive(Clone, Debug)]
struct Action {
    file: usize,
    write: bool,
    start: u64,
    lens: Vec<usize>,
    gap: usize,
}

fn action() -> impl Strategy<Value = Action> {
    // Offsets and lengths near page borders are where routes change.
    let near = |pages: u64| (0..pages, 0u64..3).prop_map(|(page, step)| page * 4096 + step * 17);
    let lens =
        prop::collection::vec(near(5).prop_map(|len| usize::try_from(len).expect("small")), 1..5);
    (0usize..3, any::<bool>(), near(20), lens, 0usize..3)
        .prop_map(|(file, write, start, lens, gap)| Action { file, write, start, lens, gap })
}

/// Applies one action to the engine and to vectors, and compares.
fn check_action(
    rig: &mut Rig,
    files: &[Arc<DiskFile>],
    model: &mut [Vec<u8>],
    step: u64,
    action: &Action,
) {
    let mut place = (action.start, action.gap * 4096);
    let segments: Vec<_> = action
        .lens
        .iter()
        .map(|&len| {
            let segment = segment(&files[action.file], place.0, place.1, len);
            place = (place.0 + len as u64, place.1 + len + action.gap * 512);
            segment
        })
        .collect();
    let model = &mut model[action.file];
    let buffer = rig.filled(step);
    let bytes = buffer.as_slice().to_vec();
    let ranges = |segment: &Segment| {
        let start = usize::try_from(segment.file_offset).expect("small");
        let memory = segment.buffer_offset..segment.buffer_offset + segment.len;
        (start..start + segment.len, memory)
    };
    if action.write {
        let done = rig.run(Op::Write { buffer: buffer.into(), segments: segments.clone() });
        assert_eq!(done.result, Ok(()));
        for (file, memory) in segments.iter().filter(|s| s.len > 0).map(ranges) {
            model.resize(model.len().max(file.end), 0);
            model[file].copy_from_slice(&bytes[memory]);
        }
    } else {
        let done = rig.run(Op::Read { buffer, segments: segments.clone() });
        let whole =
            |(file, _): &(std::ops::Range<usize>, _)| file.is_empty() || file.end <= model.len();
        if segments.iter().map(ranges).all(|ranges| whole(&ranges)) {
            assert_eq!(done.result, Ok(()));
            let lease = done.into_lease().expect("owned");
            for (file, memory) in segments.iter().filter(|s| s.len > 0).map(ranges) {
                assert!(lease.as_slice()[memory] == model[file]);
            }
        } else {
            let is_eof = matches!(done.result, Err(DiskError::UnexpectedEof { .. }));
            assert!(is_eof, "{:?}", done.result);
        }
    }
}

fn files_behave_like_vectors(arm: Arm) {
    let Some(mut rig) = Rig::new(arm) else { return };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let rig = std::cell::RefCell::new(&mut rig);
    let case = std::cell::Cell::new(0);
    let outcome = runner.run(&prop::collection::vec(action(), 1..20), |actions| {
        let mut rig = rig.borrow_mut();
        case.set(case.get() + 1);
        let names: Vec<_> = (0..3).map(|n| format!("case{}-{n}", case.get())).collect();
        let files: Vec<_> = names.iter().map(|name| rig.create(name)).collect();
        let mut model = vec![Vec::new(); 3];
        for (step, action) in (1..).zip(&actions) {
            check_action(&mut rig, &files, &mut model, step, action);
        }
        for (name, model) in names.iter().zip(&model) {
            prop_assert!(rig.contents(name) == *model);
        }
        Ok(())
    });
    outcome.expect("the engine agrees with the model");
}

const ARMS: [Arm; 4] = [
    Arm { kind: DiskKind::Threads, direct: false },
    Arm { kind: DiskKind::Threads, direct: true },
    Arm { kind: DiskKind::Uring, direct: false },
    Arm { kind: DiskKind::Uring, direct: true },
];

macro_rules! conformance {
    ($tests:tt $($arm:ident: $index:literal)+) => {
        $(mod $arm {
            conformance!(@ $index $tests);
        })+
    };
    (@ $index:literal [$($test:ident)+]) => {
        $(#[test]
        fn $test() {
            super::$test(super::ARMS[$index]);
        })+
    };
}

conformance! {
    [
        what_is_written_is_read_back
        one_request_scatters_over_more_files_than_the_kernel_takes_at_once
        a_read_past_the_end_says_where_the_file_ends
        empty_requests_succeed
        a_full_device_is_told_apart_and_the_buffer_comes_back
        a_failed_segment_ends_its_request_once
        descriptors_of_the_wrong_kind_are_refused
        segments_out_of_bounds_are_refused_before_any_byte_moves
        a_full_engine_hands_the_request_back
        dropping_the_engine_returns_every_buffer
        many_requests_in_flight_keep_their_data_apart
        a_shared_buffer_serves_several_writes
        buffers_of_another_pool_work_too
        pools_with_more_slots_than_the_kernel_registers_work
        files_behave_like_vectors
    ]
    threads: 0
    threads_direct: 1
    uring: 2
    uring_direct: 3
}

#[test]
fn auto_always_opens_an_engine() {
    let arm = Arm { kind: DiskKind::Auto, direct: false };
    let mut rig = Rig::new(arm).expect("there are always threads");
    assert!(["uring", "threads"].contains(&rig.disk.name()));
    let file = rig.create("file");
    let buffer = rig.filled(1);
    rig.write(buffer, segment(&file, 0, 0, RUN));
}

/// The variable that tells the inner test where its small disk is.
const SMALL_DISK: &str = "FARHAUL_TEST_SMALL_DISK";

#[test]
fn a_disk_that_fills_up_midway_is_told_apart() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let exe = std::env::current_exe().expect("this test");
    // Without the right to lock memory, registering buffers fails, as it does in many containers.
    let script = "ulimit -l 64; mount -t tmpfs -o size=256k small \"$1\" || exit 99
        exec \"$2\" --exact inside_a_small_disk --nocapture";
    let child = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([dir.path(), &exe])
        .env(SMALL_DISK, dir.path())
        .output();
    match child {
        Err(error) => skip(&format!("unshare cannot be run: {error}")),
        Ok(output) if !output.status.success() && !output.stdout.starts_with(b"\nrunning") => {
            skip(&format!("no namespace here: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("1 passed"), "{text}");
        }
    }
}

/// The inner half of `a_disk_that_fills_up_midway_is_told_apart`, in a namespace of its own.
#[test]
fn inside_a_small_disk() {
    let Some(dir) = std::env::var_os(SMALL_DISK) else {
        // The other half runs it where it belongs.
        return;
    };
    let path = Path::new(&dir).join("file");
    for arm in ARMS {
        let Some(mut rig) = Rig::new(arm) else { continue };
        let file = rig.open(&path, OFlags::RDWR | OFlags::CREATE);
        let done = rig.run(Op::write(rig.filled(1), segment(&file, 0, 0, RUN)));
        assert_eq!(done.result, Err(DiskError::NoSpace));
        let buffer = done.into_lease().expect("it comes back");
        let kept = std::fs::read(&path).expect("what fitted is there");
        assert!(!kept.is_empty() && kept == buffer.as_slice()[..kept.len()]);
        std::fs::remove_file(&path).expect("removed");
        drop(file);
        let file = rig.open(&path, OFlags::RDWR | OFlags::CREATE);
        rig.write(buffer, segment(&file, 0, 0, 128 << 10));
    }
}
