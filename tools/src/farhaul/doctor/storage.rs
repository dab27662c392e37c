//! The disk engine, and the disk below a directory: speed, latency, room, file system.

use super::Finding;
use farhaul_engine::buffers::BufferPool;
use farhaul_engine::disk::{DiskConfig, DiskError, DiskKind};
use farhaul_engine::wake::WakeSource;
use farhaul_proto::units::Bytes;
use rustix::fs::{Advice, fadvise, fstatfs, fstatvfs};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bounds of the trial.
const TRIAL_BYTES: u64 = 256 << 20;
const TRIAL_SPAN: Duration = Duration::from_secs(1);
const CHUNK: usize = 1 << 20;
/// So much waits for a slow disk at once.
const SYNCED: u64 = 16 << 20;
/// Small writes whose way to the disk is timed.
const SYNCS: usize = 5;
/// Below this a disk limits a Gbit/s.
const RATE_MIN: f64 = 125e6;
/// Each file is synced: a thousand of them take a minute at this.
const SYNC_MAX: Duration = Duration::from_millis(60);
const SPACE_MIN: Bytes = Bytes::mib(1024);
const INODES_MIN: u64 = 10_000;

pub(super) fn examine(dir: &Path) -> Vec<Finding> {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let mut findings = vec![uring(open_uring(), disabled.as_deref().map(str::trim))];
    match File::open(dir) {
        Ok(open) => {
            if let Ok(stat) = fstatvfs(&open) {
                findings.push(space(Bytes::new(stat.f_bavail.saturating_mul(stat.f_frsize))));
                findings.push(inodes(stat.f_files, stat.f_favail));
            }
            if let Ok(stat) = fstatfs(&open) {
                #[expect(clippy::cast_sign_loss, reason = "a magic number")]
                findings.push(file_system(stat.f_type as u64));
            }
            findings.extend(speed(&try_disk(dir)));
        }
        Err(error) => findings.push(unusable(&error)),
    }
    findings
}

fn open_uring() -> Result<(), Option<i32>> {
    let open = || -> io::Result<Result<(), DiskError>> {
        let (pool, wake) = (BufferPool::new(8, 4096)?, WakeSource::new()?);
        let config = DiskConfig { depth: 4, threads: 1, pool: &pool, direct: false };
        Ok(farhaul_engine::disk::open(DiskKind::Uring, config, wake.waker()).map(drop))
    };
    match open() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(DiskError::EngineUnavailable { errno, .. })) => Err(Some(errno)),
        Ok(Err(_)) => Err(None),
        Err(error) => Err(error.raw_os_error()),
    }
}

fn uring(opened: Result<(), Option<i32>>, disabled: Option<&str>) -> Finding {
    const CHECK: &str = "io_uring";
    const WHY: &str = "files are read and written by threads instead, with more processor time";
    let Err(errno) = opened else { return Finding::good(CHECK, "works") };
    let found = errno.map_or("does not work".to_owned(), |errno| {
        io::Error::from_raw_os_error(errno).to_string()
    });
    match (disabled, errno) {
        (Some("1" | "2"), _) => {
            let mend = "sysctl -w kernel.io_uring_disabled=0";
            Finding::slow(
                CHECK,
                format!("{found}: switched off by the kernel's setting"),
                WHY,
                mend,
            )
        }
        (_, Some(libc::ENOSYS)) => Finding::slow(
            CHECK,
            format!("{found}: the kernel has none, or hides it"),
            WHY,
            "use a kernel from 5.10 on, or a seccomp filter that permits io_uring_setup",
        ),
        (_, Some(libc::EPERM | libc::EACCES)) => Finding::slow(
            CHECK,
            format!("{found}: forbidden by a filter"),
            WHY,
            "permit io_uring_setup, io_uring_enter and io_uring_register in the container's filter",
        ),
        (_, Some(libc::ENOMEM)) => Finding::slow(
            CHECK,
            format!("{found}: too little memory may be locked"),
            WHY,
            "ulimit -l unlimited (LimitMEMLOCK=infinity in a unit)",
        ),
        _ => Finding::slow(CHECK, found, WHY, "use --disk threads if it stays so"),
    }
}

fn unusable(error: &io::Error) -> Finding {
    Finding::broken(
        "directory",
        error.to_string(),
        "nothing can be tried there, nor put there",
        "name a directory that exists and that this user may write to: farhaul doctor DIR",
    )
}

fn space(free: Bytes) -> Finding {
    if free >= SPACE_MIN {
        return Finding::good("free space", free.to_string());
    }
    let why =
        "a file is staged whole before it takes its place, so it needs its size in free space";
    Finding::slow("free space", free.to_string(), why, "make room, or name another directory")
}

fn inodes(all: u64, free: u64) -> Finding {
    match (all, free) {
        // Some file systems make them as they go.
        (0, _) => Finding::good("free inodes", "not limited"),
        (_, free) if free >= INODES_MIN => Finding::good("free inodes", free.to_string()),
        (_, free) => Finding::slow(
            "free inodes",
            free.to_string(),
            "each file takes one, however small it is",
            "remove small files (du --inodes -x DIR | sort -n finds them)",
        ),
    }
}

