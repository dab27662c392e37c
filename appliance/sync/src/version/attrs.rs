//! What a file system keeps about a path beyond mode, owner and times: access control lists and
//! attributes that users named.

use crate::limits::{ACL_ENTRIES_MAX, PRINCIPAL_MAX, XATTR_BYTES_MAX, XATTR_NAME_MAX, XATTRS_MAX};
use std::collections::BTreeMap;

/// More than the permission bits say. Never empty: where there is nothing of it, [`super::Meta`] has
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs {
    /// Who may do what, where that is more than the mode says.
    pub access: Option<Acl>,
    /// What is made in a directory begins with this.
    pub default: Option<Acl>,
    /// Extended attributes, by their full names (`user.comment`).
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Of which of these its author says nothing: what is above says nothing of them either.
    pub unsaid: Unsaid,
}

/// What a path has and no version can say, for it is more than travels: whoever puts such a version
/// in place leaves alone what stands there of it (spec: S-169).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unsaid {
    /// Who may do what.
    pub access: bool,
    /// What is made in a directory begins with.
    pub default: bool,
    /// Extended attributes, all of them.
    pub xattrs: bool,
}

impl Unsaid {
    const ACCESS: u8 = 1;
    const DEFAULT: u8 = 2;
    const XATTRS: u8 = 4;

    /// As it travels, and as it is kept.
    pub fn bits(self) -> u8 {
        let bit = |is_so, bit| if is_so { bit } else { 0 };
        bit(self.access, Self::ACCESS)
            | bit(self.default, Self::DEFAULT)
            | bit(self.xattrs, Self::XATTRS)
    }

    /// The same read; `None` where there are bits that mean nothing.
    pub fn from_bits(bits: u8) -> Option<Self> {
        if bits & !(Self::ACCESS | Self::DEFAULT | Self::XATTRS) != 0 {
            return None;
        }
        let has = |bit| bits & bit != 0;
        let (access, default) = (has(Self::ACCESS), has(Self::DEFAULT));
        Some(Self { access, default, xattrs: has(Self::XATTRS) })
    }

    /// Whether all is said.
    pub fn is_none(self) -> bool {
        self.bits() == 0
    }

    /// What one or the other does not say.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            access: self.access || other.access,
            default: self.default || other.default,
            xattrs: self.xattrs || other.xattrs,
        }
    }
}

impl Attrs {
    /// As [`super::Meta`] has it; `None` where it is empty.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Whether the extended attributes are few and short enough to travel, and nothing is said and
    /// unsaid.
    pub fn fits(&self) -> bool {
        let bytes = self.xattrs.iter().map(|(name, value)| name.len() + value.len());
        let is_name =
            |name: &[u8]| (1..=XATTR_NAME_MAX).contains(&name.len()) && !name.contains(&0);
        self.xattrs.len() <= XATTRS_MAX
            && bytes.sum::<usize>() <= XATTR_BYTES_MAX
            && self.xattrs.keys().all(|name| is_name(name))
            && !(self.unsaid.access && self.access.is_some())
            && !(self.unsaid.default && self.default.is_some())
            && (!self.unsaid.xattrs || self.xattrs.is_empty())
    }
}

/// Whom an entry is about. In the order in which entries stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The owner.
    Owner,
    /// This user.
    User(Box<[u8]>),
    /// The owning group.
    OwningGroup,
    /// This group.
    Group(Box<[u8]>),
    /// The most that entries of users and groups give.
    Mask,
    /// Everybody else.
    Other,
}

/// A POSIX access control list (`acl(5)`; spec: S-104): its entries are in order, and there are those that one
/// needs. With users or groups in it, or a mask; without, the mode says as much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl(Vec<(Who, u8)>);

impl Acl {
    /// A list of these entries, of 3 permission bits each; `None` where they are none: somebody
    /// twice, the owner, the owning group or others missing, users or groups without a mask, too many
    /// or too long.
    pub fn new(mut entries: Vec<(Who, u8)>) -> Option<Self> {
        entries.sort_unstable();
        let is_once = entries.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let has = |who: Who| entries.iter().any(|(entry, _)| *entry == who);
        let is_named = |name: &[u8]| {
            (1..=PRINCIPAL_MAX).contains(&name.len())
                && !name.iter().any(|&byte| byte < b' ' || byte == b':' || byte == 0x7f)
        };
        let is_fit = |(who, perms): &(Who, u8)| {
            let is_name = match who {
                Who::User(name) | Who::Group(name) => is_named(name),
                _ => true,
            };
            is_name && *perms <= 7
        };
        let is_whole = has(Who::Owner) && has(Who::OwningGroup) && has(Who::Other);
        let is_masked = has(Who::Mask)
            || !entries.iter().any(|(who, _)| matches!(who, Who::User(_) | Who::Group(_)));
        let fits = entries.len() <= ACL_ENTRIES_MAX && entries.iter().all(is_fit);
        (is_once && is_whole && is_masked && fits).then_some(Self(entries))
    }

    /// Its entries: owner, users, owning group, groups, mask, others.
    pub fn entries(&self) -> &[(Who, u8)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Vec<(Who, u8)> {
        vec![(Who::Other, 4), (Who::Owner, 6), (Who::OwningGroup, 4)]
    }

    #[test]
    fn a_list_has_what_one_needs_and_nobody_twice() {
        let list = Acl::new(base()).expect("a list");
        assert_eq!(list.entries()[0], (Who::Owner, 6));
        let with = |more: &[(Who, u8)]| Acl::new([base(), more.to_vec()].concat());
        let ann = || (Who::User((*b"ann").into()), 6);
        assert!(with(&[ann(), (Who::Mask, 6)]).is_some());
        assert!(with(&[ann()]).is_none(), "no mask");
        assert!(with(&[ann(), ann(), (Who::Mask, 6)]).is_none(), "twice");
        assert!(with(&[(Who::Other, 1)]).is_none(), "twice");
        assert!(with(&[(Who::User((*b"a:b").into()), 6), (Who::Mask, 6)]).is_none());
        assert!(Acl::new(base()[1..].to_vec()).is_none(), "no others");
        assert!(Acl::new(vec![(Who::Other, 8), (Who::Owner, 6), (Who::OwningGroup, 4)]).is_none());
        let many = (0..ACL_ENTRIES_MAX).map(|n| (Who::User(n.to_string().into_bytes().into()), 1));
        assert!(with(&many.chain([(Who::Mask, 7)]).collect::<Vec<_>>()).is_none());
    }
}
