//! A TUN device with segmentation offload: reads and writes frames behind a virtio-net header.
//!
//! It neither parses nor waits: descriptors are non-blocking, the caller polls them.

use crate::sys;
use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

const TOO_OLD: &str = "the kernel's device has no UDP segmentation, as Linux has since 6.2";

/// Whether the kernel may hand over large frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// It may, and may leave checksums unfinished.
    Full,
    /// Finished packets only.
    None,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Tun {
    device: OwnedFd,
}

impl Tun {
    /// Makes the device `name` in the network namespace of the calling thread; it goes when this is
    /// dropped.
    ///
    /// # Errors
    /// If `/dev/net/tun` is missing or closed to the caller, or the name is taken; `Unsupported` if
    /// the kernel's device lacks an offload.
    pub fn create(name: &str, offload: Offload) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        sys::tun_attach(&device, name)?;
        let tun = Self { device: device.into() };
        tun.set_offload(offload).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::Unsupported, TOO_OLD),
            _ => error,
        })?;
        Ok(tun)
    }

    /// Changes what the kernel may hand over from now on.
    ///
    /// # Errors
    /// `EINVAL` on kernels before 6.2, which lack UDP segmentation here.
    pub fn set_offload(&self, offload: Offload) -> io::Result<()> {
        let bits = match offload {
            Offload::Full => sys::TUN_OFFLOAD_ALL,
            Offload::None => 0,
        };
        sys::tun_set_offload(&self.device, bits)
    }

    /// Reads one frame with its header; `None` when none waits.
    ///
    /// # Errors
    /// What the device says, as when it is down.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.device, &mut *buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Writes one frame; the first bytes are its header.
    ///
    /// # Errors
    /// `EINVAL` for a frame whose header contradicts it, `EIO` while the device is down.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            match rustix::io::writev(&self.device, parts) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
