//! Acts that change what is said of a file beside its content: mode, time, owner, list, attributes.
//!
//! All of them go by a descriptor: what stands at the path may be a link by now.

use super::Actor;
use super::contents::{open, open_as};
use rustix::fs::{OFlags, XattrFlags, fchown, fremovexattr, fsetxattr};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::fs::{self, FileTimes};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Modes that files get.
const MODES: [u32; 5] = [0o644, 0o600, 0o755, 0o640, 0o444];
const DIRECTORY_MODES: [u32; 3] = [0o755, 0o700, 0o711];
/// A time in 2001 and how far later ones go.
const OLD: u64 = 1_000_000_000;
const OLD_SPAN: usize = 200_000_000;
/// Attributes that any user may set.
const ATTRIBUTES: [&str; 3] = ["user.colour", "user.a", "user.checked by"];
/// Longest value of one.
const VALUE_MAX: usize = 300;
/// Users and groups that every machine has by name.
const OWNERS: [u32; 3] = [0, 1, 2];
/// What such a user may do.
const RIGHTS: [u16; 4] = [0, 4, 6, 7];
/// The attribute that a list of access rights is.
const LIST: &str = "system.posix_acl_access";

impl Actor<'_> {
    pub(super) fn chmod(&mut self, path: &Path) -> io::Result<String> {
        let meta = fs::symlink_metadata(path)?;
        let modes: &[u32] = if meta.is_dir() { &DIRECTORY_MODES } else { &MODES };
        let mode = self.dice.pick(modes).copied().unwrap_or(0o600);
        let options = open_as(OFlags::NOFOLLOW | OFlags::NONBLOCK);
        options.open(path)?.set_permissions(PermissionsExt::from_mode(mode))?;
        Ok(format!("{mode:o}"))
    }

    /// Sets an old time (S-36).
    pub(super) fn age(&mut self, path: &Path) -> io::Result<String> {
        let seconds = OLD + self.dice.below(OLD_SPAN) as u64;
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
        open(path, false)?.set_times(FileTimes::new().set_modified(time))?;
        Ok(seconds.to_string())
    }

    /// Sets an attribute, or takes it away.
    pub(super) fn attribute(&mut self, path: &Path) -> io::Result<String> {
        let name = self.dice.pick(&ATTRIBUTES).copied().unwrap_or("user.a");
        let file = open_as(OFlags::NOFOLLOW | OFlags::NONBLOCK).open(path)?;
        if self.dice.chance(25) {
            return match fremovexattr(&file, name) {
                Ok(()) => Ok(format!("{name} is gone")),
                Err(Errno::NODATA) => Ok(format!("{name} was not there")),
                Err(errno) => Err(errno.into()),
            };
        }
        let (seed, len) = (self.dice.roll(), self.dice.below(VALUE_MAX));
        let value = crate::content::bytes(seed, len);
        fsetxattr(&file, name, &value, XattrFlags::empty())?;
        Ok(format!("{name} of {len} bytes"))
    }

    /// Lets one more user at it, or nobody but owner, group and others.
    pub(super) fn list_access(&mut self, path: &Path) -> io::Result<String> {
        let file = open_as(OFlags::NOFOLLOW | OFlags::NONBLOCK).open(path)?;
        if self.dice.chance(25) {
            return match fremovexattr(&file, LIST) {
                Ok(()) | Err(Errno::NODATA) => Ok("none".to_owned()),
                Err(errno) => Err(errno.into()),
            };
        }
        let user = self.dice.pick(&OWNERS).copied().unwrap_or(1);
        let rights = *self.dice.pick(&RIGHTS).unwrap_or(&4);
        fsetxattr(&file, LIST, &list_of(user, rights), XattrFlags::empty())?;
        Ok(format!("user {user} may {rights:o}"))
    }

    /// Gives it to somebody else, where that is allowed.
    pub(super) fn chown(&mut self, path: &Path) -> io::Result<String> {
        let file = open_as(OFlags::NOFOLLOW | OFlags::NONBLOCK).open(path)?;
        let user = self.dice.pick(&OWNERS).copied().unwrap_or(0);
        let group = self.dice.pick(&OWNERS).copied().unwrap_or(0);
        fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        Ok(format!("{user}:{group}"))
    }
}

/// A list in the form of the attribute (`linux/posix_acl_xattr.h`): version 2, then kind, rights and id of each entry.
fn list_of(user: u32, rights: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, NOBODY),
        (0x02, rights, user),
        (0x04, 4, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 0, NOBODY),
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, rights, id) in entries {
        list.extend(kind.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::super::Listing;
    use super::*;
    use crate::chaos::oracle::Oracle;
    use crate::chaos::survey::{differences, survey};

    #[test]
    fn what_is_said_of_a_file_is_changed_and_seen() {
        let home = tempfile::tempdir().expect("a directory");
        let oracle = Oracle::new(&home.path().join("journal")).expect("made");
        let root = home.path().join("tree");
        fs::create_dir(&root).expect("made");
        let path = root.join("file");
        fs::write(&path, "content").expect("written");
        let mut actor = Actor::new(0, &root, 5, &oracle);
        for name in ["attribute", "list-access", "age", "chmod"] {
            let before = survey(&root).expect("readable");
            // It may choose what is so already.
            let is_seen = (0..50).any(|_| {
                actor.do_it(name, &path, &Listing::default()).expect("done");
                !differences(&before, &survey(&root).expect("readable")).is_empty()
            });
            assert!(is_seen, "{name}");
        }
    }
}
