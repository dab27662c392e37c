//! The numbers that owners and groups have on this machine.

use crate::attrs::{Ids, Principal};
use crate::people::{OwnersError, system_name};
use farhaul_sync::version::{Meta, Who};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Who has which number on this machine. What belongs to somebody who has none stays with whom it
/// belongs to; the index says what the version says.
pub trait Principals: Debug + Send + Sync {
    /// The number of a user.
    fn user_id(&self, name: &[u8]) -> Option<u32>;
    /// The number of a group.
    fn group_id(&self, name: &[u8]) -> Option<u32>;
    /// The name of a user; `None` where none is known. The first of several.
    fn user_name(&self, id: u32) -> Option<Box<[u8]>>;
    /// The name of a group, likewise.
    fn group_name(&self, id: u32) -> Option<Box<[u8]>>;
    /// The number of a user that a version names: where nobody had a name for it, that is its digits.
    fn user_number(&self, said: &[u8]) -> Option<u32> {
        self.user_id(said).or_else(|| self.digits(said, true))
    }
    /// The number of a group, likewise.
    fn group_number(&self, said: &[u8]) -> Option<u32> {
        self.group_id(said).or_else(|| self.digits(said, false))
    }
    /// The number that a user or group of a version is, if it is called by digits that stand for nobody
    /// else here, known or not.
    fn digits(&self, said: &[u8], _is_user: bool) -> Option<u32> {
        digits_of(said)
    }
    /// What a user of this machine is called in versions: its digits where it has no name that can
    /// travel. Asks, and waits; not for the control loop.
    ///
    /// # Errors
    /// The system's directory does not answer.
    fn called_user(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        system_name(id, true)
    }
    /// What a group is called in versions, likewise.
    ///
    /// # Errors
    /// As [`called_user`](Self::called_user).
    fn called_group(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        system_name(id, false)
    }
    /// Whether all that is to be known of whom `meta` names is known; if not it is asked for, and what
    /// `wake` gives is called then.
    fn is_ready(&self, _meta: &Meta, _wake: &mut dyn FnMut() -> Option<Wake>) -> bool {
        true
    }
    /// Asks for all that is to be known of whom `meta` names, and waits; not for the control loop.
    fn learn(&self, _meta: &Meta) {}
    /// Whether what others publish may become root's, because they say so or because nobody here has
    /// the name that they say (spec: S-145).
    fn may_be_roots(&self) -> bool {
        false
    }
}

/// Called once what somebody waits for is known.
pub type Wake = Box<dyn FnOnce() + Send>;

/// The number that digits are, as they are written for one that has no name (spec: S-171).
pub fn digits_of(said: &[u8]) -> Option<u32> {
    let is_number =
        said.iter().all(u8::is_ascii_digit) && (said == b"0" || !said.starts_with(b"0"));
    let id = core::str::from_utf8(said).ok().filter(|_| is_number)?.parse().ok();
    // The highest number means "nobody in particular" to the kernel.
    id.filter(|&id| id != u32::MAX)
}

/// The numbers of those in access control lists.
pub struct Numbers<'a>(pub &'a dyn Principals);

impl Ids for Numbers<'_> {
    fn id(&self, who: &Who) -> Option<u32> {
        match who {
            Who::User(name) => self.0.user_id(name).or_else(|| self.0.digits(name, true)),
            Who::Group(name) => self.0.group_id(name).or_else(|| self.0.digits(name, false)),
            _ => None,
        }
    }
}

impl Numbers<'_> {
    /// The name of who is in a list, or digits.
    pub fn name(&self, who: Principal) -> Box<[u8]> {
        let (name, id) = match who {
            Principal::User(id) => (self.0.user_name(id), id),
            Principal::Group(id) => (self.0.group_name(id), id),
        };
        name.unwrap_or_else(|| id.to_string().into_bytes().into())
    }
}

/// For folders that leave owners alone: everything is whose the site is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unnamed;

impl Principals for Unnamed {
    fn user_id(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn group_id(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn user_name(&self, _: u32) -> Option<Box<[u8]>> {
        None
    }
    fn group_name(&self, _: u32) -> Option<Box<[u8]>> {
        None
    }
    fn user_number(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn group_number(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn may_be_roots(&self) -> bool {
        true
    }
}

/// Names as `passwd(5)` and `group(5)` list them, for tests and tools: a site asks the system
/// ([`crate::people`]). The first of several lines counts.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    users: Names,
    groups: Names,
    may_be_roots: bool,
}

#[derive(Clone, Debug, Default)]
struct Names {
    ids: BTreeMap<Box<[u8]>, u32>,
    names: BTreeMap<u32, Box<[u8]>>,
}

impl NameTable {
    /// Reads the text of the two files; lines of any other form are left out.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: names_of(passwd), groups: names_of(group), may_be_roots: false }
    }

    /// The same, for a folder in which what others publish may become root's.
    #[must_use]
    pub fn with_root(self) -> Self {
        Self { may_be_roots: true, ..self }
    }
}

fn names_of(text: &[u8]) -> Names {
    let Names { mut ids, mut names } = Names::default();
    for line in text.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.splitn(4, |&byte| byte == b':').collect();
        let [name, _, id, _] = fields[..] else { continue };
        let id = core::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        // The highest number means "nobody in particular" to the kernel.
        let Some(id) = id.filter(|&id| id != u32::MAX && !name.is_empty()) else { continue };
        ids.entry(name.into()).or_insert(id);
        names.entry(id).or_insert_with(|| name.into());
    }
    Names { ids, names }
}

impl Principals for NameTable {
    fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.users.ids.get(name).copied()
    }
    fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.groups.ids.get(name).copied()
    }
    fn user_name(&self, id: u32) -> Option<Box<[u8]>> {
        self.users.names.get(&id).cloned()
    }
    fn group_name(&self, id: u32) -> Option<Box<[u8]>> {
        self.groups.names.get(&id).cloned()
    }
    fn may_be_roots(&self) -> bool {
        self.may_be_roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_as_it_is_written_and_in_no_other_way() {
        assert_eq!((digits_of(b"0"), digits_of(b"1234")), (Some(0), Some(1234)));
        for said in [&b""[..], b"+7", b"-1", b"007", b"7 ", b"4294967295", b"4294967296", b"ann"] {
            assert_eq!(digits_of(said), None, "{said:?}");
        }
    }

    #[test]
    fn names_have_numbers_and_lines_of_other_forms_none() {
        let passwd = b"root:x:0:0:root:/:/bin/sh\nann:x:1000:1000::/:\nann:x:1:1:x:/:\n";
        let group = b"root:x:0:\nstaff:x:50:ann\nbroken\nbig:x:4294967295:\n:x:7:\nx:y\n";
        let table = NameTable::parse(passwd, group);
        assert_eq!((table.user_id(b"ann"), table.user_id(b"bob")), (Some(1000), None));
        assert_eq!((table.group_id(b"staff"), table.group_id(b"big")), (Some(50), None));
        assert_eq!((table.group_id(b""), table.group_id(b"x")), (None, None));
        assert_eq!(table.user_name(1000).as_deref(), Some(&b"ann"[..]));
        assert_eq!((table.user_name(7), table.group_name(50)), (None, Some((*b"staff").into())));
    }
}
