//! Thin safe faces over the few Linux calls that no library of ours wraps: TUN ioctls, namespaces,
//! bind mounts, resource usage of a child, real-time scheduling.
//!
//! The only room of this crate with unsafe code. It holds no policy: each function is one system
//! call with checked arguments.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Offloads that a TUN reader declares it can take (`linux/if_tun.h`): unfinished checksums, large
/// TCP segments over IPv4 and IPv6 with ECN, large UDP datagrams over IPv4 and IPv6.
pub const TUN_OFFLOAD_ALL: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40;

/// Longest name of a network device, without the closing zero.
pub const INTERFACE_NAME_MAX: usize = libc::IFNAMSIZ - 1;

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn path_to_c(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "path contains a zero byte"))
}

/// Turns an open `/dev/net/tun` into a TUN device called `name` in the caller's network namespace,
/// without packet information but with a virtio-net header before each packet.
///
/// # Errors
/// `InvalidInput` for a name that does not fit; else what `TUNSETIFF` says.
pub fn tun_attach(tun: impl AsFd, name: &str) -> io::Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > INTERFACE_NAME_MAX || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "bad interface name"));
    }
    // SAFETY: `ifreq` is a plain C structure for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the call; TUNSETIFF reads and writes one `ifreq`, which
    // `request` is, and keeps no pointer to it.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Declares which offloads the reader of `tun` handles: a sum of `TUN_F_*` bits.
///
/// # Errors
/// `EINVAL` when the kernel does not know one of them.
pub fn tun_set_offload(tun: impl AsFd, offload: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value; the descriptor is open for the call.
    check(unsafe {
        libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload))
    })
}

/// Namespaces that a process or thread can leave for new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// A network namespace, for the calling thread alone.
    Network,
    /// A user namespace with all capabilities in it; the process must have one thread.
    User,
}

/// Moves the calling thread into a new, empty namespace.
///
/// # Errors
/// `EPERM` without the right to, `EINVAL` for a user namespace in a threaded process, `ENOSPC` when
/// the system's count is used up.
pub fn unshare(namespace: Namespace) -> io::Result<()> {
    let flag = match namespace {
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::User => libc::CLONE_NEWUSER,
    };
    // SAFETY: neither flag touches memory or the descriptor table, so no other thread can observe
    // a change behind its back.
    check(unsafe { libc::unshare(flag) })
}

/// Bind-mounts `source` over the existing file `target`.
///
/// # Errors
/// What `mount` says; `EPERM` without the right to.
pub fn bind_mount(source: &Path, target: &Path) -> io::Result<()> {
    let (source, target) = (path_to_c(source)?, path_to_c(target)?);
    // SAFETY: both paths are valid C strings that live through the call; a bind mount ignores the
    // type and data pointers, for which null is allowed.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    })
}

/// Detaches what is mounted at `target`.
///
/// # Errors
/// What `umount2` says; `EINVAL` when nothing is mounted there.
pub fn unmount(target: &Path) -> io::Result<()> {
    let target = path_to_c(target)?;
    // SAFETY: `target` is a valid C string that lives through the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// What a finished process used, its waited-for children included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Exit code, or 128 plus the signal that ended it.
    pub exit_code: i32,
    /// CPU time in user space.
    pub user: Duration,
    /// CPU time in the kernel on the process's behalf.
    pub system: Duration,
    /// Largest resident set, in bytes.
    pub resident_bytes_max: u64,
}

/// Waits for the child `pid` to end and tells what it used.
///
/// # Errors
/// `ECHILD` when `pid` is not an unreaped child of this process; `InvalidInput` for no pid.
pub fn wait_usage(pid: u32) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    if pid == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no process"));
    }
    let mut status = 0;
    // SAFETY: `rusage` is a plain C structure for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { MaybeUninit::zeroed().assume_init() };
    loop {
        // SAFETY: both pointers are to live, exclusively borrowed locals of the right type.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if reaped == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let exit_code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    Ok(Usage {
        exit_code,
        user: timeval_to_duration(usage.ru_utime),
        system: timeval_to_duration(usage.ru_stime),
        // Linux counts the resident set in KiB (getrusage(2)).
        resident_bytes_max: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    })
}

fn timeval_to_duration(value: libc::timeval) -> Duration {
    let secs = u64::try_from(value.tv_sec).unwrap_or(0);
    let micros = u64::try_from(value.tv_usec).unwrap_or(0);
    Duration::from_secs(secs) + Duration::from_micros(micros)
}

/// Puts the calling thread into the round-robin real-time class at its lowest priority.
///
/// # Errors
/// `EPERM` without the right to.
pub fn schedule_real_time() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: thread 0 is the caller; the parameter is read during the call only.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameter) })
}

/// Asks for a socket buffer beyond the system's limit; `SO_RCVBUFFORCE` counts payload and
/// bookkeeping, in bytes.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in the initial namespace.
pub fn force_receive_buffer(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the option takes one int, which `value` is; it lives through the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const value).cast(),
            len,
        )
    })
}

fn set_udp_option(socket: impl AsFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the options passed here take one int, which `value` is; it lives through the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            option,
            (&raw const value).cast(),
            len,
        )
    })
}

/// Makes the kernel cut what is written to a UDP socket into datagrams of `bytes`.
///
/// # Errors
/// `ENOPROTOOPT` on kernels without UDP segmentation.
pub fn set_udp_segment(socket: impl AsFd, bytes: u16) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_SEGMENT, libc::c_int::from(bytes))
}

/// Lets the kernel hand over neighbouring datagrams of equal size in one buffer.
///
/// # Errors
/// `ENOPROTOOPT` on kernels without it.
pub fn set_udp_gro(socket: impl AsFd) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_GRO, 1)
}

/// Whether something keeps this host's clock right, as the kernel was told.
///
/// # Errors
/// What `adjtimex` says; reading needs no privilege, but filters may forbid it.
pub fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: `timex` is a plain C structure for which all zeroes is a valid value; with `modes`
    // zero nothing is set.
    let mut clock: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the pointer is to a live, exclusively borrowed local of the right type.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    check(state)?;
    Ok(state != libc::TIME_ERROR && clock.status & libc::STA_UNSYNC == 0)
}

/// Lets SIGINT and SIGTERM end this process, whatever listened for them before.
pub fn default_stop_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the default action runs no code of this process, so nothing it relies on can be
        // gone; for these two signals the call cannot fail.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
