//! The kernel's form of an access control list: a version, then entries of 8 bytes (tag, permissions,
//! number), little-endian (`linux/posix_acl_xattr.h`).

use farhaul_sync::limits::ACL_ENTRIES_MAX;
use farhaul_sync::version::{Acl, Who};

const VERSION: u32 = 2;
/// The number of who has none.
const NOBODY: u32 = u32::MAX;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whom a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user.
    User(u32),
    /// A group.
    Group(u32),
}

/// Who has which number here.
pub trait Ids {
    /// The number of a user or group; `None` where there is none.
    fn id(&self, who: &Who) -> Option<u32>;
}

/// The kernel's form. Who has no number here is left out.
pub fn encode(list: &Acl, ids: &dyn Ids) -> Vec<u8> {
    let mut entries: Vec<(u16, u32, u8)> = Vec::new();
    for (who, perms) in list.entries() {
        let (tag, id) = match who {
            Who::Owner => (OWNER, Some(NOBODY)),
            Who::User(_) => (USER, ids.id(who)),
            Who::OwningGroup => (OWNING_GROUP, Some(NOBODY)),
            Who::Group(_) => (GROUP, ids.id(who)),
            Who::Mask => (MASK, Some(NOBODY)),
            Who::Other => (OTHER, Some(NOBODY)),
        };
        entries.extend(id.map(|id| (tag, id, *perms)));
    }
    entries.sort_unstable();
    // Two names of one number: the first counts.
    entries.dedup_by_key(|&mut (tag, id, _)| (tag, id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, perms) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&u16::from(perms).to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// What a list is to those elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The mode says as much.
    Mode,
    /// This.
    List(Acl),
    /// None that a version can say: it is too long, names somebody twice, or is in no known form.
    Unsaid,
}

/// Whether the kernel's form has more entries than a version may.
pub const fn is_long(bytes: &[u8]) -> bool {
    bytes.len() > 4 + 8 * ACL_ENTRIES_MAX
}

/// Reads the kernel's form.
pub fn decode<E>(
    bytes: &[u8],
    name_of: &mut dyn FnMut(Principal) -> Result<Box<[u8]>, E>,
) -> Result<Read, E> {
    let Some((version, rest)) = bytes.split_first_chunk::<4>() else { return Ok(Read::Unsaid) };
    let (entries, rest) = rest.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() || is_long(bytes) {
        return Ok(Read::Unsaid);
    }
    let mut read = Vec::with_capacity(entries.len());
    for &[t0, t1, p0, p1, i0, i1, i2, i3] in entries {
        let (tag, id) = (u16::from_le_bytes([t0, t1]), u32::from_le_bytes([i0, i1, i2, i3]));
        let Ok(perms) = u8::try_from(u16::from_le_bytes([p0, p1])) else { return Ok(Read::Unsaid) };
        let who = match tag {
            OWNER => Who::Owner,
            USER => Who::User(name_of(Principal::User(id))?),
            OWNING_GROUP => Who::OwningGroup,
            GROUP => Who::Group(name_of(Principal::Group(id))?),
            MASK => Who::Mask,
            OTHER => Who::Other,
            _ => return Ok(Read::Unsaid),
        };
        read.push((who, perms));
    }
    let says_more = |(who, _): &(Who, u8)| matches!(who, Who::User(_) | Who::Group(_) | Who::Mask);
    if !read.iter().any(says_more) {
        return Ok(Read::Mode);
    }
    Ok(Acl::new(read).map_or(Read::Unsaid, Read::List))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut digits = |_| Ok::<_, ()>((*b"7").into());
            let _ = decode(&bytes, &mut digits);
        }
    }

    #[test]
    fn what_no_version_can_say_is_not_nothing() {
        let entry = |tag: u16, id: u32| {
            [&tag.to_le_bytes()[..], &4_u16.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let base = [(OWNER, NOBODY), (OWNING_GROUP, NOBODY), (MASK, NOBODY), (OTHER, NOBODY)];
        let base: Vec<u8> = base.into_iter().flat_map(|(tag, id)| entry(tag, id)).collect();
        let with = |users: u32| {
            let users: Vec<u8> = (0..users).flat_map(|id| entry(USER, id)).collect();
            [&VERSION.to_le_bytes()[..], &base, &users].concat()
        };
        let mut digits = |who| match who {
            Principal::User(id) | Principal::Group(id) => {
                Ok::<_, ()>(id.to_string().into_bytes().into())
            }
        };
        assert!(matches!(decode(&with(28), &mut digits), Ok(Read::List(_))));
        assert_eq!(decode(&with(29), &mut digits), Ok(Read::Unsaid), "too long");
        // Two users of one name.
        assert_eq!(decode(&with(2), &mut |_| Ok::<_, ()>((*b"ann").into())), Ok(Read::Unsaid));
    }

    #[test]
    fn the_mode_in_another_form_is_no_list() {
        let list =
            [(OWNER, 6), (OWNING_GROUP, 4), (OTHER, 4_u16)].map(|(tag, perms): (u16, u16)| {
                [&tag.to_le_bytes()[..], &perms.to_le_bytes(), &[0xff; 4]].concat()
            });
        let bytes = [&[2, 0, 0, 0][..], &list.concat()].concat();
        let mut digits = |_| Ok::<_, ()>((*b"7").into());
        assert_eq!(decode(&bytes, &mut digits), Ok(Read::Mode));
    }
}
