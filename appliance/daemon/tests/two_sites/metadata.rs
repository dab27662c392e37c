//! Everything that a tree has besides bytes, at two sites: as `rsync -aHAX` sees it.

use crate::*;
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

/// What `rsync` would still change at the second site to make it the first: bytes, modes, owners, times
/// to the nanosecond, lists, attributes, links of both kinds. `None` where it is not installed.
fn differences(here: &Site, there: &Site) -> Option<String> {
    let mut rsync = Command::new("rsync");
    rsync.args(["-naHAXi", "--delete", "--checksum", "--modify-window=-1", "--omit-dir-times"]);
    rsync.arg("--exclude=/.farhaul").arg(here.tree().join("")).arg(there.tree().join(""));
    let output = rsync.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A list as the kernel takes it: the owner, one user, the group, a mask, everybody else.
fn list(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, user), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (who, may, id) in entries {
        list.extend(who.to_le_bytes());
        list.extend(may.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn set_time(path: &Path, nanoseconds: i64) {
    let time = Timespec { tv_sec: 1_234_567_890, tv_nsec: nanoseconds };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: omitted, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .expect("set");
}

/// A tree with all of it.
fn make(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("modes/deep")).expect("made");
    for mode in [0o400, 0o444, 0o600, 0o640, 0o755, 0o777] {
        let path = at(&format!("modes/{mode:o}"));
        fs::write(&path, mode.to_string()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        set_time(&path, i64::from(mode));
    }
    fs::set_permissions(at("modes/deep"), fs::Permissions::from_mode(0o1770)).expect("set");
    let names: [&[u8]; 5] =
        [b"new\nline", b"not \xff\xfe text", b" spaces ", b"-dash", &[b'n'; 255]];
    for name in names {
        fs::write(root.join(OsStr::from_bytes(name)), name).expect("written");
    }
    fs::write(at("empty"), b"").expect("written");
    fs::create_dir(at("nothing in it")).expect("made");
    for (target, name) in [("empty", "link"), ("/nowhere/at all", "dangling"), (".", "itself")] {
        symlink(target, at(name)).expect("made");
        set_time(&at(name), 999_999_999);
    }
    fs::hard_link(at("modes/640"), at("another name")).expect("linked");
    let sparse = fs::File::create(at("holes")).expect("made");
    sparse.set_len(1 << 30).expect("long");
    sparse.write_all_at(b"amid", 500 << 20).expect("written");
    fs::write(at("described"), b"described").expect("written");
}

/// Lists and attributes, where the disk takes them.
fn describe(root: &Path) {
    let file = root.join("described");
    for (name, value) in
        [("user.comment", &b"a word"[..]), ("user.empty", b""), ("user.é", &[0, 255])]
    {
        let set = rustix::fs::setxattr(&file, name, value, XattrFlags::empty());
        if set == Err(rustix::io::Errno::OPNOTSUPP) {
            return;
        }
        set.expect("set");
    }
    let lists =
        [(file, "system.posix_acl_access"), (root.join("modes/deep"), "system.posix_acl_default")];
    for (path, name) in lists {
        let set = rustix::fs::setxattr(&path, name, &list(1), XattrFlags::empty());
        assert!(matches!(set, Ok(()) | Err(rustix::io::Errno::OPNOTSUPP)), "{set:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_tree_with_everything_that_trees_have_rsync_finds_no_difference() {
    let (here, there) = pair();
    make(&here.tree());
    describe(&here.tree());
    let began = Instant::now();
    loop {
        here.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Without it, names and lengths have to do.
        let left = differences(&here, &there);
        let is_same = tree_of(&here.tree()) == tree_of(&there.tree());
        if is_same && left.as_deref().is_none_or(str::is_empty) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "after all patience: {left:?}");
    }
    let holes = fs::metadata(there.tree().join("holes")).expect("there");
    assert!(holes.len() == 1 << 30 && holes.blocks() * 512 < 8 << 20, "{}", holes.blocks());
    if let Some(left) = differences(&there, &here) {
        assert_eq!(left, "", "seen from the other side");
    }
}
