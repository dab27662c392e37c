//! Access control lists and extended attributes: read from and set on descriptors, never by path.
//!
//! Of extended attributes those of users travel (`user.*`); what is the system's own (`security.*`,
//! `trusted.*`, labels, capabilities) is neither read nor set (spec: S-105). Lists name users and groups; here are
//! their numbers.

pub mod acl;

use farhaul_sync::version::Attrs;
use rustix::fd::AsFd;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::{Errno, Result};
use std::collections::BTreeMap;

pub use acl::{Ids, Principal};

/// What the names of attributes that travel begin with.
const ALLOWED: &[u8] = b"user.";
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// More than any file system holds of a value, and of all names (`XATTR_SIZE_MAX`).
const VALUE_MAX: usize = 64 << 10;

/// What a file system says of a path, in its own numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    access: Option<Vec<u8>>,
    default: Option<Vec<u8>>,
    xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Raw {
    /// Reads it. Where the file system knows nothing of the kind, there is nothing.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        let fd = fd.as_fd();
        let Some(names) = read(|buffer| flistxattr(fd, buffer))? else {
            return Ok(Self::default());
        };
        let mut raw = Self::default();
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            if name == ACCESS.as_bytes() {
                raw.access = read(|buffer| fgetxattr(fd, name, buffer))?;
            } else if name == DEFAULT.as_bytes() {
                raw.default = read(|buffer| fgetxattr(fd, name, buffer))?;
            } else if name.starts_with(ALLOWED)
                && let Some(value) = read(|buffer| fgetxattr(fd, name, buffer))?
            {
                raw.xattrs.insert(name.into(), value.into());
            }
        }
        Ok(raw)
    }

    /// A name for exactly this.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("farhaul attributes v1");
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        for list in [&self.access, &self.default] {
            part(list.as_deref().unwrap_or_default());
        }
        for (name, value) in &self.xattrs {
            part(name);
            part(value);
        }
        let mut print = [0; 16];
        hasher.finalize_xof().fill(&mut print);
        print
    }

    /// As a version says it, with the names that `name_of` gives. Attributes that are too many or too
    /// long to travel stay where they are, and are not in it.
    ///
    /// # Errors
    /// Those of `name_of`.
    pub fn named<E>(
        self,
        name_of: &mut dyn FnMut(Principal) -> core::result::Result<Box<[u8]>, E>,
    ) -> core::result::Result<Attrs, E> {
        let mut named = |list: Option<Vec<u8>>| match list {
            Some(list) => acl::decode(&list, name_of),
            None => Ok(None),
        };
        let (access, default) = (named(self.access)?, named(self.default)?);
        let mut attrs = Attrs { access, default, xattrs: self.xattrs };
        if !attrs.fits() {
            tracing::warn!(count = attrs.xattrs.len(), "extended attributes too large to travel");
            attrs.xattrs.clear();
        }
        Ok(attrs)
    }
}

/// Gives what is open as `fd` what a version says, as far as the file system and this process can:
/// what it does not take is no error, and [`Raw::of`] tells what there is.
///
/// # Errors
/// The kernel's own: the disk failed.
pub fn set(fd: impl AsFd, attrs: Option<&Attrs>, is_dir: bool, ids: &dyn Ids) -> Result<()> {
    let fd = fd.as_fd();
    let lists = [(ACCESS, attrs.and_then(|attrs| attrs.access.as_ref()))];
    let default = (DEFAULT, attrs.and_then(|attrs| attrs.default.as_ref()));
    for (name, list) in lists.into_iter().chain(is_dir.then_some(default)) {
        match list {
            Some(list) => {
                let list = acl::encode(list, ids);
                taken(fsetxattr(fd, name, &list, XattrFlags::empty()))?;
            }
            None => taken(fremovexattr(fd, name))?,
        }
    }
    let names = read(|buffer| flistxattr(fd, buffer))?.unwrap_or_default();
    let said = |name: &[u8]| attrs.and_then(|attrs| attrs.xattrs.get(name));
    for name in names.split(|&byte| byte == 0) {
        if name.starts_with(ALLOWED) && said(name).is_none() {
            taken(fremovexattr(fd, name))?;
        }
    }
    for (name, value) in attrs.iter().flat_map(|attrs| &attrs.xattrs) {
        if name.starts_with(ALLOWED) {
            taken(fsetxattr(fd, &name[..], value, XattrFlags::empty()))?;
        }
    }
    Ok(())
}

