//! One held directory: every operation on a name in it, relative to the handle.
//!
//! Names are single components. Paths of several components are resolved here too, by `openat2`
//! where the kernel has it and by a walk without symbolic links elsewhere; both refuse links,
//! magic links, other mounts and everything that is not beneath the handle. Errors are the
//! kernel's own; `confine` gives them a path and a meaning.

use farhaul_proto::manifest::FileTime;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    self, AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags,
};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::sync::Arc;

/// How paths of several components are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// By the kernel, in one call (Linux 5.6).
    Openat2,
    /// Component by component; each is on the mount of the first, or refused. Before Linux 5.8 the
    /// kernel does not tell mounts apart, and the device number stands in for that.
    Walk,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A socket, a pipe or a device.
    Special,
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Dir => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Special => "a socket, pipe or device",
        })
    }
}

/// What tells one state of one file from every other, as far as a file system can.
///
/// Two writes within one tick of the file system's clock are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last modification of the content.
    pub mtime: FileTime,
    /// Last change of content or metadata; cannot be set by programs.
    pub ctime: FileTime,
}

impl Identity {
    /// True when `other` is the same content of the same file, whatever its names: a rename
    /// changes `ctime` and nothing else.
    pub fn is_same_content(&self, other: &Self) -> bool {
        Self { ctime: other.ctime, ..*self } == *other
    }
}

/// The metadata of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, set-id and sticky included.
    pub mode: u32,
    /// The user it belongs to.
    pub owner: u32,
    /// The group it belongs to.
    pub group: u32,
    /// Number of hard links.
    pub links: u64,
    /// Bytes that it occupies on disk.
    pub allocated: u64,
    /// Which state of which file; holds size and times.
    pub identity: Identity,
}

impl Meta {
    /// The metadata behind an open descriptor.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        Ok(Self::from_stat(&fs::fstat(fd)?))
    }

    fn from_stat(stat: &fs::Stat) -> Self {
        let time = |secs, nanos| FileTime { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => FileKind::File,
                FileType::Directory => FileKind::Dir,
                FileType::Symlink => FileKind::Symlink,
                _ => FileKind::Special,
            },
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            links: stat.st_nlink,
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            identity: Identity {
                dev: stat.st_dev,
                ino: stat.st_ino,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mtime: time(stat.st_mtime, stat.st_mtime_nsec),
                ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            },
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// Time of last modification.
    pub fn mtime(&self) -> FileTime {
        self.identity.mtime
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Non-blocking, so that a pipe in the place of a file cannot hold the caller.
const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

// What `statfs` calls file systems.
const EXT4: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;
const F2FS: u32 = 0xf2f5_2010;
const TMPFS: u32 = 0x0102_1994;

/// A held directory. Cloning shares the handle.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    mount: Mount,
    resolver: Resolver,
}

/// Where something is mounted: a directory that is bound to another place has the same device there,
/// and is another mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    dev: u64,
    /// `None` where the kernel does not tell.
    id: Option<u64>,
}

impl Mount {
    fn of(fd: &OwnedFd) -> Result<Self> {
        let told = fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
        match told {
            Ok(told) if told.stx_mask & StatxFlags::MNT_ID.bits() != 0 => {
                let dev = fs::makedev(told.stx_dev_major, told.stx_dev_minor);
                Ok(Self { dev, id: Some(told.stx_mnt_id) })
            }
            // An older kernel, or one that is kept from telling.
            _ => Ok(Self { dev: fs::fstat(fd)?.st_dev, id: None }),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Opens the directory at a trusted path of this machine; links in it are followed.
    pub(crate) fn open_trusted(path: &std::path::Path, resolver: Option<Resolver>) -> Result<Self> {
        let fd = fs::open(path, DIR_FLAGS, Mode::empty())?;
        let resolver = resolver.unwrap_or_else(|| resolver_of(&fd));
        let mount = Mount::of(&fd)?;
        Ok(Self { fd: Arc::new(fd), mount, resolver })
    }

    /// How this directory resolves paths.
    pub fn resolver(&self) -> Resolver {
        self.resolver
    }

    /// Opens the directory at `path` beneath this one.
    ///
    /// # Errors
    /// The kernel's own; `ELOOP` for a link on the way or in its place, `EXDEV` for another mount.
    pub fn open_dir(&self, path: &[u8]) -> Result<Self> {
        let fd = self.open(path, DIR_FLAGS, Mode::empty())?;
        Ok(Self { fd: Arc::new(fd), ..*self })
    }

    /// Opens the directory `name` even where it is a mount point; not a link. For names that a
    /// user of this machine gave, never for names found or received.
    pub(crate) fn open_named_dir(&self, name: &[u8]) -> Result<Self> {
        let fd = fs::openat(&self.fd, leaf(name)?, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        let mount = Mount::of(&fd)?;
        Ok(Self { fd: Arc::new(fd), mount, resolver: self.resolver })
    }

    /// Opens the regular file at `path` beneath this directory for reading. Never blocks.
    ///
    /// # Errors
    /// As [`open_dir`](Self::open_dir); `EISDIR` and `ENXIO` for what is no regular file.
    pub fn open_file(&self, path: &[u8]) -> Result<(File, Meta)> {
        regular(self.open(path, READ_FLAGS, Mode::empty())?)
    }

    /// Opens the existing regular file `name` for reading and writing.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn open_writable(&self, name: &[u8]) -> Result<(File, Meta)> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        regular(self.open(leaf(name)?, flags, Mode::empty())?)
    }

    /// Holds the file `name` itself without opening it, whatever its mode; not what a link in
    /// its place leads to.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn hold_file(&self, name: &[u8]) -> Result<HeldFile> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.open(leaf(name)?, flags, Mode::empty())?;
        let meta = Meta::of(&fd)?;
        if meta.kind == FileKind::File { Ok(HeldFile { fd, meta }) } else { Err(Errno::LOOP) }
    }

    /// Creates the file `name`, for the owner only; `EEXIST` when there is anything.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn create_file(&self, name: &[u8]) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = self.open(leaf(name)?, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(fd))
    }

