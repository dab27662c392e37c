//! Access control lists and extended attributes: read from and set on descriptors, never by path.
//!
//! Of extended attributes those of users travel (`user.*`); what is the system's own (`security.*`,
//! `trusted.*`, labels, capabilities) is neither read nor set (spec: S-105). Lists name users and groups; here are
//! their numbers.

pub mod acl;

use farhaul_sync::limits::{XATTR_BYTES_MAX, XATTRS_MAX};
use farhaul_sync::version::{Attrs, Unsaid};
use rustix::fd::{AsFd, BorrowedFd};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    access: Option<Vec<u8>>,
    default: Option<Vec<u8>>,
    xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What there is and is more than a version can say. Of these nothing is above.
    beyond: Unsaid,
    print: [u8; 16],
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            access: None,
            default: None,
            xattrs: BTreeMap::new(),
            beyond: Unsaid::default(),
            print: Print::of_lists([None, None]).end(Unsaid::default()),
        }
    }
}

/// A name for exactly what is there, made while it is read: all of it may be more than is held.
struct Print(blake3::Hasher);

impl Print {
    fn of_lists(lists: [Option<&[u8]>; 2]) -> Self {
        let mut print = Self(blake3::Hasher::new_derive_key("farhaul attributes v1"));
        lists.into_iter().for_each(|list| print.part(list.unwrap_or_default()));
        print
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    fn end(mut self, beyond: Unsaid) -> [u8; 16] {
        if !beyond.is_none() {
            self.part(&[beyond.bits()]);
        }
        let mut print = [0; 16];
        self.0.finalize_xof().fill(&mut print);
        print
    }
}

impl Raw {
    /// Reads it. Where the file system knows nothing of the kind, there is nothing.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        let fd = fd.as_fd();
        let names = match read(|buffer| flistxattr(fd, buffer).or_else(unlisted))? {
            Got::Nothing => return Ok(Self::default()),
            Got::Value(names) => Some(names),
            Got::Beyond => None,
        };
        let names = names.as_ref().map(|names| {
            let mut names: Vec<&[u8]> = names.split(|&byte| byte == 0).collect();
            names.sort_unstable();
            names
        });
        let mut beyond = Unsaid { xattrs: names.is_none(), ..Unsaid::default() };
        let list = |name: &str, is_beyond: &mut bool| {
            if names.as_ref().is_some_and(|names| !names.contains(&name.as_bytes())) {
                return Ok(None);
            }
            let got = read(|buffer| fgetxattr(fd, name, buffer))?;
            *is_beyond = matches!(&got, Got::Beyond)
                || matches!(&got, Got::Value(list) if acl::is_long(list));
            Ok::<_, Errno>(got.value())
        };
        let access = list(ACCESS, &mut beyond.access)?;
        let default = list(DEFAULT, &mut beyond.default)?;
        let mut print = Print::of_lists([access.as_deref(), default.as_deref()]);
        let (mut xattrs, mut len) = (BTreeMap::new(), 0);
        let of_users = names.iter().flatten().filter(|name| name.starts_with(ALLOWED));
        for name in of_users {
            print.part(name);
            match read(|buffer| fgetxattr(fd, *name, buffer))? {
                // It went meanwhile.
                Got::Nothing => {}
                Got::Value(value) => {
                    print.part(&value);
                    len += name.len() + value.len();
                    xattrs.insert((*name).into(), value.into());
                }
                Got::Beyond => beyond.xattrs = true,
            }
            beyond.xattrs |= xattrs.len() > XATTRS_MAX || len > XATTR_BYTES_MAX;
            if beyond.xattrs {
                xattrs.clear();
            }
        }
        let said = |list: Option<Vec<u8>>, is_beyond: bool| list.filter(|_| !is_beyond);
        let (access, default) = (said(access, beyond.access), said(default, beyond.default));
        Ok(Self { access, default, xattrs, beyond, print: print.end(beyond) })
    }

    /// A name for exactly this.
    pub const fn fingerprint(&self) -> [u8; 16] {
        self.print
    }

    /// As a version says it, with the names that `name_of` gives. What is more than travels stays
    /// where it is, and is not said: it is not said to be gone (spec: S-169).
    ///
    /// # Errors
    /// Those of `name_of`.
    pub fn named<E>(
        self,
        name_of: &mut dyn FnMut(Principal) -> core::result::Result<Box<[u8]>, E>,
    ) -> core::result::Result<Attrs, E> {
        let mut named = |list: Option<Vec<u8>>, is_unsaid: &mut bool| {
            let Some(list) = list else { return Ok(None) };
            Ok(match acl::decode(&list, name_of)? {
                acl::Read::Mode => None,
                acl::Read::List(list) => Some(list),
                acl::Read::Unsaid => {
                    *is_unsaid = true;
                    None
                }
            })
        };
        let mut unsaid = self.beyond;
        let access = named(self.access, &mut unsaid.access)?;
        let default = named(self.default, &mut unsaid.default)?;
        Ok(Attrs { access, default, xattrs: self.xattrs, unsaid })
    }
}

/// Where what is to be described stands, or is to stand.
#[derive(Clone, Copy, Debug)]
pub enum Over<'a> {
    /// Nothing else stands there.
    Nothing,
    /// It stands there itself.
    Itself,
    /// It takes the place of this.
    Other(BorrowedFd<'a>),
}

