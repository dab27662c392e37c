//! Hearing of changes of a whole file system, and finding the directories that they name.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// Bytes of a file handle: the kernel's `MAX_HANDLE_SZ`.
pub(crate) const HANDLE_MAX: usize = 128;

/// `struct file_handle`, with room for the longest.
#[repr(C)]
struct RawHandle {
    len: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; HANDLE_MAX],
}

/// A group that is told of entries by the handle of their directory and their name.
pub(crate) fn group() -> io::Result<OwnedFd> {
    let flags =
        libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_DFID_NAME;
    let of_events = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).cast_unsigned();
    // SAFETY: the call takes no memory.
    let fd = unsafe { libc::fanotify_init(flags, of_events) };
    // SAFETY: the descriptor was made by this call, and nobody else has it.
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// Has the group told of `events` in all of the file system on which `dir` stands.
pub(crate) fn mark(group: BorrowedFd<'_>, dir: BorrowedFd<'_>, events: u64) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let (group, dir) = (group.as_raw_fd(), dir.as_raw_fd());
    // SAFETY: both descriptors are open for the time of the borrows; no path means `dir` itself.
    match unsafe { libc::fanotify_mark(group, flags, events, dir, core::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The handle of a directory: its type and its bytes.
pub(crate) fn handle_of(dir: BorrowedFd<'_>) -> io::Result<(i32, Vec<u8>)> {
    let len = libc::c_uint::try_from(HANDLE_MAX).unwrap_or(0);
    let mut handle = RawHandle { len, kind: 0, bytes: [0; HANDLE_MAX] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the path is a string with its zero; `handle` has the layout of `struct file_handle`
    // with as much room as `len` says; `mount` is one int; all of them outlive the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    let len = usize::try_from(handle.len).unwrap_or(0).min(HANDLE_MAX);
    Ok((handle.kind, handle.bytes[..len].to_vec()))
}

/// Holds the directory of a handle, as it is now; `mount` is any directory of its file system. The
/// descriptor only names it.
pub(crate) fn open_handle(
    mount: BorrowedFd<'_>,
    (kind, handle): (i32, &[u8]),
) -> io::Result<OwnedFd> {
    let mut bytes = [0; HANDLE_MAX];
    let place = bytes.get_mut(..handle.len()).ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(handle);
    let len = libc::c_uint::try_from(handle.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let raw = RawHandle { len, kind, bytes };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `raw` has the layout of `struct file_handle` and at least `len` bytes of handle; the
    // call only reads it, and the descriptor is open for the time of the borrow.
    let fd = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), &raw const raw, flags)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was made by this call, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