/// Reads a value of unknown length; `None` where there is none, or nothing of the kind.
fn read(get: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Option<Vec<u8>>> {
    for len in [256, 4096, VALUE_MAX] {
        let mut buffer = vec![0; len];
        match get(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::ACCESS | Errno::PERM) => {
                return Ok(None);
            }
            Err(errno) => return Err(errno),
        }
    }
    // Longer than what travels.
    Ok(None)
}

/// What a file system or a user may refuse.
fn taken(result: Result<()>) -> Result<()> {
    match result {
        Err(
            Errno::NODATA
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::ACCESS
            | Errno::PERM
            | Errno::INVAL
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::TOOBIG
            | Errno::RANGE,
        ) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_sync::version::{Acl, Who};
    use std::fs::File;

    /// Everybody has the number that their name is.
    struct Digits;

    impl Ids for Digits {
        fn id(&self, who: &Who) -> Option<u32> {
            match who {
                Who::User(name) | Who::Group(name) => {
                    core::str::from_utf8(name).ok().and_then(|name| name.parse().ok())
                }
                _ => None,
            }
        }
    }

    fn read_back(file: &File) -> Option<Box<Attrs>> {
        let mut digits = |who| match who {
            Principal::User(id) | Principal::Group(id) => Ok(id.to_string().into_bytes().into()),
        };
        let named: core::result::Result<Attrs, Errno> = Raw::of(file).unwrap().named(&mut digits);
        named.unwrap().boxed()
    }

    #[test]
    fn lists_and_attributes_are_read_as_they_were_set_and_nothing_of_the_system() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create(home.path().join("a")).unwrap();
        assert_eq!(read_back(&file), None);
        if fsetxattr(&file, "user.old", b"1", XattrFlags::empty()) == Err(Errno::OPNOTSUPP) {
            println!("skipped: this file system has no extended attributes");
            return;
        }
        let access = Acl::new(vec![
            (Who::Owner, 6),
            (Who::User((*b"1234").into()), 6),
            (Who::OwningGroup, 4),
            (Who::Group((*b"99").into()), 5),
            (Who::Mask, 7),
            (Who::Other, 0),
        ]);
        let mut said = Attrs { access, ..Attrs::default() };
        said.xattrs.insert((*b"user.comment").into(), (*b"a note").into());
        said.xattrs.insert((*b"user.long").into(), vec![7; 1000].into());
        let mut hostile = said.clone();
        for name in [&b"security.capability"[..], b"trusted.x", b"system.posix_acl_default"] {
            hostile.xattrs.insert(name.into(), (*b"x").into());
        }
        set(&file, Some(&hostile), false, &Digits).unwrap();
        assert_eq!(read_back(&file).as_deref(), Some(&said));
        let names = read(|buffer| flistxattr(&file, buffer)).unwrap().unwrap();
        assert!(!names.windows(8).any(|name| name == b"security" || name == b"trusted."));
        // Somebody who has no number here is left out.
        let before = Raw::of(&file).unwrap().fingerprint();
        let strange =
            said.access.as_ref().unwrap().entries().iter().map(|(who, perms)| match who {
                Who::Group(_) => (Who::Group((*b"nobody here").into()), *perms),
                who => (who.clone(), *perms),
            });
        let strange = Attrs { access: Acl::new(strange.collect()), ..said.clone() };
        set(&file, Some(&strange), false, &Digits).unwrap();
        assert_eq!(read_back(&file).unwrap().access.unwrap().entries().len(), 5);
        assert!(Raw::of(&file).unwrap().fingerprint() != before);
        set(&file, None, false, &Digits).unwrap();
        assert_eq!(read_back(&file), None);
    }
}
