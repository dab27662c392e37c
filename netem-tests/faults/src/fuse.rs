//! The disk as a file: a FUSE file system whose root is one regular file, spoken over the raw
//! descriptor (`include/uapi/linux/fuse.h`, version 7.31).
//!
//! Reads and writes go past the kernel's cache, so that what the loop device above does is seen in
//! order, and what is put on the disk in between is what is read.

use crate::KitError;
use crate::disk::Disk;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const HEADER_IN: usize = 40;
const HEADER_OUT: usize = 16;
const WRITE_IN: usize = 40;
/// The longest write that is taken at once.
const WRITE_MAX: usize = 1 << 20;
/// So that whoever is just about to say something is heard before what follows is recorded.
const FLUSH_PAUSE: Duration = Duration::from_micros(200);

const LOOKS_TRUE_FOR: u64 = 1 << 30;
const DIRECT_IO: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
const ENOSYS: i32 = 38;

/// A file that is served until this is dropped.
pub struct Served {
    at: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `disk` in place of the file at `at`.
    ///
    /// # Errors
    /// [`KitError::Io`]: no `/dev/fuse`, or no mount.
    pub fn start(disk: Arc<Disk>, at: &Path) -> Result<Self, KitError> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(KitError::io("/dev/fuse"))?;
        let options = format!("fd={},rootmode=100600,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let mounted = mount(Some("farhaul-faults"), at, Some("fuse"), flags, Some(&*options));
        mounted.map_err(|errno| KitError::io("mount a FUSE file")(errno.into()))?;
        let thread = std::thread::Builder::new().name("disk".to_owned());
        let thread = thread.spawn(move || serve(&device, &disk));
        let thread = Some(thread.map_err(KitError::io("a thread"))?);
        Ok(Self { at: at.to_path_buf(), thread })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        // Whoever still holds the file keeps the thread; the process ends it.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// Answers requests until the file system is unmounted.
fn serve(device: &File, disk: &Disk) {
    let mut buffer = vec![0; WRITE_MAX + 2 * 4096];
    let (mut reader, mut writer) = (device, device);
    loop {
        let len = match reader.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => return,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => continue,
            Err(_) => return,
        };
        let Some(request) = Request::read(&buffer[..len]) else { continue };
        let Some(reply) = answer(&request, disk) else { continue };
        let (error, body) = match reply {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let len = u32::try_from(HEADER_OUT + body.len()).unwrap_or(u32::MAX);
        let head = [&len.to_le_bytes()[..], &error.to_le_bytes(), &request.unique.to_le_bytes()];
        let _ = writer.write(&[&head.concat()[..], &body].concat());
    }
}

/// One request of the kernel's.
struct Request<'a> {
    code: u32,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let body = bytes.get(HEADER_IN..)?;
        Some(Self { code: u32_at(bytes, 4), unique: u64_at(bytes, 8), body })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        number.copy_from_slice(found);
    }
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | (u64::from(u32_at(bytes, at + 4)) << 32)
}

/// What is answered; `None`: nothing is expected.
fn answer(request: &Request<'_>, disk: &Disk) -> Option<Result<Vec<u8>, i32>> {
    let Request { code, body, .. } = *request;
    Some(Ok(match code {
        // FORGET, INTERRUPT, BATCH_FORGET.
        2 | 36 | 42 => return None,
        // GETATTR, SETATTR.
        3 | 4 => attributes(disk.len()),
        // OPEN.
        14 => [&1_u64.to_le_bytes()[..], &DIRECT_IO.to_le_bytes(), &[0; 4]].concat(),
        // READ.
        15 => {
            let offset = u64_at(body, 8);
            let left = usize::try_from(disk.len().saturating_sub(offset)).unwrap_or(0);
            let len = usize::try_from(u32_at(body, 16)).unwrap_or(0).min(WRITE_MAX).min(left);
            let mut bytes = vec![0; len];
            disk.read(offset, &mut bytes);
            bytes
        }
        // WRITE.
        16 => {
            let bytes = body.get(WRITE_IN..).unwrap_or_default();
            disk.write(u64_at(body, 8), bytes);
            let len = u32::try_from(bytes.len()).unwrap_or(0);
            [&len.to_le_bytes()[..], &[0; 4]].concat()
        }
        // FSYNC.
        20 => {
            if disk.is_recording() {
                std::thread::sleep(FLUSH_PAUSE);
            }
            disk.flush();
            Vec::new()
        }
        // RELEASE, FLUSH, DESTROY.
        18 | 25 | 38 => Vec::new(),
        // INIT.
        26 => greeting(body),
        _ => return Some(Err(ENOSYS)),
    }))
}

/// `fuse_init_out`.
fn greeting(body: &[u8]) -> Vec<u8> {
    let flags = u32_at(body, 12) & (BIG_WRITES | MAX_PAGES);
    let write_max = u32::try_from(WRITE_MAX).unwrap_or(0);
    let mut out = Vec::with_capacity(64);
    for word in [7, 31, u32_at(body, 8), flags, 16 | (12 << 16), write_max, 1, 256] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    out.resize(64, 0);
    out
}

/// `fuse_attr_out` of a file of `len` bytes.
fn attributes(len: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(104);
    for word in [LOOKS_TRUE_FOR, 0, 1, len, len / 512, 0, 0, 0] {
        out.extend_from_slice(&u64::to_le_bytes(word));
    }
    for word in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    out
}
