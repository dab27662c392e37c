//! What the kit needs of the machine: mounts that nobody else sees, file systems, loop devices, and a
//! start of the machine that the product believes in.

use crate::KitError;
use crate::disk::{Disk, PAGE, Pages};
use crate::fuse::Served;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NONE: Option<&str> = None;
/// How long a mount may stay busy: threads of the product are ending.
const BUSY_MAX: Duration = Duration::from_secs(30);

/// A file system that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// With the journal of metadata that is the default.
    Ext4,
    /// With the tools of `xfsprogs`.
    Xfs,
    /// With the tools of `btrfs-progs`.
    Btrfs,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// What the kernel calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest disk on which it and the index's reserve have room.
    const fn len(self) -> u64 {
        match self {
            Self::Ext4 => 128 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 384 << 20,
        }
    }

    fn make(self, at: &Path) -> Command {
        let mut make = Command::new(format!("mkfs.{}", self.name()));
        match self {
            Self::Ext4 => make.args(["-q", "-b", "4096", "-m", "0", "-N", "2048", "-J", "size=4"]),
            Self::Xfs => make.args(["-q", "-K"]),
            Self::Btrfs => make.args(["-q", "-K", "-m", "single", "-d", "single"]),
        };
        if self == Self::Ext4 {
            make.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]);
        }
        make.arg(at);
        make
    }

    /// A new one.
    ///
    /// # Errors
    /// [`KitError::Forbidden`] without its tools, and what they say.
    pub fn format(self, scratch: &Path) -> Result<Pages, KitError> {
        let at = scratch.join("formatted");
        let file = File::create(&at).map_err(KitError::io("a disk"))?;
        file.set_len(self.len()).map_err(KitError::io("a disk"))?;
        let made = self.make(&at).output();
        let tools = |error| KitError::Forbidden(format!("mkfs.{}: {error}", self.name()));
        let made = made.map_err(tools)?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(KitError::Failed(format!("mkfs.{}: {said}", self.name())));
        }
        let file = File::open(&at).map_err(KitError::io("a disk"))?;
        let mut pages = Pages::new(self.len());
        let mut page = vec![0; PAGE];
        for offset in (0..self.len()).step_by(PAGE) {
            file.read_exact_at(&mut page, offset).map_err(KitError::io("a disk"))?;
            if page.iter().any(|&byte| byte != 0) {
                pages.write(offset, &page);
            }
        }
        fs::remove_file(&at).map_err(KitError::io("a disk"))?;
        Ok(pages)
    }
}

/// From now on what this thread mounts, and those that it starts, is seen by nobody else and ends
/// with the process. To be called before any other thread is started.
///
/// # Errors
/// [`KitError::Forbidden`]: only root may.
pub fn step_aside() -> Result<(), KitError> {
    let why = |what: &str| {
        KitError::Forbidden(format!(
            "{what}: this needs root, loop devices and /dev/fuse; run it as root on a machine that has them"
        ))
    };
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| why(&format!("no mounts of its own ({errno})")))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE)
        .map_err(|errno| why(&format!("no private mounts ({errno})")))?;
    for needed in ["/dev/fuse", "/dev/loop-control"] {
        if let Err(error) = File::options().read(true).write(true).open(needed) {
            return Err(why(&format!("{needed} ({error})")));
        }
    }
    Ok(())
}

/// The start of the machine as the product sees it: told by two files that stand over those of the
/// kernel.
pub struct Boot {
    id: PathBuf,
    stat: PathBuf,
    starts: u64,
}

impl Boot {
    /// Puts the files in place.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub fn fake(scratch: &Path) -> Result<Self, KitError> {
        let mut boot = Self { id: scratch.join("boot_id"), stat: scratch.join("stat"), starts: 0 };
        boot.start_again(0)?;
        let pairs = [(&boot.id, "/proc/sys/kernel/random/boot_id"), (&boot.stat, "/proc/stat")];
        for (ours, theirs) in pairs {
            let bound = mount(Some(ours), theirs, NONE, MsFlags::MS_BIND, NONE);
            bound.map_err(|errno| KitError::io(theirs)(errno.into()))?;
        }
        Ok(boot)
    }

    /// The machine starts again, so many seconds after 1970.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub fn start_again(&mut self, at_secs: u64) -> Result<(), KitError> {
        self.starts += 1;
        let id = format!("{:08x}-1111-4222-8333-444455556666\n", self.starts + 0x1000);
        fs::write(&self.id, id).map_err(KitError::io("boot_id"))?;
        let stat = format!("cpu  1 1 1 1 1 1 1 0 0 0\nbtime {at_secs}\n");
        fs::write(&self.stat, stat).map_err(KitError::io("stat"))
    }
}

/// Seconds since 1970.
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A disk with a loop device on it, and where it is mounted.
pub struct Bay {
    /// What is on the disk.
    pub disk: Arc<Disk>,
    file_system: FileSystem,
    device: PathBuf,
    at: PathBuf,
    _served: Served,
}

impl Bay {
    /// A bay with nothing mounted.
    ///
    /// # Errors
    /// [`KitError`].
    pub fn new(scratch: &Path, file_system: FileSystem, pages: Pages) -> Result<Self, KitError> {
        let disk = Arc::new(Disk::new(pages));
        let (file, at) = (scratch.join("disk"), scratch.join("mounted"));
        File::create(&file).map_err(KitError::io("a disk"))?;
        fs::create_dir(&at).map_err(KitError::io("a place to mount"))?;
        let served = Served::start(Arc::clone(&disk), &file)?;
        let found = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let found = found.map_err(KitError::io("losetup"))?;
        let device = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if !found.status.success() || device.is_empty() {
            let said = String::from_utf8_lossy(&found.stderr).into_owned();
            return Err(KitError::Forbidden(format!("no loop device: {said}")));
        }
        Ok(Self { disk, file_system, device: device.into(), at, _served: served })
    }

    /// Mounts what is on the disk; the journal is replayed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(&self) -> Result<Mounted, std::io::Error> {
        let name = Some(self.file_system.name());
        let flags = MsFlags::MS_NOATIME;
        mount(Some(&self.device), &self.at, name, flags, NONE).map_err(std::io::Error::from)?;
        Ok(Mounted { at: self.at.clone() })
    }
}

impl Drop for Bay {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

/// A file system that is mounted until this is dropped.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Where.
    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let began = Instant::now();
        while umount2(&self.at, MntFlags::empty()).is_err() {
            if began.elapsed() > BUSY_MAX {
                let _ = umount2(&self.at, MntFlags::MNT_DETACH);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
