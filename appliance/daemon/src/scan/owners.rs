//! Owners and groups by name: numbers mean something on one machine only.
//!
//! Names come from the system's directories, whatever they are (files, LDAP, SSSD), and from the maps of
//! a folder. Where a number has no name that can travel, its decimal digits stand for it.

use crate::attrs::{Principal, Raw};
use crate::store::{Principals, Unnamed};
use farhaul_files::people::OwnersError;
use farhaul_sync::version::Attrs;
use nix::errno::Errno;
use rustix::fd::AsFd;
use std::sync::Arc;

/// Names as they are called in versions.
#[derive(Debug)]
pub struct Owners {
    of: Arc<dyn Principals>,
}

/// As the system says, without any map.
impl Default for Owners {
    fn default() -> Self {
        Self::of(Arc::new(Unnamed))
    }
}

impl Owners {
    /// As these say.
    pub const fn of(principals: Arc<dyn Principals>) -> Self {
        Self { of: principals }
    }

    /// The name of a user.
    ///
    /// # Errors
    /// [`OwnersError`]; asking again later may help.
    pub fn user(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        self.of.called_user(id)
    }

    /// The name of a group.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn group(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        self.of.called_group(id)
    }

    /// The access control lists and extended attributes of what is open as `fd`, with names.
    ///
    /// # Errors
    /// [`OwnersError`].
    pub fn attrs(&self, fd: impl AsFd) -> Result<Option<Box<Attrs>>, OwnersError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_that_the_system_gives_them_or_are_digits() {
        let owners = Owners::default();
        assert_eq!(owners.user(0).as_deref(), Ok(&b"root"[..]));
        assert_eq!(owners.user(4_000_000_123).as_deref(), Ok(&b"4000000123"[..]));
    }
}
