//! Network namespaces: making, naming, entering them, and the user namespace that lets an ordinary
//! user do so.
//!
//! Named ones live where `ip netns` keeps them (`/run/netns`), so that its commands see them too;
//! unnamed ones live as long as someone holds a descriptor.

use crate::sys;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;

/// Where named namespaces are mounted.
const NAMED: &str = "/run/netns";
/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Longest name of a lab, so that the names of its files stay short.
pub const NAME_MAX: usize = 32;

/// Why a namespace could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// This user may not: neither root nor user namespaces are available.
    #[error("namespaces are not permitted to this user")]
    NotPermitted(#[source] io::Error),
    /// The name is empty, too long, or has other characters than letters, digits, `-` and `_`.
    #[error("bad name {0:?}: 1 to {NAME_MAX} letters, digits, '-' or '_'")]
    Name(String),
    /// A namespace of this name exists.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The system failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> NetnsError {
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => NetnsError::NotPermitted(source),
        _ => NetnsError::System { action, source },
    }
}

/// Checks a name that becomes part of paths and device names.
///
/// # Errors
/// [`NetnsError::Name`].
pub fn check_name(name: &str) -> Result<(), NetnsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        return Err(NetnsError::Name(name.to_owned()));
    }
    Ok(())
}

/// A network namespace, held open.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// Makes a new, empty one; the caller stays where it is.
    ///
    /// # Errors
    /// [`NetnsError::NotPermitted`] or [`NetnsError::System`].
    pub fn create() -> Result<Self, NetnsError> {
        let made = thread::spawn(|| {
            sys::unshare(sys::Namespace::Network)?;
            File::open(OWN)
        });
        made.join()
            .map_err(|_| io::Error::other("the thread that makes a namespace panicked"))
            .flatten()
            .map(Self)
            .map_err(failed("make a network namespace"))
    }

    /// Opens the one that `path` leads to (`/run/netns/NAME`, `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// [`NetnsError::System`] if there is none.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        File::open(path).map(Self).map_err(failed("open a namespace"))
    }

    /// Moves the calling thread into it.
    ///
    /// # Errors
    /// [`NetnsError::NotPermitted`] or [`NetnsError::System`].
    pub fn enter(&self) -> Result<(), NetnsError> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(io::Error::from)
            .map_err(failed("enter a network namespace"))
    }

    /// Runs `action` on a thread of its own inside it.
    ///
    /// # Errors
    /// As [`Netns::enter`].
    ///
    /// # Panics
    /// If `action` does.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| action()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Gives it a name that outlives this process.
    ///
    /// # Errors
    /// [`NetnsError::Exists`], [`NetnsError::NotPermitted`] or [`NetnsError::System`].
    pub fn publish(&self, name: &str) -> Result<PathBuf, NetnsError> {
        let path = named_path(name);
        fs::create_dir_all(NAMED).map_err(failed("make /run/netns"))?;
        match File::options().write(true).create_new(true).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NetnsError::Exists(path));
            }
            Err(error) => return Err(failed("make a mount point")(error)),
        }
        let own = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        if let Err(error) = sys::bind_mount(&own, &path) {
            fs::remove_file(&path).map_err(failed("remove a mount point"))?;
            return Err(failed("mount a namespace")(error));
        }
        Ok(path)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the namespace called `name` is mounted.
pub fn named_path(name: &str) -> PathBuf {
    Path::new(NAMED).join(name)
}

/// Takes the name of a published namespace away; it goes when nothing is left inside. True if there
/// was one.
///
/// # Errors
/// [`NetnsError::System`].
pub fn withdraw(name: &str) -> Result<bool, NetnsError> {
    let path = named_path(name);
    match sys::unmount(&path) {
        Ok(()) => {}
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {}
        Err(error) => return Err(failed("unmount a namespace")(error)),
    }
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove a mount point")(error)),
    }
}

/// True when this process may make network namespaces as it is. Starts no thread, so that
/// [`enter_user_namespace`] stays possible.
pub fn is_privileged() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
}

/// Moves this process into a new user namespace in which it is root, with all rights over the
/// network namespaces it makes from there. The process must have a single thread.
///
/// # Errors
/// [`NetnsError::NotPermitted`] where the system does not allow it.
pub fn enter_user_namespace() -> Result<(), NetnsError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    sys::unshare(sys::Namespace::User).map_err(NetnsError::NotPermitted)?;
    // The order is the kernel's rule: groups may be mapped only after setgroups is given up.
    for (file, text) in [
        ("uid_map", format!("0 {uid} 1")),
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).map_err(NetnsError::NotPermitted)?;
    }
    Ok(())
}

/// Moves this single-threaded process into the user namespace that `path` leads to.
///
/// # Errors
/// [`NetnsError::NotPermitted`] or [`NetnsError::System`].
pub fn join_user_namespace(path: &Path) -> Result<(), NetnsError> {
    let namespace = File::open(path).map_err(failed("open a user namespace"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(io::Error::from)
        .map_err(failed("join a user namespace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a-name-of-more-than-32-characters", "ä"] {
            assert!(matches!(check_name(bad), Err(NetnsError::Name(_))), "{bad:?} was accepted");
        }
        assert!(check_name("lab-1_x").is_ok());
    }

    #[test]
    fn a_missing_namespace_is_an_error_and_not_a_panic() {
        let error = Netns::open(Path::new("/proc/self/ns/none")).expect_err("there is none");
        assert!(matches!(error, NetnsError::System { .. }), "{error}");
    }
}
