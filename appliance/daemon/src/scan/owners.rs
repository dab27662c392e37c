//! Owners and groups by name: numbers mean something on one machine only.
//!
//! Names come from the system's directories, whatever they are (files, LDAP, SSSD). Where a number
//! has no name that can travel, its decimal digits stand for it. Answers are kept for as long as the
//! list lives, which is a scan: a directory service is asked once for each number.

use crate::attrs::{Principal, Raw};
use farhaul_sync::limits::PRINCIPAL_MAX;
use farhaul_sync::version::Attrs;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fd::AsFd;
use std::collections::BTreeMap;

/// Names that were looked up.
#[derive(Debug, Default)]
pub struct Owners {
    users: BTreeMap<u32, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

/// The system's directory of users and groups does not answer. That is no reason to say that
/// anybody else owns a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of user or group {id} cannot be looked up: {errno}")]
pub struct OwnersError {
    /// Whose.
    pub id: u32,
    /// What the system says.
    pub errno: Errno,
}

impl Owners {
    /// The name of a user.
    ///
    /// # Errors
    /// [`OwnersError`]; asking again later may help.
    pub fn user(&mut self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        let find = || Ok(User::from_uid(Uid::from_raw(id))?.map(|user| user.name));
        name_of(&mut self.users, id, find)
    }

    /// The name of a group.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn group(&mut self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        let find = || Ok(Group::from_gid(Gid::from_raw(id))?.map(|group| group.name));
        name_of(&mut self.groups, id, find)
    }
}

impl Owners {
    /// The access control lists and extended attributes of what is open as `fd`, with names.
    ///
    /// # Errors
    /// [`OwnersError`].
    pub fn attrs(&mut self, fd: impl AsFd) -> Result<Option<Box<Attrs>>, OwnersError> {
        let raw = Raw::of(fd);
        let raw = raw
            .map_err(|errno| OwnersError { id: 0, errno: Errno::from_raw(errno.raw_os_error()) })?;
        let attrs = raw.named(&mut |who| match who {
            Principal::User(id) => self.user(id),
            Principal::Group(id) => self.group(id),
        });
        Ok(attrs?.boxed())
    }
}

fn name_of(
    known: &mut BTreeMap<u32, Box<[u8]>>,
    id: u32,
    find: impl FnOnce() -> Result<Option<String>, Errno>,
) -> Result<Box<[u8]>, OwnersError> {
    if let Some(name) = known.get(&id) {
        return Ok(name.clone());
    }
    let found = match find() {
        Ok(found) => found,
        // Ways in which systems say that there is nobody (getpwuid_r(3)).
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => None,
        Err(errno) => return Err(OwnersError { id, errno }),
    };
    let name = name_or_digits(found, id);
    known.insert(id, name.clone());
    Ok(name)
}

/// The name if a record may hold it and it is not some other number's digits.
fn name_or_digits(name: Option<String>, id: u32) -> Box<[u8]> {
    let is_name = |name: &String| {
        let bytes = name.as_bytes();
        let is_plain = |byte: &u8| *byte >= b' ' && *byte != b':' && *byte != 0x7f;
        (1..=PRINCIPAL_MAX).contains(&bytes.len())
            && bytes.iter().all(is_plain)
            && !bytes.iter().all(u8::is_ascii_digit)
    };
    match name.filter(is_name) {
        Some(name) => name.into_bytes().into(),
        None => id.to_string().into_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_answer_gives_no_name() {
        let mut known = BTreeMap::new();
        let failed = name_of(&mut known, 7, || Err(Errno::EIO));
        assert_eq!(failed, Err(OwnersError { id: 7, errno: Errno::EIO }));
        let nobody = name_of(&mut known, 7, || Err(Errno::ENOENT));
        assert_eq!(nobody.as_deref(), Ok(&b"7"[..]));
    }

    #[test]
    fn numbers_without_a_name_that_can_travel_are_their_digits() {
        let mut owners = Owners::default();
        assert_eq!(owners.user(0).as_deref(), Ok(&b"root"[..]));
        assert_eq!(owners.user(4_000_000_123).as_deref(), Ok(&b"4000000123"[..]));
        for bad in ["", "a:b", "a\nb", "17", &"x".repeat(256)] {
            assert_eq!(*name_or_digits(Some(bad.to_owned()), 5), *b"5", "{bad:?}");
        }
        assert_eq!(*name_or_digits(Some("Jörg".to_owned()), 5), *"Jörg".as_bytes());
    }
}