    /// The metadata of `name` itself, links not followed; `None` when there is nothing.
    ///
    /// # Errors
    /// The kernel's own; `EINVAL` for what is no single component.
    pub fn stat(&self, name: &[u8]) -> Result<Option<Meta>> {
        match fs::statat(&self.fd, leaf(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Meta::from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// True when `name` may be read by the effective user.
    pub(crate) fn is_readable(&self, name: &[u8]) -> Result<bool> {
        match fs::accessat(&self.fd, leaf(name)?, fs::Access::READ_OK, AtFlags::EACCESS) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Makes the directory `name`; `EEXIST` when there is anything.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn make_dir(&self, name: &[u8], mode: u32) -> Result<()> {
        fs::mkdirat(&self.fd, leaf(name)?, Mode::from_raw_mode(mode))
    }

    /// Makes the symbolic link `name`; `target` is stored, not looked at.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> Result<()> {
        fs::symlinkat(target, &self.fd, leaf(name)?)
    }

    /// What the symbolic link `name` points to.
    ///
    /// # Errors
    /// As [`stat`](Self::stat).
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.fd, leaf(name)?, Vec::new())?.into_bytes())
    }

    /// Removes the file or link `name`.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn remove_file(&self, name: &[u8]) -> Result<()> {
        fs::unlinkat(&self.fd, leaf(name)?, AtFlags::empty())
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    /// The kernel's own; `ENOTEMPTY` when there is anything in it.
    pub fn remove_dir(&self, name: &[u8]) -> Result<()> {
        fs::unlinkat(&self.fd, leaf(name)?, AtFlags::REMOVEDIR)
    }

    /// Moves `name` to `to` in `target`, replacing what is there.
    pub(crate) fn rename_over(&self, name: &[u8], target: &Self, to: &[u8]) -> Result<()> {
        fs::renameat(&self.fd, leaf(name)?, &target.fd, leaf(to)?)
    }