/// Gives what is open as `fd` what a version says, as far as the file system and this process can:
/// what it does not take is no error, and [`Raw::of`] tells what there is. Of what the version does
/// not say, and of what is more than any could, what stands there stays (spec: S-169).
///
/// # Errors
/// The kernel's own: the disk failed, or what is to stay cannot be carried over.
pub fn set(
    fd: impl AsFd,
    attrs: Option<&Attrs>,
    is_dir: bool,
    ids: &dyn Ids,
    over: Over<'_>,
) -> Result<()> {
    let fd = fd.as_fd();
    let unsaid = attrs.map_or_else(Unsaid::default, |attrs| attrs.unsaid);
    let stays = match over {
        Over::Nothing => Unsaid::default(),
        Over::Itself => unsaid.or(Raw::of(fd)?.beyond),
        Over::Other(other) => unsaid.or(Raw::of(other)?.beyond),
    };
    let access = (ACCESS, attrs.and_then(|attrs| attrs.access.as_ref()), stays.access);
    let default = (DEFAULT, attrs.and_then(|attrs| attrs.default.as_ref()), stays.default);
    for (name, list, stays) in [access].into_iter().chain(is_dir.then_some(default)) {
        match (list, over) {
            (_, Over::Itself) if stays => {}
            (_, Over::Other(other)) if stays => carry(other, fd, name.as_bytes())?,
            (Some(list), _) => {
                let list = acl::encode(list, ids);
                taken(fsetxattr(fd, name, &list, XattrFlags::empty()))?;
            }
            (None, _) => taken(fremovexattr(fd, name))?,
        }
    }
    let stay = match over {
        Over::Itself if stays.xattrs => names_on(fd)?,
        Over::Other(other) if stays.xattrs => {
            let names = names_on(other)?;
            names.iter().try_for_each(|name| carry(other, fd, name))?;
            names
        }
        _ => Vec::new(),
    };
    let said = |name: &[u8]| attrs.and_then(|attrs| attrs.xattrs.get(name));
    for name in names_on(fd)? {
        if said(&name).is_none() && !stay.contains(&name) {
            taken(fremovexattr(fd, &name[..]))?;
        }
    }
    for (name, value) in attrs.iter().flat_map(|attrs| &attrs.xattrs) {
        if name.starts_with(ALLOWED) {
            taken(fsetxattr(fd, &name[..], value, XattrFlags::empty()))?;
        }
    }
    Ok(())
}

/// The names of all attributes of users. The kernel lists no more than 64 KiB of names: where there are
/// more, nothing is done about any.
fn names_on(fd: BorrowedFd<'_>) -> Result<Vec<Box<[u8]>>> {
    let names = read(|buffer| flistxattr(fd, buffer).or_else(unlisted))?;
    let names = names.value().unwrap_or_default();
    let names = names.split(|&byte| byte == 0).filter(|name| name.starts_with(ALLOWED));
    Ok(names.map(Into::into).collect())
}

/// A file system that does not let anybody ask has nothing of the kind.
const fn unlisted(errno: Errno) -> Result<usize> {
    match errno {
        Errno::ACCESS | Errno::PERM => Err(Errno::OPNOTSUPP),
        errno => Err(errno),
    }
}

/// Has `to` have what `from` has. What is to stay and does not is a failure, and no shortfall.
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match read(|buffer| fgetxattr(from, name, buffer))? {
        Got::Nothing => taken(fremovexattr(to, name)),
        Got::Value(value) => fsetxattr(to, name, &value, XattrFlags::empty()),
        Got::Beyond => Err(Errno::TOOBIG),
    }
}

/// What came of reading a value.
enum Got {
    /// There is none, or nothing of the kind.
    Nothing,
    Value(Vec<u8>),
    /// There is one, and it is longer than the kernel gives, or not for this process.
    Beyond,
}

impl Got {
    fn value(self) -> Option<Vec<u8>> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Beyond => None,
        }
    }
}

/// Reads a value of unknown length.
fn read(get: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Got> {
    for len in [256, 4096, VALUE_MAX] {
        let mut buffer = vec![0; len];
        match get(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(Got::Value(buffer));
            }
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Got::Nothing),
            Err(Errno::TOOBIG | Errno::ACCESS | Errno::PERM) => return Ok(Got::Beyond),
            Err(errno) => return Err(errno),
        }
    }
    Ok(Got::Beyond)
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
        set(&file, Some(&hostile), false, &Digits, Over::Itself).unwrap();
        assert_eq!(read_back(&file).as_deref(), Some(&said));
        let names = read(|buffer| flistxattr(&file, buffer)).unwrap().value().unwrap();
        assert!(!names.windows(8).any(|name| name == b"security" || name == b"trusted."));
        // Somebody who has no number here is left out.
        let before = Raw::of(&file).unwrap().fingerprint();
        let strange =
            said.access.as_ref().unwrap().entries().iter().map(|(who, perms)| match who {
                Who::Group(_) => (Who::Group((*b"nobody here").into()), *perms),
                who => (who.clone(), *perms),
            });
        let strange = Attrs { access: Acl::new(strange.collect()), ..said.clone() };
        set(&file, Some(&strange), false, &Digits, Over::Itself).unwrap();
        assert_eq!(read_back(&file).unwrap().access.unwrap().entries().len(), 5);
        assert!(Raw::of(&file).unwrap().fingerprint() != before);
        set(&file, None, false, &Digits, Over::Itself).unwrap();
        assert_eq!(read_back(&file), None);
    }
}
