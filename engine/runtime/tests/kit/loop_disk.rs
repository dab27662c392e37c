//! A disk of the test's own: ext4 on a loop device over a file, in a mount namespace, where the
//! test starts itself again. It takes root; where the machine does not permit it, the test says
//! so, past the test harness, and checks nothing.
//!
//! What a power cut would leave is a copy of the file beneath the loop device: it has what was
//! written to the device, and nothing of what is only in memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DISK: &str = "FARHAUL_TEST_LOOP_DISK";
/// Size of the disk.
const DISK_SIZE: &str = "256m";

/// A mounted disk, in the process that has it.
pub(crate) struct LoopDisk {
    home: PathBuf,
}

/// The disk, in the process that has it; otherwise runs the test `name` there, and returns when
/// that has passed. The file beneath lies where there is room for `room`.
pub(crate) fn loop_disk(name: &str, room: &str) -> Option<LoopDisk> {
    if let Some(home) = std::env::var_os(DISK) {
        return Some(LoopDisk { home: home.into() });
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    if may_mount(home.path()) {
        run_inside(home.path(), name, room);
    } else {
        let line = format!("skipped by name: {name} because loop devices are not permitted\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    }
    None
}

/// Makes the file, the device and the file system. The device goes when its last user does.
const MOUNT: &str = "cd \"$1\" && mount -t tmpfs -o \"size=$2\" none beneath \
     && truncate -s \"$3\" beneath/image && mkfs.ext4 -q beneath/image \
     && mount -o loop,data=ordered beneath/image disk";

fn may_mount(home: &Path) -> bool {
    for name in ["beneath", "disk", "after"] {
        std::fs::create_dir(home.join(name)).expect("a fresh directory");
    }
    let script = format!("{MOUNT} && umount disk && umount beneath");
    let ran = inside(&script).arg(home).args(["64m", DISK_SIZE]).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

fn run_inside(home: &Path, name: &str, room: &str) {
    let script = format!("{MOUNT} && \"$4\" --exact --nocapture \"$5\"");
    let ran = inside(&script)
        .arg(home)
        .args([room, DISK_SIZE])
        .arg(std::env::current_exe().expect("the test itself"))
        .arg(name)
        .env(DISK, home)
        .status();
    assert!(ran.expect("it began before").success(), "{name} fails on a disk of its own");
}

fn inside(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]);
    command
}

impl LoopDisk {
    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.join("disk")
    }

    /// Takes the room beneath the disk away but for `left` bytes: whatever else is written to it
    /// fails, at some time after the write.
    pub(crate) fn fill_beneath(&self, left: u64) {
        let beneath = self.home.join("beneath");
        let stat = rustix::fs::statvfs(&beneath).expect("a mounted disk");
        let free = stat.f_bavail * stat.f_frsize;
        let file = std::fs::File::create(beneath.join("filler")).expect("writable");
        let len = free.saturating_sub(left);
        let reserved = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len);
        reserved.expect("there is as much");
    }

    /// What the disk would hold after a power cut at this moment, mounted.
    pub(crate) fn after_power_cut(&self) -> PathBuf {
        let script = "cd \"$1\" && cp --sparse=always beneath/image beneath/cut \
             && mount -o loop beneath/cut after";
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(&self.home).status();
        assert!(status.expect("there is a shell").success(), "the copy cannot be mounted");
        self.home.join("after")
    }

    /// Forgets what [`LoopDisk::after_power_cut`] made.
    pub(crate) fn end_of_power_cut(&self) {
        let script = "cd \"$1\" && umount after && rm beneath/cut";
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(&self.home).status();
        assert!(status.expect("there is a shell").success(), "the copy cannot be let go");
    }
}