    /// Moves `name` to `to` in `target`; `EEXIST` when there is anything.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn rename_new(&self, name: &[u8], target: &Self, to: &[u8]) -> Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match fs::renameat_with(&self.fd, leaf(name)?, &target.fd, leaf(to)?, flags) {
            // The file system knows no flags: a second link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::linkat(&self.fd, name, &target.fd, to, AtFlags::empty())?;
                fs::unlinkat(&self.fd, name, AtFlags::empty())
            }
            other => other,
        }
    }

    /// Gives the file `name` another name, `to` in `target`; `EEXIST` when there is anything. A
    /// symbolic link is not followed.
    ///
    /// # Errors
    /// The kernel's own: `EMLINK` where it has as many names as the file system knows, `EXDEV`,
    /// `EPERM` and `EOPNOTSUPP` where it cannot have this one.
    pub fn link(&self, name: &[u8], target: &Self, to: &[u8]) -> Result<()> {
        fs::linkat(&self.fd, leaf(name)?, &target.fd, leaf(to)?, AtFlags::empty())
    }

    /// Swaps `name` with `to` in `target`; `EINVAL` where the file system cannot.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn exchange(&self, name: &[u8], target: &Self, to: &[u8]) -> Result<()> {
        let flags = RenameFlags::EXCHANGE;
        fs::renameat_with(&self.fd, leaf(name)?, &target.fd, leaf(to)?, flags)
    }

    /// Sets the modification time of the symbolic link `name` itself.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set_link_mtime(&self, name: &[u8], mtime: FileTime) -> Result<()> {
        fs::utimensat(&self.fd, leaf(name)?, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The names in this directory, sorted by their bytes. Memory is bounded by the directory.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The metadata of this directory itself.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn meta(&self) -> Result<Meta> {
        Meta::of(&self.fd)
    }

    /// Makes the names in this directory durable.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn sync(&self) -> Result<()> {
        fs::fsync(&self.fd)
    }

    /// Writes everything of the file system to disk that is in memory now.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn sync_file_system(&self) -> Result<()> {
        fs::syncfs(&self.fd)
    }

    /// Whether [`Dir::sync_file_system`] leaves nothing of a file to do for its own fsync. Not of
    /// those that send on what they are told (FUSE, overlays), and not of those we do not know.
    pub fn syncs_wholly(&self) -> bool {
        const KNOWN: [u32; 5] = [EXT4, XFS, BTRFS, F2FS, TMPFS];
        let kind = fs::fstatfs(&self.fd).map(|stat| stat.f_type);
        kind.is_ok_and(|kind| KNOWN.iter().any(|&known| i128::from(kind) == i128::from(known)))
    }

    /// Takes a shared advisory lock on this directory; waits for an exclusive one to go.
    pub(crate) fn lock_shared(&self) -> Result<()> {
        fs::flock(&self.fd, FlockOperation::LockShared)
    }

    fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        match self.resolver {
            Resolver::Openat2 => fs::openat2(&self.fd, path, flags, mode, RESOLVE),
            Resolver::Walk => self.walk(path, flags, mode),
        }
    }

    fn walk(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let (parents, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (Some(&path[..slash]), &path[slash + 1..]),
            None => (None, path),
        };
        let mut held: Option<OwnedFd> = None;
        for component in parents.into_iter().flat_map(|p| p.split(|&b| b == b'/')) {
            let at = held.as_ref().unwrap_or(&self.fd);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            held = Some(self.step(at, component, flags, Mode::empty())?);
        }
        self.step(held.as_ref().unwrap_or(&self.fd), name, flags, mode)
    }

    /// Opens one component, and refuses it when it turns out to be a link or another mount.
    fn step(&self, at: &OwnedFd, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let fd = match fs::openat(at, leaf(name)?, flags | OFlags::NOFOLLOW, mode) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR) if is_symlink(at, name) => return Err(Errno::LOOP),
            Err(errno) => return Err(errno),
        };
        if Mount::of(&fd)? == self.mount { Ok(fd) } else { Err(Errno::XDEV) }
    }
}

/// A regular file that is held but not open: its mode can be set by who may not open it.
#[derive(Debug)]
pub struct HeldFile {
    fd: OwnedFd,
    /// What it was when it was taken hold of.
    pub meta: Meta,
}

impl HeldFile {
    /// Gives the file its permission bits.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        // A descriptor of this kind takes no `fchmod`, but has a name that leads nowhere else.
        let name = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        match fs::chmod(name, Mode::from_raw_mode(mode)) {
            // Nobody mounted it; "not found" would be taken for the file.
            Err(Errno::NOENT) => Err(Errno::NOSYS),
            other => other,
        }
    }
}

/// Takes an exclusive advisory lock without waiting; false when another open file holds one.
pub(crate) fn try_lock(fd: impl AsFd) -> Result<bool> {
    match fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The times to set for a modification time; the time of last access is left alone.
pub fn times(mtime: FileTime) -> fs::Timestamps {
    let omit = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };
    let mtime = fs::Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    fs::Timestamps { last_access: omit, last_modification: mtime }
}

/// Refuses what is not one plain component, so that no operation can leave its directory.
fn leaf(name: &[u8]) -> Result<&[u8]> {
    let plain = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
    if plain { Ok(name) } else { Err(Errno::INVAL) }
}

fn regular(fd: OwnedFd) -> Result<(File, Meta)> {
    let meta = Meta::of(&fd)?;
    match meta.kind {
        FileKind::File => {}
        FileKind::Dir => return Err(Errno::ISDIR),
        FileKind::Symlink => return Err(Errno::LOOP),
        FileKind::Special => return Err(Errno::NXIO),
    }
    // Asynchronous reads of a non-blocking file may come back empty-handed.
    let flags = fs::fcntl_getfl(&fd)?;
    fs::fcntl_setfl(&fd, flags.difference(OFlags::NONBLOCK))?;
    Ok((File::from(fd), meta))
}

fn is_symlink(at: &OwnedFd, name: &[u8]) -> bool {
    let stat = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// `openat2` may be missing (old kernel) or forbidden (seccomp profile of a container).
fn resolver_of(fd: &OwnedFd) -> Resolver {
    match fs::openat2(fd, ".", DIR_FLAGS, Mode::empty(), RESOLVE) {
        Ok(_) => Resolver::Openat2,
        Err(_) => Resolver::Walk,
    }
}