fn file_system(magic: u64) -> Finding {
    const CHECK: &str = "file system";
    const REMOTE: &str =
        "files lie on another host: its network limits, and a sync may mean little";
    let local = "serve or name a directory on a local disk";
    match magic {
        0xEF53 => Finding::good(CHECK, "ext4"),
        0x5846_5342 => Finding::good(CHECK, "XFS"),
        0x9123_683E => Finding::good(CHECK, "Btrfs"),
        0x2FC1_2FC1 => Finding::good(CHECK, "ZFS"),
        0xF2F5_2010 => Finding::good(CHECK, "F2FS"),
        0x794C_7630 => Finding::note(CHECK, "overlay: of a container; it may be gone with it"),
        0x0102_1994 => Finding::note(CHECK, "tmpfs: in memory, gone at the next start"),
        0x6969 => Finding::slow(CHECK, "NFS", REMOTE, local),
        0xFF53_4D42 | 0xFE53_4D42 => Finding::slow(CHECK, "SMB", REMOTE, local),
        0x6573_5546 => Finding::slow(
            CHECK,
            "FUSE",
            "each access goes through another process, which limits",
            "serve or name a directory of the file system beneath",
        ),
        0x4D44 => Finding::slow(
            CHECK,
            "FAT",
            "no modes, no links, no files beyond 4 GiB, no holes",
            "use a disk with ext4 or XFS",
        ),
        other => Finding::note(CHECK, format!("type {other:#x}, not known here")),
    }
}

/// What the trial came to: bytes per second and time.
struct Trial {
    write: f64,
    read: f64,
    sync: Duration,
}

fn try_disk(dir: &Path) -> io::Result<Trial> {
    // Without a name where the file system can: nothing is left, whatever happens.
    let mut file = tempfile::tempfile_in(dir)?;
    let mut syncs = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&[7; 4096])?;
        let begun = Instant::now();
        file.sync_all()?;
        syncs.push(begun.elapsed());
    }
    syncs.sort();
    // Not zeros, which some disks do not store.
    let chunk: Vec<u8> =
        (0..CHUNK).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
    let (begun, mut written) = (Instant::now(), 0u64);
    while written < TRIAL_BYTES && begun.elapsed() < TRIAL_SPAN {
        file.write_all(&chunk)?;
        written += CHUNK as u64;
        if written.is_multiple_of(SYNCED) {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    let write = per_second(written, begun.elapsed());
    // Otherwise memory would be read.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    file.rewind()?;
    let (begun, mut read) = (Instant::now(), 0u64);
    let mut buffer = vec![0; CHUNK];
    while begun.elapsed() < TRIAL_SPAN {
        match file.read(&mut buffer)? {
            0 => break,
            len => read += len as u64,
        }
    }
    Ok(Trial { write, read: per_second(read, begun.elapsed()), sync: syncs[SYNCS / 2] })
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn per_second(bytes: u64, span: Duration) -> f64 {
    bytes as f64 / span.as_secs_f64().max(1e-6)
}

fn speed(trial: &io::Result<Trial>) -> Vec<Finding> {
    let trial = match trial {
        Ok(trial) => trial,
        Err(error) => return vec![unusable(error)],
    };
    let sync = format!("{:.1} ms", trial.sync.as_secs_f64() * 1e3);
    let sync = if trial.sync <= SYNC_MAX {
        Finding::good("disk sync", sync)
    } else {
        Finding::slow(
            "disk sync",
            sync,
            "each file is synced before it takes its place: many small files wait for that",
            "use a disk with a protected write cache, or mount with fewer barriers at your risk",
        )
    };
    vec![rate("disk write", trial.write), rate("disk read", trial.read), sync]
}

fn rate(check: &'static str, bytes_per_second: f64) -> Finding {
    let found = format!(
        "{:.0} MB/s, enough for {:.1} Gbit/s",
        bytes_per_second / 1e6,
        bytes_per_second * 8.0 / 1e9
    );
    if bytes_per_second >= RATE_MIN {
        return Finding::good(check, found);
    }
    let why = "faster links wait for this disk";
    Finding::slow(check, found, why, "use a faster disk, or stop what else uses it (iostat -x 1)")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_disk_engine_that_is_switched_off_is_told_from_one_that_is_forbidden() {
        assert_eq!(uring(Ok(()), None).level, Level::Good);
        let off = uring(Err(Some(libc::EPERM)), Some("2"));
        assert_eq!(off.mend, "sysctl -w kernel.io_uring_disabled=0");
        let forbidden = uring(Err(Some(libc::EPERM)), Some("0"));
        assert!(forbidden.found.contains("filter"), "{forbidden:?}");
        assert!(uring(Err(Some(libc::ENOMEM)), None).mend.contains("ulimit -l"));
        assert_eq!(uring(Err(None), None).level, Level::Slow);
    }

    #[test]
    fn room_and_file_systems_are_judged() {
        assert_eq!(space(Bytes::mib(10)).level, Level::Slow);
        assert_eq!(space(Bytes::mib(10_000)).level, Level::Good);
        assert_eq!(inodes(0, 0).level, Level::Good);
        assert_eq!(inodes(100_000, 3).level, Level::Slow);
        assert_eq!(file_system(0xEF53).level, Level::Good);
        assert_eq!(file_system(0x6969).level, Level::Slow);
        assert_eq!(file_system(1).level, Level::Note);
    }

    #[test]
    fn a_trial_leaves_nothing_and_a_slow_disk_is_named() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(speed(&try_disk(place.path())).len(), 3);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let slow = Trial { write: 20e6, read: 200e6, sync: Duration::from_millis(90) };
        let levels: Vec<Level> = speed(&Ok(slow)).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Slow, Level::Good, Level::Slow]);
        let missing = examine(&place.path().join("missing"));
        assert_eq!(missing.last().unwrap().level, Level::Broken);
    }
}
